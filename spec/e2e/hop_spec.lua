-- What stops at the gateway, what it adds, and whose word on the client's address counts.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local SCRIPT = [[${prelude}
  ${options}
  gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
  gateway.route "/who" { to = function(request) return gateway.respond(200, request.client_ip .. " " .. request.scheme) end }
]]

local function start(options)
  local g = gateway.start { backends = 1, script = SCRIPT, vars = { options = options or "" } }
  return g, g.backends[1]
end

local function values(list)
  return table.concat(list, " | ")
end

describe("hop-by-hop:", function()
  local g, backend
  lazy_setup(function() g, backend = start() end)
  lazy_teardown(function() if g then g:stop() end end)

  local function through(headers, request)
    request = request or {}
    request.headers = headers
    local response
    peers.run(function()
      backend:answer()
      response = g:ask(request)
    end)
    return backend:last(), response
  end

  describe("request fields that stop here:", function()
    for _, case in ipairs {
      { "Connection", "keep-alive" }, { "Keep-Alive", "timeout=5" }, { "Proxy-Connection", "keep-alive" },
      { "TE", "gzip" }, { "Upgrade", "something" }, { "Proxy-Authorization", "Basic abc" },
    } do
      it(case[1], function()
        local seen = through { [case[1]] = case[2], ["X-Stays"] = "1" }
        assert.is_false(seen.headers:has(case[1]))
        assert.equal("1", seen.headers:get("x-stays"))
      end)
    end

    it("an h2c upgrade", function()
      local seen, response = through { { "Connection", "Upgrade, HTTP2-Settings" }, { "Upgrade", "h2c" },
      { "HTTP2-Settings", "AAMAAABkAAQAAP__" } }
      assert.equal(200, response.status)
      for _, name in ipairs { "upgrade", "http2-settings", "connection" } do assert.is_false(seen.headers:has(name), name) end
    end)

    it("those that Connection names", function()
      local seen = through { { "Connection", "X-One, x-TWO" }, { "Connection", "X-Three" }, { "X-One", "1" }, { "X-Two", "2" },
        { "X-Two", "again" }, { "X-Three", "3" }, { "X-Four", "4" } }
      for _, name in ipairs { "x-one", "x-two", "x-three", "connection" } do assert.is_false(seen.headers:has(name), name) end
      assert.equal("4", seen.headers:get("x-four"))
    end)

    it("but not those that Connection may not name", function()
      local seen = through({ { "Connection", "Host, Authorization, Content-Length, X-Forwarded-For, X-Request-ID" },
        { "Authorization", "Bearer t" }, { "X-Request-ID", "kept-12345" } },
        { method = "POST", body = "hello", host = "a.example" })
      assert.equal("a.example", seen.headers:get("host"))
      assert.equal("Bearer t", seen.headers:get("authorization"))
      assert.equal("5", seen.headers:get("content-length"))
      assert.equal("hello", seen.body)
      assert.equal("127.0.0.1", seen.headers:get("x-forwarded-for"))
      assert.equal("kept-12345", seen.headers:get("x-request-id"))
    end)
  end)

  it("TE: trailers may go on, other codings do not", function()
    local seen = through { { "Connection", "TE" }, { "TE", "trailers, gzip;q=0.5" } }
    local te = seen.headers:get("te")
    assert.is_true(te == nil or te == "trailers", te)
  end)

  it("other fields go on: order, case, repetition and odd bytes as sent", function()
    local seen = through { { "X-B", "1" }, { "x-a", "caf\195\169 \t tab" }, { "X-B", "2" }, { "X-Empty", "" },
    { "Cookie", "a=1" }, { "Cookie", "b=2" } }
    assert.equal("1 | 2", values(seen.headers:all("X-B")))
    assert.equal("caf\195\169 \t tab", seen.headers:get("x-a"))
    assert.equal("", seen.headers:get("x-empty"))
    local order = {}
    for _, field in ipairs(seen.headers) do
      if field[1]:lower():match("^x%-[abe]") then order[#order + 1] = field[1] end
    end
    assert.equal("X-B | x-a | X-B | X-Empty", values(order))
    assert.equal("a=1; b=2", (table.concat(seen.headers:all("cookie"), "; ")))
  end)

  it("response fields that stop here", function()
    peers.run(function()
      backend:answer { headers = { { "Connection", "X-Secret, keep-alive" }, { "X-Secret", "1" }, { "Keep-Alive", "timeout=5" },
        { "Proxy-Authenticate", "Basic" }, { "Upgrade", "h2" }, { "Proxy-Connection", "x" }, { "X-Stays", "1" },
        { "Set-Cookie", "a=1" },
        { "Set-Cookie", "b=2" } }, body = "ok" }
      local client = g:client()
      local response = client:ask "/"
      for _, name in ipairs { "x-secret", "proxy-connection", "upgrade", "connection", "keep-alive" } do
        assert.is_false(response.headers:has(name), name)
      end
      assert.equal("1", response.headers:get("x-stays"))
      assert.equal("a=1 | b=2", values(response.headers:all("set-cookie")))
      assert.equal(200, client:ask("/").status)
    end)
  end)

  it("a response's status, reason and Date stay; Date is added when the backend has none", function()
    peers.run(function()
      backend:answer(function(request)
        if request.target == "/with" then
          return { status = 299, reason = "Odd But Fine", headers = { Date = "Sat, 31 Jan 2026 12:00:00 GMT" } }
        end
        return { status = 404 }
      end)
      local response = g:ask "/with"
      assert.equal(299, response.status)
      assert.equal("Odd But Fine", response.reason)
      assert.equal("Sat, 31 Jan 2026 12:00:00 GMT", values(response.headers:all("date")))
      response = g:ask "/without"
      assert.equal(404, response.status)
      assert.is_truthy(response.headers:get("date"):match("^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$"))
    end)
  end)

  it("Host is passed on as the client sent it", function()
    for _, host in ipairs { "A.Example", "a.example:8080", "[::1]:80", "a.example." } do
      assert.equal(host, through(nil, { host = host }).headers:get("host"))
    end
  end)

  it("absolute-form goes upstream in origin-form", function()
    local seen = through(nil, { path = "http://a.example/x/y?q=1", host = "a.example" })
    assert.equal("/x/y?q=1", seen.target)
    assert.equal("a.example", seen.headers:get("host"))
  end)

  it("HTTP/1.0 without Host: the upstream request is well-formed HTTP/1.1", function()
    local seen = through(nil, { version = "1.0", host = false })
    assert.equal("1.1", seen.version)
    assert.equal(1, #seen.headers:all("host"))
  end)

  describe("from a peer that is not trusted", function()
    it("X-Forwarded-* say what was seen here", function()
      local seen = through({ { "X-Forwarded-For", "6.6.6.6" }, { "X-Forwarded-For", "7.7.7.7" }, { "X-Forwarded-Proto", "https" },
        { "X-Forwarded-Host", "evil" }, { "Forwarded", "for=6.6.6.6" } }, { host = "a.example:80" })
      assert.equal("127.0.0.1", values(seen.headers:all("x-forwarded-for")))
      assert.equal("http", values(seen.headers:all("x-forwarded-proto")))
      assert.equal("a.example:80", values(seen.headers:all("x-forwarded-host")))
      assert.is_false(seen.headers:has("forwarded"))
      assert.is_false(seen.headers:has("via"))
    end)

    it("its X-Forwarded-For does not make the client's address", function()
      local _, response = through({ ["X-Forwarded-For"] = "6.6.6.6", ["X-Forwarded-Proto"] = "https" }, { path = "/who" })
      assert.equal("127.0.0.1 http", response.body)
    end)
  end)

  describe("X-Request-ID", function()
    it("is made, sent both ways, 128 random bits in hex", function()
      local seen, response = through {}
      local id = response.headers:get("x-request-id")
      assert.is_truthy(id:match("^%x+$"))
      assert.equal(32, #id)
      assert.equal(id, values(seen.headers:all("x-request-id")))
      local _, other = through {}
      assert.not_equal(id, other.headers:get("x-request-id"))
    end)

    it("is kept when well-formed", function()
      local seen, response = through { ["X-Request-ID"] = "Abc-123_x.y" }
      assert.equal("Abc-123_x.y", values(response.headers:all("x-request-id")))
      assert.equal("Abc-123_x.y", values(seen.headers:all("x-request-id")))
    end)

    for _, case in ipairs { { "too long", ("x"):rep(300) }, { "odd characters", "a b\"c" }, { "obs-text", "\195\169" },
    { "empty", "" } } do
      it("is made anew when malformed: " .. case[1], function()
        local seen, response = through { ["X-Request-ID"] = case[2] }
        local id = values(response.headers:all("x-request-id"))
        assert.is_truthy(id:match("^%x+$"), id)
        assert.equal(id, values(seen.headers:all("x-request-id")))
      end)
    end

    it("two of them from a client become one", function()
      local seen = through { { "X-Request-ID", "first-1" }, { "X-Request-ID", "second-2" } }
      assert.equal(1, #seen.headers:all("x-request-id"))
    end)

    it("one from the backend does not double it", function()
      peers.run(function()
        backend:answer { headers = { ["X-Request-ID"] = "from-the-backend" } }
        assert.equal(1, #g:ask({ headers = { ["X-Request-ID"] = "from-client-1" } }).headers:all("x-request-id"))
      end)
    end)
  end)
end)

describe("a trusted proxy in front:", function()
  local g, backend
  lazy_setup(function() g, backend = start 'gateway.trusted_proxies { "127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32" }' end)
  lazy_teardown(function() if g then g:stop() end end)

  it("X-Forwarded-For is appended to, the others stay", function()
    peers.run(function()
      backend:answer()
      g:ask { headers = { { "X-Forwarded-For", "6.6.6.6" }, { "X-Forwarded-Proto", "https" },
      { "X-Forwarded-Host", "public.example" } } }
      local seen = backend:last()
      assert.equal("6.6.6.6, 127.0.0.1", (table.concat(seen.headers:all("x-forwarded-for"), ", ")))
      assert.equal("https", values(seen.headers:all("x-forwarded-proto")))
      assert.equal("public.example", values(seen.headers:all("x-forwarded-host")))
    end)
  end)

  it("several X-Forwarded-For fields are one list", function()
    peers.run(function()
      backend:answer()
      g:ask { headers = { { "X-Forwarded-For", "6.6.6.6" }, { "X-Forwarded-For", "7.7.7.7" } } }
      assert.equal("6.6.6.6, 7.7.7.7, 127.0.0.1", (table.concat(backend:last().headers:all("x-forwarded-for"), ", ")))
    end)
  end)

  for _, case in ipairs {
    { "none: the peer", nil, "127.0.0.1" },
    { "one", "6.6.6.6", "6.6.6.6" },
    { "the last that is not trusted", "1.1.1.1, 6.6.6.6, 10.0.0.1", "6.6.6.6" },
    { "what stands before an untrusted one does not count", "10.0.0.9, 6.6.6.6, 10.0.0.1, 10.0.0.2", "6.6.6.6" },
    { "IPv6", "2001:db9::1", "2001:db9::1" },
    { "IPv6 behind a trusted one", "2001:db9::1, 2001:db8::1", "2001:db9::1" },
    { "without spaces", "1.1.1.1,6.6.6.6,10.0.0.1", "6.6.6.6" },
  } do
    it("client address: " .. case[1], function()
      local response = g:ask { path = "/who", headers = { ["X-Forwarded-For"] = case[2] } }
      assert.equal(case[3] .. " http", response.body)
    end)
  end

  it("rubbish in X-Forwarded-For never becomes the client's address", function()
    for _, text in ipairs { "unknown", "6.6.6.6.6", "'; drop", "6.6.6.6, nonsense", ",,,", "999.1.1.1" } do
      local response = g:ask { path = "/who", headers = { ["X-Forwarded-For"] = text } }
      assert.equal(200, response.status)
      local ip = response.body:match("^(%S+) http$")
      assert.is_truthy(ip and (ip:match("^%d+%.%d+%.%d+%.%d+$") or ip:match("^[%x:]+$")), response.body)
      assert.is_nil(ip:find("6.6.6.6", 1, true))
    end
  end)

  it("its X-Forwarded-Proto makes the scheme", function()
    assert.equal("127.0.0.1 https", g:ask({ path = "/who", headers = { ["X-Forwarded-Proto"] = "https" } }).body)
  end)
end)

describe("forwarding options:", function()
  it("Forwarded, Via, and no X-Forwarded-*", function()
    local g, backend = start 'gateway.forwarding { x_forwarded = false, forwarded = true, via = "edge" }'
    peers.run(function()
      backend:answer { headers = { Via = "1.1 inner" } }
      local response = g:ask { host = "a.example:80", headers = { ["X-Forwarded-For"] = "6.6.6.6", Via = "1.0 outer",
        Forwarded = "for=6.6.6.6" } }
      local seen = backend:last()
      assert.is_false(seen.headers:has("x-forwarded-for"))
      assert.is_false(seen.headers:has("x-forwarded-proto"))
      assert.equal(1, #seen.headers:all("forwarded"))
      local forwarded = seen.headers:get("forwarded"):lower()
      assert.is_truthy(forwarded:find("for=127.0.0.1", 1, true))
      assert.is_truthy(forwarded:find('host="a.example:80"', 1, true))
      assert.is_truthy(forwarded:find("proto=http", 1, true))
      assert.is_nil(forwarded:find("6.6.6.6", 1, true))
      assert.equal("1.0 outer, 1.1 edge", (table.concat(seen.headers:all("via"), ", ")))
      assert.equal("1.1 inner, 1.1 edge", (table.concat(response.headers:all("via"), ", ")))
    end)
    g:stop()
  end)

  it("Forwarded is appended to behind a trusted proxy", function()
    local g, backend = start 'gateway.trusted_proxies { "127.0.0.1" }; gateway.forwarding { forwarded = true }'
    peers.run(function()
      backend:answer()
      g:ask { headers = { Forwarded = "for=6.6.6.6;proto=https" } }
      local forwarded = table.concat(backend:last().headers:all("forwarded"), ", ")
      assert.is_truthy(forwarded:lower():match("^for=6%.6%.6%.6;proto=https, .*for=127%.0%.0%.1"), forwarded)
    end)
    g:stop()
  end)

  it("request ids switched off", function()
    local g, backend = start "gateway.request_id(false)"
    peers.run(function()
      backend:answer()
      local response = g:ask "/"
      assert.is_false(response.headers:has("x-request-id"))
      assert.is_false(backend:last().headers:has("x-request-id"))
      g:ask { headers = { ["X-Request-ID"] = "of the client" } }
      assert.equal("of the client", backend:last().headers:get("x-request-id"))
    end)
    g:stop()
  end)

  it("IPv6 clients are quoted in Forwarded, plain in X-Forwarded-For", function()
    if not peers.has_ipv6() then return pending "no IPv6 here" end
    local g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.listen "[::1]:${port2}"
        gateway.forwarding { forwarded = true }
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
      ]],
    }
    peers.run(function()
      g.backends[1]:answer()
      assert.equal(200, peers.ask("[::1]:" .. g.vars.port2, "/").status)
      local seen = g.backends[1]:last()
      assert.equal("::1", seen.headers:get("x-forwarded-for"))
      assert.is_truthy(seen.headers:get("forwarded"):lower():find('for="[::1]"', 1, true))
    end)
    g:stop()
  end)
end)
