-- plugins/forward-auth.lua

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local function app_with(config, service, more)
  local backend = testing.upstream(more or { body = "hi", headers = { ["X-From"] = "backend" } })
  local auth = testing.upstream(service)
  local app = testing.app(function(gateway)
    local all = { upstream = gateway.upstream "auth" { auth }, path = "/check?x=1" }
    for key, value in pairs(config or {}) do all[key] = value end
    gateway.route "/" { use = { gateway.plugin("forward-auth", all) }, to = gateway.upstream "backend" { backend } }
  end)
  return app, backend, auth
end

describe("forward-auth", function()
  it("lets in who the service lets in, and tells it what is asked", function()
    local app, backend, auth = app_with({}, { status = 204 })
    local response = app:post("/a/b?c=d", {
      body = "text", client_ip = "192.0.2.7",
      headers = {
        Cookie = "s=1", Authorization = "Bearer x", ["X-Forwarded-User"] = "root", ["X-Forwarded-For"] = "1.1.1.1", ["X-A"] = "a",
      },
    })
    assert.equal(200, response.status)
    assert.equal("text", backend.requests[1].body)
    local asked = auth.requests[1]
    assert.same({ "GET", "/check?x=1", "" }, { asked.method, asked.target, asked.body })
    local h = asked.headers
    assert.same({ "s=1", "Bearer x", "a", "POST", "/a/b?c=d", "http", "gateway.test", "192.0.2.7" }, { h.cookie, h.authorization, h["x-a"],
      h["x-forwarded-method"], h["x-forwarded-uri"], h["x-forwarded-proto"], h["x-forwarded-host"], h["x-forwarded-for"] })
    assert.is_nil(h["x-forwarded-user"])
    assert.is_nil(h["content-length"] ~= "0" and h["content-length"] or nil)
  end)

  it("passes only the fields that it is told to", function()
    local app, _, auth = app_with({ request_headers = { "Authorization" } }, { status = 200 })
    app:get("/", { headers = { Cookie = "s=1", Authorization = "Bearer x" } })
    assert.equal("Bearer x", auth.requests[1].headers.authorization)
    assert.is_nil(auth.requests[1].headers.cookie)
  end)

  it("copies fields of the answer up and down, and nobody else can send them", function()
    local app, backend = app_with({ response_headers = { "X-User", "X-Group", "X-None" }, client_headers = { "Set-Cookie" },
      consumer_from = "x-user" },
      { headers = { ["X-User"] = "alice", ["X-Group"] = { "a", "b" }, ["Set-Cookie"] = { "a=1", "b=2" }, ["X-Other"] = "1" } })
    local response = app:get("/", { headers = { ["X-User"] = "root", ["X-None"] = "root", ["X-Consumer"] = "root" } })
    local got = backend.requests[1].headers
    assert.same({ "alice", "a, b", "alice" }, { got["x-user"], got["x-group"], got["x-consumer"] })
    assert.is_nil(got["x-none"])
    assert.is_nil(got["x-other"])
    assert.equal("backend", response.headers["x-from"])
    assert.same({ "a=1", "b=2" }, response.headers:all("set-cookie"))
    assert.equal("alice", app.access[1].consumer)
  end)

  for _, case in ipairs {
    { 401, { ["WWW-Authenticate"] = 'Basic realm="x"', ["Content-Type"] = "text/html", ["X-A"] = { "1", "2" } }, "<p>no</p>" },
    { 302, { Location = "https://login.example/?to=/a" }, "" }, { 403, {}, "no" }, { 418, {}, "tea" },
  } do
    it(("gives the client the service's %d"):format(case[1]), function()
      local app, backend = app_with({}, { status = case[1], headers = case[2], body = case[3] })
      local response = app:get("/")
      assert.equal(case[1], response.status)
      assert.equal(case[3], response.body)
      for name, value in pairs(case[2]) do
        assert.same(type(value) == "table" and value or { value }, response.headers:all(name))
      end
      assert.equal(0, #backend.requests)
    end)
  end

  for _, case in ipairs {
    { "says 500", { status = 500 } }, { "hangs", { hang = true } }, { "refuses", { refuse = true } }, { "resets", { reset = true } },
    { "says too much", { body = ("x"):rep(3000) } },
  } do
    it("fails with a service that " .. case[1], function()
      local app, backend = app_with({ timeout = 2, max_body = 2000 }, case[2])
      local response = app:get("/")
      assert.equal(503, response.status)
      assert.equal("1", response.headers["retry-after"])
      assert.equal(0, #backend.requests)
      assert.is_true(app.clock:elapsed() <= 2.5)
    end)

    it("lets in, where it is told to, with a service that " .. case[1], function()
      local config = { timeout = 2, max_body = 2000, fail = "open", response_headers = { "X-User" }, consumer_from = "x-user" }
      local app, backend = app_with(config, case[2])
      assert.equal(200, app:get("/", { headers = { ["X-User"] = "root", ["X-Consumer"] = "root" } }).status)
      assert.is_nil(backend.requests[1].headers["x-user"])
      assert.is_nil(backend.requests[1].headers["x-consumer"])
    end)
  end

  it("asks by URL", function()
    local auth = testing.upstream { status = 401, body = "no" }
    local app = testing.app(function(gateway)
      gateway.route "/" {
        use = { gateway.plugin("forward-auth", { url = "http://auth.internal:9000/verify" }) }, to = gateway.respond(200, "in"),
      }
    end, { hosts = { ["auth.internal:9000"] = auth } })
    assert.equal(401, app:get("/").status)
    assert.equal("/verify", auth.requests[1].target)
  end)

  for _, case in ipairs {
    { {}, "url" }, { { url = "ftp://x" }, "url" }, { { url = "http://x/", fail = "maybe" }, "closed" },
    { { url = "http://x/", response_headers = { "Connection" } }, "scripts may set" }, { { url = "http://x/", timeout = 0 }, "timeout" },
  } do
    it("refuses a config that is wrong: " .. case[2], function()
      local good, problem = pcall(testing.app, function(gateway)
        gateway.route "/" { use = { gateway.plugin("forward-auth", case[1]) }, to = gateway.respond(200) }
      end)
      assert.is_false(good)
      assert.truthy(tostring(problem):find(case[2], 1, true), problem)
    end)
  end
  it("asks without conditions and parts: nobody is let in, or turned away, by a 304 or a 206", function()
    local app, _, auth = app_with({}, function(request)
      local h = request.headers
      local asked = h["if-none-match"] or h["if-modified-since"] or h["if-match"] or h["if-range"] or h.range
      return { status = asked and 304 or 204 }
    end)
    for _, name in ipairs { "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range" } do
      assert.equal(200, app:get("/", { headers = { [name] = "x", ["Proxy-Authorization"] = "y" } }).status)
    end
    assert.is_nil(auth.requests[1].headers["proxy-authorization"])
  end)

  it("takes names for the same that backends do", function()
    local app, backend, auth = app_with({ response_headers = { "X-User-Id" } }, { headers = { ["X-User-Id"] = "alice" } })
    app:get("/", { headers = { X_User_Id = "root", ["x_user-id"] = "root", X_Forwarded_User = "root", X_Free = "1" } })
    local got = backend.requests[1].headers
    assert.same({ "alice", "1" }, { got["x-user-id"], got.x_free })
    assert.is_nil(got.x_user_id)
    assert.is_nil(got["x_user-id"])
    assert.is_nil(auth.requests[1].headers.x_forwarded_user)
  end)
end)
