/* Threads that hammer one object, for threads_spec.lua and spec/bench/policy_limits, which compile it together with runtime/policy.
 *
 *     threads WHAT THREADS ROUNDS      prints what was counted, "name=number" a line
 *     threads bench WHAT THREADS OPS   prints "ns=N", the wall time of one operation
 *
 * All threads of a round start at once, and ask in a time that moves on under their hands. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "policy/adaptive.h"
#include "policy/breaker_table.h"
#include "policy/client_limiter.h"
#include "policy/concurrency.h"
#include "policy/sliding_window.h"
#include "policy/token_bucket.h"

#define THREADS_MOST 64
#define SECOND ((int64_t)1000000000)

static int threads, rounds;
static pthread_barrier_t barrier;
static _Atomic int64_t clock_ns;
static _Atomic long admitted, extra, twice;
static gw_token_bucket *bucket;
static gw_client_limiter *clients;
static gw_sliding_window *window;
static gw_keyed_window *windows;
static gw_concurrency *concurrency;
static gw_keyed_concurrency *keyed_concurrency;
static gw_adaptive *adaptive;
static gw_breaker *breaker;
static gw_breakers *breakers;

static int64_t tick(int64_t ns)
{
    return atomic_fetch_add(&clock_ns, ns) + ns;
}

static void wait_for_all(void)
{
    pthread_barrier_wait(&barrier);
}

/* The same, but awake: who wakes from a barrier one after the other never meets. */
static void start_together(void)
{
    static _Atomic long arrived;
    wait_for_all();
    long all = (arrived++ / threads + 1) * threads;
    for (int spins = 0; arrived < all; spins++) {
        if (spins % 1000 == 999)
            sched_yield();
    }
}

/* Asks, while time moves on, far more than is there; then at one last moment until it is refused. So all that there ever was is taken. */
static void take_all(double (*allow)(int64_t now))
{
    for (int i = 0; i < rounds; i++) {
        if (allow(tick(1000)) == 0)
            atomic_fetch_add(&admitted, 1);
    }
    wait_for_all();
    int64_t last = clock_ns;
    while (allow(last) == 0)
        atomic_fetch_add(&admitted, 1);
}

static double allow_bucket(int64_t now)
{
    return gw_token_bucket_allow(bucket, 1, now);
}

static double allow_client(int64_t now)
{
    return gw_client_limiter_allow(clients, "client", 6, 1, now);
}

static double allow_window(int64_t now)
{
    return gw_sliding_window_allow(window, 1, now);
}

static double allow_keyed_window(int64_t now)
{
    return gw_keyed_window_allow(windows, "client", 6, 1, now);
}

static void run_bucket(int id)
{
    (void)id;
    take_all(allow_bucket);
}

static void run_client(int id)
{
    (void)id;
    take_all(allow_client);
}

static void run_window(int id)
{
    (void)id;
    take_all(allow_window);
}

static void run_keyed_window(int id)
{
    (void)id;
    take_all(allow_keyed_window);
}

/* Every thread asks for each of many keys, in the same order and at once, as soon as it is new: each key gives its burst exactly. */
static void run_new_clients(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++) {
        char key[32];
        int len = snprintf(key, sizeof key, "client %d", i);
        start_together();
        for (int n = 0; n < 3; n++) {
            if (gw_client_limiter_allow(clients, key, (size_t)len, 1, SECOND) == 0)
                atomic_fetch_add(&admitted, 1);
        }
    }
}

/* A flood of new keys by all threads, more than the table holds, while one key is busy: nothing is evicted that is seen, and the table
 * holds no more than it may. */
static void run_flood(int id)
{
    for (int i = 0; i < rounds; i++) {
        char key[32];
        int len = snprintf(key, sizeof key, "%d %d", id, i);
        gw_client_limiter_allow(clients, key, (size_t)len, 1, SECOND);
        if (i % 4 == 0 && gw_client_limiter_allow(clients, "busy", 4, 1, SECOND) == 0)
            atomic_fetch_add(&admitted, 1);
        if (clients->table.held > clients->table.most)
            atomic_fetch_add(&extra, 1);
    }
}

static _Atomic int inside;

