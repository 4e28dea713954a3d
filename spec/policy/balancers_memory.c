/* Tables while memory is out: each allocation fails in turn, until a table is made without coming to the one that would. Compiled and run
 * by balancers_threads_spec.lua, with AddressSanitizer (which finds what was lost on the way). The linker leads malloc and calloc here. */
#include "policy/balancer.h"
#include <stdio.h>
#include <stdlib.h>

static uint32_t left = UINT32_MAX; /* allocations until one fails */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return left-- == 0 ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return left-- == 0 ? NULL : __real_calloc(count, bytes);
}

static int try(const char *name, uint32_t count, uint32_t weight)
{
    static gw_load load[10000];
    static gw_balancer_slot slots[10000];
    for (uint32_t i = 0; i < count; i++)
        slots[i] = (gw_balancer_slot){GW_SLICE("name"), &load[i], 1 + i % weight, i % 2};
    gw_balancer_config config;
    if (gw_balancer_config_init(&config, name) != GW_OK)
        return 1;
    for (uint32_t fail = 0; fail < 1000000; fail++) {
        gw_balancer_table *table = (void *)&config;
        left = fail;
        int status = gw_balancer_table_new(&config, slots, count, &table);
        bool failed = left == UINT32_MAX || left > fail; /* it went below zero */
        left = UINT32_MAX;
        if (!failed) {
            gw_balancer_table_free(table);
            /* The table itself, and one for its slots, at least. */
            return status == GW_OK && fail >= 2 ? 0 : 1;
        }
        if (status != GW_NOMEM || table != NULL)
            return 1;
    }
    return 1;
}

int main(void)
{
    static const char *const names[] = {"round_robin", "weighted", "least_conn", "hash", "maglev", "ewma", "random"};
    int wrong = 0;
    for (size_t i = 0; i < GW_COUNT(names); i++) {
        if (try(names[i], 5, 3) || try(names[i], 200, 3)) {
            fprintf(stderr, "%s\n", names[i]);
            wrong = 1;
        }
    }
    if (try("weighted", 10000, 29)) {
        fprintf(stderr, "weighted, sorted\n");
        wrong = 1;
    }
    return wrong;
}
