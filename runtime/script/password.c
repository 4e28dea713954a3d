/* Password hashes for scripts: checked beside the loop (net/offload.h), while the coroutine waits. See secure_api.h.
 *
 * Requests of one thread that ask the same at the same time share one check. */
#include "net/offload.h"
#include "script/api.h"
#include "script/wait.h"
#include "secure/digest.h"
#include <stdlib.h>

typedef struct password_job {
    gw_offload_job job;
    gw_list link;  /* in `asked`, while somebody waits */
    gw_list waits; /* of asker */
    bool over;
    int result;
    size_t hash_len, len;
    char hash[GW_PASSWORD_HASH_MOST], password[GW_PASSWORD_MOST];
} password_job;

typedef struct asker { /* what a gw_wait holds */
    gw_list link;
    password_job *job;
    gw_wait *wait;
} asker;

static _Thread_local gw_list asked;

static void give_back(password_job *p)
{
    explicit_bzero(p->password, sizeof p->password);
    free(p);
}

static void drop(gw_offload_job *job)
{
    give_back(gw_container_of(job, password_job, job));
}

static void work(gw_offload_job *job)
{
    password_job *p = gw_container_of(job, password_job, job);
    p->result = gw_password_check(p->hash, p->hash_len, p->password, p->len);
}

static void done(gw_offload_job *job)
{
    password_job *p = gw_container_of(job, password_job, job);
    p->over = true;
    for (gw_list *at = p->waits.next; at != &p->waits; at = at->next)
        gw_wait_over(gw_container_of(at, asker, link)->wait);
}

/* The last one takes the job with it. */
static void end_wait(gw_wait *w)
{
    asker *a = w->held;
    password_job *p = a->job;
    gw_list_remove(&a->link);
    free(a);
    if (!gw_list_empty(&p->waits))
        return;
    gw_list_remove(&p->link);
    if (p->over)
        give_back(p);
    else
        gw_offload_cancel(&p->job);
}

static password_job *same(const char *hash, size_t hash_len, const char *password, size_t len)
{
    for (gw_list *at = asked.next; at != &asked; at = at->next) {
        password_job *p = gw_container_of(at, password_job, link);
        if (!p->over && gw_equal_secret(p->hash, p->hash_len, hash, hash_len) &&
            gw_equal_secret(p->password, p->len, password, len))
            return p;
    }
    return NULL;
}

static password_job *begin(gw_loop *loop, const char *hash, size_t hash_len, const char *password, size_t len, int *status)
{
    *status = GW_NOMEM;
    password_job *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    gw_list_init(&p->waits);
    p->job = (gw_offload_job){.work = work, .done = done, .drop = drop};
    p->hash_len = hash_len;
    p->len = len;
    memcpy(p->hash, hash, hash_len);
    memcpy(p->password, password, len);
    *status = gw_offload_submit(loop, &p->job);
    if (*status < 0) {
        give_back(p);
        return NULL;
    }
    gw_list_push_back(&asked, &p->link);
    return p;
}

void *gw_lua_password(gw_lua_waits *waits, const char *hash, size_t hash_len, const char *password, size_t len)
{
    gw_state *s = waits->state;
    waits->status = GW_NOTFOUND;
    if (hash_len > GW_PASSWORD_HASH_MOST || len >= GW_PASSWORD_MOST)
        return NULL;
    gw_wait *w = gw_wait_new(s);
    if (!w)
        return NULL;
    if (!asked.next)
        gw_list_init(&asked);
    asker *a = calloc(1, sizeof *a);
    int status = GW_NOMEM;
    password_job *p = a ? same(hash, hash_len, password, len) : NULL;
    if (a && !p)
        p = begin(s->engine->loop, hash, hash_len, password, len, &status);
    if (!p) {
        free(a);
        gw_wait_end(w);
        waits->status = status == GW_LIMIT ? GW_LIMIT : GW_NOMEM;
        return NULL;
    }
    *a = (asker){.job = p, .wait = w};
    gw_list_push_back(&p->waits, &a->link);
    w->held = a;
    w->end = end_wait;
    return w;
}

int gw_lua_password_result(void *wait)
{
    const asker *a = ((const gw_wait *)wait)->held;
    return a->job->result;
}
