/* Lines of text that grow: errors of a load, and JSON that has no size known before. */
#ifndef GW_PROCESS_LINES_H
#define GW_PROCESS_LINES_H

#include "base/text.h"

typedef struct gw_lines {
    char *text; /* malloc'ed, NUL-terminated; NULL: nothing yet */
    size_t len;
} gw_lines;

/* Appends; when memory is out nothing is appended. */
void gw_lines_add(gw_lines *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends a text of whole lines and frees it; NULL is fine. */
void gw_lines_take(gw_lines *l, char *text);
void gw_lines_clear(gw_lines *l);

/* The lines of `text` as members of a JSON array, without its brackets. NULL is no lines. `abridge`: what does not fit is summed up in a
 * last member "... and N more"; otherwise out->cut is set. */
void gw_lines_json(gw_text *out, const char *text, bool abridge);

/* Renders with a text of growing room until it fits: malloc'ed, *len bytes; NULL: memory (or 64 MB) is out. */
char *gw_render(void (*render)(gw_text *t, void *data), void *data, size_t *len);

#endif
