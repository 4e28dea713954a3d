-- gateway plan: what another script would change, told by the running gateway, to the letter; and that nothing changes by it.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local OLD = [[${prelude}
gateway.record { all = true }
local users = gateway.upstream "users" { "10.0.0.1:8080", { "10.0.0.2:8080", weight = 2 } }
local gone = gateway.upstream "gone" { "10.0.0.9:80" }
gateway.route "/api" { to = users }
gateway.route "/secret" { use = { gateway.plugin("key-auth", { keys = { abc = "alice" } }) }, to = users }
gateway.route "/gone" { to = gone }
gateway.route "/same" { use = { function(request, next)
  request.headers["X-A"] = "1"
  return next()
end }, to = gateway.respond(200, "same") }
gateway.route "/limited" { use = { gateway.rate_limit { rate = 1, burst = 2 } }, to = gateway.respond(200, "ok") }
gateway.route "/methods" { methods = { "GET" }, to = users }
]]

local NEW = [[${prelude}
gateway.record { all = true }
gateway.limits { body_bytes = "1MB" }
local users = gateway.upstream "users" { "10.0.0.1:8080", { "10.0.0.2:8080", weight = 5 }, "10.0.0.3:8080", timeouts = { connect = 1 } }
local fresh = gateway.upstream "fresh" { "10.0.0.7:80" }
-- a few lines more, so that the others stand elsewhere
gateway.route "/api" { use = { function(request, next)
  request.headers["X-New"] = "1"
  return next()
end }, to = users }
gateway.route "/secret" { use = { gateway.plugin("key-auth", { keys = { abc = "alice", def = "bob" } }) }, to = users }
gateway.route "/api/v2" { to = fresh }
gateway.route "/same" { use = { function(request, next)
      request.headers["X-A"] = "1"
      return next()
end }, to = gateway.respond(200, "same") }
gateway.route "/limited" { use = { gateway.rate_limit { rate = 1, burst = 1 } }, to = gateway.respond(200, "ok") }
gateway.route "/methods" { methods = { "GET", "POST" }, to = users }
gateway.listen "127.0.0.1:${port2}"
]]

local GOLDEN = [[
routes
  - /gone
  + /api/v2: use none, to upstream fresh (new.lua:12)
  ~ /api (new.lua:7)
      use: none -> new.lua:7
  ~ /secret (new.lua:11)
      use: key-auth has other options
  ~ /limited (new.lua:17)
      use: rate_limit(1/s burst 2, by ip) -> rate_limit(1/s burst 1, by ip)
  ~ /methods [GET, POST] (new.lua:18)
      methods: GET -> GET, POST
upstreams
  - gone: 10.0.0.9:80
  + fresh: 10.0.0.7:80
  ~ users
      endpoint 10.0.0.2:8080: weight 2 -> weight 5
      endpoint 10.0.0.3:8080: weight 1 (new)
      timeouts.connect: 1 (new)
listeners
  + 127.0.0.1:PORT2
settings
  ~ limits.body_bytes: 10485760 -> 1048576
requests: 10 recorded, 3 as before, 7 otherwise
  3x such as GET api.example.com/api/x
      middleware: none -> new.lua:7
      sent to the backend:
        + X-New: 1
  1x such as GET localhost/api/v2
      route: /api -> /api/v2
      upstream: users -> fresh
  1x such as GET localhost/gone
      status: 200 -> 404
      route: /gone -> none
      upstream: gone -> none
      error: none -> no route matches
  1x such as GET localhost/limited
      status: 200 -> 429
      error: none -> rate limited
  1x such as POST localhost/methods
      status: 405 -> 200
      route: none -> /methods
      upstream: none -> users
      error: method not allowed -> none
]]

local function start(script, files)
  return gateway.start { script = script or OLD, files = files or { ["new.lua"] = NEW } }
end

local function plan(g, file, ...)
  local words = { gateway.binary(), "plan", "--admin", "127.0.0.1:" .. g.vars.admin, g.dir .. "/" .. file, ... }
  os.remove(g.dir .. "/out")
  os.remove(g.dir .. "/err")
  local code
  local pid = assert(sys.spawn { argv = words, env = sys.environment(), stdout = g.dir .. "/out", stderr = g.dir .. "/err" })
  peers.within(function()
    peers.eventually(function()
      code = sys.ended(pid)
      return code ~= nil
    end, "the command to end", 60)
  end)
  local function read(name)
    local handle = assert(io.open(g.dir .. "/" .. name))
    local text = handle:read "*a"
    handle:close()
    return (text:gsub(g.dir:gsub("%p", "%%%0") .. "/", ""):gsub(tostring(g.vars.port2), "PORT2"))
  end
  return code, read "out", read "err"
end

