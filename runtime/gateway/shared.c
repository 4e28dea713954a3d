#include "gateway/shared.h"
#include "base/hash.h"
#include "gateway/upstream.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static gw_list registry = {&registry, &registry};
static uint64_t registry_applied;

/* ---- the kinds ---- */

typedef struct kind_ops {
    const char *name;
    void *(*make)(const gw_shared_config *c,
                  const gw_shared *old); /* `old`: whose place it will take; NULL: memory is out, or bad settings */
    void (*release)(void *object);
    /* Whether settings can become those of `to` in place. NULL: always. */
    bool (*changes)(const gw_shared *s, const gw_shared_config *to);
    void (*change)(void *object, const gw_shared_config *to, int64_t now);
    /* Takes over what `from` (same kind, keys of the same kind) knows. NULL: it cannot. */
    void (*adopt)(void *object, const gw_shared *from, const gw_shared_config *to, int64_t now);
} kind_ops;

static bool same_keys(const gw_shared *s, const gw_shared_config *to)
{
    return s->config.keys == to->keys && gw_slice_equal(s->config.by, to->by);
}

static void *bucket_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)old;
    return gw_token_bucket_new(c->rate, c->burst);
}

static void bucket_release(void *object)
{
    gw_token_bucket_free(object);
}

static void bucket_change(void *object, const gw_shared_config *to, int64_t now)
{
    gw_token_bucket_change(object, to->rate, to->burst, now); /* settings are good: opening has tried them */
}

static void *clients_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)old;
    return gw_client_limiter_new(c->rate, c->burst, c->idle, c->keys);
}

static void clients_release(void *object)
{
    gw_client_limiter_free(object);
}

static void clients_change(void *object, const gw_shared_config *to, int64_t now)
{
    gw_client_limiter_change(object, to->rate, to->burst, to->idle, now);
}

static void clients_adopt(void *object, const gw_shared *from, const gw_shared_config *to, int64_t now)
{
    (void)to;
    gw_client_limiter_adopt(object, from->clients, now);
}

static void *window_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)old;
    return gw_sliding_window_new(c->limit, c->window);
}

static void window_release(void *object)
{
    gw_sliding_window_free(object);
}

static bool window_changes(const gw_shared *s, const gw_shared_config *to)
{
    return to->limit >> s->window->rule.count_bits == 0;
}

static void window_change(void *object, const gw_shared_config *to, int64_t now)
{
    gw_sliding_window_change(object, to->limit, to->window, now);
}

/* Only when the limit grew beyond the old counters: what was counted is counted again, all of it as of now. */
static void window_adopt(void *object, const gw_shared *from, const gw_shared_config *to, int64_t now)
{
    uint32_t limit = atomic_load_explicit(&from->window->rule.limit, memory_order_relaxed);
    uint32_t left = gw_sliding_window_left(from->window, now), used = left < limit ? limit - left : 0;
    if (used > to->limit)
        used = to->limit;
    if (used)
        gw_sliding_window_allow(object, used, now);
}

static void *keyed_window_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)old;
    return gw_keyed_window_new(c->limit, c->window, c->keys);
}

static void keyed_window_release(void *object)
{
    gw_keyed_window_free(object);
}

static bool keyed_window_changes(const gw_shared *s, const gw_shared_config *to)
{
    return same_keys(s, to) && s->config.window == to->window && to->limit >> s->keyed_window->rule.count_bits == 0;
}

static void keyed_window_change(void *object, const gw_shared_config *to, int64_t now)
{
    (void)now;
    gw_keyed_window_change(object, to->limit);
}

static void keyed_window_adopt(void *object, const gw_shared *from, const gw_shared_config *to, int64_t now)
{
    (void)to;
    gw_keyed_window_adopt(object, from->keyed_window, now);
}

static void *concurrency_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)old;
    return gw_concurrency_new(c->limit);
}

static void concurrency_release(void *object)
{
    gw_concurrency_free(object);
}

static void concurrency_change(void *object, const gw_shared_config *to, int64_t now)
{
    (void)now;
    gw_concurrency_change(object, to->limit);
}

/* A table for more keys has at least twice as many as the one before, which lives on beside it: so there are few of them, however often a
 * script asks for a little more. */
