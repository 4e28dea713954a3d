#include "gateway/router_parts.h"

/* A request while its route is looked for. Segments are cut and hashed once, when the first node of that depth asks. */
typedef struct search {
    const gw_router *r;
    const char *path; /* behind its first '/' */
    size_t len;       /* likewise */
    enum gw_method method;
    gw_slice method_name;
    const gw_headers *headers;
    uint32_t best;  /* rank of the best match so far; GW_NONE */
    uint32_t allow; /* methods of those that match in all else, while there is no match */
    bool method_only;
    gw_found *found; /* gets the uncommon ones of those methods */
    uint32_t cut;    /* segments cut so far */
    struct {
        size_t end; /* offset behind it */
        uint64_t hash;
    } segments[GW_PATTERN_SEGMENTS];
} search;

static bool conditions_hold(const gw_match *m, const gw_headers *headers)
{
    for (uint32_t i = 0; i < m->header_count; i++) {
        const gw_header_condition *c = &m->headers[i];
        uint32_t k = 0;
        while (k < headers->count && !(gw_slice_equal_nocase(headers->item[k].name, c->name) &&
                                       (c->value.ptr == NULL || gw_slice_equal(headers->item[k].value, c->value))))
            k++;
        if (k == headers->count)
            return false;
    }
    return true;
}

static bool method_fits(const search *s, const gw_candidate *c)
{
    if (c->any_method)
        return true;
    if (s->method != GW_METHOD_OTHER)
        return c->methods >> s->method & 1;
    for (uint32_t i = 0; i < c->match->other_method_count; i++)
        if (gw_slice_equal(c->match->other_methods[i], s->method_name))
            return true;
    return false;
}

static void allow_others(gw_found *found, const gw_match *m)
{
    for (uint32_t i = 0; i < m->other_method_count; i++) {
        uint32_t k = 0;
        while (k < found->other_count && !gw_slice_equal(found->others[k], m->other_methods[i]))
            k++;
        if (k == found->other_count && k < GW_ALLOW_OTHERS)
            found->others[found->other_count++] = m->other_methods[i];
    }
}

/* True when this one matches (and no later one of its run needs a look). `proven`: how many of its header conditions are known to
 * hold. */
static bool judge(search *s, uint32_t rank, uint32_t proven)
{
    const gw_candidate *c = &s->r->candidates[rank];
    bool fits = method_fits(s, c);
    /* Once there is a match, nobody asks any more which methods others would take. */
    if (!fits && s->best != GW_NONE)
        return false;
    if (c->header_count > proven && !conditions_hold(c->match, s->headers))
        return false;
    if (fits) {
        s->best = rank;
        return true;
    }
    s->method_only = true;
    s->allow |= c->methods;
    if (gw_unlikely(c->match->other_method_count))
        allow_others(s->found, c->match);
    return false;
}

static void judge_picks(search *s, const uint32_t *picks, uint32_t count, uint32_t proven)
{
    for (uint32_t i = 0; i < count && picks[i] < s->best; i++)
        if (judge(s, picks[i], proven))
            return;
}

/* A run with an index: the routes that ask for a value that is there, and those that ask for none. */
static void judge_indexed(search *s, const gw_run_index *index)
{
    const gw_headers *h = s->headers;
    for (uint32_t i = 0; i < h->count; i++) {
        if (!gw_slice_equal_nocase(h->item[i].name, index->name))
            continue;
        gw_slice value = h->item[i].value;
        uint32_t slot = (uint32_t)gw_router_hash(value.ptr, value.len, 0) & index->mask;
        for (; index->buckets[slot].value.ptr; slot = (slot + 1) & index->mask) {
            const gw_bucket *b = &index->buckets[slot];
            if (gw_slice_equal(b->value, value)) {
                judge_picks(s, index->picks + b->first, b->count, 1);
                break;
            }
        }
    }
    judge_picks(s, index->picks + index->rest_first, index->rest_count, 0);
}

static void judge_run(search *s, uint32_t first)
{
    if (first >= s->best)
        return;
    const gw_candidate *run = &s->r->candidates[first];
    if (run->index != GW_NONE) {
        judge_indexed(s, &s->r->indexes[run->index]);
        return;
    }
    for (uint32_t i = first; i < first + run->run_count && i < s->best; i++)
        if (judge(s, i, 0))
            return;
}

