/* Included before everything else (-include): atomic operations after which the thread now and then lets others run, so that two cores show
 * the interleavings that many would. */
#ifndef GW_SPEC_STUMBLE_H
#define GW_SPEC_STUMBLE_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

static inline void stumble(void)
{
    static _Thread_local uint64_t random;
    if (!random)
        random = (uint64_t)(uintptr_t)&random;
    random = random * 6364136223846793005u + 1442695040888963407u;
    if (random >> 60 == 0)
        sched_yield();
}

#undef atomic_load
#undef atomic_compare_exchange_strong
#define atomic_load(at) (stumble(), atomic_load_explicit(at, memory_order_seq_cst))
#define atomic_compare_exchange_strong(at, old, new)                                                                             \
    (stumble(), atomic_compare_exchange_strong_explicit(at, old, new, memory_order_seq_cst, memory_order_seq_cst))

#endif
