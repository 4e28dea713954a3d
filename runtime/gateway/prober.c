#include "gateway/prober.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "gateway/probe.h"
#include <stdlib.h>

#define TICK_SECONDS 0.1      /* ejections end that precisely */
#define SHORTEST_SECONDS 0.01 /* between two probes of an endpoint */
#define AGAIN_SECONDS 1.0     /* until records that could not be made are tried again */
#define COMPLAIN_SECONDS 10.0 /* between two lines on probes that could not be made */

/*   armed (`next` runs) ──due──► waiting (in the queue) ──a place is free──► under way ──done──► armed ...   */
typedef struct record {
    gw_list all, wait;
    gw_prober *prober;
    gw_endpoint *endpoint; /* kept by the current set of `upstream` */
    gw_upstream *upstream; /* the current generation's */
    gw_timeout next;
    gw_probe probe;
    uint32_t mark;
} record;

struct gw_prober {
    gw_loop *loop;
    gw_log_ring *ring;
    gw_generation *followed;
    gw_buffer_pool buffers;
    gw_random random;
    gw_list records, waiting;
    uint32_t running, waiting_count;
    uint32_t mark;
    bool ejecting; /* some generation so far had passive health: its requests may still eject */
    gw_ticker ticker;
    gw_timeout again;
    double complained;
};

/* ---- changes of health ---- */

static void log_change(gw_prober *p, const gw_upstream *u, const gw_endpoint *e, bool up, const char *cause, const char *reason)
{
    char bytes[1024];
    gw_text text = gw_text_on(bytes, sizeof bytes);
    gw_text_lit(&text, "\"upstream\":");
    gw_text_json(&text, u->name);
    gw_text_lit(&text, ",\"endpoint\":");
    gw_text_json(&text, e->text);
    gw_text_printf(&text, ",\"cause\":\"%s\",\"reason\":", cause);
    gw_text_json(&text, gw_slice_str(reason));
    gw_slice fields = gw_text_done(&text);
    gw_log_event(p->ring, up ? GW_LOG_INFO : GW_LOG_WARN, up ? "endpoint up" : "endpoint down", "%.*s", (int)fields.len,
                 fields.ptr);
}

/* Takes a bit away. False: it was not set. */
static bool bit_away(gw_endpoint *e, uint32_t bit)
{
    if (!(atomic_load_explicit(&e->down, memory_order_relaxed) & bit))
        return false;
    /* Before the bit: who sees the endpoint back sees that its slow start has begun, and that what was slow about it is forgotten (ewma
     * would shun it for a minute: a hundred times as long as it takes to see that it is well). */
    atomic_store_explicit(&e->load.latency, 0, memory_order_relaxed);
    atomic_store_explicit(&e->load.since, gw_clock_monotonic_ns(), memory_order_relaxed);
    return atomic_fetch_and_explicit(&e->down, ~bit, memory_order_acq_rel) & bit;
}

static void active_up(gw_prober *p, gw_upstream *u, gw_endpoint *e, const char *reason)
{
    if (!bit_away(e, GW_HEALTH_DOWN_ACTIVE))
        return;
    atomic_fetch_add_explicit(&e->active_ups, 1, memory_order_relaxed);
    gw_upstream_health_changed(u);
    log_change(p, u, e, true, "active", reason);
}

static void take_result(record *r, bool well, const char *reason)
{
    gw_endpoint *e = r->endpoint;
    int event = gw_active_result(&e->active, &r->upstream->probe.timing, well);
    if (event == GW_HEALTH_UP) {
        active_up(r->prober, r->upstream, e, "probes succeed");
    } else if (event == GW_HEALTH_DOWN) {
        atomic_fetch_or_explicit(&e->down, GW_HEALTH_DOWN_ACTIVE, memory_order_acq_rel);
        atomic_fetch_add_explicit(&e->active_downs, 1, memory_order_relaxed);
        gw_upstream_health_changed(r->upstream);
        log_change(r->prober, r->upstream, e, false, "active", reason);
    }
}

/* ---- ejections ---- */

static void ejection_over(gw_prober *p, gw_upstream *u, gw_endpoint *e, const char *reason)
{
    if (!bit_away(e, GW_HEALTH_DOWN_PASSIVE))
        return;
    atomic_fetch_add_explicit(&e->ejections_over, 1, memory_order_relaxed);
    gw_upstream_health_changed(u);
    log_change(p, u, e, true, "passive", reason);
}

