/* Socket addresses and IPs as text, strictly both ways. */
#include "net/address.h"
#include <arpa/inet.h>
#include <stdio.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* A decimal port, 0 to 65535, without sign or spaces. */
static bool parse_port(gw_slice text, uint16_t *port)
{
    if (text.len == 0 || text.len > 5)
        return false;
    uint32_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    if (n > 65535)
        return false;
    *port = (uint16_t)n;
    return true;
}

/* inet_pton wants a C string; its grammar is as strict as ours (no octal, no short forms, no zones). */
static bool parse_ip(int family, gw_slice text, void *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return inet_pton(family, copy, out) == 1;
}

/* Names as resolvers take them: letters, digits, '-', '_' and dots between labels of 1 to 63; a dot at the end is fine. */
static bool valid_name(gw_slice name)
{
    if (name.len == 0 || name.len > 254)
        return false;
    size_t label = 0;
    bool letters = false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
            continue;
        }
        bool digit = c >= '0' && c <= '9';
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if ((!digit && !letter && c != '-' && c != '_') || ++label > 63)
            return false;
        letters = letters || !digit;
    }
    return letters; /* "1.2.3" or "256.1.1.1" is a mistyped address, not a name */
}

static void set_v4(gw_address *out, struct in_addr ip, uint16_t port)
{
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(port);
    out->v4.sin_addr = ip;
    out->len = sizeof out->v4;
}

static void set_v6(gw_address *out, struct in6_addr ip, uint16_t port)
{
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(port);
    out->v6.sin6_addr = ip;
    out->len = sizeof out->v6;
}

static int parse_unix(gw_slice path, gw_address *out, const char **reason)
{
    if (path.len == 0 || memchr(path.ptr, 0, path.len)) {
        *reason = "a path is expected after \"unix:\"";
        return GW_INVALID;
    }
    if (path.len >= sizeof out->un.sun_path) {
        *reason = "the path of a unix socket may have at most 107 bytes";
        return GW_INVALID;
    }
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, path.ptr, path.len); /* the rest is zero */
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    return GW_ADDRESS_NUMERIC;
}

/* Splits "HOST:PORT", "[V6]:PORT", "HOST" or "[V6]"; a bare IPv6 without brackets is refused, its port would be a guess. */
static int split(gw_slice text, gw_slice *host, gw_slice *port, bool *brackets, const char **reason)
{
    *brackets = text.len > 0 && text.ptr[0] == '[';
    *port = GW_NO_SLICE;
    if (*brackets) {
        const char *close = memchr(text.ptr, ']', text.len);
        if (!close) {
            *reason = "\"[\" without \"]\"";
            return GW_INVALID;
        }
        *host = gw_slice_of(text.ptr + 1, (size_t)(close - text.ptr) - 1);
        gw_slice rest = gw_slice_of(close + 1, text.len - host->len - 2);
        if (rest.len == 0)
            return 0;
        if (rest.ptr[0] != ':') {
            *reason = "\":PORT\" is expected after \"]\"";
            return GW_INVALID;
        }
        *port = gw_slice_of(rest.ptr + 1, rest.len - 1);
        return 0;
    }
    const char *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
    if (!colon) {
        *host = text;
        return 0;
    }
    if (text.ptr + text.len - colon > 2 && colon[1] == '/' && colon[2] == '/') {
        *reason = "it is written without \"http://\": \"HOST:PORT\"";
        return GW_INVALID;
    }
    *host = gw_slice_of(text.ptr, (size_t)(colon - text.ptr));
    *port = gw_slice_of(colon + 1, text.len - host->len - 1);
    if (memchr(port->ptr, ':', port->len)) {
        *reason = "an IPv6 address needs brackets: \"[::1]:80\"";
        return GW_INVALID;
    }
    return 0;
}

int gw_address_parse(gw_slice text, int default_port, gw_address *out, gw_slice *name, uint16_t *port, const char **reason)
{
    memset(out, 0, sizeof *out);
    *name = GW_NO_SLICE;
    *port = 0;
    if (text.len >= 5 && memcmp(text.ptr, "unix:", 5) == 0)
        return parse_unix(gw_slice_of(text.ptr + 5, text.len - 5), out, reason);

    gw_slice host, port_text;
    bool brackets;
    if (split(text, &host, &port_text, &brackets, reason) < 0)
        return GW_INVALID;
    if (port_text.ptr) {
        if (!parse_port(port_text, port)) {
            *reason = "the port must be a number from 0 to 65535";
            return GW_INVALID;
        }
    } else if (default_port >= 0 && host.len) {
        *port = (uint16_t)default_port;
    } else {
        *reason = "\"HOST:PORT\" or \"unix:/path\" is expected";
        return GW_INVALID;
    }

    struct in_addr v4;
    struct in6_addr v6;
    if (brackets) {
        if (!parse_ip(AF_INET6, host, &v6)) {
            *reason = "an IPv6 address is expected between the brackets";
            return GW_INVALID;
        }
        set_v6(out, v6, *port);
        return GW_ADDRESS_NUMERIC;
    }
    if (host.len == 0 || (host.len == 1 && host.ptr[0] == '*')) {
        set_v6(out, in6addr_any, *port);
        out->both_families = true;
        return GW_ADDRESS_NUMERIC;
    }
    if (parse_ip(AF_INET, host, &v4)) {
        set_v4(out, v4, *port);
        return GW_ADDRESS_NUMERIC;
    }
    if (!valid_name(host)) {
        *reason = "an address or a host name is expected before the port";
        return GW_INVALID;
    }
    *name = host;
    return GW_ADDRESS_NAME;
}

