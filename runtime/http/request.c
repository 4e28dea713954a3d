#include "http/chars.h"
#include "http/rules.h"
#include "http/url.h"

enum gw_method gw_method_of(gw_slice name)
{
    switch (name.len) {
    case 3:
        if (memcmp(name.ptr, "GET", 3) == 0)
            return GW_METHOD_GET;
        if (memcmp(name.ptr, "PUT", 3) == 0)
            return GW_METHOD_PUT;
        break;
    case 4:
        if (memcmp(name.ptr, "POST", 4) == 0)
            return GW_METHOD_POST;
        if (memcmp(name.ptr, "HEAD", 4) == 0)
            return GW_METHOD_HEAD;
        break;
    case 5:
        if (memcmp(name.ptr, "PATCH", 5) == 0)
            return GW_METHOD_PATCH;
        if (memcmp(name.ptr, "TRACE", 5) == 0)
            return GW_METHOD_TRACE;
        break;
    case 6:
        if (memcmp(name.ptr, "DELETE", 6) == 0)
            return GW_METHOD_DELETE;
        break;
    case 7:
        if (memcmp(name.ptr, "OPTIONS", 7) == 0)
            return GW_METHOD_OPTIONS;
        if (memcmp(name.ptr, "CONNECT", 7) == 0)
            return GW_METHOD_CONNECT;
        break;
    default:
        break;
    }
    return gw_header_name_valid(name) ? GW_METHOD_OTHER : GW_METHOD_NONE;
}

bool gw_method_is_idempotent(enum gw_method method)
{
    switch (method) {
    case GW_METHOD_GET:
    case GW_METHOD_HEAD:
    case GW_METHOD_OPTIONS:
    case GW_METHOD_TRACE:
    case GW_METHOD_PUT:
    case GW_METHOD_DELETE:
        return true;
    default:
        return false;
    }
}

/* Why the target ends with something else than the space before the version. */
static int refuse_target(const char *at, const char *end, bool empty, gw_bad_head *bad)
{
    unsigned char c = at < end ? (unsigned char)*at : '\r';
    if (c == '#')
        return gw_refuse(bad, 400, "fragment in the target");
    if (c >= 0x80)
        return gw_refuse(bad, 400, "byte >= 0x80 in the target");
    if (empty && c == ' ')
        return gw_refuse(bad, 400, "more than one space in the request line");
    if (c == '\r')
        return gw_refuse(bad, 400, "request line without an HTTP version");
    return gw_refuse(bad, 400, "control character in the target");
}

/* METHOD SP target SP HTTP/1.x CRLF. *fields is then where the first field line begins. */
static int read_request_line(gw_request *r, const char *at, const char *end, const gw_head_limits *limits, const char **fields,
                             gw_bad_head *bad)
{
    const char *p = at;
    while (p < end && gw_char_is(*p, GW_CHAR_TOKEN))
        p++;
    if (gw_unlikely(p == at || p == end || *p != ' '))
        return gw_refuse(bad, 400, "malformed method");
    r->method_name = gw_slice_of(at, (size_t)(p - at));

    const char *target = ++p;
    while (p < end && gw_char_is(*p, GW_CHAR_TARGET) && *p != '?')
        p++;
    r->raw_path = gw_slice_of(target, (size_t)(p - target));
    r->query = GW_NO_SLICE;
    if (p < end && *p == '?') {
        const char *query = ++p;
        while (p < end && gw_char_is(*p, GW_CHAR_TARGET))
            p++;
        r->query = gw_slice_of(query, (size_t)(p - query));
    }
    if (gw_unlikely(p == end || *p != ' ' || p == target))
        return refuse_target(p, end, p == target, bad);
    r->target = gw_slice_of(target, (size_t)(p - target));

    const char *version = p + 1;
    if (gw_unlikely(end - version < 10 || version[8] != '\r' || version[9] != '\n'))
        return gw_refuse(bad, 400, "malformed HTTP version");
    if (gw_unlikely(gw_rules_version(version, &r->minor, bad) != GW_OK))
        return GW_INVALID;
    if (gw_unlikely((size_t)(version + 8 - at) > limits->request_line))
        return gw_refuse(bad, 414, "request line too long");
    *fields = version + 10;

    r->method = gw_method_of(r->method_name);
    if (gw_unlikely(r->method == GW_METHOD_CONNECT || r->method == GW_METHOD_TRACE))
        return gw_refuse(bad, 405, r->method == GW_METHOD_TRACE ? "TRACE is not served" : "CONNECT is not served");
    return GW_OK;
}

