-- rewrite and redirect: what the backend sees, where clients are sent.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local function refused(f, expected)
  local good, problem = pcall(f)
  assert.is_false(good)
  assert.is_truthy(tostring(problem):find(expected, 1, true), tostring(problem))
end

describe("rewrite", function()
  local function seen(config, path, options)
    local up = testing.upstream { status = 200 }
    local app = testing.app(function(gateway)
      gateway.route "/" { use = { gateway.plugin("rewrite", config) }, to = up }
      gateway.route "/t/:tenant/*rest" { use = { gateway.plugin("rewrite", config) }, to = up }
    end)
    local response = app:request { method = options and options.method or "GET", path = path, headers = options and options.headers }
    assert.equal(200, response.status)
    local request = up.requests[1]
    return request.path .. (request.query ~= "" and "?" .. request.query or ""), request
  end

  for _, case in ipairs {
    -- config, path, what the backend sees
    { { strip_prefix = "/api/v1" }, "/api/v1/users?a=1", "/users?a=1" },
    { { strip_prefix = "/api/v1/" }, "/api/v1/users", "/users" },
    { { strip_prefix = "/api/v1" }, "/api/v1", "/" },
    { { strip_prefix = "/api/v1" }, "/api/v10/users", "/api/v10/users" },
    { { strip_prefix = "/api/v1" }, "/other", "/other" },
    { { add_prefix = "/in" }, "/x", "/in/x" },
    { { strip_prefix = "/a", add_prefix = "/b" }, "/a/x", "/b/x" },
    { { rules = { { match = "^/users/(\\d+)$", to = "/user?id=$1" } } }, "/users/7", "/user?id=7" },
    { { rules = { { match = "^/users/(\\d+)$", to = "/user?id=$1" } } }, "/users/7?x=1", "/user?id=7&x=1" },
    { { rules = { { match = "^/users/(\\d+)$", to = "/user?id=$1" } }, keep_query = false }, "/users/7?x=1", "/user?id=7" },
    { { rules = { { match = "^/users/(\\d+)$", to = "/user" } }, keep_query = false }, "/users/7?x=1", "/user" },
    { { rules = { { match = "^/users/(\\d+)$", to = "/user" } } }, "/users/seven", "/users/seven" },
    { { rules = { { match = "/(?<a>[^/]+)/(?<b>[^/]+)$", to = "/${b}/${a}/$$" } } }, "/one/two", "/two/one/$" },
    { { rules = { { match = "^/a", to = "/first" }, { match = "^/", to = "/second" } } }, "/a", "/first" },
    { { rules = { { match = "^/a", to = "/first", methods = { "post" } }, { match = "^/", to = "/second" } } }, "/a", "/second" },
    { { rules = { { match = "^/t/", to = "/${param.tenant}/${header.X-A}/${query.q}" } } }, "/t/acme/x?q=1%2B", "/acme/from-a/1+?q=1%2B" },
    { { rules = { { match = "^(.*)$", to = "$1" } } }, "/a%20b", "/a%20b" },
  } do
    it(("%s becomes %s"):format(case[2], case[3]), function()
      assert.equal(case[3], (seen(case[1], case[2], { headers = { ["X-A"] = "from-a" } })))
    end)
  end

  for _, case in ipairs { -- what a client says elsewhere, and the path that comes of it; false: 400
    { "../../secret", false }, { "..", false }, { ".", false }, { "a/../b", false }, { "..\\..", false }, { "a/b", "/x/a/b/y" },
    { "a?b#c", "/x/a%3Fb%23c/y" }, { "%2e%2e/%zz", "/x/%252e%252e/%25zz/y" }, { "a b\"\255", "/x/a%20b%22%FF/y" }, { "", "/x//y" },
  } do
    it(("never steps up by %q"):format(case[1]), function()
      local up = testing.upstream { status = 200 }
      local app = testing.app(function(gateway)
        gateway.route "/" { use = { gateway.plugin("rewrite", { rules = { { match = "^/t", to = "/x/${header.X-A}/y" } } }) }, to = up }
      end)
      local response = app:get("/t", { headers = { ["X-A"] = case[1] } })
      assert.equal(case[2] and 200 or 400, response.status)
      if case[2] == "/x//y" then return end -- however that is normalised
      assert.equal(case[2] or nil, up.requests[1] and up.requests[1].path)
    end)
  end

  it("fills one parameter of the query with what a client says, and no other", function()
    local rules = { { match = "^/t/(.*)$", to = "/u?id=$1&who=${header.X-A}&${query}" } }
    assert.equal("/u?id=7%26admin=1&who=a%20b%26admin%3D1&q=1&w=2&q=1&w=2", (seen({ rules = rules }, "/t/7&admin=1?q=1&w=2",
      { headers = { ["X-A"] = "a b&admin=1" } })))
  end)

  it("a host that can be none is the client's mistake", function()
    local up = testing.upstream { status = 200 }
    local app = testing.app(function(gateway)
      gateway.route "/t/:tenant" { use = { gateway.plugin("rewrite", { host = "${param.tenant}.internal" }) }, to = up }
    end)
    for _, tenant in ipairs { "a%20b", "a%0d%0aX:b", "evil.example%2F", "a@b", "a%3Fb" } do
      assert.equal(400, app:get("/t/" .. tenant).status)
    end
    assert.equal(0, #up.requests)
  end)

  it("gives the backend another host", function()
    local _, request = seen({ host = "${param.tenant}.internal" }, "/t/acme/x")
    assert.equal("acme.internal", request.headers.host)
  end)

  it("a pattern that would take too long leaves the path alone", function()
    assert.equal("/" .. ("a"):rep(40) .. "b", (seen({ rules = { { match = "^/(a+)+$", to = "/x" } } }, "/" .. ("a"):rep(40) .. "b")))
  end)

  for _, case in ipairs {
    { {}, "nothing would be rewritten" },
    { { strip_prefix = "api" }, "strip_prefix: expected it to begin with '/'" },
    { { rules = { { match = "(", to = "/x" } } }, "rules[1].match: " },
    { { rules = { { match = "^/(a)", to = "/$2" } } }, "rules[1].to: ${2}: the pattern has 1 groups" },
    { { rules = { { match = "^/", to = "x" } } }, 'rules[1].to: expected a path, found "x"' },
    { { host = "${hots}" }, '(did you mean "host"?)' },
    { { host = "$host" }, "host: expected ${NAME} or $$ at byte 1" },
  } do
    it("refuses: " .. case[2], function()
      refused(function() seen(case[1], "/") end, case[2])
    end)
  end
end)

describe("redirect", function()
  local function go(config, path, options)
    local up = testing.upstream { status = 200 }
    local app = testing.app(function(gateway)
      gateway.trusted_proxies { "127.0.0.1" }
      gateway.route "/" { use = { gateway.plugin("redirect", config) }, to = up }
    end)
    local response = app:request { path = path, host = options and options.host or "example.com", headers = options and options.headers }
    return response.status, response.headers.location
  end

  for _, case in ipairs {
    -- config, path, status, location
    { { to = "https://new.example${path}" }, "/a/b?x=1", 308, "https://new.example/a/b?x=1" },
    { { to = "https://new.example/", status = 301 }, "/a/b", 301, "https://new.example/" },
    { { to = "https://new.example/?y=2" }, "/a?x=1", 308, "https://new.example/?y=2" },
    { { to = "/there", keep_query = false, status = 302 }, "/a?x=1", 302, "/there" },
    { { to = "/new/$1", match = "^/old/(.*)$" }, "/old/x%20y", 308, "/new/x%20y" },
    { { to = "/new/$1", match = "^/old/(.*)$" }, "/other", 200, nil },
    { { to = "$1", match = "^/go(.*)$" }, "/go", 308, "" },
    { { https = true }, "/a?x=1", 308, "https://example.com/a?x=1" },
    { { to = "https://${host}${path}?was=${query}" }, "/a?x=1", 308, "https://example.com/a?was=x=1" },
  } do
    if case[4] ~= "" then
      it(("%s: %s"):format(case[2], tostring(case[4])), function()
        local status, location = go(case[1], case[2])
        assert.equal(case[3], status)
        assert.equal(case[4], location)
      end)
    end
  end

  it("https is left alone", function()
    assert.equal(200, (go({ https = true }, "/", { headers = { ["X-Forwarded-Proto"] = "https" } })))
  end)

  it("never sends to another host by what the client wrote", function()
    for path, expected in pairs {
      ["/old/a"] = "https://www.example.com/a", ["/old.evil.example"] = "https://www.example.com/.evil.example",
      ["/old@evil.example"] = "https://www.example.com/@evil.example", ["/old:80"] = "https://www.example.com/:80", ["/old"] =
      "https://www.example.com/",
    } do
      assert.equal(expected, select(2, go({ to = "https://www.example.com$1", match = "^/old(.*)$" }, path)))
      local longer = path == "/old" and expected .. "x" or expected .. "/x"
      assert.equal(longer, select(2, go({ to = "https://www.example.com${1}/x", match = "^/old(.*)$" }, path)))
    end
    assert.equal("https://shop7.example.com", select(2, go({ to = "https://shop${1}.example.com", match = "^/(.*)$" }, "/7")))
    local _, location = go({ to = "/${query.to}" }, "/?to=/evil.example/x")
    assert.equal("/evil.example/x", location:match("^[^?]*"))
    _, location = go({ to = "/${query.to}" }, "/?to=%5C%0d%0aSet-Cookie:%20a")
    assert.is_nil(location:find("[\r\n\\]"))
  end)

  for _, case in ipairs {
    { {}, "expected either to or https = true" },
    { { to = "/x", https = true }, "expected either to or https = true" },
    { { https = true, match = "x" }, "match: goes with to" },
    { { to = "example.com" }, 'to: expected a URL or a path, found "example.com"' },
    { { to = "/x", status = 200 }, "status: expected one of 301, 302, 303, 307, 308, found 200" },
  } do
    it("refuses: " .. case[2], function()
      refused(function() go(case[1], "/") end, case[2])
    end)
  end
end)
