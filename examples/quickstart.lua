-- What ./examples/quickstart runs: a gateway on :8080 in front of two demo backends, which live in this same process so that nothing else
-- has to be started. Edit this file while it runs: saving it is enough.

local gateway = require "gateway"

gateway.listen ":8080"             -- all addresses of this machine
gateway.admin "127.0.0.1:9901"     -- curl http://127.0.0.1:9901/status

-- ---- the demo backends ----
-- Two more addresses of this process, told apart by the Host that their upstreams send. Real ones would be other machines.

gateway.listen "127.0.0.1:9001"
gateway.listen "127.0.0.1:9002"

for _, name in ipairs { "one", "two" } do
  gateway.route "/" {
    name = "backend-" .. name,
    host = name .. ".demo.internal",
    access_log = false,
    to = function(request)
      return gateway.respond(200, {
        backend = name,
        method = request.method,
        path = request.path,
        client = request.headers["x-forwarded-for"],
        user = request.headers["x-user"],
        consumer = request.headers["x-consumer"],
      })
    end,
  }
end

-- ---- the gateway ----

local one = gateway.upstream "one" { "127.0.0.1:9001", host = "one.demo.internal" }
local two = gateway.upstream "two" { "127.0.0.1:9002", host = "two.demo.internal" }

-- Any function is middleware: it may answer itself, change the request, or change the response on its way back.
local function who_are_you(request, next)
  local user = request.query:match("user=(%w+)")
  if not user then return gateway.respond(401, { error = "say who you are: add ?user=NAME" }) end
  request.headers["X-User"] = user
  local response = next()
  response.headers["X-Served-By"] = "gateway"
  return response
end

gateway.route "= /" { to = gateway.split { { one, weight = 1 }, { two, weight = 1 } } }
gateway.route "/one" { to = one }
gateway.route "/users/:id" { methods = { "GET" }, use = { who_are_you }, to = two }
gateway.route "/private" { use = { gateway.plugin("key-auth", { keys = { quick = "alice" } }) }, to = one }
gateway.route "= /hello" { to = gateway.respond(200, "hello\n") }
