/* Balancers and health by hand: see primitives.h. A table, a mask and random numbers of each Lua state's own, over a roster that all share. */
#include "script/api.h"
#include "base/hash.h"
#include <stdatomic.h>
#include <stdlib.h>

#define ENDPOINTS_MOST 4096

#define load(field) atomic_load_explicit((field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit((field), (value), memory_order_relaxed)

typedef struct health {
    gw_shared *shared;
    gw_roster *roster;
    bool active_on, passive_on, combined;
    gw_active_config active;
    gw_passive_config passive;
    gw_health_config config;
    uint32_t count, words, seen; /* seen: the roster's version that `excluded` stands for */
    bool known;
    int64_t until; /* the next ejection ends: look again then */
    uint64_t *excluded;
    gw_health_slot *slots;
    uint32_t *groups;
    gw_roster_entry *entry[];
} health;

typedef struct balancer {
    gw_shared *shared;
    gw_roster *roster;
    gw_balancer_config config;
    gw_balancer_table *table;
    gw_random random;
    gw_lua_health *watched;
    uint64_t *was_out; /* the mask as of the last pick: who leaves it begins its slow start */
    uint32_t count, words;
    gw_roster_entry *entry[];
} balancer;

static int64_t now_of(double now, int manual)
{
    return gw_lua_now(now, manual);
}

static int64_t ns_of(double seconds)
{
    return seconds > 0 && seconds < 1e9 ? (int64_t)(seconds * 1e9) : 0;
}

/* Takes a record for each; false: memory is out, and none is held. */
static bool take_entries(gw_roster *r, gw_roster_entry **entry, const gw_lua_endpoint *endpoints, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        entry[i] = gw_roster_take(r, gw_slice_of(endpoints[i].name, endpoints[i].len));
        if (!entry[i]) {
            while (i > 0)
                gw_roster_give(r, entry[--i]);
            return false;
        }
    }
    return true;
}

static void give_entries(gw_roster *r, gw_roster_entry **entry, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        gw_roster_give(r, entry[i]);
}

static uint32_t whole(double n)
{
    return n > 0 && n < 4294967296.0 ? (uint32_t)n : 0;
}

/* ---- health ---- */

static void health_free(void *object)
{
    health *w = object;
    give_entries(w->roster, w->entry, w->count);
    free(w->excluded);
    free(w->slots);
    free(w->groups);
    free(w);
}

int gw_lua_health_build(void *holder, gw_lua_health *h, const gw_lua_endpoint *endpoints, int count,
                        const gw_lua_watching *settings)
{
    if (count < 1 || count > ENDPOINTS_MOST)
        return GW_INVALID;
    gw_shared *shared = h->shared;
    health *w = calloc(1, sizeof *w + (size_t)count * sizeof *w->entry);
    if (!w)
        return GW_NOMEM;
    w->words = ((uint32_t)count + 63) / 64;
    w->excluded = calloc(w->words, sizeof *w->excluded);
    w->slots = calloc((size_t)count, sizeof *w->slots);
    w->groups = calloc((size_t)count, sizeof *w->groups);
    w->shared = shared;
    w->roster = shared->roster;
    if (!w->excluded || !w->slots || !w->groups || !take_entries(w->roster, w->entry, endpoints, (uint32_t)count)) {
        w->count = 0;
        health_free(w);
        return GW_NOMEM;
    }
    w->count = (uint32_t)count;
    for (int i = 0; i < count; i++)
        w->groups[i] = whole(endpoints[i].group);
    const gw_lua_watching *s = settings;
    w->active_on = s->active != 0;
    w->passive_on = s->passive != 0;
    w->combined = s->combined != 0;
    w->active = (gw_active_config){.rise = whole(s->rise), .fall = whole(s->fall)};
    w->passive = (gw_passive_config){.window = ns_of(s->window),
                                     .eject_for = ns_of(s->eject_for),
                                     .error_rate = s->error_rate,
                                     .min_requests = whole(s->min_requests)};
    w->config = (gw_health_config){.panic = whole(s->panic), .max_ejected = whole(s->max_ejected), .refuse = s->refuse != 0};
    if (holder && !gw_lua_hold_add(holder, health_free, w)) {
        health_free(w);
        return GW_NOMEM;
    }
    h->object = w;
    return GW_OK;
}

void gw_lua_health_close(gw_lua_health *h)
{
    if (!h->shared)
        return;
    if (h->object != ((gw_shared *)h->shared)->object)
        health_free(h->object);
    gw_shared_release(h->shared);
    h->object = h->shared = NULL;
}

