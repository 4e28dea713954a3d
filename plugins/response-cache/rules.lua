-- What HTTP says of caching (RFC 9111), as functions of text: directives, freshness, validators, dates. Nothing here keeps state.

local rules = {}

local huge = math.huge

-- ---- Cache-Control ----

-- The argument of a directive: a number of seconds, or nil. More than is worth telling apart is 2^31, as RFC 9111 section 1.2.2 has it.
local function delta(text)
  local digits = text and text:match("^%d+$")
  if not digits then return nil end
  return math.min(tonumber(digits), 2 ^ 31)
end

local NOTHING = {}

--- The directives of a Cache-Control field: name (in lower case) → argument, or true. A directive that stands there twice counts as the
--- stricter of the two where it is a time.
---@param field string?
---@return table<string, string|true>
function rules.directives(field)
  if not field then return NOTHING end
  local out = {}
  local at = 1
  while at <= #field do
    local name, behind = field:match("^[%s,]*([%w!#$%%&'*+%-.^_`|~]+)()", at)
    if not name then break end
    name = name:lower()
    local value, next_at = true, behind
    local quoted, after = field:match('^="(.-)"()', behind)
    if quoted then
      value, next_at = quoted, after
    else
      local token, token_end = field:match("^=([^,%s]*)()", behind)
      if token then value, next_at = token, token_end end
    end
    local before = out[name]
    if before == nil or value == true then
      out[name] = value
    elseif before ~= true then
      local a, b = delta(before), delta(value)
      if not a or not b then
        out[name] = "0" -- nonsense: stale at once
      elseif b < a then
        out[name] = value
      end
    end
    at = field:match("^[^,]*,?()", next_at)
  end
  return out
end

--- A directive's seconds; nil where it is missing, 0 where it is nonsense.
---@param directives table<string, string|true>
---@param name string
---@return number?
function rules.seconds(directives, name)
  local value = directives[name]
  if value == nil then return nil end
  return value ~= true and delta(value) or 0
end

-- ---- dates (RFC 9110 section 5.6.7; the two obsolete forms are read, too) ----

local months = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

-- Days since 1970 of a date of the Gregorian calendar (Howard Hinnant, days_from_civil).
local function days(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local year_of_era = year - era * 400
  local day_of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  local day_of_era = year_of_era * 365 + math.floor(year_of_era / 4) - math.floor(year_of_era / 100) + day_of_year
  return era * 146097 + day_of_era - 719468
end

--- Seconds since 1970 of an HTTP date; nil when it is none.
---@param text string?
---@return number?
function rules.date(text)
  if not text then return nil end
  local day, month, year, hour, minute, second = text:match("^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  if not day then
    day, month, year, hour, minute, second = text:match("^%a+, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    if day then
      year = tonumber(year) + 1900
      if year < 1970 then year = year + 100 end
    else
      month, day, hour, minute, second, year = text:match("^%a%a%a (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$")
    end
  end
  if not day or not months[month] then return nil end
  return days(tonumber(year), months[month], tonumber(day)) * 86400 + hour * 3600 + minute * 60 + second
end

-- ---- what a response says ----

--- Seconds that a response is fresh for, in a shared cache (RFC 9111 section 4.2.1): s-maxage, max-age, Expires. nil: it does not say.
---@param directives table<string, string|true>
---@param expires string?
---@param date string?
---@param now number
---@return number?
function rules.lifetime(directives, expires, date, now)
  local seconds = rules.seconds(directives, "s-maxage") or rules.seconds(directives, "max-age")
  if seconds then return seconds end
  if not expires then return nil end
  local at = rules.date(expires)
  if not at then return 0 end -- "0", and whatever else is no date, is the past
  return math.max(0, at - (rules.date(date) or now))
end

--- Whether a shared cache may keep the answer to a request with Authorization (RFC 9111 section 3.5).
function rules.authorized(directives)
  return directives.public ~= nil or directives["s-maxage"] ~= nil or directives["must-revalidate"] ~= nil
end

--- Whether a stale answer may never be sent without asking first.
function rules.strict(directives)
  return directives["must-revalidate"] ~= nil or directives["proxy-revalidate"] ~= nil or directives["s-maxage"] ~= nil
    or directives["no-cache"] ~= nil
end

-- ---- Vary ----

--- The names that a Vary field lists: lower case, in order, each once. nil: "*", nothing can be the same request. An empty list: no field.
---@param field string?
---@return string[]?
function rules.vary(field)
  local out, seen = {}, {}
  if not field then return out end
  for name in field:gmatch("[^,]+") do
    name = name:match("^%s*(.-)%s*$"):lower()
    if name == "*" then return nil end
    if name ~= "" and not seen[name] then
      seen[name] = true
      out[#out + 1] = name
    end
  end
  table.sort(out)
  return out
end

-- ---- conditions ----

local function opaque(tag)
  return (tag:gsub("^W/", ""))
end

-- Whether a list of entity tags names this one, compared weakly (RFC 9110 section 8.8.3.2).
local function lists_tag(field, tag)
  if field:match("^%s*%*%s*$") then return true end
  local wanted = opaque(tag)
  for one in field:gmatch('[wW]?/?"[^"]*"') do
    if opaque(one) == wanted then return true end
  end
  return false
end

--- Whether the client has what is stored already: 304 will do (RFC 9110 section 13.2.2).
---@param none_match string? If-None-Match
---@param modified_since string? If-Modified-Since
---@param etag string?
---@param last_modified string?
---@return boolean
function rules.unchanged(none_match, modified_since, etag, last_modified)
  if none_match then return etag ~= nil and lists_tag(none_match, etag) end
  if not modified_since or not last_modified then return false end
  if modified_since == last_modified then return true end
  local since, modified = rules.date(modified_since), rules.date(last_modified)
  return since ~= nil and modified ~= nil and modified <= since
end

--- Whether a client that asks for this takes what is stored without asking upstream. age, lifetime: seconds.
---@return boolean
function rules.acceptable(request, age, lifetime, strict)
  local most = rules.seconds(request, "max-age") or huge
  local least = rules.seconds(request, "min-fresh") or 0
  if age > most then return false end
  if age + least <= lifetime and age < lifetime then return true end
  if strict or least > 0 or request["max-stale"] == nil then return false end
  local stale = request["max-stale"] == true and huge or rules.seconds(request, "max-stale")
  return age - lifetime <= stale
end

return rules
