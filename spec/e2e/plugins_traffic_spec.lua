-- Shipped plugins on real sockets, in two workers: one pass each. What they do in full is in spec/plugins.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local SCRIPT = [=[${prelude}
gateway.trusted_proxies { "127.0.0.1" }
local stable = gateway.upstream "stable" { "${backend1}" }
local beta = gateway.upstream "beta" { "${backend2}" }
local function plugin(path, name, config) gateway.route(path) { use = { gateway.plugin(name, config) }, to = stable } end
plugin("/cache", "response-cache", {})
plugin("/canary", "canary", { to = "beta", header = "X-Canary" })
plugin("/fault", "fault-injection", { delay = "50ms", abort = 503, abort_share = 100 })
plugin("/size", "request-size-limit", { body = 10 })
plugin("/bot", "bot-detection", {})
plugin("/secure", "security-headers", {})
plugin("/valid", "request-validation", { body = { type = "object", required = { "id" } } })
plugin("/id", "correlation-id", {})
plugin("/mirror", "mirror", { to = "beta" })
plugin("/cors", "cors", { origins = { "https://a.example" } })
plugin("/rewrite", "rewrite", { strip_prefix = "/rewrite", rules = { { match = "^/users/(\\d+)$", to = "/user?id=$1" } } })
plugin("/redirect", "redirect", { match = "^/redirect/(.*)$", to = "https://new.example/$1", status = 301 })
plugin("/request/:id", "request-transform", { headers = { set = { ["X-Id"] = "${param.id}" } }, query = { add = { v = "2" } } })
plugin("/response", "response-transform", { headers = { remove = { "Vary" } }, json = { set = { ok = true } } })
plugin("/log", "http-log", { to = "http://${backend2}/lines", interval = "50ms" })
]=]

