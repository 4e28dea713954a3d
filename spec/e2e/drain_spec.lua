-- The end: what is in flight finishes, what is idle closes, and the exit code is 0.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local function start(options)
  return gateway.start {
    backends = 1, workers = options and options.workers,
    script = ([[${prelude}
      gateway.timeouts { drain = %s }
      local b = gateway.upstream "b" { "${backend1}" }
      gateway.route "/" { to = b }
      gateway.route "/lua" { use = { function(request, next) local r = next(); r.headers["X-Lua"] = "1"; return r end }, to = b }
      gateway.route "/read" { to = function(request) return gateway.respond(200, request:body()) end }
    ]]):format(options and options.drain or 20),
  }
end

describe("drain:", function()
  for _, signal in ipairs { "SIGTERM", "SIGINT" } do
    it(signal .. ": idle connections close, the process ends with 0", function()
      local g = start()
      peers.run(function()
        g.backends[1]:answer()
        local used, fresh = g:client(), g:client()
        assert.equal(200, used:ask("/").status)
        assert.is_false(used:ask("/").headers:lists("connection", "close"))
        local from = peers.now()
        g:signal(sys[signal])
        used:expect_close()
        fresh:expect_close()
        assert.equal(0, g:wait_exit())
        assert.is_true(peers.now() - from < 5)
      end)
      g:stop()
    end)
  end

  it("in flight finishes, with Connection: close, while new connections are refused", function()
    local g = start()
    peers.run(function()
      local go
      g.backends[1]:answer(function()
        peers.eventually(function() return go end)
        return { body = "late" }
      end)
      local clients = {}
      for i, path in ipairs { "/", "/lua", "/x" } do
        clients[i] = g:client()
        clients[i]:send(message.request { path = path })
      end
      local reading = g:client()
      reading:send "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
      peers.eventually(function() return #g.backends[1].requests == 3 end)
      g:signal(sys.SIGTERM)
      peers.eventually(function() return not peers.reachable(g.port) end, "no more connections")
      assert.is_true(g:running())
      reading:send "world"
      local response = reading:read_response()
      assert.equal("helloworld", response.body)
      assert.is_true(response.headers:lists("connection", "close"))
      go = true
      for _, client in ipairs(clients) do
        response = client:read_response()
        assert.equal("late", response.body)
        assert.is_true(response.headers:lists("connection", "close"))
        client:expect_close()
      end
      assert.equal(0, g:wait_exit())
    end)
    g:stop()
  end)

  it("a response that is streaming finishes whole", function()
    local g = start()
    peers.run(function()
      local draining
      g.backends[1]:serve(function(conn)
        if not conn:read_request() then return end
        conn:write "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n"
        conn:write(("x"):rep(1000000))
        peers.eventually(function() return draining end)
        conn:write(("y"):rep(2000000))
        conn:hang()
      end)
      local client = g:client()
      client:send(message.request {})
      client:read_until "\r\n\r\n"
      client:read_exact(500000)
      g:signal(sys.SIGTERM)
      peers.eventually(function() return not peers.reachable(g.port) end)
      draining = true
      assert.equal(2500000, #client:read_exact(2500000))
      client:expect_close()
      assert.equal(0, g:wait_exit())
    end)
    g:stop()
  end)

  it("a request that was sent before the signal is not lost", function()
    -- many connections with a request each, the signal right behind them
    local g = start { workers = 2 }
    peers.run(function()
      g.backends[1]:answer(function()
        peers.sleep(0.01)
        return { body = "ok" }
      end)
      local clients = {}
      for i = 1, 40 do clients[i] = g:client() end
      for _, client in ipairs(clients) do assert.equal("ok", client:ask("/").body) end
      for _, client in ipairs(clients) do client:send(message.request {}) end
      peers.sleep(0.02) -- they have arrived; what counts as idle is decided by what was read
      g:signal(sys.SIGTERM)
      for _, client in ipairs(clients) do
        local response = client:read_response()
        assert.equal("ok", response.body)
      end
      assert.equal(0, g:wait_exit())
    end)
    g:stop()
  end)

  it("a connection that was just idle has its last request answered, with Connection: close", function()
    local g = start()
    peers.run(function()
      local client, silent = g:client(), g:client()
      assert.equal(200, client:ask { path = "/read", method = "POST", body = "one" }.status)
      assert.equal(200, silent:ask { path = "/read", method = "POST", body = "one" }.status)
      g:signal(sys.SIGTERM)
      g:log_wait(function(line) return line.message == "draining" end)
      peers.eventually(function() return not peers.reachable(g.port) end)
      client:send "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwo"
      local response = client:read_response()
      assert.equal("two", response.body)
      assert.is_true(response.headers:lists("connection", "close"))
      client:expect_close()
      silent:expect_close()
      assert.equal(0, g:wait_exit())
    end)
    g:stop()
  end)

  it("not ready while it drains, still healthy; /status answers", function()
    local g = start()
    peers.run(function()
      local go
      g.backends[1]:answer(function()
        peers.eventually(function() return go end)
        return { body = "late" }
      end)
      assert.equal(200, g:admin("/readyz").status)
      local client = g:client()
      client:send(message.request {})
      peers.eventually(function() return #g.backends[1].requests == 1 end)
      g:signal(sys.SIGTERM)
      peers.eventually(function() return g:admin("/readyz").status == 503 end, "not ready")
      assert.equal(200, g:admin("/healthz").status)
      assert.equal(200, g:admin("/status").status)
      assert.is_true(g:reload().status >= 400)
      go = true
      assert.equal("late", client:read_response().body)
      assert.equal(0, g:wait_exit())
    end)
    g:stop()
  end)

  it("ends when the drain time is up", function()
    local g = start { drain = 0.5 }
    peers.run(function()
      g.backends[1]:serve(function(conn) conn:read_request() conn:wait_end() end)
      local client = g:client()
      client:send(message.request {})
      peers.eventually(function() return g.backends[1].connections == 1 end)
      local from = peers.now()
      g:signal(sys.SIGTERM)
      g:wait_exit()
      local seconds = peers.now() - from
      assert.is_true(seconds > 0.4 and seconds < 4, seconds)
      client:wait_end()
    end)
    g:stop()
  end)

  it("a second signal ends it at once", function()
    local g = start()
    peers.run(function()
      g.backends[1]:serve(function(conn) conn:read_request() conn:wait_end() end)
      local client = g:client()
      client:send(message.request {})
      peers.eventually(function() return g.backends[1].connections == 1 end)
      g:signal(sys.SIGTERM)
      peers.eventually(function() return not peers.reachable(g.port) end)
      assert.is_true(g:running())
      local from = peers.now()
      g:signal(sys.SIGTERM)
      g:wait_exit()
      assert.is_true(peers.now() - from < 5)
      client:wait_end()
    end)
    g.checked = true -- what an end without grace returns, and leaves, is its own business
    g:stop()
  end)

  it("tunnels end at the latest with the drain time", function()
    local g = start { drain = 0.5 }
    peers.run(function()
      g.backends[1]:serve(function(conn)
        conn:read_head()
        conn:write "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        conn:wait_end()
      end)
      local client = g:client()
      client:send "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
      assert.equal(101, client:read_response_head().status)
      g:signal(sys.SIGTERM)
      client:wait_end()
      g:wait_exit(5)
    end)
    g:stop()
  end)

  it("says so in the log", function()
    local g = start()
    g:signal(sys.SIGTERM)
    g:wait_exit()
    local lines = g:log()
    local messages = {}
    for i, line in ipairs(lines) do messages[i] = line.message or "" end
    local all = table.concat(messages, "\n")
    assert.is_truthy(all:find("draining", 1, true), all)
    assert.is_truthy(all:find("ended", 1, true), all)
    g:stop()
  end)
end)
