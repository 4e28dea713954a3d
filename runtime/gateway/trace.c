#include "gateway/trace.h"
#include "base/clock.h"
#include "gateway/flow.h"

#define SPAN_MOST 8192 /* bytes of a span's line */

/* ---- the header ---- */

static bool is_hex(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((bytes[i] >= '0' && bytes[i] <= '9') || (bytes[i] >= 'a' && bytes[i] <= 'f')))
            return false;
    return true;
}

static bool all_zero(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != '0')
            return false;
    return true;
}

/* Trace Context section 3.2: lower case hex only, ids that are not all zero, version ff is invalid; a higher version may have more behind
 * the flags, after a '-'. */
bool gw_traceparent_parse(const char *bytes, size_t len, char id[32], char parent[16], bool *sampled)
{
    if (len < GW_TRACEPARENT_BYTES || !is_hex(bytes, 2) || memcmp(bytes, "ff", 2) == 0)
        return false;
    bool first_version = memcmp(bytes, "00", 2) == 0;
    if (len > GW_TRACEPARENT_BYTES && (first_version || bytes[GW_TRACEPARENT_BYTES] != '-'))
        return false;
    if (bytes[2] != '-' || bytes[35] != '-' || bytes[52] != '-' || !is_hex(bytes + 3, 32) || !is_hex(bytes + 36, 16) ||
        !is_hex(bytes + 53, 2) || all_zero(bytes + 3, 32) || all_zero(bytes + 36, 16))
        return false;
    memcpy(id, bytes + 3, 32);
    memcpy(parent, bytes + 36, 16);
    char low = bytes[54];
    *sampled = (low >= 'a' ? low - 'a' + 10 : low - '0') & 1;
    return true;
}

static void random_hex(gw_exchange *x, char *out, size_t len)
{
    for (size_t done = 0; done < len; done += 16) {
        uint64_t bits;
        while ((bits = gw_random_next(&x->engine->random)) == 0)
            ;
        gw_hex16(bits, out + done);
    }
}

void gw_trace_begin(gw_exchange *x)
{
    const gw_trace_spec *spec = &x->generation->trace;
    gw_headers *h = &x->request.headers;
    gw_trace *t = gw_arena_take(&x->arena, sizeof *t);
    if (!t)
        return;
    const gw_slice name = GW_SLICE("traceparent");
    int at = gw_headers_find(h, name, 0);
    bool once = at >= 0 && gw_headers_find(h, name, (uint32_t)at + 1) < 0;
    t->has_parent =
        once && gw_traceparent_parse(h->item[at].value.ptr, h->item[at].value.len, t->header + 3, t->parent, &t->sampled);
    if (!t->has_parent) {
        random_hex(x, t->header + 3, 32);
        t->sampled = spec->ratio >= 1 || (double)(gw_random_next(&x->engine->random) >> 11) * 0x1p-53 < spec->ratio;
        gw_headers_remove(h, GW_SLICE("tracestate")); /* it is of a trace that this one does not continue (section 3.3.1) */
    }
    random_hex(x, t->span, 16);
    memcpy(t->header, "00-", 3);
    t->header[35] = t->header[52] = '-';
    memcpy(t->header + 36, t->span, 16);
    memcpy(t->header + 53, t->sampled ? "01" : "00", 2);
    t->last = &t->first;
    if (gw_headers_set(h, name, gw_slice_of(t->header, sizeof t->header)) == GW_OK) /* else there is no room for another field */
        x->trace = t;
}

/* ---- tries ---- */

static gw_span *add_span(gw_exchange *x)
{
    gw_trace *t = x->trace;
    gw_span *s = t->count < GW_TRACE_SPANS_MOST ? gw_arena_take(&x->arena, sizeof *s) : NULL;
    if (!s)
        return NULL;
    random_hex(x, s->id, sizeof s->id);
    s->parent = t->open;
    *t->last = s;
    t->last = &s->next;
    t->count++;
    return s;
}

