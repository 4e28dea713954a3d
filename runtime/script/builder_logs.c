/* gateway.access_log and gateway.event_log, from the spec into the generation. */
#include "script/builder_parts.h"

static void target(gw_builder *b, int at, const char *what, gw_log_target *out, gw_slice *source)
{
    gw_slice text = gw_spec_string(b, at, "to");
    *source = gw_spec_string(b, at, "source");
    const char *expected = NULL;
    if (text.ptr && gw_log_target_parse(text, out, &expected) != GW_OK)
        gw_messages_add(b->errors, "%s: gateway.%s: to: expected %s, found \"%s\"", source->ptr ? source->ptr : "script", what,
                        expected, text.ptr);
}

static const gw_slice *names(gw_builder *b, int at, const char *field, uint32_t *count)
{
    *count = 0;
    if (!gw_spec_table(b->L, at, field))
        return NULL;
    int list = lua_gettop(b->L);
    uint32_t n = (uint32_t)lua_objlen(b->L, list);
    gw_slice *out = gw_build_take(b, n, sizeof *out);
    for (uint32_t i = 0; i < n && i < GW_ACCESS_HEADERS_MOST; i++) {
        lua_rawgeti(b->L, list, (int)i + 1);
        size_t len;
        const char *text = lua_tolstring(b->L, -1, &len);
        out[i] = gw_arena_copy(&b->g->arena, gw_slice_of(text, len));
        if (!out[i].ptr)
            gw_build_no_memory(b);
        *count = i + 1;
        lua_pop(b->L, 1);
    }
    lua_pop(b->L, 1);
    return out;
}

static void fields(gw_builder *b, int at, uint32_t *bits)
{
    if (!gw_spec_table(b->L, at, "fields"))
        return;
    int list = lua_gettop(b->L);
    *bits = 0;
    for (int i = 1; i <= (int)lua_objlen(b->L, list); i++) {
        lua_rawgeti(b->L, list, i);
        const char *text = lua_tostring(b->L, -1);
        for (uint32_t k = 0; text && k < GW_ACCESS_FIELDS; k++)
            if (strcmp(text, gw_access_field_names[k]) == 0)
                *bits |= 1u << k;
        lua_pop(b->L, 1);
    }
    lua_pop(b->L, 1);
}

void gw_build_logs(gw_builder *b, int at)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    gw_generation *g = b->g;
    if (gw_spec_table(b->L, at, "access_log")) {
        int log = lua_gettop(b->L);
        g->access_log = !gw_spec_boolean(b->L, log, "off", false);
        g->access_sample = gw_spec_number(b->L, log, "sample", 1);
        target(b, log, "access_log", &g->access.to, &g->access.source);
        g->access.headers = names(b, log, "headers", &g->access.header_count);
        g->access.response_headers = names(b, log, "response_headers", &g->access.response_header_count);
        fields(b, log, &g->access.fields);
        lua_pop(b->L, 1);
    }
    if (gw_spec_table(b->L, at, "event_log")) {
        int log = lua_gettop(b->L);
        target(b, log, "event_log", &g->events, &g->events_source);
        gw_slice level = gw_spec_string(b, log, "level");
        for (size_t i = 0; level.ptr && i < GW_COUNT(levels); i++)
            if (gw_slice_equal(level, gw_slice_str(levels[i])))
                g->events_level = (enum gw_log_level)i;
        lua_pop(b->L, 1);
    }
    g->access.apart = g->access_log && !gw_slice_equal(g->access.to.text, g->events.text);
}
