#define _GNU_SOURCE /* sched_getaffinity */
#include "process/supervisor.h"

#include "base/clock.h"
#include "process/admin.h"
#include "process/options.h"
#include "process/privileges.h"
#include "process/watch.h"
#include "script/script.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKERS_MOST 1024
#define WORKER_RING_BYTES (1u << 20)
#define CONTROL_RING_BYTES (64u << 10)

static const int signals_from_start[] = {SIGHUP, SIGUSR1, SIGUSR2}; /* they would end a process that is still loading */
static const int signals_served[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT};

uint32_t gw_workers_meant(uint32_t asked)
{
    if (asked)
        return asked < WORKERS_MOST ? asked : WORKERS_MOST;
    cpu_set_t allowed;
    long count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > WORKERS_MOST ? WORKERS_MOST : (uint32_t)count;
}

/* ---- draining and stopping ---- */

static void stop(gw_supervisor *s)
{
    if (s->state == GW_STOPPING)
        return;
    s->state = GW_STOPPING;
    gw_timeout_disarm(&s->deadline);
    if (s->live) { /* nothing may begin a round any more: the workers' mailboxes are closed by this mail */
        gw_names_stop(s->live->names);
        s->live->names = NULL;
    }
    gw_prober_follow(s->prober, NULL); /* endpoints may be freed from here on */
    for (uint32_t i = 0; i < s->worker_count; i++)
        gw_worker_stop(s->workers[i]);
}

uint64_t gw_supervisor_connections(const gw_supervisor *s)
{
    uint64_t left = 0;
    for (uint32_t i = 0; i < s->worker_count; i++)
        left += __atomic_load_n(&s->workers[i]->engine.counters.connections_active, __ATOMIC_RELAXED);
    return left;
}

static void on_deadline(gw_timeout *t)
{
    gw_supervisor *s = gw_container_of(t, gw_supervisor, deadline);
    gw_log_event(s->ring, GW_LOG_WARN, "drain time is up: connections are cut", "\"connections\":%llu,\"drain\":%.3f",
                 (unsigned long long)gw_supervisor_connections(s), s->live->g->timeouts.drain);
    stop(s);
}

void gw_supervisor_worker_idle(gw_supervisor *s, gw_worker *w)
{
    (void)w;
    if (++s->workers_idle < s->worker_count || s->state != GW_DRAINING)
        return;
    gw_log_event(s->ring, GW_LOG_INFO, "drained", NULL);
    stop(s);
}

void gw_supervisor_worker_ended(gw_supervisor *s, gw_worker *w)
{
    (void)w;
    if (++s->workers_ended == s->workers_running)
        gw_loop_stop(s->loop);
}

double gw_supervisor_drain(gw_supervisor *s, const char *why)
{
    gw_upgrade_cancel(s);
    s->state = GW_DRAINING;
    gw_staged_stop(s, "the gateway is draining");
    double most = s->live->g->timeouts.drain;
    gw_service_stopping(s, most);
    gw_log_event(s->ring, GW_LOG_INFO, "draining", "\"cause\":\"%s\",\"connections\":%llu,\"drain\":%.3f", why,
                 (unsigned long long)gw_supervisor_connections(s), most);
    gw_listening_remove_all(s);
    for (uint32_t i = 0; i < s->worker_count; i++)
        gw_worker_drain(s->workers[i]);
    if (most > 0)
        gw_timeout_arm(s->loop, &s->deadline, most);
    else
        stop(s);
    return most;
}

