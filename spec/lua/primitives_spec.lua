-- The primitives by hand, on a clock of the test's own: what they answer, and every word that is said about misuse.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local gateway = require "gateway"

local clock, HERE

before_each(function() clock = { t = 0, now = function(self) return self.t end } end)
HERE = "spec/lua/primitives_spec.lua"

local function answer(...)
  local ok, wait = ...
  return ok, wait and math.floor(wait * 1000 + 0.5) / 1000
end

describe("a token bucket", function()
  it("gives burst at once, then rate a second", function()
    local bucket = gateway.token_bucket { rate = 2, burst = 3, clock = clock }
    assert.same({ true, 0 }, { bucket:allow() })
    assert.same({ true, 0 }, { bucket:allow(2) })
    assert.same({ false, 0.5 }, { answer(bucket:allow()) })
    assert.same({ false, math.huge }, { bucket:allow(4) })
    clock.t = 0.5
    assert.same({ true, 0 }, { bucket:allow() })
    assert.equal(0, bucket:left())
    clock.t = 100
    assert.equal(3, bucket:left())
  end)
  it("holds a second of its rate where no burst is said", function()
    assert.equal(5, gateway.token_bucket({ rate = 5, clock = clock }):left())
    assert.equal(1, gateway.token_bucket({ rate = 0.1, clock = clock }):left())
  end)
  it("takes a function as clock, and none", function()
    local bucket = gateway.token_bucket { rate = 1, clock = function() return clock.t end }
    assert.same({ true, 0 }, { bucket:allow() })
    assert.is_false((bucket:allow()))
    clock.t = 1
    assert.is_true((bucket:allow()))
    local real = gateway.token_bucket { rate = 0.001, burst = 2 }
    assert.same({ true, true, false }, { (real:allow()), (real:allow()), (real:allow()) })
  end)
end)

describe("a client limiter", function()
  it("keeps a bucket for each key", function()
    local limiter = gateway.client_limiter { rate = 1, burst = 1, clock = clock }
    assert.is_true((limiter:allow "a"))
    assert.same({ false, 1 }, { answer(limiter:allow "a") })
    assert.is_true((limiter:allow "b"))
    assert.is_true((limiter:allow(7)))
    assert.is_false((limiter:allow "7"))
    assert.equal(3, limiter:clients())
    assert.equal(0, limiter:left "a")
    clock.t = 1
    assert.is_true((limiter:allow "a"))
  end)
  it("knows no more than max_clients", function()
    local limiter = gateway.client_limiter { rate = 1, max_clients = 4, clock = clock }
    for i = 1, 1000 do limiter:allow("k" .. i) end
    assert.truthy(limiter:clients() <= 4)
  end)
end)

describe("a sliding window", function()
  it("counts all, or a key", function()
    local window = gateway.sliding_window { limit = 2, window = "10s", clock = clock }
    assert.same({ true, true, false }, { (window:allow()), (window:allow()), (window:allow()) })
    assert.is_true((window:allow "k"))
    assert.equal(1, window:left "k")
    assert.equal(0, window:left())
    clock.t = 25
    assert.is_true((window:allow()))
  end)
end)

describe("a breaker", function()
  it("goes round its states", function()
    local breaker = gateway.breaker { failures = 2, open_for = 5, clock = clock }
    assert.equal("closed", breaker.state)
    assert.is_true((breaker:allow()))
    breaker:failure()
    breaker:success()
    breaker:failure()
    assert.equal("closed", breaker.state)
    breaker:failure()
    assert.equal("open", breaker.state)
    assert.same({ false, 5 }, { answer(breaker:allow()) })
    clock.t = 5
    assert.equal("half-open", breaker.state)
    assert.is_true((breaker:allow()))
    assert.is_false((breaker:allow()))
    breaker:success()
    assert.equal("closed", breaker.state)
  end)
  it("ignores what older tickets say", function()
    local breaker = gateway.breaker { failures = 1, open_for = 5, clock = clock }
    local _, _, old = breaker:allow()
    breaker:failure()
    clock.t = 5
    local ok, _, probe = breaker:allow()
    assert.is_true(ok)
    breaker:failure(old)
    assert.equal("half-open", breaker.state)
    breaker:success(probe)
    assert.equal("closed", breaker.state)
    breaker:trip()
    assert.equal("open", breaker.state)
    breaker:reset()
    assert.equal("closed", breaker.state)
  end)
  it("is one for each key", function()
    local breakers = gateway.breakers { failures = 1, max_keys = 10, clock = clock }
    breakers:of("a"):failure()
    assert.equal("open", breakers:of("a").state)
    assert.equal("closed", breakers:of("b").state)
    assert.equal(2, breakers:count())
    clock.t = 10
    assert.equal("half-open", breakers:of("a").state)
  end)
end)

