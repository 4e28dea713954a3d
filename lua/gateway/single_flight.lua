-- gateway.single_flight: what many requests want at the same moment is done once.
--
-- The work runs as a job of its own (gateway.spawn), so that it does not end with the request that happened to come first. Those who want
-- it look for its result at growing intervals. Within one worker; for one of all workers, let the work begin with gateway.shared's lock().

local check = require "gateway.check"
local sleep = require "gateway.sleep"
local spawn = require "gateway.spawn"
local time = require "gateway.time"
local units = require "gateway.units"

local single_flight = {}

local SECONDS, MARGIN = 30, 1
local LOOK_FIRST, LOOK_MOST = 0.001, 0.05
local KEYS_MOST = 10000

local flights, count = {}, 0
local swept = -math.huge

-- Flights that were ended on the way, and could tell nobody: who would ask under their keys again may never come.
local function sweep(now)
  if now - swept < 1 then return end
  swept = now
  for key, flight in pairs(flights) do
    if now > flight.deadline then
      flights[key] = nil
      count = count - 1
    end
  end
end

local function run(flight, key, f)
  return function()
    local good, value, problem = pcall(f)
    flight.good, flight.value, flight.problem, flight.over = good, value, problem, true
    if flights[key] == flight then
      flights[key] = nil
      count = count - 1
    end
  end
end

--- Gives what f gives. Whoever asks under the same key while f is at work gets the same, without another call. f may wait. Nothing is kept:
--- who asks after f is over calls it again.
---@param key string
---@param f fun(): any, any
---@param options? { timeout?: number|string } timeout: of f (30 s)
---@return any value what f returned first; nil: it took too long, or too much runs already. An error in f is raised for everybody who waits
---@return any problem what f returned second, or what went wrong
function single_flight.single_flight(key, f, options)
  if type(key) ~= "string" then error("gateway.single_flight: key: expected a string, found " .. check.describe(key), 2) end
  if type(f) ~= "function" then error("gateway.single_flight: expected a function, found " .. check.describe(f), 2) end
  local seconds = SECONDS
  if options and options.timeout ~= nil then
    seconds = units.duration(options.timeout)
    if not seconds or seconds <= 0 or seconds > 3600 then
      error(("gateway.single_flight: timeout: expected %s above 0, at most an hour, found %s"):format(units.duration_expected,
        check.describe(options.timeout)), 2)
    end
  end
  local flight, now = flights[key], time.now()
  if flight and now > flight.deadline then -- it was ended on the way, and could tell nobody
    flights[key], count, flight = nil, count - 1, nil
  end
  if not flight then
    if count >= KEYS_MOST then sweep(now) end
    if count >= KEYS_MOST then return nil, "too much runs already" end
    flight = { deadline = now + seconds + MARGIN }
    local started, problem = spawn.spawn(run(flight, key, f), { timeout = seconds })
    if not started then return nil, problem end
    flights[key], count = flight, count + 1
  end
  local pause = 0
  while not flight.over do
    if time.now() > flight.deadline then return nil, "it took too long" end
    local slept, problem = sleep.sleep(pause)
    if not slept then return nil, problem end
    pause = math.min(math.max(pause * 1.5, LOOK_FIRST), LOOK_MOST)
  end
  if not flight.good then error(flight.value, 0) end
  return flight.value, flight.problem
end

return single_flight
