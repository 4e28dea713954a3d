-- Numbers and names as people read them in a terminal.

local json = require "gateway.json"

local words = {}

--- 12345 → "12,345".
function words.count(n)
  local text = ("%d"):format(n)
  local head, tail = text:match("^(%d%d?%d?)(%d*)$")
  if not head then return text end
  while #tail % 3 ~= 0 do
    head, tail = head .. tail:sub(1, 1), tail:sub(2)
  end
  return head .. tail:gsub("%d%d%d", ",%0")
end

--- 1536 → "1.5 KB".
function words.bytes(n)
  for _, unit in ipairs { "B", "KB", "MB", "GB" } do
    if n < 1024 or unit == "GB" then return (unit == "B" and "%d %s" or "%.1f %s"):format(n, unit) end
    n = n / 1024
  end
end

--- Seconds → "340 ms", "3.2 s", "5 min 3 s", "2 h 5 min", "4 d 2 h".
function words.duration(seconds)
  if seconds < 1 then return ("%d ms"):format(math.floor(seconds * 1000 + 0.5)) end
  if seconds < 60 then return ("%.1f s"):format(seconds) end
  seconds = math.floor(seconds)
  local days, hours, minutes = math.floor(seconds / 86400), math.floor(seconds / 3600) % 24, math.floor(seconds / 60) % 60
  if days > 0 then return ("%d d %d h"):format(days, hours) end
  if hours > 0 then return ("%d h %d min"):format(hours, minutes) end
  return ("%d min %d s"):format(minutes, seconds % 60)
end

--- plural(1, "route") → "1 route".
function words.plural(n, word)
  return ("%s %s%s"):format(words.count(n), word, n == 1 and "" or "s")
end

--- A member of decoded JSON that may be null, which is a table of its own.
function words.given(value)
  return value ~= json.null and value or nil
end

--- What the terminal is told must be text, whatever a script calls its routes: neither C0 nor C1 controls reach it, nor what turns the
-- direction of text.
function words.plain(value)
  local text = tostring(value):gsub("%c", "?"):gsub("\194[\128-\159]", "?")
  return (text:gsub("\226\128[\142\143\170-\174]", "?"):gsub("\226\129[\166-\169]", "?"))
end

return words
