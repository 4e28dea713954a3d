#include "policy/dictionary.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "policy/pages.h"

#define SHARDS_MOST 64
#define SHARE_LEAST ((size_t)1 << 20) /* bytes of a shard, where there is more than one */
#define HITS_MOST 3
#define SWEEP_EACH 2   /* hash chains that each write looks through for entries that have ended */
#define SWEEP_ROOM 16  /* and one that finds no room */
#define SPARED_MOST 16 /* entries that are let off for their hits before one goes in spite of them */

/* The first piece of an entry begins with this; key and value follow, and go on in the pieces behind. */
typedef struct entry {
    uint32_t piece;        /* the next one: pages.h */
    uint32_t chain;        /* the next entry of the same hash chain */
    uint32_t tag;          /* of the hash */
    uint32_t newer, older; /* in the queue */
    uint32_t value_len;
    int64_t expires;
    double number;
    uint16_t key_len;
    uint8_t type, hits;
} entry;

#define ENTRY_BYTES (offsetof(entry, hits) + 1)
_Static_assert(ENTRY_BYTES == 44, "as said in the header");
_Static_assert(offsetof(entry, piece) == 0, "pages.h links pieces there");

typedef struct shard {
    pthread_mutex_t lock;
    gw_pages pages;
    uint32_t *chains; /* hash -> entry */
    uint32_t mask;    /* chains - 1 */
    uint32_t hand;    /* the chain that is swept next */
    uint32_t newest, oldest;
    uint64_t entries, hits, misses, evicted, expired;
} __attribute__((aligned(GW_CACHE_LINE))) shard;

struct gw_dictionary {
    uint32_t shard_count;
    uint64_t share_units;
    void *memory; /* of everything below the shards */
    _Atomic uint64_t refused;
    shard shards[];
};

/* ---- making ---- */

static uint32_t shards_of(size_t bytes)
{
    uint32_t n = 1;
    while (n < SHARDS_MOST && bytes / (n * 2) >= SHARE_LEAST)
        n *= 2;
    return n;
}

/* What a page costs: itself, its record and a hash chain for every unit. */
#define PAGE_COST (GW_PAGE_BYTES + sizeof(gw_pages_page) + GW_PAGE_UNITS * sizeof(uint32_t))

bool gw_dictionary_size_good(size_t bytes)
{
    return bytes >= GW_DICTIONARY_LEAST && bytes <= GW_DICTIONARY_MOST;
}

static uint32_t power_of_two_within(uint64_t n)
{
    return (uint32_t)1 << (63 - __builtin_clzll(n));
}

