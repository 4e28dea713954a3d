-- testing.upstream { ... } or testing.upstream(function(request) ... end): a backend that a test plays. It can stand wherever an upstream
-- or an endpoint can, in one app or several; `requests` are what it got.

local check = require "gateway.check"
local http = require "gateway.testing_http"
local json = require "gateway.json"
local spec = require "gateway.spec"
local units = require "gateway.units"
local upstream = require "gateway.upstream"

local testing_upstream = {}

---@class gateway.testing.Request
---@field method string
---@field target string path and query as they came
---@field path string
---@field query string without the "?"
---@field headers gateway.Headers
---@field body string
---@field trailers? gateway.Headers
---@field endpoint integer which of its upstream's endpoints got it, from 1 on
---@field upstream string
---@field address string of the endpoint, as the gateway's log has it
---@field at number app.clock:elapsed() when it had come whole
---@field connection integer which of the app's upstream connections

---@class gateway.testing.Answer
---@field status? integer 200
---@field body? string|table|(string|number)[] a table of names is sent as JSON; a list goes out in pieces, numbers are seconds to wait
---@field headers? table<string, string|string[]>
---@field trailers? table<string, string> with chunked
---@field delay? number|string time until it answers
---@field hang? boolean it never does
---@field refuse? boolean it takes no connection
---@field reset? boolean|"head"|"body" the connection breaks: instead of an answer, within its head, within its body
---@field chunked? boolean the body goes out chunked, not with a Content-Length
---@field close? boolean the connection ends after it; with chunked = false, the body ends with the connection
---@field interim? integer[]|table[] 1xx answers before it: { 103 } or { { status = 103, headers = {} } }
---@field tunnel? fun(bytes: string): string? with status = 101: what comes then, and what goes back
---@field raw? string these bytes instead of an answer
---@field sequence? gateway.testing.Answer[] one after the other; the last stays

---@class gateway.testing.Upstream
---@field requests gateway.testing.Request[]
---@field refused integer connections that it did not take
local Upstream = {}
Upstream.__index = Upstream

local fields = {
  status = { type = "integer", min = 100, max = 999 }, body = "any", headers = "any", trailers = "any", delay = "duration",
  hang = "boolean", refuse = "boolean", reset = "any", chunked = "boolean", close = "boolean", interim = "any", raw = "string",
  sequence = "any", name = "string", tunnel = "function",
}

