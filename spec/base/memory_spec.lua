-- Buffers, slabs and arenas (buffer.c, slab.c, arena.c). Under AddressSanitizer these also show that nothing is handed out twice and
-- that all that is handed out can be written.

local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("base/buffer.h", "base/slab.h", "base/arena.h")

local STANDARD = 32768 + 384

local function address(ptr)
  return tonumber(ffi.cast("uintptr_t", ptr))
end

describe("a buffer pool", function()
  local pool
  before_each(function()
    pool = ffi.new("gw_buffer_pool")
    C.gw_buffer_pool_init(pool, 2)
  end)
  after_each(function() C.gw_buffer_pool_clear(pool) end)

  for _, case in ipairs {
    { 0, STANDARD }, { 1, STANDARD }, { STANDARD, STANDARD }, { STANDARD + 1, STANDARD + 1 }, { 1e6, 1e6 },
  } do
    it(("gives %d bytes of room in a buffer of %d"):format(case[1], case[2]), function()
      local b = C.gw_buffer_take(pool, case[1])
      assert.equal(case[2], b.cap)
      assert.equal(0, b.start)
      assert.equal(0, b["end"])
      ffi.fill(b.bytes, b.cap, 120)
      assert.equal(1, pool.live)
      C.gw_buffer_give(pool, b)
      assert.equal(0, pool.live)
    end)
  end

  it("refuses a room past 32 bits", function()
    assert.is_true(C.gw_buffer_take(pool, 2 ^ 32) == nil)
    assert.is_true(C.gw_buffer_take(pool, ffi.cast("size_t", -1)) == nil)
    assert.equal(0, pool.live)
  end)

  it("hands out the newest of the free ones, empty, and keeps no more than it may", function()
    local a, b, c = C.gw_buffer_take(pool, 0), C.gw_buffer_take(pool, 0), C.gw_buffer_take(pool, 0)
    a["end"], b["end"], b.start = 5, 7, 3
    C.gw_buffer_give(pool, a)
    C.gw_buffer_give(pool, b)
    C.gw_buffer_give(pool, c) -- one too many
    assert.equal(2, pool.free_count)
    local again = C.gw_buffer_take(pool, 0)
    assert.is_true(again == b)
    assert.equal(0, again.start)
    assert.equal(0, again["end"])
    assert.equal(1, pool.free_count)
    C.gw_buffer_give(pool, again)
  end)

  it("does not keep a large one", function()
    C.gw_buffer_give(pool, C.gw_buffer_take(pool, STANDARD + 1))
    assert.equal(0, pool.free_count)
  end)

  it("takes back nothing without complaint", function()
    C.gw_buffer_give(pool, nil)
    assert.equal(0, pool.live)
  end)

  for _, case in ipairs { { 0, 0 }, { 0, 5 }, { 3, 5 }, { 5, 5 }, { 3, 9 } } do
    it(("moves [%d, %d) to the front"):format(case[1], case[2]), function()
      local b = C.gw_buffer_take(pool, 0)
      ffi.copy(b.bytes, "0123456789")
      b.start, b["end"] = case[1], case[2]
      C.gw_buffer_compact(b)
      assert.equal(0, b.start)
      assert.equal(("0123456789"):sub(case[1] + 1, case[2]), ffi.string(b.bytes, b["end"]))
      C.gw_buffer_give(pool, b)
    end)
  end
end)

describe("a slab", function()
  for _, case in ipairs { { 1, 16 }, { 8, 16 }, { 16, 16 }, { 17, 32 }, { 64, 64 }, { 200, 208 } } do
    it(("gives aligned objects of %d bytes, each its own"):format(case[1]), function()
      local slab = ffi.new("gw_slab")
      C.gw_slab_init(slab, case[1], 3)
      local seen = {}
      for i = 1, 10 do
        local object = C.gw_slab_take(slab)
        ffi.fill(object, case[1], i)
        local at = address(object)
        assert.equal(0, at % (case[2] % 64 == 0 and 64 or 16))
        for other in pairs(seen) do assert.is_true(math.abs(other - at) >= case[2]) end
        seen[at] = object
      end
      assert.equal(10, slab.live)
      for _, object in pairs(seen) do C.gw_slab_give(slab, object) end
      assert.equal(0, slab.live)
      C.gw_slab_clear(slab)
    end)
  end

  it("hands out the newest of the free ones", function()
    local slab = ffi.new("gw_slab")
    C.gw_slab_init(slab, 32, 4)
    local a, b = C.gw_slab_take(slab), C.gw_slab_take(slab)
    C.gw_slab_give(slab, a)
    C.gw_slab_give(slab, b)
    assert.is_true(C.gw_slab_take(slab) == b)
    assert.is_true(C.gw_slab_take(slab) == a)
    C.gw_slab_clear(slab)
  end)

  it("can be used again when cleared", function()
    local slab = ffi.new("gw_slab")
    C.gw_slab_init(slab, 32, 4)
    C.gw_slab_give(slab, C.gw_slab_take(slab))
    C.gw_slab_clear(slab)
    local object = C.gw_slab_take(slab)
    ffi.fill(object, 32, 1)
    C.gw_slab_clear(slab)
  end)

  for _, case in ipairs {
    { "an object past 32 bits", 2 ^ 33, 1 }, { "a block that no memory could hold", 2 ^ 31, 2 ^ 32 - 1 },
  } do
    it("refuses " .. case[1], function()
      local slab = ffi.new("gw_slab")
      C.gw_slab_init(slab, case[2], case[3])
      assert.is_true(C.gw_slab_take(slab) == nil)
      assert.equal(0, slab.live)
      C.gw_slab_clear(slab)
    end)
  end
end)

