-- gateway.json_schema: each keyword on values that are good and bad (after the examples of draft 2020-12), schemas that are none, and
-- bounds.

local json = require "gateway.json"
local json_schema = require "gateway.json_schema"

-- A schema, values that it takes, and values that it does not, all as JSON.
local cases = {
  { "type", '{"type":"integer"}', { "1", "-3", "1.0", "1e3" }, { "1.5", '"1"', "null", "true", "[]", "{}" } },
  { "types", '{"type":["string","null"]}', { '""', "null" }, { "0", "[]" } },
  { "object", '{"type":"object"}', { "{}", '{"a":1}' }, { "[]", "[1]", "null", '"{}"' } },
  { "array", '{"type":"array"}', { "[]", "[{}]" }, { "{}", "null" } },
  { "enum", '{"enum":["red",null,42,{"a":[1]}]}', { '"red"', "null", "42", '{"a":[1]}' },
    { "0", '"Red"', '{"a":[2]}', '{"a":[1],"b":1}' } },
  { "const", '{"const":{"foo":"bar"}}', { '{"foo":"bar"}' }, { "{}", '["foo","bar"]', "null" } },
  { "const null", '{"const":null}', { "null" }, { "0", "false", '""' } },
  { "const false", '{"const":false}', { "false" }, { "null", "0" } },
  { "properties", '{"properties":{"foo":{"type":"integer"},"bar":{"type":"string"}}}', { "{}", '{"foo":1,"x":[]}', "[]", "12" },
    { '{"foo":"1"}', '{"bar":1}' } },
  { "required", '{"required":["foo"]}', { '{"foo":null}', "[]", "1" }, { "{}", '{"bar":1}' } },
  { "additionalProperties", '{"properties":{"foo":{}},"patternProperties":{"^v":{"type":"integer"}},"additionalProperties":false}',
    { '{"foo":1}', '{"v1":2}', "{}" }, { '{"foo":1,"x":2}', '{"v1":"2"}' } },
  { "additionalProperties as schema", '{"additionalProperties":{"type":"boolean"}}', { '{"a":true}' }, { '{"a":1}' } },
  { "propertyNames", '{"propertyNames":{"maxLength":3}}', { '{"foo":{}}' }, { '{"foobar":{}}' } },
  { "minProperties", '{"minProperties":1}', { '{"a":1}', "[]", '""' }, { "{}" } },
  { "maxProperties", '{"maxProperties":1}', { '{"a":1}', "{}" }, { '{"a":1,"b":2}' } },
  { "dependentRequired", '{"dependentRequired":{"card":["address"]}}', { "{}", '{"card":1,"address":2}' }, { '{"card":1}' } },
  { "items", '{"items":{"type":"integer"}}', { "[]", "[1,2]", "{}" }, { '[1,"x"]' } },
  { "items false", '{"items":false}', { "[]" }, { "[1]" } },
  { "prefixItems", '{"prefixItems":[{"type":"integer"},{"type":"string"}]}', { "[]", "[1]", '[1,"a"]', '[1,"a",{}]' },
    { '["a"]', "[1,1]" } },
  { "prefixItems and items", '{"prefixItems":[{"type":"integer"}],"items":{"type":"string"}}', { '[1,"a"]' }, { "[1,2]" } },
  { "contains", '{"contains":{"const":5},"minContains":2,"maxContains":3}', { "[5,5]", "[5,1,5,5]" }, { "[5]", "[5,5,5,5]", "[]" } },
  { "minItems", '{"minItems":1}', { "[1]", "{}" }, { "[]" } }, { "maxItems", '{"maxItems":2}', { "[1,2]" }, { "[1,2,3]" } },
  { "uniqueItems", '{"uniqueItems":true}', { "[1,2]", '[1,"1"]', "[[1],[2]]", "[1,true]", '[{"a":1,"b":2},{"a":2,"b":1}]' },
    { "[1,1]", "[1,1.0]", '[{"a":1,"b":2},{"b":2,"a":1}]', "[null,null]" } },
  { "minimum", '{"minimum":1.1}', { "1.1", "2", '"x"' }, { "0.6" } }, { "maximum", '{"maximum":3}', { "3" }, { "3.5" } },
  { "exclusiveMinimum", '{"exclusiveMinimum":1}', { "1.01" }, { "1" } }, { "exclusiveMaximum", '{"exclusiveMaximum":3}', { "2.9" },
    { "3" } },
  { "multipleOf", '{"multipleOf":0.01}', { "4.02", "0.07", "1", '"x"' }, { "0.0075", "4.025" } },
  { "minLength", '{"minLength":2}', { '"fo"', '"é€"', "1" }, { '"f"', '"é"' } },
  { "maxLength", '{"maxLength":2}', { '"fo"', '"😀😀"' }, { '"foo"' } },
  { "pattern", '{"pattern":"^a*$"}', { '"aaa"', "1" }, { '"abc"' } }, { "pattern anywhere", '{"pattern":"a+"}', { '"xxaayy"' }, { '"x"' } },
  { "allOf", '{"allOf":[{"required":["a"]},{"required":["b"]}]}', { '{"a":1,"b":1}' }, { '{"a":1}', '{"b":1}' } },
  { "anyOf", '{"anyOf":[{"type":"integer"},{"minimum":2}]}', { "1", "2.5", "3" }, { "1.5" } },
  { "oneOf", '{"oneOf":[{"type":"integer"},{"minimum":2}]}', { "1", "2.5" }, { "3", "1.5" } },
  { "not", '{"not":{"type":["integer","boolean"]}}', { '"a"', "1.5" }, { "1", "true" } },
  { "if", '{"if":{"properties":{"k":{"const":"a"}},"required":["k"]},"then":{"required":["x"]},"else":{"required":["y"]}}',
    { '{"k":"a","x":1}', '{"k":"b","y":1}' }, { '{"k":"a","y":1}', "{}" } },
  { "$ref", '{"$defs":{"pos/~int":{"exclusiveMinimum":0}},"properties":{"n":{"$ref":"#/$defs/pos~1~0int"}}}', { '{"n":1}' },
    { '{"n":0}' } },
  { "a recursive $ref", '{"properties":{"next":{"$ref":"#"},"v":{"type":"integer"}},"additionalProperties":false}',
    { '{"v":1,"next":{"v":2,"next":{}}}' }, { '{"next":{"next":{"v":"x"}}}', '{"next":{"bar":1}}' } },
  { "$ref beside others", '{"$defs":{"a":{"type":"string"}},"$ref":"#/$defs/a","minLength":2}', { '"ab"' }, { '"a"', "5" } },
  { "true", "true", { "1", "null", "{}" }, {} }, { "false", "false", {}, { "1", "null", "{}" } }, { "nothing", "{}", { "1", "null" }, {} },
  { "descriptions", '{"title":"t","description":"d","x-ours":1,"$schema":"s","default":0}', { "1" }, {} },
  { "date-time", '{"format":"date-time"}', { '"1963-06-19T08:30:06.283185Z"', '"1990-12-31T23:59:60+01:30"', "5" },
    { '"1963-06-19"', '"1963-13-19T08:30:06Z"', '"1963-06-19T25:30:06Z"', '"1963-06-19T08:30:06"' } },
  { "date", '{"format":"date"}', { '"2020-02-29"', '"2000-02-29"' }, { '"2021-02-29"', '"1900-02-29"', '"2020-2-9"', '"2020-04-31"' } },
  { "email", '{"format":"email"}', { '"joe.bloggs@example.com"' }, { '"2962"', '".a@b.c"', '"a..b@c.d"', '"a@-b.c"', '"a b@c.d"' } },
  { "ipv4", '{"format":"ipv4"}', { '"192.168.0.1"' }, { '"127.0.0.0.1"', '"256.1.1.1"', '"127.0"', '"087.10.0.1"', '"1.2.3.4:80"' } },
  { "ipv6", '{"format":"ipv6"}', { '"::1"', '"2001:db8::ff"', '"::ffff:1.2.3.4"' },
    { '"12345::"', '"1:1:1:1:1:1:1:1:1"', '"::laptop"', '"[::1]"',
    '"1.2.3.4:80"', '"1.2.3.4"' } },
  { "uuid", '{"format":"uuid"}', { '"2EB8AA08-AA98-11EA-B4AA-73B441D16380"' },
    { '"2eb8aa08-aa98-11ea-b4aa-73b441d1638"', '"2eb8aa08aa9811eab4aa73b441d16380"' } },
  { "uri", '{"format":"uri"}', { '"http://foo.bar/?q=Test%20URL-encoded#x"', '"urn:oasis:names"' },
    { '"//foo.bar"', '"/abc"', '"\\\\\\\\x"', '"http:// x"',
    '"http://a/%zz"' } },
  { "hostname", '{"format":"hostname"}', { '"www.example.com"', '"xn--4gbwdl.xn--wgbh1c"' }, { '"-a.b"', '"a_b"', '"a..b"', '""' } },
  { "time", '{"format":"time"}', { '"08:30:06Z"', '"08:30:06.5-03:00"' }, { '"08:30"', '"8:30:06Z"' } },
  { "regex", '{"format":"regex"}', { '"(a|b)"' }, { '"^(abc]"' } },
}

