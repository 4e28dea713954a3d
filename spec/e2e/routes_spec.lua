-- Which route takes a request, over the wire: the order to the letter; 404 and 405; one normalised path that is both matched and
-- forwarded.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local function answers(list)
  local out = {}
  for _, line in ipairs(list) do
    local pattern, name, options = line[1], line[2], line[3] or ""
    out[#out + 1] = ('gateway.route %q { to = gateway.respond(200, %q), %s }'):format(pattern, name, options)
  end
  return "${prelude} gateway.access_log(false)\n" .. table.concat(out, "\n")
end

-- name of the group, routes { pattern, name, options }, requests { path, expected name or status, request options }
local groups = {
  {
    "a prefix matches on whole segments",
    { { "/api", "api" }, { "/api/users", "users" } },
    {
      { "/api", "api" }, { "/api/", "api" }, { "/api/x", "api" }, { "/api/x/y", "api" }, { "/api?q=1", "api" },
      { "/apix", 404 }, { "/ap", 404 },
      { "/", 404 }, { "/api/users", "users" }, { "/api/users/1", "users" }, { "/api/usersx", "api" }, { "/API", 404 },
      { "/x/api", 404 },
    },
  },
  {
    "a prefix with a slash or a star at its end means the same",
    { { "/a/", "a" }, { "/b/*", "b" } },
    { { "/a", "a" }, { "/a/", "a" }, { "/a/x", "a" }, { "/ax", 404 }, { "/b", "b" }, { "/b/", "b" }, { "/b/x/y", "b" },
    { "/bx", 404 } },
  },
  {
    "the loose form takes any continuation",
    { { "/api*", "loose" }, { "/api/strict", "strict" } },
    { { "/api", "loose" }, { "/apix", "loose" }, { "/api/x", "loose" }, { "/ap", 404 }, { "/api/strict/x", "strict" } },
  },
  {
    "the root takes all",
    { { "/", "root" }, { "/x", "x" } },
    { { "/", "root" }, { "/anything/at/all", "root" }, { "/x", "x" }, { "/xy", "root" } },
  },
  {
    "exact before parameter before prefix",
    { { "/users", "prefix" }, { "/users/:id", "parameter" }, { "= /users/me", "exact" } },
    {
      { "/users/me", "exact" }, { "/users/7", "parameter" }, { "/users", "prefix" }, { "/users/", "prefix" },
      { "/users/7/x", "prefix" },
      { "/users/me/", "prefix" },
    },
  },
  {
    "the same whatever order they stand in",
    { { "= /users/me", "exact" }, { "/users/:id", "parameter" }, { "/users", "prefix" } },
    { { "/users/me", "exact" }, { "/users/7", "parameter" }, { "/users", "prefix" }, { "/users/7/x", "prefix" } },
  },
  {
    "exact means exact",
    { { "= /a", "a" } },
    { { "/a", "a" }, { "/a?x", "a" }, { "/a/", 404 }, { "/a/b", 404 }, { "/ab", 404 } },
  },
  {
    "longer prefix before shorter",
    { { "/a", "1" }, { "/a/b/c", "3" }, { "/a/b", "2" } },
    { { "/a/x", "1" }, { "/a/b", "2" }, { "/a/b/x", "2" }, { "/a/b/c", "3" }, { "/a/b/c/d", "3" }, { "/a/b/cx", "2" } },
  },
  {
    "parameters: the leftmost literal wins",
    { { "/a/:x", "left" }, { "/:x/b", "right" }, { "/:x/:y", "none" } },
    { { "/a/b", "left" }, { "/a/z", "left" }, { "/z/b", "right" }, { "/y/z", "none" }, { "/y", 404 }, { "/y/", 404 },
    { "/y/z/w", 404 } },
  },
  {
    "matching goes back when the first try leads nowhere",
    { { "/a/:x/c", "1" }, { "/a/b/d", "2" }, { "/:x/b/e", "3" }, { "/a", "4" } },
    { { "/a/b/c", "1" }, { "/a/b/d", "2" }, { "/a/b/e", "3" }, { "/a/b/f", "4" }, { "/z/b/f", 404 } },
  },
  {
    "the rest of a path",
    { { "/files/*rest", "files" }, { "/files/special", "special" }, { "/t/:id/*tail", "tail" } },
    { { "/files/a/b/c", "files" }, { "/files/", "files" }, { "/files", "files" }, { "/files/special/x", "special" },
    { "/t/7/a/b", "tail" }, { "/t", 404 } },
  },
  {
    "exact host before wildcard before any",
    { { "/", "any" }, { "/", "exact", 'host = "a.example.com"' }, { "/", "wild", 'host = "*.example.com"' },
    { "/", "deep", 'host = "*.x.example.com"' } },
    {
      { "/", "exact", { host = "a.example.com" } }, { "/", "exact", { host = "A.EXAMPLE.com:8080" } },
      { "/", "wild", { host = "b.example.com" } },
      { "/", "wild", { host = "c.b.example.com" } }, { "/", "deep", { host = "b.x.example.com" } },
      { "/", "any", { host = "example.com" } },
      { "/", "any", { host = "aexample.com" } }, { "/", "any", { host = "a.example.com.evil" } },
      { "/", "wild", { host = "x.example.com" } },
    },
  },
  {
    "host comes before everything else",
    { { "= /x", "exact path" }, { "/", "host", 'host = "a.example"' } },
    { { "/x", "host", { host = "a.example" } }, { "/x", "exact path", { host = "b.example" } } },
  },
  {
    "a host without a fitting route falls back to routes for any",
    { { "/a", "host", 'host = "a.example"' }, { "/b", "any" } },
    { { "/a", "host", { host = "a.example" } }, { "/b", "any", { host = "a.example" } }, { "/a", 404, { host = "b.example" } } },
  },
  {
    "more header conditions before fewer",
    {
      { "/", "none" }, { "/", "one", 'headers = { ["X-V"] = "2" }' },
      { "/", "two", 'headers = { ["X-V"] = "2", ["X-Debug"] = "*" }' },
      { "/", "other", 'headers = { ["X-V"] = "3" }' },
    },
    {
      { "/", "none" }, { "/", "one", { headers = { ["x-v"] = "2" } } }, { "/", "other", { headers = { ["X-V"] = "3" } } },
      { "/", "none", { headers = { ["X-V"] = "4" } } }, { "/", "two", { headers = { ["X-V"] = "2", ["X-DEBUG"] = "whatever" } } },
      { "/", "two", { headers = { { "X-V", "2" }, { "X-Debug", "" } } } }, { "/", "none", { headers = { ["X-Debug"] = "1" } } },
      { "/", "none", { headers = { ["X-V"] = "22" } } },
    },
  },
  {
    "a longer path beats more headers",
    { { "/a", "headers", 'headers = { ["X-V"] = "*" }' }, { "/a/b", "path" } },
    { { "/a/b", "path", { headers = { ["X-V"] = "1" } } }, { "/a/c", "headers", { headers = { ["X-V"] = "1" } } },
    { "/a/c", 404 } },
  },
  {
    "method given before any, after headers",
    { { "/", "any" }, { "/", "post", 'methods = { "POST" }' }, { "/", "header", 'headers = { ["X-V"] = "*" }' } },
    {
      { "/", "any" }, { "/", "post", { method = "POST" } }, { "/", "any", { method = "DELETE" } },
      { "/", "header", { method = "POST", headers = { ["X-V"] = "1" } } },
    },
  },
  {
    "405 with Allow when only the method is wrong",
    { { "/a", "get", 'methods = { "GET" }' }, { "/a", "put", 'methods = { "PUT", "PATCH" }' }, { "/b", "b" },
    { "= /c", "c", 'methods = { "POST" }' } },
    {
      { "/a", "get" }, { "/a", "put", { method = "PUT" } },
      { "/a", 405, { method = "DELETE", allow = { "GET", "HEAD", "PUT", "PATCH" } } },
      { "/a", 405, { method = "POST", allow = { "GET", "HEAD", "PUT", "PATCH" } } }, { "/b", "b", { method = "DELETE" } },
      { "/c", 405, { allow = { "POST" } } }, { "/d", 404, { method = "DELETE" } },
      { "/a", 405, { method = "PURGE", allow = { "GET", "HEAD", "PUT", "PATCH" } } },
    },
  },
  {
    "a wrong method falls back to a route that takes it",
    { { "/a/b", "long", 'methods = { "POST" }' }, { "/a", "short" } },
    { { "/a/b", "long", { method = "POST" } }, { "/a/b", "short" } },
  },
  {
    "methods beyond the common ones",
    { { "/", "purge", 'methods = { "PURGE" }' }, { "/", "propfind", 'methods = { "PROPFIND" }' } },
    {
      { "/", "purge", { method = "PURGE" } }, { "/", "propfind", { method = "PROPFIND" } },
      { "/", 405, { allow = { "PURGE", "PROPFIND" } } },
    },
  },
  {
    "405 names uncommon methods too, each once, and none of what matches elsewhere",
    {
      { "/a", "purge", 'methods = { "PURGE", "BAN" }' }, { "/a", "header", 'methods = { "PURGE", "GET" }, headers = { X = "*" }' },
      { "/b", "b", 'methods = { "LOCK", "POST" }' },
    },
    {
      { "/a", 405, { method = "PUT", allow = { "PURGE", "BAN" } } },
      { "/a", 405, { method = "PUT", allow = { "GET", "HEAD", "PURGE", "BAN" }, headers = { x = "1" } } },
      { "/b", 405, { method = "PURGE", allow = { "POST", "LOCK" } } },
    },
  },
  {
    "the path is normalised before it is matched",
    { { "/admin", "admin" }, { "/public", "public" }, { "= /a%20b", "space" }, { "/caf%C3%A9", "cafe" } },
    {
      { "/public/../admin", "admin" }, { "/public/./x", "public" }, { "/public/%2e%2e/admin/x", "admin" }, { "//admin", "admin" },
      { "/%61dmin", "admin" }, { "/public//x", "public" }, { "/public/x/..", "public" }, { "/public/../../admin", 400 },
      { "/admin%2F", 400 },
      { "/caf%c3%a9", "cafe" }, { "/public/..%2Fadmin", 400 }, { "/admin%00", 400 }, { "/public\\..\\admin", 400 },
      { "/public/%5c", 400 },
      { "/admin;x=1", 404 }, { "/admin%3Fx", 404 }, { "/%2561dmin", 404 }, { "/a%20b", "space" },
    },
  },
}

describe("routes:", function()
  for _, group in ipairs(groups) do
    describe(group[1], function()
      local g
      lazy_setup(function() g = gateway.start { script = answers(group[2]) } end)
      lazy_teardown(function() if g then g:stop() end end)

      for _, case in ipairs(group[3]) do
        local request = {}
        for key, value in pairs(case[3] or {}) do request[key] = value end
        request.path = case[1]
        it(("%s %s%s: %s"):format(request.method or "GET", request.host or "", case[1], case[2]), function()
          local response = g:ask(request)
          if type(case[2]) == "number" then
            assert.equal(case[2], response.status)
            if request.allow then
              local allow = {}
              for name in response.headers:get("allow"):gmatch("[^,%s]+") do allow[name] = true end
              for _, name in ipairs(request.allow) do assert.is_true(allow[name], name) end
              local count = 0
              for _ in pairs(allow) do count = count + 1 end
              assert.equal(#request.allow, count)
            end
          else
            assert.equal(200, response.status)
            assert.equal(case[2], response.body)
          end
        end)
      end
    end)
  end

  it("GET given takes HEAD too", function()
    local g = gateway.start { script = answers { { "/a", "get", 'methods = { "GET" }' } } }
    local response = g:ask { method = "HEAD", path = "/a" }
    assert.equal(200, response.status)
    assert.equal("3", response.headers:get("content-length"))
    g:stop()
  end)

  it("parameters and the rest are there for Lua, decoded", function()
    local g = gateway.start {
      script = [[${prelude}
        gateway.route "/users/:id/posts/:post" { to = function(r) return gateway.respond(200, r.params.id .. "|"
          .. r.params.post) end }
        gateway.route "/files/*rest" { to = function(r) return gateway.respond(200, "rest=" .. r.params.rest .. "|"
          .. tostring(r.params.none)) end }
      ]],
    }
    assert.equal("7|42", g:ask("/users/7/posts/42").body)
    assert.equal("a b|c@d", g:ask("/users/a%20b/posts/c%40d").body)
    assert.equal("rest=a/b/c|nil", g:ask("/files/a/b/c").body)
    assert.equal("rest=|nil", g:ask("/files/").body)
    g:stop()
  end)

  describe("what goes upstream:", function()
    local g, backend
    lazy_setup(function()
      g = gateway.start {
        backends = 1,
        script = [[${prelude} gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }]],
      }
      backend = g.backends[1]
    end)
    lazy_teardown(function() if g then g:stop() end end)

    for _, case in ipairs {
      { "a plain path", "/a/b", "/a/b" },
      { "dot segments resolved", "/a/./b/../c", "/a/c" },
      { "slashes merged", "//a///b//", "/a/b/" },
      { "unreserved escapes decoded, others in upper case", "/%61%2d%7e/%c3%a9%20", "/a-~/%C3%A9%20" },
      { "sub-delimiters as they are", "/a;b=1,2!$&'()*+@:", "/a;b=1,2!$&'()*+@:" },
      { "an encoded percent stays encoded", "/%2561", "/%2561" },
      { "a query untouched, byte for byte", "/a?x=%2f%2F%00&y=../..//a&z=%zz&&=%c3%a9;+?/?",
        "/a?x=%2f%2F%00&y=../..//a&z=%zz&&=%c3%a9;+?/?" },
      { "an empty query", "/a?", "/a?" },
      { "a query that begins like a path", "/a?/b/../c", "/a?/b/../c" },
      { "a query on a normalised path", "/x/../a?b=//c", "/a?b=//c" },
    } do
      it(case[1], function()
        peers.run(function()
          backend:answer()
          assert.equal(200, g:ask(case[2]).status)
          assert.equal(case[3], backend:last().target)
        end)
      end)
    end
  end)

  it("encoded slashes pass when the script says so, and stay encoded", function()
    local g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.limits { keep_encoded_slash = true }
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
        gateway.route "/a" { to = gateway.respond(200, "a") }
      ]],
    }
    peers.run(function()
      g.backends[1]:answer()
      assert.equal("ok", g:ask("/a%2fb").body)
      assert.equal("/a%2Fb", g.backends[1]:last().target)
      assert.equal("a", g:ask("/a/b").body)
      assert.equal("ok", g:ask("/x%2f..%2fa").body) -- no dot segment in there
    end)
    g:stop()
  end)

  it("a split whose upstreams have functions as hash_on: the arm is chosen first, then its key", function()
    local g = gateway.start {
      backends = 4,
      script = [[${prelude}
        local function by(name) return function(request) request.headers["X-By"] = name return request.headers[name] end end
        local a = gateway.upstream "a" { "${backend1}", "${backend2}", balance = "hash", hash_on = by "x-a" }
        local b = gateway.upstream "b" { "${backend3}", "${backend4}", balance = "maglev", hash_on = by "x-b" }
        local plain = gateway.upstream "plain" { "${backend4}" }
        gateway.route "/both" { to = gateway.split { { a, weight = 1 }, { plain, weight = 0 }, { b, weight = 1 } } }
        gateway.route "/plain" { to = gateway.split { { a, weight = 1 }, { plain, weight = 1 }, gateway.respond(200, "none") },
          use = { function(request, next) local response = next() response.headers["X-Lua"] = "1" return response end } }
      ]],
    }
    peers.run(function()
      for i, backend in ipairs(g.backends) do
        backend:answer(function(request) return { body = i .. (request.headers:get "x-by" or "-") } end)
      end
      local client, seen, used = g:client(), {}, 0
      for i = 1, 120 do -- 6 keys: each goes to one of a's and to one of b's, and to no other, by its own header
        local key = tostring(i % 6)
        local body = client:ask({ path = "/both", headers = { ["X-A"] = "k" .. key, ["X-B"] = "k" .. key } }).body
        local at = key .. body:sub(2)
        assert.is_truthy(body == "1x-a" or body == "2x-a" or body == "3x-b" or body == "4x-b", body)
        assert.equal(seen[at] or body, body)
        if not seen[at] then seen[at], used = body, used + 1 end
      end
      assert.equal(12, used)
      local bodies = {}
      for _ = 1, 80 do
        local response = client:ask({ path = "/plain", headers = { ["X-A"] = "k1" } })
        assert.equal("1", response.headers:get "x-lua")
        bodies[response.body] = true
      end
      assert.same({ [seen["1x-a"]] = true, ["4-"] = true, none = true }, bodies)
    end)
    g:stop()
  end)

  it("a thousand routes: each is found", function()
    local g = gateway.start {
      script = [[${prelude} gateway.access_log(false)
        for i = 1, 1000 do gateway.route("/r" .. i .. "/x") { to = gateway.respond(200, "route " .. i) } end
      ]],
    }
    peers.run(function()
      local client = g:client()
      for i = 1, 1000, 7 do assert.equal("route " .. i, client:ask("/r" .. i .. "/x/y").body) end
      assert.equal(404, client:ask("/r1001/x").status)
      assert.equal(404, client:ask("/r1/xy").status)
    end)
    g:stop()
  end)

  describe("refused at load, with the place:", function()
    for _, case in ipairs {
      { "the same route twice",
        'gateway.route "/a" { to = gateway.respond(200) }\ngateway.route "/a" { to = gateway.respond(200) }', { ":2", ":3" } },
      { "a tie of parameters",
        'gateway.route "/a/:x" { to = gateway.respond(200) }\ngateway.route "/a/:y" { to = gateway.respond(200) }', { ":2", ":3" } },
      { "an unknown upstream", 'gateway.route "/a" { to = "nobody" }', { ":2", "nobody" } },
      { "an unknown option", 'gateway.route "/a" { too = gateway.respond(200) }', { ":2", "too" } },
      { "no target", 'gateway.route "/a" { }', { ":2", "to" } },
      { "a pattern without its slash", 'gateway.route "a" { to = gateway.respond(200) }', { ":2" } },
      { "a method in lower case", 'gateway.route "/a" { methods = { "get" }, to = gateway.respond(200) }', { ":2", "get" } },
    } do
      it(case[1], function()
        local result = gateway.command { args = { "check", "${dir}/main.lua" }, script = "${prelude}\n" .. case[2] .. "\n" }
        assert.equal(1, result.code)
        local said = result.stdout .. result.stderr
        for _, text in ipairs(case[3]) do
          assert.is_truthy(said:find((text:gsub("^:", "main.lua:")), 1, true), said)
        end
      end)
    end
  end)
end)
