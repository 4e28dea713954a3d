/* The process that plans: see plan.h. */
#define _GNU_SOURCE
#include "process/plan.h"
#include "process/reload.h"
#include "script/testing.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define CPU_SECONDS 25
#define MEMORY_MOST ((rlim_t)2 << 30) /* that can be written to: address space is reserved by the gigabyte */
#define FILES_MOST ((rlim_t)64 << 20)

static void limit(int what, rlim_t most)
{
    struct rlimit now;
    if (getrlimit(what, &now) == 0 && (now.rlim_max == RLIM_INFINITY || now.rlim_max > most))
        setrlimit(what, &(struct rlimit){most, most}); /* more than that is taken when it fails */
}

static char *read_input(void)
{
    size_t len = 0, cap = 1 << 16;
    char *bytes = malloc(cap + 1);
    while (bytes) {
        ssize_t n = read(STDIN_FILENO, bytes + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
        if (len == cap) {
            char *more = realloc(bytes, (cap *= 2) + 1);
            if (!more) {
                free(bytes);
                return NULL;
            }
            bytes = more;
        }
    }
    if (bytes)
        bytes[len] = '\0';
    return bytes;
}

static int say(int fd, const char *text, int status)
{
    size_t len = strlen(text);
    while (len) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 2;
        text += n, len -= (size_t)n;
    }
    return status;
}

struct refused {
    const char *errors, *warnings;
};

static void render_refused(gw_text *t, void *data)
{
    const struct refused *r = data;
    gw_text_lit(t, "{\"ok\":false,\"errors\":[");
    gw_lines_json(t, r->errors, false);
    gw_text_lit(t, "],\"warnings\":[");
    gw_lines_json(t, r->warnings, false);
    gw_text_lit(t, "]}\n");
}

static int refuse(int fd, char *errors, char *warnings)
{
    size_t len;
    struct refused r = {errors ? errors : "memory is out\n", warnings};
    char *json = gw_render(render_refused, &r, &len);
    int status = 2;
    if (json) {
        char *ended = realloc(json, len + 1);
        if (ended) {
            json = ended;
            json[len] = '\0';
            status = say(fd, json, 1);
        }
    }
    free(json);
    free(errors);
    free(warnings);
    return status;
}

int gw_plan_child(const char *stable, const char *candidate, const char *digest)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    limit(RLIMIT_CPU, CPU_SECONDS);
    limit(RLIMIT_FSIZE, FILES_MOST);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    limit(RLIMIT_DATA, MEMORY_MOST);
#endif
    if (nice(10) == -1)
        errno = 0; /* as it is, then */
    /* What scripts write goes nowhere, and not into the answer. */
    int answer = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (answer < 0 || nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0 || dup2(nowhere, STDERR_FILENO) < 0)
        return 2;
    gw_registry_init(1);
    char *errors = NULL, *warnings = NULL, *old_errors = NULL, *old_warnings = NULL;
    gw_generation *g = gw_load_script(candidate, 0, &errors, &warnings);
    if (!g)
        return refuse(answer, errors, warnings);
    gw_generation_free(g, NULL, NULL);
    g = gw_load_script(stable, 0, &old_errors, &old_warnings);
    char now[17] = "";
    if (g)
        snprintf(now, sizeof now, "%016llx", (unsigned long long)g->digest);
    bool there = g != NULL;
    gw_generation_free(g, NULL, NULL);
    char *heads = read_input(), *before = NULL, *after = NULL, *result = NULL;
    bool good = heads != NULL;
    if (good && there)
        good = gw_testing_text("gateway.plan_run", (const char *[]){stable, heads}, 2, &before);
    if (good)
        good = gw_testing_text("gateway.plan_run", (const char *[]){candidate, heads}, 2, &after);
    if (good)
        good = gw_testing_text("gateway.plan",
                               (const char *[]){before ? before : "null", after, strcmp(now, digest) == 0 ? "" : "changed",
                                                stable, candidate, old_errors ? old_errors : "", warnings ? warnings : "", heads},
                               8, &result);
    int status = good ? say(answer, result, 0)
                      : refuse(answer,
                               strdup(result   ? result
                                      : after  ? after
                                      : before ? before
                                               : "memory is out"),
                               NULL);
    free(heads);
    free(before);
    free(after);
    free(result);
    free(errors);
    free(warnings);
    free(old_errors);
    free(old_warnings);
    return status;
}
