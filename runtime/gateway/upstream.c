#include "gateway/upstream.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "gateway/metrics.h"
#include "gateway/origin.h"
#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static gw_list registry_states = {&registry_states, &registry_states};
static uint32_t registry_worker_count = 1;

void gw_registry_init(uint32_t workers)
{
    registry_worker_count = workers ? workers : 1;
}

static _Thread_local uint32_t registry_scope;

void gw_registry_enter(uint32_t scope)
{
    registry_scope = scope;
}

uint32_t gw_registry_scope(void)
{
    return registry_scope;
}

uint32_t gw_registry_workers(void)
{
    return registry_worker_count;
}

typedef struct gw_adaptive_kept { /* one of a state's adaptive limits */
    gw_list link;
    gw_adaptive_settings settings;
    uint32_t references; /* of upstreams */
    gw_adaptive adaptive;
} gw_adaptive_kept;

typedef struct drained_mark {
    gw_list link;
    gw_address address;
} drained_mark;

/* ---- under the lock ---- */

static drained_mark *mark_find(const gw_upstream_state *s, const gw_address *address)
{
    for (gw_list *at = s->drained.next; at != &s->drained; at = at->next) {
        drained_mark *m = gw_container_of(at, drained_mark, link);
        if (gw_address_equal(&m->address, address))
            return m;
    }
    return NULL;
}

static void mark_drop(gw_upstream_state *s, drained_mark *m)
{
    gw_list_remove(&m->link);
    free(m);
    s->drained_count--;
}

static gw_upstream_state *state_find(gw_slice name)
{
    for (gw_list *at = registry_states.next; at != &registry_states; at = at->next) {
        gw_upstream_state *s = gw_container_of(at, gw_upstream_state, link);
        if (s->scope == registry_scope && gw_slice_equal(s->name, name))
            return s;
    }
    size_t bytes = sizeof(gw_upstream_state) + registry_worker_count * sizeof(uint32_t);
    size_t whole = (bytes + name.len + GW_CACHE_LINE) / GW_CACHE_LINE * GW_CACHE_LINE;
    gw_upstream_state *s = aligned_alloc(GW_CACHE_LINE, whole);
    if (!s)
        return NULL;
    memset(s, 0, whole);
    s->scope = registry_scope;
    char *text = (char *)s + bytes;
    memcpy(text, name.ptr, name.len);
    s->name = gw_slice_of(text, name.len);
    static const gw_breaker_settings usual = {0};
    gw_random random;
    gw_random_seed(&random);
    gw_balancer_state_init(&s->balance, gw_random_next(&random));
    gw_breaker_rules_init(&s->breaker_rules, &usual);
    gw_concurrency_init(&s->concurrency, UINT32_MAX);
    gw_list_init(&s->adaptives);
    gw_list_init(&s->endpoints);
    gw_list_init(&s->drained);
    gw_list_push_back(&registry_states, &s->link);
    return s;
}

static void state_give(gw_upstream_state *s)
{
    if (--s->references)
        return;
    while (!gw_list_empty(&s->drained))
        mark_drop(s, gw_container_of(s->drained.next, drained_mark, link));
    gw_list_remove(&s->link);
    free(s);
}

static gw_endpoint *endpoint_at(const gw_upstream_state *s, const gw_address *address)
{
    for (gw_list *at = s->endpoints.next; at != &s->endpoints; at = at->next) {
        gw_endpoint *e = gw_container_of(at, gw_endpoint, link);
        if (gw_address_equal(&e->address, address))
            return e;
    }
    return NULL;
}

static gw_endpoint *endpoint_find(gw_upstream_state *s, const gw_address *address)
{
    gw_endpoint *there = endpoint_at(s, address);
    if (there)
        return there;
    size_t bytes = sizeof(gw_endpoint) + registry_worker_count * sizeof(gw_endpoint_worker);
    char text[GW_ADDRESS_TEXT];
    size_t text_len = gw_address_text(address, text);
    bytes = (bytes + text_len + GW_CACHE_LINE) / GW_CACHE_LINE * GW_CACHE_LINE;
    gw_endpoint *e = aligned_alloc(GW_CACHE_LINE, bytes);
    if (!e)
        return NULL;
    memset(e, 0, bytes);
    e->address = *address;
    char *copy = (char *)&e->worker[registry_worker_count];
    memcpy(copy, text, text_len);
    e->text = gw_slice_of(copy, text_len);
    if (gw_unlikely(s->drained_count) && mark_find(s, address))
        atomic_init(&e->down, GW_HEALTH_DRAINED);
    e->worker_count = registry_worker_count;
    for (uint32_t i = 0; i < registry_worker_count; i++)
        gw_list_init(&e->worker[i].idle);
    gw_breaker_init(&e->breaker, &s->breaker_rules);
    e->state = s;
    s->references++;
    gw_list_push_back(&s->endpoints, &e->link);
    return e;
}

