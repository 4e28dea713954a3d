#include "script/task.h"
#include "gateway/exchange.h"
#include "script/guard.h"
#include "script/every.h"
#include "script/finally.h"
#include "script/remake.h"
#include "script/report.h"
#include "script/wait.h"
#include <lauxlib.h>
#include <stdlib.h>

#define GW_TASKS_KEPT 256         /* parked tasks kept by one chain */
#define GW_PREPARE_CPU 5000000000 /* ns: collecting all that a large load left behind takes a while */

/* ---- what Lua calls to leave: shared by all tasks of a state, so that compiled code is shared too ---- */

/* Raises at the script's line; a frame of the library (what a tail call leaves as the caller) would mislead. */
static int misuse(lua_State *L, const char *message)
{
    lua_Debug ar;
    if (lua_getstack(L, 1, &ar) && lua_getinfo(L, "Sl", &ar) && ar.currentline > 0 && *ar.source == '@' &&
        !strstr(ar.source, "lua/gateway/"))
        lua_pushfstring(L, "%s:%d: %s", ar.source + 1, ar.currentline, message);
    else
        lua_pushstring(L, message);
    return lua_error(L);
}

/* The task that runs, if it may leave here. */
static gw_task *running_task(lua_State *L)
{
    gw_state *s = gw_state_called(L);
    gw_task *t = s->running;
    if (gw_unlikely(!t || s->finishing))
        misuse(L, s->finishing ? "a finalizer (request:finally) runs when its request is over: it cannot wait"
                               : "there is nothing to wait for while the script loads");
    return t;
}

static void check_yieldable(lua_State *L, const char *what)
{
    if (gw_likely(lua_isyieldable(L)))
        return;
    lua_pushfstring(L, "%s cannot be called from here: a function of C (table.sort, string.gsub, ...) stands in between", what);
    misuse(L, lua_tostring(L, -1));
}

static char token; /* known by its address */

/* Inside of a coroutine of the script's own: to who resumed it, with the token. */
static int pass_down(lua_State *L)
{
    lua_pushlightuserdata(L, &token);
    return lua_yield(L, 1);
}

static int task_park(lua_State *L)
{
    running_task(L)->at = GW_TASK_PARKED;
    return lua_yield(L, 0);
}

static int task_next(lua_State *L)
{
    gw_task *t = running_task(L);
    if (gw_unlikely(t->job != NULL))
        return misuse(L, "next() belongs to a request: a timer has none");
    if (gw_unlikely(t->view.forwarded))
        return misuse(L, "next() was called a second time: the request has been forwarded already");
    if (gw_unlikely(t->co != L)) {
        if (t->state->waits.parallel)
            return misuse(L, "next() cannot be called inside of gateway.all: call it before or after");
        check_yieldable(L, "next()");
        t->view.forwarded = 1;
        t->wants_next = true;
        return pass_down(L);
    }
    t->view.forwarded = 1;
    t->at = GW_TASK_NEXT;
    return lua_yield(L, 0);
}

static int task_wait(lua_State *L)
{
    gw_task *t = running_task(L);
    check_yieldable(L, "what waits");
    if (t->co != L)
        return pass_down(L);
    t->at = t->wants_next ? GW_TASK_NEXT : GW_TASK_WAITING;
    t->wants_next = false;
    return lua_yield(L, 0);
}

/* What stands in exchange->task while there is no task. */
static gw_task lost_task;    /* its state was given up: the chain fails when it is to go on */
static gw_task waiting_task; /* there is no state yet: the chain begins when there is */

/* ---- making and dropping ---- */

struct making {
    gw_state *s;
    uint32_t chain;
    gw_task *task;
};

static int make(lua_State *L)
{
    struct making *m = lua_touserdata(L, 1);
    gw_state *s = m->s;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->make_task);
    gw_task *t = lua_newuserdata(L, sizeof *t);
    memset(t, 0, sizeof *t);
    lua_pushinteger(L, (int)m->chain + 1);
    lua_call(L, 2, 3); /* (userdata, chain) -> coroutine, response, anchor */
    t->state = s;
    t->chain = &s->chains[m->chain];
    t->co = lua_tothread(L, -3);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->anchors);
    lua_pushvalue(L, -2);
    t->anchor = luaL_ref(L, -2);
    lua_pushvalue(L, -3);
    t->response = luaL_ref(L, -2);
    m->task = t;
    return 0;
}

void gw_script_push_anchored(lua_State *L, const gw_state *s, int reference)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->anchors);
    lua_rawgeti(L, -1, reference);
    lua_remove(L, -2);
}

