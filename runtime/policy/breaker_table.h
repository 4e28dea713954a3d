/* Breakers keyed by anything, in a table of fixed size (keyed_table.h): at most max_keys are known, whatever keys come.
 *
 * When it is full, a new key takes the place of one not seen for long; breakers that are open or half-open go last. A key costs 360
 * bytes: two and a half slots of 16, with a breaker of 128 for each.
 *
 * A breaker that is handed out may become another key's when its own has not been asked for, for long: ask again for each request. Its
 * tickets are void then, so that late results harm nobody. */
#ifndef GW_POLICY_BREAKER_TABLE_H
#define GW_POLICY_BREAKER_TABLE_H

#include "policy/breaker.h"

#define GW_BREAKERS_MOST (1 << 20)

/* 256 bytes; breakers and slots stand behind it. */
typedef struct gw_breakers {
    gw_key_table table;
    gw_breaker_rules rules;
    gw_breaker *breakers; /* one for each slot */
    char apart[56];
} gw_breakers;

GW_API size_t gw_breakers_bytes(uint32_t max_keys); /* 0: max_keys is 0 or above GW_BREAKERS_MOST */
/* On gw_breakers_bytes(max_keys) zeroed bytes, aligned to 16. GW_OK or GW_INVALID. */
GW_API int gw_breakers_init(gw_breakers *t, const gw_breaker_settings *settings, uint32_t max_keys);
GW_API gw_breakers *gw_breakers_new(const gw_breaker_settings *settings,
                                    uint32_t max_keys); /* NULL: as above, or out of memory */
GW_API void gw_breakers_free(gw_breakers *t);
/* The key's breaker, made if need be. Never NULL. Any thread. */
GW_API gw_breaker *gw_breakers_of(gw_breakers *t, const char *key, size_t len, int64_t now);
/* The key's breaker, or NULL when it has none yet (so it is closed). */
GW_API gw_breaker *gw_breakers_find(const gw_breakers *t, const char *key, size_t len);
/* Other settings for all of them. They keep their states. GW_OK or GW_INVALID. */
GW_API int gw_breakers_change(gw_breakers *t, const gw_breaker_settings *settings);
/* Takes over what a table of another size knows, before anybody uses this one. */
GW_API void gw_breakers_adopt(gw_breakers *t, const gw_breakers *from, int64_t now);
/* Keys that it knows. */
GW_API uint32_t gw_breakers_count(const gw_breakers *t);

#endif
