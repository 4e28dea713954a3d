#include "script/testing.h"
#include "base/clock.h"
#include "gateway/metrics_text.h"
#include "gateway/prober.h"
#include "script/api.h"
#include "script/builder.h"
#include "script/guard.h"
#include "script/task.h"
#include "script/testing_parts.h"
#include "script/wait.h"
#include "script/yaml.h"
#include <dlfcn.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#define LOG_BYTES (1u << 20)
#define STEPS_MOST 1000000 /* of the loop without a pause: more is something that feeds itself */

/* ---- states: kept for ever, and used again; functions of the library may name one that has ended ---- */

static _Thread_local struct kept_state {
    gw_state s; /* first */
    struct kept_state *next;
    int thread; /* registry: s.L */
} * free_states;

static gw_state *state_adopt(lua_State *L)
{
    struct kept_state *k = free_states;
    if (k)
        free_states = k->next;
    else if (!(k = malloc(sizeof *k)))
        return NULL;
    memset(k, 0, sizeof *k);
    gw_state *s = &k->s;
    gw_list_init(&s->lent);
    gw_list_init(&s->code);
    s->adopted = true;
    s->holder.collected = true;
    s->most = SIZE_MAX;
    s->make_task = s->explain = s->collect = s->anchors = LUA_NOREF;
    gw_waits_init(s);
    s->L = lua_newthread(L);
    k->thread = luaL_ref(L, LUA_REGISTRYINDEX);
    return s;
}

static void state_give(gw_state *s)
{
    struct kept_state *k = (struct kept_state *)s;
    lua_State *L = s->L;
    gw_guard_tell_losers(s);
    gw_waits_clear(s);
    luaL_unref(L, LUA_REGISTRYINDEX, s->make_task);
    luaL_unref(L, LUA_REGISTRYINDEX, s->explain);
    luaL_unref(L, LUA_REGISTRYINDEX, s->collect);
    luaL_unref(L, LUA_REGISTRYINDEX, s->anchors);
    luaL_unref(L, LUA_REGISTRYINDEX, k->thread);
    gw_lua_holder_clear(&s->holder);
    gw_read_list_clear(&s->files);
    free(s->chains);
    gw_state_uncount(s);
    memset(s, 0, sizeof *s);
    s->adopted = true;
    s->L = NULL;
    gw_list_init(&s->lent);
    gw_list_init(&s->code);
    gw_waits_init(s);
    k->next = free_states;
    free_states = k;
}

static void script_close(void *script)
{
    (void)script; /* the app gives it back, after everything else */
}

/* ---- entering: the app's clock and registry are this thread's for a while ---- */

static _Thread_local gw_testing_app *entered;

gw_testing_app *gw_testing_entered(void)
{
    return entered;
}

static void show_time(const gw_testing_app *a)
{
    gw_clock_stand(a->now_ns, a->began_wall + (double)(a->now_ns - a->began_ns) * 1e-9);
}

gw_testing_entry gw_testing_enter(gw_testing_app *a)
{
    gw_testing_entry before = {.state = gw_state_adopted, .scope = gw_registry_scope(), .outer = entered};
    gw_state_adopted = a->state;
    gw_registry_enter(a->scope);
    gw_lua_clock(a->loop);
    show_time(a);
    entered = a;
    return before;
}

void gw_testing_leave(gw_testing_entry before)
{
    gw_state_adopted = before.state;
    gw_registry_enter(before.scope);
    entered = before.outer;
    if (entered) {
        gw_lua_clock(entered->loop);
        show_time(entered);
    } else {
        gw_lua_clock(NULL);
        gw_clock_go();
    }
}

gw_testing_app *gw_testing_app_at(lua_State *L)
{
    gw_testing_box *b = luaL_checkudata(L, 1, GW_TESTING_APP);
    if (!b->a)
        luaL_error(L, "the app has been closed");
    return b->a;
}

/* The time as the loop counts it. Half a nanosecond more: truncated to whole ones it is what the clock says. */
static double loop_time(const gw_testing_app *a)
{
    return ((double)a->now_ns + 0.5) * 1e-9;
}

