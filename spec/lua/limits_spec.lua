-- gateway.rate_limit and gateway.concurrency_limit as declarations: every word that is said about wrong ones, where they end up in a route,
-- and who is one limit and who is another.

local cdef = require "spec.support.cdef"
local declaring = require "spec.lua.declaring"
local parse = assert(package.loadlib(cdef.library, "gw_yaml_load"))

local DURATION = 'a duration (seconds, or a string such as "250ms", "30s", "5m", "1h")'
local BY = 'expected "ip", "header:NAME", "cookie:NAME", "query:NAME", "path", "route", "none" or a function, found '

-- options -> what is said, each behind "gateway.rate_limit: "
local wrong = {
  { "5", "expected a table of options, found 5" },
  { "{}", "expected rate (requests a second), or limit and window, found neither" },
  { "{ rat = 5, rate = 5 }", 'unknown option "rat" (did you mean "rate"?)' },
  { '{ rate = "x" }', 'rate: expected a number, found "x"' },
  { "{ rate = 0 }", "rate: expected a number above 0 (requests a second), found 0" },
  { "{ rate = -1 }", "rate: expected a number above 0 (requests a second), found -1" },
  { "{ rate = 1, burst = 0.5 }", "burst: expected a number from 1 to 1e+15, found 0.5" },
  { "{ rate = 1e-9, burst = 5 }",
    "burst: expected what the rate fills in a nanosecond at least and 30 years at most, found 5 at a rate of 1e-09" },
  { "{ rate = 1, limit = 5 }", "limit: expected either rate and burst, or limit and window, found limit beside rate" },
  { "{ limit = 5 }", "window is required beside limit: expected a duration, found nothing" },
  { '{ limit = 5, window = "soon" }', "window: expected " .. DURATION .. ', found "soon"',
    "window is required beside limit: expected a duration, found nothing" },
  { "{ limit = 5, window = 0 }", "window: expected a millisecond at least and 30 years at most, found 0" },
  { "{ limit = 1.5, window = 1 }", "limit: expected a whole number from 1 to 16777215, found 1.5" },
  { "{ limit = 2000000, window = 1 }", "limit: expected at most 1048575 for each key, found 2000000" },
  { "{ limit = 5, window = 1, burst = 9 }", "burst goes with rate: expected it not to stand beside limit and window" },
  { '{ rate = 1, by = "ipp" }', "by: " .. BY .. '"ipp" (did you mean "ip"?)' },
  { '{ rate = 1, by = "header" }', "by: " .. BY .. '"header" (did you mean "header:NAME"?)' },
  { '{ rate = 1, by = "haeder:x" }', "by: " .. BY .. '"haeder:x" (did you mean "header:x"?)' },
  { '{ rate = 1, by = "header:a b" }', 'by: expected a header\'s name behind "header:", found "a b"' },
  { '{ rate = 1, by = "query:" }', 'by: expected a query parameter\'s name behind "query:", found ""' },
  { "{ rate = 1, by = 5 }", "by: " .. BY .. "5" },
  { '{ rate = 1, by = "none", max_clients = 5 }', 'max_clients: expected a limit by something, found by = "none"' },
  { '{ rate = 1, name = "a b" }', "name: expected letters, digits, '_', '-' and '.', at most 100, found \"a b\"" },
  { "{ rate = 1, status = 200 }", "status: expected a whole number from 400 to 599, found 200" },
  { "{ rate = 1, max_clients = 0 }", "max_clients: expected a whole number from 1 to 16777216, found 0" },
  { '{ rate = 1, idle = "x" }', "idle: expected " .. DURATION .. ', found "x"' },
  { "{ rate = 1, headers = 1 }", "headers: expected true or false, found 1" },
}

local wrong_concurrency = {
  { "{}", 'option "max" is required: expected a whole number from 1 to 2147483647, found nothing' },
  { "{ max = 0 }", "max: expected a whole number from 1 to 2147483647, found 0" },
  { '{ max = 70000, by = "ip" }', "max: expected at most 65535 for each key, found 70000" },
  { "{ mx = 1, max = 2 }", 'unknown option "mx" (did you mean "max"?)' },
}

