gateway.listen "a:1"
try(function() gateway.token_bucket(5) end)
try(function() gateway.token_bucket {} end)
try(function() gateway.token_bucket { rate = 0, burst = -1 } end)
try(function() gateway.token_bucket { rate = "x", brust = 1, name = "a b", clock = 5 } end)
try(function() gateway.client_limiter { rate = 1, max_clients = 0, idle = "x" } end)
try(function() gateway.sliding_window { limit = 5 } end)
try(function() gateway.sliding_window { limit = 5, window = 0.0001 } end)
try(function() gateway.breaker { open_for = 0, lease = 0, window = 0.001 } end)
try(function() gateway.breaker { open_for = 10, open_most = 5 } end)
try(function() gateway.breakers { max_keys = 0 } end)

local bucket = gateway.token_bucket { rate = 1 }
try(function() bucket.allow() end)
try(function() bucket:allow "x" end)
try(function() bucket.left() end)
try(function() bucket:alow() end)
try(function() bucket.rate = 5 end)

local clients = gateway.client_limiter { rate = 1 }
try(function() clients.allow() end)
try(function() clients:allow {} end)
try(function() clients:allow("x", -1) end)
try(function() clients.left() end)
try(function() clients:left {} end)
try(function() clients.clients() end)

local window = gateway.sliding_window { limit = 5, window = 5 }
try(function() window.allow() end)
try(function() window:allow {} end)
try(function() window.left() end)
try(function() window:left {} end)

local breaker = gateway.breaker {}
for _, method in ipairs { "allow", "success", "failure", "cancel", "reset", "trip" } do
  try(function() breaker[method]() end)
end
for _, method in ipairs { "success", "failure", "cancel" } do
  try(function() breaker[method](breaker, "x") end)
end
try(function() return breaker.stat end)

local breakers = gateway.breakers {}
try(function() breakers.of() end)
try(function() breakers:of {} end)
try(function() breakers.count() end)

-- On a clock of the test's own.
local clocked = gateway.breakers { clock = { now = function() return 0 end } }
try(function() clocked:of {} end)
try(function() clocked.name = 5 end)
try(function() return clocked:off "x" end)
