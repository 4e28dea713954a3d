/* The traffic primitives that stand on one shared object: see primitives.h. */
#include "script/api.h"
#include "base/clock.h"
#include <stdlib.h>

bool gw_lua_hold_add(gw_lua_holder *holder, void (*release)(void *object), void *object)
{
    if (holder->collected)
        return true;
    gw_lua_hold *hold = malloc(sizeof *hold);
    if (!hold)
        return false;
    *hold = (gw_lua_hold){.next = holder->first, .release = release, .object = object};
    holder->first = hold;
    return true;
}

/* The last first: balancers before the rosters that they stand on. */
void gw_lua_holder_clear(gw_lua_holder *holder)
{
    gw_owned_clear(&holder->owned);
    while (holder->first) {
        gw_lua_hold *hold = holder->first;
        holder->first = hold->next;
        hold->release(hold->object);
        free(hold);
    }
}

static _Thread_local const gw_loop *loop_here;

void gw_lua_clock(const gw_loop *loop)
{
    loop_here = loop;
}

int64_t gw_lua_now(double now, int manual)
{
    if (gw_likely(!manual))
        return loop_here ? (int64_t)(gw_loop_now(loop_here) * 1e9) : gw_clock_monotonic_ns();
    double ns = now * 1e9 + 0.5;
    return ns >= 0 && ns < 2e18 ? (int64_t)ns : ns >= 0 ? (int64_t)2e18 : 0;
}

#define NOW(h) gw_lua_now((h)->now, (h)->manual)

/* ---- opening ---- */

static uint32_t count_of(double n)
{
    return n > 0 && n < 4294967296.0 ? (uint32_t)n : 0;
}

static void release_shared(void *shared)
{
    gw_shared_release(shared);
}

int gw_lua_open(void *holder, gw_lua_handle *h, const char *kind, const char *word, size_t word_len, const char *name,
                size_t name_len, const gw_lua_settings *settings, const char *by, size_t by_len)
{
    const gw_lua_settings *s = settings;
    gw_shared_config config = {
        .kind = gw_shared_kind_of(kind),
        .keys = count_of(s->keys),
        .rate = s->rate,
        .burst = s->burst,
        .idle = s->idle,
        .limit = count_of(s->limit),
        .window = s->window,
        .by = gw_slice_of(by, by_len),
        .bytes = s->bytes > 0 && s->bytes <= (double)GW_DICTIONARY_MOST ? (size_t)s->bytes : 0,
    };
    if (config.kind == GW_SHARED_BREAKER || config.kind == GW_SHARED_BREAKERS)
        config.breaker = (gw_breaker_settings){
            .open_for = s->open_for,
            .growth = s->growth,
            .open_most = s->open_most,
            .lease = s->lease,
            .error_rate = s->error_rate,
            .window = s->window,
            .min_requests = count_of(s->min_requests),
            .failures = count_of(s->failures),
            .probes = count_of(s->probes),
        };
    int status;
    gw_shared *shared = holder ? gw_shared_open(gw_slice_of(word, word_len), gw_slice_of(name, name_len), &config, &status)
                               : gw_shared_private(&config, &status);
    if (!shared)
        return status;
    if (holder && !gw_lua_hold_add(holder, release_shared, shared)) {
        gw_shared_release(shared);
        return GW_NOMEM;
    }
    h->shared = shared;
    h->object = shared->object;
    return GW_OK;
}

void gw_lua_close(gw_lua_handle *h)
{
    gw_shared_release(h->shared);
    h->shared = h->object = NULL;
}

/* ---- limiters ---- */

double gw_lua_token_bucket_allow(gw_lua_token_bucket *h, double n)
{
    return gw_token_bucket_allow(h->object, n, NOW(h));
}

double gw_lua_token_bucket_left(gw_lua_token_bucket *h)
{
    return gw_token_bucket_left(h->object, NOW(h));
}

double gw_lua_client_limiter_allow(gw_lua_client_limiter *h, const char *key, size_t len, double n)
{
    return gw_client_limiter_allow(h->object, key, len, n, NOW(h));
}

double gw_lua_client_limiter_left(gw_lua_client_limiter *h, const char *key, size_t len)
{
    return gw_client_limiter_left(h->object, key, len, NOW(h));
}

double gw_lua_client_limiter_clients(gw_lua_client_limiter *h)
{
    return gw_client_limiter_clients(h->object, NOW(h));
}

double gw_lua_sliding_window_allow(gw_lua_sliding_window *h, const char *key, size_t len)
{
    return gw_keyed_window_allow(h->object, key, len, 1, NOW(h));
}

double gw_lua_sliding_window_left(gw_lua_sliding_window *h, const char *key, size_t len)
{
    return gw_keyed_window_left(h->object, key, len, NOW(h));
}

/* ---- breakers ---- */

int gw_lua_breaker_allow(gw_lua_breaker *h)
{
    return gw_breaker_allow(h->object, NOW(h));
}

void gw_lua_breaker_success(gw_lua_breaker *h, int ticket)
{
    gw_breaker_success(h->object, ticket, NOW(h));
}

void gw_lua_breaker_failure(gw_lua_breaker *h, int ticket)
{
    gw_breaker_failure(h->object, ticket, NOW(h));
}

void gw_lua_breaker_cancel(gw_lua_breaker *h, int ticket)
{
    gw_breaker_cancel(h->object, ticket);
}

void gw_lua_breaker_reset(gw_lua_breaker *h)
{
    gw_breaker_reset(h->object);
}

void gw_lua_breaker_trip(gw_lua_breaker *h)
{
    gw_breaker_trip(h->object, NOW(h));
}

int gw_lua_breaker_state(gw_lua_breaker *h)
{
    return gw_breaker_state(h->object, NOW(h));
}

double gw_lua_breaker_retry_after(gw_lua_breaker *h)
{
    return gw_breaker_retry_after(h->object, NOW(h));
}

void *gw_lua_breakers_of(gw_lua_breakers *h, const char *key, size_t len)
{
    return gw_breakers_of(h->object, key, len, NOW(h));
}

double gw_lua_breakers_count(gw_lua_breakers *h)
{
    return gw_breakers_count(h->object);
}
