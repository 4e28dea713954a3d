#include "gateway/access_log.h"
#include "base/clock.h"
#include "gateway/flow.h"

#define PATH_MOST 512 /* a byte may become six */
#define HEADER_MOST 256

const char *const gw_access_field_names[GW_ACCESS_FIELDS] = {
    "trace_id", "client_ip", "method",     "scheme",   "host",     "path",     "query",
    "status",   "bytes",     "bytes_in",   "duration", "upstream", "endpoint", "upstream_duration",
    "attempts", "route",     "generation", "worker",   "error",
};

static void member(gw_text *t, const char *name, size_t name_len, gw_slice value)
{
    gw_text_add(t, name, name_len);
    gw_text_json(t, value);
}
#define MEMBER(t, name, value) member((t), ",\"" name "\":", sizeof(",\"" name "\":") - 1, (value))

static void number(gw_text *t, const char *name, size_t name_len, uint64_t value)
{
    gw_text_add(t, name, name_len);
    gw_text_u64(t, value);
}
#define NUMBER(t, name, value) number((t), ",\"" name "\":", sizeof(",\"" name "\":") - 1, (value))

static gw_slice bounded(gw_slice s, size_t most)
{
    return s.len > most ? gw_slice_of(s.ptr, most) : s;
}

/* ---- what scripts add ---- */

static bool good_name(gw_slice name)
{
    if (name.len == 0 || name.len > 64)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '.' || c == '-')))
            return false;
    }
    return true;
}

/* First letters first: few names are compared whole. */
static bool reserved(gw_slice name)
{
    static const char *const others[] = {"time", "type", "request_id", "headers", "response_headers", "cut"};
    for (size_t i = 0; i < GW_COUNT(others); i++)
        if (others[i][0] == name.ptr[0] && gw_slice_equal(name, gw_slice_str(others[i])))
            return true;
    for (size_t i = 0; i < GW_ACCESS_FIELDS; i++)
        if (gw_access_field_names[i][0] == name.ptr[0] && gw_slice_equal(name, gw_slice_str(gw_access_field_names[i])))
            return true;
    return false;
}

static gw_access_extra *find(const gw_exchange *x, gw_slice name)
{
    gw_access_extra *e = x->extras;
    while (e && !gw_slice_equal(e->name, name))
        e = e->next;
    return e;
}

const gw_access_extra *gw_access_get(const gw_exchange *x, gw_slice name)
{
    return find(x, name);
}

void gw_access_remove(gw_exchange *x, gw_slice name)
{
    for (gw_access_extra **at = &x->extras; *at; at = &(*at)->next)
        if (gw_slice_equal((*at)->name, name)) {
            *at = (*at)->next;
            x->extra_count--;
            return; /* its bytes stay counted: they are in the arena */
        }
}

static inline bool is_logged(const gw_exchange *x)
{
    return x->generation->access_log && !(x->route && !x->route->access_log);
}

int gw_access_set(gw_exchange *x, const gw_access_extra *extra)
{
    if (!good_name(extra->name))
        return GW_INVALID;
    if (reserved(extra->name))
        return GW_REFUSED;
    if (!is_logged(x))
        return GW_OK;
    gw_access_extra *e = find(x, extra->name);
    gw_slice text = extra->kind == GW_ACCESS_TEXT ? extra->text : GW_NO_SLICE;
    size_t bytes = text.len + (e ? 0 : extra->name.len + 16); /* an empty one counts too: so their number is bounded */
    if (x->extra_bytes + bytes > GW_ACCESS_EXTRA_BYTES)
        return GW_LIMIT;
    if (!e && x->extra_count >= GW_ACCESS_EXTRAS_MOST)
        return GW_LIMIT;
    if (text.len && !(text = gw_arena_copy(&x->arena, text)).ptr)
        return GW_NOMEM;
    if (!e) {
        e = gw_arena_take(&x->arena, sizeof *e);
        gw_slice name = e ? gw_arena_copy(&x->arena, extra->name) : GW_NO_SLICE;
        if (!name.ptr)
            return GW_NOMEM;
        e->name = name;
        gw_access_extra **last = &x->extras;
        while (*last)
            last = &(*last)->next;
        *last = e;
        x->extra_count++;
    }
    x->extra_bytes = (uint16_t)(x->extra_bytes + bytes);
    e->kind = extra->kind;
    e->text = text;
    e->number = extra->number;
    return GW_OK;
}

static void extras(gw_text *t, const gw_access_extra *e)
{
    for (; e; e = e->next) {
        gw_text_lit(t, ",");
        gw_text_json(t, e->name);
        gw_text_lit(t, ":");
        if (e->kind == GW_ACCESS_TEXT)
            gw_text_json(t, e->text);
        else if (e->kind == GW_ACCESS_BOOLEAN)
            gw_text_slice(t, e->number != 0 ? GW_SLICE("true") : GW_SLICE("false"));
        else if (e->number - e->number != 0)
            gw_text_lit(t, "null"); /* no number that JSON knows */
        else
            gw_text_printf(t, "%.15g", e->number);
    }
}

/* ---- header fields ---- */

void gw_access_keep_response(gw_exchange *x)
{
    const gw_access_spec *spec = &x->generation->access;
    gw_slice *values = gw_arena_take(&x->arena, spec->response_header_count * sizeof *values);
    if (!values)
        return;
    for (uint32_t i = 0; i < spec->response_header_count; i++) {
        gw_slice value = gw_headers_joined(&x->response.headers, spec->response_headers[i], &x->arena);
        if (value.ptr)
            values[i] = gw_arena_copy(&x->arena, bounded(value, HEADER_MOST));
    }
    x->kept_headers = values;
}

