-- gateway.regex(pattern, flags): regular expressions by PCRE2, compiled to machine code. A match that would take too long gives up with an
-- error, whatever the pattern and the text (runtime/secure/regex.c): none can hold up the worker.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local owned = require "gateway.owned"

local regex = {}

local bits = { i = 1, m = 2, s = 4, x = 8, u = 16, a = 32 } -- enum gw_regex_flags
local LIMIT, INVALID = -6, -5

local failure = ffi.new("gw_regex_error")
local name_at = ffi.new("const char *[1]")

---@class gateway.Regex
---@field pattern string
---@field flags string
---@field captures integer groups
---@field names table<string, integer>
local Regex = { describe = function(r) return ("a regex (%s)"):format(check.describe(r.pattern)) end }
Regex.__index = Regex
Regex.__tostring = Regex.describe

-- The same pattern is compiled once, as long as somebody holds it.
local known = setmetatable({}, { __mode = "v" })

local function flags_of(flags)
  local set = 0
  if flags == nil then return 0 end
  local problem = 'flags: expected letters out of "imsxua", found ' .. check.describe(flags)
  if type(flags) ~= "string" then return nil, problem end
  for letter in flags:gmatch(".") do
    if not bits[letter] then return nil, problem end
    set = bit.bor(set, bits[letter])
  end
  return set
end

