/* Where logs go: opened before a generation is put in place, so that a file that cannot be written refuses the reload, and handed to the
 * writer threads with it. */
#include "process/lines.h"
#include "process/supervisor.h"

static bool same(const gw_log_target *a, const gw_log_target *b)
{
    return gw_slice_equal(a->text, b->text);
}

static bool same_collector(const gw_otlp_spec *a, const gw_otlp_spec *b)
{
    return gw_slice_equal(a->url, b->url) && gw_slice_equal(a->headers, b->headers) && gw_slice_equal(a->service, b->service) &&
           a->timeout == b->timeout;
}

static bool open_one(const char *what, const gw_log_target *to, gw_slice source, gw_slice script, gw_log_sink **out,
                     gw_lines *errors)
{
    char message[160];
    *out = gw_log_target_open(to, message, sizeof message);
    if (*out)
        return true;
    gw_slice where = source.ptr ? source : script;
    gw_lines_add(errors, "%.*s: gateway.%s: cannot write to \"%.*s\": %s\n", (int)where.len, where.ptr, what, (int)to->text.len,
                 to->text.ptr, message);
    return false;
}

bool gw_logging_prepare(gw_supervisor *s, const gw_generation *g, gw_logging_change *change, gw_lines *errors)
{
    const gw_generation *now = s->live ? s->live->g : NULL;
    bool ok = true;
    /* At the start events go to stdout, whatever the script says: so that is no change. */
    if (now ? !same(&now->events, &g->events) : g->events.kind != GW_LOG_TO_STDOUT)
        ok = open_one("event_log", &g->events, g->events_source, g->script, &change->events, errors);
    if (g->access.apart && !(now && now->access.apart && same(&now->access.to, &g->access.to)))
        ok = open_one("access_log", &g->access.to, g->access.source, g->script, &change->access, errors) && ok;
    if (g->trace.otlp.url.ptr && !(now && same_collector(&now->trace.otlp, &g->trace.otlp))) {
        change->spans = gw_otlp_sink_new(&g->trace.otlp, s->span_events);
        if (!change->spans) {
            gw_lines_add(errors, "%.*s: gateway.tracing: memory is out\n", (int)g->trace.source.len, g->trace.source.ptr);
            ok = false;
        }
    }
    return ok;
}

void gw_logging_discard(gw_logging_change *change)
{
    gw_log_sink_free(change->events);
    gw_log_sink_free(change->access);
    gw_log_sink_free(change->spans);
    *change = (gw_logging_change){0};
}

void gw_logging_apply(gw_supervisor *s, const gw_generation *g, gw_logging_change *change)
{
    if (change->events)
        gw_log_redirect(s->log, change->events);
    if (change->access)
        gw_log_redirect(s->access_log, change->access);
    if (change->spans)
        gw_log_redirect(s->span_log, change->spans);
    *change = (gw_logging_change){0};
    gw_log_set_level(s->log, g->events_level);
}

static void reopen_one(gw_supervisor *s, const char *what, const gw_log_target *to, gw_slice source, gw_log *log, uint32_t *count)
{
    if (to->kind != GW_LOG_TO_FILE)
        return;
    gw_lines errors = {0};
    gw_log_sink *sink;
    if (open_one(what, to, source, s->live->g->script, &sink, &errors)) {
        gw_log_redirect(log, sink);
        ++*count;
    } else {
        gw_reload_log_lines(s, GW_LOG_ERROR, "a log file could not be opened anew: the old one goes on", "errors",
                            errors.text ? errors.text : "memory is out\n");
    }
    gw_lines_clear(&errors);
}

void gw_logging_reopen(gw_supervisor *s)
{
    if (!s->live)
        return;
    const gw_generation *g = s->live->g;
    uint32_t count = 0;
    reopen_one(s, "event_log", &g->events, g->events_source, s->log, &count);
    if (g->access.apart)
        reopen_one(s, "access_log", &g->access.to, g->access.source, s->access_log, &count);
    gw_log_event(s->ring, GW_LOG_INFO, "log files opened anew", "\"cause\":\"SIGUSR1\",\"files\":%u", count);
}
