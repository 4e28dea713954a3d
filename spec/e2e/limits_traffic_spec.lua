-- Limits over the wire: who is refused and how, what counts as whom, that limits are exact whichever worker is asked, and that reloads
-- neither refill nor forget. Rates are so low, or windows so long, that nothing comes back while a test runs.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local SLOW = "rate = 0.001"

-- Many requests at once on connections of their own, so that all workers get some: how often each status came.
local function statuses(g, request, count, connections)
  local seen = {}
  peers.run(function()
    local each = math.ceil(count / connections)
    local list = {}
    for i = 1, connections do list[i] = i end
    peers.each(list, #list, function(i)
      local client = g:client()
      for _ = 1, math.min(each, count - (i - 1) * each) do
        local status = client:ask(type(request) == "function" and request(i) or request).status
        seen[status] = (seen[status] or 0) + 1
      end
      client:close()
    end)
  end, { seconds = 60 })
  return seen
end

describe("a route's limits:", function()
  local g
  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.trusted_proxies "127.0.0.1"
        local backend = gateway.upstream "b" { "${backend1}" }
        local function pass(request, next) return next() end
        local function see(request, next) local r = next(); r.headers["X-Seen"] = "1"; return r end
        local function route(path, ...) gateway.route(path) { use = { ... }, to = gateway.respond(200, "fine") } end
        route("/plain", gateway.rate_limit { rate = 0.25, burst = 2 })
        route("/fields", gateway.rate_limit { rate = 0.25, burst = 2, headers = true, name = "api" },
          gateway.rate_limit { limit = 5, window = "1m", headers = true, name = "minute" })
        gateway.route "/backend" { use = { gateway.rate_limit { rate = 1, burst = 10, headers = true } }, to = backend }
        gateway.route "/backend-lua" { use = { gateway.rate_limit { rate = 1, burst = 10, headers = true }, see }, to = backend }
        route("/header", gateway.rate_limit { rate = 0.001, burst = 1, by = "header:X-Key" })
        route("/cookie", gateway.rate_limit { rate = 0.001, burst = 1, by = "cookie:session" })
        route("/query", gateway.rate_limit { rate = 0.001, burst = 1, by = "query:user" })
        route("/path", gateway.rate_limit { rate = 0.001, burst = 1, by = "path" })
        route("/ip", gateway.rate_limit { rate = 0.001, burst = 1, by = "ip" })
        local by_route = gateway.rate_limit { rate = 0.001, burst = 1, by = "route" }
        route("/one", by_route)
        route("/two", by_route)
        local shared = gateway.rate_limit { rate = 0.001, burst = 3, name = "shared" }
        route("/shared-a", shared)
        route("/shared-b", gateway.rate_limit { rate = 0.001, burst = 3, name = "shared" })
        route("/status", gateway.rate_limit { rate = 0.001, burst = 1, status = 503 })
        route("/order", gateway.rate_limit { rate = 0.001, burst = 1, by = "header:X-Key" },
          gateway.rate_limit { rate = 0.001, burst = 3, by = "none" })
        route("/behind", pass, gateway.rate_limit { rate = 0.001, burst = 1, headers = true, name = "behind" })
        route("/function", gateway.rate_limit { rate = 0.001, burst = 1, by = function(request)
          local key = request.headers["x-key"]
          if key == "free" then return nil elseif key == "number" then return 5 elseif key == "wrong" then return {} end
          return key
        end })
        route("/window", gateway.rate_limit { limit = 3, window = 3600 })
      ]],
    }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  local function ask(request)
    if type(request) == "string" then request = { path = request } end
    local response
    peers.run(function()
      g.backends[1]:answer { body = "from behind" }
      response = g:ask(request)
    end)
    return response
  end

  local function refused(response, seconds)
    assert.equal(429, response.status)
    assert.equal(tostring(seconds), response.headers:get "Retry-After")
    assert.equal("application/json", response.headers:get "Content-Type")
    local body = cjson.decode(response.body)
    assert.same({ error = "rate limited", status = 429, request_id = response.headers:get "X-Request-ID" }, body)
  end

  it("a refusal is 429, with the seconds to wait, and said in the log", function()
    assert.equal(200, ask("/plain").status)
    assert.equal(200, ask("/plain").status)
    local response = ask "/plain"
    refused(response, 4)
    assert.is_nil(response.headers:get "RateLimit")
    local line = g:log_wait(function(line) return line.trace_id == response.headers:get "X-Request-ID" end)
    assert.equal(429, line.status)
    assert.equal("rate limited", line.error)
    assert.equal("/plain", line.route)
  end)

  it("RateLimit fields of each limit stand in every answer", function()
    local first, second, third = ask "/fields", ask "/fields", ask "/fields"
    assert.same({ '"api";q=2;w=8', '"minute";q=5;w=60' }, first.headers:all "RateLimit-Policy")
    assert.same({ '"api";r=1;t=4', '"minute";r=4;t=60' }, first.headers:all "RateLimit")
    assert.same({ '"api";r=0;t=8', '"minute";r=3;t=60' }, second.headers:all "RateLimit")
    refused(third, 4)
    assert.same({ '"api";q=2;w=8' }, third.headers:all "RateLimit-Policy")
    assert.same({ '"api";r=0;t=4' }, third.headers:all "RateLimit")
  end)

  for path, label in pairs { ["/backend"] = "default", ["/backend-lua"] = "default-2" } do
    it("an upstream's answer carries them too: " .. path, function()
      local response = ask(path)
      assert.equal("from behind", response.body)
      assert.equal(('"%s";r=9;t=1'):format(label), response.headers:get "RateLimit")
      assert.equal(('"%s";q=10;w=10'):format(label), response.headers:get "RateLimit-Policy")
      assert.is_false(g.backends[1]:last().headers:has "RateLimit")
    end)
  end

  -- requests, each with the status that is due
  local function X(value) return { { "X-Key", value } } end
  local function C(value) return { { "Cookie", value } } end
  local function F(value) return { { "X-Forwarded-For", value } } end
  for what, requests in pairs {
    ["a header"] = {
      { 200, path = "/header", headers = X "a" }, { 429, path = "/header", headers = X "a" }, { 200, path = "/header", headers = X "b" },
      { 200, path = "/header" }, { 429, path = "/header" }, { 429, path = "/header", headers = X "" },
      { 200, path = "/header", headers = { { "X-Key", "a" }, { "X-Key", "b" } } }, { 429, path = "/header", headers = X "a, b" },
    },
    ["a cookie"] = {
      { 200, path = "/cookie", headers = C "x=1; session=a" }, { 429, path = "/cookie", headers = C "session=a; x=2" },
      { 200, path = "/cookie", headers = C "session=b" }, { 200, path = "/cookie", headers = C "other=b" },
      { 429, path = "/cookie" },
    },
    ["a query parameter, however it is written"] = {
      { 200, path = "/query?user=a" }, { 429, path = "/query?user=%61" }, { 200, path = "/query?user=b&x=1" },
      { 429, path = "/query?x=2&user=b" },
      { 200, path = "/query" }, { 429, path = "/query?x=2" },
    },
    ["the path"] = {
      { 200, path = "/path/a" }, { 429, path = "/path/a?x=1" }, { 200, path = "/path/b" }, { 429, path = "/path/%62" },
    },
    ["the route"] = { { 200, path = "/one/a" }, { 429, path = "/one/b" }, { 200, path = "/two" }, { 429, path = "/two/x" } },
    ["the client's address"] = {
      { 200, path = "/ip", headers = F "10.0.0.1" }, { 429, path = "/ip", headers = F "10.0.0.1" },
      { 200, path = "/ip", headers = F "10.0.0.2" }, { 200, path = "/ip", headers = F "2001:db8:1:1::5" },
      { 429, path = "/ip", headers = F "2001:db8:1:1:ffff::6" }, { 200, path = "/ip", headers = F "2001:db8:1:2::5" },
      { 200, path = "/ip" }, { 429, path = "/ip" },
    },
    ["a name that routes share"] = {
      { 200, path = "/shared-a" }, { 200, path = "/shared-b" }, { 200, path = "/shared-a" }, { 429, path = "/shared-b" },
      { 429, path = "/shared-a" },
    },
    ["what a function gives"] = {
      { 200, path = "/function", headers = X "a" }, { 429, path = "/function", headers = X "a" },
      { 200, path = "/function", headers = X "b" },
      { 200, path = "/function", headers = X "free" }, { 200, path = "/function", headers = X "free" },
      { 200, path = "/function", headers = X "number" }, { 429, path = "/function", headers = X "5" },
      { 500, path = "/function", headers = X "wrong" }, { 200, path = "/function" }, { 200, path = "/function" },
    },
    ["a window"] = { { 200, path = "/window" }, { 200, path = "/window" }, { 200, path = "/window" }, { 429, path = "/window" } },
  } do
    it("counted by " .. what, function()
      for i, request in ipairs(requests) do
        assert.equal(request[1], ask(request).status, ("request %d, %s"):format(i, request.path))
      end
    end)
  end

  it("who is refused by one is not counted by the next", function()
    local got = {}
    for i, key in ipairs { "a", "a", "a", "b", "c", "d" } do got[i] = ask({ path = "/order", headers = X(key) }).status end
    assert.same({ 200, 429, 429, 200, 200, 429 }, got)
  end)

  it("refusals are counted at /status", function()
    local function of(name)
      for _, limit in ipairs(g:status().limits) do
        if limit.name == name then return limit end
      end
    end
    local before = of("shared")
    assert.equal("client_limiter", before.kind)
    for _ = 1, 5 do ask "/shared-a" end
    local after = of("shared")
    assert.truthy(after.refused >= before.refused + 2, after.refused)
    ask "/shared-b"
    assert.equal(after.refused + 1, of("shared").refused)
  end)

  it("the status of refusals can be another", function()
    assert.equal(200, ask("/status").status)
    local response = ask "/status"
    assert.equal(503, response.status)
    assert.equal("1000", response.headers:get "Retry-After")
  end)

  it("behind a Lua function they answer in the same words", function()
    assert.equal('"behind";r=0;t=1000', ask("/behind").headers:get "RateLimit")
    local response = ask "/behind"
    refused(response, 1000)
    assert.equal('"behind";r=0;t=1000', response.headers:get "RateLimit")
    local line = g:log_wait(function(line) return line.trace_id == response.headers:get "X-Request-ID" end)
    assert.equal("rate limited", line.error)
  end)

  it("the connection goes on after a refusal, its body stepped over", function()
    peers.run(function()
      local client = g:client()
      for _ = 1, 4 do client:ask { path = "/window" } end
      local response = client:ask { method = "POST", path = "/window", body = ("x"):rep(1000) }
      assert.equal(429, response.status)
      assert.equal(404, client:ask({ path = "/nowhere" }).status)
      assert.equal(429, client:ask({ method = "HEAD", path = "/window" }).status)
      assert.equal(404, client:ask({ path = "/nowhere" }).status)
    end)
  end)