static void *keyed_concurrency_make(const gw_shared_config *c, const gw_shared *old)
{
    uint32_t keys = c->keys;
    if (old && old->config.kind == c->kind && gw_slice_equal(old->config.by, c->by)) {
        uint32_t twice = gw_keyed_concurrency_keys(old->keyed_concurrency) * 2;
        if (keys < twice && gw_keyed_concurrency_bytes(twice))
            keys = twice;
    }
    return gw_keyed_concurrency_new(c->limit, keys);
}

/* One for fewer keys is as good with more. */
static bool keyed_concurrency_changes(const gw_shared *s, const gw_shared_config *to)
{
    return to->keys <= gw_keyed_concurrency_keys(s->keyed_concurrency) && gw_slice_equal(s->config.by, to->by);
}

static void keyed_concurrency_release(void *object)
{
    gw_keyed_concurrency_free(object);
}

static void keyed_concurrency_change(void *object, const gw_shared_config *to, int64_t now)
{
    (void)now;
    gw_keyed_concurrency_change(object, to->limit);
}

static void keyed_concurrency_adopt(void *object, const gw_shared *from, const gw_shared_config *to, int64_t now)
{
    (void)to, (void)now;
    if (!gw_keyed_concurrency_idle(from->keyed_concurrency))
        gw_keyed_concurrency_follow(object, from->keyed_concurrency);
}

static void *breaker_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)old;
    return gw_breaker_new(&c->breaker);
}

static void breaker_release(void *object)
{
    gw_breaker_free(object);
}

static void breaker_change(void *object, const gw_shared_config *to, int64_t now)
{
    (void)now;
    gw_breaker_change(object, &to->breaker);
}

static void *breakers_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)old;
    return gw_breakers_new(&c->breaker, c->keys);
}

static void breakers_release(void *object)
{
    gw_breakers_free(object);
}

static void breakers_change(void *object, const gw_shared_config *to, int64_t now)
{
    (void)now;
    gw_breakers_change(object, &to->breaker);
}

static void breakers_adopt(void *object, const gw_shared *from, const gw_shared_config *to, int64_t now)
{
    (void)to;
    gw_breakers_adopt(object, from->breakers, now);
}

static void *roster_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)c;
    (void)old;
    return gw_roster_new();
}

static void roster_release(void *object)
{
    gw_roster_free(object);
}

static void *dictionary_make(const gw_shared_config *c, const gw_shared *old)
{
    (void)old;
    return gw_dictionary_new(c->bytes);
}

static void dictionary_release(void *object)
{
    gw_dictionary_free(object);
}

static bool dictionary_changes(const gw_shared *s, const gw_shared_config *to)
{
    return s->config.bytes == to->bytes;
}

static void dictionary_adopt(void *object, const gw_shared *from, const gw_shared_config *to, int64_t now)
{
    (void)to;
    gw_dictionary_adopt(object, from->dictionary, now);
}

static const kind_ops kinds[GW_SHARED_KINDS] = {
    [GW_SHARED_TOKEN_BUCKET] = {"token_bucket", bucket_make, bucket_release, NULL, bucket_change, NULL},
    [GW_SHARED_CLIENT_LIMITER] = {"client_limiter", clients_make, clients_release, same_keys, clients_change, clients_adopt},
    [GW_SHARED_WINDOW] = {"sliding_window", window_make, window_release, window_changes, window_change, window_adopt},
    [GW_SHARED_KEYED_WINDOW] = {"keyed_window", keyed_window_make, keyed_window_release, keyed_window_changes,
                                keyed_window_change, keyed_window_adopt},
    [GW_SHARED_CONCURRENCY] = {"concurrency", concurrency_make, concurrency_release, NULL, concurrency_change, NULL},
    [GW_SHARED_KEYED_CONCURRENCY] = {"keyed_concurrency", keyed_concurrency_make, keyed_concurrency_release,
                                     keyed_concurrency_changes, keyed_concurrency_change, keyed_concurrency_adopt},
    [GW_SHARED_BREAKER] = {"breaker", breaker_make, breaker_release, NULL, breaker_change, NULL},
    [GW_SHARED_BREAKERS] = {"breakers", breakers_make, breakers_release, same_keys, breakers_change, breakers_adopt},
    [GW_SHARED_ROSTER] = {"endpoints", roster_make, roster_release, NULL, NULL, NULL},
    [GW_SHARED_DICTIONARY] = {"dictionary", dictionary_make, dictionary_release, dictionary_changes, NULL, dictionary_adopt},
};

