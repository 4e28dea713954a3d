#include "script/state.h"
#include "base/clock.h"
#include "net/reserve.h"
#include "script/embedded.h"
#include "script/guard.h"
#include "script/luajit.h"
#include "script/remake.h"
#include "script/task.h"
#include "script/wait.h"
#include "script/watchdog.h"
#include "script/yaml.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Thread_local gw_state *gw_state_adopted;

/* ---- memory ---- */

/* LuaJIT crashes when memory runs out while it makes a state or opens its FFI: what it leaves half made cannot be closed. (At all times
 * after, it raises an error.) So these allocations have a block to fall back on, and a state that had to is closed again at once. */
#define OPENING_BYTES (256u << 10) /* several times what they take together */

typedef struct spare {
    size_t top;                                             /* given out, of: */
    char bytes[OPENING_BYTES] __attribute__((aligned(16))); /* untouched while memory is there */
} spare;

static void *allocate_opening(gw_state *s, void *ptr, size_t old_bytes, size_t bytes)
{
    spare *b = s->opening;
    bool inside = (char *)ptr >= b->bytes && (char *)ptr < b->bytes + OPENING_BYTES;
    size_t whole = (bytes + 15) & ~(size_t)15;
    void *out = bytes && !inside ? gw_heap_realloc(&s->heap, ptr, bytes) : NULL;
    bool moved = out != NULL;
    if (bytes && !out) {
        if (whole < bytes || whole > OPENING_BYTES - b->top)
            return NULL;
        out = b->bytes + b->top;
        b->top += whole;
        if (ptr)
            memcpy(out, ptr, old_bytes < bytes ? old_bytes : bytes);
    }
    if (!moved && !inside && ptr)
        gw_heap_realloc(&s->heap, ptr, 0);
    s->used += bytes - (ptr ? old_bytes : 0);
    return out;
}

/* In a hook, level 0 is what was running; the library's own frames help nobody. */
static void push_where(lua_State *L)
{
    lua_Debug ar;
    for (int level = 0; level < 10 && lua_getstack(L, level, &ar); level++) {
        if (lua_getinfo(L, "S", &ar) && *ar.source == '@' && !strstr(ar.source, "lua/gateway/")) {
            luaL_where(L, level);
            return;
        }
    }
    luaL_where(L, 0);
}

/* What runs has to end. The next instruction of the interpreter meets the hook, and the next, so that no pcall holds on to it. Compiled
 * code meets the collector, which it lets in again and again, and leaves for the interpreter when that has marked everything, which is now
 * a single step. */
static void on_stop(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    const gw_watched *w = gw_watchdog_known();
    const gw_state *s = w ? w->state : NULL;
    if (!s || s->overran <= 0) {
        lua_pushliteral(L, "not enough memory"); /* a string that every state has */
        lua_error(L);
    }
    push_where(L);
    lua_pushfstring(L, "%sthe script ran for %d ms of CPU in one go: at most %d ms are allowed (gateway.script { cpu })",
                    lua_tostring(L, -1), (int)(s->overran * 1e3), (int)(s->budget / 1000000));
    lua_error(L);
}

void gw_state_stop_soon(gw_state *s)
{
    if (!s->stopping) {
        s->stopping = true;
        s->step_multiplier = lua_gc(s->L, LUA_GCSETSTEPMUL, 0);
    }
    lua_sethook(s->L, on_stop, LUA_MASKCOUNT, 1);
    lua_gc(s->L, LUA_GCRESTART, 0);
}

void gw_state_relieve(gw_state *s)
{
    s->refused = false;
    if (!s->stopping)
        return;
    s->stopping = false;
    lua_sethook(s->L, NULL, 0, 0);
    lua_gc(s->L, LUA_GCSETSTEPMUL, s->step_multiplier);
}

static bool within(const gw_state *s, size_t most, size_t more)
{
    return more <= most && s->used <= most - more;
}

/* A block that is lent: from malloc, or when that has nothing either, from the reserve. A state that is given up gives them back by this. */
typedef struct loan {
    _Alignas(16) gw_list link; /* s->lent */
} loan;

static void *lend(gw_state *s, size_t bytes)
{
    loan *l = bytes < SIZE_MAX - sizeof *l ? gw_reserve_realloc(NULL, sizeof *l + bytes, realloc) : NULL;
    if (!l)
        return NULL;
    gw_list_push_back(&s->lent, &l->link);
    return l + 1;
}

static void give_loan(void *ptr)
{
    loan *l = (loan *)ptr - 1;
    gw_list_remove(&l->link);
    gw_reserve_realloc(l, 0, realloc);
}

static void give(gw_state *s, void *ptr)
{
    if (gw_likely(gw_heap_owns(&s->heap, ptr)))
        gw_heap_realloc(&s->heap, ptr, 0);
    else
        give_loan(ptr);
}

