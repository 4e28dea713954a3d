/* Words to the service manager that started us (sd_notify(3)): datagrams of "NAME=VALUE" lines to the socket in NOTIFY_SOCKET. The protocol is
 * promised to stay, and is written here in full: libsystemd would be a dependency of every machine for these lines. */
#ifndef GW_NET_NOTIFY_H
#define GW_NET_NOTIFY_H

#include "base/base.h"

typedef struct gw_notify {
    int fd;          /* -1: nobody listens */
    double watchdog; /* seconds within which it wants a sign of life; 0: none */
} gw_notify;

/* Looks into the environment: NOTIFY_SOCKET ("/path" or "@abstract"), WATCHDOG_USEC and WATCHDOG_PID. */
void gw_notify_open(gw_notify *n);
void gw_notify_close(gw_notify *n);
/* Whole lines. What cannot be sent at once is not sent: we do not wait for a service manager. */
void gw_notify_say(const gw_notify *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
