/* Memory for what cannot do without: libev's own tables (it aborts the process when an allocation fails), and the little that LuaJIT
 * crashes without (script/luajit.h).
 *
 * A region of addresses is set aside at the start and touched only when malloc says no. The tables are few and double when they grow
 * (they are as long as the highest descriptor, or the events of a turn), so a region of this size outlasts every growth that a
 * process of a quarter of a million descriptors can see; connections meanwhile end by allocations of their own that fail. */
#ifndef GW_NET_RESERVE_H
#define GW_NET_RESERVE_H

#include "base/base.h"

#define GW_RESERVE_BYTES (16u << 20)

/* Sets the region aside and makes libev use it; the first call counts. Before any loop is made. */
void gw_reserve_open(void);

/* realloc and (size 0) free, where `grow` is realloc or a stand-in for it that specs let fail; the region when it gives NULL. NULL
 * when the region is used up too. Any thread. */
void *gw_reserve_realloc(void *ptr, size_t size, void *(*grow)(void *ptr, size_t size));

/* The pointer is to a block of the region. */
bool gw_reserve_owns(const void *ptr);

/* Bytes of the region that are in use. */
size_t gw_reserve_used(void);

#endif
