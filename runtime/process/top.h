/* gateway top: a running gateway in one screen of a terminal, anew each second. */
#ifndef GW_PROCESS_TOP_H
#define GW_PROCESS_TOP_H

#include "process/options.h"

/* The exit status. */
int gw_top_command(const gw_options *options);

#endif
