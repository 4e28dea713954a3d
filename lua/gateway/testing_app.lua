-- testing.app: a gateway in this process. What the test declares is checked and built as a script is, by the same code; requests run
-- through the same C. Only the network and the clock are the test's: see testing_core.lua and testing_wire.lua.

local check = require "gateway.check"
local core = require "gateway.testing_core"
local log = require "gateway.log"
local plugin_files = require "gateway.plugin_files"
local route = require "gateway.route"
local shared = require "gateway.shared"
local spec = require "gateway.spec"
local testing_json = require "gateway.testing_json"
local testing_upstream = require "gateway.testing_upstream"
local time = require "gateway.time"
local units = require "gateway.units"
local wait = require "gateway.wait"
local wire = require "gateway.testing_wire"

local PATIENCE = 24 * 3600 -- most virtual seconds that a test waits for one response
local ROUNDS_MOST = 100000 -- of clients and backends without time passing

---@class gateway.testing.App
---@field get fun(self: gateway.testing.App, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field post fun(self: gateway.testing.App, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field put fun(self: gateway.testing.App, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field patch fun(self: gateway.testing.App, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field delete fun(self: gateway.testing.App, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field head fun(self: gateway.testing.App, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field options fun(self: gateway.testing.App, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field clock gateway.testing.AppClock
---@field log table[] what the gateway has logged, oldest first: { level =, message =, time =, ... }. Lines of requests are in `access`
---@field access table[] the access log: a record a request
---@field warnings string[] what gateway check would warn of
---@field metrics gateway.testing.Metrics
---@field upstreams table<string, { requests: gateway.testing.Request[] }>
local App = {}

---@class gateway.testing.RequestOptions
---@field method? string "GET"
---@field path? string "/", with its query
---@field headers? table<string, string|number|string[]>
---@field body? string|table|(string|number)[] a table is sent as JSON; a list of strings in pieces, numbers in it are seconds to wait
---@field chunked? boolean the body goes out chunked
---@field trailers? table<string, string> with chunked
---@field host? string "gateway.test"
---@field client_ip? string where the request comes from; "127.0.0.1"
---@field raw? string|(string|number)[] these bytes instead of a request

-- ---- which gateway the library's modules speak for ----

local bound = {}
local raw_resume, raw_wrap = coroutine.resume, coroutine.wrap

local function bind(app)
  if app then
    wait.install()
  else
    coroutine.resume, coroutine.wrap = raw_resume, raw_wrap -- luacheck: ignore 122
  end
  shared.holder, shared.collected = app and app._holder, app and true or nil
  log.bind(app and app._write or nil)
  time.bind(app and app._now or os.time)
end

-- Runs f for the app, and afterwards for who was there before. What f raises is raised.
local function as(app, f, ...)
  bound[#bound + 1] = app
  bind(app)
  local good, value, more = pcall(f, ...)
  bound[#bound] = nil
  bind(bound[#bound])
  if not good then error(value, 0) end
  return value, more
end

-- ---- time ----

function App:_elapsed()
  return (self._core:now())
end

local function turn(self)
  self._turning = true
  local good, busy = pcall(as, self, self._core.turn, self._core)
  self._turning = false
  if not good then error(busy, 0) end
  return busy
end

-- Raises at the line of the test.
local function blame(message)
  error(("%s: %s"):format(spec.where(), message), 0)
end

local function usable(self)
  if self._closed then blame("the app has been closed") end
  if self._turning then blame("the app runs already: middleware asks others with gateway.fetch") end
end

-- Clients and backends do what they can. True: somebody did something.
local function play(self)
  local did = false
  for _ = 1, 10000 do
    local knocks = self._core:knocks()
    local address = knocks and knocks[1]
    if not address or (self._put_off and self._put_off >= #knocks) then break end
    local endpoint = self._endpoints[address] or self._inside.stranger and self:_stranger(address)
    local answer = endpoint and endpoint.upstream:_next()
    if type(answer) == "table" and answer.hang and answer.refuse then -- neither taken nor refused: a connect timeout
      self._core:put_off()
      self._put_off = (self._put_off or 0) + 1
    else
      did = true
      local refuse = not endpoint or type(answer) == "table" and answer.refuse
      local fd = self._core:answer(not refuse)
      if refuse and endpoint then
        endpoint.upstream.refused = endpoint.upstream.refused + 1
        endpoint.upstream:_next(true)
      elseif not endpoint then
        self._strangers[address] = true
      end
      if fd then
        self._connections = self._connections + 1
        table.insert(self._peers, wire.peer(self, fd, endpoint, self._connections))
      end
    end
  end
  self._put_off = nil
  for _, list in ipairs { self._peers, self._clients } do
    local copy = {}
    for i = 1, #list do copy[i] = list[i] end
    for i = 1, #copy do did = copy[i]:step() or did end
    for i = #list, 1, -1 do
      if not list[i].fd then table.remove(list, i) end
    end
  end
  return did
end

-- Everything that can happen without time passing.
function App:_settle()
  usable(self)
  for _ = 1, ROUNDS_MOST do
    local busy = turn(self)
    if not play(self) and not busy then return end
  end
  error("gateway.testing: clients, gateway and backends find no rest", 0)
end

-- When something may happen next; nil: never.
local function next_due(self)
  local due = self._core:due()
  for _, list in ipairs { self._peers, self._clients } do
    for _, one in ipairs(list) do
      if one.due and one.fd and (not due or one.due < due) then due = one.due end
    end
  end
  return due
end

local function at(self, when)
  as(self, self._core.at, self._core, when)
end

-- Lets so much time pass, with everything that happens on the way.
local function advance(self, seconds)
  local target = self:_elapsed() + seconds
  self:_settle()
  while true do
    local due = next_due(self)
    if not due or due > target then break end
    at(self, due)
    self:_settle()
  end
  at(self, target)
  self:_settle()
end

-- Lets time pass until the response is there, and not longer.
function App:_await(pending)
  self:_settle()
  local began = self:_elapsed()
  while not pending.response do
    local due = next_due(self)
    if not due then
      error("the request waits for something that never comes: no timeout is set for it" .. self:_explain(), 0)
    end
    if due - began > PATIENCE then
      error(("no response within %d s of virtual time"):format(PATIENCE) .. self:_explain(), 0)
    end
    at(self, due)
    self:_settle()
  end
  self:_settle()
end

-- ---- asking ----

local option_fields = {
  method = "string", path = "string", headers = "any", body = "any", chunked = "boolean", trailers = "any", host = "string",
  client_ip = "string", raw = "any", json = "boolean",
}

local function options_of(given, what, level)
  if given == nil then return {} end
  if type(given) ~= "table" then
    error(("%s: expected a table of options, found %s"):format(what, check.describe(given)), level + 1)
  end
  local problem
  local good = check.fields(given, option_fields, "", function(message) problem = problem or message end)
  if problem then error(("%s: %s"):format(what, problem), level + 1) end
  return good
end

--- A client's connection, for several requests on one: connection:request { path = "/" }, :start, :send(bytes), :close().
---@param options? { client_ip: string? }
---@return gateway.testing.Connection
function App:connect(options)
  usable(self)
  local ip = options and options.client_ip or "127.0.0.1"
  local good, fd = pcall(self._core.accept, self._core, ip)
  if not good then blame((tostring(fd):gsub("^[^\n]-:%d+: ", ""))) end
  local client = wire.client(self, fd, ip)
  table.insert(self._clients, client)
  return client
end


  local function start(self, options)
  local client = self:connect(options)
  options.alone = true
  return client:start(options)
end

--- Sends a request on a connection of its own, and does not wait: pending:wait() gives the response, pending:abort() takes the client away.
---@param options? gateway.testing.RequestOptions|string a path
---@return gateway.testing.Pending
function App:start(options)
  if type(options) == "string" then options = { path = options } end
  return start(self, options_of(options, "app:start", 2))
end

--- Sends a request and waits for its response; time passes if the response needs it.
---@param options gateway.testing.RequestOptions
---@return gateway.testing.Response
function App:request(options)
  return start(self, options_of(options, "app:request", 2)):wait()
end

for _, method in ipairs { "get", "post", "put", "patch", "delete", "head", "options" } do
  local name = method:upper()
  ---@param self gateway.testing.App
  ---@param path? string
  ---@param given? gateway.testing.RequestOptions
  ---@return gateway.testing.Response
  App[method] = function(self, path, given)
    if type(self) ~= "table" then error(("expected app:%s(path) with a colon, found no app in front"):format(method), 2) end
    if path ~= nil and type(path) ~= "string" then
      error(("app:%s: expected a path, found %s"):format(method, check.describe(path)), 2)
    end
    local options = options_of(given, "app:" .. method, 2)
    options.method, options.path = name, path or "/"
    return start(self, options):wait()
  end
end

-- ---- the log ----

local function take_lines(self)
  local text = self._core:lines()
  for line in text:gmatch("([^\n]*)\n") do
    local record = testing_json.decode(line) or { message = line }
    if record.type == "access" then
      table.insert(self._access, record)
    else
      table.insert(self._log, record)
    end
  end
end

-- What may help somebody whose test went wrong.
function App:_explain()
  take_lines(self)
  local out = {}
  for i = math.max(1, #self._log - 4), #self._log do
    local record = self._log[i]
    if record.level == "error" or record.level == "warn" then
      local text = ("%s: %s"):format(record.level, tostring(record.message))
      if record.error then text = text .. ": " .. tostring(record.error) end
      if record.traceback then text = text .. "\n    " .. record.traceback:gsub("\n", "\n    ") end
      out[#out + 1] = text
    end
  end
  local last = self._access[#self._access]
  if last and last.error then out[#out + 1] = ("access: %s %s: %s"):format(last.method, last.path, last.error) end
  for address in pairs(self._strangers) do
    out[#out + 1] = ("nobody plays %s: give it in the options of testing.app, { hosts = { [%q] = testing.upstream { ... } } }"):format(
      self._names[address] or address, self._names[address] or address)
  end
  if #out == 0 then return "" end
  return "\nthe gateway says:\n  " .. table.concat(out, "\n  ")
end

--- What the engine has counted: requests, retries, hedges, upstream_connects, upstream_reused, ...
---@return table<string, number>
function App:counts()
  return self._core:counts()
end

-- ---- making one ----

-- ---- metrics ----

---@class gateway.testing.Metrics
local Metrics = {}
Metrics.__index = Metrics

--- What a scrape would say, as text.
function Metrics:text()
  return self._app._core:metrics()
end

--- Every sample: { name =, labels = { name = text }, value = }.
function Metrics:samples()
  local out = {}
  for line in self:text():gmatch("[^\n]+") do
    local name, labels, value = line:match("^([%w_:]+)(%b{}) (%S+)")
    if not name then name, value = line:match("^([%w_:]+) (%S+)") end
    if name then
      local by_name = {}
      for key, text in (labels or ""):gmatch('([%w_]+)="([^"]*)"') do by_name[key] = text end
      out[#out + 1] = { name = name, labels = by_name, value = tonumber((value:gsub("^+Inf$", "inf"))) }
    end
  end
  return out
end

--- The sum of all samples of that name that have these labels (others may be there, too); nil when there is none.
---@param name string "gateway_requests_total"
---@param labels? table<string, string|number>
---@return number?
function Metrics:value(name, labels)
  local sum
  for _, sample in ipairs(self:samples()) do
    local fits = sample.name == name
    for key, text in pairs(labels or {}) do fits = fits and sample.labels[key] == tostring(text) end
    if fits then sum = (sum or 0) + sample.value end
  end
  return sum
end

---@class gateway.testing.AppClock
local Clock = {}
Clock.__index = Clock

--- Lets time pass, with everything that happens meanwhile.
---@param seconds number|string 30, or "5m"
function Clock:advance(seconds)
  local time_ = units.duration(seconds)
  if not time_ or time_ >= 1e9 then
    error("clock:advance: expected " .. units.duration_expected .. ", found " .. check.describe(seconds), 2)
  end
  advance(self._app, time_)
end

--- Seconds since 1970, as gateway.now() gives them.
function Clock:now()
  return (select(2, self._app._core:now()))
end

--- Seconds since the app was made.
function Clock:elapsed()
  return (self._app._core:now())
end

-- Who plays whatever nobody else does (dry_run.lua).
function App:_stranger(address)
  local endpoint = { upstream = self._inside.stranger, address = address, name = self._names[address] or address }
  self._endpoints[address] = endpoint
  return endpoint
end

function App:_address(upstream)
  self._addresses = self._addresses + 1
  local n = self._addresses
  local address = ("198.18.%d.%d:80"):format(math.floor(n / 250), n % 250 + 1) -- a block for tests of networks (RFC 2544)
  self._endpoints[address] = upstream and { upstream = upstream, address = address, name = "" } or nil
  return address
end

-- Those who are played by `hosts`, for whoever connects to them without declaring an upstream (gateway.fetch).
local function settle_hosts(self, hosts)
  for name, host in pairs(hosts) do
    local text = name:find(":%d+$") and name or name .. ":80"
    local seen = self.upstreams[name] or { requests = {} }
    self.upstreams[name] = seen
    local host_name, port = text:match("^(.*):(%d+)$")
    if text:find("^[%d.]+:%d+$") or text:find("^%[") then
      self._endpoints[text] = { upstream = host, address = text, name = name, index = 1, seen = seen.requests }
    else
      local address = self:_address(host)
      local endpoint = self._endpoints[address]
      endpoint.name, endpoint.index, endpoint.seen = name, 1, seen.requests
      self._core:host(host_name, tonumber(port), address)
    end
  end
end

-- Endpoints that are real addresses and names: played by whom `hosts` says; names are not looked up.
local function settle_endpoints(self, data, hosts)
  for _, declared in ipairs(data.upstreams) do
    local seen = {}
    self.upstreams[declared.name] = { requests = seen }
    for i, endpoint in ipairs(declared.endpoints) do
      local known = self._endpoints[endpoint.address]
      local host = hosts[endpoint.address] or hosts[(endpoint.address:gsub(":80$", ""))]
      if host then
        local named = endpoint.address
        endpoint.address = self:_address(host)
        known = self._endpoints[endpoint.address]
        self._names[endpoint.address] = named
      elseif not known and not endpoint.address:find("^[%d.]+:%d+$") and not endpoint.address:find("^%[") then
        local named = endpoint.address
        endpoint.address = self:_address()
        self._names[endpoint.address] = named
      end
      endpoint.resolve = nil
      if known then known.index, known.name, known.seen = i, declared.name, seen end
    end
  end
end

local function declare(self, f, options, source)
  spec.reset()
  local state = spec.state
  state.script, state.folder = source, options.folder or "."
  plugin_files.forget()
  plugin_files.more = self._plugins
  if core.shipped then plugin_files.shipped, plugin_files.list = core.shipped, core.list end
  local before = testing_upstream.declare_in(self)
  local good, problem = xpcall(f, function(message)
    if type(message) ~= "string" then return message end
    return { text = message, trace = debug.traceback("", 2) }
  end, require "gateway")
  if not good then
    testing_upstream.declare_in(before)
    state.loading = false
    error(type(problem) == "table" and problem.text or problem, 0)
  end
  testing_upstream.settle(self)
  if #state.listens == 0 then state.listens[1] = { at = "127.0.0.1:1", source = source } end
  local finished, data, problems, chains = pcall(route.finish)
  testing_upstream.declare_in(before)
  state.loading = false
  if not finished then error(data, 0) end
  self.warnings = route.texts(state.warnings)
  return data, problems, chains
end

local fields = {
  folder = "string", hosts = "any", now = "number", host = "string", plugins = "any",
}

local App_meta = {
  __index = function(self, key)
    local method = App[key]
    if method then return method end
    if key == "log" or key == "access" then
      if not rawget(self, "_closed") then take_lines(self) end
      return rawget(self, "_" .. key)
    end
    return nil
  end,
  __tostring = function() return "testing.app" end,
}

local testing_app = { App = App }

--- Makes one. `source`: where the test asks for it; `plugins`: folders of plugins, beside the usual ones. `inside`, for dry runs:
--- { stranger = a testing.upstream that plays all others, declared = function(data, chains) before they are built }.
function testing_app.new(f, options, source, plugins, level, inside)
  options = options or {}
  if type(f) ~= "function" then
    error("testing.app: expected a function(gateway) that declares routes, found " .. check.describe(f), level + 1)
  end
  local problem
  check.fields(options, fields, "", function(message) problem = problem or message end)
  if problem then error("testing.app: " .. problem, level + 1) end
  local hosts = options.hosts or {}
  for name, host in pairs(hosts) do
    if type(name) ~= "string" or not testing_upstream.is(host) then
      error(('testing.app: hosts: expected { ["auth.internal:80"] = testing.upstream { ... } }, found %s = %s'):format(check.describe(name),
        check.describe(host)), level + 1)
    end
  end
  local all = {}
  for _, list in ipairs { options.plugins or {}, plugins } do
    for _, folder in ipairs(list) do all[#all + 1] = folder end
  end
  local self = setmetatable({
    _core = core.new(options.now or math.floor(os.time())), _peers = {}, _clients = {}, _endpoints = {}, _names = {}, _strangers = {},
    _made = {}, _is_endpoint = {},
    _addresses = 0, _connections = 0, _log = {}, _access = {}, _plugins = all, _host = options.host or "gateway.test",
    _hosts = hosts, upstreams = {}, _inside = inside or {},
  }, App_meta)
  self.clock = setmetatable({ _app = self }, Clock)
  self.metrics = setmetatable({ _app = self }, Metrics)
  self._holder, self._write, self._now = self._core:surroundings()
  settle_hosts(self, hosts)
  local good, failure = pcall(as, self, self._core.call, self._core, function()
    local data, problems, chains = declare(self, f, options, source)
    if inside then
      self._core:anyone()
      inside.declared(data, chains)
    end
    settle_endpoints(self, data, hosts)
    local wrong = self._core:load(source, { data, problems, "", chains, {}, function() return "" end, {} })
    if wrong then error((wrong:gsub("\n$", "")), 0) end
  end)
  if not good then
    self:close()
    error(failure, 0)
  end
  self:_settle()
  return self
end

--- Ends it: its connections close, what it held is given back. Tests need not call it: what a test has made ends with it.
function App:close()
  if self._closed then return end
  take_lines(self)
  rawset(self, "_closed", true)
  as(self, self._core.close, self._core)
end

return testing_app
