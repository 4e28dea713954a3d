/* Bare descriptors, for those who play the network's other end in tests: socket pairs that stand in for connections, and connections to
 * a gateway on this machine. Nothing here waits but gw_raw_connect and gw_raw_wait. */
#ifndef GW_NET_RAW_H
#define GW_NET_RAW_H

#include "net/address.h"

/* Two connected, non-blocking stream sockets. GW_OK or GW_NOFILES. */
int gw_raw_pair(int fds[2]);
/* Bytes (> 0), GW_AGAIN, GW_EOF or GW_RESET. */
int64_t gw_raw_read(int fd, char *into, size_t room);
/* Bytes taken (> 0), GW_AGAIN or GW_RESET. */
int64_t gw_raw_write(int fd, const char *bytes, size_t len);
/* The other end has been closed, or has ended its side, and everything it sent has been read. */
bool gw_raw_ended(int fd);
void gw_raw_shutdown(int fd); /* ends our side */
void gw_raw_close(int fd);
/* Closes one end of a pair so that the other sees a reset after what was sent: a close with bytes unread is one, so `other` (which must be
 * open still) leaves one. other < 0: a TCP connection, which has a reset of its own. */
void gw_raw_reset(int fd, int other);

/* A connection to a numeric address: the descriptor, non-blocking; GW_REFUSED, GW_TIMEOUT or GW_NOFILES. */
int gw_raw_connect(const gw_address *to, double seconds);
/* Waits until one of them can be read (or, those from `readers` on, written): GW_OK or GW_TIMEOUT. At most GW_RAW_WAIT_MOST. */
#define GW_RAW_WAIT_MOST 1024
int gw_raw_wait(const int fds[], int count, int readers, double seconds);
/* Listens on a port of the loopback address that the kernel chooses; the descriptor, non-blocking, or GW_NOFILES. */
int gw_raw_listen(uint16_t *port);
/* A connection that has come: the descriptor, non-blocking; GW_AGAIN: none has; or GW_NOFILES. */
int gw_raw_accept(int fd);

#endif
