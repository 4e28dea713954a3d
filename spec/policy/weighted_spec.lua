local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local balancers = require "spec.support.balancers"
local C = cdef.load "policy/weighted.h"

pcall(ffi.cdef, "void gwt_free(void *ptr) asm(\"free\");")

-- nginx's ngx_http_upstream_get_peer, as it stands there: on each pick every weight grows, the largest is taken, the sum goes off it.
local function nginx(weights, n)
  local current, total, out = {}, 0, {}
  for i, w in ipairs(weights) do current[i], total = 0, total + w end
  for k = 1, n do
    local best
    for i, w in ipairs(weights) do
      current[i] = current[i] + w
      if not best or current[i] > current[best] then best = i end
    end
    current[best] = current[best] - total
    out[k] = best - 1
  end
  return out
end

local function slots(weights)
  local out = {}
  for i, w in ipairs(weights) do out[i] = { weight = w } end
  return out
end

local function letters(list)
  local out = {}
  for i, slot in ipairs(list) do out[i] = string.char(97 + slot) end
  return table.concat(out, " ")
end

local function picks(b, n, query)
  local out = {}
  for i = 1, n do out[i] = b:choose(query) end
  return out
end

describe("weighted", function()
  -- Written down by hand from nginx's commit message and by working it out on paper: the model has to agree too.
  for _, case in ipairs {
    { { 5, 1, 1 }, "a a b a c a a" },
    { { 1, 1, 1 }, "a b c a b c" },
    { { 4, 2, 1 }, "a b a c a b a" },
    { { 3, 1 }, "a a b a" },
    { { 2, 1 }, "a b a" },
    { { 1, 2 }, "b a b" },
    { { 10, 2, 2 }, "a a b a c a a" },
    { { 7 }, "a a a" },
  } do
    it(("weights %s give %s"):format(table.concat(case[1], ","), case[2]), function()
      local turn = (#case[2] + 1) / 2
      assert.equal(case[2], letters(picks(balancers.new("weighted", slots(case[1])), turn)))
      assert.equal(case[2], letters(nginx(case[1], turn)))
    end)
  end

  local random = balancers.random(20)
  for round = 1, 30 do
    local weights = {}
    for i = 1, 1 + tonumber(random() % 12ULL) do weights[i] = 1 + tonumber(random() % (round % 3 == 0 and 5ULL or 60ULL)) end
    it("goes nginx's way with weights " .. table.concat(weights, ","), function()
      local sum = 0
      for _, w in ipairs(weights) do sum = sum + w end
      local n = 2 * sum + 7 -- over two whole turns
      assert.same(nginx(weights, n), picks(balancers.new("weighted", slots(weights)), n))
    end)
  end

  it("begins anywhere in the sequence", function()
    local b = balancers.new("weighted", slots { 5, 1, 1 }, { seed = 7 * 1000003ULL + 4 })
    assert.equal("c a a a a b a", letters(picks(b, 7)))
  end)

  it("goes on in the sequence when a table of the same weights comes", function()
    local old = balancers.new("weighted", slots { 5, 1, 1 })
    picks(old, 3)
    local new = balancers.new("weighted", slots { 5, 1, 1 }, { state = old.state, loads = old.loads })
    assert.equal("a c a a", letters(picks(new, 4)))
  end)

  it("leaves those that are left with their weights' shares, over each turn", function()
    local b = balancers.new("weighted", slots { 5, 1, 1, 3 })
    for _ = 1, 20 do
      local seen = { [0] = 0, 0, 0, 0 }
      for _, slot in ipairs(picks(b, 5, { excluded = { 0 } })) do seen[slot] = seen[slot] + 1 end
      assert.same({ [0] = 0, 1, 1, 3 }, seen)
    end
  end)

  it("keeps to the shares by chance where nearly all of a turn is out", function()
    local b, draws, seen = balancers.new("weighted", slots { 60000, 1, 3 }), balancers.random(5), { [0] = 0, 0, 0 }
    for _ = 1, 4000 do
      local slot = b:choose { excluded = { 0 }, random = draws() }
      seen[slot] = seen[slot] + 1
    end
    assert.equal(0, seen[0])
    assert.is_true(seen[1] > 900 and seen[1] < 1100, seen[1])
  end)
end)

describe("gw_sequence_new", function()
  local function sequence(weights)
    local array = ffi.new("uint32_t[?]", #weights, weights)
    local s = C.gw_sequence_new(array, #weights)
    assert.is_false(s == nil)
    return ffi.gc(s, ffi.C.gwt_free)
  end

  local function counts(s)
    local seen = {}
    for i = 0, s.length - 1 do seen[s.entry[i]] = (seen[s.entry[i]] or 0) + 1 end
    return seen
  end

  for _, case in ipairs {
    { { 6, 4, 2 }, 6 }, { { 1000000, 1000000 }, 2 }, { { 999999, 333333 }, 4 }, { { 7, 11 }, 18 }, { { 1000000 }, 1 },
    { { 65535, 1 }, 65536 },
  } do
    it(("weights %s: a turn has %d"):format(table.concat(case[1], ","), case[2]), function()
      assert.equal(case[2], sequence(case[1]).length)
    end)
  end

  it("scales down weights that make too long a turn, nobody to nothing", function()
    local s = sequence { 1000000, 499999, 1 }
    assert.is_true(s.length <= 65536 + 3)
    local seen = counts(s)
    assert.equal(1, seen[2])
    assert.is_true(math.abs(seen[0] / seen[1] - 2) < 0.001)
  end)

  it("is smooth for thousands of large weights too, and gives each its share", function()
    local weights, random, sum = {}, balancers.random(9), 0
    for i = 1, 4000 do
      weights[i] = 1 + tonumber(random() % 30ULL)
      sum = sum + weights[i]
    end
    weights[1] = weights[1] == 1 and 2 or weights[1]
    local s = sequence(weights)
    assert.is_true(s.length * 4000 > 2 ^ 26) -- the other way than nginx's
    assert.equal(sum, s.length)
    local seen, last = counts(s), {}
    for i, w in ipairs(weights) do assert.equal(w, seen[i - 1]) end
    for at = 0, s.length - 1 do
      local i = s.entry[at]
      if last[i] then assert.is_true(at - last[i] < 2 * sum / weights[i + 1]) end
      last[i] = at
    end
  end)
end)
