#define _GNU_SOURCE /* asprintf */
#include "process/watch.h"

#include "base/clock.h"
#include "base/hash.h"
#include "net/files.h"
#include "process/supervisor.h"
#include "script/script.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUIET_SECONDS 0.06     /* a burst ends with this much silence */
#define BURST_MOST_SECONDS 0.5 /* but a look is taken at the latest then */
#define CONTENT_MOST (64 << 20)
#define SYMLINKS_MOST 40 /* as the kernel's own bound */

/* A file whose content counts. */
typedef struct gw_watched {
    char *path;    /* absolute, as it was named: symbolic links are not followed away */
    uint64_t hash; /* of what the last load saw; or one of the values below */
} gw_watched;
enum { HASH_NEVER_SEEN, HASH_MISSING, HASH_NO_FILE, HASH_FIRST_REAL = 16 };

/* A name in a folder at which an event is of interest. */
typedef struct gw_interest {
    int folder; /* inotify's id */
    char *name; /* NULL: any that ends in ".lua" */
    char *folder_path;
} gw_interest;

struct gw_watch {
    gw_supervisor *supervisor;
    gw_files *files;
    gw_timeout quiet;
    double burst_began;
    char *plugins; /* the folder beside the script */
    gw_watched *watched;
    size_t watched_count;
    gw_interest *interest;
    size_t interest_count;
    bool complained; /* said that the kernel gives no more watches */
};

/* ---- contents ---- */

static uint64_t hash_of(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a FIFO must not hold us */
    if (fd < 0)
        return HASH_MISSING;
    struct stat st;
    uint64_t hash = HASH_NO_FILE;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        uint64_t stamp[] = {(uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec};
        hash = gw_hash((const char *)stamp, st.st_size > CONTENT_MOST ? sizeof stamp : sizeof stamp[0]);
        char bytes[16384];
        ssize_t n;
        while (st.st_size <= CONTENT_MOST && (n = read(fd, bytes, sizeof bytes)) > 0)
            hash = gw_mix64(hash ^ gw_hash(bytes, (size_t)n));
        if (hash < HASH_FIRST_REAL)
            hash += HASH_FIRST_REAL;
    }
    close(fd);
    return hash;
}

static gw_watched *find_watched(gw_watch *w, const char *path)
{
    for (size_t i = 0; i < w->watched_count; i++)
        if (strcmp(w->watched[i].path, path) == 0)
            return &w->watched[i];
    return NULL;
}

/* Changed since the load began: so what the load saw of it is not known. */
static bool changed_since(const char *path, double when)
{
    struct stat st;
    return stat(path, &st) == 0 && (double)st.st_ctim.tv_sec + (double)st.st_ctim.tv_nsec / 1e9 > when;
}

static char *absolute(const char *path)
{
    if (path[0] == '/')
        return strdup(path);
    char folder[PATH_MAX], *joined;
    if (!getcwd(folder, sizeof folder) || asprintf(&joined, "%s/%s", folder, path) < 0)
        return NULL;
    return joined;
}

/* Takes over `path` (malloc'ed; NULL, as when memory is out, is nothing). */
static void add_watched(gw_watch *w, char *path)
{
    if (!path || find_watched(w, path)) {
        free(path);
        return;
    }
    gw_watched *grown = realloc(w->watched, (w->watched_count + 1) * sizeof *grown);
    if (!grown) {
        free(path);
        return;
    }
    w->watched = grown;
    w->watched[w->watched_count++] = (gw_watched){.path = path, .hash = HASH_NEVER_SEEN};
}

static bool is_lua(gw_slice name)
{
    return name.len > 4 && name.ptr[0] != '.' && memcmp(name.ptr + name.len - 4, ".lua", 4) == 0;
}

static void add_plugins(gw_watch *w)
{
    DIR *folder = w->plugins ? opendir(w->plugins) : NULL;
    if (!folder)
        return;
    for (struct dirent *e; (e = readdir(folder));) {
        char *path;
        if (is_lua(gw_slice_str(e->d_name)) && asprintf(&path, "%s/%s", w->plugins, e->d_name) >= 0)
            add_watched(w, path);
    }
    closedir(folder);
}

/* ---- folders ---- */

