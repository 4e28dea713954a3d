-- The library that gateway scripts require: what they can say, and nothing else. Each concern is a file of its own beside this one.

local limit = require "gateway.limit"
local load = require "gateway.load"
local log = require "gateway.log"
local logs = require "gateway.logs"
local operation = require "gateway.operation"
local plugin = require "gateway.plugin"
local respond = require "gateway.respond"
local route = require "gateway.route"
local settings = require "gateway.settings"
local tracing = require "gateway.tracing"
local upstream = require "gateway.upstream"
local every = require "gateway.every"
local time = require "gateway.time"
local check = require "gateway.check"

local gateway = {
  listen = settings.listen,
  admin = operation.admin, user = operation.user,
  workers = settings.workers,
  limits = settings.limits,
  timeouts = settings.timeouts,
  access_log = logs.access_log,
  event_log = logs.event_log,
  script = settings.script,
  tracing = tracing.tracing,
  trusted_proxies = settings.trusted_proxies,
  forwarding = settings.forwarding,
  request_id = settings.request_id,
  record = settings.record,
  watch = settings.watch,
  upstream = upstream.upstream,
  route = route.route,
  use = route.use,
  plugin = plugin.plugin,
  rate_limit = limit.rate_limit,
  concurrency_limit = limit.concurrency_limit,
  load = load.load,
  respond = respond.respond,
  redirect = respond.redirect,
  split = respond.split,
  log = log,
  now = time.now,
  every = every.every,
}

-- What needs the gateway's C, which a script that only declares does without: loaded when it is asked for.
local by_hand = {
  token_bucket = "primitives", client_limiter = "primitives", sliding_window = "primitives", breaker = "primitives",
  breakers = "primitives", balancer = "balancing", health = "balancing", shared = "dictionary",
  regex = "regex", cidr = "cidr", counter = "metrics", gauge = "metrics", histogram = "metrics",
  sleep = "sleep", spawn = "spawn", single_flight = "single_flight", all = "wait",
  fetch = "fetch",
}

-- Whole modules, which need the gateway's C as well.
local modules = { crypto = true, base64 = true, json = true, json_schema = true }

setmetatable(gateway, {
  __index = function(_, name)
    if by_hand[name] then
      local value = require("gateway." .. by_hand[name])[name]
      rawset(gateway, name, value)
      return value
    end
    if modules[name] then
      local module = require("gateway." .. name)
      rawset(gateway, name, module)
      return module
    end
    local known = {}
    for _, names in ipairs { gateway, by_hand, modules } do
      for key in pairs(names) do known[key] = true end
    end
    error("gateway: " .. check.unknown("name", name, known), 2)
  end,
})

-- What scripts get is empty itself, so that setting anything is seen: gateway.timeouts = { ... } would look as if it did something.
return setmetatable({}, {
  __index = gateway,
  __newindex = function(_, name)
    local call = type(name) == "string" and type(rawget(gateway, name)) == "function"
    error(("gateway.%s cannot be set%s"):format(tostring(name), call and (": it is called, gateway.%s(...)"):format(name) or ""), 2)
  end,
  names = { gateway, by_hand, modules }, -- for types.lua
  describe = function() return "the gateway itself (its functions are called with a dot, not with a colon)" end,
})
