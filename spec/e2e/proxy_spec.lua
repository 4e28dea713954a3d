-- Upstreams as they are: refusing, breaking off, slow, gone while idle; and what the client is told.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local function is_error(response, status)
  assert.equal(status, response.status)
  local body = cjson.decode(response.body)
  assert.equal(status, body.status)
  assert.equal("string", type(body.error))
  assert.equal(response.headers:get("x-request-id"), body.request_id)
end

describe("a failing upstream:", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = { "127.0.0.1:0", "refused" },
      script = [[${prelude}
        local quick = { connect = 0.4, first_byte = 0.4, idle = 0.4, total = 1.2 }
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}", timeouts = quick } }
        gateway.route "/refused" { to = gateway.upstream "refused" { "${backend2}" } }
        gateway.route "/nowhere" { to = gateway.upstream "nowhere" { "unix:${dir}/no.sock" } }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  it("connection refused: 502, and the client's connection goes on", function()
    peers.run(function()
      backend:answer()
      local client = g:client()
      for _ = 1, 3 do is_error(client:ask "/refused", 502) end
      is_error(client:ask { path = "/refused", method = "POST", body = "hello" }, 502)
      assert.equal(200, client:ask("/").status)
    end)
  end)

  it("no such unix socket: 502", function()
    is_error(g:ask "/nowhere", 502)
  end)

  it("HEAD gets the status without a body", function()
    peers.run(function()
      local client = g:client()
      local response = client:ask { method = "HEAD", path = "/refused" }
      assert.equal(502, response.status)
      assert.equal(502, client:ask("/refused").status)
    end)
  end)

  for _, case in ipairs {
    { "ends without a byte", function(conn) conn:close() end },
    { "resets without a byte", function(conn) conn:reset() end },
    { "ends in the status line", function(conn) conn:write "HTTP/1.1 20" conn:close() end },
    { "ends in the head", function(conn) conn:write "HTTP/1.1 200 OK\r\nContent-Le" conn:close() end },
    { "resets in the head", function(conn) conn:write "HTTP/1.1 200 OK\r\nContent-Le" peers.sleep(0.02) conn:reset() end },
    { "ends after a 1xx", function(conn) conn:write "HTTP/1.1 103 Early Hints\r\n\r\n" conn:close() end },
  } do
    it("a fresh connection that " .. case[1] .. ": 502, asked once", function()
      peers.run(function()
        local asked = 0
        backend:serve(function(conn)
          if not conn:read_request() then return end
          asked = asked + 1
          case[2](conn)
        end)
        local client = g:client()
        is_error(client:ask "/", 502)
        assert.equal(1, asked)
        is_error(client:ask { method = "POST", body = "hello" }, 502)
        assert.equal(2, asked)
      end)
    end)
  end

  describe("timeouts:", function()
    local function took(f)
      local from = sys.now()
      f()
      return sys.now() - from
    end

    it("no first byte: 504", function()
      peers.run(function()
        local ended
        backend:serve(function(conn)
          conn:read_request()
          conn:wait_end()
          ended = true
        end)
        local client = g:client()
        local seconds = took(function() is_error(client:ask "/", 504) end)
        assert.is_true(seconds >= 0.39 and seconds < 1.5, seconds)
        peers.eventually(function() return ended end, "the upstream request's end")
        -- a request without a body goes on with the same connection
        backend:serve(function(conn) conn:read_request() conn:write(message.response { body = "ok" }) end)
        assert.equal("ok", client:ask("/").body)
      end)
    end)

    it("total, while it trickles: the answer is cut", function()
      peers.run(function()
        backend:serve(function(conn)
          conn:read_request()
          conn:write "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
          while conn:try_write("x") do peers.sleep(0.05) end
        end)
        local client = g:client()
        local seconds = took(function()
          client:send(message.request {})
          local response = client:read_response { truncated = true }
          assert.equal(200, response.status)
          assert.is_truthy(response.truncated)
        end)
        assert.is_true(seconds > 0.9 and seconds < 3, seconds)
      end)
    end)

    it("idle in the body: the answer is cut", function()
      peers.run(function()
        backend:serve(function(conn)
          conn:read_request()
          conn:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
          conn:wait_end()
        end)
        local client = g:client()
        local seconds = took(function()
          client:send(message.request {})
          assert.is_truthy(client:read_response({ truncated = true }).truncated)
        end)
        assert.is_true(seconds < 1.1, seconds)
      end)
    end)

    it("a backend that does not accept: 504", function()
      peers.run(function()
        -- a listen queue that is full swallows connection attempts
        local full = peers.listen("127.0.0.1:0", { backlog = 0 })
        local fds = {}
        for _ = 1, 4 do fds[#fds + 1] = sys.connect(full.at) end
        peers.sleep(0.02)
        local slow = gateway.start {
          vars = { full = full.at },
          script = [[${prelude}
            gateway.route "/" { to = gateway.upstream "full" { "${full}", timeouts = { connect = 0.3 } } }
          ]],
        }
        local seconds = took(function() is_error(slow:ask "/", 504) end)
        assert.is_true(seconds >= 0.29 and seconds < 1.5, seconds)
        for _, fd in ipairs(fds) do sys.close(fd) end
        full:close()
        slow:stop()
      end)
    end)
  end)
end)

describe("pooled connections:", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}", pool = { idle = 2, idle_for = 0.5, requests = 5 } } }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  it("one that ended while idle is noticed before use, even for POST", function()
    peers.run(function()
      backend:serve(function(conn, number)
        local request = conn:read_request()
        if not request then return end
        conn:write(message.response { body = "answer " .. number })
      end) -- then it ends, without a word
      local client = g:client()
      for i = 1, 5 do
        local response = client:ask { method = "POST", body = "hello" }
        assert.equal("answer " .. i, response.body)
        peers.eventually(function() return backend:open_count() == 0 end)
        peers.sleep(0.01)
      end
    end)
  end)

  -- the race that noticing cannot win: it ends just as the next request comes
  local function stale(conn, number, log)
    local request = conn:read_request()
    if not request then return end
    log[#log + 1] = request
    conn:write(message.response { body = "answer " .. number })
    if number > 1 then return conn:hang() end
    request = conn:read_request()
    if request then
      log[#log + 1] = request
      conn:reset()
    end
  end

  it("one that ends as it is used: a request without a body is repeated once, on a fresh one", function()
    peers.run(function()
      local log = {}
      backend:serve(function(conn, number) stale(conn, number, log) end)
      local client = g:client()
      assert.equal("answer 1", client:ask("/1").body)
      assert.equal("answer 2", client:ask("/2").body)
      assert.equal(3, #log)
      assert.equal(log[2].target, log[3].target)
      assert.equal(log[2].headers:get("x-request-id"), log[3].headers:get("x-request-id"))
    end)
  end)

  it("a request with a body is not repeated: 502", function()
    peers.run(function()
      local log = {}
      backend:serve(function(conn, number) stale(conn, number, log) end)
      local client = g:client()
      assert.equal("answer 1", client:ask("/1").body)
      is_error(client:ask { method = "POST", path = "/2", body = "hello" }, 502)
      assert.equal(2, #log)
    end)
  end)

  it("one that answered a part and ends: not repeated", function()
    peers.run(function()
      local asked = 0
      backend:serve(function(conn)
        while conn:read_request() do
          asked = asked + 1
          if asked == 2 then
            conn:write "HTTP/1.1 2"
            return conn:close()
          end
          conn:write(message.response { body = "ok" })
        end
      end)
      local client = g:client()
      assert.equal("ok", client:ask("/1").body)
      is_error(client:ask "/2", 502)
      assert.equal(2, asked)
    end)
  end)

  it("repeated once, not for ever", function()
    peers.run(function()
      local asked = 0
      backend:serve(function(conn)
        if not conn:read_request() then return end
        asked = asked + 1
        if asked == 1 then
          conn:write(message.response { body = "ok" })
          conn:read_request()
          asked = asked + 1
        end
        conn:reset()
      end)
      local client = g:client()
      assert.equal("ok", client:ask("/1").body)
      is_error(client:ask "/2", 502)
      assert.equal(3, asked)
    end)
  end)

  it("no more idle ones than `idle`", function()
    peers.run(function()
      local waiting = 0
      backend:serve(function(conn)
        while conn:read_request() do
          waiting = waiting + 1
          peers.eventually(function() return waiting >= 6 end)
          conn:write(message.response { body = "ok" })
        end
      end)
      local asks = {}
      for i = 1, 6 do asks[i] = function() assert.equal(200, g:ask("/").status) end end
      peers.all(asks)
      assert.equal(6, backend.connections)
      peers.eventually(function() return backend:open_count() <= 2 end, "surplus connections closed")
    end)
  end)

  it("idle ones end after `idle_for`", function()
    peers.run(function()
      backend:answer()
      assert.equal(200, g:ask("/").status)
      assert.equal(1, backend:open_count())
      local from = sys.now()
      peers.eventually(function() return backend:open_count() == 0 end, "the idle connection closed")
      local seconds = sys.now() - from
      assert.is_true(seconds > 0.3 and seconds < 2, seconds)
    end)
  end)

  it("one serves no more than `requests`", function()
    peers.run(function()
      backend:answer()
      local client = g:client()
      for _ = 1, 20 do assert.equal(200, client:ask("/").status) end
      local served = {}
      for _, request in ipairs(backend.requests) do served[request.connection] = (served[request.connection] or 0) + 1 end
      for _, count in pairs(served) do assert.is_true(count <= 5, count) end
      assert.is_true(backend.connections <= 5)
    end)
  end)
end)

describe("a client that goes away", function()
  local g, backend
  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
        gateway.route "/lua" { use = { function(request, next) local r = next(); return r end }, to = "b" }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  for _, path in ipairs { "/", "/lua" } do
    for _, how in ipairs { "close", "reset" } do
      it(("ends the upstream request while it waits (%s, %s)"):format(path, how), function()
        peers.run(function()
          local asked, ended
          backend:serve(function(conn)
            if not conn:read_request() then return end
            asked = true
            conn:wait_end()
            ended = true
          end)
          local client = g:client()
          client:send(message.request { path = path })
          peers.eventually(function() return asked end)
          client[how](client)
          peers.eventually(function() return ended end, "the upstream request's end", 3)
        end)
      end)

      it(("ends it while the answer streams (%s, %s)"):format(path, how), function()
        peers.run(function()
          local ended
          backend:serve(function(conn)
            if not conn:read_request() then return end
            conn:write "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
            local block = ("x"):rep(65536)
            while conn:try_write(block) do peers.sleep(0) end
            ended = true
          end)
          local client = g:client()
          client:send(message.request { path = path })
          client:read_exact(200000)
          client[how](client)
          peers.eventually(function() return ended end, "the upstream request's end", 3)
        end)
      end)
    end
  end

  it("ends it while the body is sent", function()
    peers.run(function()
      local asked, ended
      backend:serve(function(conn)
        if not conn:read_request { body = false } then return end
        asked = true
        conn:wait_end()
        ended = true
      end)
      local client = g:client()
      client:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello"
      peers.eventually(function() return asked end)
      client:close()
      peers.eventually(function() return ended end, "the upstream request's end", 3)
    end)
  end)

  it("does not disturb others, and nothing of it stays counted", function()
    peers.run(function()
      backend:answer(function()
        peers.sleep(0.02)
        return { body = "ok" }
      end)
      local all = {}
      for i = 1, 60 do
        all[i] = function()
          local client = g:client()
          client:send(message.request {})
          if i % 2 == 0 then
            peers.sleep(i * 0.0005)
            client[i % 4 == 0 and "close" or "reset"](client)
          else
            assert.equal("ok", client:read_response().body)
          end
        end
      end
      peers.all(all)
      peers.eventually(function() return g:status().upstreams[1].endpoints[1].in_flight == 0 end, "none in flight")
    end)
  end)
end)

describe("early answers", function()
  local g, backend
  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.limits { body_bytes = "100MB" }
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  for _, case in ipairs {
    { "and ends", function(conn) conn:write(message.response { status = 413, body = "too much",
      headers = { Connection = "close" } }) end },
    { "and waits", function(conn)
      conn:write(message.response { status = 413, body = "too much", headers = { Connection = "close" } })
      conn:shutdown()
      conn:wait_end()
    end },
    { "and reads on", function(conn)
      conn:write(message.response { status = 413, body = "too much" })
      pcall(conn.read_exact, conn, 20000000, true)
    end },
  } do
    it("a backend that refuses a body while it comes " .. case[1] .. ": the client gets the refusal", function()
      peers.run(function()
        backend:serve(function(conn)
          if conn:read_request { body = false } then
            conn:read_exact(1000)
            case[2](conn)
          end
        end)
        local client = g:client()
        client:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n"
        local stop
        peers.spawn(function()
          local block, sent = ("x"):rep(50000), 0
          while sent < 20000000 and not stop and client:try_write(block) do
            sent = sent + #block
            peers.sleep(0)
          end
        end, { server = true })
        local response = client:read_response()
        stop = true
        assert.equal(413, response.status)
        assert.equal("too much", response.body)
      end)
    end)
  end

  it("an early answer to a body that then ends in order keeps everything in step", function()
    peers.run(function()
      backend:serve(function(conn)
        while true do
          local request = conn:read_request { body = false }
          if not request then return end
          conn:write(message.response { body = "early " .. request.target })
          if request.headers:has("content-length") then conn:read_exact(tonumber(request.headers:get("content-length"))) end
        end
      end)
      local client = g:client()
      client:send "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
      local response = client:read_response()
      assert.equal("early /1", response.body)
      if not response.headers:lists("connection", "close") then
        client:send "world"
        assert.equal("early /2", client:ask("/2").body)
      end
    end)
  end)
end)

describe("endpoints:", function()
  it("several are taken in turn", function()
    local g = gateway.start {
      backends = 3,
      script = [[${prelude}
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}", "${backend2}", "${backend3}" } }
      ]],
    }
    peers.run(function()
      for _, backend in ipairs(g.backends) do backend:answer() end
      local client = g:client()
      for _ = 1, 30 do assert.equal(200, client:ask("/").status) end
      for _, backend in ipairs(g.backends) do
        assert.equal(10, #backend.requests)
        assert.equal(1, backend.connections)
      end
    end)
    g:stop()
  end)

  it("in turn over two workers, too", function()
    local g = gateway.start {
      backends = 2, workers = 2,
      script = [[${prelude} gateway.route "/" { to = gateway.upstream "b" { "${backend1}", "${backend2}" } }]],
    }
    peers.run(function()
      for _, backend in ipairs(g.backends) do backend:answer() end
      for _ = 1, 40 do assert.equal(200, g:ask("/").status) end
      assert.equal(20, #g.backends[1].requests)
      assert.equal(20, #g.backends[2].requests)
    end)
    g:stop()
  end)

  it("IPv6, unix sockets and names", function()
    if not peers.has_ipv6() then return pending "no IPv6 here" end
    local g = gateway.start {
      backends = { "[::1]:0", "unix:${dir}/b.sock", "127.0.0.1:0" },
      script = [[${prelude}
        gateway.listen "[::1]:${port2}"
        gateway.listen "unix:${dir}/front.sock"
        gateway.route "/six"  { to = gateway.upstream "six"  { "${backend1}" } }
        gateway.route "/unix" { to = gateway.upstream "unix" { "${backend2}" } }
        gateway.route "/name" { to = gateway.upstream "name" { "localhost:${backend3_port}" } }
        gateway.route "/who" { to = function(request) return gateway.respond(200, request.client_ip) end }
      ]],
    }
    peers.run(function()
      for i, backend in ipairs(g.backends) do backend:answer { body = "backend " .. i } end
      for _, at in ipairs { g.port, "[::1]:" .. g.vars.port2, "unix:" .. g.dir .. "/front.sock" } do
        assert.equal("backend 1", peers.ask(at, "/six").body)
        assert.equal("backend 2", peers.ask(at, "/unix").body)
        assert.equal("backend 3", peers.ask(at, "/name").body)
      end
      assert.equal("127.0.0.1", peers.ask(g.port, "/who").body)
      assert.equal("::1", peers.ask("[::1]:" .. g.vars.port2, "/who").body)
      assert.equal(200, peers.ask("unix:" .. g.dir .. "/front.sock", "/who").status)
    end)
    g:stop()
    assert.is_nil(require("lfs").attributes(g.dir .. "/front.sock"))
  end)

  it("a name that does not exist is refused at start, with its place", function()
    local result = gateway.command {
      args = { "check", "${dir}/main.lua" },
      script = '${prelude}\ngateway.route "/" { to = gateway.upstream "b" { "no-such-name.invalid:80" } }\n',
    }
    assert.equal(1, result.code)
    assert.is_truthy((result.stdout .. result.stderr):find("main.lua:2", 1, true))
    assert.is_truthy((result.stdout .. result.stderr):find("no-such-name.invalid", 1, true))
  end)

  it("`host` replaces the Host field", function()
    local g = gateway.start {
      backends = 1,
      script = [[${prelude} gateway.route "/" { to = gateway.upstream "b" { "${backend1}", host = "inner.example" } }]],
    }
    peers.run(function()
      g.backends[1]:answer()
      g:ask { host = "outer.example" }
      assert.equal("inner.example", g.backends[1]:last().headers:get("host"))
      assert.equal("outer.example", g.backends[1]:last().headers:get("x-forwarded-host"))
    end)
    g:stop()
  end)
end)
