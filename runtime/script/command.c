/* Commands that are written in Lua (script.h). */
#include "script/script.h"
#include "script/state.h"
#include "script/task.h"
#include <lauxlib.h>
#include <stdlib.h>

struct command {
    const char *module, *word;
    char *text;
    bool good;
};

static int run(lua_State *L)
{
    struct command *c = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushstring(L, c->module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    lua_newtable(L);
    lua_pushstring(L, c->word); /* nil without one */
    lua_setfield(L, -2, "word");
    lua_pushliteral(L, ".");
    lua_setfield(L, -2, "folder");
    gw_push_shipped(L);
    lua_setfield(L, -2, "shipped");
    gw_push_list_folder(L);
    lua_setfield(L, -2, "list");
    gw_push_library(L);
    lua_setfield(L, -2, "library");
    lua_call(L, 1, 2);
    c->good = lua_toboolean(L, -2);
    const char *text = lua_tostring(L, c->good ? -2 : -1);
    c->text = strdup(text ? text : "it has nothing to say"); /* nothing raises behind this */
    return 0;
}

bool gw_script_command(const char *module, const char *word, char **text)
{
    struct command c = {.module = module, .word = word};
    gw_state *s = gw_state_new(0, "./script", NULL);
    if (s && lua_cpcall(s->L, run, &c) != 0) {
        const char *why = lua_tostring(s->L, -1);
        c.good = false;
        c.text = strdup(why ? why : "not enough memory");
    }
    if (s)
        gw_state_free(s);
    *text = c.text ? c.text : strdup("not enough memory");
    return c.good && c.text;
}
