-- An upstream's options about traffic, checked and made plain: balance and hash_on, health, breaker, retry, concurrency. The builder (C)
-- reads the plain form; what an option means stands in runtime/policy.

local check = require "gateway.check"

local traffic = {}

local share = { type = "number", min = 0, max = 1 }
local count = { type = "integer", min = 1, max = 1000000 }
local YEAR = 366 * 86400
-- Durations here have a bound: none of them is meant to be longer, and sums of nanoseconds stay small. 0 would often mean something else.
local function duration(least) return { type = "duration", min = least or 0.001, max = YEAR } end

local active_fields = {
  path = { type = "string" }, method = { type = "string" }, host = { type = "string" }, headers = { type = "map", of = "string" },
  expect = { type = "any" }, body = { type = "string" }, tcp = { type = "boolean", default = false },
  interval = { type = "duration", min = 0.001, max = YEAR, default = 2 }, unhealthy_interval = duration(),
  timeout = { type = "duration", min = 0.001, max = YEAR, default = 1 },
  rise = { type = "integer", min = 1, max = 1000, default = 2 }, fall = { type = "integer", min = 1, max = 1000, default = 3 },
  jitter = { type = "number", min = 0, max = 1, default = 0.1 },
}

local passive_fields = {
  window = { type = "duration", min = 0.01, max = YEAR, default = 30 },
  error_rate = { type = "number", min = 0, max = 1, default = 0.5 },
  min_requests = { type = "integer", min = 1, max = 1000000, default = 10 },
  eject_for = duration(),
}

local breaker_fields = {
  failures = { type = "integer", min = 1, max = 4095 }, error_rate = share, window = { type = "duration", min = 0.01, max = 100000 },
  min_requests = count, open_for = { type = "duration", min = 0.001, max = 1000000 }, growth = { type = "number", min = 1, max = 1000 },
  open_most = { type = "duration", min = 0.001, max = 1000000 }, probes = { type = "integer", min = 1, max = 63 },
  lease = { type = "duration", min = 0.001, max = 1000000 }, statuses = { type = "any" },
}

local retry_fields = {
  attempts = { type = "integer", min = 1, max = 10, default = 2 }, on = { type = "any" }, budget = { type = "any" },
  non_idempotent = { type = "boolean", default = false }, per_try = duration(), backoff = { type = "any" }, hedge = duration(),
  body = { type = "size", max = 16 * 1024 ^ 2, default = 64 * 1024 },
}

local adaptive_fields = {
  interval = { type = "duration", min = 0.001, max = 3600 }, tolerance = { type = "number", min = 1, max = 1000 }, initial = count,
  least = count, most = count, samples = count,
}

---@alias gateway.Statuses (integer|string)[]|integer|string { 502, "503-504" }

---@class gateway.ActiveHealth
---@field path? string ("/")
---@field method? string ("GET")
---@field host? string
---@field headers? table<string, string>
---@field expect? gateway.Statuses ("200-299")
---@field body? string text that the answer must hold
---@field tcp? boolean connect only (false)
---@field interval? number|string (2 s)
---@field unhealthy_interval? number|string while it is out
---@field timeout? number|string (1 s)
---@field rise? integer successes in a row that bring it back (2)
---@field fall? integer failures in a row that take it out (3)
---@field jitter? number share of the interval (0.1)

---@class gateway.PassiveHealth
---@field window? number|string (30 s)
---@field error_rate? number share of failures that takes an endpoint out (0.5)
---@field min_requests? integer in the window, for a judgement (10)
---@field eject_for? number|string the first time; longer each time

---@class gateway.HealthOptions
---@field active? gateway.ActiveHealth
---@field passive? gateway.PassiveHealth|boolean
---@field when_none_healthy? "try_all"|"refuse" fail open, or 503 ("try_all")
---@field panic? integer percentage of healthy endpoints below which health is not looked at (0)
---@field max_ejected? integer percentage that passive health may take out (50)

---@class gateway.BreakerOptions
---@field failures? integer in a row that open it
---@field error_rate? number share of failures in the window that opens it
---@field window? number|string
---@field min_requests? integer
---@field open_for? number|string (10 s)
---@field growth? number open_for grows by this factor each time that a probe fails
---@field open_most? number|string
---@field probes? integer tries at a time while it is half-open (1)
---@field lease? number|string after which a probe that never ended is given up
---@field statuses? gateway.Statuses that count as failures

