#include "http/url.h"

#include "http/chars.h"

static int refuse(const char **reason, const char *text)
{
    *reason = text;
    return GW_INVALID;
}

/* Why a byte cannot stand in a path at all; NULL when it can. */
static const char *forbidden(unsigned char c)
{
    if (c == '\\')
        return "backslash in the path";
    if (c <= ' ' || c >= 0x7f || c == '#' || c == '?')
        return "character that cannot stand in a path";
    return NULL;
}

/* One escape at p. Writes what it normalises to and returns how many bytes that are: 1 or 3; 0 when it is refused. */
static size_t normalise_escape(const char *p, const char *end, bool keep_encoded_slash, char *out, const char **reason)
{
    if (end - p < 3 || !gw_char_is(p[1], GW_CHAR_HEX) || !gw_char_is(p[2], GW_CHAR_HEX)) {
        *reason = "malformed percent escape in the path";
        return 0;
    }
    unsigned c = gw_char_hex(p[1]) << 4 | gw_char_hex(p[2]);
    if (gw_char_is((char)c, GW_CHAR_UNRESERVED)) {
        *out = (char)c;
        return 1;
    }
    if (c < 0x20 || c == 0x7f || c == '\\' || (c == '/' && !keep_encoded_slash)) {
        *reason = c == '/'    ? "encoded slash in the path"
                  : c == '\\' ? "encoded backslash in the path"
                              : "encoded control character in the path";
        return 0;
    }
    out[0] = '%';
    out[1] = "0123456789ABCDEF"[c >> 4];
    out[2] = "0123456789ABCDEF"[c & 15];
    return 3;
}

/* Segment by segment: decoded first and then looked at, so that "%2e" is a dot like any other. Never more is written than was
 * read, so `room` suffices. */
static int rewrite(gw_slice raw, bool keep_encoded_slash, char *room, gw_slice *out, const char **reason)
{
    const char *p = raw.ptr, *end = p + raw.len;
    char *o = room;
    while (p < end) {
        while (p < end && *p == '/')
            p++;
        *o++ = '/';
        char *segment = o;
        while (p < end && *p != '/') {
            const char *why = forbidden((unsigned char)*p);
            if (why)
                return refuse(reason, why);
            if (*p == '%') {
                size_t n = normalise_escape(p, end, keep_encoded_slash, o, reason);
                if (n == 0)
                    return GW_INVALID;
                o += n, p += 3;
            } else {
                *o++ = *p++;
            }
        }
        bool dot = o - segment == 1 && segment[0] == '.';
        bool dots = o - segment == 2 && segment[0] == '.' && segment[1] == '.';
        if (!dot && !dots)
            continue;
        o = segment - 1; /* without the segment and its slash */
        if (dots) {
            if (o == room)
                return refuse(reason, "path goes above the root");
            while (*--o != '/')
                ;
        }
        if (p == end)
            *o++ = '/'; /* "/a/." and "/a/b/.." name the folder */
    }
    *out = gw_slice_of(room, (size_t)(o - room));
    return GW_OK;
}

int gw_path_normalise(gw_slice raw, bool keep_encoded_slash, char *room, gw_slice *out, const char **reason)
{
    if (raw.len == 0 || raw.ptr[0] != '/')
        return refuse(reason, "path does not begin with '/'");
    const char *p = raw.ptr, *end = p + raw.len;
    /* Most paths are normal: nothing but plain characters, and behind no slash another one or a dot. ("/.well-known" is normal
     * too, and the rewriting of it changes nothing.) */
    bool boundary = false;
    for (; p < end; p++) {
        if (gw_char_is(*p, GW_CHAR_PLAIN)) {
            if (gw_unlikely(boundary && *p == '.'))
                return rewrite(raw, keep_encoded_slash, room, out, reason);
            boundary = false;
        } else if (*p == '/' && !boundary) {
            boundary = true;
        } else {
            return rewrite(raw, keep_encoded_slash, room, out, reason);
        }
    }
    *out = raw;
    return GW_OK;
}

gw_slice gw_percent_decode(gw_slice s, char *room)
{
    if (s.len == 0)
        return s;
    const char *p = s.ptr, *end = p + s.len;
    char *o = room;
    while (p < end) {
        if (*p == '%' && end - p >= 3 && gw_char_is(p[1], GW_CHAR_HEX) && gw_char_is(p[2], GW_CHAR_HEX)) {
            *o++ = (char)(gw_char_hex(p[1]) << 4 | gw_char_hex(p[2]));
            p += 3;
        } else {
            *o++ = *p++;
        }
    }
    return gw_slice_of(room, (size_t)(o - room));
}

gw_slice gw_query_get(gw_slice query, gw_slice name)
{
    const char *at = query.ptr;
    size_t left = query.len;
    while (left) {
        const char *amp = memchr(at, '&', left);
        size_t len = amp ? (size_t)(amp - at) : left;
        if (len >= name.len && (name.len == 0 || memcmp(at, name.ptr, name.len) == 0)) {
            if (len == name.len && len > 0)
                return gw_slice_of(at + len, 0);
            if (len > name.len && at[name.len] == '=')
                return gw_slice_of(at + name.len + 1, len - name.len - 1);
        }
        if (!amp)
            break;
        at += len + 1, left -= len + 1;
    }
    return GW_NO_SLICE;
}

