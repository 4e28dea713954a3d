/* Upstreams: addresses read, names looked up, first endpoint sets put in place. */
#include "net/resolver.h"
#include "script/builder_parts.h"
#include <lauxlib.h>

#define GW_ENDPOINTS_MAX 4096 /* of one upstream, all addresses of names included */

static const gw_looked_up *look_up(gw_builder *b, const char *name, uint16_t port)
{
    for (const gw_looked_up *at = b->looked_up; at; at = at->next)
        if (at->port == port && strcmp(at->name, name) == 0)
            return at;
    gw_looked_up *new = gw_build_take(b, 1, sizeof *new);
    gw_address addresses[GW_RESOLVED_MAX];
    size_t count = 0;
    char message[256] = "";
    new->name = name;
    new->port = port;
    new->status = gw_resolve_now(name, port, b->resolve_seconds, addresses, &count, message, sizeof message);
    if (new->status == GW_NOMEM)
        gw_build_no_memory(b);
    if (new->status == GW_OK) {
        gw_address *copy = gw_build_take(b, count, sizeof *copy);
        memcpy(copy, addresses, count * sizeof *copy);
        new->addresses = copy;
        new->count = (uint32_t)count;
    } else {
        new->message = gw_arena_string(&b->g->arena, gw_slice_str(message[0] ? message : gw_status_text(new->status)));
        if (!new->message)
            gw_build_no_memory(b);
    }
    new->next = b->looked_up;
    b->looked_up = new;
    return new;
}

/* The first set: fixed addresses and what the names gave. */
static void first_set(gw_builder *b, gw_upstream *u)
{
    uint32_t count = u->fixed_count;
    for (uint32_t i = 0; i < u->name_count; i++)
        count += u->names[i].found_count;
    if (count > GW_ENDPOINTS_MAX) {
        gw_messages_add(b->errors, "%s: upstream \"%s\": expected at most %d endpoints, found %u", u->source.ptr, u->name.ptr,
                        GW_ENDPOINTS_MAX, count);
        return;
    }
    gw_address *addresses = lua_newuserdata(b->L, (count ? count : 1) * sizeof *addresses);
    uint32_t *weights = lua_newuserdata(b->L, (count ? count : 1) * sizeof *weights);
    uint32_t *groups = lua_newuserdata(b->L, (count ? count : 1) * sizeof *groups);
    uint32_t n = 0;
    for (uint32_t i = 0; i < u->fixed_count; i++, n++)
        addresses[n] = u->fixed[i], weights[n] = u->fixed_weight[i], groups[n] = u->fixed_group[i];
    for (uint32_t i = 0; i < u->name_count; i++)
        for (uint32_t k = 0; k < u->names[i].found_count; k++, n++)
            addresses[n] = u->names[i].found[k], weights[n] = u->names[i].weight, groups[n] = u->names[i].group;
    gw_endpoint_set *set = gw_endpoint_set_new(u, addresses, weights, groups, n);
    if (!set)
        gw_build_no_memory(b);
    gw_endpoint_set_free(gw_upstream_swap(u, set), NULL, NULL); /* the empty one: no worker ever saw it */
    lua_pop(b->L, 3);
}