const char *gw_shared_kind_name(int kind)
{
    return kind >= 0 && kind < GW_SHARED_KINDS ? kinds[kind].name : "?";
}

int gw_shared_kind_of(const char *name)
{
    for (int i = 0; name && i < GW_SHARED_KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return i;
    return GW_NOTFOUND;
}

/* ---- making ---- */

/* Whether a change to these settings could be refused: an object of the kind is cheap to make only where it has no table, so the
 * settings are tried on one without. */
static bool settings_good(const gw_shared_config *c)
{
    gw_token_bucket bucket;
    gw_sliding_window window;
    gw_concurrency concurrency;
    gw_breaker_rules rules;
    switch (c->kind) {
    case GW_SHARED_TOKEN_BUCKET:
        return gw_token_bucket_init(&bucket, c->rate, c->burst) == GW_OK;
    case GW_SHARED_CLIENT_LIMITER:
        return c->burst / c->rate * 1e9 <= (double)(GW_NOW_MOST / 2) && c->idle >= 0 && c->idle * 1e9 <= (double)GW_NOW_MOST &&
               gw_token_bucket_init(&bucket, c->rate, c->burst) == GW_OK && gw_client_limiter_bytes(c->keys);
    case GW_SHARED_WINDOW:
        return gw_sliding_window_init(&window, c->limit, c->window) == GW_OK;
    case GW_SHARED_KEYED_WINDOW:
        return c->limit <= GW_WINDOW_KEYED_LIMIT_MOST && gw_sliding_window_init(&window, c->limit, c->window) == GW_OK &&
               gw_keyed_window_bytes(c->keys);
    case GW_SHARED_CONCURRENCY:
        return gw_concurrency_init(&concurrency, c->limit) == GW_OK;
    case GW_SHARED_KEYED_CONCURRENCY:
        return c->limit >= 1 && c->limit <= GW_CONCURRENCY_KEYED_MOST && gw_keyed_concurrency_bytes(c->keys);
    case GW_SHARED_BREAKER:
        return gw_breaker_rules_init(&rules, &c->breaker) == GW_OK;
    case GW_SHARED_BREAKERS:
        return gw_breaker_rules_init(&rules, &c->breaker) == GW_OK && gw_breakers_bytes(c->keys);
    case GW_SHARED_ROSTER:
        return true;
    case GW_SHARED_DICTIONARY:
        return gw_dictionary_size_good(c->bytes);
    default:
        return false;
    }
}

static char *put(char *at, gw_slice s, gw_slice *out)
{
    if (s.len)
        memcpy(at, s.ptr, s.len);
    *out = gw_slice_of(at, s.len);
    return at + s.len;
}

static gw_shared *make(gw_slice word, gw_slice name, const gw_shared_config *config, const gw_shared *old, int *status)
{
    if (!settings_good(config)) {
        *status = GW_INVALID;
        return NULL;
    }
    *status = GW_NOMEM;
    size_t bytes = sizeof(gw_shared) + word.len + name.len + config->by.len;
    bytes = (bytes + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE;
    gw_shared *s = aligned_alloc(GW_CACHE_LINE, bytes);
    if (!s)
        return NULL;
    memset(s, 0, bytes);
    s->object = kinds[config->kind].make(config, old);
    if (!s->object) {
        free(s);
        return NULL;
    }
    s->config = *config;
    char *at = put((char *)(s + 1), word, &s->word);
    at = put(at, name, &s->name);
    put(at, config->by, &s->config.by);
    s->references = 1;
    *status = GW_OK;
    return s;
}

/* ---- the registry ---- */

static uint64_t identity(gw_slice word, gw_slice name)
{
    return gw_hash(word.ptr, word.len) * 31 + gw_hash(name.ptr, name.len) + gw_registry_scope() * 0x9e3779b97f4a7c15;
}

/* The one of that name that serves now: applied last. NULL: none was. */
static gw_shared *serving(uint64_t hash, gw_slice word, gw_slice name)
{
    gw_shared *last = NULL;
    for (gw_list *at = registry.next; at != &registry; at = at->next) {
        gw_shared *s = gw_container_of(at, gw_shared, link);
        if (s->hash == hash && s->applied && (!last || s->applied > last->applied) && gw_slice_equal(s->word, word) &&
            gw_slice_equal(s->name, name))
            last = s;
    }
    return last;
}

static bool fits(const gw_shared *s, const gw_shared_config *config)
{
    const kind_ops *ops = &kinds[config->kind];
    return s->config.kind == config->kind && (!ops->changes || ops->changes(s, config));
}

static bool equal(const gw_shared_config *a, const gw_shared_config *b)
{
    const gw_breaker_settings *x = &a->breaker, *y = &b->breaker;
    return a->kind == b->kind && a->keys == b->keys && a->rate == b->rate && a->burst == b->burst && a->idle == b->idle &&
           a->limit == b->limit && a->window == b->window && a->bytes == b->bytes && gw_slice_equal(a->by, b->by) &&
           x->open_for == y->open_for && x->growth == y->growth && x->open_most == y->open_most && x->lease == y->lease &&
           x->error_rate == y->error_rate && x->window == y->window && x->min_requests == y->min_requests &&
           x->failures == y->failures && x->probes == y->probes;
}

/* One that this load's other states, or its builder, have made a moment ago. */
static gw_shared *fresh(uint64_t hash, gw_slice word, gw_slice name, const gw_shared_config *config)
{
    for (gw_list *at = registry.next; at != &registry; at = at->next) {
        gw_shared *s = gw_container_of(at, gw_shared, link);
        if (s->hash == hash && !s->applied && gw_slice_equal(s->word, word) && gw_slice_equal(s->name, name) &&
            equal(&s->config, config))
            return s;
    }
    return NULL;
}

gw_shared *gw_shared_open(gw_slice word, gw_slice name, const gw_shared_config *config, int *status)
{
    if (!settings_good(config)) {
        *status = GW_INVALID;
        return NULL;
    }
    uint64_t hash = identity(word, name);
    pthread_mutex_lock(&registry_lock);
    gw_shared *old = serving(hash, word, name), *s = old;
    if (!s || !fits(s, config))
        s = fresh(hash, word, name, config);
    if (s) {
        s->references++;
        *status = GW_OK;
    } else if ((s = make(word, name, config, old, status)) != NULL) {
        s->hash = hash;
        gw_list_push_back(&registry, &s->link);
    }
    pthread_mutex_unlock(&registry_lock);
    return s;
}

gw_shared *gw_shared_private(const gw_shared_config *config, int *status)
{
    return make(GW_NO_SLICE, GW_NO_SLICE, config, NULL, status);
}

void gw_shared_release(gw_shared *s)
{
    while (s) {
        pthread_mutex_lock(&registry_lock);
        bool last = --s->references == 0;
        if (last && s->link.next)
            gw_list_remove(&s->link);
        pthread_mutex_unlock(&registry_lock);
        if (!last)
            return;
        gw_shared *before = s->before;
        kinds[s->config.kind].release(s->object);
        free(s);
        s = before;
    }
}

/* ---- applying ---- */

/* What changed so that nothing of the old state can be kept, in words. */
static const char *reason(const gw_shared *old, const gw_shared_config *config)
{
    if (old->config.kind != config->kind)
        return "it is of another kind now";
    return "what it counts by changed";
}

void gw_shared_apply(gw_shared *s, const gw_shared_config *config, int64_t now, char *message, size_t message_bytes)
{
    const kind_ops *ops = &kinds[s->config.kind];
    *message = '\0';
    pthread_mutex_lock(&registry_lock);
    if (s->applied) {
        if (!equal(&s->config, config) && ops->change)
            ops->change(s->object, config, now);
        if (s->before && gw_keyed_concurrency_idle(s->before->keyed_concurrency))
            gw_keyed_concurrency_follow(s->keyed_concurrency, NULL);
    } else if (s->word.len) {
        gw_shared *old = serving(s->hash, s->word, s->name);
        if (old && old->config.kind == s->config.kind && gw_slice_equal(old->config.by, s->config.by) && ops->adopt) {
            ops->adopt(s->object, old, config, now);
            if (s->config.kind == GW_SHARED_KEYED_CONCURRENCY) { /* it may look there for as long as it lives */
                s->before = old;
                old->references++;
            }
        } else if (old)
            snprintf(message, message_bytes, "%.*s \"%.*s\" begins anew: %s", (int)s->word.len, s->word.ptr, (int)s->name.len,
                     s->name.ptr, reason(old, config));
    }
    gw_slice by = s->config.by;
    s->config = *config;
    s->config.by = by;
    s->applied = ++registry_applied;
    pthread_mutex_unlock(&registry_lock);
}
