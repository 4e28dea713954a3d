-- gateway.balancer.* and gateway.health.* by hand: which of some endpoints is next, and which of them are well. Positions, live requests,
-- latencies and health are shared by all workers and outlive reloads, known by the object's name and the endpoints'.
--
-- Endpoints are any names: nothing here connects to them. They are a list: { "a", "b" } or { { "a", weight = 3 }, { "b", backup = true } }

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local primitives = require "gateway.primitives"
local shared = require "gateway.shared"

local balancing = { balancer = {}, health = {} }

local endpoint_array = ffi.typeof("gw_lua_endpoint[?]")
local balancing_type, watching_type = ffi.typeof("gw_lua_balancing"), ffi.typeof("gw_lua_watching")
local Balancer_t = primitives.class("gw_lua_balancer", {})
local Health_t = primitives.class("gw_lua_health", {})

local ENDPOINTS_MOST = 4096

-- ---- endpoints ----

local endpoint_fields = {
  weight = { type = "integer", min = 0, max = 1000000, default = 1 }, backup = { type = "boolean", default = false },
}

-- The list part of the options, read; names are kept in order, and where each stands.
local function endpoints_of(given, report)
  local list, at = {}, {}
  for i, item in ipairs(given) do
    local name, options = item, {}
    if type(item) == "table" and not getmetatable(item) then
      name = item[1]
      for key, value in pairs(item) do if key ~= 1 then options[key] = value end end
    end
    if type(name) ~= "string" or name == "" or #name > 255 then
      report(('endpoint %d: expected a name or { "name", weight = 3 }, found %s'):format(i, check.describe(name)))
    elseif at[name] then
      report(("endpoint %d: %s stands there twice"):format(i, check.describe(name)))
    else
      local good = check.fields(options, endpoint_fields, "", function(message)
        report(("endpoint %s: %s"):format(check.describe(name), message))
      end)
      list[#list + 1] = { name = name, weight = good.weight or 1, group = good.backup and 1 or 0 }
      at[name] = #list - 1
    end
  end
  if #list > ENDPOINTS_MOST then report(("expected at most %d endpoints, found %d"):format(ENDPOINTS_MOST, #list)) end
  return list, at
end

local function c_endpoints(list)
  local out = endpoint_array(#list)
  for i, item in ipairs(list) do
    out[i - 1].name, out[i - 1].len, out[i - 1].weight, out[i - 1].group = item.name, #item.name, item.weight, item.group
  end
  return out
end

-- Splits options into endpoints and named ones, and looks at both.
local function options_of(word, given, fields, more)
  local named, list, at = {}, nil, nil
  if type(given) ~= "table" or getmetatable(given) then
    named = given
  else
    for key, value in pairs(given) do if type(key) ~= "number" then named[key] = value end end
  end
  local good, source, now = primitives.options(word, named, fields, function(good, report)
    list, at = endpoints_of(given, report)
    if good.health and #list == 0 then list, at = good.health.list, good.health.at end
    if #list == 0 and #given == 0 then report("expected at least one endpoint, found none") end
    if more then more(good, report, list) end
  end)
  return good, source, now, list, at
end

-- The place of an endpoint; raises at the line of who called the method.
local function unknown(word, endpoint, at, level)
  level = level or 3
  if type(endpoint) ~= "string" then error(("%s: expected an endpoint's name, found %s"):format(word, check.describe(endpoint)), level) end
  error(("%s: %s"):format(word, check.unknown("endpoint", endpoint, at)), level)
end

-- ---- health ----

---@class gateway.Health
---@field handle any
---@field list table
---@field at table<string, integer>
local Health = {}
Health.__index = Health
Health.describe = function() return "a health object" end
Health.__tostring = function() return "health" end

local function set_time(self)
  if self.now then self.handle.now = self.now() end
end

local function is_health(self, call)
  if getmetatable(self) ~= Health then error(("expected %s with a colon, found another object in front"):format(call), 3) end
end

--- Whether the endpoint takes requests.
---@param endpoint string
---@return boolean
function Health:healthy(endpoint)
  is_health(self, "health:healthy(endpoint)")
  local place = self.at[endpoint]
  if not place then unknown("health:healthy", endpoint, self.at) end
  if self.now then set_time(self) end
  return C.gw_lua_health_healthy(self.handle, place) ~= 0
end

local function result(self, record, endpoint, ok, call)
  local place = self.at[endpoint]
  if not place then unknown(call, endpoint, self.at, 4) end
  if type(ok) ~= "boolean" then error(("%s: ok: expected true or false, found %s"):format(call, check.describe(ok)), 3) end
  if self.now then set_time(self) end
  local event
  if record then
    event = C.gw_lua_health_record(self.handle, place, ok and 1 or 0)
  else
    event = C.gw_lua_health_probe(self.handle, place, ok and 1 or 0)
  end
  if event == 0 then return nil end
  return event > 0 and "up" or "down"
end

--- A result: of a probe where there is no passive part, else of a request.
---@param endpoint string
---@param ok boolean
---@return "up"|"down"|nil event when the endpoint's state changed with it
function Health:record(endpoint, ok)
  is_health(self, "health:record(endpoint, ok)")
  local event = result(self, self.passive, endpoint, ok, "health:record")
  return event
end

--- A probe's result, for combined health.
---@param endpoint string
---@param ok boolean
---@return "up"|"down"|nil event
function Health:probe(endpoint, ok)
  is_health(self, "health:probe(endpoint, ok)")
  local event = result(self, false, endpoint, ok, "health:probe")
  return event
end

--- No new requests for the endpoint; `false` lets it back.
---@param endpoint string
---@param drained? boolean
function Health:drain(endpoint, drained)
  is_health(self, "health:drain(endpoint)")
  local place = self.at[endpoint]
  if not place then unknown("health:drain", endpoint, self.at) end
  C.gw_lua_health_drain(self.handle, place, drained == false and 0 or 1)
end

local active_fields = {
  rise = { type = "integer", min = 1, max = 1000, default = 2 }, fall = { type = "integer", min = 1, max = 1000, default = 2 },
}
local passive_fields = {
  window = { type = "duration", default = 30 }, error_rate = { type = "number", min = 0, max = 1, default = 0.5 },
  min_requests = { type = "integer", min = 1, max = 2 ^ 18, default = 10 }, eject_for = { type = "duration", default = 0 },
}

local function make_health(word, good, source, now, list, at, watching)
  local handle = Health_t()
  primitives.open(handle, word, good.name, { kind = "endpoints" }, source)
  if not shared.holder or shared.collected then ffi.gc(handle, C.gw_lua_health_close) end
  local status = C.gw_lua_health_build(shared.holder, handle, c_endpoints(list), #list, watching_type(watching))
  if status < 0 then primitives.failed(word, source, status) end
  if now then handle.manual = 1 end
  return setmetatable({ handle = handle, list = list, at = at, now = now or false, passive = watching.passive == 1 }, Health)
end

local function passive_good(good, report)
  if good.window < 0.01 then report("window: expected 10 ms at least, found " .. check.describe(good.window)) end
end

--- Health by probes: `fall` failures in a row take an endpoint out, `rise` successes bring it back. record() tells the results.
---@param given { rise?: integer, fall?: integer, name?: string, clock?: table|function }
---@return gateway.Health
function balancing.health.active(given)
  local good, source, now, list, at = options_of("health.active", given, active_fields)
  return make_health("health.active", good, source, now, list, at, { active = 1, rise = good.rise, fall = good.fall })
end

--- Health by results of requests: too large a share of failures takes an endpoint out for a while. record() tells the results.
---@param given { window?: number|string, error_rate?: number, min_requests?: integer, eject_for?: number|string, name?: string,
---       clock?: table|function }
---@return gateway.Health
function balancing.health.passive(given)
  local good, source, now, list, at = options_of("health.passive", given, passive_fields, passive_good)
  return make_health("health.passive", good, source, now, list, at, {
    passive = 1, window = good.window, eject_for = good.eject_for, error_rate = good.error_rate, min_requests = good.min_requests,
  })
end

--- Both: healthy only where probes and requests agree, with a threshold below which all (or none) take requests. record() tells the
--- results of requests, probe() those of probes.
---@param given { active?: table, passive?: table, panic?: integer, max_ejected?: integer, when_none_healthy?: "try_all"|"refuse",
---       name?: string, clock?: table|function }
---@return gateway.Health
function balancing.health.combined(given)
  local good, source, now, list, at = options_of("health.combined", given, {
    active = { type = "table", fields = active_fields, default = {} }, passive = { type = "table", fields = passive_fields, default = {} },
    panic = { type = "integer", min = 0, max = 100, default = 0 }, max_ejected = { type = "integer", min = 0, max = 100, default = 100 },
    when_none_healthy = { type = "enum", values = { "try_all", "refuse" }, default = "try_all" },
  }, function(good, report)
    good.active = check.fields(good.active, active_fields, "active", report)
    good.passive = check.fields(good.passive, passive_fields, "passive", report)
    passive_good(good.passive, report)
  end)
  local a, p = good.active, good.passive
  return make_health("health.combined", good, source, now, list, at, {
    active = 1, rise = a.rise, fall = a.fall, passive = 1, window = p.window, eject_for = p.eject_for, error_rate = p.error_rate,
    min_requests = p.min_requests, combined = 1, panic = good.panic, max_ejected = good.max_ejected,
    refuse = good.when_none_healthy == "refuse" and 1 or 0,
  })
end

-- ---- balancers ----

---@class gateway.Balancer
local Balancer = {}
Balancer.__index = Balancer
Balancer.describe = function(self) return "a balancer (" .. rawget(self, "algorithm") .. ")" end
Balancer.__tostring = function(self) return "balancer " .. self.algorithm end

local function is_balancer(self, call)
  if getmetatable(self) ~= Balancer then error(("expected %s with a colon, found another object in front"):format(call), 3) end
end

local function set_balancer_time(self)
  self.handle.now = self.now()
  if self.health and self.health.now then self.health.handle.now = self.health.now() end
end

--- The endpoint for a request, which counts as live until done() is called; nil when none can be had.
---@param key? string what hash and maglev go by
---@return string? endpoint
function Balancer:next(key)
  is_balancer(self, "balancer:next()")
  if self.now then set_balancer_time(self) end
  local place
  if self.by_key then
    if type(key) == "number" then key = tostring(key) end
    if type(key) ~= "string" then
      error(("balancer:next: key: expected a string for %s, found %s"):format(self.algorithm, check.describe(key)), 2)
    end
    place = C.gw_lua_balancer_next(self.handle, key, #key)
  else
    place = C.gw_lua_balancer_next(self.handle, nil, 0)
  end
  return self.names[place]
end

--- The request for that endpoint has ended.
---@param endpoint string what next() gave
---@param ok? boolean how (true)
---@param seconds? number how long its answer took; without it there is nothing to learn
function Balancer:done(endpoint, ok, seconds)
  is_balancer(self, "balancer:done(endpoint, ok, seconds)")
  local place = self.at[endpoint]
  if not place then unknown("balancer:done", endpoint, self.at) end
  if ok ~= nil and type(ok) ~= "boolean" then error("balancer:done: ok: expected true or false, found " .. check.describe(ok), 2) end
  if seconds ~= nil and (type(seconds) ~= "number" or seconds ~= seconds or seconds < 0) then
    error("balancer:done: seconds: expected a number, found " .. check.describe(seconds), 2)
  end
  if self.now then set_balancer_time(self) end
  C.gw_lua_balancer_done(self.handle, place, ok == false and 0 or 1, seconds or -1)
end

--- Live requests of an endpoint, over all workers.
---@param endpoint string
---@return integer
function Balancer:in_flight(endpoint)
  is_balancer(self, "balancer:in_flight(endpoint)")
  local place = self.at[endpoint]
  if not place then unknown("balancer:in_flight", endpoint, self.at) end
  return C.gw_lua_balancer_in_flight(self.handle, place)
end

local nodes = { type = "integer", min = 1, max = 65536 }
local factor = { type = "number", min = 1.01, max = 100 }
local own_fields = {
  round_robin = {}, weighted = {}, least_conn = { two_choices = { type = "boolean" } },
  hash = { virtual_nodes = nodes, load_factor = factor },
  maglev = { load_factor = factor }, ewma = { decay = { type = "duration" }, error_penalty = { type = "duration" } }, random = {},
}

local function same_endpoints(good, report, list)
  if good.health == nil or good.health.list == list then return end
  local theirs = good.health.list
  local same = #theirs == #list
  for i, item in ipairs(list) do same = same and theirs[i] and theirs[i].name == item.name end
  if not same then report("health: expected an object of the same endpoints in the same order (or leave them out here)") end
end

---@class gateway.BalancerOptions endpoints as a list, and these
---@field [integer] string|table "a", or { "a", weight = 3, backup = true }
---@field health? gateway.Health what takes endpoints out
---@field name? string identity over reloads
---@field two_choices? boolean of least_conn: the better of two, picked at random
---@field virtual_nodes? integer of hash
---@field load_factor? number of hash and maglev: no endpoint gets more than so many times its share
---@field decay? number|string of ewma
---@field error_penalty? number|string of ewma
---@field clock? table|function for tests

---@class gateway.balancer
---@field round_robin fun(given: gateway.BalancerOptions): gateway.Balancer one after the other
---@field weighted fun(given: gateway.BalancerOptions): gateway.Balancer smoothly, by weight
---@field least_conn fun(given: gateway.BalancerOptions): gateway.Balancer the one with the fewest live requests for its weight
---@field hash fun(given: gateway.BalancerOptions): gateway.Balancer consistent hashing on a ring
---@field maglev fun(given: gateway.BalancerOptions): gateway.Balancer consistent hashing by a table
---@field ewma fun(given: gateway.BalancerOptions): gateway.Balancer the quickest lately, of two picked at random
---@field random fun(given: gateway.BalancerOptions): gateway.Balancer

local function constructor(algorithm)
  local word = "balancer." .. algorithm
  local fields = { slow_start = { type = "duration" }, health = { type = "any" } }
  for name, description in pairs(own_fields[algorithm]) do fields[name] = description end
  return function(given)
    if type(given) == "table" and given.health ~= nil and getmetatable(given.health) ~= Health then
      primitives.options(word, {}, {}, function(_, report)
        report("health: expected what gateway.health.* gave, found " .. check.describe(given.health))
      end)
    end
    local good, source, now, list, at = options_of(word, given, fields, same_endpoints)
    local handle = Balancer_t()
    primitives.open(handle, word, good.name, { kind = "endpoints" }, source)
    if not shared.holder or shared.collected then ffi.gc(handle, C.gw_lua_balancer_close) end
    local settings = balancing_type {
      slow_start = good.slow_start or 0, decay = good.decay or 0, error_penalty = good.error_penalty or 0,
      virtual_nodes = good.virtual_nodes or 0, load_factor = good.load_factor or 0, two_choices = good.two_choices and 1 or 0,
    }
    local status = C.gw_lua_balancer_build(shared.holder, handle, algorithm, c_endpoints(list), #list, settings)
    if status < 0 then primitives.failed(word, source, status) end
    if now then handle.manual = 1 end
    local names = {}
    for i, item in ipairs(list) do names[i - 1] = item.name end
    if good.health then C.gw_lua_balancer_watch(handle, good.health.handle) end
    return setmetatable({
      handle = handle, names = names, at = at, algorithm = algorithm, now = now or false, health = good.health or false,
      by_key = algorithm == "hash" or algorithm == "maglev",
    }, Balancer)
  end
end

for algorithm in pairs(own_fields) do balancing.balancer[algorithm] = constructor(algorithm) end

-- A misspelt name is said, with the nearest.
local function closed(name, list)
  return setmetatable(list, {
    __index = function(_, key) error(("gateway.%s: %s"):format(name, check.unknown("name", key, list)), 2) end,
  })
end
closed("balancer", balancing.balancer)
closed("health", balancing.health)

return balancing
