#include "gateway/limit.h"
#include "base/clock.h"
#include "gateway/flow.h"
#include "gateway/metrics.h"
#include "http/url.h"
#include <math.h>
#include <stdatomic.h>

/* ---- keys ---- */

static gw_slice decoded(gw_exchange *x, gw_slice raw)
{
    if (!raw.len || !memchr(raw.ptr, '%', raw.len))
        return raw;
    char *room = gw_arena_bytes(&x->arena, raw.len);
    if (!room)
        return raw;
    gw_slice s = gw_percent_decode(raw, room);
    return memchr(s.ptr, '\0', s.len) ? raw : s; /* no text is anybody's address: those have zero bytes */
}

static gw_slice cookie_of(const gw_exchange *x, gw_slice name)
{
    const gw_headers *h = &x->request.headers;
    if (gw_headers_has(h, GW_H_COOKIE))
        for (uint32_t i = 0; i < h->count; i++) {
            gw_slice value = h->item[i].id == GW_H_COOKIE ? gw_cookie_get(h->item[i].value, name) : GW_NO_SLICE;
            if (value.ptr)
                return value;
        }
    return GW_NO_SLICE;
}

/* The key of a request; `ip` is room for that of its address. Text never has zero bytes, an address's 16 bytes always do: IPv4 is mapped,
 * of IPv6 the lower half is blanked. */
static gw_slice key_of(gw_exchange *x, const gw_limit_use *use, gw_ip *ip)
{
    gw_slice key = GW_NO_SLICE;
    switch (use->by) {
    case GW_LIMIT_BY_HEADER:
        key = gw_headers_joined(&x->request.headers, use->by_name, &x->arena);
        break;
    case GW_LIMIT_BY_COOKIE:
        key = cookie_of(x, use->by_name);
        break;
    case GW_LIMIT_BY_QUERY:
        key = decoded(x, gw_query_get(x->query, use->by_name));
        break;
    case GW_LIMIT_BY_PATH:
        return x->path;
    case GW_LIMIT_BY_ROUTE:
        return x->route->name;
    default:
        break;
    }
    if (key.len)
        return key;
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    *ip = x->client_ip;
    if (memcmp(ip->bytes, mapped, sizeof mapped) != 0)
        memset(ip->bytes + 8, 0, 8);
    return gw_slice_of((const char *)ip->bytes, sizeof ip->bytes);
}

/* ---- asking ---- */

/* Read from the clock, not the loop's time, which stands still for a turn: workers that share a limit would differ by milliseconds, and who
 * is behind would be refused the last token of a burst that the other has just begun. */
static int64_t now_of(void)
{
    return gw_clock_monotonic_ns();
}

/* In a concurrency limit: the place is kept with the exchange, which gives it back however it ends. */
static double enter(gw_exchange *x, const gw_limit *l, gw_slice key)
{
    gw_limit_hold *hold = gw_arena_take(&x->arena, sizeof *hold);
    if (!hold)
        return -1;
    hold->shared = l->shared;
    hold->keyed = l->config.kind == GW_SHARED_KEYED_CONCURRENCY;
    hold->place = hold->keyed ? gw_keyed_concurrency_enter(l->shared->keyed_concurrency, key.ptr, key.len)
                              : gw_concurrency_enter(l->shared->concurrency);
    if (hold->place < 0)
        return GW_CONCURRENCY_RETRY;
    hold->next = x->holds;
    x->holds = hold;
    return 0;
}

void gw_limit_leave(gw_exchange *x)
{
    for (gw_limit_hold *h = x->holds; h; h = h->next) {
        if (h->keyed)
            gw_keyed_concurrency_leave(h->shared->keyed_concurrency, h->place);
        else
            gw_concurrency_leave(h->shared->concurrency);
    }
    x->holds = NULL;
}

static double left(const gw_limit *l, gw_slice key, int64_t now)
{
    const gw_shared *s = l->shared;
    switch (l->config.kind) {
    case GW_SHARED_TOKEN_BUCKET:
        return gw_token_bucket_left(s->bucket, now);
    case GW_SHARED_CLIENT_LIMITER:
        return gw_client_limiter_left(s->clients, key.ptr, key.len, now);
    case GW_SHARED_WINDOW:
        return gw_sliding_window_left(s->window, now);
    case GW_SHARED_KEYED_WINDOW:
        return gw_keyed_window_left(s->keyed_window, key.ptr, key.len, now);
    case GW_SHARED_CONCURRENCY: {
        uint32_t in = gw_concurrency_in_flight(s->concurrency);
        return in < l->config.limit ? l->config.limit - in : 0;
    }
    default: {
        uint32_t in = gw_keyed_concurrency_in_flight(s->keyed_concurrency, key.ptr, key.len);
        return in < l->config.limit ? l->config.limit - in : 0;
    }
    }
}

/* Seconds until the whole quota is there again, if nobody asks. */
static double until_full(const gw_limit *l, double tokens)
{
    const gw_shared_config *c = &l->config;
    if (c->kind == GW_SHARED_TOKEN_BUCKET || c->kind == GW_SHARED_CLIENT_LIMITER)
        return (c->burst - tokens) / c->rate;
    return c->kind == GW_SHARED_WINDOW || c->kind == GW_SHARED_KEYED_WINDOW ? c->window : 1;
}

static bool is_concurrency(int kind)
{
    return kind == GW_SHARED_CONCURRENCY || kind == GW_SHARED_KEYED_CONCURRENCY;
}

/* The fields of draft-ietf-httpapi-ratelimit-headers-10 for this answer, behind those of limits that were asked before. Without memory
 * the answer goes without. */
