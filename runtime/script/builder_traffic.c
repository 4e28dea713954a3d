/* An upstream's balance, health, breaker, retry and concurrency, from the plain form that lua/gateway/traffic.lua makes of them. Values
 * are within their bounds already; what C refuses all the same is told as an error of the script's. */
#include "script/builder_parts.h"

static int64_t spec_ns(lua_State *L, int at, const char *name, double missing)
{
    return (int64_t)(gw_spec_number(L, at, name, missing) * 1e9);
}

/* A list of ranges, { from, to, from, to, ... }, as a mask. False: there is none. */
static bool spec_statuses(lua_State *L, int at, const char *name, uint64_t mask[10])
{
    if (!gw_spec_table(L, at, name))
        return false;
    memset(mask, 0, 10 * sizeof *mask);
    int list = lua_gettop(L);
    for (size_t i = 1; i + 1 <= lua_objlen(L, list); i += 2) {
        lua_rawgeti(L, list, (int)i);
        lua_rawgeti(L, list, (int)i + 1);
        int from = (int)lua_tointeger(L, -2), to = (int)lua_tointeger(L, -1);
        lua_pop(L, 2);
        for (int status = from < 0 ? 0 : from; status <= to && status < 640; status++)
            mask[status / 64] |= 1ULL << status % 64;
    }
    lua_pop(L, 1);
    return true;
}

static void build_balance(gw_builder *b, gw_upstream *u, int at)
{
    lua_State *L = b->L;
    gw_slice name = gw_spec_string(b, at, "balance");
    if (name.ptr && gw_balancer_config_init(&u->balance, name.ptr) != GW_OK)
        gw_messages_add(b->errors, "%s: upstream \"%s\": unknown balance \"%s\"", u->source.ptr, u->name.ptr, name.ptr);
    u->balance.slow_start = spec_ns(L, at, "slow_start", 0);
    u->balance.load_factor = (uint32_t)gw_spec_number(L, at, "load_factor", 0);
    u->balance.virtual_nodes = (uint32_t)gw_spec_number(L, at, "virtual_nodes", u->balance.virtual_nodes);
    u->balance.two_choices = gw_spec_boolean(L, at, "two_choices", false);
    u->by_key = gw_balancer_by_key(&u->balance);
    u->by_chance = u->balance.slow_start > 0 || (strcmp(gw_balancer_name(&u->balance), "round_robin") != 0 &&
                                                 strcmp(gw_balancer_name(&u->balance), "weighted") != 0);
    if (!gw_spec_table(L, at, "hash_on"))
        return;
    static const char *const names[] = {"ip", "path", "header", "cookie", "query", "script"}; /* enum gw_hash_on */
    int on = lua_gettop(L);
    gw_slice kind = gw_spec_string(b, on, "on");
    for (size_t i = 0; i < GW_COUNT(names); i++)
        if (kind.ptr && gw_slice_equal(kind, gw_slice_str(names[i])))
            u->hash_on = (enum gw_hash_on)i;
    u->hash_name = gw_spec_string(b, on, "name");
    lua_pop(L, 1);
}

static void build_probe(gw_builder *b, gw_probe_spec *p, int at)
{
    lua_State *L = b->L;
    p->on = true;
    p->tcp = gw_spec_boolean(L, at, "tcp", false);
    p->method = gw_spec_string(b, at, "method");
    p->path = gw_spec_string(b, at, "path");
    p->host = gw_spec_string(b, at, "host");
    p->body = gw_spec_string(b, at, "body");
    if (p->body.len == 0)
        p->body = GW_NO_SLICE;
    if (gw_spec_table(L, at, "headers")) { /* name, value, name, value, ... */
        int list = lua_gettop(L);
        uint32_t count = (uint32_t)lua_objlen(L, list);
        gw_slice *headers = gw_build_take(b, count, sizeof *headers);
        for (uint32_t i = 0; i < count; i++) {
            lua_rawgeti(L, list, (int)i + 1);
            size_t len;
            const char *text = lua_tolstring(L, -1, &len);
            headers[i] = gw_arena_copy(&b->g->arena, gw_slice_of(text ? text : "", text ? len : 0));
            if (!headers[i].ptr)
                gw_build_no_memory(b);
            lua_pop(L, 1);
        }
        p->headers = headers;
        p->header_count = count / 2;
        lua_pop(L, 1);
    }
    spec_statuses(L, at, "expect", p->expect);
    p->timeout = gw_spec_number(L, at, "timeout", 1);
    p->timing.interval = spec_ns(L, at, "interval", 2);
    p->timing.unhealthy_interval = spec_ns(L, at, "unhealthy_interval", 0);
    p->timing.jitter = gw_spec_number(L, at, "jitter", 0.1);
    p->timing.rise = (uint32_t)gw_spec_number(L, at, "rise", 2);
    p->timing.fall = (uint32_t)gw_spec_number(L, at, "fall", 3);
}

