#include "gateway/pattern.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/router.h"

typedef struct reader {
    gw_slice source; /* as in the script */
    gw_slice body;   /* behind "=" */
    bool exact;
    char *message;
    size_t message_bytes;
} reader;

static bool is_hex(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_name(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

static bool is_unreserved(unsigned char c)
{
    return is_name(c) || c == '.' || c == '~';
}

static int hex_value(unsigned char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static char *put_escape(char *out, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    *out++ = '%';
    *out++ = digits[c >> 4];
    *out++ = digits[c & 15];
    return out;
}

/* Length of the UTF-8 sequence at s, 0 when it is none (overlong forms, surrogates and what lies beyond U+10FFFF are none). */
static size_t utf8_length(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] >= 0xC2 && p[0] <= 0xDF ? 2 : p[0] >= 0xE0 && p[0] <= 0xEF ? 3 : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4 : 0;
    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
        (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

/* What the author probably meant: the source up to a query, in normalised form. Returns its length in `out`, which holds
 * 3 * source.len + 1 bytes; 0 when nothing sensible can be proposed. */
static size_t propose(gw_slice body, char *out)
{
    char *w = out;
    if (body.len == 0 || (body.ptr[0] != '/' && body.ptr[0] != '\\'))
        *w++ = '/';
    for (size_t i = 0; i < body.len; i++) {
        unsigned char c = (unsigned char)body.ptr[i];
        if (c == '?' || c == '#')
            break;
        if (c == '%' && i + 2 < body.len && is_hex((unsigned char)body.ptr[i + 1]) && is_hex((unsigned char)body.ptr[i + 2])) {
            unsigned char d =
                (unsigned char)(hex_value((unsigned char)body.ptr[i + 1]) << 4 | hex_value((unsigned char)body.ptr[i + 2]));
            if (d < 0x20 || d == 0x7f || d == '\\')
                return 0;
            if (is_unreserved(d))
                *w++ = (char)d;
            else
                w = put_escape(w, d);
            i += 2;
        } else if (c == '\\') {
            *w++ = '/';
        } else if (c < 0x20 || c == 0x7f) {
            return 0;
        } else if (c == ' ' || c == '%') {
            w = put_escape(w, c);
        } else {
            *w++ = (char)c;
        }
    }
    /* Resolve in place: what is kept is never longer than what was read. */
    char *end = w, *kept = out;
    for (char *at = out; at < end;) {
        char *segment = at + 1, *next = memchr(segment, '/', (size_t)(end - segment));
        size_t len = (size_t)((next ? next : end) - segment);
        bool last = next == NULL;
        if (len == 2 && segment[0] == '.' && segment[1] == '.') {
            if (kept == out)
                return 0;
            do
                kept--;
            while (kept > out && *kept != '/');
            len = 0;
        } else if (len == 1 && segment[0] == '.') {
            len = 0;
        }
        if (len || last) {
            *kept++ = '/';
            memmove(kept, segment, len);
            kept += len;
        }
        at = next ? next : end;
    }
    return (size_t)(kept - out);
}

static int refuse(const reader *r, const char *what)
{
    snprintf(r->message, r->message_bytes, "path \"%.*s\" %s", (int)r->source.len, r->source.ptr, what);
    return GW_INVALID;
}

/* Refuses with the normalised form as a proposal. */
static int refuse_form(const reader *r, size_t at, const char *found)
{
    char what[256];
    snprintf(what, sizeof what, "has %s at byte %zu; paths are compared in their normalised form", found,
             at + 1 + (size_t)(r->body.ptr - r->source.ptr));
    refuse(r, what);
    char *proposal = malloc(3 * r->body.len + 2);
    size_t len = proposal ? propose(r->body, proposal) : 0;
    size_t used = strlen(r->message);
    if (len)
        snprintf(r->message + used, r->message_bytes - used, ": write \"%s%.*s\"", r->exact ? "= " : "", (int)len, proposal);
    free(proposal);
    return GW_INVALID;
}

static int check_escape(const reader *r, size_t i)
{
    gw_slice b = r->body;
    if (i + 2 >= b.len || !is_hex((unsigned char)b.ptr[i + 1]) || !is_hex((unsigned char)b.ptr[i + 2]))
        return refuse_form(r, i, "a '%' that begins no escape (two hexadecimal digits)");
    unsigned char decoded = (unsigned char)(hex_value((unsigned char)b.ptr[i + 1]) << 4 | hex_value((unsigned char)b.ptr[i + 2]));
    char found[64];
    if (decoded < 0x20 || decoded == 0x7f || decoded == '\\') {
        snprintf(found, sizeof found, "\"%.3s\"", b.ptr + i);
        char what[160];
        snprintf(what, sizeof what, "has %s at byte %zu, which is refused in every request", found,
                 i + 1 + (size_t)(b.ptr - r->source.ptr));
        return refuse(r, what);
    }
    if (is_unreserved(decoded)) {
        snprintf(found, sizeof found, "\"%.3s\" (that is \"%c\")", b.ptr + i, decoded);
        return refuse_form(r, i, found);
    }
    if ((b.ptr[i + 1] >= 'a') || (b.ptr[i + 2] >= 'a')) {
        snprintf(found, sizeof found, "the lower-case escape \"%.3s\"", b.ptr + i);
        return refuse_form(r, i, found);
    }
    return GW_OK;
}

/* Checks the bytes and writes them, UTF-8 as escapes, to `out`. */
static int normalise(const reader *r, char *out, size_t *out_len)
{
    gw_slice b = r->body;
    char *w = out;
    for (size_t i = 0; i < b.len; i++) {
        unsigned char c = (unsigned char)b.ptr[i];
        if (c >= 0x80) {
            size_t n = utf8_length(b.ptr + i, b.len - i);
            if (n == 0)
                return refuse(r, "has bytes that are not UTF-8; write them as escapes, such as %E4");
            for (size_t k = 0; k < n; k++)
                w = put_escape(w, (unsigned char)b.ptr[i + k]);
            i += n - 1;
            continue;
        }
        if (c < 0x20 || c == 0x7f)
            return refuse(r, "has a control character, which no request path can have");
        if (c == ' ')
            return refuse_form(r, i, "a space");
        if (c == '\\')
            return refuse_form(r, i, "a '\\'");
        if (c == '?' || c == '#')
            return refuse_form(r, i, c == '?' ? "a '?' (a path ends before the query)" : "a '#' (fragments are never sent)");
        if (c == '{' || c == '}' || c == '<' || c == '>')
            return refuse(r, "has braces or angle brackets; a parameter is written \":name\", a remainder \"*name\"");
        if (c == '%') {
            int status = check_escape(r, i);
            if (status != GW_OK)
                return status;
        }
        if (c == '/') {
            const char *segment = b.ptr + i + 1;
            size_t left = b.len - i - 1, len = 0;
            while (len < left && segment[len] != '/')
                len++;
            if (len == 0 && left > 0)
                return refuse_form(r, i, "\"//\"");
            if (len == 1 && segment[0] == '.')
                return refuse_form(r, i + 1, "the segment \".\"");
            if (len == 2 && segment[0] == '.' && segment[1] == '.')
                return refuse_form(r, i + 1, "the segment \"..\"");
        }
        *w++ = (char)c;
    }
    *out_len = (size_t)(w - out);
    return GW_OK;
}

static int check_param_name(const reader *r, const gw_pattern *p, gw_slice name)
{
    char what[200];
    if (name.len == 0)
        return refuse(r, "has a ':' without a name; a parameter is written \":name\"");
    for (size_t i = 0; i < name.len; i++) {
        if (!is_name((unsigned char)name.ptr[i])) {
            if (name.ptr[i] == ':')
                return refuse(r, "has two parameters in one segment; a parameter takes a whole segment");
            if (name.ptr[i] == '*')
                return refuse(r, "has a '*' behind a parameter; a remainder is a segment of its own: \"/:name/*\"");
            snprintf(what, sizeof what,
                     "has a parameter name \"%.*s\"; expected letters, digits, '_' and '-' (a parameter takes a whole segment)",
                     (int)(name.len > 64 ? 64 : name.len), name.ptr);
            return refuse(r, what);
        }
    }
    if (name.len > 64)
        return refuse(r, "has a parameter name longer than 64 characters");
    for (uint32_t i = 0; i < p->segment_count; i++) {
        if (p->segments[i].kind == GW_SEGMENT_PARAMETER && gw_slice_equal(p->segments[i].text, name)) {
            snprintf(what, sizeof what, "has two parameters named \"%.*s\"; each needs a name of its own", (int)name.len,
                     name.ptr);
            return refuse(r, what);
        }
    }
    if (p->param_count >= GW_PARAMS_MAX) {
        snprintf(what, sizeof what, "has more than %d parameters", GW_PARAMS_MAX);
        return refuse(r, what);
    }
    return GW_OK;
}

/* One segment of a pattern that is not exact. `*open` becomes true behind what takes any continuation. */
static int read_segment(const reader *r, gw_pattern *p, gw_slice s, bool last, bool *open)
{
    int status;
    const char *star = memchr(s.ptr, '*', s.len);
    gw_segment *segment = &p->segments[p->segment_count];
    if (s.len && s.ptr[0] == ':') {
        gw_slice name = gw_slice_of(s.ptr + 1, s.len - 1);
        if ((status = check_param_name(r, p, name)) != GW_OK)
            return status;
        *segment = (gw_segment){GW_SEGMENT_PARAMETER, name};
        p->segment_count++, p->param_count++;
        return GW_OK;
    }
    if (star == NULL) {
        if (s.len == 0 && last && p->param_count == 0)
            return *open = true, GW_OK; /* "/api/" means "/api" */
        *segment = (gw_segment){GW_SEGMENT_LITERAL, s};
        p->segment_count++;
        return GW_OK;
    }
    if (!last)
        return refuse(r, "has a '*' before its last segment; a '*' stands at the end, and \":name\" takes one segment");
    *open = true;
    if (star == s.ptr) {
        gw_slice name = gw_slice_of(s.ptr + 1, s.len - 1);
        if (name.len == 0)
            return GW_OK;
        if ((status = check_param_name(r, p, name)) != GW_OK)
            return status;
        p->rest = name;
        p->param_count++;
        return GW_OK;
    }
    if (star != s.ptr + s.len - 1)
        return refuse(
            r, "has a '*' inside a segment; a '*' ends the pattern (\"/api*\") or begins its last segment (\"/api/*rest\")");
    *segment = (gw_segment){GW_SEGMENT_LOOSE, gw_slice_of(s.ptr, s.len - 1)};
    p->segment_count++;
    return GW_OK;
}

static int read_segments(const reader *r, gw_pattern *p)
{
    gw_slice text = p->text;
    bool open = false;
    for (size_t at = 1; at <= text.len;) {
        size_t end = at;
        while (end < text.len && text.ptr[end] != '/')
            end++;
        if (p->segment_count == GW_PATTERN_SEGMENTS) {
            char what[64];
            snprintf(what, sizeof what, "has more than %d segments", GW_PATTERN_SEGMENTS);
            return refuse(r, what);
        }
        int status = read_segment(r, p, gw_slice_of(text.ptr + at, end - at), end == text.len, &open);
        if (status != GW_OK)
            return status;
        at = end + 1;
    }
    p->kind = p->param_count - (p->rest.ptr != NULL) > 0 && !open ? GW_PATTERN_PARAMETER : GW_PATTERN_PREFIX;
    return GW_OK;
}

/* In an exact path ':' and '*' are characters like others; where they would mean something without the '=', it is a mistake. */
static int check_exact(const reader *r, const gw_pattern *p)
{
    for (size_t i = 0; i < p->text.len; i++) {
        bool begins = p->text.ptr[i] == '/' && i + 1 < p->text.len;
        if (begins && p->text.ptr[i + 1] == ':')
            return refuse(r, "has a parameter behind '='; without the '=' a path with parameters takes the whole path already");
        if ((begins && p->text.ptr[i + 1] == '*') || (p->text.ptr[i] == '*' && i + 1 == p->text.len))
            return refuse(r, "has a '*' behind '='; an exact path takes that path only, a prefix is written without the '='");
    }
    return GW_OK;
}

int gw_pattern_parse(gw_slice source, gw_pattern **pattern, char *message, size_t message_bytes)
{
    reader r = {.source = source, .body = source, .message = message, .message_bytes = message_bytes};
    *pattern = NULL;
    if (source.len > GW_PATTERN_BYTES) {
        snprintf(message, message_bytes, "path \"%.40s...\" is %zu bytes long; expected at most %d", source.ptr, source.len,
                 GW_PATTERN_BYTES);
        return GW_INVALID;
    }
    if (source.len && source.ptr[0] == '=') {
        r.exact = true;
        do
            r.body.ptr++, r.body.len--;
        while (r.body.len && r.body.ptr[0] == ' ');
    }
    if (r.body.len == 0)
        return refuse(&r, "is empty; expected a path such as \"/\", \"/api\", \"= /exact\" or \"/users/:id\"");
    if (r.body.ptr[0] != '/')
        return refuse(&r, "does not begin with '/'; expected a path such as \"/api\", \"= /exact\" or \"/users/:id\"");

    size_t slashes = 0;
    for (size_t i = 0; i < r.body.len; i++)
        slashes += r.body.ptr[i] == '/';
    if (slashes > GW_PATTERN_SEGMENTS)
        slashes = GW_PATTERN_SEGMENTS;
    gw_pattern *p = calloc(1, sizeof *p + slashes * sizeof p->segments[0] + 3 * r.body.len + 1);
    if (p == NULL)
        return GW_NOMEM;
    char *text = (char *)&p->segments[slashes];
    int status = normalise(&r, text, &p->text.len);
    p->text.ptr = text;
    if (status == GW_OK)
        status = r.exact ? check_exact(&r, p) : read_segments(&r, p);
    if (status != GW_OK) {
        free(p);
        return status;
    }
    *pattern = p;
    return GW_OK;
}

static int compare_text(gw_slice a, gw_slice b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    int c = least ? memcmp(a.ptr, b.ptr, least) : 0;
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

int gw_pattern_compare(const gw_pattern *a, const gw_pattern *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->kind == GW_PATTERN_EXACT)
        return compare_text(a->text, b->text);
    /* More segments before fewer is what "longer prefix first" means where parameters stand in it. Patterns that take whole paths
     * meet only at the same number, so there it settles nothing but the order of listing. */
    if (a->segment_count != b->segment_count)
        return a->segment_count > b->segment_count ? -1 : 1;
    for (uint32_t i = 0; i < a->segment_count; i++) {
        const gw_segment *x = &a->segments[i], *y = &b->segments[i];
        if (x->kind != y->kind)
            return x->kind < y->kind ? -1 : 1;
        if (x->kind == GW_SEGMENT_PARAMETER)
            continue;
        if (x->kind == GW_SEGMENT_LOOSE && x->text.len != y->text.len)
            return x->text.len > y->text.len ? -1 : 1;
        int c = compare_text(x->text, y->text);
        if (c)
            return c;
    }
    return 0;
}