static void forget_ejection(gw_prober *p, gw_upstream *u, gw_endpoint *e)
{
    gw_passive_tick(&e->passive, INT64_MAX);
    ejection_over(p, u, e, "errors are no longer counted");
}

static void tick_endpoint(gw_prober *p, gw_upstream *u, gw_endpoint *e, int64_t now)
{
    /* In this order: the worker that ejects sets `until` first, then the bit. A bit without it is one that was set late, when the
     * ejection had ended already. */
    bool out = atomic_load_explicit(&e->down, memory_order_acquire) & GW_HEALTH_DOWN_PASSIVE;
    int64_t until = gw_passive_until(&e->passive);
    if (!u->passive_on) {
        forget_ejection(p, u, e); /* by a request of an older generation */
    } else if (until == 0 ? out : now >= until) {
        /* While `until` stands nobody ejects anew: so first the bit goes, then it. */
        ejection_over(p, u, e, "the ejection is over");
        gw_passive_tick(&e->passive, now);
    }
}

static void on_tick(gw_ticker *t)
{
    gw_prober *p = gw_container_of(t, gw_prober, ticker);
    int64_t now = gw_clock_monotonic_ns();
    for (uint32_t i = 0; p->followed && i < p->followed->upstream_count; i++) {
        gw_upstream *u = p->followed->upstreams[i];
        const gw_endpoint_set *set = atomic_load_explicit(&u->set, memory_order_acquire); /* swapped on this thread only */
        for (uint32_t k = 0; k < set->count; k++)
            tick_endpoint(p, u, set->slot[k].endpoint, now);
    }
}

/* ---- probing ---- */

static void schedule(record *r)
{
    gw_prober *p = r->prober;
    double seconds = (double)gw_active_wait(&r->endpoint->active, &r->upstream->probe.timing, gw_random_next(&p->random)) / 1e9;
    gw_timeout_arm(p->loop, &r->next, seconds > SHORTEST_SECONDS ? seconds : SHORTEST_SECONDS);
}

static void complain(gw_prober *p, const char *reason)
{
    double now = gw_loop_now(p->loop);
    if (p->complained > 0 && now - p->complained < COMPLAIN_SECONDS)
        return;
    p->complained = now;
    gw_log_event(p->ring, GW_LOG_ERROR, "health probes cannot be made: endpoints keep the state they have", "\"error\":\"%s\"",
                 reason);
}

static void conclude(record *r, enum gw_probe_verdict verdict)
{
    if (verdict == GW_PROBE_UNKNOWN)
        complain(r->prober, r->probe.reason);
    else
        take_result(r, verdict == GW_PROBE_WELL, r->probe.reason);
    schedule(r);
}

static void waiting_leave(record *r)
{
    if (gw_list_empty(&r->wait))
        return;
    gw_list_remove(&r->wait);
    r->prober->waiting_count--;
}

static void serve(gw_prober *p)
{
    while (p->running < GW_PROBES_MOST && !gw_list_empty(&p->waiting)) {
        record *r = gw_container_of(p->waiting.next, record, wait);
        gw_upstream *u = r->upstream;
        enum gw_probe_verdict verdict;
        waiting_leave(r);
        r->probe.spec = &u->probe;
        bool nameless = r->endpoint->address.any.sa_family == AF_UNIX;
        gw_slice host = u->host.len ? u->host : nameless ? GW_SLICE("localhost") : r->endpoint->text;
        if (gw_probe_start(&r->probe, &r->endpoint->address, host, &verdict) == GW_OK)
            p->running++;
        else
            conclude(r, verdict);
    }
}

static void wait_turn(record *r)
{
    gw_list_push_back(&r->prober->waiting, &r->wait);
    r->prober->waiting_count++;
}

static void on_due(gw_timeout *t)
{
    record *r = gw_container_of(t, record, next);
    wait_turn(r);
    serve(r->prober);
}

static void on_done(gw_probe *probe, enum gw_probe_verdict verdict)
{
    record *r = gw_container_of(probe, record, probe);
    r->prober->running--;
    conclude(r, verdict);
    serve(r->prober);
}

/* ---- following ---- */

static void abandon(record *r)
{
    if (!r->probe.running)
        return;
    gw_probe_stop(&r->probe);
    r->prober->running--;
}

static void record_free(record *r)
{
    abandon(r);
    waiting_leave(r);
    gw_timeout_disarm(&r->next);
    gw_list_remove(&r->all);
    r->endpoint->prober = NULL;
    free(r);
}

