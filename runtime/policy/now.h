/* Time in policy: nanoseconds of one monotonic clock, passed in. Answers about waiting are double seconds, because a double crosses
 * the FFI of LuaJIT unboxed, as an argument of int64_t does (a Lua number is converted on the way). */
#ifndef GW_POLICY_NOW_H
#define GW_POLICY_NOW_H

#include "base/base.h"

#ifndef GW_CDEF
/* Latest time, and longest span, that is reckoned with (73 years, so that sums never overflow). */
#define GW_NOW_MOST ((int64_t)1 << 61)
/* Workers read the clock once a loop turn, so one may be a little behind what another wrote. Up to this much is that; more is a clock
 * that was set back. */
#define GW_NOW_SLACK ((int64_t)1000000000)

static inline int64_t gw_now_clamp(int64_t now)
{
    return now < 0 ? 0 : now > GW_NOW_MOST ? GW_NOW_MOST : now;
}

static inline double gw_now_seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

/* Seconds to nanoseconds, rounded down; -1 for what is no span: not a number, below zero, too long. */
static inline int64_t gw_now_span(double seconds)
{
    double ns = seconds * 1e9;
    return ns >= 0 && ns <= (double)GW_NOW_MOST ? (int64_t)ns : -1;
}
#endif

#endif
