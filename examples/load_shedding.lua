-- When there is more to do than can be done, some is refused at once: the rest is answered in time.
--
--     gateway examples/load_shedding.lua
--     curl http://127.0.0.1:8080/pay
--     wrk -c 200 -d 5 http://127.0.0.1:8080/reports      most get 503 with Retry-After, /pay goes on
--
-- Three fences, from the outside in: how much at once from one client, how much at once of what can wait, and how much the backend stands.

local gateway = require "gateway"
local demo = require "demo"

gateway.listen "127.0.0.1:8080"

local backend = demo.upstream("backend", function(request)
  if request.path == "/reports" then gateway.sleep(0.05) end -- work that takes a while
  return { path = request.path }
end, {
  -- Finds by latency how many requests at once the backend stands, and refuses those above.
  concurrency = "adaptive",
  retry = { attempts = 2, on = { "connect", "reset" }, budget = 0.1 }, -- retries add a tenth at most: no storm on top
  timeouts = { total = 5 },
})

gateway.use { gateway.concurrency_limit { name = "client", max = 50, by = "ip" } }

-- What must work has no further fence; what can wait shares ten places.
gateway.route "/pay" { to = backend }
gateway.route "/reports" { use = { gateway.concurrency_limit { name = "reports", max = 10, by = "none" } }, to = backend }