describe("a balancer", function()
  it("goes round", function()
    local balancer = gateway.balancer.round_robin { "a", "b", "c", clock = clock }
    local first = balancer:next()
    local after = { a = "b", b = "c", c = "a" }
    assert.equal(after[first], balancer:next())
    assert.equal(after[after[first]], balancer:next())
    assert.equal(first, balancer:next())
  end)
  it("goes by weights", function()
    local balancer = gateway.balancer.weighted { { "a", weight = 5 }, "b", "c", clock = clock }
    local count = { a = 0, b = 0, c = 0 }
    for _ = 1, 70 do
      local endpoint = balancer:next()
      count[endpoint] = count[endpoint] + 1
    end
    assert.same({ a = 50, b = 10, c = 10 }, count)
  end)
  it("counts live requests until they are done", function()
    local balancer = gateway.balancer.least_conn { "a", "b", clock = clock }
    local first = balancer:next()
    local second = balancer:next()
    assert.are_not.equal(first, second)
    assert.equal(1, balancer:in_flight "a")
    balancer:done(first)
    assert.equal(first, balancer:next())
    balancer:done(second, false, 0.5)
    assert.equal(0, balancer:in_flight(second))
  end)
  for _, name in ipairs { "hash", "maglev" } do
    it("sends a key to one endpoint: " .. name, function()
      local balancer = gateway.balancer[name] { "a", "b", "c", clock = clock }
      local again = gateway.balancer[name] { "c", "a", "b", clock = clock }
      local seen = {}
      for i = 1, 100 do
        local endpoint = balancer:next("key" .. i)
        seen[endpoint] = true
        assert.equal(endpoint, balancer:next("key" .. i))
        if name == "hash" then assert.equal(endpoint, again:next("key" .. i)) end
      end
      assert.same({ a = true, b = true, c = true }, seen)
    end)
  end
  it("learns from answers: ewma", function()
    local balancer = gateway.balancer.ewma { "slow", "fast", clock = clock }
    for i = 1, 200 do
      clock.t = i
      local endpoint = balancer:next()
      balancer:done(endpoint, true, endpoint == "slow" and 1 or 0.001)
    end
    local fast = 0
    for i = 1, 100 do
      clock.t = 200 + i / 1000
      local endpoint = balancer:next()
      if endpoint == "fast" then fast = fast + 1 end
      balancer:done(endpoint, true, endpoint == "slow" and 1 or 0.001)
    end
    assert.truthy(fast > 90, fast)
  end)
  it("leaves backups for when nobody else can be had, and says when nobody can", function()
    local health = gateway.health.active { "a", { "b", backup = true }, rise = 1, fall = 1, clock = clock }
    local balancer = gateway.balancer.random { health = health, clock = clock }
    for _ = 1, 10 do assert.equal("a", balancer:next()) end
    health:record("a", false)
    assert.equal("b", balancer:next())
    health:record("b", false)
    assert.is_nil(balancer:next())
    health:record("a", true)
    assert.equal("a", balancer:next())
  end)
  it("lets an endpoint that came back begin slowly", function()
    clock.t = 1000
    local health = gateway.health.active { "a", "b", rise = 1, fall = 1, clock = clock }
    local balancer = gateway.balancer.random { health = health, slow_start = 100, clock = clock }
    local function share()
      local count = 0
      for _ = 1, 2000 do
        local endpoint = balancer:next()
        balancer:done(endpoint)
        if endpoint == "a" then count = count + 1 end
      end
      return count / 2000
    end
    assert.truthy(share() > 0.4)
    health:record("a", false)
    assert.equal(0, share())
    health:record("a", true)
    clock.t = 1001
    assert.truthy(share() < 0.2)
    clock.t = 1200
    assert.truthy(share() > 0.4)
  end)
end)

