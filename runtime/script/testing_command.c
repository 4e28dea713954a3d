/* `gateway test` and `gateway new`: Lua programs that are in this one. */
#include "script/api.h"
#include "script/embedded.h"
#include "script/task.h"
#include "script/testing.h"
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void *allocate(void *data, void *ptr, size_t old_bytes, size_t bytes)
{
    (void)data, (void)old_bytes;
    if (bytes)
        return realloc(ptr, bytes);
    free(ptr);
    return NULL;
}

/* A module of the library. */
static int searcher(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    bool ours = strncmp(name, "gateway", 7) == 0 && (name[7] == '\0' || name[7] == '.');
    for (size_t i = 0; ours && i < gw_embedded_count; i++) {
        const struct gw_embedded *file = &gw_embedded_files[i];
        if (strcmp(file->name, name) != 0)
            continue;
        if (luaL_loadbuffer(L, file->bytes, file->len, file->chunk) != 0)
            return lua_error(L);
        return 1;
    }
    lua_pushliteral(L, "");
    return 1;
}

/* folder(path): makes a folder. True; or nil, why not. */
static int make_folder(lua_State *L)
{
    if (mkdir(luaL_checkstring(L, 1), 0777) == 0 || errno == EEXIST) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, strerror(errno));
    return 2;
}

/* Our searcher comes behind package.preload, before all others. */
static void add_searcher(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaders");
    int loaders = lua_gettop(L);
    for (int i = (int)lua_objlen(L, loaders); i >= 2; i--) {
        lua_rawgeti(L, loaders, i);
        lua_rawseti(L, loaders, i + 1);
    }
    lua_pushcfunction(L, searcher);
    lua_rawseti(L, loaders, 2);
    lua_pop(L, 2);
}

static int open_module(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "gateway.library");
    if (lua_isnil(L, -1)) {
        lua_pushstring(L, gw_testing_library());
        lua_setfield(L, LUA_REGISTRYINDEX, "gateway.library");
        add_searcher(L);
    }
    lua_settop(L, 0);
    lua_pushcfunction(L, searcher);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    return 1;
}

int luaopen_gateway(lua_State *L)
{
    return open_module(L, "gateway");
}

int luaopen_gateway_testing(lua_State *L)
{
    return open_module(L, "gateway.testing");
}

struct command {
    const char *module;
    const char *const *words;
    int count, status;
    char *text; /* malloc'ed: what it gave, when that is text */
};

static int run(lua_State *L)
{
    struct command *c = lua_touserdata(L, 1);
    luaL_openlibs(L);
    add_searcher(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_gateway_testing_c);
    lua_setfield(L, -2, "gateway.testing_c");
    lua_pushcfunction(L, make_folder);
    lua_setfield(L, LUA_REGISTRYINDEX, "gateway.make_folder");
    gw_push_shipped(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "gateway.shipped_plugins");
    lua_settop(L, 0);
    lua_getglobal(L, "debug");
    lua_getfield(L, -1, "traceback");
    lua_getglobal(L, "require");
    lua_pushstring(L, c->module);
    lua_call(L, 1, 1);
    lua_createtable(L, c->count, 0);
    for (int i = 0; i < c->count; i++) {
        lua_pushstring(L, c->words[i]);
        lua_rawseti(L, -2, i + 1);
    }
    if (lua_pcall(L, 1, 1, 2) != 0)
        return lua_error(L);
    if (lua_type(L, -1) == LUA_TSTRING)
        c->text = strdup(lua_tostring(L, -1)); /* nothing raises behind this */
    else
        c->status = (int)lua_tointeger(L, -1);
    return 0;
}

int gw_testing_command(const char *module, char *const words[], int count)
{
    struct command c = {.module = module, .words = (const char *const *)words, .count = count, .status = EXIT_FAILURE};
    lua_State *L = lua_newstate(allocate, NULL);
    if (!L) {
        fputs("gateway: not enough memory\n", stderr);
        return EXIT_FAILURE;
    }
    if (lua_cpcall(L, run, &c) != 0) {
        const char *problem = lua_tostring(L, -1);
        fprintf(stderr, "gateway: %s\n", problem ? problem : "not enough memory");
        c.status = EXIT_FAILURE;
    }
    free(c.text);
    lua_close(L);
    if (fflush(stdout) != 0 || ferror(stdout)) /* a full disk or a closed pipe must not look like success */
        c.status = c.status ? c.status : EXIT_FAILURE;
    return c.status;
}

bool gw_testing_text(const char *module, const char *const words[], int count, char **text)
{
    struct command c = {.module = module, .words = words, .count = count};
    lua_State *L = lua_newstate(allocate, NULL);
    bool good = L && lua_cpcall(L, run, &c) == 0 && c.text;
    if (L && !good) {
        const char *problem = lua_tostring(L, -1);
        free(c.text);
        c.text = strdup(problem ? problem : "not enough memory");
    }
    if (L)
        lua_close(L);
    *text = c.text;
    return good;
}
