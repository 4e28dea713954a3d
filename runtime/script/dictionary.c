#include "script/api.h"
#include <math.h>
#include <stdatomic.h>

_Static_assert((int)GW_LUA_VALUE_NONE == (int)GW_VALUE_NONE && (int)GW_LUA_VALUE_STRING == (int)GW_VALUE_STRING &&
                   (int)GW_LUA_VALUE_NUMBER == (int)GW_VALUE_NUMBER && (int)GW_LUA_VALUE_FALSE == (int)GW_VALUE_FALSE &&
                   (int)GW_LUA_VALUE_TRUE == (int)GW_VALUE_TRUE && (int)GW_LUA_DICTIONARY_ADD == (int)GW_DICTIONARY_ADD &&
                   (int)GW_LUA_DICTIONARY_REPLACE == (int)GW_DICTIONARY_REPLACE,
               "Lua knows types and modes by the same numbers");

static int64_t now_of(const gw_lua_dictionary *h)
{
    return gw_now_clamp(gw_lua_now(h->now, h->manual));
}

static int64_t end_of(double ttl, int64_t now)
{
    int64_t span = ttl > 0 ? gw_now_span(ttl) : -1;
    return span < 0 ? GW_DICTIONARY_FOR_EVER : now + span;
}

static gw_value value_of(const gw_lua_value *v)
{
    return (gw_value){v->type, gw_slice_of(v->text, v->type == GW_VALUE_STRING ? (size_t)v->length : 0), v->number};
}

int gw_lua_dictionary_get(gw_lua_dictionary *h, const char *key, size_t len, char *room, size_t room_bytes, gw_lua_value *out)
{
    size_t length = 0;
    int status =
        gw_dictionary_get(h->object, gw_slice_of(key, len), now_of(h), room, room_bytes, &out->type, &length, &out->number);
    out->length = (double)length;
    return status == GW_OK ? out->type : status == GW_NOTFOUND ? GW_VALUE_NONE : status;
}

int gw_lua_dictionary_put(gw_lua_dictionary *h, const char *key, size_t len, int type, const char *text, size_t text_len,
                          double number, double ttl, int mode)
{
    int64_t now = now_of(h);
    gw_value value = {type, gw_slice_of(text, text_len), number};
    return gw_dictionary_put(h->object, gw_slice_of(key, len), &value, end_of(ttl, now), mode, NULL, now);
}

int gw_lua_dictionary_compare(gw_lua_dictionary *h, const char *key, size_t len, const gw_lua_value *expected,
                              const gw_lua_value *value, double ttl)
{
    int64_t now = now_of(h);
    gw_value is = value_of(expected), becomes = value_of(value);
    return gw_dictionary_put(h->object, gw_slice_of(key, len), &becomes, end_of(ttl, now), GW_DICTIONARY_COMPARE, &is, now);
}

int gw_lua_dictionary_incr(gw_lua_dictionary *h, const char *key, size_t len, double n, double init, double ttl,
                           gw_lua_value *out)
{
    int64_t now = now_of(h);
    return gw_dictionary_incr(h->object, gw_slice_of(key, len), n, isnan(init) ? NULL : &init, end_of(ttl, now), now,
                              &out->number);
}

int gw_lua_dictionary_delete(gw_lua_dictionary *h, const char *key, size_t len)
{
    return gw_dictionary_delete(h->object, gw_slice_of(key, len), now_of(h));
}

double gw_lua_dictionary_ttl(gw_lua_dictionary *h, const char *key, size_t len)
{
    int64_t now = now_of(h), expires;
    if (gw_dictionary_ends(h->object, gw_slice_of(key, len), now, &expires) != GW_OK)
        return -1;
    return expires == GW_DICTIONARY_FOR_EVER ? INFINITY : gw_now_seconds(expires - now);
}

int gw_lua_dictionary_expire(gw_lua_dictionary *h, const char *key, size_t len, double ttl)
{
    int64_t now = now_of(h);
    return gw_dictionary_expire(h->object, gw_slice_of(key, len), end_of(ttl, now), now);
}

void gw_lua_dictionary_clear(gw_lua_dictionary *h)
{
    gw_dictionary_clear(h->object);
}

void gw_lua_dictionary_stats_read(gw_lua_dictionary *h, gw_lua_dictionary_stats *out)
{
    gw_dictionary_stats s;
    gw_dictionary_read_stats(h->object, &s);
    *out = (gw_lua_dictionary_stats){
        .entries = (double)s.entries,
        .bytes = (double)s.bytes,
        .capacity = (double)s.capacity,
        .share = (double)s.share,
        .hits = (double)s.hits,
        .misses = (double)s.misses,
        .evicted = (double)s.evicted,
        .expired = (double)s.expired,
        .refused = (double)s.refused,
    };
}

double gw_lua_dictionary_token(void)
{
    static _Atomic uint64_t last;
    return (double)(atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1);
}
