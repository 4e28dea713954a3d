-- What all balancers have in common: settings, masks, groups, slow start, counts, life over a new table.

local ffi = require "ffi"
local balancers = require "spec.support.balancers"
local C = balancers.C

local NAMES = { "round_robin", "weighted", "least_conn", "hash", "maglev", "ewma", "random" }
local SECOND = 1e9

local function slots(n, change)
  local out = {}
  for i = 1, n do
    out[i] = { weight = 1 }
    if change then change(out[i], i - 1) end
  end
  return out
end

-- How often each slot was chosen in n picks, by slot.
local function shares(b, n, query, random)
  random = random or balancers.random(7)
  local seen = {}
  for slot = 0, b.count - 1 do seen[slot] = 0 end
  for _ = 1, n do
    local q = { key = random(), random = random() }
    for key, value in pairs(query or {}) do q[key] = value end
    local slot = b:choose(q)
    seen[slot] = (seen[slot] or 0) + 1
  end
  return seen
end

describe("gw_balancer_config_init", function()
  for _, name in ipairs(NAMES) do
    it("knows " .. name, function()
      local config = balancers.config(name)
      assert.equal(name, ffi.string(C.gw_balancer_name(config)))
      assert.equal(name == "hash" or name == "maglev", C.gw_balancer_by_key(config))
    end)
  end

  for _, name in ipairs { "", "roundrobin", "Hash", "hash " } do
    it(("does not know %q"):format(name), function()
      assert.equal(C.GW_NOTFOUND, C.gw_balancer_config_init(ffi.new("gw_balancer_config[1]"), name))
    end)
  end
end)

