-- gateway.load "routes.yaml": the same vocabulary in YAML, and the plain form of routes with backends.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

describe("yaml:", function()
  describe("the vocabulary", function()
    local g
    lazy_setup(function()
      g = gateway.start {
        backends = 2,
        script = '${prelude} gateway.load "routes.yaml"',
        files = { ["routes.yaml"] = [[
# a comment
upstreams:
  one:
    endpoints: [ "${backend1}" ]
    timeouts: { first_byte: 300ms, total: 2s }
  two: [ "${backend2}" ]
limits:
  body_bytes: 10KB
routes:
  - path: /one
    to: one
  - path: "= /one/exact"
    methods: [ GET, POST ]
    to: two
  - path: /hosted
    host: a.example
    headers: { X-Version: "2", X-Debug: "*" }
    to: two
  - path: /fixed
    to: { respond: { status: 418, body: "short and stout", headers: { X-Pot: tea } } }
  - path: /json
    to:
      respond:
        status: 200
        body: { ok: true, list: [ 1, 2 ] }
  - path: /away
    to: { redirect: { url: "https://elsewhere.example/", status: 301 } }
  - path: /shared
    to:
      split:
        - { to: one, weight: 1 }
        - { to: two, weight: 1 }
]] },
      }
    end)
    lazy_teardown(function() if g then g:stop() end end)

    for _, case in ipairs {
      { "/one", 200, "backend 1" }, { "/one/x", 200, "backend 1" }, { "/one/exact", 200, "backend 2" }, { "/hosted", 404 },
      { "/fixed", 418, "short and stout" },
      { "/json", 200, '{"list":[1,2],"ok":true}' }, { "/away", 301 },
    } do
      it(case[1], function()
        peers.run(function()
          for i, backend in ipairs(g.backends) do backend:answer { body = "backend " .. i } end
          local response = g:ask(case[1])
          assert.equal(case[2], response.status)
          if case[3] then assert.equal(case[3], response.body) end
        end)
      end)
    end

    it("host, headers, methods", function()
      peers.run(function()
        for i, backend in ipairs(g.backends) do backend:answer { body = "backend " .. i } end
        assert.equal("backend 2", g:ask({ path = "/hosted", host = "a.example", headers = { ["X-Version"] = "2",
          ["X-Debug"] = "" } }).body)
        assert.equal(404, g:ask({ path = "/hosted", host = "a.example", headers = { ["X-Version"] = "2" } }).status)
        assert.equal("backend 1", g:ask({ path = "/one/exact", method = "DELETE" }).body)
        assert.equal("tea", g:ask("/fixed").headers:get("x-pot"))
      end)
    end)

    it("settings count: timeouts and limits", function()
      peers.run(function()
        g.backends[1]:serve(function(conn) conn:read_request() conn:wait_end() end)
        assert.equal(504, g:ask("/one").status)
        assert.equal(413, g:ask({ path = "/one", method = "POST", body = ("x"):rep(11000) }).status)
      end)
    end)

    it("split takes both", function()
      peers.run(function()
        local count = { 0, 0 }
        for i, backend in ipairs(g.backends) do
          backend:answer(function()
            count[i] = count[i] + 1
            return { body = "x" }
          end)
        end
        local client = g:client()
        for _ = 1, 60 do client:ask "/shared" end
        assert.is_true(count[1] > 5 and count[2] > 5)
      end)
    end)
  end)

  describe("the plain form", function()
    local g
    lazy_setup(function()
      g = gateway.start {
        backends = 5,
        script = '${prelude} gateway.load "routes.yaml"',
        files = { ["routes.yaml"] = [[
routes:
  - path: /api
    backends: [ "http://${backend1}" ]
  - path: /api/users/*
    backends: [ "${backend2}" ]
  - path: /api/users/*
    headers:
      X-Version: "2"
    backends: [ "${backend3}" ]
  - path: /api/users
    headers: { X-Version: "2", X-Debug: "*" }
    backends:
      - ${backend4}
  - path: /loose*
    backends: [ "${backend4}", "${backend5}" ]
]] },
      }
    end)
    lazy_teardown(function() if g then g:stop() end end)

    for _, case in ipairs {
      { "/api", 1 }, { "/api/x", 1 }, { "/apix", 404 }, { "/api/users", 2 }, { "/api/users/7", 2 }, { "/api/usersx", 1 },
      { "/", 404 },
      { "/api/users/7", 3, { ["X-Version"] = "2" } }, { "/api/users/7", 2, { ["X-Version"] = "3" } },
      { "/api/users/7", 4, { ["X-Version"] = "2", ["X-Debug"] = "anything" } }, { "/api/users/7", 2, { ["X-Debug"] = "anything" } },
    } do
      it(("%s%s goes to %s"):format(case[1], case[3] and " with headers" or "", case[2]), function()
        peers.run(function()
          for i, backend in ipairs(g.backends) do backend:answer { body = tostring(i) } end
          local response = g:ask { path = case[1], headers = case[3] }
          if case[2] == 404 then
            assert.equal(404, response.status)
          else
            assert.equal(tostring(case[2]), response.body)
          end
        end)
      end)
    end

    it("a loose path, two backends in turn", function()
      peers.run(function()
        for i, backend in ipairs(g.backends) do backend:answer { body = tostring(i) } end
        local count = { ["4"] = 0, ["5"] = 0 }
        for _ = 1, 10 do
          local body = g:ask("/looser").body
          count[body] = count[body] + 1
        end
        assert.same({ ["4"] = 5, ["5"] = 5 }, count)
      end)
    end)
  end)

  describe("refused, with file and line:", function()
    for _, case in ipairs {
      { "broken syntax", "routes:\n  - path: /a\n  to: [ x\n", "routes.yaml:" },
      { "an unknown name at the top", "routes: []\nroute: []\n", "routes.yaml:2" },
      { "an unknown option of a route", "routes:\n  - path: /a\n    too: x\n", "routes.yaml:2" },
      { "an unknown upstream", "routes:\n  - path: /a\n    to: nobody\n", "routes.yaml:2" },
      { "no backends", "routes:\n  - path: /a\n    backends: []\n", "routes.yaml:2" },
      { "a malformed backend", "routes:\n  - path: /a\n    backends: [ \"https://a.example\" ]\n", "routes.yaml:2" },
      { "a list at the top", "- a\n- b\n", "routes.yaml" },
      { "an alias bomb", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b]\n", "routes.yaml:" },
    } do
      it(case[1], function()
        local result = gateway.command {
          args = { "check", "${dir}/main.lua" }, script = '${prelude} gateway.load "routes.yaml"',
            files = { ["routes.yaml"] = case[2] },
        }
        assert.equal(1, result.code)
        local said = result.stdout .. result.stderr
        assert.is_truthy(said:find(case[3], 1, true), said)
      end)
    end

    it("a file that is not there", function()
      local result = gateway.command { args = { "check", "${dir}/main.lua" }, script = '${prelude}\ngateway.load "none.yaml"\n' }
      assert.equal(1, result.code)
      assert.is_truthy((result.stdout .. result.stderr):find("main.lua:2", 1, true))
      assert.is_truthy((result.stdout .. result.stderr):find("none.yaml", 1, true))
    end)
  end)
end)
