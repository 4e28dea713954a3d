local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("policy/client_limiter.h", "policy/token_bucket.h")

local SECOND = 1e9

local function limiter(rate, burst, idle, most)
  local l = C.gw_client_limiter_new(rate, burst, idle, most)
  assert.is_false(l == nil)
  return ffi.gc(l, C.gw_client_limiter_free)
end

local function allow(l, key, n, now) return C.gw_client_limiter_allow(l, key, #key, n, now * SECOND) end
local function left(l, key, now) return C.gw_client_limiter_left(l, key, #key, now * SECOND) end

-- Takes all that a client has.
local function exhaust(l, key, burst, now)
  assert.equal(0, allow(l, key, burst, now))
  assert.is_true(allow(l, key, 1, now) > 0)
end

describe("client limiter", function()
  it("costs at most 64 bytes a client", function()
    local few, many = tonumber(C.gw_client_limiter_bytes(1)), tonumber(C.gw_client_limiter_bytes(100001))
    assert.is_true((many - few) / 100000 <= 64)
    assert.equal(192, ffi.sizeof("gw_client_limiter"))
    assert.equal(16, ffi.sizeof("gw_key_slot"))
  end)

  for _, case in ipairs {
    { "no rate", 0, 1, 0, 10 }, { "no burst", 1, 0, 0, 10 }, { "an idle time below 0", 1, 1, -1, 10 },
    { "an idle time that is no number", 1, 1, 0 / 0, 10 }, { "no clients", 1, 1, 0, 0 }, { "too many clients", 1, 1, 0, 2 ^ 28 + 1 },
    { "a bucket that takes 50 years to fill", 1, 50 * 366 * 86400, 0, 10 },
  } do
    it("refuses " .. case[1], function()
      assert.is_true(C.gw_client_limiter_new(case[2], case[3], case[4], case[5]) == nil)
    end)
  end

  it("lives on memory of the caller's", function()
    local bytes = tonumber(C.gw_client_limiter_bytes(10))
    local l = ffi.cast("gw_client_limiter *", ffi.gc(ffi.C.gwt_malloc(bytes), ffi.C.gwt_free))
    ffi.fill(l, bytes)
    assert.equal(C.GW_OK, C.gw_client_limiter_init(l, 1, 1, 0, 10))
    exhaust(l, "a", 1, 0)
  end)

  it("keeps clients apart", function()
    local l = limiter(1, 2, 60, 100)
    exhaust(l, "a", 2, 10)
    exhaust(l, "b", 2, 10)
    assert.near(1, allow(l, "a", 1, 10), 1e-6)
    assert.equal(0, allow(l, "a", 1, 11))
    assert.near(1, left(l, "b", 11), 1e-6)
    assert.near(2, left(l, "c", 11), 1e-6)
  end)

  for _, key in ipairs { "", "\0", "\0\0", "x", ("k"):rep(7), ("k"):rep(8), ("k"):rep(5000), "2001:db8:1:2::/64" } do
    it(("takes a key of %d bytes"):format(#key), function()
      local l = limiter(1, 1, 0, 10)
      exhaust(l, key, 1, 5)
      assert.equal(0, allow(l, key .. "x", 1, 5))
      assert.equal(0, allow(l, key, 1, 6))
    end)
  end

  for _, case in ipairs { { "more than the burst", 3, math.huge }, { "below 0", -1, math.huge }, { "no number", 0 / 0, math.huge },
    { "0", 0, 0 } } do
    it("asked for tokens: " .. case[1] .. ", makes no entry", function()
      local l = limiter(1, 2, 60, 10)
      assert.equal(case[3], allow(l, "a", case[2], 0))
      assert.equal(0, l.table.held)
    end)
  end

  for _, most in ipairs { 1, 2, 10, 1000 } do
    it(("remembers as many as it may: %d"):format(most), function()
      local l = limiter(0.001, 5, 0, most)
      for i = 1, most do exhaust(l, "client " .. i, 5, 1) end
      for i = 1, most do assert.is_true(allow(l, "client " .. i, 1, 2) > 0) end
      assert.equal(most, l.table.held)
      assert.equal(most, C.gw_client_limiter_clients(l, 2 * SECOND))
    end)

    it(("holds no more than it may: %d"):format(most), function()
      local l = limiter(1, 1, 0, most)
      for i = 1, most * 5 + 100 do
        assert.equal(0, allow(l, "client " .. i, 1, 1))
        assert.is_true(l.table.held <= most)
      end
      assert.equal(most, l.table.held)
      assert.equal(most, C.gw_client_limiter_clients(l, 1 * SECOND))
    end)
  end

  it("keeps a client that is seen, whatever flood of new keys comes", function()
    local most = 500
    local l = limiter(0.001, 10, 0, most)
    exhaust(l, "busy", 10, 1)
    for i = 1, most * 40 do
      allow(l, "new " .. i, 1, 1)
      -- refused, and so not forgotten: once a hundred new keys
      if i % 100 == 0 then assert.message("after " .. i).is_true(allow(l, "busy", 1, 1) > 0) end
    end
  end)

  it("forgets, in a flood, who is not seen", function()
    local l = limiter(0.001, 10, 0, 100)
    exhaust(l, "gone", 10, 1)
    for i = 1, 5000 do allow(l, "new " .. i, 1, 1) end
    assert.equal(0, allow(l, "gone", 10, 1))
  end)

  it("lets those go first whose bucket is full again", function()
    local most = 200
    local l = limiter(1, 100, 0, most)
    for i = 1, most / 2 do exhaust(l, "held " .. i, 100, 0) end
    for i = 1, most / 2 do allow(l, "light " .. i, 1, 0) end
    -- 5 s later the light ones are full; half as many new ones come
    for i = 1, most / 2 do assert.equal(0, allow(l, "new " .. i, 100, 5)) end
    local kept = 0
    for i = 1, most / 2 do kept = kept + (allow(l, "held " .. i, 100, 5) > 0 and 1 or 0) end
    assert.is_true(kept >= most / 2 - 2, kept .. " kept") -- all but who stood in a full window
  end)

  for _, case in ipairs {
    { "when its bucket is full, without an idle time", 0, 4.9, 5.1 }, { "after its idle time", 60, 59.9, 60.1 },
    { "when its bucket is full, if the idle time is shorter", 1, 4.9, 5.1 },
  } do
    it("counts a client out " .. case[1], function()
      local l = limiter(1, 5, case[2], 10)
      exhaust(l, "a", 5, 100)
      assert.equal(1, C.gw_client_limiter_clients(l, (100 + case[3]) * SECOND))
      assert.equal(0, C.gw_client_limiter_clients(l, (100 + case[4]) * SECOND))
    end)
  end

  it("is not locked by a clock that is set back", function()
    local l = limiter(10, 2, 0, 10)
    exhaust(l, "a", 2, 1000)
    assert.near(0.1, allow(l, "a", 1, 500), 1e-6)
    assert.equal(0, allow(l, "a", 1, 500.1001))
  end)

  it("gives nothing away to a worker whose clock is a little behind", function()
    local l = limiter(10, 2, 0, 10)
    exhaust(l, "a", 2, 1000)
    assert.near(0.11, allow(l, "a", 1, 999.99), 1e-6)
    assert.near(0.1, allow(l, "a", 1, 1000), 1e-6)
  end)

  it("keeps used tokens used when its settings change", function()
    local l = limiter(1, 10, 0, 10)
    allow(l, "a", 4, 50)
    exhaust(l, "b", 10, 50)
    assert.equal(C.GW_OK, C.gw_client_limiter_change(l, 100, 20, 0, 50 * SECOND))
    assert.near(16, left(l, "a", 50), 1e-3)
    assert.near(10, left(l, "b", 50), 1e-3)
    assert.near(20, left(l, "c", 50), 1e-3)
    assert.near(0.05, allow(l, "b", 15, 50), 1e-4)
    assert.equal(C.GW_INVALID, C.gw_client_limiter_change(l, 0, 20, 0, 50 * SECOND))
    assert.near(16, left(l, "a", 50), 1e-3)
  end)

  for _, most in ipairs { 50, 2000 } do
    it(("hands its clients on to one of another size: %d"):format(most), function()
      local old, new = limiter(1, 10, 0, 1000), limiter(2, 20, 0, most)
      for i = 1, 40 do exhaust(old, "client " .. i, 10, 50) end
      allow(old, "idle", 1, 10)
      C.gw_client_limiter_adopt(new, old, 50 * SECOND)
      for i = 1, 40 do assert.near(10, left(new, "client " .. i, 50), 1e-3) end
      assert.equal(40, new.table.held)
    end)
  end

  -- Against a token bucket for each key: equal as long as nobody is evicted, and rates are whole units of 64 ns.
  for seed = 1, 10 do
    it("does what a bucket for each key does, sequence " .. seed, function()
      math.randomseed(seed)
      local burst = math.random(1, 10)
      local period
      repeat period = 64 * math.random(1, 1e5) until SECOND / (SECOND / period) == period -- not every one survives the rounding
      local l, buckets, now = limiter(SECOND / period, burst, 0, 64), {}, 0
      for step = 1, 5000 do
        now = now + 64 * math.random(0, math.floor(period / 64 / 8))
        local key = "key " .. math.random(1, 40)
        local b = buckets[key]
        if not b then
          b = ffi.new("gw_token_bucket")
          C.gw_token_bucket_init(b, SECOND / period, burst)
          buckets[key] = b
        end
        local n = math.random(1, burst)
        local wait, expected = C.gw_client_limiter_allow(l, key, #key, n, now), C.gw_token_bucket_allow(b, n, now)
        assert.message("step " .. step).near(expected, wait, 1e-12)
        assert.message("step " .. step).equal(expected == 0, wait == 0)
      end
    end)
  end
end)
