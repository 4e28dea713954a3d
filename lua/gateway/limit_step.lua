-- Limits as steps of a chain: those that stand behind a Lua function, and those whose key a function makes. One FFI call asks the same
-- object that C asks for routes without Lua. Only for chain.lua.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local json = require "gateway.json"
local respond = require "gateway.respond"

local limit_step = {}

-- The answer that C makes for routes without Lua (runtime/gateway/reply.c).
local function refusal(view, limit, wait)
  if wait < 0 then error("not enough memory", 0) end
  local id = view.id.len > 0 and (',"request_id":' .. json.encode(ffi.string(view.id.ptr, view.id.len))) or ""
  local said = limit.word == "rate_limit" and "rate limited" or "too many concurrent requests"
  local body = ('{"error":"%s","status":%d%s}\n'):format(said, limit.status, id)
  local fields = { ["Content-Type"] = "application/json" }
  if wait < 1e15 then fields["Retry-After"] = ("%d"):format(math.max(1, math.ceil(wait))) end
  return respond.respond(limit.status, body, fields)
end

--- The middleware for a limit.
---@param limit gateway.Limit
---@return gateway.Middleware
function limit_step.make(limit)
  local index, by = limit.index, limit.by_function
  if not by then
    return function(request, next)
      local wait = C.gw_lua_limit(request[1], index, nil, 0)
      if wait == 0 then return next() end
      return refusal(request[1], limit, wait)
    end
  end
  return function(request, next)
    local key = by(request)
    if not key then return next() end
    if type(key) == "number" then
      key = tostring(key)
    elseif type(key) ~= "string" then
      error(("%s: by: expected a string (or nil, for no limit) from the function, found %s"):format(limit.source, check.describe(key)), 0)
    end
    local wait = C.gw_lua_limit(request[1], index, key, #key)
    if wait == 0 then return next() end
    return refusal(request[1], limit, wait)
  end
end

return limit_step
