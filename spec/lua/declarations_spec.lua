-- Scripts, and every word that is said about what is wrong with them: "file:line: what was found, what was expected".

local declaring = require "spec.lua.declaring"

local DURATION = 'a duration (seconds, or a string such as "250ms", "30s", "5m", "1h")'
local DURATION_MOST = DURATION .. " of at most " .. 366 * 86400
local MIDDLEWARE = "expected a function (function(request, next) ... end) or a plugin"
local U = 'local u = gateway.upstream "u" { "127.0.0.1:1" } '

-- script -> what is said
local wrong = {
  -- listening
  { "gateway.listen(80)", 'gateway.listen: expected an address such as "0.0.0.0:8080" or "unix:/run/gateway.sock", found 80' },
  { 'gateway.listen "a:1" gateway.listen "a:1"', 'gateway.listen: "a:1" was given before, at script.lua:1' },
  { "gateway.admin(5)", 'gateway.admin: expected an address such as "127.0.0.1:9901", or false, found 5' },
  { "gateway.admin {}", 'gateway.admin: expected an address first, as in { "0.0.0.0:9901", token = "..." }, found nothing' },
  { 'gateway.admin { "a:1", tokn = "x" }', 'gateway.admin: unknown option "tokn" (did you mean "token"?)' },
  { 'gateway.admin { "a:1", token = "short" }', "gateway.admin: token: expected at least 16 characters, found 5" },
  { 'gateway.admin { "a:1", token = "0123456789 abcdef" }',
    "gateway.admin: token: expected visible ASCII characters without spaces" },
  { 'gateway.admin { "a:1", token = "0123456789abcdef", token_file = "t" }',
    "gateway.admin: token and token_file: expected one of them" },
  { 'gateway.admin { "a:1", token_file = "/nothing/here" }',
    "gateway.admin: token_file: cannot read /nothing/here: No such file or directory" },
  { 'gateway.admin { "unix:/a", mode = "rw" }', 'gateway.admin: mode: expected an octal number such as "0660", found "rw"' },
  { 'gateway.admin { "a:1", mode = "0660" }', 'gateway.admin: mode: expected only with an address "unix:/path"' },
  { "gateway.user(0)", 'gateway.user: expected the name of a user such as "www-data", found 0' },
  { 'gateway.user { "a", groop = "b" }', 'gateway.user: unknown option "groop" (did you mean "group"?)' },
  { 'gateway.admin "a:1" gateway.admin "a:2"', "gateway.admin was given before, at script.lua:1" },
  -- settings
  { "gateway.workers(0)", 'gateway.workers: expected "auto" or a whole number from 1 to 256, found 0' },
  { 'gateway.workers "all"', 'gateway.workers: expected "auto" or a whole number from 1 to 256, found "all"' },
  { "gateway.limits(5)", "gateway.limits: expected a table of options, found 5" },
  { "gateway.limits { header_byte = 1 }", 'gateway.limits: unknown option "header_byte" (did you mean "header_bytes"?)' },
  { "gateway.limits { headers = 201 }", "gateway.limits: headers: expected a whole number from 1 to 200, found 201" },
  { 'gateway.limits { body_bytes = "huge" }',
    'gateway.limits: body_bytes: expected a size (bytes, or a string such as "64KB", "10MB"), found "huge"' },
  { "gateway.limits {} gateway.limits {}", "gateway.limits was given before, at script.lua:1" },
  { "gateway.timeouts { header = true }", "gateway.timeouts: header: expected " .. DURATION .. ", found true" },
  { "gateway.access_log { sample = 2 }", "gateway.access_log: sample: expected a number from 0 to 1, found 2" },
  { "gateway.access_log { to = 5 }", "gateway.access_log: to: expected a string, found 5" },
  { "gateway.access_log(5)", "gateway.access_log: expected a table of options, or false, found 5" },
  { "gateway.trusted_proxies { 5 }", "gateway.trusted_proxies: [1]: expected a string, found 5" },
  { "gateway.forwarding { vai = 1 }", 'gateway.forwarding: unknown option "vai" (did you mean "via"?)' },
  { 'gateway.forwarding { via = "a b" }', 'gateway.forwarding: via: expected a pseudonym without spaces or separators, found "a b"' },
  { "gateway.request_id(1)", "gateway.request_id: expected true or false, found 1" },
  -- upstreams
  { 'gateway.upstream "u" { "a:1", ballance = 1 }', 'upstream "u": unknown option "ballance" (did you mean "balance"?)' },
  { 'gateway.upstream "u" { "a:1", balance = "round" }', 'upstream "u": balance: expected one of "round_robin", "weighted", "least_conn", '
    .. '"hash", "maglev", "ewma", "random", found "round"' },
  { 'gateway.upstream "u" { { "a:1", weight = 2 }, balance = "round_robin" }',
    'upstream "u": balance = "round_robin" gives all endpoints the same whatever their weight: expected balance = "weighted"' },
  { 'gateway.upstream "u" { { "a:1", backup = 1 } }', 'upstream "u": endpoint "a:1": backup: expected true or false, found 1' },
  { 'gateway.upstream "u" { { "a:1", wieght = 1 } }', 'upstream "u": endpoint "a:1": unknown option "wieght" (did you mean "weight"?)' },
  { 'gateway.upstream "u" { "a:1", hash_on = "ip" }',
    'upstream "u": hash_on: expected only with balance = "hash" or "maglev", found balance = "round_robin"' },
  { 'gateway.upstream "u" { "a:1", balance = "hash", hash_on = "heder:x" }', 'upstream "u": hash_on: expected "ip", "path", '
    .. '"header:NAME", "cookie:NAME", "query:NAME" or a function, found "heder:x" (did you mean "header:x"?)' },
  { 'gateway.upstream "u" { "a:1", balance = "hash", hash_on = "header:" }', 'upstream "u": hash_on: expected "ip", "path", '
    .. '"header:NAME", "cookie:NAME", "query:NAME" or a function, found "header:"' },
  { 'gateway.upstream "u" { "a:1", balance = "hash", load_factor = 1 }',
    'upstream "u": load_factor: expected a number from 1.01 to 1000, found 1' },
  { 'gateway.upstream "u" { "a:1", two_choices = true }',
    'upstream "u": two_choices: expected only with balance = "least_conn", found balance = "round_robin"' },
  { 'gateway.upstream "u" { "a:1", slow_start = "soon" }', 'upstream "u": slow_start: expected ' .. DURATION_MOST .. ', found "soon"' },
  { 'gateway.upstream "u" { "a:1", health = { activ = {} } }', 'upstream "u": health: unknown option "activ" (did you mean "active"?)' },
  { 'gateway.upstream "u" { "a:1", health = { active = { pth = "/" } } }',
    'upstream "u": health.active: unknown option "pth" (did you mean "path"?)' },
  { 'gateway.upstream "u" { "a:1", health = { active = { path = "x" } } }',
    'upstream "u": health.active.path: expected a path that begins with \'/\', found "x"' },
  { 'gateway.upstream "u" { "a:1", health = { active = { method = "get" } } }',
    'upstream "u": health.active.method: expected a method in capitals such as "GET", found "get"' },
  { 'gateway.upstream "u" { "a:1", health = { active = { headers = { Host = "a" } } } }',
    'upstream "u": health.active.headers: "Host" is written by the gateway: use host' },
  { 'gateway.upstream "u" { "a:1", health = { active = { tcp = true, body = "ok" } } }',
    'upstream "u": health.active: body says what an HTTP probe does: it cannot stand beside tcp = true' },
  { 'gateway.upstream "u" { "a:1", health = { active = { expect = { 200, "x" } } } }', 'upstream "u": health.active.expect[2]: expected '
    .. 'a status from 100 to 599 or a range such as "500-599", found "x"' },
  { 'gateway.upstream "u" { "a:1", health = { active = { rise = 0 } } }',
    'upstream "u": health.active.rise: expected a whole number from 1 to 1000, found 0' },
  { 'gateway.upstream "u" { "a:1", health = { passive = { error_rate = 2 } } }',
    'upstream "u": health.passive.error_rate: expected a number from 0 to 1, found 2' },
  { 'gateway.upstream "u" { "a:1", health = { passive = 5 } }',
    'upstream "u": health.passive: expected a table of options, true or false, found 5' },
  { 'gateway.upstream "u" { "a:1", health = { when_none_healthy = "refus" } }',
    'upstream "u": health.when_none_healthy: expected one of "try_all", "refuse", found "refus" (did you mean "refuse"?)' },
  { 'gateway.upstream "u" { "a:1", health = { panic = 101 } }',
    'upstream "u": health.panic: expected a whole number from 0 to 100, found 101' },
  { 'gateway.upstream "u" { "a:1", breaker = { failure = 1 } }',
    'upstream "u": breaker: unknown option "failure" (did you mean "failures"?)' },
  { 'gateway.upstream "u" { "a:1", breaker = { probes = 64 } }',
    'upstream "u": breaker.probes: expected a whole number from 1 to 63, found 64' },
  { 'gateway.upstream "u" { "a:1", breaker = { error_rate = 0 } }',
    'upstream "u": breaker.error_rate: expected a share above 0 and at most 1, found 0' },
  { 'gateway.upstream "u" { "a:1", breaker = { open_for = 10, open_most = 5 } }',
    'upstream "u": breaker.open_most: expected at least open_for (10), found 5' },
  { 'gateway.upstream "u" { "a:1", breaker = { statuses = {} } }',
    'upstream "u": breaker.statuses: expected a list such as { 502, "503-504" }, found a table' },
  { 'gateway.upstream "u" { "a:1", retry = { atempts = 2 } }', 'upstream "u": retry: unknown option "atempts" (did you mean "attempts"?)' },
  { 'gateway.upstream "u" { "a:1", retry = { on = { "conect" } } }', 'upstream "u": retry.on[1]: expected "connect", "reset", "timeout", '
    .. 'a status from 100 to 599 or a range such as "500-599", found "conect" (did you mean "connect"?)' },
  { 'gateway.upstream "u" { "a:1", retry = { budget = 2 } }', 'upstream "u": retry.budget: expected a number from 0 to 1, found 2' },
  { 'gateway.upstream "u" { "a:1", retry = { budget = { minmum = 1 } } }',
    'upstream "u": retry.budget: unknown option "minmum" (did you mean "minimum"?)' },
  { 'gateway.upstream "u" { "a:1", retry = { hedge = 1, attempts = 1 } }',
    'upstream "u": retry.hedge: expected attempts of at least 2 beside it, found 1' },
  { 'gateway.upstream "u" { "a:1", retry = 3 }', 'upstream "u": retry: expected a table of options, true or false, found 3' },
  { 'gateway.upstream "u" { "a:1", concurrency = 0 }', 'upstream "u": concurrency: expected a whole number from 1 to 1000000, found 0' },
  { 'gateway.upstream "u" { "a:1", concurrency = "all" }', 'upstream "u": concurrency: expected a whole number, "adaptive" or the settings '
    .. 'of an adaptive limit, found "all"' },
  { 'gateway.upstream "u" { "a:1", concurrency = { least = 5, most = 3 } }',
    'upstream "u": concurrency.least: expected at most 3, the most, found 5' },
  { 'gateway.upstream "u" { "a:1", timeouts = { conect = 1 } }',
    'upstream "u": timeouts: unknown option "conect" (did you mean "connect"?)' },
  { 'gateway.upstream "u" { "a:1", timeouts = { idle = "x" } }', 'upstream "u": timeouts.idle: expected ' .. DURATION .. ', found "x"' },
  { 'gateway.upstream "u" { "a:1", pool = { idle = -1 } }', 'upstream "u": pool.idle: expected a whole number from 0 to 100000, found -1' },
  { 'gateway.upstream "u" { "a:1", host = "a b,c" }', 'upstream "u": host: expected a host name, found "a b,c"' },
  { 'gateway.upstream "u" {}', 'upstream "u": expected at least one endpoint such as "127.0.0.1:8080", found none' },
  { 'gateway.upstream "u" { 5 }', 'upstream "u": endpoint 1: expected "HOST:PORT" or { "HOST:PORT", weight = 3 }, found 5' },
  { 'gateway.upstream "u" { { "a:1", wieght = 3 } }', 'upstream "u": endpoint "a:1": unknown option "wieght" (did you mean "weight"?)' },
  { 'gateway.upstream "u" { "https://a" }',
    'upstream "u": endpoint "https://a": expected http://HOST:PORT or HOST:PORT, found the scheme "https"' },
  { 'gateway.upstream "u" { "http://a/x" }', 'upstream "u": endpoint "http://a/x": expected no path behind the address, found "/x"' },
  { 'gateway.upstream "u" (5)', 'upstream "u": expected a table of endpoints and options, found 5' },
  { 'gateway.upstream "a b" { "a:1" }', "gateway.upstream: expected a name of letters, digits, '_', '-' and '.', found \"a b\"" },
  { 'gateway.upstream { "a:1" } {}', "gateway.upstream: expected a name of letters, digits, '_', '-' and '.', found a list",
    'upstream "?": expected at least one endpoint such as "127.0.0.1:8080", found none' },
  { U .. 'gateway.upstream "u" { "b:1" }', 'upstream "u" was declared before, at script.lua:1' },
  { 'gateway.upstream "u"', 'upstream "u" was never given its options: write gateway.upstream "u" { "127.0.0.1:8080" }' },
  -- routes
  { 'gateway.route "/a" {}', 'route "/a": to is required: expected an upstream, a response, a split or a function, found nothing' },
  { 'gateway.route "/a"', 'route "/a" was never given its options: write gateway.route "/a" { to = ... }' },
  { "gateway.route(5) { to = gateway.respond(200) }", 'gateway.route: expected a pattern such as "/a", found 5', pattern = true },
  { 'gateway.route "/a" (5)', 'route "/a": expected a table of options such as { to = users }, found 5' },
  { U .. 'gateway.route "/a" { to = u, methdos = {} }', 'route "/a": unknown option "methdos" (did you mean "methods"?)' },
  { U .. 'gateway.route "/a" { to = u, methods = "get" }',
    'route "/a": methods[1]: expected a method in capitals such as "GET", found "get"' },
  { U .. 'gateway.route "/a" { to = u, methods = {} }',
    'route "/a": methods: expected a list such as { "GET", "POST" }, found an empty one' },
  { U .. 'gateway.route "/a" { to = u, host = {} }', 'route "/a": host: expected a string, found a table' },
  { U .. 'gateway.route "/a" { to = u, headers = { A = 1 } }', 'route "/a": headers.A: expected a string, found 1' },
  { U .. 'gateway.route "/a" { to = u, headers = { ["A B"] = "1" } }', 'route "/a": headers: expected header names, found "A B"' },
  { U .. 'gateway.route "/a" { to = u, headers = { A = "1", a = "2" } }', 'route "/a": headers: "a" stands there twice' },
  { U .. 'gateway.route "/a" { to = u, use = { 5 } }', 'route "/a": use[1]: ' .. MIDDLEWARE .. ", found 5" },
  { U .. 'gateway.route "/a" { to = u, use = { { print } } }',
    'route "/a": use[1]: ' .. MIDDLEWARE .. ", found a table: write the list flat" },
  { U .. 'gateway.route "/a" { to = u, use = { print, nil, print } }', 'route "/a": use[2]: ' .. MIDDLEWARE .. ", found nothing" },
  { U .. 'gateway.route "/a" { to = u, use = { cors = print } }',
    'route "/a": use: expected a list of functions and plugins, found the name "cors" in it' },
  { U .. 'gateway.route "/a" { to = u, limits = { body_bytes = -1 } }',
    'route "/a": limits.body_bytes: expected a size (bytes, or a string such as "64KB", "10MB"), found -1' },
  { U .. 'gateway.route "/a" { to = "usr" }', 'route "/a": to: unknown upstream "usr"; known: u' },
  { 'gateway.route "/a" { to = "usr" }', 'route "/a": to: unknown upstream "usr": none is declared' },
  { 'gateway.route "/a" { to = 5 }', 'route "/a": to: expected an upstream, a response, a split or a function, found 5' },
  { 'gateway.route "/a" { to = gateway.split { print } }', 'route "/a": to: arm 1: expected an upstream or a response, found a function' },
  { "gateway.use(5)", "gateway.use: expected a list of functions and plugins, found 5" },
  -- answers
  { "gateway.respond(99)", "gateway.respond: expected a status from 200 to 599, found 99" },
  { "gateway.respond(200, print)", "gateway.respond: expected a string or a table as body, found a function" },
  { "gateway.respond(200, { print })",
    "gateway.respond: JSON: expected a string, a number, a boolean or a table, found a function" },
  { 'gateway.respond(200, "", { ["a b"] = "c" })', 'header name: expected letters, digits and -, found "a b"' },
  { 'gateway.respond(200, "", { A = "b\\nc" })',
    'header "A": expected a string without line ends or control characters, found "b\\010c"' },
  { 'gateway.respond(200, "", { ["Content-Length"] = 5 })', 'header "Content-Length" frames the connection: the gateway alone writes it' },
  { 'gateway.redirect("/a", 200)', "gateway.redirect: expected 301, 302, 303, 307 or 308, found 200" },
  { "gateway.redirect(nil)", "gateway.redirect: expected a URL, found nothing" },
  { "gateway.split {}", "gateway.split: expected a list such as { { stable, weight = 95 }, { beta, weight = 5 } }, found a table" },
  { U .. "gateway.split { { u, wieght = 1 } }", 'gateway.split: arm 1: unknown option "wieght" (did you mean "weight"?)' },
  { U .. "gateway.split { { u, weight = 0 } }", "gateway.split: expected a weight above 0 in at least one arm, found none" },
  -- plugins
  { "gateway.plugin(5)", "gateway.plugin: expected a plugin's name, found 5" },
}

