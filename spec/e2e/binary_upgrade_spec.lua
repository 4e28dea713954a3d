-- SIGUSR2: a new process takes the listening sockets over, the old one drains and ends; no connection and no request is lost.

local gateway = require "spec.support.gateway"
local lfs = require "lfs"
local message = require "spec.support.message"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local function script_of(workers, more)
  return ([[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.admin "127.0.0.1:${admin}"
    gateway.workers(%d)
    gateway.timeouts { drain = 10, upgrade = 10 }
    gateway.route "/" { to = gateway.respond(200, "fixed") }
    gateway.route "/back" { to = gateway.upstream "b" { "${backend1}" } }
    %s]]):format(workers, more or "")
end

local function start(options)
  options = options or {}
  return gateway.start { backends = 1, script = script_of(options.workers or 2, options.more) }
end

-- Clients that ask one thing after the other, on connections that they keep for as long as they may.
local function load_of(g, count)
  local load = { requests = 0, connections = 0, errors = {}, on = true, running = count }
  for i = 1, count do
    peers.spawn(function()
      local path, client = i % 2 == 0 and "/back" or "/", nil
      while load.on do
        local good, problem = pcall(function()
          if not client then
            client = g:client()
            load.connections = load.connections + 1
          end
          client:send(message.request { path = path })
          local response = client:read_response()
          assert(response.status == 200, response.status)
          load.requests = load.requests + 1
          if response.headers:lists("connection", "close") then
            client:close()
            client = nil
          end
        end)
        if not good then
          load.errors[#load.errors + 1] = tostring(problem)
          client = nil
        end
      end
      if client then client:close() end
      load.running = load.running - 1
    end)
  end
  function load:more(n)
    local from = self.requests
    peers.eventually(function() return self.requests >= from + n end, n .. " more requests")
  end
  function load:stop()
    self.on = false
    peers.eventually(function() return self.running == 0 end, "the clients' end")
    assert.same({}, self.errors)
  end
  return load
end

local function refused(g, from)
  return g:log_wait(function(line) return line.message == "upgrade refused: this process goes on" end, "a refusal", from)
end

describe("binary upgrade:", function()
  it("under 64 connections, three times, nothing is lost", function()
    local g = start()
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      local load = load_of(g, 64)
      load:more(200)
      local seen = { [g.pid] = true }
      for _ = 1, 3 do
        g:upgrade()
        assert.is_nil(seen[g.pid])
        seen[g.pid] = true
        assert.equal(g.pid, g:status().pid)
        load:more(200)
      end
      load:stop()
      assert.is_true(load.connections >= 4 * 64)
    end)
    g:stop()
  end)

  for _, case in ipairs { { 1, 3 }, { 3, 1 }, { 2, 3 } } do
    it(("from %d to %d workers, under load"):format(case[1], case[2]), function()
      local g = start { workers = case[1] }
      peers.run(function()
        g.backends[1]:answer { body = "ok" }
        local load = load_of(g, 24)
        load:more(50)
        g:replace("main.lua", script_of(case[2]))
        g:log_wait(function(line) return line.message == "another number of workers needs a restart" end)
        g:upgrade()
        load:more(50)
        g:upgrade() -- hands on what it was handed
        load:more(300)
        load:stop()
        assert.equal(case[2], #g:status().workers)
      end)
      g:stop()
    end)
  end

  it("what is under way finishes in the old process, tunnels go on there until the drain's end", function()
    local g = start()
    peers.run(function()
      local go
      g.backends[1]:serve(function(conn)
        local request = conn:read_request()
        if not request then return end
        if request.target == "/back/tunnel" then
          conn:write "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
          conn:write(conn:read_exact(4))
          conn:wait_end()
        else
          peers.eventually(function() return go end)
          conn:write "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"
        end
      end)
      local slow, tunnel = g:client(), g:client()
      slow:send(message.request { path = "/back/slow" })
      tunnel:send "GET /back/tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
      assert.equal(101, tunnel:read_response_head().status)
      peers.eventually(function() return g.backends[1].connections == 2 end)
      g:signal(sys.SIGUSR2)
      sys.adopt_orphans()
      local line = g:log_wait(function(line) return line.message == "upgraded: the new process serves" end)
      assert.equal(200, g:ask("/").status)
      assert.equal(line.new_pid, g:status().pid)
      assert.is_true(g:running())
      tunnel:send "ping"
      assert.equal("ping", tunnel:read_exact(4))
      go = true
      assert.equal("late", slow:read_response().body)
      tunnel:close()
      g:succeeded_by(line.new_pid)
    end)
    g:stop()
  end)

  it("listeners come and go with the new script; paths of unix sockets stay, or go", function()
    local more = 'gateway.listen "unix:${dir}/kept"; gateway.listen "unix:${dir}/gone"; gateway.listen "127.0.0.1:${port2}"'
    local g = start { more = more }
    peers.run(function()
      assert.equal(200, peers.ask("unix:" .. g.dir .. "/kept", {}).status)
      g:signal(sys.SIGUSR2)
      g:replace("main.lua", script_of(2, 'gateway.listen "unix:${dir}/kept"; gateway.listen "127.0.0.1:${port3}"'))
      sys.adopt_orphans()
      g:succeeded_by(g:log_wait(function(line) return line.message == "upgraded: the new process serves" end).new_pid)
      peers.eventually(function() return peers.reachable(g.vars.port3) end) -- by the upgrade, or by the save right after it
      peers.eventually(function() return not peers.reachable(g.vars.port2) end)
      assert.equal(200, peers.ask("unix:" .. g.dir .. "/kept", {}).status)
      peers.eventually(function() return not lfs.attributes(g.dir .. "/gone") end)
    end)
    g:stop()
    assert.is_nil(lfs.attributes(g.dir .. "/kept"))
  end)

  it("the admin's unix socket is handed over, with its path", function()
    local g = gateway.start { admin = "unix:${dir}/admin", script = [[local gateway = require "gateway"; gateway.workers(1)
      gateway.listen "127.0.0.1:${port}"; gateway.listen "127.0.0.1:0"; gateway.admin "unix:${dir}/admin"]] }
    local chosen = g:status().listeners[2].address
    g:upgrade()
    assert.equal(g.pid, g:status().pid)
    assert.equal(chosen, g:status().listeners[2].address) -- a port that the kernel chose stays, too
    g:stop()
  end)

  it("a script with a mistake is refused: the old process goes on, and says why", function()
    local g = start()
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      local load = load_of(g, 8)
      g:replace("main.lua", script_of(2, "gateway.rout()"))
      g:log_wait(function(line) return line.message == "reload refused: the old generation goes on" end)
      local pid = g.pid
      g:signal(sys.SIGUSR2)
      local line = refused(g)
      assert.is_truthy(line.errors[1]:find('gateway: unknown name "rout"', 1, true), line.errors[1])
      load:more(50)
      load:stop()
      assert.equal(pid, g:status().pid)
      g:replace("main.lua", script_of(2)) -- and the next one is taken
      g:wait_generation(2)
      g:upgrade()
    end)
    g:stop()
  end)

  it("a program that does not run, ends, or never serves is refused; a good one at its path is taken after it", function()
    local link = os.tmpname()
    os.remove(link)
    local real = gateway.binary()
    if real:sub(1, 1) ~= "/" then real = os.getenv("PWD") .. "/" .. real end
    local function point(to)
      os.remove(link)
      assert(lfs.link(to, link, true))
    end
    local function program(text)
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write(text)
      file:close()
      os.execute("chmod +x " .. path)
      return path
    end
    point(real)
    local more = "gateway.event_log { to = \"stdout\" }"
    local g = gateway.start { binary = link, backends = 1, script = script_of(1, more):gsub("upgrade = 10", "upgrade = 0.5") }
    local hangs = program "#!/bin/sh\nexec sleep 60\n"
    local ends = program "#!/bin/sh\nexit 7\n"
    local from = 1
    for _, case in ipairs {
      { "/nothing/here", "No such file or directory" },
      { ends, "the new process ended with exit status 7" },
      { hangs, "the new process did not serve within 0.5 s (timeouts.upgrade)" },
    } do
      point(case[1])
      g:signal(sys.SIGUSR2)
      local line, number = refused(g, from)
      from = number + 1
      assert.is_truthy(line.errors[1]:find(case[2], 1, true), line.errors[1])
      assert.equal(link, line.program)
      assert.equal(200, g:ask("/").status)
    end
    point(real)
    g:upgrade()
    g:stop()
    for _, path in ipairs { link, hangs, ends } do os.remove(path) end
  end)

  it("a second SIGUSR2 meanwhile is told to wait; reloads are the new process's", function()
    local g = start { more = "local t = os.clock(); while os.clock() - t < 0.3 do end" }
    sys.adopt_orphans()
    g:signal(sys.SIGUSR2)
    g:log_wait(function(line) return line.message == "upgrading: a new process begins" end)
    g:signal(sys.SIGUSR2)
    local line = g:log_wait(function(line) return line.message == "SIGUSR2 ignored" end)
    assert.equal("an upgrade is under way", line.error)
    local result = g:reload()
    assert.equal(503, result.status)
    assert.is_truthy(result.json.errors[1]:find("an upgrade is under way", 1, true))
    g:succeeded_by(g:log_wait(function(l) return l.message == "upgraded: the new process serves" end).new_pid)
    assert.equal(1, g:log_count(function(l) return l.message == "upgrading: a new process begins" end))
    g:stop()
  end)

  it("a save meanwhile is taken up by the new process, or, when there is none, by the old one", function()
    local slow = 'io.stderr:write "in here"; local t = os.clock(); while os.clock() - t < 0.3 do end'
    local g = start { more = slow }
    local before = select(2, g:stderr():gsub("in here", ""))
    sys.adopt_orphans()
    g:signal(sys.SIGUSR2)
    -- the new process says on stderr that it has read its script, and then takes its time
    peers.within(function() peers.eventually(function() return select(2, g:stderr():gsub("in here", "")) > before end) end)
    g:replace("main.lua", script_of(2, 'gateway.route "/new" { to = gateway.respond(200, "new") }'))
    local line = g:log_wait(function(l) return l.message == "upgraded: the new process serves" or l.message:find("refused") end)
    -- each worker's state reads the script: when they found different ones, there was nothing to serve by
    if line.new_pid then g:succeeded_by(line.new_pid) end
    peers.within(function()
      peers.eventually(function() return g:ask("/new").body == "new" end, "the saved script")
    end)
    g:stop()
  end)

  it("SIGTERM in the middle ends both", function()
    local g = start { more = "local t = os.clock(); while os.clock() - t < 0.3 do end" }
    sys.adopt_orphans()
    g:signal(sys.SIGUSR2)
    local pid = g:log_wait(function(line) return line.message == "upgrading: a new process begins" end).new_pid
    g:signal(sys.SIGTERM)
    assert.equal(0, g:wait_exit())
    assert.is_false(sys.kill(pid, 0))
    assert.is_false(peers.within(function() return peers.reachable(g.port) end))
    g:stop()
  end)

  it("SIGTERM to the old one while it drains lets it finish", function()
    local g = start()
    peers.run(function()
      local go
      g.backends[1]:answer(function()
        peers.eventually(function() return go end)
        return { body = "late" }
      end)
      local slow = g:client()
      slow:send(message.request { path = "/back" })
      peers.eventually(function() return #g.backends[1].requests == 1 end)
      sys.adopt_orphans()
      g:signal(sys.SIGUSR2)
      local line = g:log_wait(function(l) return l.message == "upgraded: the new process serves" end)
      g:signal(sys.SIGTERM)
      go = true
      assert.equal("late", slow:read_response().body)
      g:succeeded_by(line.new_pid)
      assert.equal(200, g:ask("/").status)
    end)
    g:stop()
  end)
end)
