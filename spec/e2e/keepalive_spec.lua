-- Connections that serve several requests: when they stay, when they end, and that pipelined answers keep their order.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

describe("keep-alive", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
        gateway.route "/fixed" { to = gateway.respond(200, "fixed") }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  -- a connection stays or ends, by version and Connection field
  local cases = {
    { "HTTP/1.1 stays", "1.1", nil, true },
    { "HTTP/1.1 with Connection: close ends", "1.1", "close", false },
    { "Connection: Close in any case ends", "1.1", "Close", false },
    { "close in a list ends", "1.1", "x-thing, close", false },
    { "HTTP/1.0 ends", "1.0", nil, false },
    { "HTTP/1.0 with keep-alive stays", "1.0", "keep-alive", true },
    { "HTTP/1.0 with Keep-Alive in any case stays", "1.0", "Keep-Alive", true },
  }
  for _, path in ipairs { "/proxied", "/fixed" } do
    for _, case in ipairs(cases) do
      it(case[1] .. ": " .. path, function()
        peers.run(function()
          backend:answer { body = "ok" }
          local client = g:client()
          for round = 1, 3 do
            local response = client:ask { path = path, version = case[2], headers = { Connection = case[3] } }
            assert.equal(200, response.status)
            assert.equal(path == "/fixed" and "fixed" or "ok", response.body)
            if not case[4] then
              assert.is_true(response.headers:lists("connection", "close") or case[2] == "1.0")
              client:expect_close()
              break
            end
            assert.is_false(response.headers:lists("connection", "close"), "round " .. round)
            if case[2] == "1.0" then assert.is_true(response.headers:lists("connection", "keep-alive")) end
          end
        end)
      end)
    end
  end

  it("answers pipelined requests in order, whatever the backend's speed", function()
    peers.run(function()
      backend:answer(function(request)
        local number = tonumber(request.target:match("(%d+)"))
        peers.sleep(number % 3 * 0.01)
        return { body = "answer " .. number }
      end)
      local client = g:client()
      local text = {}
      for i = 1, 20 do text[i] = ("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i) end
      client:send(table.concat(text))
      for i = 1, 20 do assert.equal("answer " .. i, client:read_response().body) end
      client:expect_silence(0.02)
    end)
  end)

  it("answers pipelined requests with bodies, byte by byte", function()
    peers.run(function()
      backend:answer(function(request) return { body = request.method .. " " .. request.target .. " " .. request.body } end)
      local client = g:client()
      local one = "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
      local two = "POST /two HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
      local three = "GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n"
      client:write_slowly(one .. two .. three .. one)
      assert.equal("POST /one hello", client:read_response().body)
      assert.equal("POST /two abcde", client:read_response().body)
      assert.equal("fixed", client:read_response().body)
      assert.equal("POST /one hello", client:read_response().body)
    end)
  end)

  it("pipelines hundreds of requests past one read buffer", function()
    peers.run(function()
      backend:answer { body = "ok" }
      local client = g:client()
      local filler = ("x"):rep(900)
      local count = 150 -- about 145 KB of requests
      peers.spawn(function()
        for i = 1, count do
          client:write(("GET /%s HTTP/1.1\r\nHost: a\r\nX-Filler: %s\r\n\r\n"):format(i % 2 == 0 and i or "fixed", filler))
        end
      end)
      for i = 1, count do
        assert.equal(i % 2 == 0 and "ok" or "fixed", client:read_response().body)
      end
    end)
  end)

  it("answers what came before Connection: close, and nothing behind it", function()
    peers.run(function()
      backend:answer(function(request) return { body = request.target } end)
      local client = g:client()
      client:send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        .. "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal("/1", client:read_response().body)
      assert.equal("/2", client:read_response().body)
      client:expect_close()
      for _, request in ipairs(backend.requests) do assert.not_equal("/3", request.target) end
    end)
  end)

  it("answers a pipelined bad request after the good ones before it", function()
    peers.run(function()
      backend:answer(function(request)
        peers.sleep(0.02)
        return { body = request.target }
      end)
      local client = g:client()
      client:send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\n\r\n")
      assert.equal("/1", client:read_response().body)
      assert.equal("/2", client:read_response().body)
      assert.equal(400, client:read_response().status)
      client:expect_close()
    end)
  end)

  it("takes empty lines before a request", function()
    peers.run(function()
      backend:answer()
      local client = g:client()
      client:send("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal(200, client:read_response().status)
      assert.equal(200, client:read_response().status)
    end)
  end)

  it("answers a client that ended its write side after the whole request, or counts it as gone; it never hangs", function()
    peers.run(function()
      backend:answer()
      local client = g:client()
      client:send("GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n")
      client:shutdown()
      client:wait_end()
    end)
  end)

  it("reuses upstream connections", function()
    peers.run(function()
      backend:answer()
      local client = g:client()
      for _ = 1, 30 do assert.equal(200, client:ask("/x").status) end
      assert.equal(30, #backend.requests)
      assert.equal(1, backend.connections)
    end)
  end)

  it("does not reuse an upstream connection whose response said close", function()
    peers.run(function()
      backend:answer { headers = { Connection = "close" }, body = "ok" }
      local client = g:client()
      for _ = 1, 5 do
        local response = client:ask("/x")
        assert.equal(200, response.status)
        assert.is_false(response.headers:lists("connection", "close"))
      end
      assert.equal(5, backend.connections)
    end)
  end)
end)
