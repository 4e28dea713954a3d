#include "policy/active.h"

int gw_active_result(gw_active *a, const gw_active_config *config, bool ok)
{
    if (!a->known) {
        a->known = true;
        a->unhealthy = !ok;
        a->streak = 0;
        return ok ? GW_HEALTH_SAME : GW_HEALTH_DOWN;
    }
    if (ok == !a->unhealthy) {
        a->streak = 0;
        return GW_HEALTH_SAME;
    }
    uint32_t wanted = a->unhealthy ? config->rise : config->fall;
    if (++a->streak < wanted)
        return GW_HEALTH_SAME;
    a->streak = 0;
    a->unhealthy = !a->unhealthy;
    return a->unhealthy ? GW_HEALTH_DOWN : GW_HEALTH_UP;
}

int64_t gw_active_wait(const gw_active *a, const gw_active_config *config, uint64_t random)
{
    double share = (double)(random >> 11) * 0x1p-53; /* [0, 1) */
    if (!a->known)
        return (int64_t)((double)config->interval * share);
    bool slow = a->unhealthy && a->streak == 0 && config->unhealthy_interval > 0;
    double wait = (double)(slow ? config->unhealthy_interval : config->interval) * (1 + config->jitter * (2 * share - 1));
    return wait < 1 ? 1 : (int64_t)wait;
}