void gw_trace_try(gw_exchange *x)
{
    gw_span *s = x->span = add_span(x);
    if (!s)
        return;
    memcpy(x->trace->header + 36, s->id, sizeof s->id);
    s->started = gw_loop_now(x->engine->loop);
    s->endpoint = gw_arena_copy(&x->arena, x->endpoint->text);
    s->number = x->attempts;
}

/* ---- middleware: by the clock itself, as most of it takes less than a turn of the loop ---- */

static double now_here(void)
{
    return (double)gw_clock_monotonic_ns() / 1e9; /* the base of the loop's time */
}

gw_span *gw_trace_enter(gw_exchange *x, gw_slice name)
{
    gw_span *s = x->trace ? add_span(x) : NULL;
    if (!s)
        return NULL;
    s->name = gw_arena_copy(&x->arena, name);
    s->started = now_here();
    x->trace->open = s;
    return s;
}

void gw_trace_leave(gw_exchange *x, gw_span *s)
{
    if (!s || !x->trace)
        return;
    s->ended = now_here();
    x->trace->open = (gw_span *)s->parent; /* ours, and made here */
}

void gw_trace_try_over(gw_exchange *x)
{
    x->span->ended = gw_loop_now(x->engine->loop);
    if (!x->span->status)
        x->span->error = x->error ? x->error : x->aside ? "another try answered first" : "given up";
    x->span = NULL;
}

/* ---- spans as OTLP has them in JSON (opentelemetry-proto, trace/v1; semantic conventions for HTTP spans) ---- */

static void text_attribute(gw_text *t, const char *key, gw_slice value)
{
    if (!value.ptr)
        return;
    gw_text_printf(t, "%s{\"key\":\"%s\",\"value\":{\"stringValue\":", t->at[-1] == '[' ? "" : ",", key);
    gw_text_json(t, value.len > 512 ? gw_slice_of(value.ptr, 512) : value);
    gw_text_lit(t, "}}");
}

static void number_attribute(gw_text *t, const char *key, uint64_t value)
{
    gw_text_printf(t, "%s{\"key\":\"%s\",\"value\":{\"intValue\":\"%llu\"}}", t->at[-1] == '[' ? "" : ",", key,
                   (unsigned long long)value);
}

static void begin(gw_exchange *x, gw_text *t, const char id[16], const char *parent, const char *kind, double from, double to)
{
    const double wall = x->trace->wall;
    gw_text_printf(t, "{\"traceId\":\"%.32s\",\"spanId\":\"%.16s\",", x->trace->header + 3, id);
    if (parent)
        gw_text_printf(t, "\"parentSpanId\":\"%.16s\",", parent);
    gw_text_printf(t, "\"kind\":%s,\"startTimeUnixNano\":\"%llu\",\"endTimeUnixNano\":\"%llu\",\"name\":", kind,
                   (unsigned long long)((wall + from) * 1e9), (unsigned long long)((wall + to) * 1e9));
}

static void end(gw_text *t, bool failed, const char *error)
{
    gw_text_lit(t, "],\"status\":{");
    if (failed) {
        gw_text_lit(t, "\"code\":2");
        if (error) {
            gw_text_lit(t, ",\"message\":");
            gw_text_json(t, gw_slice_str(error));
        }
    }
    gw_text_lit(t, "}}\n");
}

static void write_span(gw_exchange *x, void (*write)(gw_exchange *x, gw_text *t, const gw_span *s), const gw_span *s)
{
    char *line = gw_log_reserve(x->engine->spans, SPAN_MOST);
    if (!line)
        return; /* counted there */
    gw_text t = gw_text_on(line, SPAN_MOST);
    write(x, &t, s);
    gw_log_commit(x->engine->spans, t.cut ? 0 : (size_t)(t.at - t.begin));
}