static void on_signal(gw_signals *signals, int number, int from_pid)
{
    gw_supervisor *s = signals->owner;
    (void)from_pid;
    switch (number) {
    case SIGHUP:
        gw_reload_request(s, "SIGHUP", NULL);
        break;
    case SIGTERM:
    case SIGINT:
        if (!s->stop_signal) {
            s->stop_signal = number;
            if (s->state == GW_SERVING)
                gw_supervisor_drain(s, number == SIGINT ? "SIGINT" : "SIGTERM");
            break;
        }
        static const char at_once[] = "gateway: a second signal: exits at once\n";
        if (write(STDERR_FILENO, at_once, sizeof at_once - 1) < 0)
            _exit(128 + number); /* nobody reads it; the exit status says it too */
        _exit(128 + number);
    case SIGUSR2:
        gw_upgrade_request(s);
        break;
    default:
        gw_logging_reopen(s);
        break;
    }
}

/* ---- start ---- */

static int refuse(gw_supervisor *s, const char *lines)
{
    gw_inheritance_tell(&s->inherited, lines ? lines : "memory is out\n");
    fputs(lines ? lines : "gateway: memory is out\n", stderr);
    return EXIT_FAILURE;
}

/* The first generation. How many workers there are is said by the script, and every worker has a Lua state of its own: so it is loaded for
 * as many as there are processors, and once more if it wants another number. */
static gw_generation *load_first(const char *script, gw_lines *errors, gw_lines *warnings)
{
    uint32_t count = gw_workers_meant(0);
    for (int try = 0;; try++) {
        gw_registry_init(count);
        char *found = NULL, *noted = NULL;
        gw_generation *g = gw_load_script(script, count, &found, &noted);
        gw_lines_clear(warnings);
        gw_lines_take(errors, found);
        gw_lines_take(warnings, noted);
        if (!g)
            return NULL;
        uint32_t meant = gw_workers_meant(g->workers);
        if (meant == count)
            return g;
        gw_generation_free(g, NULL, NULL);
        if (try == 1) {
            gw_lines_add(errors, "%s: gateway.workers gives another number each time the script runs\n", script);
            return NULL;
        }
        count = meant;
    }
}

/* Descriptors: as many as we may have. The limit that holds then. */
static unsigned long long raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            limit.rlim_cur = before;
    }
    return (unsigned long long)limit.rlim_cur;
}

/* Bytes that a core may have, which are left as they are; -1: any number. */
static long long core_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_CORE, &limit) < 0 ? 0 : limit.rlim_cur == RLIM_INFINITY ? -1 : (long long)limit.rlim_cur;
}

static bool make_workers(gw_supervisor *s, uint32_t count)
{
    s->workers = calloc(count, sizeof(gw_worker *));
    if (!s->workers)
        return false;
    s->worker_count = count;
    for (uint32_t i = 0; i < count; i++) {
        gw_log_ring *ring = gw_log_ring_open(s->log, WORKER_RING_BYTES);
        s->workers[i] = ring ? gw_worker_new(s, i, ring) : NULL;
        if (!s->workers[i])
            return false;
        s->workers[i]->engine.access = gw_log_ring_open(s->access_log, WORKER_RING_BYTES);
        s->workers[i]->engine.spans = gw_log_ring_open(s->span_log, WORKER_RING_BYTES);
        if (!s->workers[i]->engine.access || !s->workers[i]->engine.spans)
            return false;
    }
    return true;
}