local function answer_of(given, where, level)
  if type(given) == "number" then given = { status = given } end
  if type(given) == "string" then given = { body = given } end
  if given == nil then given = {} end
  if type(given) == "function" then return given end
  if type(given) ~= "table" or getmetatable(given) then
    error(("%s: expected an answer such as { status = 200, body = \"hi\" }, found %s"):format(where, check.describe(given)), level + 1)
  end
  local problems = {}
  local good = check.fields(given, fields, "", function(message) problems[#problems + 1] = where .. ": " .. message end)
  local reset = good.reset
  if reset ~= nil and type(reset) ~= "boolean" and reset ~= "head" and reset ~= "body" then
    problems[#problems + 1] = ('%s: reset: expected true, "head" or "body", found %s'):format(where, check.describe(reset))
  end
  if problems[1] then error(table.concat(problems, "\n"), level + 1) end
  return good
end

local current -- the app that is being declared

--- The app that is being declared from here on; nil: none.
function testing_upstream.declare_in(app)
  local before = current
  current = app
  return before
end

local function app_for(what)
  if not current then error(what .. " can be used only in what testing.app declares", 0) end
  return current
end

--- A backend that a test plays.
---@param given? gateway.testing.Answer|fun(request: gateway.testing.Request): gateway.testing.Answer|integer|string|nil
---@return gateway.testing.Upstream
function testing_upstream.new(given)
  local self = { requests = {}, refused = 0, count = 0 }
  local answer = answer_of(given, "testing.upstream", 2)
  if type(answer) == "table" and answer.sequence ~= nil then
    local list = answer.sequence
    if not check.is_list(list) or #list == 0 then
      error("testing.upstream: sequence: expected a list of answers, found " .. check.describe(list), 2)
    end
    self.sequence = {}
    for i, item in ipairs(list) do self.sequence[i] = answer_of(item, ("testing.upstream: sequence[%d]"):format(i), 2) end
  else
    self.answer = answer
  end
  self.name = type(answer) == "table" and answer.name or nil
  setmetatable(self, Upstream)
  if current then table.insert(current._made, self) end
  return self
end

--- Those that were made while the app was declared, and are no endpoints, are upstreams: a function may name them when it runs.
function testing_upstream.settle(app)
  for _, self in ipairs(app._made) do
    if not app._is_endpoint[self] then Upstream.__gateway_upstream(self) end
  end
end

function testing_upstream.is(value)
  return getmetatable(value) == Upstream
end

Upstream.describe = function() return "a testing.upstream" end

-- As an endpoint: an address of the app's own.
function Upstream.__gateway_endpoint(self)
  local app = app_for("testing.upstream")
  app._is_endpoint[self] = true
  return app:_address(self)
end

-- As an upstream: one is declared for it, once an app.
function Upstream.__gateway_upstream(self)
  local state = spec.state
  state.testing = state.testing or { count = 0 }
  local known = state.testing[self]
  if known then return known end
  if not state.loading then
    error("a testing.upstream that is used at run time has to be known before: make it in the function that testing.app gets, or declare "
      .. "gateway.upstream \"name\" { it }", 0)
  end
  local name = self.name
  if not name then
    repeat
      state.testing.count = state.testing.count + 1
      name = "testing-" .. state.testing.count
    until not state.upstream_by_name[name]
  end
  local source = spec.where()
  known = upstream.make(name, source)
  upstream.declare(known, { self }, source)
  state.testing[self] = known
  return known
end

-- What it does next: an answer, or a function that gives one. `take`: it is used up by this.
function Upstream:_next(take)
  if not self.sequence then return self.answer end
  local answer = self.sequence[math.min(self.count + 1, #self.sequence)]
  if take then self.count = self.count + 1 end
  return answer
end

--- Forgets the requests so far; a sequence begins anew.
function Upstream:clear()
  for i = #self.requests, 1, -1 do self.requests[i] = nil end
  self.refused, self.count = 0, 0
end

-- ---- answers into what is done on a connection: strings are written, numbers are seconds to wait, "reset" and "close" in tables ----

local RESET, CLOSE, STOP = { "reset" }, { "close" }, { "stop" }
testing_upstream.RESET, testing_upstream.CLOSE, testing_upstream.STOP = RESET, CLOSE, STOP

local function head_of(status, list)
  list[1] = ("HTTP/1.1 %d %s\r\n"):format(status, http.reason(status))
  list[#list + 1] = "\r\n"
  return table.concat(list)
end

local function bodyless(status, method)
  return method == "HEAD" or status == 204 or status == 304 or status < 200
end

-- The body as pieces, and whether it is one piece.
local function pieces_of(answer, list)
  local body = answer.body
  if type(body) == "number" then return { tostring(body) }, true end
  if body == nil then return { "" }, true end
  if type(body) == "string" then return { body }, true end
  if check.is_list(body) and #body > 0 and not getmetatable(body) then
    local plain = true
    for _, piece in ipairs(body) do plain = plain and (type(piece) == "string" or type(piece) == "number") end
    if plain and answer.chunked ~= nil or plain and type(body[1]) == "string" then return body, false end
  end
  if not http.has_field(answer.headers, "content-type") then list[#list + 1] = "Content-Type: application/json\r\n" end
  return { json.encode(body) }, true
end

--- What an answer is on the wire.
---@param answer gateway.testing.Answer
---@param method string of the request
---@return table actions
function testing_upstream.actions(answer, method)
  local actions = {}
  local function add(action) actions[#actions + 1] = action end
  if answer.delay then add(assert(units.duration(answer.delay))) end
  if answer.hang then
    add(STOP)
    return actions
  end
  if answer.reset == true then
    add(RESET)
    return actions
  end
  if answer.raw then
    add(answer.raw)
    if answer.close then add(CLOSE) end
    return actions
  end
  for _, interim in ipairs(answer.interim or {}) do
    if type(interim) == "number" then interim = { status = interim } end
    local lines = { "" }
    http.field_lines(interim.headers, lines)
    add(head_of(interim.status, lines))
  end
  local status = answer.status or 200
  local lines = { "" }
  http.field_lines(answer.headers, lines)
  local pieces, whole = pieces_of(answer, lines)
  local chunked = status >= 200 and (answer.chunked or (not whole and not answer.close))
  local until_close = answer.close and answer.chunked == false
  local silent = bodyless(status, method)
  if chunked then
    lines[#lines + 1] = "Transfer-Encoding: chunked\r\n"
  elseif not until_close and not http.has_field(answer.headers, "content-length") and status ~= 204 and status ~= 304
    and status >= 200 then
    local length = 0
    for _, piece in ipairs(pieces) do length = length + (type(piece) == "string" and #piece or 0) end
    if answer.reset == "body" and length < 2 then
      pieces, length = { ("x"):rep(100) }, 100
    end
    lines[#lines + 1] = ("Content-Length: %d\r\n"):format(length)
  end
  if answer.close and not http.has_field(answer.headers, "connection") then lines[#lines + 1] = "Connection: close\r\n" end
  local head = head_of(status, lines)
  if answer.reset == "head" then
    add(head:sub(1, math.floor(#head / 2)))
    add(RESET)
    return actions
  end
  add(head)
  if not silent then
    for i, piece in ipairs(pieces) do
      if type(piece) == "number" then
        add(piece)
      elseif piece ~= "" then
        if answer.reset == "body" and i == #pieces then piece = piece:sub(1, math.max(1, math.floor(#piece / 2))) end
        add(chunked and http.chunk(piece) or piece)
      end
    end
    if answer.reset == "body" then
      add(RESET)
      return actions
    end
    if chunked then
      local last = { "0\r\n" }
      http.field_lines(answer.trailers, last)
      last[#last + 1] = "\r\n"
      add(table.concat(last))
    end
  end
  if answer.close then add(CLOSE) end
  return actions
end

--- What a function of the test gave for a request, as an answer.
function testing_upstream.answer(value)
  return answer_of(value, "testing.upstream: what the function returned", 0)
end

return testing_upstream
