/* Where plugins are, as Lua asks: shipped("plugins/cors.lua") → the text of one that is in the program, or nil; shipped() → the paths of
 * all; library(path) likewise for "lua/gateway/init.lua" and so on; list(folder) → the names in a folder, or nil. */
#include "script/embedded.h"
#include "script/state.h"
#include <dirent.h>
#include <lauxlib.h>

/* Upvalue: the folder, as in "plugins/". */
static int lua_embedded(lua_State *L)
{
    const char *wanted = luaL_optstring(L, 1, NULL);
    size_t len;
    const char *folder = lua_tolstring(L, lua_upvalueindex(1), &len);
    int count = 0;
    if (!wanted)
        lua_newtable(L);
    for (size_t i = 0; i < gw_embedded_count; i++) {
        const char *path = gw_embedded_files[i].chunk + 1;
        if (strncmp(path, folder, len) != 0)
            continue;
        if (!wanted) {
            lua_pushstring(L, path);
            lua_rawseti(L, -2, ++count);
        } else if (strcmp(path, wanted) == 0) {
            lua_pushlstring(L, gw_embedded_files[i].bytes, gw_embedded_files[i].len);
            return 1;
        }
    }
    return wanted ? 0 : 1;
}

void gw_push_shipped(lua_State *L)
{
    lua_pushliteral(L, "plugins/");
    lua_pushcclosure(L, lua_embedded, 1);
}

void gw_push_library(lua_State *L)
{
    lua_pushliteral(L, "lua/gateway/");
    lua_pushcclosure(L, lua_embedded, 1);
}

#define LIST_BYTES (256u << 10) /* names of more are left out */

/* The names are gathered in a userdata first: while the folder is open nothing may raise. */
static int lua_list_folder(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char *names = lua_newuserdata(L, LIST_BYTES);
    size_t used = 0;
    DIR *folder = opendir(path);
    if (!folder)
        return 0;
    for (struct dirent *e; (e = readdir(folder));) {
        size_t bytes = strlen(e->d_name) + 1;
        if (e->d_name[0] == '.' || bytes > LIST_BYTES - used)
            continue;
        memcpy(names + used, e->d_name, bytes);
        used += bytes;
    }
    closedir(folder);
    lua_newtable(L);
    int count = 0;
    for (size_t at = 0; at < used; at += strlen(names + at) + 1) {
        lua_pushstring(L, names + at);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

void gw_push_list_folder(lua_State *L)
{
    lua_pushcfunction(L, lua_list_folder);
}