/* From one place of memory into another; `to` may be NULL: then nothing happens. */
static void *carry(gw_state *s, void *to, void *ptr, size_t old_bytes, size_t bytes)
{
    if (to && ptr) {
        memcpy(to, ptr, old_bytes < bytes ? old_bytes : bytes);
        give(s, ptr);
    }
    return to;
}

/* The system or the cap said no. In the interpreter that is an error; where LuaJIT would not survive one (script/luajit.h), memory is lent:
 * beyond the cap, and in need from elsewhere. */
static void *refused(gw_state *s, void *ptr, size_t old_bytes, size_t bytes)
{
    void *out = NULL;
    s->refused = true;
    if (gw_luajit_survives(s->L)) {
        gw_luajit_make_room(s->L);
        return NULL;
    }
    gw_state_stop_soon(s);
    if (within(s, 2 * s->most, bytes - old_bytes)) {
        if (gw_heap_owns(&s->heap, ptr))
            out = gw_heap_realloc(&s->heap, ptr, bytes);
        if (!out)
            out = carry(s, lend(s, bytes), ptr, old_bytes, bytes);
    }
    if (!out)
        gw_luajit_refuse(s->L);
    return out;
}

/* realloc for a block that may be lent: into the heap as soon as it can. */
static void *move(gw_state *s, void *ptr, size_t old_bytes, size_t bytes)
{
    if (gw_likely(!ptr || gw_heap_owns(&s->heap, ptr)))
        return gw_heap_realloc(&s->heap, ptr, bytes);
    return carry(s, gw_heap_realloc(&s->heap, NULL, bytes), ptr, old_bytes, bytes);
}

static void *allocate(void *data, void *ptr, size_t old_bytes, size_t bytes)
{
    gw_state *s = data;
    if (gw_unlikely(s->opening != NULL))
        return allocate_opening(s, ptr, old_bytes, bytes);
    if (!ptr)
        old_bytes = 0;
    if (bytes == 0) {
        if (ptr)
            give(s, ptr);
        s->used -= old_bytes;
        return NULL;
    }
    void *out = NULL;
    if (gw_likely(bytes <= old_bytes || within(s, s->most, bytes - old_bytes)))
        out = move(s, ptr, old_bytes, bytes);
    if (gw_unlikely(!out)) {
        out = bytes <= old_bytes ? ptr : refused(s, ptr, old_bytes, bytes); /* Lua relies on shrinking never to fail */
        if (!out)
            return NULL;
    }
    s->used += bytes - old_bytes;
    return out;
}

/* ---- files ---- */

bool gw_read_list_add(gw_read_list *files, const char *path)
{
    for (uint32_t i = 0; i < files->count; i++)
        if (strcmp(files->path[i], path) == 0)
            return true;
    if (files->count == files->cap) {
        uint32_t cap = files->cap ? files->cap * 2 : 16;
        char **more = realloc(files->path, cap * sizeof *more);
        if (!more)
            return false;
        files->path = more;
        files->cap = cap;
    }
    char *copy = strdup(path);
    if (!copy)
        return false;
    files->path[files->count++] = copy;
    return true;
}

void gw_read_list_clear(gw_read_list *files)
{
    for (uint32_t i = 0; i < files->count; i++)
        free(files->path[i]);
    free(files->path);
    memset(files, 0, sizeof *files);
}

char *gw_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* ---- require ---- */

static gw_state *state_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* A module of the library: from the program itself, or from a folder during development. */
static int library_searcher(lua_State *L)
{
    const gw_state *s = state_of(L);
    const char *name = luaL_checkstring(L, 1);
    if (strncmp(name, "gateway", 7) != 0 || (name[7] != '\0' && name[7] != '.')) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (s->library) {
        const char *rest = name[7] ? luaL_gsub(L, name + 8, ".", "/") : "init";
        const char *path = lua_pushfstring(L, "%s/%s.lua", s->library, rest);
        if (luaL_loadfile(L, path) == 0)
            return 1;
        return access(path, R_OK) == 0 ? lua_error(L) : 1; /* a syntax error, or a message that it is not there */
    }
    for (size_t i = 0; i < gw_embedded_count; i++) {
        const struct gw_embedded *file = &gw_embedded_files[i];
        if (strcmp(file->name, name) == 0) {
            if (luaL_loadbuffer(L, file->bytes, file->len, file->chunk) != 0)
                return lua_error(L);
            return 1;
        }
    }
    lua_pushfstring(L, "\n\tno module '%s' in the gateway's library", name);
    return 1;
}

