/* Where log lines go. The writer thread alone uses a sink; whoever makes one hands it over to a log (gw_log_open_sink, gw_log_redirect), which
 * closes it. A stream (a file, a pipe, a terminal) takes many lines in one write; what else there is brings its own `send`. */
#ifndef GW_BASE_LOG_SINK_H
#define GW_BASE_LOG_SINK_H

#include "base/base.h"
#include <sys/uio.h>

typedef struct gw_log_sink gw_log_sink;
struct gw_log_sink {
    int fd; /* -1: nowhere */
    /* Puts the lines in these pieces (the last one ends with a line) where they belong. How many were lost. NULL: a stream. */
    uint64_t (*send)(gw_log_sink *s, const struct iovec *iov, int count);
    void (*forget)(gw_log_sink *s); /* frees what `data` points to; may be NULL */
    int64_t gather_ns;              /* lines may wait so long for others; 0: some milliseconds */
    _Alignas(16) char data[];       /* send's own */
};

/* With `bytes` of data, zeroed; owns fd from then on. NULL: memory is out (and fd is still the caller's). */
gw_log_sink *gw_log_sink_new(int fd, size_t bytes);
void gw_log_sink_free(gw_log_sink *s); /* closes; NULL is fine */

#endif
