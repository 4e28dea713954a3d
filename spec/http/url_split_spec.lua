-- Absolute URLs taken apart.

local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("http/url.h")

local function split(given)
  local url, reason = ffi.new "gw_url[1]", ffi.new "const char *[1]"
  if C.gw_url_split(cdef.slice(given), url, reason) ~= 0 then return nil, ffi.string(reason[0]) end
  local u = url[0]
  return { cdef.text(u.scheme), cdef.text(u.authority), cdef.text(u.host), u.port, cdef.text(u.path),
    u.query.ptr ~= nil and cdef.text(u.query) }
end

local good = { -- URL, scheme, authority, host, port, path, query (false: none)
  { "http://a", "http", "a", "a", -1, "/", false }, { "http://a/", "http", "a", "a", -1, "/", false },
  { "HTTPS://A.b:8080/x/y?q=1", "HTTPS", "A.b:8080", "A.b", 8080, "/x/y", "q=1" },
  { "http://a?", "http", "a", "a", -1, "/", "" }, { "http://a?b?c/d", "http", "a", "a", -1, "/", "b?c/d" },
  { "http://a#f", "http", "a", "a", -1, "/", false }, { "http://a/b?c#d?e", "http", "a", "a", -1, "/b", "c" },
  { "http://a/b#c?d", "http", "a", "a", -1, "/b", false }, { "http://[::1]:80/", "http", "[::1]:80", "[::1]", 80, "/", false },
  { "http://1.2.3.4:65535", "http", "1.2.3.4:65535", "1.2.3.4", 65535, "/", false },
  { "http://a//b/../c/%2F", "http", "a", "a", -1, "//b/../c/%2F", false }, { "x://a", "x", "a", "a", -1, "/", false },
  { "http://a/b@c:d", "http", "a", "a", -1, "/b@c:d", false },
}

local bad = { -- URL, a word of the reason
  { "", "no scheme" }, { "a", "no scheme" }, { "/a", "no scheme" }, { "a:80/b", "no scheme" }, { "http:/a", "no scheme" },
  { "http:", "no scheme" }, { "http://", "no host" }, { "http:///a", "no host" }, { "http://?a", "no host" }, { "http://:80", "no host" },
  { "http://a:b", "no host" }, { "http://a:65536", "no host" }, { "http://[::1", "no host" }, { "http://::1/", "no host" },
  { "http://a@b/", "user name" }, { "http://a:b@c/", "user name" }, { "http://a b", "percent-encoded" },
  { "http://a/\r\nX: 1", "percent-encoded" }, { "http://a/\0", "percent-encoded" }, { "http://\xc3\xa4/", "percent-encoded" },
  { " http://a", "percent-encoded" },
}

describe("gw_url_split", function()
  for _, case in ipairs(good) do
    it("takes " .. case[1] .. " apart", function()
      assert.same({ case[2], case[3], case[4], case[5], case[6], case[7] }, split(case[1]))
    end)
  end
  for _, case in ipairs(bad) do
    it(("refuses %q"):format(case[1]), function()
      local parts, reason = split(case[1])
      assert.is_nil(parts)
      assert.truthy(reason:find(case[2], 1, true), reason)
    end)
  end
end)
