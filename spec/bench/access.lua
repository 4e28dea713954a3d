-- For the yardstick: plain.lua with its access log on, to a file: what logging costs.

local gateway = require "gateway"

gateway.listen "127.0.0.1:8211"
gateway.workers(1)
gateway.access_log { to = os.getenv "BENCH_LOG" or "/tmp/gateway-bench-access.log" }

local backend = gateway.upstream "backend" { "127.0.0.1:9101" }

gateway.route "/" { to = backend }
