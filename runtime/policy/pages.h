/* Memory of a fixed size for byte strings of any size, without fragmentation: a string is a chain of pieces, and any free pieces will do.
 *
 *     page   4096 bytes; handed out whole, or split into 32 units of 128
 *     piece  a whole page, or a unit; its first 4 bytes name the next piece of the chain, the rest are payload
 *     ref    | index of the first unit (31) | whole page (1) |      0: none (there is no page 0)
 *
 * A page whose units have all come back is whole again. What asks for a large piece when no page is whole gets units: so a string fits
 * whenever enough is free, wherever it lies. No locks here: who shares it brings one. Pages that were never used are never touched. */
#ifndef GW_POLICY_PAGES_H
#define GW_POLICY_PAGES_H

#include "base/base.h"

#define GW_PAGE_BYTES 4096
#define GW_UNIT_BYTES 128
#define GW_PAGE_UNITS (GW_PAGE_BYTES / GW_UNIT_BYTES)
#define GW_PIECE_HEAD 4 /* the next piece */
#define GW_PAGES_MOST ((uint32_t)1 << 25)

typedef struct gw_pages_page {
    uint32_t free;       /* units that are free, a bit each; 0 while whole or all in use */
    uint32_t next, prev; /* of the pages with free units, or of the whole ones that are free; 0: none */
} gw_pages_page;

typedef struct gw_pages {
    char *memory;         /* of page 1 */
    gw_pages_page *pages; /* [1 .. count] */
    uint32_t count;       /* pages */
    uint32_t fresh;       /* the first that was never used */
    uint32_t whole;       /* free pages, a list */
    uint32_t split;       /* pages with free units, a list */
    uint64_t unused;      /* free units, those of free pages included */
} gw_pages;

#ifndef GW_CDEF
/* memory: count pages, aligned to GW_CACHE_LINE; pages: count + 1 of them, zeroed. */
void gw_pages_init(gw_pages *p, char *memory, gw_pages_page *pages, uint32_t count);
/* All free again, whoever holds pieces. */
void gw_pages_reset(gw_pages *p);

/* A piece for so many bytes that are still to be stored: a page where they nearly fill one and one is free, else a unit. It names no next
 * piece. 0: none is free; that cannot be while `unused` is at least gw_pages_need(bytes). */
uint32_t gw_pages_take(gw_pages *p, size_t bytes);
/* The whole chain that begins with it. 0 is fine. */
void gw_pages_give(gw_pages *p, uint32_t ref);

/* Units that are enough for payload of so many bytes, however it is split into pieces. */
static inline uint64_t gw_pages_need(size_t bytes)
{
    return (bytes + GW_UNIT_BYTES - GW_PIECE_HEAD - 1) / (GW_UNIT_BYTES - GW_PIECE_HEAD);
}

static inline char *gw_piece(const gw_pages *p, uint32_t ref)
{
    return p->memory + (size_t)((ref >> 1) - GW_PAGE_UNITS) * GW_UNIT_BYTES;
}

static inline size_t gw_piece_bytes(uint32_t ref)
{
    return ref & 1 ? GW_PAGE_BYTES : GW_UNIT_BYTES;
}

static inline uint32_t gw_piece_next(const gw_pages *p, uint32_t ref)
{
    return *(const uint32_t *)(const void *)gw_piece(p, ref);
}

static inline void gw_piece_link(gw_pages *p, uint32_t ref, uint32_t next)
{
    *(uint32_t *)(void *)gw_piece(p, ref) = next;
}
#endif

#endif
