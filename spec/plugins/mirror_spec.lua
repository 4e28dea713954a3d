-- mirror: what the copies are, that nobody waits for them, and what becomes of those that are too many. In virtual time.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local app, real, shadow

local function start(config, answer)
  real, shadow = testing.upstream { body = "real" }, testing.upstream(answer or { body = "shadow" })
  app = testing.app(function(gateway)
    config.to = gateway.upstream "shadow" { shadow }
    gateway.route "/" { use = { gateway.plugin("mirror", config) }, to = gateway.upstream "real" { real } }
  end)
end

describe("mirror", function()
  it("copies requests, and gives the real answer", function()
    start {}
    local headers = { ["X-One"] = { "1", "2" }, Cookie = "a=b" }
    local response = app:request { method = "PUT", path = "/a/b?c=d", body = "hello", headers = headers }
    assert.equal("real", response.body)
    app.clock:advance(1)
    assert.equal(1, #shadow.requests)
    local copy = shadow.requests[1]
    assert.same({ "PUT", "/a/b?c=d", "hello", "a=b", "1" },
      { copy.method, copy.target, copy.body, copy.headers.cookie, copy.headers["x-mirrored"] })
    assert.same({ "1", "2" }, copy.headers:all "x-one")
    assert.equal("127.0.0.1", copy.headers["x-forwarded-for"])
    assert.is_nil(real.requests[1].headers["x-mirrored"])
    assert.equal("hello", real.requests[1].body)
  end)

  for name, answer in pairs {
    slow = { delay = 5 }, hanging = { hang = true }, broken = { reset = true }, ["not there"] = { refuse = true },
  } do
    it("never holds anybody up: a shadow that is " .. name, function()
      start({ timeout = 2 }, answer)
      for _ = 1, 5 do assert.equal("real", app:get("/").body) end
      assert.near(0, app.clock:elapsed(), 0.01)
      app.clock:advance(20)
      assert.equal("real", app:get("/").body)
    end)
  end

  it("takes its share", function()
    start { share = 25 }
    for _ = 1, 400 do app:get "/" end
    app.clock:advance(1)
    assert.near(100, #shadow.requests, 40)
  end)

  it("of the methods that it is told", function()
    start { methods = { "get" } }
    app:get "/"
    app:request { method = "POST", body = "x" }
    app.clock:advance(1)
    assert.equal(1, #shadow.requests)
  end)

  it("leaves out what it is told", function()
    start { remove = { "Authorization", "cookie" }, mark = "" }
    app:get("/", { headers = { Authorization = "Bearer x", Cookie = "a=b", ["X-One"] = "1" } })
    app.clock:advance(1)
    local headers = shadow.requests[1].headers
    assert.same({ nil, nil, "1", nil }, { headers.authorization, headers.cookie, headers["x-one"], headers["x-mirrored"] })
  end)

  it("copies no body that is longer than told, or of unknown length", function()
    start { body = 10 }
    assert.equal("real", app:request({ method = "POST", body = ("x"):rep(11) }).body)
    assert.equal("real", app:request({ method = "POST", body = "x", chunked = true }).body)
    app:request { method = "POST", body = ("x"):rep(10) }
    app.clock:advance(1)
    assert.equal(1, #shadow.requests)
    assert.equal(3, #real.requests)
  end)

  it("drops what would be too much", function()
    start({ in_flight = 3, timeout = 10 }, { hang = true })
    for _ = 1, 10 do app:get "/" end
    app.clock:advance(1)
    assert.equal(3, #shadow.requests)
    app.clock:advance(15)
    app:get "/"
    app.clock:advance(1)
    assert.equal(4, #shadow.requests)
  end)
  it("is not worn out by requests that cannot be sent again", function()
    start { in_flight = 3 }
    for _ = 1, 10 do
      assert.equal("real", app:request({ headers = { ["Proxy-Authorization"] = "x", ["Proxy-Authenticate"] = "y" } }).body)
      app.clock:advance(1)
    end
    assert.equal(10, #shadow.requests)
    assert.is_nil(shadow.requests[1].headers["proxy-authorization"])
    for _ = 1, 10 do
      app:request { method = "OPTIONS", path = "*" } -- gateway.fetch takes no such path
      app.clock:advance(1)
    end
    app:get "/"
    app.clock:advance(1)
    assert.equal("/", shadow.requests[#shadow.requests].target)
  end)
end)