static void write_server(gw_exchange *x, gw_text *t, const gw_span *unused)
{
    (void)unused;
    const gw_trace *trace = x->trace;
    char name[256];
    gw_text n = gw_text_on(name, sizeof name);
    gw_slice method =
        x->request.method == GW_METHOD_OTHER || !x->request.method_name.ptr ? GW_SLICE("HTTP") : x->request.method_name;
    gw_text_slice(&n, method);
    if (x->route && x->route->name.len < 200) { /* from the script, so there are not many */
        gw_text_lit(&n, " ");
        gw_text_slice(&n, x->route->name);
    }
    begin(x, t, trace->span, trace->has_parent ? trace->parent : NULL, "2", x->started, gw_loop_now(x->engine->loop));
    gw_text_json(t, gw_text_done(&n));
    gw_slice state = gw_headers_joined(&x->request.headers, GW_SLICE("tracestate"), &x->arena);
    if (state.len && state.len <= 512) {
        gw_text_lit(t, ",\"traceState\":");
        gw_text_json(t, state);
    }
    gw_text_lit(t, ",\"attributes\":[");
    text_attribute(t, "http.request.method", x->request.method_name.len > 32 ? GW_SLICE("_OTHER") : x->request.method_name);
    text_attribute(t, "url.scheme", x->https ? GW_SLICE("https") : GW_SLICE("http"));
    text_attribute(t, "url.path", x->path);
    text_attribute(t, "server.address", x->request.host);
    text_attribute(t, "client.address", gw_slice_of(x->client_ip_text, x->client_ip_len));
    if (x->route)
        text_attribute(t, "http.route", x->route->name);
    if (x->status > 0)
        number_attribute(t, "http.response.status_code", (uint64_t)x->status);
    if (x->id.len)
        text_attribute(t, "gateway.request_id", x->id);
    number_attribute(t, "gateway.generation", x->generation->number);
    end(t, x->status >= 500 || x->error, x->error);
}

static void write_middleware(gw_exchange *x, gw_text *t, const gw_span *s)
{
    double to = s->ended > 0 ? s->ended : now_here();
    begin(x, t, s->id, s->parent ? s->parent->id : x->trace->span, "1", s->started, to);
    gw_text_json(t, s->name);
    gw_text_lit(t, ",\"attributes\":[");
    if (x->route)
        text_attribute(t, "http.route", x->route->name);
    end(t, s->ended <= 0, "did not come back");
}

static void write_client(gw_exchange *x, gw_text *t, const gw_span *s)
{
    double to = s->ended > 0 ? s->ended : gw_loop_now(x->engine->loop);
    begin(x, t, s->id, s->parent ? s->parent->id : x->trace->span, "3", s->started, to);
    gw_text_json(t, x->request.method == GW_METHOD_OTHER ? GW_SLICE("HTTP") : x->request.method_name);
    gw_text_lit(t, ",\"attributes\":[");
    text_attribute(t, "http.request.method", x->request.method_name);
    text_attribute(t, "server.address", s->endpoint);
    if (x->upstream)
        text_attribute(t, "gateway.upstream", x->upstream->name);
    if (s->status)
        number_attribute(t, "http.response.status_code", s->status);
    if (s->number > 1)
        number_attribute(t, "http.request.resend_count", s->number - 1);
    end(t, s->status >= 400 || !s->status, s->error);
}

void gw_trace_end(gw_exchange *x)
{
    const gw_trace_spec *spec = &x->generation->trace;
    bool failed = x->status >= 500 || (x->error && !x->aborted);
    if (!x->engine->spans || !spec->otlp.url.ptr || !(x->trace->sampled || (spec->errors && failed)))
        return;
    /* Loop time is monotonic; what it is by the wall clock is asked once, so that tries lie inside their request. */
    x->trace->wall = gw_engine_wall(x->engine) - gw_loop_now(x->engine->loop);
    for (const gw_span *s = x->trace->first; s; s = s->next)
        write_span(x, s->name.ptr ? write_middleware : write_client, s);
    write_span(x, write_server, NULL);
}
