local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("http/headers.h")

ffi.cdef "extern const uint8_t gw_char_classes[256];"

local function set_of(text)
  local set = {}
  for i = 1, #text do set[text:byte(i)] = true end
  return set
end

local ALPHA, DIGIT = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "0123456789"
local tchar = set_of(ALPHA .. DIGIT .. "!#$%&'*+-.^_`|~")       -- RFC 9110 section 5.6.2
local unreserved = set_of(ALPHA .. DIGIT .. "-._~")             -- RFC 3986 section 2.3
local host = set_of(ALPHA .. DIGIT .. "-._~!$&'()*+;=")         -- and sub-delims without ','
local hex = set_of(DIGIT .. "ABCDEFabcdef")
local target = function(b) return b > 32 and b < 127 and b ~= 35 end
local not_plain = set_of "/?%\\"

local classes = { -- bit in chars.h, whether a byte is of the class
  token = { 0x01, function(b) return tchar[b] end },
  value = { 0x02, function(b) return b == 9 or (b >= 32 and b ~= 127) end },
  target = { 0x04, target },
  plain = { 0x08, function(b) return target(b) and not not_plain[b] end },
  host = { 0x10, function(b) return host[b] end },
  hex = { 0x20, function(b) return hex[b] end },
  unreserved = { 0x40, function(b) return unreserved[b] end },
}

describe("gw_char_classes", function()
  for name, class in pairs(classes) do
    it("has the class " .. name .. " right for every byte", function()
      for b = 0, 255 do
        local found = bit.band(C.gw_char_classes[b], class[1]) ~= 0
        assert.equal(class[2](b) or false, found, ("byte %d"):format(b))
      end
    end)
  end
end)

-- Values are tested by 16, 8, 4 bytes or one: every byte has to be judged the same at every place of every length.
describe("gw_header_value_valid", function()
  it("judges every byte at every place", function()
    for length = 1, 40 do
      for place = 1, length do
        local before, behind = ("a"):rep(place - 1), ("\xff"):rep(length - place)
        for b = 0, 255 do
          -- All bytes up to two words; behind that those around the borders of the classes.
          if length <= 9 or b <= 32 or b >= 126 and b <= 128 or b == 255 then
            local value = cdef.slice(before .. string.char(b) .. behind)
            if C.gw_header_value_valid(value) ~= classes.value[2](b) then
              error(("byte %d at %d of %d"):format(b, place, length))
            end
          end
        end
      end
    end
  end)
  it("takes nothing at all", function()
    assert.is_true(C.gw_header_value_valid(cdef.slice ""))
    assert.is_true(C.gw_header_value_valid(cdef.slice(nil)))
  end)
  it("takes tabs beside each other, and refuses what hides behind them", function()
    assert.is_true(C.gw_header_value_valid(cdef.slice(("\t"):rep(33))))
    assert.is_false(C.gw_header_value_valid(cdef.slice(("\t"):rep(33) .. "\r\nX: a")))
  end)
end)

describe("gw_header_name_valid", function()
  it("takes tokens only", function()
    for b = 0, 255 do
      for _, around in ipairs { "", "a", "abc", "abcdefg" } do
        local name = cdef.slice(around .. string.char(b) .. around)
        assert.equal(tchar[b] or false, C.gw_header_name_valid(name), ("byte %d"):format(b))
      end
    end
    assert.is_false(C.gw_header_name_valid(cdef.slice ""))
  end)
end)