static void changed(health *w)
{
    atomic_fetch_add_explicit(&w->roster->version, 1, memory_order_release);
}

/* Ejections that are over end; when the next one will. */
static int64_t tick(health *w, int64_t now)
{
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < w->count; i++) {
        gw_roster_entry *e = w->entry[i];
        int64_t until = gw_passive_until(&e->passive);
        if (!until)
            continue;
        if (now >= until) {
            if (gw_passive_tick(&e->passive, now) == GW_HEALTH_UP) {
                atomic_fetch_and_explicit(&e->down, ~(uint32_t)GW_HEALTH_DOWN_PASSIVE, memory_order_relaxed);
                changed(w);
            }
        } else if (until < next)
            next = until;
    }
    return next;
}

/* Who is out, worked out anew when a bit changed or an ejection may be over. */
static void look(health *w, int64_t now)
{
    if (gw_likely(w->known && w->seen == atomic_load_explicit(&w->roster->version, memory_order_acquire) && now < w->until))
        return;
    w->until = w->passive_on ? tick(w, now) : INT64_MAX;
    w->seen = atomic_load_explicit(&w->roster->version, memory_order_acquire);
    w->known = true;
    for (uint32_t i = 0; i < w->count; i++)
        w->slots[i] = (gw_health_slot){load(&w->entry[i]->down), w->groups[i], load(&w->entry[i]->ejected_at)};
    if (w->combined) {
        gw_health_summary summary;
        gw_health_combine(&w->config, w->slots, w->count, w->excluded, &summary);
        return;
    }
    memset(w->excluded, 0, w->words * sizeof *w->excluded);
    for (uint32_t i = 0; i < w->count; i++)
        if (w->slots[i].down)
            w->excluded[i / 64] |= (uint64_t)1 << i % 64;
}

static bool is_place(uint32_t count, int place)
{
    return place >= 0 && (uint32_t)place < count;
}

int gw_lua_health_healthy(gw_lua_health *h, int place)
{
    health *w = h->object;
    if (!is_place(w->count, place))
        return 0;
    look(w, now_of(h->now, h->manual));
    return !(w->excluded[place / 64] >> place % 64 & 1);
}

int gw_lua_health_probe(gw_lua_health *h, int place, int ok)
{
    health *w = h->object;
    if (!w->active_on || !is_place(w->count, place))
        return 0;
    gw_roster_entry *e = w->entry[place];
    uint64_t word = load(&e->active), next;
    int event;
    do {
        gw_active a;
        memcpy(&a, &word, sizeof a);
        event = gw_active_result(&a, &w->active, ok != 0);
        memcpy(&next, &a, sizeof next);
    } while (!atomic_compare_exchange_weak_explicit(&e->active, &word, next, memory_order_relaxed, memory_order_relaxed));
    if (event == GW_HEALTH_SAME)
        return 0;
    if (event == GW_HEALTH_DOWN)
        atomic_fetch_or_explicit(&e->down, GW_HEALTH_DOWN_ACTIVE, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&e->down, ~(uint32_t)GW_HEALTH_DOWN_ACTIVE, memory_order_relaxed);
    changed(w);
    return event == GW_HEALTH_UP ? 1 : -1;
}

int gw_lua_health_record(gw_lua_health *h, int place, int ok)
{
    health *w = h->object;
    if (!w->passive_on || !is_place(w->count, place))
        return 0;
    gw_roster_entry *e = w->entry[place];
    int64_t now = now_of(h->now, h->manual);
    if (gw_passive_record(&e->passive, &w->passive, now, ok != 0) != GW_HEALTH_DOWN)
        return 0;
    store(&e->ejected_at, now);
    atomic_fetch_or_explicit(&e->down, GW_HEALTH_DOWN_PASSIVE, memory_order_relaxed);
    changed(w);
    return -1;
}

void gw_lua_health_drain(gw_lua_health *h, int place, int drained)
{
    health *w = h->object;
    if (!is_place(w->count, place))
        return;
    if (drained)
        atomic_fetch_or_explicit(&w->entry[place]->down, GW_HEALTH_DRAINED, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&w->entry[place]->down, ~(uint32_t)GW_HEALTH_DRAINED, memory_order_relaxed);
    changed(w);
}

/* ---- balancers ---- */

static void balancer_free(void *object)
{
    balancer *b = object;
    gw_balancer_table_free(b->table);
    give_entries(b->roster, b->entry, b->count);
    free(b->was_out);
    free(b);
}

