#include "script/luajit.h"
#include "net/reserve.h"
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- running out in compiled code ----
 *
 * global_State.jit_base is the base of the compiled code that runs, NULL while none does; global_State.cur_L is the thread that runs it;
 * global_State.vmstate is the number of the trace that runs, or negative: one value of its own while the collector works. They lie in the
 * block in which a state begins, and are found by a loop that asks for memory in compiled code, on the main thread and on another, with
 * the collector stopped: jit_base is the one word that is NULL at times and else points into the stack of the thread that runs; vmstate
 * is a small positive number just when jit_base is not NULL. Then the collector runs, and vmstate says so whenever it gives back. */

/* The beginning of a lua_State in LuaJIT 2.1 with references of 64 bits. */
typedef struct shape {
    void *gc[2];
    char *global;
    void *gclist;
    char *base, *top, *maxstack, *stack;
} shape;

#define WORDS_MOST 1024
#define LEARN_BYTES (4u << 20) /* of addresses; what is used is a tenth */
#define LEARN_RUNS 4
#define TRACES_MOST 100

typedef struct watch {
    char *memory; /* what the state lives in: nothing is given back before the end */
    size_t used;
    char *block; /* the first allocation */
    size_t words;
    lua_State *running; /* the thread whose loop runs; NULL: do not look */
    int run;
    size_t jit_base;   /* known from the second half of the runs on */
    uint32_t looks[2]; /* then: while compiled code did not run; while it did */
    bool collecting;
    uint32_t given, given_otherwise; /* while it collected: with the vmstate of the first, with another */
    struct {
        bool null, wrong, not_thread;
        bool seen[2];        /* pointed into the stack of the main thread, of the other */
        bool not_vmstate[2]; /* by halves */
    } word[WORDS_MOST];
} watch;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
    size_t jit_base, cur_L, vmstate; /* bytes from the main lua_State on */
    int32_t collecting;              /* vmstate while the collector works */
    bool known;
} learnt;

static char *pointer_at(const char *block, size_t bytes)
{
    char *value;
    memcpy(&value, block + bytes, sizeof value);
    return value;
}

static bool in_stack(const lua_State *L, const char *value)
{
    shape s;
    memcpy(&s, (const void *)L, sizeof s);
    return value > s.stack && value < s.maxstack;
}

static int32_t number_at(const char *block, size_t bytes)
{
    int32_t value;
    memcpy(&value, block + bytes, sizeof value);
    return value;
}

/* The second half of the runs: jit_base is known. */
static void look_again(watch *w)
{
    bool compiled = pointer_at(w->block, w->jit_base) != NULL;
    w->looks[compiled]++;
    for (size_t i = 0; i < w->words; i++) {
        if (compiled)
            w->word[i].not_thread |= pointer_at(w->block, i * sizeof(char *)) != (const char *)w->running;
        for (size_t half = 0; half < 2; half++) {
            int32_t value = number_at(w->block, i * sizeof(char *) + half * sizeof value);
            w->word[i].not_vmstate[half] |= compiled ? value < 1 || value > TRACES_MOST : value >= 0;
        }
    }
}

static void look(watch *w)
{
    if (w->run >= LEARN_RUNS / 2) {
        look_again(w);
        return;
    }
    for (size_t i = 0; i < w->words; i++) {
        const char *value = pointer_at(w->block, i * sizeof value);
        if (!value)
            w->word[i].null = true;
        else if (in_stack(w->running, value))
            w->word[i].seen[w->run] = true;
        else
            w->word[i].wrong = true;
    }
}

static void *watched(void *data, void *ptr, size_t old_bytes, size_t bytes)
{
    watch *w = data;
    if (w->running)
        look(w);
    if (bytes == 0) {
        if (w->collecting && w->given++ == 0)
            learnt.collecting = number_at(w->block, learnt.vmstate);
        else if (w->collecting && learnt.collecting != number_at(w->block, learnt.vmstate))
            w->given_otherwise++;
        return NULL;
    }
    if (ptr && bytes <= old_bytes)
        return ptr;
    size_t whole = (bytes + 15) & ~(size_t)15;
    if (whole < bytes || whole > LEARN_BYTES - w->used)
        return NULL;
    char *out = w->memory + w->used;
    w->used += whole;
    if (ptr)
        memcpy(out, ptr, old_bytes);
    if (!w->block) {
        w->block = out;
        w->words = bytes / sizeof(char *) < WORDS_MOST ? bytes / sizeof(char *) : WORDS_MOST;
    }
    return out;
}

