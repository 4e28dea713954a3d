-- A plugin of one's own: plugins/greet.lua beside this script, with its test in spec/.
--
--     gateway examples/custom/gateway.lua
--     curl -i http://127.0.0.1:8080/
--     gateway test examples/custom/spec

local gateway = require "gateway"

gateway.listen "127.0.0.1:8080"

gateway.route "/" {
  use = { gateway.plugin("greet", { greeting = "Good morning", after = 3 }) },
  to = gateway.respond(200, "hello\n"),
}