/* The coroutine is never run again; the collector takes it, and the task with it as soon as no script holds the request. */
void gw_task_drop(gw_task *t)
{
    lua_State *L = t->state->L;
    gw_task_waits_no_more(t);
    t->view.exchange = NULL;
    t->co = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->state->anchors);
    luaL_unref(L, -1, t->response);
    luaL_unref(L, -1, t->anchor);
    lua_pop(L, 1);
}

static gw_task *take(gw_state *s, uint32_t chain)
{
    gw_chain *c = &s->chains[chain];
    gw_task *t = c->free;
    if (gw_likely(t)) {
        c->free = t->next;
        c->free_count--;
        return t;
    }
    struct making m = {.s = s, .chain = chain};
    int status = gw_guard_cpcall(s, make, &m);
    if (gw_unlikely(status == GW_GUARD_ABANDONED))
        return NULL;
    if (status == 0) {
        t = m.task;
        s->running = t;
        status = gw_guard_resume(s, t->co, 0); /* to its first park */
        if (gw_unlikely(status == GW_GUARD_ABANDONED))
            return NULL;
        s->running = NULL;
        if (status == LUA_YIELD && t->at == GW_TASK_PARKED)
            return t;
        gw_task_drop(t);
    } else
        lua_pop(s->L, 1);
    return NULL;
}

void gw_task_give(gw_task *t)
{
    gw_chain *c = t->chain;
    gw_task_waits_no_more(t);
    t->view.exchange = NULL;
    if (c->free_count >= GW_TASKS_KEPT) {
        gw_task_drop(t);
        return;
    }
    t->next = c->free;
    c->free = t;
    c->free_count++;
}

/* ---- the end of a task's work for an exchange: but who has finalizers is kept until the exchange ends (finally.c) ---- */

static void give(gw_task *t, const gw_exchange *x)
{
    if (gw_unlikely(x->finals != NULL))
        gw_waiting_clear(t->waiting);
    else
        gw_task_give(t);
}

static void drop(gw_task *t, const gw_exchange *x)
{
    if (gw_unlikely(x->finals != NULL)) {
        gw_waiting_clear(t->waiting);
        t->at = GW_TASK_DROPPED;
    } else
        gw_task_drop(t);
}

/* ---- running ---- */

static inline gw_lua_slice lent(gw_slice s)
{
    return (gw_lua_slice){s.ptr, s.len};
}

static void open_view(gw_task *t, gw_exchange *x)
{
    gw_lua_view *v = &t->view;
    v->exchange = x;
    v->method = lent(x->request.method_name);
    v->path = lent(x->path);
    v->query = lent(x->query);
    v->host = lent(x->request.host);
    v->client_ip = (gw_lua_slice){x->client_ip_text, x->client_ip_len};
    v->id = lent(x->id);
    v->route = lent(x->route->name);
    v->https = x->https;
    v->verdict = GW_LUA_NONE;
    v->forwarded = 0;
    v->answered = 0;
    v->status = 0;
    t->place = 0;
}

/* What next() gives, onto the coroutine. */
static inline void push_response(gw_task *t)
{
    gw_script_push_anchored(t->co, t->state, t->response);
}

/* Nothing of the script's own is left on the coroutine: only next() itself, the chain's layers and the driver below them. */
static inline bool only_layers(const gw_task *t)
{
    lua_Debug ar;
    return lua_getstack(t->co, (int)t->chain->layers + 2, &ar) == 0;
}

static enum gw_chain_verdict failed(gw_task *t, gw_exchange *x, int status)
{
    gw_state *s = t->state;
    x->task = NULL;
    s->waits.parallel = 0;
    t->wants_next = false;
    bool overran = gw_guard_overran(s) > 0;
    s->blamed = gw_state_failed(s, overran);
    if (overran)
        gw_script_report_overrun(s, x, false);
    gw_script_report(t, x, status);
    s->blamed = NULL;
    if (gw_likely(s->L)) /* what explains an error is a script's, too, and may run away */
        drop(t, x);
    return GW_CHAIN_FAILED;
}

/* Runs the coroutine until it leaves. Frames of the script that C cannot see again must not be there when a task is reused: so a task goes
 * back to its pool only when it parked. */
