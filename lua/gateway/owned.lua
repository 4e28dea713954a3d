-- Objects that the gateway's C makes for a script and that begin with a gw_owned (runtime/secure/owned.h): freed when the collector finds
-- that nobody holds them, and at the latest with the Lua state.

local C = require "gateway.ffi"
local ffi = require "ffi"
local shared = require "gateway.shared"

local owned = {}

--- Takes an object in.
---@param pointer any not NULL
---@return any pointer the same
function owned.keep(pointer)
  C.gw_lua_own(shared.holder, pointer) -- first: should memory run out in the next line, the object goes with the state
  return ffi.gc(pointer, C.gw_owned_drop)
end

return owned
