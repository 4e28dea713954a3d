/* What scripts have to say while requests run: errors with their traceback, and log lines. To the worker's log only, never to the client. */
#ifndef GW_SCRIPT_REPORT_H
#define GW_SCRIPT_REPORT_H

#include "script/task.h"

/* A coroutine ended with an error (status of lua_resume; LUA_YIELD: it yielded by itself): its message and traceback, the route and the id. */
void gw_script_report(gw_task *t, struct gw_exchange *x, int status);
/* The same of another coroutine, which runs for a task (its exchange may be NULL). */
void gw_script_report_on(lua_State *co, gw_task *t, int status);
/* A timer's run was ended. */
void gw_script_report_timer(const struct gw_job *j, const char *message);
/* There was no memory for the coroutine. (One line a second of this kind; the requests' own lines say "script error".) */
void gw_script_report_memory(struct gw_exchange *x);
/* A line about this request's script error with that text. */
void gw_script_report_text(struct gw_exchange *x, gw_slice text);
/* An entry ran longer than it may (gw_guard_overran): counted; with `lost`, the line for an entry that could only be left. x may be NULL. */
void gw_script_report_overrun(gw_state *s, struct gw_exchange *x, bool lost);
/* Collects garbage, so that the next request finds memory; by the function that gw_push_collect pushes, kept as s->collect. */
void gw_script_collect(gw_state *s);
void gw_push_collect(lua_State *L);

#endif
