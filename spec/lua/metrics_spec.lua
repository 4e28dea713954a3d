-- A script's own metrics under plain luajit: counting, label values, the bound on series, and every word that is said about misuse. Over
-- the wire they are in spec/e2e/metrics_script_spec.lua.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local declaring = require "spec.lua.declaring"

local HERE = "spec/lua/metrics_spec.lua"
local gateway, metrics

before_each(function()
  declaring.run "" -- a fresh library
  require("gateway.spec").reset()
  gateway, metrics = require "gateway", require "gateway.metrics"
end)

describe("a counter", function()
  it("counts by label values, in order or by name", function()
    local c = gateway.counter("logins_total", "Logins.", { "plan", "ok" })
    c:inc(1, { "gold", true })
    c:inc(2, { plan = "gold", ok = "true" })
    c:inc { "gold", "true" }
    c:inc(0.5, { "free", false })
    assert.equal(4, metrics.read("logins_total", { "gold", "true" }))
    assert.equal(0.5, metrics.read("logins_total", { plan = "free", ok = false }))
    assert.is_nil(metrics.read("logins_total", { "none", "true" }))
  end)
  it("takes a string for one label, and numbers", function()
    local c = gateway.counter("answers", "Answers.", { "status" })
    c:inc "200"
    c:inc(1, 200)
    c:inc(3, { 404 })
    c:inc(nil, { status = 404 })
    assert.equal(2, metrics.read("answers_total", "200"))
    assert.equal(4, metrics.read("answers", { 404 }))
  end)
  it("is there from the start when it has no labels", function()
    local c = gateway.counter("plain_total", "Plain.")
    assert.equal(0, metrics.read "plain_total")
    c:inc()
    c:inc(2)
    c:inc(1, {})
    assert.equal(4, metrics.read "plain_total")
  end)
  it("keeps values apart that would read the same", function()
    local c = gateway.counter("odd_total", "Odd.", { "a", "b" })
    local pairs_ = { { "1:", "" }, { "", "1:" }, { "a,b", "c" }, { "a", "b,c" }, { "a\0", "b" }, { "a", "\0b" } }
    for _, pair in ipairs(pairs_) do c:inc(1, pair) end
    for _, pair in ipairs(pairs_) do assert.equal(1, metrics.read("odd_total", pair)) end
  end)
  it("makes no more series than it may, and goes on counting those that are there", function()
    local C, names = require "gateway.ffi", {}
    local c = gateway.counter("many_total", "Many.", { "id" }, { series = 50 })
    for round = 1, 2 do
      for i = 1, 500 do c:inc(1, "id" .. i) end
      for i = 1, 500 do names[i] = metrics.read("many_total", "id" .. i) end
      for i = 1, 50 do assert.equal(round, names[i]) end
      for i = 51, 500 do assert.is_nil(names[i]) end
    end
    assert.equal(900, C.gw_lua_metric_dropped(c._handle))
    local kept = 0
    for _ in pairs(c._cells) do kept = kept + 1 end
    assert.equal(50, kept)
  end)
  it("drops values that are too long, one or all together", function()
    local C = require "gateway.ffi"
    local c = gateway.counter("long_total", "Long.", { "id" }, { series = 10 })
    c:inc(1, ("x"):rep(2000))
    assert.equal(1, C.gw_lua_metric_dropped(c._handle))
    for i = 1, 10 do c:inc(1, i .. ("x"):rep(500)) end
    assert.equal(9, C.gw_lua_metric_dropped(c._handle))
    c:inc(1, "short")
    assert.equal(1, metrics.read("long_total", "short"))
  end)
  it("makes no garbage once its label values are known", function()
    local c = gateway.counter("hot_total", "Hot.", { "plan", "kind" })
    local one = gateway.counter("one_total", "One.", { "plan" })
    local h = gateway.histogram("hot_seconds", "Hot.", { "plan" })
    local function run(n)
      for _ = 1, n do
        c:inc(1, { "gold", "a" })
        one:inc(1, "gold")
        h:observe(0.2, "gold")
      end
    end
    run(1000)
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    run(100000)
    local grown = collectgarbage "count" - before
    collectgarbage "restart"
    assert.is_true(grown < 64, ("%g KB for 100,000 counts"):format(grown))
    assert.equal(101000, metrics.read("one_total", "gold"))
  end)
end)

