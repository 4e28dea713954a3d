#include "gateway/router.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/router_parts.h"

#define ROUTES_MAX 1000000
#define KNOWN_METHODS ((GW_METHOD_BIT(GW_METHOD_OTHER) - 1) & ~GW_METHOD_BIT(GW_METHOD_NONE))

static const char *const method_names[] = {
    [GW_METHOD_GET] = "GET",         [GW_METHOD_HEAD] = "HEAD",       [GW_METHOD_POST] = "POST",
    [GW_METHOD_PUT] = "PUT",         [GW_METHOD_DELETE] = "DELETE",   [GW_METHOD_PATCH] = "PATCH",
    [GW_METHOD_OPTIONS] = "OPTIONS", [GW_METHOD_CONNECT] = "CONNECT", [GW_METHOD_TRACE] = "TRACE",
};

/* What gw_router_add keeps: one block. */
typedef struct kept {
    gw_match match;
    char host[];
} kept;

gw_router *gw_router_new(void)
{
    gw_router *r = calloc(1, sizeof *r);
    if (r)
        r->any = GW_NONE;
    return r;
}

void gw_router_free(gw_router *r)
{
    if (r == NULL)
        return;
    for (uint32_t i = 0; i < r->count; i++) {
        free((void *)r->candidates[i].pattern);
        free((void *)r->candidates[i].match);
    }
    for (uint32_t i = 0; i < r->index_count; i++) {
        free(r->indexes[i].buckets);
        free(r->indexes[i].picks);
    }
    free(r->candidates);
    free(r->indexes);
    free(r->nodes);
    free(r->loose);
    free(r->groups);
    free(r->hosts.slots);
    free(r->exacts.slots);
    free(r->edges.slots);
    free(r);
}

size_t gw_allow_text(uint32_t methods, char *out)
{
    size_t len = 0;
    for (uint32_t m = GW_METHOD_GET; m < GW_COUNT(method_names); m++) {
        if (!(methods & GW_METHOD_BIT(m)))
            continue;
        if (len)
            out[len++] = ',', out[len++] = ' ';
        size_t n = strlen(method_names[m]);
        memcpy(out + len, method_names[m], n);
        len += n;
    }
    out[len] = 0;
    return len;
}

size_t gw_found_allow(const gw_found *found, char *out, size_t cap)
{
    size_t len = gw_allow_text(found->allow, out);
    for (uint32_t i = 0; i < found->other_count; i++) {
        gw_slice name = found->others[i];
        if (len + 2 + name.len >= cap)
            continue;
        if (len)
            out[len++] = ',', out[len++] = ' ';
        memcpy(out + len, name.ptr, name.len);
        len += name.len;
    }
    out[len] = 0;
    return len;
}

static bool is_token(gw_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return s.len > 0;
}

