/* Tasks: coroutines that run a route's chain of functions, one request at a time, pooled by chain.
 *
 *            make                    start: lua_resume
 *   (none) ───────► PARKED ────────────────────────────► running ──► error ──► dropped
 *                    ▲  ▲                                 │  │  │
 *                    │  └───────────── park ──────────────┘  │  │ wait (request:body())
 *                    │   RESPOND, PASS                       │  └──► WAITING ──► resume ──► running
 *                    │                           next() at   │
 *                    │ nothing of the script's    the end    ▼
 *                    └──── is left: FORWARD_ONLY ◄─── NEXT ──► resume with the response ──► running
 *
 * A task that is NEXT or WAITING when its exchange ends is dropped: its coroutine cannot be taken back to its beginning.
 *
 * A coroutine of the script's own that waits yields a token to who resumed it, which passes it on down to the task's coroutine
 * (lua/gateway/wait.lua): so waiting, and next(), work inside of them.
 *
 * A task whose request has finalizers (request:finally) is kept by its exchange until that ends: they may look at the request. */
#ifndef GW_SCRIPT_TASK_H
#define GW_SCRIPT_TASK_H

#include "gateway/generation.h"
#include "script/api.h"
#include "script/state.h"

enum gw_task_state { GW_TASK_RUNNING, GW_TASK_PARKED, GW_TASK_NEXT, GW_TASK_WAITING, GW_TASK_DROPPED };

typedef struct gw_task { /* a userdata of the state; anchored by its reference */
    gw_lua_view view;    /* first: Lua casts */
    gw_state *state;
    gw_chain *chain;
    lua_State *co;
    struct gw_task *next;       /* in chain->free */
    int anchor;                 /* state->anchors: the task's Lua table, which holds the coroutine and this */
    int response;               /* state->anchors: the object that next() gives */
    struct gw_waiting *waiting; /* what it waits for (script/wait.h); NULL: nothing */
    struct gw_job
        *job;        /* it is a run of a timer (script/every.h), which has no exchange and no chain; NULL: it serves requests */
    uint8_t at;      /* enum gw_task_state */
    bool wants_next; /* a coroutine inside of it called next() */
    int place;       /* while it waits: which of the script's functions it is in */
} gw_task;

extern const gw_chain_ops gw_script_chain_ops;

/* Readies a state for its worker: its chains, from the results that the registry holds. GW_OK; GW_NOTFOUND: there are no chains, the state is
 * not needed; GW_NOMEM. Gives the results back to the collector. */
int gw_script_prepare(gw_state *s, gw_generation *g, uint32_t plugins, int results);

/* For the library: functions that write a log line and read the clock, pushed on the stack. */
void gw_push_log(lua_State *L, gw_state *s);
void gw_push_now(lua_State *L);
void gw_push_shipped(lua_State *L); /* shipped.c: shipped(path) */
void gw_push_library(lua_State *L);
void gw_push_list_folder(lua_State *L); /* list(folder) */

/* What leaves its coroutine until the task is resumed, as a Lua function; inside of a coroutine of the script's own it yields the token. */
void gw_push_wait(lua_State *L, gw_state *s);

/* Pushes what a reference of state->anchors is to. */
void gw_script_push_anchored(lua_State *L, const gw_state *s, int reference);

/* The text of api.h for ffi.cdef. */
GW_API const char *gw_api_text(void);

#endif
