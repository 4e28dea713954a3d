/* A gateway for tests, inside somebody else's Lua state: the real engine with one worker, on a loop by hand and a clock that stands still,
 * with socket pairs in place of the network. lua/gateway/testing*.lua plays the clients and the backends, and says how late it is.
 *
 * A module of C functions, as Lua's own are: what enters Lua again (the engine resumes coroutines of the same state) must not have been
 * called by the FFI. See lua/gateway/testing_core.lua for the words.
 *
 * Several gateways may be there at a time, one at a time runs; none is seen by the others (gw_registry_enter). */
#ifndef GW_SCRIPT_TESTING_H
#define GW_SCRIPT_TESTING_H

#include "base/base.h"
#include <lua.h>

/* Gives the module's table. */
GW_API int luaopen_gateway_testing_c(lua_State *L);

/* The library as Lua's own loader finds it in libgateway.so (LUA_CPATH="build/release/lib?.so;;"): the modules that are built in. */
GW_API int luaopen_gateway(lua_State *L);
GW_API int luaopen_gateway_testing(lua_State *L);
/* Runs a command that is a module of the library, in a state of its own that is as any Lua's: without cap or budget, and with the functions
 * above at hand. The module gives a function, which gets the words and gives the exit status. */
int gw_testing_command(const char *module, char *const words[], int count);
/* The same for one whose function gives text: malloc'ed, in *text. False: what went wrong stands there (NULL: memory is out). */
bool gw_testing_text(const char *module, const char *const words[], int count, char **text);

#endif