end)

describe("a concurrency limit:", function()
  local g
  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        local b = gateway.upstream "b" { "${backend1}" }
        local function route(path, ...) gateway.route(path) { use = { ... }, to = b } end
        route("/all", gateway.concurrency_limit { max = 2, headers = true })
        route("/key", gateway.concurrency_limit { max = 1, by = "header:X-Key" })
        route("/lua", function(_, next) return next() end, gateway.concurrency_limit { max = 2 })
        route("/both", gateway.concurrency_limit { max = 2 }, gateway.concurrency_limit { max = 1, by = "ip" })
      ]],
    }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  -- Backends that answer when told to.
  local function held(f)
    peers.run(function()
      local waiting, gate = 0, { open = false }
      g.backends[1]:answer(function()
        waiting = waiting + 1
        peers.eventually(function() return gate.open end, "the gate")
        waiting = waiting - 1
        return { body = "done" }
      end)
      f(gate, function(n) peers.eventually(function() return waiting == n end, n .. " requests at the backend") end)
    end, { seconds = 60 })
  end

  for _, path in ipairs { "/all", "/lua" } do
    it("no more than max are in flight, and places come back: " .. path, function()
      held(function(gate, wait)
        local one, two = g:client(), g:client()
        one:write("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        two:write("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        wait(2)
        local response = g:ask(path)
        assert.equal(429, response.status)
        assert.equal("1", response.headers:get "Retry-After")
        assert.equal("too many concurrent requests", cjson.decode(response.body).error)
        gate.open = true
        assert.equal(200, one:read_response().status)
        assert.equal(200, two:read_response().status)
        for _ = 1, 5 do assert.equal(200, g:ask(path).status) end
      end)
    end)
  end

  it("says what is left", function()
    peers.run(function()
      g.backends[1]:answer()
      local response = g:ask "/all"
      assert.equal('"default";q=2;qu="concurrent-requests"', response.headers:get "RateLimit-Policy")
      assert.equal('"default";r=1', response.headers:get "RateLimit")
    end)
  end)

  it("clients that go away give their places back", function()
    peers.run(function()
      local came = 0
      g.backends[1]:serve(function(conn)
        conn:read_request()
        came = came + 1
        conn:hang()
      end)
      for round = 1, 10 do
        local clients = {}
        for i = 1, 2 do
          clients[i] = g:client()
          clients[i]:write "GET /all HTTP/1.1\r\nHost: a\r\n\r\n"
        end
        peers.eventually(function() return came == 2 * round end, "both requests at the backend")
        assert.equal(429, g:ask("/all").status)
        for i = 1, 2 do clients[i]:reset() end
        peers.eventually(function() return g:status().workers[1].connections.active == 0 end, "no connections")
      end
    end, { seconds = 60 })
  end)

  it("backends that fail give them back", function()
    peers.run(function()
      g.backends[1]:serve(function(conn)
        conn:read_request()
        conn:reset()
      end)
      for _ = 1, 6 do assert.equal(502, g:ask("/all").status) end
    end)
  end)

  it("by key; and a refusal further down gives back the places above", function()
    held(function(gate, wait)
      local a, b, both = g:client(), g:client(), g:client()
      a:write "GET /key HTTP/1.1\r\nHost: a\r\nX-Key: a\r\n\r\n"
      wait(1)
      assert.equal(429, g:ask({ path = "/key", headers = { { "X-Key", "a" } } }).status)
      b:write "GET /key HTTP/1.1\r\nHost: a\r\nX-Key: b\r\n\r\n"
      both:write "GET /both HTTP/1.1\r\nHost: a\r\n\r\n"
      wait(3)
      for _ = 1, 5 do assert.equal(429, g:ask("/both").status) end
      gate.open = true
      for _, client in ipairs { a, b, both } do assert.equal(200, client:read_response().status) end
      assert.equal(200, g:ask("/both").status)
      assert.equal(200, g:ask({ path = "/key", headers = { { "X-Key", "a" } } }).status)
    end)
  end)
end)

