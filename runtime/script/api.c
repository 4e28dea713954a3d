/* What compiled Lua calls: see api.h. */
#include "script/api.h"
#include "base/clock.h"
#include "gateway/exchange.h"
#include "gateway/limit.h"
#include "http/url.h"
#include "script/embedded.h"
#include "script/task.h"
#include "script/wait.h"

const gw_lua_size gw_api_sizes[] = {
    {"gw_lua_slice", sizeof(gw_lua_slice)},
    {"gw_lua_view", sizeof(gw_lua_view)},
    {"gw_lua_waits", sizeof(gw_lua_waits)},
    {"gw_lua_size", sizeof(gw_lua_size)},
    {"gw_lua_plugin_cell", sizeof(gw_lua_plugin_cell)},
    {"gw_lua_metric", sizeof(gw_lua_metric)},
    {"gw_lua_handle", sizeof(gw_lua_handle)},
    {"gw_lua_token_bucket", sizeof(gw_lua_token_bucket)},
    {"gw_lua_client_limiter", sizeof(gw_lua_client_limiter)},
    {"gw_lua_sliding_window", sizeof(gw_lua_sliding_window)},
    {"gw_lua_breaker", sizeof(gw_lua_breaker)},
    {"gw_lua_breakers", sizeof(gw_lua_breakers)},
    {"gw_lua_balancer", sizeof(gw_lua_balancer)},
    {"gw_lua_health", sizeof(gw_lua_health)},
    {"gw_lua_settings", sizeof(gw_lua_settings)},
    {"gw_lua_endpoint", sizeof(gw_lua_endpoint)},
    {"gw_lua_balancing", sizeof(gw_lua_balancing)},
    {"gw_lua_watching", sizeof(gw_lua_watching)},
    {"gw_lua_dictionary", sizeof(gw_lua_dictionary)},
    {"gw_lua_value", sizeof(gw_lua_value)},
    {"gw_lua_dictionary_stats", sizeof(gw_lua_dictionary_stats)},
    {"gw_json", sizeof(gw_json)},
    {"gw_regex_error", sizeof(gw_regex_error)},
    {NULL, 0},
};

_Static_assert((int)GW_LUA_AGAIN == (int)GW_AGAIN && (int)GW_LUA_EOF == (int)GW_EOF && (int)GW_LUA_NOMEM == (int)GW_NOMEM &&
                   (int)GW_LUA_INVALID == (int)GW_INVALID && (int)GW_LUA_LIMIT == (int)GW_LIMIT &&
                   (int)GW_LUA_REFUSED == (int)GW_REFUSED && (int)GW_LUA_TIMEOUT == (int)GW_TIMEOUT &&
                   (int)GW_LUA_NOTFOUND == (int)GW_NOTFOUND,
               "Lua knows the statuses by the same numbers");

const char *gw_api_text(void)
{
    return gw_api_cdef;
}

static inline gw_headers *side_of(gw_lua_view *view, int side)
{
    gw_exchange *x = view->exchange;
    return side == GW_LUA_REQUEST ? &x->request.headers : &x->response.headers;
}

static inline int found(gw_lua_view *view, gw_slice s)
{
    view->out.ptr = s.ptr;
    view->out.len = s.len;
    return 1;
}

/* ---- header fields ---- */

int gw_lua_header(gw_lua_view *view, int side, const char *name, size_t len)
{
    gw_exchange *x = view->exchange;
    const gw_headers *h = side_of(view, side);
    gw_slice wanted = gw_slice_of(name, len);
    int at = gw_headers_find(h, wanted, 0);
    if (at < 0)
        return 0;
    if (gw_headers_find(h, wanted, (uint32_t)at + 1) < 0)
        return found(view, h->item[at].value);
    gw_slice joined = gw_headers_joined(h, wanted, &x->arena);
    return found(view, joined.ptr ? joined : h->item[at].value);
}

int gw_lua_header_next(gw_lua_view *view, int side, const char *name, size_t len, int from)
{
    const gw_headers *h = side_of(view, side);
    int at = gw_headers_find(h, gw_slice_of(name, len), from > 0 ? (uint32_t)from : 0);
    if (at < 0)
        return 0;
    found(view, h->item[at].value);
    return at + 1;
}

int gw_lua_header_at(gw_lua_view *view, int side, int at)
{
    const gw_headers *h = side_of(view, side);
    if (at < 0 || (uint32_t)at >= h->count)
        return 0;
    view->name.ptr = h->item[at].name.ptr;
    view->name.len = h->item[at].name.len;
    return found(view, h->item[at].value);
}

