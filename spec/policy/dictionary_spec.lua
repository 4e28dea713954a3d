--- The dictionary against a plain table: what is there, for how long, and what it does when it is full. On a clock of its own.

local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("policy/dictionary.h", "policy/pages.h")

local SECOND = 1000000000LL
local FOR_EVER = 0x7fffffffffffffffLL
local STRING, NUMBER, FALSE, TRUE = 1, 2, 3, 4
local OK, LIMIT, INVALID, REFUSED, NOTFOUND = C.GW_OK, C.GW_LIMIT, C.GW_INVALID, C.GW_REFUSED, C.GW_NOTFOUND

local kind, len, number = ffi.new("int[1]"), ffi.new("size_t[1]"), ffi.new("double[1]")
local room = ffi.new("char[?]", 4 * 2 ^ 20)

local function new(bytes)
  local d = C.gw_dictionary_new(bytes)
  assert.is_true(d ~= nil)
  return ffi.gc(d, C.gw_dictionary_free)
end

-- A gw_value, and what keeps its bytes.
local function value(v)
  local out = ffi.new "gw_value"
  if type(v) == "string" then
    local text = cdef.slice(v)
    out.type, out.text = STRING, text
    return out, text
  elseif type(v) == "number" then
    out.type, out.number = NUMBER, v
  elseif v ~= nil then
    out.type = v and TRUE or FALSE
  end
  return out
end

local function get(d, key, now)
  local status = C.gw_dictionary_get(d, cdef.slice(key), now or 0, room, ffi.sizeof(room), kind, len, number)
  if status == NOTFOUND then return nil end
  assert.equal(OK, status)
  if kind[0] == STRING then return ffi.string(room, len[0]) end
  if kind[0] == NUMBER then return number[0] end
  return kind[0] == TRUE
end

local function put(d, mode, key, v, expires, now, expected)
  local stored, keep = value(v)
  local wanted, keep_too = value(expected)
  local status = C.gw_dictionary_put(d, cdef.slice(key), stored, expires or FOR_EVER, mode, wanted, now or 0)
  return status, keep, keep_too
end

local function set(d, key, v, expires, now) return (put(d, C.GW_DICTIONARY_SET, key, v, expires, now)) end

local function stats(d)
  local s = ffi.new "gw_dictionary_stats"
  C.gw_dictionary_read_stats(d, s)
  local out = {}
  for _, name in ipairs { "entries", "bytes", "capacity", "share", "hits", "misses", "evicted", "expired", "refused" } do
    out[name] = tonumber(s[name])
  end
  return out
end

