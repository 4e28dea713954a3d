/* Giving back what outlived its generation: generations, endpoint sets, endpoints.
 *
 * The order is always: nobody can find it any more (a swap) → a round over the workers → given back here. Endpoints that lose their
 * last owner thereby still have idle connections on the workers; those are closed on a further round (gw_endpoint_drop). */
#include "base/clock.h"
#include "process/supervisor.h"

#include <stdlib.h>

static void drop_orphans(gw_supervisor *s);

void gw_release_orphan(gw_endpoint *e, void *data)
{
    gw_supervisor *s = data;
    gw_list_push_back(&s->orphans, &e->link);
}

static void visit_dropping(gw_worker *w, void *data)
{
    gw_supervisor *s = data;
    /* The list stands still during the round, and an endpoint cannot be freed before this worker has dropped it: so its successor is
     * looked up first. */
    for (gw_list *at = s->dropping.next; at != &s->dropping;) {
        gw_endpoint *e = gw_container_of(at, gw_endpoint, link);
        at = at->next;
        gw_endpoint_drop(&w->engine, e);
    }
}

static void dropped(gw_supervisor *s, void *data)
{
    (void)data;
    gw_list_init(&s->dropping);
    s->drop = NULL;
    drop_orphans(s);
}

static void drop_orphans(gw_supervisor *s)
{
    if (gw_list_empty(&s->orphans) || !gw_list_empty(&s->dropping) || s->state == GW_STOPPING)
        return;
    gw_round *round = gw_round_new(s, visit_dropping, dropped, s);
    if (!round)
        return; /* they wait for the next time something is released */
    s->dropping = s->orphans;
    s->dropping.next->prev = s->dropping.prev->next = &s->dropping;
    gw_list_init(&s->orphans);
    gw_round_start(round);
}

void gw_release_soon(gw_supervisor *s, gw_release *r)
{
    if (s->reloads.building) {
        r->next = s->releases;
        s->releases = r;
        return;
    }
    r->run(s, r);
    drop_orphans(s);
}

void gw_release_waiting(gw_supervisor *s)
{
    while (s->releases) {
        gw_release *r = s->releases;
        s->releases = r->next;
        r->run(s, r);
    }
    drop_orphans(s);
}

void gw_release_at_end(gw_supervisor *s)
{
    gw_release_waiting(s);
    /* No thread is left, so this one may speak for all workers. */
    while (!gw_list_empty(&s->orphans)) {
        gw_endpoint *e = gw_container_of(s->orphans.next, gw_endpoint, link);
        gw_list_remove(&e->link);
        for (uint32_t i = 0; i < s->worker_count; i++)
            gw_endpoint_drop(&s->workers[i]->engine, e);
    }
}

/* ---- generations ---- */

static void free_live(gw_supervisor *s, gw_release *r)
{
    gw_live *live = gw_container_of(r, gw_live, release);
    gw_names_stop(live->names);
    gw_round_discard(live->begin);
    gw_round_discard(live->retire);
    gw_generation_free(live->g, gw_release_orphan, s);
    free(live);
}

static void on_freed(gw_mail *mail, void *owner)
{
    gw_supervisor *s = owner;
    gw_live *live = gw_container_of(mail, gw_live, freed);
    if (live == s->live) { /* only at the end, when the workers stop while it is current */
        s->live = NULL;
    } else {
        s->retired--;
        gw_list_remove(&live->link);
    }
    gw_release_soon(s, &live->release);
}

static void on_last_worker(gw_generation *g, void *data) /* on that worker's thread */
{
    (void)g;
    gw_live *live = data;
    gw_loop_post(live->supervisor->loop, &live->freed);
}

static void visit_retire(gw_worker *w, void *data)
{
    gw_engine_retire(&w->engine, data);
}

static void visit_begin(gw_worker *w, void *data)
{
    gw_engine_begin(&w->engine, data);
}

gw_live *gw_live_new(gw_supervisor *s, gw_generation *g)
{
    gw_live *live = calloc(1, sizeof *live);
    if (!live)
        return NULL;
    live->g = g;
    live->supervisor = s;
    live->retire = gw_round_new(s, visit_retire, NULL, g);
    live->begin = gw_round_new(s, visit_begin, NULL, g);
    if (!live->begin || !live->retire || gw_names_new(s, g, &live->names) < 0) {
        gw_round_discard(live->begin);
        gw_round_discard(live->retire);
        free(live);
        return NULL;
    }
    live->freed.run = on_freed;
    gw_list_init(&live->link);
    live->release.run = free_live;
    g->freed = on_last_worker;
    g->freed_data = live;
    return live;
}

void gw_live_begin(gw_live *live)
{
    if (live->begin)
        gw_round_start(live->begin);
    live->begin = NULL;
}

void gw_live_discard(gw_live *live)
{
    gw_release_soon(live->supervisor, &live->release);
}

void gw_live_retire(gw_live *live)
{
    gw_names_stop(live->names);
    live->names = NULL;
    live->supervisor->retired++;
    live->retired_at = gw_clock_wall();
    gw_list_push_back(&live->supervisor->draining, &live->link);
    gw_round_start(live->retire);
    live->retire = NULL;
}
