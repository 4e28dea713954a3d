/* gateway.tracing, from the spec into the generation. */
#include "script/builder_parts.h"

void gw_build_tracing(gw_builder *b, int at)
{
    if (!gw_spec_table(b->L, at, "tracing"))
        return;
    int tracing = lua_gettop(b->L);
    gw_trace_spec *t = &b->g->trace;
    t->on = true;
    t->source = gw_spec_string(b, tracing, "source");
    t->ratio = gw_spec_number(b->L, tracing, "ratio", 1);
    t->middleware = gw_spec_boolean(b->L, tracing, "middleware", false);
    t->errors = gw_spec_boolean(b->L, tracing, "errors", true);
    gw_slice url = gw_spec_string(b, tracing, "endpoint");
    const char *reason = NULL;
    if (url.ptr && gw_otlp_parse(url, &t->otlp, &reason) != GW_OK)
        gw_messages_add(b->errors, "%s: gateway.tracing: endpoint: found \"%s\": %s", t->source.ptr ? t->source.ptr : "script",
                        url.ptr, reason);
    t->otlp.headers = gw_spec_string(b, tracing, "headers");
    t->otlp.service = gw_spec_string(b, tracing, "service");
    t->otlp.timeout = gw_spec_number(b->L, tracing, "timeout", 2);
    lua_pop(b->L, 1);
}
