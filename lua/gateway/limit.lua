-- gateway.rate_limit { ... } and gateway.concurrency_limit { ... }: middleware that C runs. Those before a route's first Lua function run
-- without entering Lua at all (runtime/gateway/limit.h); those behind it, and those whose key a function makes, are steps of the chain
-- (limit_step.lua) that ask the same C object.

local check = require "gateway.check"
local shared = require "gateway.shared"
local spec = require "gateway.spec"

local limit = {}

---@class gateway.Limit middleware for `use`
local Limit = {}
Limit.__index = Limit
Limit.describe = function(self) return "a " .. rawget(self, "word"):gsub("_", " ") end

-- Stands in for a limit that was wrong (already reported); route.lua passes over it.
limit.failed = setmetatable({}, { describe = function() return "a limit that failed" end })

-- Functions that stand for limits in chains → the limit. chain.lua puts the real step in their place.
limit.steps = setmetatable({}, { __mode = "k" })

---@class gateway.RateLimitOptions
---@field rate? number requests a second, for a token bucket
---@field burst? number requests that may come at once (rate, at least 1)
---@field limit? integer requests in any `window`, for a sliding window in place of rate and burst
---@field window? number|string
---@field by? string|fun(request: gateway.Request): string? "ip", "path", "route", "none", "header:NAME", "cookie:NAME", "query:NAME". A
---       function that gives nil lets the request pass unlimited
---@field name? string identity over reloads, and in the RateLimit fields; limits of one name are one limit
---@field max_clients? integer keys known at a time (100000)
---@field idle? number|string how long a client is known after its bucket is full again (0)
---@field headers? boolean RateLimit and RateLimit-Policy in every answer (false)
---@field status? integer of refusals (429)

local CLIENTS_MOST = 2 ^ 24
local rate_fields = {
  rate = { type = "number" }, burst = { type = "number", min = 1, max = 1e15 }, limit = { type = "integer", min = 1, max = 2 ^ 24 - 1 },
  window = { type = "duration" }, by = { type = "any" }, name = { type = "any" },
  max_clients = { type = "integer", min = 1, max = CLIENTS_MOST }, idle = { type = "duration" }, headers = { type = "boolean" },
  status = { type = "integer", min = 400, max = 599 },
}

---@class gateway.ConcurrencyLimitOptions
---@field max integer requests in flight
---@field by? string|fun(request: gateway.Request): string? as for gateway.rate_limit; "none" where it is missing
---@field name? string
---@field max_clients? integer keys with requests in flight at a time (100000)
---@field headers? boolean
---@field status? integer of refusals (429)
local concurrency_fields = {
  max = { type = "integer", min = 1, max = 2 ^ 31 - 1, required = true }, by = { type = "any" }, name = { type = "any" },
  max_clients = { type = "integer", min = 1, max = CLIENTS_MOST }, headers = { type = "boolean" },
  status = { type = "integer", min = 400, max = 599 },
}

local plain = { ip = true, path = true, route = true, none = true }
local named = { header = true, cookie = true, query = true }
local BY = '"ip", "header:NAME", "cookie:NAME", "query:NAME", "path", "route", "none" or a function'

-- What it goes by: kind and name, or nil after a report.
local function by_of(given, report)
  if type(given) == "function" then return "script", nil, "function" end
  if type(given) == "string" then
    if plain[given] then return given, nil, given end
    local kind, name = given:match("^(%a+):(.*)$")
    if named[kind] then
      local good = kind == "query" and name ~= "" and not name:find("[%c&=#]") or kind ~= "query" and check.header_name(name)
      if good then return kind, name, kind == "header" and "header:" .. name:lower() or given end
      report(("by: expected a %s's name behind %q, found %s"):format(kind == "query" and "query parameter" or kind, kind .. ":",
        check.describe(name)))
      return nil
    end
    local near = named[given] and given .. ":NAME" or check.nearest(given, plain)
    local near_kind = kind and check.nearest(kind, named)
    if near_kind then near = near_kind .. ":" .. name end
    report(("by: expected %s, found %s%s"):format(BY, check.describe(given), near and (" (did you mean %q?)"):format(near) or ""))
    return nil
  end
  report(("by: expected %s, found %s"):format(BY, check.describe(given)))
  return nil
end

local function number_text(n)
  return (("%.14g"):format(n))
end

-- The name in the RateLimit fields of one that has none: its position would tell clients about the script.
local function label_of(state, entry, headers)
  if not headers then return "default" end
  local labels = state.limit_labels or { count = 0 }
  state.limit_labels = labels
  if not labels[entry.index] then
    labels.count = labels.count + 1
    labels[entry.index] = labels.count == 1 and "default" or "default-" .. labels.count
  end
  return labels[entry.index]
end

-- The object that middleware lists hold. `entry` is its state; the rest belongs to this use of it.
local function made(word, entry, by, by_name, f, good, text)
  local state = spec.state
  state.limit_uses = state.limit_uses or {}
  local self = setmetatable({
    word = word, shared = entry.index, by = by, by_name = by_name, by_function = f, headers = good.headers or false,
    status = good.status or 429, label = good.name or label_of(state, entry, good.headers), text = text,
    source = entry.source, index = #state.limit_uses,
  }, Limit)
  table.insert(state.limit_uses, self)
  return self
end