/* Everything but the generation; what could not be had is named in `errors`. */
static bool prepare(gw_supervisor *s, uint32_t workers, gw_lines *errors)
{
    const char *missing = "the event loop", *reason = "";
    s->loop = gw_loop_new();
    if (!s->loop)
        goto failed;
    gw_loop_set_owner(s->loop, s);
    gw_timeout_init(&s->deadline, on_deadline);
    gw_reloads_init(s);
    gw_remaking_init(s);
    gw_staged_init(s);
    gw_plan_init(s);
    missing = "the log";
    s->log = gw_log_open(STDOUT_FILENO);
    s->ring = s->log ? gw_log_ring_open(s->log, CONTROL_RING_BYTES) : NULL;
    s->access_log = gw_log_open_sink(NULL);
    s->span_log = gw_log_open_sink(NULL);
    s->span_events = s->log ? gw_log_ring_open(s->log, 0) : NULL;
    if (!s->ring || !s->access_log || !s->span_log || !s->span_events)
        goto failed;
    missing = "the resolver";
    s->resolver = gw_resolver_new(s->loop);
    if (!s->resolver)
        goto failed;
    missing = "the health prober";
    s->prober = gw_prober_new(s->loop, s->ring);
    if (!s->prober)
        goto failed;
    missing = "the admin server";
    s->admin = gw_admin_new(s);
    if (!s->admin)
        goto failed;
    missing = "the signal descriptor";
    s->signals.owner = s;
    s->signals.received = on_signal;
    if (gw_signals_start(&s->signals, s->loop, signals_served, GW_COUNT(signals_served)) < 0)
        goto failed;
    missing = "the workers' loops";
    if (!make_workers(s, workers))
        goto failed;
    s->watch = gw_watch_new(s, &reason);
    if (!s->watch)
        gw_log_event(s->ring, GW_LOG_WARN, "files are not watched: reload with SIGHUP", "\"error\":\"%s\"", reason);
    return true;
failed:
    gw_lines_add(errors, "gateway: cannot make %s: memory, file descriptors or threads are out\n", missing);
    return false;
}

static bool start_workers(gw_supervisor *s, gw_lines *errors)
{
    for (uint32_t i = 0; i < s->worker_count; i++) {
        if (gw_worker_start(s->workers[i]) < 0) {
            gw_lines_add(errors, "gateway: the system gives no thread for worker %u of %u\n", i, s->worker_count);
            return false;
        }
        s->workers_running++;
    }
    return true;
}

/* The workers' threads have ended, or there never were any. */
static void clear(gw_supervisor *s)
{
    gw_service_close(s);
    if (s->signals.loop)
        gw_signals_stop(&s->signals);
    gw_watch_free(s->watch);
    gw_admin_free(s->admin);
    gw_prober_free(s->prober);
    if (s->loop && (!gw_reloads_clear(s) || !gw_remaking_clear(s) || !gw_plan_clear(s))) {
        /* A script is still being loaded and cannot be stopped: the process ends under it. All lines are written first. */
        gw_log_close(s->span_log);
        gw_log_close(s->access_log);
        gw_log_close(s->log);
        _exit(EXIT_SUCCESS);
    }
    if (s->live) /* no worker ever began */
        gw_release_soon(s, &s->live->release);
    gw_staged_clear(s);
    gw_resolver_free(s->resolver);
    gw_release_at_end(s);
    while (s->workers && s->worker_count)
        gw_worker_free(s->workers[--s->worker_count]);
    free(s->workers);
    if (s->loop)
        gw_loop_free(s->loop);
    gw_log_close(s->span_log);
    gw_log_close(s->access_log);
    gw_log_close(s->log);
}

/* Whether a file was saved (or another put in its place) after the load began, which read it before that, and before it was watched. */
static bool saved_meanwhile(const gw_supervisor *s)
{
    const gw_generation *g = s->live->g;
    for (uint32_t i = 0; i <= g->file_count; i++) {
        struct stat st;
        const char *path = i < g->file_count ? g->files[i] : s->script;
        if (stat(path, &st) == 0 && (double)st.st_ctim.tv_sec + (double)st.st_ctim.tv_nsec / 1e9 > s->started_at)
            return true;
    }
    return false;
}

/* The first generation has what it wants of what was handed to us, and the workers run. */
static void begin_serving(gw_supervisor *s)
{
    for (int i = 0; i < s->inherited.count; i++) {
        const gw_inherited *item = &s->inherited.item[i];
        char address[GW_ADDRESS_TEXT];
        address[gw_address_text(&item->at, address)] = '\0';
        if (!item->taken && !item->role)
            gw_log_event(s->ring, GW_LOG_WARN, "systemd gave a socket that the script does not listen at", "\"address\":\"%s\"",
                         address);
    }
    if (s->inherited.ignored)
        gw_log_event(s->ring, GW_LOG_WARN, "descriptors that are no listening stream sockets are ignored", "\"count\":%d",
                     s->inherited.ignored);
    bool succeeds = s->inherited.ready >= 0;
    gw_inheritance_tell(&s->inherited, NULL);
    gw_service_ready(s);
    gw_inheritance_close(&s->inherited, succeeds);
    if (s->watch && saved_meanwhile(s))
        gw_reload_request(s, "files", NULL);
}

