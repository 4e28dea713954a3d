-- The ring and its writer, against real sinks: a file, pipes that nobody reads, a pipe whose reader went away, a full disk.

local ffi = require "ffi"
local cjson = require "cjson"
local cdef = require "spec.support.cdef"
local C = cdef.load("base/log.h")

ffi.cdef [[
int gwt_log_open(const char *path, int flags, ...) asm("open");
int gwt_log_pipe2(int fds[2], int flags) asm("pipe2");
long gwt_log_read(int fd, char *bytes, size_t len) asm("read");
int gwt_log_close(int fd) asm("close");
int gwt_log_fcntl(int fd, int command, ...) asm("fcntl");
int gwt_log_usleep(unsigned us) asm("usleep");
struct gwt_log_rlimit { unsigned long soft, hard; };
int gwt_log_getrlimit(int what, struct gwt_log_rlimit *limit) asm("getrlimit");
int gwt_log_setrlimit(int what, const struct gwt_log_rlimit *limit) asm("setrlimit");
]]

local O_WRONLY, O_CREAT, O_TRUNC, O_NONBLOCK, F_SETFL, F_SETPIPE_SZ = 1, 0x40, 0x200, 0x800, 4, 1031
local RLIMIT_FSIZE = 1
local RING = 16384

local path = os.tmpname()
teardown(function() os.remove(path) end)

local function open_file(where)
  local fd = ffi.C.gwt_log_open(where or path, O_WRONLY + O_CREAT + O_TRUNC, ffi.cast("int", 384))
  assert(fd >= 0)
  return fd
end

local function file_text()
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function lines_of(text)
  assert.is_true(text == "" or text:sub(-1) == "\n")
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  return lines
end