local OK = "gateway.respond(200)"

describe("a limit that is wrong", function()
  for word, cases in pairs { rate_limit = wrong, concurrency_limit = wrong_concurrency } do
    for i, case in ipairs(cases) do
      it(("%s %d: %s"):format(word, i, case[1]), function()
        local expected = {}
        for k = 2, #case do expected[k - 1] = ("script.lua:1: gateway.%s: %s"):format(word, case[k]) end
        assert.same(expected, declaring.problems(('gateway.route "/" { to = %s, use = { gateway.%s(%s) } }'):format(OK, word, case[1])))
      end)
    end
  end

  it("is two of one name that differ", function()
    assert.same({
      'script.lua:2: rate_limit "a" was given before, at script.lua:1, with other settings: rate was 1 there and is 2 here',
      'script.lua:3: rate_limit "a" was given before, at script.lua:1, with other settings: by was "ip" there and is "path" here',
      'script.lua:4: rate_limit "a" was given before, at script.lua:1, with other settings: rate was 1 there and is nothing here',
    }, (declaring.problems [[gateway.rate_limit { name = "a", rate = 1, burst = 2 }
      gateway.rate_limit { name = "a", rate = 2, burst = 2 }
      gateway.rate_limit { name = "a", rate = 1, burst = 2, by = "path" }
      gateway.rate_limit { name = "a", limit = 1, window = 2 }]]))
  end)

  it("is one made in a request", function()
    declaring.run ""
    local gateway = require "gateway"
    local good, message = pcall(gateway.rate_limit, { rate = 1 })
    assert.is_false(good)
    assert.truthy(message:find("it can be called only while the script loads, not in a request", 1, true), message)
  end)
end)