local function ask_all(g)
  -- Nobody answers at 10.0.0.x: what is recorded is the head alone.
  peers.within(function()
    for _, request in ipairs {
      { path = "/api/x", host = "api.example.com" }, { path = "/api/y" }, { path = "/api/z?token=s3cr3t" }, { path = "/api/v2" },
      { path = "/gone" }, { path = "/same" }, { path = "/secret", more = "X-Api-Key: abc\r\n" },
      { path = "/limited" }, { path = "/limited" }, { path = "/methods", method = "POST", body = "x", more = "Content-Length: 1\r\n" },
    } do
      local conn = peers.connect(g.port)
      conn:write(("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n%s"):format(request.method or "GET", request.path, request.host or "localhost",
        request.more or "", request.body or ""))
      if request.path == "/limited" then conn:read_response() end
      peers.eventually(function()
        local list = g:admin("/recent").json.heads
        return list[#list] and list[#list].target:match("^[^?]*") == request.path:match("^[^?]*")
      end, "the head of " .. request.path)
      conn:reset()
    end
  end)
end

describe("gateway plan", function()
  it("tells what would change, in declarations and in what becomes of the recorded requests, and changes nothing", function()
    local g = start()
    ask_all(g)
    local code, out, err = plan(g, "new.lua")
    assert.equal("", err)
    assert.equal(0, code)
    assert.equal(GOLDEN, out)
    assert.equal(1, g:generation())
    assert.falsy(out:find("s3cr3t", 1, true))
    local body
    code, body = plan(g, "new.lua", "--json")
    assert.equal(0, code)
    local value = require("cjson").decode(body)
    assert.equal(10, value.requests.count)
    assert.equal("/gone", value.routes.removed[1].pattern)
    g:stop()
  end)

  it("finds nothing where nothing differs", function()
    local g = start(nil, { ["new.lua"] = OLD })
    ask_all(g)
    local code, out = plan(g, "new.lua")
    assert.equal(0, code)
    assert.equal("the same routes, upstreams, listeners and settings\nrequests: 10 recorded, 10 as before, 0 otherwise\n", out)
    g:stop()
  end)

  it("prints what is wrong with a script", function()
    local g = start(nil, { ["new.lua"] = 'local gateway = require "gateway"\ngateway.route "/" { too = 1 }\n' })
    local code, out, err = plan(g, "new.lua")
    assert.equal(1, code)
    assert.equal("", out)
    assert.matches('new.lua:2: route "/": unknown option "too"', err, 1, true)
    assert.matches("nothing to listen on", err, 1, true)
    assert.equal(1, (plan(g, "missing.lua")))
    assert.matches("No such file", select(3, plan(g, "missing.lua")), 1, true)
    assert.equal(400, g:admin("/plan", "POST").status)
    assert.equal(422, g:admin("/plan?script=%2Fnowhere%2Fx.lua", "POST").status)
    g:stop()
  end)

  it("outlives scripts that run away, print, or end the process", function()
    local g = start([[${prelude}
gateway.record { all = true }
gateway.route "/" { to = gateway.respond(200, "x") }]], {
      ["loop.lua"] = [[${prelude} gateway.route "/" { use = { function() while true do end end }, to = gateway.respond(200, "x") }]],
      ["noise.lua"] = [[${prelude} print "noise" io.write "noise" io.stderr:write "noise"
        gateway.route "/" { use = { function(request, next) io.write "noise" os.exit(3) end }, to = gateway.respond(200, "x") }]],
    })
    g:ask { path = "/" }
    local result
    peers.within(function()
      peers.spawn(function() result = g:admin("/plan?script=" .. (g.dir:gsub("/", "%%2F")) .. "%2Floop.lua", "POST", 60) end)
      peers.sleep(0.3)
      assert.equal(409, g:admin("/plan?script=x", "POST").status)
      assert.equal(200, peers.ask(g.port, { path = "/" }).status)
      assert.equal(200, g:reload().status)
    end)
    g:signal(sys.SIGTERM) -- and the process that plans goes with the gateway
    assert.equal(0, g:wait_exit())
    assert.is_true(result == nil or result.status >= 400)
    g:stop()

    g = start(nil, { ["new.lua"] = [[${prelude} print "noise" io.write "noise" io.stderr:write "noise"
      gateway.route "/" { use = { function() io.write "noise" os.exit(3) end }, to = gateway.respond(200, "x") }]] })
    ask_all(g)
    local code, out = plan(g, "new.lua")
    assert.equal(0, code)
    assert.falsy(out:find("noise", 1, true))
    assert.matches("status: 200 -> 500", out, 1, true)
    g:stop()
  end)

  it("says when the file is not any more what serves", function()
    local g = start("${prelude} gateway.watch(false)\n" .. OLD:gsub("^[^\n]*\n", ""))
    g:write("main.lua", "${prelude} gateway.watch(false)\n" .. OLD:gsub("^[^\n]*\n", "") .. 'gateway.route "/more" { to = users }\n')
    local code, out = plan(g, "new.lua")
    assert.equal(0, code)
    assert.matches("warning: main.lua is not any more what serves", out, 1, true)
    assert.matches("- /more", out, 1, true)
    assert.matches("requests: none recorded", out, 1, true)
    g:write("main.lua", "nonsense(")
    code, out = plan(g, "new.lua")
    assert.equal(0, code)
    assert.matches("new.lua can be loaded, but main.lua, which serves, no longer can", out, 1, true)
    g:stop()
  end)
end)