/* The loose runs that `segment` begins with: the greatest text that is not above the segment, then the texts that this one begins
 * with; every text that the segment begins with is among them. */
static void judge_loose(search *s, const gw_node *n, gw_slice segment)
{
    const gw_loose *loose = s->r->loose;
    uint32_t low = n->loose_first, high = n->loose_first + n->loose_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        gw_slice text = loose[middle].text;
        size_t least = text.len < segment.len ? text.len : segment.len;
        int c = memcmp(text.ptr, segment.ptr, least);
        if (c < 0 || (c == 0 && text.len <= segment.len))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == n->loose_first)
        return;
    for (uint32_t i = low - 1; i != GW_NONE; i = loose[i].shorter)
        if (loose[i].text.len <= segment.len && memcmp(loose[i].text.ptr, segment.ptr, loose[i].text.len) == 0)
            judge_run(s, loose[i].run);
}

/* Offset of the end of the segment that begins at offset `at`. */
static inline size_t segment_end(const search *s, size_t at)
{
    const char *slash = memchr(s->path + at, '/', s->len - at);
    return slash ? (size_t)(slash - s->path) : s->len;
}

static void cut_segment(search *s, uint32_t depth, size_t at)
{
    size_t end = segment_end(s, at);
    s->segments[depth].end = end;
    s->segments[depth].hash = gw_router_hash(s->path + at, end - at, 0);
    s->cut = depth + 1;
}

static inline bool node_is(const gw_node *n, gw_slice segment)
{
    return n->text_len == segment.len && (segment.len == 0 || memcmp(gw_node_text(n), segment.ptr, segment.len) == 0);
}

static uint32_t find_child(const search *s, uint32_t node, uint32_t depth, gw_slice segment)
{
    const gw_router *r = s->r;
    uint32_t only = r->nodes[node].only;
    if (only != GW_NONE)
        return node_is(&r->nodes[only], segment) ? only : GW_NONE;
    uint64_t hash = gw_router_edge_hash(node, s->segments[depth].hash);
    uint32_t tag = (uint32_t)(hash >> 32);
    for (uint32_t i = (uint32_t)hash & r->edges.mask;; i = (i + 1) & r->edges.mask) {
        gw_slot slot = r->edges.slots[i];
        if (slot.value == GW_NONE)
            return GW_NONE;
        if (slot.tag == tag && r->nodes[slot.value].parent == node && node_is(&r->nodes[slot.value], segment))
            return slot.value;
    }
}

/* At offset `at` begins the segment of this depth; s->len + 1: the path ended with the segment before. Depth is bounded by
 * GW_PATTERN_SEGMENTS, as nodes of the last depth have no children. */
static void walk(search *s, uint32_t node, uint32_t depth, size_t at)
{
    const gw_node *n = &s->r->nodes[node];
    if (n->lowest >= s->best)
        return;
    if (at > s->len) {
        if (n->whole != GW_NONE)
            judge_run(s, n->whole);
    } else if (n->literals || n->param != GW_NONE || n->loose_count) {
        if (depth == s->cut)
            cut_segment(s, depth, at);
        size_t end = s->segments[depth].end;
        gw_slice segment = gw_slice_of(s->path + at, end - at);
        if (n->literals) {
            uint32_t child = find_child(s, node, depth, segment);
            if (child != GW_NONE)
                walk(s, child, depth + 1, end + 1);
        }
        if (n->param != GW_NONE && segment.len)
            walk(s, n->param, depth + 1, end + 1);
        if (n->loose_count)
            judge_loose(s, n, segment);
    }
    if (n->prefix != GW_NONE)
        judge_run(s, n->prefix);
}

