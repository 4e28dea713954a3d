/* The memory of one Lua state: a region of addresses of its own, so that all of it can be dropped whole, whatever state it is in.
 *
 * A region is reserved once (addresses only) and made usable a megabyte at a time. It is cut into spans of 64 KB. A span holds blocks of one
 * size class, or is part of a run of spans that is one large block:
 *
 *     small   up to 1 KB in steps of 16 bytes, up to 32 KB in four steps a doubling; a span's free blocks are linked through themselves,
 *             spans with room are linked by class. An empty span goes back, and any class may have it next.
 *     large   whole spans, the first run that fits (lowest address first); neighbours that are free join.
 *
 * No header before a block, no search for a small one. Free spans beyond GW_HEAP_WARM go back to the system. (After mimalloc: Leijen, Zorn,
 * de Moura, "Mimalloc: Free List Sharding in Action", 2019; without its lists between threads, as a state belongs to one.)
 *
 * One thread at a time; nothing here locks. */
#ifndef GW_SCRIPT_HEAP_H
#define GW_SCRIPT_HEAP_H

#include "base/base.h"

#define GW_HEAP_CLASSES 85 /* 0 is not used */
#define GW_HEAP_WARM ((size_t)16 << 20)

struct gw_heap_span;

typedef struct gw_heap {
    char *base; /* of the first span; NULL: there is no region */
    char *region;
    size_t region_bytes;
    struct gw_heap_span *spans;
    uint32_t count, top, usable; /* spans: in all; below which some were given out; below which the system has granted memory */
    uint32_t lowest;             /* no free run of spans begins below this */
    uint32_t warm;               /* free spans that still have memory */
    uint32_t room[GW_HEAP_CLASSES]; /* first span of each class that has a free block, + 1; 0: none */
} gw_heap;

/* Reserves addresses for `most` bytes of blocks (rounded up). False: they cannot be had. */
GW_API bool gw_heap_open(gw_heap *h, size_t most);
/* Gives everything back: every block is gone. Also for one that was never opened (zeroed) and a second time. */
GW_API void gw_heap_close(gw_heap *h);
/* For specs: while set, asked before a block is taken or grown; true: there is no memory. */
GW_API extern int (*gw_heap_refuses)(void);
/* As realloc, and free for 0 bytes. NULL: memory is out, and the block is as it was. */
GW_API void *gw_heap_realloc(gw_heap *h, void *ptr, size_t bytes);

static inline bool gw_heap_owns(const gw_heap *h, const void *ptr)
{
    return (size_t)((const char *)ptr - h->region) < h->region_bytes;
}

/* Bytes that the system has granted and that are not free spans given back to it. */
GW_API size_t gw_heap_held(const gw_heap *h);

#endif