/* ---- the app ---- */

static void orphan(gw_endpoint *e, void *data)
{
    gw_list_push_back(&((gw_testing_app *)data)->orphans, &e->link);
}

static void drop_generation(gw_testing_app *a)
{
    gw_generation_free(a->generation, orphan, a);
    a->generation = NULL;
    while (!gw_list_empty(&a->orphans)) {
        gw_endpoint *e = gw_container_of(a->orphans.next, gw_endpoint, link);
        gw_list_remove(&e->link);
        gw_endpoint_drop(&a->engine, e);
    }
}

static void app_free(gw_testing_app *a)
{
    gw_testing_entry before = gw_testing_enter(a);
    gw_prober_free(a->prober);
    if (a->generation && atomic_load(&a->current))
        gw_engine_retire(&a->engine, a->generation);
    if (a->loop)
        gw_engine_clear(&a->engine);
    if (a->generation)
        drop_generation(a);
    gw_testing_wires_clear(a);
    gw_testing_leave(before);
    if (a->state)
        state_give(a->state);
    gw_loop_free(a->loop);
    gw_log_ring_free(a->ring);
    free(a);
}

/* new(wall) -> app */
static int app_new(lua_State *L)
{
    static _Atomic uint32_t scopes;
    double wall = luaL_checknumber(L, 1);
    gw_testing_box *b = lua_newuserdata(L, sizeof *b);
    b->a = NULL;
    luaL_getmetatable(L, GW_TESTING_APP);
    lua_setmetatable(L, -2);
    size_t bytes = (sizeof(gw_testing_app) + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE;
    gw_testing_app *a = aligned_alloc(GW_CACHE_LINE, bytes);
    if (!a)
        return luaL_error(L, "not enough memory");
    memset(a, 0, bytes);
    b->a = a;
    gw_list_init(&a->orphans);
    a->scope = atomic_fetch_add(&scopes, 1) + 1;
    a->began_wall = wall;
    a->began_ns = a->now_ns = gw_clock_monotonic_ns() / 1000000000 * 1000000000;
    a->loop = gw_loop_new_manual(loop_time(a));
    a->ring = gw_log_ring_alone(LOG_BYTES);
    a->state = state_adopt(L);
    if (!a->loop || !a->ring || !a->state || gw_engine_init(&a->engine, 0, a->loop, a->ring, &a->current) < 0 ||
        !(a->prober = gw_prober_new(a->loop, a->ring)))
        return luaL_error(L, "not enough memory or file descriptors for a gateway");
    a->loop->connect = gw_testing_connect;
    a->loop->resolve = gw_testing_resolve;
    a->engine.owner = a;
    a->state->engine = &a->engine;
    a->listener = (gw_listener){.owner = &a->engine, .loop = a->loop, .accept = gw_engine_accept};
    return 1;
}

static int app_close(lua_State *L)
{
    gw_testing_box *b = luaL_checkudata(L, 1, GW_TESTING_APP);
    if (b->a && b->a->running)
        return luaL_error(L, "the app cannot be closed while it runs");
    gw_testing_app *a = b->a;
    b->a = NULL;
    if (a)
        app_free(a);
    return 0;
}

static int app_collected(lua_State *L)
{
    gw_testing_box *b = lua_touserdata(L, 1);
    gw_testing_app *a = b->a;
    b->a = NULL;
    if (a)
        app_free(a);
    return 0;
}

/* app:call(f, ...): f(...) with the app's clock and registry; what it gives, or raises. */
static int app_call(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    gw_testing_entry before = gw_testing_enter(a);
    int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    gw_testing_leave(before);
    if (status != 0)
        return lua_error(L);
    return lua_gettop(L) - 1;
}

/* app:surroundings() -> holder, log, now: what lua/gateway/boot.lua gives to the library. */
static int app_surroundings(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    lua_pushlightuserdata(L, &a->state->holder);
    gw_push_log(L, a->state);
    gw_push_now(L);
    return 3;
}

static int give_messages(lua_State *L, gw_messages *m, const char *otherwise)
{
    if (m->text || !otherwise)
        lua_pushstring(L, m->text);
    else
        lua_pushstring(L, otherwise);
    gw_messages_clear(m);
    return 1;
}

static void add_problems(lua_State *L, int results, gw_messages *errors)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, results);
    lua_rawgeti(L, -1, GW_RESULT_PROBLEMS);
    for (int i = 1, count = (int)lua_objlen(L, -1); i <= count; i++) {
        lua_rawgeti(L, -1, i);
        gw_messages_add(errors, "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
}

/* app:load(name, results) -> nil, or what was wrong. results: see enum gw_results. */
static int app_load(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    const char *name = luaL_checkstring(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    if (a->generation)
        return luaL_error(L, "the app has been loaded before");
    lua_settop(L, 3);
    int results = luaL_ref(L, LUA_REGISTRYINDEX);
    gw_messages errors = {0}, warnings = {0};
    gw_testing_entry before = gw_testing_enter(a);
    gw_generation *g = a->generation = gw_generation_new(1);
    int status = g ? GW_OK : GW_NOMEM;
    if (g) {
        g->script = gw_arena_copy(&g->arena, gw_slice_str(name));
        g->script_close = script_close;
        g->loaded_at = gw_clock_wall();
        g->number = 1;
        gw_messages more = {0};
        add_problems(L, results, &errors);
        status = gw_build(L, results, g, 0.001, errors.count ? &more : &errors, &warnings);
        if (errors.count) { /* what else is wrong, so that one run tells everything */
            gw_messages_add_new(&errors, &more);
            gw_messages_sort(&errors, name);
            status = GW_INVALID;
        }
        gw_messages_clear(&more);
    }
    if (status == GW_OK)
        status = gw_script_prepare(a->state, g, g->plugin_count, results);
    if (status == GW_OK) {
        gw_state_count_in(a->state, g);
        g->worker[0].script = a->state;
    } else
        luaL_unref(L, LUA_REGISTRYINDEX, results);
    bool good = status == GW_OK || status == GW_NOTFOUND;
    if (good) {
        gw_prober_follow(a->prober, g);
        gw_generation_adopt(g, a->ring);
        atomic_store(&a->current, g);
        gw_engine_begin(&a->engine, g);
    } else if (g) {
        drop_generation(a);
    }
    gw_testing_leave(before);
    gw_messages_clear(&warnings);
    if (good) {
        gw_messages_clear(&errors);
        return 0;
    }
    return give_messages(L, &errors, "not enough memory");
}

/* app:turn(): everything that can happen without time passing or others doing something. True: something did. */
static int app_turn(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    if (a->running)
        return luaL_error(L, "the app runs already: in middleware, gateway.fetch asks others");
    gw_testing_entry before = gw_testing_enter(a);
    uint32_t steps = 0;
    a->running = true;
    while (gw_loop_step(a->loop) && steps < STEPS_MOST)
        steps++;
    a->running = false;
    gw_testing_leave(before);
    if (steps >= STEPS_MOST)
        return luaL_error(L, "the gateway finds no rest");
    lua_pushboolean(L, steps > 0);
    return 1;
}

/* app:now() -> seconds since the app began, wall time */
static int app_now(lua_State *L)
{
    const gw_testing_app *a = gw_testing_app_at(L);
    double elapsed = (double)(a->now_ns - a->began_ns) * 1e-9;
    lua_pushnumber(L, elapsed);
    lua_pushnumber(L, a->began_wall + elapsed);
    return 2;
}

/* app:due() -> seconds since the app began when something may be due next, not before now; nil: never */
static int app_due(lua_State *L)
{
    const gw_testing_app *a = gw_testing_app_at(L);
    double due = gw_loop_due(a->loop);
    if (!(due < INFINITY))
        return 0;
    double elapsed = due - (double)a->began_ns * 1e-9, now = (double)(a->now_ns - a->began_ns) * 1e-9;
    lua_pushnumber(L, elapsed > now ? elapsed : now);
    return 1;
}

/* app:at(seconds): so long since the app began is now; runs what is due, but nothing that follows from it (turn). */
static int app_at_time(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    double seconds = luaL_checknumber(L, 2);
    if (a->running)
        return luaL_error(L, "the clock cannot be moved while the app runs");
    if (!(seconds >= 0 && seconds < 4e9))
        return luaL_error(L, "a time is expected, in seconds since the app began");
    int64_t now = a->began_ns + (int64_t)llround(seconds * 1e9);
    if (now > a->now_ns)
        a->now_ns = now;
    gw_testing_entry before = gw_testing_enter(a);
    a->running = true;
    gw_loop_at(a->loop, loop_time(a));
    a->running = false;
    gw_testing_leave(before);
    return 0;
}

static void add_lines(void *data, const char *bytes, size_t len)
{
    luaL_addlstring(data, bytes, len);
}

/* app:lines() -> what the gateway has logged since the last call */
static int app_lines(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    gw_log_ring_take(a->ring, add_lines, &b);
    luaL_pushresult(&b);
    return 1;
}

/* app:counts() -> { name = number }: what the engine has counted. */
static int app_counts(lua_State *L)
{
    const gw_counters *c = &gw_testing_app_at(L)->engine.counters;
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
        {"connections_accepted", c->connections_accepted},
        {"connections_active", c->connections_active},
        {"requests", c->requests},
        {"upstream_connects", c->upstream_connects},
        {"upstream_reused", c->upstream_reused},
        {"upstream_errors", c->upstream_errors},
        {"retries", c->retries},
        {"retries_refused", c->retries_refused},
        {"hedges", c->hedges},
        {"breaker_refused", c->breaker_refused},
        {"concurrency_refused", c->concurrency_refused},
        {"ejected", c->ejected},
        {"client_aborts", c->client_aborts},
    };
    lua_createtable(L, 0, (int)GW_COUNT(all));
    for (size_t i = 0; i < GW_COUNT(all); i++) {
        lua_pushnumber(L, (double)all[i].value);
        lua_setfield(L, -2, all[i].name);
    }
    return 1;
}

/* app:metrics() -> what a scrape would say of routes, limiters, upstreams and endpoints */
static int app_metrics(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    gw_page p;
    gw_testing_entry before = gw_testing_enter(a);
    gw_page_init(&p, false);
    p.wall = a->began_wall - (double)a->began_ns * 1e-9;
    gw_metrics_write(&p, atomic_load(&a->current), a->now_ns);
    gw_page_end(&p);
    gw_testing_leave(before);
    if (p.failed) {
        gw_page_clear(&p);
        return luaL_error(L, "not enough memory");
    }
    lua_pushlstring(L, p.bytes, p.len);
    gw_page_clear(&p);
    return 1;
}

const char *gw_testing_library(void)
{
    Dl_info info;
    if (dladdr((void *)(uintptr_t)luaopen_gateway_testing_c, &info) == 0 || !info.dli_fname || !strstr(info.dli_fname, ".so"))
        return "";
    return info.dli_fname;
}

int luaopen_gateway_testing_c(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", app_close},   {"call", app_call},       {"surroundings", app_surroundings},
        {"load", app_load},     {"turn", app_turn},       {"now", app_now},
        {"due", app_due},       {"at", app_at_time},      {"lines", app_lines},
        {"counts", app_counts}, {"metrics", app_metrics}, {NULL, NULL},
    };
    if (luaL_newmetatable(L, GW_TESTING_APP)) {
        lua_pushcfunction(L, app_collected);
        lua_setfield(L, -2, "__gc");
        lua_newtable(L);
        luaL_register(L, NULL, methods);
        luaL_register(L, NULL, gw_testing_wire_methods);
        luaL_register(L, NULL, gw_testing_look_methods);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, app_new);
    lua_setfield(L, -2, "new");
    luaL_register(L, NULL, gw_testing_real_functions);
    luaL_register(L, NULL, gw_testing_look_functions);
    lua_pushcfunction(L, gw_yaml_load);
    lua_setfield(L, -2, "yaml");
    gw_push_shipped(L);
    lua_setfield(L, -2, "shipped");
    gw_push_list_folder(L);
    lua_setfield(L, -2, "list");
    return 1;
}