static void endpoint_delete(gw_endpoint *e)
{
    state_give(e->state);
    free(e);
}

/* A set with room for so many, zeroed. */
static gw_endpoint_set *set_alloc(uint32_t count)
{
    uint32_t words = (count + 63) / 64;
    size_t slots = sizeof(gw_endpoint_set) + count * sizeof(gw_endpoint_slot);
    gw_endpoint_set *set = calloc(1, slots + words * sizeof(uint64_t));
    if (set)
        set->excluded = (_Atomic uint64_t *)((char *)set + slots);
    return set;
}

/* ---- control path ---- */

gw_upstream *gw_upstream_new(gw_arena *arena, gw_slice name)
{
    gw_upstream *u = gw_arena_take(arena, sizeof *u);
    if (!u)
        return NULL;
    gw_balancer_config_init(&u->balance, "round_robin");
    gw_endpoint_set *none = set_alloc(0);
    if (!none || gw_balancer_table_new(&u->balance, NULL, 0, &none->table) != GW_OK) {
        free(none);
        return NULL;
    }
    u->name = gw_arena_copy(arena, name);
    u->metrics = u->name.ptr ? gw_metrics_upstream(name) : NULL;
    pthread_mutex_lock(&registry_lock);
    u->state = u->metrics ? state_find(name) : NULL;
    if (u->state)
        u->state->references++;
    pthread_mutex_unlock(&registry_lock);
    if (!u->state) {
        if (u->metrics)
            gw_metrics_release(&u->metrics->block);
        gw_endpoint_set_free(none, NULL, NULL);
        return NULL;
    }
    atomic_init(&none->health_seen, atomic_load_explicit(&u->state->health_version, memory_order_relaxed));
    atomic_init(&u->set, none);
    u->health = (gw_health_config){.max_ejected = 100};
    for (int status = 500; status < 600; status++)
        u->breaker_statuses[status / 64] |= 1ULL << status % 64;
    u->retry.attempts = 1;
    u->timeouts.connect = 5;
    u->timeouts.first_byte = 30;
    u->timeouts.idle = 30;
    u->timeouts.total = 30;
    u->timeouts.tunnel = 3600;
    u->pool.idle = 100;
    u->pool.idle_for = 90;
    u->pool.requests = 10000;
    return u;
}

