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
void gw_messages_clear(gw_messages *m);

#endif