describe("a gauge", function()
  it("is set, added to, and may be below 0", function()
    local g = gateway.gauge("queue_length", "Length.", { "queue" })
    g:set(5, "mail")
    g:add(-7.5, { "mail" })
    g:inc "mail"
    g:inc(2, { queue = "mail" })
    g:dec(1, "mail")
    assert.equal(-0.5, metrics.read("queue_length", "mail"))
    g:dec "mail"
    assert.equal(-1.5, metrics.read("queue_length", "mail"))
    g:set(math.huge, "mail")
    assert.equal(math.huge, metrics.read("queue_length", "mail"))
  end)
end)

describe("a histogram", function()
  it("puts a value in the first bucket whose bound is not below it", function()
    local h = gateway.histogram("size_bytes", "Size.", { "kind" }, { 10, 100, 1000 })
    for _, value in ipairs { 1, 10, 11, 100, 101, 1000, 1001, 1e9 } do h:observe(value, "a") end
    local read = metrics.read("size_bytes", "a")
    assert.same({ [10] = 2, [100] = 4, [1000] = 6, [math.huge] = 8 }, read.buckets)
    assert.equal(8, read.count)
    assert.equal(1 + 10 + 11 + 100 + 101 + 1000 + 1001 + 1e9, read.sum)
  end)
  it("has buckets for seconds where none are said", function()
    local h = gateway.histogram("work_seconds", "Work.")
    h:observe(0.005)
    h:observe(0.3)
    h:observe(11)
    local read = metrics.read "work_seconds"
    assert.equal(1, read.buckets[0.005])
    assert.equal(2, read.buckets[10])
    assert.equal(3, read.buckets[math.huge])
  end)
end)

describe("declared twice", function()
  it("the same is one metric", function()
    local a = gateway.counter("same_total", "Same.", { "x" })
    local b = gateway.counter("same", "Same.", { "x" })
    assert.equal(a, b)
  end)
end)

-- what is said at load: words of the script, the message
local at_load = {
  { [[gateway.counter(7, "x")]],
    'gateway.counter: name: expected letters, digits, \'_\' and \':\', not beginning with a digit, at most 100, found 7' },
  { [[gateway.counter("a-b", "x")]],
    'gateway.counter "a-b": name: expected letters, digits, \'_\' and \':\', not beginning with a digit, at most '
    .. '100, found "a-b"' },
  { [[gateway.gauge("gateway_x", "x")]],
    'gateway.gauge "gateway_x": name: names that begin with gateway_ are the gateway\'s own: expected '
    .. 'another, found "gateway_x"' },
  { [[gateway.gauge("x")]],
    'gateway.gauge "x": help: expected a text that says what it counts, found nothing' },
  { [[gateway.gauge("x", "x", "plan")]],
    'gateway.gauge "x": labels: expected a list of names such as { "plan" }, found "plan"' },
  { [[gateway.gauge("x", "x", { "a-b" })]],
    'gateway.gauge "x": labels[1]: expected letters, digits and \'_\', not beginning with a digit or '
    .. '\'__\', found "a-b"' },
  { [[gateway.gauge("x", "x", { "__a" })]],
    'gateway.gauge "x": labels[1]: expected letters, digits and \'_\', not beginning with a digit or '
    .. '\'__\', found "__a"' },
  { [[gateway.gauge("x", "x", { "a", "a" })]],
    'gateway.gauge "x": labels[2]: it stands there before: expected each name once, found "a"' },
  { [[gateway.histogram("x", "x", { "le" })]],
    'gateway.histogram "x": labels[1]: a histogram\'s buckets have that label: expected another '
    .. 'name, found "le"' },
  { [[gateway.histogram("x", "x", nil, { 1, 1 })]],
    'gateway.histogram "x": buckets[2]: expected more than 1 before it, found 1' },
  { [[gateway.histogram("x", "x", nil, { 1, math.huge })]],
    'gateway.histogram "x": buckets[2]: expected a number (+Inf is always there), '
    .. 'found inf' },
  { [[gateway.histogram("x", "x", nil, {})]],
    'gateway.histogram "x": buckets: expected a list of 1 to 60 upper bounds, found a table' },
  { [[gateway.counter("x", "x", nil, { serie = 5 })]],
    'gateway.counter "x": unknown option "serie" (did you mean "series"?)' },
  { [[gateway.counter("x", "x", nil, { series = 0 })]],
    'gateway.counter "x": series: expected a whole number from 1 to 100000, found 0' },
  { [[gateway.counter("x", "x"); gateway.gauge("x", "x")]],
    'gateway.gauge "x": it was declared before, at script.lua:1, as another: it was a '
    .. 'counter there and is a gauge here' },
  { [[gateway.counter("x", "x"); gateway.counter("x", "x", { "a" })]],
    'gateway.counter "x": it was declared before, at script.lua:1, as '
    .. 'another: its labels were "" there and are "a" here' },
  { [[gateway.counter("x", "x"); gateway.gauge("x_total", "x")]],
    'gateway.gauge "x_total": its "x_total" is a name of counter "x", declared at '
    .. 'script.lua:1: expected another name' },
  { [[gateway.counter("x_count", "x"); gateway.histogram("x", "x")]],
    'gateway.histogram "x": its "x_count" is a name of counter "x_count", '
    .. 'declared at script.lua:1: expected another name' },
}

