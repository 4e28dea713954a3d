#include "process/staged.h"

#include "base/clock.h"
#include "http/url.h"
#include "process/admin.h"
#include "process/supervisor.h"
#include "process/watch.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_SECONDS 0.1
#define SECONDS_MOST (7 * 86400.0)
#define LEAST_DEFAULT 20

static void end(gw_supervisor *s, bool promote, const char *reason);

/* ---- telling ---- */

static void answer_words(gw_admin_wait *w, int status, const char *words)
{
    char *json = malloc(512);
    gw_text t = gw_text_on(json, json ? 512 : 0);
    gw_text_lit(&t, "{\"ok\":false,\"errors\":[");
    gw_text_json(&t, gw_slice_str(words));
    gw_text_lit(&t, "]}\n");
    w->done(w, status, json, gw_text_done(&t).len);
}

static void tell_all(gw_supervisor *s, int status)
{
    while (!gw_list_empty(&s->staged.waiting)) {
        gw_admin_wait *w = gw_container_of(s->staged.waiting.next, gw_admin_wait, link);
        size_t len = 0;
        char *json = gw_staged_json(s, &len);
        gw_list_remove(&w->link);
        w->done(w, status, json, len);
    }
}

/* ---- what was asked for ---- */

/* "5%", "0.05", "5%25" is decoded before. */
static bool read_share(gw_slice text, double *out)
{
    char copy[32], *rest;
    if (text.len == 0 || text.len >= sizeof copy || text.ptr[0] < '0' || text.ptr[0] > '9')
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *out = strtod(copy, &rest);
    if (strcmp(rest, "%") == 0)
        *out /= 100;
    else if (*rest)
        return false;
    return *out > 0 && *out <= 1;
}

static bool read_seconds(gw_slice text, double *out)
{
    char copy[32], *rest;
    if (text.len == 0 || text.len >= sizeof copy || text.ptr[0] < '0' || text.ptr[0] > '9')
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *out = strtod(copy, &rest);
    double unit = strcmp(rest, "") == 0 || strcmp(rest, "s") == 0 ? 1
                  : strcmp(rest, "ms") == 0                       ? 0.001
                  : strcmp(rest, "m") == 0                        ? 60
                  : strcmp(rest, "h") == 0                        ? 3600
                                                                  : 0;
    *out *= unit;
    return unit > 0 && *out >= 0.1 && *out <= SECONDS_MOST;
}

static bool read_count(gw_slice text, uint32_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || n > 100000000)
            return false;
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *out = (uint32_t)n;
    return text.len > 0 && n > 0 && n <= 100000000;
}

/* One "name=value", decoded in place. NULL, or what is wrong with it. */
static const char *read_one(gw_staged *d, gw_slice name, gw_slice value)
{
    const char *reason;
    if (gw_slice_equal(name, GW_SLICE("share")))
        return read_share(value, &d->share) ? NULL : "share: expected a part of the clients, such as 5% or 0.05";
    if (gw_slice_equal(name, GW_SLICE("for")))
        return read_seconds(value, &d->seconds) ? NULL : "for: expected a time from 100ms to a week, such as 60s or 10m";
    if (gw_slice_equal(name, GW_SLICE("min")))
        return read_count(value, &d->least) ? NULL : "min: expected a number of requests, 1 at least";
    if (gw_slice_equal(name, GW_SLICE("wait"))) {
        d->wait = !gw_slice_equal(value, GW_SLICE("0"));
        return NULL;
    }
    if (gw_slice_equal(name, GW_SLICE("abort_if"))) {
        if (d->rule_count == GW_STAGED_RULES_MOST)
            return "abort_if: expected at most 8 of them";
        return gw_staged_rule_parse(value, &d->rule[d->rule_count], &reason) == GW_OK ? (d->rule_count++, NULL) : reason;
    }
    if (gw_slice_equal(name, GW_SLICE("script"))) {
        free(d->script);
        d->script = value.len && !memchr(value.ptr, '\0', value.len) ? strndup(value.ptr, value.len) : NULL;
        return d->script ? NULL : "script: expected the path of a script";
    }
    return "expected share, for, abort_if, min, script, wait or end";
}

static const char *read_query(gw_staged *d, gw_slice query)
{
    char *room = malloc(query.len ? query.len : 1);
    const char *wrong = room ? NULL : "memory is out";
    while (query.len && !wrong) {
        const char *stop = memchr(query.ptr, '&', query.len);
        gw_slice pair = gw_slice_of(query.ptr, stop ? (size_t)(stop - query.ptr) : query.len);
        size_t used = pair.len + (stop ? 1 : 0);
        query.ptr += used, query.len -= used;
        const char *equals = pair.len ? memchr(pair.ptr, '=', pair.len) : NULL;
        if (!equals)
            continue;
        gw_slice value = gw_slice_of(equals + 1, (size_t)(pair.ptr + pair.len - equals - 1));
        wrong = read_one(d, gw_slice_of(pair.ptr, (size_t)(equals - pair.ptr)), gw_percent_decode(value, room));
    }
    free(room);
    if (!wrong && d->share <= 0)
        wrong = "share: expected a part of the clients, such as 5% or 0.05";
    return wrong;
}

