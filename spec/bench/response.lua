-- For the yardstick: one middleware in Lua that works on the response, too.

local gateway = require "gateway"

gateway.listen "127.0.0.1:8208"
gateway.workers(1)
gateway.access_log(false)

local backend = gateway.upstream "backend" { "127.0.0.1:9101" }

gateway.route "/" {
  use = {
    function(request, next)
      if request.headers["x-block"] then return gateway.respond(403, "blocked\n") end
      local response = next()
      response.headers["X-Served-By"] = "gateway"
      response.headers["Server"] = nil
      return response
    end,
  },
  to = backend,
}
