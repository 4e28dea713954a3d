/* Fuzz entry: a set of routes and requests, judged by the router and by a slow model that looks at every route.
 *
 * The input is text, a line a route or a request, fields separated by tabs:
 *     +host <tab> methods <tab> headers <tab> pattern      "+*.a.b\tGET,PURGE\tx=1,y=*\t/a/:b"   (host and methods may be empty)
 *     ?host <tab> method  <tab> headers <tab> path         "?c.a.b\tGET\tx=1\t/a/b" */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/router.h"

#define ROUTES 48
#define REQUESTS 48
#define FIELDS 6
#define SEGMENTS 80

#define REQUIRE(condition)                                                                                                       \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                              \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct model_route {
    gw_match match;
    gw_slice others[FIELDS];
    gw_header_condition conditions[FIELDS];
    char text[8192]; /* the pattern with UTF-8 as escapes */
    bool exact, loose, whole, rest;
    uint32_t segment_count;
    gw_slice segments[SEGMENTS];
    gw_slice rest_name;
} model_route;

static const char *const names[] = {"", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"};

static enum gw_method method_named(gw_slice s)
{
    for (uint32_t i = 1; i < GW_COUNT(names); i++)
        if (gw_slice_equal(s, gw_slice_str(names[i])))
            return (enum gw_method)i;
    return GW_METHOD_OTHER;
}

static gw_slice take(gw_slice *s, char until)
{
    const char *end = s->len ? memchr(s->ptr, until, s->len) : NULL;
    gw_slice field = {s->ptr, end ? (size_t)(end - s->ptr) : s->len};
    size_t used = field.len + (end != NULL);
    s->ptr += used;
    s->len -= used;
    return field;
}

/* Cuts an accepted pattern, without a look at how the router does it. */
static void model_read(model_route *r)
{
    gw_slice p = r->match.pattern;
    if (p.ptr[0] == '=') {
        r->exact = true;
        while (p.ptr[0] != '/')
            p.ptr++, p.len--;
    }
    size_t n = 0;
    for (size_t i = 0; i < p.len; i++)
        n += (size_t)sprintf(r->text + n, (unsigned char)p.ptr[i] < 0x80 ? "%c" : "%%%02X", (unsigned char)p.ptr[i]);
    if (r->exact)
        return;
    gw_slice text = {r->text + 1, n - 1};
    bool params = false, slash = n > 1 && r->text[n - 1] == '/';
    while (text.len) {
        gw_slice s = take(&text, '/');
        REQUIRE(r->segment_count < SEGMENTS);
        if (s.len && s.ptr[0] == '*') {
            r->rest = true;
            if (s.len > 1)
                r->rest_name = gw_slice_of(s.ptr + 1, s.len - 1);
            break;
        }
        params |= s.ptr[0] == ':';
        if (s.ptr[s.len - 1] == '*')
            r->loose = true, s.len--;
        r->segments[r->segment_count++] = s;
    }
    if (slash && params)
        r->segments[r->segment_count++] = GW_SLICE("");
    r->whole = params && !r->loose && !r->rest;
}

static bool is_param(gw_slice s)
{
    return s.len && s.ptr[0] == ':';
}

static bool model_path(const model_route *r, gw_slice path, gw_param *params, uint32_t *count)
{
    *count = 0;
    if (r->exact)
        return gw_slice_equal(gw_slice_str(r->text), path);
    if (path.len == 0 || path.ptr[0] != '/')
        return false;
    size_t at = 1; /* path.len + 1: no segment is left */
    for (uint32_t i = 0; i < r->segment_count; i++) {
        if (at > path.len)
            return false;
        size_t end = at;
        while (end < path.len && path.ptr[end] != '/')
            end++;
        gw_slice s = gw_slice_of(path.ptr + at, end - at), want = r->segments[i];
        if (is_param(want)) {
            if (s.len == 0)
                return false;
            params[(*count)++] = (gw_param){gw_slice_of(want.ptr + 1, want.len - 1), s};
        } else if (r->loose && i + 1 == r->segment_count) {
            return s.len >= want.len && memcmp(s.ptr, want.ptr, want.len) == 0;
        } else if (!gw_slice_equal(s, want)) {
            return false;
        }
        at = end + 1;
    }
    if (r->rest_name.ptr) {
        size_t from = at > path.len ? path.len : at;
        params[(*count)++] = (gw_param){r->rest_name, gw_slice_of(path.ptr + from, path.len - from)};
    }
    return !r->whole || at > path.len;
}

static gw_slice no_dot(gw_slice host)
{
    if (host.len > 1 && host.ptr[host.len - 1] == '.')
        host.len--;
    return host;
}

static bool model_host(const model_route *r, gw_slice host)
{
    gw_slice want = no_dot(r->match.host);
    host = no_dot(host);
    if (want.ptr == NULL)
        return true;
    if (want.ptr[0] != '*')
        return gw_slice_equal_nocase(want, host);
    want.ptr++, want.len--;
    return host.len > want.len && gw_slice_equal_nocase(want, gw_slice_of(host.ptr + host.len - want.len, want.len));
}

static bool model_headers(const model_route *r, const gw_headers *h)
{
    for (uint32_t i = 0; i < r->match.header_count; i++) {
        bool there = false;
        for (uint32_t k = 0; k < h->count; k++)
            there |= gw_slice_equal_nocase(h->item[k].name, r->conditions[i].name) &&
                     (r->conditions[i].value.ptr == NULL || gw_slice_equal(h->item[k].value, r->conditions[i].value));
        if (!there)
            return false;
    }
    return true;
}

static bool any_method(const model_route *r)
{
    return r->match.methods == 0 && r->match.other_method_count == 0;
}

static uint32_t all_methods(const model_route *r)
{
    return r->match.methods | (r->match.methods & GW_METHOD_BIT(GW_METHOD_GET) ? GW_METHOD_BIT(GW_METHOD_HEAD) : 0);
}

static bool model_method(const model_route *r, enum gw_method method, gw_slice name)
{
    if (any_method(r))
        return true;
    for (uint32_t i = 0; i < r->match.other_method_count; i++)
        if (gw_slice_equal(r->others[i], name))
            return true;
    return method != GW_METHOD_OTHER && all_methods(r) >> method & 1;
}

static int segment_class(const model_route *r, uint32_t i)
{
    return is_param(r->segments[i]) ? 2 : r->loose && i + 1 == r->segment_count;
}

/* Below 0: a wins over b, where both take one path. With `same`: 0 only for the same pattern. */
static long model_compare(const model_route *a, const model_route *b, bool same)
{
    gw_slice x = no_dot(a->match.host), y = no_dot(b->match.host);
    int hx = x.ptr == NULL ? 2 : x.ptr[0] == '*', hy = y.ptr == NULL ? 2 : y.ptr[0] == '*';
    if (hx != hy)
        return hx - hy;
    if (x.len != y.len || (same && !gw_slice_equal_nocase(x, y)))
        return x.len > y.len ? -1 : 1;
    int kx = a->exact ? 0 : a->whole ? 1 : 2, ky = b->exact ? 0 : b->whole ? 1 : 2;
    if (kx != ky)
        return kx - ky;
    if (a->exact && same && strcmp(a->text, b->text) != 0)
        return 1;
    if (a->segment_count != b->segment_count)
        return a->segment_count > b->segment_count ? -1 : 1;
    for (uint32_t i = 0; i < a->segment_count; i++) {
        int cx = segment_class(a, i), cy = segment_class(b, i);
        if (cx != cy)
            return cx - cy;
        if (cx == 1 && a->segments[i].len != b->segments[i].len)
            return a->segments[i].len > b->segments[i].len ? -1 : 1;
        if (same && cx != 2 && !gw_slice_equal(a->segments[i], b->segments[i]))
            return 1;
    }
    if (a->match.header_count != b->match.header_count)
        return a->match.header_count > b->match.header_count ? -1 : 1;
    return any_method(a) - any_method(b);
}

static bool model_tie(const model_route *a, const model_route *b)
{
    if (model_compare(a, b, true) != 0)
        return false;
    bool common = any_method(a) || (all_methods(a) & all_methods(b));
    for (uint32_t i = 0; i < a->match.other_method_count; i++)
        for (uint32_t k = 0; k < b->match.other_method_count; k++)
            common |= gw_slice_equal(a->others[i], b->others[k]);
    for (uint32_t i = 0; i < a->match.header_count; i++)
        for (uint32_t k = 0; k < b->match.header_count; k++)
            if (gw_slice_equal_nocase(a->conditions[i].name, b->conditions[k].name) && a->conditions[i].value.ptr &&
                b->conditions[k].value.ptr && !gw_slice_equal(a->conditions[i].value, b->conditions[k].value))
                return false;
    return common;
}

static void read_route(gw_slice line, model_route *r)
{
    memset(r, 0, offsetof(model_route, text));
    memset(&r->exact, 0, sizeof *r - offsetof(model_route, exact));
    gw_slice host = take(&line, '\t'), methods = take(&line, '\t'), headers = take(&line, '\t');
    r->match = (gw_match){.host = host.len ? host : GW_NO_SLICE,
                          .pattern = line,
                          .other_methods = r->others,
                          .headers = r->conditions,
                          .source = GW_SLICE("fuzz:1"),
                          .route = r};
    while (methods.len && r->match.other_method_count < FIELDS) {
        gw_slice name = take(&methods, ',');
        enum gw_method m = method_named(name);
        if (m == GW_METHOD_OTHER)
            r->others[r->match.other_method_count++] = name;
        else
            r->match.methods |= GW_METHOD_BIT(m);
    }
    while (headers.len && r->match.header_count < FIELDS) {
        gw_slice value = take(&headers, ','), name = take(&value, '=');
        bool any = value.len == 1 && value.ptr[0] == '*';
        r->conditions[r->match.header_count++] = (gw_header_condition){name, any ? GW_NO_SLICE : value};
    }
}

static void ask(const gw_router *router, const model_route *routes, uint32_t count, gw_slice line, gw_headers *h)
{
    gw_slice host = take(&line, '\t'), name = take(&line, '\t'), headers = take(&line, '\t'), path = line;
    enum gw_method method = method_named(name);
    h->count = 0;
    while (headers.len && h->count < FIELDS) {
        gw_slice value = take(&headers, ','), field = take(&value, '=');
        h->item[h->count++] = (gw_header){.name = field, .value = value};
    }
    const model_route *best = NULL;
    gw_param params[SEGMENTS], best_params[SEGMENTS];
    uint32_t allow = 0, param_count, best_count = 0;
    bool method_only = false;
    for (uint32_t i = 0; i < count && path.len && path.ptr[0] == '/'; i++) {
        const model_route *r = &routes[i];
        if (!model_host(r, host) || !model_path(r, path, params, &param_count) || !model_headers(r, h))
            continue;
        if (!model_method(r, method, name)) {
            method_only = true;
            allow |= all_methods(r);
        } else if (best == NULL || model_compare(r, best, false) < 0) {
            best = r;
            best_count = param_count;
            memcpy(best_params, params, sizeof params);
        }
    }
    gw_found found;
    gw_router_find(router, host, path, method, name, h, &found);
    REQUIRE(found.route == best);
    REQUIRE(found.method_only == (best == NULL && method_only));
    REQUIRE(found.allow == (found.method_only ? allow : 0));
    REQUIRE(found.param_count == best_count);
    for (uint32_t i = 0; i < best_count; i++) {
        REQUIRE(gw_slice_equal(found.params[i].name, best_params[i].name));
        REQUIRE(found.params[i].value.ptr == best_params[i].value.ptr && found.params[i].value.len == best_params[i].value.len);
    }
    if (!found.method_only)
        return;
    uint32_t others = 0; /* each uncommon method of a route that matches in all else is there, once */
    for (uint32_t i = 0; i < count; i++) {
        const model_route *r = &routes[i];
        if (!model_host(r, host) || !model_path(r, path, params, &param_count) || !model_headers(r, h))
            continue;
        for (uint32_t k = 0; k < r->match.other_method_count; k++) {
            uint32_t at = 0;
            while (at < found.other_count && !gw_slice_equal(found.others[at], r->others[k]))
                at++;
            REQUIRE(at < found.other_count || found.other_count == GW_ALLOW_OTHERS);
            others++;
        }
    }
    REQUIRE(found.other_count <= others);
    char text[160];
    REQUIRE(gw_found_allow(&found, text, sizeof text) < sizeof text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static model_route routes[ROUTES];
    static gw_headers headers;
    uint32_t count = 0;
    char message[512];
    gw_router *router = gw_router_new();
    if (router == NULL)
        return 0;
    gw_slice input = gw_slice_of((const char *)data, size), rest = input;
    while (rest.len && count < ROUTES) {
        gw_slice line = take(&rest, '\n');
        if (line.len == 0 || line.ptr[0] != '+')
            continue;
        line.ptr++, line.len--;
        read_route(line, &routes[count]);
        message[0] = 0;
        if (gw_router_add(router, &routes[count].match, message, sizeof message) == GW_OK)
            model_read(&routes[count++]);
        else
            REQUIRE(message[0]);
    }
    bool tie = false;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < i; k++)
            tie |= model_tie(&routes[i], &routes[k]);
    int status = gw_router_build(router, message, sizeof message);
    REQUIRE(status == (tie ? GW_INVALID : GW_OK));
    for (uint32_t i = 0; i < count; i++)
        REQUIRE(gw_router_at(router, i) != NULL);
    REQUIRE(gw_router_at(router, count) == NULL);
    rest = input;
    for (uint32_t asked = 0; rest.len && status == GW_OK && asked < REQUESTS;) {
        gw_slice line = take(&rest, '\n');
        if (line.len == 0 || line.ptr[0] != '?')
            continue;
        line.ptr++, line.len--;
        ask(router, routes, count, line, &headers);
        asked++;
    }
    gw_router_free(router);
    return 0;
}
