/* Threads on one object: what they get together must be exactly what one thread would get. Compiled and run by balancers_threads_spec.lua,
 * with ThreadSanitizer; the argument is the number of threads. Prints what was wrong; exits 0 when nothing was. */
#include "policy/balancer.h"
#include "policy/passive.h"
#include "policy/retry_budget.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS_MOST = 16, SLOTS = 7, EACH = 7 * 9 * 300 };

static uint32_t threads;
static _Atomic uint32_t wrong;

#define CHECK(condition, ...)                                                                                                    \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            atomic_fetch_add(&wrong, 1);                                                                                         \
            fprintf(stderr, "line %d: %s: ", __LINE__, #condition);                                                              \
            fprintf(stderr, __VA_ARGS__);                                                                                        \
            fputc('\n', stderr);                                                                                                 \
        }                                                                                                                        \
    } while (0)

static struct {
    gw_balancer_config config;
    gw_balancer_table *table;
    gw_balancer_state state;
    gw_load load[SLOTS];
    _Atomic uint64_t taken[SLOTS];
    uint64_t excluded;
    bool ends; /* each request is done before the next */
    gw_passive passive;
    gw_passive_config passive_config;
    gw_retry_budget budget;
    gw_retry_budget_config budget_config;
    _Atomic uint32_t down, up, held, granted;
} t;

static pthread_barrier_t start;

typedef struct worker {
    void (*run)(uint32_t number);
    uint32_t number;
} worker;

static void *enter(void *data)
{
    worker *w = data;
    pthread_barrier_wait(&start);
    w->run(w->number);
    return NULL;
}

static void together(void (*run)(uint32_t number))
{
    pthread_t thread[THREADS_MOST];
    worker workers[THREADS_MOST];
    pthread_barrier_init(&start, NULL, threads);
    for (uint32_t i = 0; i < threads; i++) {
        workers[i] = (worker){run, i};
        if (pthread_create(&thread[i], NULL, enter, &workers[i]) != 0)
            abort();
    }
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&start);
}

static void set_up(const char *name, const uint32_t weights[SLOTS], uint32_t load_factor)
{
    memset(&t, 0, sizeof t);
    if (gw_balancer_config_init(&t.config, name) != GW_OK)
        abort();
    t.config.load_factor = load_factor;
    gw_balancer_slot slots[SLOTS];
    char names[SLOTS][16];
    for (uint32_t i = 0; i < SLOTS; i++) {
        int len = snprintf(names[i], sizeof names[i], "endpoint-%u", i);
        slots[i] = (gw_balancer_slot){{names[i], (size_t)len}, &t.load[i], weights[i], 0};
    }
    if (gw_balancer_table_new(&t.config, slots, SLOTS, &t.table) != GW_OK)
        abort();
    gw_balancer_state_init(&t.state, 0);
}

static void pick(uint32_t number)
{
    uint64_t random = number + 1;
    for (uint32_t i = 0; i < EACH; i++) {
        random = random * 6364136223846793005ULL + 1442695040888963407ULL;
        gw_balancer_query q = {.excluded = {t.excluded, NULL, 0}, .key = random, .random = random ^ random >> 29, .now = i};
        int slot = gw_balancer_pick(t.table, &t.state, &q);
        if (slot < 0 || t.excluded >> slot & 1) {
            CHECK(false, "slot %d", slot);
            return;
        }
        atomic_fetch_add_explicit(&t.taken[slot], 1, memory_order_relaxed);
        if (t.ends)
            gw_balancer_done(&t.config, &t.state, &t.load[slot], i, i % 50 != 0, (int64_t)(random >> 40));
    }
}

static const uint32_t alike[SLOTS] = {1, 1, 1, 1, 1, 1, 1}, various[SLOTS] = {3, 1, 1, 1, 1, 1, 1};

/* Whole turns: everybody has exactly its share. */
static void test_turns(const char *name, const uint32_t *weights, uint64_t excluded)
{
    set_up(name, weights, 0);
    t.excluded = excluded;
    together(pick);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < SLOTS; i++)
        sum += excluded >> i & 1 ? 0 : weights[i];
    uint64_t all = (uint64_t)EACH * threads;
    for (uint32_t i = 0; i < SLOTS; i++) {
        uint64_t least = excluded >> i & 1 ? 0 : all / sum * weights[i], most = all % sum ? least + weights[i] : least;
        CHECK(t.taken[i] >= least && t.taken[i] <= most, "%s: slot %u was taken %llu times, not %llu to %llu", name, i,
              (unsigned long long)t.taken[i], (unsigned long long)least, (unsigned long long)most);
    }
    gw_balancer_table_free(t.table);
}

/* Nobody is done: no slot ever takes a request while another has fewer for its weight. */
static void test_least(const uint32_t *weights)
{
    set_up("least_conn", weights, 0);
    together(pick);
    uint64_t sum = 0, all = (uint64_t)EACH * threads;
    for (uint32_t i = 0; i < SLOTS; i++)
        sum += weights[i];
    for (uint32_t i = 0; i < SLOTS; i++) {
        uint64_t fair = all * weights[i] / sum;
        CHECK(t.load[i].in_flight == t.taken[i], "slot %u counts %u", i, t.load[i].in_flight);
        CHECK(t.taken[i] + weights[i] >= fair && t.taken[i] <= fair + weights[i], "slot %u was taken %llu times, not about %llu", i,
              (unsigned long long)t.taken[i], (unsigned long long)fair);
    }
    gw_balancer_table_free(t.table);
}

