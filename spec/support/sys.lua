--- System calls for the wire tests, through the FFI: sockets, poll, processes, clocks.
--
-- Everything here returns plain numbers and strings; failures come back as `nil, name` with errno's short name ("EAGAIN"), so that
-- nothing above this file sees an errno. C symbols are bound under names of our own (asm labels), so that these declarations can
-- never collide with those of the code under test in the same process.

local ffi = require "ffi"
local bit = require "bit"

-- busted forgets loaded modules between files, but the FFI remembers its declarations.
if not pcall(ffi.typeof, "struct gwt_pollfd") then
  ffi.cdef [[
  struct gwt_pollfd { int fd; short events, revents; };
  struct gwt_sockaddr { unsigned short family; char data[126]; };
  struct gwt_in { unsigned short family; unsigned short port; unsigned char addr[4]; char zero[8]; };
  struct gwt_in6 { unsigned short family; unsigned short port; uint32_t flow; unsigned char addr[16]; uint32_t scope; };
  struct gwt_un { unsigned short family; char path[108]; };
  struct gwt_timespec { long sec; long nsec; };
  struct gwt_linger { int on, seconds; };
  struct gwt_rlimit { unsigned long soft, hard; };
  int gwt_poll(struct gwt_pollfd *fds, unsigned long n, int ms) asm("poll");
  int gwt_socket(int domain, int type, int protocol) asm("socket");
  int gwt_bind(int fd, const void *addr, unsigned len) asm("bind");
  int gwt_listen(int fd, int backlog) asm("listen");
  int gwt_accept4(int fd, void *addr, unsigned *len, int flags) asm("accept4");
  int gwt_connect(int fd, const void *addr, unsigned len) asm("connect");
  int gwt_getsockname(int fd, void *addr, unsigned *len) asm("getsockname");
  int gwt_setsockopt(int fd, int level, int name, const void *value, unsigned len) asm("setsockopt");
  int gwt_getsockopt(int fd, int level, int name, void *value, unsigned *len) asm("getsockopt");
  long gwt_send(int fd, const char *bytes, unsigned long n, int flags) asm("send");
  long gwt_recv(int fd, char *bytes, unsigned long n, int flags) asm("recv");
  int gwt_shutdown(int fd, int how) asm("shutdown");
  int gwt_close(int fd) asm("close");
  int gwt_inet_pton(int family, const char *text, void *out) asm("inet_pton");
  int gwt_clock_gettime(int clock, struct gwt_timespec *out) asm("clock_gettime");
  int gwt_fork(void) asm("fork");
  int gwt_execve(const char *path, char *const argv[], char *const envp[]) asm("execve");
  void gwt__exit(int code) asm("_exit");
  int gwt_dup2(int from, int to) asm("dup2");
  int gwt_open(const char *path, int flags, ...) asm("open");
  int gwt_kill(int pid, int signal) asm("kill");
  int gwt_waitpid(int pid, int *status, int options) asm("waitpid");
  int gwt_getpid(void) asm("getpid");
  int gwt_prctl(int option, ...) asm("prctl");
  int gwt_setrlimit(int resource, const struct gwt_rlimit *limit) asm("setrlimit");
  char *gwt_strerror(int error) asm("strerror");
  char *gwt_mkdtemp(char *template) asm("mkdtemp");
  extern char **environ;
  ]]
end

local C = ffi.C
local sys = {}

sys.POLLIN, sys.POLLOUT = 1, 4
sys.SIGHUP, sys.SIGINT, sys.SIGKILL, sys.SIGUSR2, sys.SIGTERM = 1, 2, 9, 12, 15

local AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
local SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC = 1, 0x800, 0x80000
local SOL_SOCKET, SO_REUSEADDR, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_LINGER = 1, 2, 4, 7, 8, 13
local IPPROTO_TCP, TCP_NODELAY = 6, 1
local MSG_NOSIGNAL = 0x4000

local names = {
  [2] = "ENOENT", [4] = "EINTR", [11] = "EAGAIN", [13] = "EACCES", [24] = "EMFILE", [32] = "EPIPE", [98] = "EADDRINUSE",
  [104] = "ECONNRESET", [106] = "EISCONN", [107] = "ENOTCONN", [110] = "ETIMEDOUT", [111] = "ECONNREFUSED", [115] = "EINPROGRESS",
}

local function failure(code)
  code = code or ffi.errno()
  return nil, names[code] or ffi.string(C.gwt_strerror(code))
