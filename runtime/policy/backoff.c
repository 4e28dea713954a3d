#include "policy/backoff.h"

int64_t gw_backoff(int64_t base, int64_t most, uint32_t retry, uint64_t random)
{
    if (base <= 0 || most <= 0)
        return 0;
    int64_t range = base;
    for (uint32_t i = 0; i < retry && range < most; i++)
        range = range > most / 2 ? most : range * 2;
    if (range > most)
        range = most;
    return (int64_t)((unsigned __int128)random * ((uint64_t)range + 1) >> 64);
}
