#define _GNU_SOURCE /* pthread_timedjoin_np */
#include "process/remaking.h"

#include "net/signals.h"
#include "process/supervisor.h"
#include "script/remake.h"
#include <time.h>

static void begin(gw_supervisor *s);

/* ---- the worker's side ---- */

static void on_home(gw_mail *mail, void *owner)
{
    (void)owner;
    gw_remake_back(gw_container_of(mail, gw_remake, mail));
}

/* ---- the control thread's ---- */

static void go_home(gw_worker *w)
{
    w->remake.mail.run = on_home;
    gw_loop_post(w->loop, &w->remake.mail);
}

static void on_made(gw_mail *mail, void *owner)
{
    (void)mail;
    gw_supervisor *s = owner;
    gw_remaking *m = &s->remaking;
    pthread_join(m->thread, NULL);
    m->busy = false;
    go_home(m->at_work);
    m->at_work = NULL;
    begin(s);
}

static void *run(void *data)
{
    gw_supervisor *s = data;
    gw_signals_block_all();
    gw_remake_run(&s->remaking.at_work->remake);
    gw_loop_post(s->loop, &s->remaking.made);
    return NULL;
}

static void begin(gw_supervisor *s)
{
    gw_remaking *m = &s->remaking;
    while (!m->busy && m->first) {
        gw_worker *w = m->first;
        m->first = w->next_remake;
        m->at_work = w;
        m->busy = true;
        if (pthread_create(&m->thread, NULL, run, s) == 0)
            return;
        m->busy = false; /* it comes home with nothing, and is asked for again */
        m->at_work = NULL;
        go_home(w);
    }
}

static void on_asked(gw_mail *mail, void *owner)
{
    gw_supervisor *s = owner;
    gw_worker *w = gw_container_of(gw_container_of(mail, gw_remake, mail), gw_worker, remake);
    gw_worker **last = &s->remaking.first;
    while (*last)
        last = &(*last)->next_remake;
    w->next_remake = NULL;
    *last = w;
    begin(s);
}

static void ask(gw_remake *r)
{
    gw_worker *w = gw_container_of(r, gw_worker, remake);
    r->mail.run = on_asked;
    gw_loop_post(w->supervisor->loop, &r->mail);
}

void gw_remaking_init(gw_supervisor *s)
{
    s->remaking.made.run = on_made;
}

void gw_remaking_serve(gw_worker *w)
{
    w->remake.ask = ask;
    w->engine.remake = &w->remake;
}

bool gw_remaking_clear(gw_supervisor *s)
{
    gw_remaking *m = &s->remaking;
    if (!m->busy)
        return true;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    if (pthread_timedjoin_np(m->thread, NULL, &until) != 0)
        return false;
    m->busy = false;
    return true;
}
