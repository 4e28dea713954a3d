-- The C part of gateway.testing (runtime/script/testing.h): from the program itself under `gateway test`, else from libgateway.so. Its
-- functions are Lua's own kind and not the FFI's, since the gateway that they run resumes coroutines of this same Lua state.
--
--   core.new(wall) → app        app:turn, app:at and so on: a comment in testing.c says what each gives

local ffi = require "ffi"
local C = require "gateway.ffi"

local open = package.preload["gateway.testing_c"]
if not open then
  local path = ffi.string(C.gw_testing_library())
  local why
  if path ~= "" then open, why = package.loadlib(path, "luaopen_gateway_testing_c") end
  if not open then error("gateway.testing: the gateway's C library has no functions for tests: " .. tostring(why or path), 0) end
end

local core = open()
package.loaded["gateway.yaml"] = package.loaded["gateway.yaml"] or core.yaml

return core
