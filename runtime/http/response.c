#include "http/chars.h"
#include "http/rules.h"

/* HTTP/1.x SP 3DIGIT [SP [reason]] CRLF. *fields is then where the first field line begins. */
static int read_status_line(gw_response *r, const char *at, const char *end, const char **fields, gw_bad_head *bad)
{
    if (gw_unlikely(end - at < 14)) /* "HTTP/1.1 200\r\n" */
        return gw_refuse(bad, 502, "malformed status line");
    if (gw_unlikely(gw_rules_version(at, &r->minor, bad) != GW_OK))
        return GW_INVALID;
    unsigned hundreds = (unsigned char)at[9] - (unsigned)'0', tens = (unsigned char)at[10] - (unsigned)'0',
             ones = (unsigned char)at[11] - (unsigned)'0';
    if (gw_unlikely(at[8] != ' ' || hundreds > 9 || tens > 9 || ones > 9 || hundreds == 0))
        return gw_refuse(bad, 502, "malformed status");
    r->status = (uint16_t)(hundreds * 100 + tens * 10 + ones);

    const char *reason = at + 12;
    if (*reason == ' ')
        reason++;
    else if (*reason != '\r')
        return gw_refuse(bad, 502, "malformed status");
    const char *stop = memchr(reason, '\r', (size_t)(end - reason));
    if (gw_unlikely(!stop || end - stop < 2 || stop[1] != '\n'))
        return gw_refuse(bad, 502, "malformed status line");
    r->reason = gw_slice_of(reason, (size_t)(stop - reason));
    if (gw_unlikely(!gw_header_value_valid(r->reason)))
        return gw_refuse(bad, 502, "control character in the reason phrase");
    *fields = stop + 2;
    return GW_OK;
}

/* RFC 9112 section 6.3, in its order. */
static void decide_body(gw_response *r, enum gw_method method)
{
    bool bare = r->status < 200 || r->status == 204;
    if (bare || r->status == 304 || method == GW_METHOD_HEAD || (method == GW_METHOD_CONNECT && r->status < 300)) {
        /* Framing on what can have no body is a lie: should a body follow nevertheless, it may not be taken for the next response. */
        if (bare && r->status != 101 &&
            (r->framing == GW_FRAMING_CHUNKED || (r->framing == GW_FRAMING_LENGTH && r->content_length > 0)))
            r->keep_alive = false;
        r->framing = GW_FRAMING_NONE;
        r->content_length = 0;
    } else if (r->framing == GW_FRAMING_NONE) {
        r->framing = GW_FRAMING_CLOSE;
        r->keep_alive = false;
    }
}

static int parse(gw_response *r, const char *head, size_t len, enum gw_method method, const gw_head_limits *limits,
                 gw_bad_head *bad)
{
    const char *end = head + len, *fields;
    gw_headers_clear(&r->headers);
    if (read_status_line(r, head, end, &fields, bad) != GW_OK)
        return GW_INVALID;

    gw_reading g;
    gw_connection_options options;
    if (gw_read_fields(&g, &r->headers, fields, end, limits, bad) != GW_OK ||
        gw_rules_framing(&g, r->minor, &r->framing, &r->content_length, bad) != GW_OK ||
        gw_rules_connection(&r->headers, &options, bad) != GW_OK)
        return GW_INVALID;
    if (gw_headers_has(&r->headers, GW_H_TRANSFER_ENCODING)) {
        gw_second second;
        if (gw_read_twice(HTTP_RESPONSE, &r->headers, GW_NO_SLICE, head, end, &second, bad) != GW_OK)
            return GW_INVALID;
        if (gw_unlikely(second.status != r->status))
            return gw_refuse(bad, 502, "malformed status");
    }
    r->keep_alive = !options.close && (r->minor == 1 || options.keep_alive);
    decide_body(r, method);
    return GW_OK;
}

int gw_response_parse(gw_response *r, const char *head, size_t len, enum gw_method method, const gw_head_limits *limits,
                      gw_bad_head *bad)
{
    int status = parse(r, head, len, method, limits, bad);
    if (status != GW_OK)
        bad->status = 502; /* whatever the rule says to a client */
    return status;
}

/* RFC 9110 section 15, and those of the registry that are in use. */
static const char *const phrases[] = {
    [100] = "Continue",
    [101] = "Switching Protocols",
    [102] = "Processing",
    [103] = "Early Hints",
    [200] = "OK",
    [201] = "Created",
    [202] = "Accepted",
    [203] = "Non-Authoritative Information",
    [204] = "No Content",
    [205] = "Reset Content",
    [206] = "Partial Content",
    [207] = "Multi-Status",
    [208] = "Already Reported",
    [226] = "IM Used",
    [300] = "Multiple Choices",
    [301] = "Moved Permanently",
    [302] = "Found",
    [303] = "See Other",
    [304] = "Not Modified",
    [305] = "Use Proxy",
    [307] = "Temporary Redirect",
    [308] = "Permanent Redirect",
    [400] = "Bad Request",
    [401] = "Unauthorized",
    [402] = "Payment Required",
    [403] = "Forbidden",
    [404] = "Not Found",
    [405] = "Method Not Allowed",
    [406] = "Not Acceptable",
    [407] = "Proxy Authentication Required",
    [408] = "Request Timeout",
    [409] = "Conflict",
    [410] = "Gone",
    [411] = "Length Required",
    [412] = "Precondition Failed",
    [413] = "Content Too Large",
    [414] = "URI Too Long",
    [415] = "Unsupported Media Type",
    [416] = "Range Not Satisfiable",
    [417] = "Expectation Failed",
    [421] = "Misdirected Request",
    [422] = "Unprocessable Content",
    [423] = "Locked",
    [424] = "Failed Dependency",
    [425] = "Too Early",
    [426] = "Upgrade Required",
    [428] = "Precondition Required",
    [429] = "Too Many Requests",
    [431] = "Request Header Fields Too Large",
    [451] = "Unavailable For Legal Reasons",
    [500] = "Internal Server Error",
    [501] = "Not Implemented",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
    [504] = "Gateway Timeout",
    [505] = "HTTP Version Not Supported",
    [506] = "Variant Also Negotiates",
    [507] = "Insufficient Storage",
    [508] = "Loop Detected",
    [510] = "Not Extended",
    [511] = "Network Authentication Required",
};

const char *gw_reason_phrase(int status)
{
    return status >= 0 && (size_t)status < GW_COUNT(phrases) && phrases[status] ? phrases[status] : "";
}
