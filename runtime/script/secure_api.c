/* What a Lua state owns of runtime/secure: see secure_api.h. */
#include "script/api.h"
#include "net/address.h"
#include <stdlib.h>

struct gw_lua_cidr {
    gw_owned owned;
    gw_cidr_set *set;
};

void gw_lua_own(void *holder, void *object)
{
    if (holder && !((gw_lua_holder *)holder)->collected)
        gw_owned_add(&((gw_lua_holder *)holder)->owned, object);
}

/* ---- CIDR sets ---- */

static void drop_cidr(gw_owned *owned)
{
    gw_lua_cidr *c = gw_container_of(owned, gw_lua_cidr, owned);
    gw_cidr_set_free(c->set);
    free(c);
}

gw_lua_cidr *gw_lua_cidr_new(void)
{
    gw_lua_cidr *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->owned.drop = drop_cidr;
    c->set = gw_cidr_set_new();
    if (!c->set) {
        free(c);
        return NULL;
    }
    return c;
}

int gw_lua_cidr_add(gw_lua_cidr *c, const char *block, size_t len, const char **reason)
{
    return gw_cidr_set_add(c->set, gw_slice_of(block, len), reason);
}

int gw_lua_cidr_has(const gw_lua_cidr *c, const char *text, size_t len)
{
    gw_ip ip = {{0}}; /* what the peers of unix sockets have */
    gw_slice s = gw_slice_of(text, len);
    if (!gw_slice_equal(s, GW_SLICE("unix")) && gw_ip_parse(s, &ip) < 0)
        return GW_INVALID;
    return gw_cidr_set_has(c->set, &ip);
}
