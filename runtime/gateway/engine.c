#include "gateway/engine.h"
#include "base/clock.h"
#include "gateway/fetch.h"
#include "gateway/flow.h"
#include "gateway/recent.h"

int gw_engine_init(gw_engine *e, uint32_t index, gw_loop *loop, gw_log_ring *log, _Atomic(gw_generation *) *current)
{
    memset(e, 0, offsetof(gw_engine, scratch));
    e->loop = loop;
    e->index = index;
    e->log = log;
    e->current = current;
    gw_buffer_pool_init(&e->buffers, 256);
    gw_slab_init(&e->clients, sizeof(gw_client), 128);
    gw_slab_init(&e->exchanges, sizeof(gw_exchange), 8);
    gw_slab_init(&e->upconns, sizeof(gw_upconn), 64);
    gw_list_init(&e->client_list);
    gw_list_init(&e->exchange_list);
    gw_list_init(&e->upconn_list);
    gw_list_init(&e->detached_list);
    gw_random_seed(&e->random);
    e->date_at = e->wall_at = e->memory_told = -1;
    return GW_OK;
}

static void end_detached(gw_engine *e)
{
    while (!gw_list_empty(&e->detached_list)) {
        gw_detached *d = gw_container_of(e->detached_list.next, gw_detached, link);
        d->end(d);
    }
}

void gw_engine_clear(gw_engine *e)
{
    e->idle = NULL;
    end_detached(e); /* their fetches are exchanges, and end with them */
    while (!gw_list_empty(&e->exchange_list)) {
        gw_exchange *x = gw_container_of(e->exchange_list.next, gw_exchange, link);
        if (!x->status)
            x->status = 503;
        gw_stream_close(&x->client->stream);
        gw_exchange_abort(x, "gateway shut down");
    }
    end_detached(e); /* that finalizers of exchanges began a moment ago */
    while (!gw_list_empty(&e->client_list))
        gw_client_close(gw_container_of(e->client_list.next, gw_client, link));
    while (!gw_list_empty(&e->upconn_list)) /* idle ones: the busy ones went with their exchanges */
        gw_upconn_close(gw_container_of(e->upconn_list.next, gw_upconn, all));
    gw_fetches_free(e);
    while (e->arena_count)
        gw_arena_clear(&e->arenas[--e->arena_count]);
    gw_recent_free(e);
    gw_slab_clear(&e->exchanges);
    gw_slab_clear(&e->clients);
    gw_slab_clear(&e->upconns);
    gw_buffer_pool_clear(&e->buffers);
}

static void script_end(gw_generation *g, gw_generation_worker *mine)
{
    if (mine->begun && mine->script)
        g->script_end(mine->script);
    mine->begun = false;
}

void gw_engine_begin(gw_engine *e, gw_generation *g)
{
    gw_generation_worker *mine = &g->worker[e->index];
    if (mine->script && g->script_begin && !mine->retired && !e->draining) {
        mine->begun = true;
        g->script_begin(mine->script, e);
    }
}

void gw_engine_drain(gw_engine *e)
{
    e->draining = true;
    gw_generation *g = atomic_load_explicit(e->current, memory_order_acquire);
    if (g)
        script_end(g, &g->worker[e->index]);
    gw_clients_close_soon(e, NULL);
    if (gw_engine_is_idle(e) && e->idle)
        e->idle(e);
}

void gw_engine_close_listener(gw_engine *e, const gw_listener *l)
{
    gw_clients_close_soon(e, l);
}

void gw_engine_retire(gw_engine *e, gw_generation *g)
{
    gw_generation_worker *mine = &g->worker[e->index];
    script_end(g, mine); /* what its timers were at may hold references to it */
    mine->retired = true;
    if (mine->references)
        return;
    if (mine->script) {
        g->script_close(mine->script);
        mine->script = NULL;
    }
    if (atomic_fetch_sub_explicit(&g->workers_left, 1, memory_order_acq_rel) == 1 && g->freed)
        g->freed(g, g->freed_data);
}

int gw_engine_detach(gw_engine *e, gw_detached *d)
{
    if (e->detached_count >= GW_DETACHED_MOST)
        return GW_LIMIT;
    e->detached_count++;
    gw_list_push_back(&e->detached_list, &d->link);
    d->generation->worker[e->index].references++;
    return GW_OK;
}

void gw_engine_undetach(gw_engine *e, gw_detached *d)
{
    gw_generation_worker *mine = &d->generation->worker[e->index];
    gw_list_remove(&d->link);
    e->detached_count--;
    if (--mine->references == 0 && mine->retired)
        gw_engine_retire(e, d->generation);
    if (e->draining && e->idle && gw_engine_is_idle(e))
        e->idle(e);
}

bool gw_engine_out_of_memory(gw_engine *e, const char *message)
{
    double now = gw_loop_now(e->loop);
    GW_COUNT_ADD(e->counters.out_of_memory, 1);
    if (e->memory_told >= 0 && now - e->memory_told < 1)
        return false;
    e->memory_told = now;
    if (message)
        gw_log_event(e->log, GW_LOG_ERROR, message, "\"out_of_memory\":%llu", (unsigned long long)e->counters.out_of_memory);
    return true;
}

double gw_engine_wall(gw_engine *e)
{
    double now = gw_loop_now(e->loop);
    if (now - e->wall_at >= 0.5 || e->wall_at < 0) {
        e->wall_at = now;
        e->wall_ahead = gw_clock_wall() - now;
    }
    return now + e->wall_ahead;
}

const char *gw_engine_date(gw_engine *e)
{
    double now = gw_loop_now(e->loop);
    if (now - e->date_at >= 0.5 || e->date_at < 0) { /* half a second, so that it is never more than one old */
        e->date_at = now;
        gw_clock_http_date(gw_clock_wall(), e->date);
    }
    return e->date;
}