/* For messages: no more than a line shows. */
static int shown(gw_slice s)
{
    return (int)(s.len > 100 ? 100 : s.len);
}

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Writes the host as it is compared into `out` (source.len bytes): lower case, no final dot, ".suffix" for "*.suffix". */
static int read_host(gw_slice source, char *out, gw_slice *host, char *message, size_t message_bytes)
{
    const char *wrong = NULL;
    size_t len = source.len;
    const char *from = source.ptr;
    if (len > 2 && from[0] == '*' && from[1] == '.')
        from++, len--;
    if (len > 1 && from[len - 1] == '.')
        len--;
    for (size_t i = 0; i < len; i++)
        out[i] = from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] | 0x20) : from[i];
    const char *colon = memchr(out, ':', len);
    if (len == 0)
        wrong = "is empty; leave it out to take any host";
    else if (len > GW_ROUTER_HOST_BYTES)
        wrong = "is longer than 253 bytes";
    else if (source.len == 1 && source.ptr[0] == '*')
        wrong = "is a bare '*'; leave it out to take any host";
    else if (out[0] == '[') {
        if (out[len - 1] != ']')
            wrong = "is no IPv6 address in brackets; expected one such as \"[::1]\", without a port";
        for (size_t i = 1; i + 1 < len && !wrong; i++)
            if (!((out[i] >= '0' && out[i] <= '9') || (out[i] >= 'a' && out[i] <= 'f') || out[i] == ':' || out[i] == '.'))
                wrong = "is no IPv6 address in brackets; expected one such as \"[::1]\", without a port";
    } else if (colon && memchr(out, '/', len)) {
        wrong = "is a URL; expected the host alone, such as \"api.example.com\"";
    } else if (colon && memchr(colon + 1, ':', len - (size_t)(colon + 1 - out))) {
        wrong = "has several colons; an IPv6 address stands in brackets, such as \"[::1]\"";
    } else if (colon) {
        wrong = "has a port; hosts are compared without it";
    } else if (source.ptr[0] == '.') {
        wrong = "begins with a dot; any host below a domain is written \"*.example.com\"";
    } else {
        for (size_t i = 0; i < len && !wrong; i++) {
            if ((unsigned char)out[i] >= 0x80)
                wrong = "has letters outside ASCII; expected the form that clients send (\"xn--...\")";
            else if (out[i] == '*')
                wrong = "has a '*' that is not its first label; expected a host or \"*.example.com\"";
            else if (out[i] == '.' && i + 1 < len && out[i + 1] == '.')
                wrong = "has an empty label (\"..\")";
            else if (out[i] != '.' && !is_host_char(out[i]))
                wrong = "has a character that no host has; expected letters, digits, '-', '_' and '.'";
        }
    }
    if (wrong) {
        snprintf(message, message_bytes, "host \"%.*s\" %s", shown(source), source.ptr, wrong);
        return GW_INVALID;
    }
    *host = gw_slice_of(out, len);
    return GW_OK;
}

static int check_methods(const gw_match *m, uint32_t *methods, bool *any, char *message, size_t message_bytes)
{
    uint32_t bits = m->methods & KNOWN_METHODS;
    if (m->methods && !bits && m->other_method_count == 0) {
        snprintf(message, message_bytes, "methods names none; expected names such as \"GET\", or leave it out to take any");
        return GW_INVALID;
    }
    for (uint32_t i = 0; i < m->other_method_count; i++) {
        gw_slice name = m->other_methods[i];
        if (!is_token(name)) {
            snprintf(message, message_bytes, "method \"%.*s\" is no method name; expected one such as \"GET\"", shown(name),
                     name.ptr ? name.ptr : "");
            return GW_INVALID;
        }
        for (uint32_t k = GW_METHOD_GET; k < GW_COUNT(method_names); k++) {
            gw_slice known = gw_slice_str(method_names[k]);
            if (gw_slice_equal(name, known)) {
                bits |= GW_METHOD_BIT(k);
            } else if (gw_slice_equal_nocase(name, known)) {
                snprintf(message, message_bytes,
                         "method \"%.*s\" is not in upper case; methods are compared as they are sent: "
                         "write \"%s\"",
                         shown(name), name.ptr, known.ptr);
                return GW_INVALID;
            }
        }
    }
    *any = bits == 0 && m->other_method_count == 0;
    *methods = bits & GW_METHOD_BIT(GW_METHOD_GET) ? bits | GW_METHOD_BIT(GW_METHOD_HEAD) : bits;
    return GW_OK;
}

static int check_conditions(const gw_match *m, char *message, size_t message_bytes)
{
    if (m->header_count > GW_ROUTER_CONDITIONS_MAX) {
        snprintf(message, message_bytes, "headers has %u conditions; expected at most %d", m->header_count,
                 GW_ROUTER_CONDITIONS_MAX);
        return GW_INVALID;
    }
    for (uint32_t i = 0; i < m->header_count; i++) {
        gw_slice name = m->headers[i].name, value = m->headers[i].value;
        if (!is_token(name)) {
            snprintf(message, message_bytes, "headers has the name \"%.*s\"; expected a field name such as \"X-Version\"",
                     shown(name), name.ptr ? name.ptr : "");
            return GW_INVALID;
        }
        for (uint32_t k = 0; k < i; k++) {
            if (gw_slice_equal_nocase(name, m->headers[k].name)) {
                snprintf(message, message_bytes, "headers names \"%.*s\" twice; expected one condition for each name",
                         shown(name), name.ptr);
                return GW_INVALID;
            }
        }
        bool bad = value.len && (value.ptr[0] == ' ' || value.ptr[0] == '\t' || value.ptr[value.len - 1] == ' ' ||
                                 value.ptr[value.len - 1] == '\t');
        for (size_t k = 0; k < value.len && !bad; k++)
            bad = ((unsigned char)value.ptr[k] < 0x20 && value.ptr[k] != '\t') || value.ptr[k] == 0x7f;
        if (bad) {
            snprintf(
                message, message_bytes,
                "header \"%.*s\" is compared with a value that no request can have (control characters, or blanks at an end)",
                shown(name), name.ptr);
            return GW_INVALID;
        }
    }
    return GW_OK;
}

