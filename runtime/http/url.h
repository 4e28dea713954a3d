/* Paths: normalised once; the same bytes are matched and forwarded (RFC 3986 section 6.2.2).
 *
 * Percent-encoded unreserved characters are decoded, the other escapes get upper-case digits, "." and ".." segments are resolved
 * (encoded ones too), runs of '/' become one. Refused: a path that does not begin with '/', ".." above the root, an escape that is
 * no escape, %00 and other encoded control characters, '\' and %5C, and, unless `keep_encoded_slash`, %2F. A path that is
 * normal already costs one pass and is returned as it is. */
#ifndef GW_HTTP_URL_H
#define GW_HTTP_URL_H

#include "base/base.h"

/* Normalises `raw` into `out`; when nothing has to change, out points to raw's own bytes, else into `room` (raw.len bytes suffice).
 * 0 or GW_INVALID, then *reason says why. Normalising a normal path changes nothing. */
int gw_path_normalise(gw_slice raw, bool keep_encoded_slash, char *room, gw_slice *out, const char **reason);

/* Percent-decodes into `room` (s.len bytes suffice); '+' stays. Bad escapes stay as they are. For parameters and query values. */
gw_slice gw_percent_decode(gw_slice s, char *room);

/* Value of `name` in a query string ("a=1&b=2"), raw; {NULL,0} when absent, {non-NULL,0} for "a" or "a=". First one wins. Names are
 * compared as sent (no decoding). */
gw_slice gw_query_get(gw_slice query, gw_slice name);

/* Value of cookie `name` in a Cookie field value ("a=1; b=2", RFC 6265 section 4.2.1); {NULL,0} when absent. */
gw_slice gw_cookie_get(gw_slice cookie, gw_slice name);

/* Splits "host:port", "[v6]:port", "host". port is -1 when absent. 0 or GW_INVALID (empty host, characters that cannot stand in a
 * host, port not 0..65535, a lone IPv6 without brackets). */
int gw_authority_split(gw_slice authority, gw_slice *host, int *port);

/* An absolute URL, taken apart; slices of it. */
typedef struct gw_url {
    gw_slice scheme;    /* as written */
    gw_slice authority; /* host[:port] */
    gw_slice host;      /* IPv6 with its brackets */
    int port;           /* -1: not given */
    gw_slice path;      /* "/" when there is none; not normalised */
    gw_slice query;     /* behind the '?'; {NULL, 0} when there is no '?' */
} gw_url;

/* "scheme://host[:port][/path][?query][#fragment]" (RFC 3986 section 3); the fragment is dropped. Refused: user names and passwords, bytes
 * that may not stand in a URL as they are (control characters, spaces, what is not ASCII). 0 or GW_INVALID, then *reason says why. */
GW_API int gw_url_split(gw_slice url, gw_url *out, const char **reason);

#endif