static void by_hand(gw_supervisor *s, gw_slice what, gw_admin_wait *w)
{
    bool promote = gw_slice_equal(what, GW_SLICE("promote"));
    if (!promote && !gw_slice_equal(what, GW_SLICE("back"))) {
        answer_words(w, 400, "end: expected promote or back");
        return;
    }
    if (s->staged.state != GW_STAGED_ON) {
        answer_words(w, 409, "no reload is staged");
        return;
    }
    end(s, promote, "by hand");
    size_t len = 0;
    char *json = gw_staged_json(s, &len);
    w->done(w, s->staged.last.promoted == promote ? 200 : 409, json, len);
}

void gw_staged_request(gw_supervisor *s, gw_slice query, gw_admin_wait *w)
{
    gw_staged *d = &s->staged;
    gw_slice what = gw_query_get(query, GW_SLICE("end"));
    if (s->state != GW_SERVING) {
        answer_words(w, 503, "the gateway is draining");
        return;
    }
    if (what.ptr) {
        by_hand(s, what, w);
        return;
    }
    if (gw_upgrade_pending(s)) {
        answer_words(w, 409, "an upgrade is under way: the new process loads the script");
        return;
    }
    if (d->state != GW_STAGED_NOT || d->ending || s->reloads.building) {
        answer_words(w, 409,
                     d->state == GW_STAGED_ON
                         ? "a staged reload is under way: wait for its end, or end it (POST /reload?end=back)"
                         : "another reload is under way: ask again when it has ended");
        return;
    }
    free(d->script);
    d->script = NULL;
    d->share = 0, d->seconds = 60, d->least = LEAST_DEFAULT, d->rule_count = 0, d->wait = true;
    const char *wrong = read_query(d, query);
    if (wrong) {
        answer_words(w, 400, wrong);
        return;
    }
    d->state = GW_STAGED_BUILDING;
    gw_list_push_back(&d->waiting, &w->link);
    gw_reload_build_staged(s);
}

/* ---- on and off ---- */

static void visit_set(gw_worker *w, void *data)
{
    w->engine.staged = data;
}

static void visit_clear(gw_worker *w, void *data)
{
    if (w->engine.staged == data)
        w->engine.staged = NULL;
}

/* No worker has it any more: what it counted is kept for metrics, which only grow. */
static void cleared(gw_supervisor *s, void *data)
{
    gw_staging *staging = data;
    for (int side = 0; side < GW_STAGED_SIDES; side++)
        gw_staging_total(staging, side, &s->staged.total[side]);
    s->staged.ending = NULL;
    gw_staging_free(staging);
}

/* Upstreams that the stable generation does not have, or not with a breaker, have no rules yet: those of others stay as they are until
 * the candidate is put in place. */
static void prepare_upstreams(const gw_generation *stable, gw_generation *g)
{
    for (uint32_t i = 0; i < g->upstream_count; i++) {
        gw_upstream *u = g->upstreams[i];
        const gw_upstream *known = NULL;
        for (uint32_t k = 0; k < stable->upstream_count && !known; k++)
            if (gw_slice_equal(stable->upstreams[k]->name, u->name))
                known = stable->upstreams[k];
        if (!known)
            gw_upstream_adopt(u, NULL, 0);
        else if (u->breaker_on && !known->breaker_on)
            gw_breaker_rules_init(&u->state->breaker_rules, &u->breaker);
    }
}

static void sums(const gw_staging *staging, gw_staged_sum out[GW_STAGED_SIDES])
{
    for (int side = 0; side < GW_STAGED_SIDES; side++) {
        gw_staged_side total = {0};
        gw_staging_total(staging, side, &total);
        gw_staged_summed(&total, &out[side]);
    }
}

static void on_look(gw_ticker *ticker)
{
    gw_supervisor *s = gw_container_of(gw_container_of(ticker, gw_staged, ticker), gw_supervisor, staged);
    gw_staged *d = &s->staged;
    gw_staged_sum sum[GW_STAGED_SIDES];
    char why[256];
    sums(d->staging, sum);
    if (sum[GW_CANDIDATE].requests >= d->least)
        for (uint32_t i = 0; i < d->rule_count; i++)
            if (gw_staged_rule_broken(&d->rule[i], &sum[GW_STABLE], &sum[GW_CANDIDATE], why, sizeof why)) {
                end(s, false, why);
                return;
            }
    if ((double)(gw_clock_monotonic_ns() - d->began_ns) / 1e9 < d->seconds)
        return;
    if (sum[GW_CANDIDATE].requests < d->least)
        snprintf(why, sizeof why, "its time is up, with %llu requests (no condition is looked at below %u)",
                 (unsigned long long)sum[GW_CANDIDATE].requests, d->least);
    else
        snprintf(why, sizeof why, "its time is up, and no condition was met");
    end(s, true, why);
}

