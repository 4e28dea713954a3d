-- Reload: what starts one, what refuses one, and what nobody may notice of one.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

-- an answer that names its generation three times
local function generation(number, more)
  return ([[${prelude}
    local mark = "%d"
    gateway.route "/" { to = function(request) return gateway.respond(200, mark, { ["X-One"] = mark }) end,
      use = { function(request, next) local r = next(); r.headers["X-Two"] = mark; return r end } }
    %s
  ]]):format(number, more or "")
end

describe("reload:", function()
  local g
  before_each(function() g = gateway.start { script = generation(1) } end)
  after_each(function() if g then g:stop() end end)

  local function serves(body, why)
    peers.within(function()
      return peers.eventually(function() return g:ask("/").body == body end, why or ("answer " .. body))
    end)
  end

  local function reloads() -- how many generations began to serve so far
    return g:generation()
  end

  it("on SIGHUP", function()
    serves "1"
    -- touched without a save that is seen: a file that the script reads by itself
    g:write("mark.txt", "7")
    g:write("main.lua", [[${prelude}
      local file = io.open("${dir}/mark.txt"); local mark = file:read "*a"; file:close()
      gateway.route "/" { to = gateway.respond(200, mark) }
    ]])
    serves "7"
    g:write("mark.txt", "8")
    g:signal(sys.SIGHUP)
    serves "8"
  end)

  it("when the script is saved in place", function()
    serves "1"
    g:write("main.lua", generation(2))
    serves "2"
  end)

  it("when it is saved by renaming, again and again", function()
    for i = 2, 5 do
      g:replace("main.lua", generation(i))
      serves(tostring(i))
    end
  end)

  it("when it is removed and written anew", function()
    os.remove(g.dir .. "/main.lua")
    peers.run(function() peers.sleep(0.05) end)
    g:write("main.lua", generation(3))
    serves "3"
  end)

  it("when a YAML file, a plugin or a required module is saved", function()
    g:write("routes.yaml", "routes:\n  - path: /yaml\n    to: { respond: { status: 200, body: first } }\n")
    g:write("plugins/mark.lua", 'return { name = "mark", new = function() return function() return gateway_mark end end }')
    g:write("plugins/mark.lua", [[local gateway = require "gateway"
      return { name = "mark", version = "1", description = "x", schema = {},
        new = function() return function() return gateway.respond(200, "first") end end }]])
    g:write("part.lua", 'return "first"')
    g:write("main.lua", generation(2, [[
      gateway.load "routes.yaml"
      gateway.route "/plugin" { use = { gateway.plugin "mark" }, to = gateway.respond(200, "") }
      gateway.route "/part" { to = gateway.respond(200, require "part") }
    ]]))
    serves "2"
    local function path_serves(path, body)
      peers.within(function()
        return peers.eventually(function() return g:ask(path).body == body end, path .. " gives " .. body)
      end)
    end
    for _, path in ipairs { "/yaml", "/plugin", "/part" } do path_serves(path, "first") end
    g:write("routes.yaml", "routes:\n  - path: /yaml\n    to: { respond: { status: 200, body: second } }\n")
    path_serves("/yaml", "second")
    g:replace("plugins/mark.lua", [[local gateway = require "gateway"
      return { name = "mark", version = "1", description = "x", schema = {},
        new = function() return function() return gateway.respond(200, "second") end end }]])
    path_serves("/plugin", "second")
    g:write("part.lua", 'return "second"')
    path_serves("/part", "second")
  end)

  it("a burst of saves is one reload, or few", function()
    local before = reloads()
    for i = 2, 30 do g:write("main.lua", generation(i)) end
    serves "30"
    peers.run(function() peers.sleep(0.3) end) -- nothing more may come
    assert.is_true(reloads() - before <= 3, reloads() - before)
  end)

  it("POST /reload waits, and tells the result", function()
    g:write("main.lua", generation(2))
    local response = g:reload()
    assert.equal(200, response.status)
    assert.is_table(response.json)
    assert.equal("2", g:ask("/").body)
    assert.equal(405, g:admin("/reload", "GET").status)
  end)

  it("prints of nothing changed: a reload of the same script is one", function()
    local before = reloads()
    assert.equal(200, g:reload().status)
    assert.is_true(reloads() > before)
    assert.equal("1", g:ask("/").body)
  end)

  -- name, script, what the reason must say
  for _, case in ipairs {
    { "a syntax error", "${prelude}\nlocal x = = 1\n", { "main.lua:2" } },
    { "an error while it runs", "${prelude}\nerror 'no luck'\n", { "main.lua:2", "no luck" } },
    { "an unknown option", "${prelude}\n\ngateway.route '/' { to = gateway.respond(200), metods = {} }\n", { "main.lua:3",
      "metods", "methods" } },
    { "a wrong type", "${prelude}\ngateway.timeouts { idle = {} }\n", { "main.lua:2", "idle" } },
    { "a duplicate route", "${prelude}\ngateway.route '/' { to = gateway.respond(200) }\ngateway.route '/' { to = gateway.respond(200) }\n",
      { "main.lua:3", "main.lua:2" } },
    { "an unknown upstream", "${prelude}\ngateway.route '/' { to = 'nobody' }\n", { "main.lua:2", "nobody" } },
    { "a listener that cannot bind", "${prelude}\ngateway.listen '127.0.0.1:${taken}'\n", { "${taken}" } },
    { "nothing to listen on", "require 'gateway'\n", { "main.lua" } },
    { "routes that depend on chance",
      "${prelude}\ngateway.route('/' .. tostring({}):gsub('[^%w]', '')) { to = gateway.respond(200) }\n", {}, 2 },
    { "a script that never ends", "${prelude}\nwhile true do end\n", { "main.lua" }, nil, 20 },
  } do
    it(case[1] .. " refuses it, and the old one serves on", function()
      g:stop()
      local taken = peers.listen()
      g = gateway.start { script = generation(1), workers = case[4], vars = { taken = taken.port } }
      local before = reloads()
      g:write("main.lua", case[2])
      local response = g:reload(case[5])
      assert.is_true(response.status >= 400 and response.status < 600, response.status)
      assert.equal("1", g:ask("/").body)
      assert.equal(before, reloads())
      -- the reason stands in the answer, at /status and in the log
      local status = g:admin("/status").body
      for _, text in ipairs(case[3]) do
        text = g:fill(text)
        assert.is_truthy(response.body:find(text, 1, true), response.body)
        assert.is_truthy(status:find(text, 1, true), status)
        g:log_wait(function(line) return cjson.encode(line):find(text, 1, true) ~= nil end, text)
      end
      -- mending it is enough
      g:write("main.lua", generation(4))
      peers.within(function()
        return peers.eventually(function() return g:ask("/").body == "4" end, "the mended script", 6 + (case[5] or 0))
      end)
      taken:close()
    end)
  end

  it("listeners come and go", function()
    peers.run(function()
      local kept = g:client()
      assert.equal("1", kept:ask("/").body)
      assert.is_false(peers.reachable(g.vars.port2))
      g:write("main.lua", generation(2, 'gateway.listen "127.0.0.1:${port2}"'))
      assert.equal(200, g:reload().status)
      assert.equal("2", peers.ask(g.vars.port2, "/").body)
      local on_second = peers.connect(g.vars.port2)
      assert.equal("2", on_second:ask("/").body)
      g:write("main.lua", generation(3))
      assert.equal(200, g:reload().status)
      peers.eventually(function() return not peers.reachable(g.vars.port2) end, "the listener's end")
      on_second:expect_close() -- its listener was removed: the idle connection ends
      assert.equal("3", kept:ask("/").body)
    end)
  end)

  it("the admin listener may move", function()
    g:write("main.lua", (generation(2):gsub("%${prelude}",
      'local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.admin "127.0.0.1:${port3}"; gateway.workers(1)')))
    serves "2"
    g.vars.admin, g.vars.port3 = g.vars.port3, g.vars.admin
    assert.equal(200, g:admin("/healthz").status)
  end)
end)

