-- The gateway's script: see gateway.lua(5), and /usr/share/doc/gateway/README.md for all of it. Saving it reloads it; so does
--     systemctl reload gateway
-- What would be wrong with it is said by
--     gateway check /etc/gateway/gateway.lua

local gateway = require "gateway"

gateway.listen ":8080"
gateway.admin "127.0.0.1:9901"               -- gateway status; /metrics, /healthz, /readyz
gateway.access_log { to = "/var/log/gateway/access.log" }

-- local users = gateway.upstream "users" { "10.0.0.1:8080", "10.0.0.2:8080" }
-- gateway.route "/api/users" { to = users }

gateway.route "/" { to = gateway.respond(200, "It works. /etc/gateway/gateway.lua says what is served here.\n") }
