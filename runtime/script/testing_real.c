/* For testing.serve: a gateway as a process of its own, and sockets to talk to it and to play its backends. Nothing here enters Lua. */
#define _GNU_SOURCE /* environ */
#include "base/clock.h"
#include "net/raw.h"
#include "script/testing_parts.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES 65536
#define WORDS_MOST 64

static int failed(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

static const char *why(int status)
{
    return status == GW_AGAIN ? "again" : status == GW_EOF ? "eof" : status == GW_RESET ? "reset" : gw_status_text(status);
}

/* ---- processes ---- */

/* spawn({ program, word, ... }, output, errors) -> pid: output and errors are files. It ends with this process. */
static int real_spawn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *output = luaL_checkstring(L, 2), *errors = luaL_checkstring(L, 3);
    char *words[WORDS_MOST + 1];
    int count = (int)lua_objlen(L, 1);
    if (count < 1 || count > WORDS_MOST)
        return luaL_error(L, "a program and at most %d words are expected", WORDS_MOST - 1);
    luaL_checkstack(L, count, "words");
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 1, i + 1); /* stays on the stack: the child reads it */
        words[i] = (char *)(uintptr_t)luaL_checkstring(L, -1);
    }
    words[count] = NULL;
    int out = open(output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int err = out < 0 ? -1 : open(errors, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (err < 0) {
        int error = errno;
        if (out >= 0)
            close(out);
        return failed(L, strerror(error));
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) { /* from here on only what a signal handler may call */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
        int null = open("/dev/null", O_RDONLY);
        if (null >= 0 && dup2(null, 0) >= 0 && dup2(out, 1) >= 0 && dup2(err, 2) >= 0)
            execv(words[0], words);
        _exit(127);
    }
    int error = errno;
    close(out);
    close(err);
    if (pid < 0)
        return failed(L, strerror(error));
    lua_pushinteger(L, pid);
    return 1;
}

/* ended(pid) -> nil while it runs; its exit status, or 128 and the signal that ended it. Once: then the pid is forgotten. */
static int real_ended(lua_State *L)
{
    int status;
    pid_t got = waitpid((pid_t)luaL_checkinteger(L, 1), &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return 0;
    lua_pushinteger(L, got < 0 ? 127 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 1;
}

/* signal(pid, "term" | "kill" | "hup") */
static int real_signal(lua_State *L)
{
    static const char *const names[] = {"term", "kill", "hup", NULL};
    static const int numbers[] = {SIGTERM, SIGKILL, SIGHUP};
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    int number = numbers[luaL_checkoption(L, 2, "term", names)];
    if (pid > 1)
        kill(pid, number);
    return 0;
}

/* folder() -> a new folder for files of this test */
static int real_folder(lua_State *L)
{
    char path[] = "/tmp/gateway-test-XXXXXX";
    if (!mkdtemp(path))
        return failed(L, strerror(errno));
    lua_pushstring(L, path);
    return 1;
}

/* program() -> the file that this process runs */
static int real_program(lua_State *L)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path);
    lua_pushlstring(L, path, len > 0 ? (size_t)len : 0);
    return 1;
}

/* ---- sockets ---- */

/* connect(address, seconds) -> descriptor; nil, why not */
static int real_connect(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len), *reason = NULL;
    gw_address to;
    gw_slice name;
    uint16_t port;
    if (gw_address_parse(gw_slice_of(text, len), -1, &to, &name, &port, &reason) != GW_ADDRESS_NUMERIC)
        return luaL_error(L, "an address such as \"127.0.0.1:80\" is expected, found \"%s\"", text);
    int fd = gw_raw_connect(&to, luaL_checknumber(L, 2));
    if (fd < 0)
        return failed(L, why(fd));
    lua_pushinteger(L, fd);
    return 1;
}

/* listen() -> descriptor, port */
static int real_listen(lua_State *L)
{
    uint16_t port;
    int fd = gw_raw_listen(&port);
    if (fd < 0)
        return failed(L, why(fd));
    lua_pushinteger(L, fd);
    lua_pushinteger(L, port);
    return 2;
}

static int real_accept(lua_State *L)
{
    int fd = gw_raw_accept((int)luaL_checkinteger(L, 1));
    if (fd < 0)
        return failed(L, why(fd));
    lua_pushinteger(L, fd);
    return 1;
}

static int real_read(lua_State *L)
{
    char bytes[READ_BYTES];
    int64_t n = gw_raw_read((int)luaL_checkinteger(L, 1), bytes, sizeof bytes);
    if (n <= 0)
        return failed(L, why((int)n));
    lua_pushlstring(L, bytes, (size_t)n);
    return 1;
}

static int real_write(lua_State *L)
{
    size_t len;
    int fd = (int)luaL_checkinteger(L, 1);
    const char *bytes = luaL_checklstring(L, 2, &len);
    lua_Integer from = luaL_optinteger(L, 3, 1) - 1;
    int64_t n = from >= 0 && (size_t)from < len ? gw_raw_write(fd, bytes + from, len - (size_t)from) : 0;
    if (n < 0 && n != GW_AGAIN)
        return failed(L, "reset");
    lua_pushinteger(L, n < 0 ? 0 : (lua_Integer)n);
    return 1;
}

static int real_shut(lua_State *L)
{
    static const char *const ways[] = {"close", "reset", "end", NULL};
    int fd = (int)luaL_checkinteger(L, 1), way = luaL_checkoption(L, 2, "close", ways);
    if (way == 2)
        gw_raw_shutdown(fd);
    else if (way == 1)
        gw_raw_reset(fd, -1);
    else
        gw_raw_close(fd);
    return 0;
}

static int take_descriptors(lua_State *L, int arg, int *fds, int count)
{
    luaL_checktype(L, arg, LUA_TTABLE);
    for (int i = 1, all = (int)lua_objlen(L, arg); i <= all && count < GW_RAW_WAIT_MOST; i++) {
        lua_rawgeti(L, arg, i);
        fds[count++] = (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    return count;
}

/* wait({ descriptors to read }, { to write }, seconds) -> whether one of them is ready */
static int real_wait(lua_State *L)
{
    int fds[GW_RAW_WAIT_MOST];
    int readers = take_descriptors(L, 1, fds, 0), count = take_descriptors(L, 2, fds, readers);
    lua_pushboolean(L, gw_raw_wait(fds, count, readers, luaL_checknumber(L, 3)) == GW_OK);
    return 1;
}

/* now() -> seconds, monotonic */
static int real_now(lua_State *L)
{
    lua_pushnumber(L, (double)gw_clock_monotonic_ns() * 1e-9);
    return 1;
}

const luaL_Reg gw_testing_real_functions[] = {
    {"spawn", real_spawn},     {"ended", real_ended},
    {"signal", real_signal},   {"folder", real_folder},
    {"program", real_program}, {"connect", real_connect},
    {"listen", real_listen},   {"accept", real_accept},
    {"read", real_read},       {"write", real_write},
    {"shut", real_shut},       {"wait", real_wait},
    {"monotonic", real_now},   {NULL, NULL},
};
