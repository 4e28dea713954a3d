#include "gateway/metrics_script.h"
#include "base/hash.h"
#include "gateway/upstream.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#define SPARE 64 /* places for series that two threads make at once, of which one is thrown away */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static gw_list registry = {&registry, &registry};

/* ---- making ---- */

static bool shape_good(const gw_script_shape *s)
{
    if (s->kind < GW_SCRIPT_COUNTER || s->kind > GW_SCRIPT_HISTOGRAM || !s->name.len || s->most < 1 || s->most > GW_SERIES_MOST ||
        s->bound_count > GW_METRIC_BOUNDS_MOST || (s->kind == GW_SCRIPT_HISTOGRAM) != (s->bound_count > 0))
        return false;
    for (uint32_t i = 0; i < s->bound_count; i++)
        if (!isfinite(s->bounds[i]) || (i && s->bounds[i] <= s->bounds[i - 1]))
            return false;
    return true;
}

static bool shape_equal(const gw_script_shape *a, const gw_script_shape *b)
{
    return a->kind == b->kind && a->most == b->most && a->bound_count == b->bound_count && gw_slice_equal(a->name, b->name) &&
           gw_slice_equal(a->labels, b->labels) &&
           (a->bound_count == 0 || memcmp(a->bounds, b->bounds, a->bound_count * sizeof *a->bounds) == 0);
}

static void metric_free(gw_script_metric *m)
{
    for (uint32_t i = 0; i < m->cell_sets; i++)
        free(m->cells[i]);
    free(m->slots);
    free(m->series);
    free(m->text);
    free(m);
}

static gw_script_metric *metric_new(const gw_script_shape *shape, uint32_t workers)
{
    uint32_t sets = shape->kind == GW_SCRIPT_GAUGE ? 1 : workers, places = shape->most + SPARE, slots = 16;
    size_t head = sizeof(gw_script_metric) + sets * sizeof(double *);
    size_t bounds = shape->bound_count * sizeof(double);
    gw_script_metric *m = calloc(1, head + bounds + shape->name.len + shape->labels.len);
    if (!m)
        return NULL;
    m->shape = *shape;
    double *own = (double *)(void *)((char *)m + head);
    char *at = (char *)own + bounds;
    if (bounds)
        memcpy(own, shape->bounds, bounds);
    memcpy(at, shape->name.ptr, shape->name.len);
    if (shape->labels.len)
        memcpy(at + shape->name.len, shape->labels.ptr, shape->labels.len);
    m->shape.bounds = own;
    m->shape.name = gw_slice_of(at, shape->name.len);
    m->shape.labels = gw_slice_of(at + shape->name.len, shape->labels.len);
    m->workers = workers;
    m->cell_sets = sets;
    m->stride = shape->kind == GW_SCRIPT_HISTOGRAM ? shape->bound_count + 2 : 1;
    while (slots < places * 2)
        slots *= 2;
    m->slot_mask = slots - 1;
    m->text_most = (size_t)shape->most * GW_SERIES_TEXT;
    m->slots = calloc(slots, sizeof *m->slots);
    m->series = calloc(places, sizeof *m->series);
    m->text = malloc(m->text_most);
    bool good = m->slots && m->series && m->text;
    for (uint32_t i = 0; i < sets; i++)
        good &= (m->cells[i] = calloc((size_t)places * m->stride, sizeof(double))) != NULL;
    if (!good) {
        metric_free(m);
        return NULL;
    }
    m->references = 1;
    if (!shape->labels.len) /* its one series is there from the start, with 0 */
        gw_script_metric_cell(m, 0, "", 0);
    return m;
}

gw_script_metric *gw_script_metric_open(const gw_script_shape *shape, bool shared, int *status)
{
    *status = GW_INVALID;
    if (!shape_good(shape))
        return NULL;
    *status = GW_NOMEM;
    if (!shared) {
        gw_script_metric *m = metric_new(shape, 1);
        *status = m ? GW_OK : GW_NOMEM;
        return m;
    }
    pthread_mutex_lock(&registry_lock);
    gw_script_metric *m = NULL;
    for (gw_list *at = registry.next; at != &registry && !m; at = at->next) {
        gw_script_metric *one = gw_container_of(at, gw_script_metric, link);
        if (one->workers == gw_registry_workers() && one->scope == gw_registry_scope() && shape_equal(&one->shape, shape))
            m = one;
    }
    if (m) {
        m->references++;
    } else if ((m = metric_new(shape, gw_registry_workers())) != NULL) {
        m->listed = true;
        m->scope = gw_registry_scope();
        gw_list_push_back(&registry, &m->link);
    }
    pthread_mutex_unlock(&registry_lock);
    *status = m ? GW_OK : GW_NOMEM;
    return m;
}

