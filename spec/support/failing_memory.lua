--- Memory of the gateway under test that runs out when a test says so: fail_malloc.c, compiled into the gateway's folder and preloaded.
--
--     local memory = failing_memory.prepare()            -- then gateway.start { env = memory.env, binary = memory.binary, ... }
--     memory:fail { one_in = 10 }                        -- from now on
--     memory:fail { one_in = 1, spared = 500, most = 1 } -- the 501st allocation from now, and no other
--     memory:relent()                                    -- returns how many failed
--     memory:close()
--
-- The binary has to be one without sanitizers, whose allocator is their own: build/release/gateway, or what GATEWAY_RELEASE_BIN says.

local bit = require "bit"
local lfs = require "lfs"
local sys = require "spec.support.sys"

local failing_memory = {}
local mt = { __index = {} }
local Memory = mt.__index

-- Where things lie in the file: see fail_malloc.c.
local SIZE = 16

local function u32(n)
  return string.char(bit.band(n, 255), bit.band(bit.rshift(n, 8), 255), bit.band(bit.rshift(n, 16), 255), bit.rshift(n, 24))
end

function failing_memory.prepare()
  local binary = os.getenv("GATEWAY_RELEASE_BIN") or "build/release/gateway"
  if not lfs.attributes(binary) then
    error("no gateway binary at " .. binary .. ": cmake --preset release && cmake --build --preset release", 0)
  end
  local self = setmetatable({ dir = sys.temp_dir(), binary = binary }, mt)
  local library = self.dir .. "/fail_malloc.so"
  local command = ("env -u LD_PRELOAD cc -O2 -shared -fPIC -o '%s' spec/support/fail_malloc.c 2>&1"):format(library)
  local pipe = assert(io.popen(command))
  local said = pipe:read("*a")
  pipe:close()
  if not lfs.attributes(library) then error("cannot compile: " .. command .. "\n" .. said, 0) end
  self.switch = self.dir .. "/switch"
  local file = assert(io.open(self.switch, "wb"))
  file:write(("\0"):rep(SIZE))
  file:close()
  self.env = { LD_PRELOAD = library, FAIL_MALLOC_SWITCH = self.switch }
  return self
end

local function put(self, at, bytes)
  local file = assert(io.open(self.switch, "r+b"))
  file:seek("set", at)
  file:write(bytes)
  file:close()
end

--- Begins to fail. options: one_in (1 to 255), spared (how many allocations go well before), most (how many fail; nil: no end).
function Memory:fail(options)
  put(self, 4, u32(options.spared or 0) .. u32(options.most or 0) .. u32(0))
  put(self, 0, string.char(options.one_in))
end

--- How many have failed since fail() was called.
function Memory:failed()
  local file = assert(io.open(self.switch, "rb"))
  local a, b, c, d = file:read(SIZE):byte(13, 16)
  file:close()
  return a + b * 0x100 + c * 0x10000 + d * 0x1000000
end

--- Memory is there again. Returns how many allocations failed.
function Memory:relent()
  put(self, 0, "\0")
  return self:failed()
end

function Memory:close()
  os.remove(self.switch)
  os.remove(self.dir .. "/fail_malloc.so")
  lfs.rmdir(self.dir)
end

return failing_memory
