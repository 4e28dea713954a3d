-- request-size-limit: each limit at its edge.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local backend

local function start(config)
  backend = testing.upstream { status = 200 }
  return testing.app(function(gateway)
    gateway.route "/" { use = { gateway.plugin("request-size-limit", config) }, to = backend }
  end)
end

describe("request-size-limit", function()
  for _, chunked in ipairs { false, true } do
    it("bodies" .. (chunked and ", in chunks" or ""), function()
      local app = start { body = "10B" }
      local function post(n) return app:request { method = "POST", body = ("x"):rep(n), chunked = chunked }.status end
      assert.same({ 200, 200, 413 }, { post(0), post(10), post(11) })
      assert.equal(("x"):rep(10), backend.requests[2].body)
    end)
  end
  it("a megabyte, where nothing is said", function()
    local app = start()
    assert.equal(413, app:request({ method = "POST", body = ("x"):rep(2 ^ 20 + 1) }).status)
  end)
  it("never lets more in than the route does", function()
    local app = testing.app(function(gateway)
      local use = { gateway.plugin("request-size-limit", { body = 10 }) }
      gateway.route "/" { limits = { body_bytes = 5 }, use = use, to = gateway.respond(200) }
    end)
    assert.equal(413, app:request({ method = "POST", body = "123456" }).status)
  end)
  for _, case in ipairs {
    { "queries", { query = 5 }, { path = "/?12345" }, { path = "/?123456" }, 414 },
    { "paths", { path = 5 }, { path = "/1234" }, { path = "/12345" }, 414 },
    { "fields", { fields = 3 }, { headers = { a = "1", b = "2" } }, { headers = { a = "1", b = "2", c = "3" } }, 431 },
    { "lengths", { require_length = true }, { method = "POST", body = "x" }, { method = "POST", body = "x", chunked = true }, 411 },
  } do
    it(case[1], function()
      local app = start(case[2])
      assert.equal(200, app:request(case[3]).status)
      assert.equal(case[5], app:request(case[4]).status)
      assert.equal(1, #backend.requests)
    end)
  end
end)
