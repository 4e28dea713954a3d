/* Metrics that the script declares: held by the generation, so that scrapes can tell them. */
#include "gateway/metrics_script.h"
#include "script/builder_parts.h"
#include <lauxlib.h>

/* The bounds of a histogram's buckets, from its table at stack index `at`. */
static void build_bounds(gw_builder *b, int at, gw_script_shape *shape)
{
    lua_State *L = b->L;
    if (!gw_spec_table(L, at, "buckets"))
        return;
    uint32_t count = (uint32_t)lua_objlen(L, -1);
    double *bounds = gw_build_take(b, count, sizeof *bounds);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        bounds[i] = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    shape->bounds = bounds;
    shape->bound_count = count;
    lua_pop(L, 1);
}

void gw_build_metrics(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    if (!gw_spec_table(L, at, "metrics"))
        return;
    int list = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, list);
    g->metrics = gw_build_take(b, count, sizeof *g->metrics);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        int entry = lua_gettop(L);
        gw_script_shape shape = {
            .kind = (int)gw_spec_number(L, entry, "kind", -1),
            .name = gw_spec_string(b, entry, "name"),
            .labels = gw_spec_string(b, entry, "labels"),
            .most = (uint32_t)gw_spec_number(L, entry, "series", 0),
        };
        build_bounds(b, entry, &shape);
        gw_slice help = gw_spec_string(b, entry, "help"), source = gw_spec_string(b, entry, "source");
        int status;
        g->metrics[i].help = help.ptr ? help.ptr : "";
        g->metrics[i].metric = gw_script_metric_open(&shape, true, &status);
        g->metric_count = i + 1;
        if (!g->metrics[i].metric)
            gw_messages_add(b->errors, "%s: metric \"%s\": %s", source.ptr, shape.name.ptr,
                            status == GW_NOMEM ? "not enough memory" : "a shape that makes no sense");
        lua_settop(L, list);
    }
    lua_pop(L, 1);
}
