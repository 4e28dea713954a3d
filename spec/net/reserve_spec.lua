local ffi = require "ffi"
local cdef = require "spec.support.cdef"

local C = cdef.load "net/reserve.h"

pcall(ffi.cdef, "void *gwt_realloc(void *ptr, size_t size) asm(\"realloc\");")

local works = ffi.C.gwt_realloc

describe("the reserve for libev's tables", function()
  local fails
  setup(function()
    C.gw_reserve_open()
    fails = ffi.cast("void *(*)(void *, size_t)", function() return nil end)
  end)
  teardown(function() fails:free() end)
  before_each(function() assert.equal(0, tonumber(C.gw_reserve_used())) end)
  after_each(function() assert.equal(0, tonumber(C.gw_reserve_used())) end)

  local function grow(ptr, size, with)
    return C.gw_reserve_realloc(ptr, size, with)
  end
  jit.off(grow) -- it calls back

  local function fill(ptr, size)
    local bytes = ffi.cast("uint8_t *", ptr)
    for i = 0, size - 1 do bytes[i] = i * 7 % 251 end
  end

  local function same(ptr, size)
    local bytes = ffi.cast("uint8_t *", ptr)
    for i = 0, size - 1 do
      if bytes[i] ~= i * 7 % 251 then return false end
    end
    return true
  end

  it("is not touched while malloc gives", function()
    local ptr = grow(nil, 100, works)
    ptr = grow(ptr, 1000, works)
    assert.equal(0, tonumber(C.gw_reserve_used()))
    grow(ptr, 0, works)
  end)

  -- Each step: size, and whether malloc works. The bytes must come along whichever way a block moves.
  local walks = {
    { "from the region into the region", { 100, false }, { 1000, false }, { 5000, false } },
    { "from malloc into the region", { 100, true }, { 1000, false } },
    { "from the region back to malloc", { 100, false }, { 1000, true }, { 2000, true } },
    { "smaller", { 1000, true }, { 100, false }, { 10, false } },
    { "to and fro", { 16, true }, { 32, false }, { 64, true }, { 128, false }, { 256, false }, { 4096, true } },
  }
  for _, walk in ipairs(walks) do
    it("keeps the bytes: " .. walk[1], function()
      local ptr, size = nil, 0
      for i = 2, #walk do
        local next_size, with = walk[i][1], walk[i][2] and works or fails
        ptr = grow(ptr, next_size, with)
        assert.is_true(ptr ~= nil)
        assert.equal(0, tonumber(ffi.cast("intptr_t", ptr)) % 16)
        assert.is_true(same(ptr, math.min(size, next_size)))
        fill(ptr, next_size)
        size = next_size
      end
      assert.is_true(same(ptr, size))
      grow(ptr, 0, fails)
    end)
  end

  it("is whole again when its last block is given back", function()
    for _ = 1, 3 do
      local a, b, c = grow(nil, 1000, fails), grow(nil, 2000, fails), grow(nil, 3000, fails)
      fill(a, 1000)
      fill(b, 2000)
      fill(c, 3000)
      assert.is_true(same(a, 1000) and same(b, 2000) and same(c, 3000))
      assert.is_true(tonumber(C.gw_reserve_used()) >= 6000)
      grow(a, 0, fails)
      grow(b, 0, fails)
      assert.is_true(tonumber(C.gw_reserve_used()) >= 3000)
      grow(c, 0, fails)
      assert.equal(0, tonumber(C.gw_reserve_used()))
    end
  end)

  it("has an end, and leaves the block as it was there", function()
    local size = 16 * 1024 * 1024
    assert.is_true(grow(nil, size, fails) == nil)
    assert.is_true(grow(nil, 2 ^ 40, fails) == nil)
    local ptr = grow(nil, 100, fails)
    fill(ptr, 100)
    assert.is_true(grow(ptr, size - 64, fails) == nil)
    assert.is_true(same(ptr, 100))
    grow(ptr, 0, fails)
    local kept = grow(nil, 100, works)
    fill(kept, 100)
    assert.is_true(grow(kept, size, fails) == nil)
    assert.is_true(same(kept, 100))
    grow(kept, 0, works)
  end)
end)
