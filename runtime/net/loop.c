/* The event loop: libev set up for few system calls, the turn's time, the mailbox, and work put off to the next turn. */
#include "net/loop.h"
#include "base/clock.h"
#include "net/offload.h"
#include "net/reserve.h"
#include "net/timeouts.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- time ----
 *
 * ev_now() is wall time: it jumps when the clock is set. libev's own monotonic time is not exported, but what remains of a timer is
 * (due - monotonic now): so a timer that is a lifetime away tells the time without a clock being read once more. */
#define LIFETIME 1e9 /* 31 years; at this size a double still resolves 0.12 µs */

static void take_time(gw_loop *loop)
{
    if (gw_unlikely(loop->manual))
        return;
    loop->now = loop->clock_base + (LIFETIME - ev_timer_remaining(loop->ev, &loop->clock));
}

static void on_turn(struct ev_loop *ev, ev_check *turn, int events)
{
    (void)ev, (void)events;
    gw_loop *loop = gw_container_of(turn, gw_loop, turn);
    take_time(loop);
    gw_loop_wheel_turn(loop);
    if (gw_unlikely(loop->manual)) /* this is the first handler of the turn: all the others are still pending */
        loop->busy = ev_pending_count(ev) > 0;
}

static void on_clock(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)timer, (void)events; /* nothing lives that long */
}

/* ---- later ---- */

static void on_laters(struct ev_loop *ev, ev_prepare *prepare, int events)
{
    (void)events;
    gw_loop *loop = gw_container_of(prepare, gw_loop, laters_run);
    /* One round only: what is put off from here waits for the next turn, or two that put each other off would starve the rest. */
    gw_list round;
    gw_list_init(&round);
    while (!gw_list_empty(&loop->laters)) {
        gw_list *first = loop->laters.next;
        gw_list_remove(first);
        gw_list_push_back(&round, first);
    }
    while (!gw_list_empty(&round)) {
        gw_later *later = gw_container_of(round.next, gw_later, link);
        gw_list_remove(&later->link);
        later->run(later);
    }
    if (gw_list_empty(&loop->laters)) {
        ev_prepare_stop(ev, &loop->laters_run);
        ev_idle_stop(ev, &loop->laters_more);
    } else {
        ev_idle_start(ev, &loop->laters_more); /* keeps the next wait from blocking */
    }
}

static void on_idle(struct ev_loop *ev, ev_idle *idle, int events)
{
    (void)ev, (void)idle, (void)events;
}

void gw_later_init(gw_later *later, void (*run)(gw_later *))
{
    gw_list_init(&later->link);
    later->run = run;
}

void gw_loop_later(gw_loop *loop, gw_later *later)
{
    if (!gw_list_empty(&later->link))
        return;
    gw_list_push_back(&loop->laters, &later->link);
    ev_prepare_start(loop->ev, &loop->laters_run); /* does nothing when started */
}

void gw_later_cancel(gw_later *later)
{
    gw_list_remove(&later->link);
}

/* ---- mailbox: a stack that anybody pushes on and only the loop's thread takes, whole ----
 *
 * Woken by an eventfd of our own: libev's ev_async makes its descriptor late and aborts the process when there is none left. */

static void on_mail(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)events;
    gw_loop *loop = gw_container_of(io, gw_loop, mail_io);
    uint64_t count;
    /* Before the box is emptied: a mail posted after that writes again. Nothing to read (EAGAIN) is fine too. */
    if (read(io->fd, &count, sizeof count) < 0)
        count = 0;
    gw_mail *newest = atomic_exchange_explicit(&loop->mails, NULL, memory_order_acquire);
    gw_mail *oldest = NULL;
    while (newest) {
        gw_mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        gw_mail *next = oldest->next; /* before run: the mail may be freed or posted again there */
        oldest->run(oldest, loop->owner);
        oldest = next;
    }
}

void gw_loop_post(gw_loop *loop, gw_mail *mail)
{
    gw_mail *top = atomic_load_explicit(&loop->mails, memory_order_relaxed);
    do
        mail->next = top;
    while (!atomic_compare_exchange_weak_explicit(&loop->mails, &top, mail, memory_order_release, memory_order_relaxed));
    /* Only who finds the box empty wakes the loop: the others' mails are taken with the first. From here on the mail may be gone. */
    if (!top) {
        static const uint64_t one = 1;
        ssize_t wrote;
        do
            wrote = write(loop->mail_io.fd, &one, sizeof one);
        while (wrote < 0 && errno == EINTR);
    }
}