describe("with two workers", function()
  local SCRIPT = [[${prelude}
    gateway.access_log(false)
    local bucket = gateway.token_bucket { rate = 0.001, burst = 50 }
    local clients = gateway.client_limiter { rate = 0.001, burst = 50, name = "by-hand" }
    local window = gateway.sliding_window { limit = 50, window = 3600 }
    local function by_hand(path, allow)
      gateway.route(path) { to = function(request)
        return gateway.respond(allow(request) and 200 or 429, "")
      end }
    end
    local function route(path, ...) gateway.route(path) { use = { ... }, to = gateway.respond(200) } end
    route("/none", gateway.rate_limit { rate = 0.001, burst = 50, by = "none" })
    route("/ip", gateway.rate_limit { rate = 0.001, burst = 50, name = "ip" })
    route("/window", gateway.rate_limit { limit = 50, window = 3600, by = "none" })
    route("/keyed-window", gateway.rate_limit { limit = 50, window = 3600 })
    route("/chain", function(_, next) return next() end, gateway.rate_limit { rate = 0.001, burst = 50 })
    by_hand("/bucket", function() return (bucket:allow()) end)
    by_hand("/clients", function(request) return (clients:allow(request.client_ip)) end)
    by_hand("/hand-window", function() return (window:allow()) end)
  ]]
  local g
  lazy_setup(function() g = gateway.start { workers = 2, script = SCRIPT } end)
  lazy_teardown(function() if g then g:stop() end end)

  for _, path in ipairs { "/none", "/ip", "/window", "/keyed-window", "/chain", "/bucket", "/clients", "/hand-window" } do
    it(path .. " admits exactly its burst, through reloads", function()
      local first = statuses(g, path, 40, 8)
      assert.same({ [200] = 40 }, first)
      assert.equal(200, g:reload().status)
      local seen = statuses(g, path, 200, 20)
      assert.same({ [200] = 10, [429] = 190 }, seen)
      assert.equal(200, g:reload().status)
      assert.same({ [429] = 20 }, statuses(g, path, 20, 4))
      local workers = g:status().workers
      assert.truthy(workers[1].requests > 0 and workers[2].requests > 0)
    end)
  end
end)

