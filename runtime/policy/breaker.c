#include "policy/breaker.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(sizeof(gw_breaker) == 2 * GW_CACHE_LINE, "as said in the header");
_Static_assert(sizeof(gw_breaker_rules) == GW_CACHE_LINE, "as said in the header");

#define TRIPS_MOST 15
#define EPOCHS (1u << 14)
#define MS ((int64_t)1000000)
#define SPAN_MOST 2000000.0 /* seconds: below the 24 days that moments modulo 2^32 ms can tell apart */
#define TENTH_NUMBERS 0xffffu
#define TENTH_COUNT_BITS 24
#define TENTH_COUNT_MASK (((uint64_t)1 << TENTH_COUNT_BITS) - 1)

#define load(field) atomic_load_explicit((field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit((field), (value), memory_order_relaxed)

/* ---- the word ---- */

typedef struct view {
    unsigned state, trips, count, epoch;
    uint32_t moment;
} view;

static inline view read_word(uint64_t w)
{
    return (view){.state = w & 3, .trips = w >> 2 & 15, .count = w >> 6 & 0xfff, .epoch = w >> 18 & 0x3fff, .moment = w >> 32};
}

static inline uint64_t word_of(view v)
{
    return (uint64_t)v.moment << 32 | (uint64_t)(v.epoch & (EPOCHS - 1)) << 18 | (uint64_t)v.count << 6 | v.trips << 2 | v.state;
}

static inline bool swap(gw_breaker *b, uint64_t *w, view v)
{
    return atomic_compare_exchange_weak_explicit(&b->word, w, word_of(v), memory_order_acq_rel, memory_order_acquire);
}

static unsigned leased(view v)
{
    return v.count & 63;
}

static unsigned succeeded(view v)
{
    return v.count >> 6;
}

static unsigned probe_count(unsigned done, unsigned out)
{
    return done << 6 | out;
}

/* Rounded up where a span begins and down where its end is asked for, so that no span is shorter than it was set. */
static uint32_t moment_from(int64_t now)
{
    return (uint32_t)((gw_now_clamp(now) + MS - 1) / MS);
}

/* ms of `span` still to come. A moment a little ahead is a worker's clock that is a little behind; far ahead, the clock was set back
 * (or nobody came for 24 days): nothing is to come. */
static uint32_t ms_left(uint32_t moment, uint32_t span, int64_t now)
{
    int32_t passed = (int32_t)((uint32_t)(gw_now_clamp(now) / MS) - moment);
    if (passed < 0)
        return passed >= -(int32_t)(GW_NOW_SLACK / MS) ? span : 0;
    return (uint32_t)passed < span ? span - (uint32_t)passed : 0;
}

static uint32_t open_left(const gw_breaker *b, view v, int64_t now)
{
    double span = load(&b->rules->open_ms), most = load(&b->rules->open_most_ms), growth = load(&b->rules->growth);
    for (unsigned i = 0; i < v.trips && span < most; i++)
        span *= growth;
    return ms_left(v.moment, (uint32_t)(span < most ? span : most), now);
}

/* ---- the window ---- */

static uint32_t tenth_number(const gw_breaker *b, int64_t now)
{
    return (uint32_t)(gw_now_clamp(now) / MS / load(&b->rules->tenth_ms));
}

static void window_add(gw_breaker *b, int64_t now, uint64_t failures)
{
    uint32_t number = tenth_number(b, now);
    _Atomic uint64_t *tenth = &b->tenths[number % GW_BREAKER_TENTHS];
    uint64_t add = (uint64_t)1 << TENTH_COUNT_BITS | failures, there = load(tenth);
    for (;;) {
        if (gw_likely(there >> (2 * TENTH_COUNT_BITS) == (number & TENTH_NUMBERS))) {
            if (gw_unlikely((there >> TENTH_COUNT_BITS & TENTH_COUNT_MASK) >= TENTH_COUNT_MASK / 2))
                return; /* eight million say enough */
            atomic_fetch_add_explicit(tenth, add, memory_order_relaxed);
            return;
        }
        uint64_t first = (uint64_t)(number & TENTH_NUMBERS) << (2 * TENTH_COUNT_BITS) | add;
        if (atomic_compare_exchange_weak_explicit(tenth, &there, first, memory_order_relaxed, memory_order_relaxed))
            return;
    }
}

