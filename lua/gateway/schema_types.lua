-- The types that a plugin's schema can name. Each entry:
--
--   lua       what Lua calls such a value, for choosing among a union's alternatives
--   words     keywords that it takes beside those of every field
--   expected  function(d) → what belongs behind "expected": "a string of 1 to 10 characters"
--   read      function(value, d) → the value as new(config) gets it, or nil when it is none of this type
--
-- Types that hold others (list, map, record, union) are read by schema.lua, which knows paths. Nothing here raises.

local check = require "gateway.check"
local spec = require "gateway.spec"
local units = require "gateway.units"
local upstream = require "gateway.upstream"

local types = {}

-- ---- texts ----

local function number_text(n) return (("%.14g"):format(n)) end

local function bounds(least, most, unit)
  if unit and (most or least) == 1 then unit = unit:gsub("ies$", "y"):gsub("s$", "") end
  unit = unit and " " .. unit or ""
  if least and most and least == most then return (" of exactly %s%s"):format(number_text(least), unit) end
  if unit ~= "" then
    if least and most then return (" of %s to %s%s"):format(number_text(least), number_text(most), unit) end
  elseif least and most then
    return (" from %s to %s"):format(number_text(least), number_text(most))
  end
  if least then return (" of at least %s%s"):format(number_text(least), unit) end
  if most then return (" of at most %s%s"):format(number_text(most), unit) end
  return ""
end

local function number_expected(text)
  return function(d) return text .. bounds(d.min, d.max) end
end

local function items_expected(text, unit)
  return function(d) return text .. bounds(d.min_items, d.max_items, unit) end
end

local function within(number, d)
  return (not d.min or number >= d.min) and (not d.max or number <= d.max)
end

-- ---- addresses ----

