-- Runs a script for the builder: C calls this with the script's path and gets everything back that it needs, errors included. Nothing here
-- raises, memory aside.

local blame = require "gateway.blame"
local digest = require "gateway.digest"
local log = require "gateway.log"
local order = require "gateway.order"
local plugin_files = require "gateway.plugin_files"
local route = require "gateway.route"
local settings = require "gateway.settings"
local shared = require "gateway.shared"
local spec = require "gateway.spec"
local time = require "gateway.time"
local wait = require "gateway.wait"

local function load_and_run(path)
  local chunk, message = loadfile(path)
  if not chunk then return message end
  local good, failure = xpcall(chunk, blame.handler)
  if good then return nil end
  -- What Lua says without a line, where nothing was left to look for one with.
  if failure == "not enough memory" then
    return path .. ": not enough memory: the script takes more than gateway.script { memory } allows"
  end
  return failure == "stack overflow" and path .. ": " .. failure or failure
end

--- Runs the script at `path`.
---@param options { path: string, folder: string, shipped: function, list: function, log: function, now: function, paths: fun(): string[] }
---@return table spec of use only in looking for further problems when there are some
---@return string[] problems
---@return string text the spec as canonical text
---@return table chains
---@return string[] files that were read, beside what require found
---@return function lines digest.lines, for saying where two runs differ
---@return string[] warnings
return function(options)
  spec.reset()
  local state = spec.state
  state.script, state.folder = options.path, options.folder
  plugin_files.shipped, plugin_files.list = options.shipped, options.list
  shared.holder = options.holder
  log.bind(options.log)
  time.bind(options.now)
  settings.set_load_seconds = options.load_seconds
  wait.install()

  -- A script may not end the process, nor write between the log's lines.
  os.exit = function() error("os.exit is not available in a gateway script", 2) end -- luacheck: ignore 122
  -- Nor hold up a worker, and with it everybody's requests.
  for name, library in pairs { execute = os, popen = io } do
    local plain = library[name]
    local word = (library == os and "os." or "io.") .. name
    library[name] = function(...)
      if not state.loading then
        error(word .. " would hold up all requests of its worker: it can be called only while the script loads", 2)
      end
      return plain(...)
    end
  end
  io.read = function() error("io.read is not available in a gateway script: nobody answers there", 2) end -- luacheck: ignore 122
  print = function(...) -- luacheck: ignore 121
    local out = {}
    for i = 1, select("#", ...) do out[i] = tostring((select(i, ...))) end
    log.info(table.concat(out, "\t"))
  end

  collectgarbage("setpause", 400) -- nearly all of what a script declares stays: collecting it again and again is half of the load
  local in_no_order = order.install()
  local failure = load_and_run(options.path)
  if failure then
    -- What the rest of the script would have said is unknown: only what is certainly wrong is told.
    state.cut = true
    for _, pending in ipairs(state.pending) do pending.done = true end
    if #state.listens == 0 then state.listens[1] = { at = "127.0.0.1:1", source = options.path } end
  end
  local data, problems, chains = route.finish()
  in_no_order()
  if failure then
    local paths = options.paths()
    paths[#paths + 1] = options.path
    for _, file in ipairs(data.files) do paths[#paths + 1] = file end
    problems[#problems + 1] = blame.expand(failure, paths)
  end
  local files, warnings = data.files, route.texts(state.warnings)
  data.files = nil
  if #problems > 0 then return data, problems, "", {}, files, digest.lines, warnings end
  local text = digest.text(data)
  collectgarbage("setpause", 200) -- the default
  return data, problems, text, chains, files, digest.lines, warnings
end
