/* The access log: one JSON object a request, however it ended. What is in a line is said by the script, once for all routes; values of
 * clients are escaped and bounded, and no line is longer than GW_ACCESS_LINE_MOST. */
#ifndef GW_GATEWAY_ACCESS_LOG_H
#define GW_GATEWAY_ACCESS_LOG_H

#include "net/log_target.h"

struct gw_exchange;

/* Fields that a line may have, in the order in which they stand there; bit numbers of gw_access_spec.fields. */
enum gw_access_field {
    GW_ACCESS_TRACE_ID,
    GW_ACCESS_CLIENT_IP,
    GW_ACCESS_METHOD,
    GW_ACCESS_SCHEME,
    GW_ACCESS_HOST,
    GW_ACCESS_PATH,
    GW_ACCESS_QUERY,
    GW_ACCESS_STATUS,
    GW_ACCESS_BYTES,
    GW_ACCESS_BYTES_IN,
    GW_ACCESS_DURATION,
    GW_ACCESS_UPSTREAM,
    GW_ACCESS_ENDPOINT,
    GW_ACCESS_UPSTREAM_DURATION,
    GW_ACCESS_ATTEMPTS,
    GW_ACCESS_ROUTE,
    GW_ACCESS_GENERATION,
    GW_ACCESS_WORKER,
    GW_ACCESS_ERROR,
    GW_ACCESS_FIELDS
};
extern const char *const gw_access_field_names[GW_ACCESS_FIELDS];
/* Without scheme, host, query, bytes_in, generation, worker. */
#define GW_ACCESS_DEFAULT                                                                                                        \
    (((1u << GW_ACCESS_FIELDS) - 1) & ~(1u << GW_ACCESS_SCHEME | 1u << GW_ACCESS_HOST | 1u << GW_ACCESS_QUERY |                  \
                                        1u << GW_ACCESS_BYTES_IN | 1u << GW_ACCESS_GENERATION | 1u << GW_ACCESS_WORKER))

#define GW_ACCESS_HEADERS_MOST 16

typedef struct gw_access_spec {
    uint32_t fields;         /* bits by enum gw_access_field */
    const gw_slice *headers; /* of the request, lower case; NULL: none */
    uint32_t header_count;
    const gw_slice *response_headers;
    uint32_t response_header_count;
    gw_log_target to;
    gw_slice source; /* where the script says so */
    bool apart;      /* not where events go: lines go through the engine's `access` ring */
} gw_access_spec;

/* What a script adds to its request's line. In the exchange's arena, in the order of setting. */
typedef struct gw_access_extra {
    struct gw_access_extra *next;
    gw_slice name;
    enum { GW_ACCESS_TEXT, GW_ACCESS_NUMBER, GW_ACCESS_BOOLEAN } kind;
    gw_slice text;
    double number; /* BOOLEAN: 0 or 1 */
} gw_access_extra;

#define GW_ACCESS_EXTRAS_MOST 32   /* of one request */
#define GW_ACCESS_EXTRA_BYTES 4096 /* of all their names and texts */
#define GW_ACCESS_LINE_MOST 16384

/* Adds or replaces. GW_OK; GW_INVALID: not a name (a letter or '_', then letters, digits, '_', '.', '-'; 64 at most); GW_REFUSED: a field that
 * the gateway itself writes; GW_LIMIT: too many, too long; GW_NOMEM. Copies what it is given. Of a
 * request that will have no line, nothing is kept. */
int gw_access_set(struct gw_exchange *x, const gw_access_extra *extra);
/* NULL: there is none. */
const gw_access_extra *gw_access_get(const struct gw_exchange *x, gw_slice name);
void gw_access_remove(struct gw_exchange *x, gw_slice name);

/* Keeps the values of the response's header fields that the line is to have: their buffer is gone when it is written. */
void gw_access_keep_response(struct gw_exchange *x);

#endif
