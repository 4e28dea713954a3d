/* Routes: matches for the router, targets, the words that `gateway routes` prints. */
#include "gateway/metrics.h"
#include "script/builder_parts.h"
#include "script/task.h"
#include <lauxlib.h>
#include <stdio.h>

/* ---- targets ---- */

static void build_answer(gw_builder *b, gw_target *out)
{
    lua_State *L = b->L;
    gw_answer *answer = gw_build_take(b, 1, sizeof *answer);
    out->kind = GW_TARGET_ANSWER;
    out->answer = answer;
    if (!gw_spec_table(L, lua_gettop(L), "answer"))
        return;
    int at = lua_gettop(L);
    answer->status = (int)gw_spec_number(L, at, "status", 500);
    answer->body = gw_spec_string(b, at, "body");
    if (gw_spec_table(L, at, "headers")) {
        uint32_t count = (uint32_t)lua_objlen(L, -1);
        gw_header_condition *headers = gw_build_take(b, count, sizeof *headers);
        for (uint32_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (int)i + 1);
            headers[i].name = gw_spec_string(b, lua_gettop(L), "name");
            headers[i].value = gw_spec_string(b, lua_gettop(L), "value");
            lua_pop(L, 1);
        }
        answer->headers = headers;
        answer->header_count = count;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* The target's table is at the top of the stack. */
static void build_target(gw_builder *b, gw_target *out)
{
    lua_State *L = b->L;
    int at = lua_gettop(L);
    lua_getfield(L, at, "kind");
    const char *kind = lua_tostring(L, -1);
    lua_pop(L, 1); /* the table keeps the string */
    if (!kind)
        return;
    if (strcmp(kind, "upstream") == 0) {
        uint32_t i = (uint32_t)gw_spec_number(L, at, "upstream", 0);
        if (i < b->g->upstream_count) { /* else the script was wrong about it, and knows */
            out->kind = GW_TARGET_UPSTREAM;
            out->upstream = b->g->upstreams[i];
        }
    } else if (strcmp(kind, "answer") == 0) {
        build_answer(b, out);
    } else if (strcmp(kind, "script") == 0) {
        out->kind = GW_TARGET_SCRIPT;
    } else if (strcmp(kind, "split") == 0 && gw_spec_table(L, at, "shares")) {
        uint32_t count = (uint32_t)lua_objlen(L, -1);
        gw_share *shares = gw_build_take(b, count, sizeof *shares);
        uint64_t total = 0;
        for (uint32_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (int)i + 1);
            total += (uint64_t)gw_spec_number(L, lua_gettop(L), "weight", 1);
            shares[i].until = total;
            build_target(b, &shares[i].target);
            lua_pop(L, 1);
        }
        if (count) {
            out->kind = GW_TARGET_SPLIT;
            out->split.share = shares;
            out->split.count = count;
            out->split.total = total;
        }
        lua_pop(L, 1);
    }
}

/* ---- matches ---- */

static void build_methods(gw_builder *b, int at, gw_match *match)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "methods"))
        return;
    uint32_t count = (uint32_t)lua_objlen(L, -1);
    gw_slice *others = gw_build_take(b, count, sizeof *others);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        enum gw_method method = gw_method_of(gw_slice_of(text, len));
        if (method == GW_METHOD_CONNECT || method == GW_METHOD_TRACE || method == GW_METHOD_NONE) {
            gw_messages_add(b->errors, "%s: route \"%s\": methods[%u]: \"%s\" cannot be routed%s", match->source.ptr,
                            match->pattern.ptr, i + 1, text, method == GW_METHOD_NONE ? "" : ": the gateway refuses it");
        } else if (method == GW_METHOD_OTHER) {
            gw_slice copy = gw_arena_copy(&b->g->arena, gw_slice_of(text, len));
            if (!copy.ptr)
                gw_build_no_memory(b);
            others[match->other_method_count++] = copy;
        } else {
            match->methods |= GW_METHOD_BIT(method);
        }
        lua_pop(L, 1);
    }
    match->other_methods = others;
    lua_pop(L, 1);
}

static void build_headers(gw_builder *b, int at, gw_match *match)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "headers"))
        return;
    uint32_t count = (uint32_t)lua_objlen(L, -1);
    gw_header_condition *headers = gw_build_take(b, count, sizeof *headers);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        headers[i].name = gw_spec_string(b, lua_gettop(L), "name");
        headers[i].value = gw_spec_string(b, lua_gettop(L), "value");
        lua_pop(L, 1);
    }
    match->headers = headers;
    match->header_count = count;
    lua_pop(L, 1);
}

