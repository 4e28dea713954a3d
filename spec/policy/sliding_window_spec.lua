local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("policy/sliding_window.h")

local SECOND = 1e9
local function ns(seconds) return math.floor(seconds * SECOND + 0.5) end

-- Both forms, as functions of n and now: one for all, and one key of many.
local forms = {
  plain = function(limit, window)
    local w = ffi.new("gw_sliding_window")
    assert.equal(C.GW_OK, C.gw_sliding_window_init(w, limit, window))
    return {
      allow = function(n, now) return C.gw_sliding_window_allow(w, n, now) end,
      left = function(now) return C.gw_sliding_window_left(w, now) end,
    }
  end,
  keyed = function(limit, window)
    local w = ffi.gc(C.gw_keyed_window_new(limit, window, 16), C.gw_keyed_window_free)
    assert.is_false(w == nil)
    return {
      allow = function(n, now)
        C.gw_keyed_window_allow(w, "other", 5, 1, now)
        return C.gw_keyed_window_allow(w, "key", 3, n, now)
      end,
      left = function(now) return C.gw_keyed_window_left(w, "key", 3, now) end,
    }
  end,
}

for name, form in pairs(forms) do
  describe("sliding window, " .. name, function()
    -- Each step: the moment in seconds, requests, seconds to wait (0: admitted).
    for _, case in ipairs {
      { "admits the limit and no more", 3, 10, { { 0, 1, 0 }, { 1, 1, 0 }, { 2, 1, 0 }, { 3, 1, 10 + 10 / 3 - 3 } } },
      { "a refused request does not count", 2, 10, {
        { 0, 2, 0 }, { 1, 1, 14 }, { 2, 1, 13 }, { 14.9, 1, 0.1 }, { 15, 1, 0 }, { 15, 1, 5 },
      } },
      { "at the border the window before counts in full", 10, 10, { { 9.9, 10, 0 }, { 10, 1, 1 }, { 10.999999999, 1, 0.000000001 },
        { 11, 1, 0 } } },
      { "the last nanosecond belongs to the window before", 2, 10, { { 9.999999999, 2, 0 }, { 10, 1, 5 }, { 15, 1, 0 }, { 15, 1, 5 } } },
      { "half of the window before at half of this one", 10, 10, { { 5, 10, 0 }, { 15, 5, 0 }, { 15, 1, 1 } } },
      { "two windows on, all is forgotten", 2, 10, { { 5, 2, 0 }, { 20, 2, 0 }, { 20, 1, 15 } } },
      { "long after, too", 2, 10, { { 5, 2, 0 }, { 1e6, 2, 0 }, { 1e6, 1, 15 } } },
      { "several at once", 5, 1, { { 0, 3, 0 }, { 0, 3, 1 + 1 / 3 }, { 0, 2, 0 }, { 0, 5, 2 } } },
      { "more than the limit never", 5, 1, { { 0, 6, math.huge }, { 0, 5, 0 }, { 0.5, 6, math.huge } } },
      { "none is free", 1, 1, { { 0, 0, 0 }, { 0, 1, 0 }, { 0, 0, 0 } } },
      { "a limit of one", 1, 1, { { 0, 1, 0 }, { 0.5, 1, 1.5 }, { 1.999999999, 1, 0.000000001 }, { 2, 1, 0 } } },
      { "the clock a little behind counts in the window it finds", 2, 10, { { 10.001, 2, 0 }, { 9.999, 1, 15.001 },
        { 10.001, 1, 14.999 } } },
      { "even over several short windows", 2, 0.001, { { 1, 2, 0 }, { 0.99, 1, 0.0115 }, { 1, 1, 0.0015 } } },
      { "the clock set back forgives nothing, and locks nobody", 2, 10, { { 1005, 2, 0 }, { 505, 1, 10 }, { 515, 1, 0 },
        { 515, 1, 5 } } },
      { "a large limit", 1000000, 1, { { 0, 1000000, 0 }, { 1.5, 500000, 0 }, { 1.5, 1, 0.000001 } } },
    } do
      it(case[1], function()
        local w = form(case[2], case[3])
        for i, step in ipairs(case[4]) do
          local wait = w.allow(step[2], ns(step[1]))
          if step[3] == math.huge then
            assert.message("step " .. i).equal(math.huge, wait)
          else
            assert.message("step " .. i).near(step[3], wait, 1.5e-9)
            assert.message("step " .. i .. " is 0 or above").equal(step[3] == 0, wait == 0)
          end
        end
      end)
    end

    -- A slow one: counts kept for every window by its number.
    local function model(limit, window)
      local counts = {}
      return function(n, now)
        local number = math.floor(now / window)
        local before, during = counts[number - 1] or 0, counts[number] or 0
        -- multiplied out: all numbers are whole, and stay below 2^53
        if before * (window - (now - number * window)) + (during + n) * window <= limit * window then
          counts[number] = during + n
          return true
        end
        return false
      end
    end

    for seed = 1, 12 do
      it("does what the obvious model does, sequence " .. seed, function()
        math.randomseed(seed)
        local limit, window = math.random(1, 50), math.random(1e6, 2e9)
        local w, slow, now = form(limit, window / SECOND), model(limit, window), math.random(0, 1e9)
        local seen = { [true] = 0, [false] = 0 }
        for step = 1, 3000 do
          now = now + (math.random() < 0.02 and math.random(0, 3 * window) or math.random(0, math.floor(window / limit * 1.5)))
          if math.random() < 0.05 then now = (math.floor(now / window) + 1) * window - math.random(0, 1) end
          local n = math.random() < 0.8 and 1 or math.random(1, limit)
          local wait = w.allow(n, now)
          local expected = slow(n, now)
          assert.message("step " .. step).equal(expected, wait == 0)
          seen[expected] = seen[expected] + 1
          if wait > 0 and math.random() < 0.3 then
            local later = now + ns(wait)
            assert.message("step " .. step .. ", a nanosecond early").is_true(w.allow(n, later - 1) > 0)
            assert.message("step " .. step .. ", as told").equal(0, w.allow(n, later))
            assert.is_true(slow(n, later))
            now = later
          end
        end
        assert.is_true(seen[true] > 100 and seen[false] > 100)
      end)
    end

    it("tells what is left", function()
      local w = form(10, 10)
      assert.equal(10, w.left(0))
      w.allow(4, 5 * SECOND)
      assert.equal(6, w.left(5 * SECOND))
      assert.equal(6, w.left(10 * SECOND))
      assert.equal(8, w.left(15 * SECOND))
      assert.equal(7, w.left(14.9 * SECOND)) -- 2.04 of the window before count as 3
      assert.equal(10, w.left(20 * SECOND))
      for _ = 1, 20 do w.allow(1, 30 * SECOND) end
      assert.equal(0, w.left(30 * SECOND))
    end)
  end)
