/* Endpoints that are names: looked up again and again while their generation is current. A changed answer makes a new endpoint set,
 * which replaces the old one with one store; a lookup that fails leaves the addresses as they are. */
#include "process/supervisor.h"

#include <stdlib.h>

typedef struct gw_named {
    gw_names *all;
    gw_upstream *upstream;
    const gw_upstream_name *name;
    gw_timeout next;
    gw_address *addresses; /* the last good answer */
    uint32_t count;
    bool known;   /* there was one */
    bool failing; /* said so already */
} gw_named;

struct gw_names {
    gw_supervisor *supervisor;
    uint32_t under_way; /* lookups; they cannot be called back, so the memory waits for them */
    bool stopped;
    uint32_t count;
    gw_named named[]; /* those of one upstream stand together */
};

/* A set that was replaced: freed when no worker can be reading it. */
typedef struct gw_old_set {
    gw_release release;
    gw_endpoint_set *set;
} gw_old_set;

static void look_up(gw_named *n);

static void free_names(gw_names *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        free(names->named[i].addresses);
    free(names);
}

static void on_due(gw_timeout *t)
{
    look_up(gw_container_of(t, gw_named, next));
}

static void log_name(gw_named *n, enum gw_log_level level, const char *message, const char *error)
{
    char bytes[1024];
    gw_text text = gw_text_on(bytes, sizeof bytes);
    gw_text_lit(&text, "\"upstream\":");
    gw_text_json(&text, n->upstream->name);
    gw_text_lit(&text, ",\"name\":");
    gw_text_json(&text, gw_slice_str(n->name->name));
    if (error) {
        gw_text_lit(&text, ",\"error\":");
        gw_text_json(&text, gw_slice_str(error));
    } else {
        gw_text_printf(&text, ",\"addresses\":%u", n->count);
    }
    gw_slice fields = gw_text_done(&text);
    gw_log_event(n->all->supervisor->ring, level, message, "%.*s", (int)fields.len, fields.ptr);
}

static void nobody_reads(gw_supervisor *s, void *data)
{
    gw_release_soon(s, &((gw_old_set *)data)->release);
}

static void visit_nothing(gw_worker *w, void *data)
{
    (void)w, (void)data; /* that the worker came by is all */
}

static void free_old_set(gw_supervisor *s, gw_release *r)
{
    gw_old_set *old = gw_container_of(r, gw_old_set, release);
    gw_endpoint_set_free(old->set, gw_release_orphan, s);
    free(old);
}

static bool same(const gw_endpoint_set *a, const gw_endpoint_set *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (a->slot[i].endpoint != b->slot[i].endpoint || a->slot[i].weight != b->slot[i].weight ||
            a->slot[i].group != b->slot[i].group)
            return false;
    return true;
}

/* The upstream's set from its fixed endpoints and the last answers. 0 also when nothing changed by it. */
static int renew(gw_names *names, gw_upstream *u)
{
    gw_supervisor *s = names->supervisor;
    uint32_t total = u->fixed_count, at = 0;
    for (uint32_t i = 0; i < names->count; i++) {
        if (names->named[i].upstream == u)
            total += names->named[i].count;
    }
    gw_address *addresses = calloc(total, sizeof *addresses);
    uint32_t *weights = calloc(total, sizeof *weights);
    uint32_t *groups = calloc(total, sizeof *groups);
    gw_old_set *old = calloc(1, sizeof *old);
    gw_round *round = gw_round_new(s, visit_nothing, nobody_reads, old);
    gw_endpoint_set *set = NULL;
    if (!addresses || !weights || !groups || !old || !round)
        goto end;
    for (uint32_t i = 0; i < u->fixed_count; i++, at++) {
        addresses[at] = u->fixed[i];
        weights[at] = u->fixed_weight ? u->fixed_weight[i] : 1;
        groups[at] = u->fixed_group ? u->fixed_group[i] : 0;
    }
    for (uint32_t i = 0; i < names->count; i++) {
        const gw_named *n = &names->named[i];
        for (uint32_t j = 0; n->upstream == u && j < n->count; j++, at++) {
            addresses[at] = n->addresses[j];
            weights[at] = n->name->weight;
            groups[at] = n->name->group;
        }
    }
    set = gw_endpoint_set_new(u, addresses, weights, groups, total);
    if (!set)
        goto end;
    if (same(set, atomic_load_explicit(&u->set, memory_order_relaxed))) {
        gw_endpoint_set_free(set, gw_release_orphan, s); /* the present set keeps every endpoint alive */
    } else {
        old->release.run = free_old_set;
        old->set = gw_upstream_swap(u, set);
        if (s->live && s->live->names == names) /* else it is followed when its generation becomes current */
            gw_prober_follow(s->prober, s->live->g);
        gw_round_start(round);
        old = NULL, round = NULL;
    }
end:
    free(addresses);
    free(weights);
    free(groups);
    free(old);
    gw_round_discard(round);
    return set ? GW_OK : GW_NOMEM;
}

