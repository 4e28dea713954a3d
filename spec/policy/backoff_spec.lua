local cdef = require "spec.support.cdef"
local balancers = require "spec.support.balancers"
local C = cdef.load "policy/backoff.h"

local MOST = 0xffffffffffffffffULL
local LARGEST = 0x7fffffffffffffffLL

describe("gw_backoff", function()
  -- base, most, retry: the longest wait
  for _, case in ipairs {
    { 25, 250, 0, 25 }, { 25, 250, 1, 50 }, { 25, 250, 2, 100 }, { 25, 250, 3, 200 }, { 25, 250, 4, 250 }, { 25, 250, 5, 250 },
    { 25, 250, 4294967295, 250 }, { 25, 200, 3, 200 }, { 300, 250, 0, 250 }, { 1, LARGEST, 62, 0x4000000000000000LL },
    { 1, LARGEST, 63, LARGEST }, { 3, LARGEST, 4294967295, LARGEST }, { LARGEST, LARGEST, 1, LARGEST },
    { 0, 250, 3, 0 }, { -5, 250, 3, 0 }, { 25, 0, 3, 0 }, { 25, -1, 3, 0 }, { 1, 1, 9, 1 },
  } do
    local base, most, retry, longest = tostring(case[1]), tostring(case[2]), tostring(case[3]), tostring(case[4])
    it(("base %s, most %s, retry %s: up to %s"):format(base, most, retry, longest), function()
      assert.is_true(C.gw_backoff(case[1], case[2], case[3], MOST) == case[4] + 0LL)
      assert.is_true(C.gw_backoff(case[1], case[2], case[3], 0) == 0LL)
    end)
  end

  it("is spread evenly over all of it", function()
    local random, seen, n = balancers.random(1), {}, 40000
    for i = 0, 9 do seen[i] = 0 end
    for _ = 1, n do
      local wait = tonumber(C.gw_backoff(100, 1e9, 2, random()))
      assert.is_true(wait >= 0 and wait <= 400)
      local tenth = math.min(9, math.floor(wait / 40.1))
      seen[tenth] = seen[tenth] + 1
    end
    for tenth = 0, 9 do assert.is_true(math.abs(seen[tenth] - n / 10) < 400, seen[tenth]) end
  end)
end)