describe("a script that is wrong", function()
  for i, case in ipairs(wrong) do
    it(("%d: %s"):format(i, case[1]), function()
      local expected = {}
      for k = 2, #case do expected[#expected + 1] = "script.lua:1: " .. case[k] end
      local found = declaring.problems(case[1])
      if case.pattern then expected[1] = expected[1]:gsub('"/a"', '"/api"') end
      assert.same(expected, found)
    end)
  end

  it("is told everything in one run, each at its line", function()
    assert.same({
      'script.lua:2: gateway.limits: unknown option "x"; known: body_bytes, header_bytes, headers, keep_encoded_slash, request_line',
      "script.lua:4: gateway.respond: expected a status from 200 to 599, found 1",
      'script.lua:3: route "/a": unknown option "too" (did you mean "to"?)',
      'script.lua:3: route "/a": to is required: expected an upstream, a response, a split or a function, found nothing',
    }, declaring.problems('\ngateway.limits { x = 1 }\ngateway.route "/a" {\n  too = gateway.respond(1),\n}'))
  end)

  it("needs somewhere to listen", function()
    assert.same({ 'script.lua: nothing to listen on: expected gateway.listen "0.0.0.0:8080"' }, declaring.problems("", { listen = false }))
  end)
end)

describe("the library", function()
  local function raised(text)
    local good, message = pcall(declaring.run, text)
    assert.is_false(good)
    return message
  end
  it("names what was meant", function()
    assert.equal('script.lua:1: gateway: unknown name "rout" (did you mean "route"?)', raised 'gateway.rout "/a" {}')
  end)
  it("cannot be changed", function()
    assert.equal("script.lua:1: gateway.x cannot be set", raised "gateway.x = 1")
  end)
  it("declares nothing once the script is loaded", function()
    declaring.run ""
    local gateway = require "gateway"
    for _, f in ipairs {
      function() gateway.route "/a" end, function() gateway.upstream "a" end, function() gateway.listen "a:1" end,
      function() gateway.limits {} end, function() gateway.use {} end, function() gateway.plugin "a" end, function() gateway.load "a" end,
    } do
      local good, message = pcall(f)
      assert.is_false(good)
      assert.truthy(message:find("it can be called only while the script loads, not in a request", 1, true), message)
    end
  end)
  it("raises misuse at the caller's line once the script is loaded", function()
    declaring.run ""
    local gateway = require "gateway"
    local good, message = pcall(gateway.respond, 99)
    assert.is_false(good)
    assert.truthy(message:find("declarations_spec.lua:%d+: gateway.respond: expected a status from 200 to 599, found 99"), message)
  end)
end)

