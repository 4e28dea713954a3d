-- Values against descriptions: what is let through, and every word that is said about the rest.

local check = require "gateway.check"

describe("edit distance", function()
  for _, case in ipairs {
    { "", "", 0 }, { "a", "", 1 }, { "", "abc", 3 }, { "balance", "balance", 0 }, { "ballance", "balance", 1 }, { "balnace", "balance", 1 },
    { "health", "wealth", 1 }, { "retry", "entry", 2 }, { "abc", "xyz", 3 },
  } do
    it(("%q to %q is %d"):format(case[1], case[2], case[3]), function()
      assert.equal(case[3], check.distance(case[1], case[2]))
      assert.equal(case[3], check.distance(case[2], case[1]))
    end)
  end
end)

describe("the nearest name", function()
  local known = { balance = true, timeouts = true, pool = true, host = true }
  for _, case in ipairs {
    { "ballance", "balance" }, { "timeout", "timeouts" }, { "Pool", "pool" }, { "hots", "host" }, { "x" }, { "weight" }, { "" },
    { ("x"):rep(100) }, { 5 },
  } do
    it(tostring(case[1]):sub(1, 20) .. " is " .. tostring(case[2]), function() assert.equal(case[2], check.nearest(case[1], known)) end)
  end
  it("is the first by the alphabet of equally near ones", function() assert.equal("aa", check.nearest("a", { ab = 1, aa = 1 })) end)
  it("is found in lists", function() assert.equal("GET", check.nearest("GTE", { "GET", "PUT" })) end)
end)

describe("what was found", function()
  for _, case in ipairs {
    { "text", '"text"' }, { 'a"b\n', '"a\\034b\\010"' }, { ("x"):rep(100), '"' .. ("x"):rep(57) .. '..."' }, { 5, "5" }, { true, "true" },
    { nil, "nothing" }, { {}, "a table" }, { print, "a function" },
  } do
    it("is described as " .. case[2], function() assert.equal(case[2], check.describe(case[1])) end)
  end
end)

-- description, value, what comes out, what is said
local cases = {
  { "string", "x", "x" },
  { "string", 5, nil, { "v: expected a string, found 5" } },
  { "boolean", false, false },
  { "boolean", "yes", nil, { 'v: expected true or false, found "yes"' } },
  { "integer", 0, 0 },
  { "integer", 1.5, nil, { "v: expected a whole number, found 1.5" } },
  { { type = "integer", min = 1, max = 9 }, 10, nil, { "v: expected a whole number from 1 to 9, found 10" } },
  { { type = "number", min = 0 }, -1, nil, { "v: expected a number of at least 0, found -1" } },
  { { type = "number", max = 1 }, 2, nil, { "v: expected a number of at most 1, found 2" } },
  { "number", 0 / 0, nil, { "v: expected a number, found " .. tostring(0 / 0) } },
  { "duration", "5m", 300 },
  { "duration", "soon", nil, { 'v: expected a duration (seconds, or a string such as "250ms", "30s", "5m", "1h"), found "soon"' } },
  { "size", "64KB", 65536 },
  { "size", "big", nil, { 'v: expected a size (bytes, or a string such as "64KB", "10MB"), found "big"' } },
  { { type = "enum", values = { "ip", "path" } }, "ip", "ip" },
  { { type = "enum", values = { "ip", "path" } }, "pat", nil, { 'v: expected one of "ip", "path", found "pat" (did you mean "path"?)' } },
  { { type = "list", of = "string" }, { "a", "b" }, { "a", "b" } },
  { { type = "list", of = "string" }, { "a", 5 }, { "a" }, { "v[2]: expected a string, found 5" } },
  { { type = "list" }, { a = 1 }, nil, { "v: expected a list, found a table" } },
  { { type = "map", of = "string" }, { a = "b" }, { a = "b" } },
  { { type = "map", of = "string" }, { a = 1 }, {}, { "v.a: expected a string, found 1" } },
  { { type = "map" }, { "a" }, nil, { "v: expected a map, found a list" } },
  { { type = "table", fields = { a = "string" } }, { a = "x" }, { a = "x" } },
  { { type = "table", fields = { abc = "string" } }, { abd = "x" }, {}, { 'v: unknown option "abd" (did you mean "abc"?)' } },
  { { type = "table", fields = { a = { type = "table", fields = { b = "integer" } } } }, { a = { b = "x" } }, { a = {} },
    { 'v.a.b: expected a whole number, found "x"' } },
  { { type = "function" }, print, print },
  { "any", nil, nil },
  { "strnig", 1, nil, { 'v: the schema names no known type: "strnig"' } },
}

describe("a value", function()
  for i, case in ipairs(cases) do
    it(("%d: %s"):format(i, type(case[1]) == "table" and case[1].type or case[1]), function()
      local said = {}
      local got = check.value(case[2], case[1], "v", function(message) said[#said + 1] = message end)
      assert.same(case[4] or {}, said)
      if case[3] == nil then assert.is_nil(got) else assert.same(case[3], got) end
    end)
  end
end)

describe("fields", function()
  local fields = {
    keys = { type = "map", of = "string", required = true }, header = { type = "string", default = "x-api-key" },
    list = { type = "list", default = { 1 } }, mode = { type = "enum", values = { "a" }, required = true },
  }
  local function run(given)
    local said = {}
    return check.fields(given, fields, "", function(message) said[#said + 1] = message end, "field"), said
  end

  it("get their defaults, which are never shared", function()
    local first = run { keys = {}, mode = "a" }
    local second = run { keys = {}, mode = "a" }
    assert.equal("x-api-key", first.header)
    assert.same({ 1 }, first.list)
    assert.not_equal(first.list, second.list)
  end)
  it("that are required and missing are told in the same order each time", function()
    local _, said = run {}
    assert.same({ 'field "keys" is required: expected a map, found nothing',
      'field "mode" is required: expected one of "a", found nothing' },
      said)
  end)
  it("that are unknown are told with what is near or known", function()
    local _, said = run { keys = {}, mode = "a", haeder = "x", zzz = 1 }
    assert.same({ 'unknown field "haeder" (did you mean "header"?)', 'unknown field "zzz"; known: header, keys, list, mode' }, said)
  end)
  it("without names are told", function()
    local _, said = run { "x", keys = {}, mode = "a" }
    assert.same({ 'expected named fields, found "x"' }, said)
  end)
  it("leave the given table alone", function()
    local given = { keys = { a = "b" }, mode = "a" }
    local out = run(given)
    out.keys.a = "c"
    assert.same({ keys = { a = "b" }, mode = "a" }, given)
  end)
end)

describe("header names and values", function()
  for _, case in ipairs {
    { "X-Name", true }, { "a!#$%&'*+-.^_`|~9", true }, { "", false }, { "a b", false }, { "a:", false }, { "é", false }, { "a\n",
      false }, { 5, false },
  } do
    it("name " .. check.describe(case[1]), function() assert.equal(case[2], check.header_name(case[1])) end)
  end
  for _, case in ipairs {
    { "text", true }, { "", true }, { "a\tb", true }, { "é", true }, { "a\nb", false }, { "a\rb", false }, { "a\0b", false }, { " a",
      false },
    { "a ", false }, { "\127", false }, { nil, false },
  } do
    it("value " .. check.describe(case[1]), function() assert.equal(case[2], check.header_value(case[1])) end)
  end
end)
