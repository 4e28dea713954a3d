#include "gateway/recent.h"

#include "base/clock.h"
#include <stdlib.h>

#define MASK GW_SLICE("***")

/* ---- what is secret ---- */

/* Letters alone, in lower case: "X-Api-Key" and "api_key" are the same word. */
static size_t squeezed(gw_slice name, char out[64])
{
    size_t n = 0;
    for (size_t i = 0; i < name.len && n < 64; i++) {
        char c = name.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c | 0x20);
        if (c >= 'a' && c <= 'z')
            out[n++] = c;
    }
    return n;
}

bool gw_recent_secret(gw_slice name)
{
    static const char *const parts[] = {"authorization", "cookie", "secret",     "token",     "password", "passwd",  "passphrase",
                                        "apikey",        "jwt",    "credential", "signature", "session",  "private", "accesskey"};
    static const char *const wholes[] = {"auth", "xauth", "key", "sig", "code", "pwd", "pass", "sid", "hmac", "assertion"};
    char text[64];
    size_t n = squeezed(name, text);
    for (size_t i = 0; i < GW_COUNT(parts); i++)
        if (memmem(text, n, parts[i], strlen(parts[i])))
            return true;
    for (size_t i = 0; i < GW_COUNT(wholes); i++)
        if (n == strlen(wholes[i]) && memcmp(text, wholes[i], n) == 0)
            return true;
    return name.len > 64; /* nobody can say */
}

void gw_recent_target(gw_text *t, gw_slice target)
{
    const char *mark = target.len ? memchr(target.ptr, '?', target.len) : NULL;
    gw_slice path = gw_slice_of(target.ptr, mark ? (size_t)(mark - target.ptr) : target.len);
    gw_text_slice(t, path);
    if (!mark)
        return;
    gw_text_lit(t, "?");
    const char *at = mark + 1, *end = target.ptr + target.len;
    for (;;) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        if (!stop)
            stop = end;
        const char *equals = memchr(at, '=', (size_t)(stop - at));
        gw_slice name = gw_slice_of(at, (size_t)((equals ? equals : stop) - at));
        if (equals && (memchr(name.ptr, '%', name.len) || gw_recent_secret(name))) { /* an escaped name may be anything */
            gw_text_slice(t, name);
            gw_text_lit(t, "=");
            gw_text_slice(t, MASK);
        } else {
            gw_text_add(t, at, (size_t)(stop - at));
        }
        if (stop == end)
            return;
        gw_text_lit(t, "&");
        at = stop + 1;
    }
}

/* ---- the ring ---- */

static gw_recent *ring_of(gw_engine *e, uint32_t keep)
{
    gw_recent *r = e->recent;
    if (gw_likely(r && r->cap == keep))
        return r;
    gw_recent *fresh = calloc(1, sizeof *fresh + keep * sizeof fresh->head[0]);
    if (!fresh) {
        gw_engine_out_of_memory(e, "out of memory: a request head is not kept");
        return NULL;
    }
    fresh->cap = keep;
    for (uint32_t i = 0; r && i < r->count && i < keep; i++) { /* the newest of those that were there */
        uint32_t kept = r->count < keep ? r->count : keep;
        fresh->head[i] = r->head[(r->taken - kept + i) % r->cap];
        fresh->count = i + 1;
    }
    fresh->taken = fresh->count;
    free(r);
    e->recent = fresh;
    return fresh;
}

void gw_recent_free(gw_engine *e)
{
    free(e->recent);
    e->recent = NULL;
}

static bool add_line(gw_text *t, gw_slice name, gw_slice value)
{
    gw_text mark = *t;
    gw_text_slice(t, name);
    gw_text_lit(t, ": ");
    gw_text_slice(t, value);
    gw_text_lit(t, "\r\n");
    if (!t->cut)
        return true;
    *t = mark;
    return false;
}

void gw_recent_take(gw_exchange *x)
{
    gw_recent *r = ring_of(x->engine, x->generation->record_keep);
    if (!r)
        return;
    const gw_request *q = &x->request;
    gw_recent_head *h = &r->head[r->taken % r->cap];
    h->len = 0;
    gw_text t = gw_text_on(h->bytes, sizeof h->bytes - 2);
    gw_text_slice(&t, q->method_name);
    gw_text_lit(&t, " ");
    gw_recent_target(&t, q->target);
    gw_text_lit(&t, " HTTP/1.1\r\n");
    if (t.cut) /* a target as long as that is no use cut */
        return;
    h->cut = false;
    for (uint32_t i = 0; i < q->headers.count; i++) {
        const gw_header *f = &q->headers.item[i];
        if (!add_line(&t, f->name, gw_recent_secret(f->name) ? MASK : f->value))
            h->cut = true;
    }
    t.end += 2;
    gw_text_lit(&t, "\r\n");
    h->len = (uint16_t)gw_text_done(&t).len;
    h->at = gw_clock_wall();
    h->client_ip = x->client_ip;
    r->taken++;
    if (r->count < r->cap)
        r->count++;
}