describe("breakers, balancers and health by hand", function()
  it("are one for both workers, and outlive reloads", function()
    local g = gateway.start {
      workers = 2,
      script = [[${prelude}
        gateway.access_log(false)
        local breakers = gateway.breakers { failures = 3, open_for = "1h" }
        local balancer = gateway.balancer.round_robin { "a", "b", name = "turns" }
        local loads = gateway.balancer.least_conn { "a", "b" }
        local health = gateway.health.passive { "a", "b", min_requests = 4, error_rate = 0.5, eject_for = "1h" }
        local function route(path, f) gateway.route(path) { to = function(request) return gateway.respond(200, f(request)) end } end
        route("/fail", function(request) breakers:of(request.headers["x-key"]):failure() return "" end)
        route("/state", function(request) return breakers:of(request.headers["x-key"]).state end)
        route("/next", function() return balancer:next() end)
        route("/load", function() loads:next() return loads:in_flight "a" .. " " .. loads:in_flight "b" end)
        route("/record", function() return health:record("a", false) or "" end)
        route("/healthy", function() return tostring(health:healthy "a") .. " " .. tostring(health:healthy "b") end)
      ]],
    }
    local function ask(path, key)
      local response = g:ask { path = path, headers = { { "X-Key", key or "" } } }
      assert.equal(200, response.status)
      return response.body
    end
    local function together()
      assert.equal("open", ask("/state", "sick"))
      assert.equal("closed", ask("/state", "well"))
      assert.equal("false true", ask "/healthy")
    end
    for _ = 1, 3 do ask("/fail", "sick") end
    local events = {}
    for i = 1, 4 do events[i] = ask "/record" end
    assert.same({ "", "", "", "down" }, events)
    for _ = 1, 8 do together() end -- whichever worker answers
    local turns, last = 0, ask "/next"
    for round = 1, 4 do
      for _ = 1, 5 do
        local now = ask "/next"
        if now ~= last then turns = turns + 1 end
        last = now
      end
      assert.equal(("%d %d"):format(round, round), (ask "/load" and ask "/load"))
      assert.equal(200, g:reload().status)
      together()
    end
    assert.equal(20, turns)
    g:stop()
  end)
end)

