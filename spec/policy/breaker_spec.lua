local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local C = cdef.load("policy/breaker.h", "policy/breaker_table.h")

local SECOND = 1e9
local REFUSED, ANY = -1, -2
local NAMES = { [0] = "closed", [1] = "open", [2] = "half-open" }

local function ns(seconds) return math.floor(seconds * SECOND + 0.5) end

local function breaker(settings)
  local b = C.gw_breaker_new(ffi.new("gw_breaker_settings", settings))
  assert.is_false(b == nil)
  return ffi.gc(b, C.gw_breaker_free)
end

-- Steps of a script: { moment, what, expected }. Tickets are kept by name.
--   "allow NAME" expects true or false; "ok NAME", "fail NAME", "cancel NAME"; "is STATE"; "after" expects seconds to wait.
local function play(b, steps)
  local tickets = { any = ANY }
  for i, step in ipairs(steps) do
    local now, verb, name = ns(step[1]), step[2]:match("^(%S+) ?(.*)$")
    local where = ("step %d, %s at %g s"):format(i, step[2], step[1])
    if verb == "allow" then
      local ready = C.gw_breaker_ready(b, now)
      local ticket = C.gw_breaker_allow(b, now)
      if name ~= "" then tickets[name] = ticket end
      assert.message(where).equal(step[3], ticket ~= REFUSED)
      assert.message(where .. ", ready").equal(step[3], ready == 1)
    elseif verb == "ok" then
      C.gw_breaker_success(b, assert(tickets[name]), now)
    elseif verb == "fail" then
      C.gw_breaker_failure(b, assert(tickets[name]), now)
    elseif verb == "cancel" then
      C.gw_breaker_cancel(b, (assert(tickets[name])))
    elseif verb == "is" then
      assert.message(where).equal(name, NAMES[C.gw_breaker_state(b, now)])
    elseif verb == "after" then
      assert.message(where).near(step[3], C.gw_breaker_retry_after(b, now), 1e-9)
    else
      error("no such step: " .. step[2])
    end
  end
end

local three = { failures = 3, open_for = 10, probes = 2, lease = 5 }
local one = { failures = 1, open_for = 10, probes = 1, lease = 5 }
local rate = { error_rate = 0.5, min_requests = 4, window = 10, open_for = 10 }