gw_slice gw_cookie_get(gw_slice cookie, gw_slice name)
{
    const char *at = cookie.ptr;
    size_t left = cookie.len;
    while (left) {
        const char *semicolon = memchr(at, ';', left);
        size_t len = semicolon ? (size_t)(semicolon - at) : left, taken = semicolon ? len + 1 : len;
        const char *first = at, *last = at + len;
        at += taken, left -= taken;
        while (first < last && gw_char_is_space(*first))
            first++;
        while (first < last && gw_char_is_space(last[-1]))
            last--;
        if ((size_t)(last - first) > name.len && first[name.len] == '=' && name.len > 0 && memcmp(first, name.ptr, name.len) == 0)
            return gw_slice_of(first + name.len + 1, (size_t)(last - first) - name.len - 1);
    }
    return GW_NO_SLICE;
}

/* Four decimal numbers up to 255 without leading zeros. */
static bool is_ipv4(const char *p, const char *end)
{
    for (int part = 0; part < 4; part++) {
        const char *first = p;
        int n = 0;
        while (p < end && p - first < 3 && *p >= '0' && *p <= '9')
            n = n * 10 + (*p++ - '0');
        if (p == first || n > 255 || (*first == '0' && p - first > 1))
            return false;
        if (part < 3 && (p == end || *p++ != '.'))
            return false;
    }
    return p == end;
}

/* RFC 4291 section 2.2, without a zone. */
static bool is_ipv6(const char *p, const char *end)
{
    int groups = 0;
    bool gap = false;
    while (p < end) {
        if (*p == ':') { /* only at the start or behind a group */
            if (gap || end - p < 2 || p[1] != ':')
                return false;
            gap = true;
            p += 2;
            continue;
        }
        const char *first = p;
        while (p < end && p - first < 4 && gw_char_is(*p, GW_CHAR_HEX))
            p++;
        if (p < end && *p == '.') {
            if (!is_ipv4(first, end))
                return false;
            groups += 2;
            break;
        }
        if (p == first || ++groups > 8)
            return false;
        if (p == end)
            break;
        if (*p != ':' || end - p < 2)
            return false;
        if (p[1] != ':')
            p++;
    }
    return gap ? groups < 8 : groups == 8;
}

/* ":" 1*5DIGIT up to 65535, or nothing. */
static int read_port(const char *at, const char *end, int *port)
{
    *port = -1;
    if (at == end)
        return GW_OK;
    if (*at++ != ':' || at == end || end - at > 5)
        return GW_INVALID;
    int n = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return GW_INVALID;
        n = n * 10 + (*at - '0');
    }
    if (n > 65535)
        return GW_INVALID;
    *port = n;
    return GW_OK;
}

int gw_authority_split(gw_slice authority, gw_slice *host, int *port)
{
    if (authority.len == 0)
        return GW_INVALID;
    const char *p = authority.ptr, *end = p + authority.len;
    if (*p == '[') {
        const char *close = memchr(p, ']', authority.len);
        if (!close || !is_ipv6(p + 1, close))
            return GW_INVALID;
        p = close + 1;
    } else {
        /* No escapes in names: DNS has none, and "ex%61mple" would be another host to a router than to a backend. */
        while (p < end && gw_char_is(*p, GW_CHAR_HOST))
            p++;
        if (p == authority.ptr)
            return GW_INVALID;
    }
    *host = gw_slice_of(authority.ptr, (size_t)(p - authority.ptr));
    return read_port(p, end, port);
}

int gw_url_split(gw_slice url, gw_url *out, const char **reason)
{
    const char *p = url.ptr, *end = p + url.len;
    for (const char *at = p; at < end; at++) {
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f) {
            *reason = "it has a character that has to be percent-encoded";
            return GW_INVALID;
        }
    }
    const char *colon = url.len ? memchr(p, ':', url.len) : NULL;
    if (!colon || end - colon < 3 || colon[1] != '/' || colon[2] != '/') {
        *reason = "it has no scheme: expected http://host/path";
        return GW_INVALID;
    }
    out->scheme = gw_slice_of(p, (size_t)(colon - p));
    const char *host = colon + 3, *at = host;
    while (at < end && *at != '/' && *at != '?' && *at != '#')
        at++;
    out->authority = gw_slice_of(host, (size_t)(at - host));
    if (at > host && memchr(host, '@', (size_t)(at - host))) {
        *reason = "it has a user name: send an Authorization field instead";
        return GW_INVALID;
    }
    if (gw_authority_split(out->authority, &out->host, &out->port) != GW_OK) {
        *reason = "it has no host, or one that cannot be";
        return GW_INVALID;
    }
    const char *path = at;
    while (at < end && *at != '?' && *at != '#')
        at++;
    out->path = at > path ? gw_slice_of(path, (size_t)(at - path)) : GW_SLICE("/");
    out->query = GW_NO_SLICE;
    if (at < end && *at == '?') {
        const char *query = ++at;
        while (at < end && *at != '#')
            at++;
        out->query = gw_slice_of(query, (size_t)(at - query));
    }
    return GW_OK;
}