describe("at load:", function()
  for _, case in ipairs(at_load) do
    it(case[1], function() assert.same({ "script.lua:1: " .. case[2] }, declaring.problems(case[1])) end)
  end
  it("what was wrong counts nothing, and the script goes on", function()
    local problems = declaring.problems [[
      local c = gateway.counter("a b", "x", { "l" })
      c:inc(1, "x")
      gateway.gauge("c d", "x"):set(1)
      gateway.histogram("e f", "x"):observe(1)]]
    assert.equal(3, #problems)
  end)
  it("declarations are part of what a script says", function()
    local data = declaring.run [[gateway.histogram("x_seconds", "help", { "a", "b" }, { 1, 2 }, { series = 7 })]]
    local entry = { kind = 2, name = "x_seconds", help = "help", labels = "a,b", buckets = { 1, 2 }, series = 7, source = "script.lua:1" }
    assert.same({ entry }, data.metrics)
  end)
end)

-- what is said when it is used: f(counter, gauge, histogram), each with labels a and b; the message
local at_use = {
  { function(c) c.inc(1) end, "expected counter:inc() with a colon, found another object in front" },
  { function(c) c:inc(-1, { "x", "y" }) end, "counter:inc: n: expected a number of at least 0, found -1" },
  { function(c) c:inc(0 / 0, { "x", "y" }) end, "counter:inc: n: expected a number of at least 0, found nan" },
  { function(c) c:inc(math.huge, { "x", "y" }) end, "counter:inc: n: expected a number of at least 0, found inf" },
  { function(c) c:inc(true, { "x", "y" }) end, "counter:inc: n: expected a number of at least 0, found true" },
  { function(c) c:inc(1) end, 'c: expected a value for label "a", found nothing' },
  { function(c) c:inc(1, "x") end, 'c: expected a value for label "b", found nothing' },
  { function(c) c:inc(1, { "x" }) end, 'c: expected a value for label "b", found nothing' },
  { function(c) c:inc(1, { "x", "y", "z" }) end, "c: expected 2 label values, found more" },
  { function(c) c:inc(1, { a = "x", b = "y", bb = "z" }) end, 'c: unknown label "bb" (did you mean "b"?)' },
  { function(c) c:inc(1, { "x", {} }) end, 'c: label "b": expected a string, found a table' },
  { function(c) c:set(1) end, 'counter c: unknown method "set"; known: inc' },
  { function(_, g) g:set("5", { "x", "y" }) end, 'gauge:set: value: expected a number, found "5"' },
  { function(_, g) g:add(nil, { "x", "y" }) end, "gauge:add: n: expected a number, found nothing" },
  { function(_, g) g:inc(0 / 0, { "x", "y" }) end, "gauge:inc: n: expected a number, found nan" },
  { function(_, _, h) h:observe({ "x", "y" }) end, "histogram:observe: value: expected a number, found a list" },
  { function(_, _, h) h:observe(0 / 0, { "x", "y" }) end, "histogram:observe: value: expected a number, found nan" },
}

describe("misuse is told at the line of who did it:", function()
  for _, case in ipairs(at_use) do
    it(case[2], function()
      local labels = { "a", "b" }
      local c, g, h = gateway.counter("c", "C.", labels), gateway.gauge("g", "G.", labels), gateway.histogram("h", "H.", labels)
      local good, message = pcall(case[1], c, g, h)
      assert.is_false(good)
      local line = debug.getinfo(case[1], "S").linedefined
      assert.equal(("%s:%d: %s"):format(HERE, line, case[2]), (message:gsub("%-nan", "nan"):gsub("^%./", "")))
    end)
  end
end)
