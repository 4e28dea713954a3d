#include "script/heap.h"
#include "base/poison.h"
#include <sys/mman.h>

#define SHIFT 16
#define SPAN ((size_t)1 << SHIFT)
#define STEP 16 /* spans made usable at once */
#define SMALL_MOST 32768

#ifdef GW_POISONS /* what Lua's memory points to is not leaked */
void __lsan_register_root_region(const void *begin, size_t bytes);
void __lsan_unregister_root_region(const void *begin, size_t bytes);
#else
#define __lsan_register_root_region(begin, bytes) ((void)0)
#define __lsan_unregister_root_region(begin, bytes) ((void)0)
#endif

/*            take                       last block is freed
 *   FREE ───────────► SMALL (blocks of one class) ───────────► FREE
 *     └─────────────► LARGE, REST, REST, ... ─────────────────► FREE
 *
 * The first and the last span of a free run know how long it is. */
enum kind { FREE /* zeroed pages are that */, SMALL, LARGE, REST };

typedef struct gw_heap_span {
    uint8_t kind;
    uint8_t class;
    bool cold;             /* free, and its memory was given back (or never asked for) */
    uint16_t live, most;   /* blocks */
    uint32_t run;          /* FREE, LARGE: spans */
    uint32_t fresh;        /* SMALL: blocks from here on (in bytes) were never given out */
    uint32_t next, before; /* SMALL with room: neighbours in the class's list, + 1 */
    void *free;
} span;

static inline uint32_t class_of(size_t bytes)
{
    if (gw_likely(bytes <= 1024))
        return (uint32_t)((bytes + 15) >> 4);
    uint32_t top = 63 - (uint32_t)__builtin_clzll(bytes - 1); /* 10: up to 2 KB */
    return 65 + (top - 10) * 4 + (uint32_t)((bytes - 1) >> (top - 2) & 3);
}

static inline uint32_t class_bytes(uint32_t class)
{
    if (class <= 64)
        return class << 4;
    uint32_t top = 10 + (class - 65) / 4;
    return (4 + (class - 65) % 4 + 1) << (top - 2);
}
_Static_assert(GW_HEAP_CLASSES == 65 + 5 * 4, "32 KB is the last class");

int (*gw_heap_refuses)(void);

bool gw_heap_open(gw_heap *h, size_t most)
{
    memset(h, 0, sizeof *h);
    size_t count = (most + SPAN - 1) >> SHIFT;
    if (count < STEP)
        count = STEP;
    if (count > UINT32_MAX / 2)
        return false;
    size_t table = (count * sizeof(span) + SPAN - 1) & ~(SPAN - 1), bytes = table + (count << SHIFT) + SPAN;
    char *region = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED)
        return false;
    char *aligned = (char *)(((uintptr_t)region + SPAN - 1) & ~(uintptr_t)(SPAN - 1));
    if (mmap(aligned, table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
        MAP_FAILED) {
        munmap(region, bytes);
        return false;
    }
    h->region = region;
    h->region_bytes = bytes;
    h->spans = (span *)(void *)aligned;
    h->base = aligned + table;
    h->count = (uint32_t)count;
    __lsan_register_root_region(h->base, (size_t)h->count << SHIFT);
    return true;
}

void gw_heap_close(gw_heap *h)
{
    if (!h->region)
        return;
    __lsan_unregister_root_region(h->base, (size_t)h->count << SHIFT);
    gw_unpoison(h->base, (size_t)h->usable << SHIFT); /* the addresses will be somebody else's */
    munmap(h->region, h->region_bytes);
    memset(h, 0, sizeof *h);
}

size_t gw_heap_held(const gw_heap *h)
{
    size_t held = 0;
    for (uint32_t i = 0; i < h->top; i++)
        held += !h->spans[i].cold;
    return held << SHIFT;
}

/* ---- spans ---- */

static char *address_of(const gw_heap *h, uint32_t at)
{
    return h->base + ((size_t)at << SHIFT);
}

static void mark_free(gw_heap *h, uint32_t at, uint32_t run)
{
    span *first = &h->spans[at], *last = first + run - 1;
    first->kind = last->kind = FREE;
    first->run = last->run = run;
    if (at < h->lowest)
        h->lowest = at;
}

