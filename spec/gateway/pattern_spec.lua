-- What is refused when a route is added, and what the message says: what was found, and what to write instead.

local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local routes = require "spec.support.routes"

local C = cdef.load "http/url.h"

-- pattern -> message, without the leading 'path "PATTERN" '
local patterns = {
  { "", 'is empty; expected a path such as "/", "/api", "= /exact" or "/users/:id"' },
  { "=", 'is empty; expected a path such as "/", "/api", "= /exact" or "/users/:id"' },
  { "api", "does not begin with '/'; expected a path such as \"/api\", \"= /exact\" or \"/users/:id\"" },
  { "*", "does not begin with '/'; expected a path such as \"/api\", \"= /exact\" or \"/users/:id\"" },
  { "= x", "does not begin with '/'; expected a path such as \"/api\", \"= /exact\" or \"/users/:id\"" },
  { "/a//b", 'has "//" at byte 3; paths are compared in their normalised form: write "/a/b"' },
  { "= /a//", 'has "//" at byte 5; paths are compared in their normalised form: write "= /a/"' },
  { "/a/../b", 'has the segment ".." at byte 4; paths are compared in their normalised form: write "/b"' },
  { "/a/./b", 'has the segment "." at byte 4; paths are compared in their normalised form: write "/a/b"' },
  { "/a/..", 'has the segment ".." at byte 4; paths are compared in their normalised form: write "/"' },
  { "/..", 'has the segment ".." at byte 2; paths are compared in their normalised form' },
  { "/%41b", 'has "%41" (that is "A") at byte 2; paths are compared in their normalised form: write "/Ab"' },
  { "/%2e%2E/x", 'has "%2e" (that is ".") at byte 2; paths are compared in their normalised form' },
  { "/%c3%a4", 'has the lower-case escape "%c3" at byte 2; paths are compared in their normalised form: write "/%C3%A4"' },
  { "/100%",
    [[has a '%' that begins no escape (two hexadecimal digits) at byte 5; ]]
    .. 'paths are compared in their normalised form: write "/100%25"' },
  { "/%0A", 'has "%0A" at byte 2, which is refused in every request' },
  { "/%5Cx", 'has "%5C" at byte 2, which is refused in every request' },
  { "/a b", 'has a space at byte 3; paths are compared in their normalised form: write "/a%20b"' },
  { "/a\\b", 'has a \'\\\' at byte 3; paths are compared in their normalised form: write "/a/b"' },
  { "/a?x=1", 'has a \'?\' (a path ends before the query) at byte 3; paths are compared in their normalised form: write "/a"' },
  { "/a#b", "has a '#' (fragments are never sent) at byte 3; paths are compared in their normalised form: write \"/a\"" },
  { "/a\tb", "has a control character, which no request path can have" },
  { "/\255", "has bytes that are not UTF-8; write them as escapes, such as %E4" },
  { "/\237\160\128", "has bytes that are not UTF-8; write them as escapes, such as %E4" },
  { "/users/{id}", "has braces or angle brackets; a parameter is written \":name\", a remainder \"*name\"" },
  { "/users/<id>", "has braces or angle brackets; a parameter is written \":name\", a remainder \"*name\"" },
  { "/:", "has a ':' without a name; a parameter is written \":name\"" },
  { "/:a:b", "has two parameters in one segment; a parameter takes a whole segment" },
  { "/:id.json",
    [[has a parameter name "id.json"; expected letters, digits, '_' and '-' (a parameter takes a whole segment)]] },
  { "/:id*", 'has a \'*\' behind a parameter; a remainder is a segment of its own: "/:name/*"' },
  { "/:a/b/:a", 'has two parameters named "a"; each needs a name of its own' },
  { "/:a/*a", 'has two parameters named "a"; each needs a name of its own' },
  { "/" .. (":x%d/"):rep(17):gsub("%%d", (function() local n = 0 return function() n = n + 1 return tostring(n) end end)()),
    "has more than 16 parameters" },
  { "/*/a", "has a '*' before its last segment; a '*' stands at the end, and \":name\" takes one segment" },
  { "/a*b", 'has a \'*\' inside a segment; a \'*\' ends the pattern ("/api*") or begins its last segment ("/api/*rest")' },
  { "/a**", 'has a \'*\' inside a segment; a \'*\' ends the pattern ("/api*") or begins its last segment ("/api/*rest")' },
  { "= /:a", "has a parameter behind '='; without the '=' a path with parameters takes the whole path already" },
  { "= /a*", "has a '*' behind '='; an exact path takes that path only, a prefix is written without the '='" },
  { "= /*a", "has a '*' behind '='; an exact path takes that path only, a prefix is written without the '='" },
  { ("/a"):rep(65), "has more than 64 segments" },
}

