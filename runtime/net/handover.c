#include "net/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSTEMD_FIRST 3
#define SOCKETS_MOST 65536

extern char **environ;

/* ---- what was handed to this process ---- */

/* The address of a listening stream socket; false: it is none. */
static bool look(int fd, gw_address *at)
{
    int type = 0, accepts = 0, v6_only = 1;
    socklen_t len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
        return false;
    len = sizeof accepts;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &len) < 0 || !accepts)
        return false;
    memset(at, 0, sizeof *at);
    at->len = sizeof at->un;
    if (getsockname(fd, &at->any, &at->len) < 0)
        return false;
    len = sizeof v6_only;
    if (at->any.sa_family == AF_INET6 && getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, &len) == 0)
        at->both_families = !v6_only && memcmp(&at->v6.sin6_addr, &in6addr_any, sizeof in6addr_any) == 0;
    return at->any.sa_family == AF_INET || at->any.sa_family == AF_INET6 || at->any.sa_family == AF_UNIX;
}

static bool set_up(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static int add_fd(gw_inherited *item, int fd)
{
    int *fds = realloc(item->fds, ((size_t)item->count + 1) * sizeof *fds);
    if (!fds)
        return GW_NOMEM;
    item->fds = fds;
    fds[item->count++] = fd;
    return GW_OK;
}

static gw_inherited *add_item(gw_inheritance *in, const gw_address *at)
{
    gw_inherited *items = realloc(in->item, ((size_t)in->count + 1) * sizeof *items);
    if (!items)
        return NULL;
    in->item = items;
    items[in->count] = (gw_inherited){.asked = *at, .at = *at};
    return &items[in->count++];
}

/* One address of GATEWAY_SOCKETS, from *text on to behind its ';'. */
static int read_item(gw_inheritance *in, const char **text)
{
    const char *at = *text;
    char role = *at, flags[8] = {0};
    for (size_t i = 0; *++at && *at != ':' && i < sizeof flags - 1; i++)
        flags[i] = *at;
    gw_inherited *item = NULL;
    while (*at == ':' || *at == ',') {
        char *end;
        long fd = strtol(++at, &end, 10);
        gw_address bound;
        at = end;
        if (fd < SYSTEMD_FIRST || fd > SOCKETS_MOST || !look((int)fd, &bound) || !set_up((int)fd)) {
            in->ignored++;
            continue;
        }
        if (!item && !(item = add_item(in, &bound)))
            return GW_NOMEM;
        if (add_fd(item, (int)fd) < 0)
            return GW_NOMEM;
    }
    if (item) {
        item->role = role;
        item->foreign = strchr(flags, 'f');
        if (strchr(flags, 'b')) {
            uint16_t port = item->at.v4.sin_port;
            memset(&item->asked, 0, sizeof item->asked);
            item->asked.v6.sin6_family = AF_INET6;
            item->asked.v6.sin6_port = port;
            item->asked.len = sizeof item->asked.v6;
            item->asked.both_families = true;
        }
        if (strchr(flags, 'z')) {
            if (item->asked.any.sa_family == AF_INET6)
                item->asked.v6.sin6_port = 0;
            else
                item->asked.v4.sin_port = 0;
        }
    }
    at += strcspn(at, ";");
    *text = *at ? at + 1 : at;
    return GW_OK;
}

/* sd_listen_fds(3): descriptors from 3 on, when they are meant for this process. */
static int read_systemd(gw_inheritance *in)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
        return GW_OK;
    long n = strtol(count, NULL, 10);
    for (int fd = SYSTEMD_FIRST; fd < SYSTEMD_FIRST + n && fd < SOCKETS_MOST; fd++) {
        gw_address at;
        if (!look(fd, &at) || !set_up(fd)) {
            fcntl(fd, F_SETFD, FD_CLOEXEC);
            in->ignored++;
            continue;
        }
        gw_inherited *item = gw_inheritance_find(in, 'l', &at);
        if (!item && !(item = add_item(in, &at)))
            return GW_NOMEM;
        item->foreign = in->activated = true;
        if (add_fd(item, fd) < 0)
            return GW_NOMEM;
    }
    return GW_OK;
}

