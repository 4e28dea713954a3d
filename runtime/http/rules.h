/* What requests and responses share of the strict rules. Private to this folder.
 *
 * http-parser reads the head in one call; our own pass rides on its callbacks. A cursor says where the next byte that nobody has
 * accounted for stands: a field has to begin there, its name is followed by ':', its value by CRLF, and at the end only the empty
 * line is left. So nothing that http-parser skips, folds or joins goes unseen, and both readings are the same or the head is
 * refused. */
#ifndef GW_HTTP_RULES_H
#define GW_HTTP_RULES_H

#include <http_parser.h>

#include "http/message.h"

/* A head while it is read. */
typedef struct gw_reading {
    http_parser parser;
    gw_headers *headers;
    const char *cursor, *end;
    gw_bad_head *bad; /* status 0: nothing wrong so far */
    gw_slice target;  /* of a request: what http-parser has to find, too */
    gw_slice length;  /* the value of Content-Length, ptr NULL without one */
    gw_slice coding;  /* the value of Transfer-Encoding, likewise */
    uint32_t most;    /* fields allowed */
    bool value_next;  /* a name is read, its value is not */
    bool complete;    /* the empty line is reached */
    bool target_read;
} gw_reading;

static inline int gw_refuse(gw_bad_head *bad, int status, const char *reason)
{
    bad->status = status;
    bad->reason = reason;
    return GW_INVALID;
}

/* Reads the head from `start` (its first line, already checked up to `fields`) to `end`. */
int gw_read_head(gw_reading *g, enum http_parser_type type, gw_headers *headers, const char *start, const char *fields,
                 const char *end, const gw_head_limits *limits, gw_bad_head *bad);

/* Content-Length and Transfer-Encoding, held against each other and the version. *framing becomes CHUNKED, LENGTH or NONE. */
int gw_rules_framing(const gw_reading *g, int minor, enum gw_framing *framing, uint64_t *length, gw_bad_head *bad);

typedef struct gw_connection_options {
    bool close, keep_alive, upgrade;
} gw_connection_options;

/* Reads Connection and marks the fields that it names, save those that it may not. */
int gw_rules_connection(gw_headers *h, gw_connection_options *options, gw_bad_head *bad);

/* Takes the next element off a comma-separated list, without the whitespace around it; empty elements are passed over. False at
 * the end. */
bool gw_list_next(gw_slice *list, gw_slice *element);

/* The version at `at` (8 bytes, then CRLF or SP by the kind of message): sets *minor, or refuses. */
int gw_rules_version(const char *at, uint8_t *minor, gw_bad_head *bad);

#endif
