-- For the yardstick: everything that watches is on: request ids, a JSON access log to a file, all metrics, tracing sampled at one percent.
-- No collector need be there.

local gateway = require "gateway"

gateway.listen "127.0.0.1:8210"
gateway.admin "127.0.0.1:9910"
gateway.workers(1)
gateway.access_log { to = os.getenv "BENCH_LOG" or "/tmp/gateway-bench-access.log" }
gateway.tracing { endpoint = "http://127.0.0.1:4318", ratio = 0.01 }

local backend = gateway.upstream "backend" { "127.0.0.1:9101" }

gateway.route "/" { to = backend }