static void check_inside(int most)
{
    int now = atomic_fetch_add(&inside, 1) + 1;
    if (now > most)
        atomic_fetch_add(&extra, 1);
    atomic_fetch_add(&admitted, 1);
    atomic_fetch_sub(&inside, 1);
}

static void run_concurrency(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++) {
        if (gw_concurrency_enter(concurrency) == GW_OK) {
            check_inside(2);
            gw_concurrency_leave(concurrency);
        }
    }
}

/* Each round a new key, so that its first requests meet, and may claim two words. */
static void run_keyed_concurrency(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++) {
        char key[32];
        int len = snprintf(key, sizeof key, "key %d", i);
        start_together();
        int place = gw_keyed_concurrency_enter(keyed_concurrency, key, (size_t)len);
        if (place >= 0)
            check_inside(2);
        else
            atomic_fetch_add(&twice, 1);
        wait_for_all();
        if (id == 0 && gw_keyed_concurrency_in_flight(keyed_concurrency, key, (size_t)len) != (threads < 2 ? 1u : 2u))
            atomic_fetch_add(&extra, 1);
        wait_for_all();
        gw_keyed_concurrency_leave(keyed_concurrency, place);
    }
}

/* The model: a count for each key, of those who are inside for sure (raised after entering, lowered before leaving). Three keys, so that
 * most entrances are a key's first, and all the time keys come and go. */
#define MODEL_KEYS 3
static _Atomic int model[MODEL_KEYS];

static void model_step(uint64_t *random, int cap, int *places, int *keys, int *held)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    unsigned dice = (unsigned)(*random >> 33);
    if (*held && (*held == 2 || dice & 1)) {
        int k = --*held;
        model[keys[k]]--;
        gw_keyed_concurrency_leave(keyed_concurrency, places[k]);
        return;
    }
    int key = (int)(dice / 2 % MODEL_KEYS);
    char text[2] = {(char)('a' + key), 0};
    int place = gw_keyed_concurrency_enter(keyed_concurrency, text, 1);
    if (place < 0) {
        atomic_fetch_add(&twice, 1);
        return;
    }
    if (++model[key] > cap)
        atomic_fetch_add(&extra, 1);
    atomic_fetch_add(&admitted, 1);
    places[*held] = place;
    keys[(*held)++] = key;
}

static void run_keyed_model(int id)
{
    uint64_t random = (uint64_t)id + 1;
    int places[2], keys[2], held = 0;
    for (int i = 0; i < rounds; i++)
        model_step(&random, 2, places, keys, &held);
    while (held) {
        model[keys[--held]]--;
        gw_keyed_concurrency_leave(keyed_concurrency, places[held]);
    }
    wait_for_all();
    for (int k = 0; id == 0 && k < MODEL_KEYS; k++) {
        char text[2] = {(char)('a' + k), 0};
        if (gw_keyed_concurrency_in_flight(keyed_concurrency, text, 1))
            atomic_fetch_add(&extra, 1);
    }
}

/* As many threads as the cap, each in at most one place: nobody is ever refused, however first requests meet. */
static void run_keyed_room(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++) {
        int place = gw_keyed_concurrency_enter(keyed_concurrency, i & 1 ? "a" : "b", 1);
        if (place < 0)
            atomic_fetch_add(&extra, 1);
        else
            gw_keyed_concurrency_leave(keyed_concurrency, place);
    }
}

static void run_adaptive(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++) {
        if (gw_adaptive_enter(adaptive) == 0) {
            atomic_fetch_add(&admitted, 1);
            gw_adaptive_leave(adaptive, i % 100 ? 0.001 : -1, tick(100000));
        }
        uint32_t limit = gw_adaptive_limit(adaptive);
        if (limit < 2 || limit > 50)
            atomic_fetch_add(&extra, 1);
    }
}

