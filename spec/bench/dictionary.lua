-- Nanoseconds a call of gateway.shared from compiled Lua, and of its C by several threads on seven keys:
-- GATEWAY_BUILD=build/release luajit spec/bench/dictionary.lua
-- The clock is read in each call from Lua (about 20 ns of what is printed); in a gateway the worker's loop has read it.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local gateway = require "gateway"

local CALLS = 2e6

local d = gateway.shared("bench", { size = "64MB" })
local keys = {}
for i = 1, 65536 do keys[i] = "client-" .. i end
local line, page = ("v"):rep(100), ("v"):rep(16384)

local works = {
  { "get, one key, number", function(n) for _ = 1, n do d:get "number" end end },
  { "get, one key, 100 bytes", function(n) for _ = 1, n do d:get "line" end end },
  { "get, one key, 16 KB", function(n) for _ = 1, n / 16 do d:get "page" end end, 16 },
  { "get, 65,536 keys", function(n) for i = 1, n do d:get(keys[i % 65536 + 1]) end end },
  { "get, no such key", function(n) for _ = 1, n do d:get "none" end end },
  { "set, one key, number", function(n) for i = 1, n do d:set("number", i) end end },
  { "set, one key, 100 bytes", function(n) for _ = 1, n do d:set("line", line) end end },
  { "set, 65,536 keys", function(n) for i = 1, n do d:set(keys[i % 65536 + 1], i) end end },
  { "incr, one key", function(n) for _ = 1, n do d:incr("count", 1, 0) end end },
  { "incr, 65,536 keys", function(n) for i = 1, n do d:incr(keys[i % 65536 + 1], 1, 0) end end },
}

local function fill()
  d:set("number", 1)
  d:set("line", line)
  d:set("page", page)
  for _, key in ipairs(keys) do d:set(key, 1) end
end

for _, work in ipairs(works) do
  fill()
  work[2](1e5)
  local best = math.huge
  for _ = 1, 5 do
    collectgarbage()
    local began = os.clock()
    work[2](CALLS)
    best = math.min(best, (os.clock() - began) / CALLS * 1e9 * (work[3] or 1))
  end
  print(("%-26s %7.1f ns"):format(work[1], best))
end

local binary = os.tmpname()
local compile = ("cc -O2 -std=gnu11 -D_GNU_SOURCE -Iruntime -o %s spec/policy/dictionary_threads.c runtime/policy/dictionary.c "
  .. "runtime/policy/pages.c runtime/base/hash.c runtime/base/clock.c -lpthread"):format(binary)
if os.execute(compile) == 0 then
  for _, threads in ipairs { 1, 2, 4 } do
    local pipe = assert(io.popen(("%s incr %d 2000000"):format(binary, threads)))
    local ns = pipe:read("*a"):match("ns=(%d+)")
    pipe:close()
    print(("%-26s %7.1f ns"):format(("C incr, %d thread%s"):format(threads, threads == 1 and "" or "s"), tonumber(ns)))
  end
end
os.remove(binary)
