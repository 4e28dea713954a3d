/* How the last reloads ended, oldest first; and the start. */
#ifndef GW_PROCESS_HISTORY_H
#define GW_PROCESS_HISTORY_H

#include "process/lines.h"

struct gw_reload_result;

#define GW_HISTORY_MOST 20
#define GW_HISTORY_TEXT 4000 /* bytes of one's errors, and of its warnings; what is more is summed up in a last line */

typedef struct gw_history_entry {
    bool ok;
    uint64_t generation; /* that served afterwards */
    const char *cause;
    double at, seconds;
    gw_lines errors, warnings;
} gw_history_entry;

typedef struct gw_history {
    uint32_t count, first; /* first: place of the oldest */
    gw_history_entry entry[GW_HISTORY_MOST];
} gw_history;

/* Copies it. Without memory its lines are missing. */
void gw_history_add(gw_history *h, const struct gw_reload_result *result);
void gw_history_clear(gw_history *h);
/* A JSON array, newest first. */
void gw_history_json(gw_text *t, const gw_history *h);

#endif