int gw_inheritance_read(gw_inheritance *in)
{
    *in = (gw_inheritance){.ready = -1};
    const char *ready = getenv("GATEWAY_READY"), *sockets = getenv("GATEWAY_SOCKETS");
    int status = GW_OK;
    if (ready && fcntl((int)strtol(ready, NULL, 10), F_SETFD, FD_CLOEXEC) == 0)
        in->ready = (int)strtol(ready, NULL, 10);
    while (sockets && *sockets && status == GW_OK)
        status = read_item(in, &sockets);
    if (status == GW_OK)
        status = read_systemd(in);
    static const char *const ours[] = {"GATEWAY_READY", "GATEWAY_SOCKETS", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"};
    for (size_t i = 0; i < GW_COUNT(ours); i++)
        unsetenv(ours[i]);
    return status;
}

gw_inherited *gw_inheritance_find(gw_inheritance *in, char role, const gw_address *asked)
{
    for (int i = 0; i < in->count; i++) {
        gw_inherited *item = &in->item[i];
        if (!item->taken && (!item->role || item->role == role) && gw_address_equal(&item->asked, asked))
            return item;
    }
    return NULL;
}

void gw_inheritance_close(gw_inheritance *in, bool remove_paths)
{
    for (int i = 0; i < in->count; i++) {
        gw_inherited *item = &in->item[i];
        for (int k = 0; !item->taken && k < item->count; k++)
            close(item->fds[k]);
        if (!item->taken && remove_paths && !item->foreign && item->at.any.sa_family == AF_UNIX)
            unlink(item->at.un.sun_path);
        free(item->fds);
    }
    free(in->item);
    in->item = NULL;
    in->count = 0;
}

void gw_inheritance_tell(gw_inheritance *in, const char *why_not)
{
    if (in->ready < 0)
        return;
    size_t len = why_not ? strlen(why_not) : 1;
    if (write(in->ready, why_not ? why_not : "", len < 4096 ? len : 4096) < 0) {
        /* it is gone: then nobody waits for us, and we serve all the same */
    }
    close(in->ready);
    in->ready = -1;
}

int gw_listen_more(const gw_address *at, const int have[], int have_count, int fds[], int count)
{
    const int on = 1, v6_only = !at->both_families;
    for (int i = 0; i < count; i++) {
        int fd = -1;
        if (at->any.sa_family !=
            AF_UNIX) { /* another user's group, or a port that is ours no more: it is refused, and shared instead */
            fd = socket(at->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            bool good =
                fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 &&
                (at->any.sa_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) == 0);
            if (good)
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            if (good && (bind(fd, &at->any, at->len) < 0 || listen(fd, 4096) < 0))
                good = false;
            if (!good && fd >= 0) {
                close(fd);
                fd = -1;
            }
        }
        if (fd < 0)
            fd = fcntl(have[i % have_count], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            while (i)
                close(fds[--i]);
            return GW_NOFILES;
        }
        fds[i] = fd;
    }
    return GW_OK;
}

/* ---- the successor ---- */

static void settle(gw_successor *n)
{
    ev_io_stop(gw_loop_ev(n->loop), &n->io);
    gw_timeout_disarm(&n->patience);
    close(n->fd);
    n->fd = -1;
}

/* It closed the pipe, or took too long: it ends now, were it only closing. A process that is at its end keeps its own status. */
static void reap(gw_successor *n)
{
    kill(n->pid, SIGKILL);
    while (waitpid(n->pid, &n->exit_status, 0) < 0 && errno == EINTR)
        ;
}

/* Reads what has come. 0: nothing more for now; 1: it is ready; -1: its end. */
static int listen_to(gw_successor *n)
{
    for (;;) {
        char bytes[512];
        ssize_t got = read(n->fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got <= 0)
            return -1;
        if (memchr(bytes, '\0', (size_t)got))
            return 1;
        size_t room = sizeof n->said - 1 - n->said_len, take = (size_t)got < room ? (size_t)got : room;
        memcpy(n->said + n->said_len, bytes, take);
        n->said_len += take;
        n->said[n->said_len] = '\0';
    }
}

static void on_said(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)events;
    gw_successor *n = gw_container_of(io, gw_successor, io);
    int said = listen_to(n);
    if (said == 0)
        return;
    settle(n);
    if (said < 0)
        reap(n);
    n->ended(n, said > 0 ? GW_SUCCESSOR_READY : GW_SUCCESSOR_REFUSED);
}

