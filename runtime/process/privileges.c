#include "process/privileges.h"

#include "process/supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOW_PORTS 1024
#define ENTRY_BYTES 65536 /* of the user database */

typedef struct identity {
    uid_t uid;
    gid_t gid;
} identity;

static void wrong(gw_lines *errors, const gw_operation_spec *o, const char *why, const char *more)
{
    gw_lines_add(errors, "%.*s: gateway.user \"%.*s\": %s%s\n", (int)o->user_source.len, o->user_source.ptr, (int)o->user.len,
                 o->user.ptr, why, more);
}

static bool look_up(const gw_operation_spec *o, identity *id, gw_lines *errors)
{
    char *room = malloc(ENTRY_BYTES);
    struct passwd user, *found_user = NULL;
    struct group group, *found_group = NULL;
    bool good = false;
    if (!room) {
        wrong(errors, o, "memory is out", "");
    } else if (getpwnam_r(o->user.ptr, &user, room, ENTRY_BYTES, &found_user) != 0 || !found_user) {
        wrong(errors, o, "there is no such user", "");
    } else {
        *id = (identity){user.pw_uid, user.pw_gid};
        good = true;
        if (o->group.ptr) {
            good = getgrnam_r(o->group.ptr, &group, room, ENTRY_BYTES, &found_group) == 0 && found_group;
            if (good)
                id->gid = group.gr_gid;
            else
                wrong(errors, o, "there is no such group: ", o->group.ptr);
        }
    }
    free(room);
    return good;
}

/* What was made as root, and will be opened anew or connected to: it is the user's. Links and devices stay as they are. */
static void give(gw_supervisor *s, const char *path, mode_t kind, const identity *id)
{
    struct stat st;
    if (lstat(path, &st) == 0 && (st.st_mode & S_IFMT) == kind && st.st_uid != id->uid && lchown(path, id->uid, id->gid) < 0)
        gw_log_event(s->ring, GW_LOG_WARN, "a file could not be given to gateway.user", "\"path\":\"%s\",\"error\":\"%s\"", path,
                     strerror(errno));
}

static void give_log(gw_supervisor *s, const gw_log_target *to, const identity *id)
{
    char path[4096];
    if (to->kind != GW_LOG_TO_FILE || to->text.len >= sizeof path)
        return;
    memcpy(path, to->text.ptr, to->text.len);
    path[to->text.len] = '\0';
    give(s, path, S_IFREG, id);
}

static void give_all(gw_supervisor *s, const gw_generation *g, const identity *id)
{
    give_log(s, &g->events, id);
    give_log(s, &g->access.to, id);
    for (uint32_t i = 0; i < g->listen_count; i++)
        if (g->listens[i].at.any.sa_family == AF_UNIX)
            give(s, g->listens[i].at.un.sun_path, S_IFSOCK, id);
    if (g->admin.text.ptr && g->admin.at.any.sa_family == AF_UNIX)
        give(s, g->admin.at.un.sun_path, S_IFSOCK, id);
}

/* For all threads (glibc sees to that), and for good: verified by trying to come back. */
static bool become(const identity *id)
{
    if (setgroups(0, NULL) < 0 || setresgid(id->gid, id->gid, id->gid) < 0 || setresuid(id->uid, id->uid, id->uid) < 0)
        return false;
    uid_t uid[3];
    gid_t gid[3];
    if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0)
        return false;
    for (int i = 0; i < 3; i++)
        if (uid[i] != id->uid || gid[i] != id->gid)
            return false;
    if (id->uid != 0 && (setuid(0) == 0 || getgroups(0, NULL) != 0)) {
        errno = EPERM;
        return false;
    }
    prctl(PR_SET_DUMPABLE, 1); /* or /proc/self would be root's, and cores would not be written */
    return true;
}

static bool can_read(const gw_operation_spec *o, const char *path, gw_lines *errors)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 || errno != EACCES)
        return true;
    wrong(errors, o, "cannot read what a reload would: ", path);
    return false;
}

/* As the user, as far as files go, and on this thread alone: the system calls are, where the library's functions reach all threads. */
static bool can_read_all(const char *script, const gw_generation *g, const identity *id, gw_lines *errors)
{
    int count = getgroups(0, NULL);
    gid_t *groups = count > 0 ? malloc((size_t)count * sizeof *groups) : NULL;
    if (count < 0 || (count && (!groups || getgroups(count, groups) != count)) || syscall(SYS_setgroups, 0, NULL) < 0) {
        free(groups);
        return true; /* it will be seen when privileges are dropped */
    }
    setfsgid(id->gid);
    setfsuid(id->uid);
    bool good = can_read(&g->operation, script, errors);
    for (uint32_t i = 0; i < g->file_count; i++)
        if (strcmp(g->files[i], script) != 0)
            good = can_read(&g->operation, g->files[i], errors) && good;
    setfsuid(geteuid());
    setfsgid(getegid());
    if (syscall(SYS_setgroups, count, groups) < 0)
        good = good && count == 0;
    free(groups);
    return good;
}

bool gw_privileges_check(const char *script, const gw_generation *g, gw_lines *errors)
{
    const gw_operation_spec *o = &g->operation;
    identity id;
    if (!o->user.ptr)
        return true;
    if (!look_up(o, &id, errors))
        return false;
    if (geteuid() == 0)
        return can_read_all(script, g, &id, errors);
    if (getuid() == id.uid)
        return true; /* as after an upgrade, or with User= of systemd */
    wrong(errors, o, "only root can become another user: start as root, as that user, or without gateway.user", "");
    return false;
}

bool gw_privileges_drop(gw_supervisor *s, const gw_generation *g, gw_lines *errors)
{
    const gw_operation_spec *o = &g->operation;
    identity id;
    if (!o->user.ptr || geteuid() != 0)
        return true;
    if (!look_up(o, &id, errors))
        return false;
    give_all(s, g, &id);
    if (!become(&id)) {
        wrong(errors, o, "cannot become that user: ", strerror(errno));
        return false;
    }
    gw_log_event(s->ring, GW_LOG_INFO, "privileges dropped", "\"user\":\"%.*s\",\"uid\":%u,\"gid\":%u", (int)o->user.len,
                 o->user.ptr, (unsigned)id.uid, (unsigned)id.gid);
    return true;
}

const char *gw_privileges_hint(const gw_address *at)
{
    uint16_t port = at->any.sa_family == AF_INET    ? ntohs(at->v4.sin_port)
                    : at->any.sa_family == AF_INET6 ? ntohs(at->v6.sin6_port)
                                                    : 0;
    if (port == 0 || port >= LOW_PORTS || geteuid() == 0)
        return "";
    return " (ports below 1024 need root or CAP_NET_BIND_SERVICE: after gateway.user, a restart binds what a reload cannot)";
}
