-- What the script has declared so far, and what was wrong with it. One table of plain data, which the builder (C) walks at the end.
--
-- Declarations never stop the script: problems are collected, each with the script's file:line, so that one run tells everything. Once the
-- script has been loaded, declaring is an error.

local spec = {}

-- Chunk names of this library's files begin like this one's: frames of theirs are passed over when the script's line is looked for.
local library = debug.getinfo(1, "S").source:gsub("spec%.lua$", "")

local state

--- Begins anew. Called when the library is loaded, and by tests.
function spec.reset()
  state = {
    loading = true,
    problems = {}, -- { source =, message = }
    warnings = {}, -- likewise
    upstreams = {}, upstream_by_name = {},
    routes = {},
    listens = {}, trusted_proxies = {},
    use = {},      -- middleware for every route
    pending = {},  -- gateway.route "/x" and gateway.upstream "x" that were not given their options yet, in the order of their calls
    settings = {}, -- limits, timeouts and the like, and where each was set
    files = {},    -- read by the script: YAML, plugins
  }
  spec.state = state
end

--- The script's line that is running: "script.lua:12".
---@return string
function spec.where()
  if state.source then return state.source end
  local outermost
  for level = 2, 60 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.what ~= "C" and info.source ~= "=driver" and info.source:sub(1, #library) ~= library then -- driver: see chain.lua
      if info.currentline and info.currentline > 0 then return ("%s:%d"):format(info.source:gsub("^[@=]", ""), info.currentline) end
      outermost = outermost or info.source:gsub("^[@=]", "")
    end
  end
  return outermost or state.script or "script"
end

--- Runs `f` with everything it declares said to stand at `source` (a line of a YAML file).
function spec.at(source, f, ...)
  local before = state.source
  state.source = source
  f(...)
  state.source = before
end

--- Notes a problem. While the script loads it is collected; afterwards it is raised at the caller's line.
---@param message string
---@param source? string
function spec.problem(message, source)
  if not state.loading then
    source = source or spec.where()
    -- Who left by a tail call cannot be seen any more: then only the log line's "plugin" says where.
    error(source:find(":%d+$") and ("%s: %s"):format(source, message) or message, 0)
  end
  state.problems[#state.problems + 1] = { source = source or spec.where(), message = message }
end

--- Notes something that works, and that the script's author would want to know of.
---@param message string
---@param source? string
function spec.warn(message, source)
  if state.loading then state.warnings[#state.warnings + 1] = { source = source or spec.where(), message = message } end
end

--- A report function that puts `prefix: ` before each message.
function spec.reporter(prefix, source)
  source = source or spec.where()
  return function(message) spec.problem(prefix .. ": " .. message, source) end
end

--- Declarations belong to the load.
function spec.declaring(name)
  if not state.loading then
    error(("%s: %s declares something: it can be called only while the script loads, not in a request"):format(spec.where(), name), 0)
  end
end

--- Something that may be given once (gateway.limits and the like). Where it was set before, or nil.
function spec.once(name)
  spec.declaring("gateway." .. name)
  local source = spec.where()
  local before = state.settings[name]
  if before then
    spec.problem(("gateway.%s was given before, at %s"):format(name, before), source)
  else
    state.settings[name] = source
  end
  return source
end

--- A declaration that takes its options in a second call; forgetting that call is an error at the end.
function spec.begin(text, example)
  local pending = { source = spec.where(), message = ("%s was never given its options: write %s"):format(text, example) }
  table.insert(state.pending, pending)
  return function() pending.done = true end
end

spec.reset()

return spec
