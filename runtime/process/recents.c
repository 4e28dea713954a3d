#include "process/recents.h"

#include "base/clock.h"
#include "process/admin.h"
#include "process/supervisor.h"
#include <stdlib.h>

struct part { /* one worker's */
    gw_recent_head *head;
    size_t count;
    bool lost;
};

typedef struct fetch {
    void (*done)(gw_supervisor *s, const gw_recents *r, void *data);
    void *data;
    struct part part[];
} fetch;

static void visit(gw_worker *w, void *data)
{
    struct part *p = &((fetch *)data)->part[w->engine.index];
    const gw_recent *r = w->engine.recent;
    if (!r || !r->count)
        return;
    p->head = malloc(r->count * sizeof *p->head);
    if (!p->head) {
        p->lost = true;
        return;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        const gw_recent_head *h = &r->head[(r->taken - r->count + i) % r->cap];
        if (h->len)
            p->head[p->count++] = *h;
    }
}

static int by_time(const void *a, const void *b)
{
    double x = ((const gw_recent_head *)a)->at, y = ((const gw_recent_head *)b)->at;
    return x < y ? -1 : x > y;
}

static void all_visited(gw_supervisor *s, void *data)
{
    fetch *f = data;
    gw_recents r = {0};
    size_t count = 0;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        count += f->part[i].count;
        r.lost |= f->part[i].lost;
    }
    r.head = count ? malloc(count * sizeof *r.head) : NULL;
    r.lost |= count && !r.head;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        if (r.head && f->part[i].count) {
            memcpy(r.head + r.count, f->part[i].head, f->part[i].count * sizeof *r.head);
            r.count += f->part[i].count;
        }
        free(f->part[i].head);
    }
    if (r.count)
        qsort(r.head, r.count, sizeof *r.head, by_time);
    f->done(s, &r, f->data);
    free(r.head);
    free(f);
}

bool gw_recents_fetch(gw_supervisor *s, void (*done)(gw_supervisor *s, const gw_recents *r, void *data), void *data)
{
    if (s->state == GW_STOPPING)
        return false;
    fetch *f = calloc(1, sizeof *f + s->worker_count * sizeof f->part[0]);
    gw_round *round = f ? gw_round_new(s, visit, all_visited, f) : NULL;
    if (!round) {
        free(f);
        return false;
    }
    f->done = done, f->data = data;
    gw_round_start(round);
    return true;
}

/* ---- as JSON ---- */

/* What stands before `mark` in *rest, which is taken off it, mark and all. */
static gw_slice until(gw_slice *rest, const char *mark)
{
    size_t n = strlen(mark);
    const char *at = rest->len ? memmem(rest->ptr, rest->len, mark, n) : NULL;
    gw_slice out = gw_slice_of(rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len);
    size_t used = out.len + (at ? n : 0);
    rest->ptr += used, rest->len -= used;
    return out;
}

static void write_head(gw_text *t, const gw_recent_head *h)
{
    char text[48];
    gw_slice rest = gw_slice_of(h->bytes, h->len);
    gw_clock_iso8601(h->at, text);
    gw_text_printf(t, "{\"at\":\"%s\",\"client_ip\":", text);
    gw_text_json(t, gw_slice_of(text, gw_ip_text(&h->client_ip, text)));
    gw_slice line = until(&rest, "\r\n");
    gw_text_lit(t, ",\"method\":");
    gw_text_json(t, until(&line, " "));
    gw_text_lit(t, ",\"target\":");
    gw_text_json(t, until(&line, " "));
    gw_text_lit(t, ",\"headers\":[");
    for (bool first = true;; first = false) {
        gw_slice field = until(&rest, "\r\n");
        if (!field.len)
            break;
        gw_text_slice(t, first ? GW_SLICE("[") : GW_SLICE(",["));
        gw_text_json(t, until(&field, ": "));
        gw_text_lit(t, ",");
        gw_text_json(t, field);
        gw_text_lit(t, "]");
    }
    gw_text_slice(t, h->cut ? GW_SLICE("],\"cut\":true}") : GW_SLICE("]}"));
}

void gw_recents_write(gw_text *t, const gw_recents *r)
{
    for (size_t i = 0; i < r->count && !t->cut; i++) {
        if (i)
            gw_text_lit(t, ",\n");
        write_head(t, &r->head[i]);
    }
}

static void render(gw_text *t, void *data)
{
    gw_text_lit(t, "{\"heads\":[\n");
    gw_recents_write(t, data);
    gw_text_lit(t, "]}\n");
}

/* Who asked may have gone meanwhile: so they wait in a list of the supervisor's, and all that wait get the same answer. */
static void fetched(gw_supervisor *s, const gw_recents *r, void *data)
{
    (void)data;
    gw_list ready;
    gw_list_init(&ready);
    while (!gw_list_empty(&s->recents_waiting)) {
        gw_list *w = s->recents_waiting.next;
        gw_list_remove(w);
        gw_list_push_back(&ready, w);
    }
    while (!gw_list_empty(&ready)) {
        gw_admin_wait *w = gw_container_of(ready.next, gw_admin_wait, link);
        size_t len;
        char *json = r->lost ? NULL : gw_render(render, (void *)r, &len);
        gw_list_remove(&w->link);
        w->done(w, 200, json, json ? len : 0);
    }
}

void gw_recents_answer(gw_supervisor *s, gw_admin_wait *w)
{
    bool asked = !gw_list_empty(&s->recents_waiting);
    gw_list_push_back(&s->recents_waiting, &w->link);
    if (asked || gw_recents_fetch(s, fetched, NULL))
        return;
    gw_list_remove(&w->link);
    w->done(w, 503, NULL, 0);
}