static void search_group(search *s, uint32_t group_index)
{
    const gw_router *r = s->r;
    const gw_group *group = &r->groups[group_index];
    if (group->exacts) {
        gw_slice path = gw_slice_of(s->path - 1, s->len + 1);
        uint64_t hash = gw_router_hash(path.ptr, path.len, group->root);
        uint32_t tag = (uint32_t)(hash >> 32);
        for (uint32_t i = (uint32_t)hash & r->exacts.mask; r->exacts.slots[i].value != GW_NONE; i = (i + 1) & r->exacts.mask) {
            if (r->exacts.slots[i].tag != tag)
                continue;
            uint32_t run = r->exacts.slots[i].value;
            if (run >= group->first && run < group->end && gw_slice_equal(r->candidates[run].pattern->text, path)) {
                judge_run(s, run);
                break;
            }
        }
    }
    walk(s, group->root, 0, 0);
}

static uint32_t find_group(const gw_router *r, uint64_t h, gw_slice host)
{
    uint64_t hash = gw_router_host_done(h);
    for (uint32_t i = (uint32_t)hash & r->hosts.mask; r->hosts.slots[i].value != GW_NONE; i = (i + 1) & r->hosts.mask)
        if (r->hosts.slots[i].tag == (uint32_t)(hash >> 32) &&
            gw_slice_equal_nocase(r->groups[r->hosts.slots[i].value].host, host))
            return r->hosts.slots[i].value;
    return GW_NONE;
}

/* The groups of the host itself and of its suffixes, in their order. */
static void search_hosts(search *s, gw_slice host)
{
    const gw_router *r = s->r;
    uint32_t groups[GW_ROUTER_HOST_BYTES / 2 + 2], count = 0;
    if (host.len > 1 && host.ptr[host.len - 1] == '.')
        host.len--; /* "example.com." is the same name: it must not slip past the routes of "example.com" */
    uint64_t h = GW_ROUTER_HOST_SEED;
    size_t stop = host.len > r->longest_host ? host.len - r->longest_host : 0;
    for (size_t i = host.len; i-- > stop;) {
        h = gw_router_host_step(h, (unsigned char)host.ptr[i]);
        bool dot = host.ptr[i] == '.'; /* a suffix begins here, and something stands before it */
        if (dot == (i > 0) && count < GW_COUNT(groups)) {
            uint32_t group = find_group(r, h, gw_slice_of(host.ptr + i, host.len - i));
            if (group != GW_NONE)
                groups[count++] = group;
        }
    }
    while (count > 0 && s->best == GW_NONE)
        search_group(s, groups[--count]);
}

static void fill_params(const search *s, gw_found *found)
{
    const gw_pattern *p = s->r->candidates[s->best].pattern;
    size_t at = 0;
    for (uint32_t i = 0; i < p->segment_count; i++) {
        size_t end = segment_end(s, at);
        if (p->segments[i].kind == GW_SEGMENT_PARAMETER)
            found->params[found->param_count++] = (gw_param){p->segments[i].text, gw_slice_of(s->path + at, end - at)};
        at = end + 1;
    }
    if (p->rest.ptr) {
        if (at > s->len) /* "/files" for "/files/\*rest" */
            at = s->len;
        found->params[found->param_count++] = (gw_param){p->rest, gw_slice_of(s->path + at, s->len - at)};
    }
}

void gw_router_find(const gw_router *r, gw_slice host, gw_slice path, enum gw_method method, gw_slice method_name,
                    const gw_headers *headers, gw_found *found)
{
    found->route = NULL;
    found->method_only = false;
    found->allow = 0;
    found->other_count = 0;
    found->param_count = 0;
    if (path.len == 0 || path.ptr[0] != '/' || r->node_count == 0)
        return; /* "OPTIONS *" is about no resource (RFC 9110 section 9.3.7), so no route takes it */
    search s;
    s.r = r;
    s.path = path.ptr + 1;
    s.len = path.len - 1;
    s.method = method;
    s.method_name = method_name;
    s.headers = headers;
    s.best = GW_NONE;
    s.allow = 0;
    s.method_only = false;
    s.found = found;
    s.cut = 0;
    if (r->longest_host && host.len)
        search_hosts(&s, host);
    if (s.best == GW_NONE && r->any != GW_NONE)
        search_group(&s, r->any);
    if (s.best != GW_NONE) {
        found->route = r->candidates[s.best].route;
        found->other_count = 0;
        if (r->candidates[s.best].with_params)
            fill_params(&s, found);
    } else if (s.method_only) {
        found->method_only = true;
        found->allow = s.allow;
    }
}
