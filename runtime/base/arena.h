/* Bump allocation: many small things that die together (a generation; one request's strings).
 * Not for several threads at once. */
#ifndef GW_BASE_ARENA_H
#define GW_BASE_ARENA_H

#include "base/base.h"

typedef struct gw_arena_block gw_arena_block;

typedef struct gw_arena {
    gw_arena_block *blocks;
    char *at, *end;
    size_t block_bytes; /* size of the next block, at least */
    size_t total;       /* bytes taken from malloc */
    size_t most;        /* refuse past this total; 0: no bound */
} gw_arena;

void gw_arena_init(gw_arena *a, size_t block_bytes, size_t most);
void gw_arena_clear(gw_arena *a);                     /* frees all; the arena can be used again */
void gw_arena_rewind(gw_arena *a);                    /* the same, but keeps one block: the next use makes no malloc */
void *gw_arena_take(gw_arena *a, size_t bytes);       /* zeroed, aligned to 16; NULL when memory or the bound is out */
void *gw_arena_bytes(gw_arena *a, size_t bytes);      /* not zeroed, not aligned */
gw_slice gw_arena_copy(gw_arena *a, gw_slice s);      /* with a NUL behind; {NULL,0} when memory is out */
const char *gw_arena_string(gw_arena *a, gw_slice s); /* the same as a C string */

#endif
