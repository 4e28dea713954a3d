-- Reloads as the process sees them: listeners, names, warnings, requests that come together; and how it ends.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local function script(...)
  return "${prelude} " .. table.concat({ ... }, " ") .. ' gateway.route "/" { to = gateway.respond(200, "hi") }\n'
end

-- A predicate for log lines whose message begins like this; access lines have none.
local function says(text)
  return function(line) return line.message ~= nil and line.message:sub(1, #text) == text end
end

local function reachable(to)
  local ok
  peers.run(function() ok = peers.reachable(to) end)
  return ok
end

describe("listeners", function()
  local g
  before_each(function() g = gateway.start { script = script(), workers = 2 } end)
  after_each(function() g:stop() end)

  it("are added and removed by a reload; the others keep their connections", function()
    peers.run(function()
      local client = g:client()
      assert.equal(200, client:ask({ path = "/" }).status)
      g:write("main.lua", script 'gateway.listen "127.0.0.1:${port2}"; gateway.listen "unix:${dir}/s.sock"')
      assert.equal(200, g:reload().status)
      assert.equal(200, peers.ask(g.vars.port2, { path = "/" }).status)
      assert.equal(200, peers.ask("unix:" .. g.dir .. "/s.sock", { path = "/" }).status)
      assert.equal(3, #g:status().listeners)
      local kept = peers.connect(g.vars.port2)
      assert.equal(200, kept:ask({ path = "/" }).status)
      g:write("main.lua", script())
      assert.equal(200, g:reload().status)
      peers.eventually(function() return not peers.reachable(g.vars.port2) end, "the listener's end")
      assert.is_false(peers.reachable("unix:" .. g.dir .. "/s.sock"))
      assert.is_nil(io.open(g.dir .. "/s.sock"))
      kept:wait_end() -- idle, and its listener is gone
      assert.equal(200, client:ask({ path = "/" }).status) -- the same connection, three generations on
    end)
  end)

  it("that cannot bind refuse the reload, all of it", function()
    local taken = peers.listen()
    g:write("main.lua", script('gateway.listen "127.0.0.1:${port2}";', ('gateway.listen %q'):format(taken.at)))
    local response = g:reload()
    taken:close()
    assert.equal(422, response.status)
    assert.equal(1, #response.json.errors)
    assert.truthy(response.json.errors[1]:find("main%.lua:1: cannot listen on " .. taken.at:gsub("%.", "%%.")
      .. ": cannot bind: Address already in use"), response.json.errors[1])
    assert.is_false(reachable(g.vars.port2)) -- what could be bound was given back
    assert.equal(1, #g:status().listeners)
    assert.equal(200, g:ask({ path = "/" }).status)
    assert.equal(200, g:reload().status) -- and can be bound now
    assert.is_true(reachable(g.vars.port2))
  end)

  it("come back after they were removed", function()
    for _ = 1, 5 do
      g:write("main.lua", script 'gateway.listen "unix:${dir}/s.sock"')
      assert.equal(200, g:reload().status)
      assert.is_true(reachable("unix:" .. g.dir .. "/s.sock"))
      g:write("main.lua", script())
      assert.equal(200, g:reload().status)
    end
  end)

  it("on port 0 keep the port that the kernel gave", function()
    local with_any = script 'gateway.listen "127.0.0.1:0"'
    g:write("main.lua", with_any)
    assert.equal(200, g:reload().status)
    local before = g:status().listeners
    assert.equal(200, g:reload().status)
    assert.same(before, g:status().listeners)
    assert.is_true(reachable(tonumber(before[2].address:match(":(%d+)$"))))
  end)

  it("stand in the log with what changed", function()
    local _, at = g:log_wait(says "generation serving", "the first generation")
    g:write("main.lua", script 'gateway.listen "127.0.0.1:${port2}"')
    assert.equal(200, g:reload().status)
    local line = g:log_wait(says "generation serving", "the second generation", at + 1)
    assert.same({ 2, 1, 0 }, { line.generation, line.listeners_added, line.listeners_removed })
    assert.same({ "127.0.0.1:" .. g.port, "127.0.0.1:" .. g.vars.port2 }, line.listeners)
    assert.is_true(line.seconds > 0 and line.seconds < 60)
  end)
end)

describe("reloads", function()
  local g
  after_each(function() g:stop() end)

  it("that are asked for while one is built are one more", function()
    -- Loading takes a moment, so the requests meet a build under way.
    g = gateway.start { script = script 'for i = 1, 3e6 do local x = i end' }
    peers.run(function()
      local answers = {}
      for i = 1, 10 do
        peers.spawn(function() table.insert(answers, (g:reload().json.generation)) end)
        if i == 1 then peers.eventually(function() return g:status().reloads.building end, "a build") end
      end
      peers.eventually(function() return #answers == 10 end, "ten answers")
      assert.is_true(g:generation() <= 4, "generation " .. g:generation())
      for _, generation in ipairs(answers) do assert.is_true(generation >= 2) end
    end)
  end)

  it("free what they replace", function()
    g = gateway.start { script = script(), workers = 2 }
    for _ = 1, 30 do assert.equal(200, g:reload().status) end
    peers.run(function()
      peers.eventually(function() return g:status().generations_draining == 0 end, "no old generation")
    end)
  end)

  it("keep an old generation for as long as a request of it runs", function()
    local held = '${prelude} gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }\n'
    g = gateway.start { script = held, backends = 1 }
    peers.run(function()
      local go_on
      g.backends[1]:answer(function()
        peers.eventually(function() return go_on end, "word to go on")
        return { body = "old" }
      end)
      local client = g:client()
      client:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      peers.eventually(function() return #g.backends[1].requests == 1 end, "the request")
      g:write("main.lua", script())
      assert.equal(200, g:reload().status)
      assert.equal(1, g:status().generations_draining)
      assert.equal("hi", g:ask({ path = "/" }).body)
      go_on = true
      assert.equal("old", client:read_response().body)
      peers.eventually(function() return g:status().generations_draining == 0 end, "the old generation's end")
    end)
  end)

  it("cannot change the number of workers, and say so", function()
    g = gateway.start { script = 'local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; '
      .. 'gateway.admin "127.0.0.1:${admin}"; gateway.workers(2) gateway.route "/" { to = gateway.respond(200, "hi") }' }
    assert.equal(2, #g:status().workers)
    g:write("main.lua", script())
    assert.equal(200, g:reload().status)
    local line = g:log_wait(says "another number of workers needs a restart", "a warning")
    assert.same({ "warn", 2, 1 }, { line.level, line.workers, line.asked })
    assert.equal(2, #g:status().workers)
  end)
end)

describe("a name that is looked up again", function()
  local hosts
  local function write_hosts(text)
    local file = assert(io.open(hosts .. ".new", "w"))
    file:write(text)
    file:close()
    assert(os.rename(hosts .. ".new", hosts))
  end
  before_each(function() hosts = os.tmpname() end)
  after_each(function() os.remove(hosts) end)

  local function endpoints(g)
    local list = {}
    for i, endpoint in ipairs(g:status().upstreams[1].endpoints) do list[i] = endpoint.address end
    table.sort(list)
    return table.concat(list, " ")
  end

  local function become(g, wanted)
    local last
    peers.within(function()
      local ok = pcall(peers.eventually, function()
        last = endpoints(g)
        return last == wanted
      end, wanted)
      assert.equal(wanted, ok and wanted or last)
    end)
  end

  local function start(more)
    return gateway.start { env = { CARES_HOSTS = hosts, GATEWAY_RESOLVER = "127.0.0.1:9" }, workers = 2, backends = 1, script = [[${prelude}
      gateway.route "/" { to = gateway.upstream "named" {
        { "back.test:${backend1_port}", resolve = 0.05 }, "127.0.0.1:${backend1_port}"]] .. (more or "") .. " } }\n" }
  end

  it("brings other addresses, and a failure keeps those that are there", function()
    write_hosts "127.0.0.5 back.test\n127.0.0.6 back.test\n"
    local g = start()
    local port = g.vars.backend1_port
    become(g, ("127.0.0.1:%d 127.0.0.5:%d 127.0.0.6:%d"):format(port, port, port))
    write_hosts "127.0.0.7 back.test\n"
    become(g, ("127.0.0.1:%d 127.0.0.7:%d"):format(port, port))
    g:log_wait(says "a name has other addresses", "the change")
    write_hosts ""
    local line = g:log_wait(says "a name could not be looked up", "the failure")
    assert.same({ "warn", "named", "back.test" }, { line.level, line.upstream, line.name })
    assert.equal(("127.0.0.1:%d 127.0.0.7:%d"):format(port, port), endpoints(g))
    write_hosts "127.0.0.8 back.test\n"
    become(g, ("127.0.0.1:%d 127.0.0.8:%d"):format(port, port))
    assert.equal(1, g:log_count(says "a name could not be looked up"))
    g:stop()
  end)

  it("keeps its addresses over a reload that cannot look it up", function()
    write_hosts "127.0.0.5 back.test\n"
    local g = start()
    local port = g.vars.backend1_port
    become(g, ("127.0.0.1:%d 127.0.0.5:%d"):format(port, port))
    write_hosts ""
    assert.equal(200, g:reload().status)
    assert.equal(("127.0.0.1:%d 127.0.0.5:%d"):format(port, port), endpoints(g))
    write_hosts "127.0.0.6 back.test\n"
    become(g, ("127.0.0.1:%d 127.0.0.6:%d"):format(port, port))
    g:stop()
  end)

  it("goes on under traffic, with connections to addresses that come and go", function()
    write_hosts "127.0.0.1 back.test\n"
    local g = start()
    local port = g.vars.backend1_port
    peers.run(function()
      g.backends[1]:answer()
      local client = g:client()
      for i = 1, 10 do
        write_hosts(i % 2 == 0 and "127.0.0.1 back.test\n" or "127.0.0.5 back.test\n")
        become(g, i % 2 == 0 and ("127.0.0.1:%d"):format(port) or ("127.0.0.1:%d 127.0.0.5:%d"):format(port, port))
        for _ = 1, 4 do client:ask({ path = "/" }) end -- 127.0.0.5 is where nobody listens: another endpoint is tried
      end
    end)
    g:stop()
  end)
end)

describe("the end", function()
  local SLOW = '${prelude} gateway.timeouts { drain = ${drain} } gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }\n'

  -- Starts one with a request that never gets its answer, and runs f with it.
  local function with_a_request(drain, f)
    local g = gateway.start { script = SLOW, backends = 1, vars = { drain = drain } }
    peers.run(function()
      g.backends[1]:serve(function(conn)
        conn:read_request()
        conn:hang()
      end)
      local client = g:client()
      client:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      peers.eventually(function() return g:status().upstreams[1].endpoints[1].in_flight == 1 end, "the request")
      f(g, client)
    end)
    return g
  end

  it("cuts what has not ended in time, says how much, and is still 0", function()
    local g = with_a_request(0.2, function(g, client)
      g:signal(sys.SIGTERM)
      client:wait_end()
      assert.equal(0, g:wait_exit())
    end)
    local line = g:log_wait(says "drain time is up", "a warning")
    assert.equal(1, line.connections)
    g:stop()
  end)

  for _, case in ipairs { { "SIGTERM", sys.SIGTERM, 143 }, { "SIGINT", sys.SIGINT, 130 } } do
    it("is at once with a second " .. case[1], function()
      with_a_request(60, function(g)
        g:signal(sys.SIGTERM)
        peers.eventually(function() return g:admin("/readyz").status == 503 end, "not ready")
        g:signal(case[2])
        assert.equal(case[3], g:wait_exit())
        g:check_end(case[3])
        g.checked = true
        g:stop()
      end)
    end)
  end

  it("closes what idles in the pool", function()
    local g = gateway.start { script = SLOW, backends = 1, workers = 2, vars = { drain = 5 } }
    peers.run(function()
      g.backends[1]:answer()
      for _ = 1, 8 do assert.equal(200, g:ask({ path = "/" }).status) end
      assert.is_true(g.backends[1]:open_count() >= 1)
      g:signal(sys.SIGTERM)
      assert.equal(0, g:wait_exit())
    end)
    g:stop()
  end)

  it("waits for no idle connection", function()
    local g = gateway.start { script = script() }
    peers.run(function()
      local clients = {}
      for i = 1, 10 do
        clients[i] = g:client()
        assert.equal(200, clients[i]:ask({ path = "/" }).status)
      end
      g:signal(sys.SIGINT)
      for i = 1, 10 do clients[i]:wait_end() end
      assert.equal(0, g:wait_exit())
    end)
    local line = g:log_wait(says "draining", "the signal")
    assert.equal("SIGINT", line.cause)
    g:stop()
  end)

  it("leaves SIGUSR1 and SIGPIPE alone", function()
    local g = gateway.start { script = script() }
    g:signal(10)
    g:log_wait(says "log files opened anew", "a line")
    g:signal(13)
    assert.equal(200, g:ask({ path = "/" }).status)
    g:stop()
  end)
end)