/* package.path, as Lua's own searcher does it, but what is read is remembered for watching. */
static int path_searcher(lua_State *L)
{
    gw_state *s = state_of(L);
    const char *name = luaL_checkstring(L, 1);
    const char *file_name = luaL_gsub(L, name, ".", "/");
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    const char *templates = lua_tostring(L, -1);
    if (!templates)
        return luaL_error(L, "'package.path' must be a string");
    luaL_Buffer looked;
    luaL_buffinit(L, &looked);
    while (*templates) {
        size_t len = strcspn(templates, ";");
        lua_pushlstring(L, templates, len);
        const char *path = luaL_gsub(L, lua_tostring(L, -1), "?", file_name);
        lua_remove(L, -2);
        if (len && access(path, R_OK) == 0) {
            if (!gw_read_list_add(&s->files, path))
                return luaL_error(L, "not enough memory");
            if (luaL_loadfile(L, path) != 0)
                return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", name, path, lua_tostring(L, -1));
            return 1;
        }
        lua_pushfstring(L, "\n\tno file '%s'", path);
        lua_remove(L, -2);
        luaL_addvalue(&looked);
        templates += len;
        if (*templates == ';')
            templates++;
    }
    luaL_pushresult(&looked);
    return 1;
}

static void set_searchers(lua_State *L, gw_state *s)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaders");
    int loaders = lua_gettop(L);
    int count = (int)lua_objlen(L, loaders);
    /* preload, [library], path (ours in place of Lua's), C, C */
    for (int i = count; i >= 2; i--) {
        lua_rawgeti(L, loaders, i);
        lua_rawseti(L, loaders, i + 1);
    }
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, library_searcher, 1);
    lua_rawseti(L, loaders, 2);
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, path_searcher, 1);
    lua_rawseti(L, loaders, 3);
    lua_pop(L, 2);
}

struct setup {
    gw_state *s;
    const char *folder;
};

static int set_up(lua_State *L)
{
    struct setup *setup = lua_touserdata(L, 1);
    gw_state *s = setup->s;
    set_searchers(L, s);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    const char *f = setup->folder;
    const char *rest = lua_tostring(L, -1);
    if (rest && strncmp(rest, "./?.lua;", 8) == 0)
        rest += 8; /* where the process happens to stand is no place for a script's modules */
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s/lua/?.lua;%s/lua/?/init.lua;%s", f, f, f, f, rest ? rest : "");
    lua_setfield(L, -3, "path");
    lua_pop(L, 1);
    lua_getfield(L, -1, "loaded");
    lua_pushcfunction(L, gw_yaml_load);
    lua_setfield(L, -2, "gateway.yaml");
    lua_pop(L, 2);
    return 0;
}

static int open_libraries(lua_State *L)
{
    luaL_openlibs(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, LUA_FFILIBNAME);
    lua_call(L, 1, 0);
    return 0;
}

/* A state with the libraries of Lua. False: memory is out. */
static bool open_state(gw_state *s)
{
    gw_luajit_learn();
    spare *b = malloc(sizeof *b);
    if (!b || !gw_heap_open(&s->heap, GW_STATE_ROOM)) {
        free(b);
        return false;
    }
    b->top = 0;
    s->opening = b;
    s->L = lua_newstate(allocate, s);
    if (s->L && (lua_cpcall(s->L, open_libraries, NULL) != 0 || b->top > 0)) {
        lua_close(s->L);
        s->L = NULL;
    }
    s->opening = NULL;
    free(b);
    return s->L != NULL;
}

gw_state *gw_state_new(uint32_t index, const char *script_path, const char *library)
{
    gw_state *s = calloc(1, sizeof *s);
    char *folder = gw_folder_of(script_path);
    if (s) {
        gw_list_init(&s->lent);
        gw_list_init(&s->code);
        gw_waits_init(s);
    }
    if (!s || !folder)
        goto failed;
    s->index = index;
    s->holder.worker = index;
    s->library = library;
    s->most = GW_STATE_MEMORY;
    s->budget = GW_STATE_CPU;
    s->make_task = LUA_NOREF;
    if (!open_state(s))
        goto failed;
    struct setup setup = {.s = s, .folder = folder};
    if (lua_cpcall(s->L, set_up, &setup) != 0)
        goto failed;
    free(folder);
    return s;
failed:
    free(folder);
    if (s)
        gw_state_free(s);
    return NULL;
}

void gw_state_drop_memory(gw_state *s)
{
    while (!gw_list_empty(&s->lent))
        give_loan((loan *)(void *)s->lent.next + 1);
    gw_heap_close(&s->heap);
    s->L = NULL;
    s->running = NULL;
    s->used = 0;
    s->refused = s->stopping = false;
    free(s->chains);
    s->chains = NULL;
    s->chain_count = 0;
}

void gw_state_free(gw_state *s)
{
    gw_remake_forget(s);
    gw_guard_tell_losers(s);
    if (s->L)
        lua_close(s->L);
    while (!gw_list_empty(&s->code)) /* lua_close has given its machine code back */
        gw_list_remove(s->code.next);
    gw_heap_close(&s->heap);
    gw_state_uncount(s);
    gw_lua_holder_clear(&s->holder);
    gw_read_list_clear(&s->files);
    gw_waits_clear(s);
    free(s->chains);
    free(s);
}
