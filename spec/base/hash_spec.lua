local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("base/hash.h")

-- The bytes 0, 1, 2, ... n - 1.
local function counting(n)
  local bytes = {}
  for i = 1, n do bytes[i] = string.char(i - 1) end
  return table.concat(bytes)
end

describe("gw_crc32", function()
  for _, case in ipairs {
    { "", 0 }, { "a", 0xe8b7be43 }, { "123456789", 0xcbf43926 }, { "The quick brown fox jumps over the lazy dog", 0x414fa339 },
    { ("\255"):rep(4), 0xffffffff },
  } do
    it(("of %q"):format(case[1]), function()
      local s = cdef.slice(case[1])
      assert.equal(case[2], tonumber(C.gw_crc32(s.ptr, s.len)))
    end)
  end
end)

describe("gw_hash (FNV-1a)", function()
  for _, case in ipairs { { "", 0xcbf29ce484222325ULL }, { "a", 0xaf63dc4c8601ec8cULL }, { "foobar", 0x85944171f73967e8ULL } } do
    it(("of %q"):format(case[1]), function()
      local s = cdef.slice(case[1])
      assert.is_true(case[2] == C.gw_hash(s.ptr, s.len))
    end)
  end
end)

describe("gw_siphash13", function()
  -- With the key 0, 0: what CPython 3.11 gives for hash(bytes) with PYTHONHASHSEED=0.
  for _, case in ipairs {
    { "a", 0x407448d2b89b1813ULL }, { counting(7), 0x2f098ab0c751325aULL }, { counting(8), 0xead411e67ebe2eeaULL },
    { counting(9), 0x75927f9d95124362ULL }, { counting(15), 0xf30eb725bb91c9eaULL }, { counting(16), 0x8972188433a5c5b7ULL },
    { counting(63), 0x385d3e39e5f37359ULL }, { counting(1), 0x68a914128e01e473ULL }, { counting(2), 0x010bac45c41e3669ULL },
    { counting(3), 0x4d4c9a4a8ef6e0adULL }, { counting(4), 0x7cc43f98813e4dbdULL }, { counting(5), 0x5abe2169dff36275ULL },
    { counting(6), 0xe3c25f87624f1cdbULL }, { counting(12), 0xa6baf4fb0f9fe1c2ULL }, { counting(13), 0xa0cf3211850f8e0dULL },
    { counting(14), 0x7f86049379fbfe67ULL }, { counting(17), 0x4883c49a2c009c1dULL },
  } do
    it(("of %d bytes"):format(#case[1]), function()
      local s = cdef.slice(case[1])
      assert.is_true(case[2] == C.gw_siphash13(s.ptr, s.len, 0, 0))
    end)
  end

  it("depends on both halves of the key", function()
    local s = cdef.slice("key")
    local plain = C.gw_siphash13(s.ptr, s.len, 0, 0)
    assert.is_false(plain == C.gw_siphash13(s.ptr, s.len, 1, 0))
    assert.is_false(plain == C.gw_siphash13(s.ptr, s.len, 0, 1))
  end)
end)

describe("gw_hash_keyed", function()
  it("is the same all the time in one process, and not that of a known key", function()
    local s = cdef.slice("client")
    assert.is_true(C.gw_hash_keyed(s.ptr, s.len) == C.gw_hash_keyed(s.ptr, s.len))
    assert.is_false(C.gw_hash_keyed(s.ptr, s.len) == C.gw_siphash13(s.ptr, s.len, 0, 0))
  end)
end)

describe("gw_random", function()
  it("is xoshiro256**", function()
    local r = ffi.new("gw_random")
    for i = 0, 3 do r.s[i] = i + 1 end
    for _, expected in ipairs { 11520ULL, 0ULL, 1509978240ULL, 1215971899390074240ULL } do
      assert.is_true(expected == C.gw_random_next(r))
    end
  end)

  it("starts elsewhere each time", function()
    local a, b = ffi.new("gw_random"), ffi.new("gw_random")
    C.gw_random_seed(a)
    C.gw_random_seed(b)
    assert.is_false(C.gw_random_next(a) == C.gw_random_next(b))
  end)
end)