static void add_interest(gw_watch *w, const char *folder, gw_slice name)
{
    int id = gw_files_add(w->files, folder);
    if (id == GW_LIMIT && !w->complained) {
        w->complained = true;
        gw_log_event(w->supervisor->ring, GW_LOG_WARN,
                     "the kernel gives no more file watches (fs.inotify.max_user_watches): some saves will "
                     "not be seen",
                     NULL);
    }
    if (id < 0)
        return;
    for (size_t i = 0; i < w->interest_count; i++) {
        const gw_interest *known = &w->interest[i];
        if (known->folder == id && (known->name ? gw_slice_equal(gw_slice_str(known->name), name) : name.ptr == NULL))
            return;
    }
    gw_interest *grown = realloc(w->interest, (w->interest_count + 1) * sizeof *grown);
    if (!grown)
        return;
    w->interest = grown;
    gw_interest *made = &w->interest[w->interest_count];
    *made = (gw_interest){.folder = id, .folder_path = strdup(folder), .name = name.ptr ? strndup(name.ptr, name.len) : NULL};
    if (!made->folder_path || (name.ptr && !made->name)) {
        free(made->folder_path);
        free(made->name);
        return;
    }
    w->interest_count++;
}

/* Every name on the way to a file that may be pointed elsewhere: the file's own, and each symbolic link's (the folders of a mounted
 * Kubernetes ConfigMap change by one link). A path that ends early is of interest where it ends. */
static void add_interests(gw_watch *w, const char *path)
{
    char at[PATH_MAX] = "", todo[PATH_MAX];
    if (strlen(path) >= sizeof todo)
        return;
    strcpy(todo, path);
    for (int links = 0; links < SYMLINKS_MOST;) {
        char *name = todo + strspn(todo, "/");
        size_t len = strcspn(name, "/");
        const char *rest = name + len + strspn(name + len, "/");
        if (len == 0)
            return;
        char full[PATH_MAX * 2 + 2], target[PATH_MAX], next[PATH_MAX * 2 + 2];
        if (len == 1 && name[0] == '.') {
            memmove(todo, rest, strlen(rest) + 1);
            continue;
        }
        if (len == 2 && name[0] == '.' && name[1] == '.') {
            char *last = strrchr(at, '/');
            if (last)
                *last = '\0';
            memmove(todo, rest, strlen(rest) + 1);
            continue;
        }
        snprintf(full, sizeof full, "%s/%.*s", at, (int)len, name);
        struct stat st;
        bool there = lstat(full, &st) == 0, link = there && S_ISLNK(st.st_mode);
        if (!there || link || !*rest)
            add_interest(w, *at ? at : "/", gw_slice_of(name, len));
        if (!there || (!link && !*rest))
            return;
        if (link) {
            ssize_t n = readlink(full, target, sizeof target - 1);
            if (n <= 0)
                return;
            target[n] = '\0';
            links++;
            if (target[0] == '/')
                at[0] = '\0';
            snprintf(next, sizeof next, "%s/%s", target, rest);
        } else {
            if (strlen(full) >= sizeof at)
                return;
            strcpy(at, full);
            snprintf(next, sizeof next, "%s", rest);
        }
        if (strlen(next) >= sizeof todo)
            return;
        strcpy(todo, next);
    }
}

static void free_interests(gw_interest *interest, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(interest[i].name);
        free(interest[i].folder_path);
    }
    free(interest);
}

/* Makes the interests anew from the files at hand; folders that lost their last one are let go. */
static void watch_folders(gw_watch *w)
{
    gw_interest *before = w->interest;
    size_t before_count = w->interest_count;
    w->interest = NULL;
    w->interest_count = 0;
    for (size_t i = 0; i < w->watched_count; i++)
        add_interests(w, w->watched[i].path);
    if (w->plugins) {
        add_interests(w, w->plugins);
        add_interest(w, w->plugins, GW_NO_SLICE);
    }
    for (size_t i = 0; i < before_count; i++) {
        bool used = false, removed = false;
        for (size_t j = 0; j < w->interest_count && !used; j++)
            used = w->interest[j].folder == before[i].folder;
        for (size_t j = 0; j < i && !removed; j++)
            removed = before[j].folder == before[i].folder;
        if (!used && !removed)
            gw_files_remove(w->files, before[i].folder);
    }
    free_interests(before, before_count);
}

/* ---- looking ---- */

static void look(gw_timeout *t)
{
    gw_watch *w = gw_container_of(t, gw_watch, quiet);
    if (w->supervisor->live && !w->supervisor->live->g->watch)
        return;
    add_plugins(w);   /* a new one was never seen, and so counts as changed */
    watch_folders(w); /* before the contents are read, so that nothing falls in between */
    for (size_t i = 0; i < w->watched_count; i++) {
        if (w->watched[i].hash != hash_of(w->watched[i].path)) {
            gw_reload_request(w->supervisor, "files", NULL);
            return;
        }
    }
}

