-- For the yardstick: a limit, which C asks, and a small policy in Lua on every request.

local gateway = require "gateway"

gateway.listen "127.0.0.1:8205"
gateway.workers(1)
gateway.access_log(false)

local backend = gateway.upstream "backend" { "127.0.0.1:9101" }

gateway.route "/" {
  use = {
    gateway.rate_limit { rate = 1e9, burst = 1e9, by = "ip" },
    function(request, next)
      if request.headers["x-block"] then return gateway.respond(403, "blocked\n") end
      request.headers["X-Policy"] = request.headers["user-agent"] and "named" or "anonymous"
      return next()
    end,
  },
  to = backend,
}
