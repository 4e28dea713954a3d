/* Floor 4's face to the process floor: load a script into a generation; the rest goes through gw_chain_ops. */
#ifndef GW_SCRIPT_SCRIPT_H
#define GW_SCRIPT_SCRIPT_H

#include "gateway/generation.h"

typedef struct gw_load_options {
    uint32_t workers;       /* fresh Lua states to make, one a worker; 0: only check (one state, dropped again) */
    const char *library;    /* folder of lua/gateway for development; NULL: what is built in */
    double resolve_seconds; /* most that looking up one name may take (5) */
} gw_load_options;

/* Runs the script in fresh states, compares their digests and builds a generation: router built, upstreams with their sets, names
 * looked up. NULL: refused; *errors is a malloc'ed text, a line an error, each "file:line: what was found, what was expected".
 * Warnings (malloc'ed likewise, or NULL) come with success too. Any thread but a worker's; not two at once. */
gw_generation *gw_script_load(const char *path, const gw_load_options *options, char **errors, char **warnings);

/* The routes as `gateway routes` prints them, to a FILE. */
void gw_script_print_routes(const gw_generation *g, void *file);

/* Commands that are written in Lua: runs module.run({ word, folder, shipped, list, library }) in a fresh state, where `word` (NULL: none) is
 * what the command was given and folder is the present one. What it returns is malloc'ed and in *text: true, to be printed; false, what
 * was wrong. */
bool gw_script_command(const char *module, const char *word, char **text);

/* Bytes of Lua memory in a worker's state (NULL: it has none). On that worker's thread. */
uint64_t gw_script_memory(const void *script);

/* What watching needs when a load was refused and there is no generation: the files that the last load read, NULL-ended; valid until
 * the next load. */
const char *const *gw_script_last_files(void);

#endif