static void look_soon(gw_watch *w)
{
    gw_loop *loop = w->supervisor->loop;
    if (w->supervisor->state != GW_SERVING)
        return;
    double now = gw_loop_now(loop);
    if (!gw_timeout_armed(&w->quiet))
        w->burst_began = now;
    double latest = w->burst_began + BURST_MOST_SECONDS - now;
    gw_timeout_arm(loop, &w->quiet, latest < QUIET_SECONDS ? (latest > 0.001 ? latest : 0.001) : QUIET_SECONDS);
}

/* A file that was made just now is still empty: its content comes with the event for its closing. A link or a folder is complete. */
static bool still_empty(const char *folder, gw_slice name)
{
    char path[PATH_MAX];
    struct stat st;
    int len = snprintf(path, sizeof path, "%s/%.*s", folder, (int)name.len, name.ptr);
    return len > 0 && (size_t)len < sizeof path && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
}

static void on_changed(void *data, int id, gw_slice name, bool made)
{
    gw_watch *w = data;
    if (id < 0 || name.len == 0) {
        look_soon(w);
        return;
    }
    for (size_t i = 0; i < w->interest_count; i++) {
        const gw_interest *in = &w->interest[i];
        if (in->folder != id || !(in->name ? gw_slice_equal(gw_slice_str(in->name), name) : is_lua(name)))
            continue;
        if (!made || !still_empty(in->folder_path, name))
            look_soon(w);
        return;
    }
}

/* ---- with loads ---- */

void gw_watch_loading(gw_watch *w)
{
    if (!w)
        return;
    gw_timeout_disarm(&w->quiet);
    add_plugins(w);
    for (size_t i = 0; i < w->watched_count; i++)
        w->watched[i].hash = hash_of(w->watched[i].path);
}

void gw_watch_loaded(gw_watch *w)
{
    if (!w)
        return;
    gw_watched *before = w->watched;
    size_t before_count = w->watched_count;
    w->watched = NULL;
    w->watched_count = 0;
    const gw_supervisor *s = w->supervisor;
    add_watched(w, absolute(s->script));
    if (s->live)
        for (uint32_t i = 0; i < s->live->g->file_count; i++)
            add_watched(w, absolute(s->live->g->files[i]));
    const char *const *last = gw_script_last_files();
    for (; last && *last; last++) /* of a refused load: saving what was wrong with it tries again */
        add_watched(w, absolute(*last));
    add_plugins(w);
    for (size_t i = 0; i < w->watched_count; i++) {
        gw_watched *now = &w->watched[i];
        for (size_t j = 0; j < before_count && now->hash == HASH_NEVER_SEEN; j++)
            if (strcmp(before[j].path, now->path) == 0)
                now->hash = before[j].hash;
        if (now->hash == HASH_NEVER_SEEN && !changed_since(now->path, s->reloads.began))
            now->hash = hash_of(now->path);
    }
    for (size_t i = 0; i < before_count; i++)
        free(before[i].path);
    free(before);
    watch_folders(w);
    look_soon(w); /* for what was saved while the load ran */
}

/* ---- life ---- */

gw_watch *gw_watch_new(gw_supervisor *s, const char **reason)
{
    gw_watch *w = calloc(1, sizeof *w);
    if (!w) {
        *reason = strerror(ENOMEM);
        return NULL;
    }
    w->supervisor = s;
    gw_timeout_init(&w->quiet, look);
    char *script = absolute(s->script);
    if (!script || asprintf(&w->plugins, "%.*s/plugins", (int)(strrchr(script, '/') - script), script) < 0)
        w->plugins = NULL;
    free(script);
    w->files = gw_files_new(s->loop, on_changed, w, reason);
    if (!w->files) {
        free(w->plugins);
        free(w);
        return NULL;
    }
    return w;
}

void gw_watch_free(gw_watch *w)
{
    if (!w)
        return;
    gw_timeout_disarm(&w->quiet);
    gw_files_free(w->files);
    for (size_t i = 0; i < w->watched_count; i++)
        free(w->watched[i].path);
    free(w->watched);
    free_interests(w->interest, w->interest_count);
    free(w->plugins);
    free(w);
}
