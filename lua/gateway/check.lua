-- Values against a description of what they may be. The same descriptions serve the library's own options and plugins' schemas:
--
--   { type = "string" | "boolean" | "integer" | "number" | "duration" | "size" | "list" | "map" | "enum" | "table" | "function" | "any",
--     of = description (list, map), values = { ... } (enum), fields = { name = description } (table),
--     default = value, required = true, min = number, max = number, secret = true }
--
-- `of` and a field may be just the type's name. Nothing here raises: what is wrong is told to a `report(message)` function, so that one run
-- finds everything.

local units = require "gateway.units"

local check = {}

--- What a value is, for "found ...": short, on one line, quoted as a script would write it.
---@param value any
---@return string
function check.describe(value)
  local kind = type(value)
  if kind == "string" then
    local text = #value > 60 and value:sub(1, 57) .. "..." or value
    return '"' .. text:gsub('[%c"\\]', function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  elseif kind == "nil" then
    return "nothing"
  elseif kind == "table" then
    local meta = getmetatable(value)
    if type(meta) == "table" and meta.describe then return meta.describe(value) end
    return not meta and rawget(value, 1) ~= nil and "a list" or "a table"
  end
  return "a " .. kind
end

-- Edit distance with transpositions (optimal string alignment); option names are short, so the full matrix is fine.
local function distance(a, b)
  local previous, before = {}, {}
  for j = 0, #b do previous[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before, previous = previous, row
  end
  return previous[#b]
end
check.distance = distance

--- The known name nearest to what was written, if any is near enough to be meant.
---@param name any
---@param known table<string, any>|string[] names as keys, or as a list
---@return string?
function check.nearest(name, known)
  if type(name) ~= "string" or #name > 64 then return nil end
  local best, best_distance = nil, math.max(1, math.min(3, math.floor(#name / 3))) + 1
  local function try(candidate)
    if type(candidate) ~= "string" then return end
    local d = distance(name:lower(), candidate:lower())
    if d >= math.max(#name, #candidate) then return end -- nothing of it would be left
    if d < best_distance or (d == best_distance and best and candidate < best) then best, best_distance = candidate, d end
  end
  if rawget(known, 1) then
    for _, candidate in ipairs(known) do try(candidate) end
  else
    for candidate in pairs(known) do try(candidate) end
  end
  return best
end

--- 'unknown option "ballance" (did you mean "balance"?)' or, when nothing is near, with the list of what is known.
---@param what string "option", "field", ...
---@param name any
---@param known table<string, any>
---@return string
function check.unknown(what, name, known)
  local near = check.nearest(name, known)
  if near then return ("unknown %s %s (did you mean %q?)"):format(what, check.describe(name), near) end
  local names = {}
  for key in pairs(known) do names[#names + 1] = key end
  table.sort(names)
  return ("unknown %s %s; known: %s"):format(what, check.describe(name), table.concat(names, ", "))
end

local expected = {
  string = "a string", boolean = "true or false", integer = "a whole number", number = "a number", list = "a list", map = "a map",
  table = "a table", ["function"] = "a function", duration = units.duration_expected, size = units.size_expected,
}

local function article(description)
  local text = expected[description.type]
  if description.min and description.max then return ("%s from %s to %s"):format(text, description.min, description.max) end
  if description.min then return ("%s of at least %s"):format(text, description.min) end
  if description.max then return ("%s of at most %s"):format(text, description.max) end
  return text
end

local function enum_text(values)
  local out = {}
  for i, value in ipairs(values) do out[i] = check.describe(value) end
  return "one of " .. table.concat(out, ", ")
end

local function is_list(value)
  if type(value) ~= "table" or getmetatable(value) then return false end
  local count = 0
  for key in pairs(value) do
    if type(key) ~= "number" then return false end
    count = count + 1
  end
  return count == #value
end
check.is_list = is_list

local value_of

local scalars = {
  string = function(value) return type(value) == "string" and value or nil end,
  boolean = function(value) if type(value) == "boolean" then return value end end,
  number = function(value) return type(value) == "number" and value == value and math.abs(value) < math.huge and value or nil end,
  integer = function(value) return type(value) == "number" and value % 1 == 0 and math.abs(value) <= 2 ^ 53 and value or nil end,
  ["function"] = function(value) return type(value) == "function" and value or nil end,
  duration = units.duration,
  size = units.size,
}

check.scalars = scalars

local function describe_wrong(path, wanted, value, report)
  report(("%sexpected %s, found %s"):format(path ~= "" and path .. ": " or "", wanted, check.describe(value)))
end

-- The normalised value; nil when it was wrong (then reported).
function value_of(value, description, path, report)
  if type(description) == "string" then description = { type = description } end
  local kind = description.type
  if kind == "any" then return value end
  local scalar = scalars[kind]
  if scalar then
    local good = scalar(value)
    if good == nil or (description.min and good < description.min) or (description.max and good > description.max) then
      describe_wrong(path, article(description), value, report)
      return nil
    end
    return good
  elseif kind == "enum" then
    for _, allowed in ipairs(description.values) do
      if allowed == value then return value end
    end
    local near = check.nearest(value, description.values)
    report(("%sexpected %s, found %s%s"):format(path ~= "" and path .. ": " or "", enum_text(description.values),
      check.describe(value), near and (" (did you mean %q?)"):format(near) or ""))
    return nil
  elseif kind == "list" then
    if not is_list(value) then
      describe_wrong(path, article(description), value, report)
      return nil
    end
    local out = {}
    for i, item in ipairs(value) do
      out[#out + 1] = value_of(item, description.of or "any", ("%s[%d]"):format(path, i), report)
    end
    return out
  elseif kind == "map" then
    if type(value) ~= "table" or getmetatable(value) or #value > 0 then
      describe_wrong(path, article(description), value, report)
      return nil
    end
    local out = {}
    for key, item in pairs(value) do
      if type(key) ~= "string" then
        describe_wrong(path, "names as keys", key, report)
      else
        out[key] = value_of(item, description.of or "any", path == "" and key or path .. "." .. key, report)
      end
    end
    return out
  elseif kind == "table" then
    if type(value) ~= "table" or getmetatable(value) then
      describe_wrong(path, "a table", value, report)
      return nil
    end
    return check.fields(value, description.fields or {}, path, report)
  end
  report(("%sthe schema names no known type: %s"):format(path ~= "" and path .. ": " or "", check.describe(kind)))
  return nil
end

--- One value against its description. The normalised value, or nil after a report.
---@param value any
---@param description table|string
---@param path string name of the value, for messages
---@param report fun(message: string)
function check.value(value, description, path, report)
  return value_of(value, description, path, report)
end

-- Names of a description's fields in order; descriptions are few and used again and again.
local sorted = setmetatable({}, { __mode = "k" })
local function sorted_names(fields)
  local names = sorted[fields]
  if not names then
    names = {}
    for name in pairs(fields) do names[#names + 1] = name end
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
    sorted[fields] = names
  end
  return names
end

--- A table with named fields against their descriptions: unknown ones are reported with the nearest known name, missing ones get their
--- default. A new table; the one given is left alone.
---@param given table
---@param fields table<string, table|string>
---@param path string prefix for names in messages; "" at the top
---@param report fun(message: string)
---@param word? string what a field is called: "option" (default), "field"
---@return table
function check.fields(given, fields, path, report, word)
  local out = {}
  local keys = {}
  for key in pairs(given) do keys[#keys + 1] = key end
  if keys[2] ~= nil then table.sort(keys, function(a, b) return tostring(a) < tostring(b) end) end -- reports in an order that stays
  for _, key in ipairs(keys) do
    local description = fields[key]
    local prefix = path == "" and "" or path .. ": "
    if type(key) ~= "string" then
      report(prefix .. ("expected named %ss, found %s"):format(word or "option", check.describe(given[key])))
    elseif not description then
      report(prefix .. check.unknown(word or "option", key, fields))
    else
      out[key] = value_of(given[key], description, path == "" and key or path .. "." .. key, report)
    end
  end
  for _, name in ipairs(sorted_names(fields)) do
    local description = fields[name]
    if type(description) == "table" and given[name] == nil then
      if description.required then
        report(("%s%s %q is required: expected %s, found nothing"):format(path == "" and "" or path .. ": ", word or "option", name,
          description.type == "enum" and enum_text(description.values) or expected[description.type] and article(description) or "a value"))
      else
        out[name] = check.copy(description.default)
      end
    end
  end
  return out
end

--- The keys of a table in an order that does not depend on chance.
---@param value table
---@return any[]
function check.names(value)
  local out = {}
  for key in pairs(value) do out[#out + 1] = key end
  table.sort(out, function(a, b) return tostring(a) < tostring(b) end)
  return out
end

--- A deep copy of plain data, so that a default is never shared.
function check.copy(value)
  if type(value) ~= "table" or getmetatable(value) then return value end
  local out = {}
  for key, item in pairs(value) do out[key] = check.copy(item) end
  return out
end

local token = "^[%w!#$%%&'*+%-.^_`|~]+$"

--- Whether text may be a header field's name (RFC 9110 section 5.1).
function check.header_name(name)
  return type(name) == "string" and name:find(token) ~= nil
end

--- For the schemas of plugins that fetch: why gateway.fetch would not take this URL, whatever is there. (Without it: it has a password.)
---@param value any
---@return string? problem
function check.fetchable(value)
  if type(value) == "string" and value:find("^%a[%w+.-]*://[^/?#]*@") then
    return "expected no user name in the URL: send an Authorization field instead"
  end
end

--- Whether text may be a header field's value: no controls but tab, no spaces at the ends.
function check.header_value(value)
  return type(value) == "string" and not value:find("[%z\1-\8\10-\31\127]") and not value:find("^[ \t]") and not value:find("[ \t]$")
end

check.token = token

return check
