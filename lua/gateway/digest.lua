-- The spec as text, one value a line, in an order that does not depend on chance: 'routes[2].headers[1].name = "X-Version"'. Each worker
-- has its own state and runs the script itself; equal texts mean that they agree, and the first line that differs says where they do not.

local digest = {}

local format, concat, sort = string.format, table.concat, table.sort

-- Functions are known by where they are written: the same line of the same file is the same function in every state.
local function function_text(f)
  local info = debug.getinfo(f, "S")
  return format("function %s:%d", info.source:gsub("^[@=]", ""), info.linedefined)
end

local function write(value, path, out, depth)
  local kind = type(value)
  if kind == "table" then
    if depth > 100 then error("the spec is nested too deep, or contains itself", 0) end
    local count = #value
    for i = 1, count do write(value[i], path .. "[" .. i .. "]", out, depth + 1) end
    local names
    for key in pairs(value) do
      if not (type(key) == "number" and key >= 1 and key <= count) then
        names = names or {}
        names[#names + 1] = key
      end
    end
    if names then
      sort(names, function(a, b) return tostring(a) < tostring(b) end)
      for _, key in ipairs(names) do
        write(value[key], path == "" and tostring(key) or path .. "." .. tostring(key), out, depth + 1)
      end
    elseif count == 0 then
      out[#out + 1] = path .. " = {}"
    end
    return
  end
  if kind == "string" then
    value = format("%q", value):gsub("\\\n", "\\n")
  elseif kind == "number" then
    value = format("%.17g", value)
  elseif kind == "function" then
    value = function_text(value)
  elseif kind == "boolean" then
    value = tostring(value)
  else
    value = kind -- threads, userdata, cdata: only that they are there
  end
  out[#out + 1] = path .. " = " .. value
end

--- The canonical text of plain data (functions by where they are written).
---@param value any
---@return string
function digest.text(value)
  local out = {}
  write(value, "", out, 0)
  return concat(out, "\n")
end

return digest