int gw_supervise(const char *script, char *const argv[])
{
    gw_supervisor s = {.script = script, .started_ns = gw_clock_monotonic_ns()};
    gw_lines errors = {0}, warnings = {0};
    int status = EXIT_FAILURE;
    gw_list_init(&s.listening);
    gw_list_init(&s.recents_waiting);
    gw_list_init(&s.draining);
    gw_list_init(&s.orphans);
    gw_list_init(&s.dropping);
    gw_service_open(&s);
    gw_signals_block(signals_from_start, GW_COUNT(signals_from_start));
    unsigned long long files = raise_file_limit();
    s.reloads.cause = "start";
    s.reloads.began_ns = s.started_ns;
    s.reloads.began = s.started_at = gw_clock_wall();
    if (gw_inheritance_read(&s.inherited) < 0 || gw_upgrade_init(&s.upgrade, argv) < 0) {
        refuse(&s, NULL);
        goto end;
    }
    gw_generation *g = load_first(script, &errors, &warnings);
    if (!g) {
        refuse(&s, errors.text);
        goto end;
    }
    if (!gw_privileges_check(script, g, &errors)) {
        gw_generation_free(g, NULL, NULL);
        refuse(&s, errors.text);
        goto end;
    }
    /* The words were right: from here on a signal is an order to drain. */
    gw_signals_block(signals_served, GW_COUNT(signals_served));
    if (!prepare(&s, gw_registry_workers(), &errors)) {
        gw_generation_free(g, NULL, NULL);
        refuse(&s, errors.text);
        goto end;
    }
    gw_log_event(s.ring, GW_LOG_INFO, "gateway starting",
                 "\"version\":\"%s\",\"pid\":%d,\"workers\":%u,\"files\":%llu,\"core\":%lld", GW_VERSION, (int)getpid(),
                 s.worker_count, files, core_limit());
    if (warnings.text)
        gw_reload_log_lines(&s, GW_LOG_WARN, "the script was loaded with warnings", "warnings", warnings.text);
    if (!gw_generation_apply(&s, g, &errors)) {
        refuse(&s, errors.text);
        goto end;
    }
    if (!gw_privileges_drop(&s, g, &errors)) { /* half-way from one user to another: nothing is to be done as either */
        refuse(&s, errors.text);
        _exit(EXIT_FAILURE);
    }
    if (start_workers(&s, &errors)) {
        gw_watch_loaded(s.watch);
        gw_history_add(&s.reloads.history,
                       &(gw_reload_result){.ok = true,
                                           .generation = s.live->g->number,
                                           .cause = s.reloads.cause,
                                           .at = s.reloads.began,
                                           .seconds = (double)(gw_clock_monotonic_ns() - s.reloads.began_ns) / 1e9,
                                           .warnings = warnings});
        status = EXIT_SUCCESS;
        begin_serving(&s);
    } else {
        refuse(&s, errors.text);
        stop(&s);
    }
    if (s.workers_running)
        gw_loop_run(s.loop);
    if (status == EXIT_SUCCESS)
        gw_log_event(s.ring, GW_LOG_INFO, "gateway ended", "\"uptime\":%.3f",
                     (double)(gw_clock_monotonic_ns() - s.started_ns) / 1e9);
end:
    clear(&s);
    gw_inheritance_close(&s.inherited, false);
    gw_upgrade_clear(&s.upgrade);
    gw_lines_clear(&errors);
    gw_lines_clear(&warnings);
    return status;
}