local function compile(schema)
  if type(schema) == "string" then schema = json.decode(schema) end
  local compiled, problem = json_schema.compile(schema)
  return assert(compiled, problem)
end

local function value_of(text)
  local value, problem = json.decode(text)
  assert.is_nil(problem)
  return value
end

describe("a JSON Schema", function()
  for _, case in ipairs(cases) do
    it("with " .. case[1], function()
      local schema = compile(case[2])
      for _, text in ipairs(case[3]) do
        local good, errors = schema:validate(value_of(text))
        assert.message(text .. " " .. json.encode(errors)).is_true(good)
      end
      for _, text in ipairs(case[4]) do
        local good, errors = schema:validate(value_of(text))
        assert.message(text).is_false(good)
        assert.message(text).is_true(#errors > 0)
      end
    end)
  end

  it("says what is wrong, and where", function()
    local schema = compile { type = "object", required = { "id", "name" }, additionalProperties = false, properties = {
      id = { type = "integer", minimum = 1 }, name = { type = "string", minLength = 1, pattern = "^\\w+$" },
      ["a/b~c"] = { items = { properties = { x = { enum = { "one", 2 } } } } }, tags = { uniqueItems = true, maxItems = 2 },
    } }
    local good, errors = schema:validate(value_of '{"id":"secret","extra":1,"a/b~c":[{},{"x":"three"}],"tags":[1,2,1]}')
    assert.is_false(good)
    assert.same({
      { pointer = "", keyword = "additionalProperties", message = '"extra" is not known here' },
      { pointer = "", keyword = "required", message = '"name" is missing' },
      { pointer = "/a~1b~0c/1/x", keyword = "enum", message = 'expected one of "one", 2' },
      { pointer = "/id", keyword = "type", message = "expected an integer, found a string" },
      { pointer = "/tags", keyword = "maxItems", message = "expected at most 2 items, found 3" },
      { pointer = "/tags", keyword = "uniqueItems", message = "the items 0 and 2 are equal" },
    }, errors)
  end)

  it("tells twenty errors at most", function()
    local _, errors = compile('{"items":{"type":"string"}}'):validate(value_of("[" .. ("1,"):rep(100) .. "1]"))
    assert.equal(20, #errors)
  end)

  it("gives up where a $ref has no end", function()
    for _, text in ipairs { '{"$ref":"#"}', '{"not":{"$ref":"#"}}', '{"anyOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"$ref":"#"}}}' } do
      local good, errors = compile(text):validate(1)
      assert.is_false(good)
      assert.equal("$ref", errors[#errors].keyword)
    end
  end)

  it("gives up where a pattern takes too long", function()
    local good, errors = compile('{"pattern":"(a+)+$"}'):validate(("a"):rep(5000) .. "b")
    assert.is_false(good)
    assert.equal("the match was given up: it would take too long", errors[1].message)
  end)

  for _, case in ipairs {
    { '{"type":"strnig"}', '/type: unknown type "strnig" (did you mean "string"?)' },
    { '{"requird":["a"]}', 'the schema: unknown keyword "requird" (did you mean "required"?)' },
    { '{"required":"a"}', '/required: expected a list of strings, found "a"' },
    { '{"enum":[]}', "/enum: expected a list of at least one item, found a table" },
    { '{"minimum":"1"}', '/minimum: expected a number, found "1"' },
    { '{"maxLength":-1}', "/maxLength: expected a whole number from 0 on, found -1" },
    { '{"multipleOf":0}', "/multipleOf: expected a number above 0, found 0" },
    { '{"properties":{"a":{"pattern":"("}}}', "/properties/a/pattern: missing closing parenthesis, at its end" },
    { '{"items":[{}]}', "/items: a list of schemas is called prefixItems" }, { '{"$ref":"#/$defs/x"}', '/$ref: "#/$defs/x" is not there' },
    { '{"$ref":"http://x/y"}', '/$ref: expected "#..." within the same schema, found "http://x/y"' },
    { '{"format":"emial"}', '/format: unknown format "emial" (did you mean "email"?)' }, { "5", "the schema: expected a schema, found 5" },
    { '{"then":{}}', '/then: has no meaning without "if"' },
    { '{"anyOf":{}}', "/anyOf: expected a list of at least one item, found a table" },
    { '{"properties":[1]}', "/properties: expected an object, found a list" }, { '{"not":5}', "/not: expected a schema, found 5" },
  } do
    it("is refused: " .. case[1], function()
      assert.same({ nil, case[2] }, { json_schema.compile(json.decode(case[1])) })
    end)
  end
end)
