/* Log lines: a single-producer ring for each thread that logs, one writer thread for the process.
 *
 * A producer never blocks and never makes a system call but one futex wake when the writer sleeps and the first line of a batch
 * arrives. A full ring drops the line and counts it; the writer reports the count in a line of its own. Lines of one producer
 * keep their order. The writer gathers for some milliseconds and writes many lines in one call. A sink that is slow or would
 * block holds up the writer only: the rings fill, and then lose lines. A write that fails loses its lines (counted), never the
 * process (SIGPIPE is blocked in the writer, ENOSPC is survived), and the next line begins on a line of its own. */
#ifndef GW_BASE_LOG_H
#define GW_BASE_LOG_H

#include "base/base.h"
#include "base/log_sink.h"

typedef struct gw_log gw_log;           /* the writer and its sink */
typedef struct gw_log_ring gw_log_ring; /* one producer's end */

enum gw_log_level { GW_LOG_DEBUG, GW_LOG_INFO, GW_LOG_WARN, GW_LOG_ERROR };

/* fd: where the lines go (1: stdout); it is duplicated. Starts the writer thread. NULL when that cannot be. */
gw_log *gw_log_open(int fd);
/* The same with a sink, which is the log's from then on; NULL sink: nowhere yet, lines are lost. NULL: as above, and the sink is still the caller's. */
gw_log *gw_log_open_sink(gw_log_sink *sink);
/* What is written from now on goes there. The writer closes the old sink when it has done with it. One thread at a time. */
void gw_log_redirect(gw_log *log, gw_log_sink *sink);
/* Events below this level are left out (GW_LOG_DEBUG at first: none). Any thread. */
void gw_log_set_level(gw_log *log, enum gw_log_level level);
/* Writes what is in the rings and ends the thread. Producers must have stopped. A sink that takes nothing is given 2 s. */
void gw_log_close(gw_log *log);

/* A producer's ring of at least `bytes` (rounded up to a power of two, 16 KB or more); NULL when memory is out. Freed by gw_log_close. */
gw_log_ring *gw_log_ring_open(gw_log *log, size_t bytes);

/* Room for one line of at most `most` bytes (up to half the ring), or NULL when the ring is full (then the drop is counted). The
 * producer writes there (ending in '\n') and commits what it used; 0 gives the room back. One reservation at a time. A NULL ring
 * is one that is always full. */
char *gw_log_reserve(gw_log_ring *ring, size_t most);
void gw_log_commit(gw_log_ring *ring, size_t used);

/* A ring without a writer, for tests: whoever opened it takes the lines out, on the producer's thread, and frees it. */
gw_log_ring *gw_log_ring_alone(size_t bytes);
void gw_log_ring_take(gw_log_ring *ring, void (*taken)(void *data, const char *bytes, size_t len), void *data); /* whole lines */
void gw_log_ring_free(gw_log_ring *ring);                                                                       /* NULL is fine */

/* Lines dropped since the start, of all rings. Any thread. */
uint64_t gw_log_dropped(gw_log *log);

/* An event line: {"time":…,"level":…,"message":…, FIELDS}. `fields` is printf-formatted JSON members without the outer braces, or
 * NULL; strings in it must be JSON already (gw_text_json); stray control characters and invalid UTF-8 in it are replaced. Lines over 4 KB are cut to
 * their message, and a long message to its first 600 bytes. */
void gw_log_event(gw_log_ring *ring, enum gw_log_level level, const char *message, const char *fields, ...)
    __attribute__((format(printf, 4, 5)));

#endif
