#include "policy/sliding_window.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(sizeof(gw_sliding_window) == GW_CACHE_LINE, "as said in the header");
_Static_assert(sizeof(gw_keyed_window) == 3 * GW_CACHE_LINE, "as said in the header");

#define COUNT_BITS_LEAST 16
#define NUMBER_BITS_LEAST 16
#define PLAIN_BITS 64
#define SPAN_LEAST 1000000 /* ns */

#define load(field) atomic_load_explicit((field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit((field), (value), memory_order_relaxed)

typedef unsigned __int128 wide;

/* What a word means at a moment. */
typedef struct view {
    uint64_t number;         /* of the window that is counted in */
    int64_t elapsed;         /* of it; below 0 when the moment is before it (a worker's clock a little behind) */
    uint32_t before, during; /* counts */
    bool moved;              /* the clock was set back: even a refusal must write, or the word would be of the future for good */
} view;

static uint32_t bits_for(uint32_t limit)
{
    uint32_t bits = COUNT_BITS_LEAST;
    while (limit >> bits)
        bits++;
    return bits;
}

static int rule_init(gw_window_rule *r, uint32_t limit, double window, unsigned word_bits)
{
    int64_t span = gw_now_span(window);
    uint32_t bits = bits_for(limit);
    if (limit == 0 || span < SPAN_LEAST || 2 * bits + NUMBER_BITS_LEAST > word_bits)
        return GW_INVALID;
    store(&r->window, span);
    store(&r->limit, limit);
    r->count_bits = bits;
    return GW_OK;
}

static view look(uint64_t word, uint32_t bits, int64_t window, unsigned word_bits, int64_t now)
{
    uint64_t counts = ((uint64_t)1 << bits) - 1, numbers = ~(uint64_t)0 >> (PLAIN_BITS - word_bits + 2 * bits);
    uint64_t number = (uint64_t)now / (uint64_t)window;
    view v = {.number = number & numbers,
              .elapsed = now - (int64_t)number * window,
              .before = (uint32_t)(word >> bits & counts),
              .during = (uint32_t)(word & counts)};
    uint64_t stored = word >> 2 * bits, on = (v.number - stored) & numbers;
    if (gw_likely(on == 0))
        return v;
    if (on == 1) {
        v.before = v.during;
        v.during = 0;
    } else if (on <= numbers - numbers / 16 || word == 0) {
        v.before = v.during = 0;
    } else {
        /* The word is of a later window. By a little: count there. By more: the clock was set back, and what was counted is
         * counted here. */
        int64_t ahead = (int64_t)(numbers - on + 1);
        if (ahead == 1 || ahead <= GW_NOW_SLACK / window) {
            v.number = stored;
            v.elapsed -= ahead * window;
        } else {
            v.moved = true;
        }
    }
    return v;
}

static uint64_t word_of(const view *v, uint32_t bits)
{
    return v->number << 2 * bits | (uint64_t)v->before << bits | v->during;
}

/* Moment of a window from which on `count` of the window before leave room for `room` more. room < count. */
static int64_t fades_at(uint32_t count, uint32_t room, int64_t window)
{
    return window - (int64_t)((wide)room * (uint64_t)window / count);
}

/* 0: n fit, and *v has counted them; above 0: the ns to wait; -1: never. */
static int64_t count(view *v, uint32_t limit, int64_t window, uint32_t n)
{
    int64_t room = (int64_t)limit - v->during - n, elapsed = v->elapsed < 0 ? 0 : v->elapsed;
    /* before × (share of its window that is still seen) <= room, without division */
    if (room >= 0 && (wide)v->before * (uint64_t)(window - elapsed) <= (wide)room * (uint64_t)window) {
        v->during += n;
        return 0;
    }
    if (n > limit)
        return -1;
    if (room >= 0)
        return fades_at(v->before, (uint32_t)room, window) - v->elapsed;
    int64_t in_next = v->during <= limit - n ? 0 : fades_at(v->during, limit - n, window);
    return window + in_next - v->elapsed;
}

static uint32_t estimate(const view *v, int64_t window)
{
    int64_t seen = window - (v->elapsed < 0 ? 0 : v->elapsed);
    return v->during + (uint32_t)(((wide)v->before * (uint64_t)seen + (uint64_t)window - 1) / (uint64_t)window);
}

