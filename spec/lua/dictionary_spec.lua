-- gateway.shared as scripts meet it: what each method answers, on a clock of the test's own, and every word that is said about misuse.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local gateway = require "gateway"

local HERE = "spec/lua/dictionary_spec.lua"
local clock, dict

before_each(function()
  clock = { t = 0, now = function(self) return self.t end }
  dict = gateway.shared("spec", { size = "1MB", clock = clock })
end)

local function results(...) return { n = select("#", ...), ... } end

describe("a shared dictionary", function()
  it("keeps strings, numbers and booleans", function()
    for name, v in pairs { text = "hello", empty = "", nul = "a\0b", number = 1.5, yes = true, no = false, long = ("x"):rep(100000) } do
      assert.same(results(true), results(dict:set(name, v)))
      assert.equal(v, dict:get(name))
    end
    assert.is_nil(dict:get "nothing")
    dict:set(7, "seven")
    assert.equal("seven", dict:get "7")
  end)

  it("adds, replaces and deletes", function()
    assert.same(results(nil, "not found"), results(dict:replace("k", 1)))
    assert.same(results(true), results(dict:add("k", 1)))
    assert.same(results(nil, "exists"), results(dict:add("k", 2)))
    assert.same(results(true), results(dict:replace("k", "three")))
    assert.equal("three", dict:get "k")
    assert.is_true(dict:delete "k")
    assert.is_false(dict:delete "k")
    assert.is_nil(dict:get "k")
  end)

  it("counts", function()
    assert.same(results(nil, "not found"), results(dict:incr "n"))
    assert.equal(11, dict:incr("n", 1, 10))
    assert.equal(12, dict:incr "n")
    assert.equal(2, dict:incr("n", -10, 100))
    assert.equal(2, dict:get "n")
    dict:set("text", "5")
    assert.same(results(nil, "not a number"), results(dict:incr "text"))
  end)

  it("compares and sets", function()
    assert.same(results(nil, "changed"), results(dict:cas("k", 1, 2)))
    assert.is_true((dict:cas("k", nil, "a")))
    assert.same(results(nil, "changed"), results(dict:cas("k", nil, "b")))
    assert.same(results(nil, "changed"), results(dict:cas("k", "A", "b")))
    assert.is_true((dict:cas("k", "a", true)))
    assert.same(results(nil, "changed"), results(dict:cas("k", false, 1)))
    assert.is_true((dict:cas("k", true, nil)))
    assert.is_nil(dict:get "k")
  end)

  it("updates by a function, again when somebody was faster", function()
    local calls = 0
    local function add(v)
      calls = calls + 1
      if calls == 1 then dict:set("k", 10) end
      return (v or 0) + 1
    end
    assert.equal(11, dict:update("k", add))
    assert.equal(2, calls)
    assert.equal(11, dict:get "k")
    assert.is_nil(dict:update("k", function() return nil end))
    assert.is_nil(dict:get "k")
    assert.same(results(nil, "changed"), results(dict:update("k", function(v)
      dict:set("k", (v or 0) + 1)
      return 0
    end)))
  end)

  it("lets entries end", function()
    dict:set("a", 1, 5)
    dict:set("b", 2, "500ms")
    dict:set("c", 3)
    assert.same({ 5, 0.5, math.huge }, { dict:ttl "a", dict:ttl "b", dict:ttl "c" })
    clock.t = 0.5
    assert.same({ 1, nil, 3 }, { dict:get "a", dict:get "b", dict:get "c" })
    assert.is_nil(dict:ttl "b")
    assert.is_true(dict:expire("a", "1h"))
    assert.is_true(dict:expire("c", 1))
    assert.is_false(dict:expire("b", 1))
    clock.t = 1.5
    assert.same({ 1, nil }, { dict:get "a", dict:get "c" })
    assert.is_true(dict:expire "a")
    clock.t = 1e9
    assert.equal(1, dict:get "a")
    dict:set("far", 1, 1e300) -- beyond what a clock can show
    assert.equal(math.huge, dict:ttl "far")
  end)

  it("counts on from init when a counter has ended, which others' increments do not put off", function()
    assert.equal(1, dict:incr("n", 1, 0, 10))
    clock.t = 9
    assert.equal(2, dict:incr("n", 1, 0, 10))
    assert.equal(1, dict:ttl "n")
    clock.t = 10
    assert.equal(1, dict:incr("n", 1, 0, 10))
  end)

  it("gives a lock to one, until it is given back or ends", function()
    local token = dict:lock("job", 10)
    assert.is_number(token)
    assert.is_nil(dict:lock("job", 10))
    assert.is_true(dict:unlock("job", token))
    assert.is_false(dict:unlock("job", token))
    local other = dict:lock("job", 10)
    clock.t = 10
    local third = dict:lock("job", 10)
    assert.is_number(third)
    assert.is_false(dict:unlock("job", other))
    assert.is_true(dict:unlock("job", third))
  end)

  it("is bounded, and says what went", function()
    for i = 1, 20000 do dict:set("k" .. i, i) end
    local stats = dict:stats()
    assert.equal(20000, stats.entries + stats.evicted)
    assert.equal(stats.entries, dict:count())
    assert.is_true(stats.bytes <= stats.capacity and stats.capacity <= 2 ^ 20)
    assert.same(results(nil, "too large"), results(dict:set("k", ("x"):rep(stats.share))))
    assert.same(results(nil, "too large"), results(dict:set(("k"):rep(70000), 1)))
    assert.equal(2, dict:stats().refused)
    dict:clear()
    assert.equal(0, dict:count())
    assert.is_nil(dict:get "k20000")
  end)

  it("is the same one by the same name", function()
    local a, b = gateway.shared "spec-same", gateway.shared "spec-same"
    a:set("k", 1)
    assert.equal(1, b:get "k")
    assert.is_nil(gateway.shared("spec-other"):get "k")
  end)
end)

