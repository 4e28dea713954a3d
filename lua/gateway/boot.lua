-- Runs a script for the builder: C calls this with the script's path and gets everything back that it needs, errors included. Nothing here
-- raises, memory aside.

local digest = require "gateway.digest"
local log = require "gateway.log"
local plugin = require "gateway.plugin"
local route = require "gateway.route"
local shared = require "gateway.shared"
local spec = require "gateway.spec"
local time = require "gateway.time"

local library = debug.getinfo(1, "S").source:gsub("^[@=]", ""):gsub("boot%.lua$", "")

-- LuaJIT cuts long paths in its messages to "...tail.lua:3:". What is known to have been read gives them their full length again.
local function expand(message, paths)
  return (message:gsub("(%.%.%.[^\n:]*):(%d+)", function(short, line)
    local tail = short:sub(4)
    for _, path in ipairs(paths) do
      if #path >= #tail and path:sub(-#tail) == tail then return path .. ":" .. line end
    end
    return nil
  end))
end

-- The message and the frames of the script's own code; the library's and the loader's frames help nobody.
local function handler(message)
  if type(message) ~= "string" then
    local text = type(message) == "table" and getmetatable(message) and tostring(message)
    message = text or ("%s: the script raised a %s instead of a message"):format(spec.where(), type(message))
  end
  local frames = {}
  for frame in debug.traceback("", 2):gmatch("\n(\t[^\n]*)") do
    if frame:find("in function 'xpcall'", 1, true) then break end
    if not frame:find(library, 1, true) and not frame:find("[C]:", 1, true) then frames[#frames + 1] = frame end
  end
  if #frames > 1 then message = message .. "\nstack traceback:\n" .. table.concat(frames, "\n") end
  return message
end

local function load_and_run(path)
  local chunk, message = loadfile(path)
  if not chunk then return message end
  local good, failure = xpcall(chunk, handler)
  return not good and failure or nil
end

--- Runs the script at `path`.
---@param options { path: string, folder: string, plugins: string[], log: function, now: function, paths: fun(): string[] }
---@return table? spec nil when something was wrong
---@return string[] problems
---@return string text the spec as canonical text
---@return table chains
---@return string[] files that were read, beside what require found
---@return function lines digest.lines, for saying where two runs differ
return function(options)
  spec.reset()
  local state = spec.state
  state.script, state.folder = options.path, options.folder
  plugin.shipped = options.plugins
  shared.holder = options.holder
  log.bind(options.log)
  time.bind(options.now)

  -- A script may not end the process, nor write between the log's lines.
  os.exit = function() error("os.exit is not available in a gateway script", 2) end -- luacheck: ignore 122
  print = function(...) -- luacheck: ignore 121
    local out = {}
    for i = 1, select("#", ...) do out[i] = tostring((select(i, ...))) end
    log.info(table.concat(out, "\t"))
  end

  collectgarbage("setpause", 400) -- nearly all of what a script declares stays: collecting it again and again is half of the load
  local failure = load_and_run(options.path)
  if failure then
    -- What the rest of the script would have said is unknown: only what is certainly wrong is told.
    for _, pending in ipairs(state.pending) do pending.done = true end
    if #state.listens == 0 then state.listens[1] = { at = "127.0.0.1:1", source = options.path } end
  end
  local data, problems, chains = route.finish()
  if failure then
    local paths = options.paths()
    paths[#paths + 1] = options.path
    for _, file in ipairs(data.files) do paths[#paths + 1] = file end
    problems[#problems + 1] = expand(failure, paths)
  end
  local files = data.files
  data.files = nil
  if #problems > 0 then return nil, problems, "", {}, files end
  local text = digest.text(data)
  collectgarbage("setpause", 200) -- the default
  return data, problems, text, chains, files, digest.lines
end