/* The path's length, whether or not the kernel counted a NUL; 0 for an unnamed socket. */
static size_t path_len(const gw_address *a)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    return a->len > head ? strnlen(a->un.sun_path, a->len - head) : 0;
}

size_t gw_address_text(const gw_address *a, char out[GW_ADDRESS_TEXT])
{
    if (a->any.sa_family == AF_UNIX)
        return (size_t)snprintf(out, GW_ADDRESS_TEXT, "unix:%.*s", (int)path_len(a), a->un.sun_path);
    if (a->any.sa_family != AF_INET && a->any.sa_family != AF_INET6) {
        memcpy(out, "?", 2);
        return 1;
    }
    uint16_t port = ntohs(a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port);
    if (a->both_families)
        return (size_t)snprintf(out, GW_ADDRESS_TEXT, "*:%u", port);
    char ip[48];
    gw_ip parts = gw_ip_of(a);
    if (memcmp(parts.bytes, mapped, sizeof mapped) == 0) {
        gw_ip_text(&parts, ip);
        return (size_t)snprintf(out, GW_ADDRESS_TEXT, "%s:%u", ip, port);
    }
    inet_ntop(AF_INET6, &a->v6.sin6_addr, ip, sizeof ip);
    return (size_t)snprintf(out, GW_ADDRESS_TEXT, "[%s]:%u", ip, port);
}

bool gw_address_port_chosen(const gw_address *a)
{
    return a->any.sa_family == AF_INET ? a->v4.sin_port == 0 : a->any.sa_family == AF_INET6 && a->v6.sin6_port == 0;
}

bool gw_address_equal(const gw_address *a, const gw_address *b)
{
    if (a->any.sa_family != b->any.sa_family || a->both_families != b->both_families)
        return false;
    switch (a->any.sa_family) {
    case AF_INET:
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    case AF_INET6:
        return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
               memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
    case AF_UNIX: {
        size_t n = path_len(a);
        return n == path_len(b) && memcmp(a->un.sun_path, b->un.sun_path, n) == 0;
    }
    default:
        return false;
    }
}

bool gw_address_is_local(const gw_address *a)
{
    if (a->any.sa_family == AF_UNIX)
        return true;
    gw_ip ip = gw_ip_of(a);
    if (memcmp(ip.bytes, mapped, sizeof mapped) == 0)
        return ip.bytes[12] == 127;
    static const uint8_t one[16] = {[15] = 1};
    return memcmp(ip.bytes, one, sizeof one) == 0;
}

gw_ip gw_ip_of(const gw_address *a)
{
    gw_ip ip = {{0}};
    if (a->any.sa_family == AF_INET) {
        memcpy(ip.bytes, mapped, sizeof mapped);
        memcpy(ip.bytes + 12, &a->v4.sin_addr, 4);
    } else if (a->any.sa_family == AF_INET6) {
        memcpy(ip.bytes, &a->v6.sin6_addr, 16);
    }
    return ip;
}

/* Once a request, so by hand: inet_ntop goes through sprintf. */
static size_t v4_text(const uint8_t *bytes, char *out)
{
    char *at = out;
    for (int i = 0; i < 4; i++) {
        unsigned n = bytes[i];
        if (i)
            *at++ = '.';
        if (n >= 100)
            *at++ = (char)('0' + n / 100);
        if (n >= 10)
            *at++ = (char)('0' + n / 10 % 10);
        *at++ = (char)('0' + n % 10);
    }
    *at = 0;
    return (size_t)(at - out);
}

size_t gw_ip_text(const gw_ip *ip, char out[48])
{
    static const gw_ip none;
    if (memcmp(ip, &none, sizeof none) == 0) {
        memcpy(out, "unix", 5);
        return 4;
    }
    if (memcmp(ip->bytes, mapped, sizeof mapped) == 0)
        return v4_text(ip->bytes + 12, out);
    inet_ntop(AF_INET6, ip->bytes, out, 48);
    return strlen(out);
}

int gw_ip_parse(gw_slice text, gw_ip *out)
{
    uint16_t port;
    gw_slice host = text;
    memset(out, 0, sizeof *out);
    if (text.len == 0)
        return GW_INVALID;
    if (text.ptr[0] == '[') {
        const char *close = memchr(text.ptr, ']', text.len);
        if (!close)
            return GW_INVALID;
        host = gw_slice_of(text.ptr + 1, (size_t)(close - text.ptr) - 1);
        gw_slice rest = gw_slice_of(close + 1, text.len - host.len - 2);
        if (rest.len && (rest.ptr[0] != ':' || !parse_port(gw_slice_of(rest.ptr + 1, rest.len - 1), &port)))
            return GW_INVALID;
        return parse_ip(AF_INET6, host, out->bytes) ? 0 : GW_INVALID;
    }
    const char *dot = memchr(text.ptr, '.', text.len), *colon = memchr(text.ptr, ':', text.len);
    if (!dot || (colon && colon < dot)) /* "::ffff:1.2.3.4" has a dot behind its colons */
        return parse_ip(AF_INET6, text, out->bytes) ? 0 : GW_INVALID;
    if (colon) {
        host.len = (size_t)(colon - text.ptr);
        if (!parse_port(gw_slice_of(colon + 1, text.len - host.len - 1), &port))
            return GW_INVALID;
    }
    memcpy(out->bytes, mapped, sizeof mapped);
    return parse_ip(AF_INET, host, out->bytes + 12) ? 0 : GW_INVALID;
}
