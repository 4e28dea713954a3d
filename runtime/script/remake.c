#include "script/remake.h"
#include "base/text.h"
#include "script/every.h"
#include <stdlib.h>

#define LOOK_AGAIN 0.05 /* while another state of the worker is being made */
#define PAUSE_FIRST 1.0
#define PAUSE_MOST 30.0

static void on_patience(gw_timeout *t);
static void on_swap(gw_later *later);

/* False: not now. */
static bool ask(gw_state *s)
{
    gw_remake *r = s->engine->remake;
    if (!r || r->busy)
        return false;
    gw_slice path = s->generation->script;
    free(r->path);
    r->path = strndup(path.ptr, path.len);
    if (!r->path)
        return false;
    r->busy = true;
    r->shell = s;
    r->engine = s->engine;
    r->index = s->index;
    r->library = s->library;
    r->digest = s->generation->digest;
    r->generation = s->generation;
    r->plugin_count = s->plugin_count;
    r->memory = s->most;
    r->budget = s->budget;
    r->made = NULL;
    r->failure[0] = '\0';
    s->asked = true;
    r->ask(r);
    return true;
}

void gw_remake_begin(gw_state *s)
{
    gw_loop *loop = s->engine->loop;
    s->hopeless = s->engine->remake == NULL;
    s->patience_until = gw_loop_now(loop) + GW_REMAKE_WAIT;
    s->pause = PAUSE_FIRST;
    gw_timeout_init(&s->patience, on_patience);
    gw_later_init(&s->swap, on_swap);
    s->timed = true;
    if (s->spare)
        gw_loop_later(loop, &s->swap);
    else if (!s->hopeless) {
        if (!s->asked) /* for a spare, which is not there yet: it will do */
            ask(s);
        gw_timeout_arm(loop, &s->patience, s->asked ? GW_REMAKE_WAIT : LOOK_AGAIN);
    }
}

/* The spare takes the place of what was given up, which is freed. */
static gw_state *swap(gw_state *old)
{
    gw_state *s = old->spare;
    old->spare = NULL;
    s->engine = old->engine;
    s->generation = old->generation;
    gw_generation_worker *mine = &s->generation->worker[s->engine->index];
    mine->script = s;
    gw_state_count_in(s, s->generation);
    uint64_t *remade = &s->engine->counters.lua_states_made;
    __atomic_store_n(remade, *remade + 1, __ATOMIC_RELAXED);
    gw_remake *r = s->engine->remake;
    if (r->shell == old) {
        r->shell = s;
        s->asked = true;
    } else
        ask(s); /* the next spare; when that cannot be now, there is none */
    gw_state_free(old);
    if (mine->begun)
        gw_script_begin(s, s->engine);
    gw_script_wake_waiting(s);
    return s;
}

static void on_swap(gw_later *later)
{
    gw_state *s = gw_container_of(later, gw_state, swap);
    if (!s->L && s->spare)
        swap(s);
}

static void on_patience(gw_timeout *t)
{
    gw_state *s = gw_container_of(t, gw_state, patience);
    gw_loop *loop = s->engine->loop;
    if (!s->asked)
        ask(s);
    double left = s->patience_until - gw_loop_now(loop);
    if (!s->hopeless && left <= 0) {
        s->hopeless = true;
        gw_script_wake_waiting(s);
    }
    if (s->asked && s->hopeless)
        return; /* what comes home goes on from there */
    gw_timeout_arm(loop, t, s->asked ? left : LOOK_AGAIN);
}

gw_state *gw_remake_state(gw_generation *g, gw_engine *e, bool *hopeless)
{
    gw_state *s = g->worker[e->index].script;
    if (gw_likely(s->L != NULL))
        return s;
    if (s->spare)
        return swap(s);
    *hopeless = s->hopeless;
    return NULL;
}

void gw_remake_run(gw_remake *r)
{
    r->made = gw_script_again(r);
}

void gw_remake_back(gw_remake *r)
{
    gw_state *s = r->shell, *made = r->made;
    r->busy = false;
    r->shell = r->made = NULL;
    if (!s) { /* its generation has ended */
        if (made)
            gw_state_free(made);
        return;
    }
    s->asked = false;
    if (made) {
        s->spare = made;
        if (!s->L)
            swap(s);
        return;
    }
    char bytes[1024];
    gw_text t = gw_text_on(bytes, sizeof bytes);
    gw_text_json(&t, gw_slice_str(r->failure));
    gw_slice why = gw_text_done(&t);
    gw_log_event(s->engine->log, GW_LOG_ERROR, s->L ? "no spare Lua state" : "no Lua state in place of the one that was given up",
                 "\"error\":%.*s", (int)why.len, why.ptr);
    if (s->L)
        return;
    s->hopeless = true;
    gw_script_wake_waiting(s);
    gw_timeout_arm(s->engine->loop, &s->patience, s->pause);
    s->pause = s->pause * 2 < PAUSE_MOST ? s->pause * 2 : PAUSE_MOST;
}

void gw_remake_clear(gw_remake *r)
{
    if (r->made)
        gw_state_free(r->made);
    free(r->path);
    r->made = NULL;
    r->path = NULL;
}

void gw_remake_forget(gw_state *s)
{
    if (s->engine && s->engine->remake && s->engine->remake->shell == s)
        s->engine->remake->shell = NULL;
    if (s->timed) {
        gw_timeout_disarm(&s->patience);
        gw_later_cancel(&s->swap);
    }
    if (s->spare)
        gw_state_free(s->spare);
    s->spare = NULL;
}
