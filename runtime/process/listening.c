/* Listening sockets outlive generations: a reload binds what is new before the swap and closes what is gone after it; what stays is
 * not touched. */
#include "process/lines.h"
#include "process/supervisor.h"

#include <stdlib.h>

/* ---- on the workers ---- */

static void on_out_of_files(gw_listener *l, int error)
{
    gw_engine *e = l->owner;
    char address[GW_ADDRESS_TEXT];
    size_t len = gw_address_text(&l->at, address);
    gw_log_event(e->log, GW_LOG_WARN, "accepting pauses: no file descriptors or memory for another connection",
                 "\"listener\":\"%.*s\",\"error\":\"%s\",\"worker\":%u", (int)len, address, strerror(error), e->index);
}

static void visit_add(gw_worker *w, void *data)
{
    gw_listening *l = data;
    struct gw_listening_worker *mine = &l->worker[w->engine.index];
    mine->listener.owner = &w->engine;
    mine->listener.accept = gw_engine_accept;
    mine->listener.out_of_files = on_out_of_files;
    mine->listener.at = l->at;
    gw_listener_start(&mine->listener, w->loop, mine->fd);
    mine->fd = -1;
}

static void visit_remove(gw_worker *w, void *data)
{
    gw_listening *l = data;
    gw_listener *mine = &l->worker[w->engine.index].listener;
    gw_listener_drain(mine);
    gw_engine_close_listener(&w->engine, mine);
}

/* ---- on the control thread ---- */

static void free_listening(gw_supervisor *s, void *data)
{
    (void)s;
    free(data);
}

static bool is_unix(const gw_listening *l)
{
    return l->at.any.sa_family == AF_UNIX;
}

static gw_listening *make(gw_supervisor *s, const gw_listen_spec *spec, gw_lines *errors)
{
    size_t bytes = sizeof(gw_listening) + s->worker_count * sizeof(struct gw_listening_worker);
    gw_listening *l = aligned_alloc(GW_CACHE_LINE, (bytes + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE);
    int *fds = calloc(s->worker_count, sizeof *fds);
    if (!l || !fds)
        goto no_memory;
    memset(l, 0, bytes);
    l->asked = l->at = spec->at;
    l->wanted = true;
    l->count = s->worker_count;
    gw_list_init(&l->link);
    l->add = gw_round_new(s, visit_add, NULL, l);
    l->remove = gw_round_new(s, visit_remove, free_listening, l);
    if (!l->add || !l->remove) {
        gw_round_discard(l->add);
        gw_round_discard(l->remove);
        goto no_memory;
    }
    char message[256];
    if (gw_listen_bind(&l->at, (int)s->worker_count, fds, message, sizeof message) < 0) {
        gw_lines_add(errors, "%.*s: cannot listen on %s\n", (int)spec->source.len, spec->source.ptr, message);
        gw_round_discard(l->add);
        gw_round_discard(l->remove);
        free(l);
        free(fds);
        return NULL;
    }
    for (uint32_t i = 0; i < s->worker_count; i++)
        l->worker[i].fd = fds[i];
    free(fds);
    l->text[gw_address_text(&l->at, l->text)] = '\0';
    return l;
no_memory:
    free(l);
    free(fds);
    gw_lines_add(errors, "%.*s: cannot listen: memory is out\n", (int)spec->source.len, spec->source.ptr);
    return NULL;
}

static gw_listening *find_unclaimed(gw_supervisor *s, const gw_address *asked)
{
    for (gw_list *at = s->listening.next; at != &s->listening; at = at->next) {
        gw_listening *l = gw_container_of(at, gw_listening, link);
        if (!l->wanted && gw_address_equal(&l->asked, asked))
            return l;
    }
    return NULL;
}

bool gw_listening_prepare(gw_supervisor *s, const gw_generation *g, gw_listening_change *change, gw_lines *errors)
{
    *change = (gw_listening_change){0};
    gw_list_init(&change->added);
    bool ok = true;
    for (gw_list *at = s->listening.next; at != &s->listening; at = at->next)
        gw_container_of(at, gw_listening, link)->wanted = false;
    for (uint32_t i = 0; i < g->listen_count; i++) {
        gw_listening *l = find_unclaimed(s, &g->listens[i].at);
        if (l) {
            l->wanted = true;
            continue;
        }
        l = make(s, &g->listens[i], errors);
        if (!l) {
            ok = false;
            continue;
        }
        gw_list_push_back(&change->added, &l->link);
        change->added_count++;
    }
    for (gw_list *at = s->listening.next; at != &s->listening; at = at->next)
        change->removed_count += !gw_container_of(at, gw_listening, link)->wanted;
    if (!ok)
        gw_listening_discard(change);
    return ok;
}

void gw_listening_discard(gw_listening_change *change)
{
    while (!gw_list_empty(&change->added)) {
        gw_listening *l = gw_container_of(change->added.next, gw_listening, link);
        gw_list_remove(&l->link);
        for (uint32_t i = 0; i < l->count; i++)
            gw_listen_close(&l->at, 1, &l->worker[i].fd, i == 0);
        gw_round_discard(l->add);
        gw_round_discard(l->remove);
        free(l);
    }
    change->added_count = 0;
}

void gw_listening_add(gw_supervisor *s, gw_listening_change *change)
{
    while (!gw_list_empty(&change->added)) {
        gw_listening *l = gw_container_of(change->added.next, gw_listening, link);
        gw_list_remove(&l->link);
        gw_list_push_back(&s->listening, &l->link);
        gw_round_start(l->add);
        l->add = NULL;
    }
}

static void remove_one(gw_listening *l)
{
    gw_list_remove(&l->link);
    if (is_unix(l)) /* now, not after the round: by then the path may be somebody else's */
        gw_listen_close(&l->at, 0, NULL, true);
    gw_round_start(l->remove); /* frees it */
}

void gw_listening_remove_unwanted(gw_supervisor *s)
{
    for (gw_list *at = s->listening.next; at != &s->listening;) {
        gw_listening *l = gw_container_of(at, gw_listening, link);
        at = at->next;
        if (!l->wanted)
            remove_one(l);
    }
}

void gw_listening_remove_all(gw_supervisor *s)
{
    while (!gw_list_empty(&s->listening))
        remove_one(gw_container_of(s->listening.next, gw_listening, link));
}
