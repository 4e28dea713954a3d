/* One try at an endpoint: who takes it (balancer, health, breaker), what its end says of the endpoint, and whether there may be another.
 *
 * What an exchange holds of the upstream's shared counts stands in x->held, a bit each, and is given back when the bit is cleared: so
 * each is given back exactly once, whichever way the exchange ends. */
#include "gateway/flow.h"
#include "gateway/metrics.h"
#include "http/url.h"
#include "policy/backoff.h"
#include <math.h>

static inline int64_t now_ns(const gw_exchange *x)
{
    return (int64_t)(gw_loop_now(x->engine->loop) * 1e9);
}

static inline bool listed(const uint64_t statuses[10], int status)
{
    return status >= 0 && status < 640 && statuses[status / 64] >> status % 64 & 1;
}

/* ---- what a pick by key is made of ---- */

static gw_slice key_text(gw_exchange *x)
{
    const gw_upstream *u = x->upstream;
    const gw_headers *h = &x->request.headers;
    switch (u->hash_on) {
    case GW_HASH_ON_IP:
        return gw_slice_of(x->client_ip_text, x->client_ip_len);
    case GW_HASH_ON_PATH:
        return x->path;
    case GW_HASH_ON_QUERY:
        return gw_query_get(x->query, u->hash_name);
    case GW_HASH_ON_HEADER:
    case GW_HASH_ON_COOKIE:
        for (uint32_t i = 0; i < h->count; i++) {
            if (u->hash_on == GW_HASH_ON_HEADER) {
                if (gw_slice_equal_nocase(h->item[i].name, u->hash_name))
                    return h->item[i].value;
            } else if (h->item[i].id == GW_H_COOKIE) {
                gw_slice value = gw_cookie_get(h->item[i].value, u->hash_name);
                if (value.ptr)
                    return value;
            }
        }
        return GW_NO_SLICE;
    case GW_HASH_ON_SCRIPT: /* set before by gw_exchange_key, or there is none */
        return GW_NO_SLICE;
    }
    return GW_NO_SLICE;
}

void gw_exchange_key(gw_exchange *x, gw_slice text)
{
    x->key = gw_balancer_key(text.ptr, text.len);
    x->keyed = true;
}

/* The same for all tries of an exchange. Without the field that the key is made of, by chance: not all such requests to one endpoint. */
static uint64_t key_of(gw_exchange *x)
{
    if (!x->keyed) {
        gw_slice text = key_text(x);
        if (text.ptr)
            gw_exchange_key(x, text);
        else
            x->key = gw_random_next(&x->engine->random);
        x->keyed = true;
    }
    return x->key;
}

/* ---- masks: slots from 64 on are words in the exchange's arena ---- */

static void mask_add(gw_exchange *x, const gw_endpoint_set *set, gw_slot_mask *mask, uint32_t slot)
{
    if (slot < 64) {
        mask->word |= 1ULL << slot;
        return;
    }
    if (!mask->words) {
        uint32_t words = (set->count + 63) / 64 - 1;
        uint64_t *more = gw_arena_take(&x->arena, words * sizeof *more);
        if (!more)
            return; /* not in the mask: it may be tried again */
        memset(more, 0, words * sizeof *more);
        mask->more = more;
        mask->words = words;
    }
    ((uint64_t *)mask->more)[slot / 64 - 1] |= 1ULL << slot % 64; /* ours: made above */
}

/* Who is out by health, as a copy: bits change under us, and refusals are added to it. */
static void mask_excluded(gw_exchange *x, const gw_endpoint_set *set, gw_slot_mask *mask)
{
    mask->word = atomic_load_explicit(&set->excluded[0], memory_order_relaxed);
    for (uint32_t w = 1; w < (set->count + 63) / 64; w++)
        for (uint64_t bits = atomic_load_explicit(&set->excluded[w], memory_order_relaxed); bits; bits &= bits - 1)
            mask_add(x, set, mask, w * 64 + (uint32_t)__builtin_ctzll(bits));
}

