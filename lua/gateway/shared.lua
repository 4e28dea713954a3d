-- State that a script names and that outlives its generations (runtime/gateway/shared.h): who it is, and what this load wants it to be.
--
-- A piece of state is known by a word ("rate_limit") and a name. Where the script gives no name, its position is one: "gateway.lua:12", and
-- "gateway.lua:12#2" for the second that the same line makes.

local check = require "gateway.check"
local spec = require "gateway.spec"

local shared = {}

-- C's record of what this Lua state holds; nil outside of a gateway, where primitives made by hand are private.
shared.holder = nil
-- The Lua state goes on when the gateway ends (gateway.testing): C holds nothing, objects are given back when they are collected.
shared.collected = nil

-- Settings that make a difference, in the order in which a difference is told.
local settings = {
  "rate", "burst", "limit", "window", "idle", "keys", "bytes", "by", "open_for", "growth", "open_most", "lease", "error_rate", "failures",
  "min_requests", "probes", "kind",
}

-- What users call them.
local said = { keys = "max_clients", bytes = "size" }

local function difference(a, b)
  for _, key in ipairs(settings) do
    if a[key] ~= b[key] then
      return ("%s was %s there and is %s here"):format(said[key] or key, check.describe(a[key]), check.describe(b[key]))
    end
  end
  return nil
end

--- Whether text can be the name of a limiter, breaker and so on.
---@param name any
---@return boolean
function shared.name_good(name)
  return type(name) == "string" and #name <= 100 and name:find("^[%w_.%-]+$") ~= nil
end

--- Notes a piece of state with its settings. The same word and name with the same settings again is the same entry; with others, a problem.
---@param word string
---@param name string? nil: its position
---@param config table kind, and its settings
---@param source string
---@return table entry
function shared.declare(word, name, config, source)
  local state = spec.state
  local list = state.shared
  if not list then
    list = {}
    state.shared, state.shared_by, state.positions = list, {}, {}
  end
  if not name then
    local at = word .. " " .. source
    local count = (state.positions[at] or 0) + 1
    state.positions[at] = count
    name = count == 1 and source or ("%s#%d"):format(source, count)
  end
  local key = word .. " " .. name
  local entry = state.shared_by[key]
  if entry then
    local why = difference(entry, config)
    if why then
      spec.problem(("%s %q was given before, at %s, with other settings: %s"):format(word, name, entry.source, why), source)
    end
    return entry
  end
  entry = { word = word, name = name, source = source }
  for _, setting in ipairs(settings) do entry[setting] = config[setting] end
  list[#list + 1] = entry
  entry.index = #list - 1
  state.shared_by[key] = entry
  return entry
end

return shared
