/* Header fields of one message: an array of slices, with an id for the names that the gateway itself looks at.
 *
 * Order is kept; a repeated field is several entries. Slices point into the read buffer or into the exchange's arena; who adds a
 * field owns the bytes for as long as the message lives. Deleting marks nothing: the array closes up. */
#ifndef GW_HTTP_HEADERS_H
#define GW_HTTP_HEADERS_H

#include "base/arena.h"
#include "base/base.h"

#define GW_HEADERS_MAX 256   /* room in a gw_headers */
#define GW_HEADERS_LIMIT 200 /* most that a client or a backend may send, whatever the configuration; the rest is for scripts */

/* Names that the gateway acts on. GW_H_OTHER is every other name. Keep in step with the table in headers.c. */
enum gw_header_id {
    GW_H_OTHER = 0,
    GW_H_HOST,
    GW_H_CONTENT_LENGTH,
    GW_H_TRANSFER_ENCODING,
    GW_H_CONNECTION,
    GW_H_KEEP_ALIVE,
    GW_H_PROXY_CONNECTION,
    GW_H_TE,
    GW_H_TRAILER,
    GW_H_UPGRADE,
    GW_H_EXPECT,
    GW_H_PROXY_AUTHENTICATE,
    GW_H_PROXY_AUTHORIZATION,
    GW_H_X_FORWARDED_FOR,
    GW_H_X_FORWARDED_PROTO,
    GW_H_X_FORWARDED_HOST,
    GW_H_X_FORWARDED_PORT,
    GW_H_X_REAL_IP,
    GW_H_FORWARDED,
    GW_H_VIA,
    GW_H_X_REQUEST_ID,
    GW_H_TRACEPARENT,
    GW_H_TRACESTATE,
    GW_H_COOKIE,
    GW_H_AUTHORIZATION,
    GW_H_DATE,
    GW_H_SERVER,
    GW_H_SEC_WEBSOCKET_KEY,
    GW_H_CONTENT_TYPE,
    GW_H_LOCATION,
    GW_H_SET_COOKIE,
    GW_H_HTTP2_SETTINGS,
    GW_H_COUNT
};

typedef struct gw_header {
    gw_slice name, value;
    uint8_t id;     /* enum gw_header_id */
    bool plain;     /* the slices stand in "name: value\r\n", with one space and nothing else: it can be copied as it is */
    bool nominated; /* named by Connection (RFC 9110 section 7.6.1): stops here */
} gw_header;

typedef struct gw_headers {
    uint32_t count;
    uint64_t present; /* bit i: a field with id i is there (GW_H_OTHER excepted) */
    gw_header item[GW_HEADERS_MAX];
} gw_headers;

/* No fields. The array is left as it is: it is large. */
static inline void gw_headers_clear(gw_headers *h)
{
    h->count = 0;
    h->present = 0;
}

enum gw_header_id gw_header_id_of(gw_slice name); /* without regard to case */

static inline bool gw_headers_has(const gw_headers *h, enum gw_header_id id)
{
    return h->present >> id & 1;
}

/* First field of that id; NULL when absent. */
const gw_header *gw_headers_by_id(const gw_headers *h, enum gw_header_id id);
/* First field of that name from index `from` on (case-insensitive); -1 when there is none. */
int gw_headers_find(const gw_headers *h, gw_slice name, uint32_t from);
/* The value as a reader sees it: one field as it is; several joined with ", " (Cookie: "; ") in the arena; absent: {NULL,0}. */
gw_slice gw_headers_joined(const gw_headers *h, gw_slice name, gw_arena *arena);
/* Appends; GW_LIMIT when the array is full. Slices are kept as they are. */
int gw_headers_add(gw_headers *h, gw_slice name, gw_slice value);
/* Replaces the first of that name, removes the others; adds when absent. */
int gw_headers_set(gw_headers *h, gw_slice name, gw_slice value);
/* Removes all of that name; how many there were. */
int gw_headers_remove(gw_headers *h, gw_slice name);
/* Removes all whose name is that one, or is for backends that make variables of names (CGI, WSGI): '_' counts as '-'. How many. */
int gw_headers_remove_alike(gw_headers *h, gw_slice name);

/* Fields that never travel on: hop-by-hop by RFC 9110 section 7.6.1 or nominated by Connection. */
bool gw_header_is_hop_by_hop(const gw_header *h);

/* True when `token` is an element of the comma-separated list `value` (case-insensitive). */
bool gw_list_has_token(gw_slice value, gw_slice token);

/* Whether bytes may stand in a field name / value that a script sets (RFC 9110 section 5): what would let it smuggle is refused. */
bool gw_header_name_valid(gw_slice name);
bool gw_header_value_valid(gw_slice value);

#endif
