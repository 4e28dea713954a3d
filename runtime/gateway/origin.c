#include "gateway/origin.h"
#include "gateway/flow.h"
#include "gateway/metrics.h"
#include "net/resolver.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct gw_origins {
    gw_engine *engine;
    gw_resolver *resolver; /* made when the first name is met */
    gw_list list;
    uint32_t count;
    gw_upstream_metrics *metrics; /* one for all, which nobody reads: labels come from the script, not from its URLs */
} gw_origins;

static void *lines_of_zero(size_t bytes)
{
    bytes = (bytes + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE;
    void *memory = aligned_alloc(GW_CACHE_LINE, bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

static gw_origins *origins_of(gw_engine *e)
{
    if (e->fetches->origins)
        return e->fetches->origins;
    gw_origins *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->metrics = lines_of_zero(sizeof *o->metrics + (e->index + 1) * sizeof o->metrics->cells[0]);
    if (!o->metrics) {
        free(o);
        return NULL;
    }
    o->engine = e;
    gw_list_init(&o->list);
    return e->fetches->origins = o;
}

/* ---- endpoints ---- */

static void state_give(gw_upstream_state *s)
{
    if (--s->references == 0)
        free(s);
}

void gw_origin_endpoint_done(gw_endpoint *e)
{
    state_give(e->state);
    free(e);
}

static gw_endpoint *endpoint_new(gw_origin *o, const gw_address *address)
{
    uint32_t workers = o->owner->engine->index + 1; /* what is kept for each worker is found by its index */
    char text[GW_ADDRESS_TEXT];
    size_t len = gw_address_text(address, text), bytes = sizeof(gw_endpoint) + workers * sizeof(gw_endpoint_worker);
    gw_endpoint *e = lines_of_zero(bytes + len);
    if (!e)
        return NULL;
    e->address = *address;
    memcpy((char *)e + bytes, text, len);
    e->text = gw_slice_of((char *)e + bytes, len);
    e->worker_count = workers;
    for (uint32_t i = 0; i < workers; i++)
        gw_list_init(&e->worker[i].idle);
    gw_list_init(&e->link);
    e->state = o->upstream.state;
    e->state->references++;
    gw_breaker_init(&e->breaker, &e->state->breaker_rules);
    e->lone = true;
    return e;
}

/* The endpoints of a set that are not in `but`: what is idle closes, what is busy goes when it is done. */
static void set_free(gw_origin *o, gw_endpoint_set *set, const gw_endpoint_set *but)
{
    for (uint32_t i = 0; set && i < set->count; i++) {
        bool stays = false;
        for (uint32_t k = 0; but && k < but->count && !stays; k++)
            stays = but->slot[k].endpoint == set->slot[i].endpoint;
        if (!stays)
            gw_endpoint_drop(o->owner->engine, set->slot[i].endpoint);
    }
    if (set)
        gw_balancer_table_free(set->table);
    free(set);
}

static gw_endpoint_set *set_new(gw_origin *o, const gw_address *addresses, uint32_t count, const gw_endpoint_set *old)
{
    size_t slots = sizeof(gw_endpoint_set) + count * sizeof(gw_endpoint_slot);
    gw_endpoint_set *set = calloc(1, slots + (count + 63) / 64 * sizeof(uint64_t));
    gw_balancer_slot *seats = calloc(count ? count : 1, sizeof *seats);
    if (!set || !seats)
        goto failed;
    set->excluded = (_Atomic uint64_t *)((char *)set + slots);
    for (uint32_t i = 0; i < count; i++) {
        gw_endpoint *e = NULL;
        for (uint32_t k = 0; old && k < old->count && !e; k++)
            if (gw_address_equal(&old->slot[k].endpoint->address, &addresses[i]))
                e = old->slot[k].endpoint;
        if (!e && !(e = endpoint_new(o, &addresses[i])))
            goto failed;
        set->slot[set->count++] = (gw_endpoint_slot){e, 1, 0};
        seats[i] = (gw_balancer_slot){.name = e->text, .load = &e->load, .weight = 1};
    }
    atomic_init(&set->eligible, count);
    if (gw_balancer_table_new(&o->upstream.balance, seats, count, &set->table) != GW_OK)
        goto failed;
    free(seats);
    return set;
failed:
    free(seats);
    set_free(o, set, old);
    return NULL;
}

/* ---- origins ---- */

static void origin_free(gw_origin *o)
{
    gw_list_remove(&o->link);
    o->owner->count--;
    set_free(o, atomic_load_explicit(&o->upstream.set, memory_order_relaxed), NULL);
    state_give(o->upstream.state);
    free(o);
}

/* Room for another one. False: all are in use. */
static bool make_room(gw_origins *all)
{
    if (all->count < GW_ORIGINS_MOST)
        return true;
    for (gw_list *at = all->list.prev; at != &all->list; at = at->prev) {
        gw_origin *o = gw_container_of(at, gw_origin, link);
        if (o->uses == 0 && !o->resolving) {
            origin_free(o);
            return true;
        }
    }
    return false;
}

static gw_upstream_state *state_new(gw_origins *all)
{
    gw_upstream_state *s = lines_of_zero(sizeof *s + (all->engine->index + 1) * sizeof s->idle[0]);
    if (!s)
        return NULL;
    static const gw_breaker_settings usual = {0};
    gw_balancer_state_init(&s->balance, gw_random_next(&all->engine->random));
    gw_breaker_rules_init(&s->breaker_rules, &usual);
    gw_concurrency_init(&s->concurrency, UINT32_MAX);
    gw_list_init(&s->adaptives);
    gw_list_init(&s->link);
    gw_list_init(&s->endpoints);
    gw_list_init(&s->drained);
    s->references = 1;
    return s;
}

static gw_origin *origin_new(gw_origins *all, gw_slice host, uint16_t port, gw_slice name, const gw_address *address)
{
    gw_origin *o = calloc(1, sizeof *o + host.len + 1 + name.len);
    if (!o)
        return NULL;
    memcpy(o->host, host.ptr, host.len);
    memcpy(o->host + host.len + 1, name.ptr, name.len);
    o->name = gw_slice_of(o->host + host.len + 1, name.len);
    o->owner = all;
    o->port = port;
    o->fixed = address != NULL;
    gw_list_init(&o->waiting);
    gw_upstream *u = &o->upstream;
    gw_balancer_config_init(&u->balance, "round_robin");
    u->name = o->name;
    u->metrics = all->metrics;
    u->retry.attempts = 1;
    u->pool.idle = GW_ORIGIN_IDLE;
    u->pool.idle_for = GW_ORIGIN_IDLE_FOR;
    u->state = state_new(all);
    gw_endpoint_set *set = u->state ? set_new(o, address, address != NULL, NULL) : NULL;
    if (!set) {
        free(u->state);
        free(o);
        return NULL;
    }
    atomic_init(&u->set, set);
    gw_list_push_front(&all->list, &o->link);
    all->count++;
    return o;
}

int gw_origin_take(gw_engine *e, gw_slice host, uint16_t port, const gw_address *address, gw_origin **out)
{
    gw_origins *all = origins_of(e);
    char bytes[300];
    gw_text name = gw_text_on(bytes, sizeof bytes);
    gw_text_slice(&name, host);
    if (port) {
        gw_text_lit(&name, ":");
        gw_text_u64(&name, port);
    }
    if (name.cut)
        return GW_LIMIT;
    for (gw_list *at = all ? all->list.next : NULL; at && at != &all->list; at = at->next) {
        gw_origin *o = gw_container_of(at, gw_origin, link);
        if (!gw_slice_equal_nocase(o->name, gw_text_done(&name)))
            continue;
        gw_list_remove(&o->link);
        gw_list_push_front(&all->list, &o->link);
        o->uses++;
        *out = o;
        return GW_OK;
    }
    if (!all)
        return GW_NOMEM;
    if (!make_room(all))
        return GW_LIMIT;
    *out = origin_new(all, host, port, gw_text_done(&name), address);
    if (!*out)
        return GW_NOMEM;
    (*out)->uses++;
    return GW_OK;
}

void gw_origin_give(gw_origin *o)
{
    o->uses--;
}

/* ---- addresses ---- */

static void tell(gw_origin *o, const char *problem)
{
    gw_list waiting = o->waiting;
    if (gw_list_empty(&o->waiting))
        return;
    waiting.next->prev = waiting.prev->next = &waiting;
    gw_list_init(&o->waiting);
    while (!gw_list_empty(&waiting)) {
        gw_list *one = waiting.next;
        gw_list_remove(one);
        gw_fetch_found(gw_container_of(one, gw_fetch, waiting), problem);
    }
}

static void on_resolved(void *data, int status, const char *message, const gw_address *addresses, size_t count)
{
    gw_origin *o = data;
    gw_endpoint_set *old = atomic_load_explicit(&o->upstream.set, memory_order_relaxed);
    const char *problem = NULL;
    o->resolving = false;
    if (status == GW_OK) {
        gw_endpoint_set *set = set_new(o, addresses, (uint32_t)count, old);
        if (set) {
            atomic_store_explicit(&o->upstream.set, set, memory_order_relaxed);
            o->resolved_at = gw_loop_now(o->owner->engine->loop);
            set_free(o, old, set);
        } else if (old->count == 0)
            problem = "out of memory";
    } else if (old->count == 0)
        problem = message;
    tell(o, problem);
}

void gw_origin_resolve(gw_origin *o, gw_fetch *f)
{
    gw_origins *all = o->owner;
    const gw_endpoint_set *set = atomic_load_explicit(&o->upstream.set, memory_order_relaxed);
    bool fresh = set->count && gw_loop_now(all->engine->loop) - o->resolved_at < GW_ORIGIN_RESOLVE_FOR;
    if (o->fixed || fresh) {
        gw_fetch_found(f, NULL);
        return;
    }
    if (!all->resolver && !(all->resolver = gw_resolver_new(all->engine->loop))) {
        gw_fetch_found(f, "the resolver cannot be started");
        return;
    }
    gw_list_push_back(&o->waiting, &f->waiting);
    if (o->resolving)
        return;
    o->resolving = true;
    gw_resolve(all->resolver, o->host, o->port, on_resolved, o);
}

void gw_origins_free(gw_origins *all)
{
    if (!all)
        return;
    gw_resolver_free(all->resolver); /* lookups under way are called back */
    while (!gw_list_empty(&all->list))
        origin_free(gw_container_of(all->list.next, gw_origin, link));
    free(all->metrics);
    free(all);
}
