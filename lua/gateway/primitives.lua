-- The traffic primitives by hand: gateway.token_bucket { ... } and the like. Each is a C object with methods that compiled Lua calls at C
-- speed (runtime/script/primitives.h). In a gateway all workers share it, and it outlives reloads: it is known by its name or, without one,
-- by its position in the script. Under plain luajit it is private, and takes a `clock`, so that tests need not wait.
--
-- Here is what all of them share and those that stand alone; balancers and health are in balancing.lua.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local shared = require "gateway.shared"
local spec = require "gateway.spec"

local primitives = {}

local istype = ffi.istype

-- ---- classes: a C type gets its methods once in a process, whatever becomes of this module ----

local registry = debug.getregistry()
local classes = registry["gateway.primitives"] or {}
registry["gateway.primitives"] = classes

--- The C type of that name with these methods.
---@param name string
---@param methods table
---@param fields? table<string, fun(self: any): any> what is read like a field
function primitives.class(name, methods, fields)
  local class = classes[name]
  if not class then
    class = { type = ffi.typeof(name), methods = methods }
    local word = name:gsub("^gw_lua_", "")
    local function unknown(key)
      local known = {}
      for k in pairs(methods) do known[k] = true end
      for k in pairs(fields or {}) do known[k] = true end
      error(("%s: %s"):format(word, check.unknown("method", key, known)), 3)
    end
    local meta = {
      __index = setmetatable(methods, { __index = function(_, key) unknown(key) end }),
      __newindex = function(_, key) error(("a %s has no field %s to set"):format(word, check.describe(key)), 2) end,
      __tostring = function() return word end,
    }
    if fields then
      meta.__index = function(self, key)
        local field = fields[key]
        if field then return field(self) end
        local method = rawget(methods, key)
        if method then return method end
        unknown(key)
      end
    end
    ffi.metatype(class.type, meta)
    classes[name] = class
  end
  return class.type
end

-- ---- what callers did wrong, at their line ----

local function wrong(what, expected, found)
  error(("%s: expected %s, found %s"):format(what, expected, check.describe(found)), 3)
end
primitives.wrong = wrong

local function no_self(call)
  error(("expected %s with a colon, found another object in front"):format(call), 3)
end

local function text_key(what, key)
  if type(key) == "string" then return key end
  if type(key) == "number" then return tostring(key) end
  error(("%s: key: expected a string, found %s"):format(what, check.describe(key)), 3)
end

-- ---- making one ----

-- Clocks of tests: a table with now(), or a function; seconds.
local function reader(clock, fail)
  if type(clock) == "function" then return clock end
  if type(clock) == "table" and type(clock.now) == "function" then
    return function() return clock:now() end
  end
  fail("clock: expected a function that gives seconds, or a table with now(), found " .. check.describe(clock))
end

-- What f gives; what it raises, at the line of who called the caller.
local function blamed(f, ...)
  local good, result = pcall(f, ...)
  if not good then error((tostring(result):gsub("^[^\n]-:%d+: ", "")), 3) end
  return result
end

local function index(object, key) return object[key] end

-- The same object on a clock of the caller's: the time is set before each call.
local function clocked(object, now)
  return setmetatable({}, {
    __index = function(_, key)
      object.now = now()
      local value = blamed(index, object, key)
      if type(value) ~= "function" then return value end
      return function(_, ...)
        object.now = now()
        if key == "of" then return (clocked(blamed(value, object, ...), now)) end
        return value(object, ...)
      end
    end,
    __newindex = function(_, key) error(("a %s has no field %s to set"):format(tostring(object), check.describe(key)), 2) end,
    __tostring = function() return tostring(object) end,
  })
end