describe("an arena", function()
  local arena
  before_each(function()
    arena = ffi.new("gw_arena")
    C.gw_arena_init(arena, 1024, 0)
  end)
  after_each(function() C.gw_arena_clear(arena) end)

  it("takes nothing before the first use", function()
    assert.is_true(arena.blocks == nil)
    assert.equal(0, tonumber(arena.total))
  end)

  it("gives zeroed, aligned pieces that do not overlap, whatever comes between", function()
    math.randomseed(11)
    local pieces = {}
    for i = 1, 500 do
      local n = math.random(0, 10) == 0 and math.random(200, 5000) or math.random(0, 100)
      local aligned = math.random(2) == 1
      local p = ffi.cast("char *", aligned and C.gw_arena_take(arena, n) or C.gw_arena_bytes(arena, n))
      assert.is_false(p == nil)
      if aligned then
        assert.equal(0, address(p) % 16)
        for j = 0, n - 1 do if p[j] ~= 0 then error("not zero") end end
      end
      ffi.fill(p, n, i % 127 + 1)
      pieces[i] = { p, n, i % 127 + 1 }
    end
    for _, piece in ipairs(pieces) do
      assert.equal(string.char(piece[3]):rep(piece[2]), ffi.string(piece[1], piece[2]))
    end
  end)

  it("never gives the same address twice, even for nothing", function()
    local a, b = C.gw_arena_bytes(arena, 0), C.gw_arena_bytes(arena, 0)
    assert.is_false(a == nil or a == b)
  end)

  it("goes on in the current block after a large piece", function()
    local a = ffi.cast("char *", C.gw_arena_bytes(arena, 10))
    C.gw_arena_bytes(arena, 10000)
    assert.is_true(ffi.cast("char *", C.gw_arena_bytes(arena, 10)) == a + 10)
  end)

  it("zeroes bytes that were used before", function()
    ffi.fill(C.gw_arena_bytes(arena, 100), 100, 255)
    C.gw_arena_rewind(arena)
    local p = ffi.cast("unsigned char *", C.gw_arena_take(arena, 100))
    for i = 0, 99 do assert.equal(0, p[i]) end
  end)

  it("keeps one block when rewound, and takes it again", function()
    local first = C.gw_arena_bytes(arena, 10)
    for _ = 1, 20 do C.gw_arena_bytes(arena, 100) end
    C.gw_arena_bytes(arena, 10000)
    C.gw_arena_rewind(arena)
    local kept = tonumber(arena.total)
    assert.is_true(kept > 0 and kept <= 1024)
    assert.is_false(first == nil)
    C.gw_arena_bytes(arena, 900)
    assert.equal(kept, tonumber(arena.total))
  end)

  it("keeps nothing when rewound if there was one large piece only", function()
    C.gw_arena_bytes(arena, 10000)
    C.gw_arena_rewind(arena)
    assert.equal(0, tonumber(arena.total))
    assert.is_false(C.gw_arena_bytes(arena, 10) == nil)
  end)

  it("can be rewound and cleared when nothing was taken", function()
    C.gw_arena_rewind(arena)
    C.gw_arena_clear(arena)
    assert.equal(0, tonumber(arena.total))
  end)

  it("gives back all when cleared", function()
    C.gw_arena_bytes(arena, 10)
    C.gw_arena_bytes(arena, 5000)
    C.gw_arena_clear(arena)
    assert.equal(0, tonumber(arena.total))
    assert.is_false(C.gw_arena_take(arena, 10) == nil)
  end)

  it("refuses past its bound, and only what is past it", function()
    C.gw_arena_clear(arena)
    C.gw_arena_init(arena, 1024, 3000)
    assert.is_false(C.gw_arena_bytes(arena, 100) == nil)
    assert.is_true(C.gw_arena_bytes(arena, 2500) == nil)
    assert.is_false(C.gw_arena_bytes(arena, 1500) == nil)
    assert.is_true(C.gw_arena_take(arena, 1500) == nil)
    assert.is_false(C.gw_arena_take(arena, 100) == nil)
    assert.is_true(tonumber(arena.total) <= 3000)
  end)

  for _, bytes in ipairs { ffi.cast("size_t", -1), ffi.cast("size_t", -16), ffi.cast("size_t", -40) } do
    it("refuses a size that no memory has: " .. tostring(bytes), function()
      assert.is_true(C.gw_arena_bytes(arena, bytes) == nil)
      assert.is_true(C.gw_arena_take(arena, bytes) == nil)
    end)
  end

  for _, case in ipairs { { "a text", "hello" }, { "an empty text", "" }, { "bytes with a NUL", "a\0b" } } do
    it("copies " .. case[1] .. " with a NUL behind", function()
      local s = cdef.slice(case[2])
      local copy = C.gw_arena_copy(arena, s)
      assert.equal(case[2], cdef.text(copy))
      assert.equal(0, copy.ptr[copy.len])
      assert.is_false(copy.ptr == s.ptr)
      assert.equal(case[2]:match("^[^%z]*"), ffi.string(C.gw_arena_string(arena, s)))
    end)
  end

  it("copies an absent slice as an empty text", function()
    assert.equal("", cdef.text(C.gw_arena_copy(arena, cdef.slice(nil))))
  end)

  it("gives an absent slice when a copy would be past the bound", function()
    C.gw_arena_clear(arena)
    C.gw_arena_init(arena, 1024, 100)
    local s = cdef.slice(("x"):rep(200))
    assert.is_nil(cdef.text(C.gw_arena_copy(arena, s)))
    assert.is_true(C.gw_arena_string(arena, s) == nil)
  end)
end)