/* Whether a script may write this field, and both parts copied to where they live as long as the exchange. */
static int field_for(gw_lua_view *view, int side, gw_slice *name, gw_slice *value)
{
    gw_exchange *x = view->exchange;
    if (side == GW_LUA_RESPONSE && !view->answered)
        return GW_NOTFOUND;
    if (!gw_header_name_valid(*name) || !gw_header_value_valid(*value))
        return GW_INVALID;
    switch (gw_header_id_of(*name)) {
    case GW_H_CONTENT_LENGTH:
    case GW_H_TRANSFER_ENCODING:
    case GW_H_CONNECTION:
    case GW_H_KEEP_ALIVE:
    case GW_H_PROXY_CONNECTION:
    case GW_H_TE:
    case GW_H_TRAILER:
    case GW_H_UPGRADE:
    case GW_H_HTTP2_SETTINGS:
    case GW_H_EXPECT:
        return GW_REFUSED;
    case GW_H_HOST: {
        gw_slice host;
        int port;
        if (gw_authority_split(*value, &host, &port) != GW_OK)
            return GW_INVALID;
        break;
    }
    default:
        break;
    }
    *name = gw_arena_copy(&x->arena, *name);
    *value = gw_arena_copy(&x->arena, *value);
    return name->ptr && value->ptr ? GW_OK : GW_NOMEM;
}

int gw_lua_header_set(gw_lua_view *view, int side, const char *name, size_t name_len, const char *value, size_t value_len)
{
    gw_slice n = gw_slice_of(name, name_len), v = gw_slice_of(value, value_len);
    int status = field_for(view, side, &n, &v);
    return status == GW_OK ? gw_headers_set(side_of(view, side), n, v) : status;
}

int gw_lua_header_add(gw_lua_view *view, int side, const char *name, size_t name_len, const char *value, size_t value_len)
{
    gw_slice n = gw_slice_of(name, name_len), v = gw_slice_of(value, value_len);
    int status = field_for(view, side, &n, &v);
    return status == GW_OK ? gw_headers_add(side_of(view, side), n, v) : status;
}

int gw_lua_header_remove(gw_lua_view *view, int side, const char *name, size_t len)
{
    switch (gw_header_id_of(gw_slice_of(name, len))) {
    case GW_H_CONTENT_LENGTH: /* framing is decided by what was parsed; these only mirror it */
    case GW_H_TRANSFER_ENCODING:
    case GW_H_CONNECTION:
    case GW_H_UPGRADE:
        return GW_REFUSED;
    default:
        gw_headers_remove(side_of(view, side), gw_slice_of(name, len));
        return GW_OK;
    }
}

int gw_lua_header_remove_alike(gw_lua_view *view, const char *name, size_t len)
{
    int status = gw_lua_header_remove(view, GW_LUA_REQUEST, name, len); /* whether it may be */
    if (status == GW_OK)
        gw_headers_remove_alike(side_of(view, GW_LUA_REQUEST), gw_slice_of(name, len));
    return status;
}

/* ---- the request ---- */

int gw_lua_cookie(gw_lua_view *view, const char *name, size_t len)
{
    const gw_headers *h = side_of(view, GW_LUA_REQUEST);
    if (!gw_headers_has(h, GW_H_COOKIE))
        return 0;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->item[i].id != GW_H_COOKIE)
            continue;
        gw_slice value = gw_cookie_get(h->item[i].value, gw_slice_of(name, len));
        if (value.ptr)
            return found(view, value);
    }
    return 0;
}

/* A value as the script reads it; the plain text of one without escapes is the path's own bytes. */
static int param_found(gw_lua_view *view, gw_slice value)
{
    gw_exchange *x = view->exchange;
    if (value.len && memchr(value.ptr, '%', value.len)) {
        char *room = gw_arena_bytes(&x->arena, value.len);
        if (room)
            value = gw_percent_decode(value, room);
    }
    return found(view, value);
}

int gw_lua_param(gw_lua_view *view, const char *name, size_t len)
{
    const gw_exchange *x = view->exchange;
    for (uint32_t i = 0; i < x->found.param_count; i++)
        if (gw_slice_equal(x->found.params[i].name, gw_slice_of(name, len)))
            return param_found(view, x->found.params[i].value);
    return 0;
}

