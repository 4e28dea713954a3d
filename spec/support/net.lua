--- The net floor in this process, for its specs: a loop whose handlers are Lua functions.
--
--     local loop = net.loop()
--     local t = loop:timeout(function() loop:stop() end)
--     loop:arm(t, 0.01)
--     loop:run()                                        -- an error in a handler, or 10 s without an end, is raised here
--     loop:free()
--
-- C calls back into Lua here, which LuaJIT forbids from compiled code: everything that may do so is called through a function that is
-- never compiled.

local ffi = require "ffi"
local cdef = require "spec.support.cdef"

-- libev's watchers are members of our structs; spelled out, those structs have their real sizes here.
pcall(ffi.cdef, [[
typedef struct ev_io { int active, pending, priority; void *data; void (*cb)(void *, void *, int); void *next;
                       int fd, events; } ev_io;
typedef struct ev_timer { int active, pending, priority; void *data; void (*cb)(void *, void *, int);
                          double at, repeat_; } ev_timer;
typedef struct ev_check { int active, pending, priority; void *data; void (*cb)(void *, void *, int); } ev_check;
typedef struct ev_prepare { int active, pending, priority; void *data; void (*cb)(void *, void *, int); } ev_prepare;
typedef struct ev_idle { int active, pending, priority; void *data; void (*cb)(void *, void *, int); } ev_idle;
]])

local C = cdef.load("net/timeouts.h", "net/stream.h", "net/listener.h", "net/resolver.h")

local net = { C = C }

local GUARD_SECONDS = 10

local function key(ptr)
  return tonumber(ffi.cast("intptr_t", ffi.cast("void *", ptr)))
end

--- Calls a C function that may call back.
function net.call(f, ...)
  return f(...)
end
jit.off(net.call)

local handlers = {} -- address of a C object: what its C callbacks run
local failed, running

-- Errors must not unwind through C: they are kept, and raised by loop:run.
local function guarded(f, ...)
  local ok, err = xpcall(f, debug.traceback, ...)
  if not ok then
    failed = failed or err
    if running then C.gw_loop_stop(running) end
  end
end

local function handler(name)
  return function(object, ...)
    local of = handlers[key(object)]
    if of and of[name] then guarded(of[name], object, ...) end
  end
end

local callbacks = {
  expired = ffi.cast("void (*)(gw_timeout *)", handler "expired"),
  run_mail = ffi.cast("void (*)(gw_mail *, void *)", handler "run"),
  run_later = ffi.cast("void (*)(gw_later *)", handler "run"),
  tick = ffi.cast("void (*)(gw_ticker *)", handler "tick"),
  out_of_files = ffi.cast("void (*)(gw_listener *, int)", handler "out_of_files"),
  accept = ffi.cast("void (*)(gw_listener *, int, const gw_address *)", handler "accept"),
}
local ops = ffi.new "gw_stream_ops"
for _, name in ipairs { "readable", "drained", "connected", "failed", "expired" } do ops[name] = handler("stream_" .. name) end

local Loop = {}
Loop.__index = Loop

--- now: its time, for a loop by hand.
function net.loop(now)
  local c = now and C.gw_loop_new_manual(now) or C.gw_loop_new()
  assert(c ~= nil, "gw_loop_new")
  local loop = setmetatable({ c = c, objects = {} }, Loop)
  loop.guard = loop:timeout(function() error("nothing ended the loop within " .. GUARD_SECONDS .. " s", 0) end)
  return loop
end

