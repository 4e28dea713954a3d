-- The timing wheel on a clock of the test's own: `now` is set and the wheel turned by hand, so years pass in no time.

local ffi = require "ffi"
local net = require "spec.support.net"

local C = net.C
local TICK = 1 / 1024

describe("timeouts", function()
  local loop
  before_each(function() loop = net.loop() end)
  after_each(function() loop:free() end)

  local function pass_to(now)
    loop.c.now = now
    C.gw_loop_wheel_turn(loop.c)
    net.call(C.gw_loop_wheel_expire, loop.c)
  end

  it("have the sizes that the specs' declarations say", function()
    -- A wrong one would make every other test here meaningless.
    assert.equal(32, ffi.sizeof "gw_timeout")
    assert.is_true(loop.c.now > 0)
    assert.equal(math.floor(loop.c.now * 1024), tonumber(loop.c.now_tick))
  end)

  local lengths = {
    0.0001, TICK, 0.002, 0.05, 0.0625, 0.063, 1, 3.999, 4, 4.001, 30, 75, 90, 255.9, 256, 3600, 16384, 86400, 1e6, 3e7,
  }
  for _, seconds in ipairs(lengths) do
    it(("of %g s end not before, and within two ticks after"):format(seconds), function()
      for _, start in ipairs { 0, 0.0303, 4095 * TICK, 63 * TICK, 262143 * TICK } do
        local fired = 0
        local t = loop:timeout(function() fired = fired + 1 end)
        local now = math.floor(loop.c.now / 4096 + 1) * 4096 + start -- a block border and places beside it
        pass_to(now)
        loop:arm(t, seconds)
        assert.equal(now + seconds, t.at)
        -- Not in one leap: the hand passes every level's border on the way.
        for _, part in ipairs { 0.1, 0.5, 0.9, 0.99, 0.999, 0.999999 } do pass_to(now + seconds * part) end
        pass_to(now + seconds - 1e-6 * math.min(1, seconds))
        assert.equal(0, fired)
        pass_to(now + seconds + 2 * TICK)
        assert.equal(1, fired)
        pass_to(now + seconds * 2)
        assert.equal(1, fired)
      end
    end)
  end

  it("of absurd lengths are cut, not lost", function()
    local fired = 0
    local t = loop:timeout(function() fired = fired + 1 end)
    for _, seconds in ipairs { 1e300, math.huge } do
      loop:arm(t, seconds)
      pass_to(loop.c.now + 3e7)
      assert.equal(0, fired)
      pass_to(loop.c.now + 7e7)
      assert.equal(1, fired)
      fired = 0
    end
  end)

  it("are disarmed by disarming and by lengths that are none", function()
    local t = loop:timeout(function() error "disarmed" end)
    for _, disarm in ipairs {
      function() C.gw_timeout_disarm(t) end, function() loop:arm(t, 0) end, function() loop:arm(t, -1) end,
      function() loop:arm(t, 0 / 0) end,
    } do
      loop:arm(t, 1)
      disarm()
      C.gw_timeout_disarm(t)
      pass_to(loop.c.now + 2)
    end
    loop:turns(1)
  end)

  it("are moved by arming again, later and earlier", function()
    local at
    local t = loop:timeout(function() at = loop.c.now end)
    local start = loop.c.now
    loop:arm(t, 1)
    pass_to(start + 0.5)
    loop:arm(t, 1)
    pass_to(start + 1.4)
    assert.is_nil(at)
    pass_to(start + 1.6)
    assert.equal(start + 1.6, at)
    at = nil
    loop:arm(t, 100)
    loop:arm(t, 0.01)
    pass_to(start + 1.7)
    assert.equal(start + 1.7, at)
  end)

  it("end in the order in which they are due", function()
    local order = {}
    for i, seconds in ipairs { 80, 0.01, 5, 0.5, 300, 0.02, 70 } do
      loop:arm(loop:timeout(function() order[#order + 1] = i end), seconds)
    end
    pass_to(loop.c.now + 1000)
    assert.same({ 2, 6, 4, 3, 7, 1, 5 }, order)
  end)

  it("that are due at once may disarm, move and arm one another", function()
    local log = {}
    local a, b, c, d
    a = loop:timeout(function()
      log[#log + 1] = "a"
      C.gw_timeout_disarm(b)
      loop:arm(c, 5)
      loop:arm(a, 1)
      loop:arm(d, 0.5)
    end)
    b = loop:timeout(function() log[#log + 1] = "b" end)
    c = loop:timeout(function() log[#log + 1] = "c" end)
    d = loop:timeout(function() log[#log + 1] = "d" end)
    for _, t in ipairs { a, b, c } do loop:arm(t, 0.1) end
    local now = loop.c.now
    pass_to(now + 1)
    assert.same({ "a" }, log)
    pass_to(now + 1.6)
    assert.same({ "a", "d" }, log)
    C.gw_timeout_disarm(a)
    pass_to(now + 10)
    assert.same({ "a", "d", "c" }, log)
  end)

  it("of changing lengths leave nothing behind", function()
    local t = loop:timeout(function() end)
    for i = 1, 20000 do loop:arm(t, 0.001 + (i * 7919 % 100003) / 7) end
    C.gw_timeout_disarm(t)
    pass_to(loop.c.now + 1e6)
    for level = 0, 6 do assert.equal(0ULL, loop.c.filled[level]) end
    assert.equal(0x7fffffffffffffffLL, loop.c.wake)
  end)

  it("agree with a list that is looked through, whatever is done in whatever order", function()
    math.randomseed(20)
    local count, due, fired, live = 200, {}, {}, {}
    local list = {}
    for i = 1, count do
      list[i] = loop:timeout(function()
        fired[#fired + 1] = i
        due[i] = nil
      end)
    end
    local total = 0
    for _ = 1, 6000 do
      local what = math.random()
      local i = math.random(count)
      if what < 0.6 then
        local seconds = 10 ^ (math.random() * 7 - 3)
        loop:arm(list[i], seconds)
        due[i] = loop.c.now + seconds
      elseif what < 0.75 then
        C.gw_timeout_disarm(list[i])
        due[i] = nil
      else
        local to = loop.c.now + 10 ^ (math.random() * 6 - 4)
        local expected, soonest = {}, math.huge
        for j, at in pairs(due) do
          -- Due in the tick that has begun by `to`.
          if math.floor(at * 1024) + 1 <= math.floor(to * 1024) then
            expected[#expected + 1] = j
            live[j] = at
          else
            soonest = math.min(soonest, at)
          end
        end
        table.sort(expected, function(x, y)
          return live[x] < live[y]
        end)
        pass_to(to)
        -- Within one tick the order is that of arming: compare by tick.
        assert.equal(#expected, #fired)
        local seen = {}
        for n, j in ipairs(fired) do
          assert.is_nil(seen[j])
          seen[j] = true
          assert.equal(math.floor(live[expected[n]] * 1024), math.floor(live[j] * 1024))
          assert.is_true(live[j] <= to)
        end
        for _, j in ipairs(expected) do assert.is_true(seen[j]) end
        total = total + #fired
        fired = {}
        -- The timer is never set for later than the first that is due.
        if soonest < math.huge then assert.is_true(tonumber(loop.c.wake) <= math.floor(soonest * 1024) + 1) end
      end
    end
    assert.is_true(total > 500)
  end)

  it("that are armed when the loop is freed can still be disarmed", function()
    local other = net.loop()
    local t = other:timeout(function() end)
    C.gw_timeout_arm(other.c, t, 5)
    other:free()
    C.gw_timeout_disarm(t)
    assert.equal(t.link.next, t.link.prev)
  end)
end)
