#include "gateway/upstream.h"
#include "base/hash.h"
#include "policy/round_robin.h"
#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static gw_list registry_states = {&registry_states, &registry_states};
static uint32_t registry_worker_count = 1;

void gw_registry_init(uint32_t workers)
{
    registry_worker_count = workers ? workers : 1;
}

uint32_t gw_registry_workers(void)
{
    return registry_worker_count;
}

static int round_robin_pick(gw_upstream_state *state, const gw_endpoint_set *set, uint64_t tried, uint64_t key)
{
    (void)key;
    return gw_round_robin_pick(&state->cursor, set->count, tried);
}

const gw_balancer gw_balancer_round_robin = {"round_robin", round_robin_pick};

/* ---- under the lock ---- */

static gw_upstream_state *state_find(gw_slice name)
{
    for (gw_list *at = registry_states.next; at != &registry_states; at = at->next) {
        gw_upstream_state *s = gw_container_of(at, gw_upstream_state, link);
        if (gw_slice_equal(s->name, name))
            return s;
    }
    size_t bytes = sizeof(gw_upstream_state) + registry_worker_count * sizeof(uint32_t);
    gw_upstream_state *s = calloc(1, bytes + name.len + 1);
    if (!s)
        return NULL;
    char *text = (char *)s + bytes;
    memcpy(text, name.ptr, name.len);
    s->name = gw_slice_of(text, name.len);
    gw_random random;
    gw_random_seed(&random);
    atomic_init(&s->cursor, gw_random_next(&random));
    gw_list_init(&s->endpoints);
    gw_list_push_back(&registry_states, &s->link);
    return s;
}

static void state_give(gw_upstream_state *s)
{
    if (--s->references)
        return;
    gw_list_remove(&s->link);
    free(s);
}

static gw_endpoint *endpoint_find(gw_upstream_state *s, const gw_address *address)
{
    for (gw_list *at = s->endpoints.next; at != &s->endpoints; at = at->next) {
        gw_endpoint *e = gw_container_of(at, gw_endpoint, link);
        if (gw_address_equal(&e->address, address))
            return e;
    }
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
    e->worker_count = registry_worker_count;
    for (uint32_t i = 0; i < registry_worker_count; i++)
        gw_list_init(&e->worker[i].idle);
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

/* ---- control path ---- */

gw_upstream *gw_upstream_new(gw_arena *arena, gw_slice name)
{
    gw_upstream *u = gw_arena_take(arena, sizeof *u);
    gw_endpoint_set *none = calloc(1, sizeof *none);
    if (!u || !none) {
        free(none);
        return NULL;
    }
    u->name = gw_arena_copy(arena, name);
    pthread_mutex_lock(&registry_lock);
    u->state = u->name.ptr ? state_find(name) : NULL;
    if (u->state)
        u->state->references++;
    pthread_mutex_unlock(&registry_lock);
    if (!u->state) {
        free(none);
        return NULL;
    }
    atomic_init(&u->set, none);
    u->balancer = &gw_balancer_round_robin;
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

gw_endpoint_set *gw_endpoint_set_new(const gw_upstream *u, const gw_address *addresses, const uint32_t *weights, uint32_t count)
{
    gw_endpoint_set *set = calloc(1, sizeof *set + count * sizeof *set->slot);
    if (!set)
        return NULL;
    pthread_mutex_lock(&registry_lock);
    for (uint32_t i = 0; i < count; i++) {
        gw_endpoint *e = endpoint_find(u->state, &addresses[i]);
        if (!e) {
            pthread_mutex_unlock(&registry_lock);
            gw_endpoint_set_free(set, NULL, NULL);
            return NULL;
        }
        uint32_t k = 0;
        while (k < set->count && set->slot[k].endpoint != e)
            k++;
        if (k < set->count) {
            set->slot[k].weight += weights[i];
            continue;
        }
        e->references++;
        set->slot[set->count++] = (gw_endpoint_slot){e, weights[i]};
    }
    pthread_mutex_unlock(&registry_lock);
    return set;
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
    free(set);
}

void gw_endpoint_worker_done(gw_endpoint *e)
{
    if (atomic_fetch_sub_explicit(&e->workers_left, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_lock(&registry_lock);
    endpoint_delete(e);
    pthread_mutex_unlock(&registry_lock);
}

void gw_upstream_release(gw_upstream *u, void (*orphan)(gw_endpoint *e, void *data), void *data)
{
    gw_endpoint_set_free(atomic_exchange(&u->set, NULL), orphan, data);
    pthread_mutex_lock(&registry_lock);
    state_give(u->state);
    pthread_mutex_unlock(&registry_lock);
    u->state = NULL;
}