end

local ts = ffi.new("struct gwt_timespec")

--- Seconds, monotonic.
function sys.now()
  C.gwt_clock_gettime(1, ts)
  return tonumber(ts.sec) + tonumber(ts.nsec) * 1e-9
end

-- ---- addresses: a port, "1.2.3.4:80", "[::1]:80", "unix:/path" ----

local function swap16(n)
  return bit.bor(bit.lshift(bit.band(n, 0xff), 8), bit.rshift(bit.band(n, 0xff00), 8))
end

local function address(text)
  if type(text) == "number" then text = "127.0.0.1:" .. text end
  local path = text:match("^unix:(.+)$")
  if path then
    local un = ffi.new("struct gwt_un")
    un.family = AF_UNIX
    if #path > 107 then error("path of a unix socket too long: " .. path) end
    ffi.copy(un.path, path)
    return un, ffi.sizeof(un), AF_UNIX
  end
  local v6, port = text:match("^%[(.-)%]:(%d+)$")
  if v6 then
    local in6 = ffi.new("struct gwt_in6")
    in6.family, in6.port = AF_INET6, swap16(tonumber(port))
    if C.gwt_inet_pton(AF_INET6, v6, in6.addr) ~= 1 then error("no IPv6 address: " .. text) end
    return in6, ffi.sizeof(in6), AF_INET6
  end
  local v4
  v4, port = text:match("^([%d.]+):(%d+)$")
  if not v4 then error("not an address: " .. tostring(text)) end
  local in4 = ffi.new("struct gwt_in")
  in4.family, in4.port = AF_INET, swap16(tonumber(port))
  if C.gwt_inet_pton(AF_INET, v4, in4.addr) ~= 1 then error("no IPv4 address: " .. text) end
  return in4, ffi.sizeof(in4), AF_INET
end

local one = ffi.new("int[1]", 1)

--- A datagram socket at a path: what is sent there is read by sys.recv.
function sys.listen_datagrams(path)
  local a, len = address("unix:" .. path)
  local fd = C.gwt_socket(AF_UNIX, bit.bor(2, SOCK_NONBLOCK, SOCK_CLOEXEC), 0)
  if fd < 0 then return failure() end
  if C.gwt_bind(fd, a, len) ~= 0 then
    local code = ffi.errno()
    C.gwt_close(fd)
    return failure(code)
  end
  return fd
end

local function new_socket(family)
  local fd = C.gwt_socket(family, bit.bor(SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC), 0)
  if fd < 0 then return failure() end
  if family ~= AF_UNIX then C.gwt_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, one, 4) end
  return fd
end

--- The port that a bound socket got.
local function port_of(fd)
  local a, len = ffi.new("struct gwt_in6"), ffi.new("unsigned[1]", 28)
  if C.gwt_getsockname(fd, a, len) ~= 0 then return failure() end
  return swap16(a.port)
end

--- Binds (and, unless told otherwise, listens). Returns the descriptor and the port (nil for unix sockets).
-- options: listening (false: bound only, so that connecting is refused and the port stays ours), receive_buffer (bytes),
-- backlog.
function sys.listen(at, options)
  options = options or {}
  local a, len, family = address(at)
  local fd, err = new_socket(family)
  if not fd then return nil, err end
  if family ~= AF_UNIX then C.gwt_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, one, 4) end
  if options.receive_buffer then
    C.gwt_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, ffi.new("int[1]", options.receive_buffer), 4)
  end
  if C.gwt_bind(fd, a, len) ~= 0 or (options.listening ~= false and C.gwt_listen(fd, options.backlog or 1024) ~= 0) then
    local code = ffi.errno()
    C.gwt_close(fd)
    return failure(code)
  end
  return fd, family ~= AF_UNIX and port_of(fd) or nil
end

--- A port that nobody has at this moment, from the kernel.
function sys.free_port()
  local fd, port = sys.listen("127.0.0.1:0", { listening = false })
  if not fd then error("no free port: " .. port) end
  C.gwt_close(fd)
  return port
end