static void add_fields(gw_exchange *x, const gw_limit *l, gw_slice key, double wait, int64_t now)
{
    size_t cap = x->limit_fields.len + l->policy.len + l->item.len + 96;
    char *bytes = gw_arena_bytes(&x->arena, cap);
    if (!bytes)
        return;
    double tokens = left(l, key, now);
    gw_text t = gw_text_on(bytes, cap);
    gw_text_slice(&t, x->limit_fields);
    gw_text_slice(&t, l->policy);
    gw_text_lit(&t, "RateLimit: ");
    gw_text_slice(&t, l->item);
    gw_text_lit(&t, ";r=");
    gw_text_u64(&t, wait > 0 || !(tokens > 0) ? 0 : (uint64_t)tokens);
    if (!is_concurrency(l->config.kind)) {
        gw_text_lit(&t, ";t=");
        gw_text_u64(&t, gw_limit_seconds(wait > 0 ? wait : until_full(l, tokens)));
    }
    gw_text_lit(&t, "\r\n");
    if (!t.cut)
        x->limit_fields = gw_text_done(&t);
}

int gw_limit_check_key(gw_exchange *x, const gw_limit_use *use, gw_slice key, double *retry_after)
{
    const gw_limit *l = use->limit;
    gw_shared *s = l->shared;
    int64_t now = now_of();
    double wait;
    switch (l->config.kind) {
    case GW_SHARED_TOKEN_BUCKET:
        wait = gw_token_bucket_allow(s->bucket, 1, now);
        break;
    case GW_SHARED_CLIENT_LIMITER:
        wait = gw_client_limiter_allow(s->clients, key.ptr, key.len, 1, now);
        break;
    case GW_SHARED_WINDOW:
        wait = gw_sliding_window_allow(s->window, 1, now);
        break;
    case GW_SHARED_KEYED_WINDOW:
        wait = gw_keyed_window_allow(s->keyed_window, key.ptr, key.len, 1, now);
        break;
    default:
        wait = enter(x, l, key);
        break;
    }
    if (gw_unlikely(wait < 0))
        return GW_NOMEM;
    *retry_after = wait;
    if (use->headers)
        add_fields(x, l, key, wait, now);
    if (gw_likely(wait == 0))
        return GW_OK;
    atomic_fetch_add_explicit(&s->refused, 1, memory_order_relaxed);
    gw_metrics_limited(x, s);
    if (!x->error)
        x->error = is_concurrency(l->config.kind) ? "too many concurrent requests" : "rate limited";
    return GW_LIMIT;
}

int gw_limit_check(gw_exchange *x, const gw_limit_use *use, double *retry_after)
{
    gw_ip ip;
    gw_slice key = use->by == GW_LIMIT_BY_NONE ? GW_NO_SLICE : key_of(x, use, &ip);
    return gw_limit_check_key(x, use, key, retry_after);
}

uint64_t gw_limit_seconds(double retry_after)
{
    if (!(retry_after < 1e15)) /* never */
        return 0;
    double whole = ceil(retry_after);
    return whole < 1 ? 1 : (uint64_t)whole;
}

static void refuse(gw_exchange *x, const gw_limit_use *use, double retry_after)
{
    uint64_t seconds = gw_limit_seconds(retry_after);
    char digits[24];
    gw_text t = gw_text_on(digits, sizeof digits);
    gw_text_u64(&t, seconds);
    gw_slice value = seconds ? gw_arena_copy(&x->arena, gw_text_done(&t)) : GW_NO_SLICE;
    if (value.ptr)
        gw_headers_set(&x->response.headers, GW_SLICE("Retry-After"), value);
    gw_reply_error(x, use->status, x->error);
}

bool gw_limits_admit(gw_exchange *x)
{
    const gw_route *route = x->route;
    for (uint32_t i = 0; i < route->limit_count; i++) {
        double retry_after = 0;
        int status = gw_limit_check(x, &route->limits[i], &retry_after);
        if (gw_likely(status == GW_OK))
            continue;
        if (status == GW_NOMEM)
            gw_exchange_abort(x, "out of memory");
        else
            refuse(x, &route->limits[i], retry_after);
        return false;
    }
    return true;
}

/* ---- at load ---- */

/* A window in whole seconds, which is all the field can say. */
static uint64_t policy_window(const gw_shared_config *c)
{
    bool tokens = c->kind == GW_SHARED_TOKEN_BUCKET || c->kind == GW_SHARED_CLIENT_LIMITER;
    return gw_limit_seconds(tokens ? c->burst / c->rate : c->window);
}

bool gw_limit_describe(gw_limit *limit, gw_arena *arena, gw_slice label)
{
    const gw_shared_config *c = &limit->config;
    size_t cap = label.len + 128;
    char *bytes = gw_arena_bytes(arena, cap);
    if (!bytes)
        return false;
    gw_text t = gw_text_on(bytes, cap);
    gw_text_lit(&t, "RateLimit-Policy: ");
    char *item = t.at;
    gw_text_lit(&t, "\"");
    gw_text_slice(&t, label);
    gw_text_lit(&t, "\"");
    limit->item = gw_slice_of(item, (size_t)(t.at - item));
    bool tokens = c->kind == GW_SHARED_TOKEN_BUCKET || c->kind == GW_SHARED_CLIENT_LIMITER;
    gw_text_lit(&t, ";q=");
    gw_text_u64(&t, tokens ? (uint64_t)(c->burst < 1e15 ? c->burst : 1e15) : c->limit);
    if (is_concurrency(c->kind)) {
        gw_text_lit(&t, ";qu=\"concurrent-requests\"");
    } else {
        gw_text_lit(&t, ";w=");
        gw_text_u64(&t, policy_window(c));
    }
    gw_text_lit(&t, "\r\n");
    limit->policy = gw_text_done(&t);
    return !t.cut;
}
