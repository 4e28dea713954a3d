-- Active and passive health on the wire: who gets traffic and probes, when, and what neither reloads nor DNS may change of it.

local peers = require "spec.support.peers"
local sick = require "spec.support.sick"

-- The upstream "u" over the endpoints, with a route to it.
local function upstream(endpoints, health, more)
  return ([[gateway.route "/" { to = gateway.upstream "u" { %s, health = { %s }, %s } }]]):format(endpoints, health, more or "")
end

local function active(options)
  return ('active = { path = "/healthz", jitter = 0, %s }'):format(options)
end

describe("active health:", function()
  it("an endpoint that is sick at first is out with one probe, gets nothing but probes, and is back after `rise` of them", function()
    sick.run({
      backends = "ab", workers = 2, script = upstream('"${a}", "${b}"', active "interval = 0.2, rise = 2, fall = 3"),
      setup = function(b) b.b.healthy = false end,
    }, function(g, b)
      local line = g:down(b.b)
      assert.same({ "u", "active", "status 500", "warn" }, { line.upstream, line.cause, line.reason, line.level })
      assert.equal(1, b.b.probes)
      local status, u = g:endpoint(b.b)
      assert.same({ false, { "active" }, false, "u", 1 }, { status.healthy, status.down, status.drained, u.name, u.eligible })
      assert.equal(("a"):rep(20), g:bodies(20))
      local probes = b.b.probes
      peers.eventually(function() return b.b.probes >= probes + 2 end, "probes go on")
      assert.equal(0, b.b.served)
      b.b.healthy = true
      local from = peers.now()
      line = g:up(b.b)
      assert.same({ "u", "active", "info" }, { line.upstream, line.cause, line.level })
      assert.equal(2, b.b.well)
      assert.is_true(peers.now() - from < 2 * 0.2 + 0.3, "it took too long to come back")
      assert.equal(("a"):rep(10) .. ("b"):rep(10), g:bodies(20))
      assert.same({ active_down = 1, active_up = 1, ejections = 0 }, g:endpoint(b.b).transitions)
      assert.equal(0, g:count("endpoint down", b.a))
      assert.same({ 1, 1 }, { g:count("endpoint down", b.b), g:count("endpoint up", b.b) })
    end)
  end)

  it("one that was healthy is out after `fall` failures in a row, and one success begins the count anew", function()
    sick.run({
      backends = "ab", script = upstream('"${a}", "${b}"', active "interval = 0.1, rise = 1, fall = 3"),
    }, function(g, b)
      local bad, script = 0, { true, false, false, true, false, false, false }
      b.b.answer_probe = function()
        local well = script[b.b.probes]
        if not well then bad = bad + 1 end
        return { status = well and 200 or 503 }
      end
      g:down(b.b)
      assert.equal(5, bad)
      assert.equal(1, g:count("endpoint down", b.b))
      assert.equal("aaaa", g:bodies(4))
    end)
  end)

  it("a backend that hangs is out after the timeout, and one that died after its refusal", function()
    sick.run({
      backends = "abc", script = upstream('"${a}", "${b}", "${c}"', active "interval = 0.05, timeout = 0.2, fall = 1"),
    }, function(g, b)
      g:bodies(3)
      b.b.answer_probe = function(_, conn) conn:hang() end
      b.c:close()
      local reason = g:down(b.c).reason -- reset: it was in the queue of the socket that closed
      assert.is_true(reason == "connection refused" or reason == "connection reset", reason)
      g.from = nil
      assert.equal("timeout", g:down(b.b).reason)
      assert.equal("aaaaaa", g:bodies(6))
    end)
  end)

  it("probes come slower while it is sick, if told so", function()
    sick.run({
      backends = "ab", script = upstream('"${a}", "${b}"', active "interval = 0.02, unhealthy_interval = 100"),
      setup = function(b) b.b.healthy = false end,
    }, function(g, b)
      g:down(b.b)
      local probes = b.a.probes
      peers.eventually(function() return b.a.probes >= probes + 10 end)
      assert.equal(1, b.b.probes)
    end)
  end)

  for _, case in ipairs { { "try_all", 200, 2 }, { "refuse", 503, 0 } } do
    it(("when none is healthy, %s means %d"):format(case[1], case[2]), function()
      sick.run({
        backends = "ab",
        script = upstream('"${a}", "${b}"', active "interval = 0.05, rise = 1" .. (', when_none_healthy = "%s"'):format(case[1])),
        setup = function(b) b.a.healthy, b.b.healthy = false, false end,
      }, function(g, b)
        g:down(b.a)
        g.from = nil
        g:down(b.b)
        for _ = 1, 4 do assert.equal(case[2], g:ask("/").status) end
        local _, u = g:endpoint(b.a)
        assert.equal(case[3], u.eligible)
        assert.equal(case[2] == 200 and 4 or 0, b.a.served + b.b.served)
        b.b.healthy = true
        g.from = nil
        g:up(b.b)
        assert.equal("bbbb", g:bodies(4))
      end)
    end)
  end

  it("two checks of the same address under two upstreams stay apart", function()
    sick.run({
      backends = "a",
      script = [[
        local function u(name, path)
          return gateway.upstream(name) { "${a}", health = { active = { path = path, interval = 0.05 }, when_none_healthy = "refuse" } }
        end
        gateway.route "/well" { to = u("well", "/ready") }
        gateway.route "/sick" { to = u("sick", "/healthz") }
      ]],
      setup = function(b) b.a.healthy = false end,
    }, function(g, b)
      assert.equal("sick", g:down(b.a).upstream)
      for _ = 1, 3 do
        assert.equal(200, g:ask("/well").status)
        assert.equal(503, g:ask("/sick").status)
      end
      assert.is_true(g:endpoint(b.a, "well").healthy)
      assert.is_false(g:endpoint(b.a, "sick").healthy)
      assert.equal(1, g:count("endpoint down", b.a))
    end)
  end)

  it("backups take over when no primary is healthy", function()
    sick.run({
      backends = "ab", script = upstream('"${a}", { "${b}", backup = true }', active "interval = 0.05, rise = 1"),
    }, function(g, b)
      assert.equal("aaaa", g:bodies(4))
      b.a.healthy = false
      g:down(b.a)
      assert.equal("bbbb", g:bodies(4))
      b.a.healthy = true
      g:up(b.a)
      assert.equal("aaaa", g:bodies(4))
    end)
  end)

  it("no more than 256 probes are under way, and those that wait get their turn", function()
    sick.run({
      script = [[
        local list = {}
        for i = 1, 600 do list[i] = ("127.0.%d.%d:${x_port}"):format(math.floor(i / 200) + 1, i % 200 + 1) end
        list.health = { active = { tcp = false, interval = 0.01, timeout = 1, fall = 1 } }
        gateway.upstream("u", list)
      ]],
      setup = function(backends, vars)
        local x = peers.listen("0.0.0.0:0")
        backends.x, vars.x_port, x.most = x, x.port, 0
        x:serve(function(conn)
          x.most = math.max(x.most, x:open_count())
          conn:wait_end()
        end)
      end, seconds = 40,
    }, function(g, b)
      peers.eventually(function() return b.x:open_count() >= 256 end, "as many as there may be", 15)
      peers.eventually(function()
        local _, u = g:endpoint("127.0.1.2:" .. b.x.port)
        local down = 0
        for _, e in ipairs(u.endpoints) do down = down + (e.healthy and 0 or 1) end
        return down == 600
      end, "all were probed", 20)
      assert.equal(256, b.x.most)
    end)
  end)

  it("when descriptors are out, nobody falls for it", function()
    sick.run({
      backends = "a", open_files = 60,
      script = [[
        local list = {}
        for i = 1, 100 do list[i] = ("127.0.1.%d:${x_port}"):format(i) end
        list.health = { active = { path = "/", interval = 0.2, timeout = 30, fall = 1 } }
        gateway.upstream("u", list)
      ]],
      setup = function(backends, vars)
        backends.x = peers.listen("0.0.0.0:0")
        vars.x_port = backends.x.port
        backends.x:serve(function(conn) conn:wait_end() end)
      end,
    }, function(g)
      local line = g:log_wait(function(l) return l.message:find("health probes cannot be made", 1, true) end)
      assert.same({ "error", "out of file descriptors" }, { line.level, line.error })
      assert.equal(0, g:log_count(function(l) return l.message == "endpoint down" end))
    end)
  end)
end)

