-- Which route takes a request: every rule of runtime/gateway/router.h by example.

local routes = require "spec.support.routes"

-- routes: in the order of the script, which must not matter. asks: { request, expected route or nil, expected params or Allow }
local cases = {
  {
    "a prefix takes whole segments",
    routes = { { "/api" } },
    asks = {
      { { "/api" }, "/api" }, { { "/api/" }, "/api" }, { { "/api/x" }, "/api" }, { { "/api/x/y/" }, "/api" },
      { { "/apix" } }, { { "/ap" } }, { { "/" } }, { { "/API" } }, { { "/x/api" } },
    },
  },
  { "/ takes everything", routes = { { "/" } }, asks = { { { "/" }, "/" }, { { "/x" }, "/" }, { { "/x/y" }, "/" } } },
  {
    "a final slash means the same prefix",
    routes = { { "/api/" } },
    asks = { { { "/api" }, "/api/" }, { { "/api/" }, "/api/" }, { { "/api/x" }, "/api/" }, { { "/apix" } } },
  },
  {
    "/* means the same prefix",
    routes = { { "/api/*" }, { "/*" } },
    asks = { { { "/api" }, "/api/*" }, { { "/api/x" }, "/api/*" }, { { "/apix" }, "/*" }, { { "/" }, "/*" } },
  },
  {
    "the loose form takes any continuation",
    routes = { { "/api*" }, { "/x/v*" } },
    asks = {
      { { "/api" }, "/api*" }, { { "/apix" }, "/api*" }, { { "/apix/y" }, "/api*" }, { { "/api/y" }, "/api*" }, { { "/ap" } },
      { { "/x/v" }, "/x/v*" }, { { "/x/v2/y" }, "/x/v*" }, { { "/x/" } }, { { "/x" } },
    },
  },
  {
    "loose prefixes within one another",
    routes = { { "/a*" }, { "/ab*" }, { "/abcd*" }, { "/ac*" }, { "/b*" } },
    asks = {
      { { "/a" }, "/a*" }, { { "/ab" }, "/ab*" }, { { "/abc" }, "/ab*" }, { { "/abcd" }, "/abcd*" }, { { "/abcz" }, "/ab*" },
      { { "/ac" }, "/ac*" }, { { "/ad" }, "/a*" }, { { "/bb" }, "/b*" }, { { "/A" } }, { { "/" } },
    },
  },
  {
    "an exact path takes that path only",
    routes = { { "= /exact" }, { "= /" }, { "=/tight/" }, { "= /v1/books:list" } },
    asks = {
      { { "/exact" }, "= /exact" }, { { "/exact/" } }, { { "/exact/x" } }, { { "/" }, "= /" }, { { "/tight/" }, "=/tight/" },
      { { "/tight" } }, { { "/v1/books:list" }, "= /v1/books:list" },
    },
  },
  {
    "a parameter takes one segment that is not empty",
    routes = { { "/users/:id" }, { "/users/:id/posts/:post-id" }, { "/slash/:x/" } },
    asks = {
      { { "/users/7" }, "/users/:id", { id = "7" } }, { { "/users/a%20b" }, "/users/:id", { id = "a%20b" } },
      { { "/users/" } }, { { "/users" } }, { { "/users/7/" } }, { { "/users/7/posts" } },
      { { "/users/7/posts/9" }, "/users/:id/posts/:post-id", { id = "7", ["post-id"] = "9" } },
      { { "/slash/1/" }, "/slash/:x/", { x = "1" } }, { { "/slash/1" } }, { { "/slash/1/2" } },
    },
  },
  {
    "a remainder may be empty and has a name",
    routes = { { "/files/*rest" }, { "/t/:tenant/*rest" }, { "/u/:x/*" } },
    asks = {
      { { "/files/a/b" }, "/files/*rest", { rest = "a/b" } }, { { "/files/" }, "/files/*rest", { rest = "" } },
      { { "/files" }, "/files/*rest", { rest = "" } }, { { "/filesx" } },
      { { "/t/acme/x/" }, "/t/:tenant/*rest", { tenant = "acme", rest = "x/" } },
      { { "/t/acme" }, "/t/:tenant/*rest", { tenant = "acme", rest = "" } }, { { "/t/" } }, { { "/t//x" } },
      { { "/u/1" }, "/u/:x/*", { x = "1" } }, { { "/u/1/2/3" }, "/u/:x/*", { x = "1" } },
    },
  },
  {
    "a parameter and then the loose form",
    routes = { { "/:tenant/api*" } },
    asks = { { { "/acme/apis/1" }, "/:tenant/api*", { tenant = "acme" } }, { { "/acme/ap" } }, { { "/acme" } } },
  },
  {
    "exact before parameter before prefix",
    routes = { { "/users/admin" }, { "/users/:id" }, { "= /users/root" }, { "/users/admin/deep" }, { "/" } },
    asks = {
      { { "/users/root" }, "= /users/root" }, { { "/users/admin" }, "/users/:id", { id = "admin" } },
      { { "/users/admin/" }, "/users/admin" }, { { "/users/admin/deep" }, "/users/admin/deep" }, { { "/users" }, "/" },
    },
  },
  {
    "among parameters the leftmost literal comes first",
    routes = { { "/:x/b" }, { "/a/:y" }, { "/:x/:y" }, { "/a/:y/c" }, { "/:x/b/:z" } },
    asks = {
      { { "/a/b" }, "/a/:y", { y = "b" } }, { { "/z/b" }, "/:x/b", { x = "z" } }, { { "/z/z" }, "/:x/:y", { x = "z", y = "z" } },
      { { "/a/b/c" }, "/a/:y/c", { y = "b" } }, { { "/a/b/d" }, "/:x/b/:z", { x = "a", z = "d" } },
    },
  },
  {
    "what a literal leads to may fail behind it: then the parameter is tried",
    routes = { { "/a/b/c/:x" }, { "/a/:p/c/d/:y" }, { "/:q/b/c/z" } },
    asks = {
      { { "/a/b/c/1" }, "/a/b/c/:x", { x = "1" } }, { { "/a/b/c/d/2" }, "/a/:p/c/d/:y", { p = "b", y = "2" } },
      { { "/a/b/c/z/9" } }, { { "/q/b/c/z" }, "/:q/b/c/z", { q = "q" } },
    },
  },
  {
    "a longer prefix before a shorter one",
    routes = { { "/" }, { "/api" }, { "/api/v1" }, { "/api/v1/users" } },
    asks = {
      { { "/api/v1/users/7" }, "/api/v1/users" }, { { "/api/v1/user" }, "/api/v1" }, { { "/api/v2" }, "/api" },
      { { "/ap" }, "/" },
    },
  },
  {
    "prefixes with parameters go by their segments, then leftmost literal first",
    routes = { { "/:a/b/*" }, { "/x/*rest" }, { "/x/:b/*" }, { "/:a/:b/*" }, { "/:a/b*" }, { "/*" } },
    asks = {
      { { "/x/b/c" }, "/x/:b/*", { b = "b" } }, { { "/y/b/c" }, "/:a/b/*", { a = "y" } }, { { "/y/bc" }, "/:a/b*", { a = "y" } },
      { { "/y/c" }, "/:a/:b/*", { a = "y", b = "c" } }, { { "/x" }, "/x/*rest", { rest = "" } }, { { "/y" }, "/*" },
    },
  },
  {
    "at one length, whole segments before the loose form",
    routes = { { "/api*" }, { "/api" } },
    asks = { { { "/api/x" }, "/api" }, { { "/apix" }, "/api*" } },
  },
  {
    "an exact host before a suffix before any",
    routes = {
      { "= /deep", as = "any" }, { "/", host = "*.example.com", as = "suffix" }, { "/", host = "api.example.com", as = "exact" },
      { "/", host = "*.eu.example.com", as = "longer" }, { "/other", as = "fallback" },
    },
    asks = {
      { { "/deep", host = "api.example.com" }, "exact" }, { { "/deep", host = "API.Example.COM" }, "exact" },
      { { "/deep", host = "api.example.com." }, "exact" }, { { "/deep", host = "x.example.com" }, "suffix" },
      { { "/", host = "a.b.example.com" }, "suffix" }, { { "/", host = "a.eu.example.com" }, "longer" },
      { { "/", host = "eu.example.com" }, "suffix" }, { { "/deep", host = "example.com" }, "any" },
      { { "/deep", host = ".example.com" }, "any" }, { { "/deep", host = "xexample.com" }, "any" }, { { "/deep" }, "any" },
      { { "/x", host = "example.com" } }, { { "/other", host = ("a."):rep(400) .. "example.net" }, "fallback" },
      { { "/other", host = ("a."):rep(400) .. "example.com" }, "suffix" },
    },
  },
  {
    "a host's routes come first even when another path is more precise; then the next host's",
    routes = { { "/", host = "a.test", methods = { "GET" }, as = "host" }, { "= /x", as = "any" } },
    asks = { { { "/x", host = "a.test" }, "host" }, { { "/x", host = "a.test", method = "POST" }, "any" } },
  },
  {
    "hosts of all kinds",
    routes = { { "/", host = "[::1]", as = "v6" }, { "/", host = "10.0.0.1", as = "v4" }, { "/", host = "localhost",
      as = "local" } },
    asks = { { { "/", host = "[::1]" }, "v6" }, { { "/", host = "10.0.0.1" }, "v4" }, { { "/", host = "LOCALHOST" }, "local" },
      { { "/", host = "other" } } },
  },
  {
    "more header conditions before fewer",
    routes = {
      { "/", as = "none" }, { "/", headers = { ["X-Version"] = "2" }, as = "one" },
      { "/", headers = { ["X-Version"] = "2", ["X-Debug"] = "*" }, as = "two" },
    },
    asks = {
      { { "/" }, "none" }, { { "/", headers = { { "x-version", "2" } } }, "one" },
      { { "/", headers = { { "x-version", "3" } } }, "none" },
      { { "/", headers = { { "X-VERSION", "2" }, { "X-Debug", "" } } }, "two" },
      { { "/", headers = { { "X-Debug", "1" } } }, "none" },
    },
  },
  {
    "a header's value is compared as it is, with each of its fields",
    routes = { { "/", headers = { ["X-Env"] = "Beta" } } },
    asks = {
      { { "/", headers = { { "x-env", "Beta" } } }, "/" }, { { "/", headers = { { "X-Env", "beta" } } } },
      { { "/", headers = { { "X-Env", "a" }, { "X-Env", "Beta" } } }, "/" }, { { "/", headers = { { "X-Env", "a, Beta" } } } },
      { { "/", headers = { { "X-Env2", "Beta" } } } },
    },
  },
  {
    "the path decides before the headers do",
    routes = { { "/api", headers = { a = "1", b = "1" }, as = "short" }, { "/api/x", as = "long" } },
    asks = { { { "/api/x", headers = { { "a", "1" }, { "b", "1" } } }, "long" },
      { { "/api", headers = { { "a", "1" }, { "b", "1" } } }, "short" } },
  },
  {
    "a method given before any",
    routes = { { "/", as = "any" }, { "/", methods = { "GET", "POST" }, as = "given" }, { "/", methods = { "PURGE" },
      as = "purge" } },
    asks = {
      { { "/" }, "given" }, { { "/", method = "HEAD" }, "given" }, { { "/", method = "PUT" }, "any" },
      { { "/", method = "PURGE" }, "purge" },
      { { "/", method = "purge" }, "any" }, { { "/", method = "REPORT" }, "any" },
    },
  },
  {
    "headers decide before the method does",
    routes = { { "/", methods = { "GET" }, as = "method" }, { "/", headers = { x = "*" }, as = "header" } },
    asks = { { { "/", headers = { { "x", "1" } } }, "header" }, { { "/" }, "method" } },
  },
  {
    "a path that matches with other methods: their union",
    routes = {
      { "/a", methods = { "GET" } }, { "/a/b", methods = { "POST", "PUT" } }, { "/a/:x", methods = { "DELETE" } },
      { "/a/b", methods = { "PATCH" }, headers = { x = "1" } }, { "/c", methods = { "PURGE" } },
      { "/", methods = { "TRACE" }, host = "other.test" },
    },
    asks = {
      { { "/a/b", method = "OPTIONS" }, nil, "GET, HEAD, POST, PUT, DELETE" }, { { "/a", method = "POST" }, nil, "GET, HEAD" },
      { { "/a/b", method = "OPTIONS", headers = { { "x", "1" } } }, nil, "GET, HEAD, POST, PUT, DELETE, PATCH" },
      { { "/c" }, nil, "PURGE" }, { { "/d" } }, { { "/a/z", method = "GET" }, "/a" },
      { { "/a/b", method = "REPORT" }, nil, "GET, HEAD, POST, PUT, DELETE" },
    },
  },
  {
    "literal UTF-8 in a pattern is what clients send for it",
    routes = { { "/café" }, { "/%C3%A4" } },
    asks = { { { "/caf%C3%A9/x" }, "/café" }, { { "/%C3%A4" }, "/%C3%A4" }, { { "/cafe" } } },
  },
  {
    "odd paths end in no route",
    routes = { { "/:a/:b" }, { "= /x" } },
    asks = { { { "*" } }, { { "" } }, { { "//" } }, { { "x" } }, { { ("/a"):rep(4000) } }, { { "/" .. ("a"):rep(60000) } } },
  },
  { "no routes at all", routes = {}, asks = { { { "/" } } } },
}

