gateway.listen "a:1"
try(function() gateway.balancer.round_robbin { "a" } end)
try(function() gateway.health.pasive { "a" } end)
try(function() gateway.balancer.random {} end)
try(function() gateway.balancer.random { 5, "a", "a", { "b", wieght = 1 } } end)
try(function() gateway.balancer.random(5) end)
try(function() gateway.balancer.hash { "a", virtual_nodes = 0, health = 5 } end)
local many = {}
for i = 1, 4097 do many[i] = "e" .. i end
try(function() gateway.balancer.random(many) end)
try(function() gateway.health.passive { "a", window = 0.001 } end)
local health = gateway.health.passive { "a", "b" }
try(function() gateway.balancer.random { "b", "a", health = health } end)
try(function() gateway.health.combined { "a", active = { rise = 0 } } end)
try(function() health.healthy("a") end)
try(function() health:healthy "c" end)
try(function() health:healthy(5) end)
try(function() health:record("aa", true) end)
try(function() health:record("a", 5) end)
try(function() health.probe("a", true) end)
try(function() health:drain "c" end)
local balancer = gateway.balancer.hash { "alpha", "beta" }
try(function() balancer.next() end)
try(function() balancer:next {} end)
try(function() balancer:done "alhpa" end)
try(function() balancer:done("alpha", 5) end)
try(function() balancer:done("alpha", true, "x") end)
try(function() balancer:in_flight "gamma" end)
