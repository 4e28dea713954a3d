local ffi = require "ffi"
local cjson = require "cjson"
local cdef = require "spec.support.cdef"
local C = cdef.load("base/text.h")

-- A gw_text on memory of exactly that many bytes.
local function text_on(room)
  local memory = cdef.slice(("\0"):rep(room))
  local t = ffi.new("gw_text")
  t.begin = ffi.cast("char *", memory.ptr)
  t.at, t["end"] = t.begin, t.begin + room
  return t, memory
end

local function done(t)
  return ffi.string(t.begin, t.at - t.begin)
end

describe("gw_text_u64", function()
  for _, case in ipairs {
    { 0ULL, "0" }, { 9ULL, "9" }, { 10ULL, "10" }, { 65535ULL, "65535" }, { 18446744073709551615ULL, "18446744073709551615" },
  } do
    it("writes " .. case[2], function()
      local t, memory = text_on(#case[2])
      C.gw_text_u64(t, case[1])
      assert.equal(case[2], done(t))
      assert.is_false(t.cut)
      assert(memory)
    end)
  end

  it("writes nothing and says so when a digit does not fit", function()
    local t, memory = text_on(2)
    C.gw_text_u64(t, 100ULL)
    assert.equal("", done(t))
    assert.is_true(t.cut)
    assert(memory)
  end)
end)

describe("gw_text_hex", function()
  for _, case in ipairs { { 0ULL, "0" }, { 0xfULL, "f" }, { 0x1f4ULL, "1f4" }, { 0xffffffffffffffffULL, "ffffffffffffffff" } } do
    it("writes " .. case[2], function()
      local t, memory = text_on(#case[2])
      C.gw_text_hex(t, case[1])
      assert.equal(case[2], done(t))
      assert(memory)
    end)
  end
end)

describe("gw_text_fixed", function()
  for _, case in ipairs {
    { 0, 0, "0" }, { 0, 3, "0.000" }, { 0.001234, 6, "0.001234" }, { 1.5, 0, "2" }, { 1.25, 1, "1.3" }, { 12.0625, 4, "12.0625" },
    { 0.9999, 3, "1.000" }, { -1.5, 2, "-1.50" }, { -0.001, 2, "0.00" }, { 123456789.125, 3, "123456789.125" },
    { 1e15, 3, "1000000000000000.000" }, { -1e15, 0, "-1000000000000000" }, { 0.5, 9, "0.500000000" }, { 2, 12, "2.000000000" },
    { 2, -1, "2" }, { 0 / 0, 3, "null" }, { math.huge, 3, "null" }, { -math.huge, 3, "null" },
  } do
    it(("writes %s with %d decimals"):format(case[1], case[2]), function()
      local t, memory = text_on(64)
      C.gw_text_fixed(t, case[1], case[2])
      assert.equal(case[3], done(t))
      assert.is_false(t.cut)
      assert(memory)
    end)
  end

  it("writes whatever a double can be into a limited room, or says that it did not fit", function()
    local t, memory = text_on(32)
    C.gw_text_fixed(t, 1e308, 9)
    assert.equal("", done(t))
    assert.is_true(t.cut)
    assert(memory)
  end)
end)

describe("gw_text_printf", function()
  for _, room in ipairs { 5, 6, 255, 256, 257, 300, 1000 } do
    it(("fills a room of %d bytes to its last byte, and no further"):format(room), function()
      local bytes = ("x"):rep(room < 256 and room or room - 1) -- a room of 256 and more needs one for vsnprintf's NUL
      local t, memory = text_on(room)
      C.gw_text_printf(t, "%s", bytes)
      assert.equal(bytes, done(t))
      assert.is_false(t.cut)
      C.gw_text_printf(t, "%s", "yy")
      assert.equal(bytes, done(t))
      assert.is_true(t.cut)
      assert(memory)
    end)
  end
end)

local REPLACED = "\239\191\189"

describe("gw_text_json", function()
  local cases = {
    { "nothing", "", '""' },
    { "plain text", "hello", '"hello"' },
    { "quotes and backslashes", [[a"b\c]], [["a\"b\\c"]] },
    { "the short escapes", "\b\f\n\r\t", [["\b\f\n\r\t"]] },
    { "other control characters", "\0\1\31", [["\u0000\u0001\u001f"]] },
    { "DEL", "\127", '"\127"' },
    { "two bytes of UTF-8", "\195\169", '"\195\169"' },
    { "three bytes of UTF-8", "\226\130\172", '"\226\130\172"' },
    { "four bytes of UTF-8", "\240\159\152\128", '"\240\159\152\128"' },
    { "the last code point", "\244\143\191\191", '"\244\143\191\191"' },
    { "past the last code point", "\244\144\128\128", '"' .. REPLACED:rep(4) .. '"' },
    { "a lone continuation byte", "a\128b", '"a' .. REPLACED .. 'b"' },
    { "a sequence cut off at the end", "a\226\130", '"a' .. REPLACED .. '"' },
    { "a sequence cut off by text", "\226\130x", '"' .. REPLACED .. 'x"' },
    { "an overlong slash", "\192\175", '"' .. REPLACED:rep(2) .. '"' },
    { "an overlong three-byte form", "\224\128\175", '"' .. REPLACED:rep(3) .. '"' },
    { "an overlong four-byte form", "\240\128\128\175", '"' .. REPLACED:rep(4) .. '"' },
    { "a surrogate", "\237\160\128", '"' .. REPLACED:rep(3) .. '"' },
    { "bytes that UTF-8 never has", "\254\255", '"' .. REPLACED:rep(2) .. '"' },
    { "a good sequence behind a bad one", "\226\195\169", '"' .. REPLACED .. "\195\169" .. '"' },
  }
  for _, case in ipairs(cases) do
    it("writes " .. case[1], function()
      local t, memory = text_on(#case[3])
      local s = cdef.slice(case[2])
      C.gw_text_json(t, s)
      assert.equal(case[3], done(t))
      assert.is_false(t.cut)
      assert(memory)
    end)

    it("writes all or nothing of " .. case[1], function()
      for room = 0, #case[3] - 1 do
        local t, memory = text_on(room)
        local s = cdef.slice(case[2])
        C.gw_text_json(t, s)
        assert.equal("", done(t))
        assert.is_true(t.cut)
        assert(memory)
      end
    end)
  end

  it("finds the byte that needs an escape, wherever it stands", function()
    for length = 1, 26 do
      for at = 1, length do
        for _, case in ipairs { { '"', '\\"' }, { "\\", "\\\\" }, { "\31", "\\u001f" }, { "\0", "\\u0000" }, { "\128", REPLACED },
          { " ", " " },          { "!", "!" }, { "#", "#" }, { "[", "[" }, { "]", "]" }, { "\127", "\127" } } do
          local front, back = ("a"):rep(at - 1), ("z"):rep(length - at)
          local t, memory = text_on(64)
          local text = cdef.slice(front .. case[1] .. back)
          C.gw_text_json(t, text)
          assert.equal('"' .. front .. case[2] .. back .. '"', done(t))
          assert(memory)
        end
      end
    end
  end)

  it("writes an absent slice as an empty string", function()
    local t, memory = text_on(2)
    C.gw_text_json(t, cdef.slice(nil))
    assert.equal('""', done(t))
    assert(memory)
  end)

  it("writes JSON whatever the bytes are, and the same text where they are ASCII", function()
    math.randomseed(7)
    for _ = 1, 2000 do
      local bytes, ascii = {}, math.random(2) == 1
      for i = 1, math.random(0, 40) do bytes[i] = string.char(math.random(0, ascii and 127 or 255)) end
      local text = table.concat(bytes)
      local t, memory = text_on(#text * 6 + 2)
      local s = cdef.slice(text)
      C.gw_text_json(t, s)
      local value = cjson.decode("[" .. done(t) .. "]")[1]
      if ascii then assert.equal(text, value) end
      -- what comes out is UTF-8: written once more, it stays as it is
      local again, memory2 = text_on(#text * 6 + 2)
      local first = done(t)
      local inner = cdef.slice((first:sub(2, -2):gsub('[\\"]', "x")))
      C.gw_text_json(again, inner)
      assert.equal((first:sub(2, -2):gsub('[\\"]', "x")), done(again):sub(2, -2))
      assert(memory and memory2)
    end
  end)
end)