describe("gw_balancer_table_new", function()
  for _, case in ipairs {
    { "more slots than it can number", slots(C.GW_BALANCER_SLOTS_MOST + 1), nil, "GW_LIMIT" },
    { "a weight too large", { { weight = C.GW_BALANCER_WEIGHT_MOST + 1 } }, nil, "GW_LIMIT" },
    { "more groups than it holds", slots(C.GW_BALANCER_GROUPS_MOST + 1, function(s, i) s.group = i * 7 end), nil, "GW_LIMIT" },
    { "more virtual nodes than make sense", slots(1), { virtual_nodes = C.GW_BALANCER_NODES_MOST + 1 }, "GW_LIMIT" },
    { "no virtual nodes", slots(1), { virtual_nodes = 0 }, "GW_INVALID" },
    { "a bound of what is fair, or less", slots(1), { load_factor = 100 }, "GW_INVALID" },
    { "a slow start into the past", slots(1), { slow_start = -1 }, "GW_INVALID" },
    { "an average without time", slots(1), { decay = 0 }, "GW_INVALID" },
    { "a penalty below nothing", slots(1), { error_penalty = -1 }, "GW_INVALID" },
    { "a slot without a load", { { load = false } }, nil, "GW_INVALID" },
  } do
    it("refuses " .. case[1], function()
      local b, status = balancers.try("hash", case[2], case[3])
      assert.is_nil(b)
      assert.equal(C[case[4]], status)
    end)
  end

  it("takes as many groups as it says, in whatever order", function()
    local b = balancers.new("round_robin", slots(C.GW_BALANCER_GROUPS_MOST, function(s, i) s.group = 1000 - i * 7 end))
    local gone = {}
    for slot = b.count - 1, 0, -1 do
      assert.equal(slot, b:choose { excluded = gone })
      gone[#gone + 1] = slot
    end
  end)
end)

for _, name in ipairs(NAMES) do
  describe(name, function()
    it("has nothing of no slots", function()
      assert.equal(-1, balancers.new(name, {}):pick())
    end)

    it("has nothing of slots without weight", function()
      assert.equal(-1, balancers.new(name, slots(3, function(s) s.weight = 0 end)):pick())
    end)

    it("gives one slot whatever the query", function()
      local b, random = balancers.new(name, slots(1)), balancers.random(1)
      for _ = 1, 50 do assert.equal(0, b:choose { key = random(), random = random() }) end
    end)

    it("gives a slot of weight 0 nothing", function()
      local seen = shares(balancers.new(name, slots(4, function(s, i) s.weight = i == 2 and 0 or 3 end)), 400)
      assert.equal(0, seen[2])
      for _, slot in ipairs { 0, 1, 3 } do assert.is_true(seen[slot] > 50, slot) end
    end)

    for _, count in ipairs { 1, 2, 5, 63, 64, 65, 130, 200 } do
      it(("never gives a slot that is out, and always one that is not, of %d"):format(count), function()
        local random = balancers.random(count)
        local b = balancers.new(name, slots(count, function(s, i) s.weight = 1 + i % 4 end), { seed = random() })
        for round = 1, 60 do
          local out, sets, left = {}, { excluded = {}, tried = {} }, 0
          local sharpness = tonumber(random() % 100ULL)
          for slot = 0, count - 1 do
            local draw = tonumber(random() % 100ULL)
            out[slot] = draw < sharpness
            if not out[slot] then left = left + 1 end
            if out[slot] then table.insert(draw % 2 == 0 and sets.excluded or sets.tried, slot) end
          end
          local slot = b:choose { excluded = sets.excluded, tried = sets.tried, key = random(), random = random() }
          if left == 0 then
            assert.equal(-1, slot, "round " .. round)
          else
            assert.is_true(slot >= 0 and slot < count, "round " .. round)
            assert.is_false(out[slot], "round " .. round)
          end
        end
      end)
    end

    it("finds the only one that is left, wherever it stands", function()
      local count, random = 150, balancers.random(3)
      local b = balancers.new(name, slots(count))
      for _, only in ipairs { 0, 1, 63, 64, 127, 128, 149 } do
        local excluded = {}
        for slot = 0, count - 1 do
          if slot ~= only then excluded[#excluded + 1] = slot end
        end
        assert.equal(only, b:choose { excluded = excluded, key = random(), random = random() })
      end
    end)

    it("finds a slot of little weight when the heavy one is out", function()
      local b = balancers.new(name, { { weight = 1000000 }, { weight = 1 } })
      assert.equal(1, b:choose { tried = { 0 }, key = 99ULL, random = 99ULL })
    end)

    it("a mask of fewer words than slots has none of the others", function()
      local b = balancers.new(name, slots(130))
      local q = b.query[0]
      q.excluded.word, q.key, q.random = 0xffffffffffffffffULL, 5, 5
      assert.is_true(C.gw_balancer_pick(b.table, b.state, b.query) >= 64)
    end)

    it("asks backups only when no primary can be had, the nearest first", function()
      local b = balancers.new(name, { { group = 9 }, { group = 0 }, { group = 4 }, { group = 0 }, { group = 9 } })
      local function chosen(query)
        local seen, out = shares(b, 60, query), {}
        for slot = 0, 4 do
          if seen[slot] > 0 then out[#out + 1] = slot end
        end
        return out
      end
      assert.same({ 1, 3 }, chosen())
      assert.same({ 3 }, chosen { excluded = { 1 } })
      assert.same({ 2 }, chosen { excluded = { 1 }, tried = { 3 } })
      assert.same({ 0, 4 }, chosen { excluded = { 1, 2, 3 } })
      assert.equal(-1, b:choose { excluded = { 0, 1, 2, 3, 4 } })
    end)

    it("counts at the pick and gives back when done, never below nothing", function()
      local b, random, counts = balancers.new(name, slots(5)), balancers.random(5), { [0] = 0, 0, 0, 0, 0 }
      for _ = 1, 100 do
        local slot = b:pick { key = random(), random = random() }
        counts[slot] = counts[slot] + 1
      end
      for slot = 0, 4 do assert.equal(counts[slot], b:in_flight(slot)) end
      assert.equal(100, b.state[0].in_flight)
      for slot = 0, 4 do
        for _ = 1, counts[slot] + 3 do b:done(slot) end
        assert.equal(0, b:in_flight(slot))
      end
      assert.equal(0, b.state[0].in_flight)
    end)

    it("keeps counts over a new table, also of who left", function()
      local old = balancers.new(name, slots(2))
      old:pick { key = 1ULL } old:pick { key = 1ULL, tried = { 0 } } old:pick { tried = { 1 } }
      local new = balancers.new(name, slots(1), { state = old.state, loads = { old.loads[2] } })
      assert.equal(old:in_flight(1), new:in_flight(0))
      old:done(0)
      assert.equal(2, new.state[0].in_flight)
    end)

    describe("in a slow start", function()
      local function warming(settings)
        settings = settings or {}
        settings.slow_start = 10 * SECOND
        local b = balancers.new(name, slots(4), settings)
        b.loads[3][0].since = 100 * SECOND
        return b
      end

      for _, case in ipairs {
        { "a hundredth at once", 100, 0.001, 0.03 }, { "a tenth after a tenth of the time", 101, 0.03, 0.2 },
        { "half after half of it", 105, 0.35, 0.65 }, { "nearly all at the end", 109.5, 0.8, 1.15 },
        { "all behind it", 110, 0.8, 1.25 }, { "all long after", 1e6, 0.8, 1.25 },
        { "a hundredth before its time (a clock that went back)", 50, 0.001, 0.03 },
      } do
        it("gets about " .. case[1], function()
          local seen = shares(warming(), 8000, { now = case[2] * SECOND })
          local fair = (seen[0] + seen[1] + seen[3]) / 3
          if name == "hash" and case[3] > 0.1 then fair = 2000 end -- the shares of a ring are not even
          local share = seen[2] / fair
          local slack = name == "hash" and case[3] > 0.01 and 0.2 or 0
          -- Of two choices the cold one is often the other's rival; what counts is that its share grows.
          local low = (name == "least_conn" or name == "ewma" or name == "random") and case[3] * 0.9 or case[3]
          assert.is_true(share >= low - slack and share <= case[4] + slack, ("share %.3f"):format(share))
        end)
      end

      it("is there when nobody else is", function()
        assert.equal(2, warming():choose { now = 100 * SECOND, excluded = { 0, 1, 3 }, random = 1ULL, key = 1ULL })
      end)

      it("goes before a backup", function()
        local b = balancers.new(name, { {}, { group = 1 } }, { slow_start = 10 * SECOND })
        b.loads[1][0].since = 100 * SECOND
        for i = 1, 50 do assert.equal(0, b:choose { now = 100 * SECOND, random = i * 12345ULL, key = i * 12345ULL }) end
      end)

      it("has no effect without a time for it", function()
        local b = balancers.new(name, slots(4))
        b.loads[3][0].since = 100 * SECOND
        assert.is_true(shares(b, 4000, { now = 100 * SECOND })[2] > 600)
      end)

      it("survives times at the ends", function()
        local b = warming()
        for _, since in ipairs { -0x7fffffffffffffffLL - 1, -1LL, 0x7fffffffffffffffLL } do
          b.loads[3][0].since = since
          for _, now in ipairs { -0x7fffffffffffffffLL - 1, 0LL, 0x7fffffffffffffffLL } do
            assert.is_true(b:choose { now = now, random = 5ULL, key = 5ULL } >= 0)
          end
        end
      end)
    end)
  end)
end

for _, name in ipairs { "hash", "maglev" } do
  it(name .. " gives a key back to a slot in its slow start once, and keeps it there", function()
    local b, random = balancers.new(name, slots(4), { slow_start = 10 * SECOND }), balancers.random(11)
    b.loads[3][0].since = 100 * SECOND
    local returned = 0
    for _ = 1, 500 do
      local key, back = random(), false
      for tenth = 0, 101 do
        local now = (100 + tenth / 10) * SECOND
        local slot = b:choose { key = key, now = now, random = random() }
        assert.is_true(slot == 2 or not back)
        if slot == 2 and not back then returned = returned + 1 end
        back = slot == 2
      end
    end
    assert.is_true(returned > 70)
  end)
end
