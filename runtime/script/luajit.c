#include "script/luajit.h"
#include "net/reserve.h"
#include "script/guard.h"
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- what LuaJIT is at ----
 *
 * global_State.vmstate says it: interpreting, in C, or something else: compiled code (then it is the number of the trace), the compiler,
 * the collector. It lies in the block in which a state begins, as does global_State.jit_base, the base of the compiled code that runs, NULL
 * while none does, and global_State.cur_L, the thread that runs it. They are found by a loop that asks for memory in compiled code, on the
 * main thread and on another, with the collector stopped: jit_base is the one word that is NULL at times and else points into the stack
 * of the thread that runs; vmstate is a small positive number just when jit_base is not NULL. Then vmstate is looked at while it
 * interprets, in C, and while it collects. */

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
    int32_t *probe;    /* where vmstate goes when memory is asked for or given back; NULL: nowhere */
    struct {
        bool null, wrong, not_thread;
        bool seen[2];        /* pointed into the stack of the main thread, of the other */
        bool not_vmstate[2]; /* by halves */
    } word[WORDS_MOST];
} watch;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
    size_t jit_base, cur_L, vmstate; /* bytes from the main lua_State on */
    int32_t interpreting, in_c;      /* values of vmstate */
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
        w->word[i].not_thread |= pointer_at(w->block, i * sizeof(char *)) != (const char *)w->running; /* interpreted, too */
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
    if (w->probe)
        *w->probe = number_at(w->block, learnt.vmstate);
    if (bytes == 0)
        return NULL;
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
        if (!w->word[i].not_thread && threads++ == 0)
            learnt.cur_L = i * sizeof(char *);
        for (size_t half = 0; half < 2; half++) {
            if (!w->word[i].not_vmstate[half] && vmstates++ == 0)
                learnt.vmstate = i * sizeof(char *) + half * sizeof(int32_t);
        }
    }
    learnt.jit_base = w->jit_base;
    return w->looks[0] && w->looks[1] && threads > 0 && vmstates == 1;
}

static int ask_in_c(lua_State *L)
{
    lua_newtable(L);
    return 1;
}

static bool probe(lua_State *L, watch *w)
{
    static const char ask[] = "local t = { 1 } return t";
    int32_t collecting = 0;
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    if (luaL_loadbuffer(L, ask, sizeof ask - 1, "=ask") != 0)
        return false;
    lua_pushcfunction(L, ask_in_c);
    w->probe = &learnt.in_c;
    lua_call(L, 0, 1);
    w->probe = NULL;
    lua_pop(L, 1);
    w->probe = &learnt.interpreting;
    lua_call(L, 0, 1);
    w->probe = &collecting;
    lua_gc(L, LUA_GCCOLLECT, 0);
    w->probe = NULL;
    return learnt.interpreting < 0 && learnt.in_c < 0 && learnt.in_c != learnt.interpreting && collecting < 0 &&
           collecting != learnt.interpreting && collecting != learnt.in_c;
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
    learnt.known = find_others(w) && probe(L, w);
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

bool gw_luajit_survives(lua_State *L)
{
    if (!learnt.known)
        return true;
    int32_t at = number_at((const char *)L, learnt.vmstate);
    return at == learnt.interpreting || at == learnt.in_c;
}

void gw_luajit_make_room(lua_State *L)
{
    const char *main = (const char *)L;
    if (!learnt.known || number_at(main, learnt.vmstate) != learnt.interpreting)
        return;
    lua_State *running = (lua_State *)(void *)pointer_at(main, learnt.cur_L);
    lua_Debug ar;
    if (lua_getstack(running, 0, &ar) && lua_getinfo(running, "S", &ar) && *ar.what == 'C') {
        char *base = pointer_at((const char *)running, offsetof(shape, base));
        memcpy((char *)running + offsetof(shape, top), &base, sizeof base);
    }
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

typedef struct registered { /* an area's, from its registration on */
    _Alignas(16) char object[OBJECT_BYTES];
    gw_code_area area;
} registered;

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
    registered *r = gw_reserve_realloc(NULL, sizeof *r, realloc);
    if (r) {
        __register_frame_info(begin, r->object);
        gw_guard_code_added(&r->area, begin);
    } else
        memset(begin, 0, sizeof(uint32_t)); /* an empty table, which is not deregistered either */
}

void __deregister_frame(void *begin)
{
    if (first_length(begin) == 0)
        return;
    registered *r = __deregister_frame_info(begin); /* the object, which is at the beginning */
    if (r)
        gw_guard_code_gone(&r->area);
    gw_reserve_realloc(r, 0, realloc);
}

void gw_luajit_forget_code(gw_code_area *a)
{
    __deregister_frame((void *)a->begin);
}
