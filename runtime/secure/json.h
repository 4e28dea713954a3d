/* Reading JSON (RFC 8259), strictly, one token at a time: no memory of its own, no recursion. Who reads makes the values.
 *
 * Refused, beside what the grammar refuses: bytes that are no UTF-8, escapes that make half a surrogate pair, numbers beyond a double's range,
 * and what is nested deeper than was said. Part of script/api.h: Lua sees this. */
#ifndef GW_SECURE_JSON_H
#define GW_SECURE_JSON_H

#ifdef GW_CDEF
#define GW_API
#else
#include "base/base.h"
#endif

enum gw_json_kind {
    GW_JSON_END, /* the text has ended, as it should */
    GW_JSON_OBJECT,
    GW_JSON_OBJECT_END,
    GW_JSON_ARRAY,
    GW_JSON_ARRAY_END,
    GW_JSON_KEY,
    GW_JSON_STRING,
    GW_JSON_NUMBER,
    GW_JSON_TRUE,
    GW_JSON_FALSE,
    GW_JSON_NULL
};

enum { GW_JSON_DEPTH_MOST = 256 };

typedef struct gw_json {
    const char *text;
    int len, at;      /* at: where the next token begins; after an error: what is wrong */
    int depth, most;  /* open objects and arrays */
    int expecting;    /* json.c's */
    int first, bytes; /* of a KEY or STRING: what stands between the quotes */
    int escaped;      /* and whether there are escapes in it */
    double number;
    const char *why;                          /* after an error */
    unsigned char object[GW_JSON_DEPTH_MOST]; /* for each open one: it is an object */
} gw_json;

/* depth: from 0 to GW_JSON_DEPTH_MOST. INVALID: that, or a text of more than 1 GB. The text must outlive the reading. */
GW_API int gw_json_begin(gw_json *j, const char *text, size_t len, int depth);
/* The next token's kind; INVALID with why and at. Not to be called after END or an error. */
GW_API int gw_json_next(gw_json *j);
/* The last KEY or STRING without its escapes, into room for j->bytes. Returns its length. */
GW_API int gw_json_unescape(const gw_json *j, char *out);

#endif
