-- gateway.shared "name": a dictionary that all workers share, of bounded size, whose entries may end after a time. A C object
-- (runtime/policy/dictionary.h): exact over all workers, kept over reloads, known by its name. Under plain luajit it belongs to the process
-- alone.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local primitives = require "gateway.primitives"
local shared = require "gateway.shared"
local spec = require "gateway.spec"
local units = require "gateway.units"

local dictionary = {}

local istype = ffi.istype
local NAN = 0 / 0
local STRING, NUMBER, FALSE, TRUE = 1, 2, 3, 4
local SET, ADD, REPLACE = 0, 1, 2
local LIMIT, NOTFOUND = -6, -10
local UPDATES_MOST = 100

-- Where values are copied to: one place for each Lua state, which runs on one thread. Longer ones get a place of their own.
local ROOM = 65536
local room = ffi.new("char[?]", ROOM)
local out = ffi.new "gw_lua_value"
local before, after = ffi.new "gw_lua_value", ffi.new "gw_lua_value"

---@class gateway.Shared
local methods = {}
local Dictionary = primitives.class("gw_lua_dictionary", methods)

-- ---- what callers did wrong, at their line ----

local function no_self(call)
  error(("expected dictionary:%s with a colon, found another object in front"):format(call), 3)
end

local function text_key(method, key)
  if type(key) == "number" then return tostring(key) end
  error(("dictionary:%s: key: expected a string, found %s"):format(method, check.describe(key)), 3)
end

-- Seconds; 0: for ever.
local function seconds(method, ttl)
  if ttl == nil then return 0 end
  local span = units.duration(ttl)
  if not span or span <= 0 then
    error(("dictionary:%s: ttl: expected nothing (for ever) or %s above 0, found %s"):format(method, units.duration_expected,
      check.describe(ttl)), 3)
  end
  return span
end

local function no_value(method, name, value)
  local hint = value == nil and "; delete(key) removes a key" or type(value) == "table" and "; make it text first" or ""
  error(("dictionary:%s: %s: expected a string, a number or a boolean, found %s%s"):format(method, name, check.describe(value), hint), 3)
end

-- What it points to is not kept alive by it: nothing may be allocated between this and the call of C.
local function fill(value, into)
  local kind = type(value)
  into.text, into.length, into.number = nil, 0, 0
  if kind == "string" then
    into.type, into.text, into.length = STRING, value, #value
  elseif kind == "number" then
    into.type, into.number = NUMBER, value
  elseif kind == "boolean" then
    into.type = value and TRUE or FALSE
  elseif kind == "nil" then
    into.type = 0
  else
    return false
  end
  return true
end

-- ---- reading ----

