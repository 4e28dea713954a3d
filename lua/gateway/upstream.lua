-- gateway.upstream "name" { endpoints, options }: groups of endpoints that a route can send to.

local check = require "gateway.check"
local spec = require "gateway.spec"
local traffic = require "gateway.traffic"

local upstream = {}

---@class gateway.Upstream
---@field name string
local Upstream = {}
Upstream.__index = { }
Upstream.__newindex = function(_, key)
  error("an upstream cannot be changed once it is declared (" .. tostring(key) .. ")", 2)
end
Upstream.__tostring = function(self) return ("upstream %q"):format(self.name) end
Upstream.describe = function(self) return ("upstream %q"):format(rawget(self, "name")) end
upstream.Upstream = Upstream

local example = 'gateway.upstream "%s" { "127.0.0.1:8080" }'

---@class gateway.Endpoint
---@field [1] string "HOST:PORT" or "unix:/path"
---@field weight? integer share of the requests (1)
---@field resolve? number|string how often a name is looked up again; without it once, and all its addresses are taken
---@field backup? boolean only used when no other endpoint can be had (false)

---@class gateway.UpstreamTimeouts
---@field connect? number|string (5 s)
---@field first_byte? number|string from the request's end to the answer's first byte (30 s)
---@field idle? number|string between two pieces of an answer (30 s)
---@field total? number|string of an exchange; 0: none (30 s)
---@field tunnel? number|string between two pieces of an upgraded connection (1 h)

---@class gateway.Pool
---@field idle? integer idle connections kept, of each worker (100)
---@field idle_for? number|string how long (90 s)
---@field requests? integer of one connection; 0: no bound (10000)

---@class gateway.UpstreamOptions: gateway.TrafficOptions endpoints as a list, and these
---@field [integer] string|gateway.Endpoint
---@field timeouts? gateway.UpstreamTimeouts
---@field pool? gateway.Pool
---@field host? string sent as Host in place of the client's

local fields = {
  timeouts = {
    type = "table",
    fields = {
      connect = { type = "duration" }, first_byte = { type = "duration" }, idle = { type = "duration" }, total = { type = "duration" },
      tunnel = { type = "duration" },
    },
  },
  pool = {
    type = "table",
    fields = {
      idle = { type = "integer", min = 0, max = 100000 }, idle_for = { type = "duration" },
      requests = { type = "integer", min = 0, max = 2 ^ 31 },
    },
  },
  host = { type = "string" },
}
for name, description in pairs(traffic.fields) do fields[name] = description end

local endpoint_fields = {
  weight = { type = "integer", min = 0, max = 65535, default = 1 },
  resolve = { type = "duration" }, backup = { type = "boolean", default = false },
}

-- What stands in for an upstream (a testing.upstream) made one; everything else as it is.
function upstream.from(value)
  local meta = type(value) == "table" and getmetatable(value)
  local make = type(meta) == "table" and meta.__gateway_upstream
  if make then return make(value) end
  return value
end

-- "10.0.0.1:8080" or "http://10.0.0.1:8080/": the address; nil after a report.
local function address_of(text, report)
  local scheme, rest = text:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme then return text end
  if scheme:lower() ~= "http" then
    report(("endpoint %s: expected http://HOST:PORT or HOST:PORT, found the scheme %q"):format(check.describe(text), scheme))
    return nil
  end
  local authority, path = rest:match("^([^/?#]*)(.*)$")
  if path ~= "" and path ~= "/" then
    report(("endpoint %s: expected no path behind the address, found %q"):format(check.describe(text), path))
    return nil
  end
  if not authority:find(":%d+$") then authority = authority .. ":80" end
  return authority
end

-- One endpoint, as a string or { "host:port", weight = 3, resolve = 5 }, into its plain form; nil after a report.
local function endpoint_of(given, index, report)
  local options = {}
  local text = given
  if type(given) == "table" and not getmetatable(given) then
    text = given[1]
    for key, value in pairs(given) do if key ~= 1 then options[key] = value end end
  end
  local meta = type(text) == "table" and getmetatable(text)
  if type(meta) == "table" and meta.__gateway_endpoint then text = meta.__gateway_endpoint(text) end
  if type(text) ~= "string" then
    report(('endpoint %d: expected "HOST:PORT" or { "HOST:PORT", weight = 3 }, found %s'):format(index, check.describe(text)))
    return nil
  end
  local good = check.fields(options, endpoint_fields, "", function(message)
    report(("endpoint %s: %s"):format(check.describe(text), message))
  end)
  local address = address_of(text, report)
  return address and { address = address, weight = good.weight or 1, resolve = good.resolve, backup = good.backup or nil }
