#define _GNU_SOURCE /* pthread_timedjoin_np */
#include "process/reload.h"

#include "base/clock.h"
#include "gateway/metrics_script.h"
#include "gateway/shared.h"
#include "process/admin.h"
#include "process/changes.h"
#include "process/supervisor.h"
#include "process/watch.h"
#include "script/script.h"
#include <stdlib.h>
#include <time.h>

#define RESOLVE_SECONDS 5.0

/* ---- building ---- */

gw_generation *gw_load_script(const char *script, uint32_t workers, char **errors, char **warnings)
{
    gw_load_options options = {.workers = workers, .resolve_seconds = RESOLVE_SECONDS};
    return gw_script_load(script, &options, errors, warnings);
}

static void *build(void *data)
{
    gw_supervisor *s = data;
    gw_signals_block_all();
    const char *script = s->reloads.staged && s->staged.script ? s->staged.script : s->script;
    s->reloads.g = gw_load_script(script, s->worker_count, &s->reloads.errors, &s->reloads.warnings);
    gw_loop_post(s->loop, &s->reloads.built);
    return NULL;
}

/* ---- the end of a reload, good or bad ---- */

void gw_reload_log_lines(gw_supervisor *s, enum gw_log_level level, const char *message, const char *member, const char *lines)
{
    char bytes[3000];
    gw_text text = gw_text_on(bytes, sizeof bytes);
    gw_lines_json(&text, lines, true);
    gw_slice list = gw_text_done(&text);
    gw_log_event(s->ring, level, message, "\"cause\":\"%s\",\"%s\":[%.*s]", s->reloads.cause, member, (int)list.len, list.ptr);
}

static void tell(gw_list *waiters, const gw_reload_result *result)
{
    while (!gw_list_empty(waiters)) {
        gw_reload_waiter *w = gw_container_of(waiters->next, gw_reload_waiter, link);
        gw_list_remove(&w->link);
        w->done(w, result);
    }
}

static void begin(gw_supervisor *s);

static void tell_warnings(gw_supervisor *s, const gw_lines *warnings)
{
    if (warnings->text)
        gw_reload_log_lines(s, GW_LOG_WARN, "the script was loaded with warnings", "warnings", warnings->text);
}

static void finish(gw_supervisor *s, bool ok, gw_lines errors, gw_lines warnings)
{
    gw_reloads *r = &s->reloads;
    gw_lines_clear(&r->last.errors);
    gw_lines_clear(&r->last.warnings);
    gw_lines_clear(&r->last.changes);
    r->last = (gw_reload_result){
        .ok = ok,
        .draining = s->state != GW_SERVING,
        .generation = s->live ? s->live->g->number : 0,
        .cause = r->cause,
        .at = r->began,
        .seconds = (double)(gw_clock_monotonic_ns() - r->began_ns) / 1e9,
        .errors = errors,
        .warnings = warnings,
        .changes = r->changes,
    };
    r->changes = (gw_lines){0};
    r->any = true;
    gw_history_add(&r->history, &r->last);
    if (ok)
        r->succeeded++;
    else
        r->refused++;
    tell_warnings(s, &warnings);
    if (!ok)
        gw_reload_log_lines(s, GW_LOG_ERROR, "reload refused: the old generation goes on", "errors", errors.text);
    if (s->state == GW_SERVING)
        gw_service_loaded(s, ok);
    gw_release_waiting(s);
    gw_watch_loaded(s->watch);
    tell(&r->served, &r->last);
    if (r->again)
        begin(s);
    else
        gw_upgrade_waiting(s);
}

/* A candidate begins to serve, or was refused. It is no reload that has ended: nobody else is told yet. */
static void built_staged(gw_supervisor *s, gw_generation *g, gw_lines errors, gw_lines warnings)
{
    gw_reloads *r = &s->reloads;
    r->staged = false;
    gw_staged_built(s, g, &errors);
    if (s->staged.state != GW_STAGED_ON) {
        finish(s, false, errors, warnings);
        gw_staged_refused(s);
        return;
    }
    tell_warnings(s, &warnings);
    gw_lines_clear(&errors);
    gw_lines_clear(&warnings);
    gw_release_waiting(s);
    gw_watch_loaded(s->watch);
    if (s->upgrade.wanted)
        gw_staged_stop(s, "an upgrade begins"); /* which begins it */
}

