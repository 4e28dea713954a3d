-- Schemas: what a config becomes, what is said about a wrong one, and what about a wrong schema.

local schema = require "gateway.schema"

-- Config against fields: the result, the reports and the warnings.
local function read(plugin, config)
  if not plugin.schema then plugin = { schema = plugin } end
  local reports, warnings = {}, {}
  local compiled = schema.compile(plugin, function(message) error("schema: " .. message) end)
  local good = schema.read(compiled, config, {
    report = function(message) reports[#reports + 1] = message end, warn = function(message) warnings[#warnings + 1] = message end,
  })
  return good, reports, warnings, compiled
end

describe("a config is made", function()
  for _, case in ipairs {
    { "of every scalar type", { s = "string", i = "integer", n = "number", b = "boolean", d = "duration", z = "size" },
      { s = "x", i = 5, n = 0.5, b = false, d = "250ms", z = "64KB" }, { s = "x", i = 5, n = 0.5, b = false, d = 0.25, z = 65536 } },
    { "with defaults, also of tables", { a = { type = "duration", default = "5s" }, b = { type = "boolean", default = false },
      c = { type = "record", default = {}, fields = { d = { type = "integer", default = 3 } } } }, {},
      { a = 5, b = false, c = { d = 3 } } },
    { "with a default that is made", { id = { type = "string", default = function() return "made" end } }, {}, { id = "made" } },
    { "without a table that was not given", { c = { fields = { d = { type = "integer", default = 3 } } } }, {}, {} },
    { "of an enum", { a = { one_of = { "x", 5, true } }, b = { type = "enum", values = { "y" } } },
      { a = 5, b = "y" }, { a = 5, b = "y" } },
    { "of lists and maps", { l = { type = "list", of = "duration" }, m = { type = "map", of = { type = "list", of = "integer" } } },
      { l = { "1m", 2 }, m = { ["a b"] = { 1 } } }, { l = { 60, 2 }, m = { ["a b"] = { 1 } } } },
    { "of a union", { a = { any_of = { "integer", { type = "list", of = "integer" } } } }, { a = { 1, 2 } }, { a = { 1, 2 } } },
    { "of any table", { a = { type = "table" }, b = "any" }, { a = { x = { 1 } }, b = { 2 } }, { a = { x = { 1 } }, b = { 2 } } },
    { "of addresses", { a = { type = "list", of = "cidr" } },
      { a = { "10.0.0.0/8", "127.0.0.1", "::1", "2001:db8::/32", "::ffff:10.0.0.1", "1:2:3:4:5:6:7:8", "fe80::1:2/64", "::" } },
      { a = { "10.0.0.0/8", "127.0.0.1", "::1", "2001:db8::/32", "::ffff:10.0.0.1", "1:2:3:4:5:6:7:8", "fe80::1:2/64", "::" } } },
    { "of URLs", { a = { type = "list", of = "url" } },
      { a = { "http://a", "https://a.example:8443/x?y=z#f", "http://[::1]:80/", "HTTP://user:word@host/" } },
      { a = { "http://a", "https://a.example:8443/x?y=z#f", "http://[::1]:80/", "HTTP://user:word@host/" } } },
    { "of a former name", { new = { type = "integer", renamed_from = { "old", "older" } } }, { older = 5 }, { new = 5 } },
  } do
    it(case[1], function()
      local good, reports = read(case[2], case[3])
      assert.same({}, reports)
      assert.same(case[4], good)
    end)
  end

  it("with defaults that nobody shares", function()
    local fields = { a = { type = "list", default = { 1 } } }
    local first = read(fields, {})
    first.a[1] = 2
    assert.same({ 1 }, read(fields, {}).a)
  end)

  it("and a function stays one", function()
    local default = function() end
    assert.equal(default, read({ f = { type = "function", default = default } }, {}).f)
  end)
end)

local users = { keys = { type = "map", of = "string", secret = true }, tag = { type = "string", secret = true, pattern = "^%d+$" } }

local rule = { type = "list", of = { fields = { status = { type = "integer", min = 100, max = 599, required = true },
  path = { type = "string", min_len = 1, pattern = "^/" } } } }

describe("a config is refused:", function()
  for _, case in ipairs {
    { { a = "string" }, { a = 5 }, "a: expected a string, found 5" },
    { { a = "integer" }, { a = "5" }, 'a: expected a whole number, found "5"' },
    { { a = { type = "integer", min = 1 } }, { a = 0 }, "a: expected a whole number of at least 1, found 0" },
    { { a = { type = "number", min = 0, max = 1 } }, { a = 1.5 }, "a: expected a number from 0 to 1, found 1.5" },
    { { a = { type = "duration", max = 60 } }, { a = "2m" },
      'a: expected a duration (seconds, or a string such as "250ms", "30s", "5m", "1h") of at most 60, found "2m"' },
    { { a = { type = "string", min_len = 2, max_len = 3 } }, { a = "x" }, 'a: expected a string of 2 to 3 bytes, found "x"' },
    { { a = { type = "string", min_len = 2, max_len = 2 } }, { a = "x" }, 'a: expected a string of exactly 2 bytes, found "x"' },
    { { a = { one_of = { "strict", "loose" } } }, { a = "strcit" },
      'a: expected one of "strict", "loose", found "strcit" (did you mean "strict"?)' },
    { { a = { type = "integer", one_of = { 1, 2 } } }, { a = 3 }, "a: expected one of 1, 2, found 3" },
    { { rules = rule }, { rules = { { status = 200 }, { status = 99, path = "x" } } },
      'rules[2].path: expected a string of at least 1 byte that matches the pattern ^/, found "x"',
      "rules[2].status: expected a whole number from 100 to 599, found 99" },
    { { rules = rule }, { rules = { {} } },
      'rules[1]: field "status" is required: expected a whole number from 100 to 599, found nothing' },
    { { rules = rule }, { rules = { 5 } }, "rules[1]: expected a table with the fields path, status, found 5" },
    { { rules = rule }, { rules = { status = 5 } }, "rules: expected a list of tables, found a table" },
    { { rules = rule }, { rules = { { status = 200, pth = "/" } } }, 'rules[1]: unknown field "pth" (did you mean "path"?)' },
    { { a = { type = "list", max_items = 1 } }, { a = { 1, 2 } }, "a: expected a list of at most 1 item, found a list (it has 2)" },
    { { a = { type = "list", of = "string", unique = true } }, { a = { "x", "y", "x" } },
      'a[3]: expected each item once, found "x" again (it is also item 1)' },
    { { a = { type = "map", of = "integer", keys = { type = "string", pattern = "^%l+$" } } }, { a = { B = 1, ["c d"] = "x" } },
      'a: key: expected a string that matches the pattern ^%l+$, found "B"',
      'a: key: expected a string that matches the pattern ^%l+$, found "c d"', 'a["c d"]: expected a whole number, found "x"' },
    { { a = { type = "map" } }, { a = { 1 } }, "a: expected a map, found a list" },
    { { a = { any_of = { "integer", { type = "list", of = "integer" } } } }, { a = "x" },
      'a: expected a whole number, or a list of whole numbers, found "x"' },
    { { a = { any_of = { "integer", { type = "list", of = "integer" } } } }, { a = { "x" } }, 'a[1]: expected a whole number, found "x"' },
    { { a = "cidr" }, { a = "10.0.0.0/33" },
      'a: expected an address or a CIDR block such as "10.0.0.0/8" or "2001:db8::/32", found "10.0.0.0/33"' },
    { { a = { type = "url", schemes = { "redis" } } }, { a = "http://x" },
      'a: expected a URL such as "redis://host/path", found "http://x"' },
    { { a = "upstream" }, { a = 5 }, "a: expected an upstream (gateway.upstream ...) or the name of one, found 5" },
    { { a = "function" }, { a = "x" }, 'a: expected a function, found "x"' },
    { { a = { type = "string", check = function(v) if v == "no" then return "not this one" end end } }, { a = "no" }, "a: not this one" },
    { { a = { type = "string", check = function() error("broken", 0) end } }, { a = "x" }, "a: check failed: broken" },
    { { a = { type = "string", check = function() return {} end } }, { a = "x" },
      "a: check returned a table: expected nothing, or a message" },
    { { new = { type = "integer", renamed_from = "old" } }, { old = 1, new = 2 },
      'field "old" is the former name of "new": expected one of them, found both' },
    { { a = "string" }, { [1] = "x" }, 'expected a table with the fields a, found a list' },
    { users, { keys = { abc = 5 }, tag = "hello" },
      "keys.(secret): expected a string, found a number (secret)",
      "tag: expected a string that matches the pattern ^%d+$, found a string (secret)" },
    { { schema = { a = "string", b = "string" }, exclusive = { "a", "b" } }, { a = "x", b = "y" },
      'expected at most one of the fields "a" and "b", found "a" and "b"' },
    { { schema = { a = "string", b = "string" }, one_required = { { "a", "b" } } }, {},
      'expected at least one of the fields "a" and "b", found none' },
    { { schema = { a = "string", b = "string", c = "string" }, together = { "a", "b", "c" } }, { a = "x" },
      'expected the fields "a", "b", "c" together or not at all, found only "a"' },
    { { schema = { a = "integer", b = "integer" }, check = function(c) if c.a > c.b then return "a", "expected at most b" end end },
      { a = 2, b = 1 }, "a: expected at most b" },
    { { schema = { a = "integer" }, check = function() return nil, "never" end }, { a = 2 }, "never" },
    { { schema = { t = { type = "string", secret = true } }, check = function(c) return "no " .. c.t end }, { t = "hush" }, "no (secret)" },
  } do
    it(case[3], function()
      local _, reports = read(case[1], case[2])
      assert.same({ unpack(case, 3) }, reports)
    end)
  end

  for _, address in ipairs { "", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4/", "1.2.3.4/1000", ":::", "1::2::3", "1:2:3:4:5:6:7", "12345::",
    "1:2:3:4:5:6:7:8:9", "::1.2.3", "1.2.3.4::", "::/129", "g::" } do
    it("the address " .. address, function() assert.equal(1, #select(2, read({ a = "cidr" }, { a = address }))) end)
  end

  for _, url in ipairs { "", "a", "http://",
    "//a", "http://a b", "http://a:0", "http://a:65536", "http://a:x", "ftp://a", "http://[1::2::3]/",
    "http://[::1", "http:///x", "http://a\n" } do
    it("the URL " .. url, function() assert.equal(1, #select(2, read({ a = "url" }, { a = url }))) end)
  end
end)

it("warnings name what is old", function()
  local _, reports, warnings = read({ a = { type = "integer", renamed_from = "b" }, c = { type = "integer", deprecated = "use a" },
    d = { type = "integer", deprecated = true } }, { b = 1, c = 2, d = 3 })
  assert.same({}, reports)
  assert.same({ 'field "b" is now called "a"', 'field "c" is deprecated: use a', 'field "d" is deprecated' }, warnings)
end)

describe("a schema is refused:", function()
  for _, case in ipairs {
    { 5, "schema: expected a table from names to fields, found 5" },
    { { "string" }, "schema: expected names of fields, found 1" },
    { { a = 5 }, 'schema.a: expected a type such as "string", or a table such as { type = "string" }, found 5' },
    { { a = "strng" }, 'schema.a: unknown type "strng" (did you mean "string"?)' },
    { { a = {} }, 'schema.a: type is required: expected a type such as "string", found nothing' },
    { { a = { type = 5 } }, "schema.a: type: expected the name of a type, found 5" },
    { { a = { type = "string", defualt = "x" } }, 'schema.a: unknown keyword "defualt" (did you mean "default"?)' },
    { { a = { type = "string", min_items = 1 } }, 'schema.a: min_items goes with the types list, map, found it beside type = "string"' },
    { { a = { type = "string", required = "yes" } }, 'schema.a: required: expected true or false, found "yes"' },
    { { a = { type = "string", default = 5 } }, "schema.a: default: expected a string, found 5" },
    { { a = { type = "list", of = "integer", default = { "x" } } }, 'schema.a: default[1]: expected a whole number, found "x"' },
    { { a = { type = "string", required = true, default = "x" } },
      "schema.a: expected either required or default, found both: a field with a default is never missing" },
    { { a = { type = "integer", min = 5, max = 1 } }, "schema.a: min: expected at most max = 1, found 5" },
    { { a = { type = "string", pattern = "(" } }, 'schema.a: pattern: expected a Lua pattern, found "(" (unfinished capture)' },
    { { a = "enum" }, "schema.a: one_of is required: expected a list of the allowed values, found nothing" },
    { { a = "union" }, "schema.a: any_of: expected a list of two types or more, found nothing" },
    { { a = { any_of = { "string", "nmuber" } } }, 'schema.a.any_of[2]: unknown type "nmuber" (did you mean "number"?)' },
    { { a = { type = "list", of = "x" } }, "schema.a.of: unknown type \"x\"; known: any, boolean, cidr, duration, enum, function, integer, "
      .. "list, map, number, record, regex, size, string, union, upstream, url" },
    { { a = { type = "string", renamed_from = "b" }, b = "string" },
      'schema.a: renamed_from: expected a name that nothing has any more, found "b"' },
    { { a = { fields = { b = "string" }, exclusive = { "b", "c" } } }, 'schema.a: exclusive: unknown field "c"; known: b' },
    { { a = { fields = { b = "string" }, exclusive = "b" } },
      'schema.a: exclusive: expected fields such as { "a", "b" }, or a list of such lists, found "b"' },
    { { a = { type = "record", exclusive = { "b", "c" } } }, "schema.a: exclusive: expected fields beside it, found none" },
  } do
    it(case[2], function()
      local reports = {}
      schema.compile({ schema = case[1] }, function(message) reports[#reports + 1] = message end)
      assert.same({ case[2] }, reports)
    end)
  end
end)

it("secrets are hidden in what is shown, and nothing else is", function()
  local fields = { a = { type = "string", secret = true }, b = { type = "list", of = { fields = { c = { type = "string", secret = true },
    d = "string" } } }, e = { any_of = { "integer", { type = "string", secret = true } } } }
  local good, _, _, compiled = read(fields, { a = "x", b = { { c = "y", d = "z" } }, e = "w" })
  assert.same({ a = "?", b = { { c = "?", d = "z" } }, e = "?" }, schema.shown(compiled, good, function() return "?" end))
end)
