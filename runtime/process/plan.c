#define _GNU_SOURCE /* memfd_create, pthread_timedjoin_np */
#include "process/plan.h"

#include "http/url.h"
#include "net/signals.h"
#include "process/admin.h"
#include "process/recents.h"
#include "process/supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS_MOST 30.0
#define ANSWER_MOST (32u << 20)

extern char **environ;

/* ---- answers ---- */

static char *words(const char *text, size_t *len)
{
    char *json = malloc(1024);
    gw_text t = gw_text_on(json, json ? 1024 : 0);
    gw_text_lit(&t, "{\"ok\":false,\"errors\":[");
    gw_text_json(&t, gw_slice_str(text));
    gw_text_lit(&t, "]}\n");
    *len = gw_text_done(&t).len;
    return json;
}

static void finish(gw_supervisor *s, int status, char *json, size_t len)
{
    gw_plan *p = &s->plan;
    free(p->script);
    free(p->stable);
    free(p->heads);
    p->script = p->stable = p->heads = NULL;
    p->busy = false;
    if (gw_list_empty(&p->waiting)) { /* who asked has gone */
        free(json);
        return;
    }
    gw_admin_wait *w = gw_container_of(p->waiting.next, gw_admin_wait, link);
    gw_list_remove(&w->link);
    w->done(w, status, json, len);
}

static void refuse(gw_supervisor *s, int status, const char *text)
{
    size_t len;
    char *json = words(text, &len);
    finish(s, status, json, len);
}

/* ---- the process ---- */

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n, len -= (size_t)n;
    }
    return lseek(fd, 0, SEEK_SET) == 0;
}

static char *read_all(int fd, size_t *len)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)ANSWER_MOST)
        return NULL;
    char *bytes = malloc((size_t)st.st_size);
    size_t at = 0;
    while (bytes && at < (size_t)st.st_size) {
        ssize_t n = pread(fd, bytes + at, (size_t)st.st_size - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    *len = at;
    return bytes;
}

static int start(gw_plan *p, int in, int out, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    char program[] = "gateway", word[] = GW_PLAN_WORD;
    char *argv[] = {program, word, p->stable, p->script, p->digest, NULL};
    sigemptyset(&none);
    int status = posix_spawn_file_actions_init(&files);
    if (status)
        return status;
    status = posix_spawnattr_init(&attributes);
    if (!status) {
        status = posix_spawnattr_setsigmask(&attributes, &none);
        if (!status)
            status = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        if (!status)
            status = posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
        if (!status)
            status = posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
        if (!status)
            status = posix_spawn(pid, "/proc/self/exe", &files, &attributes, argv, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&files);
    return status;
}

/* Its exit status as waitpid has it; -1: it was ended because its time was up. */
static int wait_for(gw_plan *p, pid_t pid)
{
    int status;
    for (double waited = 0;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            return status;
        if (got < 0 && errno != EINTR)
            return 0x7f00; /* somebody else has waited for it */
        if (waited >= SECONDS_MOST || atomic_load(&p->cancelled)) {
            kill(pid, SIGKILL);
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        waited += 0.005;
    }
}

static void *run(void *data)
{
    gw_supervisor *s = data;
    gw_plan *p = &s->plan;
    gw_signals_block_all();
    int in = memfd_create("heads", MFD_CLOEXEC), out = in < 0 ? -1 : memfd_create("plan", MFD_CLOEXEC);
    pid_t pid = 0;
    const char *wrong = NULL;
    p->status = 500;
    p->answer = NULL;
    if (out < 0 || !write_all(in, p->heads, p->heads_len) || start(p, in, out, &pid) != 0) {
        wrong = "the system gives no process to plan in";
    } else {
        int status = wait_for(p, pid);
        if (status == -1 || (WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL)))
            wrong = "it took too long, or too much memory: a script that runs away, or too many heads (gateway.record { keep })";
        else if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
            wrong = "the process that plans has failed";
        else if (!(p->answer = read_all(out, &p->answer_len)))
            wrong = "the process that plans has ended without a word: a script in it takes too much memory";
        else
            p->status = WEXITSTATUS(status) ? 422 : 200;
    }
    if (wrong)
        p->answer = words(wrong, &p->answer_len);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    gw_loop_post(s->loop, &p->ended);
    return NULL;
}

static void on_ended(gw_mail *mail, void *owner)
{
    (void)mail;
    gw_supervisor *s = owner;
    pthread_join(s->plan.thread, NULL);
    s->plan.threaded = false;
    char *answer = s->plan.answer;
    s->plan.answer = NULL;
    finish(s, s->plan.status, answer, s->plan.answer_len);
}

/* ---- asked for ---- */

static void render(gw_text *t, void *data)
{
    gw_text_lit(t, "[");
    gw_recents_write(t, data);
    gw_text_lit(t, "]");
}

static void fetched(gw_supervisor *s, const gw_recents *r, void *data)
{
    (void)data;
    gw_plan *p = &s->plan;
    p->heads = gw_render(render, (void *)r, &p->heads_len);
    if (!p->heads || s->state == GW_STOPPING) {
        refuse(s, 503, "memory is out");
        return;
    }
    p->threaded = true;
    if (pthread_create(&p->thread, NULL, run, s) != 0) {
        p->threaded = false;
        refuse(s, 503, "the system gives no thread to plan on");
    }
}

void gw_plan_request(gw_supervisor *s, gw_slice query, gw_admin_wait *w)
{
    gw_plan *p = &s->plan;
    size_t len;
    if (p->busy) {
        char *json = words("another plan is being made: ask again", &len);
        w->done(w, 409, json, len);
        return;
    }
    gw_slice script = gw_query_get(query, GW_SLICE("script"));
    p->script = calloc(1, script.len + 1);
    p->stable = strndup(s->live->g->script.ptr, s->live->g->script.len);
    p->busy = true;
    gw_list_push_back(&p->waiting, &w->link);
    if (!p->script || !p->stable) {
        refuse(s, 503, "memory is out");
        return;
    }
    if (script.len)
        script = gw_percent_decode(script, p->script);
    if (script.len && script.ptr != p->script)
        memcpy(p->script, script.ptr, script.len);
    p->script[script.len] = '\0';
    if (script.len == 0 || strlen(p->script) != script.len) {
        refuse(s, 400, "expected ?script=PATH");
        return;
    }
    snprintf(p->digest, sizeof p->digest, "%016llx", (unsigned long long)s->live->g->digest);
    if (!gw_recents_fetch(s, fetched, NULL))
        refuse(s, 503, "memory is out");
}

void gw_plan_init(gw_supervisor *s)
{
    gw_list_init(&s->plan.waiting);
    s->plan.ended.run = on_ended;
}

bool gw_plan_clear(gw_supervisor *s)
{
    gw_plan *p = &s->plan;
    if (p->threaded) {
        atomic_store(&p->cancelled, true);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 2;
        if (pthread_timedjoin_np(p->thread, NULL, &until) != 0)
            return false;
        p->threaded = false;
        free(p->answer);
        p->answer = NULL;
    }
    free(p->script);
    free(p->stable);
    free(p->heads);
    p->script = p->stable = p->heads = NULL;
    return true;
}
