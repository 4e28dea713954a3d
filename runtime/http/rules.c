#include "http/rules.h"

#include "http/chars.h"

/* Options beyond close, keep-alive and upgrade that one message may name: each costs a walk over its fields. */
#define OPTIONS_MAX 32

/* The length of a head is bounded by gw_head_limits before http-parser sees it. Its own bound (80 KB, one for the process) would
 * quietly undercut a larger setting. */
__attribute__((constructor)) static void lift_parser_bound(void)
{
    http_parser_set_max_header_size(INT32_MAX);
}

static inline gw_reading *reading_of(http_parser *p)
{
    return gw_container_of(p, gw_reading, parser);
}

static int refuse_name(gw_reading *g, const char *at, size_t len)
{
    if (len == 0)
        return gw_refuse(g->bad, 400, "empty field name");
    for (size_t i = 0; i < len; i++) {
        if (gw_char_is_space(at[i]))
            return gw_refuse(g->bad, 400,
                             i == 0 ? "obs-fold or whitespace before a field name" : "whitespace in or after a field name");
        if (!gw_char_is(at[i], GW_CHAR_TOKEN))
            break;
    }
    return gw_refuse(g->bad, 400, "invalid character in a field name");
}

static int on_field(http_parser *p, const char *at, size_t len)
{
    gw_reading *g = reading_of(p);
    gw_headers *h = g->headers;
    if (gw_unlikely(g->value_next || at != g->cursor || at + len >= g->end || at[len] != ':'))
        return gw_refuse(g->bad, 400, "malformed field line");
    if (gw_unlikely(h->count >= g->most))
        return gw_refuse(g->bad, 431, "too many header fields");
    gw_header *f = &h->item[h->count];
    f->name = gw_slice_of(at, len);
    f->id = (uint8_t)gw_header_id_of(f->name);
    f->nominated = false;
    if (f->id == GW_H_OTHER && gw_unlikely(!gw_header_name_valid(f->name)))
        return refuse_name(g, at, len);
    g->cursor = at + len + 1;
    g->value_next = true;
    return 0;
}

/* The fields that decide where a message ends or whom it is for may stand there once. */
static int note_single(gw_reading *g, const gw_header *f, bool again)
{
    switch (f->id) {
    case GW_H_HOST:
        return again ? gw_refuse(g->bad, 400, "repeated Host") : 0;
    case GW_H_CONTENT_LENGTH:
        if (again)
            return gw_refuse(g->bad, 400, "repeated Content-Length");
        g->length = f->value;
        return g->coding.ptr ? gw_refuse(g->bad, 400, "Content-Length with Transfer-Encoding") : 0;
    case GW_H_TRANSFER_ENCODING:
        if (again)
            return gw_refuse(g->bad, 400, "repeated Transfer-Encoding");
        g->coding = f->value;
        return g->length.ptr ? gw_refuse(g->bad, 400, "Content-Length with Transfer-Encoding") : 0;
    default:
        return 0;
    }
}

static int on_value(http_parser *p, const char *at, size_t len)
{
    gw_reading *g = reading_of(p);
    gw_headers *h = g->headers;
    if (gw_unlikely(!g->value_next)) /* http-parser goes on with the value of the line before */
        return gw_refuse(g->bad, 400, "obs-fold");
    const char *value = g->cursor, *end = g->end;
    while (value < end && gw_char_is_space(*value))
        value++;
    /* http-parser reports an empty value only when it has seen the line after it. */
    const char *stop = value + len;
    if (gw_unlikely((size_t)(end - value) < len + 2 || at != (len ? value : value + 2)))
        return gw_refuse(g->bad, 400, "obs-fold or malformed field line");
    if (gw_unlikely(stop[0] != '\r' || stop[1] != '\n'))
        return gw_refuse(g->bad, 400, stop[0] == '\r' ? "CR without LF in the head" : "bare LF in the head");
    g->cursor = stop + 2;
    g->value_next = false;
    while (stop > value && gw_char_is_space(stop[-1]))
        stop--;
    gw_header *f = &h->item[h->count++];
    f->value = gw_slice_of(value, (size_t)(stop - value));
    if (gw_unlikely(!gw_header_value_valid(f->value)))
        return gw_refuse(g->bad, 400, "control character in a field value");
    if (f->id == GW_H_OTHER)
        return 0;
    bool again = gw_headers_has(h, (enum gw_header_id)f->id);
    h->present |= 1ULL << f->id;
    return note_single(g, f, again);
}

