#include "gateway/metrics_page.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_FIRST 65536
#define PAGE_MOST (256u << 20)

void gw_page_init(gw_page *p, bool openmetrics)
{
    *p = (gw_page){.openmetrics = openmetrics};
}

void gw_page_clear(gw_page *p)
{
    free(p->bytes);
    *p = (gw_page){0};
}

/* Room for so many more bytes. */
static bool grow(gw_page *p, size_t more)
{
    if (p->failed)
        return false;
    if (gw_likely(p->cap - p->len >= more))
        return true;
    size_t cap = p->cap ? p->cap : PAGE_FIRST;
    while (cap - p->len < more)
        cap *= 2;
    char *bytes = cap <= PAGE_MOST ? realloc(p->bytes, cap) : NULL;
    if (!bytes) {
        p->failed = true;
        return false;
    }
    p->bytes = bytes;
    p->cap = cap;
    return true;
}

static inline char *put(char *at, const char *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}
#define PUT(at, literal) put((at), "" literal, sizeof(literal) - 1)

static char *put_u64(char *at, uint64_t n)
{
    char digits[20], *d = digits + sizeof digits;
    do
        *--d = (char)('0' + n % 10);
    while (n /= 10);
    return put(at, d, (size_t)(digits + sizeof digits - d));
}

/* The shortest that reads back as the same number. */
static char *put_double(char *at, double value)
{
    if (isnan(value))
        return PUT(at, "NaN");
    if (isinf(value))
        return value < 0 ? PUT(at, "-Inf") : PUT(at, "+Inf");
    if (value == floor(value) && fabs(value) < 1e15) {
        if (value < 0)
            *at++ = '-';
        return put_u64(at, (uint64_t)fabs(value));
    }
    char text[40];
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return put(at, text, (size_t)n);
}

#define NUMBER_MOST 48

/* NAME[suffix]{labels[,le="..."]} and the space: with room for a number and a line's end behind it. NULL: no memory. */
static char *line(gw_page *p, const char *suffix, gw_slice labels, const char *le)
{
    size_t tail = strlen(suffix), more = le ? strlen(le) : 0;
    if (!grow(p, p->family.len + tail + labels.len + more + 16 + NUMBER_MOST))
        return NULL;
    char *at = put(p->bytes + p->len, p->family.ptr, p->family.len);
    at = put(at, suffix, tail);
    if (labels.len || le) {
        *at++ = '{';
        if (labels.len)
            at = put(at, labels.ptr, labels.len);
        if (le) {
            if (labels.len)
                *at++ = ',';
            at = PUT(at, "le=\"");
            at = put(at, le, more);
            *at++ = '"';
        }
        *at++ = '}';
    }
    *at++ = ' ';
    return at;
}

static void finish(gw_page *p, char *at)
{
    *at++ = '\n';
    p->len = (size_t)(at - p->bytes);
}

static void put_text(gw_page *p, const char *text, size_t len)
{
    if (grow(p, len)) {
        memcpy(p->bytes + p->len, text, len);
        p->len += len;
    }
}

/* Help: a backslash and a line's end are escaped, in OpenMetrics quotes too (which the other form would show as they are). */
static void put_help(gw_page *p, const char *help)
{
    for (; *help; help++) {
        if (*help == '\\')
            put_text(p, "\\\\", 2);
        else if (*help == '\n')
            put_text(p, "\\n", 2);
        else if (*help == '"' && p->openmetrics)
            put_text(p, "\\\"", 2);
        else
            put_text(p, help, 1);
    }
}

void gw_page_family(gw_page *p, gw_slice name, enum gw_page_type type, const char *help)
{
    static const char *const types[] = {" counter\n", " gauge\n", " histogram\n"};
    p->family = name;
    p->type = type;
    bool total = type == GW_PAGE_COUNTER && !p->openmetrics;
    put_text(p, "# HELP ", 7);
    put_text(p, name.ptr, name.len);
    put_text(p, "_total", total ? 6 : 0);
    put_text(p, " ", 1);
    put_help(p, help);
    put_text(p, "\n# TYPE ", 8);
    put_text(p, name.ptr, name.len);
    put_text(p, "_total", total ? 6 : 0);
    put_text(p, types[type], strlen(types[type]));
}

