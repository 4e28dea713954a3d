-- gateway.fetch: a script's own requests, to upstreams and to URLs, without holding anybody up.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local headers = require "gateway.headers"
local json = require "gateway.json"
local spec = require "gateway.spec"
local units = require "gateway.units"
local upstream = require "gateway.upstream"
local wait = require "gateway.wait"

local fetch = {}

local text = ffi.string
local NOMEM, INVALID, LIMIT, REFUSED = -4, -5, -6, -7
local SECONDS, BODY_MOST = 30, 10 * 1024 * 1024

---@class gateway.FetchOptions
---@field method? string GET, or POST when there is a body
---@field headers? table<string, string|number|string[]>
---@field body? string|number|table a table is sent as JSON
---@field timeout? number|string for all of it: name, connection, answer (30 s; for an upstream, its own timeouts)
---@field max_body? number|string longest body of the answer that is taken (10 MB)
---@field path? string with an upstream: path and query ("/")
---@field key? string with an upstream: what its balancer picks by (hash, maglev)

local options_known = { method = true, headers = true, body = true, timeout = true, max_body = true, path = true, key = true }

---@class gateway.Fetched
---@field status integer
---@field headers gateway.Headers
---@field body string
local Fetched = {}
local methods = {}
fetch.Fetched = Fetched

--- The body, read as JSON.
---@return any value nil: it is none
---@return string? problem
function methods:json()
  return json.decode(self.body)
end

function Fetched.__index(_, key)
  local method = methods[key]
  if method then return method end
  error("a fetched response: " .. check.unknown("field", key, { status = true, headers = true, body = true, json = true }), 2)
end
function Fetched.describe(response) return ("a fetched response (%s)"):format(tostring(response.status)) end

-- ---- what is asked ----

-- Misuse ends what was begun and is raised at the line that called gateway.fetch.
local function misuse(handle, message)
  C.gw_lua_wait_end(handle)
  error(("%s: gateway.fetch: %s"):format(spec.where(), message), 0)
end

local function failed(handle, status, what)
  if status == NOMEM then
    C.gw_lua_wait_end(handle)
    return "not enough memory"
  end
  misuse(handle, what)
end

