#include "policy/round_robin.h"
#include <stdatomic.h>

int gw_round_robin_pick(_Atomic uint64_t *cursor, uint32_t count, uint64_t tried)
{
    if (count == 0)
        return -1;
    uint32_t at = (uint32_t)(atomic_fetch_add_explicit(cursor, 1, memory_order_relaxed) % count);
    for (uint32_t i = 0; i < count; i++) {
        if (at >= 64 || !(tried >> at & 1))
            return (int)at;
        if (++at == count)
            at = 0;
    }
    return -1;
}
