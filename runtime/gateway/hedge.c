/* Hedging: when the head of an answer is late, a second try begins beside the first; the first head wins, the other try is let go.
 *
 * The exchange's own fields are of one try, the one in front; the other is set aside. An event of the one aside brings it to the front,
 * so that everything else knows one try only:
 *
 *     front: first try ── late ──▶ front: second, aside: first ── event of the first ──▶ front: first, aside: second ── ...
 *
 *     a head (of whom is in front then): the one aside is let go, and nothing is learnt from it
 *     a failure of the one in front: it is judged, and the one aside takes its place */
#include "gateway/flow.h"
#include "gateway/metrics.h"

struct gw_try {
    gw_upconn *up;
    gw_endpoint *endpoint; /* held */
    gw_span *span;
    double started;
    int32_t slot, ticket;
    enum gw_exchange_state state;
    bool held, counted, sent, broken, reused;
};

static gw_try front_of(const gw_exchange *x)
{
    return (gw_try){.up = x->up,
                    .endpoint = x->endpoint,
                    .started = x->try_started,
                    .span = x->span,
                    .slot = x->slot,
                    .ticket = x->ticket,
                    .state = x->state,
                    .held = x->held & GW_HOLDS_TICKET,
                    .counted = x->counted,
                    .sent = x->request_sent,
                    .broken = x->send_broken,
                    .reused = x->reused};
}

static void put_front(gw_exchange *x, const gw_try *t)
{
    x->up = t->up;
    x->endpoint = t->endpoint;
    x->try_started = t->started;
    x->span = t->span;
    x->slot = t->slot;
    x->ticket = t->ticket;
    x->state = t->state;
    x->held = (uint8_t)((x->held & ~GW_HOLDS_TICKET) | (t->held ? GW_HOLDS_TICKET : 0));
    x->counted = t->counted;
    x->request_sent = t->sent;
    x->send_broken = t->broken;
    x->reused = t->reused;
    x->try_head = x->try_failed = false; /* neither is over */
}

void gw_hedge_swap(gw_exchange *x)
{
    gw_try front = front_of(x);
    put_front(x, x->aside);
    *x->aside = front;
}

void gw_hedge_drop(gw_exchange *x)
{
    bool head = x->try_head, failed = x->try_failed;
    gw_try front = front_of(x);
    put_front(x, x->aside);
    x->aside = NULL;
    gw_forward_let_go(x, false);
    gw_endpoint_unhold(x->engine, x->endpoint);
    put_front(x, &front);
    x->try_head = head;
    x->try_failed = failed;
}

void gw_hedge_failed(gw_exchange *x)
{
    gw_try *other = x->aside;
    gw_forward_let_go(x, false);
    gw_endpoint_unhold(x->engine, x->endpoint);
    x->aside = NULL;
    put_front(x, other);
}

static void hedge_due(gw_timeout *t)
{
    gw_exchange *x = gw_container_of(t, gw_exchange, pause);
    x->pausing = false;
    bool had = x->held & GW_HOLDS_RETRY;
    if (x->state != GW_X_AWAIT || !gw_attempt_may_retry(x, GW_FAULT_STATUS))
        return;
    gw_try *first = gw_arena_take(&x->arena, sizeof *first);
    gw_endpoint *endpoint = NULL;
    if (first) {
        *first = front_of(x);
        x->marked = true; /* somebody else, or nobody */
        endpoint = gw_attempt_pick(x, false);
    }
    if (!endpoint) {
        if (!had) {
            x->held &= (uint8_t)~GW_HOLDS_RETRY;
            gw_retry_budget_give(&x->upstream->state->budget);
        }
        return;
    }
    GW_COUNT_UPSTREAM(x, hedges);
    x->aside = first;
    x->up = NULL;
    x->endpoint = NULL;
    x->request_sent = x->send_broken = x->reused = false;
    gw_forward_try(x, endpoint);
}

void gw_hedge_arm(gw_exchange *x)
{
    if (x->aside || x->pausing || !gw_attempt_repeatable(x))
        return;
    gw_timeout_init(&x->pause, hedge_due);
    x->pausing = true;
    gw_timeout_arm(x->engine->loop, &x->pause, x->upstream->retry.hedge);
}

void gw_hedge_over(gw_exchange *x)
{
    if (x->pausing) {
        x->pausing = false;
        gw_timeout_disarm(&x->pause);
    }
    if (x->aside)
        gw_hedge_drop(x);
}
