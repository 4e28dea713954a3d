#include "base/arena.h"

#include <stdlib.h>

#include "base/poison.h"

#define ARENA_ALIGN 16

struct gw_arena_block {
    gw_arena_block *next;
    size_t bytes; /* behind this head */
} __attribute__((aligned(ARENA_ALIGN)));

static char *bytes_of(gw_arena_block *block)
{
    return (char *)(block + 1);
}

static void drop(gw_arena *a, gw_arena_block *block)
{
    gw_unpoison(bytes_of(block), block->bytes);
    a->total -= sizeof *block + block->bytes;
    free(block);
}

void gw_arena_init(gw_arena *a, size_t block_bytes, size_t most)
{
    /* Room for the head of the block and of malloc keeps the whole a round size. */
    size_t overhead = sizeof(gw_arena_block) + 16;
    *a = (gw_arena){.block_bytes = block_bytes > 4 * overhead ? block_bytes - overhead : 4 * overhead, .most = most};
}

void gw_arena_clear(gw_arena *a)
{
    while (a->blocks) {
        gw_arena_block *block = a->blocks;
        a->blocks = block->next;
        drop(a, block);
    }
    a->at = a->end = NULL;
}

void gw_arena_rewind(gw_arena *a)
{
    /* The current block is always the first in the list, and one of the standard size if there is any. */
    gw_arena_block *kept = a->blocks;
    if (!kept)
        return;
    while (kept->next) {
        gw_arena_block *block = kept->next;
        kept->next = block->next;
        drop(a, block);
    }
    if (kept->bytes != a->block_bytes) {
        gw_arena_clear(a);
        return;
    }
    a->at = bytes_of(kept);
    a->end = a->at + kept->bytes;
    gw_poison(a->at, kept->bytes);
}

static gw_arena_block *new_block(gw_arena *a, size_t bytes)
{
    size_t whole;
    if (__builtin_add_overflow(bytes, sizeof(gw_arena_block), &whole))
        return NULL;
    if (a->most && (a->total > a->most || whole > a->most - a->total))
        return NULL;
    gw_arena_block *block = malloc(whole);
    if (!block)
        return NULL;
    block->bytes = bytes;
    a->total += whole;
    gw_poison(bytes_of(block), bytes);
    return block;
}

/* The current block has no room. Something large gets a block of its own, put behind the current one, whose rest stays in use. */
static char *grow(gw_arena *a, size_t bytes)
{
    if (bytes > a->block_bytes / 4) {
        gw_arena_block *own = new_block(a, bytes);
        if (!own)
            return NULL;
        if (a->blocks) {
            own->next = a->blocks->next;
            a->blocks->next = own;
        } else {
            own->next = NULL;
            a->blocks = own;
            a->at = a->end = bytes_of(own) + bytes;
        }
        return bytes_of(own);
    }
    gw_arena_block *block = new_block(a, a->block_bytes);
    if (!block)
        return NULL;
    block->next = a->blocks;
    a->blocks = block;
    a->at = bytes_of(block) + bytes;
    a->end = bytes_of(block) + a->block_bytes;
    return bytes_of(block);
}

static void *take(gw_arena *a, size_t bytes, size_t skip)
{
    if (bytes == 0)
        bytes = 1; /* so that no two answers are the same, and none is NULL */
    size_t left = (size_t)(a->end - a->at);
    char *p;
    if (gw_likely(skip <= left && bytes <= left - skip)) {
        p = a->at + skip;
        a->at = p + bytes;
    } else {
        p = grow(a, bytes); /* aligned: blocks begin so */
        if (!p)
            return NULL;
    }
    gw_unpoison(p, bytes);
    return p;
}

void *gw_arena_bytes(gw_arena *a, size_t bytes)
{
    return take(a, bytes, 0);
}

void *gw_arena_take(gw_arena *a, size_t bytes)
{
    void *p = take(a, bytes, -(uintptr_t)a->at & (ARENA_ALIGN - 1));
    if (p)
        memset(p, 0, bytes);
    return p;
}

gw_slice gw_arena_copy(gw_arena *a, gw_slice s)
{
    if (s.len == SIZE_MAX)
        return GW_NO_SLICE;
    char *p = gw_arena_bytes(a, s.len + 1);
    if (!p)
        return GW_NO_SLICE;
    if (s.len)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return gw_slice_of(p, s.len);
}

const char *gw_arena_string(gw_arena *a, gw_slice s)
{
    return gw_arena_copy(a, s).ptr;
}
