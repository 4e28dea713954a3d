local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("policy/token_bucket.h")

local SECOND = 1e9
local NEVER = math.huge

local function bucket(rate, burst)
  local b = ffi.new("gw_token_bucket")
  assert.equal(C.GW_OK, C.gw_token_bucket_init(b, rate, burst))
  return b
end

-- Seconds to whole ns.
local function ns(seconds) return math.floor(seconds * SECOND + 0.5) end

describe("token bucket", function()
  it("is a cache line", function() assert.equal(64, ffi.sizeof("gw_token_bucket")) end)

  for _, case in ipairs {
    { "rate 0", 0, 1 }, { "rate below 0", -1, 1 }, { "rate not a number", 0 / 0, 1 }, { "endless rate", NEVER, 1 },
    { "burst 0", 1, 0 }, { "burst below 0", 1, -5 }, { "burst not a number", 1, 0 / 0 }, { "endless burst", 1, NEVER },
    { "a bucket that takes 100 years to fill", 1, 100 * 366 * 86400 }, { "a bucket of less than a nanosecond", 1e12, 1 },
  } do
    it("refuses " .. case[1], function()
      assert.equal(C.GW_INVALID, C.gw_token_bucket_init(ffi.new("gw_token_bucket"), case[2], case[3]))
      assert.is_true(C.gw_token_bucket_new(case[2], case[3]) == nil)
    end)
  end

  -- Each step: the moment in seconds, tokens wanted, seconds to wait (0: taken).
  for _, case in ipairs {
    { "burst at once, then one a period", 10, 3, {
      { 100, 1, 0 }, { 100, 1, 0 }, { 100, 1, 0 }, { 100, 1, 0.1 }, { 100.05, 1, 0.05 }, { 100.1, 1, 0 }, { 100.1, 1, 0.1 },
    } },
    { "without burst, evenly spaced cells conform, early ones do not", 1, 1, {
      { 0, 1, 0 }, { 1, 1, 0 }, { 1.999999999, 1, 0.000000001 }, { 2, 1, 0 }, { 5, 1, 0 }, { 5.5, 1, 0.5 },
    } },
    { "idle time fills it to the burst and no further", 10, 2, {
      { 0, 2, 0 }, { 1000, 1, 0 }, { 1000, 1, 0 }, { 1000, 1, 0.1 },
    } },
    { "several tokens at once", 10, 5, { { 0, 3, 0 }, { 0, 3, 0.1 }, { 0, 2, 0 }, { 0, 5, 0.5 }, { 0.5, 5, 0 } } },
    { "fractions of tokens", 2, 1, { { 0, 0.5, 0 }, { 0, 0.5, 0 }, { 0, 0.5, 0.25 }, { 0.25, 0.5, 0 } } },
    { "a refused request takes nothing", 1, 2, {
      { 0, 2, 0 }, { 0.5, 1, 0.5 }, { 0.5, 1, 0.5 }, { 0.75, 2, 1.25 }, { 1, 1, 0 },
    } },
    { "more than the burst never", 10, 5, { { 0, 6, NEVER }, { 0, 5.000001, NEVER }, { 0, 5, 0 } } },
    { "no number of tokens", 10, 5, { { 0, -1, NEVER }, { 0, 0 / 0, NEVER }, { 0, 0, 0 }, { 0, 5, 0 }, { 0, 0, 0 } } },
    { "a period that is no whole number of ns still gives the burst", 6, 3, {
      { 7, 1, 0 }, { 7, 1, 0 }, { 7, 1, 0 }, { 7.1666, 1, 0.000066664 }, { 7.166666664, 1, 0 },
    } },
    { "rates below one a second", 1 / 3600, 1, { { 0, 1, 0 }, { 1800, 1, 1800 }, { 3600, 1, 0 } } },
    { "high rates", 1e6, 10, { { 1, 10, 0 }, { 1, 1, 0.000001 }, { 1.000001, 1, 0 } } },
    { "the clock a little behind (another worker's) gives nothing away", 10, 2, {
      { 100, 2, 0 }, { 99.99, 1, 0.11 }, { 100, 1, 0.1 }, { 100.1, 1, 0 },
    } },
    { "the clock set back by far leaves it empty, not locked", 10, 2, {
      { 1000, 2, 0 }, { 500, 1, 0.1 }, { 500.05, 1, 0.05 }, { 500.1, 1, 0 }, { 500.1, 1, 0.1 },
    } },
    { "a clock before its beginning is at its beginning", 10, 2, { { -5, 2, 0 }, { -5, 1, 0.1 }, { 0.1, 1, 0 } } },
    { "a jump ahead fills it", 10, 2, { { 0, 2, 0 }, { 1e6, 2, 0 }, { 1e6, 1, 0.1 } } },
    { "the time of wall clocks", 10, 1, { { 1.9e9, 1, 0 }, { 1.9e9, 1, 0.1 } } },
  } do
    it("conforms: " .. case[1], function()
      local b = bucket(case[2], case[3])
      for i, step in ipairs(case[4]) do
        local wait = C.gw_token_bucket_allow(b, step[2], ns(step[1]))
        if step[3] == NEVER then
          assert.message("step " .. i).equal(NEVER, wait)
        else
          assert.message("step " .. i).near(step[3], wait, step[1] > 1e6 and 1e-6 or 1.5e-9)
          assert.message("step " .. i .. " is 0 or above").equal(step[3] == 0, wait == 0)
        end
      end
    end)
  end

  for _, case in ipairs {
    { "a full one", {}, 0, 10, 0 }, { "after 4 of 10", { { 0, 4 } }, 0, 6, 0.4 }, { "half a token later", { { 0, 4 } }, 0.05, 6.5, 0.35 },
    { "an empty one", { { 0, 10 } }, 0, 0, 1 }, { "long after", { { 0, 10 } }, 50, 10, 0 },
    { "the clock set back", { { 100, 10 } }, 1, 0, 1 },
  } do
    it("tells what is left: " .. case[1], function()
      local b = bucket(10, 10)
      for _, take in ipairs(case[2]) do assert.equal(0, C.gw_token_bucket_allow(b, take[2], take[1] * SECOND)) end
      assert.near(case[4], C.gw_token_bucket_left(b, case[3] * SECOND), 1e-6)
      assert.near(case[5], C.gw_token_bucket_full_after(b, case[3] * SECOND), 1e-9)
    end)
  end

  -- Tokens used before, the settings before and after, tokens left after.
  for _, case in ipairs {
    { "the same settings", 4, { 10, 10 }, { 10, 10 }, 6 }, { "a higher rate", 10, { 1, 10 }, { 100, 10 }, 0 },
    { "a lower rate", 4, { 100, 10 }, { 0.5, 10 }, 6 }, { "a larger burst", 4, { 10, 10 }, { 10, 100 }, 96 },
    { "a smaller burst", 4, { 10, 10 }, { 10, 6 }, 2 }, { "a burst below what was used", 8, { 10, 10 }, { 10, 5 }, 0 },
    { "both", 3, { 10, 10 }, { 2, 5 }, 2 },
  } do
    it("keeps used tokens used under " .. case[1], function()
      local b = bucket(case[3][1], case[3][2])
      assert.equal(0, C.gw_token_bucket_allow(b, case[2], 50 * SECOND))
      assert.equal(C.GW_OK, C.gw_token_bucket_change(b, case[4][1], case[4][2], 50 * SECOND))
      assert.near(case[5], C.gw_token_bucket_left(b, 50 * SECOND), 1e-6)
    end)
  end

  it("keeps its settings when the new ones are refused", function()
    local b = bucket(10, 10)
    assert.equal(C.GW_INVALID, C.gw_token_bucket_change(b, 0, 5, 0))
    assert.near(10, C.gw_token_bucket_left(b, 0), 1e-6)
  end)

  it("lives on the heap, too", function()
    local b = C.gw_token_bucket_new(1, 1)
    assert.is_false(b == nil)
    assert.equal(0, C.gw_token_bucket_allow(b, 1, 0))
    assert.near(1, C.gw_token_bucket_allow(b, 1, 0), 1e-9)
    C.gw_token_bucket_free(b)
    C.gw_token_bucket_free(nil)
  end)

  -- The obvious bucket: a level in ns that rises with time and that tokens are taken from.
  local function model(period, burst)
    local level, last = period * burst, 0
    return function(n, now)
      level = math.min(period * burst, level + math.max(0, now - last))
      last = math.max(last, now)
      if level >= n * period then
        level = level - n * period
        return 0
      end
      return n * period - level
    end
  end

  for seed = 1, 20 do
    it("does what the obvious model does, sequence " .. seed, function()
      math.randomseed(seed)
      local period
      repeat period = math.random(1, 2000000) until SECOND / (SECOND / period) == period -- not every one survives the rounding
      local burst = math.random(1, 20)
      local b, slow, now = bucket(SECOND / period, burst), model(period, burst), math.random(0, 1e9)
      local admitted = 0
      for step = 1, 2000 do
        now = now + (math.random() < 0.3 and 0 or math.random(0, 2 * period))
        local n = math.random() < 0.8 and 1 or math.random(1, burst)
        local expected, wait = slow(n, now), ns(C.gw_token_bucket_allow(b, n, now))
        assert.message("step " .. step).equal(expected, wait)
        if wait > 0 then
          assert.message("step " .. step .. ", a nanosecond early").is_true(C.gw_token_bucket_allow(b, n, now + wait - 1) > 0)
        end
        admitted = admitted + (wait == 0 and n or 0)
        if wait > 0 and math.random() < 0.2 then
          now = now + wait
          assert.message("step " .. step .. ", as told").equal(0, C.gw_token_bucket_allow(b, n, now))
          slow(n, now)
        end
      end
      assert.is_true(admitted > 0)
    end)
  end

  for seed = 1, 10 do
    it("never gives more than the burst and the rate, whatever the clock does, sequence " .. seed, function()
      math.randomseed(seed)
      local b, now, ahead, taken = bucket(100, 10), 5 * SECOND, 0, 0
      for _ = 1, 3000 do
        local before = now
        local dice = math.random()
        if dice < 0.01 then
          now = math.max(0, now - math.random(1, 100) * SECOND)
        elseif dice < 0.3 then
          now = math.max(0, now - math.random(0, 5e6))
        else
          now = now + math.random(0, 2e7)
        end
        ahead = ahead + math.max(0, now - before)
        if C.gw_token_bucket_allow(b, 1, now) == 0 then taken = taken + 1 end
      end
      assert.is_true(taken <= 10 + ahead / 1e7, taken .. " in " .. ahead / SECOND .. " s")
      assert.is_true(taken > 500)
    end)
  end
end)
