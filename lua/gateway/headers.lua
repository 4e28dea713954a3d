-- Header fields of a response that a script makes: an ordered list with names that know no case. (The fields of requests and of backends'
-- responses live in C: see message.lua. Both answer to the same words.)

local check = require "gateway.check"
local spec = require "gateway.spec"

local headers = {}

-- Fields that the gateway alone writes: a script that could set them could break the framing of the connection.
headers.reserved = {
  ["content-length"] = true, ["transfer-encoding"] = true, connection = true, ["keep-alive"] = true, ["proxy-connection"] = true,
  te = true, trailer = true, upgrade = true, ["http2-settings"] = true,
}

-- And what gateway.fetch does not take: a copy of a message's fields has to go without them.
headers.not_fetched = { expect = true, ["proxy-authorization"] = true, ["proxy-authenticate"] = true }
for name in pairs(headers.reserved) do headers.not_fetched[name] = true end

-- Lower-case names of what was met before: scripts use few names, so lower() is paid once each. Bounded, for names made at run time.
local lower_of, lower_count = {}, 0
local function lower(name)
  local text = lower_of[name]
  if text then return text end
  text = name:lower()
  if lower_count >= 1024 then lower_of, lower_count = {}, 0 end
  lower_of[name], lower_count = text, lower_count + 1
  return text
end
headers.lower = lower

--- Why a script may not set this field to this value; nil when it may.
---@return string? problem
function headers.problem(name, value)
  if not check.header_name(name) then
    return "header name: expected letters, digits and -, found " .. check.describe(name)
  end
  if headers.reserved[lower(name)] then
    return ("header %q frames the connection: the gateway alone writes it"):format(name)
  end
  local kind = type(value)
  if kind == "number" or (kind == "string" and check.header_value(value)) then return nil end
  return ("header %q: expected a string without line ends or control characters, found %s"):format(name, check.describe(value))
end

---@class gateway.HeaderList
local methods = {}
local HeaderList = {}

-- A list keeps its names in [1], their lower-case form in [2], values in [3].
local function new()
  return setmetatable({ {}, {}, {} }, HeaderList)
end

local function remove(list, name)
  local names, lowers, values = list[1], list[2], list[3]
  for i = #names, 1, -1 do
    if lowers[i] == name then
      table.remove(names, i)
      table.remove(lowers, i)
      table.remove(values, i)
    end
  end
end

local function add(list, name, value)
  local at = #list[1] + 1
  list[1][at], list[2][at], list[3][at] = name, lower(name), tostring(value)
end

function HeaderList.__index(list, name)
  local method = methods[name]
  if method then return method end
  if type(name) ~= "string" then return nil end
  local wanted, found = lower(name), nil
  local lowers = list[2]
  for i = 1, #lowers do
    if lowers[i] == wanted then found = found and found .. ", " .. list[3][i] or list[3][i] end
  end
  return found
end

function HeaderList.__newindex(list, name, value)
  if value == nil then
    if type(name) == "string" then remove(list, lower(name)) end
    return
  end
  if type(value) == "table" then
    for _, item in ipairs(value) do
      local problem = headers.problem(name, item)
      if problem then return spec.problem(problem) end
    end
    remove(list, lower(name))
    for _, item in ipairs(value) do add(list, name, item) end
    return
  end
  local problem = headers.problem(name, value)
  if problem then return spec.problem(problem) end
  remove(list, lower(name))
  add(list, name, value)
end

--- All values of a field, one for each time that it stands there.
---@param name string
---@return string[]
function methods:all(name)
  local out, wanted = {}, lower(name)
  for i = 1, #self[2] do
    if self[2][i] == wanted then out[#out + 1] = self[3][i] end
  end
  return out
end

--- Adds a field beside those of the same name (Set-Cookie).
---@param name string
---@param value string|number
function methods:add(name, value)
  local problem = headers.problem(name, value)
  if problem then return spec.problem(problem) end
  add(self, name, value)
end

--- for name, value in headers:each() do ... end: every field, in order.
function methods:each()
  local i = 0
  return function()
    i = i + 1
    if self[1][i] then return self[1][i], self[3][i] end
  end
end

headers.new = new
headers.HeaderList = HeaderList

return headers
