local ffi = require "ffi"
local lfs = require "lfs"
local net = require "spec.support.net"
local sys = require "spec.support.sys"

local C = net.C

pcall(ffi.cdef, [[
int gwt_getrlimit(int resource, struct gwt_rlimit *limit) asm("getrlimit");
int gwt_fcntl(int fd, int command, ...) asm("fcntl");
int gwt_dup(int fd) asm("dup");
]])

local NOFILE = 7

-- Binds; returns status, the descriptors, the address as it came of it, and what was said.
local function bind(text, count)
  count = count or 1
  local at, fds, message = net.address(text), ffi.new("int[?]", count), ffi.new "char[256]"
  local status = C.gw_listen_bind(at, count, fds, message, 256)
  local list = {}
  for i = 0, count - 1 do list[i + 1] = fds[i] end
  return status, list, at, ffi.string(message)
end

local function close_all(fds)
  for _, fd in ipairs(fds) do sys.close(fd) end
end

local function int_option(fd, level, name)
  local value, len = ffi.new "int[1]", ffi.new("unsigned[1]", 4)
  assert(ffi.C.gwt_getsockopt(fd, level, name, value, len) == 0)
  return value[0]
end

local function reaches(to)
  local fd = sys.connect(to)
  if not fd then return false end
  sys.poll({ { fd, sys.POLLOUT } }, 5)
  local err = sys.socket_error(fd)
  sys.close(fd)
  return err == nil
end

describe("gw_listen_bind", function()
  it("lets the kernel choose port 0, once for all workers", function()
    local status, fds, at = bind("127.0.0.1:0", 4)
    assert.equal(0, status)
    local text = net.text(at)
    assert.falsy(text:find(":0$"))
    for _, fd in ipairs(fds) do
      local name, len = ffi.new "gw_address", ffi.new("unsigned[1]", 28)
      assert.equal(0, ffi.C.gwt_getsockname(fd, name, len))
      assert.equal(text, net.text(name))
      assert.equal(1, int_option(fd, 1, 15), "SO_REUSEPORT")
      assert.equal(1, int_option(fd, 1, 30), "SO_ACCEPTCONN")
      assert.equal(1, int_option(fd, 6, 1), "TCP_NODELAY, which what is accepted inherits")
      assert.equal(0x800, bit.band(ffi.C.gwt_fcntl(fd, 3), 0x800), "O_NONBLOCK")
      assert.equal(1, ffi.C.gwt_fcntl(fd, 1), "FD_CLOEXEC")
    end
    close_all(fds)
  end)

  it("refuses a port on which somebody listens, were it with SO_REUSEPORT", function()
    local _, first, at = bind("127.0.0.1:0", 2)
    local text = net.text(at)
    local open = sys.open_files("self")
    local status, _, _, message = bind(text, 2)
    assert.equal(C.GW_REFUSED, status)
    assert.truthy(message:find(text, 1, true))
    assert.truthy(message:find("Address already in use", 1, true))
    assert.equal(open, sys.open_files("self"))
    -- Also one that is only part of it.
    status = bind(":" .. text:match("%d+$"))
    assert.equal(C.GW_REFUSED, status)
    close_all(first)
    local again, fds = bind(text, 2)
    assert.equal(0, again)
    close_all(fds)
  end)

  it("refuses an address that is not ours", function()
    local status, _, _, message = bind "192.0.2.1:0"
    assert.equal(C.GW_REFUSED, status)
    assert.truthy(message:find("192.0.2.1:0: cannot bind", 1, true), message)
  end)

  it("takes IPv4 and IPv6 on a port without a host", function()
    local status, fds, at = bind("*:0", 2)
    assert.equal(0, status)
    local text = net.text(at)
    assert.truthy(text:find("^%*:%d+$"))
    assert.is_true(reaches("127.0.0.1:" .. text:match("%d+$")))
    if lfs.attributes("/proc/net/if_inet6") then assert.is_true(reaches("[::1]:" .. text:match("%d+$"))) end
    close_all(fds)
  end)

  it("takes only IPv6 on [::]", function()
    local status, fds, at = bind "[::]:0"
    if status ~= 0 then return end -- a machine without IPv6
    local port = net.text(at):match("%d+$")
    assert.is_true(reaches("[::1]:" .. port))
    assert.is_false(reaches("127.0.0.1:" .. port))
    close_all(fds)
  end)

  describe("on a unix path", function()
    local dir
    before_each(function() dir = sys.temp_dir() end)
    after_each(function() os.execute("rm -r " .. dir) end)

    it("shares one socket, and removes it at the end", function()
      local status, fds, at = bind("unix:" .. dir .. "/s", 3)
      assert.equal(0, status)
      sys.close(fds[1])
      assert.is_true(reaches("unix:" .. dir .. "/s"))
      local left = ffi.new("int[2]", fds[2], fds[3])
      C.gw_listen_close(at, 2, left, true)
      assert.equal(-1, left[0])
      assert.is_nil(lfs.attributes(dir .. "/s"))
    end)

    it("refuses one on which somebody listens, and leaves it alone", function()
      local _, fds = bind("unix:" .. dir .. "/s")
      local status, _, _, message = bind("unix:" .. dir .. "/s")
      assert.equal(C.GW_REFUSED, status)
      assert.truthy(message:find("Address already in use", 1, true))
      assert.is_true(reaches("unix:" .. dir .. "/s"))
      close_all(fds)
    end)

    it("takes over a stale one", function()
      local _, fds = bind("unix:" .. dir .. "/s")
      close_all(fds)
      local status, again = bind("unix:" .. dir .. "/s")
      assert.equal(0, status)
      assert.is_true(reaches("unix:" .. dir .. "/s"))
      close_all(again)
    end)

    it("leaves alone what is no socket", function()
      local file = assert(io.open(dir .. "/s", "w"))
      file:write("precious")
      file:close()
      local status, _, _, message = bind("unix:" .. dir .. "/s")
      assert.equal(C.GW_REFUSED, status)
      assert.truthy(message:find("File exists", 1, true))
      assert.equal(8, lfs.attributes(dir .. "/s", "size"))
      assert.equal(C.GW_REFUSED, (bind("unix:" .. dir .. "/none/s")))
    end)
  end)
end)

