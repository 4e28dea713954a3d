/* Heads of requests and responses: found, parsed (http-parser) and held to the strict rules; framing decided.
 *
 * Reading is in two steps, so that any way of arriving gives the same answer: gw_head_scan looks for the end of the head in what
 * is there (it can be called again with more), then gw_request_parse / gw_response_parse read the whole head at once. Nothing is
 * allocated; all slices point into the head's bytes, which must stay in place while the message is used.
 *
 * The strict rules (RFC 9112; README.md beside this lists each with its test) reject what http-parser's lenient build lets pass:
 * bare LF or CR, whitespace around a field name, obs-fold, bytes >= 0x80 or controls in the target, an HTTP version other than 1.0
 * and 1.1, missing, repeated or malformed Host, repeated or malformed Content-Length, Content-Length with Transfer-Encoding, any
 * Transfer-Encoding but exactly "chunked", Transfer-Encoding in HTTP/1.0, absolute-form whose authority differs from Host. */
#ifndef GW_HTTP_MESSAGE_H
#define GW_HTTP_MESSAGE_H

#include "base/base.h"
#include "http/headers.h"

enum gw_method {
    GW_METHOD_NONE,
    GW_METHOD_GET,
    GW_METHOD_HEAD,
    GW_METHOD_POST,
    GW_METHOD_PUT,
    GW_METHOD_DELETE,
    GW_METHOD_PATCH,
    GW_METHOD_OPTIONS,
    GW_METHOD_CONNECT,
    GW_METHOD_TRACE,
    GW_METHOD_OTHER, /* another method that http-parser knows (WebDAV, PURGE, ...): its text is in the request */
    GW_METHOD_COUNT
};

/* "GET" -> GW_METHOD_GET; a token that is not in the enum -> GW_METHOD_OTHER; not a token -> GW_METHOD_NONE. */
enum gw_method gw_method_of(gw_slice name);
/* GET, HEAD, OPTIONS, TRACE, PUT, DELETE: may be repeated (RFC 9110 section 9.2.2). */
bool gw_method_is_idempotent(enum gw_method method);

/* How a body is delimited (RFC 9112 section 6.3). */
enum gw_framing {
    GW_FRAMING_NONE,   /* no body */
    GW_FRAMING_LENGTH, /* content_length bytes */
    GW_FRAMING_CHUNKED,
    GW_FRAMING_CLOSE /* responses only: until the connection ends */
};

/* Why a head was refused: the status to answer with, and a short text for the log and the error body ("bare LF in the head").
 * For a response the status is always 502. */
typedef struct gw_bad_head {
    int status;
    const char *reason;
} gw_bad_head;

typedef struct gw_head_limits {
    uint32_t request_line; /* longest request line, bytes: 414 past it */
    uint32_t header_bytes; /* longest head, request line and all: 431 past it */
    uint32_t headers;      /* most fields: 431 past it; at most GW_HEADERS_LIMIT */
} gw_head_limits;

/* Where gw_head_scan was. Zero it for a new head. */
typedef struct gw_head_scan_state {
    uint32_t at;    /* bytes looked at */
    uint32_t line;  /* start of the current line */
    uint32_t lines; /* complete lines so far */
} gw_head_scan_state;

/* Looks for the end of a head in bytes[0, len). Returns its length in bytes (> 0, the empty line included); GW_AGAIN when more is
 * needed; GW_INVALID when it cannot become a head (bad is filled: bare LF, a limit). Line ends and limits are judged here as soon
 * as they can be, so that a client cannot hold memory with a head that will be refused. A request may be preceded by empty lines
 * (CRLF), at most 4 (RFC 9112 section 2.2 says one; they count into the length and gw_request_parse skips them). */
int gw_head_scan(const char *bytes, size_t len, const gw_head_limits *limits, bool response, gw_head_scan_state *state,
                 gw_bad_head *bad);

typedef struct gw_request {
    enum gw_method method;
    uint8_t minor;        /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;      /* the client wants the connection kept */
    bool expect_continue; /* HTTP/1.1 only, and only when a body is to come */
    bool upgrade;         /* Connection names upgrade, and there is an Upgrade field (HTTP/1.1 only) */
    bool asterisk;        /* OPTIONS * */
    enum gw_framing framing;
    uint64_t content_length; /* with GW_FRAMING_LENGTH */
    gw_slice method_name;
    gw_slice target;    /* as sent */
    gw_slice raw_path;  /* target's path, not normalised ("*" for asterisk-form) */
    gw_slice query;     /* behind the '?', untouched; {NULL,0} when there is no '?' */
    gw_slice authority; /* host[:port]: from absolute-form or Host; empty (non-NULL) in HTTP/1.0 without Host */
    gw_slice host;      /* authority without the port; as sent (not lowercased); IPv6 with its brackets */
    gw_headers headers;
} gw_request;

/* Parses the head that gw_head_scan found. Returns 0 or GW_INVALID with `bad` filled (400; 417 for an unknown expectation; 501 for
 * a method http-parser does not know; 505 for another HTTP major version; 405 for CONNECT and TRACE). */
int gw_request_parse(gw_request *r, const char *head, size_t len, const gw_head_limits *limits, gw_bad_head *bad);

typedef struct gw_response {
    uint16_t status; /* 100 to 999 */
    uint8_t minor;
    bool keep_alive; /* the backend keeps the connection (also needs a body that is not framed by close) */
    enum gw_framing framing;
    uint64_t content_length;
    gw_slice reason; /* phrase; may be empty */
    gw_headers headers;
} gw_response;

/* Parses a response head. `method` is the request's: HEAD, and CONNECT, change the framing; 1xx, 204 and 304 have no body
 * (RFC 9112 section 6.3). A 101 has framing NONE. */
int gw_response_parse(gw_response *r, const char *head, size_t len, enum gw_method method, const gw_head_limits *limits,
                      gw_bad_head *bad);

/* "Not Found" for 404; "" for a status without a standard phrase. */
const char *gw_reason_phrase(int status);

#endif
