/* The dictionaries of the generation that serves, in the page of metrics. */
#include "process/metrics.h"

#include "gateway/generation.h"
#include "gateway/shared.h"

typedef struct family {
    const char *name, *help;
    enum gw_page_type type;
    size_t offset; /* in gw_dictionary_stats */
} family;

#define AT(field) offsetof(gw_dictionary_stats, field)

static const family families[] = {
    {"gateway_shared_entries", "Keys that a shared dictionary holds.", GW_PAGE_GAUGE, AT(entries)},
    {"gateway_shared_bytes", "Bytes that the entries of a shared dictionary take.", GW_PAGE_GAUGE, AT(bytes)},
    {"gateway_shared_capacity_bytes", "Bytes that they may take.", GW_PAGE_GAUGE, AT(capacity)},
    {"gateway_shared_hits", "Reads of a shared dictionary that found something.", GW_PAGE_COUNTER, AT(hits)},
    {"gateway_shared_misses", "Reads that found nothing.", GW_PAGE_COUNTER, AT(misses)},
    {"gateway_shared_evicted", "Entries that made room for others before they had ended.", GW_PAGE_COUNTER, AT(evicted)},
    {"gateway_shared_refused", "Values that were too large.", GW_PAGE_COUNTER, AT(refused)},
};

void gw_metrics_shared(gw_page *p, const gw_generation *g)
{
    bool any = false;
    for (uint32_t i = 0; g && i < g->shared_count; i++)
        any = any || g->shared[i].config.kind == GW_SHARED_DICTIONARY;
    for (size_t f = 0; any && f < GW_COUNT(families); f++) {
        gw_page_family(p, gw_slice_str(families[f].name), families[f].type, families[f].help);
        for (uint32_t i = 0; i < g->shared_count; i++) {
            const gw_shared *s = g->shared[i].shared;
            if (g->shared[i].config.kind != GW_SHARED_DICTIONARY)
                continue;
            char label[512]; /* a name has 100 bytes at most */
            gw_text t = gw_text_on(label, sizeof label);
            gw_metrics_label(&t, "name", s->name);
            gw_dictionary_stats stats;
            gw_dictionary_read_stats(s->dictionary, &stats);
            gw_page_u64(p, gw_text_done(&t), *(const uint64_t *)(const void *)((const char *)&stats + families[f].offset));
        }
    }
}
