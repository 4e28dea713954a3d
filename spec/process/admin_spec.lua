-- The admin address, spoken to byte by byte.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local SCRIPT = [[${prelude}
  gateway.timeouts { drain = 5 }
  gateway.route "/" { to = gateway.upstream "back" { "${backend1}" } }
  gateway.route "/fixed" { to = gateway.respond(200, "one") }
]]

describe("the admin address", function()
  local g
  lazy_setup(function() g = gateway.start { script = SCRIPT, backends = 1, workers = 2 } end)
  lazy_teardown(function() g:stop() end)

  -- Sends raw bytes (a list: in pieces), gives everything that comes until the end.
  local function raw(pieces, options)
    local all
    peers.run(function()
      local conn = peers.connect(g.vars.admin)
      for _, piece in ipairs(type(pieces) == "table" and pieces or { pieces }) do conn:write(piece) end
      if options and options.shutdown then conn:shutdown() end
      local parts = {}
      while true do
        local got = conn:receive()
        if not got then break end
        parts[#parts + 1] = got
      end
      all = table.concat(parts)
      conn:close()
    end)
    return all
  end

  local function get(path, extra)
    return ("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n"):format(path, extra or "")
  end

  describe("answers", function()
    for _, case in ipairs {
      { "GET /healthz", get "/healthz", 200, '{"status":"alive"}\n' },
      { "GET /readyz", get "/readyz", 200, '{"status":"ready"}\n' },
      { "a query is of no matter", get "/readyz?x=1", 200, '{"status":"ready"}\n' },
      { "HTTP/1.0 without Host", "GET /healthz HTTP/1.0\r\n\r\n", 200, '{"status":"alive"}\n' },
      { "an unknown path", get "/nothing", 404 },
      { "a path that only begins like one", get "/statuses", 404 },
      { "POST where GET is expected", "POST /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 405,
        nil, "Allow: GET, HEAD" },
      { "GET where POST is expected", get "/reload", 405, nil, "Allow: POST" },
      { "draining what is not there", "POST /drain?upstream=back&endpoint=127.0.0.1:1 HTTP/1.1\r\nHost: localhost\r\n"
        .. "Connection: close\r\n\r\n", 404 },
      { "draining, with a body behind it", "POST /undrain?upstream=%6Eobody&endpoint=%22 HTTP/1.1\r\nHost: localhost\r\n"
        .. "Connection: close\r\nContent-Length: 5\r\n\r\nhello", 404,
        '{"error":"no such upstream","upstream":"nobody","endpoint":"\\""}\n' },
      { "draining nothing", "POST /drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400 },
      { "a bare LF", "GET /healthz HTTP/1.1\nHost: localhost\n\n", 400 },
      { "no Host", "GET /healthz HTTP/1.1\r\n\r\n", 400 },
      { "both framings", "POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
      { "a long request line", get("/" .. ("a"):rep(3000)), 414 },
      { "a large head", get("/", ("X: %s\r\n"):format(("a"):rep(9000))), 431 },
      { "a large body", "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", 413 },
      { "malformed chunks", "POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400 },
      { "a name that points here", "GET /status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403 },
      { "a web page", "POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\nConnection: close\r\n"
        .. "Content-Length: 0\r\n\r\n", 403 },
      { "an address as Host", "GET /healthz HTTP/1.1\r\nHost: [::1]:9901\r\nConnection: close\r\n\r\n", 200 },
      { "a name below localhost", "GET /healthz HTTP/1.1\r\nHost: admin.localhost:1\r\nConnection: close\r\n\r\n", 200 },
    } do
      it(case[1], function()
        local all = raw(case[2])
        local head, body = all:match("^(.-\r\n)\r\n(.*)$")
        assert.truthy(head, all)
        assert.equal(case[3], tonumber(head:match("^HTTP/1%.1 (%d+) ")))
        assert.equal(#body, tonumber(head:match("Content%-Length: (%d+)\r\n")))
        if case[4] then assert.equal(case[4], body) end
        if case[5] then assert.truthy(head:find(case[5] .. "\r\n", 1, true), head) end
        if case[3] >= 400 then assert.equal("string", type(cjson.decode(body).error)) end
      end)
    end

    it("HEAD, without a body", function()
      local all = raw("HEAD /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
      assert.truthy(all:find("^HTTP/1%.1 200 "), all)
      assert.truthy(all:find("Content%-Length: [1-9]"), all)
      assert.truthy(all:find("\r\n\r\n$"), all)
    end)

    it("GET /help, listing the rest", function()
      local all = raw(get "/help")
      local paths = { "/healthz", "/readyz", "/status", "/reload", "/drain", "/undrain" }
      for _, path in ipairs(paths) do assert.truthy(all:find(path, 1, true), path) end
    end)

    it("pipelined requests in order, and a body is read past", function()
      local all = raw("POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        .. "POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" .. get "/healthz")
      local statuses = {}
      for status in all:gmatch("HTTP/1%.1 (%d+) ") do statuses[#statuses + 1] = status end
      assert.same({ "404", "404", "200" }, statuses)
    end)

    it("a request that comes byte by byte", function()
      local pieces = {}
      for c in get("/healthz"):gmatch(".") do pieces[#pieces + 1] = c end
      assert.truthy(raw(pieces):find("alive", 1, true))
    end)

    it("a client that ends its side at once", function()
      assert.truthy(raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", { shutdown = true }):find("alive", 1, true))
    end)

    it("100 Continue before a body that is announced", function()
      peers.run(function()
        local conn = peers.connect(g.vars.admin)
        conn:write "POST /reload HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        assert.equal("HTTP/1.1 100 Continue", conn:read_line())
        conn:read_line()
        conn:write "{}"
        assert.truthy(conn:read_line():find("^HTTP/1.1 200 "))
        conn:close()
      end)
    end)
  end)

  it("has room for 64 connections: an idle one makes way for the 65th", function()
    peers.run(function()
      local conns = {}
      for i = 1, 64 do
        conns[i] = peers.connect(g.vars.admin)
        conns[i]:write "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        conns[i]:read_until("alive\"}\n")
      end
      assert.equal(200, g:admin("/healthz").status)
      local _, why = conns[1]:receive()
      assert.truthy(why == "eof" or why == "reset", why)
      for i = 2, 64 do conns[i]:close() end
    end)
  end)

  it("closes the 65th when 64 are busy", function()
    peers.run(function()
      local conns = {}
      for i = 1, 64 do
        conns[i] = peers.connect(g.vars.admin)
        conns[i]:write "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HT" -- once the first is answered, the half is read
        conns[i]:read_until("alive\"}\n")
      end
      local conn = peers.connect(g.vars.admin)
      conn:try_write(get "/healthz")
      assert.is_nil((conn:receive()))
      conn:close()
      for i = 1, 64 do conns[i]:close() end
      peers.eventually(function() return g:admin("/healthz").status == 200 end, "room again")
    end)
  end)

  it("tells what there is", function()
    local status = g:status()
    assert.equal(g.pid, status.pid)
    assert.equal("serving", status.state)
    assert.truthy(status.version:find("^%d+%.%d+%.%d+$"))
    assert.is_true(status.uptime > 0)
    assert.equal(2, #status.workers)
    assert.same({ { address = "127.0.0.1:" .. g.port } }, status.listeners)
    assert.equal("back", status.upstreams[1].name)
    assert.same({
      address = g.vars.backend1, weight = 1, backup = false, in_flight = 0, healthy = true, down = {}, drained = false,
      breaker = cjson.null, transitions = { active_down = 0, active_up = 0, ejections = 0 },
    }, status.upstreams[1].endpoints[1])
    assert.equal(2, status.generation.routes)
    assert.equal(0, status.log_lines_dropped)
    assert.truthy(status.generation.loaded_at:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"))
  end)

  it("counts connections and requests", function()
    local function sum(status, f)
      local total = 0
      for _, worker in ipairs(status.workers) do total = total + f(worker) end
      return total
    end
    local before = g:status()
    for _ = 1, 5 do assert.equal(200, g:ask({ path = "/fixed" }).status) end
    local after = g:status()
    assert.equal(5, sum(after, function(w) return w.requests end) - sum(before, function(w) return w.requests end))
    assert.equal(5, sum(after, function(w) return w.responses["2xx"] end) - sum(before, function(w) return w.responses["2xx"] end))
    assert.equal(5, sum(after, function(w) return w.connections.accepted end) - sum(before, function(w) return w.connections.accepted end))
  end)

  it("reloads, and says how it went", function()
    local before = g:generation()
    local good = g:reload()
    assert.equal(200, good.status)
    assert.is_true(good.json.ok)
    assert.equal(before + 1, good.json.generation)
    assert.same({}, good.json.errors)
    assert.equal("POST /reload", g:status().reloads.last.cause)
  end)

  it("refuses a reload with what is wrong, by line", function()
    local before = g:status()
    g:write("main.lua", SCRIPT .. '\n  gateway.route "/x" { too = 1 }\n  gateway.listen(1)\n')
    local bad = g:reload()
    assert.equal(422, bad.status)
    assert.is_false(bad.json.ok)
    assert.equal(before.generation.number, bad.json.generation)
    local all = table.concat(bad.json.errors, "\n")
    assert.truthy(all:find("main%.lua:%d+: .*too"), all)
    assert.truthy(all:find("main%.lua:%d+: gateway%.listen"), all)
    local after = g:status()
    assert.equal(before.generation.number, after.generation.number)
    assert.is_false(after.reloads.last.ok)
    assert.same(bad.json.errors, after.reloads.last.errors)
    assert.equal(200, g:ask({ path = "/fixed" }).status)
    g:write("main.lua", SCRIPT)
    assert.equal(200, g:reload().status)
  end)

  it("goes with a reload to another address", function()
    local old = g.vars.admin
    g:write("main.lua", (SCRIPT:gsub("%${prelude}", (g.vars.prelude:gsub(tostring(old), "${port2}")))))
    assert.equal(200, g:reload().status) -- the answer still comes on the old connection
    g.vars.admin = g.vars.port2
    assert.equal(200, g:admin("/readyz").status)
    peers.run(function() assert.is_false(peers.reachable(old)) end)
    g.vars.admin, g.vars.port2 = g.vars.port2, old
  end)
end)

describe("while the gateway drains", function()
  it("it is alive and not ready, and reloads nothing", function()
    local g = gateway.start { script = SCRIPT, backends = 1 }
    peers.run(function()
      local go_on
      g.backends[1]:answer(function()
        peers.eventually(function() return go_on end, "word to go on")
        return { body = "ok" }
      end)
      local client = g:client()
      client:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      peers.eventually(function() return #g.backends[1].requests == 1 end, "the request")
      g:signal(sys.SIGTERM)
      peers.eventually(function() return g:admin("/readyz").status == 503 end, "not ready")
      assert.equal(200, g:admin("/healthz").status)
      assert.equal("draining", g:status().state)
      local reload = g:reload()
      assert.equal(503, reload.status)
      assert.same({ "the gateway is draining" }, reload.json.errors)
      go_on = true
      local response = client:read_response()
      assert.equal(200, response.status)
      assert.equal("close", response.headers:get("connection"))
    end)
    assert.equal(0, g:wait_exit())
    g:stop()
  end)
end)

describe("on a unix socket", function()
  it("any Host will do, and the path goes at the end", function()
    local g = gateway.start { script = [[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"
      gateway["admin"] "unix:${dir}/admin.sock"; gateway.workers(1)
      gateway.route "/" { to = gateway.respond(200, "hi") }]] }
    peers.run(function()
      local path = "unix:" .. g.dir .. "/admin.sock"
      local response = peers.ask(path, { path = "/readyz", host = "whoever", headers = { Connection = "close" } })
      assert.equal(200, response.status)
      g:signal(sys.SIGTERM)
      g:wait_exit()
      assert.is_nil(io.open(g.dir .. "/admin.sock"))
      assert.is_false(peers.reachable(path))
    end)
    g:stop()
  end)
end)