local function ipv4(text)
  local parts = { text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
  if #parts ~= 4 then return false end
  for _, part in ipairs(parts) do
    if #part > 3 or tonumber(part) > 255 or (#part > 1 and part:sub(1, 1) == "0") then return false end
  end
  return true
end

-- RFC 4291 section 2.2: eight groups, one run of zeros as "::", the last two perhaps as IPv4.
local function ipv6(text)
  if #text > 45 or not text:find(":", 1, true) then return false end
  local before, after = text:match("^(.-)::(.*)$")
  local count = 0
  local function groups(part, last)
    if part == "" then return true end
    for group, rest in (part .. ":"):gmatch("([^:]*):()") do
      if last and rest > #part + 1 and group:find(".", 1, true) then
        if not ipv4(group) then return false end
        count = count + 2
      elseif #group == 0 or #group > 4 or group:find("%X") then
        return false
      else
        count = count + 1
      end
    end
    return true
  end
  if before then
    return not after:find("::", 1, true) and groups(before, false) and groups(after, true) and count <= 7
  end
  return groups(text, true) and count == 8
end

local function cidr(text)
  local address, prefix = text:match("^([^/]*)/(%d%d?%d?)$")
  address = address or text
  local most = ipv4(address) and 32 or ipv6(address) and 128
  return most and (not prefix or tonumber(prefix) <= most)
end

-- ---- URLs ----

local function url(text, schemes)
  if #text > 8000 or text:find("[%c%s\127-\255\"<>\\^`{|}]") then return false end
  local scheme, rest = text:match("^(%a[%w+.-]*)://(.+)$")
  if not scheme then return false end
  local known = false
  for _, one in ipairs(schemes) do known = known or one == scheme:lower() end
  local authority = rest:match("^[^/?#]*"):gsub("^[^@]*@", "")
  local host, port = authority:match("^(%[[%x:.]+%])(.*)$")
  if host then
    if not ipv6(host:sub(2, -2)) then return false end
  else
    host, port = authority:match("^([%w._~%%!$&'()*+,;=-]+)(.*)$")
  end
  if not known or not host then return false end
  local number = port:match("^:(%d+)$")
  return port == "" or (number ~= nil and #number <= 5 and tonumber(number) >= 1 and tonumber(number) <= 65535)
end

local web = { "http", "https" }

-- ---- regular expressions ----

--- Why a text is no regular expression; nil when it is one. PCRE2 says it where it is at hand.
---@param text string
---@return string? problem
function types.regex_problem(text)
  if types.compile == nil then
    local good, regex = pcall(require, "gateway.regex")
    local compile = good and type(regex) == "table" and (regex.compile or regex.new) or false
    types.compile = type(compile) == "function" and compile
  end
  if not types.compile then return nil end
  local good, made, why = pcall(types.compile, text)
  if good and made then return nil end
  return (tostring(good and why or made):gsub("^[^\n]-:%d+: ", ""))
end

-- ---- the types ----

types.string = {
  lua = { string = true }, words = { "min_len", "max_len", "pattern" },
  expected = function(d)
    return "a string" .. bounds(d.min_len, d.max_len, "bytes") .. (d.pattern and " that matches the pattern " .. d.pattern or "")
  end,
  read = function(value, d)
    if type(value) ~= "string" or #value < (d.min_len or 0) or #value > (d.max_len or math.huge) then return nil end
    return (not d.pattern or value:find(d.pattern)) and value or nil
  end,
}

types.integer = {
  lua = { number = true }, words = { "min", "max" }, expected = number_expected("a whole number"),
  read = function(value, d) return check.scalars.integer(value) and within(value, d) and value or nil end,
}

types.number = {
  lua = { number = true }, words = { "min", "max" }, expected = number_expected("a number"),
  read = function(value, d) return check.scalars.number(value) and within(value, d) and value or nil end,
}

types.boolean = {
  lua = { boolean = true }, expected = function() return "true or false" end,
  read = function(value) if type(value) == "boolean" then return value end end,
}

types.duration = {
  lua = { number = true, string = true }, words = { "min", "max" }, expected = number_expected(units.duration_expected),
  read = function(value, d)
    local seconds = units.duration(value)
    return seconds and within(seconds, d) and seconds or nil
  end,
}

types.size = {
  lua = { number = true, string = true }, words = { "min", "max" }, expected = number_expected(units.size_expected),
  read = function(value, d)
    local bytes = units.size(value)
    return bytes and within(bytes, d) and bytes or nil
  end,
}

-- Any value that `one_of` names, which schema.lua looks at.
types.enum = {
  lua = { string = true, number = true, boolean = true }, expected = function() return "a value" end,
  read = function(value) return value end,
}

types["function"] = {
  lua = { ["function"] = true }, expected = function() return "a function" end,
  read = function(value) return type(value) == "function" and value or nil end,
}

types.regex = {
  lua = { string = true }, expected = function() return "a regular expression" end,
  read = function(value)
    if type(value) ~= "string" then return nil end
    local problem = types.regex_problem(value)
    if problem then return nil, problem end
    return value
  end,
}

types.cidr = {
  lua = { string = true }, expected = function() return 'an address or a CIDR block such as "10.0.0.0/8" or "2001:db8::/32"' end,
  read = function(value) return type(value) == "string" and cidr(value) and value or nil end,
}

types.url = {
  lua = { string = true }, words = { "schemes" },
  expected = function(d) return ('a URL such as "%s://host/path"'):format((d.schemes or web)[1]) end,
  read = function(value, d) return type(value) == "string" and url(value, d.schemes or web) and value or nil end,
}

-- An upstream, or the name of one, which may be declared further down: new(config) gets the object either way.
types.upstream = {
  lua = { string = true, table = true }, expected = function() return "an upstream (gateway.upstream ...) or the name of one" end,
  read = function(value)
    if upstream.is(value) then return value end
    return type(value) == "string" and upstream.name_good(value) and upstream.named(value, spec.where()) or nil
  end,
}

types.any = { lua = {}, expected = function() return "a value" end, read = function(value) return value end }

types.list = {
  lua = { table = true }, words = { "of", "min_items", "max_items", "unique" }, expected = items_expected("a list", "items"),
  holds = true,
}

types.map = {
  lua = { table = true }, words = { "of", "keys", "min_items", "max_items" }, expected = items_expected("a map", "entries"), holds = true,
}

types.record = {
  lua = { table = true }, words = { "fields", "exclusive", "one_required", "together" }, holds = true,
  expected = function(d)
    local names = d.order and table.concat(d.order, ", ", 1, math.min(#d.order, 8)) or ""
    return names == "" and "a table" or ("a table with the fields %s%s"):format(names, #d.order > 8 and ", ..." or "")
  end,
}

types.union = { lua = {}, words = { "any_of" }, expected = function() return "a value" end, holds = true }

return types
