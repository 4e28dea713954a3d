-- A slow reader makes the gateway stop reading: what the other side could write, and the memory it takes, stay bounded.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local MB = 1000000
local BLOCK = ("0123456789abcdef"):rep(4096)

-- The third number of tcp_rmem or tcp_wmem: how far the kernel lets one side of a connection grow by itself.
local function kernel_most(which)
  local file = assert(io.open("/proc/sys/net/ipv4/" .. which))
  local most = file:read("*a"):match "%d+%s+%d+%s+(%d+)"
  file:close()
  return tonumber(most)
end

-- What the kernel's own buffers may hold of one connection; the gateway may add next to nothing to that.
local TAKEN_MOST = kernel_most "tcp_rmem" + kernel_most "tcp_wmem" + 2 * MB
local TOTAL = math.max(64 * MB, 2 * TAKEN_MOST)
local CONNECTIONS = 6

describe("back-pressure:", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = 1, backend_send_buffer = 262144, backend_receive_buffer = 65536,
      script = [[${prelude}
        gateway.limits { body_bytes = "500MB" }
        local b = gateway.upstream "b" { "${backend1}" }
        gateway.route "/" { to = b }
        gateway.route "/lua" { use = { function(request, next) local r = next(); r.headers["X-Lua"] = "1"; return r end }, to = b }
        gateway.route "/fixed" { to = gateway.respond(200, ("x"):rep(1000)) }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  -- Waits until no more is taken: counts stay as they are for a while.
  local function settled(counts)
    local last, since
    peers.eventually(function()
      local sum = 0
      for _, n in pairs(counts) do sum = sum + n end
      if sum ~= last then
        last, since = sum, peers.now()
        return false
      end
      return sum > 0 and peers.now() - since > 0.4
    end, "writing to stop", 20)
  end

  for _, case in ipairs { { "length", "/" }, { "chunked", "/" }, { "length", "/lua" } } do
    local kind, path = case[1], case[2]
    it(("a client that does not read stops the backend (%s, %s)"):format(kind, path), function()
      peers.run(function()
        local taken = {}
        backend:serve(function(conn, number)
          if not conn:read_request() then return end
          taken[number] = 0
          if kind == "length" then
            conn:write("HTTP/1.1 200 OK\r\nContent-Length: " .. TOTAL .. "\r\n\r\n")
          else
            conn:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          end
          conn.wait = 30
          local left = TOTAL
          while left > 0 do
            local block = left >= #BLOCK and BLOCK or BLOCK:sub(1, left)
            local bytes = kind == "length" and block or ("%x\r\n%s\r\n"):format(#block, block)
            conn:write(bytes)
            left = left - #block
            taken[number] = taken[number] + #block
          end
          if kind == "chunked" then conn:write "0\r\n\r\n" end
        end)
        local before = g:resident()
        local clients = {}
        for i = 1, CONNECTIONS do
          clients[i] = g:client { receive_buffer = 65536 }
          clients[i]:send(message.request { path = path })
        end
        peers.eventually(function() return #taken == CONNECTIONS end)
        settled(taken)
        for i = 1, CONNECTIONS do assert.is_true(taken[i] < TAKEN_MOST, ("backend %d wrote %d bytes"):format(i, taken[i])) end
        local grown = g:resident() - before
        assert.is_true(grown < 24 * MB, ("resident memory grew by %d bytes"):format(grown))
        -- and the rest comes as soon as it is read
        local response = clients[1]:read_response { discard = true }
        assert.equal(TOTAL, response.bytes)
      end, { seconds = 60 })
    end)
  end

  for _, kind in ipairs { "length", "chunked" } do
    it(("a backend that does not read stops the client (%s)"):format(kind), function()
      peers.run(function()
        local go, got = false, {}
        backend:serve(function(conn, number)
          conn.wait = 30
          local request = conn:read_request { body = false }
          if not request then return end
          peers.eventually(function() return go end, "the signal", 40)
          if number == 1 then
            message.read_body(conn, request, true, nil, true)
            got[1] = request.bytes
            conn:write(message.response { body = "thanks" })
          else
            conn:hang()
          end
        end)
        local before = g:resident()
        local taken, clients = {}, {}
        for i = 1, CONNECTIONS do
          local client = g:client { send_buffer = 262144 }
          client.wait = 30
          clients[i], taken[i] = client, 0
          peers.spawn(function()
            if kind == "length" then
              client:write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. TOTAL .. "\r\n\r\n")
            else
              client:write "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            end
            local left = TOTAL
            while left > 0 do
              local block = left >= #BLOCK and BLOCK or BLOCK:sub(1, left)
              client:write(kind == "length" and block or ("%x\r\n%s\r\n"):format(#block, block))
              left = left - #block
              taken[i] = taken[i] + #block
            end
            if kind == "chunked" then client:write "0\r\n\r\n" end
          end, { server = true })
          peers.eventually(function() return backend.connections == i end)
        end
        settled(taken)
        for i = 1, CONNECTIONS do assert.is_true(taken[i] < TAKEN_MOST, ("client %d wrote %d bytes"):format(i, taken[i])) end
        local grown = g:resident() - before
        assert.is_true(grown < 24 * MB, ("resident memory grew by %d bytes"):format(grown))
        go = true
        assert.equal("thanks", clients[1]:read_response().body)
        assert.equal(TOTAL, got[1])
      end, { seconds = 60 })
    end)
  end

  it("a client that pipelines without reading is not read for ever", function()
    peers.run(function()
      local client = g:client { receive_buffer = 65536 }
      local block = ("GET /fixed HTTP/1.1\r\nHost: a\r\nX-Filler: " .. ("y"):rep(400) .. "\r\n\r\n"):rep(100)
      local total = 0
      local before = g:resident()
      while total < TOTAL do
        local n = client:write(block, 0.5)
        total = total + n
        if n < #block then break end
      end
      assert.is_true(total < TAKEN_MOST, "taken " .. total)
      assert.is_true(g:resident() - before < 24 * MB)
      for _ = 1, 100 do assert.equal(200, client:read_response().status) end
    end)
  end)

  it("both directions stopped at once, then both go on", function()
    peers.run(function()
      local go
      backend:serve(function(conn)
        conn.wait = 30
        local request = conn:read_request { body = false }
        if not request then return end
        conn:write("HTTP/1.1 200 OK\r\nContent-Length: " .. 20 * MB .. "\r\n\r\n")
        -- all but the last byte: a response that is complete ends the exchange, whatever is still on its way up
        local block, left = BLOCK, 20 * MB - 1
        peers.spawn(function()
          while left > 0 do
            local piece = block:sub(1, math.min(left, #block))
            conn:write(piece)
            left = left - #piece
          end
        end, { server = true })
        peers.eventually(function() return go end)
        message.read_body(conn, request, true, nil, true)
        peers.eventually(function() return left == 0 end, "all written", 30)
        conn:write "x"
        conn:hang()
      end)
      local client = g:client { receive_buffer = 65536 }
      client.wait = 30
      local sent
      peers.spawn(function()
        client:write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. 20 * MB .. "\r\n\r\n")
        local left = 20 * MB
        while left > 0 do
          local piece = BLOCK:sub(1, math.min(left, #BLOCK))
          client:write(piece)
          left = left - #piece
        end
        sent = true
      end)
      peers.sleep(0.5)
      go = true
      assert.equal(20 * MB, client:read_response({ discard = true }).bytes)
      peers.eventually(function() return sent end)
    end, { seconds = 60 })
  end)
end)
