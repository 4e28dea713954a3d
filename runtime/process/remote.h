/* The commands that speak to a running gateway, by its admin address: reload, status, drain. */
#ifndef GW_PROCESS_REMOTE_H
#define GW_PROCESS_REMOTE_H

#include "process/options.h"

/* The exit status. */
int gw_remote_command(const gw_options *options);

#endif