/* The endpoint of the last try goes to the end of the queue. Slots are places in one set: in another they are looked for anew. */
static void mark_tried(gw_exchange *x, const gw_endpoint_set *set)
{
    int32_t slot = x->slot;
    if (x->tried_in != set) {
        x->tried = (gw_slot_mask){0};
        x->tried_in = set;
        for (slot = (int32_t)set->count - 1; slot >= 0 && set->slot[slot].endpoint != x->endpoint; slot--)
            ;
    }
    if (slot >= 0)
        mask_add(x, set, &x->tried, (uint32_t)slot);
}

/* ---- picking ---- */

gw_endpoint *gw_attempt_pick(gw_exchange *x, bool again)
{
    gw_engine *e = x->engine;
    gw_upstream *u = x->upstream;
    gw_upstream_state *state = u->state;
    gw_endpoint_set *set = atomic_load_explicit(&u->set, memory_order_acquire);
    if (gw_unlikely(gw_upstream_health_moved(u, set)))
        gw_upstream_health_look(u, set);
    gw_balancer_query query = {.now = now_ns(x)};
    if (u->by_chance)
        query.random = gw_random_next(&e->random);
    if (gw_unlikely(u->by_key))
        query.key = key_of(x);
    if (gw_unlikely(atomic_load_explicit(&set->eligible, memory_order_relaxed) < set->count))
        mask_excluded(x, set, &query.excluded);
    if (gw_unlikely(x->attempts > 0)) {
        if (x->marked)
            mark_tried(x, set);
        else if (x->tried_in != set)
            x->tried = (gw_slot_mask){0};
        query.tried = x->tried;
    }
    x->marked = false;
    double soonest = INFINITY;
    for (;;) {
        int slot = gw_balancer_pick(set->table, &state->balance, &query);
        if (gw_unlikely(slot < 0)) {
            if (again && (query.tried.word || query.tried.words)) { /* nobody else is left: one of those again */
                query.tried = x->tried = (gw_slot_mask){0};
                continue;
            }
            x->retry_after = soonest;
            return NULL;
        }
        gw_endpoint *endpoint = set->slot[slot].endpoint;
        if (gw_unlikely(u->breaker_on)) {
            int ticket = gw_breaker_allow(&endpoint->breaker, query.now);
            if (ticket < 0) {
                GW_COUNT_UPSTREAM(x, breaker_refused);
                double wait = gw_breaker_retry_after(&endpoint->breaker, query.now);
                soonest = wait < soonest ? wait : soonest;
                gw_balancer_done(&u->balance, &state->balance, &endpoint->load, query.now, true, -1);
                uint64_t before = query.excluded.word;
                mask_add(x, set, &query.excluded, (uint32_t)slot);
                if (slot < 64 ? before == query.excluded.word : !gw_slot_mask_has(&query.excluded, (uint32_t)slot)) {
                    x->retry_after = soonest; /* no memory for the mask: rather refuse than ask the same one for ever */
                    return NULL;
                }
                continue;
            }
            x->ticket = ticket;
            x->held |= GW_HOLDS_TICKET;
        }
        x->slot = slot;
        x->tried_in = set;
        x->counted = true;
        x->try_head = x->try_failed = false;
        x->try_started = gw_loop_now(e->loop);
        return endpoint;
    }
}

/* ---- judging ---- */

static void log_endpoint(gw_exchange *x, enum gw_log_level level, const char *message, const char *cause, const char *reason)
{
    char bytes[512];
    gw_text t = gw_text_on(bytes, sizeof bytes);
    gw_text_lit(&t, "\"upstream\":");
    gw_text_json(&t, x->upstream->name);
    gw_text_lit(&t, ",\"endpoint\":");
    gw_text_json(&t, x->endpoint->text);
    gw_text_printf(&t, ",\"cause\":\"%s\",\"reason\":", cause);
    gw_text_json(&t, gw_slice_str(reason));
    gw_slice fields = gw_text_done(&t);
    gw_log_event(x->engine->log, level, message, "%.*s", (int)fields.len, fields.ptr);
}

