-- What is counted of plugins and the script's functions, and plugins that are switched off because they fail.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local BAD = [[
local gateway = require "gateway"
return { name = "NAME", new = function() return function(request, next)
  if request.headers["x-fail"] then error "told to fail" end
  if request.headers["x-run"] then while true do end end
  if request.headers["x-busy"] then local t = os.clock() + 0.03 while os.clock() < t do end end
  return next()
end end }
]]

local SCRIPT = [[${prelude}
local up = gateway.upstream "up" { "${backend1}" }
local function plain(_, next) return next() end
gateway.route "= /counted" { to = up, use = { gateway.plugin "counted", plain } }
gateway.route "= /open" { to = up, use = { gateway.plugin("open", {}, { on_failure = "open", failures = 3, within = 60, off_for = 60 }) } }
gateway.route "= /closed" { to = up, use = {
  gateway.plugin("closed", {}, { on_failure = "closed", failures = 2, within = 60, off_for = "300ms" }) } }
gateway.route "= /never" { to = up, use = { gateway.plugin("never", {}, { on_failure = "closed", failures = 2, within = "1ms" }) } }
]]

local function files()
  local out = {}
  for _, name in ipairs { "counted", "open", "closed", "never" } do out["plugins/" .. name .. ".lua"] = BAD:gsub("NAME", name) end
  return out
end

describe("plugins are counted:", function()
  local g
  setup(function() g = gateway.start { backends = 1, workers = 2, script = SCRIPT, files = files() } end)
  teardown(function() g:stop() end)

  local function of(name)
    for _, plugin in ipairs(g:status().plugins) do
      if plugin.name == name or plugin.name:find(name, 1, true) then return plugin end
    end
    error("no plugin " .. name)
  end

  local function ask(path, headers) return peers.ask(g.port, { path = path, headers = headers }, { wait = 10 }) end

  local function run(f)
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      f()
    end, { seconds = 20 })
  end

  it("calls, errors, runaways and CPU time, each with its name in the log", function()
    run(function()
      for _ = 1, 5 do assert.equal(200, ask("/counted").status) end
      assert.equal(500, ask("/counted", { ["X-Fail"] = "1" }).status)
      local line = g:log_wait(function(l) return l.message == "script error" end, "the error")
      assert.equal("counted", line.plugin)
      assert.truthy(line.error:find("plugins/counted.lua:3: told to fail", 1, true), line.error)
      assert.equal(500, ask("/counted", { ["X-Run"] = "1" }).status)
      line = g:log_wait(function(l) return l.message == "script error" and l.error:find "ran for" end, "the runaway")
      assert.equal("counted", line.plugin)
      local counted = of "counted"
      assert.same({ 7, 1, 1 }, { counted.calls, counted.errors, counted.runaways })
      assert.is_true(counted.cpu_seconds >= 0.03 and counted.cpu_seconds < 2, counted.cpu_seconds)
      assert.is_false(counted.off)
      local plain = of "main.lua:3" -- the script's own function, by where it begins
      assert.equal(5, plain.calls)
      assert.equal(0, plain.errors)
    end)
  end)

  it("CPU time is sampled, and comes near to what was used", function()
    run(function()
      local before = of "counted".cpu_seconds
      for _ = 1, 40 do assert.equal(200, ask("/counted", { ["X-Busy"] = "1" }).status) end
      local used = of "counted".cpu_seconds - before
      assert.is_true(used > 0.4 and used < 2.4, used) -- 1.2 s
    end)
  end)

  it("a reload keeps the counts, and a changed file is the same plugin", function()
    run(function()
      local before = of "counted".calls
      g:write("plugins/counted.lua", (BAD:gsub("NAME", "counted") .. "\n"))
      assert.equal(200, g:reload().status)
      assert.equal(200, ask("/counted").status)
      assert.equal(before + 1, of "counted".calls)
    end)
  end)

  it("one that fails open is skipped from the third failure on", function()
    run(function()
      local fail = { ["X-Fail"] = "1" }
      for _ = 1, 3 do assert.equal(500, ask("/open", fail).status) end
      for _ = 1, 4 do assert.equal(200, ask("/open", fail).status) end
      local open = of "open"
      assert.same({ true, 1, 4, 0, 3, "open" },
        { open.off, open.switched_off, open.skipped, open.refused, open.errors, open.on_failure })
      local function told(l) return l.message == "plugin switched off because it failed again and again" and l.plugin == "open" end
      assert.equal("open", g:log_wait(told, "that it is off").on_failure)
      assert.equal(1, g:log_count(told))
    end)
  end)

  it("one that fails closed is 503 until its time is over; running away is a failure, too", function()
    run(function()
      assert.equal(500, ask("/closed", { ["X-Run"] = "1" }).status)
      assert.equal(500, ask("/closed", { ["X-Fail"] = "1" }).status)
      assert.equal(503, ask("/closed").status)
      assert.is_true(of "closed".off)
      peers.eventually(function() return ask("/closed").status == 200 end, "it is on again")
      assert.is_false(of "closed".off)
      assert.equal(500, ask("/closed", { ["X-Fail"] = "1" }).status) -- it begins anew
      assert.equal(200, ask("/closed").status)
    end)
  end)

  it("failures that lie too far apart do not switch off", function()
    run(function()
      for _ = 1, 4 do
        assert.equal(500, ask("/never", { ["X-Fail"] = "1" }).status)
        peers.sleep(0.003)
      end
      assert.equal(200, ask("/never").status)
      assert.equal(0, of "never".switched_off)
    end)
  end)
end)
