#define _GNU_SOURCE /* pthread_timedjoin_np, pthread_setname_np */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#define RING_LEAST 16384
#define LINE_MOST 4096          /* of an event */
#define MESSAGE_MOST 600        /* bytes of a message; six times as many when all are escaped */
#define GATHER_TICK_NS 10000000 /* the writer looks this often while it gathers, */
#define GATHER_TICKS 4          /* this many times at most, and writes early when a ring is a quarter full */
#define REPORT_NS 1000000000    /* drops are reported at most this often */
#define CLOSE_NS 2000000000     /* a sink that takes nothing has this long when the log closes */
#define IOV_MOST 64

/* The ring. Positions count bytes for ever; position & mask is the place in `bytes`. A line lies in one piece: when it does not fit
 * before the end of the ring, the producer goes on at the start of the next lap and leaves the rest of this one unused.
 *
 *     lap k                        lap k + 1
 *     |      tail#########wrap.....|#########head                 |
 *
 * Waiting: [tail, head) when both are in one lap, else [tail, wrap) and [start of head's lap, head). `wrap` is set before the head
 * that goes into another lap is published, and cannot be set again until the tail has left the earlier lap (head - tail <= size), so
 * it needs no atomicity of its own. */
struct gw_log_ring {
    gw_log_ring *next;
    gw_log *log;
    uint64_t size, mask;
    /* the producer's */
    struct {
        _Atomic uint64_t head;
        uint64_t reserved;  /* where the reservation begins */
        uint64_t tail_seen; /* tail as last read */
        uint64_t wrap;
        _Atomic uint64_t dropped;
    } __attribute__((aligned(GW_CACHE_LINE)));
    /* the writer's */
    struct {
        _Atomic uint64_t tail;
    } __attribute__((aligned(GW_CACHE_LINE)));
    char bytes[] __attribute__((aligned(GW_CACHE_LINE)));
};

struct gw_log {
    pthread_t thread;
    _Atomic(gw_log_sink *) next_sink; /* to be taken up by the writer; NULL: stays as it is */
    _Atomic int level;
    _Atomic(gw_log_ring *) rings; /* only ever grows, at the front */
    _Atomic uint32_t asleep;      /* futex: 1 while the writer waits for a first line */
    _Atomic uint32_t closing;     /* futex: 1 once gw_log_close was called */
    _Atomic uint64_t lost;        /* lines that the sink did not take */
    _Atomic bool left;            /* by the first of the two that are done with it; the second frees */
    /* the writer's */
    gw_log_sink *sink;    /* NULL: nowhere */
    uint64_t reported;    /* drops that a line has told of */
    int64_t report_after; /* not before this moment */
    int64_t give_up_at;   /* closing: when waiting for the sink ends; 0: not closing */
    bool torn;            /* the last byte that the sink took was not a line's last */
    bool sink_works;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t while_it_is, int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_it_is, ns < 0 ? NULL : &t, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* ---- producers ---- */

static gw_log_ring *ring_new(gw_log *log, size_t bytes)
{
    size_t size = RING_LEAST;
    while (size < bytes && size <= SIZE_MAX / 4)
        size *= 2;
    void *memory;
    if (size < bytes || posix_memalign(&memory, GW_CACHE_LINE, sizeof(gw_log_ring) + size) != 0)
        return NULL;
    gw_log_ring *ring = memory;
    memset(ring, 0, sizeof *ring);
    ring->log = log;
    ring->size = size;
    ring->mask = size - 1;
    return ring;
}

gw_log_ring *gw_log_ring_open(gw_log *log, size_t bytes)
{
    gw_log_ring *ring = ring_new(log, bytes);
    if (!ring)
        return NULL;
    ring->next = atomic_load(&log->rings);
    while (!atomic_compare_exchange_weak(&log->rings, &ring->next, ring))
        ;
    return ring;
}

gw_log_ring *gw_log_ring_alone(size_t bytes)
{
    return ring_new(NULL, bytes);
}

void gw_log_ring_free(gw_log_ring *ring)
{
    free(ring);
}

void gw_log_ring_take(gw_log_ring *ring, void (*taken)(void *data, const char *bytes, size_t len), void *data)
{
    uint64_t head = atomic_load(&ring->head), tail = atomic_load(&ring->tail), lap = head & ~ring->mask;
    if (tail < lap) {
        if (ring->wrap > tail)
            taken(data, ring->bytes + (tail & ring->mask), (size_t)(ring->wrap - tail));
        tail = lap;
    }
    if (head > tail)
        taken(data, ring->bytes + (tail & ring->mask), (size_t)(head - tail));
    atomic_store(&ring->tail, head);
}

char *gw_log_reserve(gw_log_ring *ring, size_t most)
{
    if (!ring)
        return NULL;
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed), at = head;
    if ((at & ring->mask) + most > ring->size)
        at = (at | ring->mask) + 1;
    bool fits = most <= ring->size / 2;
    if (fits && at + most - ring->tail_seen > ring->size) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        fits = at + most - ring->tail_seen <= ring->size;
    }
    if (gw_unlikely(!fits)) {
        uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);
        atomic_store_explicit(&ring->dropped, dropped + 1, memory_order_relaxed);
        return NULL;
    }
    ring->reserved = at;
    return ring->bytes + (at & ring->mask);
}

