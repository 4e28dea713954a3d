/* Listening sockets outlive generations: a reload binds what is new before the swap and closes what is gone after it; what stays is
 * not touched. */
#include "process/lines.h"
#include "process/privileges.h"
#include "process/supervisor.h"

#include <stdio.h>
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
    for (uint32_t i = w->engine.index; i < l->count; i += w->supervisor->worker_count) {
        struct gw_listening_socket *mine = &l->socket[i];
        mine->listener.owner = &w->engine;
        mine->listener.accept = gw_engine_accept;
        mine->listener.out_of_files = on_out_of_files;
        mine->listener.at = l->at;
        gw_listener_start(&mine->listener, w->loop, mine->fd);
    }
}

static void visit_remove(gw_worker *w, void *data)
{
    gw_listening *l = data;
    for (uint32_t i = w->engine.index; i < l->count; i += w->supervisor->worker_count) {
        gw_listener *mine = &l->socket[i].listener;
        gw_listener_drain(mine);
        gw_engine_close_listener(&w->engine, mine);
    }
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

/* The sockets: those that a predecessor or systemd had for this address, and as many more as there are workers without one; or new ones. */
static bool open_sockets(gw_supervisor *s, gw_listening *l, gw_inherited *from, int *fds, char *message, size_t message_bytes)
{
    int workers = (int)s->worker_count;
    if (!from)
        return gw_listen_bind(&l->at, workers, fds, message, message_bytes) == GW_OK;
    l->at = from->at;
    l->inherited = true;
    l->foreign = from->foreign;
    memcpy(fds, from->fds, (size_t)from->count * sizeof *fds);
    if (workers > from->count && gw_listen_more(&l->at, fds, from->count, fds + from->count, workers - from->count) < 0) {
        snprintf(message, message_bytes, "%s: file descriptors are out", l->text);
        return false;
    }
    from->taken = true;
    return true;
}

static gw_listening *make(gw_supervisor *s, const gw_listen_spec *spec, gw_lines *errors)
{
    gw_inherited *from = gw_inheritance_find(&s->inherited, 'l', &spec->at);
    uint32_t count = from && (uint32_t)from->count > s->worker_count ? (uint32_t)from->count : s->worker_count;
    size_t bytes = sizeof(gw_listening) + count * sizeof(struct gw_listening_socket);
    gw_listening *l = aligned_alloc(GW_CACHE_LINE, (bytes + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE);
    int *fds = calloc(count, sizeof *fds);
    if (!l || !fds)
        goto no_memory;
    memset(l, 0, bytes);
    l->asked = l->at = spec->at;
    l->text[gw_address_text(&l->at, l->text)] = '\0';
    l->wanted = true;
    l->count = count;
    gw_list_init(&l->link);
    l->add = gw_round_new(s, visit_add, NULL, l);
    l->remove = gw_round_new(s, visit_remove, free_listening, l);
    if (!l->add || !l->remove) {
        gw_round_discard(l->add);
        gw_round_discard(l->remove);
        goto no_memory;
    }
    char message[256];
    if (!open_sockets(s, l, from, fds, message, sizeof message)) {
        gw_lines_add(errors, "%.*s: cannot listen on %s%s\n", (int)spec->source.len, spec->source.ptr, message,
                     gw_privileges_hint(&spec->at));
        gw_round_discard(l->add);
        gw_round_discard(l->remove);
        free(l);
        free(fds);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        l->socket[i].fd = fds[i];
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
            gw_listen_close(&l->at, 1, &l->socket[i].fd, i == 0 && !l->inherited);
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

static void remove_one(gw_supervisor *s, gw_listening *l)
{
    gw_list_remove(&l->link);
    if (is_unix(l) && !l->foreign &&
        !s->upgrade.handed_over) /* now, not after the round: by then the path may be somebody else's */
        gw_listen_close(&l->at, 0, NULL, true);
    gw_round_start(l->remove); /* frees it */
}

void gw_listening_remove_unwanted(gw_supervisor *s)
{
    for (gw_list *at = s->listening.next; at != &s->listening;) {
        gw_listening *l = gw_container_of(at, gw_listening, link);
        at = at->next;
        if (!l->wanted)
            remove_one(s, l);
    }
}

void gw_listening_remove_all(gw_supervisor *s)
{
    while (!gw_list_empty(&s->listening))
        remove_one(s, gw_container_of(s->listening.next, gw_listening, link));
}
