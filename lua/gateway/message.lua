-- What middleware gets: the request, and the response that next() gives. Both are windows on C: reads and writes are FFI calls, which
-- compiled Lua makes at C speed. One pair belongs to one task and serves one request after another: it must not be kept beyond its
-- request (a use between requests raises).
--
-- In every object [1] is the task's view (a pointer to gw_lua_view); [2] keeps the memory behind it alive.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local headers = require "gateway.headers"
local spec = require "gateway.spec"
local traffic = require "gateway.traffic"
local units = require "gateway.units"
local upstream = require "gateway.upstream"

local message = {}

local text = ffi.string
local REQUEST, RESPONSE = 0, 1 -- enum gw_lua_side
local AGAIN, EOF, RESET, NOMEM, INVALID, LIMIT, REFUSED, TIMEOUT, NOTFOUND = -1, -2, -3, -4, -5, -6, -7, -8, -10

local function ended(what)
  error(("this %s has ended: a request and its response may not be kept for later"):format(what), 3)
end

local function out(view)
  return text(view.out.ptr, view.out.len)
end

-- ---- header fields ----

---@class gateway.Headers
---@field [string] string|nil names without regard to case; several fields of a name are joined with ", "
---@field all fun(self: gateway.Headers, name: string): string[] all values of a field, one for each time that it stands there
---@field add fun(self: gateway.Headers, name: string, value: string|number) adds a field beside those of the same name (Set-Cookie)
---@field each fun(self: gateway.Headers): fun(): string?, string? for name, value in headers:each() do ... end

-- Why C refused to set a field, at the line of who set it.
local function refused(status, name, value, level)
  local why
  if status == REFUSED then
    why = ("header %q frames the connection: the gateway alone writes it"):format(name)
  elseif status == INVALID then
    why = headers.problem(name, value) or ("header %q: found %s, which may not stand there"):format(name, check.describe(value))
  elseif status == LIMIT then
    why = ("header %q: the message has no room for another field"):format(name)
  elseif status == NOTFOUND then
    why = "there is no response yet: next() gives it"
  else
    why = "not enough memory"
  end
  error(why, level + 1)
end