void gw_log_commit(gw_log_ring *ring, size_t used)
{
    if (!ring || used == 0)
        return;
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed), next = ring->reserved + used;
    if (ring->reserved != head)
        ring->wrap = head;
    if ((next & ring->mask) == 0)
        ring->wrap = next; /* the lap is used to its end: the head is in the next one already */
    /* The writer says that it sleeps and then looks at the heads; here the head is set and then the word read. Both in the one order
     * of sequential consistency, so at least one of the two sees the other. */
    atomic_store(&ring->head, next);
    if (ring->log && atomic_load(&ring->log->asleep) && atomic_exchange(&ring->log->asleep, 0))
        futex_wake(&ring->log->asleep);
}

uint64_t gw_log_dropped(gw_log *log)
{
    uint64_t n = atomic_load_explicit(&log->lost, memory_order_relaxed);
    for (gw_log_ring *ring = atomic_load(&log->rings); ring; ring = ring->next)
        n += atomic_load_explicit(&ring->dropped, memory_order_relaxed);
    return n;
}

/* ---- event lines ---- */

static void event_begin(gw_text *t, enum gw_log_level level, gw_slice message)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char time[25];
    gw_clock_iso8601(gw_clock_wall(), time);
    gw_text_lit(t, "{\"time\":\"");
    gw_text_add(t, time, sizeof time - 1);
    gw_text_lit(t, "\",\"level\":\"");
    gw_text_slice(t, gw_slice_str(names[(size_t)level < GW_COUNT(names) ? level : GW_LOG_ERROR]));
    gw_text_lit(t, "\",\"message\":");
    gw_text_json(t, message);
}

/* What would break a line whatever its place in JSON: control characters become spaces, bytes that are no UTF-8 question marks. */
static void scrub(char *bytes, size_t len)
{
    for (size_t i = 0; i < len;) {
        int n = 1;
        if ((unsigned char)bytes[i] < 0x20)
            bytes[i] = ' ';
        else if ((unsigned char)bytes[i] >= 0x80) {
            n = gw_utf8_sequence(bytes + i, len - i);
            if (n < 0) {
                n = -n;
                memset(bytes + i, '?', (size_t)n);
            }
        }
        i += (size_t)n;
    }
}

static bool event_fields(gw_text *t, const char *format, va_list args)
{
    size_t room = (size_t)(t->end - t->at);
    if (room < 4) /* a comma, a byte, "}\n" */
        return false;
    int n = vsnprintf(t->at + 1, room - 1, format, args);
    if (n < 0 || (size_t)n + 3 > room)
        return false;
    if (n) {
        *t->at = ',';
        scrub(t->at + 1, (size_t)n);
        t->at += n + 1;
    }
    return true;
}

void gw_log_event(gw_log_ring *ring, enum gw_log_level level, const char *message, const char *fields, ...)
{
    if (ring && ring->log && (int)level < atomic_load_explicit(&ring->log->level, memory_order_relaxed))
        return;
    char *bytes = gw_log_reserve(ring, LINE_MOST);
    if (!bytes)
        return;
    gw_slice said = gw_slice_str(message ? message : "");
    if (said.len > MESSAGE_MOST)
        said.len = MESSAGE_MOST;
    gw_text t = gw_text_on(bytes, LINE_MOST);
    event_begin(&t, level, said);
    if (fields) {
        char *mark = t.at;
        va_list args;
        va_start(args, fields);
        if (!event_fields(&t, fields, args))
            t.at = mark;
        va_end(args);
    }
    gw_text_lit(&t, "}\n");
    gw_log_commit(ring, gw_text_done(&t).len);
}

/* ---- the writer ---- */

static void log_leave(gw_log *log)
{
    if (!atomic_exchange(&log->left, true))
        return;
    for (gw_log_ring *ring = atomic_load(&log->rings); ring;) {
        gw_log_ring *next = ring->next;
        free(ring);
        ring = next;
    }
    gw_log_sink_free(log->sink);
    gw_log_sink_free(atomic_load(&log->next_sink));
    free(log);
}