void gw_loop_set_owner(gw_loop *loop, void *owner)
{
    loop->owner = owner;
}

/* ---- tickers ---- */

static void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    gw_ticker *t = gw_container_of(timer, gw_ticker, timer);
    t->tick(t);
}

static void on_tick_by_hand(gw_timeout *timeout)
{
    gw_ticker *t = gw_container_of(timeout, gw_ticker, timeout);
    gw_timeout_arm(t->loop, timeout, t->every);
    t->tick(t);
}

void gw_ticker_start(gw_loop *loop, gw_ticker *t, double every, void (*tick)(gw_ticker *))
{
    t->loop = loop;
    t->tick = tick;
    t->every = every;
    if (loop->manual) {
        gw_timeout_init(&t->timeout, on_tick_by_hand);
        gw_timeout_arm(loop, &t->timeout, every);
        return;
    }
    ev_timer_init(&t->timer, on_tick, every, every);
    ev_timer_start(loop->ev, &t->timer);
}

void gw_ticker_stop(gw_ticker *t)
{
    if (t->loop && t->loop->manual)
        gw_timeout_disarm(&t->timeout);
    else if (t->loop)
        ev_timer_stop(t->loop->ev, &t->timer);
}

/* ---- the loop ---- */

static gw_loop *loop_new(const double *by_hand)
{
    gw_reserve_open();
    gw_loop *loop = aligned_alloc(_Alignof(gw_loop), sizeof(gw_loop));
    if (!loop)
        return NULL;
    memset(loop, 0, sizeof *loop);
    /* NOENV: LIBEV_FLAGS must not change a server behind its back. NOTIMERFD: no descriptor for jumps of a clock we do not use. */
    int mail_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mail_fd >= 0)
        loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV | EVFLAG_NOTIMERFD);
    if (!loop->ev) {
        if (mail_fd >= 0)
            close(mail_fd);
        free(loop);
        return NULL;
    }
    gw_list_init(&loop->laters);
    atomic_init(&loop->mails, NULL);

    if (by_hand) {
        loop->manual = true;
        loop->now = *by_hand;
    } else {
        ev_now_update(loop->ev);
        ev_timer_init(&loop->clock, on_clock, LIFETIME, 0.);
        ev_timer_start(loop->ev, &loop->clock);
        loop->clock_base = (double)gw_clock_monotonic_ns() / 1e9;
        take_time(loop);
    }
    gw_loop_wheel_init(loop);

    ev_check_init(&loop->turn, on_turn);
    ev_set_priority(&loop->turn, EV_MAXPRI); /* the time first: every other handler of the turn uses it */
    ev_check_start(loop->ev, &loop->turn);
    ev_prepare_init(&loop->laters_run, on_laters);
    ev_idle_init(&loop->laters_more, on_idle);
    ev_io_init(&loop->mail_io, on_mail, mail_fd, EV_READ);
    ev_io_start(loop->ev, &loop->mail_io);
    return loop;
}

gw_loop *gw_loop_new(void)
{
    return loop_new(NULL);
}

gw_loop *gw_loop_new_manual(double now)
{
    return loop_new(&now);
}

bool gw_loop_step(gw_loop *loop)
{
    loop->busy = false;
    ev_run(loop->ev, EVRUN_NOWAIT);
    return loop->busy || !gw_list_empty(&loop->laters);
}

void gw_loop_at(gw_loop *loop, double now)
{
    if (now > loop->now)
        loop->now = now;
    gw_loop_wheel_turn(loop);
    if (loop->now_tick >= loop->wake)
        gw_loop_wheel_expire(loop);
}

void gw_loop_free(gw_loop *loop)
{
    if (!loop)
        return;
    gw_offload_forget(loop);
    while (!gw_list_empty(&loop->laters))
        gw_list_remove(loop->laters.next);
    gw_loop_wheel_clear(loop);
    close(loop->mail_io.fd);
    ev_loop_destroy(loop->ev);
    free(loop);
}

void gw_loop_run(gw_loop *loop)
{
    ev_now_update(loop->ev);
    take_time(loop);
    gw_loop_wheel_turn(loop);
    ev_run(loop->ev, 0);
}

void gw_loop_stop(gw_loop *loop)
{
    ev_break(loop->ev, EVBREAK_ALL);
}

struct ev_loop *gw_loop_ev(gw_loop *loop)
{
    return loop->ev;
}