describe("health", function()
  it("goes by probes", function()
    local health = gateway.health.active { "a", "b", rise = 2, fall = 2, clock = clock }
    assert.is_nil(health:record("a", true))
    assert.is_nil(health:record("a", false))
    assert.is_true(health:healthy "a")
    assert.equal("down", health:record("a", false))
    assert.is_false(health:healthy "a")
    assert.is_true(health:healthy "b")
    assert.is_nil(health:record("a", true))
    assert.equal("up", health:record("a", true))
    assert.is_true(health:healthy "a")
  end)
  it("goes by requests, for a while", function()
    local health = gateway.health.passive { "a", min_requests = 4, error_rate = 0.5, window = 10, eject_for = 5, clock = clock }
    for _, ok in ipairs { true, true, false } do assert.is_nil(health:record("a", ok)) end
    assert.equal("down", health:record("a", false))
    assert.is_false(health:healthy "a")
    clock.t = 4.9
    assert.is_false(health:healthy "a")
    clock.t = 5.1
    assert.is_true(health:healthy "a")
  end)
  it("combined: both must agree; when none is left, all are tried", function()
    local health = gateway.health.combined {
      "a", "b", clock = clock, active = { rise = 1, fall = 1 },
      passive = { min_requests = 1, error_rate = 0.1, window = 10, eject_for = 100 },
    }
    health:probe("a", false)
    assert.is_false(health:healthy "a")
    assert.is_true(health:healthy "b")
    health:record("b", false)
    assert.is_true(health:healthy "a")
    assert.is_true(health:healthy "b")
    health:probe("a", true)
    assert.is_true(health:healthy "a")
    assert.is_false(health:healthy "b")
  end)
  it("combined, fail closed; and drained by hand", function()
    local health = gateway.health.combined { "a", "b", active = { fall = 1 }, when_none_healthy = "refuse", clock = clock }
    health:probe("a", false)
    health:probe("b", false)
    assert.same({ false, false }, { health:healthy "a", health:healthy "b" })
    local other = gateway.health.combined { "a", "b", clock = clock }
    other:drain "a"
    assert.same({ false, true }, { other:healthy "a", other:healthy "b" })
    other:drain("a", false)
    assert.is_true(other:healthy "a")
  end)
end)

