-- Bounds on what a client may send and how slowly: 414, 431, 413, 408, and the quiet end of idle connections.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"
local raw = require "spec.support.raw"

describe("limits:", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.access_log(false)
        gateway.limits { header_bytes = 4096, headers = 20, body_bytes = "100KB", request_line = 1024 }
        local b = gateway.upstream "b" { "${backend1}" }
        gateway.route "/" { to = b }
        gateway.route "/small" { to = b, limits = { body_bytes = 10 } }
        gateway.route "/large" { to = b, limits = { body_bytes = "1MB" } }
        gateway.route "/read" { to = function(request)
          local body, err = request:body()
          return gateway.respond(200, body and #body .. " bytes" or "no body: " .. tostring(err))
        end }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  local H = "Host: a.example\r\n"
  local function line(bytes) -- a request line of exactly that many bytes, without its CRLF
    return "GET /" .. ("p"):rep(bytes - #"GET / HTTP/1.1") .. " HTTP/1.1\r\n"
  end
  local function fields(count) -- Host among them
    return H .. ("X-F: y\r\n"):rep(count - 1)
  end
  local function head(bytes) -- a whole head of that many bytes
    local start = "GET / HTTP/1.1\r\n" .. H .. "X-F: "
    return start .. ("y"):rep(bytes - #start - 4) .. "\r\n\r\n"
  end

  for _, case in ipairs {
    { "a request line at the limit", line(1024) .. H .. "\r\n", 200 },
    { "a request line past it", line(1030) .. H .. "\r\n", 414 },
    { "an endless request line", "GET /" .. ("p"):rep(3000), 414 },
    { "as many fields as allowed", "GET / HTTP/1.1\r\n" .. fields(20) .. "\r\n", 200 },
    { "one more", "GET / HTTP/1.1\r\n" .. fields(21) .. "\r\n", 431 },
    { "a head at the limit", head(4096), 200 },
    { "a head past it", head(4100), 431 },
    { "a head that does not end", "GET / HTTP/1.1\r\n" .. H .. ("X: " .. ("y"):rep(90) .. "\r\n"):rep(18) .. "Y: "
      .. ("z"):rep(4000), 431 },
    { "a field line that does not end", "GET / HTTP/1.1\r\n" .. H .. "X: " .. ("y"):rep(6000), 431 },
  } do
    it(case[1] .. " is " .. case[3], function()
      peers.run(function()
        backend:answer()
        raw.check(g, case[2], { status = case[3], closed = case[3] ~= 200, untouched = case[3] ~= 200 and backend or nil })
      end, { seconds = 60 })
    end)
  end

  it("megabytes of head are refused early, and the refusal can be read", function()
    peers.run(function()
      local client = g:client()
      client:try_write("GET / HTTP/1.1\r\nHost: a\r\n")
      local block = ("X-Y: " .. ("z"):rep(990) .. "\r\n"):rep(50)
      for _ = 1, 40 do
        if not client:try_write(block) then break end
        peers.sleep(0)
      end
      assert.equal(431, client:read_response().status)
    end)
  end)

  describe("413", function()
    it("by Content-Length: before anything goes upstream", function()
      peers.run(function()
        backend:answer()
        for _, length in ipairs { "102401", "9999999999", "18446744073709551615" } do
          local client = g:client()
          client:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. length .. "\r\n\r\n")
          local response = client:read_response()
          assert.is_true(response.status == 413 or (length == "18446744073709551615" and response.status == 400), response.status)
          client:expect_close()
        end
        assert.equal(0, backend.connections)
      end)
    end)

    it("with Expect: 100-continue there is no 100 first", function()
      peers.run(function()
        local client = g:client()
        client:send "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n"
        local response = client:read_response()
        assert.equal(413, response.status)
        assert.equal(0, #response.informational)
      end)
    end)

    it("at the limit it passes", function()
      peers.run(function()
        backend:answer(function(request) return { body = tostring(request.bytes) } end)
        local client = g:client()
        assert.equal("102400", client:ask({ method = "POST", body = ("x"):rep(102400) }).body)
        client:send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" .. message.chunked(("x"):rep(100000),
          ("y"):rep(2400)))
        assert.equal("102400", client:read_response().body)
      end)
    end)

    it("chunked: as soon as it is past the limit; the backend never sees a whole request", function()
      peers.run(function()
        local whole, ended = 0, 0
        backend:serve(function(conn)
          local ok, request = pcall(conn.read_request, conn)
          if ok and request then whole = whole + 1 end
          ended = ended + 1
        end)
        local client = g:client()
        client:try_write "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for _ = 1, 20 do
          if not client:try_write(("2710\r\n%s\r\n"):format(("x"):rep(10000))) then break end
          peers.sleep(0.001)
        end
        assert.equal(413, client:read_response().status)
        client:wait_end()
        peers.eventually(function() return backend.connections == ended end)
        assert.equal(0, whole)
      end)
    end)

    it("chunked: a chunk that says it will be too large", function()
      peers.run(function()
        backend:serve(function(conn) pcall(conn.read_request, conn) end)
        local client = g:client()
        client:send "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"
        client:try_write(("x"):rep(200000))
        assert.equal(413, client:read_response().status)
      end)
    end)

    it("a route's own limit, smaller and larger", function()
      peers.run(function()
        backend:answer(function(request) return { body = tostring(request.bytes) } end)
        assert.equal(200, g:ask({ method = "POST", path = "/small", body = ("x"):rep(10) }).status)
        assert.equal(413, g:ask({ method = "POST", path = "/small", body = ("x"):rep(11) }).status)
        assert.equal(200, g:ask({ method = "POST", path = "/large", body = ("x"):rep(500000) }).status)
        assert.equal(413, g:ask({ method = "POST", path = "/large", body = ("x"):rep(2000000) }).status)
      end)
    end)

    it("a body that Lua gathers is bounded likewise", function()
      peers.run(function()
        assert.equal("102400 bytes", g:ask({ method = "POST", path = "/read", body = ("x"):rep(102400) }).body)
        local client = g:client()
        client:send("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client:try_write(message.chunked(("x"):rep(60000), ("y"):rep(60000)))
        local response = client:read_response()
        assert.is_true(response.status == 413 or response.body:match("^no body") ~= nil, response.status)
      end)
    end)
  end)
end)

describe("slow clients:", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.timeouts { header = 0.5, idle = 0.8, body = 0.5 }
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
        gateway.route "/read" { to = function(request) return gateway.respond(200, request:body()) end }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  local function ends_with_408(client, from, most)
    local response = client:read_response()
    assert.equal(408, response.status)
    assert.is_true(response.headers:lists("connection", "close"))
    client:expect_close()
    local seconds = peers.now() - from
    assert.is_true(seconds > 0.3 and seconds < (most or 2), seconds)
  end

  for _, case in ipairs {
    { "a part of the request line", "GET /x" },
    { "a head without its end", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n" },
    { "all but the last byte", "GET / HTTP/1.1\r\nHost: a\r\n\r" },
  } do
    it("408 for " .. case[1], function()
      peers.run(function()
        local client, from = g:client(), peers.now()
        client:send(case[2])
        ends_with_408(client, from)
      end)
    end)
  end

  it("408 for a head that drips: each byte does not buy more time", function()
    peers.run(function()
      local client, from = g:client(), peers.now()
      local drip = peers.spawn(function()
        while client:try_write("G") do peers.sleep(0.05) end
      end, { server = true })
      local response = client:read_response()
      assert.is_true(response.status == 408, response.status)
      local seconds = peers.now() - from
      assert.is_true(seconds > 0.3 and seconds < 1.5, seconds)
      assert.is_truthy(drip)
    end)
  end)

  it("408 for a second, pipelined head that does not end", function()
    peers.run(function()
      backend:answer()
      local client, from = g:client(), peers.now()
      client:send "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT"
      assert.equal(200, client:read_response().status)
      ends_with_408(client, from)
    end)
  end)

  it("who is refused in the middle of a large upload still reads why", function()
    peers.run(function()
      local client = g:client()
      client.wait = 10
      client:write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
      for _ = 1, 400 do client:write(("x"):rep(65536)) end
      local response = client:read_response()
      assert.equal(413, response.status)
      assert.is_true(response.headers:lists("connection", "close"))
    end)
  end)

  it("408 for a body that stops; the upstream request ends", function()
    peers.run(function()
      local ended
      backend:serve(function(conn)
        if not conn:read_request { body = false } then return end
        conn:wait_end()
        ended = true
      end)
      local client, from = g:client(), peers.now()
      client:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
      ends_with_408(client, from)
      peers.eventually(function() return ended end)
    end)
  end)

  it("408 for a body that stops while Lua gathers it", function()
    peers.run(function()
      local client, from = g:client(), peers.now()
      client:send "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
      ends_with_408(client, from)
    end)
  end)

  it("a body that keeps coming may take longer than the timeout", function()
    peers.run(function()
      backend:answer(function(request) return { body = request.body } end)
      local client = g:client()
      client:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
      for _ = 1, 10 do
        peers.sleep(0.1)
        client:send "x"
      end
      assert.equal("xxxxxxxxxx", client:read_response().body)
    end)
  end)

  it("an idle connection ends quietly", function()
    peers.run(function()
      backend:answer()
      local client = g:client()
      assert.equal(200, client:ask("/").status)
      local from = peers.now()
      assert.equal("eof", client:expect_close())
      local seconds = peers.now() - from
      assert.is_true(seconds > 0.6 and seconds < 2.5, seconds)
    end)
  end)

  it("a connection on which nothing ever comes ends, too", function()
    peers.run(function()
      local client, from = g:client(), peers.now()
      local _, bytes = client:wait_end()
      assert.is_true(bytes == "" or bytes:match("^HTTP/1%.1 408") ~= nil, bytes)
      assert.is_true(peers.now() - from < 2.5)
    end)
  end)

  it("waiting for a slow backend is not idling", function()
    peers.run(function()
      backend:answer(function()
        peers.sleep(1.3)
        return { body = "late" }
      end)
      local client = g:client()
      assert.equal("late", client:ask("/").body)
      assert.equal("late", client:ask("/").body)
    end)
  end)
end)
