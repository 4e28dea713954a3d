local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("policy/round_robin.h")

describe("round robin", function()
  local function picks(count, tried, start, n)
    local cursor = ffi.new("uint64_t[1]", start)
    local out = {}
    for i = 1, n do
      out[i] = C.gw_round_robin_pick(cursor, count, tried)
    end
    return out
  end

  for _, case in ipairs {
    { "goes round from where the cursor stands", 3, 0ULL, 1ULL, { 1, 2, 0, 1, 2, 0 } },
    { "one slot is always that slot", 1, 0ULL, 7ULL, { 0, 0, 0 } },
    { "a tried slot is passed over", 3, 2ULL, 0ULL, { 0, 2, 2, 0, 2, 2 } },
    { "none when all were tried", 3, 7ULL, 0ULL, { -1, -1 } },
    { "none of none", 0, 0ULL, 0ULL, { -1 } },
    { "the cursor may wrap", 4, 0ULL, 0xffffffffffffffffULL, { 3, 0, 1 } },
    { "slots from 64 on have no bit", 70, 0xffffffffffffffffULL, 0ULL, { 64, 64 } },
  } do
    it(case[1], function()
      assert.same(case[5], picks(case[2], case[3], case[4], #case[5]))
    end)
  end

  it("gives equal shares", function()
    local seen = {}
    for _, slot in ipairs(picks(7, 0ULL, 123456789ULL, 7000)) do
      seen[slot] = (seen[slot] or 0) + 1
    end
    for slot = 0, 6 do
      assert.equal(1000, seen[slot])
    end
  end)
end)

describe("the round robin balancer", function()
  local balancers = require "spec.support.balancers"

  local function slots(n)
    local out = {}
    for i = 1, n do out[i] = { weight = i } end
    return out
  end

  for _, case in ipairs {
    { "goes round from where the cursor stands", 3, 1, {}, { 1, 2, 0, 1, 2, 0 } },
    { "begins anywhere, modulo the slots", 3, 17, {}, { 2, 0, 1, 2 } },
    { "begins anywhere, however large the seed", 4, 0xffffffffffffffffULL, {}, { 3, 0, 1, 2 } },
    { "one slot is always that slot", 1, 0, {}, { 0, 0, 0 } },
    { "who stands behind a gap does not get its share", 4, 0, { excluded = { 1 } }, { 0, 2, 3, 0, 2, 3 } },
    { "nor behind a wide one", 4, 0, { excluded = { 0, 1 } }, { 2, 3, 2, 3 } },
    { "health and tried slots come together", 4, 0, { excluded = { 1 }, tried = { 0 } }, { 2, 3, 2, 3 } },
    { "none when all are out", 2, 0, { excluded = { 0 }, tried = { 1 } }, { -1, -1 } },
  } do
    it(case[1], function()
      local b, out = balancers.new("round_robin", slots(case[2]), { seed = case[3] }), {}
      for i = 1, #case[5] do out[i] = b:choose(case[4]) end
      assert.same(case[5], out)
    end)
  end

  it("does not move when nobody can be had", function()
    local b = balancers.new("round_robin", slots(3))
    assert.equal(0, b:choose())
    assert.equal(-1, b:choose { excluded = { 0, 1, 2 } })
    assert.equal(1, b:choose())
  end)

  it("goes on where it was when a table of other slots comes", function()
    local old = balancers.new("round_robin", slots(3))
    old:choose()
    local new = balancers.new("round_robin", slots(4), { state = old.state })
    assert.same({ 1, 2, 3, 0 }, { new:choose(), new:choose(), new:choose(), new:choose() })
  end)
end)
