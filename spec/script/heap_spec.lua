-- A Lua state's memory: blocks keep what is in them, never overlap, and what is given back is had again.

local cdef = require "spec.support.cdef"
local ffi = require "ffi"

local C = cdef.load "script/heap.h"
local MB = 1024 * 1024

local function heap_of(most)
  local h = ffi.new("gw_heap")
  assert.is_true(C.gw_heap_open(h, most))
  return ffi.gc(h, C.gw_heap_close)
end

local function is_filled(ptr, bytes, value)
  local at = ffi.cast("uint8_t *", ptr)
  -- both ends and some places between: whole blocks would be slow
  for _, i in ipairs { 0, 1, bytes / 2, bytes - 2, bytes - 1 } do
    i = math.min(math.max(0, math.floor(i)), bytes - 1)
    if at[i] ~= value then return false end
  end
  return true
end

local sizes = {
  small = function() return math.random(1, 300) end,
  mixed = function() return 2 ^ math.random(0, 17) + math.random(0, 40) end,
  large = function() return math.random(20000, 600000) end,
  borders = function()
    local border = ({ 16, 1024, 1025, 1280, 2048, 16384, 32768, 32769, 65536, 65537, 131072 })[math.random(11)]
    return math.max(1, border + math.random(-1, 1))
  end,
}

describe("the heap", function()
  for name, size in pairs(sizes) do
    it("keeps what is in blocks of any age: " .. name, function()
      math.randomseed(7)
      local h = heap_of(256 * MB)
      local blocks, count = {}, name == "large" and 60 or 400
      for step = 1, 20000 do
        local i = math.random(count)
        local block = blocks[i]
        local what = math.random(3)
        if not block or what == 1 then
          local bytes = math.floor(size())
          local ptr = C.gw_heap_realloc(h, block and block.ptr or nil, bytes)
          assert(ptr ~= nil, step)
          if block then assert.is_true(is_filled(ptr, math.min(bytes, block.bytes), block.value)) end
          blocks[i] = { ptr = ptr, bytes = bytes, value = step % 251 }
          ffi.fill(ptr, bytes, step % 251)
        elseif what == 2 then
          assert.is_true(is_filled(block.ptr, block.bytes, block.value))
          C.gw_heap_realloc(h, block.ptr, 0)
          blocks[i] = nil
        else
          assert.is_true(is_filled(block.ptr, block.bytes, block.value))
        end
      end
      -- each block still is what it was: none was given out twice
      for _, block in pairs(blocks) do
        assert.is_true(is_filled(block.ptr, block.bytes, block.value))
        C.gw_heap_realloc(h, block.ptr, 0)
      end
      assert.is_true(tonumber(C.gw_heap_held(h)) <= 16 * MB + 85 * 65536)
      -- whole again: one block has it all
      local all = C.gw_heap_realloc(h, nil, 200 * MB)
      assert.is_true(all ~= nil)
    end)
  end

  it("says no when the region is used up, and leaves the block as it was", function()
    local h = heap_of(4 * MB)
    local kept = C.gw_heap_realloc(h, nil, MB)
    ffi.fill(kept, MB, 9)
    local taken = {}
    while true do
      local ptr = C.gw_heap_realloc(h, nil, 5000)
      if ptr == nil then break end
      taken[#taken + 1] = ptr
    end
    assert.is_true(#taken > 500, #taken)
    assert.is_true(C.gw_heap_realloc(h, kept, 2 * MB) == nil)
    assert.is_true(C.gw_heap_realloc(h, nil, 2 ^ 45) == nil)
    assert.is_true(is_filled(kept, MB, 9))
    for _, ptr in ipairs(taken) do C.gw_heap_realloc(h, ptr, 0) end
    assert.is_true(C.gw_heap_realloc(h, kept, 2 * MB) ~= nil)
  end)

  it("grows a large block in place where there is room behind it", function()
    local h = heap_of(64 * MB)
    local ptr = C.gw_heap_realloc(h, nil, 100000)
    assert.equal(ptr, C.gw_heap_realloc(h, ptr, 10 * MB))
    assert.equal(ptr, C.gw_heap_realloc(h, ptr, 200000))
    local behind = C.gw_heap_realloc(h, nil, 40000)
    assert.not_equal(ptr, C.gw_heap_realloc(h, ptr, 10 * MB))
    assert.is_true(behind ~= nil)
  end)

  it("gives memory back to the system beyond what it keeps warm", function()
    local h = heap_of(128 * MB)
    local ptr = C.gw_heap_realloc(h, nil, 100 * MB)
    assert.is_true(tonumber(C.gw_heap_held(h)) >= 100 * MB)
    C.gw_heap_realloc(h, ptr, 0)
    assert.is_true(tonumber(C.gw_heap_held(h)) <= 16 * MB)
  end)

  it("can be closed twice, and before it was opened", function()
    local h = ffi.new("gw_heap")
    C.gw_heap_close(h)
    assert.is_true(C.gw_heap_open(h, MB))
    C.gw_heap_close(h)
    C.gw_heap_close(h)
  end)
end)