end

local function declare(self, given, source)
  local prefix = ("upstream %q"):format(self.name)
  local report = spec.reporter(prefix, source)
  if type(given) ~= "table" or getmetatable(given) then
    report("expected a table of endpoints and options, found " .. check.describe(given))
    return
  end
  local data = self._data
  local options = {}
  for key, value in pairs(given) do
    if type(key) ~= "number" then options[key] = value end
  end
  for i, item in ipairs(given) do data.endpoints[#data.endpoints + 1] = endpoint_of(item, i, report) end
  if #given == 0 then report('expected at least one endpoint such as "127.0.0.1:8080", found none') end
  local known = check.fields(options, fields, "", report)
  traffic.apply(known, data, report)
  data.timeouts, data.pool, data.host = known.timeouts, known.pool, known.host
  if data.host and (not check.header_value(data.host) or data.host:find("[%s,/]") or data.host == "") then
    report("host: expected a host name, found " .. check.describe(data.host))
    data.host = nil
  end
end

--- An upstream without endpoints yet, in the spec: a second one of the same name is a problem.
function upstream.make(name, source)
  local state = spec.state
  local asked = state.upstreams_asked and state.upstreams_asked[name]
  local self = asked and asked.upstream or setmetatable({ name = name, _data = { name = name, source = source, endpoints = {} } }, Upstream)
  local before = state.upstream_by_name[name]
  if before and name ~= "?" then
    spec.problem(("upstream %q was declared before, at %s"):format(name, before._data.source), source)
  else
    state.upstreams[#state.upstreams + 1] = self
    rawset(self, "_index", #state.upstreams - 1)
    state.upstream_by_name[name] = self
    if asked then
      state.upstreams_asked[name] = nil
      self._data.source = source
    end
  end
  return self
end

--- The upstream of that name, for who needs it before it may have been declared. When nobody declares it, upstream.finish says so.
---@param name string
---@param source string who asks
---@return gateway.Upstream
function upstream.named(name, source)
  local state = spec.state
  if state.upstream_by_name[name] then return state.upstream_by_name[name] end
  state.upstreams_asked = state.upstreams_asked or {}
  local asked = state.upstreams_asked[name]
  if not asked then
    asked = { upstream = setmetatable({ name = name, _data = { name = name, endpoints = {} } }, Upstream), source = source }
    state.upstreams_asked[name] = asked
  end
  return asked.upstream
end

--- Reports the upstreams that were asked for and never declared.
function upstream.finish()
  local state = spec.state
  local names = {}
  for name in pairs(state.upstreams_asked or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    spec.problem(upstream.unknown(name), state.upstreams_asked[name].source)
  end
end

--- 'unknown upstream "usres" (did you mean "users"?)'.
function upstream.unknown(name)
  local known = spec.state.upstream_by_name
  if type(name) == "string" and name:find(":%d+$") then
    local address = name:gsub("^%a+://", "")
    return ("unknown upstream %s: an address is given a name first: gateway.upstream \"name\" { %q }"):format(check.describe(name), address)
  end
  if next(known) then return check.unknown("upstream", name, known) end
  return ("unknown upstream %s: none is declared"):format(check.describe(name))
end

function upstream.name_good(name)
  return type(name) == "string" and name:find("^[%w_.%-]+$") ~= nil and #name <= 100
end

upstream.declare = declare

--- Declares an upstream. Endpoints are "HOST:PORT", "unix:/path" or { "HOST:PORT", weight = 3, resolve = 5 }.
---@overload fun(name: string, given: gateway.UpstreamOptions): gateway.Upstream
---@param name string
---@param given? gateway.UpstreamOptions the options, or give them in a second call: gateway.upstream "users" { ... }
---@return fun(options: gateway.UpstreamOptions): gateway.Upstream
function upstream.upstream(name, given)
  spec.declaring("gateway.upstream")
  local source = spec.where()
  if not upstream.name_good(name) then
    spec.problem("gateway.upstream: expected a name of letters, digits, '_', '-' and '.', found " .. check.describe(name), source)
    name = "?"
  end
  local self = upstream.make(name, source)
  if given ~= nil then
    declare(self, given, source)
    return self
  end
  local complete = spec.begin(("upstream %q"):format(name), example:format(name))
  return function(options)
    complete()
    declare(self, options, source)
    return self
  end
end

function upstream.is(value)
  return getmetatable(value) == Upstream
end

return upstream