void gw_script_metric_release(gw_script_metric *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&registry_lock);
    bool last = --m->references == 0;
    if (last && m->listed)
        gw_list_remove(&m->link);
    pthread_mutex_unlock(&registry_lock);
    if (last)
        metric_free(m);
}

/* Why `m` is not the one of that name among `uses`; NULL: it is, or there is none. */
static const char *changed(const gw_script_metric *m, const gw_script_metric_use *uses, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const gw_script_metric *old = uses[i].metric;
        if (!gw_slice_equal(old->shape.name, m->shape.name) || old == m)
            continue;
        return old->shape.kind != m->shape.kind                      ? "it is of another kind now"
               : !gw_slice_equal(old->shape.labels, m->shape.labels) ? "its labels changed"
               : old->shape.most != m->shape.most                    ? "the number of its series changed"
                                                                     : "its buckets changed";
    }
    return NULL;
}

void gw_script_metrics_adopt(const gw_script_metric_use *uses, uint32_t count, const gw_script_metric_use *old,
                             uint32_t old_count, gw_log_ring *log)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *why = changed(uses[i].metric, old, old_count);
        gw_slice name = uses[i].metric->shape.name; /* letters, digits, '_' and ':' */
        if (why)
            gw_log_event(log, GW_LOG_WARN, "a metric of the script begins anew", "\"metric\":\"%.*s\",\"reason\":\"%s\"",
                         (int)name.len, name.ptr, why);
    }
}

/* ---- series ---- */

static bool series_is(const gw_series *s, uint64_t hash, const char *key, size_t len)
{
    return s->hash == hash && s->len == len && (len == 0 || memcmp(s->text, key, len) == 0);
}

/* A place with its text; -1: there is no room. */
static int64_t series_make(gw_script_metric *m, uint64_t hash, const char *key, size_t len)
{
    if (len > GW_SERIES_TEXT_MOST || atomic_load_explicit(&m->text_used, memory_order_relaxed) + len > m->text_most ||
        atomic_load_explicit(&m->taken, memory_order_relaxed) >= m->shape.most + SPARE)
        return -1;
    if (atomic_fetch_add_explicit(&m->live, 1, memory_order_relaxed) >= m->shape.most)
        goto full;
    size_t at = atomic_fetch_add_explicit(&m->text_used, len, memory_order_relaxed);
    if (at + len > m->text_most)
        goto full;
    uint32_t place = atomic_fetch_add_explicit(&m->taken, 1, memory_order_relaxed);
    if (place >= m->shape.most + SPARE)
        goto full;
    gw_series *s = &m->series[place];
    s->hash = hash;
    s->len = (uint32_t)len;
    s->text = m->text + at;
    if (len)
        memcpy(m->text + at, key, len);
    return place;
full:
    atomic_fetch_sub_explicit(&m->live, 1, memory_order_relaxed);
    return -1;
}

/* The place of a series; -1: there is none. `make`: then it is made, if there is room. */
static int64_t series_find(gw_script_metric *m, const char *key, size_t len, bool make)
{
    uint64_t hash = gw_hash_keyed(key, len);
    int64_t made = -1;
    for (uint32_t i = (uint32_t)hash & m->slot_mask;; i = (i + 1) & m->slot_mask) {
        uint32_t slot = atomic_load_explicit(&m->slots[i], memory_order_acquire);
        if (!slot) {
            if (made < 0 && (!make || (made = series_make(m, hash, key, len)) < 0))
                return -1;
            if (atomic_compare_exchange_strong_explicit(&m->slots[i], &slot, (uint32_t)made + 1, memory_order_acq_rel,
                                                        memory_order_acquire)) {
                atomic_store_explicit(&m->series[made].ready, 1, memory_order_release);
                return made;
            }
        }
        if (series_is(&m->series[slot - 1], hash, key, len)) {
            if (made >= 0) /* another thread was faster: ours stays empty */
                atomic_fetch_sub_explicit(&m->live, 1, memory_order_relaxed);
            return slot - 1;
        }
    }
}

double *gw_script_metric_cell(gw_script_metric *m, uint32_t worker, const char *key, size_t len)
{
    int64_t place = series_find(m, key, len, true);
    if (place < 0) {
        atomic_fetch_add_explicit(&m->dropped, 1, memory_order_relaxed);
        return NULL;
    }
    return m->cells[worker < m->cell_sets ? worker : 0] + (size_t)place * m->stride;
}

/* Lua writes cells in one piece, but by its own means, which ThreadSanitizer takes for a memcpy. */
__attribute__((no_sanitize("thread"))) static double load_from_lua(const double *d)
{
    return *(const volatile double *)d;
}

