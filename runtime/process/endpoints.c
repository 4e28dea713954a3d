/* Endpoints as operators see them: their part of /status, and the hand on the switch (POST /drain, POST /undrain). */
#include "base/clock.h"
#include "process/admin.h"
#include "process/supervisor.h"

#define COUNT(field) atomic_load_explicit(&(field), memory_order_relaxed)

static void add_bool(gw_text *t, bool value)
{
    gw_text_slice(t, value ? GW_SLICE("true") : GW_SLICE("false"));
}

static void add_health(gw_text *t, const gw_endpoint *e)
{
    uint32_t down = atomic_load_explicit(&e->down, memory_order_acquire);
    bool active = down & GW_HEALTH_DOWN_ACTIVE, passive = down & GW_HEALTH_DOWN_PASSIVE;
    gw_text_lit(t, ",\"healthy\":");
    add_bool(t, !active && !passive);
    gw_text_printf(t, ",\"down\":[%s%s%s],\"drained\":", active ? "\"active\"" : "", active && passive ? "," : "",
                   passive ? "\"passive\"" : "");
    add_bool(t, down & GW_HEALTH_DRAINED);
    gw_text_printf(t, ",\"transitions\":{\"active_down\":%u,\"active_up\":%u,\"ejections\":%u}", COUNT(e->active_downs),
                   COUNT(e->active_ups), COUNT(e->ejections));
}

static void add_breaker(gw_text *t, const gw_upstream *u, const gw_endpoint *e)
{
    static const char *const words[] = {
        [GW_BREAKER_CLOSED] = "closed", [GW_BREAKER_OPEN] = "open", [GW_BREAKER_HALF_OPEN] = "half_open"};
    if (u->breaker_on)
        gw_text_printf(t, ",\"breaker\":{\"state\":\"%s\",\"opened\":%u,\"closed\":%u}",
                       words[gw_breaker_state(&e->breaker, gw_clock_monotonic_ns())], COUNT(e->breaker.opened),
                       COUNT(e->breaker.closed));
    else
        gw_text_lit(t, ",\"breaker\":null");
}

typedef struct away {
    gw_text *text;
    bool any;
} away;

static void add_away(gw_slice address, void *data)
{
    away *a = data;
    gw_text_slice(a->text, a->any ? GW_SLICE(",") : GW_SLICE(",\"drained_away\":["));
    gw_text_json(a->text, address);
    a->any = true;
}

void gw_endpoints_status(gw_text *t, const gw_upstream *u)
{
    gw_endpoint_set *set = atomic_load_explicit(&u->set, memory_order_acquire); /* swapped on this thread only */
    gw_upstream_health_look(u, set);
    gw_text_lit(t, "{\"name\":");
    gw_text_json(t, u->name);
    gw_text_printf(t, ",\"balance\":\"%s\",\"eligible\":%u,\"endpoints\":[", gw_balancer_name(&u->balance),
                   atomic_load_explicit(&set->eligible, memory_order_relaxed));
    for (uint32_t i = 0; i < set->count && !t->cut; i++) {
        const gw_endpoint_slot *slot = &set->slot[i];
        const gw_endpoint *e = slot->endpoint;
        if (i)
            gw_text_lit(t, ",");
        gw_text_lit(t, "{\"address\":");
        gw_text_json(t, e->text);
        gw_text_printf(t, ",\"weight\":%u,\"backup\":%s,\"in_flight\":%u", slot->weight, slot->group ? "true" : "false",
                       atomic_load_explicit(&e->load.in_flight, memory_order_relaxed));
        add_health(t, e);
        add_breaker(t, u, e);
        gw_text_lit(t, "}");
    }
    gw_text_lit(t, "]");
    away list = {.text = t};
    gw_upstream_drained_away(u, add_away, &list);
    if (list.any)
        gw_text_lit(t, "]");
    gw_text_lit(t, "}");
}

/* ---- drain by hand ---- */

static gw_upstream *find_upstream(const gw_generation *g, gw_slice name)
{
    for (uint32_t i = 0; i < g->upstream_count; i++)
        if (gw_slice_equal(g->upstreams[i]->name, name))
            return g->upstreams[i];
    return NULL;
}

typedef struct outcome {
    gw_slice upstream, endpoint;
    const char *error;
    bool drained;
    uint32_t in_flight;
} outcome;

static void add_names(gw_text *t, const outcome *o)
{
    gw_text_lit(t, "\"upstream\":");
    gw_text_json(t, o->upstream);
    gw_text_lit(t, ",\"endpoint\":");
    gw_text_json(t, o->endpoint);
}

static void render_outcome(gw_text *t, void *data)
{
    const outcome *o = data;
    gw_text_lit(t, "{");
    if (o->error) {
        gw_text_lit(t, "\"error\":");
        gw_text_json(t, gw_slice_str(o->error));
        gw_text_lit(t, ",");
    }
    add_names(t, o);
    if (!o->error) {
        gw_text_lit(t, ",\"drained\":");
        add_bool(t, o->drained);
        gw_text_printf(t, ",\"in_flight\":%u", o->in_flight);
    }
    gw_text_lit(t, "}\n");
}

static void log_switch(gw_supervisor *s, const outcome *o)
{
    char bytes[512];
    gw_text text = gw_text_on(bytes, sizeof bytes);
    add_names(&text, o);
    gw_text_printf(&text, ",\"in_flight\":%u", o->in_flight);
    gw_slice fields = gw_text_done(&text);
    gw_log_event(s->ring, GW_LOG_INFO, o->drained ? "endpoint drained" : "endpoint no longer drained", "%.*s", (int)fields.len,
                 fields.ptr);
}

char *gw_endpoint_drain_json(gw_supervisor *s, gw_slice upstream, gw_slice endpoint, bool drain, int *status, size_t *len)
{
    outcome o = {.upstream = upstream, .endpoint = endpoint, .drained = drain};
    gw_upstream *u = s->live ? find_upstream(s->live->g, upstream) : NULL;
    int done = u ? gw_upstream_drain(u, endpoint, drain, &o.in_flight) : GW_NOTFOUND;
    *status = done == GW_NOTFOUND ? 404 : done == GW_NOMEM ? 503 : 200;
    if (!u)
        o.error = "no such upstream";
    else if (done == GW_NOTFOUND)
        o.error = "no such endpoint in the upstream: /status lists their addresses";
    else if (done == GW_NOMEM)
        o.error = gw_status_text(GW_NOMEM);
    else if (done == GW_OK)
        log_switch(s, &o);
    return gw_render(render_outcome, &o, len);
}

/* ---- the end of the gateway by hand ---- */

typedef struct ending {
    uint64_t connections;
    double drain;
} ending;

static void render_ending(gw_text *t, void *data)
{
    const ending *e = data;
    gw_text_printf(t, "{\"state\":\"draining\",\"connections\":%llu,\"drain\":", (unsigned long long)e->connections);
    gw_text_fixed(t, e->drain, 3);
    gw_text_lit(t, "}\n");
}

char *gw_drain_json(gw_supervisor *s, size_t *len)
{
    ending e = {.connections = gw_supervisor_connections(s), .drain = s->live->g->timeouts.drain};
    if (s->state == GW_SERVING)
        gw_supervisor_drain(s, "POST /shutdown");
    return gw_render(render_ending, &e, len);
}