static uint32_t left(const view *v, uint32_t limit, int64_t window)
{
    uint32_t used = estimate(v, window);
    return used < limit ? limit - used : 0;
}

/* The counts under another rule. The same window: as they are; another: what is seen of the past now, as if it had all come just now. */
static view carried(const view *v, int64_t window, uint32_t limit, int64_t new_window, uint32_t new_bits, unsigned word_bits,
                    int64_t now)
{
    view new = look(0, new_bits, new_window, word_bits, now);
    if (new_window == window) {
        new.before = v->before < limit ? v->before : limit;
        new.during = v->during < limit ? v->during : limit;
    } else {
        uint32_t used = estimate(v, window);
        new.during = used < limit ? used : limit;
    }
    return new;
}

/* ---- one for all ---- */

int gw_sliding_window_init(gw_sliding_window *w, uint32_t limit, double window)
{
    memset(w, 0, sizeof *w);
    return rule_init(&w->rule, limit, window, PLAIN_BITS);
}

gw_sliding_window *gw_sliding_window_new(uint32_t limit, double window)
{
    gw_sliding_window *w = aligned_alloc(GW_CACHE_LINE, sizeof *w);
    if (w && gw_sliding_window_init(w, limit, window) != GW_OK) {
        free(w);
        w = NULL;
    }
    return w;
}

void gw_sliding_window_free(gw_sliding_window *w)
{
    free(w);
}

static double answer(int64_t wait)
{
    return gw_likely(wait >= 0) ? gw_now_seconds(wait) : INFINITY;
}

double gw_sliding_window_allow(gw_sliding_window *w, uint32_t n, int64_t now)
{
    now = gw_now_clamp(now);
    int64_t window = load(&w->rule.window);
    uint32_t limit = load(&w->rule.limit), bits = w->rule.count_bits;
    if (gw_unlikely(n == 0))
        return 0;
    uint64_t word = load(&w->word);
    for (;;) {
        view v = look(word, bits, window, PLAIN_BITS, now);
        int64_t wait = count(&v, limit, window, n);
        if (wait != 0 && !v.moved)
            return answer(wait);
        if (atomic_compare_exchange_weak_explicit(&w->word, &word, word_of(&v, bits), memory_order_relaxed, memory_order_relaxed))
            return answer(wait);
    }
}

uint32_t gw_sliding_window_left(const gw_sliding_window *w, int64_t now)
{
    int64_t window = load(&w->rule.window);
    view v = look(load(&w->word), w->rule.count_bits, window, PLAIN_BITS, gw_now_clamp(now));
    return left(&v, load(&w->rule.limit), window);
}

int gw_sliding_window_change(gw_sliding_window *w, uint32_t limit, double window, int64_t now)
{
    int64_t span = gw_now_span(window), old = load(&w->rule.window);
    if (limit == 0 || span < SPAN_LEAST)
        return GW_INVALID;
    if (limit >> w->rule.count_bits)
        return GW_LIMIT;
    if (span != old) {
        uint64_t word = load(&w->word), next;
        now = gw_now_clamp(now);
        do {
            view v = look(word, w->rule.count_bits, old, PLAIN_BITS, now);
            v = carried(&v, old, limit, span, w->rule.count_bits, PLAIN_BITS, now);
            next = word_of(&v, w->rule.count_bits);
        } while (!atomic_compare_exchange_weak(&w->word, &word, next));
    }
    store(&w->rule.window, span);
    store(&w->rule.limit, limit);
    return GW_OK;
}

/* ---- one for each key ---- */

static enum gw_key_worth worth(const gw_key_table *t, const gw_key_slot *slot, uint64_t tag, int64_t now)
{
    const gw_keyed_window *w = gw_container_of(t, gw_keyed_window, table);
    view v = look(gw_key_unpack(load(&slot->state), tag), w->rule.count_bits, load(&w->rule.window), GW_KEY_STATE_BITS, now);
    return v.before == 0 && v.during == 0 ? GW_KEY_IDLE : GW_KEY_LIVE;
}

