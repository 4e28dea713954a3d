#include "net/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static sigset_t set_of(const int numbers[], size_t count)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        sigaddset(&set, numbers[i]);
    return set;
}

void gw_signals_block(const int numbers[], size_t count)
{
    sigset_t set = set_of(numbers, count);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void gw_signals_block_all(void)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < GW_COUNT(faults); i++)
        sigdelset(&set, faults[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void gw_signals_ignore_pipe(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

static void on_readable(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)events;
    gw_signals *s = gw_container_of(io, gw_signals, io);
    struct signalfd_siginfo info;
    /* One at a time, and the watcher is level-triggered: a handler may stop us. */
    if (read(io->fd, &info, sizeof info) == (ssize_t)sizeof info)
        s->received(s, (int)info.ssi_signo, (int)info.ssi_pid);
}

int gw_signals_start(gw_signals *s, gw_loop *loop, const int numbers[], size_t count)
{
    sigset_t set = set_of(numbers, count);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        ev_io_init(&s->io, on_readable, -1, EV_READ);
        return errno == EMFILE || errno == ENFILE ? GW_NOFILES : GW_NOMEM;
    }
    s->loop = loop;
    ev_io_init(&s->io, on_readable, fd, EV_READ);
    ev_io_start(gw_loop_ev(loop), &s->io);
    return GW_OK;
}

void gw_signals_stop(gw_signals *s)
{
    if (!s->loop || s->io.fd < 0)
        return;
    ev_io_stop(gw_loop_ev(s->loop), &s->io);
    close(s->io.fd);
    s->loop = NULL;
}
