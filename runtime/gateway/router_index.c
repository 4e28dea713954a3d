/* Indexes of long runs: many routes at one path that differ by the value of a header (a tenant, a version), found by that value
 * instead of one after the other. */
#include <stdlib.h>

#include "gateway/router_parts.h"

typedef struct entry {
    gw_slice name, value;
    uint32_t rank;
} entry;

static int compare_bytes(gw_slice a, gw_slice b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    int c = least ? memcmp(a.ptr, b.ptr, least) : 0;
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

static int compare_names(gw_slice a, gw_slice b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < least; i++) {
        unsigned char x = (unsigned char)a.ptr[i], y = (unsigned char)b.ptr[i];
        x = x >= 'A' && x <= 'Z' ? x | 0x20 : x;
        y = y >= 'A' && y <= 'Z' ? y | 0x20 : y;
        if (x != y)
            return x < y ? -1 : 1;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

static int compare_entries(const void *x, const void *y)
{
    const entry *a = x, *b = y;
    int c = compare_names(a->name, b->name);
    if (c == 0)
        c = compare_bytes(a->value, b->value);
    return c ? c : a->rank < b->rank ? -1 : a->rank > b->rank;
}

/* Fills the index from list[0, n): the entries of one name, by value, then rank. */
static int fill(gw_run_index *x, const gw_candidate *run, uint32_t first, const entry *list, uint32_t n)
{
    uint32_t size = 4;
    while (size < 2 * n)
        size *= 2;
    x->name = list[0].name;
    x->mask = size - 1;
    x->buckets = calloc(size, sizeof *x->buckets);
    x->picks = malloc(run->run_count * sizeof *x->picks);
    bool *picked = calloc(run->run_count, sizeof *picked);
    if (!x->buckets || !x->picks || !picked) {
        free(picked);
        return GW_NOMEM; /* gw_router_free finds the rest */
    }
    gw_bucket *bucket = NULL;
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || compare_bytes(list[i].value, list[i - 1].value) != 0) {
            uint32_t slot = (uint32_t)gw_router_hash(list[i].value.ptr, list[i].value.len, 0) & x->mask;
            while (x->buckets[slot].value.ptr)
                slot = (slot + 1) & x->mask;
            bucket = &x->buckets[slot];
            *bucket = (gw_bucket){list[i].value, i, 0};
        }
        bucket->count++;
        x->picks[i] = list[i].rank;
        picked[list[i].rank - first] = true;
    }
    x->rest_first = n;
    for (uint32_t i = 0; i < run->run_count; i++)
        if (!picked[i])
            x->picks[n + x->rest_count++] = first + i;
    free(picked);
    return GW_OK;
}

static int index_run(gw_router *r, uint32_t first)
{
    gw_candidate *run = &r->candidates[first];
    size_t count = 0;
    for (uint32_t i = first; i < first + run->run_count; i++)
        count += r->candidates[i].match->header_count;
    entry *list = malloc((count + 1) * sizeof *list);
    if (list == NULL)
        return GW_NOMEM;
    uint32_t n = 0;
    for (uint32_t i = first; i < first + run->run_count; i++) {
        const gw_match *m = r->candidates[i].match;
        for (uint32_t k = 0; k < m->header_count; k++)
            if (m->headers[k].value.ptr)
                list[n++] = (entry){m->headers[k].name, m->headers[k].value, i};
    }
    qsort(list, n, sizeof *list, compare_entries);
    uint32_t best = 0, most = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t end = i + 1;
        while (end < n && compare_names(list[i].name, list[end].name) == 0)
            end++;
        if (end - i > most) {
            most = end - i;
            best = i;
        }
        i = end;
    }
    int status = GW_OK;
    if (most >= GW_ROUTER_INDEX_FROM) {
        run->index = r->index_count++;
        status = fill(&r->indexes[run->index], run, first, list + best, most);
    }
    free(list);
    return status;
}

int gw_router_index_runs(gw_router *r)
{
    uint32_t longs = 0;
    for (uint32_t i = 0; i < r->count; i += r->candidates[i].run_count)
        longs += r->candidates[i].run_count >= GW_ROUTER_INDEX_FROM;
    if (longs == 0)
        return GW_OK;
    r->indexes = calloc(longs, sizeof *r->indexes);
    if (r->indexes == NULL)
        return GW_NOMEM;
    for (uint32_t i = 0; i < r->count; i += r->candidates[i].run_count) {
        int status = r->candidates[i].run_count >= GW_ROUTER_INDEX_FROM ? index_run(r, i) : GW_OK;
        if (status != GW_OK)
            return status;
    }
    return GW_OK;
}