describe("what is declared", function()
  it("comes out plain", function()
    local spec, problems, chains = declaring.run [[
      gateway.workers "auto"
      gateway.limits { body_bytes = "1MB" }
      gateway.timeouts { drain = "1m" }
      gateway.access_log(false)
      gateway.trusted_proxies "10.0.0.0/8"
      local u = gateway.upstream "u" { "a:1", { "http://b", resolve = "5s" }, timeouts = { connect = "250ms" }, pool = { idle = 5 } }
      local function f() end
      gateway.use { f }
      gateway.route "/a" { to = "u", methods = { "GET", "GET", "PURGE" }, headers = { B = "*", A = "1" }, name = "first" }
      gateway.route "/b" { to = gateway.split { { u, weight = 3 }, gateway.respond(200, { a = 1 }), { u, weight = 0 } },
        limits = { body_bytes = 5 } }
      gateway.route("/c", { to = gateway.redirect("/a", 301), use = { f } })
      gateway.route "/d" { to = function() end }
    ]]
    assert.same({}, problems)
    assert.equal(0, spec.workers)
    assert.equal(1048576, spec.limits.body_bytes)
    assert.equal(16384, spec.limits.header_bytes)
    assert.equal(60, spec.timeouts.drain)
    assert.same({ off = true }, spec.access_log)
    assert.same({ { cidr = "10.0.0.0/8", source = "script.lua:5" } }, spec.trusted_proxies)
    assert.same({ { address = "a:1", weight = 1 }, { address = "b:80", weight = 1, resolve = 5 } }, spec.upstreams[1].endpoints)
    assert.same({ connect = 0.25 }, spec.upstreams[1].timeouts)
    local a, b, c, d = unpack(spec.routes)
    assert.equal("first", a.name)
    assert.equal("/b", b.name)
    assert.equal("script.lua:9", a.source)
    assert.same({ "GET", "PURGE" }, a.methods)
    assert.same({ { name = "A", value = "1", any = false }, { name = "B", any = true } }, a.headers)
    assert.same({ kind = "upstream", upstream = 0, name = "u" }, a.target)
    assert.equal(5, b.body_bytes)
    assert.equal(2, #b.target.shares)
    assert.same({ kind = "answer", weight = 1,
      answer = { status = 200, body = '{"a":1}', headers = { { name = "Content-Type", value = "application/json" } } } },
        b.target.shares[2])
    assert.same({ status = 301, body = "", headers = { { name = "Location", value = "/a" } } }, c.target.answer)
    -- routes with the same functions share a chain
    assert.equal(0, a.chain)
    assert.equal(a.chain, b.chain)
    assert.not_equal(a.chain, c.chain)
    assert.equal(3, #chains)
    assert.equal(2, #chains[c.chain + 1].use)
    assert.is_function(chains[d.chain + 1].to)
    assert.same({ "script.lua:7" }, a.chain_texts)
  end)

  it("has no chain when there is no function", function()
    local spec, _, chains = declaring.run 'gateway.route "/" { to = gateway.respond(204) }'
    assert.is_nil(spec.routes[1].chain)
    assert.equal(0, #chains)
  end)

  it("is the same text each time, and another when something differs", function()
    local digest = require "gateway.digest"
    local function text(script) return digest.text((declaring.run(script))) end
    local script = 'gateway.route "/a" { to = gateway.respond(200, { b = 1, a = 2, c = 3 }), headers = { A = "1", B = "2" } }'
    assert.equal(text(script), text(script))
    assert.not_equal(text(script), text(script:gsub("200", "201")))
  end)

  it("is said in lines, a value each", function()
    local lines = require("gateway.digest").lines((declaring.run 'gateway.route "/a" { to = function() end, methods = "GET" }'))
    for _, line in ipairs {
      'routes[1].pattern = "/a"', 'routes[1].methods[1] = "GET"', "routes[1].target.f = function script.lua:1", "upstreams = {}",
      "workers = 0",
    } do
      assert.truthy(("\n" .. lines .. "\n"):find("\n" .. line .. "\n", 1, true), line)
    end
  end)
end)
