-- Schemas of plugins' configs. A schema is a table from a field's name to what the field may be, a table or just a type's name:
--
--   header = { type = "string", default = "x-api-key", description = "where the key stands" }
--   wait = "duration"
--
-- For every field: type, required, default (a value, or a function that makes one), one_of, check (function(value) → nothing, or what is
-- wrong with it), secret (never shown), deprecated (true or what to do instead), renamed_from (a name or a list), description, example.
-- By type (schema_types.lua):
--
--   string min_len max_len pattern (Lua's)        integer, number, duration, size: min max
--   list of min_items max_items unique            map of keys min_items max_items
--   enum one_of       union any_of                url schemes       boolean, function, regex, cidr, upstream, any
--   record fields, and over several of them: exclusive, one_required, together, check
--
-- A schema is compiled once (schema_compile.lua), which finds what is wrong with itself. Reading a config reports everything that is wrong
-- with it, and gives a new table: defaults filled in, durations in seconds, sizes in bytes.

local check = require "gateway.check"
local compile = require "gateway.schema_compile"

local schema = { compile = compile.record }

---@alias gateway.FieldScalar "string"|"integer"|"number"|"boolean"|"duration"|"size"|"enum"|"regex"|"cidr"|"url"
---@alias gateway.FieldType gateway.FieldScalar|"list"|"map"|"record"|"union"|"function"|"upstream"|"any"

---@class gateway.Field
---@field type? gateway.FieldType
---@field required? boolean
---@field default? any a value, or a function that makes one
---@field one_of? any[] the values that are allowed
---@field min? number of integer, number, duration (seconds) and size (bytes)
---@field max? number
---@field min_len? integer bytes of a string
---@field max_len? integer
---@field pattern? string that a string matches (Lua's patterns)
---@field of? gateway.Field|string what the items of a list, or the values of a map, are
---@field keys? gateway.Field|string what the keys of a map are
---@field min_items? integer of a list or map
---@field max_items? integer
---@field unique? boolean no item of a list stands there twice
---@field fields? table<string, gateway.Field|string> of a record
---@field any_of? (gateway.Field|string)[] of a union
---@field schemes? string[] of a URL: { "http", "https" }
---@field check? fun(value: any): string?, string? nothing, or what is wrong; for a record also: field, what is wrong
---@field exclusive? string[]|string[][] fields of which at most one is given
---@field one_required? string[]|string[][] fields of which at least one is given
---@field together? string[]|string[][] fields that are given all or not at all
---@field secret? boolean never shown: not in errors, not by any command
---@field deprecated? boolean|string warns when it is given; the text says what to do instead
---@field renamed_from? string|string[] former names, which warn and still count
---@field description? string
---@field example? any

---@class gateway.SchemaContext where a reading reports
---@field report fun(message: string, parent?: table, key?: any) the field in question is parent[key], for its line in a YAML file
---@field warn fun(message: string, parent?: table, key?: any)
---@field yaml? boolean
---@field secret? boolean what is being read must not be shown
---@field scrub? fun(text: string): string takes the secrets out of what a plugin says

-- ---- words ----

local function child(path, key)
  if type(key) == "number" then return ("%s[%d]"):format(path, key) end
  if key:find("^[%w_%-]+$") or key:find("^[%w_%-]+%[%d+%][%w_%-.]*$") then return path == "" and key or path .. "." .. key end
  return ("%s[%s]"):format(path, check.describe(key))
end

local function found(value, context)
  if type(value) == "string" then value = value:gsub("://[^/?#]*@", "://(secret)@") end -- a URL's password
  if not context.secret then return check.describe(value) end
  if value == nil then return "nothing" end
  return ("a %s (secret)"):format(type(value))
end

local function said(path, message)
  return path == "" and message or path .. ": " .. message
end

local function expected(d)
  if d.one_of then
    local out = {}
    for i, value in ipairs(d.one_of) do out[i] = check.describe(value) end
    return (#out > 1 and "one of " or "") .. table.concat(out, ", ")
  elseif d.any_of then
    local out = {}
    for i, one in ipairs(d.any_of) do out[i] = expected(one) end
    return table.concat(out, ", or ")
  end
  local text = d.kind.expected(d)
  if d.type == "list" and d.of.type ~= "any" and not d.min_items and not d.max_items then
    return "a list of " .. (d.of.plural or "values")
  end
  return text
end
schema.expected = expected

local function refuse(path, d, value, context, parent, key, why)
  local hint = ""
  if why then
    hint = (" (%s)"):format(why)
  elseif context.yaml and d.kind.lua.string and not d.kind.lua[type(value)] and (type(value) == "number" or type(value) == "boolean") then
    hint = ": put it in quotes"
  elseif d.one_of and not context.secret then
    local near = check.nearest(value, d.one_of)
    hint = near and (" (did you mean %q?)"):format(near) or ""
  end
  context.report(said(path, ("expected %s, found %s%s"):format(expected(d), found(value, context), hint)), parent, key)
  return nil
end

-- ---- what a check function says ----

-- nil, or the message and the field that it is about.
local function verdict(f, value, record, context)
  local good, a, b = pcall(f, value)
  if not good then return context.scrub("check failed: " .. tostring(a)) end
  if type(a) == "string" then a = context.scrub(a) end
  if type(b) == "string" then b = context.scrub(b) end
  if a == nil or a == true then
    if type(b) == "string" then return b end
    return nil
  elseif a == false then
    return type(b) == "string" and b or "it is not accepted"
  elseif type(a) == "string" then
    if b == nil then return a end
    if type(b) == "string" and record then return b, a end
  end
  return ("check returned %s: expected nothing, or a message%s"):format(check.describe(a), record and " (or a field and a message)" or "")
end

-- ---- reading ----

local read

local function count_good(count, d)
  return (not d.min_items or count >= d.min_items) and (not d.max_items or count <= d.max_items)
end

local function read_list(value, d, path, context, parent, key)
  if not check.is_list(value) or not count_good(#value, d) then
    local why = check.is_list(value) and (d.min_items or d.max_items) and ("it has %d"):format(#value) or nil
    return refuse(path, d, value, context, parent, key, why)
  end
  local out, seen = {}, {}
  for i, item in ipairs(value) do
    local good = read(item, d.of, child(path, i), context, value, i)
    if d.unique and good ~= nil and seen[good] then
      context.report(said(child(path, i), ("expected each item once, found %s again (it is also item %d)"):format(found(item, context),
        seen[good])), value, i)
    elseif good ~= nil then
      seen[good] = i
    end
    out[i] = good
  end
  return out
end

local function by_text(a, b) return tostring(a) < tostring(b) end

local function keys_of(value)
  local out = {}
  for key in pairs(value) do out[#out + 1] = key end
  table.sort(out, by_text)
  return out
end

local function read_map(value, d, path, context, parent, key)
  if type(value) ~= "table" or getmetatable(value) or #value > 0 then return refuse(path, d, value, context, parent, key) end
  local out, names = {}, keys_of(value)
  if not count_good(#names, d) then return refuse(path, d, value, context, parent, key, ("it has %d"):format(#names)) end
  for _, name in ipairs(names) do
    -- A secret map's keys are secrets, too: API keys are.
    local at = (context.secret or d.keys and d.keys.secret) and path .. ".(secret)" or type(name) == "string" and child(path, name) or path
    if type(name) ~= "string" then
      context.report(said(path, "expected names as keys, found " .. found(name, context)), value, name)
    else
      local good_name = name
      if d.keys then good_name = read(name, d.keys, path .. ": key", context, value, name) end
      local good = read(value[name], d.of, at, context, value, name)
      if good_name ~= nil then out[good_name] = good end
    end
  end
  return out
end

local function group_text(group)
  local out = {}
  for i, name in ipairs(group) do out[i] = ("%q"):format(name) end
  return #out == 2 and table.concat(out, " and ") or table.concat(out, ", ")
end

-- The rules over several fields. `given`: what stands in the config, by its present name.
local function check_groups(d, given, path, context, parent, key)
  local function present(group)
    local out = {}
    for _, name in ipairs(group) do if given[name] ~= nil then out[#out + 1] = name end end
    return out
  end
  for _, group in ipairs(d.exclusive or {}) do
    local there = present(group)
    if #there > 1 then
      context.report(said(path, ("expected at most one of the fields %s, found %s"):format(group_text(group), group_text(there))), parent,
        key)
    end
  end
  for _, group in ipairs(d.one_required or {}) do
    if #present(group) == 0 then
      context.report(said(path, ("expected at least one of the fields %s, found none"):format(group_text(group))), parent, key)
    end
  end
  for _, group in ipairs(d.together or {}) do
    local there = present(group)
    if #there > 0 and #there < #group then
      context.report(said(path, ("expected the fields %s together or not at all, found only %s"):format(group_text(group),
        group_text(there))), parent, key)
    end
  end
end

local function default_of(d, context, path)
  local value = d.default
  if type(value) == "function" and d.type ~= "function" then
    local good, made = pcall(value)
    if not good then
      context.report(said(path, "the schema's default failed: " .. tostring(made)))
      return nil
    end
    value = made
    if value == nil then return nil end
  end
  return read(check.copy(value), d, path, context)
end

-- The given fields by their present names; warns about former ones.
local function present_names(value, d, path, context)
  local out, at = {}, {}
  for _, name in ipairs(keys_of(value)) do
    local now = type(name) == "string" and not d.fields[name] and d.renames[name]
    if type(name) ~= "string" then
      context.report(said(path, "expected named fields, found " .. found(value[name], context)), value, name)
    elseif now and value[now] ~= nil then
      context.report(said(path, ("field %q is the former name of %q: expected one of them, found both"):format(name, now)), value, name)
    elseif now then
      context.warn(said(path, ("field %q is now called %q"):format(name, now)), value, name)
      out[now], at[now] = value[name], name
    elseif d.fields[name] then
      out[name], at[name] = value[name], name
    else
      context.report(said(path, check.unknown("field", name, d.fields)), value, name)
    end
  end
  return out, at
end

local function read_record(value, d, path, context, parent, key)
  local positions = type(value) == "table" and #value > 0 and d.order
  if type(value) ~= "table" or getmetatable(value) or (positions and check.is_list(value)) then
    return refuse(path, d, value, context, parent, key)
  end
  if not d.order then return check.copy(value) end -- no fields are named: any table
  local wrong = false
  local inner = setmetatable({ report = function(...)
    wrong = true
    context.report(...)
  end }, { __index = context })
  local given, at = present_names(value, d, path, inner)
  local out = {}
  for _, name in ipairs(d.order) do
    local field = d.fields[name]
    local where = child(path, name)
    if given[name] ~= nil then
      if field.deprecated then
        local text = type(field.deprecated) == "string" and ": " .. field.deprecated or ""
        inner.warn(said(path, ("field %q is deprecated%s"):format(name, text)), value, at[name])
      end
      out[name] = read(given[name], field, where, inner, value, at[name])
    elseif field.required then
      inner.report(said(path, ("field %q is required: expected %s, found nothing"):format(name, expected(field))), parent, key)
    elseif field.default ~= nil then
      out[name] = default_of(field, inner, where)
    end
  end
  check_groups(d, given, path, inner, parent, key)
  if d.check and not wrong then -- it may rely on every field being right
    local message, field = verdict(d.check, out, true, context)
    if message then
      local named = field and d.fields[field] and at[field]
      inner.report(said(field and child(path, field) or path, message), named and value or parent, named or key)
    end
  end
  return out
end

local function fits(value, d)
  local kind = d.kind
  if d.type == "any" then return true end
  if d.any_of then
    for _, one in ipairs(d.any_of) do if fits(value, one) then return true end end
    return false
  end
  if not kind.lua[type(value)] then return false end
  if d.type == "list" then return check.is_list(value) end
  if d.type == "map" or d.type == "record" then return not getmetatable(value) and #value == 0 end
  return true
end

-- The first alternative that takes the value. When none does, and only one is of its kind, what that one says is what was meant.
local function read_union(value, d, path, context, parent, key)
  local of_kind, problems = 0, nil
  for _, one in ipairs(d.any_of) do
    local held, warnings = {}, {}
    local inner = setmetatable({
      report = function(...) held[#held + 1] = { ... } end, warn = function(...) warnings[#warnings + 1] = { ... } end,
    }, { __index = context })
    local good = read(value, one, path, inner, parent, key)
    if #held == 0 then
      for _, warning in ipairs(warnings) do context.warn(unpack(warning, 1, 3)) end
      return good
    end
    if fits(value, one) then of_kind, problems = of_kind + 1, held end
  end
  if of_kind ~= 1 then return refuse(path, d, value, context, parent, key) end
  for _, problem in ipairs(problems) do context.report(unpack(problem, 1, 3)) end
  return nil
end

local readers = { list = read_list, map = read_map, record = read_record, union = read_union }

-- The value as the plugin gets it; nil after a report.
function read(value, d, path, context, parent, key)
  if d.secret and not context.secret then context = setmetatable({ secret = true }, { __index = context }) end
  local good
  local reader = readers[d.type]
  if reader then
    good = reader(value, d, path, context, parent, key)
  else
    local why
    good, why = d.kind.read(value, d)
    if good == nil then return refuse(path, d, value, context, parent, key, why) end
  end
  if good == nil then return nil end
  if d.one_of then
    local allowed = false
    for _, one in ipairs(d.one_of) do allowed = allowed or one == good end
    if not allowed then return refuse(path, d, value, context, parent, key) end
  end
  if d.check and d.type ~= "record" then
    local message = verdict(d.check, good, false, context)
    if message then
      context.report(said(path, message), parent, key)
      return nil
    end
  end
  return good
end

--- A config against a compiled schema. What is wrong is told to context.report; the result is only good when nothing was.
---@param compiled table what schema.compile gave
---@param config table
---@param context gateway.SchemaContext
---@return table good
function schema.read(compiled, config, context)
  context.scrub = schema.scrubber(compiled, config)
  return read_record(config, compiled, "", context) or {}
end

--- One value against a compiled field.
---@param value any
---@param compiled table
---@param path string
---@param context gateway.SchemaContext
function schema.value(value, compiled, path, context)
  context.scrub = context.scrub or tostring
  return read(check.copy(value), compiled, path, context)
end

-- ---- secrets ----

local function collect(value, out)
  if type(value) == "string" then
    if #value >= 3 then out[#out + 1] = value end
  elseif type(value) == "table" and not getmetatable(value) then
    for key, item in pairs(value) do
      collect(key, out)
      collect(item, out)
    end
  end
end

local function secrets_of(value, d, out)
  if value == nil then return end
  if d.secret then
    collect(value, out)
  elseif d.type == "record" and d.order and type(value) == "table" then
    for name, field in pairs(d.fields) do
      secrets_of(value[name], field, out)
      for former, now in pairs(d.renames) do if now == name then secrets_of(value[former], field, out) end end
    end
  elseif (d.type == "list" or d.type == "map") and type(value) == "table" then
    for key, item in pairs(value) do
      if d.keys and d.keys.secret then collect(key, out) end
      secrets_of(item, d.of, out)
    end
  elseif d.any_of then
    for _, one in ipairs(d.any_of) do secrets_of(value, one, out) end
  end
end

--- A function that takes a config's secrets out of a text: for errors that the plugin itself raises.
---@return fun(text: string): string
function schema.scrubber(compiled, config)
  local secrets = {}
  secrets_of(config, compiled, secrets)
  table.sort(secrets, function(a, b) return #a > #b end) -- the longest first: one may be part of another
  return function(text)
    for _, secret in ipairs(secrets) do
      text = text:gsub((secret:gsub("%p", "%%%0")), "(secret)")
    end
    return text
  end
end

--- A copy of what was read in which secrets are replaced by hide(value).
---@param compiled table
---@param value any
---@param hide fun(value: any): any
function schema.shown(compiled, value, hide)
  if value == nil then return nil end
  if compiled.secret then return hide(value) end
  if compiled.any_of then
    for _, one in ipairs(compiled.any_of) do
      if fits(value, one) then value = schema.shown(one, value, hide) end
    end
    return value
  end
  if type(value) ~= "table" or getmetatable(value) then return value end
  local out = {}
  if compiled.type == "record" and compiled.order then
    for name, item in pairs(value) do out[name] = compiled.fields[name] and schema.shown(compiled.fields[name], item, hide) or item end
  elseif compiled.type == "list" or compiled.type == "map" then
    if compiled.keys and compiled.keys.secret then return hide(value) end
    for key, item in pairs(value) do out[key] = schema.shown(compiled.of, item, hide) end
  else
    return value
  end
  return out
end

return schema
