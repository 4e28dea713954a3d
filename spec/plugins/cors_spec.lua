-- cors: preflight requests, origins, what caches must know.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local function ask(config, method, headers, answer)
  local up = testing.upstream(answer or { status = 200, body = "hi" })
  local app = testing.app(function(gateway) gateway.route "/" { use = { gateway.plugin("cors", config) }, to = up } end)
  local response = app:request { method = method, path = "/", headers = headers }
  return response.headers, response, #up.requests
end

local function preflight(config, origin, more)
  local headers = { Origin = origin, ["Access-Control-Request-Method"] = "PUT" }
  for name, value in pairs(more or {}) do headers[name] = value end
  return ask(config, "OPTIONS", headers)
end

local ALLOW = "access-control-allow-origin"

describe("cors", function()
  it("lets everybody read by default", function()
    assert.equal("*", ask(nil, "GET", { Origin = "https://a.example" })[ALLOW])
    local headers = ask(nil, "GET")
    assert.is_nil(headers[ALLOW])
    assert.is_nil(headers.vary)
  end)

  it("answers preflight requests itself", function()
    local headers, response, seen = preflight({ max_age = "10m" }, "https://a.example", { ["Access-Control-Request-Headers"] = "X-A, X-B" })
    assert.equal(204, response.status)
    assert.equal(0, seen)
    assert.equal("*", headers[ALLOW])
    assert.equal("GET, HEAD, PUT, PATCH, POST, DELETE", headers["access-control-allow-methods"])
    assert.equal("X-A, X-B", headers["access-control-allow-headers"])
    assert.equal("600", headers["access-control-max-age"])
    assert.equal("Access-Control-Request-Headers", headers.vary)
  end)

  it("lets the backend see them when told", function()
    local _, _, seen = preflight({ preflight_continue = true }, "https://a.example")
    assert.equal(1, seen)
  end)

  it("an OPTIONS that is none goes on", function()
    local _, _, seen = ask(nil, "OPTIONS", { Origin = "https://a.example" })
    assert.equal(1, seen)
  end)

  -- config.origins, origin, allowed?
  for _, case in ipairs {
    { { "https://a.example" }, "https://a.example", true },
    { { "https://a.example" }, "https://A.example", true },
    { { "https://a.example" }, "http://a.example", false },
    { { "https://a.example" }, "https://a.example.evil", false },
    { { "https://a.example" }, "https://a.example:8443", false },
    { { "https://a.example:8443" }, "https://a.example:8443", true },
    { { "https://*.example.com" }, "https://x.example.com", true },
    { { "https://*.example.com" }, "https://x.y.example.com", true },
    { { "https://*.example.com" }, "https://example.com", false },
    { { "https://*.example.com" }, "https://evil.com/.example.com", false },
    { { "https://*.example.com" }, "https://evil.com:80@x.example.com", false },
    { { "https://*.example.com" }, "https://xexample.com", false },
    { { "https://a.example" }, "null", false },
    { { "null" }, "null", true },
  } do
    it(("%s: %s is %s"):format(case[1][1], case[2], case[3] and "let in" or "kept out"), function()
      local one, two = ask({ origins = case[1] }, "GET", { Origin = case[2] }), (preflight({ origins = case[1] }, case[2]))
      for _, headers in ipairs { one, two } do
        assert.equal(case[3] and case[2] or nil, headers[ALLOW])
        assert.equal("Origin", headers.vary:match "Origin")
      end
    end)
  end

  it("patterns match whole origins", function()
    local config = { origins = {}, origin_patterns = { "https://[a-z]+\\.example\\.com" } }
    assert.equal("https://a.example.com", ask(config, "GET", { Origin = "https://a.example.com" })[ALLOW])
    assert.is_nil(ask(config, "GET", { Origin = "https://a.example.com.evil" })[ALLOW])
    assert.is_nil(ask(config, "GET", { Origin = "x https://a.example.com" })[ALLOW])
  end)

  it("credentials name the origin, and fields may be read", function()
    local config = { origins = { "https://a.example" }, credentials = true, expose = { "X-One", "X-Two" } }
    local headers = ask(config, "GET", { Origin = "https://a.example" })
    assert.equal("https://a.example", headers[ALLOW])
    assert.equal("true", headers["access-control-allow-credentials"])
    assert.equal("X-One, X-Two", headers["access-control-expose-headers"])
  end)

  it("caches learn that answers differ by origin, also from one without", function()
    assert.equal("Origin", ask({ origins = { "https://a.example" } }, "GET").vary)
    assert.equal("Accept, Origin", ask({ origins = { "https://a.example" } }, "GET", nil, { headers = { Vary = "Accept" } }).vary)
    assert.equal("accept, origin", ask({ origins = { "https://a.example" } }, "GET", nil, { headers = { Vary = "accept, origin" } }).vary)
    assert.equal("*", ask({ origins = { "https://a.example" } }, "GET", nil, { headers = { Vary = "*" } }).vary)
  end)

  it("replaces what the backend says of it", function()
    local answer = { headers = { ["Access-Control-Allow-Origin"] = "*", ["Access-Control-Allow-Credentials"] = "true" } }
    local headers = ask({ origins = { "https://a.example" } }, "GET", { Origin = "https://evil.example" }, answer)
    assert.is_nil(headers[ALLOW])
    assert.is_nil(headers["access-control-allow-credentials"])
  end)

  it("private networks only when told", function()
    local more = { ["Access-Control-Request-Private-Network"] = "true" }
    assert.is_nil(preflight(nil, "https://a.example", more)["access-control-allow-private-network"])
    assert.equal("true", preflight({ private_network = true }, "https://a.example", more)["access-control-allow-private-network"])
  end)

  for _, case in ipairs {
    { { credentials = true }, "credentials: may not go with origins = { \"*\" }" },
    { { origins = { "a.example" } }, 'origins[1]: expected "SCHEME://HOST[:PORT]"' },
    { { origins = { "https://a.example/" } }, 'origins[1]: expected "SCHEME://HOST[:PORT]"' },
    { { origins = { "https://a*.example" } }, 'origins[1]: expected "SCHEME://HOST[:PORT]"' },
    { { origins = { "*", "https://a.example" } }, 'origins: "*" takes all' },
    { { methods = { "GE T" } }, 'methods[1]: expected a name, found "GE T"' },
    { { origin = { "*" } }, 'unknown field "origin" (did you mean "origins"?)' },
  } do
    it("refuses: " .. case[2], function()
      local good, problem = pcall(ask, case[1], "GET")
      assert.is_false(good)
      assert.is_truthy(tostring(problem):find(case[2], 1, true), tostring(problem))
    end)
  end
  it("patterns alone are all that is let in", function()
    local config = { origin_patterns = { "https://a\\.example" } }
    assert.equal("https://a.example", ask(config, "GET", { Origin = "https://a.example" })[ALLOW])
    assert.is_nil(ask(config, "GET", { Origin = "https://evil.example" })[ALLOW])
    assert.is_nil(preflight(config, "https://evil.example")[ALLOW])
    config.credentials = true
    assert.equal("https://a.example", ask(config, "GET", { Origin = "https://a.example" })[ALLOW])
  end)
end)
