-- Nanoseconds a call of the primitives by hand, from compiled Lua: GATEWAY_BUILD=build/release luajit spec/bench/primitives.lua
-- The clock is read in each call that needs it (about 20 ns of what is printed); in a gateway the worker's loop has read it.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local gateway = require "gateway"

local CALLS = 5e6

local function bench(name, f)
  f(1e5)
  local best = math.huge
  for _ = 1, 5 do
    collectgarbage()
    local began = os.clock()
    f(CALLS)
    best = math.min(best, (os.clock() - began) / CALLS * 1e9)
  end
  print(("%-34s %6.1f ns"):format(name, best))
end

local bucket = gateway.token_bucket { rate = 1e9, burst = 1e9 }
bench("token_bucket:allow", function(n) for _ = 1, n do bucket:allow() end end)

local limiter = gateway.client_limiter { rate = 1e5, burst = 1e5 }
bench("client_limiter:allow, one key", function(n) for _ = 1, n do limiter:allow "203.0.113.7" end end)
local keys = {}
for i = 1, 65536 do keys[i] = "client-" .. i end
bench("client_limiter:allow, 65,536 keys", function(n) for i = 1, n do limiter:allow(keys[i % 65536 + 1]) end end)

local window = gateway.sliding_window { limit = 1e6, window = 1 }
bench("sliding_window:allow", function(n) for _ = 1, n do window:allow() end end)

local breaker = gateway.breaker {}
bench("breaker:allow and success", function(n)
  for _ = 1, n do
    local _, _, ticket = breaker:allow()
    breaker:success(ticket)
  end
end)
local breakers = gateway.breakers {}
bench("breakers:of(key):allow", function(n) for _ = 1, n do breakers:of("a"):allow() end end)

for _, name in ipairs { "round_robin", "weighted", "least_conn", "hash", "maglev", "ewma", "random" } do
  local list = {}
  for i = 1, 10 do list[i] = "10.0.0." .. i .. ":80" end
  local balancer = gateway.balancer[name](list)
  bench("balancer." .. name .. ":next and done", function(n)
    for i = 1, n do balancer:done(balancer:next(keys[i % 1024 + 1]), true, 0.01) end
  end)
end

local health = gateway.health.passive { "a", "b" }
bench("health.passive:healthy", function(n) for _ = 1, n do health:healthy "a" end end)
