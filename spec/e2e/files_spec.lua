-- Out of descriptors: accepting pauses, what is open is served on, it recovers, and says so once.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

describe("out of descriptors:", function()
  local function start()
    return gateway.start {
      backends = 1, open_files = 64,
      script = [[${prelude}
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
        gateway.route "/fixed" { to = gateway.respond(200, "fixed") }
      ]],
    }
  end

  local function pauses(line)
    return line.message and line.message:find("accepting pauses", 1, true) ~= nil
  end

  it("pauses, serves who is there, recovers", function()
    local g = start()
    peers.run(function()
      g.backends[1]:answer()
      local first = g:client()
      assert.equal(200, first:ask("/").status) -- its upstream connection is in the pool
      local crowd = {}
      for i = 1, 100 do crowd[i] = g:client() end -- the kernel takes them all into its queue
      g:log_wait(pauses, "a line that says that accepting pauses")
      -- who was there is served
      for _ = 1, 5 do assert.equal("fixed", first:ask("/fixed").body) end
      assert.equal(200, first:ask("/").status)
      assert.is_true(g:running())
      -- it is not busy waiting: the log stays quiet
      local lines = #g:log()
      peers.sleep(0.35)
      assert.is_true(#g:log() - lines < 10)
      assert.is_true(g:log_count(pauses) <= 2, g:log_count(pauses))
      -- the crowd goes; the others get their turn
      for i = 1, 90 do crowd[i]:close() end
      for i = 91, 100 do assert.equal("fixed", crowd[i]:ask("/fixed").body) end
      local late = g:client()
      assert.equal("fixed", late:ask("/fixed").body)
      assert.equal(200, late:ask("/").status)
    end)
    g:stop()
  end)

  it("a connection that closes makes room at once for one that waits", function()
    local g = start()
    peers.run(function()
      local served, all, from = {}, {}, nil
      for i = 1, 100 do
        all[i] = function()
          local client = g:client { wait = 20 }
          assert.equal("fixed", client:ask("/fixed").body)
          served[#served + 1] = client
        end
      end
      all[101] = function()
        g:log_wait(pauses, "a line that says that accepting pauses")
        from = peers.now()
        for closed = 1, 100 do
          peers.eventually(function() return #served >= closed end, "somebody who was served")
          local before = #served
          served[closed]:close()
          peers.eventually(function() return #served > before or before == 100 end, "the next one's turn")
        end
      end
      peers.all(all, 30)
      assert.is_true(peers.now() - from < 2, peers.now() - from) -- a pause for each would take three times that
    end)
    g:stop()
  end)

  it("no descriptor for an upstream connection is an error of that request only", function()
    local g = start()
    peers.run(function()
      g.backends[1]:answer { body = "ok", close = true }
      local crowd = {}
      for i = 1, 100 do crowd[i] = g:client() end
      g:log_wait(pauses, "a line that says that accepting pauses")
      -- (a descriptor that served the start, such as the admin connection's, may become free meanwhile; the crowd takes it)
      peers.eventually(function()
        local status = crowd[1]:ask("/").status
        assert.is_true(status == 200 or status == 502 or status == 503, status)
        return status ~= 200
      end, "no descriptor")
      assert.equal("fixed", crowd[1]:ask("/fixed").body)
      for i = 2, 100 do crowd[i]:close() end
      peers.eventually(function() return crowd[1]:ask("/").status == 200 end, "recovery")
    end)
    g:stop()
  end)

  it("a storm of short connections passes through", function()
    local g = start()
    peers.run(function()
      local all = {}
      for i = 1, 150 do
        all[i] = function()
          local client = g:client()
          assert.equal("fixed", client:ask({ path = "/fixed", headers = { Connection = "close" } }).body)
          client:close()
        end
      end
      peers.all(all)
    end)
    g:stop()
  end)
end)