--- Looks at the options of a constructor and raises, at the caller's line, everything that is wrong with them.
---@param word string "token_bucket"
---@param given any
---@param fields table
---@param more? fun(good: table, report: fun(message: string)) what the fields alone cannot say
---@return table good
---@return string source
---@return function? now the clock's
function primitives.options(word, given, fields, more)
  local source = spec.where()
  local problems = {}
  local function report(message) problems[#problems + 1] = ("%s: gateway.%s: %s"):format(source, word, message) end
  local function give_up()
    if #problems > 0 then error(table.concat(problems, "\n"), 0) end
  end
  if shared.holder then spec.declaring("gateway." .. word) end
  if type(given) ~= "table" or getmetatable(given) then
    report("expected a table of options, found " .. check.describe(given))
    give_up()
  end
  local options, clock = {}, nil
  for key, value in pairs(given) do
    if key == "clock" then clock = value else options[key] = value end
  end
  local all = { name = { type = "any" } }
  for name, description in pairs(fields) do all[name] = description end
  local good = check.fields(options, all, "", report)
  if good.name ~= nil and not shared.name_good(good.name) then
    report("name: expected letters, digits, '_', '-' and '.', at most 100, found " .. check.describe(good.name))
  end
  local now = clock ~= nil and reader(clock, report) or nil
  give_up()
  if more then more(good, report) end
  give_up()
  return good, source, now
end

local function failed(word, source, status)
  error(("%s: gateway.%s: %s"):format(source, word, status == -4 and "not enough memory" or "settings out of range"), 0)
end
primitives.failed = failed

local settings_type = ffi.typeof("gw_lua_settings")
local handle_pointer = ffi.typeof("gw_lua_handle *")

--- Opens the state behind a handle, and declares it to the generation.
---@param handle any a new handle
---@param word string
---@param name string? nil: the position
---@param config table kind and settings, as gateway.shared wants them
---@param source string
function primitives.open(handle, word, name, config, source)
  local settings = settings_type()
  for key, value in pairs(config) do
    if type(value) == "number" then settings[key] = value end
  end
  local by = config.by or ""
  if shared.holder then name = shared.declare(word, name, config, source).name else name = name or "" end
  local status = C.gw_lua_open(shared.holder, ffi.cast(handle_pointer, handle), config.kind, word, #word, name, #name, settings, by, #by)
  if status < 0 then failed(word, source, status) end
end

-- A handle of that class, opened; what scripts get.
local function make(type_, word, good, config, source, now)
  local handle = type_()
  primitives.open(handle, word, good.name, config, source)
  if not shared.holder or shared.collected then ffi.gc(handle, function(h) C.gw_lua_close(ffi.cast(handle_pointer, h)) end) end
  if now then
    handle.manual = 1
    return clocked(handle, now)
  end
  return handle
end
primitives.make = make

local function above_zero(good, name, report)
  if good[name] <= 0 then report(("%s: expected a number above 0, found %s"):format(name, check.describe(good[name]))) end
end

-- ---- token bucket ----

---@class gateway.TokenBucket
local bucket_methods = {}
local Bucket = primitives.class("gw_lua_token_bucket", bucket_methods)

--- Takes n tokens (1).
---@param n? number
---@return boolean ok
---@return number retry_after seconds; 0 when ok, math.huge when n is above burst
function bucket_methods.allow(self, n)
  if not istype(Bucket, self) then no_self("bucket:allow()") end
  if n == nil then
    n = 1
  elseif type(n) ~= "number" or n ~= n or n < 0 then
    wrong("token_bucket:allow: n", "a number of tokens", n)
  end
  local wait = C.gw_lua_token_bucket_allow(self, n)
  if wait == 0 then return true, 0 end
  return false, wait
end

--- Tokens left.
---@return number
function bucket_methods.left(self)
  if not istype(Bucket, self) then no_self("bucket:left()") end
  return C.gw_lua_token_bucket_left(self)
end

local rate_fields = { rate = { type = "number", required = true }, burst = { type = "number", max = 1e15 } }

local function rate_good(good, report)
  above_zero(good, "rate", report)
  good.burst = good.burst or math.max(1, good.rate)
  above_zero(good, "burst", report)
end

--- Tokens for all: `rate` a second, at most `burst` kept.
---@param given { rate: number, burst?: number, name?: string, clock?: table|function }
---@return gateway.TokenBucket
function primitives.token_bucket(given)
  local good, source, now = primitives.options("token_bucket", given, rate_fields, rate_good)
  return make(Bucket, "token_bucket", good, { kind = "token_bucket", rate = good.rate, burst = good.burst }, source, now)
end

-- ---- client limiter ----

---@class gateway.ClientLimiter
local client_methods = {}
local Clients = primitives.class("gw_lua_client_limiter", client_methods)

--- Takes n (1) of the key's tokens.
---@param key string
---@param n? number
---@return boolean ok
---@return number retry_after
function client_methods.allow(self, key, n)
  if not istype(Clients, self) then no_self("limiter:allow(key)") end
  if type(key) ~= "string" then key = text_key("client_limiter:allow", key) end
  if n == nil then
    n = 1
  elseif type(n) ~= "number" or n ~= n or n < 0 then
    wrong("client_limiter:allow: n", "a number of tokens", n)
  end
  local wait = C.gw_lua_client_limiter_allow(self, key, #key, n)
  if wait == 0 then return true, 0 end
  return false, wait
end

--- Tokens that the key has left.
---@param key string
---@return number
function client_methods.left(self, key)
  if not istype(Clients, self) then no_self("limiter:left(key)") end
  if type(key) ~= "string" then key = text_key("client_limiter:left", key) end
  return C.gw_lua_client_limiter_left(self, key, #key)
end

--- Keys that are known and not idle. Looks at all of them.
---@return integer
function client_methods.clients(self)
  if not istype(Clients, self) then no_self("limiter:clients()") end
  return C.gw_lua_client_limiter_clients(self)
end

local keys_field = { type = "integer", min = 1, max = 2 ^ 24, default = 100000 }

--- A token bucket for each key, in a table of fixed size.
---@param given { rate: number, burst?: number, max_clients?: integer, idle?: number|string, name?: string, clock?: table|function }
---@return gateway.ClientLimiter
function primitives.client_limiter(given)
  local good, source, now = primitives.options("client_limiter", given, {
    rate = rate_fields.rate, burst = rate_fields.burst, max_clients = keys_field, idle = { type = "duration", default = 0 },
  }, rate_good)
  local config = { kind = "client_limiter", rate = good.rate, burst = good.burst, idle = good.idle, keys = good.max_clients }
  return make(Clients, "client_limiter", good, config, source, now)
end

-- ---- sliding window ----

---@class gateway.SlidingWindow
local window_methods = {}
local Window = primitives.class("gw_lua_sliding_window", window_methods)

--- Counts a request; of the key, or of all without one.
---@param key? string
---@return boolean ok
---@return number retry_after
function window_methods.allow(self, key)
  if not istype(Window, self) then no_self("window:allow()") end
  if key == nil then
    key = ""
  elseif type(key) ~= "string" then
    key = text_key("sliding_window:allow", key)
  end
  local wait = C.gw_lua_sliding_window_allow(self, key, #key)
  if wait == 0 then return true, 0 end
  return false, wait
end

--- Requests that would be let in now.
---@param key? string
---@return integer
function window_methods.left(self, key)
  if not istype(Window, self) then no_self("window:left()") end
  if key == nil then
    key = ""
  elseif type(key) ~= "string" then
    key = text_key("sliding_window:left", key)
  end
  return C.gw_lua_sliding_window_left(self, key, #key)
end

--- At most `limit` requests in any `window` seconds, nearly (two counters, weighted); over all, or for each key.
---@param given { limit: integer, window: number|string, max_clients?: integer, name?: string, clock?: table|function }
---@return gateway.SlidingWindow
function primitives.sliding_window(given)
  local good, source, now = primitives.options("sliding_window", given, {
    limit = { type = "integer", min = 1, max = 2 ^ 20 - 1, required = true }, window = { type = "duration", required = true },
    max_clients = keys_field,
  }, function(good, report)
    if good.window < 0.001 then report(("window: expected a millisecond at least, found %s"):format(check.describe(good.window))) end
  end)
  local config = { kind = "keyed_window", limit = good.limit, window = good.window, keys = good.max_clients }
  return make(Window, "sliding_window", good, config, source, now)
end

-- ---- breakers ----

---@class gateway.Breaker
---@field state "closed"|"open"|"half-open"
local breaker_methods = {}
local states = { [0] = "closed", "open", "half-open" }
local Breaker = primitives.class("gw_lua_breaker", breaker_methods, {
  state = function(self) return states[C.gw_lua_breaker_state(self)] end,
})

--- Whether to try. The ticket belongs to this try: success(ticket) and failure(ticket) then count only while the breaker is in the same
--- state; without one they count for whatever state it is in.
---@return boolean ok
---@return number retry_after
---@return integer? ticket
function breaker_methods.allow(self)
  if not istype(Breaker, self) then no_self("breaker:allow()") end
  local ticket = C.gw_lua_breaker_allow(self)
  if ticket >= 0 then return true, 0, ticket end
  return false, C.gw_lua_breaker_retry_after(self)
end

local function ticket_good(ticket)
  return type(ticket) == "number" and ticket >= 0 and ticket < 2 ^ 31
end

--- The try went well.
---@param ticket? integer
function breaker_methods.success(self, ticket)
  if not istype(Breaker, self) then no_self("breaker:success()") end
  if ticket == nil then
    ticket = -2
  elseif not ticket_good(ticket) then
    wrong("breaker:success: ticket", "what allow() gave", ticket)
  end
  C.gw_lua_breaker_success(self, ticket)
end

--- The try failed.
---@param ticket? integer
function breaker_methods.failure(self, ticket)
  if not istype(Breaker, self) then no_self("breaker:failure()") end
  if ticket == nil then
    ticket = -2
  elseif not ticket_good(ticket) then
    wrong("breaker:failure: ticket", "what allow() gave", ticket)
  end
  C.gw_lua_breaker_failure(self, ticket)
end

--- The try came to nothing that says anything: a probe's place is free again.
---@param ticket? integer
function breaker_methods.cancel(self, ticket)
  if not istype(Breaker, self) then no_self("breaker:cancel()") end
  if ticket == nil then
    ticket = -2
  elseif not ticket_good(ticket) then
    wrong("breaker:cancel: ticket", "what allow() gave", ticket)
  end
  C.gw_lua_breaker_cancel(self, ticket)
end

--- Closed, nothing counted.
function breaker_methods.reset(self)
  if not istype(Breaker, self) then no_self("breaker:reset()") end
  C.gw_lua_breaker_reset(self)
end

--- Open from now on, for open_for.
function breaker_methods.trip(self)
  if not istype(Breaker, self) then no_self("breaker:trip()") end
  C.gw_lua_breaker_trip(self)
end

local breaker_fields = {
  failures = { type = "integer", min = 1, max = 4095 }, open_for = { type = "duration", default = 10 },
  probes = { type = "integer", min = 1, max = 63, default = 1 }, growth = { type = "number", min = 1, default = 1 },
  open_most = { type = "duration" }, lease = { type = "duration", default = 30 }, error_rate = { type = "number", min = 0, max = 1 },
  window = { type = "duration", default = 10 }, min_requests = { type = "integer", min = 1, max = 2 ^ 23, default = 10 },
}

local function breaker_good(good, report)
  above_zero(good, "open_for", report)
  above_zero(good, "lease", report)
  if good.window < 0.01 then report(("window: expected 10 ms at least, found %s"):format(check.describe(good.window))) end
  if good.open_most and good.open_most < good.open_for then
    report(("open_most: expected open_for (%s) at least, found %s"):format(good.open_for, good.open_most))
  end
end

local function breaker_config(kind, good)
  local config = { kind = kind, keys = good.max_keys }
  for name in pairs(breaker_fields) do config[name] = good[name] end
  return config
end

--- Refuses what would fail anyway, and tries again with a few probes.
---@param given { failures?: integer, open_for?: number|string, probes?: integer, growth?: number, open_most?: number|string,
---       lease?: number|string, error_rate?: number, window?: number|string, min_requests?: integer, name?: string,
---       clock?: table|function }
---@return gateway.Breaker
function primitives.breaker(given)
  local good, source, now = primitives.options("breaker", given, breaker_fields, breaker_good)
  return make(Breaker, "breaker", good, breaker_config("breaker", good), source, now)
end

---@class gateway.Breakers
local breakers_methods = {}
local Breakers = primitives.class("gw_lua_breakers", breakers_methods)

--- The key's breaker, for this request: ask again for the next one.
---@param key string
---@return gateway.Breaker
function breakers_methods.of(self, key)
  if not istype(Breakers, self) then no_self("breakers:of(key)") end
  if type(key) ~= "string" then key = text_key("breakers:of", key) end
  return Breaker(C.gw_lua_breakers_of(self, key, #key), nil, self.now, self.manual)
end

--- Keys that are known.
---@return integer
function breakers_methods.count(self)
  if not istype(Breakers, self) then no_self("breakers:count()") end
  return C.gw_lua_breakers_count(self)
end

--- A breaker for each key, in a table of fixed size.
---@param given table as for gateway.breaker, and max_keys (1000)
---@return gateway.Breakers
function primitives.breakers(given)
  local fields = { max_keys = { type = "integer", min = 1, max = 2 ^ 20, default = 1000 } }
  for name, description in pairs(breaker_fields) do fields[name] = description end
  local good, source, now = primitives.options("breakers", given, fields, breaker_good)
  return make(Breakers, "breakers", good, breaker_config("breakers", good), source, now)
end

return primitives
