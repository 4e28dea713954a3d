/* What scripts need of runtime/secure, and CIDR sets: crypto, regular expressions, base64, JSON. Part of api.h: Lua sees this. */
#ifndef GW_SCRIPT_SECURE_API_H
#define GW_SCRIPT_SECURE_API_H

#include "script/waits.h"
#include "secure/base64.h"
#include "secure/digest.h"
#include "secure/json.h"
#include "secure/key.h"
#include "secure/owned.h"
#include "secure/password.h"
#include "secure/regex.h"

#ifdef GW_CDEF
#define GW_API
#endif

/* Begins to check a password against a hash, on another thread (waits.h). NULL: waits->status says why; LIMIT also when too many are checked
 * already, NOTFOUND: hash or password are longer than any. */
GW_API void *gw_lua_password(gw_lua_waits *waits, const char *hash, size_t hash_len, const char *password, size_t len);
GW_API int gw_lua_password_result(void *wait); /* when it is over: as gw_password_check */

typedef struct gw_lua_cidr gw_lua_cidr;

/* A set of CIDR blocks (net/address.h); NULL: memory is out. */
GW_API gw_lua_cidr *gw_lua_cidr_new(void);
/* OK; INVALID with *reason; NOMEM. */
GW_API int gw_lua_cidr_add(gw_lua_cidr *set, const char *block, size_t len, const char **reason);
/* 1: the address (text, as request.client_ip is) is in one of the blocks; 0: it is not; INVALID: it is no address. */
GW_API int gw_lua_cidr_has(const gw_lua_cidr *set, const char *ip, size_t len);

/* From now on the object (one that begins with a gw_owned) goes with the Lua state, unless gw_owned_drop comes first. holder NULL: a state
 * that always lives to its end, and whose collector drops what it owns. */
GW_API void gw_lua_own(void *holder, void *object);

#endif