local function put_header(handle, name, value)
  local problem = headers.problem(name, value)
  if problem then misuse(handle, problem) end
  value = tostring(value)
  local status = C.gw_lua_fetch_header(handle, name, #name, value, #value)
  if status == 0 then return nil end
  if status == REFUSED then misuse(handle, ("header %q frames the connection: the gateway alone writes it"):format(name)) end
  if status == LIMIT then misuse(handle, "headers: too many of them") end
  return failed(handle, status, ("header %q: found %s, which may not stand there"):format(name, check.describe(value)))
end

local function put_headers(handle, given)
  if type(given) ~= "table" then misuse(handle, "headers: expected a table, found " .. check.describe(given)) end
  for name, value in pairs(given) do
    if type(value) == "table" then
      for _, one in ipairs(value) do
        local problem = put_header(handle, name, one)
        if problem then return problem end
      end
    else
      local problem = put_header(handle, name, value)
      if problem then return problem end
    end
  end
end

local function put_body(handle, body, given_headers)
  local kind = type(body)
  if kind == "number" then
    body = tostring(body)
  elseif kind == "table" then
    local good, encoded = pcall(json.encode, body)
    if not good then misuse(handle, "body: " .. tostring(encoded)) end
    body = encoded
    local typed = false
    for name in pairs(given_headers or {}) do typed = typed or (type(name) == "string" and name:lower() == "content-type") end
    if not typed then
      local problem = put_header(handle, "Content-Type", "application/json")
      if problem then return problem end
    end
  elseif kind ~= "string" then
    misuse(handle, "body: expected a string or a table, found " .. check.describe(body))
  end
  local status = C.gw_lua_fetch_body(handle, body, #body)
  return status < 0 and failed(handle, status, "body") or nil
end

local function duration_of(handle, value)
  local seconds = units.duration(value)
  if not seconds or seconds <= 0 or seconds > 366 * 86400 then
    misuse(handle, "timeout: expected " .. units.duration_expected .. " above 0, found " .. check.describe(value))
  end
  return seconds
end

local function aim(handle, waits, target, options)
  local status
  local named = type(target) == "string" and target:find("^[%w_.-]+$") -- as upstreams are
  if type(target) == "string" then
    if options.path ~= nil or options.key ~= nil then misuse(handle, "path and key go with an upstream: a URL says all") end
    status = C.gw_lua_fetch_url(handle, target, #target)
    if status == LIMIT then
      C.gw_lua_wait_end(handle)
      return "too many hosts are fetched from at once"
    end
  else
    local path = options.path == nil and "/" or options.path
    if type(path) ~= "string" then misuse(handle, "path: expected a string, found " .. check.describe(path)) end
    if options.key ~= nil then
      if type(options.key) ~= "string" then misuse(handle, "key: expected a string, found " .. check.describe(options.key)) end
      C.gw_lua_fetch_key(handle, options.key, #options.key)
    end
    status = C.gw_lua_fetch_upstream(handle, target._index, path, #path)
    target = path
  end
  if status == 0 then return nil end
  if status == INVALID and waits.out.ptr ~= nil then -- no misuse: it may be made of what came from outside
    local problem = ("cannot fetch %s: %s"):format(check.describe(target), text(waits.out.ptr, waits.out.len))
    if named then problem = problem .. ", or an upstream itself, not its name" end
    C.gw_lua_wait_end(handle)
    return problem
  end
  return failed(handle, status, check.describe(target) .. " cannot be fetched")
end

-- The handle of a request on its way; nil and a problem.
local function begin(target, options)
  local waits = wait.here("gateway.fetch", 3)
  local handle = C.gw_lua_fetch(waits)
  if handle == nil then return nil, wait.problem("gateway.fetch", 3) end
  local problem
  local method, body, seconds, most = options.method, options.body, type(target) == "string" and SECONDS or 0, BODY_MOST
  if method == nil and body ~= nil then method = "POST" end
  if method ~= nil then
    if type(method) ~= "string" then misuse(handle, "method: expected a string, found " .. check.describe(method)) end
    local status = C.gw_lua_fetch_method(handle, method, #method)
    if status < 0 then
      problem = failed(handle, status, "method: expected one such as \"GET\" (not CONNECT or TRACE), found " .. check.describe(method))
      if problem then return nil, problem end
    end
  end
  if options.headers ~= nil then problem = put_headers(handle, options.headers) end
  if not problem and body ~= nil then problem = put_body(handle, body, options.headers) end
  if problem then return nil, problem end
  if options.timeout ~= nil then seconds = duration_of(handle, options.timeout) end
  if options.max_body ~= nil then
    most = units.size(options.max_body)
    if not most then misuse(handle, "max_body: expected " .. units.size_expected .. ", found " .. check.describe(options.max_body)) end
  end
  problem = aim(handle, waits, target, options)
  if problem then return nil, problem end
  if C.gw_lua_fetch_start(handle, seconds, most) < 0 then
    C.gw_lua_wait_end(handle)
    return nil, "not enough memory"
  end
  return handle
end

-- ---- what comes ----

local function take(handle, waits)
  local status = C.gw_lua_fetch_answer(handle)
  local body = text(waits.out.ptr, waits.out.len)
  if status == 0 then return nil, body end
  local list = headers.new()
  local names, lowers, values = list[1], list[2], list[3]
  local at = 0
  while C.gw_lua_fetch_field(handle, at) ~= 0 do
    at = at + 1
    names[at], values[at] = text(waits.name.ptr, waits.name.len), text(waits.out.ptr, waits.out.len)
    lowers[at] = names[at]:lower()
  end
  return setmetatable({ status = status, headers = list, body = body }, Fetched)
end

--- Sends a request and waits for the answer. Redirects are not followed. What goes wrong on the way comes back as a value, with what and
--- where; an answer is an answer, whatever its status.
---@param target string|gateway.Upstream "http://host:port/path?query", "unix:/socket:/path", or an upstream
---@param options? gateway.FetchOptions
---@return gateway.Fetched? response
---@return string? problem
function fetch.fetch(target, options)
  if options == nil then options = {} end
  if type(options) ~= "table" or getmetatable(options) then
    error("gateway.fetch: expected a table of options, found " .. check.describe(options), 2)
  end
  for key in pairs(options) do
    if not options_known[key] then error("gateway.fetch: " .. check.unknown("option", key, options_known), 2) end
  end
  if type(target) ~= "string" and not upstream.is(target) then target = upstream.from(target) end
  if type(target) ~= "string" and not upstream.is(target) then
    error("gateway.fetch: expected a URL or an upstream, found " .. check.describe(target), 2)
  end
  local handle, problem = begin(target, options)
  if not handle then return nil, problem end
  wait.until_over(handle)
  local response
  response, problem = take(handle, wait.here("gateway.fetch", 2))
  C.gw_lua_wait_end(handle)
  return response, problem
end

return fetch
