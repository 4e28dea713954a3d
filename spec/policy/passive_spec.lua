local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local balancers = require "spec.support.balancers"
local C = cdef.load "policy/passive.h"

local SECOND = 1e9

local function config(change)
  local c = ffi.new("gw_passive_config", { window = 30 * SECOND, eject_for = 0, error_rate = 0.5, min_requests = 10 })
  for key, value in pairs(change or {}) do c[key] = value end
  return c
end

local function new()
  return ffi.new("gw_passive")
end

local EVENT = { [tonumber(C.GW_HEALTH_SAME)] = "same", [tonumber(C.GW_HEALTH_UP)] = "up", [tonumber(C.GW_HEALTH_DOWN)] = "down" }

local function record(p, c, now, ok)
  return EVENT[C.gw_passive_record(p, c, now, ok)]
end

local function counts(p, c, now)
  local succeeded, failed = ffi.new("uint32_t[1]"), ffi.new("uint32_t[1]")
  C.gw_passive_counts(p, c, now, succeeded, failed)
  return succeeded[0], failed[0]
end

-- The event of the last of these results at one time: "+" success, "-" failure.
local function last(p, c, now, results)
  local event
  for result in results:gmatch("[+-]") do event = record(p, c, now, result == "+") end
  return event
end

describe("passive health", function()
  for _, case in ipairs {
    { "fewer than the minimum say nothing", {}, "---------", "same" },
    { "the minimum does", {}, "----------", "down" },
    { "the rate itself is enough", {}, "+++++-----", "down" },
    { "below the rate is not", {}, "++++++----", "same" },
    { "a success does not eject, whatever the rate", {}, "---------+", "same" },
    { "the failure after it does", {}, "---------+-", "down" },
    { "a minimum of one", { min_requests = 1 }, "-", "down" },
    { "a minimum of none", { min_requests = 0 }, "-", "down" },
    { "a rate of one: all must fail", { error_rate = 1, min_requests = 4 }, "+---", "same" },
    { "a rate of one: all failed", { error_rate = 1, min_requests = 4 }, "----", "down" },
    { "a rate that binary fractions miss", { error_rate = 0.07, min_requests = 100 }, ("+"):rep(93) .. ("-"):rep(7), "down" },
    { "just below that rate", { error_rate = 0.07, min_requests = 100 }, ("+"):rep(94) .. ("-"):rep(6), "same" },
  } do
    it(case[1], function()
      local p = new()
      assert.equal(case[4], last(p, config(case[2]), 5 * SECOND, case[3]))
      assert.equal(case[4] == "down", C.gw_passive_until(p) ~= 0)
    end)
  end

  it("is out for as long as the window, unless told otherwise, and back once", function()
    for _, case in ipairs { { 0, 30 }, { 5 * SECOND, 5 }, { 120 * SECOND, 120 } } do
      local p, c = new(), config { eject_for = case[1] }
      assert.equal("down", last(p, c, 100 * SECOND, ("-"):rep(10)))
      local back = (100 + case[2]) * SECOND
      assert.equal(back, tonumber(C.gw_passive_until(p)))
      assert.equal("same", EVENT[C.gw_passive_tick(p, back - 1)])
      assert.equal("up", EVENT[C.gw_passive_tick(p, back)])
      assert.equal("same", EVENT[C.gw_passive_tick(p, back)])
      assert.is_true(C.gw_passive_until(p) == 0)
    end
  end)

  it("is told once, and counts nothing while it is out", function()
    local p, c = new(), config()
    assert.equal("down", last(p, c, SECOND, ("-"):rep(10)))
    for _ = 1, 50 do assert.equal("same", record(p, c, SECOND, false)) end
    assert.same({ 0, 0 }, { counts(p, c, SECOND) })
  end)

  it("begins anew when it is back, also soon after", function()
    local p, c = new(), config { eject_for = SECOND }
    last(p, c, 100 * SECOND, ("-"):rep(10))
    C.gw_passive_tick(p, 101 * SECOND)
    assert.equal("same", last(p, c, 101 * SECOND, ("-"):rep(9)))
    assert.equal("down", record(p, c, 101 * SECOND, false))
  end)

  it("holds a result for nine tenths of the window at least, for all of it at most", function()
    local c = config()
    for _, at in ipairs { 60, 60.5, 61.5, 62.999 } do
      local p = new()
      record(p, c, at * SECOND, false)
      for _, later in ipairs { 0, 3, 26, 27 } do assert.same({ 0, 1 }, { counts(p, c, (at + later) * SECOND) }, at .. "+" .. later) end
      assert.same({ 0, 0 }, { counts(p, c, (at + 30) * SECOND) })
      assert.same({ 0, 0 }, { counts(p, c, (at + 3000) * SECOND) })
    end
  end)

  it("slides as a slow model of single results does", function()
    local random = balancers.random(77)
    for _, window in ipairs { 1e9, 30e9, 3600e9 } do
      local c, p, log, now = config { window = window, min_requests = 1000000000 }, new(), {}, 1e12
      for _ = 1, 2000 do
        now = now + tonumber(random() % 1000ULL) / 1000 * window / 20
        if random() % 500ULL == 0ULL then now = now + window * 3 end
        local ok = random() % 3ULL == 0ULL
        record(p, c, now, ok)
        local slice = math.floor(math.floor(now) / (window / 10))
        log[#log + 1] = { slice, ok }
        local succeeded, failed = 0, 0
        for i = #log, 1, -1 do
          if slice - log[i][1] >= 10 then break end
          if log[i][2] then succeeded = succeeded + 1 else failed = failed + 1 end
        end
        assert.same({ succeeded, failed }, { counts(p, c, now) })
      end
    end
  end)

  it("takes a result that a lagging thread brings, and one whose clock is ahead", function()
    local p, c = new(), config()
    record(p, c, 100 * SECOND, false)
    record(p, c, 96 * SECOND, false)
    record(p, c, 104 * SECOND, true)
    assert.same({ 1, 2 }, { counts(p, c, 100 * SECOND) })
  end)

  it("goes on when the clock jumps, either way", function()
    local p, c = new(), config { min_requests = 3 }
    record(p, c, 1e15, false) record(p, c, 1e15, false)
    assert.equal("same", record(p, c, 1e9, false))
    assert.equal("same", record(p, c, 1e9, false))
    assert.equal("down", record(p, c, 1e9, false))
    assert.equal("up", EVENT[C.gw_passive_tick(p, 1e15)])
  end)

  for _, first in ipairs { true, false } do
    it("keeps rates when counts reach their end, " .. (first and "successes" or "failures") .. " first", function()
      local p, c = new(), config { min_requests = 4000000 }
      for i = 1, 400000 do
        record(p, c, SECOND, first)
        if i % 2 == 0 then record(p, c, SECOND, not first) end
        if i > 262000 and i % 10 == 0 then
          local succeeded, failed = counts(p, c, SECOND)
          local many, few = first and succeeded or failed, first and failed or succeeded
          assert.is_true(many <= 262143 and many >= 131071 and math.abs(many / few - 2) < 0.001)
        end
      end
    end)
  end

  for _, window in ipairs { 0, 1, 9, 11, 0x7fffffffffffffffLL } do
    it("survives a window of " .. tostring(window), function()
      local p, c = new(), config { window = window }
      for _, now in ipairs { -1LL, 0LL, 1LL, 0x7fffffffffffffffLL } do
        last(p, c, now, ("-"):rep(12))
        C.gw_passive_tick(p, now)
      end
    end)
  end

  it("is of one size, whatever comes", function()
    assert.equal(88, ffi.sizeof("gw_passive"))
  end)
end)
