#define _GNU_SOURCE /* pthread_setname_np */
#include "script/watchdog.h"
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000
#define TICK_MOST (10 * MS)
#define TICK_LEAST MS
#define QUIET_LOOKS 50 /* looks at which nothing had moved, before it sleeps */

/* ThreadSanitizer puts off asynchronous signals until the thread calls something that it intercepts, which a loop in Lua never does. It
 * takes this one for synchronous. Else the one that is ignored where nobody handles it. */
#ifdef __SANITIZE_THREAD__
#define SIGNAL SIGSYS
#else
#define SIGNAL SIGURG
#endif

_Atomic uint32_t gw_watchdog_asleep;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list, and that its threads live while they are looked at */
static pthread_key_t at_exit;
static gw_watched *all;
static bool running;
static void (*action)(int number, siginfo_t *info, void *context);
static _Thread_local gw_watched *here;

static int64_t cpu_of(const gw_watched *w)
{
    struct timespec t;
    return clock_gettime(w->clock, &t) == 0 ? t.tv_sec * (int64_t)1000000000 + t.tv_nsec : -1;
}

/* ---- the thread ---- */

static void signal_to(const gw_watched *w)
{
    pthread_kill(w->thread, SIGNAL); /* joined, so it lives: see leave() */
}

/* ns until it wants to be looked at again; 0: it has not moved. */
static int64_t look(gw_watched *w)
{
    uint64_t entry = atomic_load_explicit(&w->entry, memory_order_acquire);
    bool inside = entry & 1, moved = entry != w->seen;
    if (!moved && !inside)
        return 0;
    int64_t budget = atomic_load_explicit(&w->budget, memory_order_relaxed), tick = budget / 5;
    tick = tick > TICK_MOST ? TICK_MOST : tick < TICK_LEAST ? TICK_LEAST : tick;
    int64_t cpu = cpu_of(w);
    if (cpu < 0)
        return tick;
    if (inside) { /* met by chance: it stands for all that ran since the last look */
        const _Atomic int *place = atomic_load_explicit(&w->place, memory_order_relaxed);
        atomic_store_explicit(&w->sampled_place, place ? atomic_load_explicit(place, memory_order_relaxed) : 0,
                              memory_order_relaxed);
        int64_t before = moved ? 0 : atomic_load_explicit(&w->sample, memory_order_relaxed);
        atomic_store_explicit(&w->sample, before + cpu - w->before, memory_order_relaxed);
        atomic_store_explicit(&w->sampled, entry, memory_order_release);
    }
    w->before = cpu;
    if (moved) {
        w->seen = entry;
        w->began = cpu;
        atomic_store_explicit(&w->stage, GW_WATCHDOG_CALM, memory_order_relaxed);
        return tick;
    }
    int64_t ran = cpu - w->began;
    atomic_store_explicit(&w->ran, ran, memory_order_relaxed);
    if (ran < budget)
        return budget - ran < tick ? (budget - ran < TICK_LEAST ? TICK_LEAST : budget - ran) : tick;
    atomic_store_explicit(&w->stage, ran < budget + GW_WATCHDOG_MERCY ? GW_WATCHDOG_ASKED : GW_WATCHDOG_FORCED,
                          memory_order_relaxed);
    atomic_store_explicit(&w->target, entry, memory_order_release);
    signal_to(w);
    return MS;
}

static void pause_for(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    nanosleep(&t, NULL);
}

static int64_t look_at_all(void)
{
    int64_t next = 0;
    pthread_mutex_lock(&lock);
    for (gw_watched *w = all; w; w = w->next) {
        int64_t wants = w->used ? look(w) : 0;
        if (wants && (!next || wants < next))
            next = wants;
    }
    pthread_mutex_unlock(&lock);
    return next;
}

static void *watch(void *data)
{
    (void)data;
    for (int quiet = 0;;) {
        int64_t next = look_at_all();
        quiet = next ? 0 : quiet + 1;
        if (quiet < QUIET_LOOKS) {
            pause_for(next ? next : TICK_MOST);
            continue;
        }
        atomic_store(&gw_watchdog_asleep, 1);
        if (look_at_all() == 0) /* whoever goes in from here on sees it asleep */
            syscall(SYS_futex, &gw_watchdog_asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
        atomic_store(&gw_watchdog_asleep, 0);
        quiet = 0;
    }
    return NULL;
}

void gw_watchdog_wake(void)
{
    if (atomic_exchange(&gw_watchdog_asleep, 0))
        syscall(SYS_futex, &gw_watchdog_asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* ---- threads that come and go ---- */

static void leave(void *data)
{
    gw_watched *w = data;
    here = NULL;
    pthread_mutex_lock(&lock);
    w->used = false;
    pthread_mutex_unlock(&lock);
}

static void start(void)
{
    struct sigaction what = {.sa_sigaction = action, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER};
    sigemptyset(&what.sa_mask);
    if (!action || sigaction(SIGNAL, &what, NULL) < 0 || pthread_key_create(&at_exit, leave) != 0)
        return;
    sigset_t blocked, before;
    sigfillset(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before); /* the new thread's from its beginning */
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) == 0) {
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        running = pthread_create(&thread, &attributes, watch, NULL) == 0;
        if (running)
            pthread_setname_np(thread, "watchdog");
        pthread_attr_destroy(&attributes);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void gw_watchdog_signal_is(void (*handler)(int number, siginfo_t *info, void *context))
{
    action = handler;
}

static gw_watched *find_place(void)
{
    for (gw_watched *w = all; w; w = w->next)
        if (!w->used)
            return w;
    gw_watched *w = aligned_alloc(_Alignof(gw_watched), sizeof *w);
    if (!w)
        return NULL;
    memset(w, 0, sizeof *w);
    w->next = all;
    all = w;
    return w;
}

void gw_watchdog_listen(void)
{
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
}

static gw_watched *join(void)
{
    pthread_once(&once, start);
    if (!running)
        return NULL;
    pthread_mutex_lock(&lock);
    gw_watched *w = find_place();
    if (w) {
        w->thread = pthread_self();
        atomic_store_explicit(&w->place, NULL, memory_order_relaxed);
        w->state = NULL;
        w->used = pthread_getcpuclockid(w->thread, &w->clock) == 0 && pthread_setspecific(at_exit, w) == 0;
        w->seen = atomic_load_explicit(&w->entry, memory_order_relaxed);
        w->before = w->used ? cpu_of(w) : 0;
    }
    bool joined = w && w->used;
    pthread_mutex_unlock(&lock);
    if (!joined)
        return NULL;
    here = w;
    gw_watchdog_listen();
    return w;
}

gw_watched *gw_watchdog_here(void)
{
    return gw_likely(here != NULL) ? here : join();
}

gw_watched *gw_watchdog_known(void)
{
    return here;
}
