/* Fuzz entry: any bytes as YAML. What comes out must be a message with its place, or values that stand in `lines` and are no deeper
 * than promised. */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "script/yaml.h"

#define REQUIRE(condition)                                                                                                       \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                              \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The value on top; lines at index 2. */
static void check(lua_State *L, int depth)
{
    REQUIRE(depth <= GW_YAML_DEPTH + 1);
    int type = lua_type(L, -1);
    if (type != LUA_TTABLE) {
        REQUIRE(type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN);
        return;
    }
    REQUIRE(lua_checkstack(L, 8));
    lua_pushvalue(L, -1);
    lua_rawget(L, 2);
    REQUIRE(lua_istable(L, -1));
    lua_rawgeti(L, -1, 0);
    REQUIRE(lua_tointeger(L, -1) >= 1);
    lua_pop(L, 1);
    int lines = lua_gettop(L), table = lines - 1;
    size_t items = lua_objlen(L, table), keys = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        keys++;
        REQUIRE(lua_type(L, -2) == (items ? LUA_TNUMBER : LUA_TSTRING));
        lua_pushvalue(L, -2);
        lua_rawget(L, lines);
        REQUIRE(lua_tointeger(L, -1) >= 1);
        lua_pop(L, 1);
        check(L, depth + 1);
    }
    REQUIRE(items == 0 || keys == items);
    lua_pop(L, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (L == NULL && (L = luaL_newstate()) == NULL)
        return 0;
    lua_settop(L, 0);
    lua_pushcfunction(L, gw_yaml_load);
    lua_pushlstring(L, (const char *)data, size);
    lua_pushliteral(L, "fuzz");
    REQUIRE(lua_pcall(L, 2, 2, 0) == 0);
    if (lua_isnil(L, 1)) {
        size_t line, column;
        int used = 0;
        if (!lua_isnil(L, 2)) {
            sscanf(lua_tostring(L, 2), "fuzz:%zu:%zu: %n", &line, &column, &used);
            REQUIRE(used > 0 && line >= 1 && column >= 1);
        }
    } else {
        lua_pushvalue(L, 1);
        check(L, 0);
    }
    lua_settop(L, 0);
    return 0;
}
