/* What a script calls the place of a log, and opening it.
 *
 *   "stdout", "stderr"
 *   "/var/log/gateway/access.log"        a file: anything with a '/' that is none of the others; appended to, made with mode 0640
 *   "udp:127.0.0.1:9000"                 one JSON line a datagram
 *   "syslog"                             the local one, unix:/dev/log
 *   "syslog:unix:/path", "syslog:10.0.0.1:514"   RFC 3164 on a unix socket, RFC 5424 over UDP (port 514 unless given)
 *
 * Addresses are numeric: a log must not wait for names. */
#ifndef GW_NET_LOG_TARGET_H
#define GW_NET_LOG_TARGET_H

#include "base/log.h"
#include "net/address.h"

enum gw_log_target_kind { GW_LOG_TO_STDOUT, GW_LOG_TO_STDERR, GW_LOG_TO_FILE, GW_LOG_TO_UDP, GW_LOG_TO_SYSLOG };

typedef struct gw_log_target {
    enum gw_log_target_kind kind;
    gw_slice text; /* as given */
    gw_address at; /* UDP, SYSLOG */
} gw_log_target;

/* GW_OK, or GW_INVALID with what was expected in *expected. Keeps `text`. */
int gw_log_target_parse(gw_slice text, gw_log_target *out, const char **expected);
/* NULL: why in `message`. Does not block: a pipe without a reader is refused. */
gw_log_sink *gw_log_target_open(const gw_log_target *t, char *message, size_t bytes);

#endif
