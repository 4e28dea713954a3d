local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("http/url.h")

-- Runs gw_path_normalise with room of exactly the size that is promised to suffice: path, in_place or nil, reason.
local function normalise(path, keep)
  local raw, room = cdef.slice(path), cdef.slice(path)
  local out, reason = ffi.new "gw_slice[1]", ffi.new "const char *[1]"
  if C.gw_path_normalise(raw, keep or false, ffi.cast("char *", room.ptr), out, reason) ~= 0 then return nil, ffi.string(reason[0]) end
  return cdef.text(out[0]), out[0].ptr == raw.ptr
end

local normal = { "/", "/a", "/a/", "/a/b.c/d~e", "/a/...", "/a/.b", "/a/..b/c", "/a/b..", "/.well-known/x", "/a:b@c!$&'()*+,;=",
  "/%20%C3%A9%25", "/a|b{c}\"<>^`" }
local changed = { -- raw, normal
  { "/%61%7e%2D%5F%2e%41", "/a~-_.A" }, { "/%c3%a9", "/%C3%A9" }, { "/%3a", "/%3A" }, { "/%252e", "/%252e" }, { "/%2525", "/%2525" },
  { "/.", "/" }, { "/./", "/" }, { "/a/.", "/a/" }, { "/a/./b", "/a/b" }, { "/a/..", "/" }, { "/a/../", "/" },
  { "/a/../b", "/b" },
  { "/a/b/..", "/a/" }, { "/a/b/../..", "/" }, { "/a/b/c/../../d", "/a/d" }, { "/%2e/a", "/a" }, { "/a/%2E%2e/b", "/b" },
  { "/a/.%2e/b", "/b" },
  { "//", "/" }, { "//a///b//", "/a/b/" }, { "/a//../b", "/b" }, { "/a/.//b", "/a/b" }, { "//a", "/a" }, { "/././a", "/a" },
  { "/%23", "/%23" }, { "/%3f", "/%3F" },
}
local refused = { -- raw, reason
  { "", "path does not begin with '/'" }, { "a", "path does not begin with '/'" }, { "*", "path does not begin with '/'" },
  { "%2Fa", "path does not begin with '/'" },
  { "/..", "path goes above the root" }, { "/../a", "path goes above the root" }, { "/a/../..", "path goes above the root" },
  { "/%2e%2e/a", "path goes above the root" }, { "/a/..//../b", "path goes above the root" }, { "/./..", "path goes above the root" },
  { "/%", "malformed percent escape in the path" }, { "/%4", "malformed percent escape in the path" },
  { "/%4g", "malformed percent escape in the path" }, { "/%g4", "malformed percent escape in the path" },
  { "/%%41", "malformed percent escape in the path" }, { "/%u0041", "malformed percent escape in the path" },
  { "/a%00", "encoded control character in the path" }, { "/%0d%0a", "encoded control character in the path" },
  { "/%1f", "encoded control character in the path" }, { "/%7F", "encoded control character in the path" },
  { "/a\\b", "backslash in the path" }, { "/a%5cb", "encoded backslash in the path" }, { "/a%5Cb", "encoded backslash in the path" },
  { "/a%2fb", "encoded slash in the path" }, { "/a%2Fb", "encoded slash in the path" },
  { "/a b", "character that cannot stand in a path" }, { "/a\0", "character that cannot stand in a path" },
  { "/\xc3\xa9", "character that cannot stand in a path" }, { "/a?b", "character that cannot stand in a path" },
  { "/a#b", "character that cannot stand in a path" }, { "/a\127", "character that cannot stand in a path" },
}

describe("gw_path_normalise", function()
  for _, path in ipairs(normal) do
    it(("leaves %s where it is"):format(path), function()
      local found, in_place = normalise(path)
      assert.equal(path, found)
      -- What may be a dot segment or an escape is looked at closely, in the room.
      if not path:find("/%.") and not path:find("%%") then assert.is_true(in_place) end
    end)
  end
  for _, case in ipairs(changed) do
    it(("makes %s of %s"):format(case[2], case[1]), function()
      assert.equal(case[2], (normalise(case[1])))
      assert.equal(case[2], (normalise(case[2])), "normalised again")
    end)
  end
  for _, case in ipairs(refused) do
    it(("refuses %q: %s"):format(case[1], case[2]), function()
      local found, reason = normalise(case[1])
      assert.is_nil(found)
      assert.equal(case[2], reason)
    end)
  end
  it("keeps an encoded slash when asked to, and does not take it for a slash", function()
    assert.equal("/a%2Fb", (normalise("/a%2fb", true)))
    assert.equal("/..%2F..", (normalise("/%2e%2e%2f..", true)))
  end)
end)