static int on_target(http_parser *p, const char *at, size_t len)
{
    gw_reading *g = reading_of(p);
    if (gw_unlikely(at != g->target.ptr || len != g->target.len))
        return gw_refuse(g->bad, 400, "malformed target");
    g->target_read = true;
    return 0;
}

/* Stops http-parser here: bodies and upgrades are not its business. */
static int on_complete(http_parser *p)
{
    gw_reading *g = reading_of(p);
    if (g->value_next || g->end - g->cursor != 2 || g->cursor[0] != '\r' || g->cursor[1] != '\n')
        gw_refuse(g->bad, 400, "malformed end of the head");
    else
        g->complete = true;
    return -1;
}

static const http_parser_settings settings = {
    .on_url = on_target,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_complete,
};

int gw_read_head(gw_reading *g, enum http_parser_type type, gw_headers *headers, const char *start, const char *fields,
                 const char *end, const gw_head_limits *limits, gw_bad_head *bad)
{
    headers->count = 0;
    headers->present = 0;
    g->headers = headers;
    g->cursor = fields;
    g->end = end;
    g->bad = bad;
    g->length = g->coding = GW_NO_SLICE;
    g->most = limits->headers < GW_HEADERS_LIMIT ? limits->headers : GW_HEADERS_LIMIT;
    g->value_next = g->complete = g->target_read = false;
    bad->status = 0;

    http_parser_init(&g->parser, type);
    /* Field values are checked here, and more strictly. */
    g->parser.lenient_http_headers = 1;
    http_parser_execute(&g->parser, &settings, start, (size_t)(end - start));
    if (gw_unlikely(bad->status != 0))
        return GW_INVALID;
    if (gw_likely(g->complete && (type == HTTP_RESPONSE || g->target_read)))
        return GW_OK;
    switch (HTTP_PARSER_ERRNO(&g->parser)) {
    case HPE_INVALID_METHOD:
        return gw_refuse(bad, 501, "unknown method");
    case HPE_INVALID_HEADER_TOKEN: {
        /* It stopped inside a name: the cursor stands at its first byte. */
        const char *stop = g->cursor;
        while (stop < end && *stop != ':' && *stop != '\r' && *stop != '\n')
            stop++;
        if (g->value_next)
            return gw_refuse(bad, 400, "invalid character in a field value");
        if (stop == end || *stop != ':')
            return gw_refuse(bad, 400, "field line without a colon");
        return refuse_name(g, g->cursor, (size_t)(stop - g->cursor));
    }
    case HPE_LF_EXPECTED:
        return gw_refuse(bad, 400, "CR without LF in the head");
    case HPE_INVALID_CONTENT_LENGTH:
        return gw_refuse(bad, 400, "malformed Content-Length");
    case HPE_OK:
        return gw_refuse(bad, 400, "incomplete head");
    default:
        return gw_refuse(bad, 400, http_errno_description(HTTP_PARSER_ERRNO(&g->parser)));
    }
}

int gw_rules_framing(const gw_reading *g, int minor, enum gw_framing *framing, uint64_t *length, gw_bad_head *bad)
{
    *framing = GW_FRAMING_NONE;
    *length = 0;
    if (g->coding.ptr) {
        if (minor == 0)
            return gw_refuse(bad, 400, "Transfer-Encoding in HTTP/1.0");
        if (!gw_slice_equal_nocase(g->coding, GW_SLICE("chunked")))
            return gw_refuse(bad, 400, "Transfer-Encoding other than chunked");
        *framing = GW_FRAMING_CHUNKED;
    } else if (g->length.ptr) {
        uint64_t n = 0;
        if (g->length.len == 0)
            return gw_refuse(bad, 400, "empty Content-Length");
        for (size_t i = 0; i < g->length.len; i++) {
            unsigned digit = (unsigned char)g->length.ptr[i] - (unsigned)'0';
            if (digit > 9)
                return gw_refuse(bad, 400, "malformed Content-Length");
            /* Bounded by the signed range, so that sums of lengths stay in the unsigned one. */
            if (n > ((uint64_t)INT64_MAX - digit) / 10)
                return gw_refuse(bad, 400, "Content-Length too large");
            n = n * 10 + digit;
        }
        *framing = GW_FRAMING_LENGTH;
        *length = n;
    }
    return GW_OK;
}