static void on_built(gw_mail *mail, void *owner)
{
    (void)mail;
    gw_supervisor *s = owner;
    gw_reloads *r = &s->reloads;
    pthread_join(r->builder, NULL);
    r->building = false;
    gw_lines errors = {0}, warnings = {0};
    gw_lines_take(&errors, r->errors);
    gw_lines_take(&warnings, r->warnings);
    r->errors = r->warnings = NULL;
    gw_generation *g = r->g;
    r->g = NULL;
    if (g && s->state != GW_SERVING) {
        gw_generation_free(g, gw_release_orphan, s);
        gw_lines_add(&errors, "the gateway is draining\n");
        g = NULL;
    }
    if (r->staged) {
        built_staged(s, g, errors, warnings);
        return;
    }
    bool ok = g && gw_generation_apply(s, g, &errors);
    finish(s, ok, errors, warnings);
}

static void begin(gw_supervisor *s)
{
    gw_reloads *r = &s->reloads;
    r->again = false;
    r->cause = r->next_cause;
    r->began_ns = gw_clock_monotonic_ns();
    r->began = gw_clock_wall();
    while (!gw_list_empty(&r->waiting)) {
        gw_list *w = r->waiting.next;
        gw_list_remove(w);
        gw_list_push_back(&r->served, w);
    }
    gw_watch_loading(s->watch);
    gw_service_loading(s);
    r->building = true;
    if (pthread_create(&r->builder, NULL, build, s) != 0) {
        r->building = false;
        gw_lines errors = {0};
        gw_lines_add(&errors, "the system gives no thread to build the generation on\n");
        if (r->staged)
            built_staged(s, NULL, errors, (gw_lines){0});
        else
            finish(s, false, errors, (gw_lines){0});
    }
}

void gw_reload_request(gw_supervisor *s, const char *cause, gw_reload_waiter *waiter)
{
    gw_reloads *r = &s->reloads;
    if (s->state != GW_SERVING || gw_upgrade_pending(s)) {
        s->upgrade.missed_reload |= !waiter;
        if (waiter) {
            gw_reload_result refused = {
                .draining = true, .cause = cause, .at = gw_clock_wall(), .generation = s->live ? s->live->g->number : 0};
            gw_lines_add(&refused.errors, s->state == GW_SERVING ? "an upgrade is under way: the new process loads the script\n"
                                                                 : "the gateway is draining\n");
            waiter->done(waiter, &refused);
            gw_lines_clear(&refused.errors);
        }
        return;
    }
    if (s->staged.state != GW_STAGED_NOT && !waiter) {
        gw_log_event(s->ring, GW_LOG_INFO, "a reload is put off until the staged one has ended", "\"cause\":\"%s\"", cause);
        s->staged.put_off = cause;
        return;
    }
    if (s->staged.state != GW_STAGED_NOT) {
        gw_reload_result refused = {.busy = true, .cause = cause, .at = gw_clock_wall(), .generation = s->live->g->number};
        gw_lines_add(&refused.errors, "a staged reload is under way: wait for its end, or end it (POST /reload?end=back)\n");
        waiter->done(waiter, &refused);
        gw_lines_clear(&refused.errors);
        return;
    }
    if (waiter)
        gw_list_push_back(&r->waiting, &waiter->link);
    r->next_cause = cause;
    if (r->building)
        r->again = true;
    else
        begin(s);
}

void gw_reload_build_staged(gw_supervisor *s)
{
    s->reloads.staged = true;
    s->reloads.next_cause = "staged reload";
    begin(s);
}

void gw_reload_staged_ended(gw_supervisor *s, bool ok, gw_lines errors)
{
    s->reloads.cause = "staged reload";
    finish(s, ok, errors, (gw_lines){0});
}

void gw_reload_waiter_cancel(gw_reload_waiter *w)
{
    if (w->link.next)
        gw_list_remove(&w->link);
}

void gw_reloads_init(gw_supervisor *s)
{
    gw_reloads *r = &s->reloads;
    gw_list_init(&r->waiting);
    gw_list_init(&r->served);
    r->built.run = on_built;
}

bool gw_reloads_clear(gw_supervisor *s)
{
    gw_reloads *r = &s->reloads;
    if (r->building) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 2;
        if (pthread_timedjoin_np(r->builder, NULL, &until) != 0)
            return false;
        r->building = false;
        free(r->errors);
        free(r->warnings);
        if (r->g)
            gw_generation_free(r->g, gw_release_orphan, s);
        r->g = NULL;
    }
    gw_lines_clear(&r->last.errors);
    gw_lines_clear(&r->last.warnings);
    gw_lines_clear(&r->last.changes);
    gw_lines_clear(&r->changes);
    gw_history_clear(&r->history);
    return true;
}

