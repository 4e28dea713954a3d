-- JSON that scripts send: checked against another implementation and by text.

local cjson = require "cjson"
local json = require "gateway.json"

describe("json", function()
  for _, case in ipairs {
    { nil, "null" }, { json.null, "null" }, { true, "true" }, { 0, "0" }, { -1, "-1" }, { 1.5, "1.5" }, { 1e20, "1e+20" }, { 0 / 0,
      "null" },
    { 1 / 0, "null" }, { "a", '"a"' }, { 'a"b\\c/\n\t\1\127', '"a\\"b\\\\c/\\n\\t\\u0001\\u007f"' }, { {}, "{}" }, { json.array(), "[]" },
    { { 1, "b", { c = true } }, '[1,"b",{"c":true}]' }, { { b = 1, a = { 2 } }, '{"a":[2],"b":1}' }, { { 1, x = 2 }, '{"1":1,"x":2}' },
    { { a = json.null }, '{"a":null}' }, { "é€😀", '"é€😀"' },
  } do
    it("says " .. case[2], function()
      assert.equal(case[2], json.encode(case[1]))
      cjson.decode("[" .. case[2] .. "]")
    end)
  end

  -- bytes that are no UTF-8
  for _, case in ipairs {
    { "\128", 1 }, { "a\255b", 1 }, { "\192\175", 2 }, { "\224\128\128", 3 }, { "\237\160\128", 3 }, { "\244\144\128\128", 4 },
      { "\226\130", 2 },
    { "\240\159\152", 3 },
  } do
    it(("replaces %d bad bytes"):format(case[2]), function()
      local _, count = json.encode(case[1]):gsub("\239\191\189", "")
      assert.equal(case[2], count)
    end)
  end

  it("refuses what JSON cannot say", function()
    assert.has_error(function() json.encode(print) end, "JSON: expected a string, a number, a boolean or a table, found a function")
    assert.has_error(function() json.encode { [true] = 1 } end, "JSON: expected strings or numbers as keys, found a boolean")
    local loop = {}
    loop.a = loop
    assert.has_error(function() json.encode(loop) end, "JSON: the table is nested more than 64 deep, or contains itself")
  end)
  it("writes numbers so that they read as the same again", function()
    for _, n in ipairs { 123456789012345678, 9007199254740991, -9007199254740991, 1234567890123456, 0.1 + 0.2, 1 / 3, 1e300, 5e-324, 0.1,
      2 ^ 63, -1e22 } do
      assert.equal(n, json.decode(json.encode(n)))
    end
    assert.same({ "1234567890123456", "0.1", "1e+300" }, { json.encode(1234567890123456), json.encode(0.1), json.encode(1e300) })
  end)
end)