/* scheme "://" authority [path], RFC 9112 section 3.2.2: raw_path is still all that stands before the '?'. */
static int read_absolute_form(gw_request *r, int *default_port, gw_bad_head *bad)
{
    gw_slice t = r->raw_path;
    size_t scheme;
    if (t.len >= 7 && gw_slice_equal_nocase(gw_slice_of(t.ptr, 7), GW_SLICE("http://")))
        scheme = 7, *default_port = 80;
    else if (t.len >= 8 && gw_slice_equal_nocase(gw_slice_of(t.ptr, 8), GW_SLICE("https://")))
        scheme = 8, *default_port = 443;
    else
        return gw_refuse(bad, 400, "target of no known form");
    const char *authority = t.ptr + scheme;
    const char *slash = memchr(authority, '/', t.len - scheme);
    r->authority = gw_slice_of(authority, slash ? (size_t)(slash - authority) : t.len - scheme);
    if (memchr(r->authority.ptr, '@', r->authority.len))
        return gw_refuse(bad, 400, "userinfo in the authority");
    if (slash) {
        r->raw_path = gw_slice_of(slash, t.len - (size_t)(slash - t.ptr));
    } else if (r->method == GW_METHOD_OPTIONS && !r->query.ptr) {
        /* RFC 9112 section 3.2.4: nothing behind the authority means the server as a whole. */
        r->asterisk = true;
        r->raw_path = GW_SLICE("*");
    } else {
        r->raw_path = gw_slice_of(authority - 1, 1); /* an empty path is "/"; one stands right there */
    }
    return GW_OK;
}

/* Which of the forms of RFC 9112 section 3.2 the target has. The authority stays absent but in the absolute form. */
static int read_target(gw_request *r, int *default_port, gw_bad_head *bad)
{
    r->authority = GW_NO_SLICE;
    r->asterisk = false;
    if (gw_likely(r->target.ptr[0] == '/'))
        return GW_OK;
    if (r->target.ptr[0] != '*')
        return read_absolute_form(r, default_port, bad);
    if (r->target.len != 1)
        return gw_refuse(bad, 400, "target of no known form");
    if (r->method != GW_METHOD_OPTIONS)
        return gw_refuse(bad, 400, "asterisk-form with another method than OPTIONS");
    r->asterisk = true;
    return GW_OK;
}

/* One host, valid, and the same wherever it is said. */
static int check_host(gw_request *r, int default_port, const char *nowhere, gw_bad_head *bad)
{
    int port, port_again;
    gw_slice again;
    const gw_header *host = gw_headers_by_id(&r->headers, GW_H_HOST);
    if (gw_unlikely(!host)) {
        if (r->minor != 0)
            return gw_refuse(bad, 400, "missing Host");
        if (!r->authority.ptr) {
            r->authority = r->host = gw_slice_of(nowhere, 0);
            return GW_OK;
        }
    } else if (gw_unlikely(gw_authority_split(host->value, &again, &port_again) != GW_OK)) {
        return gw_refuse(bad, 400, "malformed Host");
    }
    if (gw_likely(!r->authority.ptr)) {
        r->authority = host->value;
        r->host = again;
        return GW_OK;
    }
    if (gw_authority_split(r->authority, &r->host, &port) != GW_OK)
        return gw_refuse(bad, 400, "malformed authority in the target");
    if (!host)
        return GW_OK;
    if (!gw_slice_equal_nocase(r->host, again) ||
        (port < 0 ? default_port : port) != (port_again < 0 ? default_port : port_again))
        return gw_refuse(bad, 400, "Host differs from the authority in the target");
    return GW_OK;
}

