/* The tries of a request: the first, and what comes after one that failed. Who takes a try is attempt.c's, one try forward.c's.
 *
 *   gw_forward_start ──(body kept)──► gw_forward_kept ──► try ──► gw_forward_failed, or an answer whose status asks for another try
 *                                                          ▲                          │
 *                                                          └────── (PAUSE) ◄──────────┤
 *                                                                                     ▼ none is allowed, or nobody is left
 *                                                            the answer as it came, or the gateway's own
 *
 * An answer that asks for another try stays where it is, in the connection's buffer, until another endpoint has been found. */
#include "gateway/flow.h"
#include "gateway/metrics.h"
#include <math.h>

#define ATTEMPTS_MOST 3 /* endpoints tried when connecting fails */

/* ---- the first ---- */

/* No try is left, or nobody to try: what the last one met, or why there was none. */
static void retry_none(gw_exchange *x)
{
    if (x->failed_status) {
        gw_reply_error(x, x->failed_status, x->error ? x->error : "no endpoint is left to try");
        return;
    }
    const gw_endpoint_set *set = atomic_load_explicit(&x->upstream->set, memory_order_acquire);
    if (x->retry_after < INFINITY)
        gw_attempt_refuse(x, "every endpoint's circuit breaker is open", x->retry_after);
    else
        gw_reply_error(x, 503, set->count ? "no endpoint takes requests" : "upstream has no endpoint");
}

/* A body that may have to be sent again is taken in whole first, when it is short enough. How long a chunked one is shows on the way: one
 * that is too long goes out as what came of it so far (relay.c) and streams from there. True: it is still coming. */
static bool keep_body(gw_exchange *x)
{
    const gw_retry_spec *r = &x->upstream->retry;
    if (r->attempts <= 1 || x->in.done || x->body_kept || x->in.framing == GW_FRAMING_NONE || x->request.upgrade ||
        (x->in.framing == GW_FRAMING_LENGTH && x->request.content_length > r->body_bytes) ||
        !(gw_method_is_idempotent(x->request.method) || r->non_idempotent))
        return false;
    x->keep_wanted = true;
    return gw_exchange_body(x, r->body_bytes) == GW_AGAIN;
}

void gw_forward_kept(gw_exchange *x)
{
    gw_upstream *u = x->upstream;
    if (x->keep_wanted && x->body_status == GW_LIMIT && x->in.bytes <= x->body_limit)
        x->body_status = GW_OK; /* nothing is lost: only repeated it cannot be */
    x->keep_wanted = false;
    if (x->body_status < 0) { /* a part of the body was taken and is gone: it cannot be forwarded */
        x->close = true;
        gw_reply_error(x, gw_gather_http_status(x->body_status), gw_gather_reason(x->body_status));
        return;
    }
    if (x->request.upgrade && !x->in.done)
        x->request.upgrade = false;
    if (gw_unlikely(u->guarded) && !gw_attempt_enter(x))
        return;
    gw_timeout_arm(x->engine->loop, &x->total, u->timeouts.total);
    gw_endpoint *endpoint = gw_attempt_pick(x, false);
    if (gw_likely(endpoint != NULL))
        gw_forward_try(x, endpoint);
    else
        retry_none(x);
}

void gw_forward_start(gw_exchange *x)
{
    if (gw_unlikely(x->upstream->guarded) && x->body_status >= 0 && keep_body(x))
        return; /* gw_forward_kept goes on */
    gw_forward_kept(x);
}

/* ---- failing ---- */

/* Nobody else can be had: the answer that asked for another try is the best there is. */
static void answer_stands(gw_exchange *x)
{
    gw_upstream *u = x->upstream;
    gw_attempt_give_back(x);
    gw_balancer_undone(&u->state->balance, &x->endpoint->load); /* its body is still to come */
    x->counted = true;
    x->try_head = x->try_failed = false; /* it has been judged */
    x->error = NULL;
    x->failed_status = 0;
    gw_forward_answer(x);
}

