#include "gateway/router_explain.h"

#include "gateway/router_parts.h"

static bool host_fits(gw_slice want, gw_slice host)
{
    if (!want.ptr)
        return true;
    if (host.len > 1 && host.ptr[host.len - 1] == '.')
        host.len--;
    if (want.ptr[0] == '.') /* a suffix, and something before it */
        return host.len > want.len && gw_slice_equal_nocase(gw_slice_of(host.ptr + host.len - want.len, want.len), want);
    return gw_slice_equal_nocase(host, want);
}

/* The segment of `path` that begins at *at; false: the path has ended. A path of one '/' has one empty segment. */
static bool next_segment(gw_slice path, size_t *at, gw_slice *out)
{
    if (*at > path.len)
        return false;
    const char *from = path.ptr + *at, *slash = memchr(from, '/', path.len - *at);
    *out = gw_slice_of(from, slash ? (size_t)(slash - from) : path.len - *at);
    *at += out->len + 1;
    return true;
}

/* Both without their first '/'. */
static bool exact_fits(gw_slice want, gw_slice path, gw_router_reason *out)
{
    size_t a = 0, b = 0;
    for (uint32_t i = 1;; i++) {
        gw_slice x = GW_NO_SLICE, y = GW_NO_SLICE;
        bool more = next_segment(want, &a, &x), there = next_segment(path, &b, &y);
        if (!more && !there)
            return true;
        if (more && there && gw_slice_equal(x, y))
            continue;
        out->segment = i;
        out->expected = more ? x : GW_NO_SLICE;
        out->found = there ? y : GW_NO_SLICE;
        return false;
    }
}

static bool segment_fits(const gw_segment *want, gw_slice segment)
{
    switch (want->kind) {
    case GW_SEGMENT_PARAMETER:
        return segment.len > 0;
    case GW_SEGMENT_LOOSE:
        return segment.len >= want->text.len && memcmp(segment.ptr, want->text.ptr, want->text.len) == 0;
    default:
        return gw_slice_equal(segment, want->text);
    }
}

static bool path_fits(const gw_pattern *p, gw_slice path, gw_router_reason *out)
{
    path.ptr++, path.len--;
    if (p->kind == GW_PATTERN_EXACT)
        return exact_fits(gw_slice_of(p->text.ptr + 1, p->text.len - 1), path, out);
    size_t at = 0;
    for (uint32_t i = 0; i <= p->segment_count; i++) {
        gw_slice segment = GW_NO_SLICE;
        bool last = i == p->segment_count;
        if (last && p->kind == GW_PATTERN_PREFIX)
            return true;
        bool there = next_segment(path, &at, &segment);
        if (last ? !there : there && segment_fits(&p->segments[i], segment))
            continue;
        out->segment = i + 1;
        out->expected = last ? GW_NO_SLICE : p->segments[i].text;
        out->parameter = !last && p->segments[i].kind == GW_SEGMENT_PARAMETER;
        out->found = segment;
        return false;
    }
    return true;
}

static bool conditions_hold(const gw_match *m, const gw_headers *headers, gw_router_reason *out)
{
    for (uint32_t i = 0; i < m->header_count; i++) {
        const gw_header_condition *c = &m->headers[i];
        gw_slice there = GW_NO_SLICE;
        bool holds = false;
        for (uint32_t k = 0; k < headers->count && !holds; k++) {
            if (!gw_slice_equal_nocase(headers->item[k].name, c->name))
                continue;
            there = headers->item[k].value;
            holds = c->value.ptr == NULL || gw_slice_equal(there, c->value);
        }
        if (holds)
            continue;
        out->condition = i;
        out->found = there;
        return false;
    }
    return true;
}

static bool method_fits(const gw_candidate *c, enum gw_method method, gw_slice name)
{
    if (c->any_method || (method != GW_METHOD_OTHER && c->methods >> method & 1))
        return true;
    for (uint32_t i = 0; method == GW_METHOD_OTHER && i < c->match->other_method_count; i++)
        if (gw_slice_equal(c->match->other_methods[i], name))
            return true;
    return false;
}

bool gw_router_explain(const gw_router *r, uint32_t i, gw_slice host, gw_slice path, enum gw_method method, gw_slice method_name,
                       const gw_headers *headers, gw_router_reason *out)
{
    *out = (gw_router_reason){.miss = GW_MISS_NONE};
    if (i >= r->count)
        return false;
    const gw_candidate *c = &r->candidates[i];
    if (!host_fits(c->host, host)) {
        out->miss = GW_MISS_HOST;
    } else if (path.len == 0 || path.ptr[0] != '/') {
        out->miss = GW_MISS_PATH;
        out->segment = 1;
        out->found = path;
    } else if (!path_fits(c->pattern, path, out)) {
        out->miss = GW_MISS_PATH;
    } else if (!conditions_hold(c->match, headers, out)) {
        out->miss = GW_MISS_HEADER;
    } else if (!method_fits(c, method, method_name)) {
        out->miss = GW_MISS_METHOD;
    }
    return true;
}
