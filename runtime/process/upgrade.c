#define _GNU_SOURCE /* asprintf */
#include "process/upgrade.h"

#include "base/clock.h"
#include "process/admin.h"
#include "process/supervisor.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The file that runs, by the word that it was called with when that is a path to it (so that a link to a newer version is followed), else by
 * where it stands. */
static char *program_path(const char *word)
{
    char folder[PATH_MAX], path[PATH_MAX];
    struct stat named, running;
    char *made = NULL;
    if (strchr(word, '/') && stat(word, &named) == 0 && stat("/proc/self/exe", &running) == 0 && named.st_ino == running.st_ino &&
        named.st_dev == running.st_dev) {
        if (word[0] == '/')
            return strdup(word);
        if (getcwd(folder, sizeof folder) && asprintf(&made, "%s/%s", folder, word) >= 0)
            return made;
    }
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return strdup(word);
    path[n] = '\0';
    return strdup(path);
}

int gw_upgrade_init(gw_upgrade *u, char *const argv[])
{
    *u = (gw_upgrade){.argv = argv, .successor = {.fd = -1}};
    u->path = program_path(argv[0]);
    return u->path ? GW_OK : GW_NOMEM;
}

void gw_upgrade_clear(gw_upgrade *u)
{
    free(u->path);
    u->path = NULL;
}

bool gw_upgrade_pending(const gw_supervisor *s)
{
    return s->upgrade.successor.fd >= 0;
}

static void refused(gw_supervisor *s, const char *lines)
{
    char bytes[3000];
    gw_text text = gw_text_on(bytes, sizeof bytes);
    gw_lines_json(&text, lines, true);
    gw_slice list = gw_text_done(&text);
    gw_log_event(s->ring, GW_LOG_ERROR, "upgrade refused: this process goes on", "\"program\":\"%s\",\"errors\":[%.*s]",
                 s->upgrade.path, (int)list.len, list.ptr);
    if (s->upgrade.missed_reload) {
        s->upgrade.missed_reload = false;
        gw_reload_request(s, "files", NULL);
    }
}

static void on_ended(gw_successor *n, enum gw_successor_end end)
{
    gw_supervisor *s = n->owner;
    gw_lines why = {0};
    switch (end) {
    case GW_SUCCESSOR_READY:
        s->upgrade.handed_over = true;
        gw_log_event(s->ring, GW_LOG_INFO, "upgraded: the new process serves", "\"new_pid\":%d,\"seconds\":%.6f", (int)n->pid,
                     (double)(gw_clock_monotonic_ns() - s->upgrade.began_ns) / 1e9);
        gw_service_succeeded(s, (int)n->pid);
        gw_admin_stop(s->admin);
        gw_supervisor_drain(s, "SIGUSR2");
        return;
    case GW_SUCCESSOR_LATE:
        gw_lines_add(&why, "the new process did not serve within %g s (timeouts.upgrade)\n", s->live->g->timeouts.upgrade);
        break;
    default:
        if (n->said_len)
            gw_lines_add(&why, "%s\n", n->said);
        else if (WIFSIGNALED(n->exit_status))
            gw_lines_add(&why, "the new process ended by signal %d\n", WTERMSIG(n->exit_status));
        else
            gw_lines_add(&why, "the new process ended with exit status %d\n", WEXITSTATUS(n->exit_status));
        break;
    }
    refused(s, why.text);
    gw_lines_clear(&why);
}

/* Every listening socket of ours, in the order in which the script asked for them: ports that the kernel chose are told apart by it. */
static gw_handed *everything(gw_supervisor *s, int *count, int **numbers)
{
    int listeners = 0, sockets = 1, at = 0;
    for (gw_list *l = s->listening.next; l != &s->listening; l = l->next) {
        listeners++;
        sockets += (int)gw_container_of(l, gw_listening, link)->count;
    }
    gw_handed *handed = calloc((size_t)listeners + 1, sizeof *handed);
    *numbers = malloc((size_t)sockets * sizeof **numbers);
    if (!handed || !*numbers) {
        free(handed);
        free(*numbers);
        return NULL;
    }
    *count = 0;
    for (gw_list *link = s->listening.next; link != &s->listening; link = link->next) {
        gw_listening *l = gw_container_of(link, gw_listening, link);
        gw_handed *h = &handed[(*count)++];
        *h = (gw_handed){.role = 'l', .foreign = l->foreign, .fds = *numbers + at, .count = (int)l->count};
        h->zero_port = gw_address_port_chosen(&l->asked);
        h->ipv4_only = l->asked.both_families && l->at.any.sa_family == AF_INET;
        for (uint32_t i = 0; i < l->count; i++)
            (*numbers)[at++] = l->socket[i].fd;
    }
    if (gw_admin_handed(s->admin, &handed[*count], &(*numbers)[at]))
        (*count)++;
    return handed;
}

static void begin(gw_supervisor *s)
{
    gw_upgrade *u = &s->upgrade;
    int count, *numbers = NULL;
    gw_handed *handed = everything(s, &count, &numbers);
    u->wanted = false;
    u->began_ns = gw_clock_monotonic_ns();
    u->successor.owner = s;
    u->successor.ended = on_ended;
    int status = handed
                     ? gw_successor_start(&u->successor, s->loop, u->path, u->argv, handed, count, s->live->g->timeouts.upgrade)
                     : -ENOMEM;
    if (status < 0) {
        gw_lines why = {0};
        gw_lines_add(&why, "cannot start %s: %s\n", u->path, strerror(-status));
        refused(s, why.text);
        gw_lines_clear(&why);
    } else {
        gw_log_event(s->ring, GW_LOG_INFO, "upgrading: a new process begins", "\"program\":\"%s\",\"new_pid\":%d,\"sockets\":%d",
                     u->path, (int)u->successor.pid, count);
    }
    if (handed) {
        free(handed);
        free(numbers);
    }
}

void gw_upgrade_request(gw_supervisor *s)
{
    const char *why_not = s->state != GW_SERVING  ? "the gateway is draining"
                          : gw_upgrade_pending(s) ? "an upgrade is under way"
                          : getpid() == 1         ? "this is process 1, and with it everything in its container would end"
                                                  : NULL;
    if (why_not)
        gw_log_event(s->ring, GW_LOG_WARN, "SIGUSR2 ignored", "\"error\":\"%s\"", why_not);
    else if (s->reloads.building)
        s->upgrade.wanted = true;
    else {
        gw_staged_stop(s, "an upgrade begins");
        begin(s);
    }
}

void gw_upgrade_waiting(gw_supervisor *s)
{
    if (!s->upgrade.wanted)
        return;
    s->upgrade.wanted = false;
    gw_upgrade_request(s);
}

void gw_upgrade_cancel(gw_supervisor *s)
{
    gw_upgrade *u = &s->upgrade;
    u->wanted = false;
    if (gw_upgrade_pending(s) && !gw_successor_cancel(&u->successor)) {
        gw_service_succeeded(s, (int)u->successor.pid);
        u->handed_over = true; /* sockets and paths are its; it drains as we do */
        kill(u->successor.pid, SIGTERM);
    }
}