describe("router", function()
  for _, case in ipairs(cases) do
    it(case[1], function()
      -- In the script's order and in the reverse: the same answers.
      local reverse = {}
      for i, route in ipairs(case.routes) do reverse[#case.routes + 1 - i] = route end
      for _, list in ipairs { case.routes, reverse } do
        local router = assert(routes.new(list))
        for _, ask in ipairs(case.asks) do
          local found = router:find(ask[1])
          local what = ("%s %s of %s"):format(ask[1].method or "GET", ask[1][1]:sub(1, 60), ask[1].host or "-")
          assert.equal(ask[2], found.route, what)
          if ask[2] then
            assert.same(ask[3] or {}, found.params, what)
          else
            assert.equal(ask[3], found.allow, what)
          end
        end
      end
    end)
  end

  it("finds a value among many at one path by an index, in the right order", function()
    local list = {}
    for i = 1, 500 do list[i] = { "/", headers = { ["X-Tenant"] = "t" .. i }, as = "t" .. i } end
    list[#list + 1] = { "/", headers = { ["X-Tenant"] = "t7", region = "eu" }, as = "t7 eu" }
    list[#list + 1] = { "/", headers = { ["X-Tenant"] = "*", region = "us" }, as = "us" }
    list[#list + 1] = { "/", methods = { "GET" }, headers = { ["X-Tenant"] = "t9" }, as = "GET t9" }
    list[#list + 1] = { "/", methods = { "PUT" }, headers = { ["X-Tenant"] = "t600" }, as = "PUT t600" }
    list[#list + 1] = { "/", as = "rest" }
    local router = assert(routes.new(list))
    for _, ask in ipairs {
      { { { "x-tenant", "t499" } }, "t499" }, { { { "x-tenant", "t7" } }, "t7" },
      { { { "x-tenant", "t7" }, { "Region", "eu" } }, "t7 eu" },
      { { { "x-tenant", "t7" }, { "Region", "us" } }, "us" }, { { { "x-tenant", "zz" }, { "region", "us" } }, "us" },
      { { { "x-tenant", "t9" } }, "GET t9" }, { { { "x-tenant", "t600" } }, "rest" }, { {}, "rest" },
      { { { "x-tenant", "zz" }, { "x-tenant", "t3" } }, "t3" },
    } do
      assert.equal(ask[2], router:find({ "/", headers = ask[1] }).route)
    end
    assert.equal("PUT t600", router:find({ "/", method = "PUT", headers = { { "X-TENANT", "t600" } } }).route)
  end)

  it("lists the routes in the order in which they are tried", function()
    local order = {
      { "= /z", host = "a.test", as = 1 }, { "/", host = "a.test", as = 2 }, { "/", host = "b.test", as = 3 },
      { "/", host = "*.long.test", as = 4 }, { "/", host = "*.b.test", as = 5 }, { "/", host = "*.test", as = 6 },
      { "= /a", as = 7 }, { "= /b", as = 8 }, { "/a/:x/c", as = 9 }, { "/a/:x", as = 10 }, { "/:x/a", as = 11 },
      { "/a/b/c", as = 12 }, { "/a/b", as = 13 }, { "/a/bb*", as = 14 }, { "/a/b*", as = 15 }, { "/a/:x/*", as = 16 },
        { "/:x/a/*", as = 17 },
      { "/a", headers = { x = "1", y = "*" }, as = 18 }, { "/a", headers = { x = "1" }, as = 19 },
      { "/a", methods = { "GET" }, as = 20 }, { "/a", methods = { "PUT" }, as = 21 }, { "/a", as = 22 }, { "/*all", as = 23 },
    }
    local expected, shuffled = {}, {}
    for i, route in ipairs(order) do
      expected[i] = i
      shuffled[(i * 7) % #order + 1] = route -- 23 is prime: every place once
    end
    -- 20 and 21 differ only by their methods: they keep the script's order.
    for _, route in ipairs(shuffled) do
      if route.as == 21 then expected[20], expected[21] = 21, 20 end
      if route.as == 20 or route.as == 21 then break end
    end
    assert.same(expected, assert(routes.new(shuffled)):order())
  end)
end)