int gw_lua_param_at(gw_lua_view *view, int at)
{
    const gw_exchange *x = view->exchange;
    if (at < 0 || (uint32_t)at >= x->found.param_count)
        return 0;
    view->name.ptr = x->found.params[at].name.ptr;
    view->name.len = x->found.params[at].name.len;
    return param_found(view, x->found.params[at].value);
}

int gw_lua_upstream_name(gw_lua_view *view)
{
    const gw_exchange *x = view->exchange;
    if (x->upstream)
        return found(view, x->upstream->name);
    if (x->route && x->route->target.kind == GW_TARGET_UPSTREAM)
        return found(view, x->route->target.upstream->name);
    return 0;
}

/* Percent-encodes what cannot stand in a path as it is: a script may put any text between the slashes. `%` stays: it is an escape. */
static gw_slice path_encoded(gw_arena *arena, const char *path, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = gw_arena_bytes(arena, len * 3 + 1), *at = out;
    if (!out)
        return GW_NO_SLICE;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c <= 0x20 || c >= 0x7f || memchr("\"<>^`{|}", c, 8)) {
            *at++ = '%';
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        } else
            *at++ = (char)c;
    }
    return gw_slice_of(out, (size_t)(at - out));
}

int gw_lua_set_path(gw_lua_view *view, const char *path, size_t len)
{
    gw_exchange *x = view->exchange;
    const char *reason = NULL;
    if (len > GW_SCRATCH_BYTES / 4)
        reason = "too long";
    else if (memchr(path, '?', len) || memchr(path, '#', len))
        reason = "'?' and '#' end a path: percent-encode them, or set request.query";
    if (reason) {
        found(view, gw_slice_str(reason));
        return GW_INVALID;
    }
    gw_slice encoded = path_encoded(&x->arena, path, len), normal;
    char *room = gw_arena_bytes(&x->arena, encoded.len + 1);
    if (!encoded.ptr || !room)
        return GW_NOMEM;
    if (gw_path_normalise(encoded, x->generation->keep_encoded_slash, room, &normal, &reason) != GW_OK) {
        found(view, gw_slice_str(reason));
        return GW_INVALID;
    }
    x->path = normal;
    view->path = (gw_lua_slice){normal.ptr, normal.len};
    return GW_OK;
}

int gw_lua_set_query(gw_lua_view *view, const char *query, size_t len)
{
    gw_exchange *x = view->exchange;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)query[i];
        if (c <= 0x20 || c >= 0x7f || c == '#')
            return GW_INVALID;
    }
    if (len > GW_SCRATCH_BYTES / 2)
        return GW_INVALID;
    gw_slice copy = len ? gw_arena_copy(&x->arena, gw_slice_of(query, len)) : GW_NO_SLICE;
    if (len && !copy.ptr)
        return GW_NOMEM;
    x->query = copy;
    view->query = (gw_lua_slice){copy.ptr, copy.len};
    return GW_OK;
}

int gw_lua_body(gw_lua_view *view, double most)
{
    gw_exchange *x = view->exchange;
    int status = gw_exchange_body(x, most >= 0 && most < 1e15 ? (uint64_t)most : UINT64_MAX);
    if (status == GW_OK)
        found(view, gw_slice_of(x->body_text ? x->body_text : "", x->body_text_len));
    return status;
}

int gw_lua_limit_body(gw_lua_view *view, double most)
{
    gw_exchange *x = view->exchange;
    uint64_t bytes = most >= 0 && most < 9e18 ? (uint64_t)most : UINT64_MAX;
    if (bytes < x->body_limit)
        x->body_limit = bytes;
    bool longer = x->in.framing == GW_FRAMING_LENGTH && x->request.content_length > x->body_limit;
    return longer || x->in.bytes > x->body_limit ? GW_LIMIT : GW_OK;
}

double gw_lua_started(gw_lua_view *view)
{
    const gw_exchange *x = view->exchange;
    return gw_clock_wall() - (gw_loop_now(x->engine->loop) - x->started);
}

int gw_lua_log_text(gw_lua_view *view, const char *name, size_t name_len, const char *value, size_t value_len)
{
    const gw_access_extra e = {
        .name = gw_slice_of(name, name_len), .kind = GW_ACCESS_TEXT, .text = gw_slice_of(value, value_len)};
    return gw_access_set(view->exchange, &e);
}

int gw_lua_log_number(gw_lua_view *view, const char *name, size_t name_len, double value)
{
    const gw_access_extra e = {.name = gw_slice_of(name, name_len), .kind = GW_ACCESS_NUMBER, .number = value};
    return gw_access_set(view->exchange, &e);
}

