-- gateway.plugin(name, config): a file that returns { name, schema, new } is looked for (plugin_files.lua), the config is held to the
-- schema (schema.lua), and `new(config)` gives the middleware.

local blame = require "gateway.blame"
local check = require "gateway.check"
local digest = require "gateway.digest"
local files = require "gateway.plugin_files"
local limit = require "gateway.limit"
local route = require "gateway.route"
local schema = require "gateway.schema"
local spec = require "gateway.spec"

local plugin = {}

-- How a config is read: problems stand at the line of the field where it came from YAML, else at that of gateway.plugin.
local function context_of(prefix, source)
  local context = { wrong = false, yaml = spec.state.locate ~= nil }
  local function line(parent, key)
    return spec.state.locate and parent and spec.state.locate(parent, key) or source
  end
  function context.report(message, parent, key)
    context.wrong = true
    spec.problem(("%s: %s"):format(prefix, message), line(parent, key))
  end
  function context.warn(message, parent, key)
    spec.warn(("%s: %s"):format(prefix, message), line(parent, key))
  end
  return context
end

--- The middleware that a plugin makes of a config.
---@param name string
---@param config? table what the plugin's schema says
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
  local file, looked = files.find(name)
  if not file then
    local near = check.nearest(name, files.shipped_names())
    report(("not found%s; looked for %s, and among the shipped ones"):format(near and (" (did you mean %q?)"):format(near) or "",
      table.concat(looked, ", ")))
    return route.failed
  end
  local found, compiled = files.load(file, name, report)
  if not found then return route.failed end

  if config == nil then config = {} end
  if type(config) ~= "table" or getmetatable(config) then
    report("expected a table as config, found " .. check.describe(config))
    return route.failed
  end
  local context = context_of(prefix, source)
  local good = schema.read(compiled, config, context)
  if context.wrong then return route.failed end

  local made, middleware = xpcall(found.new, blame.handler, good)
  if not made then
    report("new(config) failed: " .. context.scrub(blame.expand(middleware, spec.state.files)))
    return route.failed
  end
  if limit.is(middleware) then return middleware end
  if type(middleware) ~= "function" then
    report(("%s: expected new(config) to return a function(request, next), found %s"):format(file.path, check.describe(middleware)))
    return route.failed
  end
  -- Each use is a function of its own, even if the plugin gives the same one out twice: its label and config are kept by function.
  if route.labels[middleware] then
    local inner = middleware
    middleware = function(request, next) return inner(request, next) end
  end
  route.labels[middleware] = { name = name, config = schema.shown(compiled, good, digest.secret) }
  return middleware
end

return plugin
