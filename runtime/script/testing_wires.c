/* The network of a test's gateway: descriptors that the test holds, and connections that wait for its word. */
#include "net/raw.h"
#include "script/testing_parts.h"
#include <stdlib.h>

#define READ_BYTES 65536

/* ---- wires ---- */

static bool wire_add(gw_testing_app *a, int fd, int other)
{
    for (uint32_t i = 0; i < a->wire_count; i++)
        if (a->wires[i].fd < 0) {
            a->wires[i] = (gw_testing_wire){fd, other};
            return true;
        }
    if (a->wire_count == a->wire_cap) {
        uint32_t cap = a->wire_cap ? a->wire_cap * 2 : 16;
        gw_testing_wire *more = realloc(a->wires, cap * sizeof *more);
        if (!more)
            return false;
        a->wires = more;
        a->wire_cap = cap;
    }
    a->wires[a->wire_count++] = (gw_testing_wire){fd, other};
    return true;
}

static gw_testing_wire *wire_at(lua_State *L, gw_testing_app *a, int arg)
{
    int fd = (int)luaL_checkinteger(L, arg);
    for (uint32_t i = 0; fd >= 0 && i < a->wire_count; i++)
        if (a->wires[i].fd == fd)
            return &a->wires[i];
    luaL_error(L, "no such connection");
    return NULL;
}

int gw_testing_connect(gw_loop *loop, gw_stream *s, const gw_address *to)
{
    gw_testing_app *a = gw_testing_entered();
    int fds[2];
    if (!a || a->loop != loop)
        return GW_REFUSED;
    if (a->knock_count == a->knock_cap) {
        uint32_t cap = a->knock_cap ? a->knock_cap * 2 : 16;
        gw_testing_knock *more = realloc(a->knocks, cap * sizeof *more);
        if (!more)
            return GW_NOMEM;
        a->knocks = more;
        a->knock_cap = cap;
    }
    int status = gw_raw_pair(fds);
    if (status < 0)
        return status;
    gw_stream_connecting(s, fds[0]);
    a->knocks[a->knock_count++] = (gw_testing_knock){.stream = s, .to = *to, .fd = fds[1], .other = fds[0]};
    return GW_OK;
}

/* A name that somebody plays. */
typedef struct gw_testing_host {
    struct gw_testing_host *next;
    gw_address at;
    uint16_t port;
    char name[];
} host;

int gw_testing_resolve(gw_loop *loop, const char *name, uint16_t port, gw_address *to)
{
    const gw_testing_app *a = gw_testing_entered();
    for (const host *h = a && a->loop == loop ? a->hosts : NULL; h; h = h->next)
        if (h->port == port && gw_slice_equal_nocase(gw_slice_str(h->name), gw_slice_str(name))) {
            *to = h->at;
            return GW_OK;
        }
    if (!a || a->loop != loop || !a->anyone)
        return GW_NOTFOUND;
    gw_slice rest;
    const char *reason;
    return gw_address_parse(GW_SLICE("198.19.0.1"), port, to, &rest, &port, &reason) == GW_ADDRESS_NUMERIC ? GW_OK : GW_NOTFOUND;
}

/* app:anyone(): names that nobody is named for have an address, too. */
static int app_anyone(lua_State *L)
{
    gw_testing_app_at(L)->anyone = true;
    return 0;
}

/* app:host(name, port, address): the name has that address. */
static int app_host(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    size_t len, text_len;
    const char *name = luaL_checklstring(L, 2, &len), *text = luaL_checklstring(L, 4, &text_len), *reason = NULL;
    gw_slice rest;
    uint16_t port;
    host *h = malloc(sizeof *h + len + 1);
    if (!h)
        return luaL_error(L, "not enough memory");
    h->port = (uint16_t)lua_tointeger(L, 3);
    memcpy(h->name, name, len + 1);
    if (gw_address_parse(gw_slice_of(text, text_len), -1, &h->at, &rest, &port, &reason) != GW_ADDRESS_NUMERIC) {
        free(h);
        return luaL_error(L, "an address is expected, found \"%s\"", text);
    }
    h->next = a->hosts;
    a->hosts = h;
    return 0;
}

void gw_testing_wires_clear(gw_testing_app *a)
{
    while (a->hosts) {
        host *h = a->hosts;
        a->hosts = h->next;
        free(h);
    }
    for (uint32_t i = 0; i < a->knock_count; i++)
        gw_raw_close(a->knocks[i].fd);
    for (uint32_t i = 0; i < a->wire_count; i++)
        if (a->wires[i].fd >= 0)
            gw_raw_close(a->wires[i].fd);
    free(a->wires);
    free(a->knocks);
}

/* ---- clients and backends ---- */

