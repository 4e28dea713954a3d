-- The C side, declared once: the only file that calls ffi.cdef, on the text that the build made of runtime/script/api.h. In the gateway the
-- functions are in the program itself; under plain luajit they come from libgateway.so (GATEWAY_LIB, or a build folder).

local ffi = require "ffi"

local function open()
  local here, why = pcall(function() return ffi.C.gw_api_text end)
  if here then return ffi.C end
  if not tostring(why):find("undefined symbol", 1, true) then error(why, 0) end -- "not enough memory": no reason to look elsewhere
  local here_too = debug.getregistry()["gateway.library"] -- this code came out of it
  if here_too then return ffi.load(here_too) end
  local tried = {}
  local paths = { "build/dev/libgateway.so", "build/release/libgateway.so" }
  if os.getenv("GATEWAY_BUILD") then table.insert(paths, 1, os.getenv("GATEWAY_BUILD") .. "/libgateway.so") end
  if os.getenv("GATEWAY_LIB") then table.insert(paths, 1, os.getenv("GATEWAY_LIB")) end
  for _, path in ipairs(paths) do
    local good, library = pcall(ffi.load, path)
    if good then return library end
    tried[#tried + 1] = ("%s (%s)"):format(path, tostring(library))
  end
  error("the gateway's C library was not found; set GATEWAY_LIB to libgateway.so. Tried: " .. table.concat(tried, ", "), 0)
end

ffi.cdef "const char *gw_api_text(void);"
local C = open()
if not pcall(ffi.typeof, "gw_lua_view") then ffi.cdef(ffi.string(C.gw_api_text())) end

-- A struct that C and Lua see differently would be read as garbage: better not to start.
local sizes = C.gw_api_sizes
local i = 0
while sizes[i].name ~= nil do
  local name = ffi.string(sizes[i].name)
  local here = ffi.sizeof(name)
  if here ~= sizes[i].bytes then
    error(("%s has %d bytes in C and %s in Lua: api.h and the program are not of one build"):format(name, sizes[i].bytes,
      tostring(here)), 0)
  end
  i = i + 1
end
if i == 0 then error("the program names no struct sizes: it is not of one build with its library", 0) end

return C