-- The class of one side's header objects; a class each, so that compiled code knows the side as a constant.
local function headers_class(side, what)
  local methods = {}
  local class = {}

  function class.__index(self, name)
    local view = self[1]
    if view.exchange == nil then ended(what) end
    local method = methods[name] -- before fields: a client that sends "all: x" must not take headers:all() away
    if method then return method end
    if type(name) ~= "string" or C.gw_lua_header(view, side, name, #name) == 0 then return nil end
    return text(view.out.ptr, view.out.len)
  end

  local function set_list(view, name, list)
    for _, item in ipairs(list) do
      local problem = headers.problem(name, item)
      if problem then error(problem, 3) end
    end
    local status = C.gw_lua_header_remove(view, side, name, #name)
    if status < 0 then refused(status, name, list, 3) end
    for _, item in ipairs(list) do
      item = tostring(item)
      status = C.gw_lua_header_add(view, side, name, #name, item, #item)
      if status < 0 then refused(status, name, item, 3) end
    end
  end

  function class.__newindex(self, name, value)
    local view = self[1]
    if view.exchange == nil then ended(what) end
    if type(name) ~= "string" then refused(INVALID, name, value, 2) end
    local status
    if type(value) == "string" then
      status = C.gw_lua_header_set(view, side, name, #name, value, #value)
    elseif value == nil then
      status = C.gw_lua_header_remove(view, side, name, #name)
    elseif type(value) == "number" then
      value = tostring(value)
      status = C.gw_lua_header_set(view, side, name, #name, value, #value)
    elseif type(value) == "table" then
      set_list(view, name, value) -- no tail call: errors count levels
      return
    else
      status = INVALID
    end
    if status < 0 then refused(status, name, value, 2) end
  end

  --- All values of a field, one for each time that it stands there.
  ---@param name string
  ---@return string[]
  function methods:all(name)
    local view = self[1]
    if view.exchange == nil then ended(what) end
    local list, at = {}, 0
    while true do
      at = C.gw_lua_header_next(view, side, name, #name, at)
      if at == 0 then return list end
      list[#list + 1] = out(view)
    end
  end

  --- Adds a field beside those of the same name.
  ---@param name string
  ---@param value string|number
  function methods:add(name, value)
    local view = self[1]
    if view.exchange == nil then ended(what) end
    local problem = headers.problem(name, value)
    if problem then error(problem, 2) end
    value = tostring(value)
    local status = C.gw_lua_header_add(view, side, name, #name, value, #value)
    if status < 0 then refused(status, name, value, 2) end
  end

  --- for name, value in headers:each() do ... end: every field, in order.
  function methods:each()
    local view, at = self[1], -1
    return function()
      if view.exchange == nil then ended(what) end
      at = at + 1
      if C.gw_lua_header_at(view, side, at) == 0 then return nil end
      return text(view.name.ptr, view.name.len), out(view)
    end
  end

  class.describe = function() return "the headers of a " .. what end
  return class
end

local RequestHeaders = headers_class(REQUEST, "request")
local ResponseHeaders = headers_class(RESPONSE, "response")

-- ---- the request ----

local Cookies = {
  __index = function(self, name)
    local view = self[1]
    if view.exchange == nil then ended("request") end
    if type(name) == "string" and C.gw_lua_cookie(view, name, #name) ~= 0 then return out(view) end
    return nil
  end,
  __newindex = function() error("request.cookies cannot be set: set request.headers.cookie", 2) end,
}

local Params = {
  __index = function(self, name)
    local view = self[1]
    if view.exchange == nil then ended("request") end
    if type(name) == "string" and C.gw_lua_param(view, name, #name) ~= 0 then return out(view) end
    return nil
  end,
  __newindex = function() error("request.params cannot be set", 2) end,
}

local number_out = ffi.new("double[1]")

-- request.log.user = "alice": fields of the request's line in the access log.
local Log = {
  __index = function(self, name)
    local view = self[1]
    if view.exchange == nil then ended("request") end
    if type(name) ~= "string" then return nil end
    local kind = C.gw_lua_log_get(view, name, #name, number_out)
    if kind == 0 then return nil end
    if kind == 1 then return view.out.len > 0 and out(view) or "" end
    if kind == 2 then return number_out[0] end
    return number_out[0] ~= 0
  end,
  __newindex = function(self, name, value)
    local view = self[1]
    if view.exchange == nil then ended("request") end
    local kind, status = type(value), INVALID
    if type(name) == "string" then
      if kind == "string" then
        status = C.gw_lua_log_text(view, name, #name, value, #value)
      elseif kind == "number" then
        status = C.gw_lua_log_number(view, name, #name, value)
      elseif kind == "boolean" then
        status = C.gw_lua_log_boolean(view, name, #name, value and 1 or 0)
      elseif value == nil then
        C.gw_lua_log_remove(view, name, #name)
        return
      else
        error(("request.log.%s: expected a string, a number, a boolean or nil, found %s"):format(name, check.describe(value)), 2)
      end
    end
    if status == 0 then return end
    if status == REFUSED then
      error(("request.log.%s: the gateway writes this field itself: choose another name"):format(name), 2)
    elseif status == LIMIT then
      error(("request.log.%s: a request's line takes at most 32 fields and 4096 bytes of them"):format(name), 2)
    elseif status == NOMEM then
      error("not enough memory", 2)
    end
    error("request.log: expected a name of letters, digits, '_', '.' and '-', at most 64, found " .. check.describe(name), 2)
  end,
}

---@class gateway.Request
---@field method string
---@field path string normalised; setting it changes what is forwarded, not which route it is. What cannot stand there is percent-encoded
---@field query string what stands behind the '?', untouched; "" when there is none
---@field headers gateway.Headers
---@field cookies table<string, string>
---@field params table<string, string> of the route's pattern, percent-decoded
---@field host string without the port
---@field scheme "http"|"https" as the client saw it
---@field client_ip string
---@field id string "" when request ids are switched off
---@field route string
---@field upstream string? name; nil while it is not decided. Setting it, to an upstream or the name of one, sends the request there
---@field started number seconds since 1970
---@field log table<string, string|number|boolean> fields to add to the request's line in the access log
---@field ctx table for middleware to hand things on; empty for each request
---@field body fun(self: gateway.Request, most?: number|string): string?, string?
---@field limit_body fun(self: gateway.Request, most: number|string): boolean
---@field finally fun(self: gateway.Request, f: fun(status: integer, problem: string?))
local Request = {}

local getters = {
  method = function(view) return text(view.method.ptr, view.method.len) end,
  path = function(view) return text(view.path.ptr, view.path.len) end,
  query = function(view)
    if view.query.len == 0 then return "" end
    return text(view.query.ptr, view.query.len)
  end,
  host = function(view)
    if view.host.len == 0 then return "" end
    return text(view.host.ptr, view.host.len)
  end,
  scheme = function(view) return view.https ~= 0 and "https" or "http" end,
  client_ip = function(view) return text(view.client_ip.ptr, view.client_ip.len) end,
  id = function(view)
    if view.id.len == 0 then return "" end
    return text(view.id.ptr, view.id.len)
  end,
  route = function(view) return text(view.route.ptr, view.route.len) end,
  started = function(view) return C.gw_lua_started(view) end,
  upstream = function(view)
    if C.gw_lua_upstream_name(view) == 0 then return nil end
    return out(view)
  end,
  headers = function(_, self) return self[3] end,
  cookies = function(_, self) return self[4] end,
  params = function(_, self) return self[5] end,
  log = function(_, self) return self[7] end,
  ctx = function(_, self)
    local ctx = self[6]
    if not ctx then
      ctx = {}
      self[6] = ctx
    end
    return ctx
  end,
}

local body_failures = {
  [LIMIT] = "too large", [EOF] = "the client went away", [INVALID] = "it has been forwarded already", [NOMEM] = "not enough memory",
  [TIMEOUT] = "it did not come in time",
}

-- Set by chain.lua: leaves the coroutine until the exchange wakes it.
local wait

--- The whole request body; waits until it is there.
---@param most? number|string bytes to take at most, if less than the route's limit
---@return string? body
---@return string? problem
local function request_body(self, most)
  local view = self[1]
  if view.exchange == nil then ended("request") end
  local bytes = -1
  if most ~= nil then
    bytes = units.size(most)
    if not bytes then error("request:body: expected " .. units.size_expected .. ", found " .. check.describe(most), 2) end
  end
  local status = C.gw_lua_body(view, bytes)
  while status == AGAIN do
    wait()
    status = C.gw_lua_body(view, bytes)
  end
  if status == 0 then
    if view.out.len == 0 then return "" end
    return out(view)
  end
  return nil, body_failures[status] or "it could not be read"
end
getters.body = function() return request_body end

--- Lets the body have so many bytes at most, where the route allows more: a longer one is refused with 413, as soon as that shows.
---@param most number|string
---@return boolean good false: it is known to be longer
local function limit_body(self, most)
  local view = self[1]
  if view.exchange == nil then ended("request") end
  local bytes = units.size(most)
  if not bytes then error("request:limit_body: expected " .. units.size_expected .. ", found " .. check.describe(most), 2) end
  return C.gw_lua_limit_body(view, bytes) == 0
end
getters.limit_body = function() return limit_body end

local FINALS_MOST = 100

--- Has a function run when the request is over, in whatever way: answered, failed, or left by its client. Newest first. It gets the status
--- that was sent (499: the client went away before; 0: none) and what went wrong, if anything. The request can still be read in it; the
--- response is gone; it cannot wait; an error in it is logged.
---@param f fun(status: integer, problem: string?)
local function request_finally(self, f)
  local view = self[1]
  if view.exchange == nil then ended("request") end
  if type(f) ~= "function" then error("request:finally: expected a function, found " .. check.describe(f), 2) end
  local list = self[8]
  if list == true then error("request:finally: a finalizer cannot have another", 2) end
  if not list then
    if C.gw_lua_finally(view) < 0 then error("not enough memory", 2) end
    list = {}
    self[8] = list
  end
  if #list >= FINALS_MOST then error(("request:finally: a request can have at most %d"):format(FINALS_MOST), 2) end
  list[#list + 1] = f
end
getters.finally = function() return request_finally end

function Request.__index(self, key)
  local view = self[1]
  if view.exchange == nil then ended("request") end
  local getter = getters[key]
  if getter then return getter(view, self) end
  error("request: " .. check.unknown("field", key, getters) .. "; things of your own belong in request.ctx", 2)
end

local function choose_upstream(self, view, value)
  local chosen = value
  if type(value) == "string" then chosen = spec.state.upstream_by_name[value] end
  if not upstream.is(chosen) then
    error("request.upstream: " .. (type(value) == "string" and check.unknown("upstream", value, spec.state.upstream_by_name)
      or "expected an upstream or the name of one, found " .. check.describe(value)), 3)
  end
  if view.forwarded ~= 0 then error("request.upstream: the request has been forwarded already", 3) end
  local hash_on = chosen._data.hash_on
  if hash_on and hash_on.f then traffic.key(self, hash_on.f) end
  C.gw_lua_use_upstream(view, chosen._index)
end

function Request.__newindex(self, key, value)
  local view = self[1]
  if view.exchange == nil then ended("request") end
  if key == "path" then
    if type(value) ~= "string" then error("request.path: expected a string, found " .. check.describe(value), 2) end
    local status = C.gw_lua_set_path(view, value, #value)
    if status < 0 then
      error(("request.path: found %s: %s"):format(check.describe(value), status == INVALID and out(view) or "not enough memory"), 2)
    end
  elseif key == "query" then
    if value == nil then value = "" end
    if type(value) ~= "string" then error("request.query: expected a string, found " .. check.describe(value), 2) end
    if C.gw_lua_set_query(view, value, #value) < 0 then
      error("request.query: expected percent-encoded text without spaces, found " .. check.describe(value), 2)
    end
  elseif key == "upstream" then
    choose_upstream(self, view, value)
  elseif key == "headers" then
    error('request.headers cannot be replaced: set its fields, request.headers["X-Name"] = value', 2)
  elseif getters[key] then
    error(("request.%s cannot be set"):format(key), 2)
  else
    error(("request has no field %s; things of your own belong in request.ctx"):format(check.describe(key)), 2)
  end
end

Request.describe = function() return "a request" end

-- ---- the response that next() gives ----

local Live = {}
message.Live = Live

local answer_failures = {
  [LIMIT] = "too large", [EOF] = "it broke off", [RESET] = "it broke off", [INVALID] = "it is malformed", [NOMEM] = "not enough memory",
  [TIMEOUT] = "it did not come in time",
}

--- The whole response body; waits until it is there. It is then sent from memory instead of being streamed. One that is longer than `most`
--- streams after all, what was read of it first.
---@param most? number|string bytes to take at most, if less than the route's limit
---@return string? body
---@return string? problem
local function response_body(self, most)
  local view = self[1]
  if view.exchange == nil then ended("response") end
  local bytes = -1
  if most ~= nil then
    bytes = units.size(most)
    if not bytes then error("response:body: expected " .. units.size_expected .. ", found " .. check.describe(most), 2) end
  end
  local status = C.gw_lua_response_body(view, bytes)
  while status == AGAIN do
    wait()
    status = C.gw_lua_response_body(view, bytes)
  end
  if status == 0 then
    if view.out.len == 0 then return "" end
    return out(view)
  end
  return nil, answer_failures[status] or "it could not be read"
end

function Live.__index(self, key)
  local view = self[1]
  if view.exchange == nil then ended("response") end
  if key == "status" then return view.status end
  if key == "headers" then return self[3] end
  if key == "body" then return response_body end
  error("response: " .. check.unknown("field", key, { status = true, headers = true, body = true }), 2)
end

function Live.__newindex(self, key, value)
  local view = self[1]
  if view.exchange == nil then ended("response") end
  if key == "status" then
    if type(value) ~= "number" or value % 1 ~= 0 or C.gw_lua_set_status(view, value) < 0 then
      error("response.status: expected a status from 200 to 599, found " .. check.describe(value), 2)
    end
  elseif key == "body" then
    if type(value) == "number" then value = tostring(value) end
    if type(value) ~= "string" then error("response.body: expected a string, found " .. check.describe(value), 2) end
    if C.gw_lua_set_body(view, value, #value) < 0 then error("not enough memory", 2) end
  elseif key == "headers" then
    error('response.headers cannot be replaced: set its fields, response.headers["X-Name"] = value', 2)
  else
    error(("response has no field %s to set: expected status, headers or body"):format(check.describe(key)), 2)
  end
end

Live.describe = function() return "a response" end

-- ---- making them ----

--- The request and the response of one task. `view` points into `memory`.
function message.new(view, memory)
  local function part(class, ...) return setmetatable({ view, memory, ... }, class) end
  local request = part(Request, part(RequestHeaders), part(Cookies), part(Params), false, part(Log), false)
  local response = part(Live, part(ResponseHeaders))
  return request, response
end

--- Gives the function that waits. Called once, by chain.lua.
function message.bind(f)
  wait = f
end

return message
