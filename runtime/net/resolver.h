/* Names to addresses without blocking: c-ares on a loop, /etc/hosts first ("fb" lookups), A and AAAA together. "localhost" is the
 * loopback address whatever is written where.
 *
 * Servers, time-outs and search domains are those of /etc/resolv.conf when the resolver is made. GATEWAY_RESOLVER in the environment
 * names other servers ("127.0.0.1:5353,[::1]:53"); CARES_HOSTS names another file than /etc/hosts. Both are there for tests. */
#ifndef GW_NET_RESOLVER_H
#define GW_NET_RESOLVER_H

#include "net/address.h"
#include "net/loop.h"

typedef struct gw_resolver gw_resolver;
#define GW_RESOLVED_MAX 64 /* addresses kept of one answer */

gw_resolver *gw_resolver_new(gw_loop *loop); /* NULL when it cannot be */
void gw_resolver_free(gw_resolver *r);       /* what is under way is called back with GW_EOF; fine inside of a callback */

/* Looks `name` up; `done` is called once, perhaps from inside this call, with status 0 and at least one address (with the port set,
 * sorted bytewise and without doubles, so that equal answers compare equal), or a status and c-ares's words for it. */
typedef void gw_resolved(void *data, int status, const char *message, const gw_address *addresses, size_t count);
void gw_resolve(gw_resolver *r, const char *name, uint16_t port, gw_resolved *done, void *data);

/* Waits for the answer on the calling thread (with a loop of its own; at most `seconds`): for the control path only. `addresses` has
 * room for GW_RESOLVED_MAX. 0, or a status with words for it in message. */
int gw_resolve_now(const char *name, uint16_t port, double seconds, gw_address *addresses, size_t *count, char *message,
                   size_t message_bytes);

#endif
