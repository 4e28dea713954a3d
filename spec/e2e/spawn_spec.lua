-- gateway.spawn: work that outlives its request, its generation's turn and the begin of a drain; and what ends it.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local SCRIPT = [=[${prelude}
gateway.timeouts { chain = 0.3, drain = ${drain} }
gateway.limits { ${limits} }
local d = gateway.shared "marks"
local function to(path, f) gateway.route("= " .. path) { to = f } end
local function said(value) return gateway.respond(200, tostring(value)) end
local function mark(name, seconds)
  return function() gateway.sleep(seconds or 0) d:incr(name, 1, 0) gateway.log.info("mark " .. name) end
end

to("/get", function(request) return said(d:get(request.query)) end)
to("/version", function() return said "${version}" end)
to("/quick", function() return said(gateway.spawn(mark "quick")) end)
to("/slow", function() return said(gateway.spawn(mark("slow", 0.2))) end)
to("/from-job", function() gateway.spawn(function() gateway.sleep(0.01) gateway.spawn(mark("from-job", 0.01)) end) return said "" end)
to("/from-finalizer", function(request) request:finally(function() gateway.spawn(mark "from-finalizer") end) return said "" end)
to("/all", function() gateway.spawn(function() gateway.all { mark("all", 0.02), mark("all", 0.01) } end) return said "" end)
to("/error", function() gateway.spawn(function() gateway.sleep(0) error "in a job" end) return said "" end)
gateway.route "= /call-next" { use = { function(_, next) gateway.spawn(function() next() end) return next() end }, to = said "" }
to("/timeout", function() gateway.spawn(mark("never", 10)) gateway.spawn(mark("long", 0.5), { timeout = 5 }) return said "" end)
to("/loop", function() gateway.spawn(function() while true do end end) return said "" end)
to("/wrong", function() gateway.spawn "f" end)
to("/wrong-timeout", function() gateway.spawn(print, { timeout = 0 }) end)
to("/many", function()
  local started, problem = 0, nil
  for _ = 1, 1001 do
    local good, why = gateway.spawn(function() gateway.sleep(0.2) end)
    if good then started = started + 1 else problem = why end
  end
  return said(started .. " " .. tostring(problem))
end)
to("/for-ever", function() gateway.spawn(function() gateway.sleep(100) end, { timeout = "10m" }) return said "" end)
]=]

local function start(options)
  options = options or {}
  return gateway.start {
    workers = options.workers, script = SCRIPT,
    vars = { drain = options.drain or 10, version = "1", limits = options.limits or "" },
  }
end

local function marked(g, name, value)
  peers.eventually(function() return g:ask("/get?" .. name).body == tostring(value) end, name)
end

describe("gateway.spawn", function()
  it("runs beside everything else, waits, and outlives its request", function()
    local g = start()
    peers.within(function()
      for _, path in ipairs { "/quick", "/slow", "/from-job", "/from-finalizer", "/all" } do
        assert.equal(200, g:ask(path).status)
      end
      assert.equal("nil", g:ask("/get?slow").body)
      for name, value in pairs { quick = 1, slow = 1, ["from-job"] = 1, ["from-finalizer"] = 1, all = 2 } do marked(g, name, value) end
    end)
    g:stop()
  end)

  it("logs what fails, and ends what takes too long", function()
    local g = start()
    peers.within(function()
      for _, path in ipairs { "/error", "/call-next", "/timeout" } do assert.equal(200, g:ask(path).status) end
      local function logged(text)
        g:log_wait(function(line) return line.timer == "gateway.spawn" and (line.error or ""):find(text, 1, true) end, text)
      end
      logged "in a job"
      logged "next() belongs to a request"
      logged "took longer than its timeout and was ended"
      marked(g, "long", 1)
      assert.equal("nil", g:ask("/get?never").body)
      g:ask "/slow" -- shares the fate of the next one's Lua state, or not: it depends on how that is stopped
      g:ask "/loop"
      logged "the script ran for"
      peers.eventually(function() return g:ask("/quick").body == "true" end, "jobs after a runaway")
      marked(g, "quick", 1)
      assert.equal(500, g:ask("/wrong").status)
      assert.equal(500, g:ask("/wrong-timeout").status)
    end)
    g:stop()
  end)

  it("has bounds, and gives back", function()
    local g = start()
    peers.within(function()
      assert.equal("1000 too much runs already", g:ask("/many").body)
      peers.eventually(function() return g:ask("/many").body:find("^1000 ") end, "room again")
    end)
    g:stop()
  end)

  it("is let finish when its generation has gone", function()
    local g = start { workers = 2 }
    peers.within(function()
      g:ask "/slow"
      g.vars.version = "2"
      g:write("main.lua", g:fill(SCRIPT))
      peers.eventually(function() return g:ask("/version").body == "2" end, "the new generation")
      marked(g, "slow", 1)
    end)
    g:stop()
  end)

  it("is let finish when the gateway drains", function()
    local g = start()
    peers.within(function()
      g:ask "/slow"
      g:signal(sys.SIGTERM)
    end)
    g:wait_exit()
    assert.equal(1, g:log_count(function(line) return line.message == "mark slow" end))
    g:check_end()
  end)

  it("is cut off when draining has taken its time", function()
    local g = start { drain = 0.1 }
    peers.within(function()
      for _ = 1, 10 do g:ask "/for-ever" end
      g:signal(sys.SIGTERM)
    end)
    g:wait_exit()
    g:check_end()
  end)

  it("is not for when the script loads", function()
    local run = gateway.command { args = { "check", "${dir}/main.lua" }, script = [[${prelude}
      gateway.spawn(function() end)
      gateway.route "/" { to = gateway.respond(200) }
    ]] }
    assert.equal(1, run.code)
    assert.truthy(run.stderr:find("main.lua:2: gateway.spawn waits: it can be called in a request or a timer", 1, true), run.stderr)
  end)
end)