int gw_lua_log_boolean(gw_lua_view *view, const char *name, size_t name_len, int value)
{
    const gw_access_extra e = {.name = gw_slice_of(name, name_len), .kind = GW_ACCESS_BOOLEAN, .number = value != 0};
    return gw_access_set(view->exchange, &e);
}

void *gw_lua_span_enter(gw_lua_view *view, const char *name, size_t len)
{
    return gw_trace_enter(view->exchange, gw_slice_of(name, len));
}

void gw_lua_span_leave(gw_lua_view *view, void *span)
{
    gw_trace_leave(view->exchange, span);
}

void gw_lua_log_remove(gw_lua_view *view, const char *name, size_t len)
{
    gw_access_remove(view->exchange, gw_slice_of(name, len));
}

int gw_lua_log_get(gw_lua_view *view, const char *name, size_t len, double *number)
{
    const gw_access_extra *e = gw_access_get(view->exchange, gw_slice_of(name, len));
    if (!e)
        return 0;
    *number = e->number;
    found(view, e->text);
    return e->kind == GW_ACCESS_TEXT ? 1 : e->kind == GW_ACCESS_NUMBER ? 2 : 3;
}

void gw_lua_key(gw_lua_view *view, const char *text, size_t len)
{
    gw_exchange_key(view->exchange, gw_slice_of(text, len));
}

int gw_lua_choose(gw_lua_view *view)
{
    const gw_exchange *x = view->exchange;
    return x->upstream ? -2 : gw_exchange_choose(view->exchange);
}

void gw_lua_use_upstream(gw_lua_view *view, int index)
{
    gw_exchange *x = view->exchange;
    if (index >= 0 && (uint32_t)index < x->generation->upstream_count)
        x->upstream = x->generation->upstreams[index];
}

int gw_lua_finally(gw_lua_view *view)
{
    gw_exchange *x = view->exchange;
    gw_task *t = (gw_task *)view; /* which begins with its view */
    gw_waiting *waiting = gw_waiting_of(t);
    if (!waiting)
        return GW_NOMEM;
    waiting->finals = true;
    x->finals = t;
    return GW_OK;
}

double gw_lua_limit(gw_lua_view *view, int index, const char *key, size_t len)
{
    gw_exchange *x = view->exchange;
    const gw_generation *g = x->generation;
    double wait = 0;
    if (index < 0 || (uint32_t)index >= g->limit_count)
        return 0;
    int status = key ? gw_limit_check_key(x, &g->limits[index], gw_slice_of(key, len), &wait)
                     : gw_limit_check(x, &g->limits[index], &wait);
    return status == GW_NOMEM ? -1 : wait;
}

/* ---- the response ---- */

int gw_lua_set_status(gw_lua_view *view, int status)
{
    gw_exchange *x = view->exchange;
    if (status < 200 || status > 599)
        return GW_INVALID;
    if (x->response.status != status) {
        x->response.status = (uint16_t)status;
        x->response.reason = GW_NO_SLICE;
        if (x->reply.status)
            x->reply.status = status;
    }
    view->status = status;
    return GW_OK;
}

int gw_lua_set_body(gw_lua_view *view, const char *body, size_t len)
{
    gw_exchange *x = view->exchange;
    gw_slice copy = gw_arena_copy(&x->arena, gw_slice_of(body, len));
    if (!copy.ptr)
        return GW_NOMEM;
    x->reply.body = copy;
    x->body_replaced = true;
    return GW_OK;
}

int gw_lua_response_body(gw_lua_view *view, double most)
{
    gw_exchange *x = view->exchange;
    int status = gw_exchange_response_body(x, most >= 0 && most < 1e15 ? (uint64_t)most : UINT64_MAX);
    if (status == GW_OK)
        found(view, x->reply.body.ptr ? x->reply.body : GW_SLICE(""));
    return status;
}

int gw_lua_reply(gw_lua_view *view, int status, const char *body, size_t len)
{
    gw_exchange *x = view->exchange;
    if (status < 200 || status > 599)
        return GW_INVALID;
    gw_slice copy = len ? gw_arena_copy(&x->arena, gw_slice_of(body, len)) : GW_SLICE("");
    if (!copy.ptr)
        return GW_NOMEM;
    x->reply.status = status;
    x->reply.body = copy;
    x->response.status = (uint16_t)status;
    x->response.minor = 1;
    x->response.reason = GW_NO_SLICE;
    gw_headers_clear(&x->response.headers);
    x->body_replaced = false;
    view->answered = 1;
    return GW_OK;
}