static bool window_bad(const gw_breaker *b, int64_t now)
{
    uint32_t number = tenth_number(b, now);
    uint64_t requests = 0, failures = 0;
    for (int i = 0; i < GW_BREAKER_TENTHS; i++) {
        uint64_t there = load(&b->tenths[i]);
        uint32_t age = (number - (uint32_t)(there >> (2 * TENTH_COUNT_BITS))) & TENTH_NUMBERS;
        if (age < GW_BREAKER_TENTHS || age == TENTH_NUMBERS) { /* the latter: written by a worker whose clock is a little ahead */
            requests += there >> TENTH_COUNT_BITS & TENTH_COUNT_MASK;
            failures += there & TENTH_COUNT_MASK;
        }
    }
    return requests >= load(&b->rules->min_requests) && failures * 1000000 >= load(&b->rules->rate_ppm) * requests;
}

static void window_clear(gw_breaker *b)
{
    for (int i = 0; i < GW_BREAKER_TENTHS; i++)
        store(&b->tenths[i], 0);
}

/* ---- making ---- */

/* Seconds to ms, 0 to the default; 0 when that is out of bounds. */
static uint32_t span_ms(double seconds, double otherwise)
{
    if (seconds == 0)
        seconds = otherwise;
    return seconds >= 0.001 && seconds <= SPAN_MOST ? (uint32_t)(seconds * 1000 + 0.5) : 0;
}

int gw_breaker_rules_init(gw_breaker_rules *r, const gw_breaker_settings *s)
{
    uint32_t open = span_ms(s->open_for, 10), lease = span_ms(s->lease, 30), window = span_ms(s->window, 10);
    uint32_t most = span_ms(s->open_most, s->open_for > 300 ? s->open_for : 300);
    double growth = s->growth == 0 ? 1 : s->growth;
    uint32_t failures = s->failures || s->error_rate != 0 ? s->failures : 5, probes = s->probes ? s->probes : 1;
    if (!open || !lease || !most || most < open || window < GW_BREAKER_TENTHS || !(growth >= 1) || !isfinite(growth) ||
        !(s->error_rate >= 0 && s->error_rate <= 1) || failures > GW_BREAKER_FAILURES_MOST || probes > GW_BREAKER_PROBES_MOST)
        return GW_INVALID;
    uint32_t ppm = (uint32_t)(s->error_rate * 1e6 + 0.5);
    store(&r->growth, growth);
    store(&r->open_ms, open);
    store(&r->open_most_ms, most);
    store(&r->lease_ms, lease);
    store(&r->tenth_ms, window / GW_BREAKER_TENTHS);
    store(&r->rate_ppm, s->error_rate > 0 && ppm == 0 ? 1 : ppm);
    store(&r->min_requests, s->min_requests ? s->min_requests : 10);
    store(&r->failures, failures);
    store(&r->probes, probes);
    return GW_OK;
}

void gw_breaker_init(gw_breaker *b, const gw_breaker_rules *rules)
{
    memset(b, 0, sizeof *b);
    b->rules = rules;
}

typedef struct with_rules {
    gw_breaker breaker;
    gw_breaker_rules rules;
} with_rules;

gw_breaker *gw_breaker_new(const gw_breaker_settings *settings)
{
    with_rules *w = aligned_alloc(GW_CACHE_LINE, sizeof *w);
    if (!w)
        return NULL;
    memset(w, 0, sizeof *w);
    if (gw_breaker_rules_init(&w->rules, settings) != GW_OK) {
        free(w);
        return NULL;
    }
    gw_breaker_init(&w->breaker, &w->rules);
    return &w->breaker;
}

void gw_breaker_free(gw_breaker *b)
{
    free(b);
}

int gw_breaker_change(gw_breaker *b, const gw_breaker_settings *settings)
{
    return gw_breaker_rules_init(&gw_container_of(b, with_rules, breaker)->rules, settings);
}

/* ---- asking ---- */

