-- Scripts that do not come back: the request that runs one gets 500 and a line in the log, and everybody else is served meanwhile.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

-- Others wait at most for the budget, the mercy and the state made anew; sanitizers make all of it slower.
local OTHERS_SECONDS = (os.getenv("GATEWAY_BIN") or "build/dev"):find("release", 1, true) and 0.25 or 0.75
local ROUNDS = 3

local RUNAWAYS = [[
local ffi = require "ffi"
ffi.cdef "int abs(int);"
local C = ffi.C
local runaways = {
  empty = function() while true do end end,
  allocating = function() local t while true do t = { t and 1 } end end,
  building = function() local s = "" while true do s = s .. "x" if #s > 1e5 then s = "" end end end,
  pattern = function() return (("a"):rep(40)):find(("a*"):rep(40) .. "b") end,
  pcall = function() while true do pcall(function() while true do end end) end end,
  ffi = function() while true do C.abs(3) end end,
  coroutines = function() while true do coroutine.wrap(function() coroutine.yield(1) end)() end end,
  recursion = function() local function f(n) return 1 + f(n + 1) end while true do pcall(f, 1) end end,
  errors = function() while true do pcall(error, "x") end end,
  handlers = function() while true do xpcall(error, function() while true do end end, "x") end end,
  sorting = function()
    local t = {} for i = 1, 1000 do t[i] = i end
    while true do pcall(table.sort, t, function() return true end) end
  end,
}
]]