gw_dictionary *gw_dictionary_new(size_t bytes)
{
    if (!gw_dictionary_size_good(bytes))
        return NULL;
    uint32_t shard_count = shards_of(bytes);
    size_t head = sizeof(gw_dictionary) + shard_count * sizeof(shard) + GW_CACHE_LINE;
    uint64_t pages = (bytes - head) / PAGE_COST / shard_count;
    if (pages > GW_PAGES_MOST)
        pages = GW_PAGES_MOST;
    uint32_t chains = power_of_two_within(pages * GW_PAGE_UNITS);
    size_t each = pages * GW_PAGE_BYTES, records = (pages + 1) * sizeof(gw_pages_page), heads = (size_t)chains * sizeof(uint32_t);
    gw_dictionary *d = aligned_alloc(GW_CACHE_LINE, (head + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE);
    /* calloc: zeroed without being touched, so a large one costs what is used of it */
    void *memory = calloc(1, shard_count * (each + records + heads) + GW_CACHE_LINE);
    if (!d || !memory) {
        free(d);
        free(memory);
        return NULL;
    }
    memset(d, 0, head);
    d->shard_count = shard_count;
    d->share_units = pages * GW_PAGE_UNITS;
    d->memory = memory;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    char *at = (char *)(((uintptr_t)memory + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE);
    char *behind = at + shard_count * each;
    for (uint32_t i = 0; i < shard_count; i++) {
        shard *s = &d->shards[i];
        pthread_mutex_init(&s->lock, &attributes);
        s->chains = (uint32_t *)(void *)behind;
        s->mask = chains - 1;
        gw_pages_init(&s->pages, at, (gw_pages_page *)(void *)(behind + heads), (uint32_t)pages);
        at += each;
        behind += heads + records;
    }
    pthread_mutexattr_destroy(&attributes);
    return d;
}

void gw_dictionary_free(gw_dictionary *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; i < d->shard_count; i++)
        pthread_mutex_destroy(&d->shards[i].lock);
    free(d->memory);
    free(d);
}

/* ---- bytes of an entry, over its pieces ---- */

typedef struct cursor {
    gw_pages *pages;
    char *at;
    size_t left; /* in this piece */
    uint32_t ref;
} cursor;

static cursor cursor_at_key(shard *s, uint32_t ref)
{
    return (cursor){&s->pages, gw_piece(&s->pages, ref) + ENTRY_BYTES, gw_piece_bytes(ref) - ENTRY_BYTES, ref};
}

/* The next run of at most `len` bytes that lie together; *run of them. len is above 0. */
static char *step(cursor *c, size_t len, size_t *run)
{
    if (!c->left) {
        c->ref = gw_piece_next(c->pages, c->ref);
        c->at = gw_piece(c->pages, c->ref) + GW_PIECE_HEAD;
        c->left = gw_piece_bytes(c->ref) - GW_PIECE_HEAD;
    }
    char *at = c->at;
    *run = len < c->left ? len : c->left;
    c->at += *run;
    c->left -= *run;
    return at;
}

static void skip(cursor *c, size_t len)
{
    for (size_t run; len; len -= run)
        step(c, len, &run);
}

static void write_bytes(cursor *c, const char *bytes, size_t len)
{
    for (size_t run; len; len -= run, bytes += run) {
        char *to = step(c, len, &run);
        memcpy(to, bytes, run);
    }
}

static void read_bytes(cursor *c, char *bytes, size_t len)
{
    for (size_t run; len; len -= run, bytes += run) {
        const char *from = step(c, len, &run);
        memcpy(bytes, from, run);
    }
}

static bool same_bytes(cursor *c, const char *bytes, size_t len)
{
    for (size_t run; len; len -= run, bytes += run) {
        const char *from = step(c, len, &run);
        if (memcmp(from, bytes, run) != 0)
            return false;
    }
    return true;
}

/* ---- entries; all under the shard's lock ---- */

static entry *entry_of(const shard *s, uint32_t ref)
{
    return (entry *)(void *)gw_piece(&s->pages, ref);
}

static void queue_remove(shard *s, entry *e)
{
    if (e->newer)
        entry_of(s, e->newer)->older = e->older;
    else
        s->newest = e->older;
    if (e->older)
        entry_of(s, e->older)->newer = e->newer;
    else
        s->oldest = e->newer;
}

static void queue_push(shard *s, entry *e, uint32_t ref)
{
    e->newer = 0;
    e->older = s->newest;
    if (s->newest)
        entry_of(s, s->newest)->newer = ref;
    else
        s->oldest = ref;
    s->newest = ref;
}

/* `link` is what names it in its hash chain. */
static void drop(shard *s, uint32_t *link)
{
    uint32_t ref = *link;
    entry *e = entry_of(s, ref);
    *link = e->chain;
    queue_remove(s, e);
    gw_pages_give(&s->pages, ref);
    s->entries--;
}

static uint32_t *link_of(shard *s, uint32_t ref)
{
    uint32_t *link = &s->chains[entry_of(s, ref)->tag & s->mask];
    while (*link != ref)
        link = &entry_of(s, *link)->chain;
    return link;
}

/* What names the key's entry, or NULL. One that has ended is dropped on the way. */
static uint32_t *find(shard *s, gw_slice key, uint32_t tag, int64_t now)
{
    uint32_t *link = &s->chains[tag & s->mask];
    while (*link) {
        entry *e = entry_of(s, *link);
        if (e->tag == tag && e->key_len == key.len) {
            cursor c = cursor_at_key(s, *link);
            if (gw_likely(same_bytes(&c, key.ptr, key.len))) {
                if (gw_likely(now < e->expires))
                    return link;
                s->expired++;
                drop(s, link);
                return NULL;
            }
        }
        link = &e->chain;
    }
    return NULL;
}

/* Drops what has ended in the next hash chains. */
static void sweep(shard *s, uint32_t chains, int64_t now)
{
    while (chains--) {
        uint32_t *link = &s->chains[s->hand++ & s->mask];
        while (*link) {
            entry *e = entry_of(s, *link);
            if (gw_unlikely(now >= e->expires)) {
                s->expired++;
                drop(s, link);
            } else {
                link = &e->chain;
            }
        }
    }
}

/* There is one at least: what needs more than a share was refused. */
static void evict(shard *s, int64_t now)
{
    for (uint32_t spared = 0;; spared++) {
        uint32_t ref = s->oldest;
        entry *e = entry_of(s, ref);
        if (now >= e->expires) {
            s->expired++;
        } else if (e->hits && spared < SPARED_MOST) {
            e->hits--;
            queue_remove(s, e);
            queue_push(s, e, ref);
            continue;
        } else {
            s->evicted++;
        }
        drop(s, link_of(s, ref));
        return;
    }
}

/* Bytes of payload that an entry takes of its pieces. */
static size_t payload(size_t key_len, size_t value_len)
{
    return ENTRY_BYTES - GW_PIECE_HEAD + key_len + value_len;
}

static bool fits(const gw_dictionary *d, gw_slice key, size_t value_len)
{
    return key.len <= GW_DICTIONARY_KEY_MOST && value_len <= UINT32_MAX &&
           gw_pages_need(payload(key.len, value_len)) <= d->share_units;
}

static size_t text_len(const gw_value *v)
{
    return v->type == GW_VALUE_STRING ? v->text.len : 0;
}

/* A new entry for a key that has none. It fits. */
static void insert(shard *s, gw_slice key, uint32_t tag, const gw_value *value, int64_t expires, int64_t now)
{
    size_t value_len = text_len(value), left = payload(key.len, value_len);
    uint64_t need = gw_pages_need(left);
    if (gw_unlikely(s->pages.unused < need))
        sweep(s, SWEEP_ROOM, now);
    while (gw_unlikely(s->pages.unused < need))
        evict(s, now);
    uint32_t ref = gw_pages_take(&s->pages, left), last = ref;
    for (;;) {
        size_t holds = gw_piece_bytes(last) - GW_PIECE_HEAD;
        if (left <= holds)
            break;
        left -= holds;
        uint32_t next = gw_pages_take(&s->pages, left);
        gw_piece_link(&s->pages, last, next);
        last = next;
    }
    entry *e = entry_of(s, ref);
    e->tag = tag;
    e->value_len = (uint32_t)value_len;
    e->expires = expires;
    e->number = value->number;
    e->key_len = (uint16_t)key.len;
    e->type = (uint8_t)value->type;
    e->hits = 0;
    cursor c = cursor_at_key(s, ref);
    write_bytes(&c, key.ptr, key.len);
    write_bytes(&c, value->text.ptr, value_len);
    uint32_t *head = &s->chains[tag & s->mask];
    e->chain = *head;
    *head = ref;
    queue_push(s, e, ref);
    s->entries++;
}

static void hit(entry *e)
{
    if (e->hits < HITS_MOST)
        e->hits++;
}

/* The value of an entry for another, in place where it has the same length. */
static void overwrite(shard *s, uint32_t *link, gw_slice key, const gw_value *value, int64_t expires, int64_t now)
{
    entry *e = entry_of(s, *link);
    if (e->value_len != text_len(value)) {
        uint32_t tag = e->tag;
        uint8_t hits = e->hits;
        drop(s, link);
        insert(s, key, tag, value, expires, now);
        e = entry_of(s, s->newest);
        e->hits = hits;
    } else {
        e->type = (uint8_t)value->type;
        e->number = value->number;
        e->expires = expires;
        cursor c = cursor_at_key(s, *link);
        skip(&c, e->key_len);
        write_bytes(&c, value->text.ptr, e->value_len);
    }
    hit(e);
}

static bool equals(shard *s, uint32_t ref, const gw_value *v)
{
    const entry *e = entry_of(s, ref);
    if (e->type != v->type || e->value_len != text_len(v))
        return false;
    if (e->type == GW_VALUE_NUMBER)
        return e->number == v->number;
    cursor c = cursor_at_key(s, ref);
    skip(&c, e->key_len);
    return same_bytes(&c, v->text.ptr, e->value_len);
}

/* ---- operations ---- */

/* Shard and tag of a key; the shard's lock is held. */
static shard *enter(gw_dictionary *d, gw_slice key, uint32_t *tag)
{
    uint64_t hash = gw_hash_keyed(key.ptr, key.len);
    shard *s = &d->shards[(hash >> 32) & (d->shard_count - 1)];
    *tag = (uint32_t)hash;
    pthread_mutex_lock(&s->lock);
    return s;
}

static int leave(shard *s, int status)
{
    pthread_mutex_unlock(&s->lock);
    return status;
}

static int too_large(gw_dictionary *d)
{
    atomic_fetch_add_explicit(&d->refused, 1, memory_order_relaxed);
    return GW_LIMIT;
}

int gw_dictionary_get(gw_dictionary *d, gw_slice key, int64_t now, char *room, size_t room_bytes, int *type, size_t *len,
                      double *number)
{
    uint32_t tag;
    shard *s = enter(d, key, &tag);
    uint32_t *link = find(s, key, tag, now);
    if (!link) {
        s->misses++;
        return leave(s, GW_NOTFOUND);
    }
    entry *e = entry_of(s, *link);
    *type = e->type;
    *len = e->value_len;
    *number = e->number;
    if (e->value_len > room_bytes)
        return leave(s, GW_LIMIT);
    if (e->value_len) {
        cursor c = cursor_at_key(s, *link);
        skip(&c, e->key_len);
        read_bytes(&c, room, e->value_len);
    }
    hit(e);
    s->hits++;
    return leave(s, GW_OK);
}

int gw_dictionary_put(gw_dictionary *d, gw_slice key, const gw_value *value, int64_t expires, int mode, const gw_value *expected,
                      int64_t now)
{
    if (gw_unlikely(!fits(d, key, text_len(value))))
        return too_large(d);
    uint32_t tag;
    shard *s = enter(d, key, &tag);
    sweep(s, SWEEP_EACH, now);
    uint32_t *link = find(s, key, tag, now);
    if (mode == GW_DICTIONARY_ADD && link)
        return leave(s, GW_REFUSED);
    if (mode == GW_DICTIONARY_REPLACE && !link)
        return leave(s, GW_NOTFOUND);
    if (mode == GW_DICTIONARY_COMPARE && (link ? !equals(s, *link, expected) : expected->type != GW_VALUE_NONE))
        return leave(s, GW_REFUSED);
    if (value->type == GW_VALUE_NONE) {
        if (link)
            drop(s, link);
    } else if (link) {
        overwrite(s, link, key, value, expires, now);
    } else {
        insert(s, key, tag, value, expires, now);
    }
    return leave(s, GW_OK);
}

int gw_dictionary_incr(gw_dictionary *d, gw_slice key, double n, const double *init, int64_t expires, int64_t now, double *result)
{
    if (gw_unlikely(!fits(d, key, 0)))
        return too_large(d);
    uint32_t tag;
    shard *s = enter(d, key, &tag);
    uint32_t *link = find(s, key, tag, now);
    if (link) {
        entry *e = entry_of(s, *link);
        if (e->type != GW_VALUE_NUMBER)
            return leave(s, GW_INVALID);
        *result = e->number += n;
        hit(e);
        return leave(s, GW_OK);
    }
    if (!init)
        return leave(s, GW_NOTFOUND);
    gw_value value = {.type = GW_VALUE_NUMBER, .number = *init + n};
    *result = value.number;
    sweep(s, SWEEP_EACH, now);
    insert(s, key, tag, &value, expires, now);
    return leave(s, GW_OK);
}

int gw_dictionary_delete(gw_dictionary *d, gw_slice key, int64_t now)
{
    uint32_t tag;
    shard *s = enter(d, key, &tag);
    uint32_t *link = find(s, key, tag, now);
    if (link)
        drop(s, link);
    return leave(s, link ? GW_OK : GW_NOTFOUND);
}

int gw_dictionary_ends(gw_dictionary *d, gw_slice key, int64_t now, int64_t *expires)
{
    uint32_t tag;
    shard *s = enter(d, key, &tag);
    uint32_t *link = find(s, key, tag, now);
    if (link)
        *expires = entry_of(s, *link)->expires;
    return leave(s, link ? GW_OK : GW_NOTFOUND);
}

int gw_dictionary_expire(gw_dictionary *d, gw_slice key, int64_t expires, int64_t now)
{
    uint32_t tag;
    shard *s = enter(d, key, &tag);
    uint32_t *link = find(s, key, tag, now);
    if (link)
        entry_of(s, *link)->expires = expires;
    return leave(s, link ? GW_OK : GW_NOTFOUND);
}

void gw_dictionary_clear(gw_dictionary *d)
{
    for (uint32_t i = 0; i < d->shard_count; i++) {
        shard *s = &d->shards[i];
        pthread_mutex_lock(&s->lock);
        if (s->entries)
            memset(s->chains, 0, ((size_t)s->mask + 1) * sizeof *s->chains);
        gw_pages_reset(&s->pages);
        s->newest = s->oldest = 0;
        s->entries = 0;
        pthread_mutex_unlock(&s->lock);
    }
}

void gw_dictionary_read_stats(gw_dictionary *d, gw_dictionary_stats *stats)
{
    *stats = (gw_dictionary_stats){.capacity = d->shard_count * d->share_units * GW_UNIT_BYTES,
                                   .share = d->share_units * (GW_UNIT_BYTES - GW_PIECE_HEAD) + GW_PIECE_HEAD,
                                   .refused = atomic_load_explicit(&d->refused, memory_order_relaxed)};
    for (uint32_t i = 0; i < d->shard_count; i++) {
        shard *s = &d->shards[i];
        pthread_mutex_lock(&s->lock);
        stats->entries += s->entries;
        stats->bytes += (d->share_units - s->pages.unused) * GW_UNIT_BYTES;
        stats->hits += s->hits;
        stats->misses += s->misses;
        stats->evicted += s->evicted;
        stats->expired += s->expired;
        pthread_mutex_unlock(&s->lock);
    }
}

/* Room for the key and the value of the largest entry so far; false: memory is out. */
static bool reserve(char **room, size_t *bytes, size_t wanted)
{
    if (wanted <= *bytes)
        return true;
    size_t more = wanted * 2;
    char *grown = realloc(*room, more);
    if (!grown)
        return false;
    *room = grown;
    *bytes = more;
    return true;
}

bool gw_dictionary_adopt(gw_dictionary *to, gw_dictionary *from, int64_t now)
{
    char *room = NULL;
    size_t bytes = 0;
    bool all = true;
    for (uint32_t i = 0; i < from->shard_count; i++) {
        shard *s = &from->shards[i];
        pthread_mutex_lock(&s->lock);
        for (uint32_t ref = s->oldest; ref; ref = entry_of(s, ref)->newer) {
            const entry *e = entry_of(s, ref);
            if (now >= e->expires)
                continue;
            if (!reserve(&room, &bytes, e->key_len + (size_t)e->value_len + 1)) {
                all = false;
                continue;
            }
            cursor c = cursor_at_key(s, ref);
            read_bytes(&c, room, e->key_len + (size_t)e->value_len);
            gw_value value = {e->type, gw_slice_of(room + e->key_len, e->value_len), e->number};
            gw_dictionary_put(to, gw_slice_of(room, e->key_len), &value, e->expires, GW_DICTIONARY_ADD, NULL, now);
        }
        pthread_mutex_unlock(&s->lock);
    }
    free(room);
    return all;
}
