#include "gateway/slow.h"

#include "gateway/exchange.h"
#include "gateway/trace.h"
#include <string.h>

static uint8_t put(char *room, size_t most, gw_slice text)
{
    size_t len = text.len < most ? text.len : most;
    if (len)
        memcpy(room, text.ptr, len);
    return (uint8_t)len;
}

/* What is slower than nothing is of interest while there are free rows. */
static void set_least(gw_slow *slow)
{
    double least = 0;
    for (uint32_t i = 0; i < GW_SLOW_ROWS; i++) {
        if (slow->seconds[i] <= 0) {
            least = 0;
            break;
        }
        if (i == 0 || slow->seconds[i] < least)
            least = slow->seconds[i];
    }
    slow->least = least;
}

/* A sequence lock with one writer, without fences, which ThreadSanitizer does not know: every word is released after the odd version, and
 * readers load them before they look at the version again. See gw_exemplar. */
static void write_row(gw_slow *slow, uint32_t row, const uint64_t words[GW_SLOW_WORDS])
{
    uint32_t version = slow->version[row];
    __atomic_store_n(&slow->version[row], version | 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < GW_SLOW_WORDS; i++)
        __atomic_store_n(&slow->words[row][i], words[i], __ATOMIC_RELEASE);
    __atomic_store_n(&slow->version[row], version + 2, __ATOMIC_RELEASE);
}

void gw_slow_take(gw_slow *slow, const gw_exchange *x, double seconds, double now)
{
    if (x->switching) /* a tunnel: it lasts for as long as it is wanted */
        return;
    uint32_t row = 0;
    for (uint32_t i = 1; i < GW_SLOW_ROWS; i++)
        if (slow->seconds[i] < slow->seconds[row])
            row = i;
    gw_slow_row r;
    memset(&r, 0, sizeof r);
    r.at = now;
    r.seconds = seconds;
    r.status = (uint16_t)(x->status > 0 ? x->status : 0);
    r.attempts = (uint16_t)(x->attempts < UINT16_MAX ? x->attempts : UINT16_MAX);
    gw_slice path = x->path;
    r.path_cut = path.len > GW_SLOW_PATH;
    r.path_len = put(r.path, sizeof r.path, path);
    r.method_len = put(r.method, sizeof r.method, x->request.method_name);
    r.route_len = put(r.route, sizeof r.route, x->route ? x->route->name : GW_NO_SLICE);
    r.upstream_len = put(r.upstream, sizeof r.upstream, x->upstream ? x->upstream->name : GW_NO_SLICE);
    r.endpoint_len = put(r.endpoint, sizeof r.endpoint, x->endpoint ? x->endpoint->text : GW_NO_SLICE);
    r.id_len = put(r.id, sizeof r.id, x->trace ? gw_trace_id(x->trace) : x->id);
    uint64_t words[GW_SLOW_WORDS];
    memcpy(words, &r, sizeof words);
    write_row(slow, row, words);
    slow->seconds[row] = seconds;
    slow->at[row] = now;
    set_least(slow);
}

void gw_slow_age(gw_slow *slow, double now)
{
    static const uint64_t nothing[GW_SLOW_WORDS];
    bool changed = false;
    for (uint32_t i = 0; i < GW_SLOW_ROWS; i++) {
        if (slow->seconds[i] <= 0 || now - slow->at[i] < GW_SLOW_SECONDS)
            continue;
        slow->seconds[i] = 0;
        changed = true;
        write_row(slow, i, nothing);
    }
    if (changed)
        set_least(slow);
}

bool gw_slow_read(const gw_slow *slow, uint32_t row, gw_slow_row *out)
{
    for (int turn = 0; turn < 4; turn++) {
        uint32_t version = __atomic_load_n(&slow->version[row], __ATOMIC_ACQUIRE);
        if (version & 1)
            continue;
        uint64_t words[GW_SLOW_WORDS];
        for (size_t i = 0; i < GW_SLOW_WORDS; i++)
            words[i] = __atomic_load_n(&slow->words[row][i], __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&slow->version[row], __ATOMIC_RELAXED) != version)
            continue;
        memcpy(out, words, sizeof words);
        return out->seconds > 0;
    }
    return false;
}
