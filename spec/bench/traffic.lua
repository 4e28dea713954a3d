-- For the yardstick: plain.lua with a limit for each client, a breaker, passive health, least connections and a request id. No Lua on the
-- way.

local gateway = require "gateway"

gateway.listen "127.0.0.1:8207"
gateway.workers(1)
gateway.access_log(false)
gateway.request_id(true)

local backend = gateway.upstream "backend" {
  "127.0.0.1:9101",
  balance = "least_conn",
  breaker = { failures = 5, open_for = 10 },
  health = { passive = { window = 30, error_rate = 0.5, min_requests = 10 } },
}

gateway.route "/" {
  use = { gateway.rate_limit { rate = 1e9, burst = 1e9, by = "ip" } },
  to = backend,
}