-- A value that does not fit into `room`: it may grow again until it is asked for the next time.
local function large(self, key)
  local kind = LIMIT
  while kind == LIMIT do
    local bytes = out.length
    local place = ffi.new("char[?]", bytes)
    kind = C.gw_lua_dictionary_get(self, key, #key, place, bytes, out)
    if kind == STRING then return ffi.string(place, out.length) end
  end
  if kind == NUMBER then return out.number end
  if kind == 0 then return nil end
  return kind == TRUE
end

--- The value, or nil: there is none, or it has ended.
---@param key string
---@return string|number|boolean|nil
function methods.get(self, key)
  if not istype(Dictionary, self) then no_self "get(key)" end
  if type(key) ~= "string" then key = text_key("get", key) end
  local kind = C.gw_lua_dictionary_get(self, key, #key, room, ROOM, out)
  if kind == STRING then return ffi.string(room, out.length) end
  if kind == NUMBER then return out.number end
  if kind == 0 then return nil end
  if kind == LIMIT then return large(self, key) end
  return kind == TRUE
end

--- Seconds until the key ends (math.huge: never), or nil: there is none.
---@param key string
---@return number?
function methods.ttl(self, key)
  if not istype(Dictionary, self) then no_self "ttl(key)" end
  if type(key) ~= "string" then key = text_key("ttl", key) end
  local left = C.gw_lua_dictionary_ttl(self, key, #key)
  if left < 0 then return nil end
  return left
end

-- ---- writing ----

local refusals = { [SET] = "too large", [ADD] = "exists", [REPLACE] = "not found" }

local function put(self, key, value, ttl, mode)
  local kind = type(value)
  local status
  if kind == "string" then
    status = C.gw_lua_dictionary_put(self, key, #key, STRING, value, #value, 0, ttl, mode)
  elseif kind == "number" then
    status = C.gw_lua_dictionary_put(self, key, #key, NUMBER, nil, 0, value, ttl, mode)
  else
    status = C.gw_lua_dictionary_put(self, key, #key, value and TRUE or FALSE, nil, 0, 0, ttl, mode)
  end
  if status == 0 then return true end
  if status == LIMIT then return nil, "too large" end
  return nil, refusals[mode]
end

local function storable(value)
  local kind = type(value)
  return kind == "string" or kind == "number" or kind == "boolean"
end

--- Stores a value, whatever was there. Where the dictionary is full, entries that have ended and then the least used make room.
---@param key string
---@param value string|number|boolean
---@param ttl? number|string seconds, "5m"; for ever without
---@return true? stored nil when it is too large
---@return "too large"? error larger than a share of the dictionary (stats().share)
function methods.set(self, key, value, ttl)
  if not istype(Dictionary, self) then no_self "set(key, value)" end
  if type(key) ~= "string" then key = text_key("set", key) end
  if not storable(value) then no_value("set", "value", value) end
  return put(self, key, value, ttl == nil and 0 or seconds("set", ttl), SET)
end

--- Stores a value if the key has none.
---@param key string
---@param value string|number|boolean
---@param ttl? number|string
---@return true?
---@return "exists"|"too large"|nil error
function methods.add(self, key, value, ttl)
  if not istype(Dictionary, self) then no_self "add(key, value)" end
  if type(key) ~= "string" then key = text_key("add", key) end
  if not storable(value) then no_value("add", "value", value) end
  return put(self, key, value, ttl == nil and 0 or seconds("add", ttl), ADD)
end

--- Stores a value if the key has one.
---@param key string
---@param value string|number|boolean
---@param ttl? number|string
---@return true?
---@return "not found"|"too large"|nil error
function methods.replace(self, key, value, ttl)
  if not istype(Dictionary, self) then no_self "replace(key, value)" end
  if type(key) ~= "string" then key = text_key("replace", key) end
  if not storable(value) then no_value("replace", "value", value) end
  return put(self, key, value, ttl == nil and 0 or seconds("replace", ttl), REPLACE)
end

--- Stores `value` if the key has `expected` now. nil is "no value", on both sides: cas(key, nil, v) adds, cas(key, v, nil) removes.
---@param key string
---@param expected string|number|boolean|nil
---@param value string|number|boolean|nil
---@param ttl? number|string
---@return true?
---@return "changed"|"too large"|nil error
function methods.cas(self, key, expected, value, ttl)
  if not istype(Dictionary, self) then no_self "cas(key, expected, value)" end
  if type(key) ~= "string" then key = text_key("cas", key) end
  local span = seconds("cas", ttl)
  if not fill(expected, before) then no_value("cas", "expected", expected) end
  if not fill(value, after) then no_value("cas", "value", value) end
  local status = C.gw_lua_dictionary_compare(self, key, #key, before, after, span)
  if status == 0 then return true end
  return nil, status == LIMIT and "too large" or "changed"
end

--- Replaces the value by what f makes of it, as if nobody else wrote meanwhile: f is called again where somebody did.
---@param key string
---@param f fun(value: string|number|boolean|nil): string|number|boolean|nil nil removes the key
---@param ttl? number|string
---@return string|number|boolean|nil value what f gave
---@return "too large"|"changed"|nil error "changed": others were faster a hundred times
function methods.update(self, key, f, ttl)
  if not istype(Dictionary, self) then no_self "update(key, f)" end
  if type(key) ~= "string" then key = text_key("update", key) end
  if type(f) ~= "function" then error("dictionary:update: f: expected a function, found " .. check.describe(f), 2) end
  local span = seconds("update", ttl)
  for _ = 1, UPDATES_MOST do
    local old = methods.get(self, key)
    local new = f(old)
    if not fill(new, after) then no_value("update", "what f gave", new) end
    fill(old, before)
    local status = C.gw_lua_dictionary_compare(self, key, #key, before, after, span)
    if status == 0 then return new end
    if status == LIMIT then return nil, "too large" end
  end
  return nil, "changed"
end

--- Adds n (1) to a number; exact, whichever workers do it at the same moment. Without `init`, a key that has no value is an error; with it,
--- the key begins at init + n, and ends after ttl. A key that is there keeps its end.
---@param key string
---@param n? number
---@param init? number
---@param ttl? number|string
---@return number? value the new one
---@return "not found"|"not a number"|"too large"|nil error
function methods.incr(self, key, n, init, ttl)
  if not istype(Dictionary, self) then no_self "incr(key, n)" end
  if type(key) ~= "string" then key = text_key("incr", key) end
  if n == nil then
    n = 1
  elseif type(n) ~= "number" or n ~= n then
    error("dictionary:incr: n: expected a number, found " .. check.describe(n), 2)
  end
  if init == nil then
    init = NAN
  elseif type(init) ~= "number" or init ~= init then
    error("dictionary:incr: init: expected a number, found " .. check.describe(init), 2)
  end
  local status = C.gw_lua_dictionary_incr(self, key, #key, n, init, ttl == nil and 0 or seconds("incr", ttl), out)
  if status == 0 then return out.number end
  return nil, status == NOTFOUND and "not found" or status == LIMIT and "too large" or "not a number"
end

--- Removes a key. Whether it was there.
---@param key string
---@return boolean
function methods.delete(self, key)
  if not istype(Dictionary, self) then no_self "delete(key)" end
  if type(key) ~= "string" then key = text_key("delete", key) end
  return C.gw_lua_dictionary_delete(self, key, #key) == 0
end

--- Lets a key end after ttl from now (without: never).
---@param key string
---@param ttl? number|string
---@return boolean found
function methods.expire(self, key, ttl)
  if not istype(Dictionary, self) then no_self "expire(key, ttl)" end
  if type(key) ~= "string" then key = text_key("expire", key) end
  return C.gw_lua_dictionary_expire(self, key, #key, seconds("expire", ttl)) == 0
end

--- Takes a key as a lock, for ttl at most: whoever holds it may die. nil: somebody has it.
---@param key string
---@param ttl number|string
---@return number? token for unlock
function methods.lock(self, key, ttl)
  if not istype(Dictionary, self) then no_self "lock(key, ttl)" end
  if type(key) ~= "string" then key = text_key("lock", key) end
  local span = seconds("lock", ttl)
  if span == 0 then error("dictionary:lock: ttl: expected " .. units.duration_expected .. ", found nothing", 2) end
  local token = C.gw_lua_dictionary_token()
  return put(self, key, token, span, ADD) and token or nil
end

--- Gives a lock back. Whether it was still held under that token.
---@param key string
---@param token number what lock() gave
---@return boolean
function methods.unlock(self, key, token)
  if not istype(Dictionary, self) then no_self "unlock(key, token)" end
  if type(token) ~= "number" then error("dictionary:unlock: token: expected what lock() gave, found " .. check.describe(token), 2) end
  return methods.cas(self, key, token, nil) == true
end

--- Removes everything.
function methods.clear(self)
  if not istype(Dictionary, self) then no_self "clear()" end
  C.gw_lua_dictionary_clear(self)
end

local numbers = ffi.new "gw_lua_dictionary_stats"
local names = { "entries", "bytes", "capacity", "share", "hits", "misses", "evicted", "expired", "refused" }

--- Keys that are held; those that have ended, but that nothing has come across since, included.
---@return integer
function methods.count(self)
  if not istype(Dictionary, self) then no_self "count()" end
  C.gw_lua_dictionary_stats_read(self, numbers)
  return numbers.entries
end

---@class gateway.SharedStats
---@field entries integer keys
---@field bytes integer that they take of `capacity`
---@field capacity integer
---@field share integer the most that one entry may take: key, value and 44 bytes
---@field hits integer since it was made
---@field misses integer
---@field evicted integer entries that made room for others
---@field expired integer entries that had ended when they were met
---@field refused integer values that were too large

--- How full it is, and what became of entries.
---@return gateway.SharedStats
function methods.stats(self)
  if not istype(Dictionary, self) then no_self "stats()" end
  C.gw_lua_dictionary_stats_read(self, numbers)
  local told = {}
  for _, name in ipairs(names) do told[name] = numbers[name] end
  return told
end

-- ---- making one ----

local fields = { size = { type = "size", min = 2 ^ 16, max = 2 ^ 36 } }
local DEFAULT = 10 * 2 ^ 20

--- A dictionary that all workers share, and that outlives reloads; known by its name. To be called while the script loads; later, it gives
--- those that the script has named.
---@param name string letters, digits, '_', '-', '.'
---@param options? { size?: integer|string, clock?: table|function } size: of all its memory ("10MB"); changed, entries are taken over
---@return gateway.Shared
function dictionary.shared(name, options)
  local state = spec.state
  local known = state.dictionaries
  if not known then
    known = {}
    state.dictionaries = known
  end
  local there = known[name]
  if there and (options == nil or not state.loading) then return there end
  if not shared.name_good(name) then
    error(("%s: gateway.shared: expected a name of letters, digits, '_', '-' and '.', at most 100, found %s"):format(spec.where(),
      check.describe(name)), 0)
  end
  if not state.loading and shared.holder then
    error(("%s: gateway.shared %q: the script names no such dictionary while it loads%s"):format(spec.where(), name,
      next(known) and "; " .. check.unknown("dictionary", name, known) or ""), 0)
  end
  local good, source, now = primitives.options("shared", options or {}, fields)
  if there and not now and not shared.holder then return there end
  good.name = name
  local made = primitives.make(Dictionary, "shared", good, { kind = "dictionary", bytes = good.size or DEFAULT }, source, now)
  if not now then known[name] = made end
  return made
end

return dictionary