static void judge_breaker(gw_exchange *x, bool known, bool ok, int64_t now)
{
    gw_breaker *b = &x->endpoint->breaker;
    gw_counters *c = &x->engine->counters;
    int change = GW_BREAKER_SAME;
    x->held &= (uint8_t)~GW_HOLDS_TICKET;
    if (!known)
        gw_breaker_cancel(b, x->ticket);
    else
        change = (ok ? gw_breaker_success : gw_breaker_failure)(b, x->ticket, now);
    if (gw_likely(change == GW_BREAKER_SAME))
        return;
    /* From here on it is the breaker that keeps requests away. When it lets one through the balancer has to send one, which ewma would not
     * do for long after errors; and who is back begins slowly. */
    atomic_store_explicit(&x->endpoint->load.latency, 0, memory_order_relaxed);
    atomic_store_explicit(&x->endpoint->load.since, now, memory_order_relaxed);
    if (change == GW_BREAKER_CLOSES) {
        GW_COUNT_ADD(c->breaker_closed, 1);
        log_endpoint(x, GW_LOG_INFO, "breaker closed", "breaker", "probes succeed");
        return;
    }
    GW_COUNT_ADD(c->breaker_opened, 1);
    log_endpoint(x, GW_LOG_WARN, change == GW_BREAKER_OPENS ? "breaker open" : "breaker open again", "breaker",
                 x->error ? x->error : "failing status");
}

static void judge_passive(gw_exchange *x, bool ok, int64_t now)
{
    gw_endpoint *endpoint = x->endpoint;
    if (gw_passive_record(&endpoint->passive, &x->upstream->passive, now, ok) != GW_HEALTH_DOWN)
        return;
    atomic_store_explicit(&endpoint->ejected_at, now, memory_order_relaxed);
    atomic_fetch_add_explicit(&endpoint->ejections, 1, memory_order_relaxed);
    atomic_fetch_or_explicit(&endpoint->down, GW_HEALTH_DOWN_PASSIVE, memory_order_acq_rel);
    gw_upstream_health_changed(x->upstream);
    GW_COUNT_UPSTREAM(x, ejected);
    log_endpoint(x, GW_LOG_WARN, "endpoint down", "passive", "too many failed requests");
}

void gw_attempt_over(gw_exchange *x)
{
    gw_upstream *u = x->upstream;
    if (gw_unlikely(x->span != NULL))
        gw_trace_try_over(x);
    if (gw_likely(!u->watched)) {
        x->counted = false;
        gw_balancer_done(&u->balance, &u->state->balance, &x->endpoint->load, 0, true, -1);
        return;
    }
    bool known = x->try_head || x->try_failed, ok = !x->try_failed;
    int64_t now = now_ns(x), latency = -1;
    if (known)
        latency = (int64_t)(((x->try_head ? x->up_first : gw_loop_now(x->engine->loop)) - x->try_started) * 1e9);
    if ((int64_t)(x->try_started * 1e9) < atomic_load_explicit(&x->endpoint->load.since, memory_order_relaxed))
        latency = -1; /* of the time before it came back */
    x->counted = false;
    gw_balancer_done(&u->balance, &u->state->balance, &x->endpoint->load, now, ok, latency < 0 ? -1 : latency);
    if (gw_unlikely(x->held & GW_HOLDS_TICKET))
        judge_breaker(x, known, ok, now);
    if (gw_unlikely(u->passive_on) && known)
        judge_passive(x, ok, now);
}

bool gw_attempt_head(gw_exchange *x, int status)
{
    if (gw_likely(!x->upstream->watched))
        return false;
    x->try_head = true;
    x->try_failed = listed(x->upstream->breaker_statuses, status);
    return x->upstream->retry.attempts > 1 && listed(x->upstream->retry.statuses, status);
}

/* ---- another try ---- */

bool gw_attempt_repeatable(const gw_exchange *x)
{
    return (gw_method_is_idempotent(x->request.method) || x->upstream->retry.non_idempotent) &&
           (x->request.framing == GW_FRAMING_NONE || x->body_kept ||
            (x->request.framing == GW_FRAMING_LENGTH && x->request.content_length == 0));
}

