-- YAML into Lua values, and where things stand in the text.

local cdef = require "spec.support.cdef"

local load = assert(package.loadlib(cdef.library, "gw_yaml_load"))
local inf = math.huge

-- text -> value
local values = {
  { "a map", "a: 1\nb: two\n", { a = 1, b = "two" } },
  { "a list", "- 1\n- [2, 3]\n- {a: 4}\n", { 1, { 2, 3 }, { a = 4 } } },
  { "lists below a key, indented or not", "a:\n- 1\nb:\n  - 2\n", { a = { 1 }, b = { 2 } } },
  { "one scalar", "x", "x" },
  { "empty maps and lists", "a: {}\nb: []\n", { a = {}, b = {} } },
  { "whole numbers", "[0, 1, -2, +3, 010, 0x1F, 0o17, 9007199254740992]", { 0, 1, -2, 3, 10, 31, 15, 2 ^ 53 } },
  { "numbers with a fraction", "[1.5, .5, 5., +1.5, 1e3, -1.5E-3, 1e+2]", { 1.5, 0.5, 5, 1.5, 1000, -0.0015, 100 } },
  { "infinities", "[.inf, -.Inf, +.INF]", { inf, -inf, inf } },
  { "booleans are true and false only", "[true, True, TRUE, false, False, FALSE]", { true, true, true, false, false, false } },
  { "what YAML 1.1 took for booleans is text", "[yes, no, on, off, y, n]", { "yes", "no", "on", "off", "y", "n" } },
  { "what looks like a number and is none is text", "[1_000, 0x, 0o8, 1e, ., -, +, 1.2.3, 12:30, 0b1, '-.', .e1, 1 2]",
    { "1_000", "0x", "0o8", "1e", ".", "-", "+", "1.2.3", "12:30", "0b1", "-.", ".e1", "1 2" } },
  { "quoted scalars are text", [=[['1', "true", 'null', "", '']]=], { "1", "true", "null", "", "" } },
  { "blocks are text", "a: |\n  1\nb: >-\n  2\n  3\n", { a = "1\n", b = "2 3" } },
  { "escapes and UTF-8", [[a: "\u00e9\x00\n"]] .. "\nb: é\n", { a = "é\0\n", b = "é" } },
  { "null leaves a key out", "a: ~\nb:\nc: null\nd: Null\ne: NULL\nf: 1\n", { f = 1 } },
  { "keys are text as written", "1: a\ntrue: b\n0x10: c\n~: d\n'': e\n",
    { ["1"] = "a", ["true"] = "b", ["0x10"] = "c", ["~"] = "d", [""] = "e" } },
  { "a quoted merge key is a key", "'<<': 1\n", { ["<<"] = 1 } },
  { "tags of the core schema", "[!!str 1, !!int '2', !!float 3, !!float .inf, !!bool true, ! 4]", { "1", 2, 3, inf, true, "4" } },
  { "tags of maps and lists", "!!map {a: !!seq [1], b: !!null ~}", { a = { 1 } } },
  { "directives and one document", "%YAML 1.2\n---\na: 1\n...\n", { a = 1 } },
  { "comments", "# x\na: 1 # y\nb: a#b\n", { a = 1, b = "a#b" } },
  { "a byte order mark", "\239\187\191a: 1\n", { a = 1 } },
  { "Windows line ends", "a: 1\r\nb:\r\n  - 2\r\n", { a = 1, b = { 2 } } },
  { "32 levels", ("["):rep(32) .. ("]"):rep(32), nil },
}

local ANCHOR = 'found the anchor "&x", expected none: aliases are not supported, values are written out'
local ALIAS = 'found the alias "*x", expected the value written out (text that begins with \'*\' needs quotes)'
local TAGS = ", expected none, or one of !!str !!int !!float !!bool !!null !!map !!seq"

