--- A backend of every temper. A request says in its query what is to become of it: "?mood=WORD&bytes=N". Its answer repeats the request's
--- X-Token, in a field and in front of the body, so that whoever gets another's answer notices.
--
--     backend:serve(moody.backend)

local message = require "spec.support.message"
local peers = require "spec.support.peers"

local moody = {}

local random = math.random
local function chance(p) return random() < p end

--- The body of a good answer.
function moody.body_for(token, target)
  local bytes = tonumber(target:match("bytes=(%d+)")) or 0
  return token .. ("."):rep(bytes)
end

--- Serves one connection; for Listener:serve.
function moody.backend(conn, number)
  local served = 0
  while true do
    local request = conn:read_request { body = false }
    if not request then return end
    served = served + 1
    local mood = request.target:match("mood=(%w+)") or "good"
    local token = request.headers:get("x-token") or ""
    if mood == "upgrade" then
      conn:write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n" .. token)
      while true do conn:write(conn:read_some()) end
    elseif mood == "early" then
      conn:write(message.response { status = 403, headers = { Connection = "close", ["X-Token"] = token },
        body = moody.body_for(token, request.target) })
      return
    elseif mood == "hang" then
      conn:wait_end()
      return
    end
    message.read_body(conn, request, true, nil, true)
    if chance(0.05) then peers.sleep(random() * 0.05) end
    local body = moody.body_for(token, request.target)
    local headers = { { "X-Token", token } }
    local function write(text) -- in pieces, now and then
      if chance(0.3) then conn:write_slowly(text, math.max(1, math.floor(#text / random(1, 6))), 0.001) else conn:write(text) end
    end
    if mood == "good" then
      write(message.response { headers = headers, body = body, head_only = request.method == "HEAD" })
    elseif mood == "chunked" then
      headers[2] = { "Transfer-Encoding", "chunked" }
      local cut = random(1, #body)
      local chunks = cut < #body and message.chunked({ trailers = "X-T: 1\r\n" }, body:sub(1, cut), body:sub(cut + 1))
        or message.chunked(body)
      write(message.response { headers = headers, body = chunks, head_only = request.method == "HEAD" })
    elseif mood == "hints" then
      write("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
        .. message.response { headers = headers, body = body, head_only = request.method == "HEAD" })
    elseif mood == "close" then
      write(message.response { headers = headers, body = body, close = true, head_only = request.method == "HEAD" })
      return
    elseif mood == "cut" then
      local text = message.response { headers = headers, body = body }
      conn:write(text:sub(1, random(1, #text)))
      if chance(0.5) then conn:reset() end
      return
    elseif mood == "garbage" then
      conn:write "\0\1\2 garbage\r\n\r\n"
      return
    elseif mood == "reset" then
      conn:reset()
      return
    end
    if served > 1 and number % 7 == 0 then return end -- ends while idle, without a word
  end
end

return moody
