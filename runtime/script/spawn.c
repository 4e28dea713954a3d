#include "script/api.h"

#include "gateway/engine.h"
#include "script/every.h"
#include "script/guard.h"
#include <stdlib.h>

/* Its memory is its own: it may outlive its state, when that is given up. */
typedef struct spawned {
    gw_job job;
    gw_detached detached;
    gw_loser loser;
    gw_engine *engine;
    bool over, listed;
} spawned;

static void forget_state(spawned *s)
{
    if (s->listed)
        gw_guard_remove_loser(&s->loser);
    s->listed = false;
}

static void release(spawned *s)
{
    forget_state(s);
    gw_timeout_disarm(&s->job.timer);
    gw_later_cancel(&s->job.later);
    gw_engine_undetach(s->engine, &s->detached);
    free(s);
}

/* The reference goes from the loop's top: with it may go the state, whose code is still at work here. */
static void on_ended(gw_job *j)
{
    spawned *s = gw_container_of(j, spawned, job);
    s->over = true;
    gw_timeout_disarm(&j->timer);
    gw_loop_later(s->engine->loop, &j->later);
}

static void on_later(gw_later *later)
{
    spawned *s = gw_container_of(later, spawned, job.later);
    if (s->over)
        release(s);
    else if (s->job.task)
        gw_job_go(&s->job);
    else
        gw_job_run(&s->job);
}

static void on_lost(gw_loser *l)
{
    spawned *s = gw_container_of(l, spawned, loser);
    s->listed = false; /* the node is out of the list already */
    s->job.task = NULL;
    on_ended(&s->job);
}

/* The worker stops. */
static void on_stop(gw_detached *d)
{
    spawned *s = gw_container_of(d, spawned, detached);
    if (s->job.task)
        gw_job_drop(&s->job);
    release(s);
}

int gw_lua_spawn(gw_lua_waits *waits, int id, double seconds)
{
    gw_state *state = waits->state;
    spawned *s = calloc(1, sizeof *s);
    if (!s)
        return GW_NOMEM;
    s->engine = state->engine;
    s->detached.generation = state->generation;
    s->detached.end = on_stop;
    if (gw_engine_detach(s->engine, &s->detached) != GW_OK) {
        free(s);
        return GW_LIMIT;
    }
    s->job = (gw_job){.state = state, .index = -id, .ended = on_ended, .most = seconds, .source = GW_SLICE("gateway.spawn")};
    gw_timeout_init(&s->job.timer, gw_job_timer);
    gw_later_init(&s->job.later, on_later);
    s->loser.lost = on_lost;
    s->listed = true;
    gw_guard_add_loser(state, &s->loser);
    gw_loop_later(s->engine->loop, &s->job.later);
    return GW_OK;
}
