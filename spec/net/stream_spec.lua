-- Streams against peers of this process on real sockets; the peer's side is driven with plain system calls.

local ffi = require "ffi"
local net = require "spec.support.net"
local sys = require "spec.support.sys"

local C = net.C

describe("stream", function()
  local loop, listening, port, opened
  before_each(function()
    loop = net.loop()
    listening, port = sys.listen("127.0.0.1:0")
    opened = {}
  end)
  after_each(function()
    for _, s in ipairs(opened) do C.gw_stream_close(s) end
    assert.equal(0, loop.pool and loop.pool.live or 0, "buffers that nobody gave back")
    loop:free()
    sys.close(listening)
  end)

  -- A connected pair: a stream on the accepted side, the descriptor of the other.
  local function pair(functions, options)
    local peer = assert(sys.connect(port, options))
    sys.poll({ { listening, sys.POLLIN } }, 5)
    local s = loop:open(functions, assert(sys.accept(listening, options)))
    opened[#opened + 1] = s
    return s, peer
  end

  local function connect(functions, to)
    local s, status = loop:connect(functions, to)
    if status == 0 then opened[#opened + 1] = s end
    return s, status
  end

  local function receive_all(peer, parts)
    local got, err = sys.recv(peer)
    if got and got ~= "" then parts[#parts + 1] = got end
    return got, err
  end

  local function pattern(bytes)
    local parts = {}
    for i = 1, math.ceil(bytes / 16) do parts[i] = ("%015d\n"):format(i) end
    return table.concat(parts):sub(1, bytes)
  end

  describe("reading", function()
    it("gives what has come, then AGAIN, then the end, and is not called after it", function()
      local calls, log, peer = 0, {}, nil
      local s
      s, peer = pair {
        readable = function(stream)
          calls = calls + 1
          local n, bytes = net.read(stream)
          log[#log + 1] = n > 0 and bytes or n
          if n > 0 then
            log[#log + 1] = (net.read(stream))
            sys.shutdown(peer)
          end
        end,
      }
      sys.send(peer, "hello")
      loop:run_until(function() return calls == 2 end)
      loop:turns(20)
      assert.same({ "hello", C.GW_AGAIN, C.GW_EOF }, log)
      assert.equal(2, calls)
      assert.equal(C.GW_EOF, (net.read(s)))
      sys.close(peer)
    end)

    it("takes no more than there is room for, and is called again for the rest", function()
      local got = {}
      local _, peer = pair {
        readable = function(stream)
          local n, bytes = net.read(stream, 3)
          assert.equal(#bytes, n)
          got[#got + 1] = bytes
        end,
      }
      sys.send(peer, "abcdefgh")
      loop:run_until(function() return #got == 3 end)
      assert.same({ "abc", "def", "gh" }, got)
      sys.close(peer)
    end)

    it("tells a reset from an end", function()
      local status
      local _, peer = pair {
        readable = function(stream)
          status = net.read(stream)
          loop:stop()
        end,
      }
      sys.reset(peer)
      loop:run()
      assert.equal(C.GW_RESET, status)
      loop:turns(20)
    end)

    it("switched off stays off until it is on again", function()
      local calls = 0
      local s, peer = pair {
        readable = function(stream)
          calls = calls + 1
          net.read(stream)
        end,
      }
      C.gw_stream_read_off(s)
      sys.send(peer, "x")
      loop:turns(20)
      assert.equal(0, calls)
      C.gw_stream_read_on(s)
      C.gw_stream_read_off(s)
      C.gw_stream_read_on(s)
      loop:run_until(function() return calls > 0 end)
      assert.equal(1, calls)
      C.gw_stream_read_off(s)
      C.gw_stream_read_on(s)
      sys.send(peer, "y")
      loop:run_until(function() return calls > 1 end)
      assert.equal(2, calls)
      sys.close(peer)
    end)
  end)

  describe("writing", function()
    it("of what fits is done at once, in order of the pieces", function()
      local s, peer = pair { drained = function() error "nothing was left over" end }
      assert.equal(C.GW_OK, net.write(s, "one ", "", "two ", "three"))
      assert.equal(C.GW_OK, net.write(s))
      assert.equal(C.GW_OK, net.write(s, ""))
      assert.equal(C.GW_OK, net.write(s, " four"))
      assert.equal("one two three four", sys.recv(peer))
      loop:turns(3)
      sys.close(peer)
    end)

    local shapes = {
      { "one large piece", function(bytes) return { bytes } end },
      { "many pieces", function(bytes)
        local pieces, at = {}, 1
        for i = 1, 15 do
          pieces[i] = bytes:sub(at, at + i * 1777 - 1)
          at = at + i * 1777
        end
        pieces[16] = bytes:sub(at)
        return pieces
      end },
    }
    for _, shape in ipairs(shapes) do
      it("keeps what the kernel does not take: " .. shape[1], function()
        local drained = 0
        local s, peer = pair({ drained = function() drained = drained + 1 end },
          { receive_buffer = 4096, send_buffer = 4096 })
        local bytes, parts = pattern(400000), {}
        assert.equal(C.GW_AGAIN, net.write(s, unpack(shape[2](bytes))))
        assert.is_true(s.overflow ~= nil)
        -- More, while something is left over, stays behind it.
        assert.equal(C.GW_AGAIN, net.write(s, "behind ", "it"))
        assert.equal(C.GW_AGAIN, net.write(s))
        loop:turns(20)
        assert.equal(0, drained)
        loop:run_until(function()
          repeat until not receive_all(peer, parts)
          return drained > 0
        end)
        sys.poll({ { peer, sys.POLLIN } }, 0)
        repeat until not receive_all(peer, parts)
        loop:turns(5)
        assert.equal(1, drained)
        assert.is_true(s.overflow == nil)
        assert.equal(bytes .. "behind it", table.concat(parts))
        assert.equal(C.GW_OK, net.write(s, "more"))
        sys.close(peer)
      end)
    end

    it("to a peer that is gone ends in RESET, without a signal", function()
      local s, peer = pair { readable = function(stream) C.gw_stream_read_off(stream) end }
      sys.reset(peer)
      loop:turns(3)
      local status
      for _ = 1, 3 do status = net.write(s, "x") end
      assert.equal(C.GW_RESET, status)
    end)

    it("of what is left over fails by `failed`", function()
      local failed
      local s, peer = pair({
        readable = function(stream) C.gw_stream_read_off(stream) end,
        failed = function(stream, status)
          failed = status
          assert.is_true(stream.overflow == nil)
          loop:stop()
        end,
      }, { receive_buffer = 4096, send_buffer = 4096 })
      assert.equal(C.GW_AGAIN, net.write(s, pattern(300000)))
      sys.reset(peer)
      loop:run()
      assert.equal(C.GW_RESET, failed)
    end)

    it("that fails leaves what the peer said before to be read, but no clean end after a reset", function()
      local s, peer = pair({ readable = function(stream) C.gw_stream_read_off(stream) end })
      sys.send(peer, "early answer")
      sys.poll({ { s.io.fd, sys.POLLIN } }, 5)
      sys.reset(peer)
      loop:turns(3)
      assert.equal(C.GW_RESET, net.write(s, "rest of the body"))
      local n, bytes = net.read(s)
      if n > 0 then -- the kernel may also throw it away with the reset
        assert.equal("early answer", bytes)
        n = net.read(s)
      end
      assert.equal(C.GW_RESET, n)
    end)
  end)

  describe("ending the write side", function()
    it("shows the peer an end while reading goes on", function()
      local got
      local s, peer = pair { readable = function(stream) got = select(2, net.read(stream)) end }
      net.write(s, "last")
      C.gw_stream_shutdown(s)
      C.gw_stream_shutdown(s)
      assert.equal("last", sys.recv(peer))
      assert.equal("", sys.recv(peer))
      assert.equal(C.GW_RESET, net.write(s, "too late"))
      sys.send(peer, "answer")
      loop:run_until(function() return got end)
      assert.equal("answer", got)
      sys.close(peer)
    end)

    it("waits for what is left over", function()
      local drained
      local s, peer = pair({ drained = function(stream) drained = stream.write_shut end },
        { receive_buffer = 4096, send_buffer = 4096 })
      local bytes, parts, ended = pattern(300000), {}, false
      assert.equal(C.GW_AGAIN, net.write(s, bytes))
      C.gw_stream_shutdown(s)
      assert.equal(C.GW_RESET, net.write(s, "too late"))
      loop:run_until(function()
        local got
        repeat
          got = receive_all(peer, parts)
          ended = ended or got == ""
        until not got or ended
        return ended
      end)
      assert.equal(1, drained)
      assert.equal(#bytes, #table.concat(parts))
      assert.equal(bytes, table.concat(parts))
      sys.close(peer)
    end)
  end)

  describe("connecting", function()
    local function told(to)
      local status, inside = nil, true
      local s, at_once = connect({
        connected = function(stream, got)
          assert.is_false(inside, "called inside of gw_stream_connect")
          assert.equal(got == 0, C.gw_stream_fd(stream) >= 0)
          status = got
          loop:stop()
        end,
        readable = function() error "nothing was sent" end,
      }, to)
      inside = false
      if at_once < 0 then return at_once, s end
      loop:run()
      return status, s
    end

    it("over TCP is told from the loop", function()
      local status, s = told("127.0.0.1:" .. port)
      assert.equal(0, status)
      local peer = sys.accept(listening)
      assert.equal(0, net.write(s, "hi"))
      assert.equal("hi", sys.recv(peer))
      sys.close(peer)
    end)

    it("over IPv6, where there is any", function()
      local fd, port6 = sys.listen("[::1]:0")
      if not fd then return end
      assert.equal(0, (told("[::1]:" .. port6)))
      sys.close(fd)
    end)

    it("over a unix socket, which succeeds at once, is told from the loop too, and reading works", function()
      local dir = sys.temp_dir()
      local path = "unix:" .. dir .. "/s"
      local fd = assert(sys.listen(path))
      local log = {}
      local inside = true
      local s = connect({
        connected = function(_, status)
          assert.is_false(inside)
          log[#log + 1] = status
          sys.send(assert(sys.accept(fd)), "greeting")
        end,
        readable = function(stream)
          log[#log + 1] = select(2, net.read(stream))
          loop:stop()
        end,
      }, path)
      inside = false
      loop:run()
      assert.same({ 0, "greeting" }, log)
      C.gw_stream_close(s)
      sys.close(fd)
      os.execute("rm -r " .. dir)
    end)

    it("to nobody is refused", function()
      local fd, bound = sys.listen("127.0.0.1:0", { listening = false })
      assert.equal(C.GW_REFUSED, (told("127.0.0.1:" .. bound)))
      assert.equal(C.GW_REFUSED, (told "unix:/nonexistent/socket"))
      sys.close(fd)
    end)

    it("to a unix socket with a full backlog is refused", function()
      local dir = sys.temp_dir()
      local path = "unix:" .. dir .. "/s"
      local fd = assert(sys.listen(path, { backlog = 0 }))
      local statuses, held = {}, {}
      for i = 1, 4 do
        local s, status = connect({}, path)
        statuses[i], held[i] = status, s
      end
      assert.equal(0, statuses[1])
      assert.equal(C.GW_REFUSED, statuses[4])
      for _, s in ipairs(held) do C.gw_stream_close(s) end
      sys.close(fd)
      os.execute("rm -r " .. dir)
    end)

    it("keeps what is written before, and may be given up", function()
      local s = connect({ connected = function() loop:stop() end }, "127.0.0.1:" .. port)
      assert.is_true(net.write(s, "early") >= C.GW_AGAIN)
      loop:run()
      sys.poll({ { listening, sys.POLLIN } }, 5)
      local peer = sys.accept(listening)
      loop:run_until(function() return s.overflow == nil end)
      sys.poll({ { peer, sys.POLLIN } }, 5)
      assert.equal("early", sys.recv(peer))
      sys.close(peer)

      local given_up = connect({ connected = function() error "given up" end }, "127.0.0.1:" .. port)
      C.gw_stream_close(given_up)
      loop:turns(20)
    end)
  end)

  it("may be closed by each of its handlers", function()
    local left = 4
    local function close(stream)
      C.gw_stream_close(stream)
      C.gw_stream_close(stream)
      assert.equal(-1, C.gw_stream_fd(stream))
      ffi.fill(stream, ffi.sizeof "gw_stream", 0xee) -- whoever touches it again trips over this
      left = left - 1
    end
    local peers = {}
    local function own(functions, options)
      local s, peer = pair(functions, options)
      opened[#opened] = nil
      peers[#peers + 1] = peer
      return s, peer
    end
    local small = { receive_buffer = 4096, send_buffer = 4096 }
    local _, a = own { readable = close }
    sys.send(a, "x")
    local b, b_peer = own({ drained = close }, small)
    sys.send(b_peer, "also readable")
    net.write(b, pattern(200000))
    local c, c_peer = own({ failed = close, readable = function(stream) C.gw_stream_read_off(stream) end }, small)
    net.write(c, pattern(200000))
    sys.reset(c_peer)
    peers[3] = nil
    local d = own { expired = close }
    C.gw_timeout_arm(loop.c, d.timeout, 0.001)
    loop:run_until(function()
      repeat until not sys.recv(b_peer)
      return left == 0
    end)
    loop:turns(5)
    for _, peer in pairs(peers) do sys.close(peer) end
  end)

  it("closed for a reset shows the peer one", function()
    local s, peer = pair {}
    net.write(s, "half an ans")
    C.gw_stream_reset(s)
    sys.poll({ { peer, sys.POLLIN } }, 5)
    local got, err = sys.recv(peer)
    if got then got, err = sys.recv(peer) end
    assert.same({ nil, "ECONNRESET" }, { got, err })
    sys.close(peer)
  end)

  it("knows whether an idle one is still of use", function()
    local s, peer = pair {}
    assert.is_true(C.gw_stream_alive(s))
    sys.send(peer, "x")
    sys.poll({ { s.io.fd, sys.POLLIN } }, 5)
    assert.is_false(C.gw_stream_alive(s))
    net.read(s)
    assert.is_true(C.gw_stream_alive(s))
    sys.close(peer)
    sys.poll({ { s.io.fd, sys.POLLIN } }, 5)
    assert.is_false(C.gw_stream_alive(s))
    C.gw_stream_close(s)
    assert.is_false(C.gw_stream_alive(s))
  end)
end)