size_t gw_keyed_window_bytes(uint32_t max_keys)
{
    if (max_keys == 0 || max_keys > GW_KEY_MOST)
        return 0;
    return sizeof(gw_keyed_window) + (size_t)gw_key_table_slots(max_keys) * sizeof(gw_key_slot);
}

int gw_keyed_window_init(gw_keyed_window *w, uint32_t limit, double window, uint32_t max_keys)
{
    if (!gw_keyed_window_bytes(max_keys) || rule_init(&w->rule, limit, window, GW_KEY_STATE_BITS) != GW_OK)
        return GW_INVALID;
    gw_key_table_init(&w->table, (gw_key_slot *)(w + 1), max_keys, worth);
    return GW_OK;
}

gw_keyed_window *gw_keyed_window_new(uint32_t limit, double window, uint32_t max_keys)
{
    size_t bytes = gw_keyed_window_bytes(max_keys);
    gw_keyed_window *w = gw_key_table_memory(bytes);
    if (w && gw_keyed_window_init(w, limit, window, max_keys) != GW_OK) {
        free(w);
        w = NULL;
    }
    return w;
}

void gw_keyed_window_free(gw_keyed_window *w)
{
    free(w);
}

double gw_keyed_window_allow(gw_keyed_window *w, const char *key, size_t len, uint32_t n, int64_t now)
{
    now = gw_now_clamp(now);
    int64_t window = load(&w->rule.window);
    uint32_t limit = load(&w->rule.limit), bits = w->rule.count_bits;
    if (gw_unlikely(n == 0 || n > limit))
        return n == 0 ? 0 : INFINITY;
    uint64_t tag = gw_key_tag(key, len);
    for (;;) {
        gw_key_slot *slot = gw_key_table_get(&w->table, tag, now);
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        while (gw_likely(gw_key_is(slot, tag))) {
            view v = look(gw_key_unpack(state, tag), bits, window, GW_KEY_STATE_BITS, now);
            int64_t wait = count(&v, limit, window, n);
            if (wait != 0 && !v.moved)
                return answer(wait);
            if (atomic_compare_exchange_weak_explicit(&slot->state, &state, gw_key_pack(word_of(&v, bits), tag),
                                                      memory_order_acq_rel, memory_order_acquire))
                return answer(wait);
        }
    }
}

uint32_t gw_keyed_window_left(const gw_keyed_window *w, const char *key, size_t len, int64_t now)
{
    uint64_t tag = gw_key_tag(key, len);
    const gw_key_slot *slot = gw_key_table_find(&w->table, tag);
    int64_t window = load(&w->rule.window);
    view v =
        look(slot ? gw_key_unpack(load(&slot->state), tag) : 0, w->rule.count_bits, window, GW_KEY_STATE_BITS, gw_now_clamp(now));
    return left(&v, load(&w->rule.limit), window);
}

int gw_keyed_window_change(gw_keyed_window *w, uint32_t limit)
{
    if (limit == 0)
        return GW_INVALID;
    if (limit >> w->rule.count_bits)
        return GW_LIMIT;
    store(&w->rule.limit, limit);
    return GW_OK;
}

void gw_keyed_window_adopt(gw_keyed_window *to, const gw_keyed_window *from, int64_t now)
{
    int64_t window = load(&from->rule.window), new_window = load(&to->rule.window);
    uint32_t limit = load(&to->rule.limit);
    now = gw_now_clamp(now);
    for (uint32_t i = 0; i < from->table.slot_count; i++) {
        const gw_key_slot *slot = from->table.slots + i;
        uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire) & ~GW_KEY_REF_MASK;
        uint64_t word = gw_key_unpack(load(&slot->state), tag);
        if (tag == 0 || word == 0)
            continue;
        view v = look(word, from->rule.count_bits, window, GW_KEY_STATE_BITS, now);
        v = carried(&v, window, limit, new_window, to->rule.count_bits, GW_KEY_STATE_BITS, now);
        if (v.before + v.during == 0)
            continue;
        gw_key_slot *mine = gw_key_table_get(&to->table, tag, now);
        store(&mine->state, gw_key_pack(word_of(&v, to->rule.count_bits), tag));
    }
}