local function attach(loop, object, functions)
  handlers[key(object)] = functions
  loop.objects[#loop.objects + 1] = object
  return object
end

--- A gw_timeout that runs f(timeout).
function Loop:timeout(f)
  local t = attach(self, ffi.new "gw_timeout", { expired = f })
  C.gw_timeout_init(t, callbacks.expired)
  return t
end

function Loop:arm(t, seconds)
  C.gw_timeout_arm(self.c, t, seconds)
end

function Loop:mail(f)
  local m = attach(self, ffi.new "gw_mail", { run = f })
  m.run = callbacks.run_mail
  return m
end

function Loop:later(f)
  local l = attach(self, ffi.new "gw_later", { run = f })
  C.gw_later_init(l, callbacks.run_later)
  return l
end

--- Runs f(ticker) every `seconds` from now on.
function Loop:ticker(seconds, f)
  local t = attach(self, ffi.new "gw_ticker", { tick = f })
  C.gw_ticker_start(self.c, t, seconds, callbacks.tick)
  return t
end

--- A gw_stream that is not open yet; `functions`: readable, drained, connected, failed, expired, each with the stream first.
function Loop:stream(functions)
  local of = {}
  for name, f in pairs(functions) do of["stream_" .. name] = f end
  self.pool = self.pool or self:buffer_pool()
  return attach(self, ffi.new "gw_stream", of)
end

function Loop:buffer_pool()
  local pool = attach(self, ffi.new "gw_buffer_pool", {})
  C.gw_buffer_pool_init(pool, 4)
  return pool
end

--- Takes a connected descriptor into a stream.
function Loop:open(functions, fd)
  local s = self:stream(functions)
  C.gw_stream_init(s, self.c, self.pool, ops, fd)
  return s
end

--- Begins to connect; returns the stream and the status.
function Loop:connect(functions, to)
  local s = self:stream(functions)
  return s, net.call(C.gw_stream_connect, s, self.c, self.pool, ops, net.address(to))
end

--- A gw_listener on fd; functions: accept(listener, fd, peer), out_of_files(listener, error).
function Loop:listener(functions, fd)
  local l = attach(self, ffi.new "gw_listener", functions)
  l.accept, l.out_of_files = callbacks.accept, callbacks.out_of_files
  C.gw_listener_start(l, self.c, fd)
  return l
end

function Loop:run()
  C.gw_timeout_arm(self.c, self.guard, GUARD_SECONDS)
  local outer = running
  running = self.c
  if not failed then net.call(C.gw_loop_run, self.c) end
  running = outer
  C.gw_timeout_disarm(self.guard)
  local err = failed
  failed = nil
  if err then error(err, 0) end
end

function Loop:stop()
  C.gw_loop_stop(self.c)
end

--- Runs until the predicate is true; it is asked every millisecond, and may drive a peer on the way.
function Loop:run_until(predicate)
  local ticker = self:ticker(0.001, function()
    if predicate() then self:stop() end
  end)
  local ok, err = pcall(self.run, self)
  C.gw_ticker_stop(ticker)
  if not ok then error(err, 0) end
end

--- Runs for whole turns of the loop.
function Loop:turns(count)
  local later
  later = self:later(function()
    count = count - 1
    if count < 0 then return self:stop() end
    C.gw_loop_later(self.c, later)
  end)
  C.gw_loop_later(self.c, later)
  self:run()
end

function Loop:free()
  net.call(C.gw_loop_free, self.c)
  if self.pool then C.gw_buffer_pool_clear(self.pool) end
  for _, object in ipairs(self.objects) do handlers[key(object)] = nil end
  self.objects = {}
end

--- Text to a gw_address; raises when it is none.
function net.address(text)
  local out, name, port, reason = ffi.new "gw_address", ffi.new "gw_slice[1]", ffi.new "uint16_t[1]", ffi.new "const char *[1]"
  local slice = cdef.slice(text)
  local kind = C.gw_address_parse(slice, -1, out, name, port, reason)
  assert(kind == C.GW_ADDRESS_NUMERIC, text)
  return out
end

--- A gw_address as text.
function net.text(address)
  local room = ffi.new "char[120]"
  return ffi.string(room, C.gw_address_text(address, room))
end

--- Reads once, at most `room` bytes: status or count, and the bytes.
function net.read(s, room)
  local pool = ffi.new "gw_buffer_pool"
  C.gw_buffer_pool_init(pool, 0)
  local b = C.gw_buffer_take(pool, 0)
  if room then
    b.start = b.cap - room
    b["end"] = b.start
  end
  local n = tonumber(C.gw_stream_read(s, b))
  local bytes = ffi.string(b.bytes + b.start, b["end"] - b.start)
  C.gw_buffer_give(pool, b)
  return n, bytes
end

--- Writes strings as the pieces of one call.
function net.write(s, ...)
  local pieces = { ... }
  local iov = ffi.new("struct iovec[?]", math.max(#pieces, 1))
  for i, piece in ipairs(pieces) do
    iov[i - 1].iov_base = ffi.cast("void *", ffi.cast("const char *", piece))
    iov[i - 1].iov_len = #piece
  end
  return C.gw_stream_write(s, iov, #pieces)
end

return net
