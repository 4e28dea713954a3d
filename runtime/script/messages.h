/* What a load has to say: errors and warnings, a line each, in one malloc'ed text. */
#ifndef GW_SCRIPT_MESSAGES_H
#define GW_SCRIPT_MESSAGES_H

#include "base/base.h"

typedef struct gw_messages {
    char *text; /* NUL-terminated; NULL: none */
    size_t len, cap;
    uint32_t count;
} gw_messages;

/* A line, without its line end. When memory is out the line is lost, but counted. */
void gw_messages_add(gw_messages *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts them in the order of file and line, `first` before all other files; a line that begins with a tab belongs to the one before it.
 * One that stands there already is dropped. Without memory they stay as they are. */
void gw_messages_sort(gw_messages *m, const char *first);
/* Adds those of `more` that stand at a line of which m has nothing to say yet, and that do not speak of such a line: what follows from a
 * mistake is no news. */
void gw_messages_add_new(gw_messages *m, const gw_messages *more);
void gw_messages_clear(gw_messages *m);

#endif
