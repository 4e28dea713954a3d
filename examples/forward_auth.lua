-- Who may pass is asked of a service, for every request, without the worker waiting.
--
--     gateway examples/forward_auth.lua
--     curl -i http://127.0.0.1:8080/                                  401, as the service says it
--     curl -i http://127.0.0.1:8080/ -H 'Authorization: Bearer good'  200, with X-User from the service

local gateway = require "gateway"
local demo = require "demo"

gateway.listen "127.0.0.1:8080"

local auth = demo.upstream("auth", function(request)
  if request.headers["authorization"] == "Bearer good" then
    return gateway.respond(200, "", { ["X-User"] = "alice" })
  end
  return gateway.respond(401, { error = "who are you?" }, { ["WWW-Authenticate"] = "Bearer" })
end)

local app = demo.upstream("app", function(request) return { user = request.headers["x-user"] } end)

gateway.route "/" {
  use = {
    gateway.plugin("forward-auth", {
      upstream = auth, path = "/check",
      request_headers = { "Authorization", "Cookie" }, -- what the service gets to see
      response_headers = { "X-User" },                 -- what of its answer the backend gets; a client's own is taken out
      timeout = 1,
    }),
  },
  to = app,
}