local function put(ring, line)
  local bytes = C.gw_log_reserve(ring, #line)
  if bytes == nil then return false end
  ffi.copy(bytes, line, #line)
  C.gw_log_commit(ring, #line)
  return true
end

-- Waits for what another thread will do.
local function eventually(condition)
  for _ = 1, 5000 do
    if condition() then return end
    ffi.C.gwt_log_usleep(1000)
  end
  error("did not happen", 2)
end

-- A pipe that holds less than a ring.
local function pipe(flags)
  local fds = ffi.new("int[2]")
  assert(ffi.C.gwt_log_pipe2(fds, 0) == 0)
  assert(ffi.C.gwt_log_fcntl(fds[1], F_SETPIPE_SZ, ffi.cast("int", 4096)) == 4096)
  if flags then ffi.C.gwt_log_fcntl(fds[1], F_SETFL, ffi.cast("int", flags)) end
  return fds[0], fds[1]
end

-- Everything up to the end of the pipe, once its write end is closed.
local function drain(fd)
  local parts, buffer = {}, ffi.new("char[65536]")
  while true do
    local n = tonumber(ffi.C.gwt_log_read(fd, buffer, 65536))
    if n <= 0 then return table.concat(parts) end
    parts[#parts + 1] = ffi.string(buffer, n)
  end
end

-- Runs f(log, ring) with a log to the file, closes it and gives the lines.
local function logged(f, ring_bytes)
  local fd = open_file()
  local log = C.gw_log_open(fd)
  assert.is_false(log == nil)
  local ring = C.gw_log_ring_open(log, ring_bytes or RING)
  f(log, ring)
  C.gw_log_close(log)
  ffi.C.gwt_log_close(fd)
  return lines_of(file_text())
end

describe("a log", function()
  it("opens and closes with nothing said", function()
    assert.same({}, logged(function() end))
  end)

  it("writes the lines of a ring in order, whatever their lengths and however often the ring wraps", function()
    math.randomseed(3)
    local expected = {}
    local lines = logged(function(_, ring)
      for i = 1, 5000 do
        local line = i .. ":" .. ("x"):rep(math.random(0, 1) == 0 and math.random(0, 20) or math.random(0, 3000))
        expected[i] = line
        eventually(function()
          -- a full ring drops; the same line is then tried again
          if i % 7 == 0 then -- as do reservations that are larger than what is used
            local bytes = C.gw_log_reserve(ring, 4096)
            if bytes == nil then return false end
            ffi.copy(bytes, line .. "\n", #line + 1)
            C.gw_log_commit(ring, #line + 1)
            return true
          end
          return put(ring, line .. "\n")
        end)
      end
    end)
    local got = {}
    for _, line in ipairs(lines) do
      if not line:find("^{") then got[#got + 1] = line end
    end
    assert.same(expected, got)
  end)

  it("gives back a reservation of which nothing was used", function()
    local lines = logged(function(_, ring)
      for _ = 1, 100 do
        assert.is_false(C.gw_log_reserve(ring, 8000) == nil)
        C.gw_log_commit(ring, 0)
      end
      put(ring, "a\n")
      assert.is_false(C.gw_log_reserve(ring, 8000) == nil)
      C.gw_log_commit(ring, 0)
      put(ring, "b\n")
    end)
    assert.same({ "a", "b" }, lines)
  end)

  it("fills the ring to its very end", function()
    local half = ("h"):rep(8191) .. "\n"
    local lines = logged(function(_, ring)
      for _ = 1, 10 do eventually(function() return put(ring, half) end) end
    end)
    local whole = 0
    for _, line in ipairs(lines) do if line .. "\n" == half then whole = whole + 1 end end
    assert.equal(10, whole)
  end)

  it("refuses a line of more than half the ring, and counts it", function()
    local lines = logged(function(log, ring)
      assert.is_true(C.gw_log_reserve(ring, RING / 2 + 1) == nil)
      assert.equal(1, tonumber(C.gw_log_dropped(log)))
    end)
    local report = cjson.decode(lines[1])
    assert.equal("warn", report.level)
    assert.equal("log lines dropped", report.message)
    assert.equal(1, report.dropped)
    assert.equal(1, report.dropped_total)
  end)

  it("makes a ring at least as large as was asked for", function()
    logged(function(_, ring)
      assert.is_false(C.gw_log_reserve(ring, 65536) == nil)
      C.gw_log_commit(ring, 0)
    end, 100000)
  end)

  it("has several rings, each in its own order", function()
    local fd = open_file()
    local log = C.gw_log_open(fd)
    local rings = {}
    for i = 1, 100 do rings[i] = C.gw_log_ring_open(log, 1) end -- more than one writev takes
    for n = 1, 20 do
      for i = 1, 100 do assert.is_true(put(rings[i], i .. " " .. n .. "\n")) end
    end
    C.gw_log_close(log)
    ffi.C.gwt_log_close(fd)
    local last = {}
    for _, line in ipairs(lines_of(file_text())) do
      local i, n = line:match("^(%d+) (%d+)$")
      assert.equal((last[i] or 0) + 1, tonumber(n))
      last[i] = tonumber(n)
    end
    for i = 1, 100 do assert.equal(20, last[tostring(i)]) end
  end)

  it("writes without being closed, and wakes again after it slept", function()
    local fd = open_file()
    local log = C.gw_log_open(fd)
    local ring = C.gw_log_ring_open(log, RING)
    put(ring, "one\n")
    eventually(function() return file_text() == "one\n" end)
    put(ring, "two\n")
    eventually(function() return file_text() == "one\ntwo\n" end)
    C.gw_log_close(log)
    ffi.C.gwt_log_close(fd)
  end)

  it("takes a NULL ring for one that is always full", function()
    assert.is_true(C.gw_log_reserve(nil, 10) == nil)
    C.gw_log_commit(nil, 10)
    C.gw_log_event(nil, C.GW_LOG_INFO, "x", nil)
  end)
end)

describe("a log whose sink", function()
  for _, case in ipairs { { "blocks", nil }, { "would block", O_NONBLOCK } } do
    it(case[1] .. " drops lines, counts them, and loses none that it took", function()
      local from, to = pipe(case[2])
      local log = C.gw_log_open(to)
      local ring = C.gw_log_ring_open(log, RING)
      local taken, sent = {}, 0
      while tonumber(C.gw_log_dropped(log)) < 100 do -- fills the pipe, then the ring
        sent = sent + 1
        local line = ("%d:%s"):format(sent, ("x"):rep(500))
        if put(ring, line .. "\n") then taken[#taken + 1] = line end
      end
      -- reads on the side until all that was taken has come, then lets the log go
      local text, buffer = "", ffi.new("char[65536]")
      eventually(function()
        text = text .. ffi.string(buffer, ffi.C.gwt_log_read(from, buffer, 65536))
        return text:find(taken[#taken] .. "\n", 1, true)
      end)
      C.gw_log_close(log)
      ffi.C.gwt_log_close(to)
      text = text .. drain(from)
      ffi.C.gwt_log_close(from)
      local got, reported = {}, 0
      for _, line in ipairs(lines_of(text)) do
        if line:find("^{") then reported = reported + cjson.decode(line).dropped else got[#got + 1] = line end
      end
      assert.same(taken, got)
      assert.equal(sent - #taken, reported)
    end)

    it(case[1] .. " for ever does not keep the log from closing", function()
      local from, to = pipe(case[2])
      local log = C.gw_log_open(to)
      local ring = C.gw_log_ring_open(log, RING)
      local line = ("x"):rep(1000) .. "\n"
      while tonumber(C.gw_log_dropped(log)) == 0 do put(ring, line) end
      local before = os.time()
      C.gw_log_close(log) -- the pipe does not hold what is in the ring
      assert.is_true(os.time() - before >= 1)
      ffi.C.gwt_log_close(to)
      ffi.C.gwt_log_close(from)
    end)
  end

  it("went away does not end the process, and all is counted", function()
    local from, to = pipe()
    ffi.C.gwt_log_close(from)
    local log = C.gw_log_open(to)
    local ring = C.gw_log_ring_open(log, RING)
    for i = 1, 3 do
      put(ring, "a\nb\n") -- two lines in one
      eventually(function() return tonumber(C.gw_log_dropped(log)) == 2 * i end)
    end
    C.gw_log_close(log)
    ffi.C.gwt_log_close(to)
  end)

  it("is full does not end the process, and all is counted", function()
    local fd = open_file("/dev/full")
    local log = C.gw_log_open(fd)
    local ring = C.gw_log_ring_open(log, RING)
    for i = 1, 3 do
      put(ring, "a\n")
      eventually(function() return tonumber(C.gw_log_dropped(log)) == i end)
    end
    C.gw_log_close(log)
    ffi.C.gwt_log_close(fd)
  end)

  it("cut a line in two begins the next on a line of its own", function()
    local limit = ffi.new("struct gwt_log_rlimit")
    assert(ffi.C.gwt_log_getrlimit(RLIMIT_FSIZE, limit) == 0)
    local before = limit.soft
    local fd = open_file()
    local log = C.gw_log_open(fd)
    local ring = C.gw_log_ring_open(log, RING)
    limit.soft = 6
    assert(ffi.C.gwt_log_setrlimit(RLIMIT_FSIZE, limit) == 0) -- the file may have six bytes, the rest fails
    put(ring, "1234\nabcdefgh\n")
    eventually(function() return tonumber(C.gw_log_dropped(log)) > 0 end)
    limit.soft = before
    assert(ffi.C.gwt_log_setrlimit(RLIMIT_FSIZE, limit) == 0)
    put(ring, "next\n")
    C.gw_log_close(log)
    ffi.C.gwt_log_close(fd)
    local lines = lines_of(file_text())
    assert.equal("1234", lines[1])
    assert.equal("a", lines[2])
    assert.equal("next", lines[3])
    assert.equal(1, cjson.decode(lines[4]).dropped)
  end)
end)

describe("an event line", function()
  local function event(level, message, fields, ...)
    local args = { ... }
    local lines = logged(function(_, ring) C.gw_log_event(ring, level, message, fields, unpack(args)) end)
    assert.equal(1, #lines)
    return cjson.decode(lines[1]), lines[1]
  end

  for _, level in ipairs { "debug", "info", "warn", "error" } do
    it("says " .. level, function() assert.equal(level, event(C["GW_LOG_" .. level:upper()], "x", nil).level) end)
  end

  it("has a time, a message and its fields", function()
    local line = event(C.GW_LOG_INFO, "generation 3 serves", '"generation":%d,"script":%s', ffi.cast("int", 3), '"a.lua"')
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", line.time)
    assert.equal("generation 3 serves", line.message)
    assert.equal(3, line.generation)
    assert.equal("a.lua", line.script)
  end)

  for _, case in ipairs {
    { "a message of odd bytes", 'a"b\\c\n\255\1', nil },
    { "an empty format", "x", "" },
    { "a newline among the fields", "x", '"a":"b\nc"' },
    { "bytes that are no UTF-8 among the fields", "x", '"a":"\255\226\130"' },
    { "fields that do not fit", "x", '"a":"' .. ("y"):rep(5000) .. '"' },
    { "fields that fit but for their end", "x", '"a":"' .. ("y"):rep(4096 - 70) .. '"' },
    { "a message that does not fit", ("z"):rep(5000), '"a":1' },
    { "a message of escapes that does not fit", ("\1"):rep(5000), '"a":1' },
    { "a message cut within a character", ("z"):rep(599) .. "\195\169", nil },
  } do
    it("is JSON on one line with " .. case[1], function()
      local line, text = event(C.GW_LOG_WARN, case[2], case[3])
      assert.equal("warn", line.level)
      assert.is_true(#text < 4096)
    end)
  end

  it("is cut to its message at the byte at which its fields no longer fit", function()
    local cut, kept = 0, 0
    for n = 3950, 4100 do
      local line, text = event(C.GW_LOG_INFO, "m", '"a":"' .. ("y"):rep(n) .. '"')
      assert.equal("m", line.message)
      if line.a then
        kept = kept + 1
        assert.equal(0, cut)
        assert.equal(n, #line.a)
        assert.is_true(#text + 1 <= 4096)
      else
        cut = cut + 1
      end
    end
    assert.is_true(cut > 0 and kept > 0)
  end)
end)
