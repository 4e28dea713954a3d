/* What the build puts into the program: the library of lua/gateway/, the shipped plugins and the text for ffi.cdef (runtime/script/embed.cmake makes both). */
#ifndef GW_SCRIPT_EMBEDDED_H
#define GW_SCRIPT_EMBEDDED_H

#include <stddef.h>

struct gw_embedded {
    const char *name;  /* of the module: "gateway", "gateway.ffi"; of a plugin's file: "plugins.cors", "plugins.geo.parts" */
    const char *chunk; /* for messages: "@lua/gateway/ffi.lua" */
    const char *bytes; /* a NUL follows them */
    size_t len;
};

extern const struct gw_embedded gw_embedded_files[]; /* gw_embedded_count of them, sorted by path, then one of NULLs */
extern const size_t gw_embedded_count;

/* runtime/script/api.h after the preprocessor, without what includes bring; a NUL follows. */
extern const char gw_api_cdef[];
extern const size_t gw_api_cdef_len;

#endif
