-- Both ends of the connections of a test's gateway, as the test plays them: clients that ask, backends that answer. All of it is driven by
-- testing_app.lua, which says when something may have come, and how late it is.

local check = require "gateway.check"
local http = require "gateway.testing_http"
local json = require "gateway.json"
local testing_json = require "gateway.testing_json"
local testing_upstream = require "gateway.testing_upstream"

local wire = {}

local RESET, CLOSE, STOP = testing_upstream.RESET, testing_upstream.CLOSE, testing_upstream.STOP

-- ---- what both have: a queue of things to do (bytes, waits, an end) ----

-- Does what can be done now. True when something was done. After a wait, `due` is when it goes on.
local function work_off(self)
  local core, queue, did = self.app._core, self.queue, false
  while self.fd and queue[1] ~= nil do
    local action = queue[1]
    if self.due then
      if self.app:_elapsed() < self.due then return did end
      self.due = nil
    end
    if type(action) == "number" then
      self.due = self.app:_elapsed() + action
      table.remove(queue, 1)
      if #queue == 0 then queue[1] = "" end -- a wait at the end is one, too
      did = true
    elseif type(action) == "string" then
      local from = self.from or 1
      local taken = core:write(self.fd, action, from)
      if not taken then -- the gateway has closed it; what it sent before can still be read
        self.queue = {}
        return true
      end
      if from + taken <= #action then
        self.from = from + taken
        return did or taken > 0
      end
      self.from = nil
      table.remove(queue, 1)
      did = true
    elseif action == RESET or action == CLOSE then
      core:shut(self.fd, action == RESET and "reset" or "close")
      self.fd = nil
      return true
    else -- STOP
      return did
    end
  end
  return did
end

-- ---- backends ----

local Peer = {}
Peer.__index = Peer

--- A connection that the gateway has made to an endpoint.
function wire.peer(app, fd, endpoint, number)
  return setmetatable({ app = app, fd = fd, endpoint = endpoint, number = number, reader = http.reader "request", queue = {} }, Peer)
end

local function traced(problem)
  if type(problem) == "string" then return debug.traceback(problem, 2) end
  return problem
end

