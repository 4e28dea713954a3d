/* What router.c builds and router_match.c reads. Nobody else includes this.
 *
 * All routes stand in one array in the order in which they are tried; a route's index there is its rank. Routes with the same host
 * and the same path pattern are neighbours: a run. Three structures lead from a request to runs:
 *
 *   hosts   hash of hosts and of suffixes       -> group (the routes of one host)
 *   exacts  hash of (group, path)               -> run
 *   nodes   for each group a tree of segments; children by literal are found in one hash of (node, segment) over all trees (an only
 *           child without it), the child for a parameter is a member. A node holds the run that ends there (whole paths), the run that takes any
 *           continuation behind it (prefix) and the loose runs of its last segment.
 *
 * A search walks the tree of a group and keeps the match of lowest rank; a subtree whose lowest rank is no better is not
 * entered. Each node is visited at most once whatever the path is, as a node has one place in the tree and one depth: the branching of
 * parameters costs at most the number of nodes, never a power of the path's length. */
#ifndef GW_GATEWAY_ROUTER_PARTS_H
#define GW_GATEWAY_ROUTER_PARTS_H

#include "gateway/pattern.h"
#include "gateway/router.h"

#define GW_NONE UINT32_MAX
#define GW_ROUTER_HOST_BYTES 253    /* longest host (RFC 1035 section 2.3.4, without the root's dot) */
#define GW_ROUTER_CONDITIONS_MAX 32 /* header conditions of one route */
#define GW_ROUTER_INDEX_FROM 8      /* runs shorter than this are read from front to back */

/* A route, ready to be judged: one cache line. */
typedef struct gw_candidate {
    uint32_t methods;          /* HEAD added where GET is */
    uint32_t run_count, index; /* in the first of a run: how many it has; the index of a long one, or GW_NONE */
    uint32_t added;            /* position in the script */
    bool any_method;
    bool with_params;
    uint8_t header_count;
    void *route;
    const gw_match *match; /* gw_router_add's block begins here */
    const gw_pattern *pattern;
    gw_slice host; /* lower case; ".suffix" for a wildcard; {NULL,0}: any */
} gw_candidate;

/* Routes of one run that ask for one value of the indexed header, by rank: picks[first .. first + count). */
typedef struct gw_bucket {
    gw_slice value; /* {NULL,0}: a free slot */
    uint32_t first, count;
} gw_bucket;

typedef struct gw_run_index {
    gw_slice name;
    gw_bucket *buckets;
    uint32_t mask;
    uint32_t rest_first, rest_count; /* picks that do not ask for a value of it */
    uint32_t *picks;
} gw_run_index;

typedef struct gw_loose {
    gw_slice text;
    uint32_t shorter; /* index of the longest one that this one begins with; GW_NONE */
    uint32_t run;     /* its first rank */
} gw_loose;

#define GW_NODE_INLINE 24 /* a literal of so many bytes stands in the node itself */

/* One cache line. Runs are named by their first rank. */
typedef struct gw_node {
    union {
        char bytes[GW_NODE_INLINE];
        const char *ptr; /* longer ones */
    } text;              /* the literal that leads here */
    uint32_t text_len;   /* GW_NONE for a parameter and for roots */
    uint32_t parent;
    uint32_t lowest;        /* rank in this subtree */
    uint32_t whole, prefix; /* runs; GW_NONE */
    uint32_t param;         /* child; GW_NONE */
    uint32_t literals;      /* how many children by literal; one alone is found without the hash: */
    uint32_t only;
    uint32_t loose_first, loose_count;
} gw_node;

_Static_assert(sizeof(gw_node) == GW_CACHE_LINE && sizeof(gw_candidate) == GW_CACHE_LINE, "one cache line each");

static inline const char *gw_node_text(const gw_node *n)
{
    return n->text_len <= GW_NODE_INLINE ? n->text.bytes : n->text.ptr;
}

typedef struct gw_group {
    gw_slice host;
    uint32_t root;
    uint32_t first, end; /* ranks */
    bool exacts;         /* has exact paths */
} gw_group;

typedef struct gw_slot {
    uint32_t tag, value; /* GW_NONE: free */
} gw_slot;

/* Open addressing with linear probing, at most half full; the tag is the hash's upper half. */
typedef struct gw_table {
    gw_slot *slots;
    uint32_t mask; /* 0 and no slots: empty table */
} gw_table;

struct gw_router {
    gw_candidate *candidates;
    uint32_t count, room;
    bool built;

    gw_run_index *indexes;
    uint32_t index_count;
    gw_node *nodes;
    uint32_t node_count;
    gw_loose *loose;
    uint32_t loose_count;
    gw_group *groups;
    uint32_t group_count;
    gw_table hosts, exacts, edges;
    uint32_t any;          /* group of the routes without a host; GW_NONE */
    uint32_t longest_host; /* in bytes; no request host is read further */
};

/* Multiply-and-fold, eight bytes a step. The keys of all tables come from the script, so a client cannot choose collisions. */
static inline uint64_t gw_router_fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t gw_router_hash(const char *bytes, size_t len, uint64_t seed)
{
    uint64_t h = seed ^ len * 0x9E3779B97F4A7C15ULL, word;
    for (; len >= 8; bytes += 8, len -= 8) {
        memcpy(&word, bytes, 8);
        h = gw_router_fold(h ^ word, 0xA0761D6478BD642FULL);
    }
    if (len >= 4) {
        uint32_t front, back; /* they may overlap */
        memcpy(&front, bytes, 4);
        memcpy(&back, bytes + len - 4, 4);
        word = (uint64_t)front << 32 | back;
    } else if (len) {
        word = (uint64_t)(unsigned char)bytes[0] << 16 | (uint64_t)(unsigned char)bytes[len / 2] << 8 |
               (unsigned char)bytes[len - 1];
    } else {
        word = 0;
    }
    return gw_router_fold(h ^ word, 0xE7037ED1A0B428DBULL);
}

/* Hosts are hashed from their end, one byte a step, so that all suffixes of one are hashed in one pass. */
#define GW_ROUTER_HOST_SEED 0xCBF29CE484222325ULL
static inline uint64_t gw_router_host_step(uint64_t h, unsigned char c)
{
    return (h ^ (c >= 'A' && c <= 'Z' ? c | 0x20 : c)) * 0x100000001B3ULL;
}

static inline uint64_t gw_router_host_done(uint64_t h)
{
    return gw_router_fold(h, 0xA0761D6478BD642FULL);
}

static inline uint64_t gw_router_edge_hash(uint32_t node, uint64_t segment_hash)
{
    return gw_router_fold(segment_hash ^ node, 0x9E3779B97F4A7C15ULL);
}

/* Looks for two routes that stand equal and could take one request: GW_INVALID with a message that names them, 0, or GW_NOMEM. The
 * candidates stand in their order. */
int gw_router_find_tie(const gw_router *r, char *message, size_t message_bytes);

/* Gives long runs their index (struct gw_run_index). 0 or GW_NOMEM. */
int gw_router_index_runs(gw_router *r);

#endif
