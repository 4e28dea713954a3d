#include "script/builder.h"
#include "script/builder_parts.h"
#include "script/every.h"
#include "script/state.h"
#include <lauxlib.h>

/* ---- reading the spec ---- */

void gw_build_no_memory(gw_builder *b)
{
    luaL_error(b->L, "not enough memory");
    __builtin_unreachable();
}

void *gw_build_take(gw_builder *b, size_t count, size_t bytes)
{
    if (count * bytes == 0)
        return NULL;
    void *p = gw_arena_take(&b->g->arena, count * bytes);
    if (!p)
        gw_build_no_memory(b);
    return p;
}

bool gw_spec_table(lua_State *L, int at, const char *name)
{
    lua_getfield(L, at, name);
    if (lua_istable(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

gw_slice gw_spec_string(gw_builder *b, int at, const char *name)
{
    gw_slice out = GW_NO_SLICE;
    lua_getfield(b->L, at, name);
    if (lua_type(b->L, -1) == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(b->L, -1, &len);
        out = gw_arena_copy(&b->g->arena, gw_slice_of(text, len));
        if (!out.ptr)
            gw_build_no_memory(b);
    }
    lua_pop(b->L, 1);
    return out;
}

double gw_spec_number(lua_State *L, int at, const char *name, double missing)
{
    lua_getfield(L, at, name);
    double out = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : missing;
    lua_pop(L, 1);
    return out;
}

bool gw_spec_boolean(lua_State *L, int at, const char *name, bool missing)
{
    lua_getfield(L, at, name);
    bool out = lua_isboolean(L, -1) ? lua_toboolean(L, -1) : missing;
    lua_pop(L, 1);
    return out;
}

/* ---- settings ---- */

bool gw_build_listen(gw_builder *b, gw_listen_spec *out, const char *word)
{
    int at = lua_gettop(b->L);
    out->text = gw_spec_string(b, at, "at");
    out->source = gw_spec_string(b, at, "source");
    gw_slice name;
    uint16_t port;
    const char *reason = NULL;
    int kind = gw_address_parse(out->text, -1, &out->at, &name, &port, &reason);
    if (kind == GW_ADDRESS_NUMERIC)
        return true;
    if (kind == GW_ADDRESS_NAME)
        reason = "that is a name";
    gw_messages_add(b->errors,
                    "%s: %s: expected an address such as \"0.0.0.0:8080\", \":8080\" or \"unix:/path\", found \"%s\" (%s)",
                    out->source.ptr, word, out->text.ptr, reason);
    return false;
}

static void build_listens(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    if (gw_spec_table(L, at, "listens")) {
        uint32_t count = (uint32_t)lua_objlen(L, -1);
        g->listens = gw_build_take(b, count, sizeof *g->listens);
        for (uint32_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (int)i + 1);
            gw_build_listen(b, &g->listens[i], "gateway.listen");
            lua_pop(L, 1);
            for (uint32_t k = 0; k < i; k++)
                if (g->listens[k].at.len && gw_address_equal(&g->listens[k].at, &g->listens[i].at))
                    gw_messages_add(b->errors, "%s: gateway.listen: \"%s\" is the same address as \"%s\" at %s",
                                    g->listens[i].source.ptr, g->listens[i].text.ptr, g->listens[k].text.ptr,
                                    g->listens[k].source.ptr);
        }
        g->listen_count = count;
        lua_pop(L, 1);
    }
}

static void build_limits(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    if (gw_spec_table(L, at, "limits")) {
        int limits = lua_gettop(L);
        g->head_limits.request_line = (uint32_t)gw_spec_number(L, limits, "request_line", g->head_limits.request_line);
        g->head_limits.header_bytes = (uint32_t)gw_spec_number(L, limits, "header_bytes", g->head_limits.header_bytes);
        g->head_limits.headers = (uint32_t)gw_spec_number(L, limits, "headers", g->head_limits.headers);
        g->body_bytes = (uint64_t)gw_spec_number(L, limits, "body_bytes", (double)g->body_bytes);
        g->keep_encoded_slash = gw_spec_boolean(L, limits, "keep_encoded_slash", false);
        lua_pop(L, 1);
    }
    if (gw_spec_table(L, at, "lua")) {
        int lua = lua_gettop(L);
        g->lua.cpu = gw_spec_number(L, lua, "cpu", g->lua.cpu);
        g->lua.memory = (size_t)gw_spec_number(L, lua, "memory", (double)g->lua.memory);
        lua_pop(L, 1);
    }
    if (gw_spec_table(L, at, "timeouts")) {
        int timeouts = lua_gettop(L);
        g->timeouts.header = gw_spec_number(L, timeouts, "header", g->timeouts.header);
        g->timeouts.idle = gw_spec_number(L, timeouts, "idle", g->timeouts.idle);
        g->timeouts.body = gw_spec_number(L, timeouts, "body", g->timeouts.body);
        g->timeouts.drain = gw_spec_number(L, timeouts, "drain", g->timeouts.drain);
        g->timeouts.upgrade = gw_spec_number(L, timeouts, "upgrade", g->timeouts.upgrade);
        g->timeouts.chain = gw_spec_number(L, timeouts, "chain", g->timeouts.chain);
        lua_pop(L, 1);
    }
}

static void build_forwarding(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    if (gw_spec_table(L, at, "forwarding")) {
        int forwarding = lua_gettop(L);
        g->x_forwarded = gw_spec_boolean(L, forwarding, "x_forwarded", true);
        g->forwarded = gw_spec_boolean(L, forwarding, "forwarded", false);
        g->via = gw_spec_string(b, forwarding, "via");
        lua_pop(L, 1);
    }
    if (!gw_spec_table(L, at, "trusted_proxies"))
        return;
    int list = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, list);
    if (count && !(g->trusted = gw_cidr_set_new()))
        gw_build_no_memory(b);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        int entry = lua_gettop(L);
        gw_slice cidr = gw_spec_string(b, entry, "cidr"), source = gw_spec_string(b, entry, "source");
        const char *reason = NULL;
        int status = gw_cidr_set_add(g->trusted, cidr, &reason);
        if (status == GW_NOMEM)
            gw_build_no_memory(b);
        if (status != GW_OK)
            gw_messages_add(
                b->errors,
                "%s: gateway.trusted_proxies: expected an address or a CIDR block such as \"10.0.0.0/8\", found \"%s\" (%s)",
                source.ptr, cidr.ptr, reason ? reason : "not one");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void gw_build_settings(gw_builder *b, int at)
{
    gw_generation *g = b->g;
    build_listens(b, at);
    gw_build_operation(b, at);
    build_limits(b, at);
    build_forwarding(b, at);
    g->workers = (uint32_t)gw_spec_number(b->L, at, "workers", 0);
    g->request_id = gw_spec_boolean(b->L, at, "request_id", true);
    g->watch = gw_spec_boolean(b->L, at, "watch", true);
    if (gw_spec_table(b->L, at, "record")) {
        int record = lua_gettop(b->L);
        g->record_keep = (uint32_t)gw_spec_number(b->L, record, "keep", g->record_keep);
        g->record_unmatched = gw_spec_boolean(b->L, record, "all", false);
        lua_pop(b->L, 1);
    }
    gw_build_logs(b, at);
    gw_build_tracing(b, at);
}

/* ---- all of it ---- */

static int build(lua_State *L)
{
    gw_builder *b = lua_touserdata(L, 1);
    b->g->script_begin = gw_script_begin;
    b->g->script_end = gw_script_end;
    luaL_checkstack(L, 64, "the spec");
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->results);
    lua_rawgeti(L, -1, GW_RESULT_SPEC);
    int at = lua_gettop(L);
    gw_build_settings(b, at);
    gw_build_upstreams(b, at);
    gw_build_limits(b, at);
    gw_build_metrics(b, at);
    gw_build_plugins(b, at);
    gw_build_routes(b, at);
    return 0;
}

int gw_build(lua_State *L, int results, gw_generation *g, double resolve_seconds, gw_messages *errors, gw_messages *warnings)
{
    gw_builder b = {
        .L = L, .results = results, .g = g, .resolve_seconds = resolve_seconds, .errors = errors, .warnings = warnings};
    uint32_t before = errors->count;
    if (lua_cpcall(L, build, &b) != 0) {
        const char *message = lua_tostring(L, -1);
        gw_messages_add(errors, "%s: %s", g->script.ptr ? g->script.ptr : "script", message ? message : "not enough memory");
        lua_pop(L, 1);
        return GW_NOMEM;
    }
    return errors->count == before ? GW_OK : GW_INVALID;
}