describe("misuse", function()
  local DURATION = 'a duration (seconds, or a string such as "250ms", "30s", "5m", "1h")'
  local bucket = gateway.token_bucket { rate = 1 }
  local limiter = gateway.client_limiter { rate = 1 }
  local window = gateway.sliding_window { limit = 1, window = 1 }
  local breaker = gateway.breaker {}
  local breakers = gateway.breakers {}
  local health = gateway.health.active { "alpha", "beta" }
  local balancer = gateway.balancer.round_robin { "alpha", "beta" }

  for _, case in ipairs {
    { function() gateway.token_bucket(5) end, "gateway.token_bucket: expected a table of options, found 5" },
    { function() gateway.token_bucket {} end, 'gateway.token_bucket: option "rate" is required: expected a number, found nothing' },
    { function() gateway.token_bucket { rte = 1, rate = 1 } end, 'gateway.token_bucket: unknown option "rte" (did you mean "rate"?)' },
    { function() gateway.token_bucket { rate = 0 } end, "gateway.token_bucket: rate: expected a number above 0, found 0" },
    { function() gateway.token_bucket { rate = 1, burst = -1 } end, "gateway.token_bucket: burst: expected a number above 0, found -1" },
    { function() gateway.token_bucket { rate = 1e-15, burst = 10 } end, "gateway.token_bucket: settings out of range" },
    { function() gateway.token_bucket { rate = 1, clock = 5 } end,
      "gateway.token_bucket: clock: expected a function that gives seconds, or a table with now(), found 5" },
    { function() gateway.token_bucket { rate = 1, name = "a b" } end,
      "gateway.token_bucket: name: expected letters, digits, '_', '-' and '.', at most 100, found \"a b\"" },
    { function() bucket:allow("1") end, 'token_bucket:allow: n: expected a number of tokens, found "1"' },
    { function() bucket:allow(-1) end, "token_bucket:allow: n: expected a number of tokens, found -1" },
    { function() bucket:allow(0 / 0) end, nil },
    { function() bucket.allow() end, "expected bucket:allow() with a colon, found another object in front" },
    { function() bucket:alow() end, 'token_bucket: unknown method "alow" (did you mean "allow"?)' },
    { function() bucket.rate = 5 end, 'a token_bucket has no field "rate" to set' },
    { function() limiter.allow("key") end, "expected limiter:allow(key) with a colon, found another object in front" },
    { function() limiter:allow() end, "client_limiter:allow: key: expected a string, found nothing" },
    { function() limiter:allow("k", true) end, "client_limiter:allow: n: expected a number of tokens, found true" },
    { function() limiter:left {} end, "client_limiter:left: key: expected a string, found a table" },
    { function() gateway.client_limiter { rate = 1, max_clients = 0 } end,
      "gateway.client_limiter: max_clients: expected a whole number from 1 to 16777216, found 0" },
    { function() gateway.sliding_window { limit = 1, window = "x" } end,
      "gateway.sliding_window: window: expected " .. DURATION .. ', found "x"' },
    { function() gateway.sliding_window { limit = 1, window = 0 } end,
      "gateway.sliding_window: window: expected a millisecond at least, found 0" },
    { function() window:allow(true) end, "sliding_window:allow: key: expected a string, found true" },
    { function() gateway.breaker { fialures = 1 } end, 'gateway.breaker: unknown option "fialures" (did you mean "failures"?)' },
    { function() gateway.breaker { open_for = 5, open_most = 1 } end,
      "gateway.breaker: open_most: expected open_for (5) at least, found 1" },
    { function() breaker:success("x") end, 'breaker:success: ticket: expected what allow() gave, found "x"' },
    { function() breaker:failure(-1) end, "breaker:failure: ticket: expected what allow() gave, found -1" },
    { function() return breaker.stat end, 'breaker: unknown method "stat" (did you mean "state"?)' },
    { function() breakers:of() end, "breakers:of: key: expected a string, found nothing" },
    { function() gateway.balancer.hsh {} end, 'gateway.balancer: unknown name "hsh" (did you mean "hash"?)' },
    { function() gateway.health.activ {} end, 'gateway.health: unknown name "activ" (did you mean "active"?)' },
    { function() gateway.balancer.hash {} end, "gateway.balancer.hash: expected at least one endpoint, found none" },
    { function() gateway.balancer.hash { "a", "a" } end, 'gateway.balancer.hash: endpoint 2: "a" stands there twice' },
    { function() gateway.balancer.hash { 5 } end,
      'gateway.balancer.hash: endpoint 1: expected a name or { "name", weight = 3 }, found 5' },
    { function() gateway.balancer.hash { { "a", wieght = 5 } } end,
      'gateway.balancer.hash: endpoint "a": unknown option "wieght" (did you mean "weight"?)' },
    { function() gateway.balancer.random { health = 5 } end,
      "gateway.balancer.random: health: expected what gateway.health.* gave, found 5" },
    { function() gateway.balancer.random { "a", health = health } end,
      "gateway.balancer.random: health: expected an object of the same endpoints in the same order (or leave them out here)" },
    { function() gateway.balancer.hash({ "a" }):next() end, "balancer:next: key: expected a string for hash, found nothing" },
    { function() balancer:done("alpa") end, 'balancer:done: unknown endpoint "alpa" (did you mean "alpha"?)' },
    { function() balancer:done("alpha", 1) end, "balancer:done: ok: expected true or false, found 1" },
    { function() balancer:done("alpha", true, -1) end, "balancer:done: seconds: expected a number, found -1" },
    { function() balancer.next() end, "expected balancer:next() with a colon, found another object in front" },
    { function() health:healthy("gamma") end, 'health:healthy: unknown endpoint "gamma"; known: alpha, beta' },
    { function() health:record("alpha") end, "health:record: ok: expected true or false, found nothing" },
    { function() health.healthy("alpha") end, "expected health:healthy(endpoint) with a colon, found another object in front" },
  } do
    local f, expected = case[1], case[2]
    local line = debug.getinfo(f, "S").linedefined
    it(("at line %d: %s"):format(line, expected or "not a number"), function()
      local good, message = pcall(f)
      assert.is_false(good)
      if expected then assert.equal(("%s:%d: %s"):format(HERE, line, expected), (message:gsub("^%./", ""))) end
    end)
  end
end)
