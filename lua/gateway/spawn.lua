-- gateway.spawn: work that nobody waits for.

local check = require "gateway.check"
local units = require "gateway.units"
local wait = require "gateway.wait"

local spawn = {}

local LIMIT = -6
local SECONDS_MOST = 3600

local pending, last = {}, 0 -- functions that C has not asked for yet

--- The function of that id, which is forgotten. For chain.lua.
function spawn.take(id)
  local f = pending[id]
  pending[id] = nil
  return f
end

--- Runs a function beside everything else: it may wait, and goes on when the request that started it is over. It ends with its timeout;
--- when the script is reloaded or the gateway drains it is let finish. An error in it is logged.
---@param f fun()
---@param options? { timeout?: number|string } timeout: timeouts.chain where it is missing; at most an hour
---@return boolean? started nil: too much runs already (1,000 on each worker), or there is no memory
---@return string? problem
function spawn.spawn(f, options)
  if type(f) ~= "function" then error("gateway.spawn: expected a function, found " .. check.describe(f), 2) end
  local timeout = options and options.timeout
  local seconds = timeout == nil and 0 or units.duration(timeout)
  if not seconds or timeout ~= nil and (seconds <= 0 or seconds > SECONDS_MOST) then
    error(("gateway.spawn: timeout: expected %s above 0, at most an hour, found %s"):format(units.duration_expected,
      check.describe(timeout)), 2)
  end
  local C = require "gateway.ffi"
  local here = C.gw_lua_waits_here(wait.here("gateway.spawn", 2))
  local id = last
  repeat id = id % 2 ^ 30 + 1 until not pending[id]
  last, pending[id] = id, f
  local status = C.gw_lua_spawn(here, id, seconds)
  if status == 0 then return true end
  pending[id] = nil
  return nil, status == LIMIT and "too much runs already" or "not enough memory"
end

return spawn
