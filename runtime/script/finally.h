/* Finalizers: functions that a request has asked to be run when its exchange ends, in whatever way. */
#ifndef GW_SCRIPT_FINALLY_H
#define GW_SCRIPT_FINALLY_H

#include "script/task.h"

/* gw_chain_ops.finish: x->finals is the task whose request has them. They run newest first; the task is then let go. */
void gw_script_finish(gw_exchange *x);

/* For task.c and this: the task goes back to its chain's pool; it is never run again. */
void gw_task_give(gw_task *t);
void gw_task_drop(gw_task *t);

#endif
