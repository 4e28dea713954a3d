-- JSON read, for what tests look at: bodies and log lines.

local json = require "gateway.json"

local testing_json = {}

local escapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function utf8(code)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xc0 + math.floor(code / 0x40), 0x80 + code % 0x40) end
  if code < 0x10000 then
    return string.char(0xe0 + math.floor(code / 0x1000), 0x80 + math.floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
  end
  return string.char(0xf0 + math.floor(code / 0x40000), 0x80 + math.floor(code / 0x1000) % 0x40, 0x80 + math.floor(code / 0x40) % 0x40,
    0x80 + code % 0x40)
end

local function fail(at, what) error({ at = at, what = what }, 0) end

local function skip(text, at)
  return text:find("[^ \t\r\n]", at) or #text + 1
end

local function string_at(text, at)
  local parts = {}
  at = at + 1
  while true do
    local from, to, plain = text:find('^([^"\\%c]*)', at)
    parts[#parts + 1], at = plain, to + 1
    local c = text:sub(at, at)
    if c == '"' then return table.concat(parts), at + 1 end
    if c ~= "\\" then fail(from, "the end of a string was expected") end
    local e = text:sub(at + 1, at + 1)
    if e == "u" then
      local code = tonumber(text:match("^%x%x%x%x", at + 2) or fail(at, "four hex digits were expected"), 16)
      at = at + 6
      if code >= 0xd800 and code < 0xdc00 then
        local low = tonumber(text:match("^\\u(%x%x%x%x)", at) or "", 16)
        if low and low >= 0xdc00 and low < 0xe000 then
          code = 0x10000 + (code - 0xd800) * 0x400 + (low - 0xdc00)
          at = at + 6
        else
          code = 0xfffd
        end
      end
      parts[#parts + 1] = utf8(code)
    else
      parts[#parts + 1] = escapes[e] or fail(at, "an escape was expected")
      at = at + 2
    end
  end
end

local value_at

local function list_at(text, at, depth)
  local out, n = json.array {}, 0
  at = skip(text, at + 1)
  if text:sub(at, at) == "]" then return out, at + 1 end
  while true do
    n = n + 1
    out[n], at = value_at(text, at, depth)
    at = skip(text, at)
    local c = text:sub(at, at)
    if c == "]" then return out, at + 1 end
    if c ~= "," then fail(at, '"," or "]" was expected') end
    at = skip(text, at + 1)
  end
end

local function object_at(text, at, depth)
  local out = {}
  at = skip(text, at + 1)
  if text:sub(at, at) == "}" then return out, at + 1 end
  while true do
    if text:sub(at, at) ~= '"' then fail(at, "a name was expected") end
    local name
    name, at = string_at(text, at)
    at = skip(text, at)
    if text:sub(at, at) ~= ":" then fail(at, '":" was expected') end
    out[name], at = value_at(text, skip(text, at + 1), depth)
    at = skip(text, at)
    local c = text:sub(at, at)
    if c == "}" then return out, at + 1 end
    if c ~= "," then fail(at, '"," or "}" was expected') end
    at = skip(text, at + 1)
  end
end

local words = { ["true"] = true, ["false"] = false, null = json.null }

function value_at(text, at, depth)
  if depth > 200 then fail(at, "too deep") end
  local c = text:sub(at, at)
  if c == "{" then return object_at(text, at, depth + 1) end
  if c == "[" then return list_at(text, at, depth + 1) end
  if c == '"' then return string_at(text, at) end
  local word = text:match("^%a+", at)
  if word and words[word] ~= nil then return words[word], at + #word end
  local number = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
  if number and tonumber(number) then return tonumber(number), at + #number end
  fail(at, "a value was expected")
end

--- The value of a JSON text (null is gateway.json's null); or nil, why it is none.
---@param text string
function testing_json.decode(text)
  local good, value, at = pcall(value_at, text, skip(text, 1), 0)
  if not good then
    if type(value) ~= "table" then error(value, 0) end
    return nil, ("no JSON at byte %d: %s"):format(value.at, value.what)
  end
  if skip(text, at) <= #text then return nil, ("no JSON: more behind its end, at byte %d"):format(at) end
  return value
end

return testing_json