---@class gateway.RetryOptions
---@field attempts? integer in all (2)
---@field on? ("connect"|"reset"|"timeout"|integer|string)[] ({ "connect", "reset", "502-504" })
---@field budget? number|{ share?: number, minimum?: integer } share of requests that may be retries (0.2)
---@field non_idempotent? boolean POST and PATCH, too (false)
---@field per_try? number|string
---@field backoff? number|string|{ base?: number|string, most?: number|string }
---@field hedge? number|string a second try is sent when the first has not answered after this
---@field body? number|string longest request body that is kept for another try (64 KB)

---@class gateway.AdaptiveConcurrency
---@field interval? number|string
---@field tolerance? number
---@field initial? integer
---@field least? integer
---@field most? integer
---@field samples? integer

---@class gateway.TrafficOptions
---@field balance? "round_robin"|"weighted"|"least_conn"|"hash"|"maglev"|"ewma"|"random"
---@field hash_on? string|fun(request: gateway.Request): string|number|nil "ip", "path", "header:NAME", "cookie:NAME", "query:NAME"
---@field load_factor? number no endpoint gets more than so many times its share, with hash and maglev
---@field virtual_nodes? integer with hash
---@field two_choices? boolean with least_conn
---@field slow_start? number|string until an endpoint that is back gets its whole share
---@field health? gateway.HealthOptions
---@field breaker? gateway.BreakerOptions|boolean one for each endpoint
---@field retry? gateway.RetryOptions|boolean
---@field concurrency? integer|"adaptive"|gateway.AdaptiveConcurrency requests in flight for each endpoint

local balances = { "round_robin", "weighted", "least_conn", "hash", "maglev", "ewma", "random" }

--- The descriptions of these options, for the table of an upstream's options.
traffic.fields = {
  balance = { type = "enum", values = balances },
  hash_on = { type = "any" },
  load_factor = { type = "number", min = 1.01, max = 1000 },
  virtual_nodes = { type = "integer", min = 1, max = 65536 },
  two_choices = { type = "boolean" },
  slow_start = { type = "duration", max = YEAR },
  health = {
    type = "table",
    fields = {
      active = { type = "table", fields = active_fields }, passive = { type = "any" },
      when_none_healthy = { type = "enum", values = { "try_all", "refuse" }, default = "try_all" },
      panic = { type = "integer", min = 0, max = 100, default = 0 }, max_ejected = { type = "integer", min = 0, max = 100, default = 50 },
    },
  },
  breaker = { type = "any" }, retry = { type = "any" }, concurrency = { type = "any" },
}

-- A table of options that may also be `true` (all defaults) or `false` (none). nil: none, or reported.
local function section(value, name, fields, report)
  if value == nil or value == false then return nil end
  if value == true then value = {} end
  if type(value) ~= "table" or getmetatable(value) then
    report(("%s: expected a table of options, true or false, found %s"):format(name, check.describe(value)))
    return nil
  end
  return check.fields(value, fields, name, report)
end

