-- One request, three services asked at the same time, one answer. A service that fails leaves a hole, not an error.
--
--     gateway examples/aggregate.lua
--     curl http://127.0.0.1:8080/dashboard/7
--     curl http://127.0.0.1:8080/dashboard/13        without recommendations: that service is down for this one

local gateway = require "gateway"
local demo = require "demo"

gateway.listen "127.0.0.1:8080"

local users = demo.upstream("users", function(request) return { id = request.path:match("%d+"), name = "alice" } end)
local orders = demo.upstream("orders", function() return { { id = 1, total = 12.5 }, { id = 2, total = 3 } } end)
local recommendations = demo.upstream("recommendations", function(request)
  if request.path:find("/13$") then return gateway.respond(503, "down") end
  return { "tea", "biscuits" }
end)

-- What a service says, decoded; or nil.
local function ask(upstream, path)
  return function()
    local response, problem = gateway.fetch(upstream, { path = path, timeout = 1 })
    if not response or response.status ~= 200 then
      gateway.log.warn("a part of the dashboard is missing", { path = path, error = problem or response.status })
      return nil
    end
    return gateway.json.decode(response.body)
  end
end

gateway.route "/dashboard/:id" {
  methods = { "GET" },
  to = function(request)
    local id = request.params.id
    local user, list, more = gateway.all {
      ask(users, "/users/" .. id),
      ask(orders, "/orders?user=" .. id),
      ask(recommendations, "/recommendations/" .. id),
    }
    if not user then return gateway.respond(502, { error = "nobody knows this user" }) end
    return gateway.respond(200, { user = user, orders = list, recommendations = more })
  end,
}