describe("misuse", function()
  local d = gateway.shared "misuse"
  local DURATION = 'a duration (seconds, or a string such as "250ms", "30s", "5m", "1h")'
  local NAME = "gateway.shared: expected a name of letters, digits, '_', '-' and '.', at most 100, found "
  for _, case in ipairs {
    { function() gateway.shared() end, NAME .. "nothing" },
    { function() gateway.shared "a b" end, NAME .. '"a b"' },
    { function() gateway.shared("x", 5) end, "gateway.shared: expected a table of options, found 5" },
    { function() gateway.shared("x", { sice = 5 }) end, 'gateway.shared: unknown option "sice" (did you mean "size"?)' },
    { function() gateway.shared("x", { size = "1KB" }) end,
      'gateway.shared: size: expected a size (bytes, or a string such as "64KB", "10MB") from 65536 to 68719476736, found "1KB"' },
    { function() d:set("k") end,
      "dictionary:set: value: expected a string, a number or a boolean, found nothing; delete(key) removes a key" },
    { function() d:set("k", {}) end,
      "dictionary:set: value: expected a string, a number or a boolean, found a table; make it text first" },
    { function() d:add("k", print) end, "dictionary:add: value: expected a string, a number or a boolean, found a function" },
    { function() d:replace({}, 1) end, "dictionary:replace: key: expected a string, found a table" },
    { function() d:get() end, "dictionary:get: key: expected a string, found nothing" },
    { function() d:set("k", 1, 0) end, "dictionary:set: ttl: expected nothing (for ever) or " .. DURATION .. " above 0, found 0" },
    { function() d:set("k", 1, "5 parsecs") end,
      "dictionary:set: ttl: expected nothing (for ever) or " .. DURATION .. ' above 0, found "5 parsecs"' },
    { function() d:incr("k", "1") end, 'dictionary:incr: n: expected a number, found "1"' },
    { function() d:incr("k", 1, true) end, "dictionary:incr: init: expected a number, found true" },
    { function() d:cas("k", {}, 1) end,
      "dictionary:cas: expected: expected a string, a number or a boolean, found a table; make it text first" },
    { function() d:update("k", 5) end, "dictionary:update: f: expected a function, found 5" },
    { function() d:lock("k") end, "dictionary:lock: ttl: expected " .. DURATION .. ", found nothing" },
    { function() d:unlock("k") end, "dictionary:unlock: token: expected what lock() gave, found nothing" },
    { function() d.get("k") end, "expected dictionary:get(key) with a colon, found another object in front" },
    { function() d:gett("k") end, 'dictionary: unknown method "gett" (did you mean "get"?)' },
    { function() d.x = 5 end, 'a dictionary has no field "x" to set' },
  } do
    local f, expected = case[1], case[2]
    local line = debug.getinfo(f, "S").linedefined
    it(("at line %d: %s"):format(line, expected), function()
      local good, message = pcall(f)
      assert.is_false(good)
      assert.equal(("%s:%d: %s"):format(HERE, line, expected), (message:gsub("^%./", "")))
    end)
  end
end)