static void pause_over(gw_timeout *t)
{
    gw_exchange *x = gw_container_of(t, gw_exchange, pause);
    x->pausing = false;
    gw_endpoint *endpoint = gw_attempt_pick(x, true);
    if (!endpoint) {
        if (x->up)
            answer_stands(x);
        else
            retry_none(x);
        return;
    }
    if (x->up) {            /* the last try's answer: now it can go */
        x->counted = false; /* that is the next try's already */
        gw_forward_let_go(x, gw_reply_step_over_response(x));
        x->counted = true;
        gw_headers_clear(&x->response.headers);
    }
    GW_COUNT_UPSTREAM(x, retries);
    x->request_sent = x->send_broken = x->reused = false;
    x->up_first = 0;
    gw_forward_try(x, endpoint);
}

/* Another try, now or after a while. The one before is over; its answer, if there is one, is kept until somebody else was found. */
void gw_retry_begin(gw_exchange *x)
{
    double wait = gw_attempt_backoff(x);
    x->state = GW_X_PAUSE;
    gw_timeout_init(&x->pause, pause_over);
    if (wait <= 0) {
        pause_over(&x->pause);
        return;
    }
    x->pausing = true;
    gw_timeout_arm(x->engine->loop, &x->pause, wait);
}

void gw_forward_broke(gw_exchange *x, const char *error)
{
    x->try_failed = true;
    gw_metrics_failed(x, GW_FAULT_BAD);
    gw_exchange_abort(x, error);
}

void gw_forward_failed(gw_exchange *x, int status, const char *error, uint32_t fault)
{
    gw_metrics_failed(x, fault);
    if (x->response_started) {
        x->try_failed |= fault != GW_FAULT_OURS;
        gw_exchange_abort(x, error);
        return;
    }
    if (x->pausing) {
        x->pausing = false;
        gw_timeout_disarm(&x->pause);
    }
    bool unsent = !x->request_sent;
    bool stale = x->request_sent && x->reused && fault & GW_FAULT_SILENT && !x->repeated && !x->interim &&
                 gw_method_is_idempotent(x->request.method) && (x->request.framing == GW_FRAMING_NONE || x->body_kept);
    if (!stale) { /* a pooled connection that was dead says nothing of the endpoint */
        x->try_failed |= fault != GW_FAULT_OURS;
        x->marked = true;
    }
    x->error = error; /* for the lines that judging it may log */
    if (gw_unlikely(x->aside != NULL)) {
        gw_hedge_failed(x);
        if (fault != GW_FAULT_TOTAL)
            return;
        x->try_failed = true; /* both were too slow */
    }
    gw_forward_release(x, false);
    if (stale) {
        GW_COUNT_UPSTREAM(x, retries);
        x->repeated = true;
        x->request_sent = x->send_broken = x->reused = false;
        gw_endpoint *endpoint = gw_attempt_pick(x, true);
        if (endpoint) {
            gw_forward_try(x, endpoint);
            return;
        }
    } else if (fault == GW_FAULT_CONNECT && unsent && x->attempts - x->repeated < ATTEMPTS_MOST) {
        /* Nothing was asked of anybody yet: the next one takes no budget and no pause. */
        gw_endpoint *endpoint = gw_attempt_pick(x, false);
        if (endpoint) {
            GW_COUNT_UPSTREAM(x, retries);
            gw_forward_try(x, endpoint);
            return;
        }
    }
    x->failed_status = (uint16_t)status;
    if (fault && !stale && gw_attempt_may_retry(x, fault)) {
        gw_retry_begin(x);
        return;
    }
    gw_headers_clear(&x->response.headers);
    gw_reply_error(x, status, error);
}

void gw_forward_out_of_memory(gw_exchange *x)
{
    gw_engine_out_of_memory(x->engine, GW_MEMORY_503);
    gw_forward_failed(x, 503, "out of memory", GW_FAULT_OURS);
}
