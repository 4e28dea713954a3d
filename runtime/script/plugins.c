/* Plugins as they are counted and switched off: from the spec, and while requests run. */
#include "base/clock.h"
#include "base/text.h"
#include "gateway/exchange.h"
#include "gateway/plugin_counters.h"
#include "gateway/upstream.h"
#include "script/api.h"
#include "script/builder_parts.h"
#include "script/state.h"
#include <stdlib.h>

_Static_assert(sizeof(gw_lua_plugin_cell) == sizeof(gw_plugin_cell) &&
                   offsetof(gw_lua_plugin_cell, off_until) == offsetof(gw_plugin_cell, off_until),
               "Lua counts in the same cells");

/* Where each worker is in its script. Read by the watchdog at any time, so it never goes. */
static struct place {
    _Alignas(GW_CACHE_LINE) _Atomic int at;
} places[GW_WORKERS_MOST];

_Atomic int *gw_plugin_place(uint32_t worker)
{
    return worker < GW_WORKERS_MOST ? &places[worker].at : NULL;
}

void gw_build_plugins(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    if (!gw_spec_table(L, at, "plugins"))
        return;
    uint32_t count = (uint32_t)lua_objlen(L, -1);
    g->plugins = gw_build_take(b, count, sizeof *g->plugins);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        int entry = lua_gettop(L);
        gw_slice name = gw_spec_string(b, entry, "name");
        gw_plugin_use *use = &g->plugins[i];
        if (gw_spec_table(L, entry, "switch")) {
            int given = lua_gettop(L);
            gw_slice word = gw_spec_string(b, given, "on_failure");
            use->policy = (gw_plugin_policy){
                .on_failure = gw_slice_equal(word, GW_SLICE("open")) ? GW_ON_FAILURE_OPEN : GW_ON_FAILURE_CLOSED,
                .failures = (uint32_t)gw_spec_number(L, given, "failures", 5),
                .within = gw_spec_number(L, given, "within", 60),
                .off_for = gw_spec_number(L, given, "off_for", 60),
            };
            lua_pop(L, 1);
        }
        use->plugin = gw_plugin_open(name, gw_spec_boolean(L, entry, "anonymous", false), gw_registry_workers());
        if (!use->plugin)
            gw_build_no_memory(b);
        g->plugin_count = i + 1;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- a state's cells ---- */

static const double always_on;

bool gw_state_count(gw_state *s, uint32_t plugins)
{
    s->cells = calloc(plugins + 1, sizeof *s->cells);
    s->nowhere = aligned_alloc(GW_CACHE_LINE, sizeof *s->nowhere);
    if (!s->cells || !s->nowhere)
        return false;
    memset(s->nowhere, 0, sizeof *s->nowhere);
    s->nowhere->off_until = &always_on;
    for (uint32_t i = 0; i <= plugins; i++)
        s->cells[i] = s->nowhere;
    s->plugin_count = plugins;
    s->place = gw_plugin_place(s->index);
    return s->place != NULL;
}

void gw_state_count_in(gw_state *s, const gw_generation *g)
{
    for (uint32_t i = 0; i < s->plugin_count && i < g->plugin_count; i++)
        if (s->index < g->plugins[i].plugin->workers)
            s->cells[i + 1] = &g->plugins[i].plugin->cells[s->index];
}

void gw_state_uncount(gw_state *s)
{
    free(s->cells);
    free(s->nowhere);
    s->cells = NULL;
    s->nowhere = NULL;
    s->plugin_count = 0;
}

const gw_plugin *gw_state_failed(gw_state *s, bool runaway)
{
    int at = s->place ? atomic_load_explicit(s->place, memory_order_relaxed) : 0;
    const gw_generation *g = s->generation;
    if (at < 1 || (uint32_t)at > s->plugin_count || !g || (uint32_t)at > g->plugin_count)
        return NULL;
    gw_plugin *p = g->plugins[at - 1].plugin;
    if (s->index >= p->workers || !gw_plugin_failed(p, s->index, runaway, gw_clock_monotonic_ns()))
        return p;
    const gw_plugin_policy *policy = atomic_load_explicit(&p->policy, memory_order_acquire);
    char bytes[512];
    gw_text t = gw_text_on(bytes, sizeof bytes);
    gw_text_lit(&t, "\"plugin\":");
    gw_text_json(&t, p->name);
    gw_text_printf(&t, ",\"on_failure\":\"%s\",\"failures\":%u,\"within\":",
                   policy->on_failure == GW_ON_FAILURE_OPEN ? "open" : "closed", policy->failures);
    gw_text_fixed(&t, policy->within, 3);
    gw_text_lit(&t, ",\"off_for\":");
    gw_text_fixed(&t, policy->off_for, 3);
    gw_slice members = gw_text_done(&t);
    gw_log_event(s->engine->log, GW_LOG_ERROR, "plugin switched off because it failed again and again", "%.*s", (int)members.len,
                 members.ptr);
    return p;
}

int gw_lua_plugin_off(gw_lua_view *view, int place)
{
    const gw_exchange *x = view->exchange;
    const gw_generation *g = x->generation;
    return place >= 1 && (uint32_t)place <= g->plugin_count &&
           gw_plugin_is_off(g->plugins[place - 1].plugin, gw_clock_monotonic_ns());
}
