-- What Lua says when a script or a plugin fails, made fit for people: whole paths, and only frames of their own code. Lines behind the
-- first begin with a tab, so that whoever counts or sorts messages can tell them apart.

local spec = require "gateway.spec"

local blame = {}

local library = debug.getinfo(1, "S").source:gsub("^[@=]", ""):gsub("blame%.lua$", "")

--- LuaJIT cuts long paths in its messages to "...tail.lua:3:". What is known to have been read gives them their full length again.
---@param message string
---@param paths string[]
---@return string
function blame.expand(message, paths)
  return (message:gsub("(%.%.%.[^\n:]*):(%d+)", function(short, line)
    local tail = short:sub(4)
    for _, path in ipairs(paths) do
      if #path >= #tail and path:sub(-#tail) == tail then return path .. ":" .. line end
    end
    return nil
  end))
end

--- For xpcall: the message and the frames of the script's own code; the library's and the loader's frames help nobody.
---@param message any
---@return string
function blame.handler(message)
  if type(message) ~= "string" then
    local text = type(message) == "table" and getmetatable(message) and tostring(message)
    message = text or ("%s: the script raised a %s instead of a message"):format(spec.where(), type(message))
  end
  local frames = {}
  for frame in debug.traceback("", 2):gmatch("\n\t([^\n]*)") do
    if frame:find("in function 'xpcall'", 1, true) then break end
    if not frame:find(library, 1, true) and not frame:find("[C]:", 1, true) then frames[#frames + 1] = frame end
  end
  if message == "stack overflow" and frames[1] then message = ("%s %s"):format(frames[1]:match("^%S+"), message) end
  message = message:gsub("\n(%S)", "\n\t%1")
  if #frames > 1 then message = message .. "\n\tstack traceback:\n\t" .. table.concat(frames, "\n\t") end
  return message
end

return blame
