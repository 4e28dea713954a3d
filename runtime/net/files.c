#include "net/files.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

struct gw_files {
    ev_io io;
    gw_loop *loop;
    gw_files_changed *changed;
    void *data;
};

#define WATCHED                                                                                                                  \
    (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB |          \
     IN_ONLYDIR)

static void on_readable(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)events;
    gw_files *f = gw_container_of(io, gw_files, io);
    char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(io->fd, bytes, sizeof bytes); /* whole events only; more of them wake us again */
    for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
        const struct inotify_event *e = (const struct inotify_event *)(bytes + at);
        at += (ssize_t)(sizeof *e + e->len);
        if (e->mask & IN_Q_OVERFLOW)
            f->changed(f->data, -1, GW_SLICE(""), false);
        else if (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
            f->changed(f->data, e->wd, GW_SLICE(""), false);
        else if (e->len)
            f->changed(f->data, e->wd, gw_slice_str(e->name), e->mask & IN_CREATE);
    }
}

gw_files *gw_files_new(gw_loop *loop, gw_files_changed *changed, void *data, const char **reason)
{
    gw_files *f = malloc(sizeof *f);
    if (!f) {
        *reason = strerror(ENOMEM);
        return NULL;
    }
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) {
        *reason = strerror(errno);
        free(f);
        return NULL;
    }
    f->loop = loop, f->changed = changed, f->data = data;
    ev_io_init(&f->io, on_readable, fd, EV_READ);
    ev_io_start(gw_loop_ev(loop), &f->io);
    return f;
}

void gw_files_free(gw_files *f)
{
    if (!f)
        return;
    ev_io_stop(gw_loop_ev(f->loop), &f->io);
    close(f->io.fd);
    free(f);
}

int gw_files_add(gw_files *f, const char *folder)
{
    int id = inotify_add_watch(f->io.fd, folder, WATCHED);
    if (id >= 0)
        return id;
    return errno == ENOSPC || errno == ENOMEM ? GW_LIMIT : GW_NOTFOUND;
}

void gw_files_remove(gw_files *f, int id)
{
    inotify_rm_watch(f->io.fd, id);
}
