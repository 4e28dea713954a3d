-- gateway.load: the vocabulary in YAML, the plain form, and what is said about mistakes, each at its line.

local cdef = require "spec.support.cdef"
local declaring = require "spec.lua.declaring"
local parse = assert(package.loadlib(cdef.library, "gw_yaml_load"))

local folder, count

local function run(text, script)
  count = (count or 0) + 1
  if not folder then
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
  end
  local name = ("routes%d.yaml"):format(count)
  local file = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(text)
  file:close()
  local spec, problems, chains = declaring.run((script or "") .. (' gateway.load "%s"'):format(name), { folder = folder, parse = parse })
  for i, problem in ipairs(problems) do
    problems[i] = problem:gsub(folder:gsub("%p", "%%%0") .. "/routes%d+", "routes")
  end
  return spec, problems, chains
end

teardown(function()
  if folder then os.execute("rm -r " .. folder) end
end)

describe("the plain form", function()
  it("makes routes and upstreams", function()
    local spec, problems = run [[
routes:
  - path: /api/*
    headers: { X-Version: 2, X-Debug: "*" }
    backends: [ "10.0.0.1:8080", "http://10.0.0.2:8080/" ]
  - path: /api*
    backends:
      - 10.0.0.1:8080
      - http://10.0.0.2:8080/
  - path: /
    backends: [ "http://name" ]
]]
    assert.same({}, problems)
    assert.equal(3, #spec.routes)
    assert.same({ "/api/*", "/api*", "/" }, { spec.routes[1].pattern, spec.routes[2].pattern, spec.routes[3].pattern })
    assert.same({ { name = "X-Debug", any = true }, { name = "X-Version", value = "2", any = false } }, spec.routes[1].headers)
    -- the same backends are one upstream
    assert.equal(2, #spec.upstreams)
    assert.equal("10.0.0.1:8080,http://10.0.0.2:8080/", spec.upstreams[1].name)
    assert.equal("10.0.0.2:8080", spec.upstreams[1].endpoints[2].address)
    assert.equal("name:80", spec.upstreams[2].endpoints[1].address)
    assert.equal(30, spec.upstreams[2].endpoints[1].resolve)
    assert.truthy(spec.routes[2].source:find("routes%d+.yaml:5$"))
  end)

  local wrong = {
    { "- path: api\n    backends: [a:1]", ':2: route "api": path: expected a prefix that begins with \'/\', found "api"' },
    { "- path: /a/:id\n    backends: [a:1]",
      ':2: route "/a/:id": path: expected a prefix, with \'/*\' or \'*\' at its end at most, found "/a/:id"' },
    { "- path: /a/*/b\n    backends: [a:1]",
      ':2: route "/a/*/b": path: expected a prefix, with \'/*\' or \'*\' at its end at most, found "/a/*/b"' },
    { "- path: /a\n    backends: []", ':2: route "/a": backends: expected at least one, found an empty list' },
    { "- path: /a\n    backends: a:1", ':2: route "/a": backends: expected a list, found "a:1"' },
    { "- path: /a\n    backends: [5]", ':2: route "/a": backends[1]: expected a string, found 5' },
    { "- backends: [a:1]", ':2: route nothing: option "path" is required: expected a string, found nothing' },
    { "- path: /a\n    hedaers: { A: b }\n    backends: [a:1]", ':2: route "/a": unknown option "hedaers" (did you mean "headers"?)' },
    { "- path: /a\n    headers: { A: 2.0 }\n    backends: [a:1]", ':2: route "/a": headers.A: expected text, found 2: put it in quotes' },
    { "- path: /a\n    headers: { A: true }\n    backends: [a:1]",
      ':2: route "/a": headers.A: expected text, found true: put it in quotes' },
    { "- path: /a\n    backends: [ftp://a]",
      ':2: upstream "ftp://a": endpoint "ftp://a": expected http://HOST:PORT or HOST:PORT, found the scheme "ftp"' },
    { "- 5", ":2: routes[1]: expected a map with path and to (or backends), found 5" },
  }
  for i, case in ipairs(wrong) do
    it(("refuses %d: %s"):format(i, case[2]), function()
      local _, problems = run("routes:\n  " .. case[1])
      local expected = {}
      for k = 2, #case do expected[#expected + 1] = "routes.yaml" .. case[k] end
      assert.same(expected, problems)
    end)
  end
end)

describe("the vocabulary", function()
  it("says what scripts can say", function()
    local spec, problems = run([[
listen: [ "127.0.0.1:2", "127.0.0.1:3" ]
admin: 127.0.0.1:9
workers: 3
limits: { body_bytes: 1MB, keep_encoded_slash: true }
timeouts: { drain: 5s }
access_log: false
request_id: false
trusted_proxies: [ 10.0.0.0/8 ]
forwarding: { forwarded: true, via: me }
upstreams:
  users:
    endpoints: [ "10.0.0.1:1", { address: "n:1", resolve: 5s } ]
    timeouts: { connect: 1 }
  beta: [ "10.0.0.2:1" ]
routes:
  - { path: /u, to: users, methods: [GET], host: a.example.com }
  - { path: /r, to: { respond: { status: 200, body: { a: [1] }, headers: { X-A: b } } } }
  - { path: /g, to: { redirect: /u } }
  - { path: /s, to: { split: [ { to: users, weight: 9 }, { to: beta }, { to: { respond: 204 } } ] } }
]], "")
    assert.same({}, problems)
    assert.equal(3, #spec.listens)
    assert.equal(3, spec.workers)
    assert.is_true(spec.limits.keep_encoded_slash)
    assert.is_false(spec.request_id)
    assert.equal("me", spec.forwarding.via)
    assert.equal("beta", spec.upstreams[1].name)
    assert.equal(5, spec.upstreams[2].endpoints[2].resolve)
    local u, r, g, s = unpack(spec.routes)
    assert.same({ "a.example.com", "users" }, { u.host, u.target.name })
    assert.equal('{"a":[1]}', r.target.answer.body)
    assert.equal(302, g.target.answer.status)
    assert.same({ 9, 1, 1 }, { s.target.shares[1].weight, s.target.shares[2].weight, s.target.shares[3].weight })
  end)

  it("names upstreams that the script declares", function()
    local spec, problems = run("routes: [ { path: /a, to: late } ]", 'gateway.upstream "late" { "a:1" } ')
    assert.same({}, problems)
    assert.equal("late", spec.routes[1].target.name)
  end)

  local wrong = {
    { "rotues: []", ':1: unknown name "rotues" (did you mean "routes"?)' },
    { "- a", ":1: expected a map with names such as upstreams and routes, found a list" },
    { "a: [", nil },
    { "limits: 5", ":1: gateway.limits: expected a table of options, found 5" },
    { "listen: 5", ':1: gateway.listen: expected an address such as "0.0.0.0:8080" or "unix:/run/gateway.sock", found 5' },
    { "upstreams: [a]", ":1: upstreams: expected a map from names to endpoints, found a list" },
    { "upstreams:\n  u: { timeouts: { connect: 1 } }",
      ':2: upstream "u": expected at least one endpoint such as "127.0.0.1:8080", found none' },
    { "upstreams:\n  u: [ { adress: a } ]",
      ':2: upstream "u": endpoint 1: expected "HOST:PORT" or { "HOST:PORT", weight = 3 }, found nothing' },
    { "routes:\n  - path: /a\n", ':2: route "/a": to is required: expected an upstream, a response, a split or a function, found nothing' },
    { "routes:\n  - path: /a\n    to: nobody", ':2: route "/a": to: unknown upstream "nobody": none is declared' },
    { "routes:\n  - path: /a\n    to: { respnod: 200 }",
      ":2: to: expected an upstream's name, or a map with one of respond, redirect, split; found the name \"respnod\"" },
    { "routes:\n  - path: /a\n    to: { respond: { status: 99 } }", ":2: gateway.respond: expected a status from 200 to 599, found 99" },
    { "routes:\n  - path: /a\n    to: { respond: 200 }\n    use: [ 5 ]",
      ":4: use: expected a plugin's name or { plugin: NAME, config: { ... } }, found 5" },
    { "use: cors", ':1: use: expected a list of plugins, found "cors"' },
  }
  for i, case in ipairs(wrong) do
    it(("refuses %d: %s"):format(i, case[1]), function()
      local _, problems = run(case[1])
      if case[2] then
        assert.same({ "routes.yaml" .. case[2] }, problems)
      else
        assert.equal(1, #problems)
        assert.truthy(problems[1]:find("^routes.yaml:%d+:%d+: "), problems[1])
      end
    end)
  end

  it("needs the file", function()
    local problems = declaring.problems('gateway.load "/nowhere/x.yaml"', { parse = parse })
    assert.same({ "script.lua:1: gateway.load: cannot read /nowhere/x.yaml: No such file or directory" }, problems)
    assert.same({ "script.lua:1: gateway.load: expected the path of a YAML file, found 5" }, declaring.problems "gateway.load(5)")
  end)

  it("takes an empty file", function()
    local _, problems = run ""
    assert.same({}, problems)
  end)
end)