describe("listener", function()
  local loop, fds, to
  before_each(function()
    loop = net.loop()
    local status, at
    status, fds, at = bind "127.0.0.1:0"
    assert.equal(0, status)
    to = net.text(at)
  end)
  after_each(function() loop:free() end)

  it("accepts, says who came, and hands over a descriptor that is ready for use", function()
    local got = {}
    local l = loop:listener({
      accept = function(_, fd, peer)
        got[#got + 1] = { fd = fd, peer = net.text(peer) }
      end,
    }, fds[1])
    local clients = { sys.connect(to), sys.connect(to) }
    loop:run_until(function() return #got == 2 end)
    for i, one in ipairs(got) do
      local name, len = ffi.new "gw_address", ffi.new("unsigned[1]", 28)
      assert.equal(0, ffi.C.gwt_getsockname(clients[i], name, len))
      assert.equal(net.text(name), one.peer)
      assert.equal(0x800, bit.band(ffi.C.gwt_fcntl(one.fd, 3), 0x800), "O_NONBLOCK")
      assert.equal(1, ffi.C.gwt_fcntl(one.fd, 1), "FD_CLOEXEC")
      assert.equal(1, int_option(one.fd, 6, 1), "TCP_NODELAY")
      sys.close(one.fd)
      sys.close(clients[i])
    end
    assert.equal(2ULL, l.accepted)
    C.gw_listener_drain(l)
  end)

  it("drained takes what has come in whole, then nobody", function()
    local got = 0
    local l
    l = loop:listener({
      accept = function(_, fd)
        got = got + 1
        sys.close(fd)
        net.call(C.gw_listener_drain, l) -- again, from inside
      end,
    }, fds[1])
    local clients = {}
    for i = 1, 100 do
      clients[i] = sys.connect(to)
      sys.poll({ { clients[i], sys.POLLOUT } }, 5)
    end
    net.call(C.gw_listener_drain, l)
    assert.equal(100, got)
    assert.equal(-1, l.io.fd)
    assert.is_false(reaches(to))
    close_all(clients)
    loop:turns(3)
  end)

  it("drained by its own handler stops at once", function()
    local got = 0
    local l
    l = loop:listener({
      accept = function(_, fd)
        got = got + 1
        sys.close(fd)
        if got == 1 then net.call(C.gw_listener_drain, l) end
      end,
    }, fds[1])
    local clients = {}
    for i = 1, 5 do
      clients[i] = sys.connect(to)
      sys.poll({ { clients[i], sys.POLLOUT } }, 5)
    end
    loop:run_until(function() return l.off end)
    loop:turns(3)
    assert.equal(5, got)
    close_all(clients)
  end)

  it("gives the others their turn", function()
    local got, turns_with, last = 0, 0, 0
    local l = loop:listener({
      accept = function(_, fd)
        got = got + 1
        sys.close(fd)
      end,
    }, fds[1])
    local clients = {}
    for i = 1, 150 do
      clients[i] = sys.connect(to)
      sys.poll({ { clients[i], sys.POLLOUT } }, 5)
    end
    local later
    later = loop:later(function()
      if got > last then turns_with = turns_with + 1 end
      assert.is_true(got - last <= 64)
      last = got
      if got == 150 then loop:stop() else C.gw_loop_later(loop.c, later) end
    end)
    C.gw_loop_later(loop.c, later)
    loop:run()
    assert.equal(3, turns_with)
    close_all(clients)
    C.gw_listener_drain(l)
  end)

  describe("out of descriptors", function()
    local limit, holders
    before_each(function()
      limit, holders = ffi.new "struct gwt_rlimit", {}
      assert(ffi.C.gwt_getrlimit(NOFILE, limit) == 0)
    end)
    after_each(function()
      assert(ffi.C.gwt_setrlimit(NOFILE, limit) == 0)
      close_all(holders)
    end)

    -- Lowers the limit to what is open now, and fills the gaps.
    local function exhaust()
      local probe = ffi.C.gwt_dup(0)
      sys.close(probe)
      local highest = probe
      for name in lfs.dir("/proc/self/fd") do highest = math.max(highest, tonumber(name) or 0) end
      assert(ffi.C.gwt_setrlimit(NOFILE, ffi.new("struct gwt_rlimit", highest + 1, limit.hard)) == 0)
      while true do
        local fd = ffi.C.gwt_dup(0)
        if fd < 0 then return end
        holders[#holders + 1] = fd
      end
    end

    it("pauses, says so once, and goes on by itself", function()
      local got, said = {}, {}
      local l = loop:listener({
        accept = function(_, fd) got[#got + 1] = fd end,
        out_of_files = function(_, code) said[#said + 1] = code end,
      }, fds[1])
      local clients = { sys.connect(to), sys.connect(to), sys.connect(to) }
      for _, fd in ipairs(clients) do sys.poll({ { fd, sys.POLLOUT } }, 5) end
      exhaust()
      loop:run_until(function() return #said > 0 end)
      assert.is_true(l.paused)
      assert.is_true(l.pause.at - loop.c.now > 0.09)
      -- It tries again when the pause is over, and says nothing: it is the same shortage.
      local first = l.pause.at
      loop:run_until(function() return l.pause.at > first end)
      -- One descriptor: one connection is taken, the shortage is still the same one.
      sys.close(table.remove(holders))
      loop:run_until(function() return #got == 1 end)
      loop:turns(3)
      assert.is_true(l.paused)
      assert.equal(0, #{ select(2, unpack(said)) })
      assert.equal(1ULL, l.pauses)
      assert.equal(24, said[1], "EMFILE")
      assert(ffi.C.gwt_setrlimit(NOFILE, limit) == 0)
      loop:run_until(function() return #got == 3 end)
      loop:run_until(function() return not l.paused end)
      close_all(got)
      close_all(clients)
      C.gw_listener_drain(l)
    end)

    it("tries again at once when a descriptor was closed", function()
      local got = {}
      local l = loop:listener({ accept = function(_, fd) got[#got + 1] = fd end }, fds[1])
      C.gw_listener_retry(l) -- not paused: does nothing
      local clients = { sys.connect(to) }
      sys.poll({ { clients[1], sys.POLLOUT } }, 5)
      exhaust()
      loop:run_until(function() return l.paused end)
      local due = l.pause.at
      loop:turns(2)
      sys.close(table.remove(holders))
      C.gw_listener_retry(l)
      C.gw_listener_retry(l)
      loop:turns(3)
      assert.equal(1, #got)
      assert.is_true(loop.c.now < due)
      close_all(got)
      close_all(clients)
      C.gw_listener_drain(l)
    end)
  end)
end)
