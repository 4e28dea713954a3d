/* What completes the command's words in a shell, made from the table of commands. */
#ifndef GW_PROCESS_COMPLETION_H
#define GW_PROCESS_COMPLETION_H

#include "base/base.h"
#include <stdio.h>

/* False: `shell` is none of bash, zsh and fish (nothing is written). */
bool gw_completion_write(const char *shell, FILE *out);

#endif
