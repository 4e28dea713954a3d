/* gateway.shared as scripts hold it: policy/dictionary.h behind a handle. Part of api.h: Lua sees this.
 *
 * Each call holds a shard's mutex for as long as it copies one value, and gives it back before it returns; the runaway guard leaves only
 * compiled Lua and LuaJIT itself by force, never a function of ours, so no lock stays behind. Spans are seconds; `ttl` 0 or below: for ever. */
#ifndef GW_SCRIPT_DICTIONARY_H
#define GW_SCRIPT_DICTIONARY_H

enum gw_lua_value_type { GW_LUA_VALUE_NONE = 0, GW_LUA_VALUE_STRING, GW_LUA_VALUE_NUMBER, GW_LUA_VALUE_FALSE, GW_LUA_VALUE_TRUE };
enum gw_lua_dictionary_mode { GW_LUA_DICTIONARY_SET = 0, GW_LUA_DICTIONARY_ADD, GW_LUA_DICTIONARY_REPLACE };

/* A value on its way in or out; text is borrowed, and only set on the way in. */
typedef struct gw_lua_value {
    const char *text;
    double length, number;
    int type, unused;
} gw_lua_value;

typedef struct gw_lua_dictionary_stats {
    double entries, bytes, capacity, share, hits, misses, evicted, expired, refused;
} gw_lua_dictionary_stats;

/* The value's type, with `out` filled and a string copied into room; GW_LUA_VALUE_NONE: no such key; LIMIT: out->length bytes are more than
 * room_bytes. */
GW_API int gw_lua_dictionary_get(gw_lua_dictionary *h, const char *key, size_t len, char *room, size_t room_bytes,
                                 gw_lua_value *out);
/* OK, LIMIT (too large), NOTFOUND (REPLACE), REFUSED (ADD). */
GW_API int gw_lua_dictionary_put(gw_lua_dictionary *h, const char *key, size_t len, int type, const char *text, size_t text_len,
                                 double number, double ttl, int mode);
/* OK, LIMIT, REFUSED: it is not what was expected. A value of GW_LUA_VALUE_NONE is "no such key", on both sides. */
GW_API int gw_lua_dictionary_compare(gw_lua_dictionary *h, const char *key, size_t len, const gw_lua_value *expected,
                                     const gw_lua_value *value, double ttl);
/* OK with the new number in out; NOTFOUND (no such key, and init is not a number), INVALID (another type), LIMIT. */
GW_API int gw_lua_dictionary_incr(gw_lua_dictionary *h, const char *key, size_t len, double n, double init, double ttl,
                                  gw_lua_value *out);
GW_API int gw_lua_dictionary_delete(gw_lua_dictionary *h, const char *key, size_t len); /* OK, NOTFOUND */
GW_API double gw_lua_dictionary_ttl(gw_lua_dictionary *h, const char *key, size_t len); /* -1: no such key; infinity */
GW_API int gw_lua_dictionary_expire(gw_lua_dictionary *h, const char *key, size_t len, double ttl); /* OK, NOTFOUND */
GW_API void gw_lua_dictionary_clear(gw_lua_dictionary *h);
GW_API void gw_lua_dictionary_stats_read(gw_lua_dictionary *h, gw_lua_dictionary_stats *out);
/* A number that no call has given before, in this process: who holds a lock. */
GW_API double gw_lua_dictionary_token(void);

#endif