int gw_router_add(gw_router *r, const gw_match *match, char *message, size_t message_bytes)
{
    if (r->built || r->count >= ROUTES_MAX) {
        snprintf(message, message_bytes, r->built ? "the router is built already" : "there are more than %d routes", ROUTES_MAX);
        return GW_INVALID;
    }
    if (r->count == r->room) {
        uint32_t room = r->room ? r->room * 2 : 64;
        gw_candidate *more = realloc(r->candidates, room * sizeof *more);
        if (more == NULL)
            return GW_NOMEM;
        r->candidates = more;
        r->room = room;
    }
    gw_candidate *c = &r->candidates[r->count];
    *c = (gw_candidate){.added = r->count};
    int status = check_methods(match, &c->methods, &c->any_method, message, message_bytes);
    if (status == GW_OK)
        status = check_conditions(match, message, message_bytes);
    if (status != GW_OK)
        return status;
    kept *k = malloc(sizeof *k + match->host.len);
    if (k == NULL)
        return GW_NOMEM;
    k->match = *match;
    if (match->host.ptr)
        status = read_host(match->host, k->host, &c->host, message, message_bytes);
    gw_pattern *pattern = NULL;
    if (status == GW_OK)
        status = gw_pattern_parse(match->pattern, &pattern, message, message_bytes);
    if (status != GW_OK) {
        free(k);
        return status;
    }
    c->match = &k->match;
    c->route = match->route;
    c->header_count = (uint8_t)match->header_count; /* at most GW_ROUTER_CONDITIONS_MAX */
    c->pattern = pattern;
    c->with_params = pattern->param_count > 0;
    r->count++;
    return GW_OK;
}

const gw_match *gw_router_at(const gw_router *r, uint32_t i)
{
    return i < r->count ? r->candidates[i].match : NULL;
}

/* Building. */

