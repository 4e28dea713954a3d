-- JSON (RFC 8259). Writing is plain Lua; keys are sorted, so that equal tables give equal text. Reading takes tokens from C
-- (runtime/secure/json.h), strictly.

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
  if depth > 64 then error("JSON: the table is nested more than 64 deep, or contains itself", 0) end
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
    elseif value % 1 == 0 and math.abs(value) <= 2 ^ 53 then
      out[#out + 1] = ("%d"):format(value)
    else
      local text = ("%.14g"):format(value)
      out[#out + 1] = tonumber(text) == value and text or ("%.17g"):format(value) -- reads as the same number again
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

-- An empty table is written as {}; one with this metatable as [].
json.array_metatable = {}

--- A list that is written as [] even while it is empty.
---@param list? any[]
---@return any[]
function json.array(list)
  return setmetatable(list or {}, json.array_metatable)
end

local function write(value)
  local out = {}
  encode(value, 0, out)
  return table.concat(out)
end

--- The JSON text of a value. Raises, at the caller's line, what JSON cannot say.
---@param value any
---@return string
function json.encode(value)
  local good, result = pcall(write, value)
  if not good then error(result, 2) end
  return result
end

-- ---- reading ----

local OBJECT, OBJECT_END, ARRAY, ARRAY_END, KEY, STRING, NUMBER, TRUE, FALSE = 1, 2, 3, 4, 5, 6, 7, 8, 9 -- enum gw_json_kind

local C, ffi, reader, room, room_bytes -- taken when something is read: writing does without

local function load_reader()
  C, ffi = require "gateway.ffi", require "ffi"
  room, room_bytes = ffi.new("char[?]", 1024), 1024
  reader = ffi.new("gw_json")
end

-- The last key or string.
local function text_of(j, text)
  if j.escaped == 0 then return text:sub(j.first + 1, j.first + j.bytes) end
  if j.bytes <= room_bytes then return ffi.string(room, C.gw_json_unescape(j, room)) end
  local large = ffi.new("char[?]", j.bytes)
  return ffi.string(large, C.gw_json_unescape(j, large))
end

local function failed(at, why) return nil, ("JSON: %s, at byte %d"):format(why, at + 1) end

--- The value of a JSON text. null is json.null; an empty array is one that is written as [] again. Of equal keys in an object the last
--- counts, unless `unique` says that there may be none.
---@param text string
---@param options? { depth?: integer, unique?: boolean } depth: of nesting, at most (64; up to 256)
---@return any value nil: it is no JSON
---@return string? problem
function json.decode(text, options)
  if type(text) ~= "string" then error("json.decode: expected a string, found a " .. type(text), 2) end
  if not C then load_reader() end
  local depth, unique = options and options.depth or 64, options and options.unique
  local j = reader
  if C.gw_json_begin(j, text, #text, depth) < 0 then
    error("json.decode: expected a depth from 0 to 256 and a text of at most 1 GB", 2)
  end
  local stack, top = {}, 0
  local holder, is_object, key, count -- what is open, its next key, or how many items it has
  local result
  while true do
    local kind, value = C.gw_json_next(j), nil
    if kind == KEY then
      key = text_of(j, text)
      if unique and holder[key] ~= nil then return failed(j.first - 1, "a key that the object has already") end
    else
      if kind == STRING then
        value = text_of(j, text)
      elseif kind == NUMBER then
        value = j.number
      elseif kind == TRUE then
        value = true
      elseif kind == FALSE then
        value = false
      elseif kind == OBJECT or kind == ARRAY then
        stack[top + 1], stack[top + 2], stack[top + 3], stack[top + 4] = holder or false, is_object or false, key or false, count or 0
        top = top + 4
        holder, is_object, key, count = {}, kind == OBJECT, nil, 0
      elseif kind == OBJECT_END or kind == ARRAY_END then
        value = holder
        if kind == ARRAY_END and count == 0 then setmetatable(value, json.array_metatable) end
        top = top - 4
        holder, is_object, key, count = stack[top + 1], stack[top + 2], stack[top + 3], stack[top + 4]
      elseif kind == 0 then
        return result
      elseif kind < 0 then
        return failed(j.at, ffi.string(j.why))
      else
        value = json.null
      end
      if value ~= nil then
        if not holder then
          result = value
        elseif is_object then
          holder[key] = value
        else
          count = count + 1
          holder[count] = value
        end
      end
    end
  end
end

return json
