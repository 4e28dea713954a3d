-- What the service manager hears (sd_notify), its watchdog, and the sockets that it passes.

local gateway = require "spec.support.gateway"
local lfs = require "lfs"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

-- A service manager's notify socket.
local function manager()
  local folder = sys.temp_dir()
  local m = { path = folder .. "/notify", heard = {} }
  m.fd = assert(sys.listen_datagrams(m.path))
  function m:read()
    while true do
      local text = sys.recv(m.fd)
      if not text then return m.heard end
      m.heard[#m.heard + 1] = text
    end
  end
  -- Waits for a message with this text, from message `from` on; it and its number.
  function m:wait(text, from)
    local found, number
    peers.within(function()
      peers.eventually(function()
        m:read()
        for i = from or 1, #m.heard do
          if m.heard[i]:find(text, 1, true) then
            found, number = m.heard[i], i
            return true
          end
        end
      end, "the service manager to hear " .. text)
    end)
    return found, number
  end
  function m:count(text)
    local n = 0
    for _, message in ipairs(m:read()) do
      if message:find(text, 1, true) then n = n + 1 end
    end
    return n
  end
  function m:close()
    sys.close(m.fd)
    os.remove(m.path)
    lfs.rmdir(folder)
  end
  return m
end

local function start(m, env, script)
  env = env or {}
  env.NOTIFY_SOCKET = m.path
  return gateway.start { env = env, workers = 2, script = script or '${prelude} gateway.route "/" { to = gateway.respond(200, "x") }' }
end

describe("the service manager hears", function()
  it("READY when it serves, RELOADING with a time and READY again, STOPPING", function()
    local m = manager()
    local g = start(m)
    local text, at = m:wait "READY=1\n"
    assert.equal("READY=1\nSTATUS=generation 1 serves: 1 routes, 0 upstreams\n", text)
    assert.equal(1, at)
    local before = sys.now() * 1e6
    assert.equal(200, g:reload().status)
    text, at = m:wait("RELOADING=1\n", at + 1)
    local usec = tonumber(text:match("\nMONOTONIC_USEC=(%d+)\n"))
    assert.is_true(usec >= before and usec <= sys.now() * 1e6)
    text, at = m:wait("READY=1\n", at + 1)
    assert.is_truthy(text:find("STATUS=generation 2 serves", 1, true))
    g:write("main.lua", "return +")
    assert.equal(422, g:reload().status)
    at = select(2, m:wait("RELOADING=1\n", at + 1))
    text = m:wait("READY=1\n", at + 1)
    assert.is_truthy(text:find("the last reload was refused", 1, true))
    g:stop()
    text = m:wait "STOPPING=1\n"
    assert.is_truthy(text:find("EXTEND_TIMEOUT_USEC=35000000\n", 1, true), text)
    assert.equal(0, m:count "WATCHDOG=1")
    m:close()
  end)

  it("nothing of a start that fails", function()
    local m = manager()
    local result = gateway.command { args = { "${dir}/main.lua" }, script = "return +", env = { NOTIFY_SOCKET = m.path } }
    assert.equal(1, result.code)
    assert.same({}, m:read())
    m:close()
  end)

  it("which process the main one is after an upgrade, and nothing of the old one's end", function()
    local m = manager()
    local g = start(m, { WATCHDOG_USEC = "2000000" })
    m:wait "READY=1\n"
    g:upgrade()
    m:wait("MAINPID=" .. g.pid .. "\nREADY=1\n")
    assert.equal(0, m:count "STOPPING=1")
    local _, at = m:wait "WATCHDOG=1" -- of either
    m:wait("WATCHDOG=1", math.max(at, #m.heard) + 1) -- of the new one, although WATCHDOG_PID was the old one's
    g:stop()
    assert.equal(1, m:count "STOPPING=1")
    m:close()
  end)

  it("nothing when its socket is gone or full, and traffic goes on", function()
    local m = manager()
    local g = start(m, { WATCHDOG_USEC = "40000" }) -- nobody reads: the queue is full in a second
    for _ = 1, 20 do assert.equal(200, g:ask("/").status) end
    os.remove(m.path)
    sys.close(m.fd)
    assert.equal(200, g:reload().status)
    assert.equal(200, g:ask("/").status)
    g:stop()
    m:close()
  end)

  it("signs of life, twice as often as it asks, but none while a worker is stuck", function()
    local m = manager()
    local g = start(m, { WATCHDOG_USEC = "400000" }, [[${prelude}
      gateway.script { cpu = 30 }
      gateway.route "/" { to = gateway.respond(200, "x") }
      gateway.route "/stuck" {
        to = function() local t = os.clock(); while os.clock() - t < 1 do end return gateway.respond(200, "late") end }]])
    m:wait "WATCHDOG=1"
    local from, had = sys.now(), m:count "WATCHDOG=1"
    peers.within(function()
      peers.eventually(function() return m:count "WATCHDOG=1" >= had + 4 end)
    end)
    assert.is_true(sys.now() - from < 1.5)
    peers.run(function()
      local client = g:client()
      client:send "GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n"
      local line = g:log_wait(function(l) return (l.message or ""):find("a worker does not answer", 1, true) ~= nil end)
      assert.equal(0.4, line.watchdog)
      local heard = m:count "WATCHDOG=1"
      assert.equal("late", client:read_response().body)
      m:wait("WATCHDOG=1", #m:read() + 1)
      assert.is_true(m:count "WATCHDOG=1" <= heard + 3)
    end)
    g:stop()
    m:close()
  end)

  it("no signs of life when the watchdog is another process's", function()
    local m = manager()
    local g = start(m, { WATCHDOG_USEC = "20000", WATCHDOG_PID = "1" })
    m:wait "READY=1\n"
    for _ = 1, 10 do assert.equal(200, g:ask("/").status) end
    assert.equal(0, m:count "WATCHDOG=1")
    g:stop()
    m:close()
  end)
end)

describe("socket activation:", function()
  it("sockets are matched to addresses; their queue is served; unix paths are left alone; others are told", function()
    local folder = sys.temp_dir()
    local tcp, port = assert(sys.listen "127.0.0.1:0")
    local unix = assert(sys.listen("unix:" .. folder .. "/public"))
    local spare, spare_port = assert(sys.listen "127.0.0.1:0")
    local bound = assert(sys.listen("127.0.0.1:0", { listening = false }))
    local g
    peers.run(function()
      local early = peers.connect(port) -- before there is anybody
      early:send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      g = gateway.start {
        pass = { tcp, unix, spare, bound }, vars = { passed = port, folder = folder },
        script = [[local gateway = require "gateway"; gateway.workers(2); gateway.admin "127.0.0.1:${admin}"
          gateway.listen "127.0.0.1:${passed}"; gateway.listen "unix:${folder}/public"; gateway.listen "127.0.0.1:${port}"
          gateway.route "/" { to = gateway.respond(200, "activated") }]],
      }
      assert.equal("activated", early:read_response().body)
      for _ = 1, 10 do assert.equal(200, peers.ask("unix:" .. folder .. "/public", {}).status) end
      assert.equal(200, g:ask("/").status)
      local line = g:log_wait(function(l) return l.message == "systemd gave a socket that the script does not listen at" end)
      assert.equal("127.0.0.1:" .. spare_port, line.address)
      line = g:log_wait(function(l) return l.message == "descriptors that are no listening stream sockets are ignored" end)
      assert.equal(1, line.count)
      g:upgrade()
      assert.equal(200, peers.ask("unix:" .. folder .. "/public", {}).status)
      assert.equal(200, peers.ask(port, {}).status)
      g:stop()
      assert.is_not_nil(lfs.attributes(folder .. "/public"))
      local waits = peers.connect(port) -- the sockets are the service manager's still
      waits:close()
    end)
    for _, fd in ipairs { tcp, unix, spare, bound } do sys.close(fd) end
    os.remove(folder .. "/public")
    lfs.rmdir(folder)
  end)

  it("the admin address may be one of them", function()
    local fd, port = assert(sys.listen "127.0.0.1:0")
    local g = gateway.start { pass = { fd }, admin = "127.0.0.1:" .. port,
      script = 'local gateway = require "gateway"; gateway.workers(1); gateway.listen "127.0.0.1:${port}"; gateway.admin "${admin}"' }
    assert.equal("serving", g:status().state)
    g:stop()
    sys.close(fd)
  end)

  it("LISTEN_PID of another process: nothing is taken", function()
    local fd, port = assert(sys.listen "127.0.0.1:0")
    local result = gateway.command { args = { "${dir}/main.lua" }, env = { LISTEN_PID = "1", LISTEN_FDS = "1" }, vars = { taken = port },
      script = 'local gateway = require "gateway"; gateway.listen "127.0.0.1:${taken}"' }
    assert.equal(1, result.code)
    assert.is_truthy(result.stderr:find("Address already in use", 1, true), result.stderr)
    sys.close(fd)
  end)
end)
