#include "http/headers.h"

#include "http/chars.h"
#include "http/rules.h"

/* In step with enum gw_header_id; padded, so that the comparison by words may read past the end of a short name. */
static const char names[GW_H_COUNT][24] = {
    [GW_H_HOST] = "host",
    [GW_H_CONTENT_LENGTH] = "content-length",
    [GW_H_TRANSFER_ENCODING] = "transfer-encoding",
    [GW_H_CONNECTION] = "connection",
    [GW_H_KEEP_ALIVE] = "keep-alive",
    [GW_H_PROXY_CONNECTION] = "proxy-connection",
    [GW_H_TE] = "te",
    [GW_H_TRAILER] = "trailer",
    [GW_H_UPGRADE] = "upgrade",
    [GW_H_EXPECT] = "expect",
    [GW_H_PROXY_AUTHENTICATE] = "proxy-authenticate",
    [GW_H_PROXY_AUTHORIZATION] = "proxy-authorization",
    [GW_H_X_FORWARDED_FOR] = "x-forwarded-for",
    [GW_H_X_FORWARDED_PROTO] = "x-forwarded-proto",
    [GW_H_X_FORWARDED_HOST] = "x-forwarded-host",
    [GW_H_X_FORWARDED_PORT] = "x-forwarded-port",
    [GW_H_X_REAL_IP] = "x-real-ip",
    [GW_H_FORWARDED] = "forwarded",
    [GW_H_VIA] = "via",
    [GW_H_X_REQUEST_ID] = "x-request-id",
    [GW_H_TRACEPARENT] = "traceparent",
    [GW_H_TRACESTATE] = "tracestate",
    [GW_H_COOKIE] = "cookie",
    [GW_H_AUTHORIZATION] = "authorization",
    [GW_H_DATE] = "date",
    [GW_H_SERVER] = "server",
    [GW_H_SEC_WEBSOCKET_KEY] = "sec-websocket-key",
    [GW_H_CONTENT_TYPE] = "content-type",
    [GW_H_LOCATION] = "location",
    [GW_H_SET_COOKIE] = "set-cookie",
    [GW_H_HTTP2_SETTINGS] = "http2-settings",
};

/* Compares `name` with a small-letter name of the same length, without regard to ASCII case, in words that overlap at the end. */
static inline bool name_is(const char *name, size_t len, const char *lower)
{
    if (len >= 8) {
        for (size_t i = 0; i + 8 < len; i += 8)
            if (gw_word_lower(gw_word(name + i)) != gw_word(lower + i))
                return false;
        return gw_word_lower(gw_word(name + len - 8)) == gw_word(lower + len - 8);
    }
    if (len >= 4)
        return gw_word_lower((uint64_t)gw_half(name) << 32 | gw_half(name + len - 4)) ==
               ((uint64_t)gw_half(lower) << 32 | gw_half(lower + len - 4));
    return gw_slice_equal_nocase(gw_slice_of(name, len), gw_slice_of(lower, len));
}

/* The only known name that it can be, by length and first letter (where two agree, by one letter more). */
static inline enum gw_header_id candidate(const char *name, size_t len)
{
    char first = (char)(name[0] | 0x20);
    switch (len) {
    case 2:
        return GW_H_TE;
    case 3:
        return GW_H_VIA;
    case 4:
        return first == 'h' ? GW_H_HOST : GW_H_DATE;
    case 6:
        return first == 'c' ? GW_H_COOKIE : first == 'e' ? GW_H_EXPECT : GW_H_SERVER;
    case 7:
        return first == 'u' ? GW_H_UPGRADE : GW_H_TRAILER;
    case 8:
        return GW_H_LOCATION;
    case 9:
        return first == 'x' ? GW_H_X_REAL_IP : GW_H_FORWARDED;
    case 10:
        return first == 'c' ? GW_H_CONNECTION : first == 'k' ? GW_H_KEEP_ALIVE : first == 's' ? GW_H_SET_COOKIE : GW_H_TRACESTATE;
    case 11:
        return GW_H_TRACEPARENT;
    case 12:
        return first == 'c' ? GW_H_CONTENT_TYPE : GW_H_X_REQUEST_ID;
    case 13:
        return GW_H_AUTHORIZATION;
    case 14:
        return first == 'c' ? GW_H_CONTENT_LENGTH : GW_H_HTTP2_SETTINGS;
    case 15:
        return GW_H_X_FORWARDED_FOR;
    case 16:
        if (first == 'p')
            return GW_H_PROXY_CONNECTION;
        return (name[12] | 0x20) == 'h' ? GW_H_X_FORWARDED_HOST : GW_H_X_FORWARDED_PORT;
    case 17:
        return first == 't' ? GW_H_TRANSFER_ENCODING : first == 's' ? GW_H_SEC_WEBSOCKET_KEY : GW_H_X_FORWARDED_PROTO;
    case 18:
        return GW_H_PROXY_AUTHENTICATE;
    case 19:
        return GW_H_PROXY_AUTHORIZATION;
    default:
        return GW_H_OTHER;
    }
}

enum gw_header_id gw_header_id_of(gw_slice name)
{
    if (name.len == 0)
        return GW_H_OTHER;
    enum gw_header_id id = candidate(name.ptr, name.len);
    return id != GW_H_OTHER && name_is(name.ptr, name.len, names[id]) ? id : GW_H_OTHER;
}

const gw_header *gw_headers_by_id(const gw_headers *h, enum gw_header_id id)
{
    if (id == GW_H_OTHER || !gw_headers_has(h, id))
        return NULL;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->item[i].id == id)
            return &h->item[i];
    return NULL;
}