local accepted = {
  [[/a|b^c"d`e]],
  "/", "= /", "=   /x", "/a:b", "/a.b/..c/...", "/~x", "/%20", "/%2F", "/%25", "= /a*b", "/!$&'()+,;=@",
    ("/a"):rep(64), "= " .. ("/a"):rep(1000),
  "/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/*p", "/\195\164/:x", "/:" .. ("n"):rep(64),
}

-- the rest of a route -> the whole message
local others = {
  { { "/", host = "" }, 'host "" is empty; leave it out to take any host' },
  { { "/", host = "*" }, "host \"*\" is a bare '*'; leave it out to take any host" },
  { { "/", host = "a.test:80" }, 'host "a.test:80" has a port; hosts are compared without it' },
  { { "/", host = "http://a.test/" }, 'host "http://a.test/" is a URL; expected the host alone, such as "api.example.com"' },
  { { "/", host = "::1" }, 'host "::1" has several colons; an IPv6 address stands in brackets, such as "[::1]"' },
  { { "/", host = "[::1]:80" }, 'host "[::1]:80" is no IPv6 address in brackets; expected one such as "[::1]", without a port' },
  { { "/", host = ".a.test" }, 'host ".a.test" begins with a dot; any host below a domain is written "*.example.com"' },
  { { "/", host = "a.*.test" }, 'host "a.*.test" has a \'*\' that is not its first label; expected a host or "*.example.com"' },
  { { "/", host = "a..test" }, 'host "a..test" has an empty label ("..")' },
  { { "/", host = "a b" }, 'host "a b" has a character that no host has; expected letters, digits, \'-\', \'_\' and \'.\'' },
  { { "/", host = "ä.test" }, 'host "ä.test" has letters outside ASCII; expected the form that clients send ("xn--...")' },
  { { "/", host = ("a"):rep(254) }, 'host "' .. ("a"):rep(100) .. '" is longer than 253 bytes' },
  { { "/", methods = { "get" } }, 'method "get" is not in upper case; methods are compared as they are sent: write "GET"' },
  { { "/", methods = { "A B" } }, 'method "A B" is no method name; expected one such as "GET"' },
  { { "/", methods = { "" } }, 'method "" is no method name; expected one such as "GET"' },
  { { "/", headers = { ["a b"] = "1" } }, 'headers has the name "a b"; expected a field name such as "X-Version"' },
  { { "/", headers = { X = "1", x = "2" } }, 'headers names "x" twice; expected one condition for each name' },
  { { "/", headers = { x = "1 " } },
    'header "x" is compared with a value that no request can have (control characters, or blanks at an end)' },
  { { "/", headers = { x = "a\nb" } },
    'header "x" is compared with a value that no request can have (control characters, or blanks at an end)' },
}

describe("a route is refused:", function()
  for _, case in ipairs(patterns) do
    it(("%q"):format(case[1]:sub(1, 40)), function()
      local router, message, where = routes.new { { case[1] } }
      assert.is_nil(router)
      assert.equal(('path "%s" %s'):format(case[1], case[2]), message)
      assert.equal("add", where)
    end)
  end

  for _, case in ipairs(others) do
    it(case[2]:sub(1, 60), function()
      local router, message = routes.new { case[1] }
      assert.is_nil(router)
      assert.equal(case[2], message)
    end)
  end

  it("a pattern beyond all measure", function()
    local _, message = routes.new { { "/" .. ("x"):rep(3000) } }
    assert.equal('path "/' .. ("x"):rep(39) .. '..." is 3001 bytes long; expected at most 2048', message)
  end)

  it("more header conditions than can be meant", function()
    local headers = {}
    for i = 1, 33 do headers["x" .. i] = "*" end
    local _, message = routes.new { { "/", headers = headers } }
    assert.equal("headers has 33 conditions; expected at most 32", message)
  end)
end)

describe("a pattern is taken:", function()
  for _, pattern in ipairs(accepted) do
    it(("%q"):format(pattern:sub(1, 40)), function() assert(routes.new { { pattern } }) end)
  end

  it("what a message proposes is itself taken", function()
    local proposals = 0
    for _, case in ipairs(patterns) do
      local proposal = case[2]:match('normalised form: write "(.*)"$')
      if proposal then
        proposals = proposals + 1
        assert(routes.new { { proposal } })
      end
    end
    assert.is_true(proposals >= 10)
  end)

  -- The other way round: a path that is normal is a pattern, and takes itself; what is not normal is no pattern.
  it("exactly when the path that it spells is normal", function()
    local seed, room, out, reason = 7, ffi.new("char[64]"), ffi.new("gw_slice[1]"), ffi.new("const char *[1]")
    local function pick(n)
      seed = (seed * 1103515245 + 12345) % 2147483648
      return math.floor(seed / 65536) % n + 1
    end
    local pieces = { "a", "B", "/", "/", ".", "..", "%41", "%2F", "%2f", "%20", "%", "%5C", "\\", "-", "~", "|", "!", "?", "#", " ",
      "%0a", "=" }
    local taken, refused = 0, 0
    for _ = 1, 5000 do
      local parts = { "/" }
      for i = 2, pick(8) do parts[i] = pieces[pick(#pieces)] end
      local path = table.concat(parts)
      local slice = cdef.slice(path) -- out may point into it
      local normal = C.gw_path_normalise(slice, true, room, out, reason) == C.GW_OK and cdef.text(out[0]) == path
      local router = routes.new { { "= " .. path } }
      assert.equal(normal, router ~= nil, path)
      if router then
        taken = taken + 1
        assert.equal("= " .. path, router:find({ path }).route)
      else
        refused = refused + 1
      end
    end
    assert.is_true(taken > 500 and refused > 500)
  end)
end)