static void build_health(gw_builder *b, gw_upstream *u, int at)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "health"))
        return;
    int health = lua_gettop(L);
    u->health.refuse = gw_spec_boolean(L, health, "refuse", false);
    u->health.panic = (uint32_t)gw_spec_number(L, health, "panic", 0);
    u->health.max_ejected = (uint32_t)gw_spec_number(L, health, "max_ejected", 50);
    if (gw_spec_table(L, health, "active")) {
        build_probe(b, &u->probe, lua_gettop(L));
        lua_pop(L, 1);
    }
    if (gw_spec_table(L, health, "passive")) {
        int passive = lua_gettop(L);
        u->passive_on = true;
        u->passive.window = spec_ns(L, passive, "window", 30);
        u->passive.eject_for = spec_ns(L, passive, "eject_for", 0);
        u->passive.error_rate = gw_spec_number(L, passive, "error_rate", 0.5);
        u->passive.min_requests = (uint32_t)gw_spec_number(L, passive, "min_requests", 10);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void build_breaker(gw_builder *b, gw_upstream *u, int at)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "breaker"))
        return;
    int breaker = lua_gettop(L);
    u->breaker_on = true;
    u->breaker = (gw_breaker_settings){
        .open_for = gw_spec_number(L, breaker, "open_for", 0),
        .growth = gw_spec_number(L, breaker, "growth", 0),
        .open_most = gw_spec_number(L, breaker, "open_most", 0),
        .lease = gw_spec_number(L, breaker, "lease", 0),
        .error_rate = gw_spec_number(L, breaker, "error_rate", 0),
        .window = gw_spec_number(L, breaker, "window", 0),
        .min_requests = (uint32_t)gw_spec_number(L, breaker, "min_requests", 0),
        .failures = (uint32_t)gw_spec_number(L, breaker, "failures", 0),
        .probes = (uint32_t)gw_spec_number(L, breaker, "probes", 0),
    };
    spec_statuses(L, breaker, "statuses", u->breaker_statuses);
    gw_breaker_rules rules;
    if (gw_breaker_rules_init(&rules, &u->breaker) != GW_OK) {
        u->breaker_on = false;
        gw_messages_add(b->errors, "%s: upstream \"%s\": breaker: these settings make no sense together", u->source.ptr,
                        u->name.ptr);
    }
    lua_pop(L, 1);
}

static void build_retry(gw_builder *b, gw_upstream *u, int at)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "retry"))
        return;
    int retry = lua_gettop(L);
    gw_retry_spec *r = &u->retry;
    r->attempts = (uint32_t)gw_spec_number(L, retry, "attempts", 2);
    r->non_idempotent = gw_spec_boolean(L, retry, "non_idempotent", false);
    r->per_try = gw_spec_number(L, retry, "per_try", 0);
    r->backoff = gw_spec_number(L, retry, "backoff", 0);
    r->backoff_most = gw_spec_number(L, retry, "backoff_most", 0);
    r->hedge = gw_spec_number(L, retry, "hedge", 0);
    r->body_bytes = (uint64_t)gw_spec_number(L, retry, "body", 0);
    spec_statuses(L, retry, "statuses", r->statuses);
    if (gw_spec_table(L, retry, "on")) {
        int on = lua_gettop(L);
        r->on = (gw_spec_boolean(L, on, "connect", false) ? GW_RETRY_CONNECT : 0) |
                (gw_spec_boolean(L, on, "reset", false) ? GW_RETRY_RESET : 0) |
                (gw_spec_boolean(L, on, "timeout", false) ? GW_RETRY_TIMEOUT : 0);
        lua_pop(L, 1);
    }
    if (gw_spec_table(L, retry, "budget")) {
        r->budget.share = gw_spec_number(L, lua_gettop(L), "share", 0.2);
        r->budget.minimum = (uint32_t)gw_spec_number(L, lua_gettop(L), "minimum", 10);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void build_concurrency(gw_builder *b, gw_upstream *u, int at)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "concurrency"))
        return;
    u->concurrency_most = (uint32_t)gw_spec_number(L, lua_gettop(L), "most", 0);
    if (gw_spec_table(L, lua_gettop(L), "adaptive")) {
        int adaptive = lua_gettop(L);
        gw_adaptive_settings settings = {
            .interval = gw_spec_number(L, adaptive, "interval", 0),
            .tolerance = gw_spec_number(L, adaptive, "tolerance", 0),
            .initial = (uint32_t)gw_spec_number(L, adaptive, "initial", 0),
            .least = (uint32_t)gw_spec_number(L, adaptive, "least", 0),
            .most = (uint32_t)gw_spec_number(L, adaptive, "most", 0),
            .samples = (uint32_t)gw_spec_number(L, adaptive, "samples", 0),
        };
        int status = gw_upstream_adaptive(u, &settings);
        if (status == GW_NOMEM)
            gw_build_no_memory(b);
        if (status != GW_OK)
            gw_messages_add(b->errors, "%s: upstream \"%s\": concurrency: these settings make no sense together", u->source.ptr,
                            u->name.ptr);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void gw_build_traffic(gw_builder *b, gw_upstream *u, int at)
{
    build_balance(b, u, at);
    build_health(b, u, at);
    build_breaker(b, u, at);
    build_retry(b, u, at);
    build_concurrency(b, u, at);
    u->watched = u->breaker_on || u->passive_on || u->adaptive || u->retry.attempts > 1 ||
                 strcmp(gw_balancer_name(&u->balance), "ewma") == 0;
    u->guarded = u->retry.attempts > 1 || u->concurrency_most || u->adaptive;
}
