/* Threads that hammer one dictionary, for dictionary_spec.lua's sake (dictionary_threads_spec.lua compiles it with what it needs).
 *
 *     dictionary_threads WHAT THREADS ROUNDS     prints what was counted, "name=number" a line */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "policy/dictionary.h"

#define THREADS_MOST 64
#define LONGEST 20000

static int threads, rounds;
static pthread_barrier_t barrier;
static gw_dictionary *d;
static _Atomic long won, torn;

static gw_slice key_of(char *room, int i)
{
    return gw_slice_of(room, (size_t)sprintf(room, "key %d", i));
}

/* Every increment counts, whoever makes the key. */
static void run_incr(int id)
{
    (void)id;
    char room[32];
    double init = 0, result;
    for (int i = 0; i < rounds; i++)
        gw_dictionary_incr(d, key_of(room, i % 7), 1, &init, GW_DICTIONARY_FOR_EVER, 0, &result);
}

/* Each round a new key, for which all ask at once: one gets it. */
static void run_add(int id)
{
    char room[32];
    gw_value value = {GW_VALUE_NUMBER, GW_NO_SLICE, id};
    for (int i = 0; i < rounds; i++) {
        pthread_barrier_wait(&barrier);
        if (gw_dictionary_put(d, key_of(room, i), &value, GW_DICTIONARY_FOR_EVER, GW_DICTIONARY_ADD, NULL, 0) == GW_OK)
            atomic_fetch_add(&won, 1);
    }
}

/* Counts up by compare and set: as many succeed as it shows at the end. */
static void run_compare(int id)
{
    (void)id;
    gw_value none = {GW_VALUE_NONE, GW_NO_SLICE, 0};
    for (int i = 0; i < rounds; i++) {
        int type;
        size_t len;
        gw_value is = none, next = {GW_VALUE_NUMBER, GW_NO_SLICE, 1};
        if (gw_dictionary_get(d, GW_SLICE("count"), 0, NULL, 0, &type, &len, &is.number) == GW_OK) {
            is.type = type;
            next.number = is.number + 1;
        }
        if (gw_dictionary_put(d, GW_SLICE("count"), &next, GW_DICTIONARY_FOR_EVER, GW_DICTIONARY_COMPARE, &is, 0) == GW_OK)
            atomic_fetch_add(&won, 1);
    }
}

/* Values of one letter and all lengths, over few keys in little room, which also end, are deleted, cleared and counted: nobody ever reads a
 * mixture. */
static void run_mix(int id)
{
    char room[32], *text = malloc(LONGEST), *out = malloc(LONGEST);
    unsigned seed = (unsigned)id + 1;
    gw_dictionary_stats stats;
    for (int i = 0; text && out && i < rounds; i++) {
        gw_slice key = key_of(room, rand_r(&seed) % 40);
        int what = rand_r(&seed) % 16, type;
        size_t len = (size_t)(rand_r(&seed) % (i % 8 ? 300 : LONGEST));
        double number;
        if (what < 6) {
            memset(text, 'a' + rand_r(&seed) % 26, len);
            gw_value value = {GW_VALUE_STRING, gw_slice_of(text, len), 0};
            gw_dictionary_put(d, key, &value, what == 0 ? i + 50 : GW_DICTIONARY_FOR_EVER, GW_DICTIONARY_SET, NULL, i);
        } else if (what == 6) {
            gw_dictionary_delete(d, key, i);
        } else if (what == 7 && i % 512 == 0) {
            gw_dictionary_clear(d);
        } else if (what == 8 && i % 64 == 0) {
            gw_dictionary_read_stats(d, &stats);
            if (stats.bytes > stats.capacity)
                atomic_fetch_add(&torn, 1);
        } else if (gw_dictionary_get(d, key, i, out, LONGEST, &type, &len, &number) == GW_OK) {
            atomic_fetch_add(&won, 1);
            for (size_t at = 1; at < len; at++) {
                if (out[at] != out[0]) {
                    atomic_fetch_add(&torn, 1);
                    break;
                }
            }
        }
    }
    free(text);
    free(out);
}

static const struct work {
    const char *name;
    void (*run)(int id);
    size_t bytes;
} works[] = {
    {"incr", run_incr, 1 << 20}, {"add", run_add, 16 << 20}, {"compare", run_compare, 1 << 20}, {"mix", run_mix, 1 << 16}};

static const struct work *work;

static void *main_of_thread(void *id)
{
    pthread_barrier_wait(&barrier);
    work->run((int)(intptr_t)id);
    return NULL;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < GW_COUNT(works) && argc == 4; i++) {
        if (strcmp(works[i].name, argv[1]) == 0)
            work = &works[i];
    }
    threads = argc == 4 ? atoi(argv[2]) : 0;
    rounds = argc == 4 ? atoi(argv[3]) : 0;
    if (!work || threads < 1 || threads > THREADS_MOST || rounds < 1 || !(d = gw_dictionary_new(work->bytes)))
        return 2;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    pthread_t ids[THREADS_MOST];
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, main_of_thread, (void *)(intptr_t)i))
            return 2;
    }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double sum = 0, number = 0;
    for (int i = 0; i < 7; i++) {
        char room[32];
        int type;
        size_t len;
        if (gw_dictionary_get(d, key_of(room, i), 0, NULL, 0, &type, &len, &number) == GW_OK)
            sum += number;
    }
    int type;
    size_t len;
    number = 0;
    gw_dictionary_get(d, GW_SLICE("count"), 0, NULL, 0, &type, &len, &number);
    double ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
    printf("won=%ld\ntorn=%ld\nsum=%.0f\ncount=%.0f\nns=%.0f\n", won, torn, sum, number, ns / rounds);
    gw_dictionary_free(d);
    return 0;
}
