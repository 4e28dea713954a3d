--- Reads server-sent events (the part of the format that the gateway writes) from a conn of peers.lua.

local cjson = require "cjson"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local events = {}

local Reader = {}
Reader.__index = Reader

--- Asks for /events; reader.head is the answer's head. headers: fields of the request. With another status than 200 reader.response
-- is the whole answer.
function events.open(to, headers, options)
  local conn = peers.connect(to, options)
  conn:write(message.request { path = "/events", host = "127.0.0.1", headers = headers })
  local reader = setmetatable({ conn = conn, events = 0 }, Reader)
  reader.head = conn:read_response_head()
  if reader.head.status ~= 200 then
    message.read_body(conn, reader.head, false)
    reader.response = reader.head
  end
  return reader
end

--- The next event: name, data (decoded), id.
function Reader:next()
  local fields = {}
  while true do
    local block = self.conn:read_until("\n\n")
    for line in block:gmatch("([^\n]+)\n") do
      local name, value = line:match("^(%w*): ?(.*)$")
      if not name then error("no line of an event stream: " .. ("%q"):format(line:sub(1, 200)), 0) end
      if name ~= "" then fields[name] = (fields[name] and fields[name] .. "\n" or "") .. value end
    end
    if fields.data then break end
  end
  self.events = self.events + 1
  return fields.event, cjson.decode(fields.data), tonumber(fields.id)
end

--- The next snapshot.
function Reader:snapshot()
  local name, data = self:next()
  if name ~= "snapshot" then error("not a snapshot: " .. tostring(name), 0) end
  return data
end

--- Snapshots until one satisfies the predicate, at most `most`.
function Reader:wait(predicate, what, most)
  local snapshot
  for _ = 1, most or 6 do
    snapshot = self:snapshot()
    if predicate(snapshot) then return snapshot end
  end
  error("no snapshot with " .. what .. ", the last one: " .. cjson.encode(snapshot):sub(1, 3000), 0)
end

function Reader:close()
  self.conn:close()
end

return events
