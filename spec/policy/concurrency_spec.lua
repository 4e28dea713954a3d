local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("policy/concurrency.h")

local OK, LIMIT = 0, -6

local function keyed(cap, most)
  local c = C.gw_keyed_concurrency_new(cap, most)
  assert.is_false(c == nil)
  return ffi.gc(c, C.gw_keyed_concurrency_free)
end

local function enter(c, key) return C.gw_keyed_concurrency_enter(c, key, #key) end
local function in_flight(c, key) return C.gw_keyed_concurrency_in_flight(c, key, #key) end

describe("concurrency limit", function()
  it("has the sizes its header tells", function()
    assert.equal(64, ffi.sizeof("gw_concurrency"))
    assert.equal(64, ffi.sizeof("gw_keyed_concurrency"))
    assert.equal(24 * 1000, tonumber(C.gw_keyed_concurrency_bytes(2000) - C.gw_keyed_concurrency_bytes(1000)))
  end)

  for _, cap in ipairs { 1, 2, 100 } do
    it(("lets %d in, and one for each that leaves"):format(cap), function()
      local c = C.gw_concurrency_new(cap)
      for _ = 1, cap do assert.equal(OK, C.gw_concurrency_enter(c)) end
      assert.equal(LIMIT, C.gw_concurrency_enter(c))
      assert.equal(cap, C.gw_concurrency_in_flight(c))
      C.gw_concurrency_leave(c)
      assert.equal(OK, C.gw_concurrency_enter(c))
      assert.equal(LIMIT, C.gw_concurrency_enter(c))
      C.gw_concurrency_free(c)
    end)
  end

  it("takes another cap, with those in flight staying", function()
    local c = ffi.new("gw_concurrency")
    assert.equal(C.GW_OK, C.gw_concurrency_init(c, 3))
    for _ = 1, 3 do C.gw_concurrency_enter(c) end
    assert.equal(C.GW_OK, C.gw_concurrency_change(c, 2))
    C.gw_concurrency_leave(c)
    assert.equal(LIMIT, C.gw_concurrency_enter(c))
    C.gw_concurrency_leave(c)
    assert.equal(OK, C.gw_concurrency_enter(c))
    assert.equal(C.GW_INVALID, C.gw_concurrency_change(c, 0))
    assert.equal(LIMIT, C.gw_concurrency_enter(c))
  end)

  it("survives one leave too many", function()
    local c = ffi.new("gw_concurrency")
    C.gw_concurrency_init(c, 1)
    C.gw_concurrency_leave(c)
    assert.equal(0, C.gw_concurrency_in_flight(c))
    assert.equal(OK, C.gw_concurrency_enter(c))
    assert.equal(LIMIT, C.gw_concurrency_enter(c))
  end)

  it("refuses a cap of 0, and keyed ones that do not fit", function()
    assert.is_true(C.gw_concurrency_new(0) == nil)
    assert.is_true(C.gw_keyed_concurrency_new(0, 10) == nil)
    assert.is_true(C.gw_keyed_concurrency_new(65536, 10) == nil)
    assert.is_true(C.gw_keyed_concurrency_new(1, 0) == nil)
    assert.is_true(C.gw_keyed_concurrency_new(1, 2 ^ 28 + 1) == nil)
  end)
end)

describe("concurrency limit of a key", function()
  it("keeps keys apart", function()
    local c = keyed(2, 10)
    local a1, a2 = enter(c, "a"), enter(c, "a")
    assert.is_true(a1 >= 0 and a2 == a1)
    assert.equal(LIMIT, enter(c, "a"))
    assert.is_true(enter(c, "b") >= 0)
    assert.equal(2, in_flight(c, "a"))
    assert.equal(1, in_flight(c, "b"))
    C.gw_keyed_concurrency_leave(c, a1)
    assert.is_true(enter(c, "a") >= 0)
    assert.equal(LIMIT, enter(c, "a"))
  end)

  it("has room for all it may have in flight at once", function()
    local c, places = keyed(1, 1000), {}
    for i = 1, 1000 do
      places[i] = enter(c, "key " .. i)
      assert.is_true(places[i] >= 0)
    end
    for i = 1, 1000 do assert.equal(LIMIT, enter(c, "key " .. i)) end
    for i = 1, 1000 do C.gw_keyed_concurrency_leave(c, places[i]) end
    for i = 1, 1000 do assert.equal(0, in_flight(c, "key " .. i)) end
  end)

  it("refuses new keys when there is no room, and goes on", function()
    local c, places, refused = keyed(1, 1), {}, 0
    for i = 1, 200 do
      local place = enter(c, "key " .. i)
      if place >= 0 then places[#places + 1] = place else refused = refused + 1 end
    end
    assert.is_true(refused > 0 and #places <= 34)
    for _, place in ipairs(places) do C.gw_keyed_concurrency_leave(c, place) end
    assert.is_true(enter(c, "key 1") >= 0)
  end)

  it("wants no key that was never in flight, nor a place that is none", function()
    local c = keyed(1, 4)
    for _, place in ipairs { -1, -6, 0, 5, 1000000 } do C.gw_keyed_concurrency_leave(c, place) end
    assert.equal(0, in_flight(c, "a"))
    assert.is_true(enter(c, "a") >= 0)
    assert.equal(LIMIT, enter(c, "a"))
  end)

  it("changes the cap of all", function()
    local c = keyed(1, 4)
    enter(c, "a")
    assert.equal(C.GW_OK, C.gw_keyed_concurrency_change(c, 2))
    assert.is_true(enter(c, "a") >= 0)
    assert.equal(LIMIT, enter(c, "a"))
    assert.equal(C.GW_INVALID, C.gw_keyed_concurrency_change(c, 0))
    assert.equal(C.GW_INVALID, C.gw_keyed_concurrency_change(c, 65536))
  end)

  for seed = 1, 5 do
    it("does what a table of counts does, sequence " .. seed, function()
      math.randomseed(seed)
      local cap = math.random(1, 4)
      local c, counts, flying = keyed(cap, 64), {}, {}
      for step = 1, 20000 do
        if math.random() < 0.5 or #flying == 0 then
          local key = "key " .. math.random(1, 50)
          local place = enter(c, key)
          assert.message("step " .. step).equal((counts[key] or 0) < cap, place >= 0)
          if place >= 0 then
            counts[key] = (counts[key] or 0) + 1
            flying[#flying + 1] = { key, place }
          end
        else
          local one = table.remove(flying, math.random(1, #flying))
          C.gw_keyed_concurrency_leave(c, one[2])
          counts[one[1]] = counts[one[1]] - 1
        end
        if step % 1000 == 0 then
          for key, count in pairs(counts) do assert.equal(count, in_flight(c, key)) end
        end
      end
    end)
  end
end)