-- What both have in common: the table of options with its fields looked at. nil after a report that says it is no use going on.
local function options_of(word, given, fields)
  spec.declaring("gateway." .. word)
  local source = spec.where()
  local wrong = false
  local tell = spec.reporter("gateway." .. word, source)
  local function report(message)
    wrong = true
    tell(message)
  end
  if type(given) ~= "table" or getmetatable(given) then
    report("expected a table of options, found " .. check.describe(given))
    return nil, report, source, function() return wrong end
  end
  local good = check.fields(given, fields, "", report)
  if good.name ~= nil and not shared.name_good(good.name) then
    report("name: expected letters, digits, '_', '-' and '.', at most 100, found " .. check.describe(good.name))
  end
  return good, report, source, function() return wrong end
end

local function bucket_of(good, keyed, report)
  for _, name in ipairs { "limit", "window" } do
    if good[name] then report(("%s: expected either rate and burst, or limit and window, found %s beside rate"):format(name, name)) end
  end
  local rate = good.rate
  if rate <= 0 then
    report("rate: expected a number above 0 (requests a second), found " .. number_text(rate))
    return nil
  end
  local burst = good.burst or math.max(1, rate)
  if burst * 1e9 < rate or burst / rate > 1e9 then
    report(("burst: expected what the rate fills in a nanosecond at least and 30 years at most, found %s at a rate of %s"):format(
      number_text(burst), number_text(rate)))
  end
  local config = { kind = keyed and "client_limiter" or "token_bucket", rate = rate, burst = burst, idle = keyed and good.idle or nil }
  return config, ("%s/s burst %s"):format(number_text(rate), number_text(burst))
end

local function window_of(good, keyed, report)
  for _, name in ipairs { "burst", "idle" } do
    if good[name] then report(("%s goes with rate: expected it not to stand beside limit and window"):format(name)) end
  end
  if not good.window then
    report("window is required beside limit: expected a duration, found nothing")
    return nil
  elseif good.window < 0.001 or good.window > 1e9 then
    report("window: expected a millisecond at least and 30 years at most, found " .. number_text(good.window))
  elseif keyed and good.limit > 2 ^ 20 - 1 then
    report(("limit: expected at most %d for each key, found %s"):format(2 ^ 20 - 1, number_text(good.limit)))
  end
  return { kind = keyed and "keyed_window" or "sliding_window", limit = good.limit, window = good.window },
    ("%s in %s s"):format(number_text(good.limit), number_text(good.window))
end

local function finish(word, good, report, source, failed, config, words)
  local by, by_name, by_text = by_of(good.by, report)
  if by == "none" then
    for _, name in ipairs { "max_clients", "idle" } do
      if good[name] then report(('%s: expected a limit by something, found by = "none"'):format(name)) end
    end
  end
  if failed() or not config then return limit.failed end
  if by ~= "none" then config.keys, config.by = good.max_clients or 100000, by_text end
  local entry = shared.declare(word, good.name, config, source)
  local f = by == "script" and good.by or nil
  local text = ("%s(%s%s%s)"):format(word, good.name and good.name .. ": " or "", words, by ~= "none" and ", by " .. by_text or "")
  return made(word, entry, by, by_name, f, good, text)
end

--- At most so many requests: a token bucket (rate, burst) or a sliding window (limit, window), for each client, key, or all together.
--- Refusals are 429 with Retry-After.
---@param given gateway.RateLimitOptions
---@return gateway.Limit
function limit.rate_limit(given)
  local good, report, source, failed = options_of("rate_limit", given, rate_fields)
  if not good then return limit.failed end
  if good.by == nil then good.by = "ip" end
  local keyed = good.by ~= "none"
  local config, words
  if good.rate then
    config, words = bucket_of(good, keyed, report)
  elseif good.limit then
    config, words = window_of(good, keyed, report)
  elseif given.rate == nil and given.limit == nil then
    report("expected rate (requests a second), or limit and window, found neither")
  end
  return finish("rate_limit", good, report, source, failed, config, words)
end

--- At most `max` requests in flight at a time, for each client, key, or all together. Refusals are 429 with Retry-After: 1.
---@param given gateway.ConcurrencyLimitOptions
---@return gateway.Limit
function limit.concurrency_limit(given)
  local good, report, source, failed = options_of("concurrency_limit", given, concurrency_fields)
  if not good then return limit.failed end
  if good.by == nil then good.by = "none" end
  local keyed = good.by ~= "none"
  if keyed and good.max and good.max > 65535 then
    report("max: expected at most 65535 for each key, found " .. number_text(good.max))
  end
  local config = good.max and { kind = keyed and "keyed_concurrency" or "concurrency", limit = good.max }
  return finish("concurrency_limit", good, report, source, failed, config, good.max and ("max %d"):format(good.max))
end

function limit.is(value)
  return getmetatable(value) == Limit
end

--- The function that stands for a limit in a chain; one for each limit, so that chains of the same functions stay one.
---@param self gateway.Limit
---@return function
function limit.step(self)
  if not self.f then
    self.f = function() error("limits run in the gateway only", 0) end
    limit.steps[self.f] = self
  end
  return self.f
end

--- What the builder needs of the limits that were declared.
function limit.data()
  local out = {}
  for i, self in ipairs(spec.state.limit_uses or {}) do
    out[i] = {
      shared = self.shared, by = self.by, by_name = self.by_name, by_function = self.by_function, headers = self.headers,
      status = self.status, label = self.label,
    }
  end
  return out
end

return limit
