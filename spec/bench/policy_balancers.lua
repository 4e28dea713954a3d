-- What a pick costs, and the end of its request, from compiled Lua through the FFI: all seven balancers at 10 and 1,000 endpoints, one
-- thread. From the top of the tree, after `cmake --preset release && cmake --build --preset release`:
--
--     GATEWAY_BUILD=build/release luajit spec/bench/policy_balancers.lua
--
-- The bar for a pick is 25 ns at 10 endpoints, 60 ns at 1,000. Keys and random bits are drawn ahead; what the same loop costs without a
-- pick is not taken off. The best of some rounds, because other work on the machine can only add. "some out": every tenth endpoint is out.

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

local ffi = require "ffi"
local balancers = require "spec.support.balancers"
local C = balancers.C

local PICKS, ROUNDS = 65536, 60
local random = balancers.random(1)
local bits = ffi.new("uint64_t[?]", PICKS)
for i = 0, PICKS - 1 do bits[i] = random() end

local function best(run)
  local least = math.huge
  for _ = 1, ROUNDS do
    local from = os.clock()
    run()
    least = math.min(least, os.clock() - from)
  end
  return least / PICKS * 1e9
end

local function measure(name, count, out)
  local slots, excluded = {}, ffi.new("uint64_t[?]", math.ceil(count / 64))
  for i = 1, count do slots[i] = { name = ("10.0.%d.%d:8080"):format(math.floor(i / 250), i % 250), weight = 1 + i % 3 } end
  for i = 0, count - 1, 10 do
    excluded[math.floor(i / 64)] = bit.bor(excluded[math.floor(i / 64)], bit.lshift(1ULL, i % 64))
  end
  local b = balancers.new(name, slots)
  local handle, state, query, config = b.table, b.state, b.query, b.config
  local loads, now = ffi.new("gw_load *[?]", count), 1e12
  for i = 1, count do
    loads[i - 1] = b.loads[i]
    C.gw_balancer_done(config, state, b.loads[i], now, true, 1e6 + i * 1e3)
  end
  local q, picked = query[0], ffi.new("int32_t[?]", PICKS)
  if out then
    q.excluded.word, q.excluded.more, q.excluded.words = excluded[0], excluded + 1, math.ceil(count / 64) - 1
  end
  local pick = best(function()
    for i = 0, PICKS - 1 do
      q.key, q.random, q.now = bits[i], bits[i], now
      picked[i] = C.gw_balancer_pick(handle, state, query)
    end
  end)
  local done = best(function()
    for i = 0, PICKS - 1 do
      C.gw_balancer_done(config, state, loads[picked[i]], now, true, 1000000)
    end
  end)
  return pick, done
end

print(("%-12s %10s %14s %14s %14s"):format("balancer", "endpoints", "pick", "with some out", "done"))
for _, name in ipairs { "round_robin", "weighted", "least_conn", "hash", "maglev", "ewma", "random" } do
  for _, count in ipairs { 10, 1000 } do
    local pick, done = measure(name, count, false)
    print(("%-12s %10d %11.1f ns %11.1f ns %11.1f ns"):format(name, count, pick, (measure(name, count, true)), done))
  end
end
