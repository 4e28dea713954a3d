/* Round robin over slots: one shared cursor, whichever worker asks, so that the sequence is one for the whole node. */
#ifndef GW_POLICY_ROUND_ROBIN_H
#define GW_POLICY_ROUND_ROBIN_H

#include "base/base.h"

/* The next slot of [0, count) whose bit in `tried` is not set (slots from 64 on have no bit); -1 when there is none. The cursor begins
 * at random (so that restarts do not all begin with the first) and moves one a pick. Any thread. */
GW_API int gw_round_robin_pick(_Atomic uint64_t *cursor, uint32_t count, uint64_t tried);

#endif
