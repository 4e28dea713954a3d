-- Who gets which request: balancing, passive health, retries and concurrency limits, seen from the clients and the backends.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local function start(options, count, more)
  local list = {}
  for i = 1, count do list[i] = ('{ "${backend%d}", %s }'):format(i, more and more[i] or "") end
  return gateway.start {
    backends = count, workers = 1,
    script = ('${prelude} gateway.route "/" { to = gateway.upstream "u" { %s, %s } }'):format(table.concat(list, ", "), options),
  }
end

-- Each backend answers with its number.
local function numbered(g)
  for i, backend in ipairs(g.backends) do backend:answer { body = tostring(i) } end
end

-- Who answered n requests: a string such as "112", and how many each one got.
local function who(client, n, request)
  local text, counts = {}, { 0, 0, 0, 0 }
  for i = 1, n do
    local response = client:ask(type(request) == "function" and request(i) or request or "/")
    assert.equal(200, response.status)
    text[i] = response.body
    counts[tonumber(response.body)] = counts[tonumber(response.body)] + 1
  end
  return table.concat(text), counts
end

local function with(g, f)
  local ok, err = pcall(peers.run, function() f(g) end)
  if not ok then g:stop() error(err, 0) end
  g:stop()
end

local function endpoints(g) return g:status().upstreams[1].endpoints end

local function nothing_in_flight(g)
  peers.eventually(function()
    for _, endpoint in ipairs(endpoints(g)) do if endpoint.in_flight ~= 0 then return false end end
    return true
  end, "nothing in flight")
end