--- Begins to connect. options: receive_buffer, send_buffer (bytes), from (local address).
function sys.connect(to, options)
  options = options or {}
  local a, len, family = address(to)
  local fd, err = new_socket(family)
  if not fd then return nil, err end
  if options.receive_buffer then
    C.gwt_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, ffi.new("int[1]", options.receive_buffer), 4)
  end
  if options.send_buffer then C.gwt_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, ffi.new("int[1]", options.send_buffer), 4) end
  if options.from then
    local from, from_len = address(options.from)
    if C.gwt_bind(fd, from, from_len) ~= 0 then
      local code = ffi.errno()
      C.gwt_close(fd)
      return failure(code)
    end
  end
  if C.gwt_connect(fd, a, len) ~= 0 then
    local code = ffi.errno()
    if names[code] ~= "EINPROGRESS" then
      C.gwt_close(fd)
      return failure(code)
    end
  end
  return fd
end

--- nil when the connection stands, else the name of what went wrong.
function sys.socket_error(fd)
  local value, len = ffi.new("int[1]"), ffi.new("unsigned[1]", 4)
  C.gwt_getsockopt(fd, SOL_SOCKET, SO_ERROR, value, len)
  if value[0] == 0 then return nil end
  return select(2, failure(value[0]))
end

function sys.accept(fd, options)
  local got = C.gwt_accept4(fd, nil, nil, bit.bor(SOCK_NONBLOCK, SOCK_CLOEXEC))
  if got < 0 then return failure() end
  C.gwt_setsockopt(got, IPPROTO_TCP, TCP_NODELAY, one, 4)
  if options and options.send_buffer then
    C.gwt_setsockopt(got, SOL_SOCKET, SO_SNDBUF, ffi.new("int[1]", options.send_buffer), 4)
  end
  return got
end

local BUFFER_BYTES = 262144
local buffer = ffi.new("char[?]", BUFFER_BYTES)

--- Bytes (a string; "" at the end of the stream), or nil, name. With `discard`, the number of bytes instead of a string.
function sys.recv(fd, most, discard)
  local n = tonumber(C.gwt_recv(fd, buffer, math.min(most or BUFFER_BYTES, BUFFER_BYTES), 0))
  if n < 0 then return failure() end
  if discard then return n end
  return ffi.string(buffer, n)
end

