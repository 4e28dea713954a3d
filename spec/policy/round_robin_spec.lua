local balancers = require "spec.support.balancers"

describe("the round robin balancer", function()
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
