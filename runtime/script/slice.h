/* Borrowed bytes as Lua sees them. Part of api.h. */
#ifndef GW_SCRIPT_SLICE_H
#define GW_SCRIPT_SLICE_H

typedef struct gw_lua_slice {
    const char *ptr;
    size_t len;
} gw_lua_slice;

#endif
