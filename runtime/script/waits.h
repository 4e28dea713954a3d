/* Waiting as scripts see it. Part of api.h: Lua sees this.
 *
 * Something that is waited for is begun, which gives a handle; the coroutine leaves until it is over (and looks again each time that it is
 * woken: several waits share one coroutine in gateway.all), then takes the result and ends it. Ending one that is not over cancels it. What
 * a script does not end, ends with the request or the timer's run that it belongs to. Nothing here calls into Lua.
 *
 * Handles are good until they are ended. Lua's library keeps them to itself. */
#ifndef GW_SCRIPT_WAITS_H
#define GW_SCRIPT_WAITS_H

#ifndef GW_CDEF
#include "base/base.h"
#endif
#include "script/slice.h"

enum { GW_WAITS_MOST = 256 /* of one request or timer's run at once */ };

typedef struct gw_lua_waits { /* one a state */
    void *state;
    gw_lua_slice out, name; /* what the last call found */
    int status;             /* why the last call gave NULL: LIMIT, NOMEM; INVALID: nothing runs that could wait */
    int parallel;           /* gateway.all runs its functions: Lua counts */
} gw_lua_waits;

/* Those of the state that runs: `waits` itself, but in tests, where several gateways share one Lua state. */
GW_API gw_lua_waits *gw_lua_waits_here(gw_lua_waits *waits);
/* Over after so many seconds, at the loop's next turn at the earliest. NULL: waits->status says why. */
GW_API void *gw_lua_sleep(gw_lua_waits *waits, double seconds);
GW_API int gw_lua_wait_over(void *wait); /* 1: over */
GW_API void gw_lua_wait_end(void *wait);

#endif
