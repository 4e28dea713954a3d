/* What scripts need of runtime/secure, and CIDR sets: crypto, regular expressions, base64, JSON. Part of api.h: Lua sees this. */
#ifndef GW_SCRIPT_SECURE_API_H
#define GW_SCRIPT_SECURE_API_H

#include "secure/base64.h"
#include "secure/digest.h"
#include "secure/key.h"
#include "secure/owned.h"
#include "secure/password.h"

#ifdef GW_CDEF
#define GW_API
#endif

/* From now on the object (one that begins with a gw_owned) goes with the Lua state, unless gw_owned_drop comes first. holder NULL: a state
 * that always lives to its end, and whose collector drops what it owns. */
GW_API void gw_lua_own(void *holder, void *object);

#endif
