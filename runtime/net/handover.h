/* Listening sockets that a process gets from another one: from its predecessor, in a binary upgrade, or from systemd (socket activation); and the
 * start of a successor that gets ours.
 *
 * A listening socket is the kernel's, with the connections in its queue: the process that takes it over accepts what came before it, and
 * nothing is lost as long as one of both holds it. Descriptors go by number over the exec, and GATEWAY_SOCKETS says what they are:
 *
 *     l:5,6,7;lz:8,9,10;a:11       role (l: listener, a: admin), flags, descriptors of one address (one a worker)
 *
 * Flags: z: port 0 was asked for; b: both families were, and there is no IPv6; f: systemd's, whose path is not ours to remove. The addresses are
 * asked from the sockets themselves. GATEWAY_READY is the descriptor on which the successor says how it went: a NUL byte when it serves, else why
 * not; its end without a NUL means that it does not. */
#ifndef GW_NET_HANDOVER_H
#define GW_NET_HANDOVER_H

#include "net/address.h"
#include "net/loop.h"
#include <sys/types.h>

/* ---- what was handed to this process ---- */

typedef struct gw_inherited {
    gw_address asked, at; /* they differ where the kernel chose */
    char role;            /* 'l', 'a'; 0: systemd's, which may be either */
    bool foreign;         /* systemd's: its path is not removed */
    bool taken;           /* the descriptors are the taker's */
    int count, *fds;
} gw_inherited;

typedef struct gw_inheritance {
    gw_inherited *item;
    int count;
    int ready;      /* descriptor to the predecessor; -1: none */
    int ignored;    /* descriptors that were said to be listening stream sockets, and are not */
    bool activated; /* by systemd */
} gw_inheritance;

/* Reads the environment and clears what it read, so that nobody reads it again: before there are threads. 0 or GW_NOMEM. */
int gw_inheritance_read(gw_inheritance *in);
/* The sockets for an address, or NULL. They are the caller's once it sets `taken`. */
gw_inherited *gw_inheritance_find(gw_inheritance *in, char role, const gw_address *asked);
/* Closes what nobody took. A predecessor's paths that nobody listens at any more are removed. */
void gw_inheritance_close(gw_inheritance *in, bool remove_paths);
/* To the predecessor, once: it may go (NULL), or why not. */
void gw_inheritance_tell(gw_inheritance *in, const char *why_not);

/* Sockets beside those that are there, for more workers: of the same reuse-port group where that can be had, else the same ones again. 0, or
 * GW_NOFILES with nothing left open. */
int gw_listen_more(const gw_address *at, const int have[], int have_count, int fds[], int count);

/* ---- the successor ---- */

enum gw_successor_end { GW_SUCCESSOR_READY, GW_SUCCESSOR_REFUSED, GW_SUCCESSOR_LATE };

typedef struct gw_successor gw_successor;
struct gw_successor {
    ev_io io;
    gw_loop *loop;
    gw_timeout patience;
    int fd; /* what it says; -1: there is none */
    pid_t pid;
    int exit_status; /* as waitpid has it, when it was refused */
    char said[4096];
    size_t said_len;
    void *owner;
    /* Once. Ready: it serves, and is left alone from now on. Else it has ended. */
    void (*ended)(gw_successor *n, enum gw_successor_end end);
};

typedef struct gw_handed {
    char role;
    bool zero_port, ipv4_only, foreign;
    const int *fds;
    int count;
} gw_handed;

/* Starts `path` with these words and the sockets. 0, or a negative errno. */
int gw_successor_start(gw_successor *n, gw_loop *loop, const char *path, char *const argv[], const gw_handed handed[], int count,
                       double seconds);
/* It is not wanted any more. False: it was ready already, and goes on (its pid is still there). */
bool gw_successor_cancel(gw_successor *n);

#endif