void gw_page_u64(gw_page *p, gw_slice labels, uint64_t value)
{
    char *at = line(p, p->type == GW_PAGE_COUNTER ? "_total" : "", labels, NULL);
    if (at)
        finish(p, put_u64(at, value));
}

void gw_page_double(gw_page *p, gw_slice labels, double value)
{
    char *at = line(p, p->type == GW_PAGE_COUNTER ? "_total" : "", labels, NULL);
    if (at)
        finish(p, put_double(at, value));
}

/* A bound as OpenMetrics wants it, in both forms, so that series stay the same whichever is asked for: "0.005", "1.0", "+Inf". */
static void bound_text(char out[NUMBER_MOST], double bound)
{
    char *end = put_double(out, bound);
    *end = '\0';
    if (isfinite(bound) && !strpbrk(out, ".e"))
        memcpy(end, ".0", 3);
}

void gw_page_bucket(gw_page *p, gw_slice labels, double bound, uint64_t count)
{
    char le[NUMBER_MOST];
    bound_text(le, bound);
    char *at = line(p, "_bucket", labels, le);
    if (at)
        finish(p, put_u64(at, count));
}

void gw_page_exemplar(gw_page *p, gw_slice id, double value, double at)
{
    if (!p->openmetrics || !grow(p, id.len + 128) || p->len == 0)
        return;
    char *end = p->bytes + p->len - 1; /* over the line's end */
    end = PUT(end, " # {trace_id=\"");
    end = put(end, id.ptr, id.len);
    end = PUT(end, "\"} ");
    end = put_double(end, value);
    *end++ = ' ';
    end += snprintf(end, NUMBER_MOST, "%.3f", p->wall + at);
    finish(p, end);
}

void gw_page_sum(gw_page *p, gw_slice labels, double value)
{
    char *at = line(p, "_sum", labels, NULL);
    if (at)
        finish(p, put_double(at, value));
}

void gw_page_sum_ns(gw_page *p, gw_slice labels, uint64_t ns)
{
    char *at = line(p, "_sum", labels, NULL);
    if (!at)
        return;
    at = put_u64(at, ns / 1000000000);
    uint64_t rest = ns % 1000000000;
    if (rest) {
        *at++ = '.';
        for (uint64_t scale = 100000000; rest; scale /= 10) {
            *at++ = (char)('0' + rest / scale);
            rest %= scale;
        }
    }
    finish(p, at);
}

void gw_page_count(gw_page *p, gw_slice labels, uint64_t count)
{
    char *at = line(p, "_count", labels, NULL);
    if (at)
        finish(p, put_u64(at, count));
}

void gw_page_end(gw_page *p)
{
    if (p->openmetrics)
        put_text(p, "# EOF\n", 6);
}

void gw_metrics_label(gw_text *t, const char *name, gw_slice value)
{
    gw_text_slice(t, gw_slice_str(name));
    gw_text_lit(t, "=\"");
    for (size_t i = 0; i < value.len;) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c == '\\' || c == '"' || c == '\n') {
            gw_text_add(t, c == '\\' ? "\\\\" : c == '"' ? "\\\"" : "\\n", 2);
            i++;
        } else if (c < 0x80) {
            gw_text_add(t, value.ptr + i, 1);
            i++;
        } else {
            int n = gw_utf8_sequence(value.ptr + i, value.len - i);
            if (n > 0)
                gw_text_add(t, value.ptr + i, (size_t)n);
            else
                gw_text_lit(t, "\xef\xbf\xbd");
            i += (size_t)(n > 0 ? n : -n);
        }
    }
    gw_text_lit(t, "\"");
}