int gw_upstream_adaptive(gw_upstream *u, const gw_adaptive_settings *settings)
{
    int status = GW_OK;
    gw_upstream_state *s = u->state;
    gw_adaptive_kept *found = NULL;
    pthread_mutex_lock(&registry_lock);
    for (gw_list *at = s->adaptives.next; at != &s->adaptives && !found; at = at->next) {
        gw_adaptive_kept *k = gw_container_of(at, gw_adaptive_kept, link);
        const gw_adaptive_settings *a = &k->settings;
        if (a->interval == settings->interval && a->tolerance == settings->tolerance && a->initial == settings->initial &&
            a->least == settings->least && a->most == settings->most && a->samples == settings->samples)
            found = k;
    }
    if (!found) {
        size_t bytes = (sizeof *found + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE;
        found = aligned_alloc(GW_CACHE_LINE, bytes);
        if (found) {
            memset(found, 0, bytes);
            found->settings = *settings;
            status = gw_adaptive_init(&found->adaptive, settings);
        } else
            status = GW_NOMEM;
        if (status == GW_OK)
            gw_list_push_back(&s->adaptives, &found->link);
        else
            free(found);
    }
    if (status == GW_OK) {
        found->references++;
        u->adaptive = &found->adaptive;
    }
    pthread_mutex_unlock(&registry_lock);
    return status;
}

/* ---- health ---- */

#define SLOTS_ON_STACK 128

/* Words first, then the version that they are for: who finds an older version there works it out again, so a slow thread that wrote over
 * newer words is put right by itself below, or by the next who looks. */
void gw_upstream_health_look(const gw_upstream *u, gw_endpoint_set *set)
{
    gw_upstream_state *s = u->state;
    uint32_t words = (set->count + 63) / 64;
    gw_health_slot few[SLOTS_ON_STACK], *slots = few;
    uint64_t few_words[(SLOTS_ON_STACK + 63) / 64], *excluded = few_words;
    char *memory = NULL;
    if (set->count > SLOTS_ON_STACK) {
        memory = malloc(set->count * sizeof *slots + words * sizeof *excluded);
        if (!memory)
            return; /* it stays as it was; the next who looks tries again */
        slots = (gw_health_slot *)(void *)memory;
        excluded = (uint64_t *)(void *)(memory + set->count * sizeof *slots);
    }
    uint32_t version = atomic_load_explicit(&s->health_version, memory_order_acquire);
    for (;;) {
        for (uint32_t i = 0; i < set->count; i++) {
            const gw_endpoint *e = set->slot[i].endpoint;
            slots[i] = (gw_health_slot){.down = atomic_load_explicit(&e->down, memory_order_acquire),
                                        .group = set->slot[i].group,
                                        .ejected_at = atomic_load_explicit(&e->ejected_at, memory_order_relaxed)};
        }
        gw_health_summary summary;
        gw_health_combine(&u->health, slots, set->count, excluded, &summary);
        for (uint32_t i = 0; i < words; i++)
            atomic_store_explicit(&set->excluded[i], excluded[i], memory_order_relaxed);
        atomic_store_explicit(&set->eligible, summary.eligible, memory_order_relaxed);
        atomic_store_explicit(&set->health_seen, version, memory_order_release);
        uint32_t moved = atomic_load_explicit(&s->health_version, memory_order_acquire);
        if (moved == version)
            break;
        version = moved;
    }
    free(memory);
}

void gw_upstream_health_changed(gw_upstream *u)
{
    atomic_fetch_add_explicit(&u->state->health_version, 1, memory_order_acq_rel);
    gw_upstream_health_look(u, atomic_load_explicit(&u->set, memory_order_acquire));
}

/* ---- drained by hand ---- */

static bool text_is(const gw_address *a, gw_slice text)
{
    char bytes[GW_ADDRESS_TEXT];
    return gw_slice_equal(gw_slice_of(bytes, gw_address_text(a, bytes)), text);
}

/* False: memory is out. */
static bool mark_add(gw_upstream_state *s, const gw_address *address)
{
    drained_mark *m = malloc(sizeof *m);
    if (!m)
        return false;
    m->address = *address;
    for (gw_list *at = s->drained.next; at != &s->drained && s->drained_count >= GW_DRAINED_MOST;) {
        drained_mark *old = gw_container_of(at, drained_mark, link);
        at = at->next;
        if (!endpoint_at(s, &old->address))
            mark_drop(s, old);
    }
    gw_list_push_back(&s->drained, &m->link);
    s->drained_count++;
    return true;
}

int gw_upstream_drain(gw_upstream *u, gw_slice address, bool drain, uint32_t *in_flight)
{
    gw_upstream_state *s = u->state;
    gw_endpoint *e = NULL;
    drained_mark *m = NULL;
    *in_flight = 0;
    pthread_mutex_lock(&registry_lock);
    for (gw_list *at = s->endpoints.next; at != &s->endpoints && !e; at = at->next) {
        gw_endpoint *one = gw_container_of(at, gw_endpoint, link);
        e = gw_slice_equal(one->text, address) ? one : NULL;
    }
    for (gw_list *at = s->drained.next; at != &s->drained && !m; at = at->next) {
        drained_mark *one = gw_container_of(at, drained_mark, link);
        m = text_is(&one->address, address) ? one : NULL;
    }
    int status = drain == (m != NULL) ? GW_AGAIN : GW_OK;
    if (!e && !m)
        status = GW_NOTFOUND;
    else if (status == GW_OK && drain && !mark_add(s, &e->address))
        status = GW_NOMEM;
    else if (status == GW_OK && !drain)
        mark_drop(s, m);
    if (e) {
        *in_flight = atomic_load_explicit(&e->load.in_flight, memory_order_relaxed);
        if (status == GW_OK && drain)
            atomic_fetch_or_explicit(&e->down, GW_HEALTH_DRAINED, memory_order_acq_rel);
        else if (status == GW_OK) {
            /* Before the bit: who sees the endpoint back sees that its slow start has begun. */
            atomic_store_explicit(&e->load.since, gw_clock_monotonic_ns(), memory_order_relaxed);
            atomic_fetch_and_explicit(&e->down, ~(uint32_t)GW_HEALTH_DRAINED, memory_order_acq_rel);
        }
    }
    pthread_mutex_unlock(&registry_lock);
    if (status == GW_OK)
        gw_upstream_health_changed(u);
    return status;
}

void gw_upstream_forget_drained(gw_upstream *u)
{
    gw_upstream_state *s = u->state;
    bool any = false;
    pthread_mutex_lock(&registry_lock);
    while (!gw_list_empty(&s->drained)) {
        drained_mark *m = gw_container_of(s->drained.next, drained_mark, link);
        gw_endpoint *e = endpoint_at(s, &m->address);
        if (e)
            atomic_fetch_and_explicit(&e->down, ~(uint32_t)GW_HEALTH_DRAINED, memory_order_acq_rel);
        mark_drop(s, m);
        any = true;
    }
    pthread_mutex_unlock(&registry_lock);
    if (any)
        gw_upstream_health_changed(u);
}

void gw_upstream_drained_away(const gw_upstream *u, void (*each)(gw_slice address, void *data), void *data)
{
    const gw_upstream_state *s = u->state;
    char text[GW_ADDRESS_TEXT];
    pthread_mutex_lock(&registry_lock);
    for (gw_list *at = s->drained.next; at != &s->drained; at = at->next) {
        const drained_mark *m = gw_container_of(at, drained_mark, link);
        if (!endpoint_at(s, &m->address))
            each(gw_slice_of(text, gw_address_text(&m->address, text)), data);
    }
    pthread_mutex_unlock(&registry_lock);
}

/* ---- sets ---- */

/* Under the lock: endpoints into slots. */
static int set_fill(gw_endpoint_set *set, const gw_upstream *u, const gw_address *addresses, const uint32_t *weights,
                    const uint32_t *groups, uint32_t count)
{
    /* Who joins others begins slowly; those that come all at once do not. */
    bool joining = u->balance.slow_start > 0 && !gw_list_empty(&u->state->endpoints);
    for (uint32_t i = 0; i < count; i++) {
        gw_list *last = u->state->endpoints.prev;
        gw_endpoint *e = endpoint_find(u->state, &addresses[i]);
        if (!e)
            return GW_NOMEM;
        if (joining && u->state->endpoints.prev != last)
            atomic_store_explicit(&e->load.since, gw_clock_monotonic_ns(), memory_order_relaxed);
        uint32_t k = 0;
        while (k < set->count && set->slot[k].endpoint != e)
            k++;
        if (k < set->count) {
            uint32_t sum = set->slot[k].weight + weights[i];
            set->slot[k].weight = sum > GW_BALANCER_WEIGHT_MOST ? GW_BALANCER_WEIGHT_MOST : sum;
            if (groups[i] < set->slot[k].group)
                set->slot[k].group = groups[i];
            continue;
        }
        e->references++;
        set->slot[set->count++] = (gw_endpoint_slot){e, weights[i], groups[i]};
    }
    return GW_OK;
}

gw_endpoint_set *gw_endpoint_set_new(const gw_upstream *u, const gw_address *addresses, const uint32_t *weights,
                                     const uint32_t *groups, uint32_t count)
{
    gw_endpoint_set *set = set_alloc(count);
    gw_balancer_slot *slots = calloc(count ? count : 1, sizeof *slots);
    if (!set || !slots) {
        free(set);
        free(slots);
        return NULL;
    }
    pthread_mutex_lock(&registry_lock);
    int status = set_fill(set, u, addresses, weights, groups, count);
    pthread_mutex_unlock(&registry_lock);
    for (uint32_t i = 0; i < set->count; i++) {
        gw_endpoint *e = set->slot[i].endpoint;
        slots[i] =
            (gw_balancer_slot){.name = e->text, .load = &e->load, .weight = set->slot[i].weight, .group = set->slot[i].group};
    }
    if (status == GW_OK)
        status = gw_balancer_table_new(&u->balance, slots, set->count, &set->table);
    free(slots);
    if (status != GW_OK) {
        gw_endpoint_set_free(set, NULL, NULL);
        return NULL;
    }
    gw_upstream_health_look(u, set);
    return set;
}

/* Bits that nobody would ever take back: what says so was switched off. */
static void forget_health(gw_upstream_state *s, uint32_t bits, bool passive)
{
    pthread_mutex_lock(&registry_lock);
    for (gw_list *at = s->endpoints.next; at != &s->endpoints; at = at->next) {
        gw_endpoint *e = gw_container_of(at, gw_endpoint, link);
        atomic_fetch_and_explicit(&e->down, ~bits, memory_order_acq_rel);
        if (passive)
            atomic_store_explicit(&e->passive.until, 0, memory_order_release);
    }
    pthread_mutex_unlock(&registry_lock);
}

void gw_upstream_adopt(gw_upstream *u, char *message, size_t message_bytes)
{
    gw_upstream_state *s = u->state;
    gw_text t = gw_text_on(message, message_bytes ? message_bytes - 1 : 0);
    if (u->breaker_on)
        gw_breaker_rules_init(&s->breaker_rules, &u->breaker); /* validated at load; every breaker keeps its state */
    gw_concurrency_change(&s->concurrency, u->concurrency_most ? u->concurrency_most : UINT32_MAX);
    if (s->adopted && s->adaptive_now && u->adaptive && s->adaptive_now != u->adaptive)
        gw_text_lit(&t, "adaptive concurrency limit");
    s->adaptive_now = u->adaptive;
    int64_t window = u->passive_on ? u->passive.window : 0;
    if (s->adopted && s->passive_window && window && s->passive_window != window) {
        if (t.at != t.begin)
            gw_text_lit(&t, ", ");
        gw_text_lit(&t, "results counted by passive health");
    }
    s->passive_window = window;
    uint32_t bits = (u->passive_on ? 0 : GW_HEALTH_DOWN_PASSIVE) | (u->probe.on ? 0 : GW_HEALTH_DOWN_ACTIVE);
    if (bits)
        forget_health(s, bits, !u->passive_on);
    s->adopted = true;
    gw_upstream_health_changed(u);
    if (message_bytes)
        message[gw_text_done(&t).len] = 0;
}

gw_endpoint_set *gw_upstream_swap(gw_upstream *u, gw_endpoint_set *set)
{
    return atomic_exchange_explicit(&u->set, set, memory_order_acq_rel);
}

void gw_endpoint_set_free(gw_endpoint_set *set, void (*orphan)(gw_endpoint *e, void *data), void *data)
{
    if (!set)
        return;
    for (uint32_t i = 0; i < set->count; i++) {
        gw_endpoint *e = set->slot[i].endpoint;
        pthread_mutex_lock(&registry_lock);
        bool last = --e->references == 0;
        if (last) {
            gw_list_remove(&e->link);
            atomic_store_explicit(&e->workers_left, e->worker_count, memory_order_relaxed);
            if (!orphan)
                endpoint_delete(e);
        }
        pthread_mutex_unlock(&registry_lock);
        if (last && orphan)
            orphan(e, data);
    }
    gw_balancer_table_free(set->table);
    free(set);
}

void gw_endpoint_worker_done(gw_endpoint *e)
{
    if (e->lone) {
        gw_origin_endpoint_done(e);
        return;
    }
    if (atomic_fetch_sub_explicit(&e->workers_left, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_lock(&registry_lock);
    endpoint_delete(e);
    pthread_mutex_unlock(&registry_lock);
}

void gw_upstream_release(gw_upstream *u, void (*orphan)(gw_endpoint *e, void *data), void *data)
{
    gw_endpoint_set_free(atomic_exchange(&u->set, NULL), orphan, data);
    gw_metrics_release(&u->metrics->block);
    u->metrics = NULL;
    pthread_mutex_lock(&registry_lock);
    if (u->adaptive) {
        gw_adaptive_kept *k = gw_container_of(u->adaptive, gw_adaptive_kept, adaptive);
        if (--k->references == 0) {
            if (u->state->adaptive_now == u->adaptive)
                u->state->adaptive_now = NULL;
            gw_list_remove(&k->link);
            free(k);
        }
        u->adaptive = NULL;
    }
    state_give(u->state);
    pthread_mutex_unlock(&registry_lock);
    u->state = NULL;
}
