/* Between testing.c and testing_wires.c; nobody else's. */
#ifndef GW_SCRIPT_TESTING_PARTS_H
#define GW_SCRIPT_TESTING_PARTS_H

#include "gateway/prober.h"
#include "script/state.h"
#include <lauxlib.h>

#define GW_TESTING_APP "gateway.testing.app"

/* A descriptor that tests have: one end of a pair whose other end the engine has. */
typedef struct gw_testing_wire {
    int fd, other; /* fd -1: free */
} gw_testing_wire;

/* A connection that the engine wants: it waits for somebody to say what becomes of it. */
typedef struct gw_testing_knock {
    gw_stream *stream;
    gw_address to;
    int fd, other;
} gw_testing_knock;

typedef struct gw_testing_app {
    gw_engine engine;
    gw_loop *loop;
    gw_log_ring *ring;
    gw_state *state;
    gw_prober *prober;
    gw_generation *generation;
    _Atomic(gw_generation *) current;
    gw_listener listener; /* what the engine thinks it accepted from */
    gw_list orphans;
    int64_t began_ns, now_ns;
    double began_wall;
    uint32_t scope;
    bool running, failed;
    bool anyone; /* every name has an address: somebody plays it */
    gw_testing_wire *wires;
    uint32_t wire_count, wire_cap;
    struct gw_testing_host *hosts;
    gw_testing_knock *knocks;
    uint32_t knock_count, knock_cap;
} gw_testing_app;

typedef struct gw_testing_box { /* the userdata */
    gw_testing_app *a;          /* NULL: closed */
} gw_testing_box;

/* Who was there before. */
typedef struct gw_testing_entry {
    gw_state *state;
    uint32_t scope;
    gw_testing_app *outer;
} gw_testing_entry;

/* The app's clock and registry are this thread's from here on; and no more. */
gw_testing_entry gw_testing_enter(gw_testing_app *a);
void gw_testing_leave(gw_testing_entry before);
gw_testing_app *gw_testing_entered(void);
/* The app of a method; raises when it has been closed. */
gw_testing_app *gw_testing_app_at(lua_State *L);

/* gw_loop's `connect`. */
int gw_testing_resolve(gw_loop *loop, const char *name, uint16_t port, gw_address *to); /* its `resolve` */
int gw_testing_connect(gw_loop *loop, gw_stream *s, const gw_address *to);
void gw_testing_wires_clear(gw_testing_app *a);
/* What clients and backends do: methods, ended by NULLs. */
extern const luaL_Reg gw_testing_wire_methods[];

/* testing_look.c: what it thinks of a request, and what it goes by; methods and functions, ended by NULLs. */
extern const luaL_Reg gw_testing_look_methods[];
extern const luaL_Reg gw_testing_look_functions[];

/* testing_real.c: processes and real sockets; functions, ended by NULLs. */
extern const luaL_Reg gw_testing_real_functions[];

#endif
