-- JSON Schema (draft 2020-12), the part that bodies of requests need, compiled once into closures:
--
--     local order, problem = json_schema.compile { type = "object", required = { "id" }, properties = { id = { type = "integer" } } }
--     local good, errors = order:validate(json.decode(body))         -- errors: { { pointer = "/id", keyword = "type", message = ... } }
--
-- Understood: type enum const; properties patternProperties additionalProperties propertyNames required dependentRequired minProperties
-- maxProperties; items prefixItems contains minContains maxContains minItems maxItems uniqueItems; minimum maximum exclusiveMinimum
-- exclusiveMaximum multipleOf; minLength maxLength pattern format; allOf anyOf oneOf not, if then else; $ref within the document, $defs.
-- Other keywords are errors, so that none is silently without effect; words that only describe are passed over. Messages never hold the
-- value that is wrong. Patterns are PCRE2's; a match that would take too long is an error of the value.

local check = require "gateway.check"
local formats = require "gateway.json_formats"
local json = require "gateway.json"
local regex = require "gateway.regex"

local json_schema = {}

local DEPTH_MOST = 128   -- of schemas within schemas at work, which a $ref can make endless
local ERRORS_MOST = 20   -- that one validation tells

-- ---- values ----

local function is_array(value)
  return type(value) == "table" and value ~= json.null and (value[1] ~= nil or getmetatable(value) == json.array_metatable)
end

local function is_object(value)
  return type(value) == "table" and value ~= json.null and not is_array(value)
end

local tests = {
  object = is_object, array = is_array,
  string = function(value) return type(value) == "string" end,
  number = function(value) return type(value) == "number" end,
  integer = function(value) return type(value) == "number" and value % 1 == 0 end,
  boolean = function(value) return type(value) == "boolean" end,
  null = function(value) return value == nil or value == json.null end,
}
local articles = {
  object = "an object", array = "an array", string = "a string", number = "a number", integer = "an integer", boolean = "true or false",
  null = "null",
}

local function kind_of(value)
  for _, name in ipairs { "object", "array", "string", "boolean", "null", "integer" } do
    if tests[name](value) then return articles[name] end
  end
  return articles.number
end

local function equal(a, b)
  if a == nil then a = json.null end
  if b == nil then b = json.null end
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" or a == json.null or b == json.null or is_array(a) ~= is_array(b) then return false end
  for key, value in pairs(a) do
    if b[key] == nil or not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- Characters of UTF-8.
local function length(text)
  if not text:find("[\128-\255]") then return #text end
  local _, count = text:gsub("[^\128-\191]", "")
  return count
end

-- ---- errors ----

local function pointer_of(path, top)
  local out = {}
  for i = 1, top do out[i] = "/" .. tostring(path[i]):gsub("~", "~0"):gsub("/", "~1") end
  return table.concat(out)
end

-- Always false, for the checks' convenience. Within anyOf and the like nothing is noted.
local function wrong(context, keyword, message)
  if context.quiet == 0 and #context.errors < ERRORS_MOST then
    table.insert(context.errors, { pointer = pointer_of(context.path, context.top), keyword = keyword, message = message })
  end
  return false
end

-- What is inside of the value, under that name.
local function inside(context, name, f, value)
  local top = context.top + 1
  context.top = top
  context.path[top] = name
  local good = f(value, context)
  context.top = top - 1
  return good
end

local function quietly(context, f, value)
  context.quiet = context.quiet + 1
  local good = f(value, context)
  context.quiet = context.quiet - 1
  return good
end

-- ---- what is wrong with a schema ----

local function refuse(at, message) error({ problem = ("%s: %s"):format(at == "" and "the schema" or at, message) }, 0) end

local function need(what, good, value, at)
  if not good then refuse(at, ("expected %s, found %s"):format(what, check.describe(value))) end
end

local function need_count(value, at)
  need("a whole number from 0 on", type(value) == "number" and value % 1 == 0 and value >= 0, value, at)
end

local function is_list(value)
  return check.is_list(value) or type(value) == "table" and getmetatable(value) == json.array_metatable
end