bool gw_attempt_may_retry(gw_exchange *x, uint32_t fault)
{
    const gw_retry_spec *r = &x->upstream->retry;
    if (x->attempts - x->repeated >= r->attempts || !(fault & (r->on | GW_FAULT_STATUS)) || x->interim)
        return false;
    if (x->request_sent && !gw_attempt_repeatable(x))
        return false;
    if (!(x->held & GW_HOLDS_RETRY)) { /* held through a second retry: that takes the place of the first */
        if (!gw_retry_budget_take(&x->upstream->state->budget, &r->budget)) {
            GW_COUNT_UPSTREAM(x, retries_refused);
            return false;
        }
        x->held |= GW_HOLDS_RETRY;
    }
    return true;
}

void gw_attempt_give_back(gw_exchange *x)
{
    if (x->held & GW_HOLDS_RETRY)
        gw_retry_budget_give(&x->upstream->state->budget);
    x->held &= (uint8_t)~GW_HOLDS_RETRY;
}

double gw_attempt_backoff(gw_exchange *x)
{
    const gw_retry_spec *r = &x->upstream->retry;
    uint32_t retry = x->attempts - x->repeated;
    return (double)gw_backoff((int64_t)(r->backoff * 1e9), (int64_t)(r->backoff_most * 1e9), retry ? retry - 1 : 0,
                              gw_random_next(&x->engine->random)) /
           1e9;
}

/* ---- the upstream as a whole ---- */

bool gw_attempt_enter(gw_exchange *x)
{
    gw_upstream *u = x->upstream;
    const char *full = NULL;
    if (u->concurrency_most && !(x->held & GW_HOLDS_PLACE)) {
        if (gw_concurrency_enter(&u->state->concurrency) == GW_OK)
            x->held |= GW_HOLDS_PLACE;
        else
            full = "upstream is at its concurrency limit";
    }
    if (u->adaptive && !full && !(x->held & GW_HOLDS_ADAPTIVE)) {
        if (gw_adaptive_enter(u->adaptive) == 0)
            x->held |= GW_HOLDS_ADAPTIVE;
        else
            full = "upstream is at its adaptive concurrency limit";
    }
    if (full) {
        GW_COUNT_UPSTREAM(x, concurrency_refused);
        gw_attempt_refuse(x, full, GW_CONCURRENCY_RETRY);
        return false;
    }
    if (u->retry.attempts > 1 && !(x->held & GW_HOLDS_REQUEST)) {
        gw_retry_budget_enter(&u->state->budget);
        x->held |= GW_HOLDS_REQUEST;
    }
    return true;
}

void gw_attempt_leave(gw_exchange *x)
{
    gw_upstream_state *s = x->upstream->state;
    if (x->held & GW_HOLDS_PLACE)
        gw_concurrency_leave(&s->concurrency);
    if (x->held & GW_HOLDS_ADAPTIVE) {
        if (x->up_first > 0)
            gw_adaptive_leave(x->upstream->adaptive, x->up_first - x->try_started, now_ns(x));
        else if (x->try_failed)
            gw_adaptive_leave(x->upstream->adaptive, -1, now_ns(x));
        else
            gw_adaptive_forget(x->upstream->adaptive);
    }
    if (x->held & GW_HOLDS_RETRY)
        gw_retry_budget_give(&s->budget);
    if (x->held & GW_HOLDS_REQUEST)
        gw_retry_budget_leave(&s->budget);
    x->held &= GW_HOLDS_TICKET;
}

void gw_attempt_refuse(gw_exchange *x, const char *error, double seconds)
{
    char digits[24];
    double whole = ceil(seconds);
    gw_text t = gw_text_on(digits, sizeof digits);
    gw_text_u64(&t, whole >= 1 && whole < 1e9 ? (uint64_t)whole : 1);
    gw_slice value = gw_arena_copy(&x->arena, gw_text_done(&t));
    gw_headers_clear(&x->response.headers);
    if (value.ptr)
        gw_headers_set(&x->response.headers, GW_SLICE("Retry-After"), value);
    gw_reply_error(x, 503, error);
}