-- Statuses as a list of numbers and ranges such as "500-599", or one of them, into { from, to, from, to, ... }. `words`: names that may
-- stand there too; those found are set in the second result.
local function statuses(value, name, report, words)
  local list = type(value) == "table" and not getmetatable(value) and value or { value }
  local out, found = {}, {}
  if not check.is_list(list) or #list == 0 then
    report(("%s: expected a list such as { 502, \"503-504\" }, found %s"):format(name, check.describe(value)))
    return out, found
  end
  for i, item in ipairs(list) do
    local from, to = item, item
    if type(item) == "string" then
      from, to = item:match("^(%d%d%d)%-(%d%d%d)$")
      if not from then from = item:match("^%d%d%d$") end
      from, to = tonumber(from), tonumber(to or from)
    end
    if words and words[item] then
      found[item] = true
    elseif type(from) == "number" and from % 1 == 0 and from >= 100 and from <= to and to <= 599 then
      out[#out + 1], out[#out + 2] = from, to
    else
      local names = {}
      for word in pairs(words or {}) do names[#names + 1] = check.describe(word) end
      table.sort(names)
      local near = words and check.nearest(item, words)
      report(("%s[%d]: expected %sa status from 100 to 599 or a range such as \"500-599\", found %s%s"):format(name, i,
        #names > 0 and table.concat(names, ", ") .. ", " or "", check.describe(item), near and (" (did you mean %q?)"):format(near) or ""))
    end
  end
  return out, found
end

local function one_line(text)
  return type(text) == "string" and text ~= "" and not text:find("[%c ]")
end

local function active_of(given, report)
  if not given then return nil end
  local out = given
  local where = "health.active"
  if out.tcp then
    for _, name in ipairs { "path", "method", "host", "headers", "expect", "body" } do
      if out[name] ~= nil then report(("%s: %s says what an HTTP probe does: it cannot stand beside tcp = true"):format(where, name)) end
    end
  end
  out.path = out.path or "/"
  if out.path:sub(1, 1) ~= "/" or not one_line(out.path) then
    report(("%s.path: expected a path that begins with '/', found %s"):format(where, check.describe(out.path)))
  end
  out.method = out.method or "GET"
  if not out.method:find("^[A-Z][A-Z%-]*$") then
    report(("%s.method: expected a method in capitals such as \"GET\", found %s"):format(where, check.describe(out.method)))
  end
  if out.host and (not one_line(out.host) or out.host:find("[,/]")) then
    report(("%s.host: expected a host name, found %s"):format(where, check.describe(out.host)))
  end
  local headers, names = {}, {}
  for name in pairs(out.headers or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value, lower = out.headers[name], name:lower()
    if not check.header_name(name) or not check.header_value(value) then
      report(("%s.headers.%s: expected a header field, found %s"):format(where, name, check.describe(value)))
    elseif lower == "host" or lower == "connection" or lower == "content-length" or lower == "transfer-encoding" then
      report(("%s.headers: %q is written by the gateway%s"):format(where, name, lower == "host" and ": use host" or ""))
    else
      headers[#headers + 1], headers[#headers + 2] = name, value
    end
  end
  out.headers = #headers > 0 and headers or nil
  out.expect = statuses(out.expect == nil and { "200-299" } or out.expect, where .. ".expect", report)
  return out
end

local function backoff_of(value, report)
  if value == nil then return 0.025, 0.25 end
  if type(value) == "table" and not getmetatable(value) then
    local good = check.fields(value, { base = duration(0), most = duration(0) }, "retry.backoff", report)
    local base = good.base or 0.025
    return base, good.most or base * 10
  end
  local base = check.value(value, duration(0), "retry.backoff", report)
  return base or 0, (base or 0) * 10
end

local function budget_of(value, report)
  local fields = {
    share = { type = "number", min = 0, max = 1, default = 0.2 }, minimum = { type = "integer", min = 0, max = 1000000, default = 10 },
  }
  if type(value) == "table" and not getmetatable(value) then return check.fields(value, fields, "retry.budget", report) end
  local given = 0.2
  if value ~= nil then given = check.value(value, share, "retry.budget", report) end
  return { share = given or 0.2, minimum = 10 }
end

local retry_words = { connect = true, reset = true, timeout = true }

local function retry_of(value, report)
  local out = section(value, "retry", retry_fields, report)
  if not out then return nil end
  if out.hedge and out.attempts == 1 then report("retry.hedge: expected attempts of at least 2 beside it, found 1") end
  local list, words = statuses(out.on == nil and { "connect", "reset", "502-504" } or out.on, "retry.on", report, retry_words)
  out.on = { connect = words.connect, reset = words.reset, timeout = words.timeout }
  out.statuses = list
  out.budget = budget_of(out.budget, report)
  out.backoff, out.backoff_most = backoff_of(out.backoff, report)
  return out
end

local function breaker_of(value, report)
  local out = section(value, "breaker", breaker_fields, report)
  if not out then return nil end
  if out.error_rate == 0 then
    report("breaker.error_rate: expected a share above 0 and at most 1, found 0")
    out.error_rate = nil
  end
  if out.open_most and out.open_most < (out.open_for or 10) then
    report(("breaker.open_most: expected at least open_for (%s), found %s"):format(out.open_for or 10, out.open_most))
    out.open_most = nil
  end
  if out.statuses ~= nil then out.statuses = statuses(out.statuses, "breaker.statuses", report) end
  return out
end

local function concurrency_of(value, report)
  if value == nil then return nil end
  if value == "adaptive" then return { adaptive = {} } end
  if type(value) == "table" and not getmetatable(value) then
    local good = check.fields(value, adaptive_fields, "concurrency", report)
    local least, most = good.least or 1, good.most or 1000
    if least > most then report(("concurrency.least: expected at most %s, the most, found %s"):format(most, least)) end
    if good.initial and least <= most and (good.initial < least or good.initial > most) then
      report(("concurrency.initial: expected from %s to %s, found %s"):format(least, most, good.initial))
    end
    return { adaptive = good }
  end
  local most = type(value) == "number" and check.value(value, count, "concurrency", report)
  if type(value) ~= "number" then
    report(('concurrency: expected a whole number, "adaptive" or the settings of an adaptive limit, found %s%s'):format(
      check.describe(value), check.nearest(value, { "adaptive" }) and ' (did you mean "adaptive"?)' or ""))
  end
  return most and { most = most } or nil
end

local function hash_on_of(value, report)
  if type(value) == "function" then return { on = "script", f = value } end
  if type(value) == "string" then
    if value == "ip" or value == "path" then return { on = value } end
    local on, name = value:match("^(%a+):(.+)$")
    if on == "header" or on == "cookie" then
      if check.header_name(name) then return { on = on, name = name } end
    elseif on == "query" and one_line(name) then
      return { on = on, name = name }
    end
  end
  local kind = type(value) == "string" and value:match("^[^:]*")
  local near = kind and check.nearest(kind, { "ip", "path", "header", "cookie", "query" })
  report(("hash_on: expected \"ip\", \"path\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\" or a function, found %s%s"):format(
    check.describe(value), near and near ~= kind and (" (did you mean %q?)"):format(near .. value:sub(#kind + 1)) or ""))
  return nil
end

local by_key = { hash = true, maglev = true }

--- What is only good beside some balance is refused beside another, so that nobody believes it is at work.
local function balance_of(known, data, report)
  local balance = known.balance
  local weighted = false
  for _, endpoint in ipairs(data.endpoints) do weighted = weighted or endpoint.weight > 1 end
  if balance == "round_robin" and weighted then
    report('balance = "round_robin" gives all endpoints the same whatever their weight: expected balance = "weighted"')
  end
  balance = balance or (weighted and "weighted" or "round_robin")
  local function only(name, good, wanted)
    if known[name] ~= nil and not good then
      report(("%s: expected only with balance = %s, found balance = %q"):format(name, wanted, balance))
    end
  end
  only("hash_on", by_key[balance], '"hash" or "maglev"')
  only("load_factor", by_key[balance], '"hash" or "maglev"')
  only("virtual_nodes", balance == "hash", '"hash"')
  only("two_choices", balance == "least_conn", '"least_conn"')
  data.balance = balance
  data.load_factor = known.load_factor and math.floor(known.load_factor * 100 + 0.5)
  data.virtual_nodes, data.two_choices, data.slow_start = known.virtual_nodes, known.two_choices, known.slow_start
  if by_key[balance] then data.hash_on = hash_on_of(known.hash_on == nil and "ip" or known.hash_on, report) end
end

--- Puts the plain form of what was given into the upstream's data.
---@param known table options that went through check.fields with traffic.fields
---@param data table
---@param report fun(message: string)
function traffic.apply(known, data, report)
  balance_of(known, data, report)
  local health = known.health
  if health then
    data.health = {
      active = active_of(health.active, report), passive = section(health.passive, "health.passive", passive_fields, report),
      refuse = health.when_none_healthy == "refuse", panic = health.panic, max_ejected = health.max_ejected,
    }
  end
  data.breaker = breaker_of(known.breaker, report)
  data.retry = retry_of(known.retry, report)
  data.concurrency = concurrency_of(known.concurrency, report)
end

-- Set by chain.lua: gives C the key; asks C which arm of the route's split (from 0) takes the request: -1: the route has no split, -2: the
-- script has chosen the upstream itself.
traffic.tell = function() error("hash_on: no request is served here", 0) end
traffic.choose = traffic.tell

--- Tells the balancer what to pick by, as the upstream's hash_on function says.
---@param request gateway.Request
---@param f fun(request: gateway.Request): string|number|nil
function traffic.key(request, f)
  local value = f(request)
  if type(value) == "number" then value = tostring(value) end
  if type(value) == "string" then
    traffic.tell(request, value)
  elseif value ~= nil then
    local info = debug.getinfo(f, "S")
    error(("hash_on: the function at %s:%d returned %s: expected a string, a number or nil"):format((info.source:gsub("^[@=]", "")),
      info.linedefined, check.describe(value)), 0)
  end
end

return traffic
