#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

/* Digits of n, at least `least` of them, so that they end before `end`; where they begin. Two at a time: divisions are what it costs. */
static inline char *digits_before(char *end, uint64_t n, int least)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354"
        "5556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
        "99";
    char *p = end;
    for (; n >= 100; n /= 100) {
        p -= 2;
        memcpy(p, pairs + n % 100 * 2, 2);
    }
    if (n >= 10) {
        p -= 2;
        memcpy(p, pairs + n * 2, 2);
    } else
        *--p = (char)('0' + n);
    while (end - p < least)
        *--p = '0';
    return p;
}

void gw_text_u64(gw_text *t, uint64_t n)
{
    char digits[20];
    char *p = digits_before(digits + sizeof digits, n, 1);
    gw_text_add(t, p, (size_t)(digits + sizeof digits - p));
}

void gw_text_hex(gw_text *t, uint64_t n)
{
    char digits[16];
    char *p = digits + sizeof digits;
    do
        *--p = "0123456789abcdef"[n & 15];
    while (n >>= 4);
    gw_text_add(t, p, (size_t)(digits + sizeof digits - p));
}

void gw_text_fixed(gw_text *t, double value, int decimals)
{
    static const uint64_t scales[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
    if (decimals < 0)
        decimals = 0;
    if (decimals > 9)
        decimals = 9;
    if (!__builtin_isfinite(value)) { /* JSON has no word for it */
        gw_text_lit(t, "null");
        return;
    }
    bool negative = value < 0;
    double scaled = (negative ? -value : value) * (double)scales[decimals] + 0.5;
    if (scaled >= 9e15) { /* past the whole numbers of a double */
        gw_text_printf(t, "%.*f", decimals, value);
        return;
    }
    uint64_t n = (uint64_t)scaled;
    char digits[24];
    char *p = digits + sizeof digits;
    if (decimals) {
        p = digits_before(p, n % scales[decimals], decimals);
        *--p = '.';
        n /= scales[decimals];
    }
    p = digits_before(p, n, 1);
    if (negative && (uint64_t)scaled)
        *--p = '-';
    gw_text_add(t, p, (size_t)(digits + sizeof digits - p));
}

void gw_text_printf(gw_text *t, const char *format, ...)
{
    /* vsnprintf wants room for a NUL that the text has no need of, so the last byte of the room comes by way of `small`. */
    char small[256];
    size_t room = (size_t)(t->end - t->at);
    va_list args;
    va_start(args, format);
    int n = room < sizeof small ? vsnprintf(small, sizeof small, format, args) : vsnprintf(t->at, room, format, args);
    va_end(args);
    if (n < 0)
        t->cut = true;
    else if (room < sizeof small && (size_t)n < sizeof small)
        gw_text_add(t, small, (size_t)n);
    else if ((size_t)n < room)
        t->at += n;
    else
        t->cut = true;
}

/* What a byte is to a JSON string. */
enum { PLAIN, ESCAPE, HIGH };

static inline int kind(unsigned char c)
{
    return c >= 0x80 ? HIGH : c < 0x20 || c == '"' || c == '\\' ? ESCAPE : PLAIN;
}

/* Length of the well-formed UTF-8 sequence at p (Unicode table 3-7), or minus the number of bytes that one U+FFFD stands for (the
 * "maximal subpart" of Unicode section 3.9). */
int gw_utf8_sequence(const char *bytes, size_t len)
{
    const unsigned char *p = (const unsigned char *)bytes;
    unsigned char c = p[0], low = 0x80, high = 0xbf;
    int more;
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        more = 1;
    else if (c >= 0xe0 && c <= 0xef)
        more = 2, low = c == 0xe0 ? 0xa0 : 0x80, high = c == 0xed ? 0x9f : 0xbf;
    else if (c >= 0xf0 && c <= 0xf4)
        more = 3, low = c == 0xf0 ? 0x90 : 0x80, high = c == 0xf4 ? 0x8f : 0xbf;
    else
        return -1;
    for (int i = 1; i <= more; i++) {
        if ((size_t)i >= len || p[i] < low || p[i] > high)
            return -i;
        low = 0x80, high = 0xbf;
    }
    return more + 1;
}

static void escape(gw_text *t, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char two[2] = {'\\', 0}, six[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    switch (c) {
    case '"':
    case '\\':
        two[1] = (char)c;
        break;
    case '\b':
        two[1] = 'b';
        break;
    case '\f':
        two[1] = 'f';
        break;
    case '\n':
        two[1] = 'n';
        break;
    case '\r':
        two[1] = 'r';
        break;
    case '\t':
        two[1] = 't';
        break;
    default:
        gw_text_add(t, six, sizeof six);
        return;
    }
    gw_text_add(t, two, sizeof two);
}

/* Not 0 when one of eight bytes needs a look: below 0x20, a quote, a backslash, or not ASCII (each by the borrow that it causes; a byte
 * behind one that does may be taken for one, too). */
static inline uint64_t suspicious(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101ULL, tops = 0x8080808080808080ULL;
    uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
    return ((w - ones * 0x20) | (quote - ones) | (slash - ones) | w) & tops;
}

static inline bool all_plain(gw_slice s)
{
    uint64_t w;
    if (s.len < 8) {
        for (size_t i = 0; i < s.len; i++)
            if (kind((unsigned char)s.ptr[i]) != PLAIN)
                return false;
        return true;
    }
    for (size_t i = 0; i + 8 < s.len; i += 8) {
        memcpy(&w, s.ptr + i, 8);
        if (suspicious(w))
            return false;
    }
    memcpy(&w, s.ptr + s.len - 8, 8); /* some of these for the second time */
    return !suspicious(w);
}

void gw_text_json(gw_text *t, gw_slice s)
{
    if (gw_likely((size_t)(t->end - t->at) >= s.len + 2 && all_plain(s))) {
        char *at = t->at;
        *at++ = '"';
        if (s.len)
            memcpy(at, s.ptr, s.len);
        at += s.len;
        *at++ = '"';
        t->at = at;
        return;
    }
    gw_text before = *t;
    t->cut = false;
    gw_text_lit(t, "\"");
    size_t i = 0;
    while (i < s.len && !t->cut) {
        size_t from = i;
        while (i < s.len && kind((unsigned char)s.ptr[i]) == PLAIN)
            i++;
        if (i > from)
            gw_text_add(t, s.ptr + from, i - from);
        if (i == s.len)
            break;
        if (kind((unsigned char)s.ptr[i]) == ESCAPE) {
            escape(t, (unsigned char)s.ptr[i++]);
            continue;
        }
        int n = gw_utf8_sequence(s.ptr + i, s.len - i);
        if (n > 0) {
            gw_text_add(t, s.ptr + i, (size_t)n);
            i += (size_t)n;
        } else {
            gw_text_lit(t, "\xef\xbf\xbd");
            i += (size_t)-n;
        }
    }
    gw_text_lit(t, "\"");
    if (t->cut)
        t->at = before.at;
    t->cut |= before.cut;
}
