#include "base/buffer.h"

#include <stdlib.h>

#include "base/poison.h"

void gw_buffer_pool_init(gw_buffer_pool *pool, uint32_t free_most)
{
    *pool = (gw_buffer_pool){.free_most = free_most};
}

void gw_buffer_pool_clear(gw_buffer_pool *pool)
{
    while (pool->free) {
        gw_buffer *b = pool->free;
        pool->free = b->next;
        gw_unpoison(b->bytes, b->cap);
        free(b);
    }
    pool->free_count = 0;
}

gw_buffer *gw_buffer_take(gw_buffer_pool *pool, size_t room)
{
    gw_buffer *b;
    if (room <= GW_BUFFER_BYTES && pool->free) {
        b = pool->free;
        pool->free = b->next;
        pool->free_count--;
        gw_unpoison(b->bytes, b->cap);
    } else {
        size_t cap = room <= GW_BUFFER_BYTES ? GW_BUFFER_BYTES : room;
        if (cap > UINT32_MAX)
            return NULL;
        b = malloc(sizeof *b + cap);
        if (!b)
            return NULL;
        b->cap = (uint32_t)cap;
    }
    b->next = NULL;
    b->start = b->end = 0;
    pool->live++;
    return b;
}

void gw_buffer_give(gw_buffer_pool *pool, gw_buffer *b)
{
    if (!b)
        return;
    pool->live--;
    if (b->cap != GW_BUFFER_BYTES || pool->free_count >= pool->free_most) {
        free(b);
        return;
    }
    gw_poison(b->bytes, b->cap);
    b->next = pool->free;
    pool->free = b;
    pool->free_count++;
}

void gw_buffer_compact(gw_buffer *b)
{
    uint32_t used = gw_buffer_used(b);
    if (b->start && used)
        memmove(b->bytes, b->bytes + b->start, used);
    b->start = 0;
    b->end = used;
}
