#include "gateway/plugin_counters.h"
#include "gateway/upstream.h"
#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static gw_plugin *all;

/* A double that others read: whole on every machine this runs on, and no more is asked of it. */
static double load(const double *d)
{
    double out;
    __atomic_load(d, &out, __ATOMIC_RELAXED);
    return out;
}

static void store(double *d, double value)
{
    __atomic_store(d, &value, __ATOMIC_RELAXED);
}

gw_plugin *gw_plugin_open(gw_slice name, bool anonymous, uint32_t workers)
{
    uint32_t scope = gw_registry_scope();
    pthread_mutex_lock(&lock);
    gw_plugin *p = all;
    while (p && !(p->scope == scope && p->workers >= workers && gw_slice_equal(p->name, name)))
        p = p->next;
    if (!p) {
        size_t bytes = sizeof *p + workers * sizeof *p->cells;
        char *text = malloc(name.len + 1);
        p = text ? aligned_alloc(GW_CACHE_LINE, (bytes + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE) : NULL;
        if (p) {
            memset(p, 0, bytes);
            memcpy(text, name.ptr, name.len);
            p->name = gw_slice_of(text, name.len);
            p->anonymous = anonymous;
            p->scope = scope;
            p->workers = workers;
            for (uint32_t i = 0; i < workers; i++)
                p->cells[i].off_until = &p->off_until;
            atomic_init(&p->policy, &p->policies[0]);
            p->next = all;
            all = p;
        } else
            free(text);
    }
    if (p)
        p->uses++;
    pthread_mutex_unlock(&lock);
    return p;
}

void gw_plugin_release(gw_plugin *p)
{
    pthread_mutex_lock(&lock);
    if (--p->uses == 0) {
        gw_plugin **at = &all;
        while (*at != p)
            at = &(*at)->next;
        *at = p->next;
        free((char *)p->name.ptr);
        free((void *)p->when);
        free(p);
    }
    pthread_mutex_unlock(&lock);
}

void gw_plugin_apply(gw_plugin *p, const gw_plugin_policy *policy)
{
    const gw_plugin_policy *now = atomic_load_explicit(&p->policy, memory_order_relaxed);
    if (now->on_failure == policy->on_failure && now->failures == policy->failures && now->within == policy->within &&
        now->off_for == policy->off_for)
        return;
    if (policy->on_failure != GW_ON_FAILURE_NOTHING && !p->when)
        p->when = calloc(GW_PLUGIN_FAILURES_MOST, sizeof *p->when); /* without it the plugin stays on: better than no reload */
    gw_plugin_policy *next = now == &p->policies[0] ? &p->policies[1] : &p->policies[0];
    *next = *policy;
    if (!p->when || policy->failures == 0 || policy->failures > GW_PLUGIN_FAILURES_MOST)
        next->on_failure = GW_ON_FAILURE_NOTHING;
    if (next->on_failure == GW_ON_FAILURE_NOTHING)
        store(&p->off_until, 0);
    atomic_store_explicit(&p->policy, next, memory_order_release);
}

bool gw_plugin_failed(gw_plugin *p, uint32_t worker, bool runaway, int64_t now_ns)
{
    gw_plugin_cell *c = &p->cells[worker];
    double *count = runaway ? &c->runaways : &c->errors;
    store(count, *count + 1);
    const gw_plugin_policy *policy = atomic_load_explicit(&p->policy, memory_order_acquire);
    if (policy->on_failure == GW_ON_FAILURE_NOTHING)
        return false;
    /* The ring has room for more failures than any policy asks for: the one `failures - 1` places back is the first of the last `failures`. */
    uint32_t place = atomic_fetch_add_explicit(&p->failed, 1, memory_order_relaxed);
    atomic_store_explicit(&p->when[place % GW_PLUGIN_FAILURES_MOST], now_ns, memory_order_relaxed);
    int64_t first =
        atomic_load_explicit(&p->when[(place + 1 - policy->failures) % GW_PLUGIN_FAILURES_MOST], memory_order_relaxed);
    if ((policy->failures > 1 && place + 1 < policy->failures) || first == 0 || (double)(now_ns - first) > policy->within * 1e9)
        return false;
    double seconds = (double)now_ns / 1e9, was = load(&p->off_until), until = seconds + policy->off_for;
    if (was > seconds || !__atomic_compare_exchange(&p->off_until, &was, &until, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return false;
    atomic_fetch_add_explicit(&p->switched_off, 1, memory_order_relaxed);
    return true;
}

bool gw_plugin_is_off(gw_plugin *p, int64_t now_ns)
{
    double until = load(&p->off_until), zero = 0;
    if (until <= 0)
        return false;
    if ((double)now_ns / 1e9 < until)
        return true;
    if (__atomic_compare_exchange(&p->off_until, &until, &zero, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) && p->when)
        for (uint32_t i = 0; i < GW_PLUGIN_FAILURES_MOST; i++) /* it begins anew */
            atomic_store_explicit(&p->when[i], 0, memory_order_relaxed);
    return false;
}

/* What compiled Lua has written, without atomics that anybody could see: whole words all the same. */
__attribute__((no_sanitize("thread"))) static double load_from_lua(const double *d)
{
    return *(const volatile double *)d;
}

void gw_plugin_sum(const gw_plugin *p, int64_t now_ns, gw_plugin_counters *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < p->workers; i++) {
        const gw_plugin_cell *c = &p->cells[i];
        out->calls += load_from_lua(&c->calls);
        out->errors += load(&c->errors);
        out->runaways += load(&c->runaways);
        out->cpu += load(&c->cpu);
        out->skipped += load_from_lua(&c->skipped);
        out->refused += load_from_lua(&c->refused);
    }
    out->switched_off = atomic_load_explicit(&p->switched_off, memory_order_relaxed);
    out->off = load(&p->off_until) > (double)now_ns / 1e9;
}
