/* Character classes of HTTP/1.1 and URIs, one table lookup each, and the one test of field values that is done by the word.
 * Private to this folder. */
#ifndef GW_HTTP_CHARS_H
#define GW_HTTP_CHARS_H

#include "base/base.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    GW_CHAR_TOKEN = 0x01,      /* tchar, RFC 9110 section 5.6.2 */
    GW_CHAR_VALUE = 0x02,      /* in a field value: HTAB, SP, visible ASCII, obs-text; no other control */
    GW_CHAR_TARGET = 0x04,     /* in a request target: visible ASCII but '#' */
    GW_CHAR_PLAIN = 0x08,      /* in a path and never touched by normalisation: of the target, but none of / ? % \ */
    GW_CHAR_HOST = 0x10,       /* in a host name: unreserved and sub-delims without ',' (a list of hosts is no host) */
    GW_CHAR_HEX = 0x20,        /* hexadecimal digit */
    GW_CHAR_UNRESERVED = 0x40, /* RFC 3986 section 2.3 */
};

extern const uint8_t gw_char_classes[256];

static inline bool gw_char_is(char c, unsigned classes)
{
    return gw_char_classes[(unsigned char)c] & classes;
}

static inline bool gw_char_is_space(char c) /* OWS */
{
    return c == ' ' || c == '\t';
}

static inline unsigned gw_char_hex(char c) /* of a GW_CHAR_HEX */
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

static inline uint64_t gw_word(const char *at) /* 8 bytes, unaligned */
{
    uint64_t w;
    memcpy(&w, at, sizeof w);
    return w;
}

static inline uint32_t gw_half(const char *at) /* 4 bytes, unaligned */
{
    uint32_t w;
    memcpy(&w, at, sizeof w);
    return w;
}

#define GW_BYTES(b) (0x0101010101010101ULL * (b))

/* Non-zero when one of 8 bytes is below 0x20 or is 0x7f (HTAB too: who asks looks closer). */
static inline uint64_t gw_word_controls(uint64_t w)
{
    uint64_t del = w ^ GW_BYTES(0x7f);
    return (((w - GW_BYTES(0x20)) & ~w) | ((del - GW_BYTES(0x01)) & ~del)) & GW_BYTES(0x80);
}

/* ASCII capitals of 8 bytes to small letters; every other byte stays, whatever it is. */
static inline uint64_t gw_word_lower(uint64_t w)
{
    uint64_t low = w & GW_BYTES(0x7f);
    uint64_t upper = (low + GW_BYTES(0x80 - 'A')) & ~(low + GW_BYTES(0x7f - 'Z')) & ~w & GW_BYTES(0x80);
    return w | upper >> 2;
}

/* memchr for short distances, without the call: in a head the next ':', CR or LF is mostly within two or three steps of 16. */
static inline const char *gw_find(const char *at, const char *end, char c)
{
#ifdef __SSE2__
    const __m128i wanted = _mm_set1_epi8(c);
    for (; end - at >= 16; at += 16) {
        int hits = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)at), wanted));
        if (hits)
            return at + __builtin_ctz((unsigned)hits);
    }
#endif
    for (; at < end; at++)
        if (*at == c)
            return at;
    return NULL;
}

/* Whether all bytes are of one class (exactly one bit). */
bool gw_chars_all(const char *at, size_t len, unsigned char_class);

typedef uint8_t gw_lanes __attribute__((vector_size(16)));

/* As gw_word_controls for 16 bytes, a lane each. */
static inline gw_lanes gw_lanes_controls(const char *at)
{
    gw_lanes v;
    memcpy(&v, at, sizeof v);
    return (gw_lanes)((v < 0x20) | (v == 0x7f));
}

/* Whether all bytes may stand in a field value. By 16, 8 or 4 at once, the last of them overlapping. */
static inline bool gw_chars_value(const char *at, size_t len)
{
    uint64_t controls;
    if (len >= 16) {
        const char *last = at + len - 16;
        gw_lanes found = gw_lanes_controls(last);
        for (; at < last; at += 16)
            found |= gw_lanes_controls(at);
        uint64_t halves[2];
        memcpy(halves, &found, sizeof halves);
        controls = halves[0] | halves[1];
        at = last + 16 - len;
    } else if (len >= 8) {
        controls = gw_word_controls(gw_word(at)) | gw_word_controls(gw_word(at + len - 8));
    } else if (len >= 4) {
        controls = gw_word_controls((uint64_t)gw_half(at) << 32 | gw_half(at + len - 4));
    } else {
        return gw_chars_all(at, len, GW_CHAR_VALUE);
    }
    return gw_likely(controls == 0) || gw_chars_all(at, len, GW_CHAR_VALUE);
}

#endif
