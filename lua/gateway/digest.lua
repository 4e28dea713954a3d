-- The spec as text. Each worker has its own state and runs the script itself; equal texts mean that they agree. There are two forms:
-- `text`, short and quick to make, for comparing and for the digest; and `lines`, one value a line with its path ('routes[2].name = "/x"'),
-- made only when the short ones differ, to say where.

local digest = {}

local format, concat, sort = string.format, table.concat, table.sort

-- A secret counts in the comparison and is never shown: it stands there as a hash (FNV-1a, 32 bits), of which people see 16 bits, enough to
-- tell that two runs did not have the same.
local Secret = { describe = function() return "a secret" end }

--- What stands for a secret value.
---@param value any
---@return table
function digest.secret(value)
  local hash = 0x811c9dc5ULL
  local text = digest.text(value)
  for i = 1, #text do hash = bit.band(bit.bxor(hash, text:byte(i)) * 0x01000193ULL, 0xffffffffULL) end
  return setmetatable({ hash = tonumber(hash) }, Secret)
end

-- Functions are known by where they are written: the same line of the same file is the same function in every state.
local function function_text(f)
  local info = debug.getinfo(f, "S")
  return format("function %s:%d", info.source:gsub("^[@=]", ""), info.linedefined)
end

local function by_text(a, b) return tostring(a) < tostring(b) end

-- The keys of a table that do not belong to its list part, in an order that does not depend on chance; nil when there are none.
local function names_of(value, count)
  local names, plain
  for key in next, value do
    local kind = type(key)
    if not (kind == "number" and key >= 1 and key <= count and key % 1 == 0) then
      if not names then names, plain = {}, true end
      names[#names + 1] = key
      plain = plain and kind == "string"
    end
  end
  if names and names[2] ~= nil then
    if plain then sort(names) else sort(names, by_text) end
  end
  return names
end

local function scalar(value, kind)
  if kind == "number" then return format("%.17g", value) end
  if kind == "function" then return function_text(value) end
  if kind == "boolean" then return tostring(value) end
  return kind -- threads, userdata, cdata: only that they are there
end

local function too_deep()
  error("the spec is nested too deep, or contains itself", 0)
end

-- Appends to out from n on; returns the new n. Strings carry their length, so that no two values have one text.
local function short(value, out, n, depth)
  local kind = type(value)
  if kind == "string" then
    out[n + 1], out[n + 2], out[n + 3] = #value, ":", value
    return n + 3
  elseif kind ~= "table" then
    out[n + 1], out[n + 2] = kind == "number" and value % 1 == 0 and value or scalar(value, kind), ";"
    return n + 2
  end
  if depth > 100 then too_deep() end
  n = n + 1
  out[n] = "{"
  local count = #value
  for i = 1, count do n = short(value[i], out, n, depth + 1) end
  local names = names_of(value, count)
  if names then
    for i = 1, #names do
      local key = names[i]
      n = n + 1
      out[n] = tostring(key) .. "="
      n = short(value[key], out, n, depth + 1)
    end
  end
  out[n + 1] = "}"
  return n + 1
end

--- The canonical text of plain data (functions by where they are written).
---@param value any
---@return string
function digest.text(value)
  local out = {}
  short(value, out, 0, 0)
  return concat(out)
end

local function long(value, path, out, depth)
  local kind = type(value)
  if kind ~= "table" then
    out[#out + 1] = path .. " = " .. (kind == "string" and format("%q", value):gsub("\\\n", "\\n") or scalar(value, kind))
    return
  end
  if getmetatable(value) == Secret then
    out[#out + 1] = ("%s = (secret %04x)"):format(path, value.hash % 65536)
    return
  end
  if depth > 100 then too_deep() end
  local count = #value
  for i = 1, count do long(value[i], path .. "[" .. i .. "]", out, depth + 1) end
  local names = names_of(value, count)
  for _, key in ipairs(names or {}) do long(value[key], path == "" and tostring(key) or path .. "." .. tostring(key), out, depth + 1) end
  if count == 0 and not names then out[#out + 1] = path .. " = {}" end
end

--- The same for people: one value a line, with its path.
---@param value any
---@return string
function digest.lines(value)
  local out = {}
  long(value, "", out, 0)
  return concat(out, "\n")
end

return digest