describe("gw_percent_decode", function()
  for _, case in ipairs { { "", "" }, { "a+b", "a+b" }, { "%41%2f%00", "A/\0" }, { "%", "%" }, { "%4", "%4" }, { "%zz%41", "%zzA" },
    { "%%41", "%A" }, { "a%2", "a%2" } } do
    it(("of %q"):format(case[1]), function()
      local s, room = cdef.slice(case[1]), cdef.slice(case[1])
      assert.equal(case[2], cdef.text(C.gw_percent_decode(s, ffi.cast("char *", room.ptr))))
    end)
  end
end)

describe("gw_query_get", function()
  for _, case in ipairs { -- query, name, value
    { "a=1&b=2", "a", "1" }, { "a=1&b=2", "b", "2" }, { "a=1&a=2", "a", "1" }, { "a", "a", "" }, { "a=", "a", "" }, { "b&a", "a", "" },
    { "a=b=c", "a", "b=c" }, { "ab=1", "a", nil }, { "a=1", "ab", nil }, { "", "a", nil }, { "&&a=1", "a", "1" }, { "%61=1", "a", nil },
    { "A=1", "a", nil }, { "a=%20+", "a", "%20+" }, { "b=a", "a", nil }, { "=1", "", "1" }, { "a&&", "", nil },
  } do
    it(("of %q in %q"):format(case[2], case[1]), function()
      assert.equal(case[3], cdef.text(C.gw_query_get(cdef.slice(case[1]), cdef.slice(case[2]))))
    end)
  end
  it("of an absent query", function() assert.is_nil(cdef.text(C.gw_query_get(cdef.slice(nil), cdef.slice "a"))) end)
end)

describe("gw_cookie_get", function()
  for _, case in ipairs { -- field, name, value
    { "a=1; b=2", "a", "1" }, { "a=1; b=2", "b", "2" }, { "a=1;b=2", "b", "2" }, { "a=1 ;\tb=2 ", "b", "2" }, { "a=", "a", "" },
    { 'a="x"', "a", '"x"' }, { "a=b=c", "a", "b=c" }, { "a", "a", nil }, { "ab=1", "a", nil }, { "x=a=1", "a", nil }, { "", "a", nil },
    { ";;a=1", "a", "1" }, { "a=1; a=2", "a", "1" }, { "=1", "", nil }, { "A=1", "a", nil },
  } do
    it(("of %q in %q"):format(case[2], case[1]), function()
      assert.equal(case[3], cdef.text(C.gw_cookie_get(cdef.slice(case[1]), cdef.slice(case[2]))))
    end)
  end
end)

describe("gw_authority_split", function()
  local function split(text)
    local host, port = ffi.new "gw_slice[1]", ffi.new "int[1]"
    local s = cdef.slice(text)
    if C.gw_authority_split(s, host, port) ~= 0 then return nil end
    return cdef.text(host[0]), port[0]
  end
  for _, case in ipairs { -- authority, host, port
    { "a", "a", -1 }, { "example.com:8080", "example.com", 8080 }, { "a:0", "a", 0 }, { "a:65535", "a", 65535 }, { "a:00080", "a", 80 },
    { "1.2.3.4:5", "1.2.3.4", 5 }, { "a_b-c.", "a_b-c.", -1 }, { "[::]", "[::]", -1 }, { "[::1]:80", "[::1]", 80 },
    { "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8]", -1 }, { "[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", -1 }, { "[1::]:1", "[1::]", 1 },
  } do
    it("takes " .. case[1], function() assert.same({ case[2], case[3] }, { split(case[1]) }) end)
  end
  for _, authority in ipairs { "", ":80", "a:", "a:65536", "a:123456", "a:+1", "a:-1", "a:8x", "a:1:2", "::1", "[::1", "[]", "[:]",
    "[::1]x", "[::1]80", "[1:2:3]", "[1:2:3:4:5:6:7:8:9]", "[1:::2]", "[1::2::3]", "[::1%25eth0]", "[v1.a]", "[::12345]", "[::1.2.3]",
    "[::1.2.3.256]",
    "[::01.2.3.4]", "[1.2.3.4]", "a b", "a,b", "a/b", "a@b", "a%41", "a\0", "\xc3\xa9", "a?b", "a#b", "a\\b", "<a>" } do
    it(("refuses %q"):format(authority), function() assert.is_nil((split(authority))) end)
  end
end)