/* ---- taking a generation up ---- */

static void log_serving(gw_supervisor *s, const gw_listening_change *change)
{
    const gw_generation *g = s->live->g;
    char bytes[2500];
    gw_text text = gw_text_on(bytes, sizeof bytes);
    bool first = true;
    for (gw_list *at = s->listening.next; at != &s->listening && !text.cut; at = at->next) {
        gw_text mark = text;
        if (!first)
            gw_text_lit(&text, ",");
        gw_text_json(&text, gw_slice_str(gw_container_of(at, gw_listening, link)->text));
        if (text.cut)
            text = mark, text.cut = true;
        first = false;
    }
    gw_slice listeners = gw_text_done(&text);
    gw_log_event(
        s->ring, GW_LOG_INFO, "generation serving",
        "\"generation\":%llu,\"digest\":\"%016llx\",\"cause\":\"%s\",\"routes\":%u,\"upstreams\":%u,\"listeners\":[%.*s],"
        "\"listeners_added\":%u,\"listeners_removed\":%u,\"admin\":\"%s\",\"seconds\":%.6f",
        (unsigned long long)g->number, (unsigned long long)g->digest, s->reloads.cause, g->route_count, g->upstream_count,
        (int)listeners.len, listeners.ptr, change->added_count, change->removed_count, gw_admin_text(s->admin),
        (double)(gw_clock_monotonic_ns() - s->reloads.began_ns) / 1e9);
}

uint64_t gw_generation_next_number(gw_supervisor *s)
{
    return ++s->numbered;
}

/* With `live` it serves already, as a candidate. */
static gw_live *take_up(gw_supervisor *s, gw_generation *g, gw_live *live, gw_lines *errors)
{
    gw_listening_change listening;
    gw_admin_change admin = {0};
    gw_logging_change logging = {0};
    bool candidate = live != NULL;
    if (!gw_listening_prepare(s, g, &listening, errors))
        return NULL;
    if (!gw_admin_prepare(s->admin, g, &admin, errors))
        goto refused;
    if (!gw_logging_prepare(s, g, &logging, errors))
        goto refused;
    if (!live)
        live = gw_live_new(s, g);
    if (!live) {
        gw_lines_add(errors, "%.*s: memory is out\n", (int)g->script.len, g->script.ptr);
        goto refused;
    }
    /* From here on nothing can fail. */
    gw_live *old = s->live;
    if (!candidate)
        g->number = gw_generation_next_number(s);
    if (gw_workers_meant(g->workers) != s->worker_count)
        gw_log_event(s->ring, GW_LOG_WARN, "another number of workers needs a restart", "\"workers\":%u,\"asked\":%u",
                     s->worker_count, gw_workers_meant(g->workers));
    if (old && !(gw_slice_equal(old->g->operation.user, g->operation.user) &&
                 gw_slice_equal(old->g->operation.group, g->operation.group)))
        gw_log_event(s->ring, GW_LOG_WARN, "another gateway.user needs a restart", NULL);
    gw_prober_follow(s->prober, g); /* first: it tells which endpoints are back because nobody looks at them any more */
    gw_generation_adopt(g, s->ring);
    if (old) {
        gw_changes(old->g, g, &s->reloads.changes);
        gw_generation_replaced(old->g, g);
        gw_script_metrics_adopt(g->metrics, g->metric_count, old->g->metrics, old->g->metric_count, s->ring);
    }
    gw_logging_apply(s, g, &logging);
    s->live = live;
    atomic_store_explicit(&s->current, g, memory_order_release);
    gw_live_begin(live);
    gw_listening_add(s, &listening);
    if (old)
        gw_live_retire(old);
    gw_listening_remove_unwanted(s);
    gw_admin_apply(s->admin, &admin);
    if (!candidate)
        gw_names_start(live->names);
    log_serving(s, &listening);
    return live;

refused:
    gw_logging_discard(&logging);
    gw_admin_discard(&admin);
    gw_listening_discard(&listening);
    return NULL;
}

bool gw_generation_apply(gw_supervisor *s, gw_generation *g, gw_lines *errors)
{
    if (take_up(s, g, NULL, errors))
        return true;
    gw_generation_free(g, gw_release_orphan, s);
    return false;
}

bool gw_generation_promote(gw_supervisor *s, gw_live *live, gw_lines *errors)
{
    return take_up(s, live->g, live, errors) != NULL;
}
