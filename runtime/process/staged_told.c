/* What is told of staged reloads: at /status, to who waits, to scrapes. */
#include "base/clock.h"
#include "gateway/metrics_text.h"
#include "process/admin.h"
#include "process/supervisor.h"

static const char *const names[GW_STAGED_SIDES] = {"stable", "candidate"};

static void add_time(gw_text *t, double wall)
{
    char text[25];
    gw_clock_iso8601(wall, text);
    gw_text_printf(t, "\"%s\"", text);
}

static void add_sums(gw_text *t, const gw_staged_sum sum[GW_STAGED_SIDES])
{
    for (int side = 0; side < GW_STAGED_SIDES; side++) {
        const gw_staged_sum *x = &sum[side];
        gw_text_printf(t, ",\"%s\":{\"requests\":%llu,\"errors\":%llu,\"error_rate\":", names[side],
                       (unsigned long long)x->requests, (unsigned long long)x->errors);
        gw_text_fixed(t, x->requests ? (double)x->errors / (double)x->requests : 0, 6);
        gw_text_lit(t, ",\"mean\":");
        gw_text_fixed(t, x->mean, 6);
        gw_text_lit(t, ",\"p50\":");
        gw_text_fixed(t, x->p50, 6);
        gw_text_lit(t, ",\"p90\":");
        gw_text_fixed(t, x->p90, 6);
        gw_text_lit(t, ",\"p99\":");
        gw_text_fixed(t, x->p99, 6);
        gw_text_lit(t, "}");
    }
}

static void add_now(gw_text *t, const gw_supervisor *s)
{
    const gw_staged *d = &s->staged;
    gw_staged_sum sum[GW_STAGED_SIDES];
    double passed = (double)(gw_clock_monotonic_ns() - d->began_ns) / 1e9;
    gw_text_printf(t, "{\"generation\":%llu,\"script\":", (unsigned long long)d->live->g->number);
    gw_text_json(t, d->live->g->script);
    gw_text_lit(t, ",\"share\":");
    gw_text_fixed(t, d->share, 6);
    gw_text_lit(t, ",\"since\":");
    add_time(t, d->began);
    gw_text_lit(t, ",\"for\":");
    gw_text_fixed(t, d->seconds, 3);
    gw_text_lit(t, ",\"remaining\":");
    gw_text_fixed(t, passed < d->seconds ? d->seconds - passed : 0, 3);
    gw_text_printf(t, ",\"min\":%u,\"abort_if\":[", d->least);
    for (uint32_t i = 0; i < d->rule_count; i++) {
        if (i)
            gw_text_lit(t, ",");
        gw_text_json(t, gw_slice_str(d->rule[i].text));
    }
    gw_text_lit(t, "]");
    for (int side = 0; side < GW_STAGED_SIDES; side++) {
        gw_staged_side total = {0};
        gw_staging_total(d->staging, side, &total);
        gw_staged_summed(&total, &sum[side]);
    }
    add_sums(t, sum);
    gw_text_lit(t, "}");
}

static void add_last(gw_text *t, const gw_staged_outcome *o)
{
    gw_text_printf(t, "{\"outcome\":\"%s\",\"generation\":%llu,\"at\":", o->promoted ? "promoted" : "taken back",
                   (unsigned long long)o->generation);
    add_time(t, o->at);
    gw_text_lit(t, ",\"reason\":");
    gw_text_json(t, gw_slice_str(o->reason));
    add_sums(t, o->sum);
    gw_text_lit(t, "}");
}

void gw_staged_status(gw_text *t, const gw_supervisor *s)
{
    gw_text_lit(t, "{\"now\":");
    if (s->staged.state == GW_STAGED_ON)
        add_now(t, s);
    else
        gw_text_lit(t, "null");
    gw_text_lit(t, ",\"last\":");
    if (s->staged.any)
        add_last(t, &s->staged.last);
    else
        gw_text_lit(t, "null");
    gw_text_lit(t, "}");
}

static void render(gw_text *t, void *data)
{
    gw_supervisor *s = data;
    gw_text_printf(t, "{\"ok\":%s,\"staged\":", s->staged.state == GW_STAGED_ON || s->staged.last.promoted ? "true" : "false");
    gw_staged_status(t, s);
    gw_text_lit(t, ",\"result\":");
    gw_result_status(t, s);
    gw_text_lit(t, "}\n");
}

char *gw_staged_json(gw_supervisor *s, size_t *len)
{
    return gw_render(render, s, len);
}

/* ---- metrics ---- */

void gw_staged_metrics(gw_page *p, const gw_supervisor *s)
{
    static const gw_slice labels[GW_STAGED_SIDES] = {{"generation=\"stable\"", 19}, {"generation=\"candidate\"", 22}};
    const gw_staged *d = &s->staged;
    gw_staged_side total[GW_STAGED_SIDES];
    for (int side = 0; side < GW_STAGED_SIDES; side++) {
        total[side] = d->total[side];
        if (d->staging)
            gw_staging_total(d->staging, side, &total[side]);
        if (d->ending)
            gw_staging_total(d->ending, side, &total[side]);
    }
    gw_page_family(p, GW_SLICE("gateway_generation_staged"), GW_PAGE_GAUGE, "1 while a reload is staged.");
    gw_page_u64(p, GW_NO_SLICE, d->state == GW_STAGED_ON);
    gw_page_family(p, GW_SLICE("gateway_generation_requests"), GW_PAGE_COUNTER, "Requests while a reload was staged.");
    for (int side = 0; side < GW_STAGED_SIDES; side++)
        gw_page_u64(p, labels[side], total[side].requests);
    gw_page_family(p, GW_SLICE("gateway_generation_errors"), GW_PAGE_COUNTER,
                   "Those that were answered with 500 to 599, or cut.");
    for (int side = 0; side < GW_STAGED_SIDES; side++)
        gw_page_u64(p, labels[side], total[side].errors);
    gw_page_family(p, GW_SLICE("gateway_generation_request_duration_seconds"), GW_PAGE_HISTOGRAM,
                   "How long requests took while a reload was staged.");
    for (int side = 0; side < GW_STAGED_SIDES; side++)
        gw_histogram_write(p, labels[side], &total[side].duration, NULL);
}