local SCRIPT = [[${prelude}
]] .. RUNAWAYS .. [[
gateway.timeouts { drain = 5 }
local up = gateway.upstream "up" { "${backend1}" }
local function warm(i) local t = {} for k = 1, 100 do t[k] = k * i end return #t end
gateway.route "= /plain" { to = up }
gateway.route "= /lua" { to = up, use = { function(request, next) warm(1) request.headers["X-A"] = "1" return next() end } }
gateway.route "= /both" { to = up, use = { function(_, next) local r = next() r.headers["X-B"] = tostring(warm(2)) return r end } }
gateway.route "= /waits" { to = up, use = { function(_, next) local r = next() r.headers["X-W"] = "1" return r end } }
gateway.route "/run/:name" { to = function(request)
  runaways[request.params.name]()
  return gateway.respond(200, "done")
end }
gateway.route "= /global" { to = function() leaked = 1 return gateway.respond(200) end }
gateway.route "= /huge" { to = function() return gateway.respond(200, { n = #("x"):rep(2e9) }) end }
gateway.route "= /deep" { to = function() local function f(n) return 1 + f(n + 1) end return gateway.respond(f(1)) end }
gateway.route "= /tostring" { to = function() error(setmetatable({}, { __tostring = function() while true do end end })) end }
]]

local function is_runaway(line)
  return line.message == "script error" and line.error:find("ran for %d+ ms of CPU in one go") ~= nil
end

describe("a script that runs away:", function()
  local g
  local function start(options)
    options.backends, options.workers, options.script = 1, options.workers or 1, options.script or SCRIPT
    g = gateway.start(options)
    return g
  end
  after_each(function()
    if g then g:stop() end
    g = nil
  end)

  -- Asks for path again and again until traffic.stop; everything must go well, and soon.
  local function session(traffic, path)
    local client = g:client { wait = 10 }
    while not traffic.stop do
      local before = peers.now()
      local response = client:ask { path = path }
      local took = peers.now() - before
      if took > (traffic.worst or 0) then traffic.worst = took end
      traffic.count = (traffic.count or 0) + 1
      if response.status ~= 200 then error(("%s: %d"):format(path, response.status), 0) end
      if response.headers:lists("connection", "close") then
        client:close()
        client = g:client { wait = 10 }
      end
      peers.sleep(0.002)
    end
    client:close()
  end

  for _, name in ipairs {
    "empty", "allocating", "building", "pattern", "pcall", "ffi", "coroutines", "recursion", "errors", "handlers", "sorting",
  } do
    it(name .. ": gets 500, others are served soon", function()
      start {}
      local traffic = {}
      peers.run(function()
        g.backends[1]:answer { body = "ok" }
        local running = {}
        for _, path in ipairs { "/plain", "/lua", "/plain", "/lua" } do
          running[#running + 1] = function() session(traffic, path) end
        end
        running[#running + 1] = function()
          peers.eventually(function() return (traffic.count or 0) > 60 end, "traffic")
          traffic.worst = 0
          for round = 1, ROUNDS do
            local from = #g:log() + 1
            local response = peers.ask(g.port, "/run/" .. name, { wait = 10 })
            assert.equal(500, response.status)
            assert.is_nil(response.body:find("ran for", 1, true)) -- why is for the log alone
            local line = g:log_wait(is_runaway, "the reason, round " .. round, from)
            assert.equal("/run/:name", line.route)
            assert.truthy(line.error:find("main.lua:%d+") or line.error:find("could not be stopped", 1, true), line.error)
          end
          traffic.stop = true
        end
        peers.all(running, 30)
      end, { seconds = 40 })
      assert.is_true(traffic.worst < OTHERS_SECONDS, traffic.worst)
      local lua = g:status().workers[1].lua
      assert.is_true(lua.overran >= ROUNDS, lua.overran)
      assert.equal(lua.states_lost, lua.states_made)
    end)
  end

  it("takes with it what waits in its Lua, and nothing else", function()
    start {}
    peers.run(function()
      local held
      g.backends[1]:serve(function(conn)
        while true do
          local request = conn:read_request()
          if not request then return end
          if request.target == "/waits" then peers.eventually(function() return held end, "the word") end
          conn:write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        end
      end)
      local first = g:client()
      first:write("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
      peers.eventually(function() return #g.backends[1].requests == 0 and g:status().workers[1].requests >= 1 end, "it waits")
      peers.sleep(0.05)
      assert.equal(500, peers.ask(g.port, "/run/empty", { wait = 10 }).status)
      held = true
      assert.equal(500, first:read_response().status)
      assert.equal("ok", first:ask({ path = "/both" }).body)
      local lua = g:status().workers[1].lua
      assert.equal(1, lua.states_lost)
    end, { seconds = 20 })
  end)

  it("may be asked for by many at once, on several workers", function()
    start { workers = 2 }
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      local running = {}
      for i = 1, 8 do
        running[i] = function()
          local name = ({ "empty", "ffi", "pcall", "pattern" })[i % 4 + 1]
          for _ = 1, 2 do assert.equal(500, peers.ask(g.port, "/run/" .. name, { wait = 20 }).status) end
        end
      end
      peers.all(running, 40)
      for _ = 1, 10 do assert.equal(200, peers.ask(g.port, "/lua", { wait = 10 }).status) end
    end, { seconds = 60 })
  end)

  it("does not stand in the way of a reload, nor of the end", function()
    start {}
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      local stop
      local running = { function()
        while not stop do
          local good, response = pcall(peers.ask, g.port, "/run/empty", { wait = 10 })
          -- 503: the state was made anew from a file that was just being written
          if good then assert.is_true(response.status == 500 or response.status == 503, response.status) end
        end
      end }
      running[2] = function()
        for i = 1, 4 do
          g:write("main.lua", SCRIPT .. "\n-- " .. i)
          assert.equal(200, g:reload().status)
          assert.equal(200, peers.ask(g.port, "/lua", { wait = 10 }).status)
        end
        peers.eventually(function() return g:status().generations_draining == 0 end, "old generations have gone")
        stop = true
      end
      peers.all(running, 30)
    end, { seconds = 40 })
  end)

  it("may come between a reload and the beginning of its timers", function()
    local script = [[${prelude}
      gateway.script { cpu = "20ms" }
      for _ = 1, 20 do gateway.every(0.001, function() gateway.sleep(0.001) end, { each_worker = true, at_once = true }) end
      gateway.route "/" { to = function() while true do end end }
    ]]
    start { script = script }
    peers.run(function()
      local stop
      local running = {}
      for i = 1, 4 do
        running[i] = function()
          while not stop do
            local status = peers.ask(g.port, "/", { wait = 20 }).status
            assert.is_true(status == 500 or status == 503, status)
          end
        end
      end
      running[#running + 1] = function()
        for _ = 1, 20 do assert.equal(200, g:reload(20).status) end
        stop = true
      end
      peers.all(running, 60)
    end, { seconds = 70 })
  end)

  it("cannot be replaced by a script that has changed: 503 until it is loaded", function()
    start {}
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      g:write("main.lua", SCRIPT .. '\nif io.open("${dir}/mark") then gateway.route "= /more" { to = up } end\n')
      assert.equal(200, g:reload().status)
      g:write("mark", "")
      assert.equal(500, peers.ask(g.port, "/run/empty", { wait = 10 }).status)
      g:log_wait(function(line) return line.message == "no Lua state in place of the one that was given up" end, "why")
      assert.equal(503, peers.ask(g.port, "/lua", { wait = 10 }).status)
      assert.equal("ok", peers.ask(g.port, "/plain").body)
      assert.equal(200, g:reload().status)
      assert.equal(200, peers.ask(g.port, "/lua").status)
    end, { seconds = 30 })
  end)

  it("may also be what explains an error", function()
    start {}
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      assert.equal(500, peers.ask(g.port, "/tostring", { wait = 10 }).status)
      assert.equal(200, peers.ask(g.port, "/lua", { wait = 10 }).status)
    end)
  end)

  it("while it loads, in one call that no hook ends: refused, and the old generation goes on", function()
    start {}
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      g:write("main.lua", SCRIPT .. '\ngateway.script { load = "200ms" }\nlocal _ = (("a"):rep(40)):find(("a*"):rep(40) .. "b")\n')
      local response = g:reload(20)
      assert.equal(422, response.status)
      assert.truthy(response.body:find("ran longer than 0.2 s while it was loaded", 1, true), response.body)
      assert.equal(200, peers.ask(g.port, "/lua").status)
    end, { seconds = 30 })
  end)
end)

-- What runs first leaves the top of the stack somewhere; the message of the error must not go onto a frame.
describe("a script that has no memory left in a function of the interpreter's:", function()
  for _, before in ipairs { "", "local x = 1", "local x, y = 1, 2", "local x, y, z = 1, 2, 3" } do
    it(before == "" and "nothing in between" or before, function()
      local g = gateway.start { workers = 1, script = [[${prelude}
        gateway.script { cpu = "30s", memory = "12MB" }
        local clock = os.clock
        local function names() local t = {} for i = 1, 1e9 do clock() ]] .. before .. [[ local s = tostring(i + 0.5) t[i] = s end end
        local function chars() local t = {} for i = 1, 1e9 do clock() ]] .. before .. [[
          local s = string.char(i % 256, i / 256 % 256, i / 65536 % 256) t[i] = s end end
        jit.off(names) jit.off(chars)
        gateway.route "= /well" { to = gateway.respond(200, "well") }
        gateway.route "= /names" { to = names }
        gateway.route "= /chars" { to = chars }
        gateway.route "= /inside" { to = function()
          local _, why = coroutine.resume(coroutine.create(function(...) names(...) return 1 end), 1, 2)
          error(why)
        end }
      ]] }
      peers.run(function()
        for _ = 1, 2 do
          for _, path in ipairs { "/names", "/inside", "/chars" } do
            assert.equal(500, peers.ask(g.port, path, { wait = 30 }).status)
            assert.equal(200, peers.ask(g.port, "/well").status)
          end
        end
      end, { seconds = 60 })
      g:stop()
    end)
  end
end)

describe("a script that does harm in other ways:", function()
  local g
  setup(function() g = gateway.start { backends = 1, workers = 1, script = SCRIPT } end)
  teardown(function() g:stop() end)

  for _, case in ipairs {
    { "/huge", "not enough memory" },
    { "/deep", "stack overflow" },
    { "/global", "leaked" },
  } do
    it(case[1], function()
      peers.run(function()
        g.backends[1]:answer { body = "ok" }
        local from = #g:log() + 1
        for _ = 1, 3 do
          assert.equal(500, peers.ask(g.port, case[1], { wait = 10 }).status)
          g:log_wait(function(line) return line.message == "script error" and line.error:find(case[2], 1, true) end, case[2], from)
          assert.equal(200, peers.ask(g.port, "/lua").status)
        end
      end)
      assert.equal(0, g:status().workers[1].lua.states_lost)
    end)
  end
end)
