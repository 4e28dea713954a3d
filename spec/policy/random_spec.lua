local balancers = require "spec.support.balancers"

local function slots(weights)
  local out = {}
  for i, w in ipairs(weights) do out[i] = { weight = w } end
  return out
end

describe("random", function()
  for _, case in ipairs {
    { "alike", { 1, 1, 1, 1, 1 } }, { "far apart", { 1, 5, 20, 4 } }, { "very far apart", { 1, 1000 } },
    { "of which one has nothing", { 3, 0, 2 } }, { "many", { 7, 1, 3, 9, 4, 4, 2, 8, 1, 6, 5, 5 } },
  } do
    it("chooses by weight while all are idle: weights " .. case[1], function()
      local weights, sum, n, seen = case[2], 0, 60000, {}
      local b, random = balancers.new("random", slots(weights)), balancers.random(31)
      for i, w in ipairs(weights) do sum, seen[i - 1] = sum + w, 0 end
      for _ = 1, n do
        local slot = b:choose { random = random() }
        seen[slot] = seen[slot] + 1
      end
      for i, w in ipairs(weights) do
        local p = w / sum
        -- Five standard deviations.
        assert.is_true(math.abs(seen[i - 1] - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 0.5, ("%d of %d"):format(seen[i - 1], n))
      end
    end)

    it("chooses by weight among those that are left: weights " .. case[1], function()
      local weights, sum, n, seen = case[2], 0, 30000, {}
      local b, random = balancers.new("random", slots(weights)), balancers.random(32)
      for i, w in ipairs(weights) do sum, seen[i - 1] = sum + (i > 1 and w or 0), 0 end
      for _ = 1, n do
        local slot = b:choose { random = random(), tried = { 0 } }
        seen[slot] = (seen[slot] or 0) + 1
      end
      for i = 2, #weights do
        if sum > 0 then
          local p = weights[i] / sum
          assert.is_true(math.abs(seen[i - 1] - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 0.5, ("%d of %d"):format(seen[i - 1], n))
        end
      end
    end)
  end

  it("takes the less loaded of the two, for its weight", function()
    local b, random = balancers.new("random", slots { 1, 3 }), balancers.random(33)
    for _, case in ipairs { { 1, 0, 1 }, { 0, 1, 0 }, { 1, 2, 1 }, { 1, 4, 0 } } do
      b.loads[1][0].in_flight, b.loads[2][0].in_flight = case[1], case[2]
      for _ = 1, 50 do assert.equal(case[3], b:choose { random = random() }) end
    end
  end)

  it("never takes the most loaded of equals in weight", function()
    local b, random = balancers.new("random", slots { 1, 1, 1, 1 }), balancers.random(34)
    b.loads[3][0].in_flight = 5
    for _ = 1, 400 do assert.is_true(b:choose { random = random() } ~= 2) end
  end)

  it("works without random bits, if badly", function()
    assert.is_true(balancers.new("random", slots { 2, 2, 1 }):choose() >= 0)
  end)
end)