/* Each round: open; all threads ask at the moment it may be probed: exactly 3 pass. Then they all fail, or all succeed, or are lost. */
static void run_probes(int id)
{
    static _Atomic int passed;
    for (int i = 0; i < rounds; i++) {
        if (id == 0) {
            gw_breaker_reset(breaker);
            gw_breaker_trip(breaker, clock_ns);
            atomic_fetch_add(&clock_ns, 10 * SECOND);
            passed = 0;
        }
        start_together();
        int64_t now = clock_ns;
        int tickets[8];
        for (int n = 0; n < 8; n++) {
            tickets[n] = gw_breaker_allow(breaker, now);
            if (tickets[n] != GW_BREAKER_REFUSED)
                atomic_fetch_add(&passed, 1);
        }
        wait_for_all();
        if (id == 0) {
            if (passed != 3)
                atomic_fetch_add(&extra, 1);
            admitted += passed;
            passed = 0;
        }
        wait_for_all();
        if (i % 3 == 2) {
            /* lost: after the lease, exactly 3 again, and the late results of the first three count for nothing */
            now += 5 * SECOND;
            start_together();
            for (int n = 0; n < 8; n++) {
                if (gw_breaker_allow(breaker, now) != GW_BREAKER_REFUSED)
                    atomic_fetch_add(&passed, 1);
            }
            wait_for_all();
            for (int n = 0; n < 8; n++)
                gw_breaker_failure(breaker, tickets[n], now);
            wait_for_all();
            if (id == 0 && (passed != 3 || gw_breaker_state(breaker, now) != GW_BREAKER_HALF_OPEN))
                atomic_fetch_add(&twice, 1);
        } else {
            for (int n = 0; n < 8; n++)
                (i % 3 ? gw_breaker_failure : gw_breaker_success)(breaker, tickets[n], now);
            wait_for_all();
            if (id == 0 && gw_breaker_state(breaker, now) != (i % 3 ? GW_BREAKER_OPEN : GW_BREAKER_CLOSED))
                atomic_fetch_add(&twice, 1);
        }
        wait_for_all();
    }
}

/* All report failures at once: it opens once for every 5 of them, no more, no less; results from before count for nothing. */
static void run_trips(int id)
{
    for (int i = 0; i < rounds; i++) {
        if (id == 0)
            gw_breaker_reset(breaker);
        wait_for_all();
        int ticket = gw_breaker_allow(breaker, 0);
        start_together();
        for (int n = 0; n < 5; n++)
            gw_breaker_failure(breaker, ticket, 0);
        wait_for_all();
        if (id == 0 && breaker->opened != (uint32_t)i + 1)
            atomic_fetch_add(&extra, 1);
        wait_for_all();
    }
    if (id == 0)
        admitted = breaker->opened;
}

/* Many keys, more than are held, from all threads, with results; nothing to count, much for ThreadSanitizer to see. */
static void run_breakers(int id)
{
    for (int i = 0; i < rounds; i++) {
        char key[32];
        int len = snprintf(key, sizeof key, "key %d", (i * 7 + id) % 100);
        int64_t now = tick(1000000);
        gw_breaker *b = gw_breakers_of(breakers, key, (size_t)len, now);
        int ticket = gw_breaker_allow(b, now);
        (i % 3 ? gw_breaker_success : gw_breaker_failure)(b, ticket, now);
        if (gw_breakers_count(breakers) > 20)
            atomic_fetch_add(&extra, 1);
    }
}

static void loop_bucket(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++)
        gw_token_bucket_allow(bucket, 1, (int64_t)i * 1000);
}

static void loop_client(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++)
        gw_client_limiter_allow(clients, "client", 6, 1, (int64_t)i * 1000);
}

static void loop_window(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++)
        gw_sliding_window_allow(window, 1, (int64_t)i * 1000);
}

static void loop_breaker(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++)
        gw_breaker_success(breaker, gw_breaker_allow(breaker, (int64_t)i * 1000), (int64_t)i * 1000);
}

static void loop_rate_breaker(int id)
{
    (void)id;
    for (int i = 0; i < rounds; i++)
        gw_breaker_success(breakers->breakers, gw_breaker_allow(breakers->breakers, (int64_t)i * 1000), (int64_t)i * 1000);
}

