-- Memory runs out: allocations of the gateway fail, some or all, while traffic flows and scripts are loaded. That ends requests and
-- connections, never the process; and when there is memory again all is as before. (spec/support/failing_memory.lua says how.)

local failing_memory = require "spec.support.failing_memory"
local gateway = require "spec.support.gateway"
local metrics = require "spec.support.metrics"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local SECONDS = tonumber(os.getenv("GATEWAY_MEMORY_SECONDS")) or 2
local LARGE, BODY = 1500000, 300000

local SCRIPT = [[${prelude}
  gateway.timeouts { header = 5, idle = 30, body = 5 }
  gateway.limits { body_bytes = "2MB" }
  local mark = "MARK"
  local up = gateway.upstream "up" { "${backend1}", timeouts = { first_byte = 5, idle = 5, total = 20 },
    pool = { idle = 4, idle_for = 0.5 } }
  gateway.route "/plain" { to = up }
  gateway.route "/fixed" { to = gateway.respond(200, "fixed") }
  gateway.route "/params/:id/*rest" { methods = { "GET" }, to = up }
  gateway.route "/tail" { to = up, use = { function(request, next) request.headers["X-Tail"] = mark; return next() end } }
  local seen = gateway.counter("seen_total", "Seen.", { "mark", "kind" })
  gateway.route "/lua" { to = up, use = { function(request, next)
    seen:inc(1, { mark, request.id:sub(1, 1) })
    local r = next()
    r.headers["X-Lua"] = mark
    return r
  end } }
  gateway.route "/gather" { to = function(request) return gateway.respond(200, tostring(#request:body())) end }
  gateway.route "/replace" { to = up, use = { function(_, next) local r = next(); r.body = r:body():upper(); return r end } }
  gateway.route "/garbage" { to = function(request)
    local list, all = {}, {}
    for i = 1, 2000 do list[i] = { text = request.path .. i } end
    for i = 1, #list do all[i] = list[i].text end
    return gateway.respond(200, { count = #table.concat(all) })
  end }
]]

-- Each path with what it is asked and what its whole answer is.
local asks = {
  { path = "/plain", body = "ok" }, { path = "/fixed", body = "fixed" }, { path = "/params/7/a/b", body = "ok" },
  { path = "/tail", body = "ok" }, { path = "/lua", body = "ok" },
  { path = "/gather", send = ("b"):rep(BODY), body = tostring(BODY) },
  { path = "/plain", send = ("b"):rep(BODY), body = "ok" },
  { path = "/replace", body = "OK" }, { path = "/garbage", body = '{"count":23785}', about = "count" },
  { path = "/plain?bytes=" .. LARGE, bytes = LARGE }, { path = "/replace?bytes=" .. LARGE / 10, bytes = LARGE / 10 },
}

-- An attempt that ended because the other side did.
local function is_gone(err)
  return type(err) == "table" and err.gone or type(err) == "string" and err:find("cannot connect to %d+: ECONNRESET") ~= nil
end

local known = { [200] = true, [500] = true, [502] = true, [503] = true }

local function ask(client, one)
  local response = client:ask({ method = one.send and "POST", path = one.path, body = one.send }, { truncated = true })
  assert.is_true(known[response.status], response.status)
  if response.status == 200 and not response.truncated then
    if one.bytes then
      assert.equal(one.bytes, #response.body)
    elseif one.about then
      assert.truthy(response.body:find(one.about, 1, true))
    else
      assert.equal(one.body, response.body)
    end
  end
  return response
end

describe("memory:", function()
  local memory
  setup(function() memory = failing_memory.prepare() end)
  teardown(function() memory:close() end)
  after_each(function() memory:relent() end)

  local function start(workers)
    return gateway.start { binary = memory.binary, env = memory.env, backends = 1, workers = workers or 2, script = SCRIPT }
  end

  local function answer(g)
    g.backends[1]:answer(function(request)
      local bytes = tonumber(request.target:match("bytes=(%d+)"))
      return { body = bytes and ("x"):rep(bytes) or "ok" }
    end)
  end

  -- One client after the other on a connection each, until traffic.stop. What came is counted in traffic.count.
  local function session(g, traffic)
    local client
    while not traffic.stop do
      local good, response = pcall(function()
        client = client or g:client { wait = 6 }
        return ask(client, asks[math.random(#asks)])
      end)
      if not good and not (is_gone(response) and g:running()) then error(response, 0) end
      local what = not good and "gone" or response.truncated and "cut" or response.status
      traffic.count[what] = (traffic.count[what] or 0) + 1
      if not good or response.truncated or response.headers:lists("connection", "close") or math.random() < 0.1 then
        if client then client:close() end
        client = nil
      end
      peers.sleep(0.001)
    end
    if client then client:close() end
  end

  -- Reads large answers slowly: what the backend sent meanwhile is kept in memory, or is not.
  local function slow_session(g, traffic)
    while not traffic.stop do
      local good, err = pcall(function()
        local client = g:client { wait = 6, receive_buffer = 4096 }
        client:write("GET /plain?bytes=" .. LARGE .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ = 1, 10 do
          client:receive(20000, true)
          peers.sleep(0.02)
        end
        client:reset()
      end)
      if not good and not (is_gone(err) and g:running()) then error(err, 0) end
    end
  end

  -- What asks for loads of the script: signals, saves, and the admin address, each as far as it comes.
  local function reload_session(g, traffic)
    local number = 0
    while not traffic.stop do
      number = number + 1
      if number % 3 == 0 then
        g:signal(sys.SIGHUP)
      elseif number % 3 == 1 then
        g:write("main.lua", (SCRIPT:gsub("MARK", tostring(number))))
      else
        pcall(function() g:reload() end)
      end
      local good, response = pcall(function() return g:admin("/metrics") end)
      if good and response.status == 200 then
        metrics.parse(response.body) -- whole, or not at all
      elseif good then
        assert.equal(503, response.status)
      end
      peers.sleep(0.05)
    end
  end

  local function all_well(g)
    for _, one in ipairs(asks) do
      local client = g:client()
      local response = ask(client, one)
      assert.equal(200, response.status)
      assert.is_nil(response.truncated)
      client:close()
    end
  end

  local function told(line)
    return line.message and line.message:find("^out of memory") or line.error == "not enough memory for the script"
      and line.message == "script error"
  end

  local function under_traffic(one_in)
    local workers = 2
    local g = start(workers)
    peers.run(function()
      answer(g)
      local traffic = { count = {} }
      local running = {}
      for i = 1, 8 do running[i] = function() session(g, traffic) end end
      running[9] = function() slow_session(g, traffic) end
      running[10] = function() reload_session(g, traffic) end
      running[11] = function()
        -- as it is without: what is compiled is compiled, pools are filled
        peers.eventually(function() return (traffic.count[200] or 0) >= 1000 end, "traffic", 15)
        local before = g:resident()
        local lines = g:log_count(told)
        assert.equal(0, lines)
        traffic.count = {}
        memory:fail { one_in = one_in }
        local until_ = peers.now() + SECONDS
        while peers.now() < until_ do
          assert.is_true(g:running(), g:exit_code())
          peers.sleep(0.01)
        end
        local failed = memory:relent()
        assert.is_true(failed > 50, failed)
        -- at once
        all_well(g)
        local count = traffic.count
        assert.is_true((count[500] or 0) + (count[503] or 0) + (count.gone or 0) + (count.cut or 0) > 0, "nothing failed")
        assert.is_true((count[200] or 0) > 0, "nothing went well")
        -- told, but not each time
        lines = g:log_count(told)
        assert.is_true(lines >= 1 and lines <= workers * (SECONDS + 2), lines)
        traffic.stop = true
        peers.sleep(0.1)
        assert.equal(200, g:reload().status)
        all_well(g)
        peers.eventually(function()
          local left = 0
          for _, worker in ipairs(g:status().workers) do left = left + worker.connections.active end
          return left == 0 and g:status().generations_draining == 0
        end, "nothing left over")
        local grown = g:resident() - before
        assert.is_true(grown < before / 2 + 4e6, ("%d bytes more than %d"):format(grown, before))
      end
      peers.all(running, SECONDS + 25)
    end, { seconds = SECONDS + 30 })
    g:stop()
  end

  for _, one_in in ipairs { 1, 2, 10, 100 } do
    it(("one allocation in %d fails under traffic"):format(one_in), function() under_traffic(one_in) end)
  end

  it("there is none for new connections: they are closed, those that are open go on", function()
    local g = start(1)
    peers.run(function()
      answer(g)
      local old = g:client()
      assert.equal("ok", ask(old, asks[1]).body)
      memory:fail { one_in = 1 }
      local closed, crowd = 0, {}
      for i = 1, 400 do crowd[i] = g:client() end
      for i = 1, 400 do
        local got, how = crowd[i]:receive(nil, nil, peers.now() + 0.001)
        assert.is_nil(got)
        if how ~= "timeout" then closed = closed + 1 end
      end
      assert.is_true(closed > 100, closed)
      assert.equal("fixed", ask(old, asks[2]).body)
      assert.is_true(g:log_count(told) <= 3, g:log_count(told))
      memory:relent()
      for i = 1, 400 do crowd[i]:close() end
      assert.equal("ok", ask(old, asks[1]).body)
      all_well(g)
    end)
    g:stop()
  end)

  it("it runs out at some place of a load, for good or once: refused or not, the old generation goes on", function()
    local g = start(2)
    peers.run(function()
      answer(g)
      all_well(g)
      for _, most in ipairs { 1, false } do
        local spared, went_well, number = 0, 0, 0
        while went_well < 2 do -- past the last place
          memory:fail { one_in = 1, spared = spared, most = most or nil }
          local good, response = pcall(g.reload, g) -- the answer may be lost, too
          local failed = memory:relent()
          assert.is_true(g:running(), ("the process ended; %d allocations were spared"):format(spared))
          if good and response.status ~= 200 then assert.truthy(({ [422] = true, [503] = true })[response.status], response.status) end
          went_well = failed == 0 and went_well + 1 or 0
          peers.eventually(function()
            local seen, status = pcall(g.status, g)
            return seen and not status.reloads.building
          end, "the load's end")
          number = number + 1
          if number % 50 == 0 then all_well(g) end
          spared = spared + 41
        end
        assert.is_true(number > 100, number)
      end
      assert.equal(200, g:reload().status)
      all_well(g)
    end)
    g:stop()
  end)

  it("a script that takes all that it may, in compiled code, fails alone", function()
    local g = gateway.start { binary = memory.binary, env = memory.env, workers = 1, script = [[${prelude}
      gateway.script { cpu = "30s" }
      local kinds = {
        tables = function() local t = {} for i = 1, 1e9 do t[i] = { i } end end,
        keys = function() local t = {} for i = 1, 1e9 do t["k" .. i] = i end end,
        doubling = function() local s = "x" while true do s = s .. s end end,
        caught = function() local t = {} while true do pcall(function() for i = 1, 1e9 do t[#t + 1] = { i } end end)
          if #t > 1e5 then error "enough" end end end,
      }
      gateway.route "= /well" { to = function() return gateway.respond(200, table.concat({ "a", "b" })) end }
      gateway.route "/:kind" { to = function(request) kinds[request.params.kind]() end }
    ]] }
    peers.run(function()
      for _, kind in ipairs { "tables", "keys", "doubling", "caught", "tables" } do
        local response = peers.ask(g.port, "/" .. kind, { wait = 60 })
        assert.equal(500, response.status, kind)
        assert.equal("ab", peers.ask(g.port, "/well").body, "after " .. kind)
      end
    end, { seconds = 150 })
    g:stop()
  end)

  it("SIGTERM ends it in order while nothing can be had", function()
    local g = start(2)
    peers.run(function()
      answer(g)
      local client = g:client()
      ask(client, asks[1])
      memory:fail { one_in = 1 }
      g:signal(sys.SIGTERM)
      assert.equal("eof", (client:wait_end()))
    end)
    assert.equal(0, g:wait_exit())
    g:stop()
  end)
end)
