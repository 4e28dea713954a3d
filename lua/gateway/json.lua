-- JSON, written only: what gateway.respond(status, table) and log fields need. Keys are sorted, so that equal tables give equal text.

local json = {}

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\b"] = "\\b", ["\f"] = "\\f" }

local function escape(c)
  return escapes[c] or ("\\u%04x"):format(c:byte())
end

-- JSON is UTF-8: bytes that are none become U+FFFD, whatever a client or a backend put there.
local function scrub(text)
  local out, at = {}, 1
  while at <= #text do
    local a, b = text:byte(at, at + 1)
    local length, low, high = 1, 0x80, 0xbf
    if a >= 0xc2 and a <= 0xdf then length = 2
    elseif a >= 0xe0 and a <= 0xef then
      length = 3
      if a == 0xe0 then low = 0xa0 elseif a == 0xed then high = 0x9f end
    elseif a >= 0xf0 and a <= 0xf4 then
      length = 4
      if a == 0xf0 then low = 0x90 elseif a == 0xf4 then high = 0x8f end
    elseif a >= 0x80 then
      length = 0
    end
    local good = length == 1
    if length > 1 then
      good = b and b >= low and b <= high or false
      for i = 2, length - 1 do
        local c = text:byte(at + i)
        if not c or c < 0x80 or c > 0xbf then good = false end
      end
    end
    out[#out + 1] = good and text:sub(at, at + length - 1) or "\239\191\189"
    at = at + (good and length or 1)
  end
  return table.concat(out)
end

local function quoted(text)
  if text:find("[\128-\255]") then text = scrub(text) end
  if text:find('[%c"\\\127]') then text = text:gsub('[%c"\\\127]', escape) end
  return '"' .. text .. '"'
end

local encode

local function encode_table(value, depth, out)
  if depth > 64 then error("gateway.respond: the table is nested more than 64 deep, or contains itself", 0) end
  local count = #value
  if count > 0 then
    local keys = 0
    for _ in pairs(value) do keys = keys + 1 end
    if keys == count then
      out[#out + 1] = "["
      for i = 1, count do
        if i > 1 then out[#out + 1] = "," end
        encode(value[i], depth, out)
      end
      out[#out + 1] = "]"
      return
    end
  end
  local keys = {}
  for key in pairs(value) do
    if type(key) ~= "string" and type(key) ~= "number" then
      error("JSON: expected strings or numbers as keys, found a " .. type(key), 0)
    end
    keys[#keys + 1] = key
  end
  if #keys == 0 and getmetatable(value) == json.array_metatable then
    out[#out + 1] = "[]"
    return
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  out[#out + 1] = "{"
  for i, key in ipairs(keys) do
    if i > 1 then out[#out + 1] = "," end
    out[#out + 1] = quoted(tostring(key))
    out[#out + 1] = ":"
    encode(value[key], depth, out)
  end
  out[#out + 1] = "}"
end

function encode(value, depth, out)
  local kind = type(value)
  if kind == "string" then
    out[#out + 1] = quoted(value)
  elseif kind == "number" then
    if value ~= value or math.abs(value) == math.huge then
      out[#out + 1] = "null" -- JSON has no such numbers
    elseif value % 1 == 0 and math.abs(value) < 1e15 then
      out[#out + 1] = ("%d"):format(value)
    else
      out[#out + 1] = ("%.14g"):format(value)
    end
  elseif kind == "boolean" then
    out[#out + 1] = value and "true" or "false"
  elseif value == nil or value == json.null then
    out[#out + 1] = "null"
  elseif kind == "table" then
    encode_table(value, depth + 1, out)
  else
    error("JSON: expected a string, a number, a boolean or a table, found a " .. kind, 0)
  end
end

--- null, where Lua's nil would leave a hole.
json.null = setmetatable({}, { __tostring = function() return "null" end })

--- An empty table is written as {}; one made by this as [].
json.array_metatable = {}
function json.array(list)
  return setmetatable(list or {}, json.array_metatable)
end

--- The JSON text of a value. Raises a message (without position) for what JSON cannot say.
---@param value any
---@return string
function json.encode(value)
  local out = {}
  encode(value, 0, out)
  return table.concat(out)
end

return json