describe("on real sockets:", function()
  local g, count
  lazy_setup(function() g = gateway.start { backends = 2, workers = 2, script = SCRIPT } end)
  lazy_teardown(function() g:stop() end)

  local function within(f)
    peers.within(function()
      count = 0
      g.backends[1]:answer(function(request)
        count = count + 1
        if request.target == "/response" then
          return { body = '{"a":1}', headers = { ["Content-Type"] = "application/json", Vary = "X" } }
        end
        return { body = "stable " .. count, headers = { ["Cache-Control"] = "max-age=60, stale-while-revalidate=60", Vary = "X-Lang" } }
      end)
      g.backends[2]:answer { body = "beta" }
      f()
    end)
  end

  it("response-cache, over all workers", function()
    within(function()
      for _ = 1, 20 do assert.equal("stable 1", g:ask("/cache/a").body) end
      assert.equal("stable 2", g:ask({ path = "/cache/a", headers = { ["X-Lang"] = "de" } }).body)
      local head = g:ask { method = "HEAD", path = "/cache/a" }
      assert.same({ "HIT", "8" }, { head.headers:get "x-cache", head.headers:get "content-length" })
      assert.equal(200, g:ask({ method = "POST", path = "/cache/a", body = "x" }).status)
      assert.equal("stable 4", g:ask("/cache/a").body)
    end)
  end)

  it("response-cache: what is stale is fetched anew behind the client's back", function()
    within(function()
      g.backends[1]:answer(function()
        count = count + 1
        return { body = "stable " .. count, headers = { ["Cache-Control"] = "max-age=0, stale-while-revalidate=60" } }
      end)
      assert.equal("stable 1", g:ask("/cache/stale").body)
      assert.equal("stable 1", g:ask("/cache/stale").body)
      peers.eventually(function() return g:ask("/cache/stale").body ~= "stable 1" end, "the new one")
    end)
  end)

  it("mirror and http-log", function()
    within(function()
      local copies, lines = {}, {}
      g.backends[2]:answer(function(request)
        if request.target == "/lines" then
          for _, line in ipairs(cjson.decode(request.body)) do lines[#lines + 1] = line end
        else
          copies[#copies + 1] = request
        end
        return { body = "" }
      end)
      for i = 1, 6 do
        assert.equal(200, g:ask({ method = "POST", path = "/mirror/" .. i, body = "hello" }).status)
        assert.equal(200, g:ask("/log/" .. i).status)
      end
      peers.eventually(function() return #copies == 6 and #lines == 6 end, "all copies and lines")
      assert.equal("hello", copies[1].body)
      assert.equal("1", copies[1].headers:get "x-mirrored")
      assert.equal(200, lines[1].status)
    end)
  end)

  it("http-log: what stands in the buffer goes out before a drain is over", function()
    local other = gateway.start { backends = 1, script = [=[${prelude}
      local log = gateway.plugin("http-log", { to = "http://${backend1}/", interval = "300ms" })
      gateway.route "/" { use = { log }, to = gateway.respond(200) }
    ]=] }
    local seen
    peers.within(function()
      other.backends[1]:answer(function(request) seen = request.body return { body = "" } end)
      other:ask "/last"
      other:signal(sys.SIGTERM)
      peers.eventually(function() return seen end, "the lines")
    end)
    assert.truthy(seen:find('"path":"/last"', 1, true), seen)
    other:wait_exit()
    other:stop()
  end)

  it("canary, fault-injection, request-size-limit, bot-detection, security-headers, request-validation, correlation-id", function()
    within(function()
      assert.equal("beta", g:ask({ path = "/canary", headers = { ["X-Canary"] = "always" } }).body)
      assert.equal("stable 1", g:ask("/canary").body)
      local fault = g:ask "/fault"
      assert.same({ 503, "delay, abort" }, { fault.status, fault.headers:get "x-fault" })
      assert.equal(200, g:ask({ method = "POST", path = "/size", body = ("x"):rep(10) }).status)
      assert.equal(413, g:ask({ method = "POST", path = "/size", body = ("x"):rep(11) }).status)
      assert.equal(403, g:ask({ path = "/bot", headers = { ["User-Agent"] = "sqlmap/1" } }).status)
      local secure = g:ask { path = "/secure", headers = { ["X-Forwarded-Proto"] = "https" } }
      assert.equal("max-age=31536000; includeSubDomains", secure.headers:get "strict-transport-security")
      local json = { ["Content-Type"] = "application/json" }
      assert.equal(200, g:ask({ method = "POST", path = "/valid", headers = json, body = '{"id":1}' }).status)
      assert.equal(400, g:ask({ method = "POST", path = "/valid", headers = json, body = "{}" }).status)
      local id = g:ask("/id").headers:get "x-correlation-id"
      assert.equal(36, #id)
      assert.equal(id, g.backends[1]:last().headers:get "x-correlation-id")
    end)
  end)

  it("cors: a preflight is answered here, an answer may be read", function()
    within(function()
      local preflight = g:ask { method = "OPTIONS", path = "/cors", headers = { Origin = "https://a.example",
        ["Access-Control-Request-Method"] = "PUT" } }
      assert.same({ 204, "https://a.example" }, { preflight.status, preflight.headers:get "access-control-allow-origin" })
      assert.equal(0, count)
      local answer = g:ask { path = "/cors", headers = { Origin = "https://a.example" } }
      assert.same({ 200, "https://a.example" }, { answer.status, answer.headers:get "access-control-allow-origin" })
      assert.is_nil(g:ask({ path = "/cors", headers = { Origin = "https://evil.example" } }).headers:get "access-control-allow-origin")
    end)
  end)

  it("rewrite and redirect", function()
    within(function()
      assert.equal(200, g:ask("/rewrite/users/7?x=1").status)
      assert.equal("/user?id=7&x=1", g.backends[1]:last().target)
      local answer = g:ask "/redirect/a%20b?c=1"
      assert.same({ 301, "https://new.example/a%20b?c=1" }, { answer.status, answer.headers:get "location" })
      assert.equal(1, count)
    end)
  end)

  it("request-transform and response-transform", function()
    within(function()
      g:ask "/request/7?a=1"
      assert.same({ "7", "/request/7?a=1&v=2" }, { g.backends[1]:last().headers:get "x-id", g.backends[1]:last().target })
      local answer = g:ask "/response"
      assert.same({ a = 1, ok = true }, cjson.decode(answer.body))
      assert.is_nil(answer.headers:get "vary")
    end)
  end)
end)
