-- What outlives generations: who finds what, what a change of settings keeps, and what it says when it cannot. On a clock of its own.

local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("gateway/shared.h")

local SECOND = 1000000000LL
local serial = 0

local function config(t)
  local c = ffi.new("gw_shared_config")
  c.kind = C.gw_shared_kind_of(t.kind)
  for key, value in pairs(t) do
    if key == "by" then
      c.by = cdef.slice(value)
    elseif key == "failures" or key == "open_for" then
      c.breaker[key] = value
    elseif key ~= "kind" then
      c[key] = value
    end
  end
  return c
end

local status, message = ffi.new("int[1]"), ffi.new("char[512]")

-- A load: opens what it is told, as a generation does.
local function open(name, t)
  local c = config(t)
  local s = C.gw_shared_open(cdef.slice "limit", cdef.slice(name), c, status)
  if s == nil then return nil, status[0] end
  return s, c
end

local function apply(s, c, now)
  C.gw_shared_apply(s, c, now or 0, message, ffi.sizeof(message))
  return ffi.string(message)
end

local function fresh_name()
  serial = serial + 1
  return "spec" .. serial
end

-- What is used up, by kind: takes one, and says whether it was there.
local takes = {
  token_bucket = function(s, now) return C.gw_token_bucket_allow(s.bucket, 1, now) == 0 end,
  client_limiter = function(s, now) return C.gw_client_limiter_allow(s.clients, "k", 1, 1, now) == 0 end,
  sliding_window = function(s, now) return C.gw_sliding_window_allow(s.window, 1, now) == 0 end,
  keyed_window = function(s, now) return C.gw_keyed_window_allow(s.keyed_window, "k", 1, 1, now) == 0 end,
  concurrency = function(s) return C.gw_concurrency_enter(s.concurrency) >= 0 end,
  keyed_concurrency = function(s) return C.gw_keyed_concurrency_enter(s.keyed_concurrency, "k", 1) >= 0 end,
}

local function taken(s, kind, most)
  local n = 0
  while n < most and takes[kind](s, 5 * SECOND) do n = n + 1 end
  return n
end

-- settings, new settings; how many of the first are used; how many are left under the second; same object?; what is said
for _, case in ipairs {
  { "token_bucket", "the same", { rate = 0.001, burst = 5 }, {}, 3, 2, true },
  { "token_bucket", "a larger burst", { rate = 0.001, burst = 5 }, { burst = 8 }, 5, 3, true },
  { "token_bucket", "a smaller burst", { rate = 0.001, burst = 5 }, { burst = 2 }, 5, 0, true },
  { "client_limiter", "the same", { rate = 0.001, burst = 5, keys = 10 }, {}, 3, 2, true },
  { "client_limiter", "a larger burst", { rate = 0.001, burst = 5, keys = 10 }, { burst = 7 }, 5, 2, true },
  { "client_limiter", "another table", { rate = 0.001, burst = 5, keys = 10 }, { keys = 20 }, 4, 1, false },
  { "client_limiter", "keyed by something else", { rate = 0.001, burst = 5, keys = 10, by = "ip" }, { by = "path" }, 4, 5, false,
    "what it counts by changed" },
  { "sliding_window", "the same", { limit = 5, window = 60 }, {}, 3, 2, true },
  { "sliding_window", "a larger limit", { limit = 5, window = 60 }, { limit = 7 }, 5, 2, true },
  { "sliding_window", "a limit beyond its counters", { limit = 5, window = 60 }, { limit = 100000 }, 5, 99995, false },
  { "keyed_window", "the same", { limit = 5, window = 60, keys = 10 }, {}, 3, 2, true },
  { "keyed_window", "a larger limit", { limit = 5, window = 60, keys = 10 }, { limit = 6 }, 5, 1, true },
  { "keyed_window", "another table", { limit = 5, window = 60, keys = 10 }, { keys = 20 }, 3, 2, false },
  { "concurrency", "another cap", { limit = 3 }, { limit = 4 }, 3, 1, true },
  { "keyed_concurrency", "another cap", { limit = 3, keys = 10 }, { limit = 4 }, 3, 1, true },
  { "keyed_concurrency", "a smaller table", { limit = 3, keys = 10 }, { keys = 5 }, 2, 1, true },
  { "keyed_concurrency", "a larger table", { limit = 3, keys = 10 }, { keys = 20 }, 2, 1, false },
  { "keyed_concurrency", "a larger table, a smaller cap", { limit = 3, keys = 10 }, { keys = 20, limit = 1 }, 2, 0, false },
  { "keyed_concurrency", "keyed by something else", { limit = 3, keys = 10, by = "ip" }, { by = "path" }, 3, 3, false,
    "what it counts by changed" },
} do
  local kind, what, first, change, used, left, same, said = unpack(case, 1, 8)
  it(("%s, reloaded with %s"):format(kind, what), function()
    local name = fresh_name()
    first.kind = kind
    local second = {}
    for key, value in pairs(first) do second[key] = value end
    for key, value in pairs(change) do second[key] = value end
    local old, old_config = open(name, first)
    assert.equal("", apply(old, old_config, 5 * SECOND))
    assert.equal(used, taken(old, kind, used))
    local new, new_config = open(name, second)
    assert.equal(same, new == old)
    assert.equal(said and ('limit "%s" begins anew: %s'):format(name, said) or "", apply(new, new_config, 5 * SECOND))
    assert.equal(left, taken(new, kind, left + 5))
    C.gw_shared_release(old)
    C.gw_shared_release(new)
  end)
