#include "net/reserve.h"
#include <ev.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* In front of each block of the region. */
typedef struct block {
    _Alignas(16) size_t size;
} block;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *region; /* NULL: could not be had; then malloc is all there is */
static size_t top;   /* of what has been given out */
static size_t live;  /* blocks in use: with none left the region is whole again */

static bool inside(const void *ptr)
{
    return region && (const char *)ptr >= region && (const char *)ptr < region + GW_RESERVE_BYTES;
}

static void *region_take(size_t size)
{
    void *got = NULL;
    if (size > GW_RESERVE_BYTES)
        return NULL;
    size_t whole = sizeof(block) + ((size + 15) & ~(size_t)15);
    pthread_mutex_lock(&lock);
    if (region && whole <= GW_RESERVE_BYTES - top) {
        block *b = (block *)(void *)(region + top);
        b->size = size;
        top += whole;
        live++;
        got = b + 1;
    }
    pthread_mutex_unlock(&lock);
    return got;
}

static void region_give(void *ptr)
{
    block *b = (block *)ptr - 1;
    pthread_mutex_lock(&lock);
    size_t whole = sizeof(block) + ((b->size + 15) & ~(size_t)15);
    if ((char *)b + whole == region + top)
        top -= whole; /* the newest: it can be had again at once */
    if (--live == 0)
        top = 0;
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