static int make_table(balancer *b, const gw_lua_endpoint *endpoints)
{
    gw_balancer_slot *slots = calloc(b->count, sizeof *slots);
    if (!slots)
        return GW_NOMEM;
    for (uint32_t i = 0; i < b->count; i++)
        slots[i] =
            (gw_balancer_slot){b->entry[i]->name, &b->entry[i]->load, whole(endpoints[i].weight), whole(endpoints[i].group)};
    int status = gw_balancer_table_new(&b->config, slots, b->count, &b->table);
    free(slots);
    return status;
}

int gw_lua_balancer_build(void *holder, gw_lua_balancer *h, const char *algorithm, const gw_lua_endpoint *endpoints, int count,
                          const gw_lua_balancing *settings)
{
    if (count < 1 || count > ENDPOINTS_MOST)
        return GW_INVALID;
    gw_shared *shared = h->shared;
    balancer *b = calloc(1, sizeof *b + (size_t)count * sizeof *b->entry);
    if (!b)
        return GW_NOMEM;
    b->shared = shared;
    b->roster = shared->roster;
    b->words = ((uint32_t)count + 63) / 64;
    b->was_out = calloc(b->words, sizeof *b->was_out);
    gw_random_seed(&b->random);
    int status = gw_balancer_config_init(&b->config, algorithm);
    if (status == GW_OK && (!b->was_out || !take_entries(b->roster, b->entry, endpoints, (uint32_t)count)))
        status = GW_NOMEM;
    if (status != GW_OK) {
        balancer_free(b);
        return status;
    }
    b->count = (uint32_t)count;
    const gw_lua_balancing *s = settings;
    b->config.slow_start = ns_of(s->slow_start);
    if (s->decay > 0)
        b->config.decay = ns_of(s->decay);
    if (s->error_penalty > 0)
        b->config.error_penalty = ns_of(s->error_penalty);
    if (s->virtual_nodes > 0)
        b->config.virtual_nodes = whole(s->virtual_nodes);
    b->config.load_factor = whole(s->load_factor * 100 + 0.5);
    b->config.two_choices = s->two_choices != 0;
    status = make_table(b, endpoints);
    if (status == GW_OK && holder && !gw_lua_hold_add(holder, balancer_free, b))
        status = GW_NOMEM;
    if (status != GW_OK) {
        balancer_free(b);
        return status;
    }
    h->object = b;
    return GW_OK;
}

void gw_lua_balancer_close(gw_lua_balancer *h)
{
    if (!h->shared)
        return;
    if (h->object != ((gw_shared *)h->shared)->object)
        balancer_free(h->object);
    gw_shared_release(h->shared);
    h->object = h->shared = NULL;
}

void gw_lua_balancer_watch(gw_lua_balancer *h, gw_lua_health *watched)
{
    ((balancer *)h->object)->watched = watched;
}

/* Who came back since the last pick begins its slow start. */
static void note_returns(balancer *b, const uint64_t *out, int64_t now)
{
    for (uint32_t k = 0; k < b->words; k++) {
        uint64_t back = b->was_out[k] & ~out[k];
        b->was_out[k] = out[k];
        for (; back; back &= back - 1)
            store(&b->entry[k * 64 + (uint32_t)__builtin_ctzll(back)]->load.since, now ? now : 1);
    }
}

int gw_lua_balancer_next(gw_lua_balancer *h, const char *key, size_t len)
{
    balancer *b = h->object;
    gw_balancer_query query = {
        .key = key ? gw_balancer_key(key, len) : 0, .random = gw_random_next(&b->random), .now = now_of(h->now, h->manual)};
    if (b->watched) {
        health *w = b->watched->object;
        look(w, query.now);
        note_returns(b, w->excluded, query.now);
        query.excluded = gw_slot_mask_of(w->excluded, w->words);
    }
    return gw_balancer_pick(b->table, &b->roster->balance, &query);
}

void gw_lua_balancer_done(gw_lua_balancer *h, int place, int ok, double seconds)
{
    balancer *b = h->object;
    if (!is_place(b->count, place))
        return;
    int64_t latency = seconds >= 0 && seconds < 1e9 ? (int64_t)(seconds * 1e9) : -1;
    gw_balancer_done(&b->config, &b->roster->balance, &b->entry[place]->load, now_of(h->now, h->manual), ok != 0, latency);
}

int gw_lua_balancer_in_flight(gw_lua_balancer *h, int place)
{
    balancer *b = h->object;
    return is_place(b->count, place) ? (int)load(&b->entry[place]->load.in_flight) : 0;
}
