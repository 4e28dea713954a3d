-- gateway.now(): the worker's clock, read once a turn of its loop.

local time = {}

local read = os.time

--- Gives the clock. Called by the gateway when it starts the library.
function time.bind(f)
  read = f
end

--- Seconds since 1970, with fractions.
---@return number
function time.now()
  return read()
end

return time
