local bit, ffi = require "bit", require "ffi"
local balancers = require "spec.support.balancers"

local SECOND, TICK = 1e9, 65536

-- The word of an endpoint: its cost in ns, and when that was brought up to date.
local function cost(load)
  local word = load[0].latency
  return ffi.cast("float *", load)[0], tonumber(bit.rshift(word, 32)) * TICK
end

-- What PeakEwma says: a peak at once, otherwise an average whose old part fades with time.
local function model(decay)
  local self = { cost = 0, stamp = 0 }
  function self.observe(now, latency)
    local tick = math.floor(now / TICK) * TICK
    if self.cost == 0 or latency >= self.cost then
      self.cost = latency
    else
      local keep = math.exp(-(tick - self.stamp) / decay)
      self.cost = self.cost * keep + latency * (1 - keep)
    end
    self.stamp = tick
  end
  return self
end

local function close(expected, found, share)
  assert.is_true(math.abs(found - expected) <= expected * share, ("%.6g is not about %.6g"):format(found, expected))
end

-- Two endpoints, asked often: who is preferred.
local function preferred(b, now)
  local random, seen = balancers.random(3), { [0] = 0, 0 }
  for _ = 1, 40 do
    local slot = b:choose { now = now, random = random() }
    seen[slot] = seen[slot] + 1
  end
  return seen[0] == 40 and 0 or seen[1] == 40 and 1 or "both"
end

describe("ewma", function()
  it("follows the model, whatever comes", function()
    for _, decay in ipairs { 0.05, 1, 10, 300 } do
      local b, m, random = balancers.new("ewma", { {} }, { decay = decay * SECOND }), model(decay * SECOND), balancers.random(decay * 100)
      local now = 1000 * SECOND
      for _ = 1, 400 do
        now = now + tonumber(random() % 1000000ULL) * decay * 1000
        local latency = 1000 + tonumber(random() % 50000000ULL)
        b:pick()
        b:done(0, { now = now, latency = latency })
        m.observe(now, latency)
        close(m.cost, cost(b.loads[1]), 0.002)
      end
    end
  end)

  it("fades by 1/e within the decay, read at any time", function()
    for _, seconds in ipairs { 0, 0.001, 1, 5, 10, 25, 100 } do
      local b = balancers.new("ewma", { {}, {} })
      b:done(0, { now = 0, latency = 100e6 })
      -- The other's cost is just above or below what is left of the first's.
      local left = 100e6 * math.exp(-seconds / 10)
      for _, case in ipairs { { 1.003, 0 }, { 0.997, 1 } } do
        b.loads[2][0].latency = 0
        b:done(1, { now = seconds * SECOND, latency = math.max(1, left * case[1]) })
        assert.equal(case[2], preferred(b, seconds * SECOND))
      end
    end
  end)

  it("only ever falls while time goes on", function()
    local b = balancers.new("ewma", { {} }, { decay = SECOND })
    b:done(0, { now = 0, latency = 50e9 })
    local last = 50e9
    for i = 1, 3000 do
      b:done(0, { now = i * 0.01 * SECOND, latency = 1 })
      local new = cost(b.loads[1])
      assert.is_true(new <= last and new >= 1)
      last = new
    end
    assert.is_true(last < 10)
  end)

  it("prefers the quicker, and the less loaded of equals", function()
    local b = balancers.new("ewma", { {}, {} })
    b:done(0, { now = 0, latency = 20e6 })
    b:done(1, { now = 0, latency = 10e6 })
    assert.equal(1, preferred(b, 0))
    b.loads[2][0].in_flight = 2 -- 10 ms × 3 against 20 ms × 1
    assert.equal(0, preferred(b, 0))
  end)

  it("counts load for the weight", function()
    local b = balancers.new("ewma", { { weight = 1 }, { weight = 3 } })
    for slot = 0, 1 do b:done(slot, { now = 0, latency = 10e6 }) end
    b.loads[1][0].in_flight, b.loads[2][0].in_flight = 2, 5 -- 2 / 0.5 against 5 / 1.5
    assert.equal(1, preferred(b, 0))
    b.loads[2][0].in_flight = 7
    assert.equal(0, preferred(b, 0))
  end)

  it("tries one that nobody knows, and then waits for its answer", function()
    local b = balancers.new("ewma", { {}, {} })
    b:done(0, { now = 0, latency = 1000 })
    assert.equal(1, preferred(b, 0))
    b.loads[2][0].in_flight = 1
    assert.equal(0, preferred(b, 0))
  end)

  it("takes an error for a slow answer, each further one for twice as slow, to a minute", function()
    local b = balancers.new("ewma", { {} })
    for _, expected in ipairs { 1, 2, 4, 8, 16, 32, 60, 60 } do
      b:done(0, { now = 0, ok = false, latency = 50000 })
      close(expected * SECOND, cost(b.loads[1]), 1e-6)
    end
  end)

  it("does not prefer who refuses at once", function()
    local b = balancers.new("ewma", { {}, {} })
    b:done(0, { now = 0, latency = 200e6 })
    b:done(1, { now = 0, ok = false, latency = 20000 })
    assert.equal(0, preferred(b, 0))
  end)

  it("tries a peak again once it has faded", function()
    local b = balancers.new("ewma", { {}, {} })
    b:done(0, { now = 0, latency = 5e9 })
    for i = 0, 60 do b:done(1, { now = i * SECOND, latency = 100e6 }) end
    assert.equal(1, preferred(b, 1 * SECOND))
    assert.equal(0, preferred(b, 60 * SECOND))
  end)

  it("learns nothing from who went away", function()
    local b = balancers.new("ewma", { {} })
    b:done(0, { now = 0, ok = false, latency = -1 })
    assert.is_true(b.loads[1][0].latency == 0)
  end)

  for _, case in ipairs { { 0, 1 }, { 0x7fffffffffffffffLL, 60e9 } } do
    it(("keeps a latency of %s within bounds"):format(tostring(case[1])), function()
      local b = balancers.new("ewma", { {} })
      b:done(0, { now = 0, latency = case[1] })
      close(case[2], cost(b.loads[1]), 1e-6)
    end)
  end

  it("takes a stamp from a little later for now, and clocks at their ends for any", function()
    local b = balancers.new("ewma", { {}, {} })
    b:done(0, { now = 100 * SECOND, latency = 10e6 })
    b:done(0, { now = 99.9 * SECOND, latency = 1e6 })
    close(10e6, cost(b.loads[1]), 1e-6)
    for _, now in ipairs { -0x7fffffffffffffffLL - 1, 0x7fffffffffffffffLL } do
      b:done(1, { now = now, latency = 5000 })
      assert.is_true(b:choose { now = now, random = 3ULL } >= 0)
    end
  end)

  it("keeps what it knows over a new table", function()
    local old = balancers.new("ewma", { {}, {} })
    old:done(0, { now = 0, latency = 20e6 })
    old:done(1, { now = 0, latency = 10e6 })
    local new = balancers.new("ewma", { {}, {}, { weight = 0 } }, { state = old.state, loads = { old.loads[2], old.loads[1] } })
    assert.equal(0, preferred(new, 0))
  end)
end)