--- Bytes written, or nil, name. `from` is an offset into the string.
function sys.send(fd, bytes, from)
  local at = ffi.cast("const char *", bytes) + (from or 0)
  local n = tonumber(C.gwt_send(fd, at, #bytes - (from or 0), MSG_NOSIGNAL))
  if n < 0 then return failure() end
  return n
end

--- Ends one direction: "read", "write" or "both".
function sys.shutdown(fd, how)
  return C.gwt_shutdown(fd, ({ read = 0, write = 1, both = 2 })[how or "write"]) == 0
end

function sys.close(fd)
  C.gwt_close(fd)
end

--- Closes so that the peer gets a reset.
function sys.reset(fd)
  C.gwt_setsockopt(fd, SOL_SOCKET, SO_LINGER, ffi.new("struct gwt_linger", 1, 0), ffi.sizeof("struct gwt_linger"))
  C.gwt_close(fd)
end

local pollfds, pollfds_room = nil, 0

--- Waits for what `list` asks ({ { fd, events }, ... }), at most `seconds`. Returns a list of booleans beside it.
function sys.poll(list, seconds)
  local n = #list
  if n > pollfds_room then
    pollfds_room = math.max(64, n * 2)
    pollfds = ffi.new("struct gwt_pollfd[?]", pollfds_room)
  end
  for i = 1, n do
    pollfds[i - 1].fd, pollfds[i - 1].events, pollfds[i - 1].revents = list[i][1], list[i][2], 0
  end
  local ready = {}
  local ms = math.max(0, math.min(60000, math.ceil(seconds * 1000)))
  if C.gwt_poll(pollfds, n, ms) > 0 then
    for i = 1, n do ready[i] = pollfds[i - 1].revents ~= 0 end
  end
  return ready
end

-- ---- processes ----

local function string_array(list)
  local array, keep = ffi.new("const char *[?]", #list + 1), {}
  for i, text in ipairs(list) do
    keep[i] = text
    array[i - 1] = text
  end
  array[#list] = nil
  return array, keep
end

--- The environment of this process as a table.
function sys.environment()
  local env, i = {}, 0
  while C.environ[i] ~= nil do
    local name, value = ffi.string(C.environ[i]):match("^([^=]+)=(.*)$")
    if name then env[name] = value end
    i = i + 1
  end
  return env
end

--- Starts a program: { argv = {path, ...}, env = {NAME = value}, stdin = path, stdout = path, stderr = path, cwd =, open_files = n,
-- pass = { fd, ... } (as descriptors 3, 4, ..., with LISTEN_FDS and LISTEN_PID, as systemd does it) }.
-- It ends with this process (SIGKILL), whatever happens here. Returns its pid.
function sys.spawn(what)
  local argv, keep_argv = string_array(what.argv)
  local list = {}
  for name, value in pairs(what.env) do list[#list + 1] = name .. "=" .. value end
  if what.pass then
    what.pass_pid = ffi.new("char[32]", "LISTEN_PID=0000000000")
    list[#list + 1] = "LISTEN_FDS=" .. #what.pass
    list[#list + 1] = ""
  end
  local envp, keep_env = string_array(list)
  if what.pass then envp[#list - 1] = what.pass_pid end
  local O_WRONLY, O_CREAT, O_APPEND = 1, 0x40, 0x400
  local flags = bit.bor(O_WRONLY, O_CREAT, O_APPEND)
  local mode = ffi.new("int", 420)
  local limit = what.open_files and ffi.new("struct gwt_rlimit", what.open_files, what.open_files)
  local path = what.argv[1]
  local char_pp = ffi.typeof("char *const *")
  local argv_p, envp_p = ffi.cast(char_pp, argv), ffi.cast(char_pp, envp)
  local pid = C.gwt_fork()
  if pid < 0 then return failure() end
  if pid == 0 then
    C.gwt_prctl(1, ffi.cast("unsigned long", 9)) -- PR_SET_PDEATHSIG
    C.gwt_dup2(C.gwt_open(what.stdin or "/dev/null", 0), 0)
    C.gwt_dup2(C.gwt_open(what.stdout, flags, mode), 1)
    C.gwt_dup2(C.gwt_open(what.stderr, flags, mode), 2)
    if what.pass then
      -- Its own pid is known only here: the digits are put into the text that stands ready for them.
      local digits = ffi.cast("char *", what.pass_pid) + #"LISTEN_PID="
      local pid_now = C.gwt_getpid()
      for i = 9, 0, -1 do
        digits[i] = 48 + pid_now % 10
        pid_now = math.floor(pid_now / 10)
      end
      for i, fd in ipairs(what.pass) do C.gwt_dup2(fd, 100 + i) end -- out of each other's way
      for i = 1, #what.pass do
        C.gwt_dup2(100 + i, 2 + i)
        C.gwt_close(100 + i)
      end
    end
    if limit then C.gwt_setrlimit(7, limit) end -- RLIMIT_NOFILE
    C.gwt_execve(path, argv_p, envp_p)
    C.gwt__exit(127)
  end
  return pid, keep_argv, keep_env
end

--- How a process of ours ended: nil while it runs, else its exit code, or "signal N".
function sys.ended(pid)
  local status = ffi.new("int[1]")
  local got = C.gwt_waitpid(pid, status, 1)
  if got == 0 then return nil end
  if got < 0 then return "unknown" end
  local word = status[0]
  local by = bit.band(word, 0x7f)
  if by ~= 0 then return "signal " .. by end
  return bit.band(bit.rshift(word, 8), 0xff)
end

function sys.kill(pid, signal)
  return C.gwt_kill(pid, signal) == 0
end

--- From now on, processes whose parent ends are children of this one.
function sys.adopt_orphans()
  C.gwt_prctl(36, ffi.cast("unsigned long", 1)) -- PR_SET_CHILD_SUBREAPER
end

--- A fresh folder for one test.
function sys.temp_dir()
  local template = (os.getenv("TMPDIR") or "/tmp") .. "/gateway-spec-XXXXXX"
  local text = ffi.new("char[?]", #template + 1, template)
  if C.gwt_mkdtemp(text) == nil then error("no temporary folder: " .. template) end
  return ffi.string(text)
end

--- Resident memory of a process, in bytes.
function sys.resident(pid)
  local file = io.open("/proc/" .. pid .. "/statm")
  if not file then return nil end
  local pages = file:read("*a"):match("^%d+ (%d+)")
  file:close()
  return tonumber(pages) * 4096
end

--- How many descriptors a process has open.
function sys.open_files(pid)
  local lfs = require "lfs"
  local n = 0
  for name in lfs.dir("/proc/" .. pid .. "/fd") do
    if name ~= "." and name ~= ".." then n = n + 1 end
  end
  return n
end

return sys
