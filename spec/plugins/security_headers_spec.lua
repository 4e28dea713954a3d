-- security-headers: what is said by default, what is left to the backend, what is said over https only.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local function ask(config, answer, headers, trusted)
  local app = testing.app(function(gateway)
    if trusted then gateway.trusted_proxies { "127.0.0.1" } end
    gateway.route "/" { use = { gateway.plugin("security-headers", config) }, to = testing.upstream(answer or { status = 200 }) }
  end)
  return app:get("/", { headers = headers }).headers
end

local https = { ["X-Forwarded-Proto"] = "https" }

describe("security-headers", function()
  it("says what is safe to say by default", function()
    local headers = ask(nil, { headers = { ["X-Powered-By"] = "PHP", Server = "x" } })
    assert.equal("nosniff", headers["x-content-type-options"])
    assert.equal("SAMEORIGIN", headers["x-frame-options"])
    assert.equal("strict-origin-when-cross-origin", headers["referrer-policy"])
    for _, name in ipairs { "content-security-policy", "permissions-policy", "strict-transport-security", "x-powered-by" } do
      assert.message(name).is_nil(headers[name])
    end
    assert.equal("x", headers.server)
  end)
  it("speaks of https over https", function()
    assert.equal("max-age=31536000; includeSubDomains", ask(nil, nil, https, true)["strict-transport-security"])
    assert.is_nil(ask(nil, nil, https, false)["strict-transport-security"])
    local config = { hsts = "730d", hsts_preload = true }
    assert.equal("max-age=63072000; includeSubDomains; preload", ask(config, nil, https, true)["strict-transport-security"])
    assert.is_nil(ask({ hsts = 0 }, nil, https, true)["strict-transport-security"])
    assert.equal("max-age=60", ask({ hsts = 60, hsts_subdomains = false }, nil, https, true)["strict-transport-security"])
  end)
  it("lets the backend say it better, unless told otherwise", function()
    local answer = { headers = { ["X-Frame-Options"] = "DENY", ["Content-Security-Policy"] = "default-src 'none'" } }
    local config = { content_security_policy = "default-src 'self'" }
    local headers = ask(config, answer)
    assert.same({ "DENY", "default-src 'none'" }, { headers["x-frame-options"], headers["content-security-policy"] })
    config.override = true
    headers = ask(config, answer)
    assert.same({ "SAMEORIGIN", "default-src 'self'" }, { headers["x-frame-options"], headers["content-security-policy"] })
  end)
  it("says what it is told, on answers of the gateway, too", function()
    local app = testing.app(function(gateway)
      gateway.route "/" {
        use = { gateway.plugin("security-headers", { permissions_policy = "camera=()", frame_options = "", remove = { "Server" } }) },
        to = gateway.respond(200, "hi", { Server = "x" }),
      }
    end)
    local headers = app:get("/").headers
    assert.equal("camera=()", headers["permissions-policy"])
    assert.is_nil(headers["x-frame-options"])
    assert.is_nil(headers.server)
  end)
  for _, case in ipairs {
    { { hsts = "1d", hsts_preload = true }, "hsts_preload: expected hsts of a year at least" },
    { { referrer_policy = "a\nb" }, "referrer_policy: expected what may stand in a header field" },
    { { remove = { "a b" } }, 'remove: expected names of header fields, found "a b"' },
    { { hst = 1 }, 'unknown field "hst" (did you mean "hsts"?)' },
  } do
    it("refuses: " .. case[2], function()
      local good, message = pcall(ask, case[1])
      assert.is_false(good)
      assert.truthy(tostring(message):find(case[2], 1, true), message)
    end)
  end
end)
