/* gateway.fetch as Lua calls it: see waits.h. */
#include "gateway/fetch.h"
#include "script/wait.h"

static gw_fetch *fetch_of(void *wait)
{
    return ((gw_wait *)wait)->held;
}

static gw_lua_waits *waits_of(void *wait)
{
    return &((gw_wait *)wait)->owner->state->waits;
}

static void say(void *wait, gw_slice text)
{
    waits_of(wait)->out = (gw_lua_slice){text.ptr, text.len};
}

static void on_end(gw_wait *w)
{
    if (w->held)
        gw_fetch_free(w->held);
}

static void on_done(gw_fetch *f)
{
    gw_wait_over(f->data);
}

void *gw_lua_fetch(gw_lua_waits *waits)
{
    gw_state *s = waits->state;
    gw_wait *w = gw_wait_new(s);
    if (!w)
        return NULL;
    gw_fetch *f;
    int status = gw_fetch_new(s->engine, s->generation, &f);
    if (status != GW_OK) {
        gw_wait_end(w);
        waits->status = status;
        return NULL;
    }
    w->held = f;
    w->end = on_end;
    return w;
}

int gw_lua_fetch_method(void *wait, const char *method, size_t len)
{
    return gw_fetch_method(fetch_of(wait), gw_slice_of(method, len));
}

int gw_lua_fetch_header(void *wait, const char *name, size_t name_len, const char *value, size_t value_len)
{
    return gw_fetch_header(fetch_of(wait), gw_slice_of(name, name_len), gw_slice_of(value, value_len));
}

int gw_lua_fetch_body(void *wait, const char *body, size_t len)
{
    return gw_fetch_body(fetch_of(wait), gw_slice_of(body, len));
}

void gw_lua_fetch_key(void *wait, const char *key, size_t len)
{
    gw_exchange_key(fetch_of(wait)->x, gw_slice_of(key, len));
}

int gw_lua_fetch_url(void *wait, const char *url, size_t len)
{
    const char *reason = NULL;
    int status = gw_fetch_url(fetch_of(wait), gw_slice_of(url, len), &reason);
    say(wait, gw_slice_str(reason));
    return status;
}

int gw_lua_fetch_upstream(void *wait, int index, const char *path, size_t len)
{
    const gw_generation *g = ((gw_wait *)wait)->owner->state->generation;
    const char *reason = "no such upstream";
    int status = GW_INVALID;
    if (index >= 0 && (uint32_t)index < g->upstream_count)
        status = gw_fetch_upstream(fetch_of(wait), g->upstreams[index], gw_slice_of(path, len), &reason);
    say(wait, gw_slice_str(reason));
    return status;
}

int gw_lua_fetch_start(void *wait, double seconds, double most)
{
    gw_wait *w = wait;
    gw_fetch *f = w->held;
    const gw_exchange *from = w->owner->exchange;
    if (from) {
        int status = gw_fetch_for(f, from);
        if (status != GW_OK)
            return status;
    }
    gw_fetch_start(f, seconds, most < 1e15 ? (uint64_t)most : UINT64_MAX, on_done, w);
    return GW_OK;
}

int gw_lua_fetch_answer(void *wait)
{
    const gw_fetch *f = fetch_of(wait);
    if (!f->good) {
        say(wait, gw_slice_str(f->problem));
        return 0;
    }
    say(wait, f->body.len ? f->body : GW_SLICE(""));
    return f->x->response.status;
}

int gw_lua_fetch_field(void *wait, int at)
{
    const gw_fetch *f = fetch_of(wait);
    if (!f->good || at < 0 || (uint32_t)at >= f->x->response.headers.count)
        return 0;
    const gw_header *h = &f->x->response.headers.item[at];
    waits_of(wait)->name = (gw_lua_slice){h->name.ptr, h->name.len};
    say(wait, h->value.ptr ? h->value : GW_SLICE(""));
    return 1;
}
