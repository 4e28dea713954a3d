-- fault-injection: how late, how often, for whom. In virtual time.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local app, backend

local function start(config)
  backend = testing.upstream { status = 200, body = "fine" }
  app = testing.app(function(gateway)
    gateway.route "/" { use = { gateway.plugin("fault-injection", config) }, to = backend }
  end)
end

-- Seconds that it took, and the response.
local function get(headers)
  local before = app.clock:elapsed()
  local response = app:get("/", { headers = headers })
  return app.clock:elapsed() - before, response
end

describe("fault-injection", function()
  it("holds requests up", function()
    start { delay = "2s" }
    local took, response = get()
    assert.near(2, took, 0.01)
    assert.same({ "fine", "delay" }, { response.body, response.headers["x-fault"] })
  end)
  it("for any time between two", function()
    start { delay = 1, delay_most = 3 }
    local least, most = math.huge, 0
    for _ = 1, 60 do
      local took = get()
      least, most = math.min(least, took), math.max(most, took)
    end
    assert.is_true(least >= 0.99 and least < 1.4, least)
    assert.is_true(most <= 3.01 and most > 2.6, most)
  end)
  it("answers with an error", function()
    start { abort = 503, abort_headers = { ["Retry-After"] = "1" } }
    local took, response = get()
    assert.near(0, took, 0.001)
    assert.same({ 503, "1", "abort" }, { response.status, response.headers["retry-after"], response.headers["x-fault"] })
    assert.equal(0, #backend.requests)
    start { abort = 418, abort_body = "teapot", mark = "" }
    response = select(2, get())
    assert.same({ 418, "teapot", nil }, { response.status, response.body, response.headers["x-fault"] })
  end)
  it("does both", function()
    start { delay = 1, abort = 500 }
    local took, response = get()
    assert.near(1, took, 0.01)
    assert.same({ 500, "delay, abort" }, { response.status, response.headers["x-fault"] })
  end)
  it("takes its share", function()
    start { delay = 1, delay_share = 30, abort = 500, abort_share = 10 }
    local late, aborted = 0, 0
    for _ = 1, 500 do
      local took, response = get()
      if took > 0.5 then late = late + 1 end
      if response.status == 500 then aborted = aborted + 1 end
    end
    assert.near(150, late, 45)
    assert.near(50, aborted, 30)
  end)
  it("for those with a header only", function()
    start { abort = 500, header = "X-Chaos", header_value = "on" }
    assert.equal(200, select(2, get()).status)
    assert.equal(200, select(2, get { ["X-Chaos"] = "off" }).status)
    assert.equal(500, select(2, get { ["X-Chaos"] = "on" }).status)
  end)
  it("holds no more up than it may, and counts who went away", function()
    start { delay = 10, delayed_most = 2 }
    local first, second = app:start "/", app:start "/"
    app.clock:advance(1)
    assert.near(0, (get()), 0.01)
    first:abort()
    app.clock:advance(1)
    assert.near(10, (get()), 0.01)
    assert.equal(200, second:wait().status)
  end)
  for _, case in ipairs {
    { {}, "delay" },
    { { delay = 1, delay_most = 0.5 }, "delay_most: expected a delay beside it that is not longer" },
    { { abort = 99 }, "abort: expected a whole number from 200 to 599, found 99" },
    { { delay = 1, delay_share = 101 }, "delay_share: expected a number from 0 to 100, found 101" },
    { { abort = 500, abort_headers = { ["a b"] = "c" } }, 'abort_headers: expected header fields, found "a b"' },
  } do
    it("refuses: " .. case[2], function()
      local good, message = pcall(start, case[1])
      assert.is_false(good)
      assert.truthy(tostring(message):find(case[2], 1, true), message)
    end)
  end
end)
