-- For the yardstick: one route, one upstream, no Lua on the way.

local gateway = require "gateway"

gateway.listen "127.0.0.1:8204"
gateway.workers(1)
gateway.access_log(false)

local backend = gateway.upstream "backend" { "127.0.0.1:9101" }

gateway.route "/" { to = backend }
