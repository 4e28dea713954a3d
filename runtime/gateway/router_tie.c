/* Ties: routes that stand equal in host, path, number of header conditions and in having a method or not, and that could take one
 * request: a method in common, and no header for which they ask for different values.
 *
 * To compare all pairs of a large group would be quadratic. Instead a group is split by the values of one header: routes that ask
 * for different values of it contradict each other, so only those with the same value, and those that ask for none, are
 * looked at further. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/router_parts.h"

typedef struct contender {
    const gw_candidate *route;
    gw_slice key; /* what the list is being split by: a method's name, or a header's value; {NULL,0}: asks for none */
} contender;

typedef struct tie {
    const gw_candidate *a, *b;
} tie;

/* The condition with a value for that name. */
static const gw_header_condition *exact_condition(const gw_candidate *c, gw_slice name)
{
    for (uint32_t i = 0; i < c->match->header_count; i++) {
        const gw_header_condition *h = &c->match->headers[i];
        if (h->value.ptr && gw_slice_equal_nocase(h->name, name))
            return h;
    }
    return NULL;
}

static bool contradict(const gw_candidate *a, const gw_candidate *b)
{
    for (uint32_t i = 0; i < a->match->header_count; i++) {
        const gw_header_condition *x = &a->match->headers[i];
        const gw_header_condition *y = x->value.ptr ? exact_condition(b, x->name) : NULL;
        if (y && !gw_slice_equal(x->value, y->value))
            return true;
    }
    return false;
}

static int compare_keys(const void *x, const void *y)
{
    const contender *a = x, *b = y;
    if (!a->key.ptr || !b->key.ptr)
        return a->key.ptr ? -1 : b->key.ptr ? 1 : 0;
    size_t least = a->key.len < b->key.len ? a->key.len : b->key.len;
    int c = least ? memcmp(a->key.ptr, b->key.ptr, least) : 0;
    return c ? c : a->key.len < b->key.len ? -1 : a->key.len > b->key.len;
}

/* Of the first one's conditions with a value, the name that most of the list give a value for; the names in `split` are done with. */
static const gw_slice *best_name(const contender *list, uint32_t n, const gw_slice *const *split, uint32_t splits)
{
    const gw_slice *best = NULL;
    uint32_t most = 0;
    for (uint32_t i = 0; i < list[0].route->match->header_count; i++) {
        const gw_header_condition *h = &list[0].route->match->headers[i];
        bool done = h->value.ptr == NULL;
        for (uint32_t k = 0; k < splits && !done; k++)
            done = gw_slice_equal_nocase(*split[k], h->name);
        if (done)
            continue;
        uint32_t count = 0;
        for (uint32_t k = 0; k < n; k++)
            count += exact_condition(list[k].route, h->name) != NULL;
        if (count > most) {
            most = count;
            best = &h->name;
        }
    }
    return best;
}

/* All of the list have a method in common, and equal values for the names in `split`. */
static bool find_in_list(contender *list, uint32_t n, const gw_slice **split, uint32_t splits, tie *found)
{
    while (n > 1) {
        const gw_slice *name = best_name(list, n, split, splits);
        if (name == NULL) { /* nothing in the first one contradicts anybody here */
            *found = (tie){list[0].route, list[1].route};
            return true;
        }
        for (uint32_t i = 0; i < n; i++) {
            const gw_header_condition *h = exact_condition(list[i].route, *name);
            list[i].key = h ? h->value : GW_NO_SLICE;
        }
        qsort(list, n, sizeof *list, compare_keys);
        uint32_t keyed = 0;
        while (keyed < n && list[keyed].key.ptr)
            keyed++;
        for (uint32_t i = keyed; i < n; i++)
            for (uint32_t k = 0; k < keyed; k++)
                if (!contradict(list[i].route, list[k].route)) {
                    *found = (tie){list[i].route, list[k].route};
                    return true;
                }
        split[splits] = name;
        for (uint32_t i = 0; i < keyed;) {
            uint32_t end = i + 1;
            while (end < keyed && compare_keys(&list[i], &list[end]) == 0)
                end++;
            if (find_in_list(list + i, end - i, split, splits + 1, found))
                return true;
            i = end;
        }
        list += keyed;
        n -= keyed;
    }
    return false;
}

static bool find_headers(contender *list, uint32_t n, tie *found)
{
    const gw_slice *split[GW_ROUTER_CONDITIONS_MAX + 1]; /* each split is by a condition of the routes that are left */
    return find_in_list(list, n, split, 0, found);
}

