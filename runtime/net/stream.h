/* A connected socket (or one that is being connected) on a loop: the only way that the floors above touch a descriptor.
 *
 * Rules that keep the system calls down: the read watcher is armed once and stays armed; writes go to the kernel at once, and only
 * what it does not take is copied into an overflow buffer, for which the write watcher is armed. After a read that did not fill
 * the room, nobody reads again to see EAGAIN.
 *
 * Back-pressure: gw_stream_write returns GW_AGAIN when bytes were left over. They are kept and will be written; the caller stops
 * producing until `drained`. At most what was handed over in that one call is kept, so memory is bounded by the caller's block.
 *
 * Every handler may close and free its own stream; the stream layer does not touch it after calling one. */
#ifndef GW_NET_STREAM_H
#define GW_NET_STREAM_H

#include "base/buffer.h"
#include "net/address.h"
#include "net/loop.h"
#include <sys/uio.h>

typedef struct gw_stream gw_stream;

typedef struct gw_stream_ops {
    void (*readable)(gw_stream *s);              /* bytes, an end or an error can be read */
    void (*drained)(gw_stream *s);               /* all that was left over is written */
    void (*connected)(gw_stream *s, int status); /* gw_stream_connect came to its end: 0 or why not */
    void (*failed)(gw_stream *s, int status);    /* writing what was left over failed (what the peer sent can still be read), or
                                                 * GW_NOMEM: the kernel will not watch the descriptor, so nothing more will come */
    void (*expired)(gw_stream *s);               /* the timeout passed */
} gw_stream_ops;

struct gw_stream {
    ev_io io;
    gw_loop *loop;
    const gw_stream_ops *ops;
    gw_buffer_pool *buffers; /* where the overflow comes from */
    gw_buffer *overflow;     /* bytes left over from writes; NULL: none */
    gw_timeout timeout;      /* one at a time, for whatever the owner waits for */
    uint8_t connecting : 1, reading : 1, write_shut : 1, shut_when_drained : 1;
    uint8_t read_ended : 1; /* an end or an error was read: no more `readable` */
    uint8_t broken : 1;     /* a write met a reset: an end that is read after it counts as one too */
};

/* Takes an accepted, non-blocking descriptor and arms reading. */
void gw_stream_init(gw_stream *s, gw_loop *loop, gw_buffer_pool *buffers, const gw_stream_ops *ops, int fd);
/* Begins to connect. 0: `connected` will be called (never from inside this call; with a failure the stream is closed by then);
 * negative: failed at once, nothing to clean up. */
int gw_stream_connect(gw_stream *s, gw_loop *loop, gw_buffer_pool *buffers, const gw_stream_ops *ops, const gw_address *to);
/* For who stands in for the network (gw_loop's `connect`): the stream connects by `fd`, which is its own now; nothing happens until
 * gw_stream_connected says how that ended. */
void gw_stream_connecting(gw_stream *s, int fd);
void gw_stream_connected(gw_stream *s, int status);
static inline bool gw_stream_open(const gw_stream *s)
{
    return s->io.fd >= 0;
}
/* Closes at once; what was left over is dropped. Fine on a closed one. */
void gw_stream_close(gw_stream *s);
/* Closes so that the peer sees a reset (SO_LINGER 0): for an answer that must not look complete. */
void gw_stream_reset(gw_stream *s);

/* Reads once into the buffer's room (at least 1 byte of it). Bytes read (> 0), GW_AGAIN, GW_EOF or GW_RESET; after the last two
 * `readable` is not called any more. */
int64_t gw_stream_read(gw_stream *s, gw_buffer *into);
/* Writes all of iov (at most 16 pieces), behind what is left over from before. GW_OK: all written. GW_AGAIN: accepted, some left over.
 * GW_RESET: the connection is broken or its write side has been ended; what the peer sent before can still be read. GW_NOMEM: no
 * memory for what was left over: give the stream up. */
int gw_stream_write(gw_stream *s, const struct iovec *iov, int count);
static inline bool gw_stream_blocked(const gw_stream *s)
{
    return s->overflow != NULL;
}
/* Switches reading off (back-pressure) or on again. Costs a system call each time it really changes at the end of a loop turn. */
void gw_stream_read_on(gw_stream *s);
void gw_stream_read_off(gw_stream *s);
/* Ends the write side, behind what is left over. */
void gw_stream_shutdown(gw_stream *s);
/* True when an idle stream is still usable: nothing to read, no end, no error (one recv with MSG_PEEK | MSG_DONTWAIT). */
bool gw_stream_alive(gw_stream *s);

static inline void gw_stream_timeout(gw_stream *s, double seconds) /* <= 0: none */
{
    gw_timeout_arm(s->loop, &s->timeout, seconds);
}

/* The bytes that the kernel holds of the peer's and of ours; for tests and for pushing a tunnel on. */
int gw_stream_fd(const gw_stream *s);

#endif
