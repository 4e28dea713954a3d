/* One worker's Lua state of one generation: memory with a cap, the library, and the chains of functions that the script declared.
 *
 * A state is made and filled on the control thread, then belongs to its worker, which also closes it. */
#ifndef GW_SCRIPT_STATE_H
#define GW_SCRIPT_STATE_H

#include "base/list.h"
#include "gateway/engine.h"
#include "gateway/exchange.h"
#include "script/heap.h"
#include "script/primitives.h"
#include "script/waits.h"
#include <lua.h>

#define GW_STATE_MEMORY ((size_t)256 << 20) /* most that one state may hold, unless the script says otherwise */
#define GW_STATE_ROOM                                                                                                            \
    ((size_t)8 << 30) /* addresses: four times the most that a script may ask for, since some is lent, and some
                                             * lies between blocks */

/* What boot.lua returns, kept as a list in the registry: reading it from there needs no memory, so it cannot fail. */
enum gw_results {
    GW_RESULT_SPEC = 1,
    GW_RESULT_PROBLEMS,
    GW_RESULT_TEXT,
    GW_RESULT_CHAINS,
    GW_RESULT_FILES,
    GW_RESULT_LINES,
    GW_RESULT_WARNINGS,
    GW_RESULTS = GW_RESULT_WARNINGS
};

#define GW_WORKERS_MOST 257   /* gateway.workers takes up to 256 */
#define GW_STATE_CPU 50000000 /* ns for one entry, likewise */

struct gw_task;

/* Something outside of Lua's memory that loses its coroutine with the state: see script/guard.h. */
typedef struct gw_loser {
    gw_list link;
    void (*lost)(struct gw_loser *l);
} gw_loser;

typedef struct gw_chain { /* one distinct list of functions; routes with the same functions share it */
    struct gw_task *free; /* parked tasks, newest first */
    uint32_t free_count;
    uint32_t layers; /* middleware functions */
} gw_chain;

typedef struct gw_read_list { /* paths that were read, without doubles, in the order of reading */
    char **path;
    uint32_t count, cap;
} gw_read_list;

typedef struct gw_state {
    lua_State *L;
    size_t used, most;     /* bytes of Lua memory */
    struct spare *opening; /* while the libraries are opened; NULL after */
    gw_heap heap;
    gw_list lent;            /* blocks that the heap could not give */
    bool refused;            /* memory was refused or lent since gw_state_relieve */
    bool stopping;           /* what runs is being stopped for that */
    int step_multiplier;     /* of the collector, when it is not */
    uint32_t index;          /* of the worker */
    bool adopted;            /* the lua_State is somebody else's (testing.h): no cap, no budget, and it stays when this goes */
    const char *library;     /* folder of lua/gateway; NULL: built in */
    gw_read_list files;      /* found by require */
    double deadline;         /* of the load; 0: not loading */
    double load_seconds;     /* what it may take */
    gw_engine *engine;       /* since the first request; NULL before */
    struct gw_task *running; /* whose coroutine runs; NULL: none */
    struct gw_generation *generation;
    gw_chain *chains;
    uint32_t chain_count;
    gw_lua_holder holder;   /* what scripts hold of shared state */
    int make_task, explain; /* registry: functions of lua/gateway/chain.lua */
    int collect;            /* registry: collects garbage */
    int make_finisher;      /* registry: a function of lua/gateway/chain.lua */
    int make_job;           /* registry: a function of lua/gateway/chain.lua */
    int finisher;           /* state->anchors: the coroutine that runs finalizers (script/finally.h); LUA_NOREF: none yet */
    bool finishing;         /* they run */
    gw_loser jobs_lost;     /* once timers have begun */
    struct gw_job *jobs;    /* the script's timers (script/every.h) */
    uint32_t job_count;
    gw_lua_waits waits;              /* what scripts wait through (script/waits.h) */
    gw_slab wait_slab, waiting_slab; /* of script/wait.c */
    /* guard.c */
    gw_list code;            /* of gw_code_area: LuaJIT's machine code */
    int64_t budget;          /* ns of CPU for one entry */
    double overran;          /* seconds for which the last entry ran, when that was too long */
    _Atomic int *place;      /* which of the script's functions runs, as a place in `cells`; in memory that stays */
    gw_plugin_cell **cells;  /* this worker's of each counted function, from 1 on */
    gw_plugin_cell *nowhere; /* at 0, and wherever the generation has none */
    uint32_t plugin_count;
    const gw_plugin *blamed;          /* while a failure is reported: whose it is */
    void (*lost)(struct gw_state *s); /* the state will be given up: last words, while its memory is there */
    /* remake.c */
    struct gw_state *spare; /* takes this one's place when it is given up; NULL: none */
    bool asked, hopeless;   /* another is being made; requests do not wait for it any more */
    bool quiet;             /* the script's load is not its first: what it logs has been said */
    bool timed;             /* the next two are in use */
    gw_timeout patience;
    gw_later swap;
    double patience_until, pause;
    gw_list losers; /* of gw_loser (script/guard.h) */
    int anchors;    /* registry: list of what tasks hold. One of its own, which is all array: when memory runs out while LuaJIT
                             * makes a table larger that has numbers in its hash part, as the registry may, it loses these */
} gw_state;

/* A state with the standard libraries and `require` for the library and the script's folder. NULL: memory is out.
 * script_path: package.path begins in its folder. */
gw_state *gw_state_new(uint32_t index, const char *script_path, const char *library);
void gw_state_free(gw_state *s);
/* With adopted states, of which one lua_State may have several: the one whose gateway runs on this thread; NULL where states have their own.
 * C functions that Lua calls find theirs by it, since the library's modules know only one of each function. */
extern _Thread_local gw_state *gw_state_adopted;
/* The state that a C function belongs to, which it was pushed with as its first upvalue. */
static inline gw_state *gw_state_called(lua_State *L)
{
    return gw_unlikely(gw_state_adopted != NULL) ? gw_state_adopted : lua_touserdata(L, lua_upvalueindex(1));
}
/* What runs ends as soon as it comes by: in the interpreter at the next instruction, in compiled code when that asks for memory. For a
 * signal handler too, on the thread that runs it. */
void gw_state_stop_soon(gw_state *s);
/* What ran when memory was refused, or too long, has ended: the next may run. */
void gw_state_relieve(gw_state *s);
/* Drops all of its Lua memory at once, without a word to it: L is NULL after. */
void gw_state_drop_memory(gw_state *s);

/* plugins.c. Room for so many counted functions: false: memory is out. Then where their cells are. And the end of it. */
bool gw_state_count(gw_state *s, uint32_t plugins);
void gw_state_count_in(gw_state *s, const struct gw_generation *g);
void gw_state_uncount(gw_state *s);
/* The function that runs failed: counted, and switched off when that is due (which is logged). Its record; NULL: it is none that counts. */
const gw_plugin *gw_state_failed(gw_state *s, bool runaway);
_Atomic int *gw_plugin_place(uint32_t worker);

/* Adds a path. false: memory is out. */
bool gw_read_list_add(gw_read_list *files, const char *path);
void gw_read_list_clear(gw_read_list *files);

/* The folder of a path: "." for a bare name. malloc'ed; NULL: memory is out. */
char *gw_folder_of(const char *path);

#endif