static enum gw_chain_verdict run(gw_task *t, gw_exchange *x, int arguments)
{
    gw_state *s = t->state;
    t->at = GW_TASK_RUNNING;
    s->running = t;
    atomic_store_explicit(s->place, t->place, memory_order_relaxed);
    int status = gw_guard_resume(s, t->co, arguments);
    if (gw_unlikely(status == GW_GUARD_ABANDONED)) {
        x->task = NULL;
        return GW_CHAIN_FAILED;
    }
    s->running = NULL;
    t->place = atomic_load_explicit(s->place, memory_order_relaxed);
    if (gw_unlikely(status != LUA_YIELD))
        return failed(t, x, status);
    switch (t->at) {
    case GW_TASK_NEXT:
        if (!only_layers(t)) {
            x->task = t;
            return GW_CHAIN_FORWARD;
        }
        /* Every function left by a tail call: the layers end at once with the response that nobody looks at. */
        t->at = GW_TASK_RUNNING;
        s->running = t;
        push_response(t);
        status = gw_guard_resume_library(s, t->co, 1);
        x->task = NULL;
        s->running = NULL;
        if (gw_likely(status == LUA_YIELD && t->at == GW_TASK_PARKED))
            give(t, x);
        else
            drop(t, x);
        return GW_CHAIN_FORWARD_ONLY;
    case GW_TASK_WAITING:
        x->task = t;
        return GW_CHAIN_WAIT;
    case GW_TASK_PARKED: {
        enum gw_chain_verdict verdict = t->view.verdict == GW_LUA_PASS ? GW_CHAIN_PASS : GW_CHAIN_RESPOND;
        x->task = NULL;
        give(t, x);
        return verdict;
    }
    default: /* the script called coroutine.yield itself */
        return failed(t, x, LUA_YIELD);
    }
}

static enum gw_chain_verdict go(gw_state *s, gw_task *t, gw_exchange *x, int arguments)
{
    enum gw_chain_verdict verdict = run(t, x, arguments);
    if (gw_unlikely(s->refused && s->L)) /* LuaJIT does not collect when memory is refused: the next request would be, too */
        gw_script_collect(s);
    return verdict;
}

static enum gw_chain_verdict start(gw_exchange *x)
{
    bool hopeless = false;
    gw_state *s = gw_remake_state(x->generation, x->engine, &hopeless);
    if (gw_unlikely(!s)) {
        if (hopeless)
            return GW_CHAIN_UNAVAILABLE;
        x->task = &waiting_task;
        return GW_CHAIN_WAIT;
    }
    s->engine = x->engine;
    gw_lua_clock(x->engine->loop);
    gw_task *t = take(s, (uint32_t)x->route->chain);
    if (gw_unlikely((!t || s->refused) && s->L))
        gw_script_collect(s);
    if (gw_unlikely(!t)) {
        if (s->L)
            gw_script_report_memory(x);
        return GW_CHAIN_FAILED;
    }
    open_view(t, x);
    return go(s, t, x, 0);
}

static enum gw_chain_verdict resume(gw_exchange *x)
{
    gw_task *t = x->task;
    if (gw_unlikely(t == &lost_task)) {
        x->task = NULL;
        gw_script_report_text(x, GW_SLICE("another request of this worker ran away in Lua, and took with it what waited there"));
        return GW_CHAIN_FAILED;
    }
    if (gw_unlikely(t == &waiting_task)) {
        x->task = NULL;
        return start(x);
    }
    gw_state *s = t->state;
    if (t->at == GW_TASK_WAITING)
        return go(s, t, x, 0);
    t->view.answered = 1;
    t->view.status = x->response.status;
    push_response(t);
    return go(s, t, x, 1);
}

static void cancel(gw_exchange *x)
{
    gw_task *t = x->task;
    x->task = NULL;
    if (t != &lost_task && t != &waiting_task)
        drop(t, x);
}

/* ---- a state that is given up ---- */

/* Its memory is still there, but in no order: nothing of Lua's may be called. */
static void on_lost(gw_state *s)
{
    gw_engine *e = s->engine;
    gw_exchange *here = s->running ? s->running->view.exchange : NULL;
    s->blamed = gw_state_failed(s, true);
    gw_script_report_overrun(s, here, true);
    s->blamed = NULL;
    __atomic_store_n(&e->counters.lua_states_lost, e->counters.lua_states_lost + 1, __ATOMIC_RELAXED);
    for (gw_list *at = e->exchange_list.next; at != &e->exchange_list; at = at->next) {
        gw_exchange *x = gw_container_of(at, gw_exchange, link);
        if (x->generation != s->generation || !x->task || x->task == &lost_task || x->task == &waiting_task)
            continue;
        x->task = &lost_task;
        if (x != here && (x->state == GW_X_CHAIN || x->state == GW_X_BODY))
            gw_exchange_wake(x);
    }
    gw_remake_begin(s);
}

