/* gw_script_load: fresh states, the script run in each, specs compared, a generation built. */
#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "script/builder.h"
#include "script/guard.h"
#include "script/remake.h"
#include "script/script.h"
#include "script/state.h"
#include "script/task.h"
#include <lauxlib.h>
#include <luajit.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GW_LOAD_SECONDS 5.0       /* most that one run of the script may take, unless it says otherwise (gateway.script) */
#define GW_LOAD_MERCY 0.5         /* after that it is left, if it cannot be stopped: seconds of CPU */
#define GW_LOAD_HOOK_COUNT 100000 /* instructions between looks at the clock */
#define GW_LOAD_THREADS 16        /* most runs at once */
#define GW_PROBLEMS_MAX 200       /* most errors that one load reports */

/* What the last load read. One load at a time (script.h). */
static gw_read_list last_files;

const char *const *gw_script_last_files(void)
{
    static const char *const none[] = {NULL};
    return last_files.count ? (const char *const *)last_files.path : none;
}

/* ---- the script's surroundings while it runs ---- */

static double seconds_now(void)
{
    return (double)gw_clock_monotonic_ns() * 1e-9;
}

static bool library_runs(lua_State *L, lua_Debug *ar, const gw_state *s)
{
    if (!lua_getinfo(L, "S", ar) || *ar->source != '@')
        return false;
    const char *prefix = s->library ? s->library : "lua/gateway/";
    return strncmp(ar->source + 1, prefix, strlen(prefix)) == 0;
}

/* The JIT compiler is off while a script loads, so this hook meets every loop. Past the deadline it raises at each instruction of the
 * script's, so that no pcall can hold on to the time; the library is let through: it has to say what happened. */
static void on_count(lua_State *L, lua_Debug *ar)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "gw_state");
    const gw_state *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!s || s->deadline <= 0 || seconds_now() <= s->deadline)
        return;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    if (library_runs(L, ar, s))
        return;
    luaL_where(L, 0); /* in a hook, level 0 is what was running */
    lua_pushfstring(L, "%sthe script ran longer than %f s while it was loaded", lua_tostring(L, -1), s->load_seconds);
    lua_error(L);
}

/* Another budget for the load that is under way: seconds from its beginning. */
static int set_load_seconds(lua_State *L)
{
    gw_state *s = lua_touserdata(L, lua_upvalueindex(1));
    double seconds = luaL_checknumber(L, 1);
    s->deadline += seconds - s->load_seconds;
    s->load_seconds = seconds;
    gw_guard_set_budget(s, (int64_t)((seconds + GW_LOAD_MERCY) * 1e9));
    return 0;
}

