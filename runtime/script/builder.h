/* From a script's normalised spec to a generation. */
#ifndef GW_SCRIPT_BUILDER_H
#define GW_SCRIPT_BUILDER_H

#include "gateway/generation.h"
#include "script/messages.h"
#include <lua.h>

/* Fills `g` (its `script` is set) from the spec among the results that the registry holds under `results`. Names are looked up, each for at most resolve_seconds.
 * Everything that is wrong is told in `errors`; 0 when there was nothing, else GW_INVALID, or GW_NOMEM when memory is out. */
int gw_build(lua_State *L, int results, gw_generation *g, double resolve_seconds, gw_messages *errors, gw_messages *warnings);

#endif
