/* The C that Lua sees, written once: the build runs the preprocessor over this file (GW_CDEF defined) and embeds the text, which
 * lua/gateway/ffi.lua hands to ffi.cdef. So: plain declarations only, constants as enums, no 64-bit integers across calls (they box),
 * no structs by value. lua/gateway/ffi.lua compares sizes with gw_api_sizes when it starts.
 *
 * Every function takes the task's view. They return GW_OK or a negative status, where not said otherwise; what they find is put into
 * view->out, good until the next call. None calls back into Lua, takes a lock, or keeps what it is given: bytes are copied into the
 * exchange's arena. None may be called when view->exchange is NULL: Lua looks first. */
#ifndef GW_SCRIPT_API_H
#define GW_SCRIPT_API_H

#ifdef GW_CDEF
#define GW_API
#else
#include "base/base.h"
#endif

enum gw_lua_status {
    GW_LUA_OK = 0,
    GW_LUA_AGAIN = -1,
    GW_LUA_EOF = -2,
    GW_LUA_NOMEM = -4,
    GW_LUA_INVALID = -5,
    GW_LUA_LIMIT = -6,
    GW_LUA_REFUSED = -7,
    GW_LUA_TIMEOUT = -8,
    GW_LUA_NOTFOUND = -10
};

enum gw_lua_side { GW_LUA_REQUEST = 0, GW_LUA_RESPONSE = 1 };

/* What the chain came to, written by Lua before it parks. */
enum gw_lua_verdict { GW_LUA_NONE = 0, GW_LUA_PASS = 1, GW_LUA_RESPOND = 2 };

#include "script/slice.h"

/* One task's window on the exchange that it serves. Filled when it starts; strings live as long as the exchange does. */
typedef struct gw_lua_view {
    void *exchange;    /* NULL: the request has ended, or none has come yet: nothing below may be used */
    gw_lua_slice out;  /* what the last call found */
    gw_lua_slice name; /* and its name, where it has one */
    gw_lua_slice method, path, query, host, client_ip, id, route;
    int verdict;   /* enum gw_lua_verdict */
    int forwarded; /* next() at the chain's end was called */
    int answered;  /* the response is there */
    int status;    /* of the response */
    int https;
} gw_lua_view;

/* The size table: structs above, ended by a NULL name. */
typedef struct gw_lua_size {
    const char *name;
    unsigned int bytes;
} gw_lua_size;
GW_API extern const gw_lua_size gw_api_sizes[];

/* ---- header fields of either side ---- */
/* 1: there, its value (several joined) in out; 0: absent. */
GW_API int gw_lua_header(gw_lua_view *view, int side, const char *name, size_t len);
/* The next field of that name from position `from` on: its position + 1, value in out; 0: no more. */
GW_API int gw_lua_header_next(gw_lua_view *view, int side, const char *name, size_t len, int from);
/* The field at a position: 1, name and value in name and out; 0: past the end. */
GW_API int gw_lua_header_at(gw_lua_view *view, int side, int at);
/* Replaces all fields of that name / adds one more. INVALID: a name or value that may not stand in a head. REFUSED: a field that frames
 * the connection. LIMIT: no room for more. NOTFOUND: there is no response yet. */
GW_API int gw_lua_header_set(gw_lua_view *view, int side, const char *name, size_t name_len, const char *value, size_t value_len);
GW_API int gw_lua_header_add(gw_lua_view *view, int side, const char *name, size_t name_len, const char *value, size_t value_len);
GW_API int gw_lua_header_remove(gw_lua_view *view, int side, const char *name, size_t len);
/* The same of the request, and of names that are the same to backends for which '_' is '-'. */
GW_API int gw_lua_header_remove_alike(gw_lua_view *view, const char *name, size_t len);

/* ---- the request ---- */
GW_API int gw_lua_cookie(gw_lua_view *view, const char *name, size_t len);     /* 1: value in out; 0: absent */
GW_API int gw_lua_param(gw_lua_view *view, const char *name, size_t len);      /* 1: value, percent-decoded, in out; 0: absent */
GW_API int gw_lua_param_at(gw_lua_view *view, int at);                         /* 1: name and value; 0: past the end */
GW_API int gw_lua_upstream_name(gw_lua_view *view);                            /* 1: in out; 0: not decided yet */
GW_API int gw_lua_set_path(gw_lua_view *view, const char *path, size_t len);   /* INVALID: why stands in out */
GW_API int gw_lua_set_query(gw_lua_view *view, const char *query, size_t len); /* INVALID: characters that may not stand there */
GW_API int gw_lua_body(gw_lua_view *view, double most); /* OK: in out; AGAIN: wait, then ask again; LIMIT, EOF, INVALID, ... */
/* LIMIT: the body is known to be longer. No later, larger word raises it again. */
GW_API int gw_lua_limit_body(gw_lua_view *view, double most);
GW_API double gw_lua_started(gw_lua_view *view); /* seconds since 1970 */
/* A field of the request's log line. INVALID: not a name; REFUSED: one that the gateway writes; LIMIT: too many or too long. */
GW_API int gw_lua_log_text(gw_lua_view *view, const char *name, size_t name_len, const char *value, size_t value_len);
GW_API int gw_lua_log_number(gw_lua_view *view, const char *name, size_t name_len, double value);
GW_API int gw_lua_log_boolean(gw_lua_view *view, const char *name, size_t name_len, int value);
/* A span for a middleware, when the script traces them: what leave() is told; NULL is fine. */
GW_API void *gw_lua_span_enter(gw_lua_view *view, const char *name, size_t len);
GW_API void gw_lua_span_leave(gw_lua_view *view, void *span);
GW_API void gw_lua_log_remove(gw_lua_view *view, const char *name, size_t len);
/* 0: there is none; 1: text, in out; 2: a number, 3: a boolean, in *number. */
GW_API int gw_lua_log_get(gw_lua_view *view, const char *name, size_t len, double *number);
GW_API void gw_lua_key(gw_lua_view *view, const char *text, size_t len); /* what the upstream's balancer picks by */
GW_API int gw_lua_choose(gw_lua_view *view); /* which arm of its split takes it, from 0; -1: no split; -2: the script chose */
GW_API void gw_lua_use_upstream(gw_lua_view *view, int index); /* where the request goes when next() forwards it */

/* Asks the limit at position `index` of the script for this request; key NULL: the limit knows what it goes by. 0: admitted; above 0:
 * refused, seconds to wait; below 0: not enough memory. */
GW_API double gw_lua_limit(gw_lua_view *view, int index, const char *key, size_t len);
GW_API int gw_lua_finally(gw_lua_view *view); /* the request has finalizers: they are run when its exchange ends. OK or NOMEM */

/* ---- the response ---- */
GW_API int gw_lua_set_status(gw_lua_view *view, int status);
GW_API int gw_lua_set_body(gw_lua_view *view, const char *body, size_t len);
GW_API int gw_lua_response_body(gw_lua_view *view, double most); /* as gw_lua_body */
/* Begins a response made by the script, in place of any other; header_add on the response's side adds its fields. */
GW_API int gw_lua_reply(gw_lua_view *view, int status, const char *body, size_t len);

#include "script/metrics_api.h"
#include "script/plugins_api.h"
#include "script/primitives.h"
#include "script/secure_api.h"
#include "script/dictionary.h"
#include "script/spawn.h"
#include "script/waits.h"

/* The file that this library is in, for package.loadlib; "" in the program itself. See script/testing.h. */
GW_API const char *gw_testing_library(void);

#endif
