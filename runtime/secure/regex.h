/* Regular expressions (PCRE2, 8 bit, with its compiler), with a bound on the time that a match takes whatever pattern and text are.
 *
 * A regex belongs to one thread. Part of script/api.h: Lua sees this. */
#ifndef GW_SECURE_REGEX_H
#define GW_SECURE_REGEX_H

#ifdef GW_CDEF
#define GW_API
#else
#include "base/base.h"
#endif

enum gw_regex_flags {
    GW_REGEX_CASELESS = 1,  /* i */
    GW_REGEX_MULTILINE = 2, /* m: ^ and $ at line ends */
    GW_REGEX_DOTALL = 4,    /* s: . takes line ends too */
    GW_REGEX_EXTENDED = 8,  /* x: blanks and comments */
    GW_REGEX_UTF = 16,      /* u: text is UTF-8; what is none matches nothing */
    GW_REGEX_ANCHORED = 32  /* a: matches begin where the search does */
};

enum {
    GW_REGEX_PATTERN_MOST = 16384, /* bytes */
    GW_REGEX_TEXT_MOST = 4194304,  /* bytes of a text that is matched */
    GW_REGEX_CAPTURES_MOST = 255,
    GW_REGEX_MILLISECONDS = 10 /* of this thread's time that one match may take, nearly; threefold in the worst case */
};

typedef struct gw_regex gw_regex;

typedef struct gw_regex_error {
    int at; /* byte of the pattern, from 0; -1: the whole */
    char text[160];
} gw_regex_error;

/* NULL with *error. */
GW_API gw_regex *gw_regex_compile(const char *pattern, size_t len, int flags, gw_regex_error *error);

GW_API int gw_regex_captures(const gw_regex *regex); /* groups, without the whole */
/* The group that the n-th name (from 0, in alphabetical order) is of, its name in *name; 0: no more names. */
GW_API int gw_regex_name(const gw_regex *regex, int n, const char **name);
GW_API int gw_regex_bytes(const gw_regex *regex); /* memory that it takes */

/* Searches text from `from` on. 1: found, where stands in the places; 0: not found; LIMIT: gave up, it would take too long; INVALID: the
 * text is longer than GW_REGEX_TEXT_MOST; NOMEM. */
GW_API int gw_regex_match(gw_regex *regex, const char *text, size_t len, int from);
/* After a match that was found: begin and end of the whole and of each group, -1 for one that took no part; captures + 1 pairs. */
GW_API const int *gw_regex_places(const gw_regex *regex);

#endif
