-- GET /snapshot and GET /events: what the dashboard shows is what happened; readers that are slow, many, gone, or without a token.

local cjson = require "cjson"
local events = require "spec.support.events"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local function snapshot(g)
  local response = g:admin("/snapshot")
  assert.equal(200, response.status)
  assert.equal("application/json", response.headers:get("Content-Type"))
  return response.json
end

local function by(list, member, value)
  for _, row in ipairs(list) do
    if row[member] == value then return row end
  end
end

local function sum(list)
  local n = 0
  for _, value in ipairs(list) do n = n + value end
  return n
end

describe("a snapshot", function()
  local g
  lazy_setup(function()
    g = gateway.start {
      backends = { "127.0.0.1:0", "127.0.0.1:0", "refused" }, workers = 2,
      files = { ["plugins/twice.lua"] = [[
        return { name = "twice", version = "1.0.0", description = "d", schema = {}, new = function()
          return function(request, next) if request.path == "/plugin/bad" then error("no") end return next() end
        end }]] },
      script = [[${prelude}
        local users = gateway.upstream "users" { "${backend1}", { "${backend2}", backup = true } }
        local gone = gateway.upstream "gone" { "${backend3}", breaker = { failures = 2, open_for = 60 },
          health = { active = { path = "/", interval = 0.1, timeout = 1, rise = 1, fall = 1 }, when_none_healthy = "try_all" } }
        gateway.route "/users" { name = "users", to = users }
        gateway.route "/gone" { to = gone }
        gateway.route "/fixed" { to = gateway.respond(200, "fixed") }
        gateway.route "/moved" { to = gateway.redirect("/fixed", 302) }
        gateway.route "/limited" { use = { gateway.rate_limit { rate = 0.001, burst = 2, by = "none", name = "few" } },
          to = gateway.respond(200, "x") }
        gateway.route "/slow" { name = "<img src=x onerror=alert(1)>", to = function(request)
          gateway.sleep(0.12) return gateway.respond(201, "slow") end }
        gateway.route "/plugin" { use = { gateway.plugin "twice" }, to = gateway.respond(200, "p") }
      ]],
    }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  it("has every request once, by route, class and duration", function()
    peers.run(function()
      g.backends[1]:answer(function(request) return { status = request.target == "/users/bad" and 500 or 200, body = "12345" } end)
      for _ = 1, 7 do assert.equal(200, g:ask("/users").status) end
      for _ = 1, 2 do assert.equal(500, g:ask("/users/bad").status) end
      for _ = 1, 4 do g:ask("/fixed") end
      for _ = 1, 3 do g:ask("/moved") end
      for _ = 1, 5 do g:ask("/nothing") end
      assert.equal(200, g:ask({ path = "/fixed", method = "POST", body = ("x"):rep(100) }).status)
      local s = snapshot(g)
      assert.same({ 0, 0, 7, 0, 0, 2 }, by(s.routes, "name", "users").classes)
      assert.same({ 0, 0, 5, 0, 0, 0 }, by(s.routes, "name", "/fixed").classes)
      assert.same({ 0, 0, 0, 3, 0, 0 }, by(s.routes, "name", "/moved").classes)
      assert.same({ 0, 0, 0, 0, 5, 0 }, by(s.routes, "name", "(none)").classes)
      assert.same({ 0, 0, 12, 3, 5, 2 }, s.total.classes)
      assert.equal(22, s.total.requests)
      assert.equal(9, sum(by(s.routes, "name", "users").durations))
      assert.equal(22, sum(s.total.durations))
      assert.equal(#s.bounds + 1, #s.total.durations)
      assert.equal(45, by(s.routes, "name", "users").bytes_out)
      assert.equal(100, by(s.routes, "name", "/fixed").bytes_in)
      assert.equal(0, s.routes_left_out)
      assert.equal(0, s.requests_in_flight)
      local endpoint = by(by(s.upstreams, "name", "users").endpoints, "address", g.backends[1].at)
      assert.equal(9, endpoint.tries)
      assert.equal(2, endpoint.failed)
      assert.is_true(endpoint.healthy)
      assert.equal(cjson.null, endpoint.breaker)
      assert.equal(0, endpoint.in_flight)
      assert.equal(0, by(by(s.upstreams, "name", "users").endpoints, "address", g.backends[2].at).tries)
      assert.equal(2, #s.workers)
      local requests = 0
      for _, worker in ipairs(s.workers) do requests = requests + worker.requests end
      assert.equal(22, requests)
    end)
  end)

  it("has limits with what they refused", function()
    peers.run(function()
      local refused = 0
      for _ = 1, 6 do refused = refused + (g:ask("/limited").status == 429 and 1 or 0) end
      assert.equal(4, refused)
      local s = snapshot(g)
      assert.same({ route = "/limited", limiter = "few", refused = 4 }, s.limits[1])
      assert.equal(4, s.limited)
    end)
  end)

  it("has an endpoint that is down, its upstream first", function()
    peers.run(function()
      peers.eventually(function() return snapshot(g).endpoints.down == 1 end, "the endpoint is down")
      for _ = 1, 2 do assert.equal(502, g:ask("/gone").status) end
      local s = snapshot(g)
      assert.equal("gone", s.upstreams[1].name)
      local endpoint = s.upstreams[1].endpoints[1]
      assert.same({ "active" }, endpoint.down)
      assert.is_false(endpoint.healthy)
      assert.equal("open", endpoint.breaker)
      assert.equal(2, endpoint.failed)
      assert.equal(2, s.upstreams[1].failed.connect)
      assert.same({ count = 3, down = 1, breakers_open = 1, drained = 0, in_flight = 0 }, s.endpoints)
    end)
  end)

  it("has the slowest requests, their path without its query and in bounds", function()
    peers.run(function()
      local path = "/slow/" .. ("p"):rep(400) .. "?token=secret"
      assert.equal(201, g:ask({ path = path, headers = { ["X-Request-ID"] = "slow-1234" } }).status)
      local s = snapshot(g)
      local row = s.slow[1]
      assert.equal("slow-1234", row.id)
      assert.equal(201, row.status)
      assert.equal("GET", row.method)
      assert.equal("<img src=x onerror=alert(1)>", row.route)
      assert.equal("/slow/" .. ("p"):rep(154), row.path)
      assert.is_true(row.path_cut)
      assert.is_true(row.seconds >= 0.12 and row.seconds < 3, row.seconds)
      assert.is_true(math.abs(row.at - s.time) < 5)
      for i = 2, #s.slow do assert.is_true(s.slow[i].seconds <= s.slow[i - 1].seconds) end
      for _ = 1, 80 do g:ask("/slow") end
      assert.equal(20, #snapshot(g).slow)
    end)
  end)

  it("has plugins and what they did", function()
    peers.run(function()
      for _ = 1, 3 do assert.equal(200, g:ask("/plugin").status) end
      assert.equal(500, g:ask("/plugin/bad").status)
      local s = snapshot(g)
      local plugin = by(s.plugins, "name", "twice")
      assert.equal(4, plugin.calls)
      assert.equal(1, plugin.errors)
      assert.is_false(plugin["function"])
      assert.is_false(plugin.off)
      assert.equal(1, s.lua.errors)
      for _, worker in ipairs(s.workers) do assert.is_true(worker.lua_bytes > 10000) end
    end)
  end)

  it("has the start and each reload, with all that was wrong", function()
    local fine = io.open(g.dir .. "/main.lua"):read("*a")
    g:replace("main.lua", fine .. "\ngateway.route \"/x\" { tu = 1 }")
    assert.equal(422, g:reload().status)
    g:replace("main.lua", fine)
    assert.equal(200, g:reload().status)
    local s = snapshot(g)
    local history = s.reloads.history
    assert.equal("start", history[#history].cause)
    local last = history[1]
    assert.is_true(last.ok)
    assert.same({}, last.errors)
    local refused
    for _, entry in ipairs(history) do refused = refused or (not entry.ok and entry) end
    assert.truthy(refused.errors[1]:find("main.lua:%d+: .*tu"), refused.errors[1])
    assert.equal(s.generation.number, last.generation)
    for _ = 1, 25 do g:reload() end
    assert.equal(20, #snapshot(g).reloads.history)
  end)

  it("counts on over reloads", function()
    local before = by(snapshot(g).routes, "name", "users").requests
    g:reload()
    assert.equal(before, by(snapshot(g).routes, "name", "users").requests)
  end)

  it("has generations that drain", function()
    peers.run(function()
      local go = false
      g.backends[1]:answer(function()
        peers.eventually(function() return go end, "word to answer")
        return { body = "late" }
      end)
      local client = g:client()
      client:write("GET /users HTTP/1.1\r\nHost: a\r\n\r\n")
      peers.eventually(function() return snapshot(g).endpoints.in_flight == 1 end, "one in flight")
      local old = snapshot(g).generation.number
      g:reload()
      peers.eventually(function()
        local draining = snapshot(g).draining
        return #draining == 1 and draining[1].number == old
      end, "the old generation drains")
      assert.equal(1, snapshot(g).requests_in_flight)
      go = true
      assert.equal("late", client:read_response().body)
      peers.eventually(function() return #snapshot(g).draining == 0 end, "it has gone")
    end)
  end)
end)

describe("a snapshot of very much", function()
  it("has the routes with the most traffic of late, what is down, and how many it leaves out", function()
    local g = gateway.start {
      backends = { "127.0.0.1:0", "refused" },
      script = [[${prelude}
        for i = 1, 1000 do
          gateway.route("/r" .. i) { name = "route " .. i, to = gateway.respond(200, "x") }
        end
        for i = 1, 100 do gateway.upstream("u" .. i) { "${backend1}" } end
        local many = {}
        for i = 1, 200 do many[i] = "127.0.1." .. i .. ":9" end
        gateway.upstream "many" (many)
        gateway.upstream "ill" { "${backend2}", health = { active = { path = "/", interval = 0.1, timeout = 1, rise = 1, fall = 1 } } }
      ]],
    }
    peers.run(function()
      for _ = 1, 3 do g:ask("/r777") end
      g:ask("/r999")
      peers.eventually(function() return snapshot(g).endpoints.down == 1 end, "it is down")
      local response = g:admin("/snapshot")
      local s = response.json
      assert.equal(100, #s.routes)
      assert.equal(901, s.routes_left_out) -- with (none)
      assert.equal("route 777", s.routes[1].name)
      assert.equal("route 999", s.routes[2].name)
      assert.equal(4, s.total.requests)
      assert.equal(60, #s.upstreams)
      assert.equal(42, s.upstreams_left_out)
      assert.equal("ill", s.upstreams[1].name)
      assert.equal(301, s.endpoints.count)
      assert.is_true(#response.body < 150000, #response.body)
      local began = peers.now()
      for _ = 1, 20 do snapshot(g) end
      assert.is_true(peers.now() - began < 4)
    end)
    g:stop()
  end)
end)

describe("/events", function()
  local g
  lazy_setup(function()
    g = gateway.start { workers = 2, script = [[${prelude} gateway.route "/" { to = gateway.respond(200, "x") }]] }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  it("gives a snapshot at once and one a second, as /snapshot has it", function()
    peers.run(function()
      local reader = events.open(g.vars.admin)
      assert.equal("text/event-stream", reader.head.headers:get("Content-Type"))
      assert.equal("no-store", reader.head.headers:get("Cache-Control"))
      local began = peers.now()
      local first = reader:snapshot()
      assert.is_true(peers.now() - began < 0.9)
      for _ = 1, 5 do g:ask("/") end
      local second = reader:wait(function(s) return s.total.requests == 5 end, "5 requests", 2)
      assert.is_true(second.time - first.time > 0.5 and second.time - first.time < 3)
      local third = reader:snapshot()
      assert.is_true(third.time - second.time > 0.5)
      local once = snapshot(g)
      assert.same(once.total, third.total)
      for name in pairs(once) do assert.is_not_nil(third[name], name) end
      reader:close()
    end)
  end)

  it("takes 16 readers, then says 503 until one goes", function()
    peers.run(function()
      local readers = {}
      peers.eventually(function() -- those of other tests have gone
        for i = #readers + 1, 16 do
          readers[i] = events.open(g.vars.admin)
          if readers[i].response then
            readers[i] = nil
            return false
          end
        end
        return true
      end, "16 readers")
      assert.equal(503, events.open(g.vars.admin).head.status)
      assert.equal(200, g:admin("/status").status)
      readers[3].conn:reset()
      readers[4]:close()
      peers.eventually(function()
        local one = events.open(g.vars.admin)
        one:close()
        return one.head.status == 200
      end, "a place is free")
      for i, reader in ipairs(readers) do
        if i ~= 3 and i ~= 4 then
          reader:snapshot()
          reader:snapshot()
          reader:close()
        end
      end
    end)
  end)

  it("answers HEAD without a stream, refuses POST", function()
    assert.equal(405, g:admin("/events", "POST").status)
    peers.run(function()
      local response = peers.ask(g.vars.admin, { path = "/events", method = "HEAD", host = "127.0.0.1" })
      assert.equal(200, response.status)
      assert.equal("", response.body)
    end)
  end)

  it("drops what a reader sends", function()
    peers.run(function()
      local reader = events.open(g.vars.admin)
      reader:snapshot()
      reader.conn:write("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n" .. ("x"):rep(100000))
      reader:snapshot()
      reader:snapshot()
      reader:close()
    end)
  end)
end)

describe("/events and", function()
  it("a reader that never reads: others get theirs, it is given up, nothing grows", function()
    local g = gateway.start {
      asan = "quarantine_size_mb=1:thread_local_quarantine_size_kb=64", -- so that what is freed is no growth
      admin = "unix:${dir}/admin", -- a socket whose buffers do not grow
      script = [[${prelude}
        local long = ("n"):rep(3000)
        for i = 1, 120 do gateway.route("/r" .. i) { name = long .. i, to = gateway.respond(200, "x") } end]],
    }
    peers.run(function()
      local stuck = events.open(g.vars.admin, nil, { receive_buffer = 4096 })
      local good = events.open(g.vars.admin)
      good:snapshot()
      local before
      for i = 1, 12 do
        good:snapshot()
        if i == 3 then before = g:resident() end
      end
      assert.is_true(g:resident() - before < 8e6, "memory grew")
      local bytes, finished = 0, false
      while not finished do
        local piece, err = stuck.conn:receive(65536)
        if piece then bytes = bytes + #piece else finished = err == "eof" or err == "reset" or error(err) end
      end
      assert.is_true(bytes < 3e6, bytes)
      good:snapshot()
    end)
    g:stop()
  end)

  it("the end: the last event says so, and the stream ends", function()
    local g = gateway.start {
      backends = 1, script = [[${prelude} gateway.route "/" { to = gateway.upstream "u" { "${backend1}" } }]],
    }
    peers.run(function()
      local go = false
      g.backends[1]:answer(function()
        peers.eventually(function() return go end, "word to answer")
        return { body = "x" }
      end)
      local reader = events.open(g.vars.admin)
      assert.equal("serving", reader:snapshot().state)
      local client = g:client()
      client:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      reader:wait(function(s) return s.requests_in_flight == 1 end, "a request under way")
      g:signal(15)
      reader:wait(function(s) return s.state == "draining" end, "draining", 3)
      reader.conn:expect_close()
      assert.equal(503, events.open(g.vars.admin).head.status)
      go = true
      assert.equal(200, client:read_response().status)
      assert.equal(0, g:wait_exit())
    end)
    g:stop()
  end)

  it("a token: without it 401; another one after a reload ends what was let in by the old", function()
    local script = [[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.workers(1)
      gateway.admin { "127.0.0.1:${admin}", token = "${token}" }]]
    local g = gateway.start { script = script, vars = { token = "first-token-of-some-length" } }
    local first = { Authorization = "Bearer first-token-of-some-length" }
    peers.run(function()
      for _, path in ipairs { "/events", "/snapshot" } do
        assert.equal(401, peers.ask(g.vars.admin, { path = path, host = "127.0.0.1" }).status)
        assert.equal(401, peers.ask(g.vars.admin, { path = path .. "?token=first-token-of-some-length", host = "127.0.0.1" }).status)
      end
      assert.equal(200, peers.ask(g.vars.admin, { path = "/", host = "127.0.0.1" }).status) -- the page asks for it
      local reader = events.open(g.vars.admin, first)
      reader:snapshot()
      g.vars.token = "second-token-of-some-length"
      g:replace("main.lua", script)
      g:signal(1)
      reader.conn.wait = 5
      local ended = pcall(function() while true do reader:snapshot() end end)
      assert.is_false(ended)
      reader.conn:expect_close()
      assert.equal(401, events.open(g.vars.admin, first).head.status)
      assert.equal(200, events.open(g.vars.admin, { Authorization = "Bearer second-token-of-some-length" }).head.status)
    end)
    g:stop()
  end)
end)