static bool begin(gw_supervisor *s, gw_generation *g, gw_lines *errors)
{
    gw_staged *d = &s->staged;
    gw_round *set = NULL;
    gw_live *live = NULL;
    d->staging = gw_staging_new(g, d->share, s->worker_count);
    set = d->staging ? gw_round_new(s, visit_set, NULL, d->staging) : NULL;
    d->end = set ? gw_round_new(s, visit_clear, cleared, d->staging) : NULL;
    live = d->end ? gw_live_new(s, g) : NULL;
    if (!live) {
        gw_lines_add(errors, "%.*s: memory is out\n", (int)g->script.len, g->script.ptr);
        gw_round_discard(set);
        gw_round_discard(d->end);
        gw_staging_free(d->staging);
        d->end = NULL;
        d->staging = NULL;
        gw_generation_free(g, gw_release_orphan, s);
        return false;
    }
    g->number = gw_generation_next_number(s);
    prepare_upstreams(s->live->g, g);
    d->live = live;
    d->state = GW_STAGED_ON;
    d->began_ns = gw_clock_monotonic_ns();
    d->began = gw_clock_wall();
    gw_live_begin(live);
    gw_round_start(set);
    gw_names_start(live->names);
    gw_ticker_start(s->loop, &d->ticker, LOOK_SECONDS, on_look);
    gw_log_event(s->ring, GW_LOG_INFO, "a candidate generation takes some clients",
                 "\"generation\":%llu,\"stable\":%llu,\"share\":%.6g,\"for\":%.3f", (unsigned long long)g->number,
                 (unsigned long long)s->live->g->number, d->share, d->seconds);
    return true;
}

void gw_staged_built(gw_supervisor *s, gw_generation *g, gw_lines *errors)
{
    gw_staged *d = &s->staged;
    if (g && begin(s, g, errors)) {
        if (!d->wait)
            tell_all(s, 202);
        return;
    }
    d->state = GW_STAGED_NOT;
}

void gw_staged_refused(gw_supervisor *s)
{
    while (!gw_list_empty(&s->staged.waiting)) {
        gw_admin_wait *w = gw_container_of(s->staged.waiting.next, gw_admin_wait, link);
        size_t len = 0;
        char *json = gw_reload_json(&s->reloads.last, &len);
        gw_list_remove(&w->link);
        w->done(w, s->state == GW_SERVING ? 422 : 503, json, len);
    }
    const char *cause = s->staged.put_off;
    s->staged.put_off = NULL;
    if (cause)
        gw_reload_request(s, cause, NULL);
}

/* What happened is told in the log, at /status, and to who waits. */
static void end(gw_supervisor *s, bool promote, const char *reason)
{
    gw_staged *d = &s->staged;
    gw_live *live = d->live;
    gw_lines errors = {0};
    gw_staged_outcome *o = &d->last;
    gw_ticker_stop(&d->ticker);
    *o = (gw_staged_outcome){.promoted = promote, .generation = live->g->number, .at = gw_clock_wall()};
    sums(d->staging, o->sum);
    snprintf(o->reason, sizeof o->reason, "%s", reason);
    d->ending = d->staging;
    d->staging = NULL;
    d->live = NULL;
    d->state = GW_STAGED_NOT;
    d->any = true;
    if (promote && !gw_generation_promote(s, live, &errors)) { /* a socket that cannot be bound, a log that cannot be opened */
        o->promoted = promote = false;
        snprintf(o->reason, sizeof o->reason, "it could not be put in place: %.*s",
                 (int)strcspn(errors.text ? errors.text : "memory is out", "\n"), errors.text ? errors.text : "memory is out");
    }
    gw_round_start(d->end); /* before the retiring one: after it no request of a worker goes to the candidate by this */
    d->end = NULL;
    if (!promote)
        gw_live_retire(live);
    gw_log_event(s->ring, promote ? GW_LOG_INFO : GW_LOG_WARN,
                 promote ? "the candidate generation was put in place" : "the candidate generation was taken back",
                 "\"generation\":%llu,\"requests\":%llu,\"errors\":%llu,\"stable_requests\":%llu,\"stable_errors\":%llu",
                 (unsigned long long)o->generation, (unsigned long long)o->sum[GW_CANDIDATE].requests,
                 (unsigned long long)o->sum[GW_CANDIDATE].errors, (unsigned long long)o->sum[GW_STABLE].requests,
                 (unsigned long long)o->sum[GW_STABLE].errors);
    if (!promote) {
        gw_lines_clear(&errors);
        gw_lines_add(&errors, "the candidate generation %llu was taken back: %s\n", (unsigned long long)o->generation, o->reason);
    }
    gw_reload_staged_ended(s, promote, errors);
    tell_all(s, promote ? 200 : s->state == GW_SERVING ? 409 : 503);
    const char *cause = d->put_off;
    d->put_off = NULL;
    if (cause && s->state == GW_SERVING)
        gw_reload_request(s, cause, NULL);
}

void gw_staged_stop(gw_supervisor *s, const char *reason)
{
    if (s->staged.state == GW_STAGED_ON)
        end(s, false, reason);
}

void gw_staged_init(gw_supervisor *s)
{
    gw_list_init(&s->staged.waiting);
}

void gw_staged_clear(gw_supervisor *s)
{
    free(s->staged.script);
    s->staged.script = NULL;
}