describe("health and reloads:", function()
  it("one every 100 ms changes nothing of who is out, nor of the pace of probes", function()
    sick.run({
      backends = "ab", workers = 2, script = upstream('"${a}", "${b}"', active "interval = 0.5, rise = 3, fall = 1"),
      setup = function(b) b.b.healthy = false end, seconds = 60,
    }, function(g, b)
      g:down(b.b)
      local from, probes, reloads = peers.now(), b.b.probes, 0
      while peers.now() - from < 3 do
        assert.equal(200, g:reload().status)
        reloads = reloads + 1
        assert.equal("aaaa", g:bodies(4))
        peers.sleep(0.05)
      end
      assert.is_true(reloads >= 5)
      local seconds = peers.now() - from
      probes = b.b.probes - probes
      assert.is_true(probes <= seconds / 0.5 + 1, probes .. " probes")
      assert.is_true(probes >= seconds / 0.5 * 0.5 - 1, probes .. " probes")
      assert.equal(0, b.b.served)
      -- the streak goes on over reloads, too
      b.b.healthy = true
      peers.eventually(function() return b.b.well == 2 end)
      assert.equal(200, g:reload().status)
      g:up(b.b)
      assert.equal(3, b.b.well)
      assert.same({ 1, 1, 0 }, { g:count("endpoint down", b.b), g:count("endpoint up", b.b), g:count("endpoint down", b.a) })
    end)
  end)

  it("with another interval each time do not put probes off", function()
    local function script(interval)
      return upstream('"${a}"', active("interval = " .. interval))
    end
    sick.run({ backends = "a", script = script(0.5), seconds = 60 }, function(g, b)
      peers.eventually(function() return b.a.probes > 0 end)
      local from, probes, interval = peers.now(), b.a.probes, 0.5
      while peers.now() - from < 3 do
        interval = interval == 0.5 and 0.6 or 0.5
        g:write("main.lua", "${prelude}\n" .. script(interval))
        assert.equal(200, g:reload().status)
        peers.sleep(0.05)
      end
      assert.is_true(b.a.probes >= probes + 3, b.a.probes - probes .. " probes")
    end)
  end)

  it("while one of two is killed under load and comes back: no client sees an error, and the dead one is left in peace", function()
    sick.run({
      backends = "ab", workers = 2, seconds = 60,
      script = upstream('"${a}", "${b}"', active "interval = 0.2, rise = 2, fall = 2", "retry = { attempts = 3 }"),
    }, function(g, b)
      local stop, answers, wrong, tasks = false, { a = 0, b = 0 }, {}, {}
      for i = 1, 6 do
        tasks[i] = peers.spawn(function()
          local client = g:client()
          while not stop do
            local response = client:ask "/"
            if response.status ~= 200 then wrong[#wrong + 1] = response.status .. response.body end
            answers[response.body] = (answers[response.body] or 0) + 1
            peers.sleep(0.002)
          end
          client:close()
        end)
      end
      tasks[7] = peers.spawn(function()
        while not stop do
          assert.equal(200, g:reload().status)
          peers.sleep(0.1)
        end
      end)
      local function errors()
        local sum = 0
        for _, worker in ipairs(g:status().workers) do sum = sum + worker.upstream.errors end
        return sum
      end
      peers.eventually(function() return answers.a > 20 and answers.b > 20 end)
      b.b:close()
      for conn in pairs(b.b.open) do conn:reset() end
      g:down(b.b)
      peers.sleep(0.1) -- requests that were picked before have ended
      local before, a = errors(), answers.a
      peers.eventually(function() return answers.a > a + 100 end)
      assert.equal(before, errors())
      local revived = sick.backend("b", b.b.at)
      b.c = revived
      local from = peers.now()
      g:up(b.b)
      assert.is_true(peers.now() - from < 2 * 0.2 + 0.6, "it took too long to come back")
      assert.equal(2, revived.well)
      peers.eventually(function() return revived.served > 20 end)
      stop = true
      assert.same({}, wrong)
      assert.same({ 1, 1, 0 }, { g:count("endpoint down", b.b), g:count("endpoint up", b.b), g:count("endpoint down", b.a) })
      for _, task in ipairs(tasks) do
        peers.eventually(function() return task.done end)
      end
    end)
  end)

  it("one that takes active health away lets everybody in, and ends the probes", function()
    local script = upstream('"${a}", "${b}"', active "interval = 0.05")
    sick.run({
      backends = "ab", script = script, setup = function(b) b.b.healthy = false end,
    }, function(g, b)
      g:down(b.b)
      g:write("main.lua", "${prelude}\n" .. upstream('"${a}", "${b}"', ""))
      assert.equal(200, g:reload().status)
      assert.equal("it is no longer probed", g:up(b.b).reason)
      assert.is_true(g:endpoint(b.b).healthy)
      assert.equal("aabb", g:bodies(4))
      local probes = b.a.probes + b.b.probes
      peers.sleep(0.2) -- time in which probes would come
      assert.equal(probes, b.a.probes + b.b.probes)
      g:write("main.lua", "${prelude}\n" .. script)
      assert.equal(200, g:reload().status)
      g:down(b.b) -- as one that is not known: with the first probe
      assert.equal("aaaa", g:bodies(4))
    end)
  end)

  it("other settings hold from the reload on, for the state that is there", function()
    sick.run({
      backends = "ab", script = upstream('"${a}", "${b}"', active "interval = 0.05, rise = 1000"),
      setup = function(b) b.b.healthy = false end,
    }, function(g, b)
      g:down(b.b)
      -- the probe that is under way asks by the old rules: it is given up for one by the new ones
      b.b.answer_probe = function(_, conn) conn:hang() end
      local probes = b.b.probes
      peers.eventually(function() return b.b.probes > probes end)
      g:write("main.lua", "${prelude}\n"
        .. upstream('"${a}", "${b}"', 'active = { path = "/other", interval = 3600, rise = 1, timeout = 30 }'))
      assert.equal(200, g:reload().status)
      g:up(b.b)
      local seen = {}
      for _, request in ipairs(b.b.requests) do seen[request.target] = true end
      assert.is_true(seen["/other"])
      g:write("main.lua", "${prelude}\n" .. upstream('"${a}", "${b}"', active "interval = 0.05, fall = 1"))
      b.b.answer_probe = nil
      assert.equal(200, g:reload().status)
      g:down(b.b) -- though the next probe was due in an hour
    end)
  end)

  it("an endpoint that a reload removes is probed no more, and one that it brings is", function()
    sick.run({
      backends = "abc", script = upstream('"${a}", "${b}"', active "interval = 0.05"),
      setup = function(b) b.b.answer_probe = function(_, conn) conn:wait_end() end end,
    }, function(g, b)
      peers.eventually(function() return b.b.probes > 0 end)
      g:write("main.lua", "${prelude}\n" .. upstream('"${a}", "${c}"', active "interval = 0.05"))
      assert.equal(200, g:reload().status)
      peers.eventually(function() return b.b:open_count() == 0 end, "the probe under way ended")
      local probes = b.b.probes
      local a = b.a.probes
      peers.eventually(function() return b.c.probes >= 3 and b.a.probes >= a + 3 end)
      assert.equal(probes, b.b.probes)
    end)
  end)

  it("so do names that are looked up anew", function()
    local hosts = os.tmpname()
    local function write_hosts(text)
      local file = assert(io.open(hosts .. ".new", "w"))
      file:write(text)
      file:close()
      assert(os.rename(hosts .. ".new", hosts))
    end
    write_hosts "127.0.0.5 back.test\n127.0.0.6 back.test\n"
    sick.run({
      env = { CARES_HOSTS = hosts, GATEWAY_RESOLVER = "127.0.0.1:9" },
      script = upstream('{ "back.test:${x_port}", resolve = 0.05 }', active "interval = 0.05, fall = 1, rise = 1000"),
      setup = function(backends, vars)
        local x = sick.backend("x", "0.0.0.0:0")
        backends.x, vars.x_port, x.by_host = x, x.port, {}
        x.answer_probe = function(request)
          local host = request.headers:get "host"
          x.by_host[host] = (x.by_host[host] or 0) + 1
          return { status = host:find("127.0.0.6", 1, true) and 500 or 200 }
        end
      end,
    }, function(g, b)
      local function at(n) return ("127.0.0.%d:%d"):format(n, b.x.port) end
      g:down(at(6))
      write_hosts "127.0.0.6 back.test\n127.0.0.7 back.test\n"
      peers.eventually(function() return (b.x.by_host[at(7)] or 0) >= 2 end, "the new one is probed")
      local five, six = b.x.by_host[at(5)], b.x.by_host[at(6)]
      peers.eventually(function() return b.x.by_host[at(6)] >= six + 3 end)
      assert.is_true(b.x.by_host[at(5)] - five <= 1)
      assert.is_false(g:endpoint(at(6)).healthy) -- neither forgotten nor told twice
      assert.equal(1, g:count("endpoint down", at(6)))
      for _ = 1, 4 do assert.equal(200, g:ask("/").status) end
    end)
    os.remove(hosts)
  end)
end)

-- Of a log line's time, within its day.
local function seconds_of(time)
  local hours, minutes, seconds = time:match("T(%d+):(%d+):([%d.]+)Z$")
  return hours * 3600 + minutes * 60 + seconds
end

describe("passive health:", function()
  it("whose requests fail is ejected, and comes back after eject_for", function()
    sick.run({
      backends = "ab", workers = 2,
      script = upstream('"${a}", "${b}"', "passive = { window = 10, error_rate = 0.5, min_requests = 4, eject_for = 2 }"),
      setup = function(b)
        b.b.respond = function() return { status = b.b.healthy and 200 or 500, body = "b" } end
        b.b.healthy = false
      end,
    }, function(g, b)
      local client = g:client()
      peers.eventually(function()
        client:ask "/"
        return b.b.served >= 4
      end)
      client:close()
      local line = g:down(b.b, "passive")
      assert.same({ "u", "warn" }, { line.upstream, line.level })
      local from = line.time
      assert.same({ "passive" }, g:endpoint(b.b).down)
      local served = b.b.served
      assert.equal("aaaa", g:bodies(4))
      assert.equal(200, g:reload().status) -- does not let it in either
      assert.equal("aaaa", g:bodies(4))
      assert.equal(served, b.b.served)
      b.b.healthy = true
      line = g:up(b.b, "passive")
      assert.same({ "u", "the ejection is over", "info" }, { line.upstream, line.reason, line.level })
      local seconds = seconds_of(line.time) - seconds_of(from)
      if seconds < 0 then seconds = seconds + 86400 end
      assert.is_true(seconds > 1.9 and seconds < 3, seconds .. " s")
      assert.equal("aabb", g:bodies(4))
      assert.same({ active_down = 0, active_up = 0, ejections = 1 }, g:endpoint(b.b).transitions)
      assert.same({ 1, 1 }, { g:count("endpoint down", b.b), g:count("endpoint up", b.b) })
    end)
  end)

  it("a reload that takes it away ends the ejection", function()
    sick.run({
      backends = "ab",
      script = upstream('"${a}", "${b}"', "passive = { error_rate = 0.5, min_requests = 2, eject_for = 3600 }"),
      setup = function(b) b.b.respond = function() return { status = 500 } end end,
    }, function(g, b)
      local client = g:client()
      peers.eventually(function()
        client:ask "/"
        return b.b.served >= 2
      end)
      client:close()
      g:down(b.b, "passive")
      assert.equal("aaaa", g:bodies(4))
      b.b.respond = nil
      g:write("main.lua", "${prelude}\n" .. upstream('"${a}", "${b}"', ""))
      assert.equal(200, g:reload().status)
      g:up(b.b, "passive")
      assert.equal("aabb", g:bodies(4))
    end)
  end)

  it("healthy is only who is healthy by both", function()
    sick.run({
      backends = "ab",
      script = upstream('"${a}", "${b}"',
        active "interval = 0.05, rise = 1, fall = 1" .. ", passive = { error_rate = 0.5, min_requests = 2, eject_for = 1 }"),
      setup = function(b) b.b.respond = function() return { status = 500, body = "b" } end end,
    }, function(g, b)
      local client = g:client()
      peers.eventually(function()
        client:ask "/"
        return b.b.served >= 2
      end)
      client:close()
      g:down(b.b, "passive")
      b.b.healthy = false
      g:down(b.b, "active")
      assert.same({ "active", "passive" }, g:endpoint(b.b).down)
      b.b.respond = nil
      g:up(b.b, "passive")
      assert.same({ "active" }, g:endpoint(b.b).down)
      assert.equal("aaaa", g:bodies(4))
      b.b.healthy = true
      g:up(b.b, "active")
      assert.equal("aabb", g:bodies(4))
    end)
  end)
end)

describe("/status and the log", function()
  it("tell of breakers, and of what a reload had to reset", function()
    local function script(window)
      return upstream('"${a}", { "${b}", weight = 3 }', ("passive = { window = %s, min_requests = 1000 }"):format(window),
        'balance = "weighted", breaker = { failures = 1, open_for = 3600 }')
    end
    sick.run({
      backends = "ab", script = script(10),
      setup = function(b) b.b.respond = function() return { status = 500 } end end,
    }, function(g, b)
      assert.same({ state = "closed", opened = 0, closed = 0 }, g:endpoint(b.b).breaker)
      local client = g:client()
      for _ = 1, 8 do client:ask "/" end
      client:close()
      local status, u = g:endpoint(b.b)
      assert.same({ state = "open", opened = 1, closed = 0 }, status.breaker)
      assert.same({ 3, false, true, "weighted" }, { status.weight, status.backup, status.healthy, u.balance })
      assert.same({ state = "closed", opened = 0, closed = 0 }, g:endpoint(b.a).breaker)
      assert.equal(200, g:reload().status)
      assert.equal(0, g:log_count(function(l) return l.reset end))
      g:write("main.lua", "${prelude}\n" .. script(20))
      assert.equal(200, g:reload().status)
      local line = g:log_wait(function(l) return l.reset end)
      assert.same({ "upstream state reset because its settings changed", "u", "results counted by passive health" },
        { line.message, line.upstream, line.reset })
      assert.same({ state = "open", opened = 1, closed = 0 }, g:endpoint(b.b).breaker)
    end)
  end)

  it("have no breaker where there is none", function()
    sick.run({ backends = "a", script = upstream('"${a}"', "") }, function(g, b)
      assert.equal(require("cjson").null, g:endpoint(b.a).breaker)
    end)
  end)
end)

describe("an endpoint drained by hand", function()
  local function switch(g, what, address, name)
    local query = ("/%s?upstream=%s&endpoint=%s"):format(what, name or "u", (address:gsub("[^%w]", function(c)
      return ("%%%02X"):format(c:byte())
    end)))
    return g:admin(query, "POST")
  end

  it("finishes what it has, gets nothing new over reloads, and comes back by hand", function()
    sick.run({ backends = "ab", workers = 2, script = upstream('"${a}", "${b}"', active "interval = 0.05") }, function(g, b)
      local go
      b.b.respond = function()
        peers.eventually(function() return go end)
        return { body = "late" }
      end
      local clients, late = {}, {}
      for i = 1, 4 do
        clients[i] = g:client()
        clients[i]:send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      end
      peers.eventually(function() return b.b.served == 2 and b.a.served == 2 end)
      peers.eventually(function() return g:endpoint(b.a).in_flight == 0 end)
      local response = switch(g, "drain", b.b.at)
      assert.equal(200, response.status)
      assert.same({ upstream = "u", endpoint = b.b.at, drained = true, in_flight = 2 }, response.json)
      assert.equal(200, switch(g, "drain", b.b.at).status)
      assert.equal("aaaa", g:bodies(4))
      assert.equal(200, g:reload().status)
      assert.equal("aaaa", g:bodies(4))
      local status = g:endpoint(b.b)
      assert.same({ true, true, {}, 2 }, { status.drained, status.healthy, status.down, status.in_flight })
      go = true
      for i = 1, 4 do
        local body = clients[i]:read_response().body
        if body == "late" then late[#late + 1] = body end
      end
      assert.equal(2, #late)
      b.b.respond = nil
      response = switch(g, "undrain", b.b.at)
      assert.same({ upstream = "u", endpoint = b.b.at, drained = false, in_flight = 0 }, response.json)
      assert.equal("aabb", g:bodies(4))
      local line = g:change("endpoint no longer drained", b.b)
      assert.equal("u", line.upstream)
      assert.equal(1, g:count("endpoint drained", b.b)) -- though it was asked for twice
    end)
  end)

  it("is out even when nobody else is left", function()
    sick.run({ backends = "a", script = upstream('"${a}"', "") }, function(g, b)
      assert.equal(200, g:ask("/").status)
      assert.equal(200, switch(g, "drain", b.a.at).status)
      assert.equal(503, g:ask("/").status)
      assert.equal(200, switch(g, "undrain", b.a.at).status)
      assert.equal(200, g:ask("/").status)
    end)
  end)

  it("has to be named rightly", function()
    sick.run({ backends = "a", script = upstream('"${a}"', "") }, function(g, b)
      assert.same({ 404, "no such upstream" }, { switch(g, "drain", b.a.at, "v").status, switch(g, "drain", b.a.at, "v").json.error })
      assert.equal(404, switch(g, "drain", "127.0.0.1:1").status)
      assert.equal(404, switch(g, "undrain", "\"\\\1").status)
      for _, query in ipairs { "", "?", "?upstream=u", "?endpoint=x", "?upstream=&endpoint=" } do
        assert.equal(400, g:admin("/drain" .. query, "POST").status, query)
      end
      assert.equal(405, g:admin("/drain?upstream=u&endpoint=" .. b.a.at).status)
      assert.is_false(g:endpoint(b.a).drained)
      assert.equal(200, g:admin("/drain?upstream=u&endpoint=" .. b.a.at, "POST").status) -- ':' needs no escape
    end)
  end)

  it("is still drained when it went and came back, while its upstream stays", function()
    local both, first = upstream('"${a}", "${b}"', ""), upstream('"${a}"', "")
    sick.run({ backends = "ab", script = both }, function(g, b)
      local function reload(script)
        g:write("main.lua", "${prelude}\n" .. script)
        assert.equal(200, g:reload().status)
        peers.eventually(function() return g:status().generations_draining == 0 end, "the old generation's end")
      end
      local client = g:client()
      local function who(n)
        local out = {}
        for i = 1, n do out[i] = client:ask("/").body end
        return table.concat(out)
      end
      assert.equal(200, switch(g, "drain", b.b.at).status)
      reload(first)
      assert.same({ b.b.at }, g:status().upstreams[1].drained_away)
      reload(both)
      assert.is_true(g:endpoint(b.b).drained)
      assert.is_nil(g:status().upstreams[1].drained_away)
      assert.equal("aaaa", who(4))
      -- taken back while it is away
      reload(first)
      assert.same({ 200, false }, { switch(g, "undrain", b.b.at).status, switch(g, "undrain", b.a.at).json.drained })
      assert.equal(404, switch(g, "undrain", b.b.at).status)
      reload(both)
      assert.is_false(g:endpoint(b.b).drained)
      assert.equal(2, select(2, who(4):gsub("b", "")))
      -- an upstream that goes takes its marks along
      assert.equal(200, switch(g, "drain", b.b.at).status)
      reload((first:gsub('"u"', '"v"')))
      reload(both)
      assert.is_false(g:endpoint(b.b).drained)
      assert.equal(2, select(2, who(4):gsub("b", "")))
    end)
  end)
end)

describe("the end", function()
  it("comes while probes are under way, and others wait", function()
    sick.run({
      backends = "a", script = upstream('"${a}"', active "interval = 0.01, timeout = 60"),
      setup = function(b) b.a.answer_probe = function(_, conn) conn:hang() end end,
    }, function(g, b)
      peers.eventually(function() return b.a.probes == 1 end)
      local from = peers.now()
      g:stop()
      assert.is_true(peers.now() - from < 5)
    end)
  end)
end)
