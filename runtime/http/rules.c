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

static int refuse_name(gw_reading *g, const char *at, size_t len)
{
    if (len == 0)
        return gw_refuse(g->bad, 400, "empty field name");
    for (size_t i = 0; i < len; i++) {
        if (gw_char_is_space(at[i]))
            return gw_refuse(g->bad, 400, "whitespace in or after a field name");
        if (!gw_char_is(at[i], GW_CHAR_TOKEN))
            break;
    }
    return gw_refuse(g->bad, 400, "invalid character in a field name");
}

/* The fields that decide where a message ends or whom it is for may stand there once. */
#define SINGLE_FIELDS (1ULL << GW_H_HOST | 1ULL << GW_H_CONTENT_LENGTH | 1ULL << GW_H_TRANSFER_ENCODING)

static int note_single(gw_reading *g, const gw_header *f, bool again)
{
    switch (f->id) {
    case GW_H_HOST:
        return again ? gw_refuse(g->bad, 400, "repeated Host") : 0;
    case GW_H_CONTENT_LENGTH:
        if (again)
            return gw_refuse(g->bad, 400, "repeated Content-Length");
        /* http-parser takes spaces behind the digits, but no tabs: what one reader refuses, both do. */
        for (const char *behind = f->value.ptr + f->value.len; *behind != '\r'; behind++)
            if (gw_unlikely(*behind == '\t'))
                return gw_refuse(g->bad, 400, "malformed Content-Length");
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

/* Why the line at the cursor does not begin with a field name. */
static int refuse_line(gw_reading *g)
{
    const char *name = g->cursor, *stop = name;
    while (stop < g->end && *stop != ':' && *stop != '\r' && *stop != '\n')
        stop++;
    if (gw_char_is_space(*name))
        return gw_refuse(g->bad, 400, g->headers->count ? "obs-fold" : "whitespace before the first field");
    if (stop == g->end || *stop != ':')
        return gw_refuse(g->bad, 400, "field line without a colon");
    return refuse_name(g, name, (size_t)(stop - name));
}

/* A field line: name ':' OWS value OWS CRLF. */
static int read_field(gw_reading *g)
{
    gw_headers *h = g->headers;
    const char *name = g->cursor, *end = g->end, *at = gw_find(name, end, ':');
    if (gw_unlikely(!at))
        return refuse_line(g);
    gw_slice found = gw_slice_of(name, (size_t)(at - name));
    enum gw_header_id id = gw_header_id_of(found);
    if (id == GW_H_OTHER && gw_unlikely(!gw_header_name_valid(found))) /* a name that is known is valid */
        return refuse_line(g);
    if (gw_unlikely(h->count >= g->most))
        return gw_refuse(g->bad, 431, "too many header fields");
    gw_header *f = &h->item[h->count];
    f->name = found;
    f->id = (uint8_t)id;
    f->nominated = false;

    const char *value = at + 1;
    while (value < end && gw_char_is_space(*value))
        value++;
    const char *stop = gw_find(value, end, '\r');
    if (gw_unlikely(!stop || end - stop < 2 || stop[1] != '\n'))
        return gw_refuse(g->bad, 400, stop ? "CR without LF in the head" : "bare LF in the head");
    g->cursor = stop + 2;
    while (stop > value && gw_char_is_space(stop[-1]))
        stop--;
    f->value = gw_slice_of(value, (size_t)(stop - value));
    f->plain = value == at + 2 && at[1] == ' ' && stop + 2 == g->cursor;
    if (gw_unlikely(!gw_header_value_valid(f->value)))
        return gw_refuse(g->bad, 400, "control character in a field value");
    h->count++;
    if (f->id == GW_H_OTHER)
        return GW_OK;
    bool again = gw_headers_has(h, (enum gw_header_id)f->id);
    h->present |= 1ULL << f->id;
    return note_single(g, f, again);
}

int gw_read_fields(gw_reading *g, gw_headers *headers, const char *fields, const char *end, const gw_head_limits *limits,
                   gw_bad_head *bad)
{
    gw_headers_clear(headers);
    g->headers = headers;
    g->cursor = fields;
    g->end = end;
    g->bad = bad;
    g->length = g->coding = GW_NO_SLICE;
    g->most = limits->headers < GW_HEADERS_LIMIT ? limits->headers : GW_HEADERS_LIMIT;
    while (end - g->cursor >= 2 && *g->cursor != '\r')
        if (gw_unlikely(read_field(g) != GW_OK))
            return GW_INVALID;
    if (gw_unlikely(end - g->cursor != 2 || g->cursor[0] != '\r' || g->cursor[1] != '\n'))
        return gw_refuse(bad, 400, end - g->cursor < 2 ? "incomplete head" : "malformed end of the head");
    return GW_OK;
}

/* ---- http-parser's reading, held against ours ---- */

typedef struct second_reading {
    http_parser parser;
    const gw_headers *headers;
    gw_slice target;
    uint32_t at; /* field that comes next */
    bool name_read, target_read, complete;
} second_reading;

static inline second_reading *second_of(http_parser *p)
{
    return gw_container_of(p, second_reading, parser);
}

static int second_target(http_parser *p, const char *at, size_t len)
{
    second_reading *s = second_of(p);
    s->target_read = at == s->target.ptr && len == s->target.len;
    return s->target_read ? 0 : -1;
}

static int second_name(http_parser *p, const char *at, size_t len)
{
    second_reading *s = second_of(p);
    if (s->name_read || s->at >= s->headers->count)
        return -1;
    gw_slice name = s->headers->item[s->at].name;
    s->name_read = at == name.ptr && len == name.len;
    return s->name_read ? 0 : -1;
}

static int second_value(http_parser *p, const char *at, size_t len)
{
    second_reading *s = second_of(p);
    if (!s->name_read)
        return -1;
    gw_slice value = s->headers->item[s->at++].value;
    s->name_read = false;
    /* It leaves whitespace at the end of a value, and says that one is empty only when it has seen the line after it. */
    if (len == 0)
        return value.len == 0 ? 0 : -1;
    if (value.len == 0 || at != value.ptr || len < value.len)
        return -1;
    while (len > value.len && gw_char_is_space(at[len - 1]))
        len--;
    return len == value.len ? 0 : -1;
}

/* Stops http-parser here: bodies and upgrades are not its business. */
static int second_complete(http_parser *p)
{
    second_reading *s = second_of(p);
    s->complete = !s->name_read && s->at == s->headers->count;
    return -1;
}

static const http_parser_settings second_settings = {
    .on_url = second_target,
    .on_header_field = second_name,
    .on_header_value = second_value,
    .on_headers_complete = second_complete,
};

int gw_read_twice(enum http_parser_type type, const gw_headers *headers, gw_slice target, const char *start, const char *end,
                  gw_second *found, gw_bad_head *bad)
{
    second_reading s = {.headers = headers, .target = target};
    http_parser_init(&s.parser, type);
    s.parser.lenient_http_headers = 1; /* field values are checked already, and more strictly */
    http_parser_execute(&s.parser, &second_settings, start, (size_t)(end - start));
    found->method = type == HTTP_REQUEST ? http_method_str((enum http_method)s.parser.method) : "";
    found->status = s.parser.status_code;
    if (gw_likely(s.complete && (type == HTTP_RESPONSE || s.target_read)))
        return GW_OK;
    if (HTTP_PARSER_ERRNO(&s.parser) == HPE_INVALID_METHOD)
        return gw_refuse(bad, 501, "unknown method");
    enum http_errno wrong = HTTP_PARSER_ERRNO(&s.parser);
    if (wrong == HPE_INVALID_CONTENT_LENGTH)
        return gw_refuse(bad, 400, "malformed Content-Length");
    /* Our callbacks stopped it, or it wants more where the head ends. */
    if (wrong == HPE_OK || (wrong >= HPE_CB_message_begin && wrong <= HPE_CB_chunk_complete))
        return gw_refuse(bad, 400, "the head can be read in two ways");
    return gw_refuse(bad, 400, http_errno_description(wrong));
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
