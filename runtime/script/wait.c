#include "script/wait.h"
#include "gateway/exchange.h"
#include "script/every.h"
#include <lauxlib.h>

void gw_waits_init(gw_state *s)
{
    gw_list_init(&s->losers);
    gw_list_init(&s->jobs_lost.link);
    s->waits.state = s;
    s->make_finisher = s->make_job = s->finisher = LUA_NOREF;
    gw_slab_init(&s->wait_slab, sizeof(gw_wait), 32);
    gw_slab_init(&s->waiting_slab, sizeof(gw_waiting), 32);
}

void gw_waits_clear(gw_state *s)
{
    if (s->adopted) { /* the registry outlives it */
        luaL_unref(s->L, LUA_REGISTRYINDEX, s->make_finisher);
        luaL_unref(s->L, LUA_REGISTRYINDEX, s->make_job);
    }
    gw_jobs_clear(s);
    gw_slab_clear(&s->wait_slab);
    gw_slab_clear(&s->waiting_slab);
}

/* ---- ending ---- */

void gw_wait_end(gw_wait *w)
{
    gw_waiting *owner = w->owner;
    gw_timeout_disarm(&w->timer);
    gw_list_remove(&w->link);
    owner->count--;
    if (w->end)
        w->end(w);
    gw_slab_give(&owner->state->wait_slab, w);
}

void gw_waiting_clear(gw_waiting *waiting)
{
    while (!gw_list_empty(&waiting->waits))
        gw_wait_end(gw_container_of(waiting->waits.next, gw_wait, link));
}

void gw_waiting_end(gw_waiting *waiting)
{
    gw_guard_remove_loser(&waiting->loser);
    gw_waiting_clear(waiting);
    gw_slab_give(&waiting->state->waiting_slab, waiting);
}

/* The task is gone with its state: only what is in C's memory may be touched. */
static void on_lost(gw_loser *l)
{
    gw_waiting *waiting = gw_container_of(l, gw_waiting, loser);
    if (waiting->finals)
        waiting->exchange->finals = NULL;
    gw_waiting_end(waiting);
}

/* ---- beginning ---- */

gw_waiting *gw_waiting_of(gw_task *t)
{
    if (t->waiting)
        return t->waiting;
    gw_state *s = t->state;
    gw_waiting *waiting = gw_slab_take(&s->waiting_slab);
    if (!waiting)
        return NULL;
    *waiting = (gw_waiting){.state = s, .exchange = t->view.exchange, .later = t->job ? &t->job->later : NULL};
    waiting->loser.lost = on_lost;
    gw_guard_add_loser(s, &waiting->loser);
    gw_list_init(&waiting->waits);
    t->waiting = waiting;
    return waiting;
}

static void on_time(gw_timeout *t)
{
    gw_wait_over(gw_container_of(t, gw_wait, timer));
}

static gw_wait *refused(gw_state *s, int status)
{
    s->waits.status = status;
    return NULL;
}

gw_wait *gw_wait_new(gw_state *s)
{
    gw_task *t = s->running;
    if (!t || s->finishing || (!t->view.exchange && !t->job))
        return refused(s, GW_INVALID);
    gw_waiting *owner = gw_waiting_of(t);
    if (!owner)
        return refused(s, GW_NOMEM);
    if (owner->count >= GW_WAITS_MOST)
        return refused(s, GW_LIMIT);
    gw_wait *w = gw_slab_take(&s->wait_slab);
    if (!w)
        return refused(s, GW_NOMEM);
    *w = (gw_wait){.owner = owner};
    gw_timeout_init(&w->timer, on_time);
    gw_list_push_back(&owner->waits, &w->link);
    owner->count++;
    return w;
}

void gw_wait_over(gw_wait *w)
{
    w->over = true;
    gw_timeout_disarm(&w->timer);
    if (w->owner->exchange)
        gw_exchange_wake(w->owner->exchange);
    else
        gw_loop_later(w->owner->state->engine->loop, w->owner->later);
}

/* ---- for Lua ---- */

gw_lua_waits *gw_lua_waits_here(gw_lua_waits *waits)
{
    return gw_unlikely(gw_state_adopted != NULL) ? &gw_state_adopted->waits : waits;
}

void *gw_lua_sleep(gw_lua_waits *waits, double seconds)
{
    gw_state *s = waits->state;
    gw_wait *w = gw_wait_new(s);
    if (!w)
        return NULL;
    if (seconds > 0)
        gw_timeout_arm(s->engine->loop, &w->timer, seconds);
    else
        gw_wait_over(w);
    return w;
}

int gw_lua_wait_over(void *wait)
{
    return ((const gw_wait *)wait)->over;
}

void gw_lua_wait_end(void *wait)
{
    gw_wait_end(wait);
}
