/* Limits, and what else of a script outlives its generations: found or made in the registry, held by the generation. */
#include "gateway/limit.h"
#include "gateway/metrics.h"
#include "script/builder_parts.h"
#include <lauxlib.h>

static uint32_t count_of(lua_State *L, int at, const char *name)
{
    double n = gw_spec_number(L, at, name, 0);
    return n > 0 && n < 4294967296.0 ? (uint32_t)n : 0;
}

static void read_config(gw_builder *b, int at, gw_shared_config *c)
{
    lua_State *L = b->L;
    lua_getfield(L, at, "kind");
    c->kind = gw_shared_kind_of(lua_tostring(L, -1));
    lua_pop(L, 1);
    c->keys = count_of(L, at, "keys");
    c->rate = gw_spec_number(L, at, "rate", 0);
    c->burst = gw_spec_number(L, at, "burst", 0);
    c->idle = gw_spec_number(L, at, "idle", 0);
    c->limit = count_of(L, at, "limit");
    c->window = gw_spec_number(L, at, "window", 0);
    c->by = gw_spec_string(b, at, "by");
    double bytes = gw_spec_number(L, at, "bytes", 0);
    c->bytes = bytes > 0 && bytes <= (double)GW_DICTIONARY_MOST ? (size_t)bytes : 0;
    c->breaker = (gw_breaker_settings){
        .open_for = gw_spec_number(L, at, "open_for", 0),
        .growth = gw_spec_number(L, at, "growth", 0),
        .open_most = gw_spec_number(L, at, "open_most", 0),
        .lease = gw_spec_number(L, at, "lease", 0),
        .error_rate = gw_spec_number(L, at, "error_rate", 0),
        .window = c->kind == GW_SHARED_BREAKER || c->kind == GW_SHARED_BREAKERS ? c->window : 0,
        .min_requests = count_of(L, at, "min_requests"),
        .failures = count_of(L, at, "failures"),
        .probes = count_of(L, at, "probes"),
    };
}

static void build_shared(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    if (!gw_spec_table(L, at, "shared"))
        return;
    int list = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, list);
    g->shared = gw_build_take(b, count, sizeof *g->shared);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        int entry = lua_gettop(L);
        gw_shared_use *use = &g->shared[i];
        gw_slice word = gw_spec_string(b, entry, "word"), name = gw_spec_string(b, entry, "name");
        gw_slice source = gw_spec_string(b, entry, "source");
        read_config(b, entry, &use->config);
        int status;
        use->shared = gw_shared_open(word, name, &use->config, &status);
        g->shared_count = i + 1;
        if (status == GW_NOMEM)
            gw_messages_add(b->errors, "%s: %s \"%s\": not enough memory", source.ptr, word.ptr, name.ptr);
        else if (!use->shared)
            gw_messages_add(b->errors, "%s: %s \"%s\": settings out of range", source.ptr, word.ptr, name.ptr);
        lua_settop(L, list);
    }
    lua_pop(L, 1);
}

static int by_of(lua_State *L, int at)
{
    static const char *const names[] = {"none", "ip", "header", "cookie", "query", "path", "route", "script"};
    int by = GW_LIMIT_BY_NONE;
    lua_getfield(L, at, "by");
    const char *text = lua_tostring(L, -1);
    for (size_t i = 0; text && i < GW_COUNT(names); i++)
        if (strcmp(text, names[i]) == 0)
            by = (int)i;
    lua_pop(L, 1);
    return by;
}

void gw_build_limits(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    build_shared(b, at);
    if (!gw_spec_table(L, at, "limits_used"))
        return;
    int list = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, list);
    g->limits = gw_build_take(b, count, sizeof *g->limits);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        int entry = lua_gettop(L);
        gw_limit_use *use = &g->limits[i];
        uint32_t index = count_of(L, entry, "shared");
        gw_limit *limit = gw_build_take(b, 1, sizeof *limit);
        if (index >= g->shared_count)
            luaL_error(L, "a limit names no state");
        limit->shared = g->shared[index].shared;
        limit->config = g->shared[index].config;
        if (!gw_limit_describe(limit, &g->arena, gw_spec_string(b, entry, "label")))
            gw_build_no_memory(b);
        use->limit = limit;
        use->by = by_of(L, entry);
        use->by_name = gw_spec_string(b, entry, "by_name");
        use->headers = gw_spec_boolean(L, entry, "headers", false);
        use->status = (int)gw_spec_number(L, entry, "status", 429);
        g->limit_count = i + 1;
        lua_settop(L, list);
    }
    lua_pop(L, 1);
}

/* Where refusals on this route are counted, by limiter: one entry for each, however often it stands there. */
static void build_limited(gw_builder *b, int at, gw_route *route)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "limiters"))
        return;
    uint32_t count = (uint32_t)lua_objlen(L, -1);
    gw_limited *limited = gw_build_take(b, count, sizeof *limited);
    route->limited = limited;
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        double index = lua_tonumber(L, -1);
        lua_pop(L, 1);
        if (!(index >= 0 && index < b->g->limit_count))
            luaL_error(L, "a route names no limit");
        const gw_shared *limiter = b->g->limits[(uint32_t)index].limit->shared;
        uint32_t known = 0;
        while (known < route->limited_count && limited[known].limiter != limiter)
            known++;
        if (known < route->limited_count)
            continue;
        limited[known].limiter = limiter;
        limited[known].metrics = gw_metrics_limiter(route->name, limiter->name);
        if (!limited[known].metrics)
            gw_build_no_memory(b);
        route->limited_count++;
    }
    lua_pop(L, 1);
}

void gw_build_route_limits(gw_builder *b, int at, gw_route *route)
{
    lua_State *L = b->L;
    build_limited(b, at, route);
    if (!gw_spec_table(L, at, "limits"))
        return;
    int list = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, list);
    gw_limit_use *uses = gw_build_take(b, count, sizeof *uses);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        double index = lua_tonumber(L, -1);
        lua_pop(L, 1);
        if (!(index >= 0 && index < b->g->limit_count))
            luaL_error(L, "a route names no limit");
        uses[i] = b->g->limits[(uint32_t)index];
    }
    route->limits = uses;
    route->limit_count = count;
    lua_pop(L, 1);
}
