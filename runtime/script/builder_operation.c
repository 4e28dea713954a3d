/* gateway.admin and gateway.user, from the spec into the generation. */
#include "script/builder_parts.h"

void gw_build_operation(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    gw_operation_spec *o = &g->operation;
    if (gw_spec_table(L, at, "admin")) {
        int admin = lua_gettop(L);
        o->admin_token = gw_spec_string(b, admin, "token");
        o->admin_host = gw_spec_string(b, admin, "host");
        o->admin_mode = (int)gw_spec_number(L, admin, "mode", 0600);
        if (gw_build_listen(b, &g->admin, "gateway.admin") && !gw_address_is_local(&g->admin.at) && !o->admin_token.ptr)
            gw_messages_add(
                b->errors,
                "%s: gateway.admin \"%s\" can be reached from other machines, and asks nobody who they are: expected a token "
                "({ \"%s\", token_file = \"/path\" }), a loopback address (\"127.0.0.1:PORT\", \"[::1]:PORT\") or "
                "\"unix:/path\"",
                g->admin.source.ptr, g->admin.text.ptr, g->admin.text.ptr);
        lua_pop(L, 1);
    }
    if (gw_spec_table(L, at, "user")) {
        int user = lua_gettop(L);
        o->user = gw_spec_string(b, user, "name");
        o->group = gw_spec_string(b, user, "group");
        o->user_source = gw_spec_string(b, user, "source");
        lua_pop(L, 1);
    }
}
