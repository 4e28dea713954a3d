-- HTTP/1.1 for the clients and backends that tests play: messages out of bytes as they come, and bytes out of messages. It is no strict
-- reader: what it meets was written by a test or by the gateway.

local headers = require "gateway.headers"

local http = {}

-- Fields by name, as a list that answers like the headers of responses do; no name is refused here.
local function new_headers()
  return headers.new()
end

local function add_header(list, name, value)
  local at = #list[1] + 1
  list[1][at], list[2][at], list[3][at] = name, name:lower(), value
end
http.new_headers, http.add_header = new_headers, add_header

local function parse_fields(text, list)
  for line in text:gmatch("([^\r\n]+)\r?\n") do
    local name, value = line:match("^([^:]+):[ \t]*(.-)[ \t]*$")
    if name then add_header(list, name, value) end
  end
  return list
end

local Reader = {}
Reader.__index = Reader

--- Reads "request"s or "response"s.
---@param kind "request"|"response"
function http.reader(kind)
  return setmetatable({ kind = kind, buffer = "", state = "head" }, Reader)
end

local function begin_request(message, line)
  message.method, message.target, message.version = line:match("^(%S+) (%S+) (HTTP/%d%.%d)$")
  if not message.method then return "a request line was expected, found " .. line end
  message.path, message.query = message.target:match("^([^?]*)%??(.*)$")
  return nil
end

local function begin_response(message, line)
  local version, status, reason = line:match("^(HTTP/%d%.%d) (%d%d%d) ?(.*)$")
  if not version then return "a status line was expected, found " .. line end
  message.version, message.status, message.reason = version, tonumber(status), reason
  return nil
end

-- How the body of this message ends: "none", "length", "chunked" or "close".
local function framing_of(self, message)
  local fields = message.headers
  if self.kind == "response" then
    local status = message.status
    if self.method == "HEAD" or status == 204 or status == 304 then return "none" end
    if status == 101 then return "none" end -- what follows is no HTTP
  end
  local coding = fields["transfer-encoding"]
  if coding and coding:lower():find("chunked", 1, true) then return "chunked" end
  local length = fields["content-length"]
  if length then
    self.left = tonumber(length) or 0
    return "length"
  end
  return self.kind == "response" and "close" or "none"
end

local step = {}

function step.head(self)
  local from, to = self.buffer:find("\r\n\r\n", 1, true)
  if not from then return nil end
  local line_end = self.buffer:find("\r\n", 1, true)
  local message = { headers = new_headers(), parts = {} }
  local problem = (self.kind == "request" and begin_request or begin_response)(message, self.buffer:sub(1, line_end - 1))
  if problem then
    self.state, self.problem = "broken", problem
    return nil
  end
  parse_fields(self.buffer:sub(line_end + 2, from + 1), message.headers)
  self.buffer = self.buffer:sub(to + 1)
  if message.status and message.status >= 100 and message.status < 200 and message.status ~= 101 then
    self.interim = self.interim or {}
    table.insert(self.interim, message)
    return true
  end
  message.interim, self.interim = self.interim, nil
  self.message = message
  self.state = framing_of(self, message)
  return true
end

function step.none(self)
  self.state = "done"
  return true
end

function step.length(self)
  local parts = self.message.parts
  if self.left == 0 then
    self.state = "done"
    return true
  end
  if self.buffer == "" then return nil end
  local piece = self.buffer:sub(1, self.left)
  self.buffer = self.buffer:sub(#piece + 1)
  self.left = self.left - #piece
  parts[#parts + 1] = piece
  return true
end

function step.close(self)
  if self.buffer ~= "" then
    table.insert(self.message.parts, self.buffer)
    self.buffer = ""
  end
  return nil -- the end of the connection is its end: see `ended`
end

function step.chunked(self)
  local line_end = self.buffer:find("\r\n", 1, true)
  if not line_end then return nil end
  local size = tonumber(self.buffer:match("^(%x+)") or "", 16)
  if not size then
    self.state, self.problem = "broken", "a chunk was expected, found " .. self.buffer:sub(1, 40)
    return nil
  end
  self.buffer = self.buffer:sub(line_end + 2)
  self.left = size
  self.state = size == 0 and "trailers" or "chunk"
  return true
end

function step.chunk(self)
  if self.left == 0 then
    if #self.buffer < 2 then return nil end
    self.buffer = self.buffer:sub(3)
    self.state = "chunked"
    return true
  end
  local more = step.length(self)
  if self.state == "done" then self.state = "chunk" end
  return more
end

function step.trailers(self)
  if self.buffer:sub(1, 2) == "\r\n" then
    self.buffer = self.buffer:sub(3)
  else
    local from, to = self.buffer:find("\r\n\r\n", 1, true)
    if not from then return nil end
    self.message.trailers = parse_fields(self.buffer:sub(1, from + 1), new_headers())
    self.buffer = self.buffer:sub(to + 1)
  end
  self.state = "done"
  return true
end

--- Bytes that have come.
function Reader:feed(bytes)
  self.buffer = self.buffer == "" and bytes or self.buffer .. bytes
end

local function finished(self)
  local message = self.message
  message.body = table.concat(message.parts)
  message.parts = nil
  self.message, self.state = nil, "head"
  return message
end

--- The next message that is whole; nil: there is none yet. `method`: of the request that a response answers.
function Reader:next(method)
  self.method = method
  while self.state ~= "done" do
    local f = step[self.state]
    if not f or not f(self) then return nil end
  end
  return finished(self)
end

--- The peer has ended the connection: a message that ends so; else nil, and why there is none.
function Reader:ended(why)
  if self.state == "close" then
    step.close(self)
    if why == "eof" then return finished(self) end
  end
  if self.problem then return nil, self.problem end
  local how = why == "reset" and "reset" or "closed"
  if self.state == "head" then
    return nil, self.buffer == "" and ("the connection was %s without a response"):format(how)
      or ("the connection was %s in the middle of the head"):format(how)
  end
  return nil, ("the connection was %s in the middle of the body"):format(how)
end

-- "Name: value" lines of a table { name = value | { values } } or of a list of "Name: value"; in an order that does not depend on chance.
local function field_lines(given, out, skip)
  local names = {}
  for name in pairs(given or {}) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do
    local value = given[name]
    if type(name) == "number" then
      out[#out + 1] = value .. "\r\n"
    elseif not (skip and skip[name:lower()]) then
      for _, item in ipairs(type(value) == "table" and value or { value }) do
        out[#out + 1] = ("%s: %s\r\n"):format(name, tostring(item))
      end
    end
  end
end
http.field_lines = field_lines

--- Whether such a table has the field.
function http.has_field(given, wanted)
  for name in pairs(given or {}) do
    if type(name) == "string" and name:lower() == wanted then return true end
  end
  return false
end

--- A chunk of that text.
function http.chunk(text)
  return ("%x\r\n%s\r\n"):format(#text, text)
end

local reasons = {
  [200] = "OK", [201] = "Created", [204] = "No Content", [301] = "Moved Permanently", [302] = "Found", [304] = "Not Modified",
  [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found", [429] = "Too Many Requests",
  [500] = "Internal Server Error", [502] = "Bad Gateway", [503] = "Service Unavailable", [504] = "Gateway Timeout",
}
function http.reason(status)
  return reasons[status] or "Status"
end

return http
