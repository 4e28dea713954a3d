-- Circuit breakers of endpoints, seen from the clients, the backends, the log and /status.

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

describe("a breaker", function()
  it("opens after failures in a row, refuses everywhere with Retry-After, lets one probe through and closes", function()
    with(start("breaker = { failures = 3, open_for = 0.6 }", 1), function(g)
      local status, held = 500, nil
      g.backends[1]:answer(function(request)
        if request.target == "/hold" then
          held = true
          peers.eventually(function() return held == false end, "release")
        end
        return { status = status, body = "x" }
      end)
      local client = g:client()
      for _ = 1, 3 do assert.equal(500, client:ask("/").status) end
      for _ = 1, 3 do
        local response = client:ask "/"
        assert.equal(503, response.status)
        assert.equal("1", response.headers:get "retry-after")
      end
      assert.equal(3, #g.backends[1].requests)
      g:log_wait(function(line) return line.message == "breaker open" and line.upstream == "u" end)
      status = 200
      local probe = g:client()
      peers.sleep(0.65)
      probe:send(message.request { path = "/hold" })
      peers.eventually(function() return held end, "the probe")
      assert.equal(503, client:ask("/").status) -- half-open: one probe, no more
      held = false
      assert.equal(200, probe:read_response().status)
      peers.eventually(function() return client:ask("/").status == 200 end, "the breaker closes")
      nothing_in_flight(g)
    end)
  end)

  it("of one endpoint leaves the other alone", function()
    with(start("breaker = { failures = 2, open_for = 60 }", 2), function(g)
      g.backends[1]:answer { status = 500, body = "1" }
      g.backends[2]:answer { body = "2" }
      local client, failed = g:client(), 0
      for _ = 1, 20 do if client:ask("/").status == 500 then failed = failed + 1 end end
      assert.equal(2, failed)
    end)
  end)

  it("a probe whose client goes away frees its place", function()
    with(start("breaker = { failures = 1, open_for = 0.2 }", 1), function(g)
      local mode, held = "fail", false
      g.backends[1]:answer(function(_, conn)
        if mode == "hold" then
          held = true
          conn:wait_end()
          return nil
        end
        return { status = mode == "fail" and 500 or 200, body = "x" }
      end)
      local client = g:client()
      assert.equal(500, client:ask("/").status)
      assert.equal(503, client:ask("/").status)
      peers.sleep(0.25)
      mode = "hold"
      local probe = g:client()
      probe:send(message.request {})
      peers.eventually(function() return held end, "the probe")
      assert.equal(503, client:ask("/").status)
      mode = "good"
      probe:close()
      peers.eventually(function() return client:ask("/").status == 200 end, "the next probe")
    end)
  end)

  it("outlives reloads, open as it is", function()
    local g = start("breaker = { failures = 1, open_for = 60 }", 1)
    with(g, function()
      g.backends[1]:answer { status = 500 }
      local client = g:client()
      assert.equal(500, client:ask("/").status)
      assert.equal(503, client:ask("/").status)
      assert.equal(200, g:reload().status)
      assert.equal(503, client:ask("/").status)
      assert.equal(1, #g.backends[1].requests)
    end)
  end)

  for _, case in ipairs {
    { "no connection", function(_, g) g.backends[1]:close() end, opens = true },
    { "a reset", function() return function(_, conn) conn:reset() return nil end end, opens = true },
    { "an end without an answer", function() return function(_, conn) conn:close() return nil end end, opens = true },
    { "no answer in time", function() return function(_, conn) conn:wait_end() return nil end end, opens = true },
    { "an answer that cannot be read", function() return "HTTP/9.9 what\r\n\r\n" end, opens = true },
    { "500", function() return { status = 500 } end, opens = true }, { "599", function() return { status = 599 } end, opens = true },
    { "429", function() return { status = 429 } end }, { "404", function() return { status = 404 } end },
    { "429 when listed", function() return { status = 429 } end, opens = true, statuses = '429, "510-519"' },
    { "515 when listed", function() return { status = 515 } end, opens = true, statuses = '429, "510-519"' },
    { "500 when others are listed", function() return { status = 500 } end, statuses = '429, "510-519"' },
  } do
    it(("counts %s: %s"):format(case[1], case.opens and "a failure" or "none"), function()
      with(start(('timeouts = { first_byte = 0.1 }, breaker = { failures = 2, open_for = 60 %s }'):format(
        case.statuses and (", statuses = { %s }"):format(case.statuses) or ""), 1), function(g)
        local answer = case[2](nil, g)
        if g.backends[1].fd then g.backends[1]:answer(answer) end
        for _ = 1, 3 do g:client():ask "/" end
        assert.same({ case.opens and "open" or "closed", case.opens and 1 or 0 },
          { endpoints(g)[1].breaker.state, endpoints(g)[1].breaker.opened })
      end)
    end)
  end

  for _, balance in ipairs { "round_robin", "least_conn", "ewma", "random" } do
    it("is probed as soon as it may be, whatever the balancer thinks of the endpoint: " .. balance, function()
      with(start(('balance = %q, breaker = { failures = 1, open_for = 0.1 }'):format(balance), 3), function(g)
        local sick, served = true, 0
        for i, backend in ipairs(g.backends) do
          backend:answer(function()
            if i == 1 and not sick then served = served + 1 end
            return { status = i == 1 and sick and 500 or 200, body = "x" }
          end)
        end
        local client = g:client()
        peers.eventually(function()
          client:ask "/"
          return endpoints(g)[1].breaker.opened > 0
        end, "the breaker opens", 15)
        sick = false
        peers.eventually(function()
          client:ask "/"
          return served >= 3
        end, "requests again", 3)
        assert.equal("closed", endpoints(g)[1].breaker.state)
      end)
    end)
  end

  it("says each change once, with the reason, and counts it", function()
    local g = gateway.start {
      backends = 1, workers = 2,
      script = [[${prelude} gateway.route "/" { to = gateway.upstream "u" { "${backend1}", breaker = { failures = 2, open_for = 0.1 } } }]],
    }
    with(g, function()
      local status = 500
      g.backends[1]:answer(function() return { status = status, body = "x" } end)
      local clients = {}
      for i = 1, 8 do clients[i] = g:client() end
      local function seen(event)
        local out = {}
        for _, line in ipairs(g:log()) do
          if line.message == event then out[#out + 1] = { line.upstream, line.endpoint, line.cause, line.reason, line.level } end
        end
        return out
      end
      local function ask_until(event, n)
        peers.eventually(function()
          for _, client in ipairs(clients) do client:ask "/" end
          return #seen(event) >= n
        end, event)
      end
      local at = endpoints(g)[1].address
      local function line(reason, level) return { "u", at, "breaker", reason, level } end
      ask_until("breaker open", 1)
      ask_until("breaker open again", 2)
      status = 200
      ask_until("breaker closed", 1)
      for _, client in ipairs(clients) do assert.equal(200, client:ask("/").status) end
      assert.same({ line("failing status", "warn") }, seen "breaker open")
      local again = seen "breaker open again"
      assert.is_true(#again >= 2)
      for _, one in ipairs(again) do assert.same(line("failing status", "warn"), one) end
      assert.same({ line("probes succeed", "info") }, seen "breaker closed")
      assert.same({ state = "closed", opened = 1 + #again, closed = 1 }, endpoints(g)[1].breaker)
      local opened, closed = 0, 0
      for _, worker in ipairs(g:status().workers) do
        opened, closed = opened + worker.upstream.breaker_opened, closed + worker.upstream.breaker_closed
      end
      assert.same({ 1 + #again, 1 }, { opened, closed })
    end)
  end)
end)