-- What a test's function says to a request. When it raises, the test fails, with what it raised.
local function ask(self, f, request)
  self.busy = true
  local good, value = xpcall(function() return testing_upstream.answer(f(request)) end, traced)
  self.busy = false
  if good then
    if type(value) == "function" then return { status = 500, body = "a function as an answer" } end
    return value
  end
  self.queue[#self.queue + 1] = RESET
  error(value, 0)
end

function Peer:_take(request)
  local endpoint, upstream = self.endpoint, self.endpoint.upstream
  request.endpoint, request.upstream, request.address = endpoint.index or 1, endpoint.name, endpoint.address
  request.at, request.connection = self.app:_elapsed(), self.number
  table.insert(upstream.requests, request)
  if endpoint.seen then table.insert(endpoint.seen, request) end
  local answer = upstream:_next(true)
  if type(answer) == "function" then answer = ask(self, answer, request) end
  for _, action in ipairs(testing_upstream.actions(answer, request.method)) do self.queue[#self.queue + 1] = action end
  if answer.status == 101 then self.tunnel = answer.tunnel or function() return nil end end
end

-- What has come through a tunnel, and what goes back.
function Peer:_carry()
  local bytes = self.reader.buffer
  if bytes == "" then return end
  self.reader.buffer = ""
  self.busy = true
  local good, reply = xpcall(self.tunnel, traced, bytes)
  self.busy = false
  if not good then error(reply, 0) end
  if reply ~= nil then self.queue[#self.queue + 1] = tostring(reply) end
end

function Peer:step()
  if self.busy or not self.fd then return false end
  local did = work_off(self)
  while self.fd do
    local bytes, why = self.app._core:read(self.fd)
    if not bytes then
      if why ~= "again" then
        self.app._core:shut(self.fd, "close")
        self.fd = nil
        return true
      end
      return did
    end
    did = true
    self.reader:feed(bytes)
    local request = not self.tunnel and self.reader:next()
    while request do
      self:_take(request)
      request = not self.tunnel and self.reader:next()
    end
    if self.tunnel then self:_carry() end
    work_off(self)
  end
  return did
end

-- ---- clients ----

---@class gateway.testing.Response
---@field status integer? nil when the connection ended without one: `error` says how
---@field headers gateway.Headers
---@field body string
---@field json any the body as JSON (a call, response:json(), does the same); raises when it is none
---@field request_id string?
---@field trailers? gateway.Headers
---@field interim? table[] 1xx responses before it
---@field error string? how the connection ended when it ended too early
---@field connection gateway.testing.Connection? after a 101: it goes on by :send(bytes) and :received()
---@field duration number virtual seconds from the request to the end of the response
local Response = {}
wire.Response = Response

function Response.__index(self, key)
  if key == "json" then
    local value, problem = testing_json.decode(rawget(self, "body") or "")
    if problem then
      error(("response.json: %s; the body is %s"):format(problem, check.describe(rawget(self, "body"))), 2)
    end
    if type(value) == "table" then
      return setmetatable(value, { __call = function() return value end, __gateway_json = true })
    end
    return value
  elseif key == "request_id" then
    return rawget(self, "headers")["x-request-id"]
  end
  return nil
end

function Response.__tostring(self)
  return ("response %s"):format(tostring(rawget(self, "status") or rawget(self, "error")))
end
Response.describe = Response.__tostring

-- What a request is on the wire: a list of things to do.
local function request_actions(options, app)
  if options.raw then return type(options.raw) == "table" and options.raw or { options.raw } end
  local lines = {}
  local path = options.path or "/"
  lines[1] = ("%s %s HTTP/1.1\r\n"):format(options.method or "GET", path)
  if not http.has_field(options.headers, "host") then
    lines[2] = ("Host: %s\r\n"):format(options.host or app._host)
  end
  http.field_lines(options.headers, lines)
  local body, pieces = options.body, nil
  local kind = type(body)
  if kind == "table" then
    if check.is_list(body) and type(body[1]) == "string" and not options.json then
      pieces = body
    else
      body = json.encode(body)
      if not http.has_field(options.headers, "content-type") then lines[#lines + 1] = "Content-Type: application/json\r\n" end
    end
  elseif kind == "number" then
    body = tostring(body)
  elseif kind ~= "string" and body ~= nil then
    error("body: expected a string, a table (sent as JSON) or a list of pieces, found " .. check.describe(body), 0)
  end
  pieces = pieces or (body and { body }) or {}
  if options.chunked then
    lines[#lines + 1] = "Transfer-Encoding: chunked\r\n"
  elseif body ~= nil and not http.has_field(options.headers, "content-length") then
    local length = 0
    for _, piece in ipairs(pieces) do length = length + (type(piece) == "string" and #piece or 0) end
    lines[#lines + 1] = ("Content-Length: %d\r\n"):format(length)
  end
  lines[#lines + 1] = "\r\n"
  local actions = { table.concat(lines) }
  for _, piece in ipairs(pieces) do
    if type(piece) == "number" then
      actions[#actions + 1] = piece
    elseif piece ~= "" then
      actions[#actions + 1] = options.chunked and http.chunk(piece) or piece
    end
  end
  if options.chunked then
    local last = { "0\r\n" }
    http.field_lines(options.trailers, last)
    last[#last + 1] = "\r\n"
    actions[#actions + 1] = table.concat(last)
  end
  return actions
end

---@class gateway.testing.Connection a client's connection, for several requests on one
local Client = {}
Client.__index = Client

function wire.client(app, fd, client_ip)
  return setmetatable({ app = app, fd = fd, client_ip = client_ip, reader = http.reader "response", queue = {}, waiting = {} }, Client)
end

local function answered(pending, message, problem)
  local response
  if message then
    response = message
  else
    response = { headers = http.new_headers(), body = "", error = problem }
  end
  response.app = pending.app
  response.duration = pending.app:_elapsed() - pending.began
  pending.response = setmetatable(response, Response)
end

-- The connection has ended: so have all that wait on it.
local function ended(self, why)
  local message, problem = self.reader:ended(why)
  self.closed = why
  for _, pending in ipairs(self.waiting) do
    if not pending.response then
      local partial = self.reader.message
      answered(pending, message, problem)
      if not message and partial then -- what has come of it
        pending.response.status, pending.response.headers = partial.status, partial.headers
        pending.response.body = table.concat(partial.parts or {})
        self.reader.message = nil
      end
      message, problem = nil, "the connection was closed without a response"
    end
  end
  self.waiting = {}
  if self.fd then self.app._core:shut(self.fd, "close") end
  self.fd = nil
end

function Client:step()
  if not self.fd then return false end
  local did = work_off(self)
  while self.fd do
    local bytes, why = self.app._core:read(self.fd)
    if not bytes then
      if why == "again" then return did end
      ended(self, why)
      return true
    end
    did = true
    self.reader:feed(bytes)
    while self.waiting[1] do
      local message = self.reader:next(self.waiting[1].method)
      if not message then break end
      local pending = table.remove(self.waiting, 1)
      answered(pending, message)
      if message.status == 101 then
        self.tunnel = true
        pending.response.connection = self
      elseif pending.alone then
        self:close()
        return true
      end
    end
    if self.reader.state == "broken" then ended(self, "eof") end
  end
  return did
end

--- Closes the connection: the client goes away.
---@param how? "close"|"reset"
function Client:close(how)
  if self.fd then self.app._core:shut(self.fd, how or "close") end
  self.fd = nil
  for _, pending in ipairs(self.waiting) do
    if not pending.response then answered(pending, nil, "the client went away") end
  end
  self.waiting = {}
end

--- Ends the client's sending side.
function Client:finish()
  if self.fd then self.app._core:shut(self.fd, "end") end
end

---@class gateway.testing.Pending
local Pending = {}
Pending.__index = Pending

--- Sends a request; its response comes to pending:wait().
---@param options gateway.testing.RequestOptions
---@return gateway.testing.Pending
function Client:start(options)
  local app = self.app
  local pending = setmetatable({
    app = app, client = self, began = app:_elapsed(), method = options.method or "GET", alone = options.alone,
  }, Pending)
  if not self.fd then
    answered(pending, nil, "the connection was closed before the request")
    return pending
  end
  table.insert(self.waiting, pending)
  for _, action in ipairs(request_actions(options, app)) do self.queue[#self.queue + 1] = action end
  app:_settle()
  return pending
end

--- Sends a request and waits for its response.
---@param options gateway.testing.RequestOptions
---@return gateway.testing.Response
function Client:request(options)
  return self:start(options):wait()
end

--- Sends bytes as they are.
---@param bytes string
function Client:send(bytes)
  self.queue[#self.queue + 1] = bytes
  self.app:_settle()
end

--- What has come that is no response: after a 101, the bytes of the tunnel.
---@return string
function Client:received()
  self.app:_settle()
  local bytes = self.reader.buffer
  self.reader.buffer = ""
  return bytes
end

--- Whether the gateway has closed it.
---@return boolean
function Client:is_closed()
  self.app:_settle()
  return self.fd == nil
end

--- The response; waits for it, in virtual time.
---@return gateway.testing.Response
function Pending:wait()
  if not self.response then self.app:_await(self) end
  return self.response
end

--- Whether the response is there already.
---@return boolean
function Pending:done()
  return self.response ~= nil
end

--- The client goes away. "reset": its connection breaks.
---@param how? "close"|"reset"
function Pending:abort(how)
  self.client:close(how)
  self.app:_settle()
end

wire.Pending, wire.Client, wire.STOP = Pending, Client, STOP

return wire
