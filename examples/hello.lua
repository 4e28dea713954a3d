-- The smallest gateway that shows something:
--
--     gateway examples/hello.lua
--     curl http://127.0.0.1:8080/hello/world

local gateway = require "gateway"

gateway.listen "127.0.0.1:8080"

gateway.route "/hello/:name" {
  to = function(request)
    return gateway.respond(200, { hello = request.params.name })
  end,
}

gateway.route "/" { to = gateway.respond(200, "Try /hello/world\n") }
