-- Backends for the examples, inside the gateway's own process: each is one more address that it listens on, and a route that only requests
-- with its name as Host reach. Real backends would be other machines, and this file would not be there.
--
--     local demo = require "demo"
--     local users = demo.upstream("users", function(request) return { path = request.path } end)

local gateway = require "gateway"

local demo = {}

local port = tonumber(os.getenv "DEMO_PORT") or 9001 -- and those behind it

--- Starts a backend and returns the upstream of it. What `answer` gives is sent as JSON; it may give a gateway.respond(...) as well.
function demo.upstream(name, answer, options)
  local at = "127.0.0.1:" .. port
  port = port + 1
  gateway.listen(at)
  gateway.route "/" {
    name = "demo-" .. name,
    host = name .. ".demo.internal",
    access_log = false,
    to = function(request)
      local result = answer(request)
      if result.status then return result end
      return gateway.respond(200, result)
    end,
  }
  local all = { at, host = name .. ".demo.internal" }
  for key, value in pairs(options or {}) do all[key] = value end
  return gateway.upstream(name)(all)
end

return demo
