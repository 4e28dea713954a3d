local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local balancers = require "spec.support.balancers"
local C = cdef.load "policy/active.h"

local LETTER = { [tonumber(C.GW_HEALTH_SAME)] = ".", [tonumber(C.GW_HEALTH_UP)] = "U", [tonumber(C.GW_HEALTH_DOWN)] = "D" }

local function config(change)
  local c = ffi.new("gw_active_config", { interval = 2000, unhealthy_interval = 0, jitter = 0, rise = 2, fall = 3 })
  for key, value in pairs(change or {}) do c[key] = value end
  return c
end

-- The events of these probes: "+" success, "-" failure.
local function events(results, change)
  local a, c, out = ffi.new("gw_active"), config(change), {}
  for result in results:gmatch("[+-]") do out[#out + 1] = LETTER[C.gw_active_result(a, c, result == "+")] end
  return table.concat(out), a
end

describe("active health", function()
  for _, case in ipairs {
    { "the first success changes nothing", "+", "." },
    { "the first failure is enough", "-", "D" },
    { "`fall` in a row", "+---", "...D" },
    { "fewer are forgiven", "+--+--+", "......." },
    { "failures in the state that is told once", "+-----", "...D.." },
    { "`rise` in a row", "-++", "D.U" },
    { "fewer begin anew", "-+-+-++", "D.....U" },
    { "there and back", "+---++---", "...D.U..D" },
    { "from the first failure it takes `rise`, then `fall`", "-++---", "D.U..D" },
    { "rise 1, fall 1", "+-+-", ".DUD", { rise = 1, fall = 1 } },
    { "0 counts as 1", "+-+-", ".DUD", { rise = 0, fall = 0 } },
    { "rise 5", "-++++-+++++", "D.........U", { rise = 5 } },
  } do
    it(case[1], function()
      assert.equal(case[3], (events(case[2], case[4])))
    end)
  end

  it("is a slow model of the last results", function()
    local random = balancers.random(5)
    for rise = 1, 4 do
      for fall = 1, 4 do
        local a, c, healthy, streak = ffi.new("gw_active"), config { rise = rise, fall = fall }, nil, 0
        for _ = 1, 300 do
          local ok, expected = random() % 2ULL == 0ULL, "."
          if healthy == nil then
            healthy, expected = ok, ok and "." or "D"
          elseif ok == healthy then
            streak = 0
          else
            streak = streak + 1
            if streak == (healthy and fall or rise) then healthy, streak, expected = ok, 0, ok and "U" or "D" end
          end
          assert.equal(expected, LETTER[C.gw_active_result(a, c, ok)])
          assert.equal(not healthy, a.unhealthy)
        end
      end
    end
  end)

  describe("waits", function()
    local LEAST, HALF, MOST = 0ULL, bit.lshift(1ULL, 63), 0xffffffffffffffffULL
    for _, case in ipairs {
      { "anywhere within an interval before the first: at once", "", {}, LEAST, 0, 0 },
      { "anywhere within an interval before the first: in the middle", "", {}, HALF, 1000, 1000 },
      { "anywhere within an interval before the first: at its end", "", {}, MOST, 1999, 2000 },
      { "an interval", "+", {}, HALF, 2000, 2000 },
      { "an interval less the jitter", "+", { jitter = 0.1 }, LEAST, 1800, 1800 },
      { "an interval, in the middle of the jitter", "+", { jitter = 0.1 }, HALF, 2000, 2000 },
      { "an interval and the jitter", "+", { jitter = 0.1 }, MOST, 2199, 2200 },
      { "never nothing", "+", { jitter = 1 }, LEAST, 1, 1 },
      { "longer while it is unhealthy", "-", { unhealthy_interval = 9000 }, HALF, 9000, 9000 },
      { "longer with jitter", "-", { unhealthy_interval = 9000, jitter = 0.5 }, LEAST, 4500, 4500 },
      { "no longer when it answers again", "-+", { unhealthy_interval = 9000 }, HALF, 2000, 2000 },
      { "no longer when told nothing", "-", {}, HALF, 2000, 2000 },
      { "no longer while failures are still forgiven", "+-", { unhealthy_interval = 9000 }, HALF, 2000, 2000 },
    } do
      it(case[1], function()
        local _, a = events(case[2], case[3])
        local wait = tonumber(C.gw_active_wait(a, config(case[3]), case[4]))
        assert.is_true(wait >= case[5] and wait <= case[6], wait)
      end)
    end
  end)
end)
