-- gateway.every(seconds, f, options): a timer that lives as long as its generation. Declared while the script loads, by scripts and by the
-- new() of plugins.

local check = require "gateway.check"
local spec = require "gateway.spec"
local units = require "gateway.units"

local every = {}

---@class gateway.EveryOptions
---@field each_worker? boolean run on every worker (false: on one of the node, always the same)
---@field at_once? boolean the first run as soon as the generation serves (false: after the first interval)
---@field jitter? number share of the interval by which each one is longer or shorter, by chance, 0 to 1 (0.1)
---@field timeout? number|string longest run: ended past it (timeouts.chain)

local fields = {
  each_worker = { type = "boolean", default = false }, at_once = { type = "boolean", default = false },
  jitter = { type = "number", min = 0, max = 1, default = 0.1 }, timeout = { type = "duration", min = 0.001, max = 366 * 86400 },
}

--- Runs a function again and again. Runs never overlap; they may wait; an error in one is logged, and the next one comes all the same.
---@param interval number|string seconds, or "5m"; from the beginning of one run to that of the next
---@param f fun()
---@param options? gateway.EveryOptions
function every.every(interval, f, options)
  spec.declaring("gateway.every")
  local source = spec.where()
  local report = spec.reporter("gateway.every", source)
  local seconds = units.duration(interval)
  if not seconds or seconds < 0.001 or seconds > 366 * 86400 then
    report("expected " .. units.duration_expected .. " from 1 ms to 366 days, found " .. check.describe(interval))
    seconds = 1
  end
  if type(f) ~= "function" then
    report("expected a function to run, found " .. check.describe(f))
    return
  end
  if options ~= nil and (type(options) ~= "table" or getmetatable(options)) then
    report("expected a table of options, found " .. check.describe(options))
    options = nil
  end
  local good = check.fields(options or {}, fields, "", report)
  local list = spec.state.timers
  if not list then
    list = {}
    spec.state.timers = list
  end
  list[#list + 1] = {
    f = f, seconds = seconds, each_worker = good.each_worker, at_once = good.at_once, jitter = good.jitter, timeout = good.timeout,
    source = source,
  }
end

return every
