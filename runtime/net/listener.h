/* Listening sockets. The control thread binds them (so that a listener that cannot bind refuses the reload); each worker accepts on
 * its own.
 *
 * TCP: one socket a worker with SO_REUSEPORT. Before, a probe bind without it, because with it a second gateway on the same port
 * would go unnoticed. Unix: one socket, shared; a stale path is removed when nobody listens there, one in use is refused.
 * ":80" and "*:80" take IPv6 and IPv4 on one socket (IPv4 alone on a machine without IPv6), "[::]:80" takes IPv6 only.
 * Out of descriptors or socket memory: accepting pauses for 100 ms at a time, or until one of its connections closes (gw_listener_retry), told
 * once for each time it begins; it has ended when everything that waited has been accepted. */
#ifndef GW_NET_LISTENER_H
#define GW_NET_LISTENER_H

#include "net/address.h"
#include "net/loop.h"

#define GW_LISTEN_BACKLOG 4096 /* asked for; the kernel cuts it to net.core.somaxconn */

/* Binds and listens `count` sockets for one address. 0, or negative with errno's text and the address in message. On failure nothing
 * stays open. The address may be numeric or unix:; names are refused. Port 0: the kernel chooses; the address that came of it is
 * written back to *at. */
int gw_listen_bind(gw_address *at, int count, int fds[], char *message, size_t message_bytes);
/* The same; a unix socket has this mode from its first moment on. */
int gw_listen_bind_mode(gw_address *at, int count, int fds[], int mode, char *message, size_t message_bytes);
void gw_listen_close(const gw_address *at, int count, int fds[], bool unlink_path);

typedef struct gw_listener gw_listener;
struct gw_listener {
    ev_io io;
    gw_loop *loop;
    gw_timeout pause;
    gw_address at;
    bool paused;               /* out of descriptors */
    bool off;                  /* gw_listener_drain was called */
    uint64_t accepted, pauses; /* pauses: times that descriptors ran out, not tries since */
    void *owner;
    void (*accept)(gw_listener *l, int fd, const gw_address *peer); /* takes the (non-blocking, TCP_NODELAY) descriptor */
    void (*out_of_files)(gw_listener *l, int error);                /* a pause begins; for one log line */
};

/* Begins to accept on fd; owner, accept, out_of_files and at are the caller's to set before. At most 64 connections a turn, so that the others get theirs. */
void gw_listener_start(gw_listener *l, gw_loop *loop, int fd);
/* Accepts what has already come in whole, then stops; the descriptor is closed. */
void gw_listener_drain(gw_listener *l);
/* A descriptor was closed: a paused listener may try again before its pause ends. */
void gw_listener_retry(gw_listener *l);

#endif
