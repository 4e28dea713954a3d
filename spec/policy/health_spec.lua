local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local balancers = require "spec.support.balancers"
local C = cdef.load "policy/health.h"

-- One letter a slot: h healthy, a down actively, p down passively, b both, d drained, x drained and down; "|" begins the next group.
-- Passive ones went in the order in which they stand.
local BITS = { h = 0, a = 1, p = 2, b = 3, d = 4, x = 7 }

local function parse(text)
  local slots, group, time = {}, 0, 0
  for c in text:gmatch(".") do
    if c == "|" then
      group = group + 1
    else
      time = time + 10
      slots[#slots + 1] = { down = BITS[c], group = group, ejected_at = time }
    end
  end
  return slots
end

local function combine(slots, change)
  local config = ffi.new("gw_health_config", { panic = 0, max_ejected = 100, refuse = false })
  for key, value in pairs(change or {}) do config[key] = value end
  local array = ffi.new("gw_health_slot[?]", math.max(#slots, 1))
  for i, s in ipairs(slots) do array[i - 1] = s end
  local words = math.ceil(#slots / 64)
  local excluded, summary = ffi.new("uint64_t[?]", words + 1), ffi.new("gw_health_summary")
  ffi.fill(excluded, ffi.sizeof(excluded), 0x5a)
  C.gw_health_combine(config, array, #slots, excluded, summary)
  assert.is_true(excluded[words] == 0x5a5a5a5a5a5a5a5aULL) -- nothing behind its end
  local eligible = {}
  for i = 0, #slots - 1 do
    if bit.band(bit.rshift(excluded[math.floor(i / 64)], i % 64), 1ULL) == 0ULL then eligible[#eligible + 1] = i end
  end
  if #slots % 64 ~= 0 then assert.is_true(bit.rshift(excluded[words - 1], #slots % 64) == 0ULL) end
  assert.equal(#eligible, summary.eligible)
  return eligible, summary
end

describe("health combined", function()
  for _, case in ipairs {
    { "all healthy", "hhh", {}, { 0, 1, 2 }, 3 },
    { "one down actively, passively, both", "hapb", {}, { 0 }, 1 },
    { "drained is out", "hdh", {}, { 0, 2 }, 2 },
    { "none", "", {}, {}, 0 },
    -- nobody is healthy
    { "fails open", "apb", {}, { 0, 1, 2 }, 0, true },
    { "fails closed", "apb", { refuse = true }, {}, 0, true },
    { "fails open, but not to who is drained", "adx", {}, { 0 }, 0, true },
    { "all drained is no panic", "ddx", {}, {}, 0, false },
    -- panic
    { "below the threshold all are asked", "haaa", { panic = 50 }, { 0, 1, 2, 3 }, 1, true },
    { "at the threshold only the healthy", "hhaa", { panic = 50 }, { 0, 1 }, 2 },
    { "below the threshold, closed, nobody", "haaa", { panic = 50, refuse = true }, {}, 1, true },
    { "drained ones count to neither side", "hadd", { panic = 50 }, { 0 }, 1 },
    { "a threshold of all", "hha", { panic = 100 }, { 0, 1, 2 }, 2, true },
    { "a threshold of all that is met", "hhh", { panic = 100 }, { 0, 1, 2 }, 3 },
    -- ejection limit
    { "ejects no more than its share, those that went first", "pppph", { max_ejected = 40 }, { 2, 3, 4 }, 3 },
    { "rounds up", "ppphh", { max_ejected = 41 }, { 3, 4 }, 2 },
    { "one at least", "pph", { max_ejected = 1 }, { 1, 2 }, 2 },
    { "none at all", "pph", { max_ejected = 0 }, { 0, 1, 2 }, 3 },
    { "never readmits who is down actively too", "bbph", { max_ejected = 25 }, { 3 }, 1 },
    { "never readmits who is drained", "dxpph", { max_ejected = 34 }, { 4 }, 1 },
    { "keeps panic away", "pppp", { max_ejected = 50, panic = 50 }, { 2, 3 }, 2 },
    -- groups
    { "backups stay eligible beside primaries", "hh|h", {}, { 0, 1, 2 }, 3 },
    { "no panic while a backup is healthy", "aa|h", {}, { 2 }, 1 },
    { "too few primaries are passed over while backups suffice", "haa|hh", { panic = 50 }, { 3, 4 }, 3 },
    { "backups that do not suffice change nothing for primaries", "hh|aah", { panic = 50 }, { 0, 1, 4 }, 3 },
    { "no group suffices", "haa|aah", { panic = 50 }, { 0, 1, 2, 3, 4, 5 }, 2, true },
    { "the second of three suffices", "aa|hd|hh", { panic = 50 }, { 2, 4, 5 }, 3 },
    { "only the third suffices", "ha|ha|hh", { panic = 60 }, { 4, 5 }, 4 },
    { "a group of drained ones is no group", "dd|h", { panic = 50 }, { 2 }, 1 },
  } do
    it(case[1], function()
      local eligible, summary = combine(parse(case[2]), case[3])
      assert.same(case[4], eligible)
      assert.equal(case[5], summary.healthy)
      assert.equal(case[6] or false, summary.panic)
      local _, drained = case[2]:gsub("[dx]", "")
      assert.equal(drained, summary.drained)
    end)
  end

  it("readmits the last that went, whatever the times", function()
    for _, case in ipairs {
      { { 30, 10, 20 }, { 0 } }, { { 10, 10, 10 }, { 2 } }, { { 10, 20, 20 }, { 2 } }, { { 0, 0, -5 }, { 1 } },
      { { -0x7fffffffffffffffLL - 1, 0x7fffffffffffffffLL, 0 }, { 1 } },
      { { 0x7fffffffffffffffLL, 0x7fffffffffffffffLL, 0x7fffffffffffffffLL }, { 2 } },
      { { -0x7fffffffffffffffLL - 1, -0x7fffffffffffffffLL - 1, -0x7fffffffffffffffLL - 1 }, { 2 } },
    } do
      local slots = {}
      for i, time in ipairs(case[1]) do slots[i] = { down = 2, group = 0, ejected_at = time } end
      local eligible, summary = combine(slots, { max_ejected = 66 })
      assert.same(case[2], eligible)
      assert.equal(1, summary.readmitted)
    end
  end)

  it("knows groups by any number", function()
    local slots = { { down = 0, group = 4294967295 }, { down = 1, group = 7 }, { down = 0, group = 4294967294 } }
    assert.same({ 0, 2 }, (combine(slots)))
  end)

  -- The rules of health.h once more, with tables.
  local function model(slots, config)
    local live, out, passive = {}, {}, {}
    for i, s in ipairs(slots) do
      if s.down < 4 then live[#live + 1] = i end
      out[i] = s.down ~= 0
      if s.down == 2 then passive[#passive + 1] = i end
    end
    table.sort(passive, function(a, b)
      if slots[a].ejected_at ~= slots[b].ejected_at then return slots[a].ejected_at < slots[b].ejected_at end
      return a < b
    end)
    for k, i in ipairs(passive) do
      if k > math.ceil(#live * config.max_ejected / 100) then out[i] = false end
    end
    local chosen
    for group = 0, 3 do
      local all, healthy = 0, 0
      for _, i in ipairs(live) do
        if slots[i].group == group then
          all = all + 1
          if not out[i] then healthy = healthy + 1 end
        end
      end
      if healthy > 0 and healthy / all * 100 >= config.panic - 1e-9 then
        chosen = group
        break
      end
    end
    local eligible = {}
    for i, s in ipairs(slots) do
      local is
      if chosen then is = not out[i] and s.group >= chosen else is = s.down < 4 and not config.refuse end
      if is then eligible[#eligible + 1] = i - 1 end
    end
    return eligible
  end

  it("is the slow model, whatever the bits", function()
    local random = balancers.random(123)
    local function below(n) return tonumber(random() % (n + 0ULL)) end
    local downs = { 0, 0, 0, 1, 2, 2, 3, 4, 6 }
    for _ = 1, 1500 do
      local slots = {}
      for i = 1, below(8) == 0 and 60 + below(80) or below(12) do
        slots[i] = { down = downs[1 + below(#downs)], group = below(3), ejected_at = below(6) }
      end
      local percents = { 0, 10, 50, 100 }
      local config = { panic = percents[1 + below(4)], max_ejected = percents[1 + below(4)], refuse = below(2) == 1 }
      assert.same(model(slots, config), (combine(slots, config)))
    end
  end)
end)
