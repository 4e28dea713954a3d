#define _GNU_SOURCE /* pthread_setname_np */
#include "process/worker.h"

#include "base/clock.h"
#include "gateway/metrics_text.h"
#include "net/signals.h"
#include "process/supervisor.h"
#include "script/script.h"
#include <stdlib.h>

#define TICK_SECONDS 0.5

/* ---- how late the loop is ---- */

/* The time from when a timer was due until the loop came to it is what an event of that moment had to wait: behind long callbacks, Lua that
 * computes, a machine with more to do than processors. */
static void on_tick(gw_ticker *t)
{
    gw_worker *w = gw_container_of(t, gw_worker, ticker);
    int64_t late = gw_clock_monotonic_ns() - w->tick_due;
    if (w->tick_due) /* the first only sets the time */
        gw_histogram_observe(&w->lag, late > 0 ? (double)late / 1e9 : 0);
    gw_slow_age(&w->engine.slow, gw_loop_now(w->loop));
    const gw_generation *g = atomic_load_explicit(w->engine.current, memory_order_acquire);
    if (g)
        __atomic_store_n(&w->lua_bytes, gw_script_memory(g->worker[w->engine.index].script), __ATOMIC_RELAXED);
    gw_ticker_stop(t); /* begun anew each time: those that were missed are not made up for */
    w->tick_due = (int64_t)((gw_loop_now(w->loop) + TICK_SECONDS) * 1e9);
    gw_ticker_start(w->loop, t, TICK_SECONDS, on_tick);
}

void gw_worker_lag_write(const gw_worker *w, gw_page *p)
{
    char bytes[32];
    gw_text labels = gw_text_on(bytes, sizeof bytes);
    gw_text_printf(&labels, "worker=\"%u\"", w->engine.index);
    gw_histogram sum = {0};
    gw_histogram_add(&sum, &w->lag);
    gw_histogram_write(p, gw_text_done(&labels), &sum, NULL);
}

/* ---- the thread ---- */

static void *work(void *data)
{
    gw_worker *w = data;
    gw_signals_block_all();
    gw_ticker_start(w->loop, &w->ticker, TICK_SECONDS, on_tick);
    gw_loop_run(w->loop);
    gw_ticker_stop(&w->ticker);
    /* Stopped. The current generation leaves as a retired one does; its exchanges are ended by the clear, and with the last
     * of them goes this worker's Lua state, on this thread. */
    gw_generation *g = atomic_load_explicit(w->engine.current, memory_order_acquire);
    if (g)
        gw_engine_retire(&w->engine, g);
    gw_engine_clear(&w->engine);
    gw_loop_post(w->supervisor->loop, &w->ended);
    return NULL;
}

static void tell_idle(gw_worker *w)
{
    if (w->told_idle)
        return;
    w->told_idle = true;
    gw_loop_post(w->supervisor->loop, &w->idle);
}

static void on_engine_idle(gw_engine *e)
{
    gw_worker *w = e->owner;
    if (w->drain_begun)
        tell_idle(w);
}

static void on_drain(gw_mail *mail, void *owner)
{
    (void)mail;
    gw_worker *w = owner;
    w->drain_begun = true;
    gw_engine_drain(&w->engine);
    if (gw_engine_is_idle(&w->engine))
        tell_idle(w);
}

static void on_stop(gw_mail *mail, void *owner)
{
    (void)mail;
    gw_loop_stop(((gw_worker *)owner)->loop);
}

/* ---- on the control thread ---- */

static void on_told_idle(gw_mail *mail, void *owner)
{
    gw_supervisor_worker_idle(owner, gw_container_of(mail, gw_worker, idle));
}

static void on_told_ended(gw_mail *mail, void *owner)
{
    gw_supervisor_worker_ended(owner, gw_container_of(mail, gw_worker, ended));
}

gw_worker *gw_worker_new(gw_supervisor *s, uint32_t index, gw_log_ring *ring)
{
    gw_worker *w = aligned_alloc(GW_CACHE_LINE, (sizeof *w + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE);
    if (!w)
        return NULL;
    memset(w, 0, sizeof *w);
    w->supervisor = s;
    w->drain.run = on_drain, w->stop.run = on_stop;
    w->idle.run = on_told_idle, w->ended.run = on_told_ended;
    w->loop = gw_loop_new();
    if (!w->loop)
        goto no_loop;
    gw_loop_set_owner(w->loop, w);
    if (gw_engine_init(&w->engine, index, w->loop, ring, &s->current) < 0)
        goto no_engine;
    w->engine.idle = on_engine_idle;
    w->engine.owner = w;
    gw_remaking_serve(w);
    return w;
no_engine:
    gw_loop_free(w->loop);
no_loop:
    free(w);
    return NULL;
}

int gw_worker_start(gw_worker *w)
{
    if (pthread_create(&w->thread, NULL, work, w) != 0)
        return GW_LIMIT;
    w->running = true;
    char name[16];
    gw_text text = gw_text_on(name, sizeof name - 1);
    gw_text_lit(&text, "worker ");
    gw_text_u64(&text, w->engine.index);
    *text.at = '\0';
    pthread_setname_np(w->thread, name);
    return GW_OK;
}

void gw_worker_free(gw_worker *w)
{
    if (!w)
        return;
    if (w->running)
        pthread_join(w->thread, NULL);
    else
        gw_engine_clear(&w->engine); /* a thread clears its own */
    gw_remake_clear(&w->remake);
    gw_loop_free(w->loop);
    free(w);
}

void gw_worker_drain(gw_worker *w)
{
    gw_loop_post(w->loop, &w->drain);
}

void gw_worker_stop(gw_worker *w)
{
    gw_loop_post(w->loop, &w->stop);
}

/* ---- rounds ---- */

typedef struct gw_leg {
    gw_mail mail;
    gw_round *round;
} gw_leg;

struct gw_round {
    gw_mail mail; /* home */
    gw_supervisor *supervisor;
    gw_round_visit *visit;
    gw_round_done *done;
    void *data;
    _Atomic uint32_t left;
    gw_leg leg[];
};

static void on_home(gw_mail *mail, void *owner)
{
    gw_round *r = gw_container_of(mail, gw_round, mail);
    if (r->done)
        r->done(owner, r->data);
    free(r);
}

static void on_leg(gw_mail *mail, void *owner)
{
    gw_round *r = gw_container_of(mail, gw_leg, mail)->round;
    r->visit(owner, r->data);
    if (atomic_fetch_sub_explicit(&r->left, 1, memory_order_acq_rel) == 1)
        gw_loop_post(r->supervisor->loop, &r->mail);
}

gw_round *gw_round_new(gw_supervisor *s, gw_round_visit *visit, gw_round_done *done, void *data)
{
    gw_round *r = calloc(1, sizeof *r + s->worker_count * sizeof r->leg[0]);
    if (!r)
        return NULL;
    r->supervisor = s;
    r->visit = visit, r->done = done, r->data = data;
    r->mail.run = on_home;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        r->leg[i].mail.run = on_leg;
        r->leg[i].round = r;
    }
    return r;
}

void gw_round_start(gw_round *r)
{
    uint32_t count = r->supervisor->worker_count;
    atomic_store_explicit(&r->left, count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) /* it cannot end under us: it ends on this thread */
        gw_loop_post(r->supervisor->workers[i]->loop, &r->leg[i].mail);
}

void gw_round_discard(gw_round *r)
{
    free(r);
}