static const struct work {
    const char *name;
    void (*run)(int id);
} works[] = {{"bucket", run_bucket},
             {"client", run_client},
             {"window", run_window},
             {"keyed_window", run_keyed_window},
             {"new_clients", run_new_clients},
             {"flood", run_flood},
             {"concurrency", run_concurrency},
             {"keyed_concurrency", run_keyed_concurrency},
             {"keyed_model", run_keyed_model},
             {"keyed_room", run_keyed_room},
             {"adaptive", run_adaptive},
             {"probes", run_probes},
             {"trips", run_trips},
             {"breakers", run_breakers}},
  loops[] = {{"bucket", loop_bucket},
             {"client", loop_client},
             {"window", loop_window},
             {"breaker", loop_breaker},
             {"rate_breaker", loop_rate_breaker}};

static void (*run)(int id);

static void *main_of_thread(void *id)
{
    wait_for_all();
    run((int)(intptr_t)id);
    return NULL;
}

/* The objects, with settings that the spec knows. For the bench: never refusing. */
static int make(int bench)
{
    gw_breaker_settings five = {.failures = 5, .open_for = 10, .probes = 3, .lease = 5};
    gw_breaker_settings by_rate = {.error_rate = 0.5, .failures = 3, .open_for = 0.01, .lease = 0.01};
    gw_adaptive_settings limits = {.least = 2, .most = 50, .initial = 20, .interval = 0.01};
    bucket = gw_token_bucket_new(bench ? 1e8 : 1e5, bench ? 1e6 : 100);
    clients = gw_client_limiter_new(bench ? 1e6 : 1e9 / 12800, bench ? 1e6 : 100, 0, 5000);
    window = gw_sliding_window_new(bench ? 10000000 : 1000, bench ? 0.001 : 0.01);
    windows = gw_keyed_window_new(1000, 0.01, 100);
    concurrency = gw_concurrency_new(2);
    keyed_concurrency = gw_keyed_concurrency_new(2, 100);
    adaptive = gw_adaptive_new(&limits);
    breaker = gw_breaker_new(&five);
    breakers = gw_breakers_new(&by_rate, 20);
    return bucket && clients && window && windows && concurrency && keyed_concurrency && adaptive && breaker && breakers;
}

int main(int argc, char **argv)
{
    int bench = argc == 5;
    if (bench)
        argv++;
    const struct work *list = bench ? loops : works;
    size_t count = bench ? GW_COUNT(loops) : GW_COUNT(works);
    for (size_t i = 0; i < count && argc >= 4; i++) {
        if (strcmp(list[i].name, argv[1]) == 0)
            run = list[i].run;
    }
    threads = argc >= 4 ? atoi(argv[2]) : 0;
    rounds = argc >= 4 ? atoi(argv[3]) : 0;
    if (!run || threads < 1 || threads > THREADS_MOST || rounds < 1 || !make(bench))
        return 2;
    clock_ns = SECOND;
    if (run == run_flood || run == run_new_clients) {
        gw_client_limiter_free(clients);
        clients = gw_client_limiter_new(0.001, run == run_flood ? 10 : 5, 0, run == run_flood ? 200 : 100000);
        if (!clients)
            return 2;
    }
    if (run == run_keyed_room)
        gw_keyed_concurrency_change(keyed_concurrency, (uint32_t)threads);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + (bench ? 1 : 0));
    pthread_t ids[THREADS_MOST];
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, main_of_thread, (void *)(intptr_t)i))
            return 2;
    }
    struct timespec from, to;
    if (bench)
        wait_for_all();
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (bench) {
        double ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
        printf("ns=%.2f\n", ns / rounds); /* of one thread: it waits for the other ones' writes */
    } else {
        printf("admitted=%ld\nextra=%ld\ntwice=%ld\nspent=%lld\nheld=%u\n", admitted, extra, twice,
               (long long)(clock_ns - SECOND), (unsigned)clients->table.held);
    }
    gw_token_bucket_free(bucket);
    gw_client_limiter_free(clients);
    gw_sliding_window_free(window);
    gw_keyed_window_free(windows);
    gw_concurrency_free(concurrency);
    gw_keyed_concurrency_free(keyed_concurrency);
    gw_adaptive_free(adaptive);
    gw_breaker_free(breaker);
    gw_breakers_free(breakers);
    return 0;
}
