/* The guard: the one door through which a worker enters Lua.
 *
 * Whoever runs a coroutine of a state goes through gw_guard_resume and never calls lua_resume (nor lua_pcall, lua_cpcall with a function
 * of the script's) itself: what a script does in there may have no end, and here is where it is given one.
 *
 * What a caller must expect:
 *
 *   0, LUA_YIELD   as lua_resume says it
 *   LUA_ERR...     the same; the error stands on top of the coroutine's stack. A script that ran longer than its budget is such an error,
 *                  as long as it could be stopped by one
 *   GW_GUARD_ABANDONED
 *                  it could not: Lua was left from its middle, and the state is gone with everything in it: its lua_States, its tasks
 *                  (gw_task is a userdata), strings, cdata. Touch nothing of it, the coroutine included; nothing of it may be dropped,
 *                  unanchored or reported. Of `s` only the struct itself is there still, with s->L NULL. What the caller holds outside
 *                  (an exchange, a timer's node) it ends as after an error that has been logged: GW_CHAIN_FAILED.
 *
 * Exchanges suspended in the state (exchange->task) are told by the guard: their chains fail. Whatever else waits for something on behalf
 * of a coroutine, and would touch it when that comes, stands in the state's list of losers and is told before gw_guard_resume returns.
 *
 * On a worker's thread. Not from within Lua: an entry inside an entry is a mistake in the program. */
#ifndef GW_SCRIPT_GUARD_H
#define GW_SCRIPT_GUARD_H

#include "script/state.h"

#define GW_GUARD_ABANDONED (-1) /* LuaJIT's own are 0 and above */

/* lua_resume(co, arguments), guarded. */
int gw_guard_resume(gw_state *s, lua_State *co, int arguments);
/* The same unguarded, where it is known that nothing but the library's own code runs, which comes back: cheaper. Never ABANDONED. */
int gw_guard_resume_library(gw_state *s, lua_State *co, int arguments);
/* lua_cpcall and lua_pcall(s->L, 0, 0, 0), guarded likewise: what they call may be a script's (a finalizer, a __tostring). */
int gw_guard_cpcall(gw_state *s, lua_CFunction f, void *data);
int gw_guard_pcall(gw_state *s);

/* The last entry of this state was stopped, or left, for running too long: for how many seconds of CPU; 0: it was not. */
double gw_guard_overran(const gw_state *s);

/* ns of CPU for one entry; also for the one that is under way. */
void gw_guard_set_budget(gw_state *s, int64_t budget);

/* Gives the state up: losers told, what it holds of shared objects given back, its memory and machine code dropped. s->L is NULL after. */
void gw_guard_abandon(gw_state *s);

/* Machine code of LuaJIT's, told by script/luajit.c: each area is registered for unwinding, which is how it is known. `begin` lies at the
 * beginning of the area, behind LuaJIT's own head. */
typedef struct gw_code_area {
    gw_list link; /* of the state whose Lua runs; itself when it is not known */
    const char *begin;
    size_t bytes; /* of the area; 0: not known */
} gw_code_area;
void gw_guard_code_added(gw_code_area *a, const void *begin);
void gw_guard_code_gone(gw_code_area *a);

/* gw_loser.lost is called once, with the node out of the list already: it must not enter Lua and touches nothing of the state; it is also
 * called when the state is closed in order. */
static inline void gw_guard_add_loser(gw_state *s, gw_loser *l)
{
    gw_list_push_back(&s->losers, &l->link);
}
static inline void gw_guard_remove_loser(gw_loser *l)
{
    gw_list_remove(&l->link);
}
void gw_guard_tell_losers(gw_state *s);

#endif