static int lua_paths(lua_State *L)
{
    const gw_state *s = lua_touserdata(L, lua_upvalueindex(1));
    lua_createtable(L, (int)s->files.count, 0);
    for (uint32_t i = 0; i < s->files.count; i++) {
        lua_pushstring(L, s->files.path[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* ---- one run ---- */

struct run {
    gw_state *s;
    const char *path, *folder, *library;
    uint32_t index;
    bool quiet;
    int status;
    gw_messages errors;
    int results; /* registry reference: see enum gw_results */
};

static void push_result(const struct run *run, enum gw_results which)
{
    lua_rawgeti(run->s->L, LUA_REGISTRYINDEX, run->results);
    lua_rawgeti(run->s->L, -1, which);
    lua_remove(run->s->L, -2);
}

static int run_script(lua_State *L)
{
    struct run *run = lua_touserdata(L, 1);
    gw_state *s = run->s;
    lua_pushlightuserdata(L, s);
    lua_setfield(L, LUA_REGISTRYINDEX, "gw_state");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "gateway.boot");
    lua_call(L, 1, 1);
    lua_newtable(L);
    lua_pushstring(L, run->path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, run->folder);
    lua_setfield(L, -2, "folder");
    gw_push_shipped(L);
    lua_setfield(L, -2, "shipped");
    gw_push_list_folder(L);
    lua_setfield(L, -2, "list");
    gw_push_log(L, s);
    lua_setfield(L, -2, "log");
    gw_push_now(L);
    lua_setfield(L, -2, "now");
    lua_pushlightuserdata(L, &s->holder);
    lua_setfield(L, -2, "holder");
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, lua_paths, 1);
    lua_setfield(L, -2, "paths");
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, set_load_seconds, 1);
    lua_setfield(L, -2, "load_seconds");
    s->load_seconds = GW_LOAD_SECONDS;
    s->deadline = seconds_now() + GW_LOAD_SECONDS;
    lua_sethook(L, on_count, LUA_MASKCOUNT, GW_LOAD_HOOK_COUNT);
    lua_call(L, 1, GW_RESULTS);
    lua_sethook(L, NULL, 0, 0);
    s->deadline = 0;
    int first = lua_gettop(L) - GW_RESULTS + 1;
    lua_createtable(L, GW_RESULTS, 0);
    for (int i = 1; i <= GW_RESULTS; i++) {
        lua_pushvalue(L, first + i - 1);
        lua_rawseti(L, -2, i);
    }
    run->results = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void take_texts(const struct run *run, enum gw_results which, gw_messages *errors)
{
    lua_State *L = run->s->L;
    push_result(run, which);
    int count = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0;
    for (int i = 1; i <= count && i <= GW_PROBLEMS_MAX; i++) {
        lua_rawgeti(L, -1, i);
        gw_messages_add(errors, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?");
        lua_pop(L, 1);
    }
    if (count > GW_PROBLEMS_MAX)
        gw_messages_add(errors, "... and %d more", count - GW_PROBLEMS_MAX);
    lua_pop(L, 1);
}

static void take_files(const struct run *run)
{
    lua_State *L = run->s->L;
    push_result(run, GW_RESULT_FILES);
    int count = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0;
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        if (lua_type(L, -1) == LUA_TSTRING)
            gw_read_list_add(&run->s->files, lua_tostring(L, -1)); /* lost when memory is out: not watched */
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Runs the script in run->s. GW_OK or GW_INVALID (told in errors). */
static int run_once(struct run *run, gw_messages *errors)
{
    lua_State *L = run->s->L;
    uint32_t before = errors->count;
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* compiled loops would not see the hook */
    int64_t budget = run->s->budget;
    gw_guard_set_budget(run->s, (int64_t)((GW_LOAD_SECONDS + GW_LOAD_MERCY) * 1e9));
    int status = gw_guard_cpcall(run->s, run_script, run);
    gw_guard_set_budget(run->s, budget);
    run->s->deadline = 0;
    if (status == GW_GUARD_ABANDONED) { /* in one call of a library function, which no hook ends */
        gw_messages_add(errors, "%s: the script ran longer than %g s while it was loaded", run->path, run->s->load_seconds);
        run->results = LUA_NOREF;
        return GW_INVALID;
    }
    lua_sethook(L, NULL, 0, 0);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
    if (status != 0) {
        const char *text = lua_tostring(L, -1);
        gw_messages_add(errors, "%s: %s", run->path, text ? text : "not enough memory");
        lua_pop(L, 1);
        return GW_INVALID;
    }
    take_files(run);
    take_texts(run, GW_RESULT_PROBLEMS, errors);
    return errors->count == before ? GW_OK : GW_INVALID;
}

/* ---- are the states of one mind? ---- */

static gw_slice spec_text(const struct run *run)
{
    size_t len = 0;
    push_result(run, GW_RESULT_TEXT);
    const char *text = lua_tolstring(run->s->L, -1, &len);
    lua_pop(run->s->L, 1); /* the registry keeps it */
    return gw_slice_of(text, len);
}

static gw_slice line_at(gw_slice text, size_t at)
{
    while (at > 0 && text.ptr[at - 1] != '\n')
        at--;
    const char *end = at < text.len ? memchr(text.ptr + at, '\n', text.len - at) : NULL;
    size_t len = end ? (size_t)(end - text.ptr) - at : text.len - at;
    return gw_slice_of(text.ptr + at, len > 200 ? 200 : len);
}

/* Puts the spec, a value a line, in place of its text. */
static int make_lines(lua_State *L)
{
    const struct run *run = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, run->results);
    lua_rawgeti(L, -1, GW_RESULT_LINES);
    lua_rawgeti(L, -2, GW_RESULT_SPEC);
    lua_call(L, 1, 1);
    lua_rawseti(L, -2, GW_RESULT_TEXT);
    return 0;
}

/* Where two runs said different things: the first line that differs names the value. */
static void tell_difference(struct run *first, struct run *second, gw_messages *errors)
{
    const char *path = second->path;
    if (lua_cpcall(first->s->L, make_lines, first) != 0 || lua_cpcall(second->s->L, make_lines, second) != 0) {
        gw_messages_add(errors, "%s: not enough memory", path);
        return;
    }
    gw_slice a = spec_text(first), b = spec_text(second);
    size_t at = 0;
    while (at < a.len && at < b.len && a.ptr[at] == b.ptr[at])
        at++;
    gw_slice x = line_at(a, at), y = line_at(b, at);
    gw_messages_add(errors,
                    "%s: the script does not say the same each time it runs (every worker runs it): expected \"%.*s\", found "
                    "\"%.*s\"; what it "
                    "declares must not depend on chance, on the time or on the order of next()",
                    path, (int)x.len, x.ptr, (int)y.len, y.ptr);
}

/* ---- all of it ---- */

static void keep_files(gw_generation *g, const char *path, const gw_state *s, gw_messages *errors)
{
    gw_read_list_clear(&last_files);
    if (!gw_read_list_add(&last_files, path))
        gw_messages_add(errors, "%s: not enough memory", path);
    for (uint32_t i = 0; s && i < s->files.count; i++)
        if (!gw_read_list_add(&last_files, s->files.path[i]))
            gw_messages_add(errors, "%s: not enough memory", path);
    char **ended = realloc(last_files.path, (last_files.count + 1) * sizeof *ended); /* NULL-ended for gw_script_last_files */
    if (!ended) {
        gw_read_list_clear(&last_files);
        return;
    }
    ended[last_files.count] = NULL;
    last_files.path = ended;
    last_files.cap = last_files.count;
    if (!g)
        return;
    g->files = gw_arena_take(&g->arena, (last_files.count + 1) * sizeof *g->files);
    for (uint32_t i = 0; g->files && i < last_files.count; i++) {
        g->files[i] = gw_arena_string(&g->arena, gw_slice_str(last_files.path[i]));
        if (!g->files[i]) {
            g->files = NULL;
            break;
        }
        g->file_count = i + 1;
    }
    if (!g->files) {
        g->file_count = 0;
        gw_messages_add(errors, "%s: not enough memory", path);
    }
}

static void script_close(void *script)
{
    gw_state_free(script);
}

static void run_fresh(struct run *run)
{
    run->s = gw_state_new(run->index, run->path, run->library);
    if (run->s) {
        run->s->quiet = run->quiet;
        run->status = run_once(run, &run->errors);
    } else {
        gw_messages_add(&run->errors, "%s: not enough memory for a Lua state", run->path);
        run->status = GW_NOMEM;
    }
}

static void *run_on_thread(void *data)
{
    run_fresh(data);
    return NULL;
}

/* The first run alone: what is wrong with a script is nearly always seen there. The others at once, as many as there are processors; they
 * share nothing. */
static void run_all(struct run *runs, uint32_t count)
{
    run_fresh(&runs[0]);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t most = processors > 1 ? (uint32_t)(processors < GW_LOAD_THREADS ? processors : GW_LOAD_THREADS) : 1;
    for (uint32_t i = 1; i < count && runs[0].status == GW_OK;) {
        pthread_t threads[GW_LOAD_THREADS];
        uint32_t started = 0;
        while (started < most && i + started < count &&
               pthread_create(&threads[started], NULL, run_on_thread, &runs[i + started]) == 0)
            started++;
        if (started == 0)
            run_fresh(&runs[i++]); /* no thread to be had */
        for (uint32_t k = 0; k < started; k++)
            pthread_join(threads[k], NULL);
        i += started;
    }
}

/* GW_OK when all went well and said the same; else what is wrong, from the first run that has something to say. */
static int judge_runs(struct run *runs, uint32_t count, gw_messages *errors)
{
    for (uint32_t i = 0; i < count; i++) {
        if (runs[i].status != GW_OK) {
            gw_messages_add(errors, "%s", runs[i].errors.text ? runs[i].errors.text : "not enough memory");
            return runs[i].status;
        }
        if (!gw_slice_equal(spec_text(&runs[0]), spec_text(&runs[i]))) {
            tell_difference(&runs[0], &runs[i], errors);
            return GW_INVALID;
        }
    }
    return GW_OK;
}

/* Hands each worker its state; a script that is all data needs none. */
static int give_states(gw_generation *g, struct run *runs, gw_messages *errors)
{
    for (uint32_t i = 0; i < g->worker_count; i++) {
        runs[i].s->most = g->lua.memory;
        runs[i].s->budget = (int64_t)(g->lua.cpu * 1e9);
        int status = gw_script_prepare(runs[i].s, g, g->plugin_count, runs[i].results);
        if (status == GW_NOTFOUND)
            return GW_OK;
        if (status != GW_OK) {
            gw_messages_add(errors, "%s: not enough memory", runs[i].path);
            return status;
        }
        gw_state_count_in(runs[i].s, g);
        g->worker[i].script = runs[i].s;
        runs[i].s = NULL;
    }
    return GW_OK;
}

static gw_generation *load(const char *path, const gw_load_options *options, struct run *runs, uint32_t count,
                           gw_messages *errors, gw_messages *warnings)
{
    gw_generation *g = gw_generation_new(options->workers);
    if (g)
        g->script = gw_arena_copy(&g->arena, gw_slice_str(path));
    if (!g || !g->script.ptr) {
        gw_messages_add(errors, "%s: not enough memory", path);
        gw_generation_free(g, NULL, NULL);
        return NULL;
    }
    g->script_close = script_close;
    g->loaded_at = gw_clock_wall();
    double resolve_seconds = options->resolve_seconds > 0 ? options->resolve_seconds : 5.0;
    run_all(runs, count);
    int status = judge_runs(runs, count, errors);
    keep_files(status == GW_OK ? g : NULL, path, runs[0].s, errors);
    if (runs[0].results != LUA_NOREF)
        take_texts(&runs[0], GW_RESULT_WARNINGS, warnings);
    if (status == GW_INVALID && runs[0].status == GW_INVALID && runs[0].results != LUA_NOREF) {
        /* What else is wrong, so that one run tells everything. */
        gw_messages more = {0};
        gw_build(runs[0].s->L, runs[0].results, g, resolve_seconds, &more, warnings);
        gw_messages_add_new(errors, &more);
        gw_messages_clear(&more);
    }
    if (status == GW_OK) {
        gw_slice text = spec_text(&runs[0]);
        g->digest = gw_hash(text.ptr, text.len);
        status = gw_build(runs[0].s->L, runs[0].results, g, resolve_seconds, errors, warnings);
    }
    if (status == GW_OK)
        status = give_states(g, runs, errors);
    if (status == GW_OK && errors->count == 0)
        return g;
    gw_generation_free(g, NULL, NULL);
    return NULL;
}

gw_state *gw_script_again(gw_remake *r)
{
    char *folder = gw_folder_of(r->path);
    struct run run = {.path = r->path,
                      .folder = folder,
                      .library = r->library,
                      .index = r->index,
                      .quiet = true,
                      .status = GW_NOMEM,
                      .results = LUA_NOREF};
    const char *why = "not enough memory";
    if (folder)
        run_fresh(&run);
    if (run.status == GW_OK) {
        gw_slice text = spec_text(&run);
        run.s->most = r->memory;
        run.s->budget = r->budget;
        if (gw_hash(text.ptr, text.len) != r->digest) {
            run.status = GW_INVALID;
            why = "the script, run once more, does not say what it said when it was loaded (it may have been changed since): "
                  "reload it";
        } else
            run.status = gw_script_prepare(run.s, r->generation, r->plugin_count, run.results);
    } else if (run.errors.text)
        why = run.errors.text;
    if (run.status != GW_OK) {
        gw_text t = gw_text_on(r->failure, sizeof r->failure - 1);
        size_t len = strlen(why);
        gw_text_add(&t, why, len < sizeof r->failure - 1 ? len : sizeof r->failure - 1);
        *t.at = '\0';
        if (run.s)
            gw_state_free(run.s);
        run.s = NULL;
    }
    gw_messages_clear(&run.errors);
    free(folder);
    return run.s;
}

gw_generation *gw_script_load(const char *path, const gw_load_options *options, char **errors, char **warnings)
{
    gw_messages wrong = {0}, doubtful = {0};
    uint32_t count = options->workers ? options->workers : 1;
    struct run *runs = calloc(count, sizeof *runs);
    char *folder = gw_folder_of(path);
    gw_generation *g = NULL;
    if (runs && folder) {
        for (uint32_t i = 0; i < count; i++)
            runs[i] = (struct run){.path = path, .folder = folder, .library = options->library, .index = i, .results = LUA_NOREF};
        g = load(path, options, runs, count, &wrong, &doubtful);
    }
    for (uint32_t i = 0; runs && i < count; i++) {
        gw_messages_clear(&runs[i].errors);
        if (runs[i].s)
            gw_state_free(runs[i].s);
    }
    free(folder);
    free(runs);
    if (!g && wrong.count == 0)
        gw_messages_add(&wrong, "%s: not enough memory", path);
    if (g)
        gw_messages_clear(&wrong);
    gw_messages_sort(&wrong, path);
    gw_messages_sort(&doubtful, path);
    if (errors)
        *errors = wrong.text;
    else
        gw_messages_clear(&wrong);
    if (warnings)
        *warnings = doubtful.text;
    else
        gw_messages_clear(&doubtful);
    return g;
}