/* The list of endpoints is at the top of the stack. */
static void build_endpoints(gw_builder *b, gw_upstream *u)
{
    lua_State *L = b->L;
    int list = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, list);
    gw_address *fixed = gw_build_take(b, count, sizeof *fixed);
    uint32_t *weights = gw_build_take(b, count, sizeof *weights);
    uint32_t *groups = gw_build_take(b, count, sizeof *groups);
    gw_upstream_name *names = gw_build_take(b, count, sizeof *names);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        int entry = lua_gettop(L);
        gw_slice text = gw_spec_string(b, entry, "address");
        uint32_t weight = (uint32_t)gw_spec_number(L, entry, "weight", 1);
        uint32_t group = gw_spec_boolean(L, entry, "backup", false) ? 1 : 0;
        double every = gw_spec_number(L, entry, "resolve", 0);
        lua_pop(L, 1);
        gw_slice name;
        uint16_t port;
        const char *reason = NULL;
        int kind = gw_address_parse(text, -1, &fixed[u->fixed_count], &name, &port, &reason);
        if (kind == GW_ADDRESS_NUMERIC) {
            weights[u->fixed_count] = weight;
            groups[u->fixed_count++] = group;
            continue;
        }
        if (kind != GW_ADDRESS_NAME) {
            gw_messages_add(b->errors,
                            "%s: upstream \"%s\": endpoint %u: expected \"HOST:PORT\" or \"unix:/path\", found \"%s\" (%s)",
                            u->source.ptr, u->name.ptr, i + 1, text.ptr, reason ? reason : "not an address");
            continue;
        }
        gw_upstream_name *n = &names[u->name_count];
        n->name = gw_arena_string(&b->g->arena, name);
        if (!n->name)
            gw_build_no_memory(b);
        n->port = port;
        n->weight = weight;
        n->group = group;
        n->every = every;
        const gw_looked_up *answer = look_up(b, n->name, port);
        n->found = answer->addresses;
        n->found_count = answer->count;
        if (answer->status != GW_OK)
            gw_messages_add(every > 0 ? b->warnings : b->errors,
                            "%s: upstream \"%s\": the name in \"%s\" could not be looked up: %s%s", u->source.ptr, u->name.ptr,
                            text.ptr, answer->message, every > 0 ? " (tried again)" : "");
        u->name_count++;
    }
    u->fixed = fixed;
    u->fixed_weight = weights;
    u->fixed_group = groups;
    u->names = names;
}

/* One upstream's table is at the top of the stack. */
static void build_upstream(gw_builder *b, gw_upstream *u)
{
    lua_State *L = b->L;
    int at = lua_gettop(L);
    u->source = gw_spec_string(b, at, "source");
    u->host = gw_spec_string(b, at, "host");
    if (gw_spec_table(L, at, "timeouts")) {
        int timeouts = lua_gettop(L);
        u->timeouts.connect = gw_spec_number(L, timeouts, "connect", u->timeouts.connect);
        u->timeouts.first_byte = gw_spec_number(L, timeouts, "first_byte", u->timeouts.first_byte);
        u->timeouts.idle = gw_spec_number(L, timeouts, "idle", u->timeouts.idle);
        u->timeouts.total = gw_spec_number(L, timeouts, "total", u->timeouts.total);
        u->timeouts.tunnel = gw_spec_number(L, timeouts, "tunnel", u->timeouts.tunnel);
        lua_pop(L, 1);
    }
    if (gw_spec_table(L, at, "pool")) {
        int pool = lua_gettop(L);
        u->pool.idle = (uint32_t)gw_spec_number(L, pool, "idle", u->pool.idle);
        u->pool.idle_for = gw_spec_number(L, pool, "idle_for", u->pool.idle_for);
        u->pool.requests = (uint32_t)gw_spec_number(L, pool, "requests", u->pool.requests);
        lua_pop(L, 1);
    }
    gw_build_traffic(b, u, at);
    if (gw_spec_table(L, at, "endpoints")) {
        build_endpoints(b, u);
        lua_pop(L, 1);
    }
    first_set(b, u);
}

void gw_build_upstreams(gw_builder *b, int at)
{
    lua_State *L = b->L;
    gw_generation *g = b->g;
    if (!gw_spec_table(L, at, "upstreams"))
        return;
    int list = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, list);
    g->upstreams = gw_build_take(b, count, sizeof *g->upstreams);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        gw_slice name = gw_spec_string(b, lua_gettop(L), "name");
        gw_upstream *u = gw_upstream_new(&g->arena, name);
        if (!u)
            gw_build_no_memory(b);
        g->upstreams[g->upstream_count++] = u; /* from here on it is released with the generation */
        build_upstream(b, u);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}
