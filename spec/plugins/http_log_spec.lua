-- http-log: what lines hold, how they are sent together, tried again, dropped. In virtual time.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local json = require "gateway.json"
local testing = require "gateway.testing"

local app, sink

local function start(config, answer, more)
  sink = testing.upstream(answer or { status = 204 })
  app = testing.app(function(gateway)
    config.to = config.to or gateway.upstream "sink" { sink }
    gateway.route "/" {
      use = { gateway.plugin("http-log", config), more or function(_, next) return next() end }, to = testing.upstream { body = "hi" },
    }
  end, { hosts = { ["logs.example:80"] = sink, ["logs.example"] = sink }, now = 1700000000 })
end

-- All lines that the sink took, request by request.
local function batches()
  local out = {}
  for i, request in ipairs(sink.requests) do out[i] = json.decode(request.body) end
  return out
end

describe("http-log", function()
  it("sends a line for each request, together, and holds nobody up", function()
    start({ interval = 1 }, { delay = 3, status = 200 })
    for i = 1, 5 do assert.equal("hi", app:get("/" .. i).body) end
    assert.near(0, app.clock:elapsed(), 0.01)
    assert.equal(0, #sink.requests)
    app.clock:advance(1.2)
    assert.equal(1, #sink.requests)
    local lines = batches()[1]
    assert.equal(5, #lines)
    local line = lines[1]
    assert.same({ "GET", "/1", 200, "127.0.0.1", "http", "/", "2023-11-14T22:13:20.000Z" },
      { line.method, line.path, line.status, line.client_ip, line.scheme, line.route, line.time })
    assert.equal(32, #line.request_id)
    assert.equal("application/json", sink.requests[1].headers["content-type"])
    assert.equal("POST", sink.requests[1].method)
  end)

  it("holds what it is told to", function()
    start({
      query = true, request_headers = { "User-Agent", "X-Odd" }, context = { "consumer", "table" }, fields = { service = "edge" },
      format = "ndjson", headers = { Authorization = "Bearer s" }, path = "/in?x=1", method = "PUT",
    }, nil, function(request, next)
      request.ctx.consumer, request.ctx.table = "alice", {}
      return next()
    end)
    app:get("/a?b=c", { headers = { ["User-Agent"] = "me", ["X-Odd"] = "\255\1x" and "\255x" } })
    app:get("/d", { headers = { ["User-Agent"] = ("u"):rep(3000) } })
    app.clock:advance(2)
    local request = sink.requests[1]
    assert.same({ "PUT", "/in?x=1", "Bearer s", "application/x-ndjson" },
      { request.method, request.target, request.headers.authorization, request.headers["content-type"] })
    local lines = {}
    for text in request.body:gmatch("[^\n]+") do lines[#lines + 1] = assert(json.decode(text)) end
    assert.equal(2, #lines)
    assert.same({ "b=c", "alice", "edge", "me", nil },
      { lines[1].query, lines[1].consumer, lines[1].service, lines[1].headers["user-agent"], lines[1].table })
    assert.equal(1024, #lines[2].headers["user-agent"])
  end)

  it("sends a full batch at once", function()
    start { batch = 3, interval = 60 }
    for i = 1, 7 do app:get("/" .. i) end
    app.clock:advance(1)
    local sent = 0
    for _, lines in ipairs(batches()) do
      assert.is_true(#lines <= 3)
      sent = sent + #lines
    end
    assert.equal(6, sent)
    app.clock:advance(61)
    assert.equal(1, #batches()[3])
  end)

  for _, case in ipairs {
    { "a sink that answers with an error", { sequence = { { status = 503 }, { status = 429 }, { status = 200 } } }, 3, 1 },
    { "a sink that breaks off", { sequence = { { reset = true }, { status = 200 } } }, nil, 1 },
    { "a sink that is too slow", { sequence = { { hang = true }, { status = 200 } } }, 2, 1 },
    { "not what will never be taken", { status = 400 }, 1, 0 },
    { "not for ever", { status = 500 }, 4, 0 },
  } do
    it("tries again: " .. case[1], function()
      start({ timeout = 2 }, case[2])
      app:get "/"
      app.clock:advance(60)
      if case[3] then assert.equal(case[3], #sink.requests) end
      local dropped = 0
      for _, line in ipairs(app.log) do
        if line.message == "lines for the HTTP log were dropped" then dropped = dropped + line.lines end
      end
      assert.equal(1 - case[4], dropped)
    end)
  end

  it("goes on after a failure", function()
    start({ retries = 0 }, { sequence = { { status = 500 }, { status = 200 } } })
    app:get "/1"
    app.clock:advance(3)
    app:get "/2"
    app.clock:advance(3)
    assert.equal("/2", batches()[2][1].path)
  end)

  it("drops what does not fit, and says so once in a while", function()
    start({ buffer = "4KB", interval = 5 }, { hang = true })
    for i = 1, 100 do app:get("/" .. i) end
    app.clock:advance(0.1)
    local told = 0
    for _, line in ipairs(app.log) do
      if line.message == "lines for the HTTP log were dropped" then told = told + 1 end
    end
    assert.equal(1, told)
    app.clock:advance(5)
    assert.is_true(#sink.requests[1].body <= 4200)
  end)

  it("tells of requests that fail or are left", function()
    start({ interval = 0.5 }, nil, function(request, next)
      if request.path == "/error" then error "no luck" end
      return next()
    end)
    app:get "/error"
    app.clock:advance(1)
    assert.equal(500, batches()[1][1].status)
  end)

  it("takes a share", function()
    start { share = 20 }
    for _ = 1, 300 do app:get "/" end
    app.clock:advance(5)
    local sent = 0
    for _, lines in ipairs(batches()) do sent = sent + #lines end
    assert.near(60, sent, 30)
  end)

  it("sends to a URL", function()
    start { to = "http://logs.example/in" }
    app:get "/"
    app.clock:advance(3)
    assert.equal("/in", sink.requests[1].target)
    assert.equal("logs.example", sink.requests[1].headers.host)
  end)
  it("takes no password in its URL, and does not tell it", function()
    local good, problem = pcall(testing.app, function(gateway)
      gateway.route "/" { use = { gateway.plugin("http-log", { to = "http://user:hunter2@sink.example/" }) }, to = gateway.respond(200) }
    end)
    assert.is_false(good)
    assert.truthy(tostring(problem):find("expected no user name in the URL", 1, true), problem)
    assert.is_nil(tostring(problem):find("hunter2", 1, true))
  end)

  it("takes no fields that the gateway alone writes", function()
    for _, name in ipairs { "Content-Length", "Connection", "Proxy-Authorization" } do
      assert.is_false((pcall(testing.app, function(gateway)
        gateway.route "/" { use = { gateway.plugin("http-log", { to = "http://sink.example/", headers = { [name] = "1" } }) },
          to = gateway.respond(200) }
      end)))
    end
  end)
end)
