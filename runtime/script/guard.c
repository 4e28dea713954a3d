#define _GNU_SOURCE /* dl_iterate_phdr, REG_RIP */
#include "script/guard.h"
#include "net/reserve.h"
#include "script/luajit.h"
#include "script/watchdog.h"
#include <errno.h>
#include <lauxlib.h>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* ---- where LuaJIT's own code lies ---- */

#define SEGMENTS_MOST 8

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
    uintptr_t from, to;
} segments[SEGMENTS_MOST];
static size_t segment_count;

static int on_object(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    uintptr_t wanted = *(const uintptr_t *)data;
    bool is_it = false;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Phdr) *p = &info->dlpi_phdr[i];
            uintptr_t from = info->dlpi_addr + p->p_vaddr, to = from + p->p_memsz;
            if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
                continue;
            if (pass == 0)
                is_it |= wanted >= from && wanted < to;
            else if (is_it && segment_count < SEGMENTS_MOST) {
                segments[segment_count].from = from;
                segments[segment_count++].to = to;
            }
        }
    }
    return is_it;
}

static void on_signal(int number, siginfo_t *info, void *context);

static void learn(void)
{
    uintptr_t inside = (uintptr_t)&lua_resume, ours = (uintptr_t)&learn;
    dl_iterate_phdr(on_object, &inside);
    /* LuaJIT linked into the program itself: its code cannot be told from ours, and is not left. */
    for (size_t i = 0; i < segment_count; i++)
        if (ours >= segments[i].from && ours < segments[i].to)
            segment_count = 0;
    gw_watchdog_signal_is(on_signal);
}

/* ---- machine code ---- */

/* How LuaJIT begins an area (MCLink in lj_jit.h): the area before it in the list, and its size. What does not look like that is not
 * believed. */
static size_t area_bytes(const char *begin)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = (uintptr_t)begin & ~(page - 1);
    struct {
        uintptr_t next;
        size_t size;
    } head;
    if ((uintptr_t)begin - base < sizeof head || (uintptr_t)begin - base > 64)
        return 0;
    memcpy(&head, (const void *)base, sizeof head);
    bool good = head.size >= page && head.size <= (size_t)64 << 20 && head.size % page == 0 && head.next % page == 0;
    return good ? head.size : 0;
}

void gw_guard_code_added(gw_code_area *a, const void *begin)
{
    const gw_watched *w = gw_watchdog_known();
    gw_list_init(&a->link);
    a->begin = begin;
    a->bytes = 0;
    if (!w || !w->state)
        return;
    a->bytes = area_bytes(begin);
    gw_list_push_back(&((gw_state *)w->state)->code, &a->link);
}

void gw_guard_code_gone(gw_code_area *a)
{
    gw_list_remove(&a->link);
}

static void drop_code(gw_state *s)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    while (!gw_list_empty(&s->code)) {
        gw_code_area *a = gw_container_of(s->code.next, gw_code_area, link);
        char *base = (char *)((uintptr_t)a->begin & ~(page - 1));
        size_t bytes = a->bytes;
        gw_luajit_forget_code(a); /* takes it out of the list, and frees it */
        if (bytes)
            munmap(base, bytes);
    }
}

/* ---- the signal ---- */

static uintptr_t counter_of(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.pc;
#else
    (void)context;
    return 0; /* nowhere: only the hook stops what runs too long */
#endif
}

/* In LuaJIT, or in code that it made: nothing there owns what is not the state's. The list of areas stands still then: it is changed by our
 * own code only. */
static bool may_be_left(const gw_state *s, uintptr_t at)
{
    for (size_t i = 0; i < segment_count; i++)
        if (at >= segments[i].from && at < segments[i].to)
            return true;
    for (const gw_list *l = s->code.next; l != &s->code; l = l->next) {
        const gw_code_area *a = gw_container_of(l, gw_code_area, link);
        uintptr_t from = (uintptr_t)a->begin;
        if (at >= from && at - from < a->bytes)
            return true;
    }
    return false;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    gw_watched *w = gw_watchdog_known();
    uint64_t entry = w ? atomic_load_explicit(&w->entry, memory_order_relaxed) : 0;
    if (!(entry & 1) || entry != atomic_load_explicit(&w->target, memory_order_acquire))
        return; /* it came too late */
    gw_state *s = w->state;
    if (atomic_load_explicit(&w->stage, memory_order_relaxed) == GW_WATCHDOG_FORCED && may_be_left(s, counter_of(context)))
        siglongjmp(w->out, 1);
    /* A load has a hook of its own (load.c). */
    if (s->deadline <= 0) {
        int saved = errno;
        w->asked = entry;
        s->overran = (double)atomic_load_explicit(&w->ran, memory_order_relaxed) / 1e9;
        gw_state_stop_soon(s);
        errno = saved;
    }
}

