local bit = require "bit"
local balancers = require "spec.support.balancers"

local SIZE = 65537
local GOLDEN = 0x9e3779b97f4a7c15ULL

local function fnv1a(text)
  local h = 0xcbf29ce484222325ULL
  for i = 1, #text do h = bit.bxor(h, text:byte(i) + 0ULL) * 0x100000001b3ULL end
  return h
end

-- The paper's Populate (pseudocode 1), with permutations as lists of positions; weights as maglev.c says.
local function populate(slots)
  local order, heaviest = {}, 0
  for i, s in ipairs(slots) do
    if s.weight ~= 0 then
      local h = balancers.mix(fnv1a(s.name))
      local offset, skip = tonumber(h % SIZE), tonumber(balancers.mix(h + GOLDEN) % (SIZE - 1ULL)) + 1
      order[#order + 1] = { slot = i - 1, name = s.name, weight = s.weight or 1, offset = offset, skip = skip, next = 0, entries = 0 }
      heaviest = math.max(heaviest, s.weight or 1)
    end
  end
  table.sort(order, function(a, b) return a.name < b.name end)
  local entry, filled, round = {}, 0, 0
  while true do
    round = round + 1
    for _, o in ipairs(order) do
      if round * o.weight >= o.entries * heaviest then
        local c
        repeat
          c = (o.offset + o.next * o.skip) % SIZE
          o.next = o.next + 1
        until not entry[c]
        entry[c], o.entries, filled = o.slot, o.entries + 1, filled + 1
        if filled == SIZE then return entry end
      end
    end
  end
end

local function named(n, weight)
  local out = {}
  for i = 1, n do out[i] = { name = ("10.0.%d.%d:8080"):format(math.floor(i / 200), i % 200), weight = weight and weight(i) or 1 } end
  return out
end

-- The whole table, read through picks.
local function entries(b, query)
  local out = {}
  query = query or {}
  for key = 0, SIZE - 1 do
    query.key = key + 0ULL
    out[key] = b:choose(query)
  end
  return out
end

local function counts(list)
  local seen = {}
  for key = 0, SIZE - 1 do seen[list[key]] = (seen[list[key]] or 0) + 1 end
  return seen
end

describe("maglev", function()
  for _, case in ipairs {
    { "one slot", named(1) }, { "two slots", named(2) }, { "seven slots", named(7) },
    { "weights", named(6, function(i) return i end) }, { "weights far apart", named(3, function(i) return i == 2 and 100000 or 1 end) },
    { "a slot without weight", named(4, function(i) return i - 1 end) },
  } do
    it("fills its table as the paper does: " .. case[1], function()
      assert.same(populate(case[2]), entries(balancers.new("maglev", case[2])))
    end)
  end

  it("takes a key modulo the table's size", function()
    local b, random = balancers.new("maglev", named(7)), balancers.random(1)
    for _ = 1, 1000 do
      local key = random()
      assert.equal(b:choose { key = key % SIZE }, b:choose { key = key })
    end
  end)

  -- Section 5.3: at 65,537 entries, shares within 1 % of even while there are 100 entries a slot.
  for _, n in ipairs { 2, 3, 10, 100, 600 } do
    it(("shares are even within 1 %% at %d slots"):format(n), function()
      local seen, most, least = counts(entries(balancers.new("maglev", named(n)))), 0, math.huge
      for slot = 0, n - 1 do most, least = math.max(most, seen[slot]), math.min(least, seen[slot]) end
      assert.is_true(most - least <= 1) -- turns: stronger than the paper's bound
      assert.is_true(most / (SIZE / n) < 1.01)
    end)
  end

  it("shares follow the weights to an entry", function()
    local weights = { 5, 1, 1, 3, 10, 7 }
    local seen = counts(entries(balancers.new("maglev", named(6, function(i) return weights[i] end))))
    for i, w in ipairs(weights) do assert.is_true(math.abs(seen[i - 1] - SIZE * w / 27) <= 2, i) end
  end)

  it("gives even the least of weights an entry", function()
    local seen = counts(entries(balancers.new("maglev", { { name = "a", weight = 1000000 }, { name = "b", weight = 1 } })))
    assert.equal(1, seen[1])
  end)

  it("does not depend on the order of the slots", function()
    local slots, turned = named(9, function(i) return 1 + i % 3 end), {}
    for i = 1, 9 do turned[i] = slots[10 - i] end
    local a, b = entries(balancers.new("maglev", slots)), entries(balancers.new("maglev", turned))
    for key = 0, SIZE - 1 do assert(a[key] == 8 - b[key]) end
  end)

  -- Section 5.3, figure 12: besides the keys of the slot that went, few others move.
  for _, n in ipairs { 10, 100 } do
    it(("disrupts few others when one of %d slots goes"):format(n), function()
      local before = entries(balancers.new("maglev", named(n)))
      local after = entries(balancers.new("maglev", named(n, function(i) return i == 4 and 0 or 1 end)))
      local others = 0
      for key = 0, SIZE - 1 do
        assert(after[key] ~= 3)
        if before[key] ~= 3 and before[key] ~= after[key] then others = others + 1 end
      end
      assert.is_true(others / SIZE < 0.03, ("%.2f %% of the keys moved"):format(others / SIZE * 100))
    end)
  end

  it("moves nobody else's keys when a slot is out, and spreads its own over all", function()
    local b = balancers.new("maglev", named(10))
    local before, after, own = entries(b), entries(b, { excluded = { 3 } }), {}
    for key = 0, SIZE - 1 do
      if before[key] == 3 then
        own[after[key]] = (own[after[key]] or 0) + 1
      else
        assert(before[key] == after[key])
      end
    end
    for slot = 0, 9 do
      if slot ~= 3 then assert.is_true(math.abs(own[slot] / (SIZE / 90) - 1) < 0.2, slot .. ": " .. own[slot]) end
    end
  end)

  it("goes on to the entry of the key hashed again, until a slot is not out", function()
    local slots, random = named(6), balancers.random(5)
    local b, model = balancers.new("maglev", slots), populate(slots)
    for round = 0, 62 do
      local out, excluded = {}, {}
      for slot = 0, 5 do
        if bit.band(round, bit.lshift(1, slot)) ~= 0 then out[slot], excluded[#excluded + 1] = true, slot end
      end
      for _ = 1, 20 do
        local key = random()
        local hop = key
        while out[model[tonumber(hop % SIZE)]] do hop = balancers.mix(hop + GOLDEN) end
        assert.equal(model[tonumber(hop % SIZE)], b:choose { key = key, excluded = excluded })
      end
    end
  end)
end)