end

describe("sliding window", function()
  for _, case in ipairs {
    { "a limit of 0", 0, 1 }, { "no window", 1, 0 }, { "a window below a millisecond", 1, 0.0009 }, { "a window below 0", 1, -1 },
    { "no number", 1, 0 / 0 }, { "a window of 100 years", 1, 100 * 366 * 86400 }, { "a limit that does not fit", 2 ^ 24, 1 },
  } do
    it("refuses " .. case[1], function()
      assert.is_true(C.gw_sliding_window_new(case[2], case[3]) == nil)
      assert.is_true(C.gw_keyed_window_new(case[2], case[3], 10) == nil)
    end)
  end

  it("takes the largest limits there are, and no larger", function()
    local plain, keyed = 2 ^ 24 - 1, 2 ^ 20 - 1
    local w = C.gw_sliding_window_new(plain, 1)
    assert.equal(0, C.gw_sliding_window_allow(w, plain, 0))
    assert.is_true(C.gw_sliding_window_allow(w, 1, 0) > 0)
    assert.equal(0, C.gw_sliding_window_allow(w, 1, 1.5 * SECOND))
    C.gw_sliding_window_free(w)
    assert.is_true(C.gw_keyed_window_new(keyed + 1, 1, 10) == nil)
    assert.is_true(C.gw_keyed_window_new(1, 1, 0) == nil)
    local k = C.gw_keyed_window_new(keyed, 1, 10)
    assert.equal(0, C.gw_keyed_window_allow(k, "k", 1, keyed, 0))
    assert.is_true(C.gw_keyed_window_allow(k, "k", 1, 1, 0) > 0)
    C.gw_keyed_window_free(k)
  end)

  -- limit, window, used, then the new ones, left.
  for _, case in ipairs {
    { "the same", 10, 10, 4, 10, 10, 6 }, { "a higher limit", 10, 10, 4, 20, 10, 16 }, { "a lower limit", 10, 10, 4, 5, 10, 1 },
    { "a limit below what was used", 10, 10, 8, 5, 10, 0 }, { "another window", 10, 10, 4, 10, 60, 6 },
    { "both", 10, 10, 8, 5, 1, 0 },
  } do
    it("keeps what was counted under " .. case[1], function()
      local w = ffi.new("gw_sliding_window")
      C.gw_sliding_window_init(w, case[2], case[3])
      assert.equal(0, C.gw_sliding_window_allow(w, case[4], 1005 * SECOND))
      assert.equal(C.GW_OK, C.gw_sliding_window_change(w, case[5], case[6], 1005 * SECOND))
      assert.equal(case[7], C.gw_sliding_window_left(w, 1005 * SECOND))

      local old, new = C.gw_keyed_window_new(case[2], case[3], 10), C.gw_keyed_window_new(case[5], case[6], 20)
      assert.equal(0, C.gw_keyed_window_allow(old, "k", 1, case[4], 1005 * SECOND))
      assert.equal(0, C.gw_keyed_window_allow(old, "old", 3, case[4], 5 * SECOND))
      C.gw_keyed_window_adopt(new, old, 1005 * SECOND)
      assert.equal(case[7], C.gw_keyed_window_left(new, "k", 1, 1005 * SECOND))
      assert.equal(case[5], C.gw_keyed_window_left(new, "old", 3, 1005 * SECOND))
      assert.equal(1, new.table.held)
      C.gw_keyed_window_free(old)
      C.gw_keyed_window_free(new)
    end)
  end

  for _, case in ipairs { { 0, 1, "GW_INVALID" }, { 1, 0, "GW_INVALID" }, { 70000, 1, "GW_LIMIT" }, { 65535, 1, "GW_OK" } } do
    it(("changes to %d in %d s: %s"):format(case[1], case[2], case[3]), function()
      local w = ffi.new("gw_sliding_window")
      C.gw_sliding_window_init(w, 10, 1)
      assert.equal(C[case[3]], C.gw_sliding_window_change(w, case[1], case[2], 0))
    end)
  end

  it("changes the limit of every key", function()
    local w = ffi.gc(C.gw_keyed_window_new(10, 1, 10), C.gw_keyed_window_free)
    assert.equal(0, C.gw_keyed_window_allow(w, "a", 1, 10, 0))
    assert.equal(C.GW_OK, C.gw_keyed_window_change(w, 12))
    assert.equal(2, C.gw_keyed_window_left(w, "a", 1, 0))
    assert.equal(C.GW_INVALID, C.gw_keyed_window_change(w, 0))
    assert.equal(C.GW_LIMIT, C.gw_keyed_window_change(w, 65536))
  end)

  it("holds no more keys than it may, and keeps who is seen", function()
    local w = ffi.gc(C.gw_keyed_window_new(5, 3600, 200), C.gw_keyed_window_free)
    assert.equal(0, C.gw_keyed_window_allow(w, "busy", 4, 5, SECOND))
    for i = 1, 10000 do
      local key = "new " .. i
      assert.equal(0, C.gw_keyed_window_allow(w, key, #key, 1, SECOND))
      if i % 50 == 0 then assert.is_true(C.gw_keyed_window_allow(w, "busy", 4, 1, SECOND) > 0) end
      assert.is_true(w.table.held <= 200)
    end
  end)
end)
