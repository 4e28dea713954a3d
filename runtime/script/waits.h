/* Waiting as scripts see it. Part of api.h: Lua sees this.
 *
 * Something that is waited for is begun, which gives a handle; the coroutine leaves until it is over (and looks again each time that it is
 * woken: several waits share one coroutine in gateway.all), then takes the result and ends it. Ending one that is not over cancels it. What
 * a script does not end, ends with the request or the timer's run that it belongs to. Nothing here calls into Lua.
 *
 * Handles are good until they are ended. Lua's library keeps them to itself. */
#ifndef GW_SCRIPT_WAITS_H
#define GW_SCRIPT_WAITS_H

#ifndef GW_CDEF
#include "base/base.h"
#endif
#include "script/slice.h"

enum { GW_WAITS_MOST = 256 /* of one request or timer's run at once */ };

typedef struct gw_lua_waits { /* one a state */
    void *state;
    gw_lua_slice out, name; /* what the last call found */
    int status;             /* why the last call gave NULL: LIMIT, NOMEM; INVALID: nothing runs that could wait */
    int parallel;           /* gateway.all runs its functions: Lua counts */
} gw_lua_waits;

/* Those of the state that runs: `waits` itself, but in tests, where several gateways share one Lua state. */
GW_API gw_lua_waits *gw_lua_waits_here(gw_lua_waits *waits);
/* Over after so many seconds, at the loop's next turn at the earliest. NULL: waits->status says why. */
GW_API void *gw_lua_sleep(gw_lua_waits *waits, double seconds);
GW_API int gw_lua_wait_over(void *wait); /* 1: over */
GW_API void gw_lua_wait_end(void *wait);

/* ---- gateway.fetch ---- */
/* A request, to be filled in and started: a handle like the others. NULL: waits->status says why (LIMIT: of this request's waits, or of the
 * worker's fetches). The functions below return OK or a negative status; for INVALID, waits->out may say what is wrong. */
GW_API void *gw_lua_fetch(gw_lua_waits *waits);
GW_API int gw_lua_fetch_method(void *wait, const char *method, size_t len); /* INVALID, REFUSED */
/* INVALID: what may not stand in a head; REFUSED: it frames the connection; LIMIT: too many. */
GW_API int gw_lua_fetch_header(void *wait, const char *name, size_t name_len, const char *value, size_t value_len);
GW_API int gw_lua_fetch_body(void *wait, const char *body, size_t len);
GW_API void gw_lua_fetch_key(void *wait, const char *key, size_t len); /* what an upstream's balancer picks by */
GW_API int gw_lua_fetch_url(void *wait, const char *url, size_t len);  /* after the fields; LIMIT: too many hosts */
GW_API int gw_lua_fetch_upstream(void *wait, int index, const char *path, size_t len);
GW_API int gw_lua_fetch_start(void *wait, double seconds, double most); /* seconds 0: the upstream's timeouts alone */
/* When it is over: the answer's status, its body in waits->out; 0: there is none, waits->out says why. */
GW_API int gw_lua_fetch_answer(void *wait);
/* The field at a position: 1, in waits->name and waits->out; 0: past the end. */
GW_API int gw_lua_fetch_field(void *wait, int at);

#endif
