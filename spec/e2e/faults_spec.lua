-- Real backends are killed, hang, are slow, reset, and come back, under load, with each balancer, while the gateway reloads every 100 ms.
-- What clients saw is counted: nobody may see an error. GATEWAY_SPEC_TELL=1 prints the counts.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local INTERVAL, RISE = 0.05, 2
local TELL = os.getenv "GATEWAY_SPEC_TELL"

local SCRIPT = [[${prelude}
  gateway.access_log { sample = 0 }
  gateway.route "/" { to = gateway.upstream "u" { "${a}", { "${b}", weight = WEIGHT }, "${c}", BALANCE,
    retry = { attempts = 3, on = { "connect", "reset", "timeout", "502-504" }, per_try = 0.25, budget = 1, backoff = 0.002 },
    breaker = { failures = 3, open_for = 0.05 },
    health = { active = { path = "/healthz", interval = INTERVAL, timeout = 0.2, rise = RISE, fall = 2, jitter = 0 },
      passive = { min_requests = 20, eject_for = 0.1, window = 1 } } } }]]
SCRIPT = SCRIPT:gsub("INTERVAL", tostring(INTERVAL)):gsub("RISE", tostring(RISE))

-- A backend with a mood: "well", "hang" (takes requests, answers none), "slow", "reset" (once a request is there),
-- "sick" (the same, probes only).
local function backend(at)
  local b = { mood = "well", served = 0, probes = 0, open = {} }
  function b.revive()
    b.mood = "well"
    if b.listener then return end
    b.listener = peers.listen(at)
    at, b.at = b.listener.at, b.listener.at
    b.listener:serve(function(conn)
      b.open[conn] = true
      while true do
        local request = conn:read_request()
        if not request then break end
        local probe = request.target == "/healthz"
        b[probe and "probes" or "served"] = b[probe and "probes" or "served"] + 1
        local mood = b.mood
        if mood == "hang" then
          conn:wait_end()
          break
        elseif mood == "reset" or (mood == "sick" and probe) then
          conn:reset()
          break
        elseif mood == "slow" and not probe then
          peers.sleep(0.03)
        end
        conn:write(message.response { body = request.target .. (request.body or "") })
      end
      b.open[conn] = nil
    end)
  end
  function b.kill()
    b.listener:close()
    b.listener = nil
    for conn in pairs(b.open) do conn:reset() end
    b.open = {}
  end
  b.revive()
  return b
end

local function reloading(g, over)
  return function()
    while not over() do
      local from = peers.now()
      assert.equal(200, g:reload().status)
      g.reloads = g.reloads + 1
      peers.sleep(math.max(0, 0.1 - (peers.now() - from)))
    end
  end
end

-- Clients that ask for one thing after the other; every answer has to be theirs, and a 200.
local function loading(g, count, i, over)
  return function()
    local client = g:client { wait = 10 }
    local n = 0
    while not over() do
      n = n + 1
      local path, body = ("/k%d"):format((n * 7 + i * 13) % 60), n % 5 == 0 and ("body %d %d"):format(i, n) or nil
      local from = peers.now()
      local response = client:ask(body and n % 2 == 0 and
        { method = "PUT", path = path, headers = { ["Transfer-Encoding"] = "chunked" }, body = message.chunked(body) }
        or { method = body and "PUT" or "GET", path = path, body = body })
      count.longest = math.max(count.longest, peers.now() - from)
      count.all = count.all + 1
      count[response.status] = (count[response.status] or 0) + 1
      assert.equal(200, response.status)
      assert.equal(path .. (body or ""), response.body)
    end
    client:close()
  end
end

local faults = {
  kill = function(b) b.kill() end,
  hang = function(b) b.mood = "hang" end,
  reset = function(b) b.mood = "reset" end,
}

