#include "script/every.h"
#include "gateway/exchange.h"
#include "script/finally.h"
#include "script/guard.h"
#include "script/report.h"
#include "script/wait.h"
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

static void on_woken(gw_later *later);

/* ---- a run ---- */

static void again(gw_job *j)
{
    gw_engine *e = j->state->engine;
    double chance = (double)(gw_random_next(&e->random) >> 11) * 0x1p-53;
    double wait = j->seconds * (1 + j->jitter * (2 * chance - 1)), took = gw_loop_now(e->loop) - j->began;
    wait = took < wait ? wait - took : j->seconds - fmod(took, j->seconds);
    gw_timeout_arm(e->loop, &j->timer, wait > 0.001 ? wait : 0.001);
}

void gw_job_drop(gw_job *j)
{
    gw_task *t = j->task;
    j->task = NULL;
    gw_later_cancel(&j->later);
    gw_task_drop(t);
}

static void ended(gw_job *j)
{
    if (j->ended)
        j->ended(j);
    else
        again(j);
}

void gw_job_go(gw_job *j)
{
    gw_state *s = j->state;
    gw_task *t = j->task;
    t->at = GW_TASK_RUNNING;
    s->running = t;
    atomic_store_explicit(s->place, 0, memory_order_relaxed);
    gw_lua_clock(s->engine->loop);
    int status = gw_guard_resume(s, t->co, 0);
    if (gw_unlikely(status == GW_GUARD_ABANDONED))
        return; /* lost, and told so */
    s->running = NULL;
    if (!(status == LUA_YIELD && t->at == GW_TASK_WAITING)) {
        if (status != 0) {
            s->waits.parallel = 0;
            if (gw_guard_overran(s) > 0)
                gw_script_report_overrun(s, NULL, false);
            gw_script_report_on(t->co, t, status);
        }
        if (gw_unlikely(!j->task))
            return; /* what explains an error is a script's, too, and took the state with it */
        gw_job_drop(j);
        ended(j);
    }
    if (gw_unlikely(s->refused))
        gw_script_collect(s);
}

static void on_woken(gw_later *later)
{
    gw_job *j = gw_container_of(later, gw_job, later);
    if (j->task)
        gw_job_go(j);
}

struct making {
    gw_job *job;
    gw_task *task;
};

static int make(lua_State *L)
{
    struct making *m = lua_touserdata(L, 1);
    gw_state *s = m->job->state;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->make_job);
    gw_task *t = lua_newuserdata(L, sizeof *t);
    memset(t, 0, sizeof *t);
    lua_pushinteger(L, m->job->index);
    lua_call(L, 2, 2); /* (userdata, index) -> coroutine, anchor */
    t->state = s;
    t->job = m->job;
    t->co = lua_tothread(L, -2);
    t->response = LUA_NOREF;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->anchors);
    lua_pushvalue(L, -2);
    t->anchor = luaL_ref(L, -2);
    m->task = t;
    return 0;
}

void gw_job_run(gw_job *j)
{
    gw_state *s = j->state;
    struct making m = {.job = j};
    j->began = gw_loop_now(s->engine->loop);
    int made = gw_guard_cpcall(s, make, &m);
    if (gw_unlikely(made == GW_GUARD_ABANDONED))
        return;
    if (made != 0) {
        lua_pop(s->L, 1);
        gw_script_collect(s);
        gw_engine_out_of_memory(s->engine, "out of memory: a timer's run is left out");
        if (s->L)
            ended(j);
        return;
    }
    j->task = m.task;
    gw_timeout_arm(s->engine->loop, &j->timer, j->most > 0 ? j->most : s->generation->timeouts.chain);
    gw_job_go(j);
}

void gw_job_timer(gw_timeout *t)
{
    gw_job *j = gw_container_of(t, gw_job, timer);
    if (!j->task) {
        gw_job_run(j);
        return;
    }
    gw_script_report_timer(j, "the run took longer than its timeout and was ended");
    gw_job_drop(j);
    ended(j);
}

/* ---- all of them ---- */

static void on_lost(gw_loser *l)
{
    gw_state *s = gw_container_of(l, gw_state, jobs_lost);
    for (uint32_t i = 0; i < s->job_count; i++) {
        gw_timeout_disarm(&s->jobs[i].timer);
        gw_later_cancel(&s->jobs[i].later);
        s->jobs[i].task = NULL;
    }
}

void gw_script_begin(void *script, gw_engine *e)
{
    gw_state *s = script;
    if (s->job_count == 0)
        return;
    s->engine = e;
    if (!s->L) /* a request came before this, and ran away: the state that takes its place begins */
        return;
    s->jobs_lost.lost = on_lost;
    gw_guard_add_loser(s, &s->jobs_lost);
    for (uint32_t i = 0; i < s->job_count; i++) {
        gw_job *j = &s->jobs[i];
        if (!j->each_worker && i % s->generation->worker_count != e->index)
            continue;
        j->began = gw_loop_now(e->loop);
        if (j->at_once)
            gw_timeout_arm(e->loop, &j->timer, 0.001);
        else
            again(j);
    }
}

void gw_script_end(void *script)
{
    gw_state *s = script;
    if (s->job_count == 0)
        return;
    gw_guard_remove_loser(&s->jobs_lost);
    for (uint32_t i = 0; i < s->job_count; i++) {
        gw_job *j = &s->jobs[i];
        gw_timeout_disarm(&j->timer);
        if (j->task)
            gw_job_drop(j);
    }
}

static double number(lua_State *L, const char *name, double otherwise)
{
    lua_getfield(L, -1, name);
    double value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
    lua_pop(L, 1);
    return value;
}

static bool boolean(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

void gw_jobs_take(lua_State *L, gw_state *s)
{
    uint32_t count = (uint32_t)lua_objlen(L, -1);
    s->jobs = count ? calloc(count, sizeof *s->jobs) : NULL;
    if (count && !s->jobs)
        luaL_error(L, "not enough memory");
    for (uint32_t i = 0; i < count; i++) {
        gw_job *j = &s->jobs[i];
        lua_rawgeti(L, -1, (int)i + 1);
        j->state = s;
        j->index = (int)i + 1;
        gw_timeout_init(&j->timer, gw_job_timer);
        gw_later_init(&j->later, on_woken);
        j->seconds = number(L, "seconds", 60);
        j->jitter = number(L, "jitter", 0);
        j->most = number(L, "timeout", 0);
        j->each_worker = boolean(L, "each_worker");
        j->at_once = boolean(L, "at_once");
        s->job_count = i + 1;
        lua_getfield(L, -1, "source");
        const char *source = lua_tostring(L, -1);
        char *copy = strdup(source ? source : "?");
        if (!copy)
            luaL_error(L, "not enough memory");
        j->source = gw_slice_str(copy);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
}

void gw_jobs_clear(gw_state *s)
{
    for (uint32_t i = 0; i < s->job_count; i++)
        free((char *)(uintptr_t)s->jobs[i].source.ptr);
    free(s->jobs);
    s->jobs = NULL;
    s->job_count = 0;
}