static void headers(gw_text *t, const char *name, const gw_slice *names, const gw_slice *values, uint32_t count)
{
    gw_text_lit(t, ",\"");
    gw_text_slice(t, gw_slice_str(name));
    gw_text_lit(t, "\":{");
    bool first = true;
    for (uint32_t i = 0; i < count; i++) {
        if (!values[i].ptr)
            continue;
        if (!first)
            gw_text_lit(t, ",");
        first = false;
        gw_text_json(t, names[i]);
        gw_text_lit(t, ":");
        gw_text_json(t, values[i]);
    }
    gw_text_lit(t, "}");
}

static void request_headers(gw_exchange *x, gw_text *t)
{
    const gw_access_spec *spec = &x->generation->access;
    gw_slice values[GW_ACCESS_HEADERS_MOST];
    for (uint32_t i = 0; i < spec->header_count; i++)
        values[i] = bounded(gw_headers_joined(&x->request.headers, spec->headers[i], &x->arena), HEADER_MOST);
    headers(t, "headers", spec->headers, values, spec->header_count);
}

/* ---- the line ---- */

static void fields(gw_exchange *x, gw_text *t)
{
    const uint32_t wanted = x->generation->access.fields;
    const double now = gw_loop_now(x->engine->loop);
#define WANTED(field) (wanted >> GW_ACCESS_##field & 1)
    if (WANTED(TRACE_ID) && x->trace)
        MEMBER(t, "trace_id", gw_trace_id(x->trace));
    if (WANTED(TRACE_ID) && x->trace && x->id.len)
        MEMBER(t, "request_id", x->id);
    if (WANTED(TRACE_ID) && x->id.len && !x->trace)
        MEMBER(t, "trace_id", x->id);
    if (WANTED(CLIENT_IP))
        MEMBER(t, "client_ip", gw_slice_of(x->client_ip_text, x->client_ip_len));
    if (WANTED(METHOD))
        MEMBER(t, "method", bounded(x->request.method_name, 32));
    if (WANTED(SCHEME))
        MEMBER(t, "scheme", x->https ? GW_SLICE("https") : GW_SLICE("http"));
    if (WANTED(HOST))
        MEMBER(t, "host", bounded(x->request.host, 256));
    if (WANTED(PATH))
        MEMBER(t, "path", bounded(x->path.ptr ? x->path : x->request.target, PATH_MOST));
    if (WANTED(QUERY))
        MEMBER(t, "query", bounded(x->query, PATH_MOST));
    if (WANTED(STATUS))
        NUMBER(t, "status", (uint64_t)(x->status > 0 ? x->status : 0));
    if (WANTED(BYTES))
        NUMBER(t, "bytes", x->bytes_out);
    if (WANTED(BYTES_IN))
        NUMBER(t, "bytes_in", x->in.bytes);
    if (WANTED(DURATION)) {
        gw_text_lit(t, ",\"duration\":");
        gw_text_fixed(t, now - x->started, 6);
    }
    if (WANTED(UPSTREAM) && x->upstream)
        MEMBER(t, "upstream", x->upstream->name);
    if (x->endpoint) {
        if (WANTED(ENDPOINT))
            MEMBER(t, "endpoint", x->endpoint->text);
        if (WANTED(UPSTREAM_DURATION)) {
            gw_text_lit(t, ",\"upstream_duration\":");
            gw_text_fixed(t, (x->up_ended ? x->up_ended : now) - x->up_started, 6);
        }
        if (WANTED(ATTEMPTS))
            NUMBER(t, "attempts", x->attempts);
    }
    if (WANTED(ROUTE) && x->route)
        MEMBER(t, "route", bounded(x->route->name, 128));
    if (WANTED(GENERATION))
        NUMBER(t, "generation", x->generation->number);
    if (WANTED(WORKER))
        NUMBER(t, "worker", x->engine->index);
    if (WANTED(ERROR) && x->error)
        MEMBER(t, "error", gw_slice_str(x->error));
#undef WANTED
}

void gw_access_log(gw_exchange *x)
{
    gw_engine *e = x->engine;
    const gw_generation *g = x->generation;
    if (!is_logged(x))
        return;
    if (g->access_sample < 1 && (double)(gw_random_next(&e->random) >> 11) * 0x1p-53 >= g->access_sample)
        return;
    gw_log_ring *ring = g->access.apart && e->access ? e->access : e->log;
    char *line = gw_log_reserve(ring, GW_ACCESS_LINE_MOST);
    if (!line)
        return; /* counted there */
    gw_text t = gw_text_on(line, GW_ACCESS_LINE_MOST);
    char time[25];
    gw_clock_iso8601(gw_engine_wall(e), time);
    gw_text_lit(&t, "{\"time\":\"");
    gw_text_add(&t, time, 24);
    gw_text_lit(&t, "\",\"type\":\"access\"");
    fields(x, &t);
    const gw_text mark = t;
    t.end -= 16; /* so that the line can always be closed */
    if (gw_unlikely(x->extras != NULL))
        extras(&t, x->extras);
    if (g->access.header_count)
        request_headers(x, &t);
    if (x->kept_headers)
        headers(&t, "response_headers", g->access.response_headers, x->kept_headers, g->access.response_header_count);
    bool cut = t.cut && !mark.cut; /* without them, rather than not at all */
    if (cut)
        t = mark;
    t.end = line + GW_ACCESS_LINE_MOST;
    if (cut)
        gw_text_lit(&t, ",\"cut\":true");
    gw_text_lit(&t, "}\n");
    gw_log_commit(ring, t.cut ? 0 : (size_t)(t.at - t.begin));
}
