/* What a test's gateway thinks of a request before it is sent, and what it would go by: for `gateway explain` and `gateway plan`. */
#include "gateway/recent.h"
#include "gateway/router_explain.h"
#include "http/url.h"
#include "policy/balancer.h"
#include "script/testing_parts.h"
#include <stdlib.h>

static void set_slice(lua_State *L, const char *name, gw_slice s)
{
    if (!s.ptr)
        return;
    lua_pushlstring(L, s.ptr, s.len);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static void set_bool(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static const gw_generation *generation_of(lua_State *L)
{
    const gw_testing_app *a = gw_testing_app_at(L);
    if (!a->generation)
        luaL_error(L, "the app has not been loaded");
    return a->generation;
}

static int refused(lua_State *L, const gw_bad_head *bad)
{
    lua_createtable(L, 0, 2);
    set_number(L, "status", bad->status);
    lua_pushstring(L, bad->reason);
    lua_setfield(L, -2, "reason");
    return 1;
}

static void push_candidate(lua_State *L, const gw_generation *g, const gw_match *m, const gw_router_reason *why)
{
    static const char *const words[] = {
        [GW_MISS_HOST] = "host", [GW_MISS_PATH] = "path", [GW_MISS_HEADER] = "header", [GW_MISS_METHOD] = "method"};
    lua_createtable(L, 0, 5);
    set_number(L, "index", (double)((const gw_route *)m->route - g->routes) + 1);
    if (why->miss == GW_MISS_NONE)
        return;
    lua_pushstring(L, words[why->miss]);
    lua_setfield(L, -2, "miss");
    if (why->miss == GW_MISS_PATH) {
        set_number(L, "segment", why->segment);
        set_slice(L, "expected", why->expected);
        set_slice(L, "found", why->found);
        set_bool(L, "parameter", why->parameter);
    } else if (why->miss == GW_MISS_HEADER) {
        set_slice(L, "header", m->headers[why->condition].name);
        set_slice(L, "expected", m->headers[why->condition].value);
        set_slice(L, "found", why->found);
    }
}

static void push_params(lua_State *L, const gw_found *found)
{
    lua_createtable(L, (int)found->param_count, 0);
    for (uint32_t i = 0; i < found->param_count; i++) {
        lua_createtable(L, 0, 2);
        set_slice(L, "name", found->params[i].name);
        set_slice(L, "value", found->params[i].value);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

struct judged { /* large: not on the stack */
    gw_request request;
    gw_found found;
    char room[GW_SCRATCH_BYTES];
};

static int judge(lua_State *L, struct judged *j, const gw_generation *g, gw_slice head)
{
    gw_bad_head bad = {0};
    gw_head_scan_state scan = {0};
    gw_request *r = &j->request;
    int n = gw_head_scan(head.ptr, head.len, &g->head_limits, false, &scan, &bad);
    if (n == GW_AGAIN)
        bad = (gw_bad_head){400, "the head has no end"};
    if (n <= 0 || gw_request_parse(r, head.ptr, (size_t)n, &g->head_limits, &bad) != GW_OK)
        return refused(L, &bad);
    gw_slice path = r->raw_path;
    const char *reason;
    if (!r->asterisk && (r->raw_path.len > sizeof j->room ||
                         gw_path_normalise(r->raw_path, g->keep_encoded_slash, j->room, &path, &reason) != GW_OK))
        return refused(L, &(gw_bad_head){400, r->raw_path.len > sizeof j->room ? "path too long" : reason});
    gw_router_find(g->router, r->host, path, r->method, r->method_name, &r->headers, &j->found);
    lua_createtable(L, 0, 10);
    set_slice(L, "method", r->method_name);
    set_slice(L, "raw_path", r->raw_path);
    set_slice(L, "path", path);
    set_slice(L, "query", r->query);
    set_slice(L, "host", r->host);
    set_bool(L, "asterisk", r->asterisk);
    if (j->found.route) {
        set_number(L, "route", (double)((const gw_route *)j->found.route - g->routes) + 1);
        push_params(L, &j->found);
        lua_setfield(L, -2, "params");
    } else if (j->found.method_only) {
        char allow[1024];
        lua_pushlstring(L, allow, gw_found_allow(&j->found, allow, sizeof allow));
        lua_setfield(L, -2, "allow");
    }
    lua_newtable(L);
    gw_router_reason why;
    for (uint32_t i = 0; gw_router_explain(g->router, i, r->host, path, r->method, r->method_name, &r->headers, &why); i++) {
        push_candidate(L, g, gw_router_at(g->router, i), &why);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "candidates");
    return 1;
}

/* app:judge(head) -> { method =, raw_path =, path =, query =, host =, route =, params =, allow =, candidates = {} }, or { status =, reason = }
 * when the head or the path is refused. Routes by their places in the script, candidates in the order in which they are tried: { index =,
 * miss =, segment =, header =, expected =, found = }, without `miss` where everything matches. */
static int app_judge(lua_State *L)
{
    const gw_generation *g = generation_of(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    struct judged *j = lua_newuserdata(L, sizeof *j);
    gw_headers_clear(&j->request.headers);
    j->found = (gw_found){0};
    return judge(L, j, g, gw_slice_of(bytes, len));
}

static void push_statuses(lua_State *L, const uint64_t statuses[10])
{
    lua_newtable(L);
    for (int s = 0, n = 0; s < 640; s++) {
        if (!(statuses[s / 64] >> s % 64 & 1))
            continue;
        lua_pushinteger(L, s);
        lua_rawseti(L, -2, ++n);
    }
}

static void push_retry(lua_State *L, const gw_retry_spec *r)
{
    lua_createtable(L, 0, 8);
    set_number(L, "attempts", r->attempts);
    set_bool(L, "connect", r->on & GW_RETRY_CONNECT);
    set_bool(L, "reset", r->on & GW_RETRY_RESET);
    set_bool(L, "timeout", r->on & GW_RETRY_TIMEOUT);
    push_statuses(L, r->statuses);
    lua_setfield(L, -2, "statuses");
    set_bool(L, "non_idempotent", r->non_idempotent);
    set_number(L, "per_try", r->per_try);
    set_number(L, "hedge", r->hedge);
}

/* app:upstream_facts(place) -> what an upstream goes by, defaults and all */
static int app_upstream_facts(lua_State *L)
{
    static const char *const keys[] = {
        [GW_HASH_ON_IP] = "ip",         [GW_HASH_ON_PATH] = "path",   [GW_HASH_ON_HEADER] = "header",
        [GW_HASH_ON_COOKIE] = "cookie", [GW_HASH_ON_QUERY] = "query", [GW_HASH_ON_SCRIPT] = "script"};
    const gw_generation *g = generation_of(L);
    lua_Integer at = luaL_checkinteger(L, 2) - 1;
    if (at < 0 || (uint32_t)at >= g->upstream_count)
        return 0;
    const gw_upstream *u = g->upstreams[at];
    lua_createtable(L, 0, 12);
    set_slice(L, "name", u->name);
    set_slice(L, "source", u->source);
    lua_pushstring(L, gw_balancer_name(&u->balance));
    lua_setfield(L, -2, "balance");
    if (u->by_key) {
        lua_pushstring(L, keys[u->hash_on]);
        lua_setfield(L, -2, "hash_on");
        set_slice(L, "hash_name", u->hash_name);
    }
    lua_createtable(L, 0, 5);
    set_number(L, "connect", u->timeouts.connect);
    set_number(L, "first_byte", u->timeouts.first_byte);
    set_number(L, "idle", u->timeouts.idle);
    set_number(L, "total", u->timeouts.total);
    set_number(L, "tunnel", u->timeouts.tunnel);
    lua_setfield(L, -2, "timeouts");
    push_retry(L, &u->retry);
    lua_setfield(L, -2, "retry");
    set_bool(L, "breaker", u->breaker_on);
    set_bool(L, "active", u->probe.on);
    set_bool(L, "passive", u->passive_on);
    set_number(L, "concurrency", u->concurrency_most);
    return 1;
}

/* secret(name) -> whether a field or parameter of that name is one whose value is not shown */
static int is_secret(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    lua_pushboolean(L, gw_recent_secret(gw_slice_of(name, len)));
    return 1;
}

const luaL_Reg gw_testing_look_methods[] = {
    {"judge", app_judge},
    {"upstream_facts", app_upstream_facts},
    {NULL, NULL},
};

const luaL_Reg gw_testing_look_functions[] = {
    {"secret", is_secret},
    {NULL, NULL},
};