static bool take_answer(gw_named *n, const gw_address *addresses, size_t count)
{
    gw_address *kept = malloc(count * sizeof *kept);
    if (!kept)
        return false;
    memcpy(kept, addresses, count * sizeof *kept);
    free(n->addresses);
    n->addresses = kept;
    n->count = (uint32_t)count;
    n->known = true;
    return true;
}

static bool same_answer(const gw_named *n, const gw_address *addresses, size_t count)
{
    if (!n->known || n->count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!gw_address_equal(&n->addresses[i], &addresses[i]))
            return false;
    return true;
}

static void on_answer(void *data, int status, const char *message, const gw_address *addresses, size_t count)
{
    gw_named *n = data;
    gw_names *names = n->all;
    names->under_way--;
    if (names->stopped) {
        if (names->under_way == 0)
            free_names(names);
        return;
    }
    if (status < 0 || count == 0) {
        if (!n->failing)
            log_name(n, GW_LOG_WARN, "a name could not be looked up: its addresses are kept",
                     message ? message : gw_status_text(status));
        n->failing = true;
    } else {
        if (n->failing)
            log_name(n, GW_LOG_INFO, "a name can be looked up again", NULL);
        n->failing = false;
        if (!same_answer(n, addresses, count)) {
            bool changed = n->known;
            if (!take_answer(n, addresses, count) || renew(names, n->upstream) < 0) {
                n->known = false; /* so that the same answer is taken up the next time */
                log_name(n, GW_LOG_ERROR, "a name's new addresses could not be taken up", "memory is out");
            } else if (changed) {
                log_name(n, GW_LOG_INFO, "a name has other addresses", NULL);
            }
        }
    }
    gw_timeout_arm(names->supervisor->loop, &n->next, n->name->every); /* 0: once was enough */
}

static void look_up(gw_named *n)
{
    n->all->under_way++;
    gw_resolve(n->all->supervisor->resolver, n->name->name, n->name->port, on_answer, n);
}

/* The same name of the same upstream in the generation that serves now; NULL: none, or it was never found there either. */
static const gw_named *known_before(const gw_names *before, const gw_named *n)
{
    for (uint32_t i = 0; before && i < before->count; i++) {
        const gw_named *b = &before->named[i];
        if (b->known && b->name->port == n->name->port && strcmp(b->name->name, n->name->name) == 0 &&
            gw_slice_equal(b->upstream->name, n->upstream->name))
            return b;
    }
    return NULL;
}

/* A name that could not be looked up while this generation was loaded goes on with the addresses it has. */
static int inherit(gw_names *names, const gw_names *before)
{
    for (uint32_t i = 0; i < names->count; i++) {
        gw_named *n = &names->named[i];
        const gw_named *b = n->known ? NULL : known_before(before, n);
        n->failing = !n->known; /* the load has said so */
        if (b && (!take_answer(n, b->addresses, b->count) || renew(names, n->upstream) < 0))
            return GW_NOMEM;
    }
    return GW_OK;
}

int gw_names_new(gw_supervisor *s, gw_generation *g, gw_names **out)
{
    *out = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->upstream_count; i++) {
        const gw_upstream *u = g->upstreams[i];
        bool again = false;
        for (uint32_t j = 0; j < u->name_count; j++)
            again = again || u->names[j].every > 0;
        if (again)
            count += u->name_count;
    }
    if (count == 0)
        return GW_OK;
    gw_names *names = calloc(1, sizeof *names + count * sizeof names->named[0]);
    if (!names)
        return GW_NOMEM;
    names->supervisor = s;
    for (uint32_t i = 0; i < g->upstream_count; i++) {
        gw_upstream *u = g->upstreams[i];
        bool again = false;
        for (uint32_t j = 0; j < u->name_count; j++)
            again = again || u->names[j].every > 0;
        for (uint32_t j = 0; again && j < u->name_count; j++) {
            gw_named *n = &names->named[names->count++];
            n->all = names;
            n->upstream = u;
            n->name = &u->names[j];
            gw_timeout_init(&n->next, on_due);
            if (n->name->found_count && !take_answer(n, n->name->found, n->name->found_count)) {
                free_names(names);
                return GW_NOMEM;
            }
        }
    }
    if (inherit(names, s->live ? s->live->names : NULL) < 0) {
        free_names(names);
        return GW_NOMEM;
    }
    *out = names;
    return GW_OK;
}

void gw_names_start(gw_names *names)
{
    if (!names)
        return;
    for (uint32_t i = 0; i < names->count; i++) {
        gw_named *n = &names->named[i];
        if (n->known && !n->failing)
            gw_timeout_arm(names->supervisor->loop, &n->next, n->name->every);
        else
            look_up(n);
    }
}

void gw_names_stop(gw_names *names)
{
    if (!names)
        return;
    names->stopped = true;
    for (uint32_t i = 0; i < names->count; i++)
        gw_timeout_disarm(&names->named[i].next);
    if (names->under_way == 0)
        free_names(names);
}