local function need_list(value, at)
  need("a list of at least one item", is_list(value) and #value > 0, value, at)
end

local function need_names(value, at)
  need("a list of strings", is_list(value), value, at)
  for _, name in ipairs(value) do need("a string", type(name) == "string", name, at) end
end

local function need_map(value, at)
  need("an object", type(value) == "table" and value ~= json.null and value[1] == nil, value, at)
  for key in pairs(value) do need("strings as keys", type(key) == "string", key, at) end
end

local function pattern_of(text, at)
  need("a regular expression", type(text) == "string", text, at)
  local compiled, problem = regex.compile(text, "u")
  if not compiled then refuse(at, problem) end
  return compiled
end

-- ---- keywords: function(schema, at, compile) → function(value, context), or nil when another keyword does it ----

local keywords = {}

function keywords.type(schema, at)
  local names = schema.type
  if type(names) == "string" then names = { names } end
  need_list(names, at)
  for _, name in ipairs(names) do
    if not tests[name] then refuse(at, check.unknown("type", name, tests)) end
  end
  local said = {}
  for i, name in ipairs(names) do said[i] = articles[name] end
  local expected = table.concat(said, " or ")
  local first = #names == 1 and tests[names[1]]
  return function(value, context)
    if first then
      if first(value) then return true end
    else
      for _, name in ipairs(names) do
        if tests[name](value) then return true end
      end
    end
    return wrong(context, "type", ("expected %s, found %s"):format(expected, kind_of(value)))
  end
end

local function said_value(value)
  local good, text = pcall(json.encode, value)
  return good and #text <= 60 and text or kind_of(value)
end

function keywords.enum(schema, at)
  need_list(schema.enum, at)
  local said = {}
  for i, one in ipairs(schema.enum) do said[i] = said_value(one) end
  local expected = "expected one of " .. table.concat(said, ", ")
  return function(value, context)
    for _, one in ipairs(schema.enum) do
      if equal(one, value) then return true end
    end
    return wrong(context, "enum", expected)
  end
end

function keywords.const(schema)
  local expected = "expected " .. said_value(schema.const)
  return function(value, context) return equal(schema.const, value) or wrong(context, "const", expected) end
end

-- Objects.

function keywords.required(schema, at)
  need_names(schema.required, at)
  return function(value, context)
    if not is_object(value) then return true end
    local good = true
    for _, name in ipairs(schema.required) do
      if value[name] == nil then good = wrong(context, "required", ("%s is missing"):format(check.describe(name))) end
    end
    return good
  end
end

function keywords.dependentRequired(schema, at)
  need_map(schema.dependentRequired, at)
  for name, list in pairs(schema.dependentRequired) do need_names(list, at .. "/" .. name) end
  return function(value, context)
    if not is_object(value) then return true end
    local good = true
    for name, list in pairs(schema.dependentRequired) do
      for _, other in ipairs(value[name] ~= nil and list or {}) do
        if value[other] == nil then
          good = wrong(context, "dependentRequired", ("%s is missing, which %s needs"):format(check.describe(other), check.describe(name)))
        end
      end
    end
    return good
  end
end

-- properties, patternProperties and additionalProperties at once: the last depends on the others.
local function compile_members(schema, at, compile)
  local named, patterns = {}, {}
  if schema.properties ~= nil then
    need_map(schema.properties, at .. "/properties")
    for name, one in pairs(schema.properties) do named[name] = compile(one, ("%s/properties/%s"):format(at, name)) end
  end
  if schema.patternProperties ~= nil then
    need_map(schema.patternProperties, at .. "/patternProperties")
    for text, one in pairs(schema.patternProperties) do
      local here = ("%s/patternProperties/%s"):format(at, text)
      patterns[#patterns + 1] = { pattern_of(text, here), compile(one, here) }
    end
  end
  local others = schema.additionalProperties
  local other = others ~= nil and others ~= true and compile(others, at .. "/additionalProperties") or nil
  return function(value, context)
    if not is_object(value) then return true end
    local good = true
    for name, member in pairs(value) do
      local f, known = named[name], named[name] ~= nil
      if f and not inside(context, name, f, member) then good = false end
      for _, pattern in ipairs(patterns) do
        local matches, problem = pattern[1]:test(tostring(name))
        if problem then good = wrong(context, "patternProperties", "a name could not be looked at: " .. problem) end
        if matches then
          known = true
          if not inside(context, name, pattern[2], member) then good = false end
        end
      end
      if not known and other then
        if others == false then
          good = wrong(context, "additionalProperties", ("%s is not known here"):format(check.describe(name)))
        elseif not inside(context, name, other, member) then
          good = false
        end
      end
    end
    return good
  end
end

function keywords.properties(schema, at, compile) return compile_members(schema, at:gsub("/properties$", ""), compile) end

function keywords.patternProperties(schema, at, compile)
  if schema.properties ~= nil then return nil end
  return compile_members(schema, at:gsub("/patternProperties$", ""), compile)
end

function keywords.additionalProperties(schema, at, compile)
  if schema.properties ~= nil or schema.patternProperties ~= nil then return nil end
  return compile_members(schema, at:gsub("/additionalProperties$", ""), compile)
end

function keywords.propertyNames(schema, at, compile)
  local f = compile(schema.propertyNames, at)
  return function(value, context)
    if not is_object(value) then return true end
    local good = true
    for name in pairs(value) do
      if not inside(context, name, f, name) then good = false end
    end
    return good
  end
end

local function members(value)
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  return count
end

-- Bounds on how many: of what a value has, as counted.
local function counting(keyword, applies, count, unit, least)
  keywords[keyword] = function(schema, at)
    local bound = schema[keyword]
    need_count(bound, at)
    local expected = ("expected at %s %d %s"):format(least and "least" or "most", bound, unit)
    return function(value, context)
      if not applies(value) then return true end
      local n = count(value)
      if least and n >= bound or not least and n <= bound then return true end
      return wrong(context, keyword, ("%s, found %d"):format(expected, n))
    end
  end
end

local function items(value) return #value end

counting("minProperties", is_object, members, "members", true)
counting("maxProperties", is_object, members, "members", false)
counting("minItems", is_array, items, "items", true)
counting("maxItems", is_array, items, "items", false)
counting("minLength", tests.string, length, "characters", true)
counting("maxLength", tests.string, length, "characters", false)

-- Arrays.

function keywords.prefixItems(schema, at, compile)
  need_list(schema.prefixItems, at)
  local list = {}
  for i, one in ipairs(schema.prefixItems) do list[i] = compile(one, ("%s/%d"):format(at, i - 1)) end
  return function(value, context)
    if not is_array(value) then return true end
    local good = true
    for i = 1, math.min(#list, #value) do
      if not inside(context, i - 1, list[i], value[i]) then good = false end
    end
    return good
  end
end

function keywords.items(schema, at, compile)
  if type(schema.items) == "table" and schema.items[1] ~= nil then refuse(at, "a list of schemas is called prefixItems") end
  local f = compile(schema.items, at)
  local skip = type(schema.prefixItems) == "table" and #schema.prefixItems or 0
  return function(value, context)
    if not is_array(value) then return true end
    local good = true
    for i = skip + 1, #value do
      if not inside(context, i - 1, f, value[i]) then good = false end
    end
    return good
  end
end

function keywords.contains(schema, at, compile)
  local f = compile(schema.contains, at)
  local least, most = schema.minContains or 1, schema.maxContains or math.huge
  need_count(least, at)
  need_count(most == math.huge and 0 or most, at)
  return function(value, context)
    if not is_array(value) then return true end
    local found = 0
    for i = 1, #value do
      if quietly(context, f, value[i]) then found = found + 1 end
    end
    if found >= least and found <= most then return true end
    return wrong(context, "contains", ("%d of the items are of the kind that is asked for: expected %s"):format(found,
      most == math.huge and ("at least %d"):format(least) or ("%d to %d"):format(least, most)))
  end
end

local function beside(keyword, other)
  keywords[keyword] = function(schema, at)
    if schema[other] == nil then refuse(at, ("has no meaning without %q"):format(other)) end
  end
end
beside("minContains", "contains")
beside("maxContains", "contains")
beside("then", "if")
beside("else", "if")

function keywords.uniqueItems(schema, at)
  need("true or false", type(schema.uniqueItems) == "boolean", schema.uniqueItems, at)
  if not schema.uniqueItems then return nil end
  return function(value, context)
    if not is_array(value) then return true end
    local seen = {}
    for i = 1, #value do
      local written, key = pcall(json.encode, value[i]) -- equal values give equal text
      if not written then return wrong(context, "uniqueItems", ("the item %d cannot be compared"):format(i - 1)) end
      if seen[key] then return wrong(context, "uniqueItems", ("the items %d and %d are equal"):format(seen[key] - 1, i - 1)) end
      seen[key] = i
    end
    return true
  end
end

-- Numbers.

local function comparing(keyword, text, good)
  keywords[keyword] = function(schema, at)
    local bound = schema[keyword]
    need("a number", type(bound) == "number", bound, at)
    local message = ("expected a number %s %.14g"):format(text, bound)
    return function(value, context) return type(value) ~= "number" or good(value, bound) or wrong(context, keyword, message) end
  end
end
comparing("minimum", "of at least", function(value, bound) return value >= bound end)
comparing("maximum", "of at most", function(value, bound) return value <= bound end)
comparing("exclusiveMinimum", "above", function(value, bound) return value > bound end)
comparing("exclusiveMaximum", "below", function(value, bound) return value < bound end)

function keywords.multipleOf(schema, at)
  local step = schema.multipleOf
  need("a number above 0", type(step) == "number" and step > 0, step, at)
  local message = ("expected a multiple of %.14g"):format(step)
  return function(value, context)
    if type(value) ~= "number" then return true end
    local times = value / step
    -- 0.3 is a multiple of 0.1 for everybody but a computer
    if math.abs(times - math.floor(times + 0.5)) <= 1e-9 * math.max(1, math.abs(times)) and times < math.huge then return true end
    return wrong(context, "multipleOf", message)
  end
end

-- Strings.

function keywords.pattern(schema, at)
  local compiled = pattern_of(schema.pattern, at)
  local message = "expected text that matches " .. check.describe(schema.pattern)
  return function(value, context)
    if type(value) ~= "string" then return true end
    local matches, problem = compiled:test(value)
    if problem then return wrong(context, "pattern", problem) end
    return matches or wrong(context, "pattern", message)
  end
end

function keywords.format(schema, at)
  local name = schema.format
  local good = formats[name]
  if not good then refuse(at, check.unknown("format", name, formats)) end
  local message = ("expected a string of the format %q"):format(name)
  return function(value, context) return type(value) ~= "string" or good(value) or wrong(context, "format", message) end
end

-- Schemas in combination.

local function compile_list(list, at, compile)
  need_list(list, at)
  local out = {}
  for i, one in ipairs(list) do out[i] = compile(one, ("%s/%d"):format(at, i - 1)) end
  return out
end

function keywords.allOf(schema, at, compile)
  local list = compile_list(schema.allOf, at, compile)
  return function(value, context)
    local good = true
    for _, f in ipairs(list) do
      if not f(value, context) then good = false end
    end
    return good
  end
end

function keywords.anyOf(schema, at, compile)
  local list = compile_list(schema.anyOf, at, compile)
  return function(value, context)
    for _, f in ipairs(list) do
      if quietly(context, f, value) then return true end
    end
    return wrong(context, "anyOf", ("expected one of %d alternatives, and it is none of them"):format(#list))
  end
end

function keywords.oneOf(schema, at, compile)
  local list = compile_list(schema.oneOf, at, compile)
  return function(value, context)
    local found = 0
    for _, f in ipairs(list) do
      if quietly(context, f, value) then found = found + 1 end
    end
    return found == 1 or wrong(context, "oneOf", ("expected exactly one of %d alternatives, and it is %d of them"):format(#list, found))
  end
end

keywords["not"] = function(schema, at, compile)
  local f = compile(schema["not"], at)
  return function(value, context) return not quietly(context, f, value) or wrong(context, "not", "is of a kind that is not allowed") end
end

keywords["if"] = function(schema, at, compile)
  local condition = compile(schema["if"], at)
  local base = at:gsub("/if$", "")
  local yes = schema["then"] ~= nil and compile(schema["then"], base .. "/then") or nil
  local no = schema["else"] ~= nil and compile(schema["else"], base .. "/else") or nil
  return function(value, context)
    local f = no
    if quietly(context, condition, value) then f = yes end
    return not f or f(value, context)
  end
end

for _, word in ipairs { "$defs", "definitions" } do
  keywords[word] = function(schema, at) -- compiled when a $ref asks for them
    need_map(schema[word], at)
  end
end

-- What only describes.
for _, word in ipairs {
  "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment",
  "contentEncoding", "contentMediaType",
} do
  keywords[word] = function() end
end

-- ---- compiling ----

-- The schema that a "$ref" means.
local function resolve(root, reference, at)
  need('a string such as "#/$defs/name"', type(reference) == "string", reference, at)
  if reference:sub(1, 1) ~= "#" then refuse(at, 'expected "#..." within the same schema, found ' .. check.describe(reference)) end
  local found = root
  for part in reference:sub(2):gmatch("/([^/]*)") do
    local name = part:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end):gsub("~1", "/"):gsub("~0", "~")
    local next_one
    if type(found) == "table" then
      next_one = found[name]
      if next_one == nil and tonumber(name) then next_one = found[tonumber(name) + 1] end
    end
    if next_one == nil then refuse(at, ("%s is not there"):format(check.describe(reference))) end
    found = next_one
  end
  return found
end

local function order_of(schema)
  local names = {}
  for name in pairs(schema) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  return names
end

local function compiler(root)
  local made = {} -- schema → its function, and while it is being made a place for it: schemas may be recursive
  local compile

  local function reference(schema, at)
    local target = resolve(root, schema["$ref"], at)
    return compile(target, schema["$ref"])
  end

  local function build(schema, at)
    local checks = {}
    for _, name in ipairs(order_of(schema)) do
      local here = ("%s/%s"):format(at, tostring(name))
      if name == "$ref" then
        checks[#checks + 1] = reference(schema, here)
      elseif keywords[name] then
        checks[#checks + 1] = keywords[name](schema, here, compile)
      elseif type(name) ~= "string" or not name:find("^x%-") then
        refuse(at, check.unknown("keyword", name, keywords))
      end
    end
    return checks
  end

  function compile(schema, at)
    if schema == true then return function() return true end end
    if schema == false then
      return function(_, context) return wrong(context, "false", "nothing is allowed here") end
    end
    need("a schema", type(schema) == "table" and schema ~= json.null and schema[1] == nil, schema, at)
    if made[schema] then return made[schema] end
    local checks
    made[schema] = function(value, context)
      context.depth = context.depth + 1
      if context.depth > DEPTH_MOST then
        context.depth = context.depth - 1
        context.too_deep = true
        return false
      end
      local good = true
      for i = 1, #checks do
        if not checks[i](value, context) then good = false end
      end
      context.depth = context.depth - 1
      return good
    end
    checks = build(schema, at)
    return made[schema]
  end

  return compile
end

---@class gateway.JsonSchema
local Schema = { describe = function() return "a JSON Schema" end }
Schema.__index = Schema

---@class gateway.JsonSchemaError
---@field pointer string where in the value (RFC 6901); "" is the whole
---@field keyword string
---@field message string

local function before(a, b)
  if a.pointer ~= b.pointer then return a.pointer < b.pointer end
  if a.keyword ~= b.keyword then return a.keyword < b.keyword end
  return a.message < b.message
end

--- Whether a value, as json.decode gives it, is what the schema says.
---@param value any
---@return boolean good
---@return gateway.JsonSchemaError[]? errors at most 20
function Schema:validate(value)
  local context = { path = {}, top = 0, errors = {}, quiet = 0, depth = 0 }
  local good = self._check(value, context)
  if context.too_deep then -- whatever came out of it: a "not" could make a yes of it
    context.quiet, context.top, context.errors = 0, 0, {}
    good = wrong(context, "$ref", ("schemas within schemas are more than %d deep at work"):format(DEPTH_MOST))
  end
  if good then return true end
  table.sort(context.errors, before)
  return false, context.errors
end

--- The schema, ready for use, or what is wrong with it.
---@param schema table|boolean
---@return gateway.JsonSchema? compiled
---@return string? problem
function json_schema.compile(schema)
  local good, result = pcall(function() return compiler(schema)(schema, "") end)
  if good then return setmetatable({ _check = result }, Schema) end
  if type(result) == "table" and result.problem then return nil, result.problem end
  error(result, 0)
end

return json_schema
