#include "script/report.h"
#include "script/every.h"
#include "base/clock.h"
#include "base/text.h"
#include "gateway/exchange.h"
#include "script/guard.h"
#include <lauxlib.h>
#include <stdio.h>
#include <unistd.h>

#define GW_REPORT_BYTES 3600 /* of one line's members; gw_log_event takes lines of 4 KB */

/* "route":…,"source":…,"request_id":…. `source` is the line that declared the route: an error in what left by a tail call has no other place. */
static void where(gw_text *t, const gw_task *task, const gw_exchange *x, bool source)
{
    if (task && task->job) {
        gw_text_lit(t, "\"timer\":");
        gw_text_json(t, task->job->source);
    }
    if (!x || !x->route)
        return;
    gw_text_lit(t, "\"route\":");
    gw_text_json(t, x->route->name);
    if (source) {
        gw_text_lit(t, ",\"source\":");
        gw_text_json(t, x->route->match.source);
    }
    if (x->id.len) {
        gw_text_lit(t, ",\"request_id\":");
        gw_text_json(t, x->id);
    }
}

/* `plugin`: in which it was; NULL: not known. */
static void log_failure(gw_log_ring *log, const gw_plugin *plugin, const gw_task *task, const gw_exchange *x, gw_slice message,
                        gw_slice traceback)
{
    char bytes[GW_REPORT_BYTES];
    gw_text t = gw_text_on(bytes, sizeof bytes);
    where(&t, task, x, true);
    if (t.at > t.begin)
        gw_text_lit(&t, ",");
    if (plugin) { /* by its name, or where the function begins */
        gw_text_lit(&t, "\"plugin\":");
        gw_text_json(&t, plugin->name);
        gw_text_lit(&t, ",");
    }
    gw_text_lit(&t, "\"error\":");
    gw_text_json(&t, gw_slice_of(message.ptr, message.len > 1000 ? 1000 : message.len));
    if (traceback.len) {
        gw_text before = t;
        gw_text_lit(&t, ",\"traceback\":");
        gw_text_json(&t, gw_slice_of(traceback.ptr, traceback.len > 1500 ? 1500 : traceback.len));
        if (t.cut)
            t = before;
    }
    gw_slice members = gw_text_done(&t);
    gw_log_event(log, GW_LOG_ERROR, "script error", "%.*s", (int)members.len, members.ptr);
}

struct explaining {
    lua_State *co;
    gw_task *t;
    gw_exchange *x;
    int status;
};

/* Lua's own words: message and traceback of the dead coroutine. */
static int explain(lua_State *L)
{
    struct explaining *e = lua_touserdata(L, 1);
    gw_task *t = e->t;
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->state->explain);
    if (e->status == LUA_YIELD)
        lua_pushliteral(L, "the script called coroutine.yield outside a coroutine of its own");
    else
        lua_xmove(e->co, L, 1);
    lua_pushthread(e->co);
    lua_xmove(e->co, L, 1);
    lua_insert(L, -2);
    lua_call(L, 2, 2); /* (coroutine, message) -> message, traceback */
    gw_slice part[2] = {GW_NO_SLICE, GW_NO_SLICE};
    for (int i = 0; i < 2; i++)
        if (lua_type(L, i - 2) == LUA_TSTRING)
            part[i].ptr = lua_tolstring(L, i - 2, &part[i].len);
    log_failure(t->state->engine->log, t->state->blamed, t, e->x, part[0].ptr ? part[0] : GW_SLICE("error without a message"),
                part[1]);
    return 0;
}

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

void gw_push_collect(lua_State *L)
{
    lua_pushcfunction(L, collect);
}

void gw_script_collect(gw_state *s)
{
    gw_state_relieve(s);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->collect); /* made before: with nothing left, lua_cpcall could not even begin */
    int status = gw_guard_pcall(s);
    if (status == GW_GUARD_ABANDONED) /* a finalizer ran away */
        return;
    if (status != 0)
        lua_pop(s->L, 1);
    gw_state_relieve(s); /* the collector may have been lent memory, too */
}