/* The only word that stands the test; false: none or several. */
static bool find_jit_base(watch *w)
{
    size_t count = 0;
    for (size_t i = 0; i < w->words; i++) {
        if (w->word[i].null && !w->word[i].wrong && w->word[i].seen[0] && w->word[i].seen[1]) {
            w->jit_base = i * sizeof(char *);
            count++;
        }
    }
    return count == 1;
}

static bool find_others(watch *w)
{
    size_t threads = 0, vmstates = 0;
    for (size_t i = 0; i < w->words; i++) {
        if (!w->word[i].not_thread && threads++ == 0) /* any will do: they are the same just when it matters */
            learnt.cur_L = i * sizeof(char *);
        for (size_t half = 0; half < 2; half++) {
            if (!w->word[i].not_vmstate[half] && vmstates++ == 0)
                learnt.vmstate = i * sizeof(char *) + half * sizeof(int32_t);
        }
    }
    learnt.jit_base = w->jit_base;
    return w->looks[0] && w->looks[1] && threads > 0 && vmstates == 1;
}

static int watch_loops(lua_State *L)
{
    static const char loop[] = "local t = { 0, 0, 0, 0, 0, 0, 0, 0 } for i = 1, 300 do t[i % 8 + 1] = { i } end";
    watch *w = lua_touserdata(L, 1);
    lua_gc(L, LUA_GCSTOP, 0);
    luaL_openlibs(L);
    lua_State *other = lua_newthread(L);
    if (luaL_loadbuffer(L, loop, sizeof loop - 1, "=loop") != 0)
        return lua_error(L);
    for (w->run = 0; w->run < LEARN_RUNS; w->run++) {
        if (w->run == LEARN_RUNS / 2 && !find_jit_base(w))
            return 0;
        lua_State *on = w->run % 2 ? other : L;
        lua_pushvalue(L, -1);
        if (on != L)
            lua_xmove(L, on, 1);
        w->running = on;
        lua_call(on, 0, 0);
        w->running = NULL;
    }
    if (!find_others(w))
        return 0;
    w->collecting = true;
    lua_gc(L, LUA_GCCOLLECT, 0);
    w->collecting = false;
    learnt.known = w->given > 0 && w->given_otherwise == 0 && learnt.collecting < 0;
    return 0;
}

static void learn(void)
{
    watch *w = calloc(1, sizeof *w);
    if (!w)
        return;
    w->memory = malloc(LEARN_BYTES);
    lua_State *L = w->memory ? lua_newstate(watched, w) : NULL;
    if (L) {
        const char *global = pointer_at((const char *)L, offsetof(shape, global));
        if ((char *)L == w->block && global > w->block && global < w->block + w->words * sizeof(char *))
            lua_cpcall(L, watch_loops, w);
        w->running = NULL;
        lua_close(L);
    }
    free(w->memory);
    free(w);
}

void gw_luajit_learn(void)
{
    pthread_once(&once, learn);
}

bool gw_luajit_learnt(void)
{
    gw_luajit_learn();
    return learnt.known;
}

enum gw_luajit_at gw_luajit_at(lua_State *L)
{
    if (!learnt.known)
        return GW_LUAJIT_INTERPRETING;
    if (number_at((const char *)L, learnt.vmstate) == learnt.collecting)
        return GW_LUAJIT_COLLECTING;
    return pointer_at((const char *)L, learnt.jit_base) ? GW_LUAJIT_COMPILED : GW_LUAJIT_INTERPRETING;
}

void gw_luajit_refuse(lua_State *L)
{
    const char *main = (const char *)L, *base = learnt.known ? pointer_at(main, learnt.jit_base) : NULL;
    if (base)
        memcpy(pointer_at(main, learnt.cur_L) + offsetof(shape, base), &base, sizeof base);
}

/* ---- unwinding through machine code ----
 *
 * As libgcc's __register_frame and __deregister_frame; LuaJIT's calls find these first, since the program stands before its libraries in
 * the search for names. */

#define OBJECT_BYTES 256 /* libgcc's struct object is 48 */

void __register_frame_info(const void *begin, void *object);
void *__deregister_frame_info(const void *begin);
GW_API void __register_frame(void *begin);
GW_API void __deregister_frame(void *begin);

static uint32_t first_length(const void *begin)
{
    uint32_t length;
    memcpy(&length, begin, sizeof length);
    return length;
}

void __register_frame(void *begin)
{
    if (first_length(begin) == 0)
        return;
    void *object = gw_reserve_realloc(NULL, OBJECT_BYTES, realloc);
    if (object)
        __register_frame_info(begin, object);
    else
        memset(begin, 0, sizeof(uint32_t)); /* an empty table, which is not deregistered either */
}

void __deregister_frame(void *begin)
{
    if (first_length(begin) != 0)
        gw_reserve_realloc(__deregister_frame_info(begin), 0, realloc);
}
