/* What a Lua state owns of runtime/secure: see secure_api.h. */
#include "script/api.h"

void gw_lua_own(void *holder, void *object)
{
    if (holder)
        gw_owned_add(&((gw_lua_holder *)holder)->owned, object);
}