static record *record_new(gw_prober *p, gw_upstream *u, gw_endpoint *e)
{
    record *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->prober = p;
    r->endpoint = e;
    r->upstream = u;
    r->probe.loop = p->loop;
    r->probe.buffers = &p->buffers;
    r->probe.done = on_done;
    gw_list_init(&r->wait);
    gw_timeout_init(&r->next, on_due);
    gw_list_push_back(&p->records, &r->all);
    e->prober = r;
    schedule(r);
    return r;
}

static bool timing_same(const gw_active_config *a, const gw_active_config *b)
{
    return a->interval == b->interval && a->unhealthy_interval == b->unhealthy_interval && a->jitter == b->jitter;
}

/* The endpoint stays; its upstream may be another generation's, with other settings. The one before is still there. */
static void record_move(record *r, gw_upstream *u)
{
    gw_prober *p = r->prober;
    const gw_probe_spec *old = &r->upstream->probe, *new = &u->probe;
    r->upstream = u;
    r->probe.spec = new;
    if (r->probe.running && !gw_probe_spec_same(old, new)) { /* its answer would be judged by other rules than it was asked for */
        abandon(r);
        wait_turn(r);
    } else if (gw_timeout_armed(&r->next) && !timing_same(&old->timing, &new->timing)) {
        /* Never later than it was due: reloads in quick succession must not put probes off. */
        double due = r->next.at - gw_loop_now(p->loop);
        schedule(r);
        if (r->next.at - gw_loop_now(p->loop) > due)
            gw_timeout_arm(p->loop, &r->next, due > SHORTEST_SECONDS ? due : SHORTEST_SECONDS);
    }
}

/* False: memory is out. */
static bool follow_endpoint(gw_prober *p, gw_upstream *u, gw_endpoint *e)
{
    if (!u->passive_on)
        forget_ejection(p, u, e);
    if (!u->probe.on) {
        e->active = (gw_active){0};
        active_up(p, u, e, "it is no longer probed");
        return true;
    }
    record *r = e->prober;
    if (r && r->upstream != u)
        record_move(r, u);
    else if (!r)
        r = record_new(p, u, e);
    if (r)
        r->mark = p->mark;
    return r != NULL;
}

void gw_prober_follow(gw_prober *p, gw_generation *g)
{
    bool complete = true;
    p->followed = g;
    p->mark++;
    for (uint32_t i = 0; g && i < g->upstream_count; i++) {
        gw_upstream *u = g->upstreams[i];
        const gw_endpoint_set *set = atomic_load_explicit(&u->set, memory_order_acquire); /* swapped on this thread only */
        p->ejecting = p->ejecting || u->passive_on;
        for (uint32_t k = 0; k < set->count; k++)
            complete = follow_endpoint(p, u, set->slot[k].endpoint) && complete;
    }
    for (gw_list *at = p->records.next; at != &p->records;) {
        record *r = gw_container_of(at, record, all);
        at = at->next;
        if (r->mark != p->mark)
            record_free(r);
    }
    if (complete) {
        gw_timeout_disarm(&p->again);
    } else {
        complain(p, gw_status_text(GW_NOMEM));
        gw_timeout_arm(p->loop, &p->again, AGAIN_SECONDS);
    }
    if (g && p->ejecting && !p->ticker.loop)
        gw_ticker_start(p->loop, &p->ticker, TICK_SECONDS, on_tick);
    else if (!g && p->ticker.loop) {
        gw_ticker_stop(&p->ticker);
        p->ticker.loop = NULL;
    }
    serve(p);
}

static void on_again(gw_timeout *t)
{
    gw_prober *p = gw_container_of(t, gw_prober, again);
    gw_prober_follow(p, p->followed);
}

gw_prober *gw_prober_new(gw_loop *loop, gw_log_ring *ring)
{
    gw_prober *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->loop = loop;
    p->ring = ring;
    gw_buffer_pool_init(&p->buffers, 8);
    gw_random_seed(&p->random);
    gw_list_init(&p->records);
    gw_list_init(&p->waiting);
    gw_timeout_init(&p->again, on_again);
    return p;
}

void gw_prober_free(gw_prober *p)
{
    if (!p)
        return;
    gw_prober_follow(p, NULL);
    gw_buffer_pool_clear(&p->buffers);
    free(p);
}

uint32_t gw_prober_running(const gw_prober *p)
{
    return p->running;
}

uint32_t gw_prober_waiting(const gw_prober *p)
{
    return p->waiting_count;
}
