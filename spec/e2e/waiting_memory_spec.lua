-- Waiting while memory runs out, at every place: a request or a fetch fails, nothing else.

local failing_memory = require "spec.support.failing_memory"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local SCRIPT = [=[${prelude}
  local up = gateway.upstream "up" { "${backend1}" }
  gateway.every(0.01, function() gateway.sleep(0) gateway.fetch(up, { timeout = 1 }) end, { jitter = 0 })
  gateway.route "= /all" { to = function(request)
    request:finally(function() end)
    local a, b, c = gateway.all {
      function() return gateway.fetch("http://localhost:${backend1_port}/1", { body = ("x"):rep(100000), timeout = 3 }) end,
      function() return gateway.fetch(up, { path = "/2", timeout = 3 }) end,
      function() gateway.sleep(0.001) return coroutine.wrap(function() return gateway.sleep(0.001) end)() end,
    }
    return gateway.respond(200, (a and "1" or "-") .. (b and "2" or "-") .. (c and "3" or "-"))
  end }
]=]

describe("waiting without memory:", function()
  local memory, g
  setup(function() memory = failing_memory.prepare() end)
  teardown(function() memory:close() end)
  after_each(function() if g then g:stop() end end)

  it("each allocation in turn, then one in a few", function()
    g = gateway.start { backends = 1, script = SCRIPT, env = memory.env, binary = memory.binary }
    peers.run(function()
      g.backends[1]:answer { body = ("y"):rep(50000) }
      local function well() return peers.eventually(function()
        local good, response = pcall(g.ask, g, "/all")
        return good and response.status == 200 and response.body == "123"
      end, "all to go well") end
      well()
      local clean, spared, failed = 0, 0, 0
      while clean < 3 and spared < 150 do
        memory:fail { one_in = 1, spared = spared, most = 1 }
        pcall(g.ask, g, "/all")
        local now = memory:relent()
        clean, failed = now == 0 and clean + 1 or 0, failed + now
        assert.is_true(g:running(), "ended with allocation " .. spared)
        spared = spared + 1
      end
      well()
      for one_in = 3, 12, 3 do
        memory:fail { one_in = one_in }
        for _ = 1, 40 do pcall(g.ask, g, "/all", { wait = 2 }) end
        failed = failed + memory:relent()
        assert.is_true(g:running())
        well()
      end
      assert.is_true(failed > 100, failed)
    end, { seconds = 60 })
  end)
end)
