/* Objects of one size, from blocks of many, with a free list (newest first). Belongs to one thread. Blocks are kept until clear. */
#ifndef GW_BASE_SLAB_H
#define GW_BASE_SLAB_H

#include "base/base.h"

typedef struct gw_slab {
    void *free;
    void *blocks;
    uint32_t object_bytes, per_block;
    uint32_t live;
} gw_slab;

void gw_slab_init(gw_slab *slab, size_t object_bytes, uint32_t per_block);
void gw_slab_clear(gw_slab *slab); /* frees every block; no object may be live */
void *gw_slab_take(gw_slab *slab); /* uninitialised bytes; NULL when memory is out */
void gw_slab_give(gw_slab *slab, void *object);

#endif
