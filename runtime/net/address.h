/* Socket addresses and CIDR sets. Pure: no names are looked up here. */
#ifndef GW_NET_ADDRESS_H
#define GW_NET_ADDRESS_H

#include "base/base.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef struct gw_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    };
    socklen_t len;
    bool both_families; /* ":80" and "*:80": the IPv6 wildcard that takes IPv4 as well, where "[::]:80" does not */
} gw_address;

#define GW_ADDRESS_TEXT 120 /* room for any address as text */

/* What an address text means: "1.2.3.4:80", "[::1]:80", "unix:/path", ":8080" (all of IPv4 and IPv6), "*:8080" (the same), or
 * "name:80", which has to be resolved. */
enum gw_address_kind { GW_ADDRESS_NUMERIC, GW_ADDRESS_NAME };

/* Parses "HOST:PORT" or "unix:PATH". Numeric: fills `out`. Name: puts the name (a slice of text) and port into *name, *port.
 * Returns the kind, or GW_INVALID with *reason. default_port < 0: a port is needed. */
int gw_address_parse(gw_slice text, int default_port, gw_address *out, gw_slice *name, uint16_t *port, const char **reason);

/* "1.2.3.4:80", "[::1]:80", "*:80", "unix:/path" into out; returns its length. IPv4-mapped IPv6 is written as IPv4. */
size_t gw_address_text(const gw_address *a, char out[GW_ADDRESS_TEXT]);
bool gw_address_equal(const gw_address *a, const gw_address *b);
/* Port 0: whoever listens there leaves the choice to the kernel. */
bool gw_address_port_chosen(const gw_address *a);
/* Whether only this machine reaches it: 127.0.0.0/8 (also mapped into IPv6), ::1, a unix socket. */
bool gw_address_is_local(const gw_address *a);

/* An IP without its port: 16 bytes, IPv4 as ::ffff:a.b.c.d; all zero for a unix socket's peer. */
typedef struct gw_ip {
    uint8_t bytes[16];
} gw_ip;
gw_ip gw_ip_of(const gw_address *a);
/* "1.2.3.4", "2001:db8::1" or "unix" into out; returns its length (at most 46). */
size_t gw_ip_text(const gw_ip *ip, char out[48]);
/* Parses the text of one IP, strictly: four decimal numbers without leading zeros, or RFC 4291 text without a zone (IPv6 with or without brackets, IPv4 or IPv6 with a port as some proxies write it in X-Forwarded-For).
 * 0 or GW_INVALID. */
int gw_ip_parse(gw_slice text, gw_ip *out);

/* A set of CIDR blocks: two binary tries, 32 bits and 128 bits deep, built once, then read by any thread. IPv4-mapped addresses are
 * IPv4 here, so "::/0" means all of IPv6 and nothing of IPv4. */
typedef struct gw_cidr_set gw_cidr_set;
gw_cidr_set *gw_cidr_set_new(void);
void gw_cidr_set_free(gw_cidr_set *set);
/* "10.0.0.0/8", "::1", "2001:db8::/32", or "unix" for the peers of unix sockets; host bits that are set are refused. 0, GW_NOMEM or
 * GW_INVALID with *reason. */
int gw_cidr_set_add(gw_cidr_set *set, gw_slice text, const char **reason);
bool gw_cidr_set_has(const gw_cidr_set *set, const gw_ip *ip);

#endif