/* ---- in and out ---- */

double gw_guard_overran(const gw_state *s)
{
    return s->overran;
}

void gw_guard_set_budget(gw_state *s, int64_t budget)
{
    gw_watched *w = gw_watchdog_known();
    s->budget = budget;
    if (w && w->state == s)
        atomic_store_explicit(&w->budget, budget, memory_order_relaxed);
}

enum way { RESUME, CPCALL, PCALL };

static inline int enter(gw_state *s, enum way way, lua_State *co, int arguments, lua_CFunction f, void *data)
{
    switch (way) {
    case RESUME:
        return lua_resume(co, arguments);
    case CPCALL:
        return lua_cpcall(s->L, f, data);
    case PCALL:
        break;
    }
    return lua_pcall(s->L, 0, 0, 0);
}

/* The watchdog met this entry: the time that it stands for goes to the function in which it was. */
static __attribute__((noinline)) void count_time(gw_state *s, gw_watched *w)
{
    int at = atomic_load_explicit(&w->sampled_place, memory_order_relaxed);
    if (at < 1 || (uint32_t)at > s->plugin_count || !s->cells)
        return;
    double cpu = s->cells[at]->cpu + (double)atomic_load_explicit(&w->sample, memory_order_relaxed) / 1e9;
    __atomic_store(&s->cells[at]->cpu, &cpu, __ATOMIC_RELAXED);
}

/* Whoever comes back here by the signal finds only what is in memory. */
static __attribute__((noinline)) int left_in_the_middle(gw_watched *w)
{
    gw_state *s = w->state;
    gw_watchdog_out(w, atomic_load_explicit(&w->entry, memory_order_relaxed));
    gw_watchdog_listen();
    w->state = NULL;
    s->overran = (double)atomic_load_explicit(&w->ran, memory_order_relaxed) / 1e9;
    count_time(s, w);
    if (s->lost)
        s->lost(s);
    gw_guard_abandon(s);
    return GW_GUARD_ABANDONED;
}

static inline int guarded(gw_state *s, enum way way, lua_State *co, int arguments, lua_CFunction f, void *data)
{
    if (gw_unlikely(s->adopted)) /* somebody else's Lua, which goes on after */
        return enter(s, way, co, arguments, f, data);
    gw_watched *w = gw_watchdog_known();
    if (gw_unlikely(!w)) {
        pthread_once(&once, learn);
        w = gw_watchdog_here();
    }
    if (gw_unlikely(!w ||
                    atomic_load_explicit(&w->entry, memory_order_relaxed) & 1)) /* inside another: that one's time goes on */
        return enter(s, way, co, arguments, f, data);
    w->state = s;
    s->overran = 0;
    atomic_store_explicit(&w->budget, s->budget, memory_order_relaxed);
    atomic_store_explicit(&w->place, s->place, memory_order_relaxed);
    if (gw_unlikely(sigsetjmp(w->out, 0)))
        return left_in_the_middle(gw_watchdog_known());
    uint64_t entry = gw_watchdog_in(w);
    int status = enter(s, way, co, arguments, f, data);
    gw_watchdog_out(w, entry);
    w->state = NULL;
    if (gw_unlikely(atomic_load_explicit(&w->sampled, memory_order_acquire) == entry))
        count_time(s, w);
    if (gw_unlikely(w->asked == entry))
        gw_state_relieve(s);
    return status;
}

int gw_guard_resume(gw_state *s, lua_State *co, int arguments)
{
    return guarded(s, RESUME, co, arguments, NULL, NULL);
}

int gw_guard_resume_library(gw_state *s, lua_State *co, int arguments)
{
    gw_watched *w = gw_watchdog_known();
    bool outer = w && !w->state; /* and not inside another entry */
    if (outer)
        w->state = s;
    int status = lua_resume(co, arguments);
    if (outer)
        w->state = NULL;
    return status;
}

int gw_guard_cpcall(gw_state *s, lua_CFunction f, void *data)
{
    return guarded(s, CPCALL, NULL, 0, f, data);
}

int gw_guard_pcall(gw_state *s)
{
    return guarded(s, PCALL, NULL, 0, NULL, NULL);
}

/* ---- giving up ---- */

void gw_guard_tell_losers(gw_state *s)
{
    while (!gw_list_empty(&s->losers)) {
        gw_loser *l = gw_container_of(s->losers.next, gw_loser, link);
        gw_list_remove(&l->link);
        l->lost(l);
    }
}

void gw_guard_abandon(gw_state *s)
{
    gw_guard_tell_losers(s);
    gw_lua_holder_clear(&s->holder);
    drop_code(s);
    gw_state_drop_memory(s);
}