-- Opens one with `failures` failures in a row at that moment.
local function opening(moment, failures)
  local steps = {}
  for i = 1, failures do
    steps[#steps + 1] = { moment, "allow o" .. i, true }
    steps[#steps + 1] = { moment, "fail o" .. i }
  end
  return steps
end

local function join(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, step in ipairs(list) do all[#all + 1] = step end
  end
  return all
end

describe("breaker", function()
  it("has the sizes its header tells", function()
    assert.equal(128, ffi.sizeof("gw_breaker"))
    assert.equal(64, ffi.sizeof("gw_breaker_rules"))
    assert.equal(256, ffi.sizeof("gw_breakers"))
  end)

  for _, case in ipairs {
    { "open_for below 0", { open_for = -1 } }, { "open_for of a month", { open_for = 31 * 86400 } },
      { "open_for no number", { open_for = 0 / 0 } },
    { "open_most below open_for", { open_for = 10, open_most = 5 } }, { "a growth below 1", { growth = 0.5 } },
    { "a growth without end", { growth = math.huge } }, { "a lease below 0", { lease = -1 } }, { "a rate above 1", { error_rate = 1.1 } },
    { "a rate below 0", { error_rate = -0.1 } }, { "a rate that is no number", { error_rate = 0 / 0 } },
    { "a window below 10 ms", { error_rate = 0.5, window = 0.005 } }, { "too many failures", { failures = 4096 } },
    { "too many probes", { probes = 64 } },
  } do
    it("refuses " .. case[1], function()
      assert.is_true(C.gw_breaker_new(ffi.new("gw_breaker_settings", case[2])) == nil)
      assert.is_true(C.gw_breakers_new(ffi.new("gw_breaker_settings", case[2]), 10) == nil)
    end)
  end

  -- Every edge of the diagram, and what is no edge.
  for _, case in ipairs {
    { "closed: lets all through", three, { { 0, "is closed" }, { 0, "allow a", true }, { 0, "allow b", true }, { 0, "after", 0 } } },
    { "closed: stays closed below the failures in a row", three, join(opening(1, 2), { { 1, "is closed" }, { 1, "allow", true } }) },
    { "closed: a success begins the row anew", three, join(opening(1, 2), { { 1, "allow s", true }, { 1, "ok s" } },
      opening(2, 2), { { 2, "is closed" } }) },
    { "closed → open: at the failures in a row", three, join(opening(1, 3), { { 1, "is open" }, { 1, "allow", false },
      { 1, "after", 10 } }) },
    { "by default after 5 failures, for 10 s, with one probe", {}, join(opening(0, 4), { { 0, "is closed" } }, opening(0, 1), {
      { 0, "is open" }, { 9.999, "allow", false }, { 10, "allow p", true }, { 10, "allow", false }, { 10, "ok p" },
        { 10, "is closed" } }) },
    { "open: refuses until open_for has passed, to the nanosecond", one, join(opening(5, 1), {
      { 14.999999999, "is open" }, { 14.999999999, "allow", false }, { 14.5, "after", 0.5 }, { 15, "is half-open" },
        { 15, "after", 0 } }) },
    { "open: never shorter than set, even by part of a millisecond", one, join(opening(5.0005, 1), {
      { 15.0004, "allow", false }, { 15.0009, "allow", false }, { 15.001, "allow", true } }) },
    { "open: results of requests from before change nothing", three, join(
      { { 0, "allow late", true }, { 0, "allow later", true } }, opening(1, 3),
      { { 2, "ok late" }, { 2, "is open" }, { 2, "fail later" }, { 2, "after", 9 } }) },
    { "open → half-open: on the next request, exactly `probes` pass", three, join(opening(0, 3), {
      { 10, "allow p1", true }, { 10, "allow p2", true }, { 10, "allow", false }, { 10, "is half-open" }, { 10, "after", 1 } }) },
    { "half-open: places are not given again on success", three, join(opening(0, 3), {
      { 10, "allow p1", true }, { 10, "allow p2", true }, { 10.1, "ok p1" }, { 10.1, "is half-open" }, { 10.1, "allow", false } }) },
    { "half-open → closed: when all probes succeed", three, join(opening(0, 3), {
      { 10, "allow p1", true }, { 10, "allow p2", true }, { 10.1, "ok p1" }, { 10.2, "ok p2" }, { 10.2, "is closed" },
      { 10.2, "allow", true }, { 10.2, "allow", true } }) },
    { "half-open → closed: the row of failures begins anew", three, join(opening(0, 3), {
      { 10, "allow p1", true }, { 10, "allow p2", true }, { 10, "ok p1" }, { 10, "ok p2" } }, opening(11, 2), { { 11, "is closed" } },
      opening(11, 1), { { 11, "is open" } }) },
    { "half-open → open: at the first probe that fails", three, join(opening(0, 3), {
      { 10, "allow p1", true }, { 10, "allow p2", true }, { 10, "ok p1" }, { 11, "fail p2" }, { 11, "is open" },
        { 20.999, "allow", false },
      { 21, "allow", true } }) },
    { "half-open: the other probe's result comes too late then", three, join(opening(0, 3), {
      { 10, "allow p1", true }, { 10, "allow p2", true }, { 11, "fail p1" }, { 12, "ok p2" }, { 12, "fail p2" }, { 12, "after", 9 },
      { 21, "allow q1", true }, { 21, "ok p2" }, { 21, "fail p1" }, { 21, "is half-open" }, { 21, "allow q2", true },
        { 21, "allow", false },
      { 22, "ok q1" }, { 22, "ok q2" }, { 22, "is closed" } }) },
    { "half-open: results from before it opened change nothing", one, join({ { 0, "allow late", true }, { 0, "allow later", true } },
      opening(0, 1), {
      { 10, "allow p", true }, { 10, "ok late" }, { 10, "is half-open" }, { 10, "fail later" }, { 10, "is half-open" }, { 10, "ok p" },
        { 10, "is closed" } }) },
    { "closed again: results of old probes change nothing", one, join(opening(0, 1), {
      { 10, "allow p", true }, { 15, "allow q", true }, { 15, "ok q" }, { 15, "is closed" }, { 16, "fail p" }, { 16, "is closed" } }) },
    { "half-open: a lost probe's place is free after the lease", one, join(opening(0, 1), {
      { 10, "allow lost", true }, { 14.999, "allow", false }, { 14.999, "after", 0.001 }, { 15, "after", 0 }, { 15, "allow p", true },
        { 15, "allow", false },
      { 16, "fail lost" }, { 16, "is half-open" }, { 16, "ok lost" }, { 16, "is half-open" }, { 16, "ok p" }, { 16, "is closed" } }) },
    { "half-open: successes outlive a lost probe's lease", three, join(opening(0, 3), {
      { 10, "allow p1", true }, { 11, "allow lost", true }, { 11, "ok p1" }, { 15.999, "allow", false }, { 16, "allow p2", true },
      { 16, "allow", false }, { 16, "ok p2" }, { 16, "is closed" } }) },
    { "half-open: a lease runs from the last probe", three, join(opening(0, 3), {
      { 10, "allow p1", true }, { 20, "allow p2", true }, { 20, "allow", false }, { 24.999, "allow", false }, { 25, "allow q1", true },
      { 25, "allow q2", true }, { 25, "allow", false } }) },
    { "half-open: a cancelled probe's place is free at once", one, join(opening(0, 1), {
      { 10, "allow p", true }, { 10, "allow", false }, { 10, "cancel p" }, { 10, "allow q", true }, { 10, "allow", false },
        { 10, "ok q" }, { 10, "is closed" } }) },
    { "cancelling elsewhere changes nothing", three, join(opening(0, 2), { { 0, "allow c", true }, { 0, "cancel c" } }, opening(0, 1), {
      { 0, "is open" }, { 1, "cancel c" }, { 1, "is open" }, { 10, "allow p", true }, { 10, "cancel c" }, { 10, "allow q", true },
        { 10, "allow", false } }) },
    { "a result said twice counts once", { failures = 1, open_for = 10, probes = 2 }, join(opening(0, 1), {
      { 10, "allow p", true }, { 10, "ok p" }, { 10, "ok p" }, { 10, "is half-open" } }) },
    { "open_for grows with each opening that a failed probe makes", { failures = 1, open_for = 10, growth = 2, open_most = 35 },
      join(opening(0, 1), {
      { 0, "after", 10 }, { 10, "allow p", true }, { 10, "fail p" }, { 10, "after", 20 }, { 30, "allow p", true }, { 30, "fail p" },
      { 30, "after", 35 }, { 65, "allow p", true }, { 65, "fail p" }, { 65, "after", 35 }, { 100, "allow p", true }, { 100, "ok p" } },
      opening(100, 1), { { 100, "after", 10 } }) },
    { "growth stays within bounds for ever", { failures = 1, open_for = 1, growth = 1e300, open_most = 2 },
      join(opening(0, 1), (function()
      local steps = {}
      for i = 1, 40 do
        steps[#steps + 1] = { i * 10, "allow p", true }
        steps[#steps + 1] = { i * 10, "fail p" }
        steps[#steps + 1] = { i * 10, "after", 2 }
      end
      return steps
    end)()) },
    { "without tickets: closed → open → half-open → closed", one, {
      { 0, "allow", true }, { 0, "fail any" }, { 0, "is open" }, { 1, "ok any" }, { 1, "fail any" }, { 1, "after", 9 },
        { 10, "allow", true },
      { 10, "ok any" }, { 10, "is closed" } } },
    { "without tickets: a result without a probe changes nothing", { failures = 1, open_for = 10, probes = 2 }, {
      { 0, "fail any" }, { 10, "allow p", true }, { 10, "ok p" }, { 10, "fail any" }, { 10, "is half-open" }, { 10, "ok any" },
        { 10, "is half-open" } } },
    { "a refused request's ticket is good for nothing", one, join(opening(0, 1), { { 10, "allow p", true }, { 10, "allow no", false },
      { 10, "ok no" }, { 10, "fail no" }, { 10, "cancel no" }, { 10, "is half-open" }, { 10, "ok p" }, { 10, "is closed" } }) },
    { "by rate: below the volume nothing", rate, { { 0, "fail any" }, { 0, "fail any" }, { 0, "fail any" }, { 0, "is closed" },
      { 0, "fail any" }, { 0, "is open" } } },
    { "by rate: at the rate it opens, with a failure", rate, {
      { 0, "ok any" }, { 0, "ok any" }, { 0, "ok any" }, { 0, "fail any" }, { 0, "fail any" }, { 0, "is closed" }, { 0, "fail any" },
        { 0, "is open" } } },
    { "by rate: what is older than the window is forgotten", rate, {
      { 0, "fail any" }, { 0, "fail any" }, { 0, "fail any" }, { 10, "ok any" }, { 10, "ok any" }, { 10, "fail any" },
        { 10, "is closed" },
      { 10, "fail any" }, { 10, "is open" } } },
    { "by rate: what is younger is not", rate, { { 0, "fail any" }, { 0, "fail any" }, { 0, "fail any" }, { 9.999, "fail any" },
      { 9.999, "is open" } } },
    { "by rate: a tenth at a time", rate, { { 0.999, "fail any" }, { 1, "fail any" }, { 2, "fail any" }, { 10, "fail any" },
      { 10, "is closed" },
      { 10.5, "fail any" }, { 10.5, "is open" } } },
    { "by rate: a long pause forgets all", rate, { { 0, "fail any" }, { 0, "fail any" }, { 0, "fail any" }, { 1e5, "fail any" },
      { 1e5, "is closed" } } },
    { "by rate: closing forgets what came before", rate, { { 0, "fail any" }, { 0, "fail any" }, { 0, "fail any" }, { 5, "fail any" },
      { 5, "is open" },
      { 15, "allow p", true }, { 15, "ok p" }, { 15, "is closed" }, { 15, "fail any" }, { 15, "fail any" }, { 15, "fail any" },
        { 15, "is closed" } } },
    { "by rate: with failures in a row as well, whichever comes first", { error_rate = 0.9, min_requests = 100, failures = 3 },
      join(opening(0, 3), { { 0, "is open" } }) },
    { "by rate: failures in a row do not matter without being asked for", { error_rate = 0.5, min_requests = 100 },
      join(opening(0, 50), { { 0, "is closed" } }) },
    { "a clock a little behind does not shorten it", one, join(opening(5, 1), { { 4.99, "allow", false }, { 4.5, "is open" } }) },
    { "a clock set back by far does not lock it", one, join(opening(1000, 1), {
      { 500, "allow p", true }, { 500, "allow", false }, { 500, "ok p" }, { 500, "is closed" } }) },
    { "a clock set back while half-open", one, join(opening(1000, 1), { { 1010, "allow lost", true }, { 500, "allow p", true },
      { 500, "fail lost" },
      { 500, "is half-open" }, { 500, "ok p" }, { 500, "is closed" } }) },
    { "a clock that jumps ahead", one, join(opening(0, 1), { { 1e6, "allow p", true }, { 1e6, "ok p" }, { 1e6, "is closed" } }) },
    { "an open one that nobody asked for 30 days", one, join(opening(0, 1), { { 30 * 86400, "allow p", true } }) },
    { "the time of wall clocks", one, join(opening(1.9e9, 1), { { 1.9e9, "is open" }, { 1.9e9 + 9, "allow", false },
      { 1.9e9 + 10, "allow", true } }) },
  } do
    it(case[1], function() play(breaker(case[2]), case[3]) end)
  end

  it("is opened and reset by hand", function()
    local b = breaker(one)
    C.gw_breaker_trip(b, 0)
    play(b, { { 9.9, "allow", false }, { 10, "is half-open" } })
    local before = C.gw_breaker_allow(b, 10 * SECOND)
    C.gw_breaker_reset(b)
    assert.equal(1, C.gw_breaker_is_closed(b))
    C.gw_breaker_failure(b, before, 10 * SECOND)
    play(b, { { 10, "is closed" }, { 10, "allow", true } })
    assert.equal(1, b.opened)
  end)

  it("takes other settings and keeps its state", function()
    local b = breaker(three)
    play(b, opening(0, 3))
    assert.equal(C.GW_OK, C.gw_breaker_change(b, ffi.new("gw_breaker_settings", { failures = 3, open_for = 20, probes = 3 })))
    play(b, { { 10, "allow", false }, { 20, "allow p1", true }, { 20, "allow p2", true }, { 20, "ok p1" }, { 20, "ok p2" },
      { 20, "is half-open" } })
    assert.equal(C.GW_OK, C.gw_breaker_change(b, ffi.new("gw_breaker_settings", { failures = 3, open_for = 20, probes = 2 })))
    play(b, { { 20, "allow", true }, { 20, "is closed" } })
    assert.equal(C.GW_INVALID, C.gw_breaker_change(b, ffi.new("gw_breaker_settings", { probes = 100 })))
    play(b, join({ { 20, "is closed" } }, opening(20, 3), { { 20, "after", 20 } }))
  end)

  it("lives through all its epochs", function()
    local b, now = breaker { failures = 1, open_for = 1 }, 0
    for _ = 1, 6000 do -- three epochs each, of 16,384
      local ticket = C.gw_breaker_allow(b, now)
      assert.is_true(ticket >= 0 and ticket < 16384)
      C.gw_breaker_failure(b, ticket, now)
      assert.equal(REFUSED, C.gw_breaker_allow(b, now))
      now = now + SECOND
      local probe = C.gw_breaker_allow(b, now)
      C.gw_breaker_failure(b, ticket, now)
      assert.equal(REFUSED, C.gw_breaker_allow(b, now))
      C.gw_breaker_success(b, probe, now)
      assert.equal(0, C.gw_breaker_state(b, now))
    end
    assert.equal(6000, b.opened)
  end)

  -- The obvious breaker: tables and names, each probe known by itself.
  local function model(s)
    local m = { state = "closed", row = 0, round = 0, exponent = 0, log = {} }
    local function change(state)
      m.state, m.round, m.row, m.log = state, m.round + 1, 0, {}
    end
    local function open(now, exponent)
      change("open")
      m.exponent, m.since = exponent, now
    end
    local function open_for() return math.min(s.open_for * s.growth ^ m.exponent, s.open_most) * SECOND end
    function m.allow(now)
      if m.state == "closed" then return { round = m.round } end
      if m.state == "open" then
        if now - m.since < open_for() then return nil end
        change("half-open")
        m.out, m.done = 0, 0
      end
      if m.out + m.done >= s.probes then
        if now - m.last < s.lease * SECOND then return nil end
        m.out, m.round = 0, m.round + 1
      end
      m.out, m.last = m.out + 1, now
      return { round = m.round }
    end
    function m.success(ticket, now)
      if ticket.round ~= m.round then return end
      if m.state == "closed" then
        m.row = 0
        m.log[#m.log + 1] = { now, false }
      elseif m.state == "half-open" then
        m.out, m.done = m.out - 1, m.done + 1
        if m.done == s.probes then
          m.exponent = 0
          change("closed")
        end
      end
    end
    function m.failure(ticket, now)
      if ticket.round ~= m.round then return end
      if m.state == "closed" then
        m.row = m.row + 1
        m.log[#m.log + 1] = { now, true }
        local all, bad, tenth = 0, 0, s.window * SECOND / 10
        for _, entry in ipairs(m.log) do
          if math.floor(now / tenth) - math.floor(entry[1] / tenth) < 10 then
            all, bad = all + 1, bad + (entry[2] and 1 or 0)
          end
        end
        if (s.failures > 0 and m.row >= s.failures) or (s.error_rate > 0 and all >= s.min_requests and bad >= s.error_rate * all) then
          open(now, 0)
        end
      elseif m.state == "half-open" then
        open(now, math.min(m.exponent + 1, 15))
      end
    end
    function m.cancel(ticket)
      if ticket.round == m.round and m.state == "half-open" then m.out = m.out - 1 end
    end
    return m
  end

  for seed = 1, 30 do
    it("does what the obvious model does, sequence " .. seed, function()
      math.randomseed(seed)
      local by_rate = math.random() < 0.5
      local s = {
        failures = by_rate and (math.random() < 0.5 and 0 or 8) or math.random(1, 5), error_rate = by_rate and 0.5 or 0, window = 10,
        min_requests = math.random(1, 8), open_for = math.random(1, 5), growth = math.random(1, 2), open_most = 20,
        probes = math.random(1, 4), lease = math.random(1, 4),
      }
      local b, m, now, flying, seen = breaker(s), model(s), 0, {}, {}
      for step = 1, 4000 do
        now = now + (math.random() < 0.5 and 0 or math.random(0, 1000)) * 1e6 -- whole ms
        local where = ("step %d at %.3f s"):format(step, now / SECOND)
        local dice = math.random()
        if dice < 0.55 or #flying == 0 then
          local ticket, expected = C.gw_breaker_allow(b, now), m.allow(now)
          assert.message(where).equal(expected ~= nil, ticket ~= REFUSED)
          if expected then flying[#flying + 1] = { ticket, expected } end
        else
          local one_of = table.remove(flying, math.random(1, #flying))
          if dice < 0.75 then
            C.gw_breaker_success(b, one_of[1], now)
            m.success(one_of[2], now)
          elseif dice < 0.93 then
            C.gw_breaker_failure(b, one_of[1], now)
            m.failure(one_of[2], now)
          elseif dice < 0.96 then
            C.gw_breaker_cancel(b, one_of[1])
            m.cancel(one_of[2])
          end -- else lost
        end
        local state = NAMES[C.gw_breaker_state(b, now)]
        if not (m.state == "open" and state == "half-open") then assert.message(where).equal(m.state, state) end
        seen[state] = (seen[state] or 0) + 1
      end
      assert.is_true((seen.open or 0) > 20 and (seen["half-open"] or 0) > 20 and (seen.closed or 0) > 5)
    end)
  end
end)

describe("breakers", function()
  local settings = ffi.new("gw_breaker_settings", { failures = 1, open_for = 10 })
  local function of(t, key) return C.gw_breakers_of(t, key, #key, 0) end
  local function breakers(most)
    local t = C.gw_breakers_new(settings, most)
    assert.is_false(t == nil)
    return ffi.gc(t, C.gw_breakers_free)
  end
  local function open(t, key) C.gw_breaker_failure(of(t, key), ANY, 0) end
  local function is_open(t, key) return C.gw_breaker_state(of(t, key), 0) == 1 end

  it("refuses no keys, and too many", function()
    assert.is_true(C.gw_breakers_new(settings, 0) == nil)
    assert.is_true(C.gw_breakers_new(settings, 2 ^ 20 + 1) == nil)
  end)

  it("gives each key its own, and always the same", function()
    local t = breakers(10)
    open(t, "a")
    assert.is_true(of(t, "a") == of(t, "a"))
    assert.is_true(is_open(t, "a"))
    assert.is_false(is_open(t, "b"))
    assert.equal(2, C.gw_breakers_count(t))
    assert.is_true(C.gw_breakers_find(t, "a", 1) == of(t, "a"))
    assert.is_true(C.gw_breakers_find(t, "never", 5) == nil)
    assert.equal(2, C.gw_breakers_count(t))
  end)

  it("forgets no open one for keys that come and go", function()
    local t = breakers(100)
    for i = 1, 10 do open(t, "broken " .. i) end
    for i = 1, 5000 do
      of(t, "new " .. i)
      assert.is_true(C.gw_breakers_count(t) <= 100)
    end
    for i = 1, 10 do assert.is_true(is_open(t, "broken " .. i)) end
  end)

  it("stays within its bounds even when all are open", function()
    local t = breakers(20)
    for i = 1, 500 do open(t, "broken " .. i) end
    assert.equal(20, C.gw_breakers_count(t))
    assert.is_true(is_open(t, "broken 500"))
    assert.is_false(is_open(t, "broken 1"))
  end)

  it("hands on a breaker closed, and deaf to old tickets", function()
    local t = breakers(1)
    local seen = {}
    for i = 1, 300 do
      local b = of(t, "key " .. i)
      assert.equal(0, C.gw_breaker_state(b, 0))
      local at = tostring(b)
      if seen[at] then
        C.gw_breaker_failure(b, seen[at], 0)
        assert.equal(0, C.gw_breaker_state(b, 0))
      end
      seen[at] = C.gw_breaker_allow(b, 0)
      C.gw_breaker_failure(b, seen[at], 0)
      assert.equal(1, C.gw_breaker_state(b, 0))
    end
  end)

  it("changes the settings of all", function()
    local t = breakers(10)
    open(t, "a")
    assert.equal(C.GW_OK, C.gw_breakers_change(t, ffi.new("gw_breaker_settings", { failures = 2, open_for = 3 })))
    assert.equal(3, C.gw_breaker_retry_after(of(t, "a"), 0))
    open(t, "b")
    assert.is_false(is_open(t, "b"))
    assert.equal(C.GW_INVALID, C.gw_breakers_change(t, ffi.new("gw_breaker_settings", { probes = 64 })))
  end)
end)
