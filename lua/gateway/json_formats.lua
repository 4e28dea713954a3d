-- The values of JSON Schema's "format" that are looked at: each a function(text) → boolean.

local cidr = require "gateway.cidr"
local regex = require "gateway.regex"

local formats = {}

local everything = cidr.cidr { "0.0.0.0/0", "::/0" }

function formats.ipv4(text)
  return text:find("^%d+%.%d+%.%d+%.%d+$") ~= nil and (everything:contains(text))
end

function formats.ipv6(text)
  if not text:find("^[%x:.]+$") or not text:find(":", 1, true) or text:find("^[^:]*%.") then return false end
  return select(2, everything:contains(text)) == nil
end

local days = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

-- RFC 3339 section 5.6.
function formats.date(text)
  local year, month, day = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)$")
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  if not year or not days[month] or day < 1 or day > days[month] then return false end
  return month ~= 2 or day < 29 or (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0))
end

function formats.time(text)
  local hour, minute, second, zone = text:match("^(%d%d):(%d%d):(%d%d)(.*)$")
  if not hour or tonumber(hour) > 23 or tonumber(minute) > 59 or tonumber(second) > 60 then return false end
  zone = zone:gsub("^%.%d+", "")
  if zone == "Z" or zone == "z" then return true end
  local zone_hour, zone_minute = zone:match("^[+-](%d%d):(%d%d)$")
  return zone_hour ~= nil and tonumber(zone_hour) <= 23 and tonumber(zone_minute) <= 59
end

formats["date-time"] = function(text)
  local date, time = text:match("^(.-)[Tt](.*)$")
  return date ~= nil and formats.date(date) and formats.time(time)
end

function formats.uuid(text)
  return text:find("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$") ~= nil
end

-- RFC 1123: letters, digits and hyphens, not at a label's ends.
function formats.hostname(text)
  if text == "" or #text > 253 then return false end
  for label in (text .. "."):gmatch("([^.]*)%.") do
    if #label > 63 or not label:find("^%w[%w-]*$") or label:find("%-$") then return false end
  end
  return true
end

-- What mail goes to in practice: no quoted local parts, no comments.
function formats.email(text)
  local name, host = text:match("^([%w!#$%%&'*+/=?^_`{|}~.-]+)@(.+)$")
  return name ~= nil and #name <= 64 and not name:find("^%.") and not name:find("%.$") and not name:find("..", 1, true)
    and formats.hostname(host)
end

function formats.uri(text)
  if text:find("[^%w%-._~:/?#%[%]@!$&'()*+,;=%%]") or text:gsub("%%%x%x", ""):find("%", 1, true) then return false end
  return text:find("^%a[%w+.-]*:.") ~= nil
end

function formats.regex(text)
  return regex.compile(text, "u") ~= nil
end

return formats
