-- json.decode: RFC 8259 strictly, against texts, another implementation and what was written.

local cjson = require "cjson"
local json = require "gateway.json"

describe("json.decode", function()
  for _, case in ipairs {
    { "null", json.null }, { " true\n", true }, { "false", false }, { "0", 0 }, { "-1", -1 }, { "1.5", 1.5 }, { "1e3", 1000 },
    { "1E+2", 100 }, { "25e-2", 0.25 }, { "0.1", 0.1 }, { "123456789012345678", 123456789012345678 },
    { "9007199254740993", 9007199254740992 },
    { "1.7976931348623157e308", 1.7976931348623157e308 }, { "5e-324", 5e-324 }, { "1e-400", 0 }, { "3.141592653589793238", math.pi },
    { "0.000000000000000000000000000001", 1e-30 }, { '""', "" }, { '"a"', "a" }, { '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t' },
    { '"\\u0041\\u00e9\\u20AC\\ud83d\\ude00"', "Aé€😀" }, { '"\\u0000"', "\0" }, { '"é€😀"', "é€😀" }, { '"\127"', "\127" },
    { "[]", {} },
    { "{}", {} }, { "[1,[2,[3]],{}]", { 1, { 2, { 3 } }, {} } },
    { '{"a":{"b":[1,null]},"c":""}', { a = { b = { 1, json.null } }, c = "" } },
    { '{"a":1,"a":2}', { a = 2 } }, { '{"":0}', { [""] = 0 } }, { " [ 1 , 2 ] ", { 1, 2 } },
    { "[false,null,true]", { false, json.null, true } },
  } do
    it("reads " .. case[1], function()
      local value, problem = json.decode(case[1])
      assert.is_nil(problem)
      assert.same(case[2], value)
    end)
  end

  for _, case in ipairs {
    { "", "the end, where a value is expected", 1 }, { " ", "the end, where a value is expected", 2 }, { "nul", "a value that is none", 1 },
    { "[1,]", "a value that is none", 4 }, { "[1 2]", 'no "," or "]", where one is expected', 4 },
    { "[", "the end, where a value is expected", 2 },
    { "[1", 'no "," or "]", where one is expected', 3 }, { "]", "a value that is none", 1 },
    { '{"a":1,}', "no key, where one is expected", 8 },
    { '{"a"}', 'no ":" behind a key', 5 }, { '{"a":}', "a value that is none", 6 }, { "{1:2}", "no key, where one is expected", 2 },
    { '{"a":1]', 'no "," or "}", where one is expected', 7 }, { "[}", "a value that is none", 2 },
    { "{]", "no key, where one is expected", 2 },
    { "1 2", "something behind the value", 3 }, { "{}x", "something behind the value", 3 }, { "'a'", "a value that is none", 1 },
    { "01", "a number that begins with 0", 1 }, { "-", "a value that is none", 1 }, { "+1", "a value that is none", 1 },
    { ".5", "a value that is none", 1 }, { "1.", "a number without digits behind its point", 1 },
    { "1e", "a number without digits in its exponent", 1 },
    { "0x10", "something behind the value", 2 }, { "1e999", "a number beyond the range of doubles", 1 },
    { "NaN", "a value that is none", 1 },
    { "-Infinity", "a value that is none", 1 }, { '"a', "a string without its closing quote", 1 },
    { '"\n"', "a control character in a string", 2 },
    { '"\\x"', "an escape that is none", 2 }, { '"\\u12g4"', "an escape that is none", 2 }, { '"\\ud83d"', "an escape that is none", 2 },
    { '"\\ude00"', "an escape that is none", 2 }, { '"\\ud83d\\u0041"', "an escape that is none", 2 },
    { '"\\', "an escape that is none", 2 },
    { '"\255"', "bytes that are no UTF-8", 2 }, { '"\237\160\128"', "bytes that are no UTF-8", 2 },
    { '"\192\175"', "bytes that are no UTF-8", 2 },
    { "\239\187\191{}", "a value that is none", 1 }, { "// x\n1", "a value that is none", 1 }, { "[1,/**/2]", "a value that is none", 4 },
    { ("["):rep(65) .. ("]"):rep(65), "nested too deep", 65 }, { "\0", "a value that is none", 1 }, { "1" .. ("0"):rep(2000),
      "a number of more than 1000 characters", 1 },
  } do
    it(("refuses %q"):format(#case[1] > 40 and case[1]:sub(1, 40) or case[1]), function()
      assert.same({ nil, ("JSON: %s, at byte %d"):format(case[2], case[3]) }, { json.decode(case[1]) })
    end)
  end

  it("goes as deep as it is told", function()
    local text = ("["):rep(200) .. ("]"):rep(200)
    assert.is_nil((json.decode(text)))
    assert.is_table(json.decode(text, { depth = 200 }))
    assert.equal(1, json.decode("1", { depth = 0 }))
    assert.is_nil((json.decode("[]", { depth = 0 })))
    assert.has_error(function() json.decode("1", { depth = 257 }) end)
  end)

  it("refuses equal keys where it is told to", function()
    assert.same({ nil, "JSON: a key that the object has already, at byte 8" }, { json.decode('{"a":1,"a":2}', { unique = true }) })
    assert.is_nil((json.decode('{"a":1,"\\u0061":2}', { unique = true })))
    assert.same({ { a = 1, b = { a = 1 } } }, { json.decode('{"a":1,"b":{"a":1}}', { unique = true }) })
  end)

  it("keeps empty arrays apart from empty objects", function()
    assert.equal('{"a":[],"b":{}}', json.encode(json.decode '{"a":[],"b":{}}'))
  end)

  it("says a string", function() assert.has_error(function() json.decode(5) end) end)

  it("agrees with another implementation", function()
    math.randomseed(7)
    local function value(depth)
      local kind = math.random(depth > 4 and 4 or 6)
      if kind == 1 then return math.random(-1e6, 1e6) / 10 ^ math.random(0, 6) end
      if kind == 2 then return math.random() < 0.5 end
      if kind == 3 then return ("x"):rep(math.random(0, 5)) .. "é\n\"" end
      if kind == 4 then return math.random(0, 2 ^ 31) end
      local out = {}
      for i = 1, math.random(1, 5) do out[kind == 5 and i or "k" .. i] = value(depth + 1) end
      return out
    end
    for _ = 1, 300 do
      local before = value(0)
      assert.same(cjson.decode("[" .. json.encode(before) .. "]"), json.decode("[" .. json.encode(before) .. "]"))
      assert.same({ before }, json.decode("[" .. cjson.encode(before) .. "]", nil) or {}, "cjson's")
    end
  end)

  it("has strings of any length unescaped", function()
    local long = ("\\n"):rep(5000)
    assert.equal(("\n"):rep(5000), json.decode('"' .. long .. '"'))
  end)
end)
