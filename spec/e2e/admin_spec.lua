-- The admin address: /healthz, /readyz, /status; and the log lines of requests.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

describe("admin:", function()
  local g

  lazy_setup(function()
    g = gateway.start {
      backends = 1, workers = 2,
      script = [[${prelude}
        local b = gateway.upstream "users" { "${backend1}" }
        gateway.route "/users" { name = "users-route", to = b }
        gateway.route "/fixed" { to = gateway.respond(200, "fixed") }
        gateway.route "/quiet" { to = gateway.respond(200, "quiet"), access_log = false }
      ]],
    }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  it("/healthz and /readyz", function()
    for _, path in ipairs { "/healthz", "/readyz" } do
      assert.equal(200, g:admin(path).status)
    end
  end)

  it("/status tells generation, workers, connections and the last reload", function()
    peers.run(function()
      local clients, bodies = {}, 0
      for i = 1, 5 do
        clients[i] = g:client()
        local response = clients[i]:ask("/fixed")
        assert.equal(200, response.status)
        bodies = bodies + #response.body
      end
      local status = g:status()
      assert.equal("serving", status.state)
      assert.equal(1, status.generation.number)
      assert.equal(2, #status.workers)
      local accepted, out, requests = 0, 0, 0
      for _, worker in ipairs(status.workers) do
        accepted, out, requests = accepted + worker.connections.accepted, out + worker.bytes.out, requests + worker.requests
      end
      assert.equal(5, accepted)
      assert.equal(5, requests)
      assert.equal(bodies, out)
      assert.same({ { address = "127.0.0.1:" .. g.port } }, status.listeners)
      assert.equal("users", status.upstreams[1].name)
      assert.equal(g.backends[1].at, status.upstreams[1].endpoints[1].address)
      local result = g:reload()
      assert.equal(200, result.status)
      assert.is_true(result.json.ok)
      assert.equal(2, result.json.generation)
      status = g:status()
      assert.equal(2, status.generation.number)
      assert.equal("POST /reload", status.reloads.last.cause)
      assert.is_true(status.reloads.last.ok)
      assert.same({}, status.reloads.last.errors)
    end)
  end)

  it("counts connections", function()
    local function active()
      local count = 0
      for _, worker in ipairs(g:status().workers) do count = count + worker.connections.active end
      return count
    end
    peers.run(function()
      peers.eventually(function() return active() == 0 end, "no connection yet")
      local clients = {}
      for i = 1, 7 do
        clients[i] = g:client()
        assert.equal(200, clients[i]:ask("/fixed").status)
      end
      peers.eventually(function() return active() == 7 end, "7 connections")
      for i = 1, 7 do clients[i]:close() end
      peers.eventually(function() return active() == 0 end, "none again")
    end)
  end)

  it("unknown paths are 404, wrong methods 405, rubbish 400", function()
    assert.equal(404, g:admin("/nothing").status)
    assert.equal(405, g:admin("/status", "DELETE").status)
    assert.equal(405, g:admin("/reload", "GET").status)
    peers.run(function()
      local client = peers.connect(g.vars.admin)
      client:send "nonsense\r\n\r\n"
      assert.equal(400, client:read_response().status)
      client:expect_close()
    end)
  end)

  it("keeps connections alive", function()
    peers.run(function()
      local client = peers.connect(g.vars.admin)
      for _ = 1, 3 do assert.equal(200, client:ask({ path = "/healthz", host = "127.0.0.1" }).status) end
    end)
  end)

  it("does not answer to names (a browser that was led here by one)", function()
    peers.run(function()
      for _, method in ipairs { "GET", "POST" } do
        local response = peers.ask(g.vars.admin, { method = method, path = method == "GET" and "/status" or "/reload",
          host = "evil.example" })
        assert.is_true(response.status >= 400, response.status)
      end
    end)
  end)

  it("is not reachable through the public address", function()
    assert.equal(404, g:ask("/status").status)
    assert.equal(404, g:ask({ path = "/reload", method = "POST" }).status)
  end)

  describe("the access log", function()
    local function line_of(path)
      return g:log_wait(function(line) return line.path == path end, "a line for " .. path)
    end

    it("has a line for each request, with what is known of it", function()
      peers.run(function()
        g.backends[1]:answer { body = "hello" }
        assert.equal(200, g:ask({ path = "/users/7?secret=1", method = "POST", body = "x",
          headers = { ["X-Request-ID"] = "abc-98765" } }).status)
        local line = line_of "/users/7"
        assert.equal("POST", line.method)
        assert.equal(200, line.status)
        assert.equal("127.0.0.1", line.client_ip)
        assert.equal(5, line.bytes)
        assert.equal("users", line.upstream)
        assert.equal(g.backends[1].at, line.endpoint)
        assert.equal("users-route", line.route)
        assert.equal(1, line.attempts)
        assert.equal("number", type(line.duration))
        assert.equal("number", type(line.upstream_duration))
        assert.is_true(line.upstream_duration <= line.duration + 0.001)
        local text = require("cjson").encode(line)
        assert.is_truthy(text:find("abc-98765", 1, true))
      end)
    end)

    it("404, 400, 502 and clients that went away have theirs", function()
      peers.run(function()
        assert.equal(404, g:ask("/none/here").status)
        assert.equal(404, line_of("/none/here").status)
        local client = g:client()
        client:send "GET /bad\r\n\r\n"
        assert.equal(400, client:read_response().status)
        g:log_wait(function(line) return line.status == 400 end, "a line for a bad request")
        g.backends[1]:serve(function(conn) conn:read_request() conn:close() end)
        assert.equal(502, g:ask("/users/broken").status)
        local line = line_of "/users/broken"
        assert.equal(502, line.status)
        assert.equal("string", type(line.error))
        g.backends[1]:serve(function(conn) conn:read_request() conn:wait_end() end)
        local gone = g:client()
        gone:send(message.request { path = "/users/gone" })
        peers.sleep(0.05)
        gone:close()
        assert.is_not_nil(line_of "/users/gone")
      end)
    end)

    it("is off for a route that says so", function()
      assert.equal(200, g:ask("/quiet/1").status)
      assert.equal(200, g:ask("/fixed/after").status)
      line_of "/fixed/after"
      assert.equal(0, g:log_count(function(line) return line.path == "/quiet/1" end))
    end)

    it("stays JSON whatever a client sends", function()
      assert.equal(200, g:ask({ path = "/fixed/%22%5B%C3%28%FF", headers = { ["User-Agent"] = "\"\\ \195\40\255" } }).status)
      assert.equal(200, g:ask("/fixed/last").status)
      line_of "/fixed/last" -- reading the log fails on a line that is no JSON
    end)
  end)

  it("the life of the process stands there, too", function()
    g:log_wait(function(line) return line.message and line.message:find("starting", 1, true) ~= nil end)
    g:log_wait(function(line) return line.message and line.message:find("serving", 1, true) ~= nil end)
  end)
end)
