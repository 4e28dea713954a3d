-- Schemas made ready for reading: shorthands written out, types looked up, and the schema itself checked, so that its author hears of a
-- mistake at once, whatever config is given.

local check = require "gateway.check"
local types = require "gateway.schema_types"

local compile = {}

local plurals = {
  string = "strings", integer = "whole numbers", number = "numbers", boolean = "booleans", duration = "durations", size = "sizes",
  ["function"] = "functions", regex = "regular expressions", cidr = "addresses or CIDR blocks", url = "URLs", upstream = "upstreams",
  record = "tables", map = "maps", list = "lists", enum = "values", union = "values",
}

local is = {
  boolean = function(v) return type(v) == "boolean" end,
  number = function(v) return check.scalars.number(v) ~= nil end,
  count = function(v) return check.scalars.integer(v) ~= nil and v >= 0 end,
  text = function(v) return type(v) == "string" end,
  texts = function(v)
    if not check.is_list(v) or #v == 0 then return false end
    for _, one in ipairs(v) do if type(one) ~= "string" then return false end end
    return true
  end,
  f = function(v) return type(v) == "function" end,
}

-- What a keyword's value must be, and how that is said.
local words = {
  type = { is.text, "the name of a type" },
  required = { is.boolean, "true or false" }, secret = { is.boolean, "true or false" }, unique = { is.boolean, "true or false" },
  default = {}, example = {}, check = { is.f, "a function" }, description = { is.text, "a string" },
  deprecated = { function(v) return is.boolean(v) or is.text(v) end, "true, or a string that says what to do instead" },
  renamed_from = { function(v) return is.text(v) or is.texts(v) end, "a name, or a list of names" },
  one_of = { function(v) return check.is_list(v) and #v > 0 end, "a list of the allowed values" },
  min = { is.number, "a number" }, max = { is.number, "a number" },
  min_len = { is.count, "a number of bytes" }, max_len = { is.count, "a number of bytes" },
  min_items = { is.count, "a number of items" }, max_items = { is.count, "a number of items" },
  pattern = { is.text, "a Lua pattern" }, schemes = { is.texts, "a list such as { \"http\", \"https\" }" },
  of = {}, keys = {}, fields = {}, any_of = {}, exclusive = {}, one_required = {}, together = {},
}

local everywhere = {
  type = true, required = true, secret = true, default = true, example = true, check = true, description = true, deprecated = true,
  renamed_from = true, one_of = true,
}

-- Which types take a keyword.
local takers = {}
for name, kind in pairs(types) do
  for _, word in ipairs(type(kind) == "table" and kind.words or {}) do
    takers[word] = takers[word] or {}
    table.insert(takers[word], name)
  end
end
for _, list in pairs(takers) do table.sort(list) end

local known_types = {}
for name, kind in pairs(types) do if type(kind) == "table" then known_types[name] = true end end

local field_of

-- "a", { "a", "b" } and { { "a", "b" }, { "c", "d" } }: always a list of lists.
local function groups_of(given, word, out, path, report)
  if given == nil then return nil end
  local list = check.is_list(given) and given or {}
  if is.texts(list) then list = { list } end
  local good = {}
  for _, group in ipairs(list) do
    if not is.texts(group) or #group < (word == "one_required" and 1 or 2) then
      good = {}
      break
    end
    for _, name in ipairs(group) do
      if not out.fields[name] then report(("%s: %s: %s"):format(path, word, check.unknown("field", name, out.fields))) end
    end
    good[#good + 1] = group
  end
  if #good == 0 then
    report(('%s: %s: expected fields such as { "a", "b" }, or a list of such lists, found %s'):format(path, word, check.describe(given)))
    return nil
  end
  return good
end

local function join(path, key)
  return type(key) == "string" and key:find("^[%w_%-]+$") and path .. "." .. key or ("%s[%s]"):format(path, check.describe(key))
end

local function fields_of(given, out, path, report)
  out.fields, out.order, out.renames = {}, {}, {}
  if type(given) ~= "table" or getmetatable(given) then
    report(("%s: expected a table from names to fields, found %s"):format(path, check.describe(given)))
    return
  end
  for name in pairs(given) do
    if type(name) == "string" then
      out.order[#out.order + 1] = name
    else
      report(("%s: expected names of fields, found %s"):format(path, check.describe(name)))
    end
  end
  table.sort(out.order)
  for _, name in ipairs(out.order) do out.fields[name] = field_of(given[name], join(path, name), report) end
  for _, name in ipairs(out.order) do
    local former = out.fields[name].renamed_from
    for _, old in ipairs(type(former) == "table" and former or { former }) do
      if given[old] ~= nil or out.renames[old] then
        report(("%s: renamed_from: expected a name that nothing has any more, found %s"):format(join(path, name), check.describe(old)))
      end
      out.renames[old] = name
    end
  end
end

local function check_words(given, out, path, report)
  local kind = types[out.type]
  local takes = {}
  for word in pairs(everywhere) do takes[word] = true end
  for _, word in ipairs(kind.words or {}) do takes[word] = true end
  local names = {}
  for word in pairs(given) do names[#names + 1] = word end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, word in ipairs(names) do
    local value = given[word]
    if word == "values" then word = "one_of" end
    local known = words[word]
    if not known then
      report(("%s: %s"):format(path, check.unknown("keyword", word, takes)))
    elseif not takes[word] then
      report(("%s: %s goes with the type%s %s, found it beside type = %q"):format(path, word, #takers[word] > 1 and "s" or "",
        table.concat(takers[word], ", "), out.type))
    elseif known[1] and not known[1](value) then
      report(("%s: %s: expected %s, found %s"):format(path, word, known[2], check.describe(value)))
    else
      out[word] = value
    end
  end
end

local function check_ranges(out, path, report)
  for _, pair in ipairs { { "min", "max" }, { "min_len", "max_len" }, { "min_items", "max_items" } } do
    local least, most = out[pair[1]], out[pair[2]]
    if least and most and least > most then
      report(("%s: %s: expected at most %s = %s, found %s"):format(path, pair[1], pair[2], most, least))
      out[pair[1]] = nil
    end
  end
  if out.pattern then
    local good, why = pcall(string.find, "", out.pattern)
    if not good then
      why = why:gsub("^[^\n]-:%d+: ", "")
      report(("%s: pattern: expected a Lua pattern, found %s (%s)"):format(path, check.describe(out.pattern), why))
      out.pattern = nil
    end
  end
end

-- Types that hold others.
local function check_parts(given, out, path, report)
  if out.type == "list" or out.type == "map" then
    out.of = field_of(given.of == nil and "any" or given.of, path .. ".of", report)
    if given.keys ~= nil and out.type == "map" then out.keys = field_of(given.keys, path .. ".keys", report) end
  elseif out.type == "record" then
    if given.fields ~= nil then fields_of(given.fields, out, path .. ".fields", report) end
    for _, word in ipairs { "exclusive", "one_required", "together" } do
      if given[word] ~= nil and not out.order then
        report(("%s: %s: expected fields beside it, found none"):format(path, word))
        out[word] = nil
      else
        out[word] = groups_of(given[word], word, out, path, report)
      end
    end
  elseif out.type == "union" then
    out.any_of = {}
    if not check.is_list(given.any_of) or #given.any_of < 2 then
      report(("%s: any_of: expected a list of two types or more, found %s"):format(path,
        check.is_list(given.any_of) and #given.any_of .. " in it" or check.describe(given.any_of)))
    else
      for i, one in ipairs(given.any_of) do out.any_of[i] = field_of(one, ("%s.any_of[%d]"):format(path, i), report) end
    end
  end
end

local function type_of(given, path, report)
  local name = given.type
  if name == nil then
    if given.one_of ~= nil or given.values ~= nil then return "enum" end
    if given.any_of ~= nil then return "union" end
    if given.fields ~= nil then return "record" end
    report(('%s: type is required: expected a type such as "string", found nothing'):format(path))
    return nil
  end
  if name == "table" then return "record" end
  if type(name) == "string" and known_types[name] then return name end
  report(("%s: %s"):format(path, type(name) == "string" and check.unknown("type", name, known_types)
    or "type: expected the name of a type, found " .. check.describe(name)))
  return nil
end

-- A field ready for reading; one that is wrong (reported) takes anything.
function field_of(given, path, report)
  if type(given) == "string" then given = { type = given } end
  local out = { type = "any", kind = types.any, plural = "values" }
  if type(given) ~= "table" or getmetatable(given) then
    report(('%s: expected a type such as "string", or a table such as { type = "string" }, found %s'):format(path, check.describe(given)))
    return out
  end
  local name = type_of(given, path, report)
  if not name then return out end
  out.type, out.kind, out.plural = name, types[name], plurals[name]
  local wrong = false
  local function tell(message)
    wrong = true
    report(message)
  end
  check_words(given, out, path, tell)
  out.type = name -- "table" is another word for record
  check_ranges(out, path, tell)
  check_parts(given, out, path, tell)
  if name == "enum" and given.one_of == nil and given.values == nil then
    tell(("%s: one_of is required: expected a list of the allowed values, found nothing"):format(path))
  end
  if out.required and out.default ~= nil then
    tell(("%s: expected either required or default, found both: a field with a default is never missing"):format(path))
  end
  if not wrong and out.default ~= nil and type(out.default) ~= "function" then
    local read = require "gateway.schema".value
    read(out.default, out, path .. ": default", {
      report = function(message) report(message) end, warn = function() end, secret = out.secret,
    })
  end
  return out
end

local plugin_words = { "exclusive", "one_required", "together" }

--- A plugin's schema, with what stands beside it over several fields, as one record.
---@param given { schema?: table, check?: function, exclusive?: table, one_required?: table, together?: table }
---@param report fun(message: string)
---@return table compiled
function compile.record(given, report)
  local out = { type = "record", kind = types.record, plural = "tables", check = given.check }
  fields_of(given.schema or {}, out, "schema", report)
  for _, word in ipairs(plugin_words) do out[word] = groups_of(given[word], word, out, "plugin", report) end
  return out
end

return compile
