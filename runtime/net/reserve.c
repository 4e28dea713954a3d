#include "net/reserve.h"
#include <ev.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* The region, from its start to `top`, is block behind block; a free one takes in the free ones behind it when it is looked at. First fit. */
typedef struct block {
    _Alignas(16) size_t size; /* behind this head; a multiple of 16 */
    bool used;
} block;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *region;  /* NULL: could not be had; then malloc is all there is */
static size_t top;    /* of what has been given out */
static size_t lowest; /* no free block stands before this place */
static size_t live;   /* blocks in use: with none left the region is whole again */

static bool inside(const void *ptr)
{
    return region && (const char *)ptr >= region && (const char *)ptr < region + GW_RESERVE_BYTES;
}

static block *block_at(size_t place)
{
    return (block *)(void *)(region + place);
}

static size_t behind(size_t place)
{
    return place + sizeof(block) + block_at(place)->size;
}

/* The block at a place takes in what is free behind it. False: there was nothing used behind, and it has gone into the rest. */
static bool gather_free(size_t place)
{
    block *b = block_at(place);
    size_t next;
    while ((next = behind(place)) < top && !block_at(next)->used)
        b->size += sizeof(block) + block_at(next)->size;
    if (next < top)
        return true;
    top = place;
    if (lowest > top)
        lowest = top;
    return false;
}

static void use(size_t place, size_t size)
{
    block *b = block_at(place);
    if (b->size >= size + sizeof(block) + 16) { /* what is more stays free */
        block *rest = block_at(place + sizeof(block) + size);
        *rest = (block){.size = b->size - size - sizeof(block)};
        b->size = size;
    }
    b->used = true;
    live++;
}

/* A free block of at least this size, or room at the top made one; SIZE_MAX: none. */
static size_t find(size_t size)
{
    size_t passed = SIZE_MAX;
    for (size_t at = lowest; at < top; at = behind(at)) {
        if (block_at(at)->used)
            continue;
        if (!gather_free(at))
            break;
        if (block_at(at)->size >= size) {
            lowest = passed != SIZE_MAX ? passed : at;
            return at;
        }
        if (passed == SIZE_MAX)
            passed = at;
    }
    if (size + sizeof(block) > GW_RESERVE_BYTES - top)
        return SIZE_MAX;
    size_t at = top;
    *block_at(at) = (block){.size = size};
    top = behind(at);
    lowest = passed != SIZE_MAX ? passed : at;
    return at;
}

static void *region_take(size_t size)
{
    if (size > GW_RESERVE_BYTES)
        return NULL;
    size = (size + 15) & ~(size_t)15;
    pthread_mutex_lock(&lock);
    size_t place = region ? find(size) : SIZE_MAX;
    if (place != SIZE_MAX)
        use(place, size);
    pthread_mutex_unlock(&lock);
    return place != SIZE_MAX ? block_at(place) + 1 : NULL;
}

static void region_give(void *ptr)
{
    pthread_mutex_lock(&lock);
    size_t place = (size_t)((char *)ptr - region) - sizeof(block);
    block_at(place)->used = false;
    if (place < lowest)
        lowest = place;
    gather_free(place);
    if (--live == 0)
        top = lowest = 0;
    pthread_mutex_unlock(&lock);
}

void *gw_reserve_realloc(void *ptr, size_t size, void *(*grow)(void *ptr, size_t size))
{
    bool ours = inside(ptr);
    if (size == 0) {
        if (ours)
            region_give(ptr);
        else
            free(ptr);
        return NULL;
    }
    void *got = grow(ours ? NULL : ptr, size);
    bool moved = got != NULL && !ours;
    if (!got)
        got = region_take(size);
    if (!got || !ptr || moved)
        return got; /* what realloc refuses stays as it was */
    size_t old = ours ? ((block *)ptr - 1)->size : malloc_usable_size(ptr);
    memcpy(got, ptr, old < size ? old : size);
    if (ours)
        region_give(ptr);
    else
        free(ptr);
    return got;
}

bool gw_reserve_owns(const void *ptr)
{
    return inside(ptr);
}

size_t gw_reserve_used(void)
{
    pthread_mutex_lock(&lock);
    size_t used = top;
    pthread_mutex_unlock(&lock);
    return used;
}

static void *for_libev(void *ptr, long size) EV_NOEXCEPT
{
    return gw_reserve_realloc(ptr, (size_t)size, realloc);
}

static void reserve_start(void)
{
    void *got = mmap(NULL, GW_RESERVE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got != MAP_FAILED)
        region = got;
    ev_set_allocator(for_libev);
}

void gw_reserve_open(void)
{
    pthread_once(&once, reserve_start);
}
