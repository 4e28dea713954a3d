--- Balancer tables and picks for specs and benches: slots by plain tables, picks by slot number.
--
--     local b = balancers.new("weighted", { { weight = 5 }, { weight = 1 }, { weight = 1 } }, { seed = 0 })
--     b:pick()                                  0
--     b:pick { excluded = { 0, 70 }, key = 5ULL, random = 7ULL, now = 0 }
--     b:done(0, { ok = true, latency = 1000 })
--     b:in_flight(0)
--
-- A slot: name (default "endpoint-I"), weight (1), group (0). Settings: those of gw_balancer_config, and `seed`; `state` and `loads`
-- (an array of another one) make a table over states that are there, as a reload does.

local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load "policy/balancer.h"

local balancers = { C = C }
local methods = {}
methods.__index = methods

local LOAD, STATE, QUERY = ffi.typeof("gw_load[1]"), ffi.typeof("gw_balancer_state[1]"), ffi.typeof("gw_balancer_query[1]")

--- The config for an algorithm with settings.
function balancers.config(name, settings)
  local config = ffi.new("gw_balancer_config[1]")
  assert(C.gw_balancer_config_init(config, name) == 0, name)
  for key, value in pairs(settings or {}) do
    if key ~= "seed" and key ~= "state" and key ~= "loads" then config[0][key] = value end
  end
  return config
end

--- The table, or nil and the status.
function balancers.try(name, slots, settings)
  settings = settings or {}
  local self = setmetatable({ anchors = {}, loads = {}, count = #slots, names = {} }, methods)
  self.config = balancers.config(name, settings)
  local array = ffi.new("gw_balancer_slot[?]", math.max(#slots, 1))
  for i, slot in ipairs(slots) do
    local text = slot.name or ("endpoint-" .. (i - 1))
    local bytes = cdef.slice(text)
    self.names[i - 1] = text
    self.anchors[i] = bytes
    array[i - 1].name = bytes
    self.loads[i] = settings.loads and settings.loads[i] or LOAD()
    if slot.load ~= false then array[i - 1].load = self.loads[i] end
    array[i - 1].weight, array[i - 1].group = slot.weight or 1, slot.group or 0
  end
  local out = ffi.new("gw_balancer_table *[1]")
  local status = C.gw_balancer_table_new(self.config, array, #slots, out)
  self.anchors = nil -- names are borrowed for the call only: who reads them later is seen
  if status ~= 0 then
    assert(out[0] == nil)
    return nil, status
  end
  self.table = ffi.gc(out[0], C.gw_balancer_table_free)
  self.state = settings.state
  if not self.state then
    self.state = STATE()
    C.gw_balancer_state_init(self.state, settings.seed or 0)
  end
  self.query = QUERY()
  return self
end

function balancers.new(name, slots, settings)
  local self, status = balancers.try(name, slots, settings)
  if not self then error(("%s: status %d"):format(name, status), 2) end
  return self
end

local function mask(self, field, slots)
  local words = ffi.new("uint64_t[?]", math.ceil(math.max(self.count, 1) / 64))
  for _, slot in ipairs(slots or {}) do
    words[math.floor(slot / 64)] = bit.bor(words[math.floor(slot / 64)], bit.lshift(1ULL, slot % 64))
  end
  local m = self.query[0][field]
  m.word, m.more, m.words = words[0], words + 1, math.ceil(math.max(self.count, 1) / 64) - 1
  return words
end

function methods:pick(query)
  query = query or {}
  local q = self.query[0]
  local keep = { mask(self, "excluded", query.excluded), mask(self, "tried", query.tried) }
  if not query.excluded and not query.tried then ffi.fill(self.query, ffi.sizeof(self.query)) end
  q.key, q.random, q.now = query.key or 0, query.random or 0, query.now or 0
  local slot = C.gw_balancer_pick(self.table, self.state, self.query)
  assert(keep)
  return slot
end

--- As pick, and the request is over at once.
function methods:choose(query)
  local slot = self:pick(query)
  if slot >= 0 then self:done(slot) end
  return slot
end

function methods:done(slot, result)
  result = result or {}
  C.gw_balancer_done(self.config, self.state, self.loads[slot + 1], result.now or 0, result.ok ~= false, result.latency or -1)
end

function methods:in_flight(slot)
  return self.loads[slot + 1][0].in_flight
end

--- 64-bit pseudo-random numbers (splitmix64), alike in every run.
function balancers.random(seed)
  local x = seed + 0ULL
  return function()
    x = x + 0x9e3779b97f4a7c15ULL
    local z = x
    z = bit.bxor(z, bit.rshift(z, 30)) * 0xbf58476d1ce4e5b9ULL
    z = bit.bxor(z, bit.rshift(z, 27)) * 0x94d049bb133111ebULL
    return bit.bxor(z, bit.rshift(z, 31))
  end
end

--- fmix64, as gw_mix64.
function balancers.mix(h)
  h = bit.bxor(h, bit.rshift(h, 33)) * 0xff51afd7ed558ccdULL
  h = bit.bxor(h, bit.rshift(h, 33)) * 0xc4ceb9fe1a85ec53ULL
  return bit.bxor(h, bit.rshift(h, 33))
end

return balancers
