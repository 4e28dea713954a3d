-- For the yardstick: key-auth, cors and a rate limit chained. Ask with `x-api-key: abc`, or for `/?key=abc`.

local gateway = require "gateway"

gateway.listen "127.0.0.1:8209"
gateway.workers(1)
gateway.access_log(false)

local backend = gateway.upstream "backend" { "127.0.0.1:9101" }

gateway.route "/" {
  use = {
    gateway.plugin("key-auth", { keys = { abc = "alice" }, query = "key", anonymous = "guest" }),
    gateway.plugin("cors", {}),
    gateway.rate_limit { rate = 1e9, burst = 1e9, by = function(request) return request.ctx.consumer end },
  },
  to = backend,
}