describe("limits in a route", function()
  local function routes(text)
    local spec, problems, chains = declaring.run(text)
    assert.same({}, problems)
    return spec, chains
  end

  it("stand beside gateway.limits, in any order", function()
    for _, text in ipairs { "gateway.limits { headers = 50 } gateway.use { r }", "gateway.use { r } gateway.limits { headers = 50 }" } do
      local spec = routes("local r = gateway.rate_limit { rate = 1 } " .. text .. ' gateway.route "/" { to = gateway.respond(200) }')
      assert.equal(1, #spec.limits_used)
      assert.equal(50, spec.limits.headers)
      assert.is_nil(spec.limits[1])
      assert.same({ 0 }, spec.routes[1].limits)
    end
  end)

  it("are C's before the first function, steps of the chain behind it", function()
    local spec, chains = routes [[
      local function f(request, next) return next() end
      local a, b = gateway.rate_limit { rate = 1, name = "a" }, gateway.concurrency_limit { max = 3 }
      gateway.use { a }
      gateway.route "/c" { use = { b }, to = gateway.respond(200) }
      gateway.route "/mixed" { use = { b, f, a }, to = gateway.respond(200) }
      gateway.route "/key" { use = { gateway.rate_limit { rate = 1, by = function() return "x" end }, b }, to = gateway.respond(200) }
      gateway.route "/single" { use = b, to = gateway.respond(200) }
    ]]
    local c, mixed, key, single = spec.routes[1], spec.routes[2], spec.routes[3], spec.routes[4]
    assert.same({ 0, 1 }, c.limits)
    assert.is_nil(c.chain)
    assert.same({ "rate_limit(a: 1/s burst 1, by ip)", "concurrency_limit(max 3)" }, c.chain_texts)
    assert.same({ 0, 1 }, mixed.limits)
    assert.equal(2, #chains[mixed.chain + 1].use)
    assert.same({ "rate_limit(a: 1/s burst 1, by ip)", "concurrency_limit(max 3)", "script.lua:1", "rate_limit(a: 1/s burst 1, by ip)" },
      mixed.chain_texts)
    assert.same({ 0 }, key.limits)
    assert.equal(2, #chains[key.chain + 1].use)
    assert.same({ 0, 1 }, single.limits)
  end)

  it("come out plain", function()
    local spec = routes [[
      gateway.rate_limit { rate = 5, by = "header:X-Key", idle = "1m", headers = true, status = 503 }
      gateway.rate_limit { limit = 7, window = "1m", by = "none", name = "w" }
      gateway.concurrency_limit { max = 2, by = "cookie:s", max_clients = 10 }
    ]]
    assert.same({
      { shared = 0, by = "header", by_name = "X-Key", headers = true, status = 503, label = "default" },
      { shared = 1, by = "none", headers = false, status = 429, label = "w" },
      { shared = 2, by = "cookie", by_name = "s", headers = false, status = 429, label = "default" },
    }, spec.limits_used)
    local function entry(t)
      t.index, t.source = nil, nil
      return t
    end
    assert.same({
      {
        word = "rate_limit", name = "script.lua:1", kind = "client_limiter", rate = 5, burst = 5, idle = 60, keys = 100000,
        by = "header:x-key",
      },
      { word = "rate_limit", name = "w", kind = "sliding_window", limit = 7, window = 60 },
      {
        word = "concurrency_limit", name = "script.lua:3", kind = "keyed_concurrency", limit = 2, keys = 10, by = "cookie:s",
      },
    }, { entry(spec.shared[1]), entry(spec.shared[2]), entry(spec.shared[3]) })
  end)

  it("of one name are one; without a name, each call of a line is another", function()
    local spec = routes [[
      for _, path in ipairs { "/a", "/b" } do
        local named = { rate = 1, name = "n", headers = path == "/b" } gateway.route(path) { use = {
        gateway.rate_limit { rate = 1 }, gateway.rate_limit(named) },
          to = gateway.respond(200) }
      end
    ]]
    local names = {}
    for i, entry in ipairs(spec.shared) do names[i] = entry.name end
    assert.same({ "script.lua:3", "n", "script.lua:3#2" }, names)
    assert.same({ 0, 1, 2, 1 }, { spec.limits_used[1].shared, spec.limits_used[2].shared, spec.limits_used[3].shared,
      spec.limits_used[4].shared })
    assert.same({ false, true }, { spec.limits_used[2].headers, spec.limits_used[4].headers })
  end)
end)

describe("limits in YAML", function()
  local folder = os.tmpname()
  local function run(text)
    os.remove(folder)
    os.execute("mkdir -p " .. folder)
    local file = assert(io.open(folder .. "/r.yaml", "wb"))
    file:write(text)
    file:close()
    local spec, problems = declaring.run('gateway.load "r.yaml"', { folder = folder, parse = parse })
    for i, problem in ipairs(problems) do problems[i] = problem:gsub("^.*/r%.yaml", "r.yaml") end
    return spec, problems
  end
  teardown(function() os.execute("rm -rf " .. folder) end)

  it("are what they are in Lua", function()
    local spec, problems = run [[
routes:
  - path: /a
    to: { respond: 200 }
    use:
      - rate_limit: { rate: 5, burst: 10, by: ip }
      - concurrency_limit: { max: 3 }
]]
    assert.same({}, problems)
    assert.same({ 0, 1 }, spec.routes[1].limits)
    assert.same({ "rate_limit(5/s burst 10, by ip)", "concurrency_limit(max 3)" }, spec.routes[1].chain_texts)
    assert.truthy(spec.shared[1].name:find("/r%.yaml:5$"), spec.shared[1].name)
  end)

  it("are refused in the same words, at their lines", function()
    local _, problems = run [[
routes:
  - path: /a
    to: { respond: 200 }
    use:
      - rate_limit: { rate: 0 }
      - { concurrency_limit: { max: 1 }, wehn: 3 }
]]
    assert.same({
      "r.yaml:5: gateway.rate_limit: rate: expected a number above 0 (requests a second), found 0",
      'r.yaml:6: use: unknown option "wehn"; known: concurrency_limit',
    }, problems)
  end)
end)