/* Waits until the sink may take bytes again. False: the log closes and the sink had its time. */
static bool wait_for_sink(gw_log *log)
{
    if (atomic_load(&log->closing) && !log->give_up_at)
        log->give_up_at = gw_clock_monotonic_ns() + CLOSE_NS;
    if (log->give_up_at && gw_clock_monotonic_ns() >= log->give_up_at)
        return false;
    struct pollfd p = {.fd = log->sink->fd, .events = POLLOUT};
    poll(&p, 1, 50); /* so that closing is seen soon; an error shows in the next write */
    return true;
}

static uint64_t lines_in(const char *bytes, size_t len)
{
    uint64_t n = 0;
    const char *end = bytes + len;
    while (bytes < end && (bytes = memchr(bytes, '\n', (size_t)(end - bytes)))) {
        n++;
        bytes++;
    }
    return n;
}

static void write_otherwise(gw_log *log, const struct iovec *iov, int count)
{
    uint64_t lines = 0, lost;
    for (int i = 0; i < count; i++)
        lines += lines_in(iov[i].iov_base, iov[i].iov_len);
    lost = log->sink ? log->sink->send(log->sink, iov, count) : lines;
    atomic_fetch_add_explicit(&log->lost, lost, memory_order_relaxed);
    log->sink_works = lost < lines;
    log->torn = false;
}

/* Writes it all, as slowly as the sink wants it; what the sink refuses is counted as lost. */
static void write_all(gw_log *log, struct iovec *iov, int count)
{
    if (!log->sink || log->sink->send) {
        write_otherwise(log, iov, count);
        return;
    }
    while (count) {
        ssize_t n = writev(log->sink->fd, iov, count); /* may block for as long as the sink likes */
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_for_sink(log))))
            continue;
        if (n <= 0) {
            for (int i = 0; i < count; i++)
                atomic_fetch_add_explicit(&log->lost, lines_in(iov[i].iov_base, iov[i].iov_len), memory_order_relaxed);
            log->sink_works = false;
            return;
        }
        log->sink_works = true;
        size_t taken = (size_t)n;
        while (count && taken >= iov->iov_len) {
            taken -= iov->iov_len;
            log->torn = iov->iov_len ? ((char *)iov->iov_base)[iov->iov_len - 1] != '\n' : log->torn;
            iov++, count--;
        }
        if (taken) {
            log->torn = ((char *)iov->iov_base)[taken - 1] != '\n';
            iov->iov_base = (char *)iov->iov_base + taken;
            iov->iov_len -= taken;
        }
    }
}

/* A batch: pieces of the rings, and where each ring's tail will stand once they are dealt with. */
typedef struct batch {
    struct iovec iov[IOV_MOST];
    int count;
    struct {
        gw_log_ring *ring;
        uint64_t tail;
    } done[IOV_MOST];
    int rings;
} batch;

static void batch_begin(gw_log *log, batch *b)
{
    b->count = b->rings = 0;
    if (log->torn)
        b->iov[b->count++] = (struct iovec){.iov_base = (char *)"\n", .iov_len = 1};
}

static void batch_add(batch *b, const char *bytes, uint64_t len)
{
    if (len)
        b->iov[b->count++] = (struct iovec){.iov_base = (char *)bytes, .iov_len = len};
}

static void batch_write(gw_log *log, batch *b)
{
    if (b->rings) {
        write_all(log, b->iov, b->count);
        for (int i = 0; i < b->rings; i++)
            atomic_store_explicit(&b->done[i].ring->tail, b->done[i].tail, memory_order_release);
    }
    batch_begin(log, b);
}

static void write_rings(gw_log *log)
{
    batch b;
    batch_begin(log, &b);
    for (gw_log_ring *ring = atomic_load(&log->rings); ring; ring = ring->next) {
        uint64_t head = atomic_load(&ring->head), tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        if (head == tail)
            continue;
        if (b.count + 2 > IOV_MOST)
            batch_write(log, &b);
        uint64_t lap = head & ~ring->mask; /* where head's lap starts */
        if (tail < lap) {
            batch_add(&b, ring->bytes + (tail & ring->mask), ring->wrap - tail);
            tail = lap;
        }
        batch_add(&b, ring->bytes + (tail & ring->mask), head - tail);
        b.done[b.rings].ring = ring;
        b.done[b.rings++].tail = head;
    }
    batch_write(log, &b);
}

static bool rings_empty(gw_log *log)
{
    for (gw_log_ring *ring = atomic_load(&log->rings); ring; ring = ring->next)
        if (atomic_load(&ring->head) != atomic_load_explicit(&ring->tail, memory_order_relaxed))
            return false;
    return true;
}

static bool ring_filling(gw_log *log)
{
    for (gw_log_ring *ring = atomic_load(&log->rings); ring; ring = ring->next)
        if (atomic_load(&ring->head) - atomic_load_explicit(&ring->tail, memory_order_relaxed) > ring->size / 4)
            return true;
    return false;
}

