-- busted's helper: runs once before the specs. When ./spec/run has loaded a sanitizer's library into this LuaJIT (the code under test
-- needs it), programs that a spec starts must not inherit it: they have their own, and look for leaks.
local ffi = require "ffi"

pcall(ffi.cdef, [[
int gwt_setenv(const char *name, const char *value, int overwrite) asm("setenv");
int gwt_unsetenv(const char *name) asm("unsetenv");
]])

if os.getenv("LD_PRELOAD") then
  ffi.C.gwt_unsetenv("LD_PRELOAD")
  ffi.C.gwt_setenv("ASAN_OPTIONS", "detect_leaks=1", 1)
  -- this process has read its own options already
end