-- text -> message behind "routes.yaml:"
local refused = {
  { "a key given twice", "a: 1\nb: 2\n'a': 3\n", '3:1: found the key "a" again, expected it once (first at line 1)' },
  { "a key given twice, once with null", "x:\n  a:\n  a: 1\n",
    '3:3: found the key "a" again, expected it once (first at line 2)' },
  { "an anchor", "a: &x 1\n", '1:4: ' .. ANCHOR },
  { "an anchor on a map", "a: &x {}\n", '1:4: ' .. ANCHOR },
  { "an anchor on a key", "&x a: 1\n", '1:1: ' .. ANCHOR },
  { "an alias", "a: *x\n", '1:4: ' .. ALIAS },
  { "an alias as a key", "*x : 1\n", '1:1: ' .. ALIAS },
  { "a merge key", "a:\n  <<: {b: 1}\n",
    '2:3: found a merge key ("<<"), which YAML 1.2 does not have; expected the keys written out' },
  { "another tag", "a: !env X\n", '1:4: found the tag "!env"' .. TAGS },
  { "another tag on a map", "!x {}\n", '1:1: found the tag "!x"' .. TAGS },
  { "a tag that does not fit", "a: !!int x\n", '1:4: found "x", expected what the tag !!int says' },
  { "a tag of a list on a map", "a: !!seq {}\n", "1:4: found a map, expected what the tag !!seq says" },
  { "a tag of a map on a scalar", "a: !!map x\n", '1:4: found "x", expected what the tag !!map says' },
  { "a tag on a key", "!!int 1: x\n", "1:1: found a tag on a key, expected the key alone" },
  { "a list as a key", "? [a]\n: b\n", "1:3: found a list as a key, expected a name" },
  { "a map as a key", "{? {a: 1} : b}\n", "1:4: found a map as a key, expected a name" },
  { "no key", "a: 1\n?\n: 2\n", "2:2: found no key before the ':', expected a name" },
  { "null in a list", "- 1\n- ~\n", "2:3: found an empty item (null) in a list, expected a value" },
  { "nothing in a list", "- a:\n  - 1\n  -\n", "3:4: found an empty item (null) in a list, expected a value" },
  { "a second document", "a: 1\n---\nb: 1\n", "2:1: found a second document, expected one in a file" },
  { "33 levels", ("["):rep(33), "1:33: found maps and lists nested more than 32 deep, expected fewer levels" },
  { "33 levels of maps", "a: " .. ("{a: "):rep(32),
    "1:128: found maps and lists nested more than 32 deep, expected fewer levels" },
  { "a whole number that is not exact", "a: 9007199254740993\n",
    "1:4: found the number 9007199254740993, expected one up to 2^53 (put text in quotes)", },
  { "a hexadecimal one", "a: 0x20000000000001\n",
    "1:4: found the number 0x20000000000001, expected one up to 2^53 (put text in quotes)" },
  { "a number beyond all", "a: -1e999\n", "1:4: found a number that is too large, expected one below 1.8e308" },
  { "a tab", "a:\n\tb: 1\n", "2:1: found a tab, expected spaces: YAML is indented with spaces only" },
  { "a list that is not closed", "a: [1, 2\nb: 3\n",
    "2:2: did not find expected ',' or ']' (while parsing a flow sequence that begins at line 1)" },
  { "text that is not closed", 'a: "x\n',
    "2:1: found unexpected end of stream (while scanning a quoted scalar that begins at line 1)" },
  { "bad indentation", "a:\n    b: 1\n  c: 2\n",
    "3:3: did not find expected key (while parsing a block mapping that begins at line 1)" },
  { "two colons", "a: b: c\n", "1:5: mapping values are not allowed in this context" },
  { "bytes that are not UTF-8", "a: 1\nb: \255\n", "2:4: invalid leading UTF-8 octet; expected text in UTF-8" },
  { "a control character", "a: 1\nb: x\1\n", "2:5: control characters are not allowed; expected text in UTF-8" },
}

describe("yaml reads", function()
  for _, case in ipairs(values) do
    it(case[1], function()
      local value, lines = load(case[2], "routes.yaml")
      assert.is_table(lines, tostring(lines))
      if case[3] ~= nil then assert.same(case[3], value) end
    end)
  end

  it("not-a-number", function()
    local value = load("[.nan, .NaN, .NAN]", "x")
    for i = 1, 3 do assert.is_true(value[i] ~= value[i]) end
  end)

  it("nothing as nil, without a message", function()
    for _, text in ipairs { "", "\n", "# only a comment\n", "~", "---\n", "null" } do
      assert.equal(0, select("#", load(text, "x")), text)
    end
  end)

  it("the lines of maps, lists, keys and items", function()
    local text = "# first\nroutes:\n  - path: /a\n    to: users\n  -\n    path: /b\n\nempty: {}\nnone:\nx: [1,\n 2]\n"
    local value, lines = load(text, "x")
    assert.same({ [0] = 2, routes = 2, empty = 8, none = 9, x = 10 }, lines[value])
    assert.same({ [0] = 3, 3, 6 }, lines[value.routes])
    assert.same({ [0] = 3, path = 3, to = 4 }, lines[value.routes[1]])
    assert.same({ [0] = 6, path = 6 }, lines[value.routes[2]])
    assert.same({ [0] = 8 }, lines[value.empty])
    assert.same({ [0] = 10, 10, 11 }, lines[value.x])
  end)

  it("a large file in good time and whole", function()
    local parts = { "routes:\n" }
    for i = 1, 10000 do
      parts[#parts + 1] = ("  - path: /service%d/users/:id\n    methods: [GET, POST]\n"):format(i)
      parts[#parts + 1] = ("    headers: { X-Version: '%d' }\n    to: users\n"):format(i)
    end
    local value, lines = load(table.concat(parts), "x")
    assert.equal(10000, #value.routes)
    local headers = { ["X-Version"] = "777" }
    assert.same({ path = "/service777/users/:id", methods = { "GET", "POST" }, headers = headers, to = "users" },
      value.routes[777])
    assert.equal(2 + 776 * 4, lines[value.routes[777]][0])
  end)
end)

describe("yaml refuses", function()
  for _, case in ipairs(refused) do
    it(case[1], function()
      local value, message = load(case[2], "routes.yaml")
      assert.is_nil(value)
      assert.equal("routes.yaml:" .. case[3], message)
    end)
  end

  it("a text beyond 16 MB", function()
    local value, message = load(("a"):rep(16 * 1024 * 1024 + 1), "routes.yaml")
    assert.is_nil(value)
    assert.equal("routes.yaml:1:1: found 16777217 bytes, expected at most 16777216", message)
  end)

  it("what is no text", function()
    assert.has_error(function() load({}, "x") end)
    assert.has_error(function() load("a: 1") end)
  end)
end)
