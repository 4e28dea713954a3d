-- Durations and sizes as people write them: "250ms", "30s", "5m", "1h"; "64KB", "10MB". Pure Lua, no state.

local units = {}

local seconds_of = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }
local bytes_of = { b = 1, kb = 1024, mb = 1024 ^ 2, gb = 1024 ^ 3, tb = 1024 ^ 4 }

units.duration_expected = 'a duration (seconds, or a string such as "250ms", "30s", "5m", "1h")'
units.size_expected = 'a size (bytes, or a string such as "64KB", "10MB")'

--- Seconds of a duration; nil when it is none.
---@param value any number of seconds, or "250ms", "30s", "5m", "1h", "2d"
---@return number? seconds
function units.duration(value)
  if type(value) == "number" then
    if value >= 0 and value < math.huge then return value end
    return nil
  end
  if type(value) ~= "string" then return nil end
  local number, unit = value:match("^%s*(%d+%.?%d*)%s*(%a*)%s*$")
  if not number then return nil end
  local factor = seconds_of[unit == "" and "s" or unit]
  return factor and tonumber(number) * factor
end

--- Bytes of a size; nil when it is none. 1 KB is 1024 bytes.
---@param value any whole number of bytes, or "512B", "64KB", "10MB", "1GB"
---@return number? bytes
function units.size(value)
  local bytes
  if type(value) == "number" then
    bytes = value
  elseif type(value) == "string" then
    local number, unit = value:match("^%s*(%d+%.?%d*)%s*(%a*)%s*$")
    local factor = number and bytes_of[unit == "" and "b" or unit:lower():gsub("ib$", "b")]
    if not factor then return nil end
    bytes = tonumber(number) * factor
  end
  if not bytes or bytes < 0 or bytes > 2 ^ 53 or bytes % 1 ~= 0 then return nil end
  return bytes
end

return units
