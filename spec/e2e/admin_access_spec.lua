-- Who may ask at the admin address: tokens, pages in browsers, names, unix sockets.

local gateway = require "spec.support.gateway"
local lfs = require "lfs"
local peers = require "spec.support.peers"

local TOKEN = "correct-horse-battery-staple"

local function ask(g, request)
  request.headers = request.headers or {}
  request.headers.Connection = "close"
  return peers.within(function() return peers.ask(g.vars.admin, request) end)
end

-- name, host, headers -> status of GET /status without a token, on loopback
local pages = {
  { "an IP address", "127.0.0.1", {}, 200 },
  { "an IP address with a port", "127.0.0.1:9901", {}, 200 },
  { "IPv6", "[::1]:9901", {}, 200 },
  { "localhost", "LocalHost:9901", {}, 200 },
  { "a name below localhost", "gateway.localhost", {}, 200 },
  { "the configured name", "Admin.Internal:9901", {}, 200 },
  { "another name", "evil.example", {}, 403 },
  { "a name that begins as an address does", "127.0.0.1.evil.example", {}, 403 },
  { "a name that ends as localhost does", "notlocalhost", {}, 403 },
  { "a number that is no address", "2130706433", {}, 403 },
  { "a page of ours", "127.0.0.1:9901", { Origin = "http://127.0.0.1:9901" }, 200 },
  { "a page elsewhere", "127.0.0.1:9901", { Origin = "http://evil.example" }, 403 },
  { "a page on another port of this machine", "127.0.0.1:9901", { Origin = "http://127.0.0.1:8080" }, 403 },
  { "a page of no origin", "127.0.0.1:9901", { Origin = "null" }, 403 },
  { "a rebound name, its own page", "evil.example:9901", { Origin = "http://evil.example:9901" }, 403 },
  { "an empty origin", "127.0.0.1:9901", { Origin = "" }, 403 },
}

-- name, Authorization -> status, with a token
local tokens = {
  { "none", nil, 401 },
  { "the right one", "Bearer " .. TOKEN, 200 },
  { "the scheme in other letters", "bearer " .. TOKEN, 200 },
  { "another one of its length", "Bearer " .. TOKEN:gsub("e$", "f"), 401 },
  { "a beginning of it", "Bearer " .. TOKEN:sub(1, 10), 401 },
  { "more than it", "Bearer " .. TOKEN .. "x", 401 },
  { "an empty one", "Bearer ", 401 },
  { "the scheme alone", "Bearer", 401 },
  { "without a scheme", TOKEN, 401 },
  { "another scheme", "Basic " .. TOKEN, 401 },
}

describe("admin without a token:", function()
  local g
  lazy_setup(function()
    g = gateway.start {
      script = [[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.workers(1)
        gateway.admin { "127.0.0.1:${admin}", host = "admin.internal" }]],
    }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  for _, case in ipairs(pages) do
    it(case[1] .. " gets " .. case[4], function()
      assert.equal(case[4], ask(g, { path = "/status", host = case[2], headers = case[3] }).status)
    end)
  end

  it("a page elsewhere reloads nothing", function()
    assert.equal(403, ask(g, { path = "/reload", method = "POST", host = "127.0.0.1",
      headers = { Origin = "http://evil.example" } }).status)
    assert.equal(403, ask(g, { path = "/reload", method = "POST", host = "evil.example" }).status)
    assert.equal(1, g:generation())
  end)
end)

describe("admin with a token:", function()
  local g
  lazy_setup(function()
    g = gateway.start {
      files = { ["token"] = TOKEN .. "\n" },
      script = [[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.workers(1)
        gateway.admin { "0.0.0.0:${admin}", token_file = "token" }]],
    }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  for _, case in ipairs(tokens) do
    it(case[1] .. " gets " .. case[3], function()
      local response = ask(g, { path = "/status", host = "any.name", headers = { Authorization = case[2] } })
      assert.equal(case[3], response.status)
      assert.equal(case[3] == 401 and "Bearer" or nil, response.headers:get("www-authenticate"))
    end)
  end

  it("two tokens are none, though one of them is right", function()
    peers.run(function()
      local client = peers.connect(g.vars.admin)
      client:send("GET /status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nAuthorization: Bearer " .. TOKEN .. "\r\n\r\n")
      assert.equal(401, client:read_response().status)
    end)
  end)

  it("probes and the empty page need none; everything else does, also what is not there", function()
    for path, status in pairs {
      ["/healthz"] = 200, ["/readyz"] = 200, ["/"] = 200, ["/help"] = 401, ["/metrics"] = 401, ["/nothing"] = 401 } do
      assert.equal(status, ask(g, { path = path, host = "a" }).status, path)
    end
    for _, path in ipairs { "/reload", "/drain?upstream=a&endpoint=b", "/undrain" } do
      assert.equal(401, ask(g, { path = path, method = "POST", host = "a" }).status, path)
    end
  end)

  it("a page elsewhere is refused whatever it knows", function()
    assert.equal(403, ask(g, { path = "/status", host = "a",
      headers = { Authorization = "Bearer " .. TOKEN, Origin = "http://b" } }).status)
  end)

  it("another token in its file is taken up", function()
    local other = TOKEN:reverse()
    g:replace("token", other)
    peers.within(function()
      peers.eventually(function()
        return ask(g, { path = "/status", host = "a", headers = { Authorization = "Bearer " .. other } }).status == 200
      end, "the new token")
    end)
    assert.equal(401, ask(g, { path = "/status", host = "a", headers = { Authorization = "Bearer " .. TOKEN } }).status)
    assert.is_nil(g:stderr():find(other, 1, true))
  end)
end)

describe("admin at a unix socket:", function()
  local script = [[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.workers(1)
    gateway.admin ]]

  it("is the owner's alone, unless the mode says otherwise; a reload changes the mode", function()
    local g = gateway.start { admin = "unix:${dir}/admin", script = script .. '"unix:${dir}/admin"' }
    local path = g.dir .. "/admin"
    assert.equal("rw-------", lfs.attributes(path, "permissions"))
    assert.equal(200, ask(g, { path = "/status", host = "any.name" }).status)
    g:write("main.lua", script .. '{ "unix:${dir}/admin", mode = "0666" }')
    assert.equal(200, ask(g, { path = "/reload", method = "POST", host = "a" }).status)
    assert.equal("rw-rw-rw-", lfs.attributes(path, "permissions"))
    g:stop()
    assert.is_nil(lfs.attributes(path))
  end)
end)

describe("admin:", function()
  it("another machine's way in needs a token", function()
    local result = gateway.command {
      args = { "check", "${dir}/main.lua" },
      script = 'local gateway = require "gateway"; gateway.listen ":1"; gateway.admin "0.0.0.0:9901"',
    }
    assert.equal(1, result.code)
    local said = 'main.lua:1: gateway.admin "0.0.0.0:9901" can be reached from other machines'
    assert.is_truthy(result.stderr:find(said, 1, true), result.stderr)
  end)
end)