describe("balance:", function()
  it("round_robin takes each in turn", function()
    with(start("", 3), function(g)
      numbered(g)
      local text = who(g:client(), 6)
      assert.is_truthy(("123123123"):find(text, 1, true), text)
    end)
  end)

  it("weights alone mean weighted: nginx's sequence", function()
    with(start("", 3, { "weight = 5" }), function(g)
      numbered(g)
      local text = who(g:client(), 14)
      assert.is_truthy(("1121311"):rep(4):find(text, 1, true), text)
      nothing_in_flight(g)
    end)
  end)

  it("weight = 0 takes nothing", function()
    with(start('balance = "random"', 2, { "weight = 0" }), function(g)
      numbered(g)
      assert.equal("22222222", (who(g:client(), 8)))
    end)
  end)

  it("least_conn avoids who is busy", function()
    with(start('balance = "least_conn"', 2), function(g)
      local held
      for i, backend in ipairs(g.backends) do
        backend:answer(function(request)
          if request.target == "/hold" then
            held = i
            peers.eventually(function() return held == false end, "release")
          end
          return { body = tostring(i) }
        end)
      end
      local slow = g:client()
      slow:send(message.request { path = "/hold" })
      peers.eventually(function() return held end, "the held request")
      local other = tostring(3 - held)
      assert.equal(other:rep(6), (who(g:client(), 6)))
      held = false
      assert.equal(200, slow:read_response().status)
      nothing_in_flight(g)
    end)
  end)

  for _, name in ipairs { "ewma", "random" } do
    it(name .. " uses all", function()
      with(start(('balance = %q'):format(name), 3), function(g)
        numbered(g)
        local _, counts = who(g:client(), 90)
        for i = 1, 3 do assert.is_true(counts[i] > 0, table.concat(counts, " ")) end
        nothing_in_flight(g)
      end)
    end)
  end

  for _, case in ipairs {
    { 'balance = "hash", hash_on = "header:X-User"', function(key) return { headers = { ["x-user"] = key } } end },
    { 'balance = "hash", hash_on = "cookie:user"', function(key) return { headers = { cookie = "a=1; user=" .. key } } end },
    { 'balance = "hash", hash_on = "query:user"', function(key) return { path = "/?a=1&user=" .. key } end },
    { 'balance = "hash", hash_on = "path"', function(key) return { path = "/" .. key } end },
    { 'balance = "hash", hash_on = "path", load_factor = 3', function(key) return { path = "/" .. key } end },
    { 'balance = "maglev", hash_on = "header:x-user"', function(key) return { headers = { ["x-user"] = key } } end },
    { 'balance = "maglev", hash_on = function(request) return request.headers["x-user"]:sub(1, 4) end',
      function(key) return { headers = { ["x-user"] = key .. tostring(math.random(1000)) } } end },
  } do
    it(case[1] .. ": a key stays where it is", function()
      with(start(case[1], 3), function(g)
        numbered(g)
        local client, used, seen = g:client(), {}, 0
        for i = 1, 24 do
          local key = ("k%03d"):format(i)
          local at = client:ask(case[2](key)).body
          for _ = 1, 3 do assert.equal(at, client:ask(case[2](key)).body) end
          if not used[at] then used[at], seen = true, seen + 1 end
        end
        assert.equal(3, seen)
      end)
    end)
  end

  it("hash on the client's address: one endpoint for one client", function()
    with(start('balance = "hash"', 3), function(g)
      numbered(g)
      local text = who(g:client(), 8)
      assert.equal(text:sub(1, 1):rep(8), text)
    end)
  end)

  it("without the field that the key is made of, requests are spread", function()
    with(start('balance = "hash", hash_on = "header:x-user"', 2), function(g)
      numbered(g)
      local _, counts = who(g:client(), 60)
      assert.is_true(counts[1] > 0 and counts[2] > 0)
    end)
  end)

  it("a `to` function's upstream with a hash function", function()
    local g = gateway.start {
      backends = 3,
      script = [[${prelude}
        local u = gateway.upstream "u" { "${backend1}", "${backend2}", "${backend3}", balance = "maglev",
          hash_on = function(request) return request.headers.k end }
        gateway.route "/" { to = function(request) return u end }]],
    }
    with(g, function()
      numbered(g)
      local client, used, seen = g:client(), {}, 0
      for i = 1, 24 do
        local at = client:ask({ headers = { k = "k" .. i } }).body
        assert.equal(at, client:ask({ headers = { k = "k" .. i } }).body)
        if not used[at] then used[at], seen = true, seen + 1 end
      end
      assert.equal(3, seen)
    end)
  end)

  it("a backup is asked when no primary is left", function()
    with(start("", 2, { "", "backup = true" }), function(g)
      numbered(g)
      local client = g:client()
      assert.equal("1111", (who(client, 4)))
      g.backends[1]:close()
      for conn in pairs(g.backends[1].open) do conn:close() end
      assert.equal("222", (who(client, 3)))
    end)
  end)

  it("in YAML too", function()
    local g = gateway.start {
      backends = 2,
      files = { ["routes.yaml"] = [[
upstreams:
  u:
    endpoints: [ { address: "${backend1}", weight: 3 }, "${backend2}" ]
    balance: weighted
    retry: { attempts: 2, on: [ connect, 503 ] }
    breaker: { failures: 5 }
    health: { passive: { window: 5s } }
routes:
  - path: /
    to: u
]] },
      script = '${prelude} gateway.load "routes.yaml"',
    }
    with(g, function()
      numbered(g)
      local _, counts = who(g:client(), 8)
      assert.same({ 6, 2 }, { counts[1], counts[2] })
    end)
  end)
end)

