local balancers = require "spec.support.balancers"

local function slots(weights)
  local out = {}
  for i, w in ipairs(weights) do out[i] = { weight = w } end
  return out
end

local function equal(n)
  local out = {}
  for i = 1, n do out[i] = {} end
  return out
end

describe("least_conn", function()
  it("takes who has fewest, and counts at the pick", function()
    local b = balancers.new("least_conn", equal(3))
    for slot, n in pairs { [0] = 2, 3, 1 } do b.loads[slot + 1][0].in_flight = n end
    assert.equal(2, b:pick())
    assert.same({ 2, 3, 2 }, { b:in_flight(0), b:in_flight(1), b:in_flight(2) })
    b:done(1) b:done(1)
    assert.equal(1, b:pick())
  end)

  it("breaks ties in turn", function()
    local b, out = balancers.new("least_conn", equal(3)), {}
    for i = 1, 6 do out[i] = b:choose() end
    assert.same({ 0, 1, 2, 0, 1, 2 }, out)
  end)

  it("breaks ties in turn also beside one that is always busy", function()
    local b, out = balancers.new("least_conn", equal(3)), {}
    b.loads[1][0].in_flight = 1
    for i = 1, 6 do out[i] = b:choose() end
    assert.same({ 1, 2, 1, 2, 1, 2 }, out)
  end)

  it("breaks ties among idle ones by weight, as nginx", function()
    local b, out = balancers.new("least_conn", slots { 5, 1, 1 }), {}
    for i = 1, 7 do out[i] = b:choose() end
    assert.same({ 0, 0, 1, 0, 2, 0, 0 }, out)
  end)

  it("fills up to the weights' shares", function()
    local b = balancers.new("least_conn", slots { 4, 2, 1 })
    for _ = 1, 70 do b:pick() end
    assert.same({ 40, 20, 10 }, { b:in_flight(0), b:in_flight(1), b:in_flight(2) })
  end)

  it("compares large counts of large weights without loss", function()
    local b = balancers.new("least_conn", slots { 1000000, 999999 })
    b.loads[1][0].in_flight, b.loads[2][0].in_flight = 4294967294, 4294967290
    -- 4294967294 / 1000000 < 4294967290 / 999999
    assert.equal(0, b:pick())
  end)

  it("goes the way of a slow model, whatever comes", function()
    local random = balancers.random(42)
    local function below(n) return tonumber(random() % (n + 0ULL)) end
    for _ = 1, 40 do
      local count, weights = 1 + below(10), {}
      for i = 1, count do weights[i] = 1 + below(6) end
      local b, model, live = balancers.new("least_conn", slots(weights)), {}, {}
      for slot = 0, count - 1 do model[slot] = 0 end
      for _ = 1, 150 do
        if #live > 0 and below(100) < 45 then
          local slot = table.remove(live, 1 + below(#live))
          b:done(slot)
          model[slot] = model[slot] - 1
        else
          local out, excluded = {}, {}
          for slot = 0, count - 1 do
            if below(4) == 0 then out[slot], excluded[#excluded + 1] = true, slot end
          end
          local slot, least = b:pick { excluded = excluded }, math.huge
          for s = 0, count - 1 do
            if not out[s] then least = math.min(least, model[s] / weights[s + 1]) end
          end
          if least == math.huge then
            assert.equal(-1, slot)
          else
            assert.is_nil(out[slot])
            assert.equal(least, model[slot] / weights[slot + 1])
            model[slot] = model[slot] + 1
            live[#live + 1] = slot
          end
        end
      end
      for slot = 0, count - 1 do assert.equal(model[slot], b:in_flight(slot)) end
    end
  end)

  for _, case in ipairs { { "for 65 slots", 65, {} }, { "when asked to", 10, { two_choices = true } } } do
    it("compares two by chance " .. case[1], function()
      local b, random = balancers.new("least_conn", equal(case[2]), case[3]), balancers.random(8)
      for _ = 1, case[2] * 100 do b:pick { random = random() } end
      local most, least = 0, math.huge
      for slot = 0, case[2] - 1 do most, least = math.max(most, b:in_flight(slot)), math.min(least, b:in_flight(slot)) end
      -- By one choice: sqrt(100) = 10 to both sides is usual, 25 for the extremes. By two: log log n.
      assert.is_true(most <= 104 and least >= 92, least .. " to " .. most)
      assert.equal(case[2] * 100, b.state[0].in_flight)
    end)
  end
end)