int gw_rules_version(const char *at, uint8_t *minor, gw_bad_head *bad)
{
    if (gw_likely(memcmp(at, "HTTP/1.", 7) == 0 && (at[7] == '0' || at[7] == '1'))) {
        *minor = (uint8_t)(at[7] - '0');
        return GW_OK;
    }
    if (memcmp(at, "HTTP/", 5) != 0 || at[5] < '0' || at[5] > '9' || at[6] != '.' || at[7] < '0' || at[7] > '9')
        return gw_refuse(bad, 400, "malformed HTTP version");
    if (at[5] != '1')
        return gw_refuse(bad, 505, "HTTP major version other than 1");
    return gw_refuse(bad, 400, "HTTP version other than 1.0 and 1.1");
}

bool gw_list_next(gw_slice *list, gw_slice *element)
{
    const char *at = list->ptr;
    size_t left = list->len;
    while (left) {
        const char *comma = memchr(at, ',', left);
        size_t len = comma ? (size_t)(comma - at) : left, taken = comma ? len + 1 : len;
        const char *first = at, *last = at + len;
        at += taken, left -= taken;
        while (first < last && gw_char_is_space(*first))
            first++;
        while (first < last && gw_char_is_space(last[-1]))
            last--;
        if (first < last) {
            *element = gw_slice_of(first, (size_t)(last - first));
            *list = gw_slice_of(at, left);
            return true;
        }
    }
    *list = gw_slice_of(at, 0);
    return false;
}

/* RFC 9110 section 7.6.1 forbids to name fields that are meant for all recipients. Of the names that the gateway knows, these are
 * all but the hop-by-hop ones; whoever could take away Host, Authorization or X-Forwarded-For could deceive the backend. */
static bool may_be_nominated(gw_slice name, enum gw_header_id id)
{
    if (id != GW_H_OTHER)
        return id == GW_H_HTTP2_SETTINGS || gw_header_is_hop_by_hop(&(gw_header){.id = (uint8_t)id});
    const size_t prefix = sizeof "x-forwarded-" - 1;
    return name.len <= prefix || !gw_slice_equal_nocase(gw_slice_of(name.ptr, prefix), GW_SLICE("x-forwarded-"));
}

static void nominate(gw_headers *h, gw_slice name)
{
    if (!may_be_nominated(name, gw_header_id_of(name)))
        return;
    for (int i = gw_headers_find(h, name, 0); i >= 0; i = gw_headers_find(h, name, (uint32_t)i + 1))
        h->item[i].nominated = true;
}

int gw_rules_connection(gw_headers *h, gw_connection_options *options, gw_bad_head *bad)
{
    *options = (gw_connection_options){0};
    if (!gw_headers_has(h, GW_H_CONNECTION))
        return GW_OK;
    uint32_t others = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->item[i].id != GW_H_CONNECTION)
            continue;
        gw_slice list = h->item[i].value, option;
        while (gw_list_next(&list, &option)) {
            if (gw_slice_equal_nocase(option, GW_SLICE("close"))) {
                options->close = true;
            } else if (gw_slice_equal_nocase(option, GW_SLICE("keep-alive"))) {
                options->keep_alive = true;
            } else if (gw_slice_equal_nocase(option, GW_SLICE("upgrade"))) {
                options->upgrade = true;
            } else {
                if (++others > OPTIONS_MAX)
                    return gw_refuse(bad, 400, "too many connection options");
                nominate(h, option);
            }
        }
    }
    return GW_OK;
}