/* Whatever the algorithm: when all are done, all counts are back at nothing, and no pick was lost. */
static void test_counts(const char *name, uint32_t load_factor)
{
    set_up(name, various, load_factor);
    t.ends = true;
    together(pick);
    uint64_t all = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        CHECK(t.load[i].in_flight == 0, "%s: slot %u counts %u", name, i, t.load[i].in_flight);
        all += t.taken[i];
    }
    CHECK(all == (uint64_t)EACH * threads && t.state.in_flight == 0, "%s: %llu, %u", name, (unsigned long long)all,
          t.state.in_flight);
    gw_balancer_table_free(t.table);
}

static void observe(uint32_t number)
{
    for (uint32_t i = 0; i < EACH; i++)
        gw_balancer_done(&t.config, &t.state, &t.load[0], 0, true, 1 + (int64_t)i * threads + number);
}

/* At one instant nothing fades: the highest peak stands, whoever saw it. */
static void test_peak(void)
{
    set_up("ewma", alike, 0);
    together(observe);
    uint32_t bits = (uint32_t)t.load[0].latency;
    float cost;
    memcpy(&cost, &bits, sizeof cost);
    CHECK(cost == (float)(EACH * threads), "%g", (double)cost);
    gw_balancer_table_free(t.table);
}

static void record(uint32_t number)
{
    (void)number;
    for (uint32_t i = 0; i < EACH; i++) {
        if (gw_passive_record(&t.passive, &t.passive_config, 5000000000, i % 3 == 0) == GW_HEALTH_DOWN)
            atomic_fetch_add(&t.down, 1);
    }
}

static void tick(uint32_t number)
{
    (void)number;
    for (int64_t now = 0; now < EACH; now++) {
        if (gw_passive_tick(&t.passive, 30000000000 + now * 1000000) == GW_HEALTH_UP)
            atomic_fetch_add(&t.up, 1);
    }
}

static void test_passive(void)
{
    memset(&t, 0, sizeof t);
    t.passive_config = (gw_passive_config){30000000000, 0, 0.5, UINT32_MAX};
    together(record);
    uint32_t succeeded, failed;
    gw_passive_counts(&t.passive, &t.passive_config, 5000000000, &succeeded, &failed);
    CHECK(succeeded == EACH / 3 * threads && failed == EACH / 3 * 2 * threads, "%u and %u", succeeded, failed);
    CHECK(t.down == 0, "%u", t.down);
    t.passive_config.min_requests = 100;
    together(record);
    CHECK(t.down == 1, "told %u times that it is down", t.down);
    together(tick);
    CHECK(t.up == 1, "told %u times that it is up", t.up);
}

static void spend(uint32_t number)
{
    (void)number;
    for (uint32_t i = 0; i < EACH; i++) {
        gw_retry_budget_enter(&t.budget);
        if (gw_retry_budget_take(&t.budget, &t.budget_config)) {
            uint32_t held = atomic_fetch_add(&t.held, 1) + 1;
            /* Live requests: 5 that stand, and at most one of each thread. */
            CHECK(held <= (5 + threads) / 2, "%u at the same time", held);
            atomic_fetch_add_explicit(&t.granted, 1, memory_order_relaxed);
            atomic_fetch_sub(&t.held, 1);
            gw_retry_budget_give(&t.budget);
        }
        gw_retry_budget_leave(&t.budget);
    }
}

static void test_budget(void)
{
    memset(&t, 0, sizeof t);
    t.budget_config = (gw_retry_budget_config){0.5, 0};
    for (int i = 0; i < 5; i++)
        gw_retry_budget_enter(&t.budget);
    together(spend);
    CHECK(gw_retry_budget_requests(&t.budget) == 5, "%u", gw_retry_budget_requests(&t.budget));
    CHECK(gw_retry_budget_retries(&t.budget) == 0, "%u", gw_retry_budget_retries(&t.budget));
    CHECK(t.granted >= EACH, "%u", t.granted);
}

int main(int argc, char **argv)
{
    threads = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    if (threads < 1 || threads > THREADS_MOST)
        return 2;
    test_turns("round_robin", alike, 0);
    test_turns("round_robin", alike, 0x14);
    test_turns("weighted", various, 0);
    test_turns("weighted", various, 0x6);
    test_turns("weighted", various, 0x1);
    test_least(alike);
    test_least(various);
    static const char *const names[] = {"round_robin", "weighted", "least_conn", "hash", "maglev", "ewma", "random"};
    for (size_t i = 0; i < GW_COUNT(names); i++)
        test_counts(names[i], 0);
    test_counts("hash", 125);
    test_counts("maglev", 125);
    test_peak();
    test_passive();
    test_budget();
    return wrong != 0;
}
