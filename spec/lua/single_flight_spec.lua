-- gateway.single_flight in virtual time: who shares what, and what becomes of everybody when it goes wrong.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local app, calls

local function start(f, options)
  calls = 0
  app = testing.app(function(gateway)
    gateway.route "/:key" { to = function(request)
      local value, problem = gateway.single_flight(request.params.key, function()
        calls = calls + 1
        return f(gateway, calls)
      end, options)
      return gateway.respond(value == nil and 504 or 200, value == nil and tostring(problem) or tostring(value))
    end }
  end)
end

local function flight(paths)
  local pending, out = {}, {}
  for i, path in ipairs(paths) do pending[i] = app:start { path = path } end
  for i, one in ipairs(pending) do
    local response = one:wait()
    out[i] = response.status == 200 and response.body or response.status
  end
  return out
end

describe("single_flight", function()
  it("does the same thing once at a time, and other things beside it", function()
    start(function(gateway, n) gateway.sleep(2) return "result " .. n end)
    assert.same({ "result 1", "result 1", "result 2", "result 1" }, flight { "/a", "/a", "/b", "/a" })
    assert.is_true(app.clock:elapsed() < 2.2)
    assert.same({ "result 3" }, flight { "/a" })
  end)
  it("does not end with who came first", function()
    start(function(gateway, n) gateway.sleep(2) return n end)
    local first = app:start { path = "/a" }
    app.clock:advance(1)
    local second = app:start { path = "/a" }
    first:abort()
    assert.equal("1", second:wait().body)
  end)
  it("raises what failed for everybody, and tries again then", function()
    start(function(gateway, n)
      gateway.sleep(1)
      if n == 1 then error "no luck" end
      return n
    end)
    assert.same({ 500, 500 }, flight { "/a", "/a" })
    assert.same({ "2" }, flight { "/a" })
  end)
  it("gives up what takes too long", function()
    start(function(gateway, n)
      if n == 1 then gateway.sleep(100) end
      return n
    end, { timeout = 5 })
    assert.same({ 504, 504 }, flight { "/a", "/a" })
    assert.near(6, app.clock:elapsed(), 0.2)
    assert.same({ "2" }, flight { "/a" })
  end)
  it("gives nothing and a problem, as f does", function()
    start(function() return nil, "not today" end)
    local response = app:get "/a"
    assert.same({ 504, "not today" }, { response.status, response.body })
  end)
  it("is not worn out by keys that nobody asks for again", function()
    start(function(gateway) gateway.sleep(100) return 1 end, { timeout = 1 })
    for round = 1, 11 do
      local pending = {}
      for i = 1, 1000 do pending[i] = app:start { path = ("/%d-%d"):format(round, i) } end
      app.clock:advance(1.5)
      for i = 1, 1000 do pending[i]:abort() end
      app.clock:advance(2)
    end
    assert.equal(11000, calls)
  end)
end)
