#include "script/finally.h"
#include "script/guard.h"
#include "script/report.h"
#include "script/wait.h"
#include <lauxlib.h>

static int make(lua_State *L)
{
    gw_state *s = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->anchors);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->make_finisher);
    lua_call(L, 0, 1);
    s->finisher = luaL_ref(L, -2);
    return 0;
}

/* The coroutine that runs them: the task's own may be anywhere. NULL: there is no memory for one. */
static lua_State *finisher(gw_state *s)
{
    if (s->finisher == LUA_NOREF && gw_guard_cpcall(s, make, s) != 0 && s->L)
        lua_pop(s->L, 1);
    if (!s->L || s->finisher == LUA_NOREF)
        return NULL;
    gw_script_push_anchored(s->L, s, s->finisher);
    lua_State *co = lua_tothread(s->L, -1);
    lua_pop(s->L, 1);
    return co;
}

static void forget_finisher(gw_state *s)
{
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->anchors);
    luaL_unref(s->L, -1, s->finisher);
    lua_pop(s->L, 1);
    s->finisher = LUA_NOREF;
}

void gw_script_finish(gw_exchange *x)
{
    gw_task *t = x->finals;
    gw_state *s = t->state;
    s->engine = x->engine;
    gw_lua_clock(x->engine->loop);
    t->waiting->finals = false;
    lua_State *co = finisher(s);
    if (co) {
        gw_slice error = gw_slice_str(x->error);
        s->waits.out = (gw_lua_slice){error.ptr, error.len};
        gw_script_push_anchored(co, s, t->anchor);
        lua_rawgeti(co, -1, 3); /* the request */
        lua_remove(co, -2);
        lua_pushinteger(co, x->status);
        s->running = t;
        s->finishing = true;
        atomic_store_explicit(s->place, 0, memory_order_relaxed);
        int status = gw_guard_resume(s, co, 2);
        s->finishing = false;
        if (gw_unlikely(status == GW_GUARD_ABANDONED)) {
            x->finals = NULL;
            return;
        }
        s->running = NULL;
        if (gw_unlikely(status != LUA_YIELD)) {
            if (gw_guard_overran(s) > 0)
                gw_script_report_overrun(s, x, false);
            gw_script_report_on(co, t, status);
            if (gw_unlikely(!s->L)) {
                x->finals = NULL;
                return;
            }
            forget_finisher(s);
        }
    } else if (s->L)
        gw_script_report_memory(x);
    x->finals = NULL;
    if (gw_unlikely(!s->L))
        return;
    if (t->at == GW_TASK_PARKED)
        gw_task_give(t);
    else
        gw_task_drop(t);
    if (gw_unlikely(s->refused))
        gw_script_collect(s);
}
