-- gateway.testing's app: what waits in virtual time (sleeps, timers, finalizers), what is shared, and what fetches.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

describe("what waits", function()
  it("waits in virtual time", function()
    local app = testing.app(function(g)
      g.route "/sleep" { use = { function(_, next)
        g.sleep(5)
        local response = next()
        g.sleep "250ms"
        return response
      end }, to = testing.upstream {} }
      g.route "/all" { use = { function()
        local a, b = g.all { function() g.sleep(2) return "a" end, function() g.sleep(3) return "b" end }
        return g.respond(200, a .. b)
      end }, to = testing.upstream {} }
      g.route "/inside" { use = { function()
        local step = coroutine.wrap(function()
          g.sleep(1)
          coroutine.yield("one")
          return "two"
        end)
        return g.respond(200, step() .. step())
      end }, to = testing.upstream {} }
    end)
    local function took(path, seconds, body)
      local response = app:get(path)
      assert.response(response).has.status(200)
      assert.is_true(response.duration >= seconds and response.duration < seconds + 0.1, tostring(response.duration))
      if body then assert.equal(body, response.body) end
    end
    took("/sleep", 5.25)
    took("/all", 3, "ab")
    took("/inside", 1, "onetwo")
  end)

  it("ends with the client, and its finalizers run", function()
    local ended = 0
    local app = testing.app(function(g)
      g.route "/" { use = { function(request, next)
        request:finally(function() ended = ended + 1 end)
        g.sleep(60)
        return next()
      end }, to = testing.upstream {} }
    end)
    local pending = app:start("/")
    app.clock:advance(1)
    assert.equal(0, ended)
    pending:abort()
    assert.equal(1, ended)
  end)

  it("is a timer, which ends with the app", function()
    local runs = 0
    local app = testing.app(function(g)
      g.every(10, function() runs = runs + 1 end, { jitter = 0 })
      g.route "/" { to = g.respond(200) }
    end)
    app.clock:advance(35)
    assert.equal(3, runs)
    app:close()
    local other = testing.app(function(g) g.route "/" { to = g.respond(200) } end)
    other.clock:advance(100)
    assert.equal(3, runs)
  end)

  it("keeps several apps apart", function()
    local function sleeper(name, seconds)
      return testing.app(function(g)
        g.route "/" { use = { function()
          g.sleep(seconds)
          return g.respond(200, name)
        end }, to = testing.upstream {} }
      end)
    end
    local a, b = sleeper("a", 1), sleeper("b", 2)
    local first, second = a:start("/"), b:start("/")
    assert.equal("b", second:wait().body)
    assert.is_false(first:done())
    assert.equal("a", first:wait().body)
  end)

  it("shares a dictionary among requests, and no further", function()
    local function counter()
      return testing.app(function(g)
        local seen = g.shared "seen"
        g.route "/" { use = { function() return g.respond(200, tostring(seen:incr("n", 1, 0, 30))) end }, to = testing.upstream {} }
      end)
    end
    local a, b = counter(), counter()
    assert.equal("1", a:get("/").body)
    assert.equal("2", a:get("/").body)
    assert.equal("1", b:get("/").body)
    a.clock:advance(31)
    assert.equal("1", a:get("/").body)
  end)
end)

describe("what fetches", function()
  -- A route that answers by what it fetched.
  local function fetcher(target, options, app_options)
    return testing.app(function(g)
      g.route "/" { use = { function()
        local response, problem = g.fetch(type(target) == "function" and target(g) or target, options)
        if not response then return g.respond(503, problem) end
        return g.respond(response.status, response.body)
      end }, to = testing.upstream {} }
    end, app_options)
  end

  it("finds hosts by name, by address and without a port", function()
    local auth = testing.upstream(function(request) return request.path .. " " .. request.headers.host end)
    for url, host in pairs {
      ["http://auth.internal:8080/check?a=b"] = "auth.internal:8080", ["http://auth.internal/check"] = "auth.internal",
      ["http://10.1.2.3:99/check"] = "10.1.2.3:99",
    } do
      local app = fetcher(url, nil, { hosts = { [host] = auth } })
      assert.equal("/check " .. host, app:get("/").body)
      assert.equal(1, #app.upstreams[host].requests)
    end
  end)

  it("asks a testing.upstream", function()
    local app = testing.app(function(g)
      local service = testing.upstream { body = "fetched" }
      g.route "/" { use = { function() return g.respond(200, g.fetch(service, { path = "/x" }).body) end }, to = testing.upstream {} }
    end)
    assert.equal("fetched", app:get("/").body)
  end)

  it("is told when nobody plays the name, or it takes too long", function()
    local response = fetcher("http://nobody.internal/"):get("/")
    assert.response(response).has.status(503)
    assert.truthy(response.body:find("nobody plays it", 1, true), response.body)
    local slow = fetcher("http://slow.internal/", { timeout = 3 }, { hosts = { ["slow.internal:80"] = testing.upstream { hang = true } } })
    response = slow:get("/")
    assert.response(response).has.status(503)
    assert.is_true(response.duration >= 3 and response.duration < 3.1)
  end)

  it("is in timers, and side by side", function()
    local seen = testing.upstream { delay = 2, body = "x" }
    local app = testing.app(function(g)
      g.every(60, function() g.fetch("http://seen.internal/timer") end, { jitter = 0 })
      g.route "/" { use = { function()
        local function one() return g.fetch("http://seen.internal/one").body end
        local a, b = g.all { one, one }
        return g.respond(200, a .. b)
      end }, to = testing.upstream {} }
    end, { hosts = { ["seen.internal:80"] = seen } })
    local response = app:get("/")
    assert.equal("xx", response.body)
    assert.is_true(response.duration < 2.1)
    app.clock:advance(70)
    assert.equal("/timer", seen.requests[3].path)
  end)
end)