for _, case in ipairs {
  { 'balance = "round_robin"' }, { 'balance = "weighted"', weight = 2 }, { 'balance = "least_conn"', shuns_slow = true },
  { 'balance = "hash", hash_on = "path"' }, { 'balance = "hash", hash_on = "path", load_factor = 1.5' },
  { 'balance = "maglev", hash_on = "path"' }, { 'balance = "ewma"', shuns_slow = true }, { 'balance = "random"' },
} do
  it(case[1] .. ": kill, hang, reset, slow down, revive: no client sees an error", function()
    peers.run(function()
      local a, b, c = backend(), backend(), backend()
      local script = SCRIPT:gsub("BALANCE", case[1]):gsub("WEIGHT", tostring(case.weight or 1))
      local g = gateway.start { workers = 2, vars = { a = a.at, b = b.at, c = c.at }, script = script }
      g.reloads = 0
      local count, done, told = { all = 0, longest = 0 }, false, {}
      local function over() return done end
      local function load(n)
        local until_ = count.all + n
        peers.eventually(function() return count.all >= until_ end, "load", 20)
      end
      local function healthy()
        for _, endpoint in ipairs(g:status().upstreams[1].endpoints) do
          if endpoint.address == b.at then return endpoint.healthy, endpoint.breaker.state end
        end
      end
      local function tell(what, from, more)
        told[#told + 1] = ("%s: %d answers, %d errors, longest %.0f ms%s"):format(what, count.all - from, count.all - (count[200] or 0),
          count.longest * 1000, more or "")
        count.longest = 0
      end

      local running = { reloading(g, over) }
      for i = 1, 8 do running[#running + 1] = loading(g, count, i, over) end
      running[#running + 1] = function()
        load(60)
        assert.is_true(b.served > 0)
        for _, name in ipairs { "kill", "hang", "reset" } do
          local from = count.all
          faults[name](b)
          peers.eventually(function() return not healthy() end, name .. ": it is out", 10)
          load(16) -- those that were on their way
          local served, probes = b.served, b.probes
          load(100)
          assert.equal(served, b.served) -- nothing but probes
          if name ~= "kill" then peers.eventually(function() return b.probes > probes end, "probes go on") end
          tell(name, from)
          from = count.all
          local at = peers.now()
          b.revive()
          peers.eventually(function() return healthy() end, name .. ": it is back", 10)
          local back = peers.now() - at
          assert.is_true(back < RISE * INTERVAL + 1, back) -- rise × interval, and what a busy machine takes
          peers.eventually(function() return b.served > served end, "traffic again", 10)
          load(20)
          tell("revive", from, (", back after %.0f ms"):format(back * 1000))
        end
        b.mood = "slow"
        load(30)
        -- Latencies of a machine that is busy elsewhere may hide which of them is slow, for a while.
        local share, from, served
        for _ = 1, case.shuns_slow and 8 or 1 do
          from, served = count.all, b.served
          load(200)
          share = (b.served - served) / (count.all - from)
          if share < 0.25 then break end
        end
        if case.shuns_slow then assert.is_true(share < 0.25, share) end
        tell("slow", from, (", its share %.0f %%"):format(share * 100))
        done = true
      end
      peers.all(running, 60)
      assert.equal(count.all, count[200])
      peers.eventually(function()
        for _, endpoint in ipairs(g:status().upstreams[1].endpoints) do if endpoint.in_flight ~= 0 then return false end end
        return true
      end, "nothing in flight")
      if TELL then
        io.stderr:write(("%s (%d reloads)\n  %s\n"):format(case[1], g.reloads, table.concat(told, "\n  ")))
      end
      g:stop()
    end, { seconds = 90 })
  end)
end

-- Three endpoints with probes; `options` of the upstream.
local function three(options, f)
  peers.run(function()
    local a, b, c = backend(), backend(), backend()
    local g = gateway.start {
      workers = 1, vars = { a = a.at, b = b.at, c = c.at },
      script = ([[${prelude} gateway.route "/" { to = gateway.upstream "u" { "${a}", "${b}", "${c}", %s } }]]):format(options),
    }
    local function healthy(n)
      peers.eventually(function()
        local count = 0
        for _, endpoint in ipairs(g:status().upstreams[1].endpoints) do count = count + (endpoint.healthy and 1 or 0) end
        return count == n
      end, n .. " healthy")
    end
    local function served(n) -- by each, of n requests
      local before, client = { a.served, b.served, c.served }, g:client()
      for _ = 1, n do assert.equal(200, client:ask("/").status) end
      client:close()
      return { a.served - before[1], b.served - before[2], c.served - before[3] }
    end
    f(a, b, served, healthy)
    g:stop()
  end)
end

local PROBES = 'active = { path = "/healthz", interval = 0.05, timeout = 0.1, rise = 1, fall = 1, jitter = 0 }'

it("slow start: an endpoint that comes back has a small share at first", function()
  for _, balance in ipairs { "round_robin", "random", "least_conn" } do
    three(('balance = %q, slow_start = 60, health = { %s }'):format(balance, PROBES), function(_, b, served, healthy)
      local share = served(90)
      assert.is_true(share[2] > 10, balance .. ": " .. table.concat(share, " "))
      b.kill()
      healthy(2)
      b.revive()
      healthy(3)
      share = served(90) -- within a second or two of sixty: a few percent of its third
      assert.is_true(share[2] <= 8, balance .. ": " .. table.concat(share, " "))
    end)
  end
end)

it("panic: below that share of healthy ones all are used", function()
  three(("health = { %s, panic = 50 }"):format(PROBES), function(a, b, served, healthy)
    b.mood = "sick"
    healthy(2)
    assert.equal(0, served(12)[2])
    a.mood = "sick"
    healthy(1) -- a third: below half
    assert.same({ 4, 4, 4 }, served(12))
    b.mood = "well"
    healthy(2)
    assert.same({ 0, 6, 6 }, served(12))
  end)
end)
