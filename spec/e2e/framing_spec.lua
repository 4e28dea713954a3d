-- How bodies are delimited, in both directions and between HTTP versions; what the other side must notice when one is cut short.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

describe("framing:", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.limits { body_bytes = "200MB" }
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  -- deterministic bytes of every value
  local function pattern(bytes)
    local unit = {}
    for i = 0, 255 do unit[#unit + 1] = string.char(i) end
    unit = table.concat(unit) .. "and a tail that shifts"
    return unit:rep(math.ceil(bytes / #unit)):sub(1, bytes)
  end

  describe("requests", function()
    for _, bytes in ipairs { 0, 1, 100, 33151, 33152, 33153, 65536, 1000000 } do
      it(("with Content-Length: %d bytes arrive unchanged"):format(bytes), function()
        peers.run(function()
          backend:answer(function(request) return { body = request.body } end)
          local client, body = g:client(), pattern(bytes)
          for _ = 1, 2 do
            local response = client:ask { method = "POST", path = "/x", body = body }
            assert.equal(200, response.status)
            assert.is_true(response.body == body)
            assert.equal("length", backend:last().framing == "none" and bytes == 0 and "length" or backend:last().framing)
          end
        end)
      end)

      it(("chunked: %d bytes arrive unchanged, chunked"):format(bytes), function()
        peers.run(function()
          backend:answer(function(request) return { body = request.body } end)
          local client, body = g:client(), pattern(bytes)
          local chunks, at = {}, 1
          while at <= #body do
            local size = math.min(#body - at + 1, #chunks % 3 == 0 and 1 or #chunks % 3 == 1 and 1000 or 40000)
            chunks[#chunks + 1] = body:sub(at, at + size - 1)
            at = at + size
          end
          for _ = 1, 2 do
            client:send(message.request { method = "POST", headers = { ["Transfer-Encoding"] = "chunked" } })
            client:send(message.chunked(unpack(chunks)))
            local response = client:read_response()
            assert.equal(200, response.status)
            assert.is_true(response.body == body)
            assert.equal("chunked", backend:last().framing)
          end
        end)
      end)
    end

    it("chunked byte by byte", function()
      peers.run(function()
        backend:answer(function(request) return { body = request.body } end)
        local client = g:client()
        client:write_slowly("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          .. "5;ext=\"a;b\"\r\nhello\r\n00000001\r\n \r\n5\r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert.equal("hello world", client:read_response().body)
      end)
    end)

    it("trailers go on, those that may not be trailers do not", function()
      peers.run(function()
        backend:answer()
        local client = g:client()
        client:send("POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
          .. "X-Sum: abc\r\nContent-Length: 7\r\nHost: evil\r\nAuthorization: evil\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert.equal(200, client:read_response().status)
        local trailers = backend:last().trailers
        assert.is_table(trailers)
        assert.equal("abc", trailers:get("x-sum"))
        for _, name in ipairs { "content-length", "host", "authorization", "transfer-encoding" } do
          assert.is_false(trailers:has(name), name)
        end
        assert.equal(200, client:ask("/again").status)
      end)
    end)

    it("the backend sees the body as it comes, not when it is whole", function()
      peers.run(function()
        local got
        backend:serve(function(conn)
          conn:read_request { body = false }
          got = conn:read_exact(5)
          conn:read_exact(5)
          conn:write(message.response { body = "done" })
          conn:hang()
        end)
        local client = g:client()
        client:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
        peers.eventually(function() return got == "hello" end, "first half at the backend")
        client:send "world"
        assert.equal("done", client:read_response().body)
      end)
    end)

    it("a GET with a body passes it on; one without gets none", function()
      peers.run(function()
        backend:answer(function(request) return { body = request.body } end)
        local client = g:client()
        assert.equal("hello", client:ask({ body = "hello" }).body)
        assert.equal("", client:ask({}).body)
        assert.is_false(backend:last().headers:has("content-length"))
        assert.is_false(backend:last().headers:has("transfer-encoding"))
      end)
    end)

    it("POST without a body keeps Content-Length: 0", function()
      peers.run(function()
        backend:answer()
        assert.equal(200, g:ask({ method = "POST", headers = { ["Content-Length"] = "0" } }).status)
        assert.equal("0", backend:last().headers:get("content-length"))
      end)
    end)

    it("a body cut short by the client never looks whole to the backend", function()
      peers.run(function()
        for _, text in ipairs {
          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
          "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
          "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        } do
          local whole, ended
          backend:serve(function(conn)
            local ok = pcall(conn.read_request, conn)
            whole, ended = ok, true
          end)
          local client = g:client()
          client:send(text)
          client:shutdown()
          peers.eventually(function() return ended end, "the end of the upstream request")
          assert.is_false(whole, text)
          client:close()
        end
      end)
    end)
  end)

  describe("responses", function()
    for _, bytes in ipairs { 0, 1, 100, 33151, 33152, 33153, 100000, 3000000 } do
      for _, kind in ipairs { "length", "chunked", "close" } do
        it(("%s: %d bytes arrive unchanged"):format(kind, bytes), function()
          peers.run(function()
            local body = pattern(bytes)
            backend:answer(function()
              if kind == "length" then return { body = body } end
              if kind == "close" then return { body = body, close = true } end
              local third = math.floor(#body / 3)
              local parts = {}
              for _, part in ipairs { body:sub(1, third), body:sub(third + 1, 2 * third), body:sub(2 * third + 1) } do
                if part ~= "" then parts[#parts + 1] = part end
              end
              return { headers = { ["Transfer-Encoding"] = "chunked" }, body = message.chunked(unpack(parts)) }
            end)
            local client = g:client()
            for _ = 1, 2 do
              local response = client:ask "/x"
              assert.equal(200, response.status)
              assert.is_true(response.body == body)
              -- a client of HTTP/1.1 keeps its connection, so what was framed by close becomes chunked
              assert.equal(kind == "length" and "length" or "chunked", response.framing)
            end
            client:close()
            local old = g:client()
            old:send "GET /x HTTP/1.0\r\nHost: a\r\n\r\n"
            local response = old:read_response()
            assert.equal(200, response.status)
            assert.is_true(response.body == body)
            assert.equal(kind == "length" and "length" or "close", response.framing)
            old:expect_close()
          end)
        end)
      end
    end

    it("HTTP/1.0 with keep-alive and a chunked backend: the answer is framed by close", function()
      peers.run(function()
        backend:answer { headers = { ["Transfer-Encoding"] = "chunked" }, body = message.chunked("a", "b") }
        local client = g:client()
        client:send "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        local response = client:read_response()
        assert.equal("ab", response.body)
        assert.equal("close", response.framing)
        assert.is_false(response.headers:lists("connection", "keep-alive"))
      end)
    end)

    it("an HTTP/1.0 backend is fine, and its connection is not reused unless it says so", function()
      peers.run(function()
        backend:serve(function(conn)
          conn:read_request()
          conn:write "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"
          conn:wait_end()
        end)
        local client = g:client()
        for _ = 1, 3 do
          local response = client:ask "/"
          assert.equal("hi", response.body)
          assert.equal("1.1", response.version)
        end
        assert.equal(3, backend.connections)
      end)
    end)

    it("pieces go on as they come", function()
      peers.run(function()
        local step = 0
        backend:serve(function(conn)
          conn:read_request()
          conn:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
          peers.eventually(function() return step == 1 end)
          conn:write "5\r\nworld\r\n0\r\n\r\n"
          conn:hang()
        end)
        local client = g:client()
        client:send(message.request {})
        client:read_until "hello"
        step = 1
        client:read_until "world"
        client:read_until "0\r\n\r\n"
      end)
    end)

    it("trailers go on to the client", function()
      peers.run(function()
        backend:answer { headers = { ["Transfer-Encoding"] = "chunked", Trailer = "X-Sum" },
          body = message.chunked({ trailers = "X-Sum: abc\r\n" }, "hello") }
        local response = g:ask { headers = { TE = "trailers" } }
        assert.equal("hello", response.body)
        assert.is_table(response.trailers)
        assert.equal("abc", (response.trailers:get("x-sum")))
      end)
    end)

    it("chunk extensions are dropped", function()
      peers.run(function()
        backend:answer { headers = { ["Transfer-Encoding"] = "chunked" }, body = "5;secret=1\r\nhello\r\n0;x\r\n\r\n" }
        assert.equal("hello", g:ask("/").body) -- the reader refuses extensions
      end)
    end)

    -- no body, whatever the fields say; the connection goes on
    for _, case in ipairs {
      { "HEAD with Content-Length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, "1234" },
      { "HEAD with chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200 },
      { "HEAD without framing", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200 },
      { "204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204 },
      { "204 with a stray Content-Length: 0", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204 },
      { "304", "GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304 },
      { "304 with Content-Length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n", 304, "1234" },
      { "304 with chunked", "GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304 },
    } do
      it(case[1] .. " has no body", function()
        peers.run(function()
          backend:serve(function(conn)
            while conn:read_request() do conn:write(case[3]) end
          end)
          local client = g:client()
          for _ = 1, 3 do
            local response = client:ask { method = case[2] }
            assert.equal(case[4], response.status)
            if case[5] then assert.equal(case[5], response.headers:get("content-length")) end
          end
          client:expect_silence(0.02)
          assert.equal(1, backend.connections)
        end)
      end)
    end

    it("a backend that sends a body to HEAD, or with 204, poisons no later answer", function()
      peers.run(function()
        for _, case in ipairs {
          { "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" },
          { "GET", "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" },
          { "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" },
        } do
          backend:serve(function(conn, number)
            while true do
              if not conn:read_request() then return end
              conn:write(number == 1 and case[2] or message.response { body = "ok" })
            end
          end)
          backend.connections = 0
          local client = g:client()
          assert.is_true(client:ask({ method = case[1] }).status < 300)
          for _ = 1, 3 do assert.equal(200, client:ask("/").status) end
          client:close()
        end
      end)
    end)

    describe("cut short by the backend must be seen by the client:", function()
      for _, case in ipairs {
        { "Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello" },
        { "chunked in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello" },
        { "chunked between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" },
        { "chunked before the last empty line", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n" },
        { "malformed chunk later", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "zz\r\n" },
      } do
        for _, how in ipairs { "end", "reset" } do
          it(case[1] .. ", " .. how, function()
            peers.run(function()
              local seen = false
              backend:serve(function(conn)
                conn:read_request()
                conn:write(case[2])
                peers.eventually(function() return seen end) -- a reset may overtake the bytes
                if case[3] then conn:write(case[3]) end
                if how == "reset" then conn:reset() end
              end)
              local client = g:client()
              client:send(message.request {})
              client:read_until "\r\n\r\n"
              seen = true
              local how_ended, bytes = client:wait_end()
              assert.is_truthy(how_ended)
              assert.is_nil(bytes:find("0\r\n\r\n", 1, true))
              -- and for a client of HTTP/1.0, where close would mean the end of the body, it must be a reset
              if not case[2]:find("Content-Length", 1, true) then
                seen = false
                local old = g:client()
                old:send "GET / HTTP/1.0\r\n\r\n"
                old:read_until "\r\n\r\n"
                seen = true
                assert.equal("reset", (old:wait_end()))
              end
            end)
          end)
        end
      end
    end)
  end)

  describe("1xx", function()
    it("100, 102 and 103 pass on before the answer", function()
      peers.run(function()
        backend:answer("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
          .. "HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        local client = g:client()
        for _ = 1, 2 do
          local response = client:ask "/"
          assert.equal("ok", response.body)
          local statuses = {}
          for i, one in ipairs(response.informational) do statuses[i] = one.status end
          assert.same({ 102, 103, 103 }, statuses)
          assert.equal("</a.css>; rel=preload", response.informational[2].headers:get("link"))
        end
      end)
    end)

    it("do not reach a client of HTTP/1.0", function()
      peers.run(function()
        backend:answer "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        local client = g:client()
        client:send "GET / HTTP/1.0\r\n\r\n"
        local response = client:read_response()
        assert.equal(200, response.status)
        assert.equal(0, #response.informational)
      end)
    end)

    it("an endless row of them is not passed on for ever", function()
      peers.run(function()
        backend:serve(function(conn)
          conn:read_request()
          while conn:try_write("HTTP/1.1 103 Early Hints\r\n\r\n") do peers.sleep(0) end
        end)
        local client = g:client()
        client:send(message.request {})
        local count = 0
        local ok = pcall(function()
          while count < 20000 do
            if client:read_response_head().status ~= 103 then break end
            count = count + 1
          end
        end)
        assert.is_true(count < 20000, ok and "" or "ended")
      end)
    end)
  end)

  describe("Expect: 100-continue", function()
    local head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

    it("the client gets its 100 and then the answer", function()
      peers.run(function()
        backend:serve(function(conn)
          while true do
            local request = conn:read_request { body = false }
            if not request then return end
            if request.headers:has("expect") then conn:write "HTTP/1.1 100 Continue\r\n\r\n" end
            local body = conn:read_exact(5)
            conn:write(message.response { body = body })
          end
        end)
        local client = g:client()
        for _ = 1, 2 do
          client:send(head)
          assert.equal(100, client:read_response_head().status)
          client:send "hello"
          local response = client:read_response()
          assert.equal("hello", response.body)
          assert.equal(0, #response.informational) -- not a second 100
        end
      end)
    end)

    it("a backend that refuses at once is passed on without the body", function()
      peers.run(function()
        backend:serve(function(conn)
          conn:read_request { body = false }
          conn:write(message.response { status = 403, body = "no", headers = { Connection = "close" } })
          conn:wait_end()
        end)
        local client = g:client()
        client:send(head)
        local response = client:read_response()
        assert.equal(403, response.status)
      end)
    end)

    it("a client that does not wait for it is served as well", function()
      peers.run(function()
        backend:answer(function(request) return { body = request.body } end)
        local client = g:client()
        client:send(head .. "hello")
        assert.equal("hello", client:read_response().body)
      end)
    end)

    it("in HTTP/1.0 it is ignored", function()
      peers.run(function()
        backend:answer(function(request) return { body = request.body } end)
        local client = g:client()
        client:send "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
        local response = client:read_response()
        assert.equal("hello", response.body)
        assert.equal(0, #response.informational)
      end)
    end)
  end)
end)
