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

---@class gateway.PluginOptions
---@field on_failure? "open"|"closed" a plugin that fails again and again is switched off: its requests go past it, or get 503
---@field failures? integer so many failures (5): errors that it raises, and running longer than gateway.script { cpu }
---@field within? number|string in so long (60 s)
---@field off_for? number|string for so long (60 s)

local general = {
  on_failure = { type = "enum", values = { "open", "closed" } }, failures = { type = "integer", min = 1, max = 1000 },
  within = { type = "duration", min = 0.001 }, off_for = { type = "duration", min = 0.001 },
}

-- When a plugin is to be switched off, as the builder reads it; nil: never.
local function switch_of(good, given, report, source)
  if not good.on_failure then
    for _, key in ipairs { "failures", "within", "off_for" } do
      if given[key] ~= nil and given.on_failure == nil then
        report(('%s means something only with on_failure: expected on_failure = "open" or "closed"'):format(key))
        return nil
      end
    end
    return nil
  end
  local failures, within, off_for = good.failures or 5, good.within or 60, good.off_for or 60
  return {
    on_failure = good.on_failure, failures = failures, within = within, off_for = off_for, source = source,
    text = ("%s %d %.17g %.17g"):format(good.on_failure, failures, within, off_for),
  }
end

--- The middleware that a plugin makes of a config.
---@param name string
---@param config? table what the plugin's schema says
---@param options? gateway.PluginOptions what holds for any plugin
---@return gateway.Middleware
function plugin.plugin(name, config, options)
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
  local switch
  if options ~= nil then
    if type(options) ~= "table" or getmetatable(options) then
      report("expected a table of options after the config (on_failure, failures, within, off_for), found " .. check.describe(options))
      return route.failed
    end
    switch = switch_of(check.fields(options, general, "", report), options, report, source)
  end
  local context = context_of(prefix, source)
  local good = schema.read(compiled, config, context)
  if context.wrong then return route.failed end

  local made, middleware = files.watching_globals(name, found.new, good)
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
  route.labels[middleware] = { name = name, config = schema.shown(compiled, good, digest.secret), switch = switch }
  return middleware
end

return plugin
