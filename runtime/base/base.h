/* Floor 0: the words everything else is written in: slices, statuses, a few macros.
 *
 * Statuses: every function of the runtime that can fail returns 0 or a negative `enum gw_status`. No errno crosses a floor:
 * who calls a system function turns errno into a status (and, where somebody will read it, a text) on the spot. */
#ifndef GW_BASE_BASE_H
#define GW_BASE_BASE_H

/* GW_CDEF: the preprocessor makes the text that LuaJIT's ffi.cdef reads. It knows the standard types already, and takes neither
 * system headers nor function bodies. */
#ifndef GW_CDEF
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define GW_API __attribute__((visibility("default"))) /* reachable from Lua through the FFI */
#else
#define GW_API
#endif

#define gw_likely(x) __builtin_expect(!!(x), 1)
#define gw_unlikely(x) __builtin_expect(!!(x), 0)
#define gw_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define GW_COUNT(array) (sizeof(array) / sizeof *(array))
#define GW_CACHE_LINE 64

enum gw_status {
    GW_OK = 0,
    GW_AGAIN = -1,    /* would block; the caller is called back */
    GW_EOF = -2,      /* the peer ended its side in order */
    GW_RESET = -3,    /* the peer or the network broke the connection */
    GW_NOMEM = -4,    /* malloc said no */
    GW_INVALID = -5,  /* input is not of the form that was asked for */
    GW_LIMIT = -6,    /* over a configured bound */
    GW_REFUSED = -7,  /* connection refused, host or network unreachable */
    GW_TIMEOUT = -8,  /* a deadline passed */
    GW_NOFILES = -9,  /* out of descriptors */
    GW_NOTFOUND = -10 /* no such name */
};

/* Borrowed bytes. Never NUL-terminated by promise. {NULL, 0} means "absent", {non-NULL, 0} means "empty". */
typedef struct gw_slice {
    const char *ptr;
    size_t len;
} gw_slice;

#define GW_SLICE(literal) ((gw_slice){"" literal, sizeof(literal) - 1})
#define GW_NO_SLICE ((gw_slice){NULL, 0})

#ifndef GW_CDEF
static inline gw_slice gw_slice_of(const char *ptr, size_t len)
{
    return (gw_slice){ptr, len};
}

static inline gw_slice gw_slice_str(const char *text)
{
    return (gw_slice){text, text ? strlen(text) : 0};
}

static inline bool gw_slice_equal(gw_slice a, gw_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Compares without regard to ASCII case. */
static inline bool gw_slice_equal_nocase(gw_slice a, gw_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        unsigned char x = (unsigned char)a.ptr[i], y = (unsigned char)b.ptr[i];
        if (x != y) {
            x |= 0x20, y |= 0x20;
            if (x != y || x < 'a' || x > 'z')
                return false;
        }
    }
    return true;
}
#endif

/* A word for a status, for log lines. */
GW_API const char *gw_status_text(int status);

#endif
