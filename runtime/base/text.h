/* Text into a fixed piece of memory: never overruns, remembers that it was cut. For heads, JSON and messages. */
#ifndef GW_BASE_TEXT_H
#define GW_BASE_TEXT_H

#include "base/base.h"

typedef struct gw_text {
    char *at, *end;
    char *begin;
    bool cut; /* something did not fit */
} gw_text;

static inline gw_text gw_text_on(char *bytes, size_t cap)
{
    return (gw_text){.at = bytes, .end = bytes + cap, .begin = bytes};
}

static inline void gw_text_add(gw_text *t, const char *ptr, size_t len)
{
    if (gw_unlikely((size_t)(t->end - t->at) < len)) {
        t->cut = true;
        return;
    }
    memcpy(t->at, ptr, len);
    t->at += len;
}

#define gw_text_lit(t, literal) gw_text_add((t), "" literal, sizeof(literal) - 1)

static inline void gw_text_slice(gw_text *t, gw_slice s)
{
    if (s.len)
        gw_text_add(t, s.ptr, s.len);
}

void gw_text_u64(gw_text *t, uint64_t n);
void gw_text_hex(gw_text *t, uint64_t n); /* without leading zeros */
/* 64 bits as 16 hex digits, with leading zeros, the lowest bits first: for ids, where any order will do. */
static inline void gw_hex16(uint64_t bits, char out[16])
{
    for (int half = 0; half < 2; half++, bits >>= 32) {
        /* 32 bits at once: each nibble to its own byte, then '0' or 'a' - 10 added. */
        uint64_t w = (uint32_t)bits;
        w = (w | w << 16) & 0x0000ffff0000ffffULL;
        w = (w | w << 8) & 0x00ff00ff00ff00ffULL;
        w = (w | w << 4) & 0x0f0f0f0f0f0f0f0fULL;
        uint64_t letters = (w + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL;
        w += 0x3030303030303030ULL + letters * ('a' - '0' - 10);
        memcpy(out + half * 8, &w, sizeof w);
    }
}

void gw_text_fixed(gw_text *t, double value, int decimals); /* "0.001234"; decimals 0 to 9; no number: null */
void gw_text_printf(gw_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string with its quotes: control characters escaped, invalid UTF-8 replaced by U+FFFD, whatever the bytes are. All of it
 * or, when it does not fit, nothing. */
void gw_text_json(gw_text *t, gw_slice s);

/* Bytes of the well-formed UTF-8 sequence that bytes[0, len) begins with (len > 0), or minus the bytes that one U+FFFD replaces. */
int gw_utf8_sequence(const char *bytes, size_t len);

static inline gw_slice gw_text_done(const gw_text *t)
{
    return (gw_slice){t->begin, (size_t)(t->at - t->begin)};
}

#endif