/* app:accept(ip) -> descriptor: a client of that address has connected. */
static int app_accept(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    gw_address peer;
    gw_slice name;
    uint16_t port;
    const char *reason = NULL;
    int fds[2];
    bool unix_peer = strcmp(text, "unix") == 0;
    if (unix_peer)
        len = sizeof "unix:-" - 1, text = "unix:-";
    else if (memchr(text, ':', len) && *text != '[')
        text = lua_pushfstring(L, "[%s]", text), len += 2;
    if (gw_address_parse(gw_slice_of(text, len), 40000, &peer, &name, &port, &reason) != GW_ADDRESS_NUMERIC)
        return luaL_error(L, "client_ip: expected an IP address, found \"%s\"", luaL_checkstring(L, 2));
    if (!atomic_load(&a->current))
        return luaL_error(L, "the app has not been loaded");
    if (gw_raw_pair(fds) < 0)
        return luaL_error(L, "no file descriptors for another connection");
    if (!wire_add(a, fds[1], fds[0])) {
        gw_raw_close(fds[0]);
        gw_raw_close(fds[1]);
        return luaL_error(L, "not enough memory");
    }
    gw_testing_entry before = gw_testing_enter(a);
    gw_engine_accept(&a->listener, fds[0], &peer);
    gw_testing_leave(before);
    lua_pushinteger(L, fds[1]);
    return 1;
}

/* app:knocks() -> { address, address, ... }: connections that the gateway wants, in order; or nil. */
static int app_knocks(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    if (a->knock_count == 0)
        return 0;
    lua_createtable(L, (int)a->knock_count, 0);
    for (uint32_t i = 0; i < a->knock_count; i++) {
        char text[GW_ADDRESS_TEXT];
        lua_pushlstring(L, text, gw_address_text(&a->knocks[i].to, text));
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* app:answer(take) -> descriptor or nil: what becomes of the first of them. take: true, or false to refuse. nil too when the gateway has given
 * it up meanwhile. */
static int app_answer(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    bool take = lua_toboolean(L, 2);
    if (a->knock_count == 0)
        return luaL_error(L, "nobody knocks");
    gw_testing_knock k = a->knocks[0];
    memmove(a->knocks, a->knocks + 1, --a->knock_count * sizeof k);
    if (gw_raw_ended(k.fd)) { /* the stream has been closed, and may be gone */
        gw_raw_close(k.fd);
        return 0;
    }
    if (take && !wire_add(a, k.fd, k.other)) {
        take = false;
    }
    gw_testing_entry before = gw_testing_enter(a);
    gw_stream_connected(k.stream, take ? GW_OK : GW_REFUSED);
    gw_testing_leave(before);
    if (!take) {
        gw_raw_close(k.fd);
        return 0;
    }
    lua_pushinteger(L, k.fd);
    return 1;
}

/* app:put_off(): the first of them goes to the end: it is not answered now. */
static int app_put_off(lua_State *L)
{
    gw_testing_app *a = gw_testing_app_at(L);
    if (a->knock_count == 0)
        return 0;
    gw_testing_knock k = a->knocks[0];
    memmove(a->knocks, a->knocks + 1, (a->knock_count - 1) * sizeof k);
    if (gw_raw_ended(k.fd)) {
        gw_raw_close(k.fd);
        a->knock_count--;
    } else {
        a->knocks[a->knock_count - 1] = k;
    }
    return 0;
}

/* app:read(descriptor) -> bytes; nil, "again" | "eof" | "reset" */
static int app_read(lua_State *L)
{
    const gw_testing_wire *w = wire_at(L, gw_testing_app_at(L), 2);
    char bytes[READ_BYTES];
    int64_t n = gw_raw_read(w->fd, bytes, sizeof bytes);
    if (n > 0) {
        lua_pushlstring(L, bytes, (size_t)n);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, n == GW_AGAIN ? "again" : n == GW_EOF ? "eof" : "reset");
    return 2;
}

/* app:write(descriptor, bytes, from) -> bytes taken (from 0 on); nil, "reset" */
static int app_write(lua_State *L)
{
    const gw_testing_wire *w = wire_at(L, gw_testing_app_at(L), 2);
    size_t len;
    const char *bytes = luaL_checklstring(L, 3, &len);
    lua_Integer from = luaL_optinteger(L, 4, 1) - 1;
    if (from < 0 || (size_t)from >= len) {
        lua_pushinteger(L, 0);
        return 1;
    }
    int64_t n = gw_raw_write(w->fd, bytes + from, len - (size_t)from);
    if (n >= 0 || n == GW_AGAIN) {
        lua_pushinteger(L, n < 0 ? 0 : (lua_Integer)n);
        return 1;
    }
    lua_pushnil(L);
    lua_pushliteral(L, "reset");
    return 2;
}

/* app:shut(descriptor, how): "close", "reset", or "end" (its sending side only) */
static int app_shut(lua_State *L)
{
    static const char *const ways[] = {"close", "reset", "end", NULL};
    gw_testing_wire *w = wire_at(L, gw_testing_app_at(L), 2);
    int way = luaL_checkoption(L, 3, "close", ways);
    if (way == 2) {
        gw_raw_shutdown(w->fd);
        return 0;
    }
    if (way == 1)
        gw_raw_reset(w->fd, w->other);
    else
        gw_raw_close(w->fd);
    w->fd = -1;
    return 0;
}

const luaL_Reg gw_testing_wire_methods[] = {
    {"host", app_host},       {"anyone", app_anyone}, {"accept", app_accept}, {"knocks", app_knocks}, {"answer", app_answer},
    {"put_off", app_put_off}, {"read", app_read},     {"write", app_write},   {"shut", app_shut},     {NULL, NULL},
};
