#include "base/slab.h"

#include <stdlib.h>

#include "base/poison.h"

/* A block begins with a cache line of its own for the link, so that objects whose size is a multiple of a cache line are aligned to
 * one. Every object is aligned to 16. */
typedef struct gw_slab_block {
    struct gw_slab_block *next;
} gw_slab_block;

#define SLAB_ALIGN 16

void gw_slab_init(gw_slab *slab, size_t object_bytes, uint32_t per_block)
{
    if (object_bytes < sizeof(void *))
        object_bytes = sizeof(void *);
    object_bytes = (object_bytes + SLAB_ALIGN - 1) & ~(size_t)(SLAB_ALIGN - 1);
    /* An object that does not fit the field is refused at take: 0 is no size. */
    *slab = (gw_slab){.object_bytes = object_bytes <= UINT32_MAX ? (uint32_t)object_bytes : 0,
                      .per_block = per_block ? per_block : 1};
}

void gw_slab_clear(gw_slab *slab)
{
    gw_slab_block *block = slab->blocks;
    while (block) {
        gw_slab_block *next = block->next;
        gw_unpoison((char *)block + GW_CACHE_LINE, (size_t)slab->object_bytes * slab->per_block);
        free(block);
        block = next;
    }
    slab->blocks = slab->free = NULL;
    slab->live = 0;
}

static bool grow(gw_slab *slab)
{
    size_t bytes;
    void *memory;
    if (!slab->object_bytes || __builtin_mul_overflow((size_t)slab->object_bytes, slab->per_block, &bytes) ||
        __builtin_add_overflow(bytes, GW_CACHE_LINE, &bytes) || posix_memalign(&memory, GW_CACHE_LINE, bytes) != 0)
        return false;
    gw_slab_block *block = memory;
    block->next = slab->blocks;
    slab->blocks = block;
    /* Threaded from the back, so that objects are handed out from the front of the block. */
    char *objects = (char *)memory + GW_CACHE_LINE;
    for (uint32_t i = slab->per_block; i-- > 0;) {
        void *object = objects + (size_t)i * slab->object_bytes;
        memcpy(object, &slab->free, sizeof slab->free);
        slab->free = object;
    }
    gw_poison(objects, bytes - GW_CACHE_LINE);
    return true;
}

void *gw_slab_take(gw_slab *slab)
{
    if (gw_unlikely(!slab->free) && !grow(slab))
        return NULL;
    void *object = slab->free;
    gw_unpoison(object, slab->object_bytes);
    memcpy(&slab->free, object, sizeof slab->free);
    slab->live++;
    return object;
}

void gw_slab_give(gw_slab *slab, void *object)
{
    memcpy(object, &slab->free, sizeof slab->free);
    slab->free = object;
    slab->live--;
    gw_poison(object, slab->object_bytes);
}