--- The regex, or what is wrong with it.
---@param pattern string
---@param flags? string i: any case; m: ^ and $ at line ends; s: . takes line ends; x: blanks and comments; u: UTF-8; a: anchored
---@return gateway.Regex? regex
---@return string? problem
---@return integer? at byte of the pattern, from 1
function regex.compile(pattern, flags)
  if type(pattern) ~= "string" then return nil, "expected a pattern, found " .. check.describe(pattern) end
  local set, problem = flags_of(flags)
  if not set then return nil, problem end
  local key = set .. ":" .. pattern
  local r = known[key]
  if r then return r end
  local pointer = C.gw_regex_compile(pattern, #pattern, set, failure)
  if pointer == nil then
    local why = ffi.string(failure.text)
    if failure.at < 0 then return nil, why end
    local at = failure.at + 1
    return nil, ("%s, at %s"):format(why, at > #pattern and "its end" or ("byte %d, %s"):format(at, check.describe(pattern:sub(at)))), at
  end
  owned.keep(pointer)
  local names, n = {}, 0
  while true do
    local group = C.gw_regex_name(pointer, n, name_at)
    if group == 0 then break end
    names[ffi.string(name_at[0])] = group
    n = n + 1
  end
  -- The last lets the collector know how much hangs on the object.
  r = setmetatable({ pattern = pattern, flags = flags or "", captures = C.gw_regex_captures(pointer), names = names, _pointer = pointer,
    _replacements = {}, _replacement_count = 0, _ballast = ffi.new("char[?]", C.gw_regex_bytes(pointer)) }, Regex)
  known[key] = r
  return r
end

--- A regular expression. Raises, at the caller's line, what is wrong with it.
---@param pattern string
---@param flags? string letters out of "imsxua"
---@return gateway.Regex
function regex.regex(pattern, flags)
  local r, problem = regex.compile(pattern, flags)
  if not r then error(("gateway.regex(%s): %s"):format(check.describe(pattern), problem), 2) end
  return r
end

-- ---- matching ----

local function misused(what, text)
  error(("regex:%s: expected a string, found %s"):format(what, check.describe(text)), 3)
end

local function gave_up(status)
  if status == LIMIT then return "the match was given up: it would take too long" end
  if status == INVALID then return "the text is too long: expected at most 4 MB" end
  return "not enough memory"
end

local function start(text, init)
  init = init or 1
  if init < 0 then init = math.max(#text + init + 1, 1) end
  return init - 1
end

local function collect(r, text, places)
  local out = { [0] = text:sub(places[0] + 1, places[1]) }
  for i = 1, r.captures do
    if places[2 * i] >= 0 then out[i] = text:sub(places[2 * i] + 1, places[2 * i + 1]) end
  end
  for name, i in pairs(r.names) do out[name] = out[i] end
  return out
end

--- Whether it matches somewhere in the text.
---@param text string
---@return boolean
---@return string? problem it would take too long
function Regex:test(text)
  if type(text) ~= "string" then misused("test", text) end
  local status = C.gw_regex_match(self._pointer, text, #text, 0)
  if status < 0 then return false, gave_up(status) end
  return status == 1
end

--- Where it matches: first and last byte, as string.find.
---@param text string
---@param init? integer where the search begins
---@return integer? first
---@return integer|string|nil last or, when the first is nil, a problem
function Regex:find(text, init)
  if type(text) ~= "string" then misused("find", text) end
  local status = C.gw_regex_match(self._pointer, text, #text, start(text, init))
  if status < 0 then return nil, gave_up(status) end
  if status == 0 then return nil end
  local places = C.gw_regex_places(self._pointer)
  return places[0] + 1, places[1]
end

--- What it matches: [0] the whole, [1] and so on its groups, and those with names by name. A group that took no part is nil.
---@param text string
---@param init? integer where the search begins
---@return table<integer|string, string>? captures
---@return string? problem it would take too long
function Regex:match(text, init)
  if type(text) ~= "string" then misused("match", text) end
  local status = C.gw_regex_match(self._pointer, text, #text, start(text, init))
  if status < 0 then return nil, gave_up(status) end
  if status == 0 then return nil end
  return collect(self, text, C.gw_regex_places(self._pointer))
end

-- Where the next search begins behind an empty match at byte `at` (from 0).
local function step(r, text, at)
  at = at + 1
  if r.flags:find("u", 1, true) then
    while at < #text and bit.band(text:byte(at + 1), 0xc0) == 0x80 do at = at + 1 end
  end
  return at
end

--- for captures in regex:gmatch(text) do ... end. One that would take too long raises.
---@param text string
---@return fun(): table<integer|string, string>?
function Regex:gmatch(text)
  if type(text) ~= "string" then misused("gmatch", text) end
  local at = 0
  return function()
    if at > #text then return nil end
    local status = C.gw_regex_match(self._pointer, text, #text, at)
    if status < 0 then error("regex:gmatch: " .. gave_up(status), 2) end
    if status == 0 then
      at = #text + 1
      return nil
    end
    local places = C.gw_regex_places(self._pointer)
    local first, last = places[0], places[1]
    local captures = collect(self, text, places)
    at = last > first and last or step(self, text, last)
    return captures
  end
end

-- "$1-${name}$$" as a list: strings, and numbers of groups.
local function parse_replacement(r, text)
  local parts, at = {}, 1
  while true do
    local i = text:find("$", at, true)
    if not i then break end
    if i > at then parts[#parts + 1] = text:sub(at, i - 1) end
    local number, behind = text:match("^%$(%d%d?%d?)()", i)
    local name, past = text:match("^%${([%w_]+)}()", i)
    if text:sub(i + 1, i + 1) == "$" then
      parts[#parts + 1] = "$"
      at = i + 2
    elseif number or name then
      local group = tonumber(number or name) or r.names[name]
      if not group or group > r.captures then
        return nil, ("the replacement %s: the pattern has no group %s"):format(check.describe(text), check.describe(number or name))
      end
      parts[#parts + 1] = group
      at = behind or past
    else
      return nil, ("the replacement %s: expected a group behind \"$\" ($1, ${name}), or \"$$\""):format(check.describe(text))
    end
  end
  if at <= #text then parts[#parts + 1] = text:sub(at) end
  return parts
end

--- The replacement "$1 ${name} $$" as something that gsub takes at once, or what is wrong with it: for checks while a script loads.
---@param replacement string
---@return table? parts
---@return string? problem
function Regex:replacement(replacement)
  local parts = self._replacements[replacement]
  if parts then return parts end
  local problem
  parts, problem = parse_replacement(self, replacement)
  if not parts then return nil, problem end
  if self._replacement_count >= 64 then self._replacements, self._replacement_count = {}, 0 end
  self._replacements[replacement] = parts
  self._replacement_count = self._replacement_count + 1
  return parts
end

--- The text with each match, or the first n of them, replaced.
---@param text string
---@param replacement string|fun(captures: table): string? "$1", "${name}", "$0" the whole, "$$" a dollar; a function's nil leaves the match
---@param n? integer
---@return string? text
---@return integer|string count or, when the text is nil, a problem
function Regex:gsub(text, replacement, n)
  if type(text) ~= "string" then misused("gsub", text) end
  local parts
  if type(replacement) == "string" then
    local problem
    parts, problem = self:replacement(replacement)
    if not parts then error("regex:gsub: " .. problem, 2) end
  elseif type(replacement) ~= "function" then
    error("regex:gsub: expected a string or a function as replacement, found " .. check.describe(replacement), 2)
  end
  local out, count, at, from, most = {}, 0, 0, 0, n or math.huge -- `at`: what is before it stands in `out`
  while from <= #text and count < most do
    local status = C.gw_regex_match(self._pointer, text, #text, from)
    if status < 0 then return nil, gave_up(status) end
    if status == 0 then break end
    local places = C.gw_regex_places(self._pointer)
    local first, last = places[0], places[1]
    out[#out + 1] = text:sub(at + 1, first)
    if parts then
      for _, part in ipairs(parts) do
        if type(part) == "string" then
          out[#out + 1] = part
        elseif places[2 * part] >= 0 then
          out[#out + 1] = text:sub(places[2 * part] + 1, places[2 * part + 1])
        end
      end
    else
      local whole = text:sub(first + 1, last)
      local with = replacement(collect(self, text, places))
      if with ~= nil and type(with) ~= "string" and type(with) ~= "number" then
        error("regex:gsub: expected the function to return a string or nothing, found " .. check.describe(with), 2)
      end
      out[#out + 1] = with == nil and whole or tostring(with)
    end
    count, at = count + 1, last
    from = last > first and last or step(self, text, last)
  end
  if count == 0 then return text, 0 end
  out[#out + 1] = text:sub(at + 1)
  return table.concat(out), count
end

return regex
