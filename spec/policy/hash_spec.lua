local bit = require "bit"
local cdef = require "spec.support.cdef"
local balancers = require "spec.support.balancers"
local C = balancers.C

-- CRC-32 bit by bit, as the polynomial says.
local function crc32(text)
  local c = bit.bnot(0)
  for i = 1, #text do
    c = bit.bxor(c, text:byte(i))
    for _ = 1, 8 do c = bit.bxor(bit.rshift(c, 1), bit.band(0xedb88320, -bit.band(c, 1))) end
  end
  return bit.bnot(c) % 2 ^ 32
end

local function place(text)
  return tonumber(bit.rshift(balancers.mix(crc32(text) + 0ULL), 32))
end

-- The ring by the book: all points in order, and the first at or behind a place.
local function ring(slots, nodes)
  local points = {}
  for slot, s in ipairs(slots) do
    for i = 0, (s.weight or 1) * (nodes or 150) - 1 do
      points[#points + 1] = { at = place(s.name .. "-" .. i), name = s.name, slot = slot - 1 }
    end
  end
  table.sort(points, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.name < b.name
  end)
  return points
end

local function owner(points, at, out)
  for k = 1, #points do
    if points[k].at >= at and not (out and out[points[k].slot]) then return points[k].slot end
  end
  for k = 1, #points do
    if not (out and out[points[k].slot]) then return points[k].slot end
  end
  return -1
end

local function named(n, weight)
  local out = {}
  for i = 1, n do out[i] = { name = ("10.0.0.%d:8080"):format(i), weight = weight and weight(i) or 1 } end
  return out
end

local function key_at(at)
  return bit.lshift(at + 0ULL, 32)
end

describe("gw_balancer_key", function()
  for _, text in ipairs { "", "a", "/index.html", "10.1.2.3", ("x"):rep(1000), "\0\255" } do
    it(("is the finaliser over CRC-32 for %q"):format(text:sub(1, 20)), function()
      local s = cdef.slice(text)
      assert.is_true(balancers.mix(crc32(text) + 0ULL) == C.gw_balancer_key(s.ptr, s.len))
    end)
  end

  it("spreads keys that are alike", function()
    local high = {}
    for i = 1, 256 do
      local s = cdef.slice("user-" .. i)
      high[tonumber(bit.rshift(C.gw_balancer_key(s.ptr, s.len), 60))] = true
    end
    for v = 0, 15 do assert.is_true(high[v]) end
  end)
end)

describe("hash", function()
  for _, case in ipairs {
    { "one slot", named(1) }, { "three slots", named(3) }, { "weights", named(4, function(i) return i end) },
    { "few nodes", named(5), 1 }, { "two points", named(1), 2 },
  } do
    local slots, nodes = case[2], case[3]
    it("places points where the model does: " .. case[1], function()
      local points = ring(slots, nodes)
      local b = balancers.new("hash", slots, nodes and { virtual_nodes = nodes })
      -- At each point, just before it and just behind it: no point is missing, none is elsewhere.
      for k, p in ipairs(points) do
        if k % 3 == 0 or #points < 300 then
          assert.equal(owner(points, p.at), b:choose { key = key_at(p.at) })
          if p.at > 0 then assert.equal(owner(points, p.at - 1), b:choose { key = key_at(p.at - 1) }) end
          if p.at < 2 ^ 32 - 1 then assert.equal(owner(points, p.at + 1), b:choose { key = key_at(p.at + 1) }) end
        end
      end
    end)

    it("goes round the end to the first point: " .. case[1], function()
      local points = ring(slots, nodes)
      local b = balancers.new("hash", slots, nodes and { virtual_nodes = nodes })
      assert.equal(points[1].slot, b:choose { key = 0ULL })
      assert.equal(points[1].slot, b:choose { key = 0xffffffffffffffffULL })
    end)
  end

  it("goes on to the next slot that is not out", function()
    local slots, random = named(6), balancers.random(2)
    local points, b = ring(slots, 20), balancers.new("hash", slots, { virtual_nodes = 20 })
    for round = 0, 63 do
      local out, excluded = {}, {}
      for slot = 0, 5 do
        if bit.band(round, bit.lshift(1, slot)) ~= 0 then out[slot], excluded[#excluded + 1] = true, slot end
      end
      for _ = 1, 8 do
        local key = random()
        assert.equal(owner(points, tonumber(bit.rshift(key, 32)), out), b:choose { key = key, excluded = excluded })
      end
    end
  end)

  it("does not depend on the order of the slots", function()
    local slots, random = named(9, function(i) return 1 + i % 3 end), balancers.random(4)
    local turned = {}
    for i = 1, 9 do turned[i] = slots[10 - i] end
    local a, b = balancers.new("hash", slots), balancers.new("hash", turned)
    for _ = 1, 2000 do
      local key = random()
      assert.equal(8 - a:choose { key = key }, b:choose { key = key })
    end
  end)

  it("gives points that fall together to the smaller name, in any order of the slots", function()
    local slots, nodes = { { name = "a" }, { name = "b" }, { name = "c" }, { name = "bb" } }, 50000
    local turned, at, together = { slots[4], slots[3], slots[2], slots[1] }, {}, {}
    for _, s in ipairs(slots) do
      for i = 0, nodes - 1 do
        local p = place(s.name .. "-" .. i)
        if at[p] and at[p] ~= s.name then together[#together + 1] = { p, math.min(at[p]:byte(), s.name:byte()) } end
        at[p] = at[p] or s.name
      end
    end
    assert.is_true(#together >= 2) -- some five by chance; always the same
    local a, b = balancers.new("hash", slots, { virtual_nodes = nodes }), balancers.new("hash", turned, { virtual_nodes = nodes })
    for _, case in ipairs(together) do
      local one, other = a:choose { key = key_at(case[1]) }, b:choose { key = key_at(case[1]) }
      assert.equal(3 - one, other)
      assert.equal(case[2], slots[one + 1].name:byte())
    end
  end)

  it("gives shares near the weights", function()
    local slots, random, seen = named(10, function(i) return i <= 5 and 1 or 3 end), balancers.random(6), {}
    local b = balancers.new("hash", slots)
    for _ = 1, 40000 do
      local slot = b:choose { key = random() }
      seen[slot] = (seen[slot] or 0) + 1
    end
    for slot = 0, 9 do
      local fair = slots[slot + 1].weight * 40000 / 20
      assert.is_true(math.abs(seen[slot] / fair - 1) < 0.25, ("slot %d: %.2f of its share"):format(slot, seen[slot] / fair))
    end
  end)

  it("moves about 1/N of the keys when a slot comes or goes, and no others", function()
    local random = balancers.random(7)
    for _, n in ipairs { 2, 5, 10, 50 } do
      local before, after = balancers.new("hash", named(n)), balancers.new("hash", named(n + 1))
      local moved, keys = 0, 5000
      for _ = 1, keys do
        local key = random()
        local old, new = before:choose { key = key }, after:choose { key = key }
        if old ~= new then
          moved = moved + 1
          assert.equal(n, new) -- only to the one that came; the other way round, only from the one that goes
        end
      end
      assert.is_true(math.abs(moved / keys * (n + 1) - 1) < 0.35, ("%d of %d moved at %d"):format(moved, keys, n))
    end
  end)

  it("takes more slots than points have room for, each with some", function()
    local slots = {}
    for i = 1, 3 do slots[i] = { name = "big-" .. i, weight = i == 3 and 1 or 1000000 } end
    local b, random, seen = balancers.new("hash", slots), balancers.random(3), { [0] = 0, 0, 0 }
    for _ = 1, 2000 do
      local slot = b:choose { key = random() }
      seen[slot] = seen[slot] + 1
    end
    assert.is_true(seen[0] > 900 and seen[1] > 900)
    assert.equal(2, b:choose { key = random(), excluded = { 0, 1 } })
  end)

  it("takes names of any bytes, even none", function()
    assert.equal(0, balancers.new("hash", { { name = "" } }):choose { key = 3ULL })
    assert.equal(0, balancers.new("hash", { { name = "a\0b" }, { name = "a\0c", weight = 0 } }):choose { key = 3ULL })
  end)
end)

for _, name in ipairs { "hash", "maglev" } do
  describe(name .. " with bounded loads", function()
    it("gives no slot more than its bound of the live requests, and a hot key spills over in one order", function()
      for _, factor in ipairs { 101, 125, 150, 200 } do
        local b = balancers.new(name, named(5, function(i) return i <= 3 and 1 or 2 end), { load_factor = factor })
        local random, live = balancers.random(factor), {}
        for step = 1, 600 do
          if #live > 0 and random() % 10ULL < 4 then
            b:done(table.remove(live, 1 + tonumber(random() % (#live + 0ULL))))
          else
            local key = step % 3 == 0 and random() or 12345678901234567ULL -- two of three are the hot one
            local slot = b:pick { key = key }
            live[#live + 1] = slot
            local weight = slot < 3 and 1 or 2
            assert.is_true(b:in_flight(slot) <= math.ceil(factor / 100 * #live * weight / 7))
          end
        end
      end
    end)

    it("changes nothing while loads are low", function()
      local free, bounded = balancers.new(name, named(7)), balancers.new(name, named(7), { load_factor = 125 })
      local random = balancers.random(12)
      for _ = 1, 500 do
        local key = random()
        assert.equal(free:choose { key = key }, bounded:choose { key = key })
      end
    end)

    it("reckons the bound on those that are left", function()
      local slots = named(100)
      local b, random, excluded, live = balancers.new(name, slots, { load_factor = 110 }), balancers.random(13), {}, 0
      for slot = 0, 99 do
        if slot ~= 3 and slot ~= 70 then excluded[#excluded + 1] = slot end
      end
      for _ = 1, 300 do
        b:pick { key = random(), excluded = excluded }
        live = live + 1
      end
      assert.equal(300, b:in_flight(3) + b:in_flight(70))
      assert.is_true(math.max(b:in_flight(3), b:in_flight(70)) <= math.ceil(1.1 * live / 2))
    end)

    it("finds even a slot of next to no share when the others are full", function()
      local b, random = balancers.new(name, { { name = "a", weight = 1000000 }, { name = "b", weight = 1 } }, { load_factor = 101 }),
        balancers.random(14)
      b.state[0].in_flight, b.loads[1][0].in_flight = 1000, 2000
      assert.equal(1, b:pick { key = random() })
    end)

    it("gives the first preference when all are full (by what other tables sent there)", function()
      local free, b = balancers.new(name, named(3)), balancers.new(name, named(3), { load_factor = 125 })
      for i = 1, 3 do b.loads[i][0].in_flight = 1000 end
      assert.equal(free:pick { key = 77777777777777ULL }, b:pick { key = 77777777777777ULL })
    end)
  end)
end
