#include "gateway/roster.h"
#include "base/hash.h"
#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(sizeof(gw_active) == sizeof(uint64_t), "active.h's record goes through one word");

gw_roster *gw_roster_new(void)
{
    gw_roster *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    gw_random random;
    gw_random_seed(&random);
    gw_balancer_state_init(&r->balance, gw_random_next(&random));
    pthread_mutex_init(&r->lock, NULL); /* cannot fail with default attributes */
    gw_list_init(&r->entries);
    return r;
}

void gw_roster_free(gw_roster *r)
{
    if (!r)
        return;
    while (!gw_list_empty(&r->entries)) {
        gw_roster_entry *e = gw_container_of(r->entries.next, gw_roster_entry, link);
        gw_list_remove(&e->link);
        free(e);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static gw_roster_entry *find(gw_roster *r, gw_slice name)
{
    for (gw_list *at = r->entries.next; at != &r->entries; at = at->next) {
        gw_roster_entry *e = gw_container_of(at, gw_roster_entry, link);
        if (gw_slice_equal(e->name, name))
            return e;
    }
    return NULL;
}

static gw_roster_entry *make(gw_roster *r, gw_slice name)
{
    size_t bytes = (sizeof(gw_roster_entry) + name.len + GW_CACHE_LINE) / GW_CACHE_LINE * GW_CACHE_LINE;
    gw_roster_entry *e = aligned_alloc(GW_CACHE_LINE, bytes);
    if (!e)
        return NULL;
    memset(e, 0, bytes);
    char *text = (char *)(e + 1);
    if (name.len)
        memcpy(text, name.ptr, name.len);
    e->name = gw_slice_of(text, name.len);
    gw_list_push_back(&r->entries, &e->link);
    return e;
}

gw_roster_entry *gw_roster_take(gw_roster *r, gw_slice name)
{
    pthread_mutex_lock(&r->lock);
    gw_roster_entry *e = find(r, name);
    if (!e)
        e = make(r, name);
    if (e)
        e->references++;
    pthread_mutex_unlock(&r->lock);
    return e;
}

void gw_roster_give(gw_roster *r, gw_roster_entry *e)
{
    pthread_mutex_lock(&r->lock);
    if (--e->references == 0) {
        gw_list_remove(&e->link);
        free(e);
    }
    pthread_mutex_unlock(&r->lock);
}