/* A line that tells how many lines there could have been. When the sink does not take it either, it is tried again. */
static void report_drops(gw_log *log)
{
    uint64_t dropped = gw_log_dropped(log);
    int64_t now = gw_clock_monotonic_ns();
    if (dropped == log->reported || (now < log->report_after && !atomic_load(&log->closing)))
        return;
    char bytes[512];
    gw_text t = gw_text_on(bytes, sizeof bytes);
    if (log->torn)
        gw_text_lit(&t, "\n");
    event_begin(&t, GW_LOG_WARN, GW_SLICE("log lines dropped"));
    gw_text_lit(&t, ",\"dropped\":");
    gw_text_u64(&t, dropped - log->reported);
    gw_text_lit(&t, ",\"dropped_total\":");
    gw_text_u64(&t, dropped);
    gw_text_lit(&t, "}\n");
    gw_slice line = gw_text_done(&t);
    uint64_t lost = atomic_load_explicit(&log->lost, memory_order_relaxed);
    write_all(log, &(struct iovec){.iov_base = (char *)line.ptr, .iov_len = line.len}, 1);
    log->report_after = now + REPORT_NS;
    if (log->sink_works)
        log->reported = dropped;
    else
        atomic_store_explicit(&log->lost, lost, memory_order_relaxed); /* a report is none of the lines that it counts */
}

static void sleep_until_first_line(gw_log *log)
{
    atomic_store(&log->asleep, 1);
    if (rings_empty(log) && !atomic_load(&log->closing) && !atomic_load(&log->next_sink)) {
        /* Nobody need log again for drops to be told; a sink that is broken is left alone until somebody does. */
        bool untold = log->sink_works && gw_log_dropped(log) != log->reported;
        futex_wait(&log->asleep, 1, untold ? REPORT_NS : -1);
    }
    atomic_store(&log->asleep, 0);
}

static void take_sink(gw_log *log)
{
    gw_log_sink *next = atomic_exchange(&log->next_sink, NULL);
    if (!next)
        return;
    gw_log_sink_free(log->sink);
    log->sink = next;
    log->torn = false;
    log->sink_works = true;
}

static void gather(gw_log *log)
{
    int64_t ticks = log->sink && log->sink->gather_ns ? log->sink->gather_ns / GATHER_TICK_NS : GATHER_TICKS;
    for (int64_t i = 0; i < ticks && !atomic_load(&log->closing) && !atomic_load(&log->next_sink) && !ring_filling(log); i++)
        futex_wait(&log->closing, 0, GATHER_TICK_NS);
}

static void *writer(void *arg)
{
    gw_log *log = arg;
    for (;;) {
        bool last = atomic_load(&log->closing); /* read first: what was committed before closing is then seen below */
        if (!last && rings_empty(log))
            sleep_until_first_line(log);
        if (!last)
            gather(log);
        take_sink(log);
        write_rings(log);
        report_drops(log);
        if (last && rings_empty(log))
            break;
    }
    log_leave(log);
    return NULL;
}

gw_log *gw_log_open(int fd)
{
    /* Our own descriptor: a writer that outlives its log must not write to whatever has the number then. */
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    gw_log_sink *sink = own < 0 ? NULL : gw_log_sink_new(own, 0);
    gw_log *log = sink ? gw_log_open_sink(sink) : NULL;
    if (!log && sink)
        gw_log_sink_free(sink);
    else if (!log && own >= 0)
        close(own);
    return log;
}

void gw_log_redirect(gw_log *log, gw_log_sink *sink)
{
    gw_log_sink_free(atomic_exchange(&log->next_sink, sink));
    /* A writer that sleeps would keep the old sink until the next line. */
    if (atomic_exchange(&log->asleep, 0))
        futex_wake(&log->asleep);
}

void gw_log_set_level(gw_log *log, enum gw_log_level level)
{
    atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

gw_log *gw_log_open_sink(gw_log_sink *sink)
{
    gw_log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->sink = sink;
    log->sink_works = true;
    /* Signals are other threads' business; SIGPIPE, which a write brings upon the thread that writes, is nobody's. Faults stay open, for
     * whoever reports them. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < GW_COUNT(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&log->thread, NULL, writer, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        free(log);
        return NULL;
    }
    pthread_setname_np(log->thread, "log");
    return log;
}

void gw_log_close(gw_log *log)
{
    if (!log)
        return;
    atomic_store(&log->closing, 1);
    atomic_store(&log->asleep, 0);
    futex_wake(&log->closing);
    futex_wake(&log->asleep);
    /* The writer gives a sink that would block 2 s of its own accord. One that does block is left to it: it goes with the process, or
     * when the sink lets it. */
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_NS / 1000000000 + 1;
    if (pthread_timedjoin_np(log->thread, NULL, &until) != 0)
        pthread_detach(log->thread);
    log_leave(log);
}
