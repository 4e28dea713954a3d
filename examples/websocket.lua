-- WebSockets: nothing has to be said for them. After the backend's 101, bytes pass both ways until one side ends.
--
--     websocat -s 127.0.0.1:9001 &                  a backend (any server of WebSockets will do)
--     gateway examples/websocket.lua
--     websocat ws://127.0.0.1:8080/chat/lobby -H 'Origin: http://localhost'
--
-- A reload of this file ends no connection that is open.

local gateway = require "gateway"

gateway.listen "127.0.0.1:8080"

local chat = gateway.upstream "chat" {
  os.getenv "CHAT_BACKEND" or "127.0.0.1:9001",
  timeouts = { tunnel = "1h" }, -- without a byte either way
}

-- Browsers send cookies along whatever page opens a socket: so it matters which page it is.
local origins = { ["http://localhost"] = true, ["https://chat.example.com"] = true }

local function from_our_pages(request, next)
  local origin = request.headers["origin"]
  if origin and not origins[origin] then return gateway.respond(403, { error = "not from this page" }) end
  return next()
end

gateway.route "/chat/:room" {
  use = {
    gateway.concurrency_limit { max = 20, by = "ip" }, -- sockets of one address
    from_our_pages,
  },
  to = chat,
}