end

describe("a keyed concurrency limit that grows", function()
  local function grow(name, keys)
    local s, c = open(name, { kind = "keyed_concurrency", limit = 2, keys = keys })
    assert.equal("", apply(s, c))
    return s
  end
  local function enter(s, key) return C.gw_keyed_concurrency_enter(s.keyed_concurrency, key, #key) end
  local function in_flight(s, key) return C.gw_keyed_concurrency_in_flight(s.keyed_concurrency, key, #key) end

  it("counts who is in flight in older tables until they leave there, however many there are", function()
    local name, tables, places = fresh_name(), {}, {}
    for i = 1, 4 do
      tables[i] = grow(name, 10 * 3 ^ i)
      places[i] = enter(tables[i], "key " .. i)
      assert.is_true(places[i] >= 0)
    end
    local last = tables[4]
    for i = 1, 4 do
      assert.equal(1, in_flight(last, "key " .. i))
      assert.is_true(enter(last, "key " .. i) >= 0)
      assert.equal(-6, enter(last, "key " .. i))
      C.gw_keyed_concurrency_leave(tables[i].keyed_concurrency, places[i])
      assert.equal(1, in_flight(last, "key " .. i))
      assert.is_true(enter(last, "key " .. i) >= 0)
    end
    for i = 1, 3 do C.gw_shared_release(tables[i]) end -- the last one keeps what it looks at
    assert.equal(2, in_flight(last, "key 1"))
    local again = grow(name, 10 * 3 ^ 4)
    assert.equal(last, again)
    assert.is_true(last.keyed_concurrency.older == nil) -- nobody is left there
    C.gw_shared_release(again)
    C.gw_shared_release(last)
  end)

  it("grows by twice at least, so that there are few tables", function()
    local name, tables, different = fresh_name(), {}, {}
    for i = 1, 100 do
      tables[i] = grow(name, 100 + i)
      enter(tables[i], "key " .. i)
      different[tonumber(ffi.cast("uintptr_t", tables[i]))] = true
    end
    local count = 0
    for _ in pairs(different) do count = count + 1 end
    assert.equal(2, count)
    for i = 1, 100 do C.gw_shared_release(tables[i]) end
  end)
end)

describe("breakers by key in another table", function()
  local function breakers(name, keys, failures)
    local s, c = open(name, { kind = "breakers", keys = keys, failures = failures or 2, open_for = 10 })
    return s, apply(s, c, 5 * SECOND)
  end
  local function of(s, key) return C.gw_breakers_of(s.breakers, key, #key, 5 * SECOND) end

  for _, case in ipairs { { "larger", 200 }, { "smaller", 20 } } do
    it(case[1] .. ": what is open stays open, what is half-open may be probed, failures stay counted", function()
      local name = fresh_name()
      local old = breakers(name, 100)
      for i = 1, 60 do C.gw_breaker_success(of(old, "good " .. i), -2, 5 * SECOND) end
      for i = 1, 10 do
        for _ = 1, 2 do C.gw_breaker_failure(of(old, "open " .. i), -2, 5 * SECOND) end
      end
      C.gw_breaker_failure(of(old, "once"), -2, 5 * SECOND)
      for _ = 1, 2 do C.gw_breaker_failure(of(old, "half"), -2, -5 * SECOND) end
      assert.is_true(C.gw_breaker_allow(of(old, "half"), 20 * SECOND) >= 0)
      local new, said = breakers(name, case[2])
      assert.equal("", said)
      assert.are_not.equal(old, new)
      for i = 1, 10 do assert.equal(1, C.gw_breaker_state(of(new, "open " .. i), 6 * SECOND)) end
      assert.equal(12, C.gw_breakers_count(new.breakers)) -- nothing is known of good ones
      assert.equal(0, C.gw_breaker_failure(of(new, "other"), -2, 5 * SECOND))
      assert.equal(1, C.gw_breaker_failure(of(new, "once"), -2, 5 * SECOND)) -- the second in a row
      local half = of(new, "half")
      assert.equal(2, C.gw_breaker_state(half, 20 * SECOND))
      local ticket = C.gw_breaker_allow(half, 20 * SECOND)
      assert.is_true(ticket >= 0)
      assert.equal(-1, C.gw_breaker_allow(half, 20 * SECOND))
      assert.equal(3, C.gw_breaker_success(half, ticket, 20 * SECOND))
      C.gw_shared_release(old)
      C.gw_shared_release(new)
    end)
  end

  it("too small for all that are open: it holds what it can", function()
    local name = fresh_name()
    local old = breakers(name, 100)
    for i = 1, 100 do
      for _ = 1, 2 do C.gw_breaker_failure(of(old, "open " .. i), -2, 5 * SECOND) end
    end
    local new = breakers(name, 10)
    assert.equal(10, C.gw_breakers_count(new.breakers))
    C.gw_shared_release(old)
    C.gw_shared_release(new)
  end)
end)

it("another kind begins anew, and is said to", function()
  local name = fresh_name()
  local old, a = open(name, { kind = "token_bucket", rate = 1, burst = 1 })
  apply(old, a)
  local new, b = open(name, { kind = "sliding_window", limit = 1, window = 1 })
  assert.equal(('limit "%s" begins anew: it is of another kind now'):format(name), apply(new, b))
  C.gw_shared_release(old)
  C.gw_shared_release(new)
end)

describe("a dictionary", function()
  local kind, len, number = ffi.new("int[1]"), ffi.new("size_t[1]"), ffi.new("double[1]")

  local function count(s)
    local init = ffi.new("double[1]", 0)
    assert.equal(0, C.gw_dictionary_incr(s.dictionary, cdef.slice "count", 1, init, 0x7fffffffffffffffLL, 0, number))
    return number[0]
  end

  for _, case in ipairs { { "the same size", 2 ^ 20, true }, { "more room", 2 ^ 24, false }, { "less room", 2 ^ 16, false } } do
    local what, bytes, same = unpack(case)
    it("reloaded with " .. what .. " keeps what is in it", function()
      local name = fresh_name()
      local old, a = open(name, { kind = "dictionary", bytes = 2 ^ 20 })
      apply(old, a)
      assert.equal(1, count(old))
      local new, b = open(name, { kind = "dictionary", bytes = bytes })
      assert.equal(same, new == old)
      assert.equal("", apply(new, b))
      assert.equal(2, count(new))
      assert.equal(0, C.gw_dictionary_get(new.dictionary, cdef.slice "count", 0, nil, 0, kind, len, number))
      C.gw_shared_release(old)
      C.gw_shared_release(new)
    end)
  end
  it("of a size that cannot be is refused", function()
    for _, bytes in ipairs { 0, 1000, 2 ^ 40 } do
      assert.is_nil((open(fresh_name(), { kind = "dictionary", bytes = bytes })))
      assert.equal(C.GW_INVALID, status[0])
    end
  end)
end)

describe("a load", function()
  it("that is refused changes nothing", function()
    local name = fresh_name()
    local old, a = open(name, { kind = "token_bucket", rate = 0.001, burst = 5 })
    apply(old, a)
    assert.equal(3, taken(old, "token_bucket", 3))
    local refused = open(name, { kind = "token_bucket", rate = 1000, burst = 1000 })
    assert.equal(old, refused)
    C.gw_shared_release(refused)
    local other = open(name, { kind = "sliding_window", limit = 1, window = 1 })
    C.gw_shared_release(other)
    assert.equal(2, taken(old, "token_bucket", 9))
    local again = open(name, { kind = "token_bucket", rate = 0.001, burst = 5 })
    assert.equal(old, again)
    C.gw_shared_release(old)
    C.gw_shared_release(again)
  end)
  it("finds what its other states have made", function()
    local name = fresh_name()
    local t = { kind = "client_limiter", rate = 1, burst = 2, keys = 10, by = "ip" }
    local one, two = open(name, t), open(name, t)
    assert.equal(one, two)
    t.keys = 20
    local three = open(name, t)
    assert.are_not.equal(one, three)
    for _, s in ipairs { one, two, three } do C.gw_shared_release(s) end
  end)
  it("does not find one that an old generation still uses, once another serves", function()
    local name = fresh_name()
    local small = { kind = "client_limiter", rate = 0.001, burst = 5, keys = 10 }
    local large = { kind = "client_limiter", rate = 0.001, burst = 5, keys = 20 }
    local first, a = open(name, small)
    apply(first, a, 5 * SECOND)
    taken(first, "client_limiter", 1)
    local second, b = open(name, large)
    apply(second, b, 5 * SECOND)
    assert.equal(3, taken(second, "client_limiter", 3))
    local third, c = open(name, small)
    assert.are_not.equal(first, third)
    apply(third, c, 5 * SECOND)
    assert.equal(1, taken(third, "client_limiter", 9))
    for _, s in ipairs { first, second, third } do C.gw_shared_release(s) end
  end)
  it("of what nobody names any more begins anew", function()
    local name = fresh_name()
    local t = { kind = "token_bucket", rate = 0.001, burst = 2 }
    local s, c = open(name, t)
    apply(s, c)
    assert.equal(2, taken(s, "token_bucket", 9))
    C.gw_shared_release(s)
    s = open(name, t)
    assert.equal(2, taken(s, "token_bucket", 9))
    C.gw_shared_release(s)
  end)
  it("keeps breakers and endpoints", function()
    local name, other = fresh_name(), fresh_name()
    local old, a = open(name, { kind = "breaker", failures = 1, open_for = 100 })
    apply(old, a)
    C.gw_breaker_failure(old.breaker, -2, 5 * SECOND)
    local new, b = open(name, { kind = "breaker", failures = 7, open_for = 100 })
    assert.equal(old, new)
    assert.equal("", apply(new, b))
    assert.equal(1, C.gw_breaker_state(new.breaker, 6 * SECOND))
    local roster, c = open(other, { kind = "endpoints" })
    apply(roster, c)
    local entry = C.gw_roster_take(roster.roster, cdef.slice "a")
    assert.equal(entry, C.gw_roster_take(roster.roster, cdef.slice "a"))
    C.gw_roster_give(roster.roster, entry)
    C.gw_roster_give(roster.roster, entry)
    for _, s in ipairs { old, new, roster } do C.gw_shared_release(s) end
  end)
end)

for _, case in ipairs {
  { kind = "token_bucket", rate = 0, burst = 1 }, { kind = "token_bucket", rate = 1e-9, burst = 1e9 },
  { kind = "client_limiter", rate = 1, burst = 1, keys = 0 }, { kind = "client_limiter", rate = 1, burst = 1, keys = 5, idle = -1 },
  { kind = "sliding_window", limit = 0, window = 1 }, { kind = "sliding_window", limit = 1, window = 0 },
  { kind = "keyed_window", limit = 2000000, window = 1, keys = 5 }, { kind = "concurrency", limit = 0 },
  { kind = "keyed_concurrency", limit = 70000, keys = 5 }, { kind = "breaker", failures = 5000 }, { kind = "nothing" },
} do
  it(("settings of a %s that make no sense are refused"):format(case.kind), function()
    local s, why = open(fresh_name(), case)
    assert.is_nil(s)
    assert.equal(C.GW_INVALID, why)
  end)
end