void gw_script_wake_waiting(gw_state *s)
{
    gw_engine *e = s->engine;
    for (gw_list *at = e->exchange_list.next; at != &e->exchange_list; at = at->next) {
        gw_exchange *x = gw_container_of(at, gw_exchange, link);
        if (x->generation == s->generation && x->task == &waiting_task)
            gw_exchange_wake(x);
    }
}

const gw_chain_ops gw_script_chain_ops = {.start = start, .resume = resume, .cancel = cancel, .finish = gw_script_finish};

/* ---- readying a state ---- */

struct preparing {
    gw_state *s;
    int results;
};

static void push_leave(lua_State *L, gw_state *s, lua_CFunction f)
{
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, f, 1);
}

void gw_push_wait(lua_State *L, gw_state *s)
{
    push_leave(L, s, task_wait);
}

static int prepare(lua_State *L)
{
    struct preparing *p = lua_touserdata(L, 1);
    gw_state *s = p->s;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "gateway.chain");
    lua_call(L, 1, 1);
    if (!s->adopted) {
        lua_getfield(L, -1, "close_globals");
        lua_call(L, 0, 0);
    }
    lua_getfield(L, -1, "install");
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->results);
    lua_rawgeti(L, -1, GW_RESULT_CHAINS);
    lua_remove(L, -2);
    lua_getfield(L, -1, "timers");
    gw_jobs_take(L, s);
    for (uint32_t i = 0; i < s->chain_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        lua_getfield(L, -1, "use");
        s->chains[i].layers = (uint32_t)lua_objlen(L, -1);
        lua_pop(L, 2);
    }
    push_leave(L, s, task_park);
    push_leave(L, s, task_next);
    gw_push_wait(L, s);
    lua_pushlightuserdata(L, &s->waits);
    lua_pushlightuserdata(L, &token);
    lua_pushlightuserdata(L, s->cells);
    lua_pushlightuserdata(L, (void *)s->place);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->results);
    lua_rawgeti(L, -1, GW_RESULT_SPEC);
    lua_getfield(L, -1, "plugins");
    lua_replace(L, -3);
    lua_pop(L, 1);
    lua_call(L, 9,
             4); /* (chains, park, next, wait, waits, token, cells, place, plugins) -> make, explain, make_finisher, make_job */
    s->make_job = luaL_ref(L, LUA_REGISTRYINDEX);
    s->make_finisher = luaL_ref(L, LUA_REGISTRYINDEX);
    s->finisher = LUA_NOREF;
    s->explain = luaL_ref(L, LUA_REGISTRYINDEX);
    s->make_task = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_createtable(L, 64, 0);
    lua_pushinteger(L, 0);
    lua_rawseti(L, -2, 0); /* where luaL_unref keeps its list: so it never needs memory */
    s->anchors = luaL_ref(L, LUA_REGISTRYINDEX);
    gw_push_collect(L);
    s->collect = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_unref(L, LUA_REGISTRYINDEX, p->results);
    lua_settop(L, 0);
    if (!s->adopted)
        lua_gc(L, LUA_GCCOLLECT, 0); /* what the load left behind */
    return 0;
}

int gw_script_prepare(gw_state *s, gw_generation *g, uint32_t plugins, int results)
{
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, results);
    lua_rawgeti(s->L, -1, GW_RESULT_CHAINS);
    size_t count = lua_istable(s->L, -1) ? lua_objlen(s->L, -1) : 0;
    lua_pushliteral(s->L, "timers");
    lua_rawget(s->L, -2);
    bool timers = lua_istable(s->L, -1) && lua_objlen(s->L, -1) > 0;
    lua_pop(s->L, 3);
    if (count == 0 && !timers)
        return GW_NOTFOUND;
    s->generation = g;
    s->chains = calloc(count ? count : 1, sizeof *s->chains);
    if (!s->chains || !gw_state_count(s, plugins))
        return GW_NOMEM;
    s->chain_count = (uint32_t)count;
    struct preparing p = {.s = s, .results = results};
    gw_state_relieve(s);
    int64_t budget = s->budget;
    s->budget = GW_PREPARE_CPU;
    int status = gw_guard_cpcall(s, prepare, &p);
    if (status != 0) {
        if (status != GW_GUARD_ABANDONED)
            lua_pop(s->L, 1);
        return GW_NOMEM;
    }
    s->budget = budget;
    s->lost = on_lost;
    return s->refused ? GW_NOMEM : GW_OK;
}