static void on_late(gw_timeout *t)
{
    gw_successor *n = gw_container_of(t, gw_successor, patience);
    settle(n);
    reap(n);
    n->ended(n, GW_SUCCESSOR_LATE);
}

bool gw_successor_cancel(gw_successor *n)
{
    if (n->fd < 0)
        return true;
    bool ready = listen_to(n) > 0;
    settle(n);
    if (!ready)
        reap(n);
    return !ready;
}

/* GATEWAY_SOCKETS=..., malloc'ed; NULL: memory is out. */
static char *describe(const gw_handed handed[], int count)
{
    size_t room = 32;
    for (int i = 0; i < count; i++)
        room += 8 + (size_t)handed[i].count * 12;
    char *text = malloc(room), *at = text;
    if (!text)
        return NULL;
    at += sprintf(at, "GATEWAY_SOCKETS=");
    for (int i = 0; i < count; i++) {
        const gw_handed *h = &handed[i];
        at += sprintf(at, "%s%c%s%s%s", i ? ";" : "", h->role, h->zero_port ? "z" : "", h->ipv4_only ? "b" : "",
                      h->foreign ? "f" : "");
        for (int k = 0; k < h->count; k++)
            at += sprintf(at, "%c%d", k ? ',' : ':', h->fds[k]);
    }
    return text;
}

/* Whether an environment entry is of this process alone. */
static bool is_ours(const char *entry)
{
    static const char *const names[] = {
        "GATEWAY_SOCKETS=", "GATEWAY_READY=", "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "WATCHDOG_PID="};
    for (size_t i = 0; i < GW_COUNT(names); i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static int spawn(gw_successor *n, const char *path, char *const argv[], char *const env[], const gw_handed handed[], int count,
                 int ready)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return -error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return -error;
    }
    /* A descriptor onto itself: no longer closed by the exec. */
    for (int i = 0; i < count; i++)
        for (int k = 0; k < handed[i].count && !error; k++)
            error = posix_spawn_file_actions_adddup2(&actions, handed[i].fds[k], handed[i].fds[k]);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&actions, ready, ready);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!error)
        error = posix_spawn(&n->pid, path, &actions, &attributes, argv, env);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

int gw_successor_start(gw_successor *n, gw_loop *loop, const char *path, char *const argv[], const gw_handed handed[], int count,
                       double seconds)
{
    int fds[2], status = -ENOMEM;
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(fds[1], F_SETFL, 0); /* what it says, it says whole */
    size_t entries = 0;
    while (environ[entries])
        entries++;
    char ready[32], **env = malloc((entries + 3) * sizeof *env), *sockets = describe(handed, count);
    snprintf(ready, sizeof ready, "GATEWAY_READY=%d", fds[1]);
    if (env && sockets) {
        size_t kept = 0;
        for (size_t i = 0; i < entries; i++)
            if (!is_ours(environ[i]))
                env[kept++] = environ[i];
        env[kept++] = sockets;
        env[kept++] = ready;
        env[kept] = NULL;
        status = spawn(n, path, argv, env, handed, count, fds[1]);
    }
    free(env);
    free(sockets);
    close(fds[1]);
    if (status < 0) {
        close(fds[0]);
        return status;
    }
    n->loop = loop;
    n->fd = fds[0];
    n->said_len = 0;
    n->said[0] = '\0';
    ev_io_init(&n->io, on_said, n->fd, EV_READ);
    ev_io_start(gw_loop_ev(loop), &n->io);
    gw_timeout_init(&n->patience, on_late);
    gw_timeout_arm(loop, &n->patience, seconds);
    return 0;
}