describe("a reload", function()
  local function script(options)
    return ([[${prelude}
      gateway.access_log(false)
      gateway.route "/" { use = { gateway.rate_limit { name = "api", %s } }, to = gateway.respond(200) }]]):format(options)
  end
  local function reset_lines(g)
    local out = {}
    for _, line in ipairs(g:log()) do
      if line.message == "state was reset because its settings changed" then out[#out + 1] = line.reset end
    end
    return out
  end
  -- settings before, how many pass; settings after, how many pass; what the log says of it
  for what, case in pairs {
    ["with a larger burst gives the difference"] = { SLOW .. ", burst = 5", 5, SLOW .. ", burst = 8", 3 },
    ["with a smaller burst gives nothing"] = { SLOW .. ", burst = 5", 5, SLOW .. ", burst = 2", 0 },
    ["with another table keeps what clients used"] = { SLOW .. ", burst = 5", 4, SLOW .. ", burst = 5, max_clients = 7", 1 },
    ["with a longer window keeps the count"] = { "limit = 5, window = 3600", 5, "limit = 6, window = 7200", 1 },
    ["with another key begins anew, and says so"] = { SLOW .. ", burst = 5", 5, SLOW .. ', burst = 5, by = "path"', 5,
      'rate_limit "api" begins anew: what it counts by changed' },
    ["with another kind begins anew, and says so"] = { SLOW .. ", burst = 5", 5, "limit = 5, window = 3600", 5,
      'rate_limit "api" begins anew: it is of another kind now' },
  } do
    it(what, function()
      local before, used, after, left, said = unpack(case, 1, 5)
      local g = gateway.start { workers = 2, script = script(before) }
      assert.same({ [200] = used }, statuses(g, "/", used, used))
      local generation = g:generation()
      g:write("main.lua", g:fill(script(after)))
      g:reload()
      g:log_wait(function(line) return line.message == "generation serving" and line.generation == generation + 1 end)
      local seen = statuses(g, "/", left + 3, left + 3)
      assert.same({ left > 0 and left or nil, 3 }, { seen[200], seen[429] })
      assert.same({ said }, reset_lines(g))
      g:stop()
    end)
  end

  it("that is refused leaves limits as they are", function()
    local g = gateway.start { script = script(SLOW .. ", burst = 5") }
    assert.same({ [200] = 4 }, statuses(g, "/", 4, 2))
    g:write("main.lua", g:fill(script(SLOW .. ", burst = 500") .. "\nerror 'no'"))
    assert.are_not.equal(200, g:reload().status)
    assert.same({ [200] = 1, [429] = 3 }, statuses(g, "/", 4, 2))
    g:stop()
  end)

  it("every few milliseconds under load lets nobody through twice", function()
    local g = gateway.start { workers = 2, script = script(SLOW .. ", burst = 300") }
    local admitted, refused, reloads = 0, 0, 0
    peers.run(function()
      local busy = 10
      for _ = 1, 10 do
        peers.spawn(function()
          local client = g:client()
          for _ = 1, 100 do
            local status = client:ask("/").status
            if status == 200 then admitted = admitted + 1 else refused = refused + 1 end
          end
          client:close()
          busy = busy - 1
        end)
      end
      while busy > 0 do
        if g:admin("/reload", "POST").status == 200 then reloads = reloads + 1 end
      end
    end, { seconds = 60 })
    assert.equal(300, admitted)
    assert.equal(700, refused)
    assert.truthy(reloads > 0)
    g:stop()
  end)
end)

it("gateway routes names limits with the functions", function()
  local result = gateway.command {
    args = { "routes", "${dir}/main.lua" },
    script = [[${prelude}
      gateway.route "/" { use = { gateway.rate_limit { rate = 5, burst = 10, name = "api" },
        function(_, next) return next() end }, to = gateway.respond(200) }]],
  }
  assert.equal(0, result.code)
  assert.truthy(result.stdout:find("rate_limit%(api: 5/s burst 10, by ip%), [^ ]*%.lua:%d+"), result.stdout)
end)
