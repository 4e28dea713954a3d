#include "process/changes.h"

#include <stdlib.h>

#define LINES_MOST 200

typedef struct gw_changes_sink {
    gw_lines *lines;
    uint32_t told, more;
} gw_changes_sink;

static void tell(gw_changes_sink *sink, char sign, const char *what, gw_slice name, gw_slice of)
{
    if (sink->told == LINES_MOST) {
        sink->more++;
        return;
    }
    sink->told++;
    if (of.len)
        gw_lines_add(sink->lines, "%c %s %.*s of upstream %.*s\n", sign, what, (int)name.len, name.ptr, (int)of.len, of.ptr);
    else
        gw_lines_add(sink->lines, "%c %s %.*s\n", sign, what, (int)name.len, name.ptr);
}

static int by_name(const void *a, const void *b)
{
    const gw_slice *x = a, *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* What only one of two lists has. Both are sorted here; a name may be there several times. */
static void compare(gw_changes_sink *sink, const char *what, gw_slice of, gw_slice *old, uint32_t olds, gw_slice *now,
                    uint32_t nows)
{
    if (olds)
        qsort(old, olds, sizeof *old, by_name);
    if (nows)
        qsort(now, nows, sizeof *now, by_name);
    for (uint32_t i = 0, k = 0; i < olds || k < nows;) {
        int order = i == olds ? 1 : k == nows ? -1 : by_name(&old[i], &now[k]);
        if (order < 0)
            tell(sink, '-', what, old[i++], of);
        else if (order > 0)
            tell(sink, '+', what, now[k++], of);
        else
            i++, k++;
    }
}

/* A list of names of each generation; NULL: memory is out, or there is none. */
static gw_slice *names(const gw_generation *g, uint32_t count, gw_slice (*name)(const gw_generation *g, uint32_t at))
{
    gw_slice *list = count ? malloc(count * sizeof *list) : NULL;
    for (uint32_t i = 0; list && i < count; i++)
        list[i] = name(g, i);
    return list;
}

static gw_slice route_name(const gw_generation *g, uint32_t at)
{
    return g->routes[at].name;
}

static gw_slice upstream_name(const gw_generation *g, uint32_t at)
{
    return g->upstreams[at]->name;
}

static gw_slice listener_name(const gw_generation *g, uint32_t at)
{
    return g->listens[at].text;
}

static void compare_lists(gw_changes_sink *sink, const char *what, const gw_generation *before, uint32_t olds,
                          const gw_generation *g, uint32_t nows, gw_slice (*name)(const gw_generation *g, uint32_t at))
{
    gw_slice *old = names(before, olds, name), *now = names(g, nows, name);
    if ((old || !olds) && (now || !nows))
        compare(sink, what, (gw_slice){0}, old, olds, now, nows);
    free(old);
    free(now);
}

static gw_slice *endpoints(const gw_endpoint_set *set)
{
    gw_slice *list = set->count ? malloc(set->count * sizeof *list) : NULL;
    for (uint32_t i = 0; list && i < set->count; i++)
        list[i] = set->slot[i].endpoint->text;
    return list;
}

static void compare_endpoints(gw_changes_sink *sink, const gw_upstream *before, const gw_upstream *u)
{
    const gw_endpoint_set *a = atomic_load_explicit(&before->set, memory_order_acquire);
    const gw_endpoint_set *b = atomic_load_explicit(&u->set, memory_order_acquire);
    gw_slice *old = endpoints(a), *now = endpoints(b);
    if ((old || !a->count) && (now || !b->count))
        compare(sink, "endpoint", u->name, old, a->count, now, b->count);
    free(old);
    free(now);
}

static int by_upstream(const void *a, const void *b)
{
    gw_upstream *const *x = a, *const *y = b;
    return by_name(&(*x)->name, &(*y)->name);
}

static gw_upstream **sorted(const gw_generation *g)
{
    gw_upstream **list = g->upstream_count ? malloc(g->upstream_count * sizeof *list) : NULL;
    if (!list)
        return NULL;
    memcpy(list, g->upstreams, g->upstream_count * sizeof *list);
    qsort(list, g->upstream_count, sizeof *list, by_upstream);
    return list;
}

/* The upstreams that both have: names are unique in each. */
static void compare_upstreams(gw_changes_sink *sink, const gw_generation *before, const gw_generation *g)
{
    gw_upstream **old = sorted(before), **now = sorted(g);
    for (uint32_t i = 0, k = 0; old && now && i < before->upstream_count && k < g->upstream_count;) {
        int order = by_upstream(&old[i], &now[k]);
        if (order == 0)
            compare_endpoints(sink, old[i], now[k]);
        i += order <= 0;
        k += order >= 0;
    }
    free(old);
    free(now);
}

void gw_changes(const gw_generation *before, const gw_generation *g, gw_lines *lines)
{
    gw_changes_sink sink = {.lines = lines};
    compare_lists(&sink, "listener", before, before->listen_count, g, g->listen_count, listener_name);
    compare_lists(&sink, "route", before, before->route_count, g, g->route_count, route_name);
    compare_lists(&sink, "upstream", before, before->upstream_count, g, g->upstream_count, upstream_name);
    compare_upstreams(&sink, before, g);
    if (sink.more)
        gw_lines_add(lines, "... and %u more\n", sink.more);
}
