-- gateway explain, by the real program: what it tells of a request, to the letter, and that nobody is asked meanwhile.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"

local SCRIPT = [[
local gateway = require "gateway"
gateway.listen "127.0.0.1:${port}"
gateway.trusted_proxies { "10.9.0.0/16" }
local users = gateway.upstream "users" { "10.0.0.1:8080", { "10.0.0.2:8080", weight = 3 }, balance = "maglev", hash_on = "header:x-user",
  retry = { attempts = 2, on = { "connect", 502 } }, breaker = { failures = 5 } }
local named = gateway.upstream "named" { "users.internal:80", { "spare.internal:80", backup = true } }
gateway.route "= /api/users" { to = users, host = "api.example.com" }
gateway.route "/api/users/:id" { methods = { "GET" }, host = "api.example.com", to = users, use = {
  gateway.rate_limit { rate = 100, burst = 20, by = "header:X-Tenant" },
  gateway.plugin("key-auth", { keys = { abc = "alice" } }),
  function(request, next)
    request.headers["X-User"] = "u" .. request.params.id
    request.query = "token=abc&y=2"
    request.path = "/v2" .. request.path
    gateway.sleep(0.5)
    local answer = gateway.fetch("http://auth.internal/who?key=k", { method = "POST" })
    request.headers["X-Who"] = answer and tostring(answer.status)
    local response = next()
    response.headers["X-Served-By"] = "gateway"
    response.headers["Set-Cookie"] = "session=s3cr3t"
    response.status = 203
    return response
  end,
} }
gateway.route "/api/users/:id" { headers = { ["X-Version"] = "2" }, to = gateway.respond(200, "v2") }
gateway.route "/api" { methods = { "POST" }, to = named }
gateway.route "/third" { to = function(r) return r.query == "" and users or gateway.respond(404, "none") end }
gateway.route "/broken" { use = { function() error "oh" end }, to = users }
gateway.route "/split" { to = gateway.split { { users, weight = 3 }, { gateway.respond(200, "x"), weight = 1 } } }
gateway.route "/decide" { to = function() return gateway.respond(gateway.fetch("http://who.internal/").status) end }
gateway.route "/small" { limits = { body_bytes = 3 }, to = named }
]]

