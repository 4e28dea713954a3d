/* Where LuaJIT (as Debian 12 ships it) does not survive that memory runs out, mended from outside.
 *
 * 1. lj_err_mem looks at L->base, which compiled code does not keep up to date: when an allocation fails in compiled code, the error is
 *    put on the stack at some earlier place, over live values or a frame. (Later versions set L->base there; this does the same.)
 * 2. A step of the collector that compiled code takes may make the table of strings smaller, for which it asks for memory; an error from
 *    there cannot be unwound. So this is never refused.
 *    Where LuaJIT keeps what is needed for both is learnt by watching it, once, when the first state is made; where the watching does not
 *    give one clear answer, as with a version whose layout is another, nothing is touched.
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
/* An allocator is about to give a state NULL. True: it may (L->base is brought up to date when compiled code runs). False: LuaJIT would not
 * survive it. `L`: the state's main thread. */
bool gw_luajit_refuse(lua_State *L);

#endif
