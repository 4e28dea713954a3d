#include "net/offload.h"
#include "net/signals.h"
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

enum { QUEUED, RUNNING, POSTED };

static struct {
    pthread_mutex_t lock; /* of all that follows, and of every job's link, state and cancelled */
    pthread_cond_t queued_some;
    gw_list queued, running, posted;
    uint32_t waiting, threads, idle;
    bool ready;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .queued_some = PTHREAD_COND_INITIALIZER};

static void make_ready(void)
{
    if (pool.ready)
        return;
    gw_list_init(&pool.queued);
    gw_list_init(&pool.running);
    gw_list_init(&pool.posted);
    pool.ready = true;
}

static void move(gw_offload_job *job, gw_list *list, uint8_t state)
{
    gw_list_remove(&job->link);
    gw_list_push_back(list, &job->link);
    job->state = state;
}

/* On the loop's thread. */
static void on_mail(gw_mail *mail, void *owner)
{
    (void)owner;
    gw_offload_job *job = gw_container_of(mail, gw_offload_job, mail);
    pthread_mutex_lock(&pool.lock);
    gw_list_remove(&job->link);
    bool cancelled = job->cancelled;
    pthread_mutex_unlock(&pool.lock);
    if (cancelled)
        job->drop(job);
    else
        job->done(job);
}

static void *serve(void *unused)
{
    (void)unused;
    gw_signals_block_all();
    setpriority(PRIO_PROCESS, (id_t)gettid(),
                10); /* requests that can be answered at once go first; where it fails it does without */
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (gw_list_empty(&pool.queued)) {
            pool.idle++;
            pthread_cond_wait(&pool.queued_some, &pool.lock);
            pool.idle--;
        }
        gw_offload_job *job = gw_container_of(pool.queued.next, gw_offload_job, link);
        pool.waiting--;
        move(job, &pool.running, RUNNING);
        pthread_mutex_unlock(&pool.lock);
        job->work(job);
        pthread_mutex_lock(&pool.lock);
        if (job->cancelled) { /* perhaps because its loop is gone */
            gw_list_remove(&job->link);
            pthread_mutex_unlock(&pool.lock);
            job->drop(job);
            pthread_mutex_lock(&pool.lock);
            continue;
        }
        move(job, &pool.posted, POSTED);
        gw_loop_post(job->loop, &job->mail); /* under the lock: the loop cannot go away meanwhile */
    }
    return NULL;
}

static uint32_t threads_most(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores >= 2 * GW_OFFLOAD_THREADS_MOST ? GW_OFFLOAD_THREADS_MOST : cores >= 4 ? (uint32_t)cores / 2 : 1;
}

/* One more thread when nobody is free. False: there is none at all. */
static bool staff(void)
{
    if (pool.idle > pool.waiting || pool.threads >= threads_most())
        return true;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return pool.threads > 0;
    pthread_t thread;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, serve, NULL) == 0)
        pool.threads++;
    pthread_attr_destroy(&attributes);
    return pool.threads > 0;
}

int gw_offload_submit(gw_loop *loop, gw_offload_job *job)
{
    job->loop = loop;
    job->mail.run = on_mail;
    job->cancelled = false;
    gw_list_init(&job->link);
    if (loop->manual)
        job->work(job);
    int status = GW_OK;
    pthread_mutex_lock(&pool.lock);
    make_ready();
    if (loop->manual) {
        move(job, &pool.posted, POSTED);
        gw_loop_post(loop, &job->mail);
    } else if (pool.waiting >= GW_OFFLOAD_QUEUED_MOST) {
        status = GW_LIMIT;
    } else if (!staff()) {
        status = GW_NOMEM;
    } else {
        pool.waiting++;
        move(job, &pool.queued, QUEUED);
        pthread_cond_signal(&pool.queued_some);
    }
    pthread_mutex_unlock(&pool.lock);
    return status;
}

void gw_offload_cancel(gw_offload_job *job)
{
    pthread_mutex_lock(&pool.lock);
    bool queued = job->state == QUEUED;
    if (queued) {
        gw_list_remove(&job->link);
        pool.waiting--;
    } else
        job->cancelled = true;
    pthread_mutex_unlock(&pool.lock);
    if (queued)
        job->drop(job);
}

/* Those of the loop, from a list into `out`. */
static uint32_t take(gw_list *list, gw_loop *loop, gw_list *out)
{
    uint32_t count = 0;
    for (gw_list *at = list->next, *next; at != list; at = next) {
        next = at->next;
        gw_offload_job *job = gw_container_of(at, gw_offload_job, link);
        if (job->loop != loop)
            continue;
        gw_list_remove(at);
        gw_list_push_back(out, at);
        count++;
    }
    return count;
}

void gw_offload_forget(gw_loop *loop)
{
    gw_list dropped;
    gw_list_init(&dropped);
    pthread_mutex_lock(&pool.lock);
    if (pool.ready) {
        pool.waiting -= take(&pool.queued, loop, &dropped);
        take(&pool.posted, loop, &dropped); /* the loop takes no mail any more */
        for (gw_list *at = pool.running.next; at != &pool.running; at = at->next) {
            gw_offload_job *job = gw_container_of(at, gw_offload_job, link);
            if (job->loop == loop)
                job->cancelled = true;
        }
    }
    pthread_mutex_unlock(&pool.lock);
    while (!gw_list_empty(&dropped)) {
        gw_offload_job *job = gw_container_of(dropped.next, gw_offload_job, link);
        gw_list_remove(&job->link);
        job->drop(job);
    }
}
