-- gateway.testing's app: what is real (router, filters, limits, chain, upstreams), what is virtual (time, network), and what it says.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local gateway = require "gateway"
local testing = require "gateway.testing"

-- One route to that backend.
local function app_to(answer, options)
  return testing.app(function(g)
    local route = { to = g.upstream "backend" { testing.upstream(answer), timeouts = options and options.timeouts } }
    g.route "/" (route)
  end)
end

describe("an app", function()
  it("runs what the test declares, closures and all", function()
    local seen = {}
    local app = testing.app(function(g)
      g.route "/hello/:name" {
        use = {
          function(request, next)
            seen[#seen + 1] = request.params.name
            local response = next()
            response.headers["X-Seen"] = #seen
            return response
          end,
        },
        to = testing.upstream { status = 201, body = "hi", headers = { ["X-From"] = "backend" } },
      }
    end)
    local response = app:get("/hello/you")
    assert.equal(201, response.status)
    assert.equal("hi", response.body)
    assert.equal("1", response.headers["x-seen"])
    assert.equal("backend", response.headers["X-FROM"])
    assert.same({ "you" }, seen)
    assert.equal(404, app:get("/other").status)
    assert.equal(32, #response.request_id)
  end)

  it("answers by fixed responses, splits and functions", function()
    local beta, stable = testing.upstream { body = "beta" }, testing.upstream { body = "stable" }
    local app = testing.app(function(g)
      local one, two = g.upstream "beta" { beta }, g.upstream "stable" { stable }
      g.route "/fixed" { to = g.respond(418, { teapot = true }) }
      g.route "/split" { to = g.split { { beta, weight = 0 }, { stable, weight = 1 } } }
      g.route "/choice" { to = function(request) return request.cookies.beta and one or two end }
      g.route "/bare" { to = function() return beta end }
    end)
    local fixed = app:get("/fixed")
    assert.equal(418, fixed.status)
    assert.same({ teapot = true }, fixed.json)
    assert.same({ teapot = true }, fixed:json())
    assert.equal("stable", app:get("/split").body)
    assert.equal("stable", app:get("/choice").body)
    assert.equal("beta", app:get("/choice", { headers = { Cookie = "beta=1" } }).body)
    assert.equal("beta", app:get("/bare").body)
  end)

  it("uses gateway of the test's file as well", function()
    local app = testing.app(function()
      gateway.route "/" { use = { function() return gateway.respond(202, "mine") end }, to = testing.upstream {} }
    end)
    assert.equal("mine", app:get("/").body)
  end)

  for _, method in ipairs { "get", "post", "put", "patch", "delete", "options" } do
    it("has app:" .. method, function()
      local up = testing.upstream(function(request) return request.method .. " " .. request.body end)
      local app = testing.app(function(g) g.route "/" { to = up } end)
      local response = app[method](app, "/a?b=c", method ~= "get" and { body = "x" } or nil)
      assert.equal(method:upper() .. (method ~= "get" and " x" or " "), response.body)
      assert.equal("/a", up.requests[1].path)
      assert.equal("b=c", up.requests[1].query)
    end)
  end

  it("has app:head, whose response has no body", function()
    local response = app_to({ body = "four" }):head("/")
    assert.equal(200, response.status)
    assert.equal("4", response.headers["content-length"])
    assert.equal("", response.body)
  end)

  it("sends tables as JSON, pieces in time, and bytes as they are", function()
    local up = testing.upstream {}
    local app = testing.app(function(g) g.route "/" { to = up } end)
    app:post("/", { body = { a = 1 } })
    assert.equal('{"a":1}', up.requests[1].body)
    assert.equal("application/json", up.requests[1].headers["content-type"])
    app:post("/", { body = { "one", 2, "two" }, chunked = true, trailers = { ["X-Sum"] = "3" } })
    assert.equal("onetwo", up.requests[2].body)
    assert.is_true(up.requests[2].at >= 2)
    local refused = app:request { raw = "GET / HTTP/1.1\r\n\r\n" }
    assert.equal(400, refused.status)
  end)

  it("tells the backend's requests by upstream and endpoint", function()
    local one, two = testing.upstream { body = "1" }, testing.upstream { body = "2" }
    local app = testing.app(function(g)
      g.upstream "users" { one, { two, weight = 1 }, balance = "round_robin" }
      g.route "/" { to = "users" }
    end)
    for _ = 1, 4 do app:get("/x") end
    local requests = app.upstreams.users.requests
    assert.equal(4, #requests)
    assert.equal(2, #one.requests)
    assert.equal(2, #two.requests)
    assert.equal("users", requests[1].upstream)
    assert.not_equal(requests[1].endpoint, requests[2].endpoint)
  end)

  it("gives clients their addresses and hosts", function()
    local app = testing.app(function(g)
      g.route "/" { host = "api.example.com", use = { function(request) return g.respond(200, request.client_ip) end },
        to = testing.upstream {} }
    end)
    assert.equal("203.0.113.9", app:get("/", { host = "api.example.com", client_ip = "203.0.113.9" }).body)
    assert.equal("2001:db8::1", app:get("/", { host = "api.example.com", client_ip = "2001:db8::1" }).body)
    assert.equal(404, app:get("/").status)
  end)

  it("lives beside others", function()
    local function one(name)
      return testing.app(function(g)
        g.route "/" {
          use = { g.rate_limit { rate = 1, burst = 1, name = "same" }, function(request, next)
            request:body()
            return next()
          end },
          to = g.upstream "same" { testing.upstream { body = name } },
        }
      end)
    end
    local a, b = one "a", one "b"
    assert.equal("a", a:post("/", { body = { "x", 0.5, "y" } }).body)
    assert.equal("b", b:post("/", { body = "x" }).body)
    assert.equal(429, a:get("/").status)
    a.clock:advance(5)
    assert.equal("a", a:get("/").body)
    assert.equal(429, b:get("/").status)
  end)

  it("may be asked by another's backend", function()
    local inner = app_to({ body = "inner" })
    local outer = app_to(function() return inner:get("/").body .. " of outer" end)
    assert.equal("inner of outer", outer:get("/").body)
  end)

  it("keeps the log, and the access log", function()
    local app = testing.app(function(g)
      g.log.info("declared")
      g.route "/" { use = { function(_, next)
        g.log.warn("look", { n = 1 })
        return next()
      end }, to = testing.upstream {} }
    end)
    app:get("/")
    assert.equal("declared", app.log[1].message)
    assert.equal("look", app.log[2].message)
    assert.equal("warn", app.log[2].level)
    assert.equal(1, app.log[2].n)
    assert.equal("/", app.access[1].route)
    assert.equal(200, app.access[1].status)
  end)

  it("answers 500 when middleware raises, and has the traceback in the log", function()
    local app = testing.app(function(g)
      g.route "/" { use = { function() error("oh no") end }, to = testing.upstream {} }
    end)
    assert.equal(500, app:get("/").status)
    assert.truthy(app.log[1].error:find("oh no", 1, true))
    assert.truthy(app.log[1].error:find("testing_spec.lua", 1, true))
  end)

  it("fails the test when a backend's function raises", function()
    local app = app_to(function() error("in the backend") end)
    local good, message = pcall(app.get, app, "/")
    assert.is_false(good)
    assert.truthy(message:find("in the backend", 1, true))
  end)

  it("refuses to be asked by its own middleware", function()
    local app
    app = testing.app(function(g)
      g.route "/" { use = { function() return g.respond(200, tostring(app:get("/"))) end }, to = testing.upstream {} }
    end)
    assert.equal(500, app:get("/").status)
    assert.truthy(app.log[1].error:find("the app runs already", 1, true))
  end)
end)

describe("virtual time", function()
  it("runs a hanging backend into its timeout at once", function()
    local response = app_to({ hang = true }):get("/")
    assert.equal(504, response.status)
    assert.is_true(response.duration >= 30 and response.duration < 30.1)
  end)

  for _, case in ipairs {
    { "connect", { hang = true, refuse = true }, 504, 5 },
    { "first_byte", { delay = 9 }, 504, 3 },
    { "idle", { body = { "a", 8, "b" } }, nil, 2 },
    { "total", { body = { "a", 1, "b", 1, "c", 1, "d", 1, "e", 1, "f", 1, "g" } }, nil, 4 },
  } do
    local name, answer, status, seconds = unpack(case)
    it("has the timeout " .. name, function()
      local app = app_to(answer, { timeouts = { connect = 5, first_byte = 3, idle = 2, total = name == "connect" and 0 or 4 } })
      local response = app:get("/")
      if status then
        assert.equal(status, response.status)
      else
        assert.truthy(response.error)
      end
      assert.is_true(response.duration >= seconds and response.duration < seconds + 0.1, tostring(response.duration))
    end)
  end

  it("goes on only when it is told to, or a request waits", function()
    local app = app_to({ delay = 1 })
    local began = app.clock:now()
    local pending = app:start("/")
    assert.is_false(pending:done())
    assert.equal(began, app.clock:now())
    app.clock:advance(0.5)
    assert.is_false(pending:done())
    app.clock:advance(0.5)
    assert.is_true(pending:done())
    assert.equal(began + 1, app.clock:now())
    app:get("/")
    assert.equal(began + 2, app.clock:now())
  end)

  it("is what scripts see", function()
    local app = testing.app(function(g)
      g.route "/" { use = { function() return g.respond(200, ("%.3f"):format(g.now())) end }, to = testing.upstream {} }
    end, { now = 1700000000 })
    assert.equal("1700000000.000", app:get("/").body)
    app.clock:advance(3600.25)
    local response = app:get("/")
    assert.equal("1700003600.250", response.body)
    assert.equal("Tue, 14 Nov 2023 23:13:20 GMT", response.headers.date)
  end)

  it("fills token buckets", function()
    local app = testing.app(function(g)
      g.route "/" { use = { g.rate_limit { rate = 2, burst = 2 } }, to = testing.upstream {} }
    end)
    local function statuses(n)
      local out = {}
      for i = 1, n do out[i] = app:get("/").status end
      return out
    end
    assert.same({ 200, 200, 429 }, statuses(3))
    app.clock:advance(0.5)
    assert.same({ 200, 429 }, statuses(2))
    app.clock:advance(60)
    assert.same({ 200, 200, 429 }, statuses(3))
    assert.same({ 200 }, { app:get("/", { client_ip = "10.1.1.1" }).status })
  end)

  it("moves sliding windows", function()
    local app = testing.app(function(g)
      g.route "/" { use = { g.rate_limit { limit = 3, window = 30 } }, to = testing.upstream {} }
    end)
    for _ = 1, 3 do assert.equal(200, app:get("/").status) end
    assert.equal(429, app:get("/").status)
    app.clock:advance(60)
    assert.equal(200, app:get("/").status)
  end)

  it("runs primitives that the script holds", function()
    local app = testing.app(function(g)
      local bucket = g.token_bucket { rate = 1, burst = 1 }
      g.route "/" { use = { function(_, next) return bucket:allow() and next() or g.respond(429) end }, to = testing.upstream {} }
    end)
    assert.equal(200, app:get("/").status)
    assert.equal(429, app:get("/").status)
    app.clock:advance(1)
    assert.equal(200, app:get("/").status)
  end)

  it("opens breakers and lets one probe through", function()
    local up = testing.upstream { sequence = { 500, 500, 500, 200 } }
    local app = testing.app(function(g)
      g.upstream "u" { up, breaker = { failures = 3, open_for = 10, probes = 1 } }
      g.route "/" { to = "u" }
    end)
    for _ = 1, 3 do assert.equal(500, app:get("/").status) end
    assert.equal(503, app:get("/").status)
    app.clock:advance(9.9)
    assert.equal(503, app:get("/").status)
    assert.equal(3, #up.requests)
    app.clock:advance(0.1)
    assert.equal(200, app:get("/").status)
    assert.equal(200, app:get("/").status)
    assert.equal(5, #up.requests)
  end)

  it("retries on another endpoint", function()
    local bad, good = testing.upstream { status = 503 }, testing.upstream { body = "good" }
    local app = testing.app(function(g)
      g.upstream "u" { bad, good, retry = { attempts = 2, on = { 503 } } }
      g.route "/" { to = "u" }
    end)
    for _ = 1, 4 do assert.equal("good", app:get("/").body) end
    assert.equal(4, #good.requests)
    assert.is_true(#bad.requests > 0)
    assert.equal(#bad.requests, app:counts().retries)
  end)

  it("goes to another endpoint when one refuses connections", function()
    local off, on = testing.upstream { refuse = true }, testing.upstream { body = "on" }
    local app = testing.app(function(g) g.route "/" { to = g.upstream "u" { off, on } } end)
    for _ = 1, 4 do assert.equal("on", app:get("/").body) end
    assert.equal(0, #off.requests)
    assert.is_true(off.refused > 0)
  end)

  it("hedges", function()
    local slow, fast = testing.upstream { delay = 20, body = "slow" }, testing.upstream { body = "fast" }
    local app = testing.app(function(g)
      g.upstream "u" { slow, fast, retry = { attempts = 2, hedge = 0.1 } }
      g.route "/" { to = "u" }
    end)
    for _ = 1, 2 do
      local response = app:get("/")
      assert.equal("fast", response.body)
      assert.is_true(response.duration < 1)
    end
    assert.is_true(app:counts().hedges > 0) -- who is asked first is chance
  end)

  it("probes endpoints actively", function()
    local healthy = true
    local sick = testing.upstream(function(request)
      return request.path == "/healthz" and (healthy and 200 or 500) or "sick"
    end)
    local app = testing.app(function(g)
      g.upstream "u" { sick, testing.upstream { body = "well" },
        health = { active = { path = "/healthz", interval = 2, timeout = 1, rise = 2, fall = 3 } } }
      g.route "/" { to = "u" }
    end)
    local function bodies()
      local seen = {}
      for _ = 1, 6 do seen[app:get("/").body] = true end
      return seen
    end
    app.clock:advance(10)
    assert.same({ sick = true, well = true }, bodies())
    healthy = false
    app.clock:advance(10)
    assert.same({ well = true }, bodies())
    healthy = true
    app.clock:advance(10)
    assert.same({ sick = true, well = true }, bodies())
  end)

  it("ejects passively, and ends the ejection", function()
    local broken = true
    local up = testing.upstream(function() return broken and 500 or 200 end)
    local app = testing.app(function(g)
      g.upstream "u" { up, testing.upstream {}, health = { passive = { window = 30, error_rate = 0.5, min_requests = 4 } } }
      g.route "/" { to = "u" }
    end)
    for _ = 1, 20 do app:get("/") end
    local before = #up.requests
    for _ = 1, 10 do assert.equal(200, app:get("/").status) end
    assert.equal(before, #up.requests)
    broken = false
    app.clock:advance(600)
    for _ = 1, 10 do assert.equal(200, app:get("/").status) end
    assert.is_true(#up.requests > before)
  end)

  it("says so when a request can wait for ever", function()
    local app = app_to({ hang = true }, { timeouts = { connect = 0, first_byte = 0, idle = 0, total = 0 } })
    local good, message = pcall(app.get, app, "/")
    assert.is_false(good)
    assert.truthy(message:find("waits for something that never comes", 1, true) or message:find("virtual time", 1, true), message)
  end)
end)

describe("connections", function()
  it("break when the backend says so", function()
    for reset, status in pairs { head = 502 } do
      assert.equal(status, app_to({ reset = reset }):get("/").status)
    end
    assert.equal(502, app_to({ reset = true }):get("/").status)
    local cut = app_to({ reset = "body", body = ("x"):rep(1000) }):get("/")
    assert.equal(200, cut.status)
    assert.truthy(cut.error)
    assert.equal(500, #cut.body)
  end)

  it("carry large bodies both ways", function()
    local big = ("0123456789abcdef"):rep(131072) -- 2 MB: more than a socket holds
    local up = testing.upstream { body = big, chunked = true, trailers = { ["X-End"] = "yes" } }
    local app = testing.app(function(g) g.route "/" { to = up } end)
    local response = app:post("/", { body = big })
    assert.equal(#big, #response.body)
    assert.is_true(big == response.body)
    assert.is_true(big == up.requests[1].body)
    assert.equal("yes", response.trailers["x-end"])
  end)

  it("are kept for the next request", function()
    local up = testing.upstream {}
    local app = testing.app(function(g) g.route "/" { to = up } end)
    local client = app:connect()
    for _ = 1, 3 do assert.equal(200, client:request({ path = "/" }).status) end
    assert.same({ 1, 1, 1 }, { up.requests[1].connection, up.requests[2].connection, up.requests[3].connection })
    assert.equal(1, app:counts().connections_accepted)
    app.clock:advance(80)
    assert.is_true(client:is_closed())
  end)

  it("take pipelined requests", function()
    local app = app_to(function(request) return request.path end)
    local client = app:connect()
    local one, two = client:start { path = "/1" }, client:start { path = "/2" }
    assert.equal("/1", one:wait().body)
    assert.equal("/2", two:wait().body)
  end)

  it("end with the client", function()
    local up = testing.upstream { delay = 10 }
    local app = testing.app(function(g) g.route "/" { to = up } end)
    local pending = app:start("/")
    assert.equal(1, #up.requests)
    pending:abort()
    assert.equal("the client went away", pending:wait().error)
    assert.equal(499, app.access[1].status)
    local reset = app:start("/")
    reset:abort("reset")
    assert.equal(499, app.access[2].status)
  end)

  it("count while they are in flight", function()
    local app = testing.app(function(g)
      g.route "/" { use = { g.concurrency_limit { max = 2 } }, to = testing.upstream { delay = 1 } }
    end)
    local one, two = app:start("/"), app:start("/")
    assert.equal(429, app:get("/").status)
    assert.equal(200, one:wait().status)
    assert.equal(200, two:wait().status)
    assert.equal(200, app:get("/").status)
  end)

  it("have interim responses, and bytes as they are", function()
    local response = app_to({ interim = { { status = 103, headers = { Link = "</x>" } } }, body = "late" }):get("/")
    assert.equal("late", response.body)
    assert.equal(103, response.interim[1].status)
    assert.equal("</x>", response.interim[1].headers.link)
    assert.equal(502, app_to({ raw = "SMTP ready\r\n\r\n" }):get("/").status)
    assert.equal("raw", app_to({ raw = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw" }):get("/").body)
    assert.equal("tail", app_to({ body = "tail", close = true, chunked = false }):get("/").body)
  end)

  it("become tunnels", function()
    local app = testing.app(function(g)
      g.route "/" { to = testing.upstream(function(request)
        if request.headers.upgrade ~= "echo" then return 400 end
        return { status = 101, headers = { Upgrade = "echo", Connection = "Upgrade" }, tunnel = function(bytes) return bytes:upper() end }
      end) }
    end)
    local response = app:get("/", { headers = { Upgrade = "echo", Connection = "Upgrade" } })
    assert.response(response).has.status(101)
    response.connection:send("hello")
    assert.equal("HELLO", response.connection:received())
    response.connection:send("again")
    assert.equal("AGAIN", response.connection:received())
    response.connection:close()
    app.clock:advance(1)
    assert.equal(0, app:counts().connections_active)
    assert.response(app:get("/")).has.status(400)
  end)

  it("to real addresses and names are played by hosts, or refused", function()
    local auth = testing.upstream { body = "auth" }
    local app = testing.app(function(g)
      g.route "/auth" { to = g.upstream "auth" { "auth.internal:80" } }
      g.route "/ip" { to = g.upstream "ip" { "10.9.8.7:80" } }
      g.route "/none" { to = g.upstream "none" { "nowhere.internal:80" } }
    end, { hosts = { ["auth.internal:80"] = auth, ["10.9.8.7:80"] = auth } })
    assert.equal("auth", app:get("/auth").body)
    assert.equal("auth", app:get("/ip").body)
    assert.equal(502, app:get("/none").status)
    assert.equal(1, #app.upstreams.auth.requests)
  end)
end)

describe("what is wrong", function()
  local function refused(f, options)
    local good, message = pcall(testing.app, f, options)
    assert.is_false(good)
    return message
  end

  it("with declarations is raised as gateway check prints it", function()
    local line = debug.getinfo(1, "l").currentline
    local message = refused(function(g)
      g.route "/a" { to = g.respond(200), methds = { "GET" } }
      g.route "/b" { to = "nobody" }
    end)
    assert.equal(("spec/lua/testing_spec.lua:%d: route \"/a\": unknown option \"methds\" (did you mean \"methods\"?)\n"):format(line + 2)
      .. ("spec/lua/testing_spec.lua:%d: route \"/b\": to: unknown upstream \"nobody\": none is declared"):format(line + 3), message)
  end)

  it("for the builder is raised, too", function()
    local message = refused(function(g)
      g.route "/a" { to = testing.upstream {} }
      g.route "/a" { to = testing.upstream {} }
    end)
    assert.truthy(message:find('^spec/lua/testing_spec.lua:%d+: route "/a" ties with'), message)
    local app = app_to({ body = "after" })
    assert.equal("after", app:get("/").body)
  end)

  for _, case in ipairs {
    { "an app without a function", function() testing.app({}) end, "testing.app: expected a function%(gateway%)" },
    { "an unknown option of the app", function() testing.app(function() end, { host_ = {} }) end, 'did you mean "host"' },
    { "an answer's unknown word", function() testing.upstream { stats = 200 } end, 'did you mean "status"' },
    { "an answer's wrong type", function() testing.upstream { delay = "soon" } end, "delay: expected a duration" },
    { "a wrong reset", function() testing.upstream { reset = "tail" } end, 'expected true, "head" or "body"' },
    { "an empty sequence", function() testing.upstream { sequence = {} } end, "sequence: expected a list" },
    { "an unknown option of a request", function() app_to({}):get("/", { header = {} }) end, 'did you mean "headers"' },
    { "a path that is none", function() app_to({}):get({}) end, "app:get: expected a path" },
    { "a client that is nowhere", function() app_to({}):get("/", { client_ip = "me" }) end, "client_ip: expected an IP address" },
    { "time that runs backwards", function() app_to({}).clock:advance(-1) end, "expected a duration .*, found %-1" },
    { "a dot for a colon", function() app_to({}).get "/" end, "expected app:get%(path%) with a colon" },
    { "hosts that are none", function() testing.app(function() end, { hosts = { a = "b" } }) end, "hosts: expected" },
  } do
    it("in " .. case[1] .. " is said at the test's line", function()
      local good, message = pcall(case[2])
      assert.is_false(good)
      assert.truthy(message:find(case[3]), message)
      assert.truthy(message:find("testing_spec.lua:", 1, true), message)
    end)
  end

  it("is said of an app that is closed", function()
    local app = app_to({})
    app:close()
    app:close()
    assert.is_false((pcall(app.get, app, "/")))
  end)
end)

describe("a hundred apps", function()
  local function descriptors()
    local n = 0
    for _ in require("lfs").dir("/proc/self/fd") do n = n + 1 end
    return n
  end

  local function resident()
    local file = assert(io.open("/proc/self/statm"))
    local pages = tonumber(file:read("*a"):match("^%d+ (%d+)"))
    file:close()
    return pages * 4096
  end

  local function round()
    for _ = 1, 100 do
      local app = testing.app(function(g)
        local window = g.sliding_window { limit = 5, window = 10 }
        g.route "/" { use = { g.rate_limit { rate = 5 }, function(_, next)
          window:allow("x")
          return next()
        end }, to = g.upstream "u" { testing.upstream { body = "x" }, breaker = {} } }
      end)
      app:get("/")
      app:start("/")
      app:close()
    end
    collectgarbage()
    collectgarbage()
  end

  it("leave no descriptors and no memory behind", function()
    round()
    local fds, memory = descriptors(), resident()
    round()
    round()
    assert.equal(fds, descriptors())
    -- A sanitized build keeps what was freed for a while: only the others can be weighed.
    if not os.getenv("LD_PRELOAD") and (os.getenv("GATEWAY_BUILD") or ""):find("release") then
      assert.is_true(resident() - memory < 4e6, ("%d bytes more"):format(resident() - memory))
    end
  end)
end)
