local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local balancers = require "spec.support.balancers"
local C = cdef.load "policy/retry_budget.h"

local function new(share, minimum)
  return ffi.new("gw_retry_budget"), ffi.new("gw_retry_budget_config", { share = share, minimum = minimum })
end

describe("a retry budget", function()
  -- share, minimum, live requests: how many retries at the same time
  for _, case in ipairs {
    { 0.2, 0, 0, 0 }, { 0.2, 0, 4, 0 }, { 0.2, 0, 5, 1 }, { 0.2, 0, 9, 1 }, { 0.2, 0, 10, 2 }, { 0.2, 3, 0, 3 },
    { 0.2, 3, 15, 3 }, { 0.2, 3, 20, 4 }, { 0, 0, 100, 0 }, { 0, 2, 100, 2 }, { 1, 0, 7, 7 }, { 0.29, 0, 100, 29 },
    { 0.1, 0, 30, 3 }, { 0.7, 0, 10, 7 },
  } do
    it(("of %g, at least %d: %d requests may have %d retries"):format(case[1], case[2], case[3], case[4]), function()
      local b, config = new(case[1], case[2])
      for _ = 1, case[3] do C.gw_retry_budget_enter(b) end
      for _ = 1, case[4] do assert.is_true(C.gw_retry_budget_take(b, config)) end
      assert.is_false(C.gw_retry_budget_take(b, config))
      assert.equal(case[4], C.gw_retry_budget_retries(b))
      assert.equal(case[3], C.gw_retry_budget_requests(b))
    end)
  end

  it("counts waiting retries until they are given back", function()
    local b, config = new(0.2, 1)
    assert.is_true(C.gw_retry_budget_take(b, config))
    assert.is_false(C.gw_retry_budget_take(b, config))
    C.gw_retry_budget_give(b)
    assert.is_true(C.gw_retry_budget_take(b, config))
  end)

  it("shrinks with the requests, without taking anything back", function()
    local b, config = new(0.5, 0)
    for _ = 1, 4 do C.gw_retry_budget_enter(b) end
    assert.is_true(C.gw_retry_budget_take(b, config) and C.gw_retry_budget_take(b, config))
    C.gw_retry_budget_leave(b)
    C.gw_retry_budget_leave(b)
    assert.equal(2, C.gw_retry_budget_retries(b))
    C.gw_retry_budget_give(b)
    assert.is_false(C.gw_retry_budget_take(b, config))
  end)

  it("never falls below nothing, nor spoils its other half", function()
    local b = new(0.5, 0)
    C.gw_retry_budget_give(b)
    C.gw_retry_budget_leave(b)
    assert.same({ 0, 0 }, { C.gw_retry_budget_requests(b), C.gw_retry_budget_retries(b) })
    C.gw_retry_budget_enter(b)
    C.gw_retry_budget_give(b)
    assert.same({ 1, 0 }, { C.gw_retry_budget_requests(b), C.gw_retry_budget_retries(b) })
  end)

  it("is the slow model, whatever comes", function()
    local random = balancers.random(4)
    for _, settings in ipairs { { 0.2, 3 }, { 0.5, 0 }, { 0.05, 1 } } do
      local b, config = new(settings[1], settings[2])
      local live, retries = 0, 0
      for _ = 1, 5000 do
        local draw = tonumber(random() % 4ULL)
        if draw == 0 then
          C.gw_retry_budget_enter(b)
          live = live + 1
        elseif draw == 1 and live > 0 and random() % 10ULL < 9ULL then
          C.gw_retry_budget_leave(b)
          live = live - 1
        elseif draw == 2 then
          local may = retries + 1 <= math.max(settings[2], math.floor(settings[1] * live + 1e-9))
          assert.equal(may, C.gw_retry_budget_take(b, config))
          if may then retries = retries + 1 end
        elseif draw == 3 and retries > 0 then
          C.gw_retry_budget_give(b)
          retries = retries - 1
        end
        assert.same({ live, retries }, { C.gw_retry_budget_requests(b), C.gw_retry_budget_retries(b) })
      end
    end
  end)
end)