static int compare_hosts(gw_slice a, gw_slice b)
{
    int x = a.ptr == NULL ? 2 : a.ptr[0] == '.', y = b.ptr == NULL ? 2 : b.ptr[0] == '.';
    if (x != y)
        return x - y;
    if (x == 2)
        return 0;
    if (x == 1 && a.len != b.len)
        return a.len > b.len ? -1 : 1;
    size_t least = a.len < b.len ? a.len : b.len;
    int c = memcmp(a.ptr, b.ptr, least);
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

static int compare_candidates(const void *x, const void *y)
{
    const gw_candidate *a = x, *b = y;
    int c = compare_hosts(a->host, b->host);
    if (c == 0)
        c = gw_pattern_compare(a->pattern, b->pattern);
    if (c)
        return c;
    if (a->match->header_count != b->match->header_count)
        return a->match->header_count > b->match->header_count ? -1 : 1;
    if (a->any_method != b->any_method)
        return a->any_method ? 1 : -1;
    return a->added < b->added ? -1 : 1;
}

static int table_make(gw_table *t, uint32_t keys)
{
    uint32_t size = 4;
    while (size < 2 * keys)
        size *= 2;
    t->slots = malloc(size * sizeof *t->slots);
    if (t->slots == NULL)
        return GW_NOMEM;
    t->mask = size - 1;
    memset(t->slots, 0xff, size * sizeof *t->slots);
    return GW_OK;
}

/* The key must not be in the table. */
static void table_put(gw_table *t, uint64_t hash, uint32_t value)
{
    uint32_t i = (uint32_t)hash & t->mask;
    while (t->slots[i].value != GW_NONE)
        i = (i + 1) & t->mask;
    t->slots[i] = (gw_slot){(uint32_t)(hash >> 32), value};
}

static uint64_t edge_hash(uint32_t parent, gw_slice text)
{
    return gw_router_edge_hash(parent, gw_router_hash(text.ptr, text.len, 0));
}

/* `text`: {NULL,0} for a parameter and for roots. */
static uint32_t add_node(gw_router *r, uint32_t parent, gw_slice text)
{
    gw_node *n = &r->nodes[r->node_count];
    *n = (gw_node){.lowest = GW_NONE, .parent = parent, .param = GW_NONE, .whole = GW_NONE, .prefix = GW_NONE, .only = GW_NONE};
    n->text_len = text.ptr ? (uint32_t)text.len : GW_NONE;
    if (text.len > GW_NODE_INLINE)
        n->text.ptr = text.ptr;
    else if (text.len)
        memcpy(n->text.bytes, text.ptr, text.len);
    return r->node_count++;
}

/* The child of `node` for a segment, made when there is none. */
static uint32_t step(gw_router *r, uint32_t node, const gw_segment *s)
{
    if (s->kind == GW_SEGMENT_PARAMETER) {
        if (r->nodes[node].param == GW_NONE) {
            uint32_t child = add_node(r, node, GW_NO_SLICE);
            r->nodes[node].param = child;
        }
        return r->nodes[node].param;
    }
    uint64_t hash = edge_hash(node, s->text);
    for (uint32_t i = (uint32_t)hash & r->edges.mask; r->edges.slots[i].value != GW_NONE; i = (i + 1) & r->edges.mask) {
        const gw_node *n = &r->nodes[r->edges.slots[i].value];
        if (n->parent == node && gw_slice_equal(gw_slice_of(gw_node_text(n), n->text_len), s->text))
            return r->edges.slots[i].value;
    }
    uint32_t child = add_node(r, node, s->text);
    r->nodes[node].only = r->nodes[node].literals++ ? GW_NONE : child;
    table_put(&r->edges, hash, child);
    return child;
}

/* While the trees grow, a loose run's `shorter` holds its node. */
static int compare_loose(const void *x, const void *y)
{
    const gw_loose *a = x, *b = y;
    if (a->shorter != b->shorter)
        return a->shorter < b->shorter ? -1 : 1;
    size_t least = a->text.len < b->text.len ? a->text.len : b->text.len;
    int c = memcmp(a->text.ptr, b->text.ptr, least);
    return c ? c : a->text.len < b->text.len ? -1 : a->text.len > b->text.len;
}

static void finish_loose(gw_router *r)
{
    if (r->loose_count)
        qsort(r->loose, r->loose_count, sizeof *r->loose, compare_loose);
    for (uint32_t i = 0; i < r->loose_count; i++) {
        gw_loose *l = &r->loose[i];
        gw_node *n = &r->nodes[l->shorter];
        if (n->loose_count++ == 0)
            n->loose_first = i;
        if (l->run < n->lowest)
            n->lowest = l->run;
        uint32_t p = i == n->loose_first ? GW_NONE : i - 1;
        while (p != GW_NONE &&
               !(r->loose[p].text.len < l->text.len && memcmp(r->loose[p].text.ptr, l->text.ptr, r->loose[p].text.len) == 0))
            p = r->loose[p].shorter;
        l->shorter = p;
    }
}

/* Hangs a run where its pattern leads. */
static void place(gw_router *r, gw_group *group, uint32_t run)
{
    const gw_pattern *p = r->candidates[run].pattern;
    if (p->kind == GW_PATTERN_EXACT) {
        group->exacts = true;
        table_put(&r->exacts, gw_router_hash(p->text.ptr, p->text.len, group->root), run);
        return;
    }
    uint32_t node = group->root;
    for (uint32_t i = 0; i < p->segment_count; i++) {
        if (p->segments[i].kind == GW_SEGMENT_LOOSE) {
            r->loose[r->loose_count++] = (gw_loose){p->segments[i].text, node, run};
            return;
        }
        node = step(r, node, &p->segments[i]);
    }
    if (p->kind == GW_PATTERN_PARAMETER)
        r->nodes[node].whole = run;
    else
        r->nodes[node].prefix = run;
    if (run < r->nodes[node].lowest)
        r->nodes[node].lowest = run;
}

static int make_room(gw_router *r)
{
    size_t nodes = 1;
    uint32_t exacts = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        nodes += r->candidates[i].pattern->segment_count + 1;
        exacts += r->candidates[i].pattern->kind == GW_PATTERN_EXACT;
    }
    r->groups = calloc(r->count + 1, sizeof *r->groups);
    r->loose = calloc(r->count + 1, sizeof *r->loose);
    r->nodes = aligned_alloc(GW_CACHE_LINE, nodes * sizeof *r->nodes);
    if (!r->groups || !r->loose || !r->nodes)
        return GW_NOMEM;
    int status = table_make(&r->edges, (uint32_t)nodes);
    return status ? status : table_make(&r->exacts, exacts);
}