/* ---- what `gateway routes` prints ---- */

static gw_slice copied(gw_builder *b, gw_slice s)
{
    gw_slice out = gw_arena_copy(&b->g->arena, s);
    if (!out.ptr)
        gw_build_no_memory(b);
    return out;
}

static gw_slice chain_text(gw_builder *b, int at)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "chain_texts"))
        return GW_NO_SLICE;
    int count = (int)lua_objlen(L, -1);
    luaL_Buffer text;
    int list = lua_gettop(L);
    luaL_buffinit(L, &text);
    for (int i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addstring(&text, ", ");
        lua_rawgeti(L, list, i);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    size_t len;
    const char *bytes = lua_tolstring(L, -1, &len);
    gw_slice out = len ? copied(b, gw_slice_of(bytes, len)) : GW_NO_SLICE;
    lua_pop(L, 2);
    return out;
}

static gw_slice target_text(gw_builder *b, const gw_target *target, gw_slice script)
{
    char bytes[512];
    size_t used = 0;
    switch (target->kind) {
    case GW_TARGET_UPSTREAM:
        return target->upstream->name;
    case GW_TARGET_ANSWER:
        used = (size_t)snprintf(bytes, sizeof bytes, "answer %d", target->answer->status);
        break;
    case GW_TARGET_SCRIPT:
        return script;
    case GW_TARGET_SPLIT:
        used = (size_t)snprintf(bytes, sizeof bytes, "split");
        for (uint32_t i = 0; i < target->split.count && used < sizeof bytes; i++) {
            const gw_share *share = &target->split.share[i];
            uint64_t weight = share->until - (i ? target->split.share[i - 1].until : 0);
            gw_slice arm = target_text(b, &share->target, GW_NO_SLICE);
            used += (size_t)snprintf(bytes + used, sizeof bytes - used, "%s %.*s %.3g%%", i ? "," : "", (int)arm.len, arm.ptr,
                                     100.0 * (double)weight / (double)target->split.total);
        }
        break;
    case GW_TARGET_NONE:
        return GW_NO_SLICE;
    }
    return copied(b, gw_slice_of(bytes, used < sizeof bytes ? used : sizeof bytes - 1));
}

/* ---- routes ---- */

/* One route's table is at the top of the stack. */
static void build_route(gw_builder *b, gw_route *route)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    int at = lua_gettop(L);
    gw_match *match = &route->match;
    match->route = route;
    match->source = gw_spec_string(b, at, "source");
    match->pattern = gw_spec_string(b, at, "pattern");
    match->host = gw_spec_string(b, at, "host");
    build_methods(b, at, match);
    build_headers(b, at, match);
    route->name = gw_spec_string(b, at, "name");
    route->metrics = gw_metrics_route(route->name);
    if (!route->metrics)
        gw_build_no_memory(b);
    route->chain = (int32_t)gw_spec_number(L, at, "chain", -1);
    if (route->chain >= 0)
        route->chain_ops = &gw_script_chain_ops;
    route->body_bytes = (uint64_t)gw_spec_number(L, at, "body_bytes", (double)g->body_bytes);
    route->access_log = gw_spec_boolean(L, at, "access_log", true) && g->access_log;
    route->record = gw_spec_boolean(L, at, "record", g->record_unmatched);
    route->chain_text = chain_text(b, at);
    gw_build_route_limits(b, at, route);
    if (gw_spec_table(L, at, "target")) {
        build_target(b, &route->target);
        route->target_text = target_text(b, &route->target, gw_spec_string(b, lua_gettop(L), "text"));
        lua_pop(L, 1);
    }
    char message[512];
    int status = gw_router_add(g->router, match, message, sizeof message);
    if (status == GW_NOMEM)
        gw_build_no_memory(b);
    if (status != GW_OK)
        gw_messages_add(b->errors, "%s: route \"%s\": %s", match->source.ptr, match->pattern.ptr, message);
}

void gw_build_routes(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    if (!gw_spec_table(L, at, "routes"))
        return;
    int list = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, list);
    g->routes = gw_build_take(b, count, sizeof *g->routes);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        build_route(b, &g->routes[g->route_count++]);
        lua_settop(L, list);
    }
    lua_pop(L, 1);
    char message[1024];
    int status = gw_router_build(g->router, message, sizeof message);
    if (status == GW_NOMEM)
        gw_build_no_memory(b);
    if (status == GW_INVALID)
        gw_messages_add(b->errors, "%s", message); /* it begins with the source of the later of two routes */
}