describe("reload and traffic:", function()
  it("connections of clients and to upstreams live on; requests in flight end in their own generation", function()
    local script = [[${prelude}
      gateway.route "/" { to = gateway.upstream "b" { "${backend1}" },
        use = { function(request, next) local r = next(); r.headers["X-Generation"] = "NUMBER"; return r end } }
    ]]
    local g = gateway.start { backends = 1, script = (script:gsub("NUMBER", "1")) }
    peers.run(function()
      local backend, go = g.backends[1], false
      backend:answer(function(request)
        if request.target == "/slow" then peers.eventually(function() return go end) end
        return { body = "ok" }
      end)
      local fast, slow = g:client(), g:client()
      assert.equal("1", fast:ask("/").headers:get("x-generation"))
      slow:send(message.request { path = "/slow" })
      peers.eventually(function() return #backend.requests == 2 end)
      local connections = backend.connections
      for i = 2, 6 do
        g:write("main.lua", (script:gsub("NUMBER", tostring(i))))
        assert.equal(200, g:reload().status)
        assert.equal(tostring(i), fast:ask("/").headers:get("x-generation"))
      end
      assert.is_true(backend.connections <= connections + 1)
      assert.is_true(g:status().generations_draining >= 1)
      go = true
      assert.equal("1", slow:read_response().headers:get("x-generation"))
      peers.eventually(function() return g:status().generations_draining == 0 end, "old generations freed")
      assert.equal("6", slow:ask("/").headers:get("x-generation"))
    end)
    g:stop()
  end)

  it("tunnels live through reloads", function()
    local script = '${prelude} gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } } local x = NUMBER'
    local g = gateway.start { backends = 1, script = (script:gsub("NUMBER", "1")) }
    peers.run(function()
      g.backends[1]:serve(function(conn)
        conn:read_head()
        conn:write "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        while conn:try_write(conn:read_some()) do end
      end)
      local client = g:client()
      client:send "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
      assert.equal(101, client:read_response_head().status)
      for i = 2, 6 do
        g:write("main.lua", (script:gsub("NUMBER", tostring(i))))
        assert.equal(200, g:reload().status)
        client:send("ping " .. i)
        assert.equal("ping " .. i, client:read_exact(6))
      end
    end)
    g:stop()
  end)

  it("an upstream that a reload removes: its connections end, requests in flight do not", function()
    local g = gateway.start {
      backends = 2,
      script = '${prelude} gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }',
    }
    peers.run(function()
      local go
      g.backends[1]:answer(function(request)
        if request.target == "/slow" then peers.eventually(function() return go end) end
        return { body = "one" }
      end)
      g.backends[2]:answer { body = "two" }
      local slow = g:client()
      slow:send(message.request { path = "/slow" })
      peers.eventually(function() return #g.backends[1].requests == 1 end)
      assert.equal("one", g:ask("/").body)
      g:write("main.lua", '${prelude} gateway.route "/" { to = gateway.upstream "b" { "${backend2}" } }')
      assert.equal(200, g:reload().status)
      assert.equal("two", g:ask("/").body)
      go = true
      assert.equal("one", slow:read_response().body)
      peers.eventually(function() return g.backends[1]:open_count() == 0 end, "connections to the removed endpoint closed")
      assert.equal("two", slow:ask("/").body)
    end)
    g:stop()
  end)

  it("round robin goes on where it was", function()
    local script = [[${prelude} local x = NUMBER
      gateway.route "/" { to = gateway.upstream "b" { "${backend1}", "${backend2}", "${backend3}" } }]]
    local g = gateway.start { backends = 3, script = (script:gsub("NUMBER", "1")) }
    peers.run(function()
      for _, backend in ipairs(g.backends) do backend:answer() end
      for i = 2, 13 do
        assert.equal(200, g:ask("/").status)
        g:write("main.lua", (script:gsub("NUMBER", tostring(i))))
        assert.equal(200, g:reload().status)
      end
      for _, backend in ipairs(g.backends) do assert.equal(4, #backend.requests) end
    end)
    g:stop()
  end)

  it("no response mixes two generations, none is lost, and after the answer to POST /reload none is old (2 workers)", function()
    local script = [[${prelude}
      gateway.access_log(false)
      local mark = "NUMBER"
      gateway.route "/lua" {
        use = { function(request, next) local r = next(); r.headers["X-Two"] = mark; return r end },
        to = function(request) return gateway.respond(200, mark, { ["X-One"] = mark }) end,
      }
      gateway.route "/up" {
        use = { function(request, next) request.headers["X-Mark"] = mark; local r = next(); r.headers["X-Two"] = mark;
          return r end },
        to = gateway.upstream "b" { "${backend1}" },
      }
      gateway.route "/fixed" { to = gateway.respond(200, mark, { ["X-One"] = mark, ["X-Two"] = mark }) }
    ]]
    local g = gateway.start { backends = 1, workers = 2, script = (script:gsub("NUMBER", "1")) }
    peers.run(function()
      g.backends[1]:answer(function(request)
        local mark = request.headers:get("x-mark")
        peers.sleep(0)
        return { headers = { ["X-One"] = mark }, body = mark }
      end)
      local current, done, count, seen = 1, false, 0, {}
      local all = {}
      for i = 1, 16 do
        all[i] = function()
          local client = g:client()
          local paths = { "/lua", "/up", "/fixed" }
          while not done do
            local at_least = current
            local response = client:ask(paths[(count + i) % 3 + 1])
            assert.equal(200, response.status)
            local mark = response.body
            assert.equal(mark, response.headers:get("x-one"))
            assert.equal(mark, response.headers:get("x-two"))
            assert.is_true(tonumber(mark) >= at_least, ("generation %s served after %d was in place"):format(mark, at_least))
            seen[mark] = true
            count = count + 1
          end
        end
      end
      all[#all + 1] = function()
        for i = 2, 25 do
          if i % 2 == 0 then
            g:write("main.lua", (script:gsub("NUMBER", tostring(i))))
          else
            g:replace("main.lua", (script:gsub("NUMBER", tostring(i))))
          end
          local response = g:reload()
          assert.equal(200, response.status)
          current = i
          peers.sleep(0.02)
        end
        done = true
      end
      peers.all(all, 60)
      assert.is_true(count > 200, count)
      local generations = 0
      for _ in pairs(seen) do generations = generations + 1 end
      assert.is_true(generations > 10, generations)
      peers.eventually(function() return g:status().generations_draining == 0 end, "old generations freed")
    end, { seconds = 60 })
    g:stop()
  end)

  it("memory stays flat over many reloads, and generations are freed", function()
    local script = [[${prelude}
      gateway.access_log(false)
      for i = 1, 200 do gateway.route("/r" .. i) { to = gateway.respond(200, "NUMBER") } end
      gateway.route "/" { to = function(request) return gateway.respond(200, "NUMBER") end }
    ]]
    -- freed memory is to count as free here
    local g = gateway.start { script = (script:gsub("NUMBER", "1")),
      asan = "quarantine_size_mb=1:thread_local_quarantine_size_kb=64" }
    peers.run(function()
      local client = g:client()
      local function reload(from, to)
        for i = from, to do
          g:write("main.lua", (script:gsub("NUMBER", tostring(i))))
          assert.equal(200, g:reload().status)
          assert.equal(tostring(i), client:ask("/").body)
        end
      end
      reload(2, 25)
      local before = g:resident()
      reload(26, 60)
      local grown = g:resident() - before
      assert.is_true(grown < 25e6, ("grew by %d bytes"):format(grown))
      peers.eventually(function() return g:status().generations_draining == 0 end, "old generations freed")
    end, { seconds = 60 })
    g:stop()
  end)
end)
