-- API keys, and a limit for each consumer: not for each address, and the same one whichever route is asked.
--
--     gateway examples/api_keys.lua
--     curl -i http://127.0.0.1:8080/orders                           401
--     curl -i http://127.0.0.1:8080/orders -H 'X-API-Key: alice-1'   200, and X-Consumer for the backend
--     for i in $(seq 8); do curl -so /dev/null -w '%{http_code} ' http://127.0.0.1:8080/orders -H 'X-API-Key: bob-1'; done
--
-- Keys belong in a file that only the gateway may read, or as their SHA-256: "sha256:" .. (printf %s KEY | sha256sum).

local gateway = require "gateway"
local demo = require "demo"

gateway.listen "127.0.0.1:8080"

local orders = demo.upstream("orders", function(request)
  return { orders = { 1, 2, 3 }, consumer = request.headers["x-consumer"] }
end)

local keys = gateway.plugin("key-auth", {
  keys = {
    ["alice-1"] = "alice", ["alice-2"] = "alice", -- two keys, so that one can be changed while the other is in use
    ["bob-1"] = "bob",
  },
})

-- One limit, named: every route that uses it counts into the same bucket of a consumer.
local function consumer(request) return request.ctx.consumer end
local limit = gateway.rate_limit { name = "consumers", rate = 5, burst = 5, by = consumer, headers = true }

-- The consumer stands in the access log, too.
local function tell_log(request, next)
  request.log.consumer = request.ctx.consumer
  return next()
end

gateway.route "/orders" { methods = { "GET" }, use = { keys, tell_log, limit }, to = orders }
gateway.route "/orders/:id" { methods = { "GET", "DELETE" }, use = { keys, tell_log, limit }, to = orders }
