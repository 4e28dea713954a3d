/* I/O buffers and their per-thread free list.
 *
 * A buffer is one block: bytes in [start, end) are waiting, [end, cap) is room. Buffers of the standard size go back to the free
 * list they came from (newest first, so that they stay warm in the cache); larger ones, made when a head needs it, go back to
 * malloc. A pool belongs to one thread. */
#ifndef GW_BASE_BUFFER_H
#define GW_BASE_BUFFER_H

#include "base/base.h"

#define GW_BUFFER_BYTES                                                                                                          \
    (32768 + 384) /* room in a standard buffer; off the powers of two, so that the heads at the front of many buffers do not
                                        * fall into the same few sets of the cache */

typedef struct gw_buffer {
    struct gw_buffer *next; /* free list, or a queue of its owner */
    uint32_t cap, start, end;
    char bytes[];
} gw_buffer;

typedef struct gw_buffer_pool {
    gw_buffer *free;
    uint32_t free_count, free_most; /* kept for reuse, at most free_most */
    uint32_t live;                  /* handed out */
} gw_buffer_pool;

void gw_buffer_pool_init(gw_buffer_pool *pool, uint32_t free_most);
void gw_buffer_pool_clear(gw_buffer_pool *pool); /* frees the kept ones */

/* An empty buffer with room for at least `room` bytes (0: the standard size); NULL when memory is out. */
gw_buffer *gw_buffer_take(gw_buffer_pool *pool, size_t room);
void gw_buffer_give(gw_buffer_pool *pool, gw_buffer *b); /* NULL is fine */

static inline uint32_t gw_buffer_used(const gw_buffer *b)
{
    return b->end - b->start;
}

static inline uint32_t gw_buffer_room(const gw_buffer *b)
{
    return b->cap - b->end;
}

/* Moves the waiting bytes to the front, so that all the room is in one piece. Pointers into the buffer go stale. */
void gw_buffer_compact(gw_buffer *b);

#endif
