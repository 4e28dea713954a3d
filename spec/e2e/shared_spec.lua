-- gateway.shared in the real binary: one dictionary for all workers, over reloads, and what is said when a script uses it wrongly.

local gateway = require "spec.support.gateway"
local metrics = require "spec.support.metrics"
local peers = require "spec.support.peers"

local function script(options, more)
  return ([[${prelude}
    local d = gateway.shared("counts"%s)
    gateway.route "/incr" { to = function() return gateway.respond(200, tostring(d:incr("n", 1, 0))) end }
    gateway.route "/get" { to = function() return gateway.respond(200, tostring(d:get "n")) end }
    gateway.route "/later" { to = function() return gateway.respond(200, tostring(gateway.shared("counts"):get "n")) end }
    gateway.route "/unknown" { to = function() return gateway.respond(200, tostring(gateway.shared("count"):get "n")) end }
    gateway.route "/mark" { to = gateway.respond(200, "%s") }
  ]]):format(options, more or "1")
end

describe("a shared dictionary", function()
  it("is one for all workers, counts exactly, and outlives reloads, of another size too", function()
    local g = gateway.start { workers = 4, script = script "" }
    peers.within(function()
      local seen = {}
      for _ = 1, 16 do
        for _ = 1, 10 do
          local n = tonumber(g:ask("/incr").body)
          assert.is_nil(seen[n])
          seen[n] = true
        end
      end
      assert.equal("160", g:ask("/get").body)
      for i, options in ipairs { "", ', { size = "64MB" }', ', { size = "64KB" }' } do
        local mark = tostring(i + 1)
        g:write("main.lua", g:fill(script(options, mark)))
        peers.eventually(function() return g:ask("/mark").body == mark end, "generation " .. mark)
        assert.equal("160", g:ask("/get").body)
        assert.equal("160", g:ask("/later").body)
      end
    end)
    g:stop()
  end)

  it("is told of in the metrics", function()
    local g = gateway.start { script = script ', { size = "64KB" }' }
    peers.within(function()
      for _ = 1, 3 do g:ask "/incr" end
      g:ask "/get"
      local page = metrics.scrape(g)
      local name = { name = "counts" }
      assert.equal(1, page:value("gateway_shared_entries", name))
      assert.equal(1, page:value("gateway_shared_hits_total", name))
      assert.equal(0, page:value("gateway_shared_evicted_total", name))
      assert.equal(128, page:value("gateway_shared_bytes", name))
      assert.is_true(page:value("gateway_shared_capacity_bytes", name) <= 65536)
    end)
    g:stop()
  end)

  it("must be named while the script loads", function()
    local g = gateway.start { script = script "" }
    peers.within(function()
      assert.equal(500, g:ask("/unknown").status)
      g:log_wait(function(line)
        return (line.error or ""):find('gateway.shared "count": the script names no such dictionary while it loads; '
          .. 'unknown dictionary "count" (did you mean "counts"?)', 1, true)
      end, "the reason")
    end)
    g:stop()
  end)

  it("given two sizes is refused", function()
    local run = gateway.command { args = { "check", "${dir}/main.lua" }, script = [[${prelude}
      gateway.shared("a", { size = "1MB" })
      gateway.shared("a", { size = "2MB" })
      gateway.route "/" { to = gateway.respond(200, "") }
    ]] }
    assert.equal(1, run.code)
    assert.truthy(run.stderr:find('main.lua:3: shared "a" was given before, at ', 1, true))
    assert.truthy(run.stderr:find("with other settings: size was 1048576 there and is 2097152 here", 1, true))
  end)
end)