/* A known name is found by its id (and is absent at the cost of one bit); other names are compared. */
static int find(const gw_headers *h, enum gw_header_id id, gw_slice name, uint32_t from)
{
    if (id != GW_H_OTHER && !gw_headers_has(h, id))
        return -1;
    for (uint32_t i = from; i < h->count; i++) {
        const gw_header *f = &h->item[i];
        if (f->id == id && (id != GW_H_OTHER || gw_slice_equal_nocase(f->name, name)))
            return (int)i;
    }
    return -1;
}

int gw_headers_find(const gw_headers *h, gw_slice name, uint32_t from)
{
    return find(h, gw_header_id_of(name), name, from);
}

gw_slice gw_headers_joined(const gw_headers *h, gw_slice name, gw_arena *arena)
{
    enum gw_header_id id = gw_header_id_of(name);
    int first = find(h, id, name, 0);
    if (first < 0)
        return GW_NO_SLICE;
    int next = find(h, id, name, (uint32_t)first + 1);
    if (next < 0)
        return h->item[first].value;
    size_t len = h->item[first].value.len;
    for (int i = next; i >= 0; i = find(h, id, name, (uint32_t)i + 1))
        len += 2 + h->item[i].value.len;
    char *joined = gw_arena_bytes(arena, len);
    if (!joined)
        return GW_NO_SLICE;
    char *at = joined;
    for (int i = first; i >= 0; i = find(h, id, name, (uint32_t)i + 1)) {
        if (i != first) {
            *at++ = id == GW_H_COOKIE ? ';' : ',';
            *at++ = ' ';
        }
        if (h->item[i].value.len)
            memcpy(at, h->item[i].value.ptr, h->item[i].value.len);
        at += h->item[i].value.len;
    }
    return gw_slice_of(joined, len);
}

static int append(gw_headers *h, enum gw_header_id id, gw_slice name, gw_slice value)
{
    if (h->count >= GW_HEADERS_MAX)
        return GW_LIMIT;
    h->item[h->count++] = (gw_header){.name = name, .value = value, .id = (uint8_t)id};
    if (id != GW_H_OTHER)
        h->present |= 1ULL << id;
    return GW_OK;
}

int gw_headers_add(gw_headers *h, gw_slice name, gw_slice value)
{
    return append(h, gw_header_id_of(name), name, value);
}

/* Closes up over every field of that name from index `from` on. */
static int remove_from(gw_headers *h, enum gw_header_id id, gw_slice name, uint32_t from)
{
    int first = find(h, id, name, from);
    if (first < 0)
        return 0;
    uint32_t to = (uint32_t)first;
    for (uint32_t i = to + 1; i < h->count; i++) {
        const gw_header *f = &h->item[i];
        if (f->id != id || (id == GW_H_OTHER && !gw_slice_equal_nocase(f->name, name)))
            h->item[to++] = *f;
    }
    int removed = (int)(h->count - to);
    h->count = to;
    return removed;
}

int gw_headers_set(gw_headers *h, gw_slice name, gw_slice value)
{
    enum gw_header_id id = gw_header_id_of(name);
    int first = find(h, id, name, 0);
    if (first < 0)
        return append(h, id, name, value);
    /* What the gateway says itself, the peer's Connection did not name. */
    h->item[first].name = name;
    h->item[first].value = value;
    h->item[first].nominated = h->item[first].plain = false;
    remove_from(h, id, name, (uint32_t)first + 1);
    return GW_OK;
}

int gw_headers_remove(gw_headers *h, gw_slice name)
{
    enum gw_header_id id = gw_header_id_of(name);
    int removed = remove_from(h, id, name, 0);
    if (id != GW_H_OTHER)
        h->present &= ~(1ULL << id);
    return removed;
}

static char dashed(char c)
{
    return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool alike(gw_slice a, gw_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (dashed(a.ptr[i]) != dashed(b.ptr[i]))
            return false;
    return true;
}

int gw_headers_remove_alike(gw_headers *h, gw_slice name)
{
    uint32_t to = 0;
    int removed = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        const gw_header *f = &h->item[i];
        if (alike(f->name, name)) {
            if (f->id != GW_H_OTHER) /* the others of that id go as well */
                h->present &= ~(1ULL << f->id);
            removed++;
            continue;
        }
        if (to != i)
            h->item[to] = *f;
        to++;
    }
    h->count = to;
    return removed;
}

bool gw_header_is_hop_by_hop(const gw_header *h)
{
    const uint64_t hop_by_hop = 1ULL << GW_H_CONNECTION | 1ULL << GW_H_KEEP_ALIVE | 1ULL << GW_H_PROXY_CONNECTION |
                                1ULL << GW_H_TE | 1ULL << GW_H_TRAILER | 1ULL << GW_H_TRANSFER_ENCODING | 1ULL << GW_H_UPGRADE |
                                1ULL << GW_H_PROXY_AUTHENTICATE | 1ULL << GW_H_PROXY_AUTHORIZATION;
    return h->nominated || hop_by_hop >> h->id & 1;
}

bool gw_list_has_token(gw_slice value, gw_slice token)
{
    for (gw_slice element; gw_list_next(&value, &element);)
        if (gw_slice_equal_nocase(element, token))
            return true;
    return false;
}

bool gw_header_name_valid(gw_slice name)
{
    return name.len > 0 && gw_chars_all(name.ptr, name.len, GW_CHAR_TOKEN);
}

bool gw_header_value_valid(gw_slice value)
{
    return value.len == 0 || gw_chars_value(value.ptr, value.len);
}
