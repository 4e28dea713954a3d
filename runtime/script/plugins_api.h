/* What compiled Lua counts of plugins, and what it asks about them. Part of api.h: Lua sees this. See gateway/plugin_counters.h. */
#ifndef GW_SCRIPT_PLUGINS_API_H
#define GW_SCRIPT_PLUGINS_API_H

typedef struct gw_lua_plugin_cell { /* gw_plugin_cell */
    double calls, errors, runaways, cpu, skipped, refused;
    const double *off_until;
    double unused;
} gw_lua_plugin_cell;

/* The plugin at this place (from 1 on) is switched off. Asked only when off_until is not 0. */
GW_API int gw_lua_plugin_off(gw_lua_view *view, int place);

#endif
