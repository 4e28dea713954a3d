#include "process/service.h"

#include "base/clock.h"
#include "process/supervisor.h"

/* ---- signs of life ---- */

static void visit(gw_worker *w, void *data)
{
    (void)data;
    __atomic_store_n(&w->answered, true, __ATOMIC_RELAXED);
}

/* Every worker's loop came to its mail. */
static void on_home(gw_supervisor *s, void *data)
{
    (void)data;
    s->service.asked = s->service.told_stuck = false;
    gw_notify_say(&s->service.notify, "WATCHDOG=1\n");
}

static void tell_stuck(gw_supervisor *s)
{
    if (s->service.told_stuck)
        return;
    s->service.told_stuck = true;
    for (uint32_t i = 0; i < s->worker_count; i++)
        if (!__atomic_load_n(&s->workers[i]->answered, __ATOMIC_RELAXED))
            gw_log_event(s->ring, GW_LOG_ERROR, "a worker does not answer: no sign of life for the service manager's watchdog",
                         "\"worker\":%u,\"watchdog\":%.3f", i, s->service.notify.watchdog);
}

static void on_tick(gw_ticker *t)
{
    gw_supervisor *s = gw_container_of(t, gw_supervisor, service.ticker);
    if (s->state == GW_STOPPING)
        return; /* mailboxes are closed */
    if (s->service.asked) {
        tell_stuck(s);
        return;
    }
    gw_round *r = gw_round_new(s, visit, on_home, NULL);
    if (!r)
        return;
    for (uint32_t i = 0; i < s->worker_count; i++)
        __atomic_store_n(&s->workers[i]->answered, false, __ATOMIC_RELAXED);
    s->service.asked = true;
    gw_round_start(r);
}

static void stop_ticking(gw_service *v)
{
    if (v->ticking)
        gw_ticker_stop(&v->ticker);
    v->ticking = false;
}

/* ---- states ---- */

void gw_service_open(gw_supervisor *s)
{
    gw_notify_open(&s->service.notify);
}

void gw_service_close(gw_supervisor *s)
{
    stop_ticking(&s->service);
    gw_notify_close(&s->service.notify);
}

void gw_service_ready(gw_supervisor *s)
{
    gw_service_loaded(s, true);
    double every = s->service.notify.watchdog / 4;
    if (every <= 0)
        return;
    gw_notify_say(&s->service.notify, "WATCHDOG=1\n");
    s->service.ticking = true;
    gw_ticker_start(s->loop, &s->service.ticker, every < 0.01 ? 0.01 : every, on_tick);
}

void gw_service_loading(gw_supervisor *s)
{
    gw_notify_say(&s->service.notify,
                  "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=generation %llu serves, the script is being loaded\n",
                  (long long)(gw_clock_monotonic_ns() / 1000), (unsigned long long)s->live->g->number);
}

void gw_service_loaded(gw_supervisor *s, bool ok)
{
    const gw_generation *g = s->live->g;
    gw_notify_say(&s->service.notify, "READY=1\nSTATUS=generation %llu serves: %u routes, %u upstreams%s\n",
                  (unsigned long long)g->number, g->route_count, g->upstream_count, ok ? "" : "; the last reload was refused");
}

void gw_service_stopping(gw_supervisor *s, double seconds)
{
    gw_notify_say(&s->service.notify, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld\nSTATUS=draining %llu connections, at most %.0f s\n",
                  (long long)((seconds + 5) * 1e6), (unsigned long long)gw_supervisor_connections(s), seconds);
}

void gw_service_succeeded(gw_supervisor *s, int pid)
{
    gw_notify_say(&s->service.notify, "MAINPID=%d\nREADY=1\nSTATUS=process %d took over\n", pid, pid);
    gw_service_close(s);
}
