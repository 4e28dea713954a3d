/* Inside the builder: reading the spec's tables, and who builds what.
 *
 * All of it runs inside one protected call: running out of memory is a Lua error, and nothing here owns memory but the builder
 * struct and the generation's arena, which the caller frees. */
#ifndef GW_SCRIPT_BUILDER_PARTS_H
#define GW_SCRIPT_BUILDER_PARTS_H

#include "gateway/generation.h"
#include "script/messages.h"
#include <lua.h>

typedef struct gw_looked_up { /* names that were looked up: once a load */
    struct gw_looked_up *next;
    const char *name;
    uint16_t port;
    int status;
    const char *message;
    const gw_address *addresses;
    uint32_t count;
} gw_looked_up;

typedef struct gw_builder {
    lua_State *L;
    int results; /* registry reference, see enum gw_results */
    gw_generation *g;
    double resolve_seconds;
    gw_messages *errors, *warnings;
    gw_looked_up *looked_up;
} gw_builder;

/* ---- the spec's tables; `at` is the absolute stack index of the table ---- */

/* Pushes field `name` when it is a table; false (and nothing pushed) when it is absent. */
bool gw_spec_table(lua_State *L, int at, const char *name);
/* Copies into the arena; {NULL,0} when absent. */
gw_slice gw_spec_string(gw_builder *b, int at, const char *name);
double gw_spec_number(lua_State *L, int at, const char *name, double missing);
bool gw_spec_boolean(lua_State *L, int at, const char *name, bool missing);
/* From the arena, zeroed; never NULL (raises). bytes 0 gives NULL. */
void *gw_build_take(gw_builder *b, size_t count, size_t bytes);
/* Raises in Lua. */
void gw_build_no_memory(gw_builder *b) __attribute__((noreturn));

/* A listening address from the table at the top of the stack. False: it is none (told). */
bool gw_build_listen(gw_builder *b, gw_listen_spec *out, const char *word);

/* An upstream's options about traffic (balance, health, breaker, retry, concurrency); its table is at stack index `at`. */
void gw_build_traffic(gw_builder *b, gw_upstream *u, int at);

/* ---- parts; each takes the spec at stack index `at` ---- */
void gw_build_settings(gw_builder *b, int at);
void gw_build_operation(gw_builder *b, int at);
void gw_build_logs(gw_builder *b, int at);
void gw_build_tracing(gw_builder *b, int at);
void gw_build_upstreams(gw_builder *b, int at);
void gw_build_metrics(gw_builder *b, int at);
void gw_build_limits(gw_builder *b, int at); /* before the routes */
void gw_build_plugins(gw_builder *b, int at);
void gw_build_routes(gw_builder *b, int at);
/* The limits of one route, whose table is at stack index `at`. */
void gw_build_route_limits(gw_builder *b, int at, gw_route *route);

#endif