describe("a retry", function()
  local function attempts(g, n)
    g:log_wait(function(line) return line.type == "access" and line.attempts == n end, n .. " attempts")
  end

  for _, case in ipairs {
    { "a listed status", function() return { status = 503, body = "no" } end },
    { "a listed status without a body", function() return { status = 503, headers = { ["Content-Length"] = "0" } } end },
    { "a reset", function(_, conn) conn:reset() return nil end },
    { "an end in the head", function(_, conn) conn:write "HTTP/1.1 200 O" conn:close() return nil end },
    { "a timeout", function(_, conn) conn:wait_end() return nil end },
  } do
    it("on " .. case[1] .. " goes to another endpoint", function()
      with(start('retry = { attempts = 2, on = { "connect", "reset", "timeout", 503 }, per_try = 0.3, backoff = 0 }', 2), function(g)
        g.backends[1]:answer(case[2])
        g.backends[2]:answer { body = "2" }
        local client = g:client()
        for _ = 1, 4 do assert.equal("2", client:ask("/").body) end
        attempts(g, 2)
        assert.equal("2", client:ask({ method = "PUT", headers = { ["Content-Length"] = "0" } }).body)
        assert.equal("2", client:ask({ method = "PUT", headers = { ["Content-Length"] = "0" } }).body)
        assert.equal("2", client:ask({ method = "PUT", body = ("x"):rep(5000) }).body)
        assert.equal("2", client:ask({ method = "PUT", body = ("y"):rep(5000) }).body)
        local last = g.backends[2].requests
        assert.equal(("x"):rep(5000), last[#last - 1].body)
        assert.equal(("y"):rep(5000), last[#last].body)
        nothing_in_flight(g)
      end)
    end)
  end

  it("is not for POST, unless told so", function()
    with(start('balance = "weighted", retry = { on = { 503 }, backoff = 0 }', 2, { "weight = 1", "backup = true" }), function(g)
      g.backends[1]:answer { status = 503 }
      g.backends[2]:answer { body = "2" }
      local client = g:client()
      assert.equal(503, client:ask({ method = "POST", body = "hello" }).status)
      assert.equal(503, client:ask({ method = "POST", headers = { ["Content-Length"] = "0" } }).status)
      assert.equal(200, client:ask("/").status)
    end)
    with(start('retry = { on = { 503 }, backoff = 0, non_idempotent = true }', 2, { "", "backup = true" }), function(g)
      g.backends[1]:answer { status = 503 }
      g.backends[2]:answer { body = "2" }
      local client = g:client()
      assert.equal(200, client:ask({ method = "POST", body = "hello" }).status)
      assert.equal("hello", g.backends[2].requests[1].body)
    end)
  end)

  it("is not for a body that is too long to keep", function()
    with(start('retry = { on = { 503 }, backoff = 0, body = 100 }', 2, { "", "backup = true" }), function(g)
      g.backends[1]:answer { status = 503 }
      g.backends[2]:answer { body = "2" }
      local client = g:client()
      assert.equal(200, client:ask({ method = "PUT", body = ("x"):rep(100) }).status)
      assert.equal(503, client:ask({ method = "PUT", body = ("x"):rep(101) }).status)
    end)
  end)

  it("a body that comes slowly is taken in first", function()
    with(start('retry = { on = { 503 }, backoff = 0 }', 2, { "", "backup = true" }), function(g)
      g.backends[1]:answer { status = 503 }
      g.backends[2]:answer { body = "2" }
      local client = g:client()
      client:send "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
      assert.equal(100, client:read_response_head().status)
      client:send "hello"
      peers.sleep(0.05)
      assert.equal(0, #g.backends[1].requests)
      client:send "world"
      assert.equal(200, client:read_response().status)
      assert.equal("helloworld", g.backends[2].requests[1].body)
      assert.equal("2", client:ask("/").body)
    end)
  end)

  it("ends with what the last try said", function()
    with(start('retry = { attempts = 3, on = { 503 }, backoff = 0 }', 1), function(g)
      g.backends[1]:answer { status = 503, body = "really" }
      local response = g:client():ask "/"
      assert.equal(503, response.status)
      assert.equal("really", response.body)
      assert.equal(3, #g.backends[1].requests)
      attempts(g, 3)
      nothing_in_flight(g)
    end)
  end)

  it("waits for its back-off, and a client that goes away ends it", function()
    with(start('retry = { attempts = 2, on = { 503 }, backoff = { base = 30, most = 30 } }', 1), function(g)
      g.backends[1]:answer { status = 503 }
      local client = g:client()
      client:send(message.request {})
      peers.eventually(function() return #g.backends[1].requests == 1 end, "the first try")
      peers.sleep(0.05)
      client:close()
      g:log_wait(function(line) return line.type == "access" and line.status == 499 end)
      assert.equal(1, #g.backends[1].requests)
      nothing_in_flight(g)
    end)
  end)

  it("takes from a budget", function()
    with(start('retry = { attempts = 2, on = { 503 }, backoff = 0, budget = { share = 0, minimum = 0 } }', 2), function(g)
      for _, backend in ipairs(g.backends) do backend:answer { status = 503 } end
      local client = g:client()
      for _ = 1, 6 do assert.equal(503, client:ask("/").status) end
      assert.equal(6, #g.backends[1].requests + #g.backends[2].requests)
    end)
    with(start('retry = { attempts = 2, on = { 503 }, backoff = 0, budget = { share = 0, minimum = 1 } }', 1), function(g)
      local waiting, release = 0, false
      g.backends[1]:answer(function()
        waiting = waiting + 1
        peers.eventually(function() return release end, "release")
        return { status = 503 }
      end)
      local clients = { g:client(), g:client(), g:client(), g:client() }
      for _, client in ipairs(clients) do client:send(message.request {}) end
      peers.eventually(function() return waiting == 4 end, "four at once")
      release = true
      for _, client in ipairs(clients) do assert.equal(503, client:read_response().status) end
      -- One place in the budget, given back each time: at least one of the four had a second try, and the next one has again.
      assert.is_true(#g.backends[1].requests >= 5)
      local before = #g.backends[1].requests
      assert.equal(503, clients[1]:ask("/").status)
      assert.equal(before + 2, #g.backends[1].requests)
    end)
  end)

  it("through Lua that waits for the answer", function()
    local g = gateway.start {
      backends = 2,
      script = [[${prelude}
        gateway.route "/" {
          use = { function(request, next) local response = next() response.headers["X-Status"] = response.status return response end },
          to = gateway.upstream "u" { "${backend1}", { "${backend2}", backup = true }, retry = { on = { 503 } } },
        }]],
    }
    with(g, function()
      g.backends[1]:answer { status = 503 }
      g.backends[2]:answer { body = "2" }
      local response = g:client():ask { method = "PUT", body = "hello" }
      assert.same({ 200, "200", "2" }, { response.status, response.headers:get "x-status", response.body })
    end)
  end)
end)

describe("a hedge", function()
  -- The first backend takes its time for /late and hangs for ever for /hang, until its connection ends.
  local function slow_first(g)
    local ended = 0
    g.backends[1]:answer(function(request, conn)
      if request.target == "/hang" then
        conn:wait_end()
        ended = ended + 1
        return nil
      end
      if request.target == "/late" then peers.sleep(0.3) end
      if request.target == "/reset" then peers.sleep(0.15) conn:reset() return nil end
      return { body = "1" }
    end)
    return function() return ended end
  end

  it("begins when the answer is late; the first answer wins, the other try is cancelled", function()
    with(start('retry = { hedge = 0.05 }, breaker = { failures = 1, open_for = 60 }', 2, { "", "backup = true" }), function(g)
      local ended = slow_first(g)
      g.backends[2]:answer { body = "2" }
      local client = g:client()
      for i = 1, 3 do
        assert.equal("2", client:ask("/hang").body)
        peers.eventually(function() return ended() == i end, "the first try's end")
      end
      assert.equal("1", client:ask("/").body) -- cancelled is not failed: the breaker is closed
      assert.equal("2", client:ask({ method = "PUT", path = "/hang", body = "hello" }).body)
      assert.equal("hello", g.backends[2].requests[#g.backends[2].requests].body)
      nothing_in_flight(g)
    end)
  end)

  it("may lose against the first try", function()
    with(start('retry = { hedge = 0.05 }', 2, { "", "backup = true" }), function(g)
      slow_first(g)
      local ended = false
      g.backends[2]:answer(function(_, conn) conn:wait_end() ended = true return nil end)
      local client = g:client()
      assert.equal("1", client:ask("/late").body)
      peers.eventually(function() return ended end, "the second try's end")
      nothing_in_flight(g)
    end)
  end)

  it("outlives a first try that fails, and fails for itself", function()
    with(start('retry = { hedge = 0.05, on = { "connect" } }', 2, { "", "backup = true" }), function(g)
      slow_first(g)
      local mode = "late"
      g.backends[2]:answer(function(_, conn)
        if mode == "reset" then conn:reset() return nil end
        peers.sleep(0.4)
        return { body = "2" }
      end)
      local client = g:client()
      assert.equal("2", client:ask("/reset").body)
      mode = "reset"
      assert.equal("1", client:ask("/late").body) -- the second fails, the first goes on
      assert.equal(502, client:ask("/reset").status) -- both
      nothing_in_flight(g)
    end)
  end)

  it("is not for what is quick, for POST, or without anybody else", function()
    with(start('retry = { hedge = 0.05 }', 2, { "", "backup = true" }), function(g)
      slow_first(g)
      g.backends[2]:answer { body = "2" }
      local client = g:client()
      assert.equal("1", client:ask("/").body)
      assert.equal("1", client:ask({ method = "POST", path = "/late", body = "x" }).body)
      assert.equal(0, #g.backends[2].requests)
    end)
    with(start('retry = { hedge = 0.05 }', 1), function(g)
      slow_first(g)
      assert.equal("1", g:client():ask("/late").body)
      assert.equal(1, #g.backends[1].requests)
    end)
  end)

  it("ends with its client, and with the total time", function()
    with(start('retry = { hedge = 0.05 }, timeouts = { total = 0.5 }', 2, { "", "backup = true" }), function(g)
      local ended = slow_first(g)
      local ended2, started2 = 0, 0
      g.backends[2]:answer(function(_, conn) started2 = started2 + 1 conn:wait_end() ended2 = ended2 + 1 return nil end)
      local client = g:client()
      assert.equal(504, client:ask("/hang").status)
      peers.eventually(function() return ended() == 1 and ended2 == 1 end, "the end of both")
      client:send(message.request { path = "/hang" })
      peers.eventually(function() return started2 == 2 end, "the second try")
      client:close()
      peers.eventually(function() return ended() == 2 and ended2 == 2 end, "the end of both")
      nothing_in_flight(g)
    end)
  end)
end)

describe("passive health", function()
  it("ejects who fails, keeps it out over a reload, and takes it back", function()
    local g = start('health = { passive = { window = 30, error_rate = 0.5, min_requests = 4, eject_for = 1.5 } }', 2)
    with(g, function()
      local status = 500
      g.backends[1]:answer(function() return { status = status, body = "1" } end)
      g.backends[2]:answer { body = "2" }
      local client, failed = g:client(), 0
      for _ = 1, 8 do if client:ask("/").status == 500 then failed = failed + 1 end end
      assert.equal(4, failed)
      g:log_wait(function(line) return line.message == "endpoint down" and line.upstream == "u" end)
      status = 200
      assert.equal("222222", (who(client, 6)))
      assert.equal(200, g:reload().status)
      assert.equal("222222", (who(client, 6)))
      peers.eventually(function() return client:ask("/").body == "1" end, "the first one is back", 10)
    end)
  end)

  it("a request of an older generation ejects for the present one, too", function()
    with(start('balance = "least_conn", health = { passive = { min_requests = 1, eject_for = 60 } }', 2), function(g)
      local held
      for i, backend in ipairs(g.backends) do
        backend:answer(function(request)
          if request.target == "/hold" then
            held = i
            peers.eventually(function() return held == false end, "release")
            return { status = 500 }
          end
          return { body = tostring(i) }
        end)
      end
      local slow, client = g:client(), g:client()
      slow:send(message.request { path = "/hold" })
      peers.eventually(function() return held end, "the held request")
      local other = tostring(3 - held)
      assert.equal(200, g:reload().status)
      held = false
      assert.equal(500, slow:read_response().status)
      assert.equal(other:rep(10), (who(client, 10)))
    end)
  end)

  it("never ejects more than max_ejected", function()
    with(start("health = { passive = { min_requests = 2, eject_for = 60 }, max_ejected = 50 }", 2), function(g)
      for _, backend in ipairs(g.backends) do backend:answer { status = 500 } end
      local client = g:client()
      for _ = 1, 20 do assert.equal(500, client:ask("/").status) end
    end)
  end)

  for _, case in ipairs { { "refuse", 503, 2 }, { "try_all", 500, 8 } } do
    it("with none left: " .. case[1], function()
      with(start(('health = { passive = { min_requests = 2, eject_for = 60 }, max_ejected = 100, when_none_healthy = %q }'):format(case[1]),
        1), function(g)
        g.backends[1]:answer { status = 500 }
        local client = g:client()
        for _ = 1, 2 do assert.equal(500, client:ask("/").status) end
        for _ = 1, 6 do assert.equal(case[2], client:ask("/").status) end
        assert.equal(case[3], #g.backends[1].requests)
      end)
    end)
  end
end)

describe("concurrency", function()
  for _, option in ipairs { "concurrency = 1", "concurrency = { initial = 1, most = 1 }" } do
    it(option .. ": one more is refused, and the place is free again", function()
      local g = start(option, 1)
      with(g, function()
        local held
        g.backends[1]:answer(function(request)
          if request.target == "/hold" then
            held = true
            peers.eventually(function() return held == false end, "release")
          end
          return { body = "x" }
        end)
        local client, slow = g:client(), g:client()
        for _ = 1, 3 do
          slow:send(message.request { path = "/hold" })
          peers.eventually(function() return held end, "the held request")
          local response = client:ask "/"
          assert.same({ 503, "1" }, { response.status, response.headers:get "retry-after" })
          assert.equal(200, g:reload().status) -- a reload forgets nobody
          assert.equal(503, client:ask("/").status)
          held = false
          assert.equal(200, slow:read_response().status)
          assert.equal(200, client:ask("/").status)
        end
        held = nil
        slow:send(message.request { path = "/hold" })
        peers.eventually(function() return held end, "the held request")
        slow:close() -- it goes away without an answer
        peers.eventually(function() return client:ask("/").status == 200 end, "its place")
        held = false
      end)
    end)
  end
end)

describe("two endpoints, retries on:", function()
  it("one killed under load, reloads all the while: no client sees an error", function()
    local g = gateway.start {
      backends = 2, workers = 2,
      script = [[${prelude}
        gateway.route "/" { to = gateway.upstream "u" { "${backend1}", "${backend2}",
          retry = { attempts = 3, on = { "connect", "reset", "timeout", "502-504" }, budget = 1, backoff = 0.005 },
          breaker = { failures = 3, open_for = 0.2 }, health = { passive = { min_requests = 5, eject_for = 0.3 } } } }]],
    }
    with(g, function()
      numbered(g)
      local done, answers, killed_after = false, 0, nil
      local running = {}
      for i = 1, 12 do
        running[i] = function()
          local client = g:client()
          while not done do
            local response = client:ask(i % 3 == 0 and { method = "PUT", body = "hello" } or "/")
            assert.equal(200, response.status)
            answers = answers + 1
          end
        end
      end
      running[#running + 1] = function()
        while not done do
          assert.equal(200, g:reload().status)
          peers.sleep(0.1)
        end
      end
      running[#running + 1] = function()
        peers.eventually(function() return answers > 200 end, "load")
        local first = g.backends[1]
        first:close()
        for conn in pairs(first.open) do conn:reset() end
        killed_after = answers
        peers.eventually(function() return answers > killed_after + 400 end, "load after the fall", 20)
        done = true
      end
      peers.all(running, 60)
      nothing_in_flight(g)
    end)
  end)
end)