static bool make_usable(gw_heap *h, uint32_t until)
{
    if (until <= h->usable)
        return true;
    uint32_t more = (until - h->usable + STEP - 1) / STEP * STEP;
    if (more > h->count - h->usable)
        more = h->count - h->usable;
    /* A mapping of its own rather than a change of rights, so that the system may say no (strict overcommit). */
    if (mmap(address_of(h, h->usable), (size_t)more << SHIFT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED)
        return false;
    h->usable += more;
    return true;
}

static void take(gw_heap *h, uint32_t at, uint32_t run)
{
    for (uint32_t i = at; i < at + run; i++) {
        h->warm -= !h->spans[i].cold;
        h->spans[i].cold = false;
    }
}

#define NO_SPAN UINT32_MAX

/* A run of that many spans, out of the free ones or above them all. */
static uint32_t take_run(gw_heap *h, uint32_t run)
{
    uint32_t first_free = NO_SPAN;
    for (uint32_t at = h->lowest; at < h->top;) {
        const span *s = &h->spans[at];
        if (s->kind != FREE) {
            at += s->kind == LARGE ? s->run : 1;
            continue;
        }
        if (first_free == NO_SPAN)
            h->lowest = first_free = at;
        if (s->run >= run) {
            uint32_t left = s->run - run;
            if (at == h->lowest)
                h->lowest = at + run; /* or later */
            if (left)
                mark_free(h, at + run, left);
            take(h, at, run);
            return at;
        }
        at += s->run;
    }
    if (first_free == NO_SPAN)
        h->lowest = h->top;
    if (run > h->count - h->top || !make_usable(h, h->top + run))
        return NO_SPAN;
    uint32_t at = h->top;
    h->top += run;
    if (h->lowest == at)
        h->lowest = h->top;
    return at;
}

static void give_run(gw_heap *h, uint32_t at, uint32_t run)
{
    bool keep = ((size_t)(h->warm + run) << SHIFT) <= GW_HEAP_WARM;
    if (!keep) {
        gw_unpoison(address_of(h, at), (size_t)run << SHIFT);
        keep = madvise(address_of(h, at), (size_t)run << SHIFT, MADV_DONTNEED) != 0;
    }
    for (uint32_t i = at; i < at + run; i++)
        h->spans[i].cold = !keep;
    if (keep)
        h->warm += run;
    gw_poison(address_of(h, at), (size_t)run << SHIFT);
    if (at + run < h->top && h->spans[at + run].kind == FREE)
        run += h->spans[at + run].run;
    if (at > 0 && h->spans[at - 1].kind == FREE) {
        uint32_t before = h->spans[at - 1].run;
        at -= before;
        run += before;
    }
    mark_free(h, at, run);
}

/* ---- small blocks ---- */

static void list_add(gw_heap *h, uint32_t at)
{
    span *s = &h->spans[at];
    uint32_t *first = &h->room[s->class];
    s->before = 0;
    s->next = *first;
    if (*first)
        h->spans[*first - 1].before = at + 1;
    *first = at + 1;
}

static void list_remove(gw_heap *h, uint32_t at)
{
    span *s = &h->spans[at];
    if (s->before)
        h->spans[s->before - 1].next = s->next;
    else
        h->room[s->class] = s->next;
    if (s->next)
        h->spans[s->next - 1].before = s->before;
}

static bool add_room(gw_heap *h, uint32_t class)
{
    uint32_t at = take_run(h, 1);
    if (at == NO_SPAN)
        return false;
    uint32_t most = (uint32_t)SPAN / class_bytes(class);
    h->spans[at] = (span){.kind = SMALL, .class = (uint8_t) class, .most = (uint16_t)most};
    gw_poison(address_of(h, at), SPAN);
    list_add(h, at);
    return true;
}

static inline void *small_take(gw_heap *h, uint32_t class)
{
    if (gw_unlikely(!h->room[class]) && !add_room(h, class))
        return NULL;
    uint32_t at = h->room[class] - 1, bytes = class_bytes(class);
    span *s = &h->spans[at];
    void *out = s->free;
    if (gw_likely(out)) {
        gw_unpoison(out, bytes);
        memcpy(&s->free, out, sizeof s->free);
    } else {
        out = address_of(h, at) + s->fresh;
        s->fresh += bytes;
        gw_unpoison(out, bytes);
    }
    if (gw_unlikely(++s->live == s->most))
        list_remove(h, at);
    return out;
}

static inline void small_give(gw_heap *h, span *s, void *ptr)
{
    uint32_t at = (uint32_t)(s - h->spans);
    memcpy(ptr, &s->free, sizeof s->free);
    s->free = ptr;
    gw_poison(ptr, class_bytes(s->class));
    if (gw_unlikely(s->live-- == s->most))
        list_add(h, at);
    /* The only one of its class stays: a block that comes and goes shall not take and give a span each time. */
    if (gw_unlikely(s->live == 0) && (s->next || s->before)) {
        list_remove(h, at);
        give_run(h, at, 1);
    }
}

/* ---- large ones ---- */

static void *large_take(gw_heap *h, size_t bytes)
{
    if (bytes > (size_t)h->count << SHIFT)
        return NULL;
    uint32_t run = (uint32_t)((bytes + SPAN - 1) >> SHIFT), at = take_run(h, run);
    if (at == NO_SPAN)
        return NULL;
    h->spans[at].kind = LARGE;
    h->spans[at].run = run;
    for (uint32_t i = at + 1; i < at + run; i++)
        h->spans[i].kind = REST;
    gw_unpoison(address_of(h, at), (size_t)run << SHIFT);
    return address_of(h, at);
}

/* To another number of spans without moving. */
static bool large_resize(gw_heap *h, uint32_t at, size_t bytes)
{
    span *s = &h->spans[at];
    if (bytes <= SMALL_MOST || bytes > (size_t)h->count << SHIFT)
        return false;
    uint32_t run = (uint32_t)((bytes + SPAN - 1) >> SHIFT), had = s->run;
    if (run < had) {
        s->run = run;
        give_run(h, at + run, had - run);
    } else if (run > had) {
        uint32_t end = at + had, more = run - had;
        if (end == h->top) {
            if (more > h->count - h->top || !make_usable(h, h->top + more))
                return false;
            if (h->lowest == h->top)
                h->lowest += more;
            h->top += more;
        } else if (h->spans[end].kind == FREE && h->spans[end].run >= more) {
            uint32_t left = h->spans[end].run - more;
            if (h->lowest == end)
                h->lowest = end + more;
            if (left)
                mark_free(h, end + more, left);
            take(h, end, more);
        } else
            return false;
        for (uint32_t i = end; i < at + run; i++)
            h->spans[i].kind = REST;
        s->run = run;
        gw_unpoison(address_of(h, end), (size_t)more << SHIFT);
    }
    return true;
}

/* ---- all of it ---- */

static inline void *block_take(gw_heap *h, size_t bytes)
{
    if (gw_unlikely(gw_heap_refuses != NULL) && gw_heap_refuses())
        return NULL;
    return gw_likely(bytes <= SMALL_MOST) ? small_take(h, class_of(bytes)) : large_take(h, bytes);
}

static inline void block_give(gw_heap *h, void *ptr)
{
    uint32_t at = (uint32_t)((size_t)((char *)ptr - h->base) >> SHIFT);
    span *s = &h->spans[at];
    if (gw_likely(s->kind == SMALL))
        small_give(h, s, ptr);
    else
        give_run(h, at, s->run);
}

void *gw_heap_realloc(gw_heap *h, void *ptr, size_t bytes)
{
    if (!ptr)
        return bytes ? block_take(h, bytes) : NULL;
    if (bytes == 0) {
        block_give(h, ptr);
        return NULL;
    }
    uint32_t at = (uint32_t)((size_t)((char *)ptr - h->base) >> SHIFT);
    const span *s = &h->spans[at];
    size_t had;
    if (s->kind == SMALL) {
        if (bytes <= SMALL_MOST && class_of(bytes) == s->class)
            return ptr;
        had = class_bytes(s->class);
    } else {
        if (large_resize(h, at, bytes))
            return ptr;
        had = (size_t)s->run << SHIFT;
    }
    void *out = block_take(h, bytes);
    if (!out)
        return NULL;
    memcpy(out, ptr, had < bytes ? had : bytes);
    block_give(h, ptr);
    return out;
}