static void series_sum(const gw_script_metric *m, uint32_t place, double *out)
{
    memset(out, 0, m->stride * sizeof *out);
    for (uint32_t w = 0; w < m->cell_sets; w++)
        for (uint32_t i = 0; i < m->stride; i++)
            out[i] += load_from_lua(&m->cells[w][(size_t)place * m->stride + i]);
}

bool gw_script_metric_read(const gw_script_metric *m, const char *key, size_t len, double *out)
{
    int64_t place = series_find((gw_script_metric *)m, key, len, false); /* changes nothing */
    if (place < 0)
        return false;
    series_sum(m, (uint32_t)place, out);
    return true;
}

/* ---- on the page ---- */

/* The values of a series as labels. False: the text is not of that form, which is not to be. */
static bool series_labels(gw_text *t, const gw_script_metric *m, const gw_series *s)
{
    gw_slice names = m->shape.labels, values = gw_slice_of(s->text, s->len);
    while (names.len) {
        const char *comma = memchr(names.ptr, ',', names.len);
        size_t name_len = comma ? (size_t)(comma - names.ptr) : names.len, len = 0, used = 0;
        while (used < values.len && values.ptr[used] >= '0' && values.ptr[used] <= '9')
            len = len * 10 + (size_t)(values.ptr[used++] - '0');
        if (used >= values.len || values.ptr[used] != ':' || len > values.len - used - 1)
            return false;
        char name[128];
        if (name_len >= sizeof name)
            return false;
        memcpy(name, names.ptr, name_len);
        name[name_len] = '\0';
        gw_metrics_label(t, name, gw_slice_of(values.ptr + used + 1, len));
        values.ptr += used + 1 + len, values.len -= used + 1 + len;
        names.ptr += name_len + (comma ? 1 : 0), names.len -= name_len + (comma ? 1 : 0);
        if (names.len)
            gw_text_lit(t, ",");
    }
    return true;
}

static void write_series(gw_page *p, const gw_script_metric *m, gw_slice labels, const double *value)
{
    if (m->shape.kind != GW_SCRIPT_HISTOGRAM) {
        gw_page_double(p, labels, value[0]);
        return;
    }
    double sum = 0;
    for (uint32_t i = 0; i <= m->shape.bound_count; i++) {
        sum += value[i];
        gw_page_bucket(p, labels, i < m->shape.bound_count ? m->shape.bounds[i] : INFINITY, (uint64_t)sum);
    }
    gw_page_sum(p, labels, value[m->shape.bound_count + 1]);
    gw_page_count(p, labels, (uint64_t)sum);
}

static void write_metric(gw_page *p, const gw_script_metric_use *use)
{
    static const enum gw_page_type types[] = {GW_PAGE_COUNTER, GW_PAGE_GAUGE, GW_PAGE_HISTOGRAM};
    const gw_script_metric *m = use->metric;
    char bytes[GW_METRIC_LABELS_MOST * 140 + 3 * GW_SERIES_TEXT_MOST];
    double value[GW_METRIC_BOUNDS_MOST + 2];
    gw_page_family(p, m->shape.name, types[m->shape.kind], use->help);
    uint32_t taken = atomic_load_explicit(&m->taken, memory_order_relaxed);
    for (uint32_t i = 0; i < taken && i < m->shape.most + SPARE; i++) {
        const gw_series *s = &m->series[i];
        if (!atomic_load_explicit(&s->ready, memory_order_acquire))
            continue;
        gw_text t = gw_text_on(bytes, sizeof bytes);
        if (!series_labels(&t, m, s) || t.cut)
            continue;
        series_sum(m, i, value);
        write_series(p, m, gw_text_done(&t), value);
    }
}

void gw_script_metrics_write(gw_page *p, const gw_script_metric_use *uses, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        write_metric(p, &uses[i]);
    gw_page_family(
        p, GW_SLICE("gateway_metric_series_dropped"), GW_PAGE_COUNTER,
        "Counts of the script's own metrics that were lost: they would have made a series too many, or of too long values.");
    for (uint32_t i = 0; i < count; i++) {
        const gw_script_metric *m = uses[i].metric;
        char bytes[512];
        gw_text name = gw_text_on(bytes, sizeof bytes), t = gw_text_on(bytes + 200, sizeof bytes - 200);
        gw_text_slice(&name, m->shape.name);
        if (m->shape.kind == GW_SCRIPT_COUNTER)
            gw_text_lit(&name, "_total");
        gw_metrics_label(&t, "metric", gw_text_done(&name));
        gw_page_u64(p, gw_text_done(&t), atomic_load_explicit(&m->dropped, memory_order_relaxed));
    }
}
