/* The path patterns of routes: read once at load, checked, cut into segments.
 *
 * A pattern is compared with normalised paths (http/url.h), so it has to be in that form itself: one that could never match, such
 * as "/a//b", "/%41" or "/a/../b", is refused, and the message says what to write instead. Only literal UTF-8 is taken as it is
 * written and kept as upper-case escapes, because that is what clients send for it. */
#ifndef GW_GATEWAY_PATTERN_H
#define GW_GATEWAY_PATTERN_H

#include "base/base.h"

#define GW_PATTERN_BYTES 2048  /* longest pattern */
#define GW_PATTERN_SEGMENTS 64 /* most segments; an exact path has no such bound */

/* In the order in which they are tried. */
enum gw_pattern_kind {
    GW_PATTERN_EXACT,     /* "= /a" */
    GW_PATTERN_PARAMETER, /* "/a/:b": the whole path */
    GW_PATTERN_PREFIX     /* "/a", "/a/", "/a/\*", "/a/\*rest", "/a*", "/:a/\*" (without the backslashes) */
};

/* In the order in which they are tried where two patterns have as many segments. */
enum gw_segment_kind {
    GW_SEGMENT_LITERAL,
    GW_SEGMENT_LOOSE, /* begins the path's segment; only the last one */
    GW_SEGMENT_PARAMETER
};

typedef struct gw_segment {
    enum gw_segment_kind kind;
    gw_slice text; /* the literal, or the parameter's name */
} gw_segment;

typedef struct gw_pattern {
    enum gw_pattern_kind kind;
    gw_slice text;          /* normalised; what an exact pattern is compared with */
    gw_slice rest;          /* name of the remainder; {NULL,0}: none or nameless */
    uint32_t param_count;   /* the remainder's name included */
    uint32_t segment_count; /* 0 for exact patterns and for "/" */
    gw_segment segments[];
} gw_pattern;

/* Reads a pattern into one block of memory (free() gives it back). 0, GW_NOMEM, or GW_INVALID with a message that names what was found
 * and what to write. */
int gw_pattern_parse(gw_slice source, gw_pattern **pattern, char *message, size_t message_bytes);

/* Below 0: a is tried before b; 0: they take the same paths (parameter names aside). A total order. */
int gw_pattern_compare(const gw_pattern *a, const gw_pattern *b);

#endif
