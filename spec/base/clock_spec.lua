local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("base/clock.h")

local function iso(wall)
  local out = ffi.new("char[25]")
  C.gw_clock_iso8601(wall, out)
  return ffi.string(out)
end

local function http(wall)
  local out = ffi.new("char[30]")
  C.gw_clock_http_date(wall, out)
  return ffi.string(out)
end

describe("dates", function()
  for _, case in ipairs {
    { "the epoch", 0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT" },
    { "milliseconds, rounded", 1769860800.1236, "2026-01-31T12:00:00.124Z", "Sat, 31 Jan 2026 12:00:00 GMT" },
    { "a second that is nearly over", 1769860800.9996, "2026-01-31T12:00:01.000Z", "Sat, 31 Jan 2026 12:00:00 GMT" },
    { "a leap day", 951782400, "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 GMT" },
    { "the first day behind one, where 400 years begin", 951868800, "2000-03-01T00:00:00.000Z", "Wed, 01 Mar 2000 00:00:00 GMT" },
    { "the last second of February in a year that is no leap year", 4107542399, "2100-02-28T23:59:59.000Z",
      "Sun, 28 Feb 2100 23:59:59 GMT" },
    { "the day after it", 4107542400, "2100-03-01T00:00:00.000Z", "Mon, 01 Mar 2100 00:00:00 GMT" },
    { "RFC 9110's example", 784111777, "1994-11-06T08:49:37.000Z", "Sun, 06 Nov 1994 08:49:37 GMT" },
    { "before the epoch", -1, "1969-12-31T23:59:59.000Z", "Wed, 31 Dec 1969 23:59:59 GMT" },
    { "past 32 bits", 4294967296, "2106-02-07T06:28:16.000Z", "Sun, 07 Feb 2106 06:28:16 GMT" },
    { "the first moment that can be written", -62167219200, "0000-01-01T00:00:00.000Z", "Sat, 01 Jan 0000 00:00:00 GMT" },
    { "a moment before that", -1e18, "0000-01-01T00:00:00.000Z", "Sat, 01 Jan 0000 00:00:00 GMT" },
    { "the last moment that can be written", 253402300799, "9999-12-31T23:59:59.000Z", "Fri, 31 Dec 9999 23:59:59 GMT" },
    { "a moment after that", 1e300, "9999-12-31T23:59:59.999Z", "Fri, 31 Dec 9999 23:59:59 GMT" },
    { "infinity", math.huge, "9999-12-31T23:59:59.999Z", "Fri, 31 Dec 9999 23:59:59 GMT" },
    { "no number", 0 / 0, "0000-01-01T00:00:00.000Z", "Sat, 01 Jan 0000 00:00:00 GMT" },
  } do
    it("writes " .. case[1], function()
      assert.equal(case[3], iso(case[2]))
      assert.equal(case[4], http(case[2]))
    end)
  end

  it("agrees with the C library on every seventh day of 400 years", function()
    for day = 0, 400 * 366, 7 do
      local wall = -3e9 + day * 86400 + day % 86400
      assert.equal(os.date("!%Y-%m-%dT%H:%M:%S.000Z", wall), iso(wall))
      assert.equal(os.date("!%a, %d %b %Y %H:%M:%S GMT", wall), http(wall))
    end
  end)
end)

describe("clocks", function()
  it("has a monotonic one that never goes back", function()
    local before = C.gw_clock_monotonic_ns()
    for _ = 1, 1000 do
      local now = C.gw_clock_monotonic_ns()
      assert.is_true(now >= before)
      before = now
    end
  end)

  it("has a wall clock that agrees with the system's", function()
    assert.near(os.time(), C.gw_clock_wall(), 2)
  end)
end)

describe("a clock that stands", function()
  it("shows what it was told until it goes again", function()
    local before = C.gw_clock_monotonic_ns()
    C.gw_clock_stand(5000000000, 1700000000.25)
    local ns, wall = C.gw_clock_monotonic_ns(), C.gw_clock_wall()
    C.gw_clock_go()
    assert.equal(5000000000, tonumber(ns))
    assert.equal(1700000000.25, wall)
    assert.is_true(C.gw_clock_monotonic_ns() >= before)
    assert.is_true(math.abs(C.gw_clock_wall() - os.time()) < 5)
  end)
end)

describe("moments one behind the other", function()
  it("are written as each would be alone", function()
    math.randomseed(3)
    local wall = 1769860790.25
    for _ = 1, 20000 do
      wall = wall + (math.random(20) == 1 and math.random(-5000, 100000) or math.random(0, 40) / 1000 + 0.0003)
      local ms = math.floor((wall + 62167219200) * 1000 + 0.5) - 62167219200000 -- rounded as C does it
      assert.equal(os.date("!%Y-%m-%dT%H:%M:%S", math.floor(ms / 1000)) .. (".%03dZ"):format(ms % 1000), iso(wall))
    end
  end)
end)
