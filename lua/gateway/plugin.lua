-- gateway.plugin(name, config): a file that returns { name, schema, new }. Found beside the script first (plugins/), then in the folders of
-- GATEWAY_PLUGINS, then among the shipped ones. The config is checked against the schema; `new(config)` gives the middleware.

local check = require "gateway.check"
local route = require "gateway.route"
local spec = require "gateway.spec"

local plugin = {}

---@class gateway.Plugin
---@field name string
---@field version? string
---@field description? string
---@field schema? table<string, table|string> what the config may hold
---@field new fun(config: table): gateway.Middleware

-- The folders, in the order of search. `shipped` is set by who starts the library.
function plugin.folders()
  local out = { (spec.state.folder or ".") .. "/plugins" }
  for folder in (os.getenv("GATEWAY_PLUGINS") or ""):gmatch("[^:]+") do out[#out + 1] = folder end
  for _, folder in ipairs(plugin.shipped or {}) do out[#out + 1] = folder end
  return out
end

-- Files by path, so that a plugin used twice is loaded once.
local loaded = {}

local function load_file(path, name, report)
  if loaded[path] then return loaded[path] end
  local chunk, message = loadfile(path)
  if not chunk then
    report(message)
    return nil
  end
  local good, result = xpcall(chunk, debug.traceback)
  if not good then
    report(tostring(result))
    return nil
  end
  if type(result) ~= "table" then
    report(("%s: expected the file to return a table { name, schema, new }, found %s"):format(path, check.describe(result)))
    return nil
  end
  if result.name ~= name then
    report(("%s: expected name = %q as the file is called, found %s"):format(path, name, check.describe(result.name)))
    return nil
  end
  if type(result.new) ~= "function" then
    report(("%s: expected new = function(config) ... end, found %s"):format(path, check.describe(result.new)))
    return nil
  end
  if result.schema ~= nil and type(result.schema) ~= "table" then
    report(("%s: expected schema to be a table of fields, found %s"):format(path, check.describe(result.schema)))
    return nil
  end
  loaded[path] = result
  return result
end

local function find(name)
  local looked = {}
  for _, folder in ipairs(plugin.folders()) do
    local path = folder .. "/" .. name .. ".lua"
    looked[#looked + 1] = path
    local file = io.open(path, "r")
    if file then
      file:close()
      return path
    end
  end
  return nil, looked
end
plugin.find = find

-- What of a config is shown and compared: secrets only as such.
local function shown(config, schema)
  local out = {}
  for key, value in pairs(config) do
    local field = schema[key]
    out[key] = type(field) == "table" and field.secret and "(secret)" or value
  end
  return out
end

--- The middleware that a plugin makes of a config.
---@param name string
---@param config? table
---@return gateway.Middleware
function plugin.plugin(name, config)
  spec.declaring("gateway.plugin")
  local source = spec.where()
  if type(name) ~= "string" or not name:find("^[%w_%-]+$") then
    spec.problem("gateway.plugin: expected a plugin's name, found " .. check.describe(name), source)
    return route.failed
  end
  local prefix = ("plugin %q"):format(name)
  local report = spec.reporter(prefix, source)
  local path, looked = find(name)
  if not path then
    report("not found; looked for " .. table.concat(looked, ", "))
    return route.failed
  end
  spec.state.files[#spec.state.files + 1] = path
  local found = load_file(path, name, report)
  if not found then return route.failed end

  if config == nil then config = {} end
  if type(config) ~= "table" or getmetatable(config) then
    report("expected a table as config, found " .. check.describe(config))
    return route.failed
  end
  local schema = found.schema or {}
  local wrong = false
  local good = check.fields(config, schema, "", function(message)
    wrong = true
    report(message)
  end, "field")
  if wrong then return route.failed end

  local made, middleware = xpcall(found.new, debug.traceback, good)
  if not made then
    report("new(config) failed: " .. tostring(middleware))
    return route.failed
  end
  if type(middleware) ~= "function" then
    report(("%s: expected new(config) to return a function(request, next), found %s"):format(path, check.describe(middleware)))
    return route.failed
  end
  -- Each use is a function of its own, even if the plugin gives the same one out twice: its label and config are kept by function.
  if route.labels[middleware] then
    local inner = middleware
    middleware = function(request, next) return inner(request, next) end
  end
  route.labels[middleware] = { name = name, config = shown(good, schema) }
  return middleware
end

return plugin