int gw_breaker_allow(gw_breaker *b, int64_t now)
{
    uint64_t w = atomic_load_explicit(&b->word, memory_order_acquire);
    for (;;) {
        view v = read_word(w);
        if (gw_likely(v.state == GW_BREAKER_CLOSED))
            return (int)v.epoch;
        if (v.state == GW_BREAKER_OPEN) {
            if (open_left(b, v, now))
                return GW_BREAKER_REFUSED;
            v.state = GW_BREAKER_HALF_OPEN;
            v.epoch++;
            v.count = probe_count(0, 1);
        } else if (succeeded(v) >= load(&b->rules->probes)) {
            /* The rules ask for fewer successes than they did. */
            window_clear(b);
            v = (view){.state = GW_BREAKER_CLOSED, .epoch = v.epoch + 1};
        } else if (leased(v) < load(&b->rules->probes)) {
            v.count++;
        } else if (!ms_left(v.moment, load(&b->rules->lease_ms), now) && succeeded(v) < leased(v)) {
            v.epoch++;
            v.count = probe_count(succeeded(v), succeeded(v) + 1);
        } else {
            return GW_BREAKER_REFUSED;
        }
        v.moment = v.state == GW_BREAKER_CLOSED ? 0 : moment_from(now);
        if (swap(b, &w, v)) {
            if (gw_unlikely(v.state == GW_BREAKER_CLOSED))
                atomic_fetch_add_explicit(&b->closed, 1, memory_order_relaxed);
            return (int)(v.epoch & (EPOCHS - 1));
        }
    }
}

static bool is_due(view v, int ticket)
{
    return ticket == GW_BREAKER_ANY || (ticket >= 0 && v.epoch == (unsigned)ticket);
}

int gw_breaker_success(gw_breaker *b, int ticket, int64_t now)
{
    uint64_t w = atomic_load_explicit(&b->word, memory_order_acquire);
    bool counted = false;
    for (;;) {
        bool closes = false;
        view v = read_word(w);
        if (!is_due(v, ticket) || v.state == GW_BREAKER_OPEN)
            return GW_BREAKER_SAME;
        if (gw_likely(v.state == GW_BREAKER_CLOSED)) {
            if (load(&b->rules->rate_ppm) && !counted) {
                window_add(b, now, 0);
                counted = true;
            }
            if (gw_likely(v.count == 0))
                return GW_BREAKER_SAME;
            v.count = 0;
        } else {
            unsigned done = succeeded(v) + 1;
            if (done > leased(v))
                return GW_BREAKER_SAME; /* said twice */
            if (done >= load(&b->rules->probes)) {
                closes = true;
                window_clear(b);
                v = (view){.state = GW_BREAKER_CLOSED, .epoch = v.epoch + 1};
            } else {
                v.count = probe_count(done, leased(v));
            }
        }
        if (swap(b, &w, v)) {
            if (!closes)
                return GW_BREAKER_SAME;
            atomic_fetch_add_explicit(&b->closed, 1, memory_order_relaxed);
            return GW_BREAKER_CLOSES;
        }
    }
}

/* To open, from whatever it was. */
static view opened(view v, int64_t now)
{
    v.trips = v.state != GW_BREAKER_HALF_OPEN ? 0 : v.trips < TRIPS_MOST ? v.trips + 1 : TRIPS_MOST;
    v.state = GW_BREAKER_OPEN;
    v.count = 0;
    v.epoch++;
    v.moment = moment_from(now);
    return v;
}