describe("values", function()
  local d = new(2 ^ 20)
  local all = ""
  for i = 0, 255 do all = all .. string.char(i) end
  for name, v in pairs {
    empty = "", ["a NUL"] = "\0", ["every byte"] = all, zero = 0, ["not a number"] = 0 / 0, infinity = -math.huge,
    ["true"] = true, ["false"] = false,
  } do
    it("come back as they went in: " .. name, function()
      assert.equal(OK, set(d, name, v))
      local back = get(d, name)
      if v ~= v then assert.is_true(back ~= back) else assert.equal(v, back) end
    end)
  end
  -- around every place where a chain of pieces gains one, in units and in pages
  it("of every length around the ends of pieces", function()
    for _, base in ipairs { 0, 84, 84 + 124, 84 + 2 * 124, 2048, 4052, 4052 + 84, 4052 + 4092, 3 * 4092, 50000 } do
      for length = math.max(0, base - 9), base + 9 do
        local text = ("0123456789abcdef"):rep(math.ceil(length / 16)):sub(1, length)
        assert.equal(OK, set(d, "k" .. length, text))
        assert.equal(text, get(d, "k" .. length))
        assert.equal(OK, set(d, "same", text))
        assert.equal(text, get(d, "same"))
      end
    end
  end)
  it("under keys of any bytes and length", function()
    for _, key in ipairs { "", "\0", "\0\0", ("k"):rep(65535), ("k"):rep(65534) .. "j", ("k"):rep(100) } do
      assert.equal(OK, set(d, key, #key))
      assert.equal(#key, get(d, key))
    end
    assert.equal(LIMIT, set(d, ("k"):rep(65536), 1))
    assert.is_nil(get(d, ("k"):rep(65536)))
  end)
  it("larger than the reader's room are told by their length", function()
    set(d, "long", ("x"):rep(1000))
    assert.equal(LIMIT, C.gw_dictionary_get(d, cdef.slice "long", 0, room, 999, kind, len, number))
    assert.equal(1000, tonumber(len[0]))
    assert.equal(OK, C.gw_dictionary_get(d, cdef.slice "long", 0, room, 1000, kind, len, number))
  end)
end)

describe("time", function()
  it("ends an entry at its end, not before", function()
    local d = new(2 ^ 16)
    set(d, "k", 1, 5 * SECOND, 0)
    assert.equal(1, get(d, "k", 5 * SECOND - 1))
    assert.is_nil(get(d, "k", 5 * SECOND))
    assert.equal(0, stats(d).entries)
    assert.equal(1, stats(d).expired)
    assert.is_nil(get(d, "k", 0)) -- it is gone, even if the clock goes back
  end)
  it("can be asked and set", function()
    local d, ends = new(2 ^ 16), ffi.new "int64_t[1]"
    set(d, "k", 1)
    assert.equal(OK, C.gw_dictionary_ends(d, cdef.slice "k", 0, ends))
    assert.is_true(ends[0] == FOR_EVER)
    assert.equal(OK, C.gw_dictionary_expire(d, cdef.slice "k", 7, 0))
    assert.equal(OK, C.gw_dictionary_ends(d, cdef.slice "k", 6, ends))
    assert.is_true(ends[0] == 7)
    assert.equal(NOTFOUND, C.gw_dictionary_ends(d, cdef.slice "k", 7, ends))
    assert.equal(NOTFOUND, C.gw_dictionary_expire(d, cdef.slice "k", 9, 7))
  end)
  it("gives back what ended, while others are written", function()
    local d = new(2 ^ 16)
    for i = 1, 200 do set(d, "old" .. i, i, SECOND, 0) end
    for i = 1, 600 do set(d, "new", i, FOR_EVER, 2 * SECOND) end
    assert.equal(1, stats(d).entries)
    assert.equal(200, stats(d).expired)
    assert.equal(0, stats(d).evicted)
  end)
end)

describe("a full one", function()
  it("lets go of what is used least, and says so", function()
    local d = new(2 ^ 16)
    set(d, "kept", "here")
    for i = 1, 20000 do
      assert.equal(OK, set(d, "k" .. i, i))
      if i % 100 == 0 then assert.equal("here", get(d, "kept")) end
    end
    local s = stats(d)
    assert.equal(s.capacity, s.bytes)
    assert.equal(20001, s.entries + s.evicted)
    assert.is_nil(get(d, "k1"))
    assert.equal(20000, get(d, "k20000"))
  end)
  it("refuses what is larger than a share, and keeps what was there", function()
    local d = new(2 ^ 16)
    local most = stats(d).share - 44 - 1
    set(d, "k", "old")
    assert.equal(LIMIT, set(d, "k", ("x"):rep(most + 1)))
    assert.equal("old", get(d, "k"))
    assert.equal(1, stats(d).refused)
    local text = ("x"):rep(most)
    assert.equal(OK, set(d, "k", text))
    assert.equal(text, get(d, "k"))
    assert.equal(1, stats(d).entries)
  end)
  it("makes room for one large value out of many small ones, wherever they lie", function()
    local d = new(2 ^ 18)
    for i = 1, 10000 do set(d, "k" .. i, i) end
    local text = ("large"):rep(20000)
    assert.equal(OK, set(d, "large", text))
    assert.equal(text, get(d, "large"))
    assert.is_true(stats(d).entries > 800)
  end)
  it("takes no more memory than it was given", function()
    for _, bytes in ipairs { 2 ^ 16, 2 ^ 16 + 1, 2 ^ 20, 3 * 2 ^ 20 + 5, 10 * 2 ^ 20, 100 * 2 ^ 20 } do
      local s = stats(new(bytes))
      assert.is_true(s.capacity <= bytes)
      assert.message(bytes).is_true(s.capacity > bytes * 0.92)
    end
    for _, bytes in ipairs { 0, 2 ^ 16 - 1, 2 ^ 37 } do assert.is_true(C.gw_dictionary_new(bytes) == nil) end
  end)
end)

-- Against a table that knows everything: any operations in any order, in a dictionary where all finds room.
local function model(seed, bytes, most, rounds)
  math.randomseed(seed)
  local d, there, now = new(bytes), {}, 0
  local function random_value()
    local what = math.random(6)
    if what == 1 then return math.random(1000) end
    if what == 2 then return math.random(2) == 1 end
    return string.char(math.random(0, 255)):rep(math.random(0, math.random(2) == 1 and 200 or most))
  end
  for round = 1, rounds do
    now = now + math.random(0, 3)
    local key = "k" .. math.random(60)
    if there[key] and now >= there[key].ends then there[key] = nil end
    local old = there[key]
    local ends = math.random(3) == 1 and 1e15 or now + math.random(0, 200)
    local expires = ends == 1e15 and FOR_EVER or ffi.cast("int64_t", ends)
    local what = math.random(8)
    local v = random_value()
    local function stored() there[key] = { v = v, ends = ends } end
    if what == 1 then
      assert.equal(OK, set(d, key, v, expires, now))
      stored()
    elseif what == 2 then
      assert.equal(old and REFUSED or OK, (put(d, C.GW_DICTIONARY_ADD, key, v, expires, now)))
      if not old then stored() end
    elseif what == 3 then
      assert.equal(old and OK or NOTFOUND, (put(d, C.GW_DICTIONARY_REPLACE, key, v, expires, now)))
      if old then stored() end
    elseif what == 4 then
      local expected = v
      if math.random(2) == 1 then expected = old and old.v end
      local same = (old and old.v) == expected
      if math.random(4) == 1 then v = nil end
      assert.equal(same and OK or REFUSED, (put(d, C.GW_DICTIONARY_COMPARE, key, v, expires, now, expected)))
      if same then
        if v == nil then there[key] = nil else stored() end
      end
    elseif what == 5 then
      local init = math.random(2) == 1 and ffi.new("double[1]", 5) or nil
      local status = C.gw_dictionary_incr(d, cdef.slice(key), 3, init, expires, now, number)
      if old and type(old.v) == "number" then
        assert.equal(OK, status)
        old.v = old.v + 3
        assert.equal(old.v, number[0])
      elseif old then
        assert.equal(INVALID, status)
      elseif init then
        assert.equal(OK, status)
        v = 8
        stored()
      else
        assert.equal(NOTFOUND, status)
      end
    elseif what == 6 then
      assert.equal(old and OK or NOTFOUND, C.gw_dictionary_delete(d, cdef.slice(key), now))
      there[key] = nil
    elseif what == 7 then
      assert.equal(old and OK or NOTFOUND, C.gw_dictionary_expire(d, cdef.slice(key), expires, now))
      if old then old.ends = ends end
    end
    if there[key] and now >= there[key].ends then there[key] = nil end
    assert.message("round " .. round).equal(there[key] and there[key].v, get(d, key, now))
  end
  assert.equal(0, stats(d).evicted)
  for i = 1, 60 do
    local key = "k" .. i
    local e = there[key]
    if e and now >= e.ends then e = nil end
    assert.equal(e and e.v, get(d, key, now))
    C.gw_dictionary_delete(d, cdef.slice(key), now)
  end
  local s = stats(d)
  assert.equal(0, s.entries)
  assert.equal(0, s.bytes) -- every piece came back
end

describe("against a table that knows everything", function()
  for seed = 1, 6 do
    it(("seed %d"):format(seed), function() model(seed, seed % 2 == 0 and 2 ^ 20 or 8 * 2 ^ 20, seed % 2 == 0 and 300 or 9000, 1500) end)
  end
end)

describe("another size", function()
  it("takes over what is there, and keeps what it has itself", function()
    local from, to = new(2 ^ 20), new(4 * 2 ^ 20)
    set(from, "text", ("t"):rep(9000))
    set(from, "number", 7, 10 * SECOND, 0)
    set(from, "ended", 7, SECOND, 0)
    set(from, "both", "old")
    set(to, "both", "new")
    assert.is_true(C.gw_dictionary_adopt(to, from, 2 * SECOND))
    assert.equal(("t"):rep(9000), get(to, "text", 2 * SECOND))
    assert.equal(7, get(to, "number", 10 * SECOND - 1))
    assert.is_nil(get(to, "number", 10 * SECOND))
    assert.is_nil(get(to, "ended", 2 * SECOND))
    assert.equal("new", get(to, "both", 2 * SECOND))
    assert.equal(("t"):rep(9000), get(from, "text", 2 * SECOND))
  end)
  it("keeps the newest where not all find room", function()
    local from, to = new(2 ^ 20), new(2 ^ 16)
    for i = 1, 4000 do set(from, "k" .. i, i) end
    C.gw_dictionary_adopt(to, from, 0)
    for i = 3900, 4000 do assert.equal(i, get(to, "k" .. i)) end
    assert.is_nil(get(to, "k1"))
  end)
end)

it("clearing empties it, and it fills again", function()
  local d = new(2 ^ 18)
  for _ = 1, 3 do
    for i = 1, 3000 do set(d, "k" .. i, ("v"):rep(i % 500)) end
    C.gw_dictionary_clear(d)
    assert.equal(0, stats(d).entries)
    assert.equal(0, stats(d).bytes)
    assert.is_nil(get(d, "k3000"))
  end
end)
