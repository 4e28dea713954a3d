-- Upgrade: raw bytes both ways, and only after the backend's 101.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local ASK = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
  .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
  .. "Sec-WebSocket-Version: 13\r\n\r\n"
local YES = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

describe("upgrade:", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.timeouts { idle = 1 }
        local b = gateway.upstream "b" { "${backend1}", timeouts = { first_byte = 1, total = 1, idle = 1 } }
        gateway.route "/" { to = b }
        gateway.route "/lua" { use = { function(request, next) local r = next(); r.headers["X-Lua"] = "1"; return r end }, to = b }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  -- a tunnel: client and backend ends; f(client, conn)
  local function tunnel(f, ask, yes)
    peers.run(function()
      local other
      backend:serve(function(conn)
        conn.head = conn:read_head()
        conn:write(yes or YES)
        other = conn
        conn:hang()
      end)
      local client = g:client()
      client:send(ask or ASK)
      local response = client:read_response_head()
      assert.equal(101, response.status)
      peers.eventually(function() return other end)
      f(client, other, response, message.parse_head(other.head))
    end)
  end

  it("passes the handshake's fields both ways", function()
    tunnel(function(_, _, response, request)
      assert.equal("websocket", request.headers:get("upgrade"):lower())
      assert.is_true(request.headers:lists("connection", "upgrade"))
      assert.is_false(request.headers:lists("connection", "keep-alive"))
      assert.equal("dGhlIHNhbXBsZSBub25jZQ==", request.headers:get("sec-websocket-key"))
      assert.equal("websocket", response.headers:get("upgrade"))
      assert.is_true(response.headers:lists("connection", "upgrade"))
      assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", response.headers:get("sec-websocket-accept"))
    end)
  end)

  it("then carries any bytes both ways", function()
    tunnel(function(client, conn)
      local all = {}
      for i = 0, 255 do all[#all + 1] = string.char(i) end
      all = table.concat(all)
      client:send(all)
      assert.equal(all, conn:read_exact(256))
      conn:write(all)
      assert.equal(all, client:read_exact(256))
      client:send "GET / HTTP/1.1\r\n\r\n"
      assert.equal("GET / HTTP/1.1\r\n\r\n", conn:read_exact(18))
    end)
  end)

  it("carries megabytes both ways at once", function()
    tunnel(function(client, conn)
      local block, count = ("0123456789abcdef"):rep(4096), 48 -- 3 MB
      peers.all {
        function() for _ = 1, count do client:write(block) end end,
        function() for _ = 1, count do conn:write(block) end end,
        function() for _ = 1, count do assert.is_true(client:read_exact(#block) == block) end end,
        function() for _ = 1, count do assert.is_true(conn:read_exact(#block) == block) end end,
      }
    end)
  end)

  it("works through Lua middleware", function()
    tunnel(function(client, conn, response)
      assert.equal("1", response.headers:get("x-lua"))
      client:send "hello"
      assert.equal("hello", conn:read_exact(5))
    end, (ASK:gsub("/chat", "/lua")))
  end)

  it("bytes that came with the 101 go on", function()
    tunnel(function(client) assert.equal("first words", client:read_exact(11)) end, nil, YES .. "first words")
  end)

  it("bytes that the client sent early reach the backend only after its 101", function()
    peers.run(function()
      local before
      backend:serve(function(conn)
        conn:read_until "\r\n\r\n"
        before = pcall(conn.expect_silence, conn, 0.05)
        conn:write(YES)
        conn:write(conn:read_exact(11))
        conn:hang()
      end)
      local client = g:client()
      client:send(ASK .. "early bytes")
      assert.equal(101, client:read_response_head().status)
      assert.equal("early bytes", client:read_exact(11))
      assert.is_true(before)
    end)
  end)

  it("bytes sent early after a refused upgrade are the next request, and never reach the backend raw", function()
    peers.run(function()
      backend:answer(function(request)
        if request.headers:has("upgrade") then return { status = 403, body = "no" } end
        return { body = "second " .. request.target }
      end)
      local client = g:client()
      client:send(ASK .. "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal(403, client:read_response().status)
      -- handled as a request of its own (or the connection ends); it has passed the gateway's own rules either way
      local ok, response = pcall(client.read_response, client)
      if ok then
        assert.equal("second /smuggled", response.body)
        assert.equal("127.0.0.1", backend:last().headers:get("x-forwarded-for"))
      end
    end)
  end)

  for _, status in ipairs { 200, 400, 403, 426, 500 } do
    it("refused with " .. status .. " it stays HTTP", function()
      peers.run(function()
        backend:answer(function(request)
          if request.headers:has("upgrade") then return { status = status, body = "not now" } end
          return { body = "plain" }
        end)
        local client = g:client()
        client:send(ASK)
        local response = client:read_response()
        assert.equal(status, response.status)
        assert.equal("not now", response.body)
        assert.equal("plain", client:ask("/").body)
      end)
    end)
  end

  it("a 101 that nobody asked for is a 502", function()
    peers.run(function()
      backend:answer(YES)
      local client = g:client()
      assert.equal(502, client:ask("/").status)
    end)
  end)

  it("a 101 to HTTP/1.0 is a 502, and its Upgrade does not go upstream", function()
    peers.run(function()
      backend:answer(function(request)
        assert.is_false(request.headers:has("upgrade"))
        return YES
      end)
      local client = g:client()
      client:send "GET /chat HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
      assert.equal(502, client:read_response().status)
    end)
  end)

  it("Upgrade that Connection does not name is not passed on", function()
    peers.run(function()
      backend:answer()
      assert.equal(200, g:ask({ headers = { Upgrade = "websocket" } }).status)
      assert.is_false(backend:last().headers:has("upgrade"))
    end)
  end)

  it("half-close by the client: the backend sees the end, and its later bytes still arrive", function()
    tunnel(function(client, conn)
      client:send "question"
      client:shutdown()
      assert.equal("question", (conn:read_to_end()))
      peers.sleep(0.05)
      conn:write "answer"
      conn:shutdown()
      assert.equal("answer", (client:read_to_end()))
    end)
  end)

  it("half-close by the backend likewise", function()
    tunnel(function(client, conn)
      conn:write "greeting"
      conn:shutdown()
      assert.equal("greeting", (client:read_to_end()))
      peers.sleep(0.05)
      client:send "reply"
      client:shutdown()
      assert.equal("reply", (conn:read_to_end()))
    end)
  end)

  it("the end with megabytes still under way loses none", function()
    tunnel(function(client, conn)
      local data = ("0123456789abcdef"):rep(65536) -- 1 MB
      peers.spawn(function()
        conn:write(data)
        conn:shutdown()
      end)
      peers.sleep(0.05)
      local got = client:read_to_end()
      assert.is_true(got == data)
    end)
  end)

  it("a reset on one side ends the other", function()
    tunnel(function(client, conn)
      client:reset()
      conn:wait_end()
    end)
    tunnel(function(client, conn)
      conn:reset()
      client:wait_end()
    end)
  end)

  it("lives on past the timeouts of requests (first byte, total, client idle)", function()
    -- what an upgraded connection may be idle for is its own business; requests' totals must not end it
    tunnel(function(client, conn)
      for _ = 1, 5 do
        peers.sleep(0.3)
        client:send "ping"
        assert.equal("ping", conn:read_exact(4))
        conn:write "pong"
        assert.equal("pong", client:read_exact(4))
      end
    end)
  end)

  it("a slow reader stops the other side", function()
    peers.run(function()
      local taken
      backend:serve(function(conn)
        conn:read_head()
        conn:write(YES)
        local block = ("x"):rep(65536)
        local total = 0
        for _ = 1, 1000 do -- 64 MB
          local n = conn:write(block, 0.5)
          total = total + n
          if n < #block then break end
        end
        taken = total
        conn:hang()
      end)
      local client = g:client { receive_buffer = 65536 }
      client:send(ASK)
      client:read_until "\r\n\r\n"
      peers.eventually(function() return taken end, "the gateway to stop reading")
      assert.is_true(taken < 16e6, "taken " .. taken)
    end)
  end)
end)