int gw_breaker_failure(gw_breaker *b, int ticket, int64_t now)
{
    uint64_t w = atomic_load_explicit(&b->word, memory_order_acquire);
    bool counted = false;
    for (;;) {
        view v = read_word(w), next = v;
        if (!is_due(v, ticket) || v.state == GW_BREAKER_OPEN)
            return GW_BREAKER_SAME;
        bool opens = v.state == GW_BREAKER_HALF_OPEN;
        if (!opens) {
            uint32_t failures = load(&b->rules->failures);
            if (load(&b->rules->rate_ppm)) {
                if (!counted)
                    window_add(b, now, 1);
                counted = true;
                opens = window_bad(b, now);
            }
            if (failures && v.count < GW_BREAKER_FAILURES_MOST)
                next.count++;
            opens |= failures && next.count >= failures;
            if (!opens && next.count == v.count)
                return GW_BREAKER_SAME;
        } else if (ticket == GW_BREAKER_ANY && succeeded(v) >= leased(v)) {
            return GW_BREAKER_SAME; /* no probe is on its way */
        }
        if (swap(b, &w, opens ? opened(v, now) : next)) {
            if (!opens)
                return GW_BREAKER_SAME;
            atomic_fetch_add_explicit(&b->opened, 1, memory_order_relaxed);
            return v.state == GW_BREAKER_HALF_OPEN ? GW_BREAKER_REOPENS : GW_BREAKER_OPENS;
        }
    }
}

void gw_breaker_cancel(gw_breaker *b, int ticket)
{
    uint64_t w = atomic_load_explicit(&b->word, memory_order_acquire);
    for (;;) {
        view v = read_word(w);
        if (!is_due(v, ticket) || v.state != GW_BREAKER_HALF_OPEN || leased(v) <= succeeded(v))
            return;
        v.count--;
        if (swap(b, &w, v))
            return;
    }
}

int gw_breaker_state(const gw_breaker *b, int64_t now)
{
    view v = read_word(load(&b->word));
    return v.state == GW_BREAKER_OPEN && !open_left(b, v, now) ? GW_BREAKER_HALF_OPEN : (int)v.state;
}

int gw_breaker_is_closed(const gw_breaker *b)
{
    return read_word(load(&b->word)).state == GW_BREAKER_CLOSED;
}

double gw_breaker_retry_after(const gw_breaker *b, int64_t now)
{
    view v = read_word(load(&b->word));
    uint32_t left = 0;
    if (v.state == GW_BREAKER_OPEN) {
        left = open_left(b, v, now);
    } else if (v.state == GW_BREAKER_HALF_OPEN && leased(v) >= load(&b->rules->probes) &&
               succeeded(v) < load(&b->rules->probes)) {
        left = ms_left(v.moment, load(&b->rules->lease_ms), now);
        left = left < 1000 ? left : 1000;
    }
    return left / 1000.0;
}

int gw_breaker_ready(const gw_breaker *b, int64_t now)
{
    return gw_breaker_retry_after(b, now) == 0;
}

void gw_breaker_reset(gw_breaker *b)
{
    uint64_t w = atomic_load_explicit(&b->word, memory_order_acquire);
    view v;
    do {
        v = (view){.state = GW_BREAKER_CLOSED, .epoch = read_word(w).epoch + 1};
        window_clear(b);
    } while (!swap(b, &w, v));
}

void gw_breaker_copy(gw_breaker *to, const gw_breaker *from)
{
    view v = read_word(atomic_load_explicit(&from->word, memory_order_acquire));
    if (v.state == GW_BREAKER_HALF_OPEN)
        v.count = probe_count(succeeded(v), succeeded(v));
    v.epoch++;
    bool same = load(&to->rules->tenth_ms) == load(&from->rules->tenth_ms);
    for (int i = 0; i < GW_BREAKER_TENTHS; i++)
        store(&to->tenths[i], same ? load(&from->tenths[i]) : 0);
    store(&to->opened, load(&from->opened));
    store(&to->closed, load(&from->closed));
    atomic_store_explicit(&to->word, word_of(v), memory_order_release);
}

bool gw_breaker_is_blank(const gw_breaker *b)
{
    view v = read_word(load(&b->word));
    uint64_t counted = v.count;
    for (int i = 0; i < GW_BREAKER_TENTHS; i++)
        counted |= load(&b->tenths[i]);
    return v.state == GW_BREAKER_CLOSED && counted == 0;
}

void gw_breaker_trip(gw_breaker *b, int64_t now)
{
    uint64_t w = atomic_load_explicit(&b->word, memory_order_acquire);
    while (!swap(b, &w, opened(read_word(w), now)))
        ;
    atomic_fetch_add_explicit(&b->opened, 1, memory_order_relaxed);
}