/* The tables were made for the most that could come; now that the numbers are known, they are made to fit the cache. */
static int shrink(gw_router *r)
{
    gw_table edges, hosts;
    uint32_t keys = 0;
    for (uint32_t i = 0; i < r->node_count; i++)
        keys += r->nodes[i].literals > 1 ? r->nodes[i].literals : 0;
    if (table_make(&edges, keys))
        return GW_NOMEM;
    for (uint32_t i = 0; i < r->node_count; i++) {
        const gw_node *n = &r->nodes[i];
        if (n->text_len != GW_NONE && r->nodes[n->parent].only == GW_NONE)
            table_put(&edges, edge_hash(n->parent, gw_slice_of(gw_node_text(n), n->text_len)), i);
    }
    free(r->edges.slots);
    r->edges = edges;
    if (table_make(&hosts, r->group_count))
        return GW_NOMEM;
    r->hosts = hosts;
    for (uint32_t i = 0; i < r->group_count; i++) {
        gw_slice host = r->groups[i].host;
        if (host.ptr == NULL) {
            r->any = i;
            continue;
        }
        uint64_t h = GW_ROUTER_HOST_SEED;
        for (size_t k = host.len; k-- > 0;)
            h = gw_router_host_step(h, (unsigned char)host.ptr[k]);
        table_put(&r->hosts, gw_router_host_done(h), i);
        if (host.len > r->longest_host)
            r->longest_host = (uint32_t)host.len;
    }
    return GW_OK;
}

int gw_router_build(gw_router *r, char *message, size_t message_bytes)
{
    if (r->built) {
        snprintf(message, message_bytes, "the router is built already");
        return GW_INVALID;
    }
    r->built = true; /* also when it fails: nothing can be added any more */
    if (r->count)
        qsort(r->candidates, r->count, sizeof *r->candidates, compare_candidates);
    int status = gw_router_find_tie(r, message, message_bytes);
    if (status == GW_OK)
        status = make_room(r);
    if (status != GW_OK)
        return status;
    gw_group *group = NULL;
    for (uint32_t i = 0; i < r->count;) {
        gw_candidate *c = &r->candidates[i];
        if (group == NULL || compare_hosts(group->host, c->host) != 0) {
            group = &r->groups[r->group_count++];
            *group = (gw_group){.host = c->host, .first = i, .root = add_node(r, GW_NONE, GW_NO_SLICE)};
        }
        uint32_t end = i + 1;
        while (end < r->count && compare_hosts(c->host, r->candidates[end].host) == 0 &&
               gw_pattern_compare(c->pattern, r->candidates[end].pattern) == 0)
            end++;
        c->run_count = end - i;
        c->index = GW_NONE;
        group->end = end;
        place(r, group, i);
        i = end;
    }
    finish_loose(r);
    for (uint32_t i = r->node_count; i-- > 0;) { /* parents come before their children */
        gw_node *n = &r->nodes[i];
        if (n->parent != GW_NONE && n->lowest < r->nodes[n->parent].lowest)
            r->nodes[n->parent].lowest = n->lowest;
    }
    status = shrink(r);
    return status == GW_OK ? gw_router_index_runs(r) : status;
}
