local net = require "spec.support.net"
local sys = require "spec.support.sys"

local C = net.C

describe("loop", function()
  local loop
  before_each(function() loop = net.loop() end)
  after_each(function() loop:free() end)

  describe("time", function()
    it("is the monotonic clock's, and the same for two loops", function()
      local other = net.loop()
      for _ = 1, 5 do
        local before = sys.now()
        loop:turns(1)
        other:turns(1)
        local after = sys.now()
        for _, now in ipairs { loop.c.now, other.c.now } do
          assert.is_true(now >= before - 1e-4 and now <= after + 1e-4, ("%f not in %f to %f"):format(now, before, after))
        end
      end
      other:free()
    end)

    it("stands still within a turn", function()
      local first, second
      loop:arm(loop:timeout(function()
        first = loop.c.now
        local until_ = sys.now() + 0.003
        repeat until sys.now() > until_
        second = loop.c.now
        loop:stop()
      end), 0.001)
      loop:run()
      assert.equal(first, second)
    end)

    it("never lets a timeout end early, on the kernel's clock", function()
      local left = 0
      for i = 1, 40 do
        local seconds = 0.001 * i + 0.0003
        local armed
        local t = loop:timeout(function()
          assert.is_true(sys.now() - armed >= seconds - 1e-4)
          left = left - 1
          if left == 0 then loop:stop() end
        end)
        left = left + 1
        armed = loop.c.now
        loop:arm(t, seconds)
      end
      loop:run()
      assert.equal(0, left)
    end)
  end)

  describe("mail", function()
    it("is run in the order of posting, with the loop's owner", function()
      local order, expected = {}, {}
      C.gw_loop_set_owner(loop.c, loop.c)
      for i = 1, 500 do
        expected[i] = i
        C.gw_loop_post(loop.c, loop:mail(function(_, owner)
          order[#order + 1] = i
          assert.equal(tostring(loop.c):match("0x%x+"), tostring(owner):match("0x%x+"))
          if i == 500 then loop:stop() end
        end))
      end
      loop:run()
      assert.same(expected, order)
    end)

    it("may be posted again, and others posted, while it is run", function()
      local log, first = {}, nil
      local second = loop:mail(function()
        log[#log + 1] = "second"
        loop:stop()
      end)
      first = loop:mail(function()
        log[#log + 1] = "first"
        C.gw_loop_post(loop.c, #log < 3 and first or second)
      end)
      C.gw_loop_post(loop.c, first)
      loop:run()
      assert.same({ "first", "first", "first", "second" }, log)
    end)

    it("wakes a loop that waits", function()
      local other = net.loop()
      local got = false
      local mail = other:mail(function()
        got = true
        other:stop()
      end)
      C.gw_loop_post(other.c, mail)
      other:run()
      assert.is_true(got)
      -- Once more, after the descriptor has been read.
      got = false
      C.gw_loop_post(other.c, mail)
      other:run()
      assert.is_true(got)
      other:free()
    end)
  end)

  describe("later", function()
    it("runs in the next turn, in order, once however often it is asked for", function()
      local log = {}
      local a, b, c
      a = loop:later(function() log[#log + 1] = "a" end)
      b = loop:later(function() log[#log + 1] = "b" end)
      c = loop:later(function()
        log[#log + 1] = "c"
        loop:stop()
      end)
      for _, later in ipairs { a, b, a, c, b } do C.gw_loop_later(loop.c, later) end
      assert.same({}, log)
      loop:run()
      assert.same({ "a", "b", "c" }, log)
    end)

    it("asked for while running waits one turn, and lets others have theirs", function()
      local turns, ticks, again = 0, 0, nil
      again = loop:later(function()
        turns = turns + 1
        C.gw_loop_later(loop.c, again)
      end)
      C.gw_loop_later(loop.c, again)
      loop:arm(loop:timeout(function()
        ticks = turns
        loop:stop()
      end), 0.005)
      loop:run()
      assert.is_true(ticks > 1)
    end)

    it("can be cancelled, by another of the same turn too", function()
      local log, b = {}, nil
      local a = loop:later(function()
        log[#log + 1] = "a"
        C.gw_later_cancel(b)
      end)
      b = loop:later(function() log[#log + 1] = "b" end)
      local c = loop:later(function() loop:stop() end)
      local d = loop:later(function() log[#log + 1] = "d" end)
      for _, later in ipairs { d, a, b, c } do C.gw_loop_later(loop.c, later) end
      C.gw_later_cancel(d)
      loop:run()
      assert.same({ "a" }, log)
    end)
  end)

  it("ticks until a ticker is stopped", function()
    local count, stopped = 0, 0
    local ticker
    ticker = loop:ticker(0.001, function()
      count = count + 1
      if count == 3 then
        C.gw_ticker_stop(ticker)
        stopped = count
        loop:arm(loop:timeout(function() loop:stop() end), 0.01)
      end
    end)
    loop:run()
    assert.same({ 3, 3 }, { count, stopped })
  end)

  it("gives back its descriptors", function()
    local before = sys.open_files("self")
    for _ = 1, 20 do
      local other = net.loop()
      other:turns(1)
      other:free()
    end
    assert.equal(before, sys.open_files("self"))
  end)
end)

describe("a loop by hand", function()
  local loop
  before_each(function() loop = net.loop(1000) end)
  after_each(function() loop:free() end)

  local function step() return net.call(C.gw_loop_step, loop.c) end

  local function at(now)
    net.call(C.gw_loop_at, loop.c, now)
    repeat until not step()
  end

  it("has a time that only moves when it is told to, and never backwards", function()
    assert.equal(1000, loop.c.now)
    step()
    assert.equal(1000, loop.c.now)
    at(1001.5)
    assert.equal(1001.5, loop.c.now)
    at(900)
    assert.equal(1001.5, loop.c.now)
  end)

  it("says when something is due, not too late, and runs it then", function()
    C.gw_timeout_disarm(loop.guard)
    local order, steps = {}, 0
    for _, seconds in ipairs { 30, 0.5, 5, 7200 } do
      loop:arm(loop:timeout(function() order[#order + 1] = { seconds, loop.c.now - 1000 } end), seconds)
    end
    while #order < 4 do
      local due = C.gw_loop_due(loop.c)
      assert.is_true(due <= 1000 + 7201 and due > loop.c.now - 1, tostring(due))
      at(due)
      steps = steps + 1
    end
    for i, seconds in ipairs { 0.5, 5, 30, 7200 } do
      assert.equal(seconds, order[i][1])
      assert.is_true(order[i][2] >= seconds and order[i][2] < seconds + 0.01, tostring(order[i][2]))
    end
    assert.is_true(steps < 60, tostring(steps))
    assert.equal(math.huge, C.gw_loop_due(loop.c))
  end)

  it("has tickers, mail, and work put off", function()
    local ticks, mails, laters = 0, 0, 0
    local ticker = loop:ticker(10, function() ticks = ticks + 1 end)
    for now = 1001, 1035 do at(now) end
    assert.equal(3, ticks)
    C.gw_ticker_stop(ticker)
    at(1100)
    assert.equal(3, ticks)
    C.gw_loop_post(loop.c, loop:mail(function() mails = mails + 1 end))
    C.gw_loop_later(loop.c, loop:later(function() laters = laters + 1 end))
    repeat until not step()
    assert.same({ 1, 1 }, { mails, laters })
    assert.is_false(step())
  end)
end)