local function explain(words, script)
  local args = { "explain", "${dir}/main.lua" }
  for _, word in ipairs(words) do args[#args + 1] = word end
  local got = gateway.command { args = args, script = script or SCRIPT }
  -- what differs from run to run
  got.text = got.stdout:gsub(got.dir:gsub("%p", "%%%0") .. "/", ""):gsub("Date: [^\n]*", "Date: ..."):gsub(
    "X%-Request%-ID: [^\n]*", "X-Request-ID: ...")
  return got
end

local function told(words, script)
  local got = explain(words, script)
  assert.equal(0, got.code, got.stderr)
  return got.text
end

-- luacheck: no max line length
local golden = {
  {
    "everything on the way", { "GET", "http://api.example.com/api//users/%37?x=1", "-H", "X-Api-Key: abc", "-H", "X-Tenant: t1" }, [[
request    GET /api//users/%37?x=1
           host api.example.com, client 127.0.0.1
           path /api/users/7 (normalised from /api//users/%37), query x=1
route      api.example.com "/api/users/:id" (main.lua:8)
           parameters id = "7"
not taken  1. api.example.com "= /api/users" (main.lua:7): path goes on at segment 3, "7"
           3. "/api/users/:id" (main.lua:25): header X-Version: 2 is expected, it is not there
           4. "/api" (main.lua:26): method: POST is expected
           and 5 others (path differs: 5)
limits     rate_limit(100/s burst 20, by header:x-tenant): key t1, admits, while its quota lasts
chain      1. key-auth: passed on; request: added X-Consumer: alice, took away X-Api-Key
           2. main.lua:11: passed on; request: path = /v2/api/users/7, query = token=***&y=2, added X-User: u7, added X-Who: 200; waited 501 ms
              would ask POST http://auth.internal/who?key=*** (played: 200)
target     upstream "users" (main.lua:4), maglev by header:x-user
           endpoint 10.0.0.2:8080
           timeouts connect 5 s, first byte 30 s, idle 30 s, total 30 s
           retries 2 attempts on connect, 502
           breaker
sent       GET /v2/api/users/7?token=***&y=2 HTTP/1.1
           Host: api.example.com
           X-Tenant: t1
           X-Consumer: alice
           X-User: u7
           X-Who: 200
           X-Forwarded-For: 127.0.0.1
           X-Forwarded-Proto: http
           X-Forwarded-Host: api.example.com
           X-Request-ID: ...
played     200 from the backend
way back   2. main.lua:11: status = 203, added X-Served-By: gateway, added Set-Cookie: ***
status     203
response   X-Served-By: gateway
           Set-Cookie: ***
           Date: ...
           X-Request-ID: ...
           Content-Length: 0
]],
  },
  {
    "a middleware that answers; a client behind a proxy", { "http://api.example.com/api/users/7", "--from", "10.9.0.1", "-H",
      "X-Forwarded-For: 203.0.113.9", "-H", "X-Api-Key: nobody" }, [[
request    GET /api/users/7
           host api.example.com, client 203.0.113.9
           path /api/users/7
route      api.example.com "/api/users/:id" (main.lua:8)
           parameters id = "7"
not taken  1. api.example.com "= /api/users" (main.lua:7): path goes on at segment 3, "7"
           3. "/api/users/:id" (main.lua:25): header X-Version: 2 is expected, it is not there
           4. "/api" (main.lua:26): method: POST is expected
           and 5 others (path differs: 5)
limits     rate_limit(100/s burst 20, by header:x-tenant): key 203.0.113.9 (there is no header X-Tenant), admits, while its quota lasts
chain      1. key-auth: answered 401
           2. main.lua:11: not reached
status     401
response   WWW-Authenticate: Key realm="gateway"
           Content-Type: application/json
           Date: ...
           X-Request-ID: ...
           Content-Length: 27
]],
  },
  {
    "names, a backup, a played error", { "POST", "http://x/api/y", "-d", "hello", "--response", "503" }, [[
request    POST /api/y
           host x, client 127.0.0.1
           path /api/y
route      "/api" (main.lua:26)
not taken  3. "/api/users/:id" (main.lua:25): path differs at segment 2: "users" is expected, found "y"
           and 7 others (host differs: 2, path differs: 5)
target     upstream "named" (main.lua:6), round_robin
           one of users.internal:80, spare.internal:80 backup
           timeouts connect 5 s, first byte 30 s, idle 30 s, total 30 s
           retries none (one that could not connect goes to another endpoint)
sent       POST /api/y HTTP/1.1
           Host: x
           X-Forwarded-For: 127.0.0.1
           X-Forwarded-Proto: http
           X-Forwarded-Host: x
           X-Request-ID: ...
           Content-Length: 5
played     503 from the backend
status     503
response   Date: ...
           X-Request-ID: ...
           Content-Length: 0
]],
  },
  {
    "no route of that method", { "DELETE", "http://x/api/y" }, [[
request    DELETE /api/y
           host x, client 127.0.0.1
           path /api/y
refused    405 method not allowed; Allow: POST
not taken  3. "/api/users/:id" (main.lua:25): path differs at segment 2: "users" is expected, found "y"
           4. "/api" (main.lua:26): method: POST is expected
           and 7 others (host differs: 2, path differs: 5)
status     405: method not allowed
]],
  },
  {
    "a path that the strict rules refuse", { "http://x/a%00" }, [[
request    GET /a%00
           host x, client 127.0.0.1
refused    400 encoded control character in the path
status     400: encoded control character in the path
]],
  },
  {
    "a function as target that answers", { "http://x/third?a=1" }, [[
request    GET /third?a=1
           host x, client 127.0.0.1
           path /third, query a=1
route      "/third" (main.lua:27)
not taken  8 others (host differs: 2, path differs: 6)
target     function main.lua:27: answered 404
status     404
response   Content-Type: text/plain; charset=utf-8
           Date: ...
           X-Request-ID: ...
           Content-Length: 4
]],
  },
}

describe("gateway explain", function()
  for _, case in ipairs(golden) do
    it("tells: " .. case[1], function() assert.equal(case[3], told(case[2])) end)
  end

  it("tells whom a function as target asks, and which parameter is missing", function()
    local text = told { "http://x/decide" }
    assert.matches("target     function main.lua:30: answered 200\n           would ask GET http://who.internal/ (played: 200)", text, 1, true)
    assert.matches('path ends before segment 3, ":id"', told { "http://x/api/users" }, 1, true)
  end)

  it("does not say which endpoint when it goes by chance", function()
    local text = told { "http://x/third" }
    assert.matches("one of 10.0.0.1:8080, 10.0.0.2:8080 weight 3", text, 1, true)
    assert.matches("function main.lua:27\n", text, 1, true)
  end)

  it("says what went wrong in a function", function()
    local text = told { "http://x/broken" }
    assert.matches("1. main.lua:28: failed", text, 1, true)
    assert.matches("said +[^\n]*main.lua:28: oh", text)
    assert.matches("status     500", text, 1, true)
  end)

  it("tells the arms of a split", function()
    assert.matches("split by chance: users 75%, answer 200 25%", told { "http://x/split" }, 1, true)
  end)

  for _, case in ipairs {
    { "a body that is too large", { "http://x/small", "-d", "hello" }, "refused    413" },
    { "a head that is too large", { "http://x/", "-H", "X-Long: " .. ("x"):rep(20000) }, "refused    431" },
    { "a request line that is too long", { "http://x/" .. ("x"):rep(9000) }, "refused    414" },
    { "a method that no parser knows", { "FROB", "http://x/" }, "refused    501" },
    { "a length and a coding", { "POST", "http://x/", "-H", "Content-Length: 1", "-H", "Transfer-Encoding: chunked" }, "refused    400" },
  } do
    it("says why the rules refuse " .. case[1], function() assert.matches(case[3], told(case[2]), 1, true) end)
  end

  it("gives all of it as JSON", function()
    local got = explain { "http://api.example.com/api/users/7", "-H", "X-Api-Key: abc", "--json" }
    assert.equal(0, got.code, got.stderr)
    local value = cjson.decode(got.stdout)
    assert.equal(203, value.status)
    assert.equal("users", value.target.upstream.name)
    assert.equal("10.0.0.2:8080", value.target.upstream.picked)
    assert.equal(2, value.route.index)
    assert.same({ { name = "id", value = "7" } }, value.route.params)
    assert.equal("header", value.others[2].miss)
    assert.equal(8, #value.others)
    assert.equal("http://auth.internal/who?key=***", value.chain[2].asked[1].url)
    assert.falsy(got.stdout:find("s3cr3t", 1, true))
  end)

  it("asks nobody", function()
    local sys = require "spec.support.sys"
    local fd, port = sys.listen "127.0.0.1:0"
    local text = told({ "http://x/" }, ([[
      local gateway = require "gateway"
      gateway.listen "127.0.0.1:1"
      local at = "127.0.0.1:%d"
      gateway.every(0.01, function() gateway.fetch("http://" .. at .. "/timer") end)
      gateway.route "/" { to = gateway.upstream "b" { at, health = { active = { path = "/health" } } } }]]):format(port))
    assert.matches("status     200", text, 1, true)
    assert.is_nil((sys.accept(fd))) -- whoever had connected would wait here
    sys.close(fd)
  end)

  it("tells what is wrong with the script, and ends with 1", function()
    local got = explain({ "http://x/" }, 'local gateway = require "gateway"\ngateway.listen "127.0.0.1:1"\ngateway.route "/" { too = 1 }')
    assert.equal(1, got.code)
    assert.equal("", got.stdout)
    assert.matches('main.lua:3: route "/": unknown option "too"', got.stderr, 1, true)
  end)

  it("lets a script neither write nor end the process", function()
    local got = explain({ "http://x/" }, 'local gateway = require "gateway"\ngateway.listen "127.0.0.1:1"\nprint "hello"\nos.exit(0)')
    assert.equal(1, got.code)
    assert.equal("", got.stdout)
    assert.matches("os.exit is not available", got.stderr, 1, true)
  end)

  for _, case in ipairs {
    { "no words", {}, "expected SCRIPT [METHOD] http://HOST/PATH" },
    { "no URL", { "/path" }, "expected a URL such as http://example.com/path" },
    { "an unknown option", { "http://x/", "--frob" }, 'unknown option "--frob"' },
    { "half an option", { "http://x/", "-H" }, "-H: a value is expected" },
    { "no header", { "http://x/", "-H", "what" }, '-H: expected "Name: value"' },
    { "no status", { "http://x/", "--response", "99" }, "--response: expected a status" },
    { "no address", { "http://x/", "--from", "there" }, 'client_ip: expected an IP address, found "there"' },
    { "too many words", { "GET", "http://x/", "http://y/" }, "expected SCRIPT" },
  } do
    it("refuses " .. case[1], function()
      local got = explain(case[2])
      assert.equal(2, got.code)
      assert.matches(case[3], got.stderr, 1, true)
    end)
  end
end)
