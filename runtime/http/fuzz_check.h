/* What the fuzz entries of this folder share. */
#ifndef GW_HTTP_FUZZ_CHECK_H
#define GW_HTTP_FUZZ_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"

#define CHECK(condition)                                                                                                         \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                                       \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/* A copy that ends where its memory ends, so that AddressSanitizer sees who reads on. */
static inline char *exact_copy(const void *bytes, size_t len)
{
    char *copy = malloc(len ? len : 1);
    CHECK(copy);
    if (len)
        memcpy(copy, bytes, len);
    return copy;
}

static inline bool inside(gw_slice s, const char *bytes, size_t len)
{
    return s.len == 0 ? s.ptr == NULL || (s.ptr >= bytes && s.ptr <= bytes + len)
                      : s.ptr >= bytes && s.ptr < bytes + len && s.len <= (size_t)(bytes + len - s.ptr);
}

#endif