static void report(lua_State *co, gw_task *t, gw_exchange *x, int status)
{
    struct explaining e = {.co = co, .t = t, .x = x, .status = status};
    gw_state *s = t->state;
    lua_State *L = s->L;
    gw_counters *c = &s->engine->counters;
    __atomic_store_n(&c->lua_errors, c->lua_errors + 1, __ATOMIC_RELAXED);
    bool memory = status == LUA_ERRMEM || s->refused;
    int explained = memory ? LUA_ERRMEM : gw_guard_cpcall(s, explain, &e);
    if (explained == GW_GUARD_ABANDONED)
        return;
    if (!memory && explained != 0) {
        memory = explained == LUA_ERRMEM;
        gw_slice why = GW_NO_SLICE;
        if (lua_type(L, -1) == LUA_TSTRING)
            why.ptr = lua_tolstring(L, -1, &why.len);
        if (!memory)
            log_failure(t->state->engine->log, t->state->blamed, t, x, why.ptr ? why : GW_SLICE("an error that cannot be told"),
                        GW_NO_SLICE);
        lua_pop(L, 1);
    }
    if (memory && gw_engine_out_of_memory(s->engine, NULL))
        log_failure(s->engine->log, s->blamed, t, x, GW_SLICE("not enough memory for the script"), GW_NO_SLICE);
}

void gw_script_report(gw_task *t, gw_exchange *x, int status)
{
    report(t->co, t, x, status);
}

void gw_script_report_on(lua_State *co, gw_task *t, int status)
{
    report(co, t, t->view.exchange, status);
}

void gw_script_report_timer(const gw_job *j, const char *message)
{
    log_failure(j->state->engine->log, NULL, j->task, NULL, gw_slice_str(message), GW_NO_SLICE);
}

void gw_script_report_memory(gw_exchange *x)
{
    if (gw_engine_out_of_memory(x->engine, NULL))
        log_failure(x->engine->log, NULL, NULL, x, GW_SLICE("not enough memory for the script"), GW_NO_SLICE);
}

void gw_script_report_text(gw_exchange *x, gw_slice text)
{
    log_failure(x->engine->log, NULL, NULL, x, text, GW_NO_SLICE);
}

void gw_script_report_overrun(gw_state *s, gw_exchange *x, bool lost)
{
    gw_counters *c = &s->engine->counters;
    __atomic_store_n(&c->lua_overran, c->lua_overran + 1, __ATOMIC_RELAXED);
    if (!lost)
        return;
    char bytes[400];
    gw_text t = gw_text_on(bytes, sizeof bytes);
    gw_text_printf(&t,
                   "the script ran for %d ms of CPU in one go and could not be stopped: at most %d ms are allowed "
                   "(gateway.script { cpu }); this "
                   "worker's Lua state was given up",
                   (int)(gw_guard_overran(s) * 1e3), (int)(s->budget / 1000000));
    log_failure(s->engine->log, s->blamed, s->running, x, gw_text_done(&t), GW_NO_SLICE);
}

/* ---- gateway.log ---- */

/* write(level, message, members): see lua/gateway/log.lua. */
static int lua_log(lua_State *L)
{
    const gw_state *s = gw_state_called(L);
    int level = (int)luaL_checkinteger(L, 1);
    size_t len = 0;
    const char *message = luaL_checkstring(L, 2);
    const char *members = luaL_optlstring(L, 3, NULL, &len);
    char bytes[GW_REPORT_BYTES];
    gw_text t = gw_text_on(bytes, sizeof bytes);
    if (s->engine) {
        where(&t, s->running, s->running ? s->running->view.exchange : NULL, false);
        if (members) {
            gw_text before = t;
            if (t.at > t.begin)
                gw_text_lit(&t, ",");
            gw_text_add(&t, members, len);
            if (t.cut)
                t = before;
        }
        gw_slice all = gw_text_done(&t);
        if (all.len)
            gw_log_event(s->engine->log, (enum gw_log_level)level, message, "%.*s", (int)all.len, all.ptr);
        else
            gw_log_event(s->engine->log, (enum gw_log_level)level, message, NULL);
        return 0;
    }
    if (s->index != 0 || s->quiet) /* while it loads, the script runs once for each worker: one of them speaks */
        return 0;
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    char time[25];
    gw_clock_iso8601(gw_clock_wall(), time);
    gw_text_printf(&t, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", time, levels[level & 3]);
    gw_text_json(&t, gw_slice_str(message));
    if (members) {
        gw_text_lit(&t, ",");
        gw_text_add(&t, members, len);
    }
    gw_text_lit(&t, "}\n");
    if (!t.cut && write(STDERR_FILENO, t.begin, (size_t)(t.at - t.begin)) < 0)
        return 0; /* nobody listens */
    return 0;
}

static int lua_now(lua_State *L)
{
    lua_pushnumber(L, gw_clock_wall());
    return 1;
}

void gw_push_log(lua_State *L, gw_state *s)
{
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, lua_log, 1);
}

void gw_push_now(lua_State *L)
{
    lua_pushcfunction(L, lua_now);
}
