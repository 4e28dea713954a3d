-- gateway.sleep: lets time pass without holding anybody up.

local C = require "gateway.ffi"
local check = require "gateway.check"
local units = require "gateway.units"
local wait = require "gateway.wait"

local sleep = {}

--- Waits. The request (or the timer's run) goes on after it; everything else goes on meanwhile.
---@param duration number|string seconds, or "250ms"; 0 lets others go first
---@return boolean? slept nil when too much is waited for at once, or there is no memory
---@return string? problem
function sleep.sleep(duration)
  local seconds = units.duration(duration)
  if not seconds then error("gateway.sleep: expected " .. units.duration_expected .. ", found " .. check.describe(duration), 2) end
  local handle = C.gw_lua_sleep(wait.here("gateway.sleep", 2), seconds)
  if handle == nil then return nil, wait.problem("gateway.sleep", 2) end
  wait.until_over(handle)
  C.gw_lua_wait_end(handle)
  return true
end

return sleep
