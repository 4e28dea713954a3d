#include "policy/health.h"

static inline bool passive_only(const gw_health_slot *s)
{
    return (s->down & (GW_HEALTH_DOWN_ACTIVE | GW_HEALTH_DOWN_PASSIVE | GW_HEALTH_DRAINED)) == GW_HEALTH_DOWN_PASSIVE;
}

static uint32_t ejected_by(const gw_health_slot *slots, uint32_t count, int64_t time)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += passive_only(&slots[i]) && slots[i].ejected_at <= time;
    return n;
}

/* Who stays ejected: whoever went before `time`, and the first `ties` of those that went at `time`. */
typedef struct quota {
    int64_t time;
    uint32_t ties;
} quota;

/* The time by which `most` had gone, by bisection: needs no memory. */
static quota find_quota(const gw_health_slot *slots, uint32_t count, uint32_t most)
{
    if (most == 0)
        return (quota){INT64_MIN, 0};
    if (ejected_by(slots, count, INT64_MAX) <= most)
        return (quota){INT64_MAX, count};
    int64_t low = INT64_MIN, high = INT64_MAX; /* the earliest with enough of them is in [low, high] */
    while (low < high) {
        int64_t middle = (int64_t)((uint64_t)low + ((uint64_t)high - (uint64_t)low) / 2);
        if (ejected_by(slots, count, middle) >= most)
            high = middle;
        else
            low = middle + 1;
    }
    uint32_t before = low == INT64_MIN ? 0 : ejected_by(slots, count, low - 1);
    return (quota){low, most - before};
}

static bool stays_ejected(const gw_health_slot *s, quota *q)
{
    if (s->ejected_at != q->time)
        return s->ejected_at < q->time;
    if (q->ties == 0)
        return false;
    q->ties--;
    return true;
}

static inline bool excluded_has(const uint64_t *excluded, uint32_t slot)
{
    return excluded[slot / 64] >> slot % 64 & 1;
}

/* The lowest group above `after` (-1: any) that has somebody who is not drained; -1: none. */
static int64_t next_group(const gw_health_slot *slots, uint32_t count, int64_t after)
{
    int64_t next = -1;
    for (uint32_t i = 0; i < count; i++) {
        int64_t group = slots[i].group;
        if (!(slots[i].down & GW_HEALTH_DRAINED) && group > after && (next < 0 || group < next))
            next = group;
    }
    return next;
}

static bool suffices(const gw_health_config *config, const gw_health_slot *slots, uint32_t count, const uint64_t *excluded,
                     int64_t group)
{
    uint64_t all = 0, healthy = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i].group != group || slots[i].down & GW_HEALTH_DRAINED)
            continue;
        all++;
        healthy += !excluded_has(excluded, i);
    }
    return healthy > 0 && healthy * 100 >= all * config->panic;
}

void gw_health_combine(const gw_health_config *config, const gw_health_slot *slots, uint32_t count, uint64_t *excluded,
                       gw_health_summary *summary)
{
    memset(summary, 0, sizeof *summary);
    memset(excluded, 0, (count + 63) / 64 * sizeof *excluded);
    for (uint32_t i = 0; i < count; i++)
        summary->drained += (slots[i].down & GW_HEALTH_DRAINED) != 0;
    uint32_t most = (uint32_t)(((uint64_t)(count - summary->drained) * config->max_ejected + 99) / 100);
    quota q = find_quota(slots, count, most);
    for (uint32_t i = 0; i < count; i++) {
        bool out = slots[i].down != 0;
        if (passive_only(&slots[i])) {
            out = stays_ejected(&slots[i], &q);
            summary->readmitted += !out;
        }
        excluded[i / 64] |= (uint64_t)out << i % 64;
        summary->healthy += !out;
    }
    int64_t group = next_group(slots, count, -1);
    while (group >= 0 && !suffices(config, slots, count, excluded, group))
        group = next_group(slots, count, group);
    summary->panic = group < 0 && summary->drained < count;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bit = 1ULL << i % 64;
        if (group >= 0 && slots[i].group < group)
            excluded[i / 64] |= bit;
        if (summary->panic)
            excluded[i / 64] =
                config->refuse || slots[i].down & GW_HEALTH_DRAINED ? excluded[i / 64] | bit : excluded[i / 64] & ~bit;
        summary->eligible += !excluded_has(excluded, i);
    }
}
