/* Which route takes a request. Built once with a generation, then read by every worker.
 *
 * Order, the first that matches wins:
 *   1. host: an exact host before "*.suffix" (longer suffix first; "*.example.com" takes any depth below, not example.com itself)
 *      before any host
 *   2. path: exact before parameter before prefix; among parameter routes more literal is leftmost-literal-first ("/a/:x" before
 *      "/:x/a"); longer prefix before shorter (a prefix with parameters by its segments: more before fewer, then leftmost literal
 *      first; a loose prefix behind the whole segment of the same length)
 *   3. more header conditions before fewer
 *   4. method given before any
 * Two routes that stand equal in all four and could take one request are a tie: an error at load, naming both.
 *
 * Patterns:
 *   "/api"         a prefix on whole segments: /api, /api/, /api/x, not /apix; "/" takes all; "/api/" and "/api/\*" mean the same
 *   "= /exact"     that path only
 *   "/users/:id"   a parameter takes one non-empty segment; the whole path must match
 *   "/files/\*rest" takes the remainder (may be empty) under a name; parameters may stand before it; counts as a prefix
 *   "/api*"        loose prefix: any continuation (/apix too)
 * (the backslashes only keep this comment open)
 *
 * A pattern is compared with normalised paths, so it has to be normalised itself (pattern.h); literal UTF-8 in it stands for its
 * escapes. "OPTIONS *" is about no path and finds no route.
 *
 * Each structure is a tree of segments (prefixes and parameters) or a hash (exact paths, hosts, many values of one header at one
 * path): a match costs by the length of the path, not by the number of routes. */
#ifndef GW_GATEWAY_ROUTER_H
#define GW_GATEWAY_ROUTER_H

#include "base/base.h"
#include "http/message.h"

#define GW_PARAMS_MAX 16
#define GW_ALLOW_OTHERS 32
#define GW_METHOD_BIT(method) (1u << (method))

typedef struct gw_header_condition {
    gw_slice name;
    gw_slice value; /* {NULL,0}: present with any value ("*") */
} gw_header_condition;

/* What a route matches. All slices must live as long as the router. */
typedef struct gw_match {
    gw_slice host;                 /* {NULL,0}: any; without port, any case; "*.example.com" */
    gw_slice pattern;              /* as in the script */
    uint32_t methods;              /* GW_METHOD_BIT set; 0: any. GET given takes HEAD too */
    const gw_slice *other_methods; /* names that are not in enum gw_method ("PURGE") */
    uint32_t other_method_count;
    const gw_header_condition *headers;
    uint32_t header_count;
    gw_slice source; /* "routes.lua:12", for messages */
    void *route;     /* what a match gives back */
} gw_match;

typedef struct gw_param {
    gw_slice name, value; /* value: a slice of the path, still percent-encoded */
} gw_param;

typedef struct gw_found {
    void *route;          /* NULL: none */
    bool method_only;     /* none, but a route would match with another method: 405 */
    uint32_t allow;       /* then: the methods, as GW_METHOD_BITs, */
    uint32_t other_count; /* and those that are not in enum gw_method (the first GW_ALLOW_OTHERS of them) */
    uint32_t param_count;
    union {
        gw_param params[GW_PARAMS_MAX];   /* with a route */
        gw_slice others[GW_ALLOW_OTHERS]; /* with method_only */
    };
} gw_found;

typedef struct gw_router gw_router;

GW_API gw_router *gw_router_new(void); /* NULL when memory is out */
GW_API void gw_router_free(gw_router *r);
/* Checks the pattern and keeps a copy of *match (not of what it points to). 0, GW_NOMEM, or GW_INVALID with a message that names what
 * was found and what is expected. */
GW_API int gw_router_add(gw_router *r, const gw_match *match, char *message, size_t message_bytes);
/* Sorts, builds, finds ties. 0, GW_NOMEM, or GW_INVALID with a message that names both sources. After it the router is immutable. */
GW_API int gw_router_build(gw_router *r, char *message, size_t message_bytes);
/* `path` is normalised. The Host's case and port do not matter: `host` comes without its port. Allocates nothing. */
GW_API void gw_router_find(const gw_router *r, gw_slice host, gw_slice path, enum gw_method method, gw_slice method_name,
                           const gw_headers *headers, gw_found *found);
/* The i-th route in the order in which they are tried; NULL past the end. For `gateway routes`. */
GW_API const gw_match *gw_router_at(const gw_router *r, uint32_t i);
/* "GET, HEAD, POST" for an Allow field, into out (at least 128 bytes); returns its length. */
GW_API size_t gw_allow_text(uint32_t methods, char *out);
/* The same of what was found with method_only, uncommon methods behind the others; names that do not fit into `cap` bytes (at least 128) are
 * left out. */
GW_API size_t gw_found_allow(const gw_found *found, char *out, size_t cap);

#endif
