local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("policy/adaptive.h")

local SECOND = 1e9

local function adaptive(settings)
  local a = C.gw_adaptive_new(ffi.new("gw_adaptive_settings", settings))
  assert.is_false(a == nil)
  return ffi.gc(a, C.gw_adaptive_free)
end

-- A backend that serves `width` at once in `base` seconds each, and slower in proportion when there are more: rounds of as many requests
-- as are let in (at most `demand`).
local function rounds(a, count, now, demand, latency)
  for _ = 1, count do
    local inside = 0
    while inside < demand and C.gw_adaptive_enter(a) == 0 do inside = inside + 1 end
    local took = latency(inside)
    now = now + math.max(took, 0.02) * SECOND
    for _ = 1, inside do C.gw_adaptive_leave(a, took, now) end
  end
  return now
end

local function saturating(width, base)
  return function(inside) return base * math.max(1, inside / width) end
end

describe("adaptive concurrency limit", function()
  it("has the size its header tells", function() assert.equal(128, ffi.sizeof("gw_adaptive")) end)

  for _, case in ipairs {
    { "an interval below 0", { interval = -1 } }, { "an interval below a millisecond", { interval = 0.0001 } },
    { "a tolerance below 1", { tolerance = 0.5 } }, { "a tolerance without end", { tolerance = math.huge } },
    { "a tolerance that is no number", { tolerance = 0 / 0 } }, { "least above most", { least = 10, most = 5 } },
    { "a limit without bounds", { most = 2 ^ 31 } }, { "more samples than can be counted", { samples = 2 ^ 20 } },
  } do
    it("refuses " .. case[1], function() assert.is_true(C.gw_adaptive_new(ffi.new("gw_adaptive_settings", case[2])) == nil) end)
  end

  for _, case in ipairs {
    { "its own beginning", {}, 20 }, { "the one asked for", { initial = 7 }, 7 },
      { "no less than the least", { initial = 7, least = 9 }, 9 },
    { "no more than the most", { initial = 70, most = 50 }, 50 },
  } do
    it("begins with " .. case[1], function()
      local a = adaptive(case[2])
      assert.equal(case[3], C.gw_adaptive_limit(a))
      for _ = 1, case[3] do assert.equal(0, C.gw_adaptive_enter(a)) end
      assert.is_true(C.gw_adaptive_enter(a) > 0)
      assert.equal(case[3], C.gw_adaptive_in_flight(a))
      C.gw_adaptive_forget(a)
      assert.equal(0, C.gw_adaptive_enter(a))
    end)
  end

  it("grows while latency stays, up to the most", function()
    local a = adaptive { most = 200 }
    rounds(a, 500, 0, 1000, function() return 0.05 end)
    assert.equal(200, C.gw_adaptive_limit(a))
  end)

  it("does not grow while half of it is idle", function()
    local a = adaptive {}
    rounds(a, 500, 0, 9, function() return 0.05 end)
    assert.equal(20, C.gw_adaptive_limit(a))
    rounds(a, 50, 1e12, 10, function() return 0.05 end)
    assert.is_true(C.gw_adaptive_limit(a) > 20)
  end)

  it("shrinks when latency rises", function()
    local a = adaptive { initial = 100 }
    local now = rounds(a, 50, 0, 100, function() return 0.05 end)
    local before = C.gw_adaptive_limit(a)
    now = rounds(a, 10, now, 1000, function() return 0.5 end)
    local after = C.gw_adaptive_limit(a)
    assert.is_true(after < before * 0.7, after .. " of " .. before)
    rounds(a, 100, now, 1000, function() return 0.05 end)
    assert.is_true(C.gw_adaptive_limit(a) > after)
  end)

  it("finds about what the backend can do", function()
    for _, width in ipairs { 10, 40, 160 } do
      local a = adaptive { interval = 0.05 }
      local now = rounds(a, 20, 0, width / 2, saturating(width, 0.05)) -- it has seen an idle backend
      for _ = 1, 20 do -- and now, for long, more than it can do
        now = rounds(a, 100, now, 10000, saturating(width, 0.05))
        local limit = C.gw_adaptive_limit(a)
        assert.is_true(limit >= width * 0.5 and limit <= width * 2.5, limit .. " for " .. width)
      end
    end
  end)

  it("does not take its own queue for the backend's latency, however long it lasts", function()
    local a = adaptive { interval = 0.05, tolerance = 3, most = 10000 }
    local now = rounds(a, 20, 0, 20, saturating(40, 0.05))
    for _ = 1, 20 do
      now = rounds(a, 300, now, 10000, saturating(40, 0.05))
      local limit = C.gw_adaptive_limit(a)
      assert.is_true(limit >= 30 and limit <= 180, limit .. " for 40")
    end
  end)

  it("learns that the backend has become slower", function()
    local a = adaptive { initial = 50, most = 60 }
    local now = rounds(a, 50, 0, 1000, function() return 0.05 end)
    now = rounds(a, 60, now, 1000, function() return 0.4 end)
    assert.is_true(C.gw_adaptive_limit(a) < 20)
    rounds(a, 400, now, 1000, function() return 0.4 end)
    assert.equal(60, C.gw_adaptive_limit(a))
  end)

  it("shrinks by a tenth an interval with drops, down to the least", function()
    local a = adaptive { initial = 100, least = 3 }
    local now = rounds(a, 1, 0, 10, function() return 0.05 end)
    now = now + SECOND
    for _, expected in ipairs { 90, 81, 72, 65 } do
      assert.equal(0, C.gw_adaptive_enter(a))
      C.gw_adaptive_leave(a, -1, now)
      assert.equal(expected, C.gw_adaptive_limit(a))
      now = now + 0.1 * SECOND
    end
    rounds(a, 300, now, 1, function() return -1 end)
    assert.equal(3, C.gw_adaptive_limit(a))
  end)

  it("waits for an interval's end and its samples", function()
    local a = adaptive { initial = 10, samples = 10, interval = 1 }
    local function request(now, took)
      assert.equal(0, C.gw_adaptive_enter(a))
      C.gw_adaptive_leave(a, took, now * SECOND)
    end
    for _ = 1, 10 do request(100, 0.05) end -- begins the first interval
    for _ = 1, 50 do request(100.9, -1) end
    assert.equal(10, C.gw_adaptive_limit(a))
    request(101.1, 0.05)
    assert.equal(9, C.gw_adaptive_limit(a))
    request(101.2, -1)
    assert.equal(9, C.gw_adaptive_limit(a))
  end)

  it("is not held up by a clock that is set back", function()
    local a = adaptive { initial = 10 }
    local now = rounds(a, 20, 5000 * SECOND, 10, function() return 0.05 end)
    assert.is_true(now > 5000 * SECOND)
    local before = C.gw_adaptive_limit(a)
    rounds(a, 20, 10 * SECOND, 100, function() return 0.05 end)
    assert.is_true(C.gw_adaptive_limit(a) > before)
  end)

  it("gives refusals a time to wait: about the latency", function()
    local a = adaptive { initial = 10, most = 10 }
    rounds(a, 50, 0, 10, function() return 0.25 end)
    for _ = 1, 10 do C.gw_adaptive_enter(a) end
    assert.near(0.25, C.gw_adaptive_enter(a), 0.01)
  end)

  for _, took in ipairs { 0, 1e-9, 1e9, math.huge, 0 / 0 } do
    it(("takes a latency of %g s"):format(took), function()
      local a = adaptive {}
      rounds(a, 100, 0, 1000, function() return took end)
      local limit = C.gw_adaptive_limit(a)
      assert.is_true(limit >= 1)
      assert.is_true(limit <= 1000)
      assert.equal(0, C.gw_adaptive_in_flight(a))
    end)
  end
end)
