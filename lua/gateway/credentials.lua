-- What plugins that authenticate have in common: where a credential stands in a request, taking it away before the request goes on, and
-- telling who the consumer is.
--
--     local place = credentials.place { header = "x-api-key", query = "api_key" }
--     local key, where, rest = place:find(request)   -- nil: none, or two of them
--     place:hide(request, where, rest)

local C = require "gateway.ffi"
local check = require "gateway.check"
local headers = require "gateway.headers"

local credentials = {}

local function decoded(text)
  if not text:find("[%%+]") then return text end
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- The values of a query's parameter, and the query without it.
local function in_query(query, name)
  local values, rest = {}, {}
  for part in query:gmatch("[^&]+") do
    local key, value = part:match("^([^=]*)=?(.*)$")
    if decoded(key) == name then values[#values + 1] = decoded(value) else rest[#rest + 1] = part end
  end
  return values, table.concat(rest, "&")
end

-- The same where nothing is escaped, by plain searches, which are compiled: the first value, how often the parameter stands there, and the
-- query without it.
local function in_plain_query(query, name)
  local first, count, rest, at, length = nil, 0, query, 1, #query
  while at <= length do
    local stop = query:find("&", at, true) or length + 1
    local equals = query:find("=", at, true)
    if not equals or equals > stop then equals = stop end
    if equals - at == #name and query:sub(at, equals - 1) == name then
      count = count + 1
      if count == 1 then
        first = query:sub(equals + 1, stop - 1)
        rest = query:sub(1, at > 1 and at - 2 or 0) .. query:sub(at > 1 and stop or stop + 1)
      end
    end
    at = stop + 1
  end
  return first, count, rest
end

-- The same of a Cookie field.
local function in_cookies(field, name)
  local values, rest = {}, {}
  for part in field:gmatch("[^;]+") do
    local key, value = part:match("^%s*([^=]-)%s*=%s*(.-)%s*$")
    if key == name then
      values[#values + 1] = value:match('^"(.*)"$') or value
    else
      rest[#rest + 1] = part:match("^%s*(.-)%s*$")
    end
  end
  return values, table.concat(rest, "; ")
end

---@class gateway.CredentialPlace
---@field header? string
---@field scheme? string in front of what the header holds ("Bearer"), in any case
---@field query? string
---@field cookie? string
local Place = {}
Place.__index = Place

-- What a header field holds behind the scheme, or nil: another scheme.
local function behind_scheme(value, scheme)
  if not scheme then return value end
  local word, rest = value:match("^([^%s]+)[ \t]+(.-)[ \t]*$")
  if word and word:lower() == scheme then return rest end
  return nil
end

--- The credential. Two of them, in one place or in several, are none: what the gateway checked and what a backend takes might differ.
---@param request gateway.Request
---@return string? credential
---@return "header"|"query"|"cookie"|"several"|nil where it stands, or why there is none
---@return string? rest what hide() leaves of the query
function Place:find(request)
  local found, count, where, without
  if self.header then
    local value = request.headers[self.header]
    value = value and behind_scheme(value, self.scheme)
    if value then found, count, where = value, 1, "header" end
  end
  if self.query then
    local query = request.query
    if query:find("%", 1, true) or query:find("+", 1, true) then
      local values, rest = in_query(query, self.query)
      if #values > 0 then found, count, where, without = values[1], (count or 0) + #values, "query", rest end
    elseif query ~= "" then
      local value, times, rest = in_plain_query(query, self.query)
      if times > 0 then found, count, where, without = value, (count or 0) + times, "query", rest end
    end
  end
  if self.cookie then
    local field = request.headers.cookie
    if field and field:find(self.cookie, 1, true) then
      local values = in_cookies(field, self.cookie)
      if #values > 0 then found, count, where = values[1], (count or 0) + #values, "cookie" end
    end
  end
  if not count then return nil end
  if count > 1 then return nil, "several" end
  return found, where, without
end

--- Takes it out of the request.
---@param request gateway.Request
---@param where "header"|"query"|"cookie" as find() said: there is none anywhere else
---@param rest? string likewise
function Place:hide(request, where, rest)
  if where == "header" then
    request.headers[self.header] = nil
  elseif where == "query" then
    request.query = rest
  elseif where == "cookie" then
    local _, others = in_cookies(request.headers.cookie, self.cookie)
    request.headers.cookie = others ~= "" and others or nil
  end
end

--- Where a credential may stand; at least one of the places.
---@param given { header?: string|false, scheme?: string, query?: string, cookie?: string }
---@return gateway.CredentialPlace
function credentials.place(given)
  return setmetatable({ header = given.header or nil, scheme = given.scheme and given.scheme:lower(), query = given.query,
    cookie = given.cookie }, Place)
end

-- ---- fields of schemas ----

local function header_problem(name)
  if not check.header_name(name) or headers.reserved[name:lower()] then return "expected the name of a header that scripts may set" end
end

local function name_problem(value)
  if value == "" or not check.header_value(value) then return "expected text without control characters" end
end

--- A header's name, or false.
---@param default string|false
---@param description string
---@return gateway.Field
function credentials.header_field(default, description)
  return { type = "union", any_of = { { type = "string", check = header_problem }, { type = "boolean", one_of = { false } } },
    default = default, description = description }
end

--- A consumer's name and the like: what can stand in a header.
---@param description string
---@param default? string
---@return gateway.Field
function credentials.name_field(description, default)
  return { type = "string", check = name_problem, description = description, default = default }
end

--- The header that tells the backend who it is.
---@return gateway.Field
function credentials.consumer_field()
  return credentials.header_field("X-Consumer", "tells the backend who it is; what clients send of it is taken away. false: not told")
end

--- Sets a field of the request that clients cannot send for themselves (nil: takes it away): not under that name, and not under one that is
--- the same to backends which make variables of names, where X_Consumer and X-Consumer are both HTTP_X_CONSUMER.
---@param request gateway.Request
---@param name string
---@param value string|string[]|nil
function credentials.vouch(request, name, value)
  local fields = request.headers
  C.gw_lua_header_remove_alike(fields[1], name, #name)
  if value ~= nil then fields[name] = value end
end

--- Tells who it is: request.ctx.consumer, the access log, and the backend by a header, which no client can send for itself.
---@param request gateway.Request
---@param consumer string? nil: nobody
---@param header string|false
function credentials.identify(request, consumer, header)
  if consumer then
    request.ctx.consumer = consumer
    request.log.consumer = consumer
  end
  if header then credentials.vouch(request, header, consumer) end
end

--- Text inside of a quoted-string (RFC 9110 section 5.6.4).
---@param text string
---@return string
function credentials.quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return c:find("%c") and " " or "\\" .. c end) .. '"'
end

return credentials
