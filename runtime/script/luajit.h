/* Where LuaJIT (as Debian 12 ships it) does not survive that memory runs out, mended from outside.
 *
 * 1. Compiled code: lj_err_mem looks at L->base, which compiled code does not keep up to date, and some instructions that may raise this
 *    error (new strings, new keys) are compiled as if they could not, so that values on the stack are garbage after it. The compiler: an
 *    error that is not one of its own can leave its traces half made. The collector: it makes the table of strings smaller when there
 *    are few, for which it asks for memory; an error from there is not survived in compiled code, and elsewhere the collector comes to a
 *    halt in that place until there is memory, which nobody else gives back. So all these are lent memory until what runs can be stopped
 *    (state.c). How to know them is learnt by watching LuaJIT, once, when the first state is made; where the watching does not give one
 *    clear answer, as with a version whose layout is another, nothing is lent.
 * 2. The interpreter's own functions: see gw_luajit_make_room.
 * 3. Each new area of machine code is registered for unwinding, for which libgcc takes memory without looking at what it got: the
 *    functions that LuaJIT calls for it are ours. */
#ifndef GW_SCRIPT_LUAJIT_H
#define GW_SCRIPT_LUAJIT_H

#include "base/base.h"
#include <lua.h>

/* Learns it; the first call counts. Any thread. */
void gw_luajit_learn(void);
/* It is known (for specs). */
GW_API bool gw_luajit_learnt(void);
/* Memory may be refused right now. `L`: the state's main thread. */
bool gw_luajit_survives(lua_State *L);
/* Before it is refused there: the interpreter's own functions (tostring, string.char) leave L->top where whatever ran before had it, and
 * lj_err_mem puts its message there: on a frame's link, at times. It goes onto their first argument. */
void gw_luajit_make_room(lua_State *L);
/* An allocator has to give NULL all the same: brings L->base up to date, the lesser evil. */
void gw_luajit_refuse(lua_State *L);
/* An area of machine code that will not be run again is no longer registered; the record is freed. */
struct gw_code_area;
void gw_luajit_forget_code(struct gw_code_area *a);

#endif
