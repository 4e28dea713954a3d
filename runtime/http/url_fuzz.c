/* Paths, queries, cookies and authorities: what comes out lies inside of what went in (or in the room given), a normal path is
 * normal, and normalising it again changes nothing. The first byte of the input chooses whether encoded slashes are kept. */
#include "http/fuzz_check.h"
#include "http/url.h"

static void check_normal(gw_slice path, bool keep)
{
    CHECK(path.len > 0 && path.ptr[0] == '/');
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        CHECK(c > ' ' && c < 0x7f && c != '\\' && c != '?' && c != '#');
        if (c == '%') {
            CHECK(i + 2 < path.len && memcmp(path.ptr + i, "%00", 3) != 0 && memcmp(path.ptr + i, "%5C", 3) != 0);
            CHECK(keep || memcmp(path.ptr + i, "%2F", 3) != 0);
        }
        if (c != '/')
            continue;
        size_t end = i + 1;
        while (end < path.len && path.ptr[end] != '/')
            end++;
        gw_slice segment = gw_slice_of(path.ptr + i + 1, end - i - 1);
        CHECK(segment.len > 0 || end == path.len);
        CHECK(!gw_slice_equal(segment, GW_SLICE(".")) && !gw_slice_equal(segment, GW_SLICE("..")));
    }
}

static void check_path(gw_slice raw, bool keep)
{
    char *room = malloc(raw.len ? raw.len : 1);
    CHECK(room);
    gw_slice out, again;
    const char *reason = NULL;
    if (gw_path_normalise(raw, keep, room, &out, &reason) != GW_OK) {
        CHECK(reason);
    } else {
        CHECK((out.ptr == raw.ptr && out.len == raw.len) || (out.ptr == room && out.len <= raw.len));
        check_normal(out, keep);
        char *copy = exact_copy(out.ptr, out.len), *second = malloc(out.len);
        CHECK(second);
        CHECK(gw_path_normalise(gw_slice_of(copy, out.len), keep, second, &again, &reason) == GW_OK);
        CHECK(gw_slice_equal(out, again));
        free(copy);
        free(second);
    }
    gw_slice decoded = gw_percent_decode(raw, room);
    CHECK(decoded.len <= raw.len);
    free(room);
}

static void check_lookups(gw_slice s)
{
    /* The first piece up to '=' is a name that has to be found. */
    const char *equals = s.len ? memchr(s.ptr, '=', s.len) : NULL;
    gw_slice name = gw_slice_of(s.ptr, equals ? (size_t)(equals - s.ptr) : s.len);
    gw_slice value = gw_query_get(s, name);
    CHECK(inside(value, s.ptr, s.len));
    CHECK(!equals || value.ptr || memchr(name.ptr, '&', name.len));
    value = gw_cookie_get(s, name);
    CHECK(inside(value, s.ptr, s.len));
    CHECK(inside(gw_query_get(s, GW_SLICE("a")), s.ptr, s.len));
    CHECK(inside(gw_cookie_get(s, GW_SLICE("a")), s.ptr, s.len));
}

static void check_authority(gw_slice s)
{
    gw_slice host = GW_NO_SLICE;
    int port = -2;
    if (gw_authority_split(s, &host, &port) != GW_OK)
        return;
    CHECK(inside(host, s.ptr, s.len) && host.len > 0 && host.ptr == s.ptr && port >= -1 && port <= 65535);
    CHECK(port >= 0 ? s.len > host.len + 1 : s.len == host.len);
    gw_slice again;
    CHECK(gw_authority_split(host, &again, &port) == GW_OK && gw_slice_equal(host, again) && port == -1);
}

static void check_url(gw_slice s)
{
    gw_url url;
    const char *reason = NULL;
    if (gw_url_split(s, &url, &reason) != GW_OK) {
        CHECK(reason);
        return;
    }
    CHECK(inside(url.scheme, s.ptr, s.len) && inside(url.authority, s.ptr, s.len) && inside(url.host, s.ptr, s.len));
    CHECK(inside(url.query, s.ptr, s.len) && url.host.len > 0 && url.port >= -1 && url.port <= 65535);
    CHECK(url.path.len > 0 && url.path.ptr[0] == '/' && !memchr(url.path.ptr, '?', url.path.len));
    CHECK(!memchr(url.path.ptr, '#', url.path.len) && (url.query.len == 0 || !memchr(url.query.ptr, '#', url.query.len)));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size == 0)
        return 0;
    size_t len = size - 1;
    char *bytes = exact_copy(input + 1, len);
    gw_slice s = gw_slice_of(bytes, len);
    check_path(s, input[0] & 1);
    check_lookups(s);
    check_authority(s);
    check_url(s);
    free(bytes);
    return 0;
}
