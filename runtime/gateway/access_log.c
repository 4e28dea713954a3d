/* One JSON object a request, however it ended. Strings of clients are escaped and bounded. */
#include "base/clock.h"
#include "gateway/flow.h"

#define LINE_MOST 6144
#define PATH_MOST 512 /* a byte may become six */

static void member(gw_text *t, const char *name, size_t name_len, gw_slice value)
{
    gw_text_add(t, name, name_len);
    gw_text_json(t, value);
}
#define MEMBER(t, name, value) member((t), ",\"" name "\":", sizeof(",\"" name "\":") - 1, (value))

static gw_slice bounded(gw_slice s, size_t most)
{
    return s.len > most ? gw_slice_of(s.ptr, most) : s;
}

void gw_access_log(gw_exchange *x)
{
    gw_engine *e = x->engine;
    const gw_generation *g = x->generation;
    if (!g->access_log || (x->route && !x->route->access_log))
        return;
    if (g->access_sample < 1 && (double)(gw_random_next(&e->random) >> 11) * 0x1p-53 >= g->access_sample)
        return;
    char *line = gw_log_reserve(e->log, LINE_MOST);
    if (!line)
        return; /* counted there */
    double now = gw_loop_now(e->loop);
    gw_text t = gw_text_on(line, LINE_MOST);
    char time[25];
    gw_clock_iso8601(gw_clock_wall(), time);
    gw_text_lit(&t, "{\"time\":\"");
    gw_text_add(&t, time, 24);
    gw_text_lit(&t, "\",\"type\":\"access\"");
    if (x->id.len)
        MEMBER(&t, "trace_id", x->id);
    MEMBER(&t, "client_ip", gw_slice_of(x->client_ip_text, x->client_ip_len));
    MEMBER(&t, "method", bounded(x->request.method_name, 32));
    MEMBER(&t, "path", bounded(x->path.ptr ? x->path : x->request.target, PATH_MOST));
    gw_text_lit(&t, ",\"status\":");
    gw_text_u64(&t, (uint64_t)(x->status > 0 ? x->status : 0));
    gw_text_lit(&t, ",\"bytes\":");
    gw_text_u64(&t, x->bytes_out);
    gw_text_lit(&t, ",\"duration\":");
    gw_text_fixed(&t, now - x->started, 6);
    if (x->upstream)
        MEMBER(&t, "upstream", x->upstream->name);
    if (x->endpoint) {
        MEMBER(&t, "endpoint", x->endpoint->text);
        gw_text_lit(&t, ",\"upstream_duration\":");
        gw_text_fixed(&t, (x->up_ended ? x->up_ended : now) - x->up_started, 6);
        gw_text_lit(&t, ",\"attempts\":");
        gw_text_u64(&t, x->attempts);
    }
    if (x->route)
        MEMBER(&t, "route", bounded(x->route->name, 128));
    if (x->error)
        MEMBER(&t, "error", gw_slice_str(x->error));
    gw_text_lit(&t, "}\n");
    gw_log_commit(e->log, t.cut ? 0 : (size_t)(t.at - t.begin));
}
