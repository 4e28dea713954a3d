#include "policy/retry_budget.h"
#include <stdatomic.h>

static const uint64_t REQUEST = 1ULL << 32, RETRY = 1;

static inline uint32_t requests_of(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static inline uint32_t retries_of(uint64_t word)
{
    return (uint32_t)word;
}

void gw_retry_budget_enter(gw_retry_budget *b)
{
    atomic_fetch_add_explicit(&b->word, REQUEST, memory_order_relaxed);
}

/* Takes one off the upper or the lower half, never below zero: a half that wrapped would spoil the other. */
static void take_off(gw_retry_budget *b, uint64_t one)
{
    uint64_t old = atomic_load_explicit(&b->word, memory_order_relaxed);
    while ((one == REQUEST ? requests_of(old) : retries_of(old)) != 0 &&
           !atomic_compare_exchange_weak_explicit(&b->word, &old, old - one, memory_order_relaxed, memory_order_relaxed))
        ;
}

void gw_retry_budget_leave(gw_retry_budget *b)
{
    take_off(b, REQUEST);
}

void gw_retry_budget_give(gw_retry_budget *b)
{
    take_off(b, RETRY);
}

bool gw_retry_budget_take(gw_retry_budget *b, const gw_retry_budget_config *config)
{
    uint64_t old = atomic_load_explicit(&b->word, memory_order_relaxed);
    do {
        uint32_t wanted = retries_of(old) + 1;
        /* A billionth for shares that binary fractions cannot say: 0.29 of 100 are 29. */
        if (wanted == 0 || (wanted > config->minimum && (double)wanted > config->share * requests_of(old) + 1e-9))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->word, &old, old + RETRY, memory_order_relaxed, memory_order_relaxed));
    return true;
}

uint32_t gw_retry_budget_requests(const gw_retry_budget *b)
{
    return requests_of(atomic_load_explicit(&b->word, memory_order_relaxed));
}

uint32_t gw_retry_budget_retries(const gw_retry_budget *b)
{
    return retries_of(atomic_load_explicit(&b->word, memory_order_relaxed));
}