/* candidates[first, first + n) stand equal. `list` has room for each of their methods. */
static bool find_in_group(const gw_candidate *first, uint32_t n, contender *list, tie *found)
{
    uint32_t count = 0;
    if (first->any_method) {
        for (uint32_t i = 0; i < n; i++)
            list[count++] = (contender){.route = &first[i]};
        return find_headers(list, count, found);
    }
    for (uint32_t m = GW_METHOD_GET; m < GW_METHOD_OTHER; m++) {
        count = 0;
        for (uint32_t i = 0; i < n; i++)
            if (first[i].methods & GW_METHOD_BIT(m))
                list[count++] = (contender){.route = &first[i]};
        if (find_headers(list, count, found))
            return true;
    }
    count = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < first[i].match->other_method_count; k++)
            list[count++] = (contender){.route = &first[i], .key = first[i].match->other_methods[k]};
    qsort(list, count, sizeof *list, compare_keys);
    for (uint32_t i = 0; i < count;) {
        uint32_t end = i + 1, distinct = i + 1;
        for (; end < count && compare_keys(&list[i], &list[end]) == 0; end++)
            if (list[end].route != list[distinct - 1].route) /* a route may name a method twice */
                list[distinct++] = list[end];
        if (find_headers(list + i, distinct - i, found))
            return true;
        i = end;
    }
    return false;
}

static bool other_method_of(const gw_candidate *c, gw_slice name)
{
    for (uint32_t i = 0; i < c->match->other_method_count; i++)
        if (gw_slice_equal(c->match->other_methods[i], name))
            return true;
    return false;
}

static void describe(const tie *t, char *message, size_t message_bytes)
{
    const gw_candidate *later = t->a->added > t->b->added ? t->a : t->b, *earlier = later == t->a ? t->b : t->a;
    char methods[160];
    uint32_t common = later->methods & earlier->methods;
    if (common & GW_METHOD_BIT(GW_METHOD_GET))
        common &= ~GW_METHOD_BIT(GW_METHOD_HEAD); /* goes without saying */
    size_t len = 0;
    if (later->any_method) {
        len = (size_t)snprintf(methods, sizeof methods, "the same");
    } else if (common) {
        len = gw_allow_text(common, methods);
    } else {
        for (uint32_t i = 0; i < later->match->other_method_count && len == 0; i++) {
            gw_slice name = later->match->other_methods[i];
            if (other_method_of(earlier, name))
                len = (size_t)snprintf(methods, sizeof methods, "%.*s", (int)(name.len > 100 ? 100 : name.len), name.ptr);
        }
    }
    gw_slice p = later->match->pattern, q = earlier->match->pattern;
    gw_slice s = later->match->source, e = earlier->match->source;
    snprintf(message, message_bytes,
             "%.*s: route \"%.*s\" ties with \"%.*s\" (%.*s): both would take %.*s requests; add a method, a header or a longer "
             "path to one",
             (int)s.len, s.ptr ? s.ptr : "", (int)p.len, p.ptr, (int)q.len, q.ptr, (int)e.len, e.ptr ? e.ptr : "", (int)len,
             methods);
}

static bool stand_equal(const gw_candidate *a, const gw_candidate *b)
{
    return a->match->header_count == b->match->header_count && a->any_method == b->any_method &&
           gw_slice_equal(a->host, b->host) && gw_pattern_compare(a->pattern, b->pattern) == 0;
}

int gw_router_find_tie(const gw_router *r, char *message, size_t message_bytes)
{
    contender *list = NULL;
    size_t room = 0;
    int status = GW_OK;
    for (uint32_t i = 0; i < r->count && status == GW_OK;) {
        uint32_t end = i + 1;
        size_t needed = r->candidates[i].match->other_method_count;
        for (; end < r->count && stand_equal(&r->candidates[i], &r->candidates[end]); end++)
            needed += r->candidates[end].match->other_method_count;
        if (needed < end - i)
            needed = end - i;
        if (end - i > 1 && needed > room) {
            contender *more = realloc(list, needed * sizeof *list);
            if (more == NULL) {
                status = GW_NOMEM;
                break;
            }
            list = more;
            room = needed;
        }
        tie found;
        if (end - i > 1 && find_in_group(&r->candidates[i], end - i, list, &found)) {
            describe(&found, message, message_bytes);
            status = GW_INVALID;
        }
        i = end;
    }
    free(list);
    return status;
}