static int check_expect(gw_request *r, gw_bad_head *bad)
{
    r->expect_continue = false;
    if (gw_likely(!gw_headers_has(&r->headers, GW_H_EXPECT)))
        return GW_OK;
    for (uint32_t i = 0; i < r->headers.count; i++)
        if (r->headers.item[i].id == GW_H_EXPECT && !gw_slice_equal_nocase(r->headers.item[i].value, GW_SLICE("100-continue")))
            return gw_refuse(bad, 417, "unknown expectation");
    /* Ignored in HTTP/1.0 (RFC 9110 section 10.1.1), and where no body is to come there is nothing to go on with. */
    r->expect_continue =
        r->minor == 1 && (r->framing == GW_FRAMING_CHUNKED || (r->framing == GW_FRAMING_LENGTH && r->content_length > 0));
    return GW_OK;
}

/* HTTP/2 in any spelling: a backend that switched to it would take what follows out of our sight. */
static bool is_http2(gw_slice protocol)
{
    const char *slash = memchr(protocol.ptr, '/', protocol.len);
    gw_slice name = gw_slice_of(protocol.ptr, slash ? (size_t)(slash - protocol.ptr) : protocol.len);
    return gw_slice_equal_nocase(name, GW_SLICE("h2c")) || gw_slice_equal_nocase(name, GW_SLICE("h2")) ||
           gw_slice_equal_nocase(name, GW_SLICE("HTTP"));
}

static bool may_upgrade(gw_headers *h, bool option, int minor)
{
    const uint64_t fields = 1ULL << GW_H_UPGRADE | 1ULL << GW_H_HTTP2_SETTINGS;
    if (gw_likely(!(h->present & fields)))
        return false;
    bool http2 = gw_headers_has(h, GW_H_HTTP2_SETTINGS), named = false;
    for (uint32_t i = 0; i < h->count; i++) {
        gw_slice list = h->item[i].value, protocol;
        if (h->item[i].id != GW_H_UPGRADE)
            continue;
        while (gw_list_next(&list, &protocol)) {
            named = true;
            http2 = http2 || is_http2(protocol);
        }
    }
    if (http2)
        for (uint32_t i = 0; i < h->count; i++)
            if (fields >> h->item[i].id & 1)
                h->item[i].nominated = true;
    return option && named && !http2 && minor == 1;
}

int gw_request_parse(gw_request *r, const char *head, size_t len, const gw_head_limits *limits, gw_bad_head *bad)
{
    const char *at = head, *end = head + len, *fields;
    while (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
        at += 2;
    gw_headers_clear(&r->headers);
    int default_port = -1;
    if (read_request_line(r, at, end, limits, &fields, bad) != GW_OK || read_target(r, &default_port, bad) != GW_OK)
        return GW_INVALID;

    gw_reading g;
    if (gw_read_fields(&g, &r->headers, fields, end, limits, bad) != GW_OK)
        return GW_INVALID;
    gw_connection_options options;
    if (check_host(r, default_port, at, bad) != GW_OK ||
        gw_rules_framing(&g, r->minor, &r->framing, &r->content_length, bad) != GW_OK || check_expect(r, bad) != GW_OK ||
        gw_rules_connection(&r->headers, &options, bad) != GW_OK)
        return GW_INVALID;
    const uint64_t twice = 1ULL << GW_H_CONTENT_LENGTH | 1ULL << GW_H_TRANSFER_ENCODING | 1ULL << GW_H_UPGRADE;
    if ((r->headers.present & twice) || r->method == GW_METHOD_OTHER || r->target.ptr[0] != '/') {
        gw_second second;
        if (gw_read_twice(HTTP_REQUEST, &r->headers, r->target, at, end, &second, bad) != GW_OK)
            return GW_INVALID;
        if (gw_unlikely(!gw_slice_equal(r->method_name, gw_slice_str(second.method))))
            return gw_refuse(bad, 501, "unknown method");
    }

    r->keep_alive = !options.close && (r->minor == 1 || options.keep_alive);
    r->upgrade = may_upgrade(&r->headers, options.upgrade, r->minor);
    return GW_OK;
}
