-- Staged reloads: a share of the clients, sticky, on every worker; put in place or taken back by itself; nothing lost in any of it.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

-- Clients are played by X-Forwarded-For.
local STABLE = [[${prelude}
gateway.trusted_proxies { "127.0.0.1" }
gateway.route "/" { to = gateway.respond(200, "stable") }
gateway.route "/backend" { to = gateway.upstream "b" { "${backend1}" } }
]]
local GOOD = STABLE:gsub('"stable"', '"candidate"')
local BAD = STABLE:gsub('respond%(200, "stable"%)', 'respond(500, "candidate")')

local function start(options)
  options = options or {}
  options.script = options.script or STABLE
  options.files = { ["good.lua"] = GOOD, ["bad.lua"] = BAD, ["broken.lua"] = "nonsense(", ["own.lua"] = options.own or GOOD }
  options.workers = options.workers or 2
  options.backends = options.backends or 1
  return gateway.start(options)
end

local function escape(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function stage(g, options, seconds)
  local parts = { "wait=" .. (options.wait and "1" or "0") }
  for _, name in ipairs { "share", "for", "min" } do
    if options[name] then parts[#parts + 1] = name .. "=" .. escape(tostring(options[name])) end
  end
  for _, rule in ipairs(options.abort_if or {}) do parts[#parts + 1] = "abort_if=" .. escape(rule) end
  if options.file then parts[#parts + 1] = "script=" .. escape(g.dir .. "/" .. options.file) end
  return g:admin("/reload?" .. table.concat(parts, "&"), "POST", seconds)
end

local function client(n)
  return ("10.%d.%d.%d"):format(math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

-- Asks once as a client; on a connection that is given, or one of its own.
local function ask(g, n, conn)
  local request = { path = "/", headers = { ["X-Forwarded-For"] = client(n) } }
  return conn and conn:ask(request) or g:ask(request)
end

local function staged(g) return g:status().reloads.staged end

local function now(g)
  local value = staged(g).now
  return type(value) == "table" and value or nil
end

local function wait_end(g, seconds)
  peers.within(function()
    peers.eventually(function() return now(g) == nil end, "the end of the staged reload", seconds or 10)
  end)
  return staged(g).last
end

local function counter(g, name, side)
  local text = g:admin("/metrics").body
  return tonumber(text:match(name .. '{generation="' .. side .. '"} (%d+)'))
end

describe("a staged reload", function()
  it("serves a share of the clients, each wholly and always by one generation, and counts exactly", function()
    local g = start()
    local answer = stage(g, { share = "30%", ["for"] = "60s", file = "good.lua" })
    assert.equal(202, answer.status, answer.body)
    assert.equal(2, answer.json.staged.now.generation)
    local first, of_candidate = {}, 0
    peers.within(function()
      peers.eventually(function() return now(g) ~= nil end, "the staging")
      for round = 1, 3 do
        local conns = { peers.connect(g.port), peers.connect(g.port), peers.connect(g.port), peers.connect(g.port) } -- any worker
        for n = 1, 200 do
          local body = ask(g, n, conns[n % 4 + 1]).body
          if round == 1 then
            first[n] = body
            if body == "candidate" then of_candidate = of_candidate + 1 end
          end
          assert.equal(first[n], body, "client " .. n)
        end
        for _, conn in ipairs(conns) do conn:close() end
      end
    end)
    assert.is_true(of_candidate > 30 and of_candidate < 95, "of 200 clients: " .. of_candidate)
    local at = now(g)
    assert.equal(600, at.stable.requests + at.candidate.requests)
    assert.equal(of_candidate * 3, at.candidate.requests)
    assert.equal(0, at.candidate.errors)
    assert.equal(0.3, at.share)
    assert.is_true(at.candidate.p50 > 0 and at.candidate.p99 >= at.candidate.p50 and at.remaining <= 60)
    assert.equal(of_candidate * 3, counter(g, "gateway_generation_requests_total", "candidate"))
    assert.equal(600 - of_candidate * 3, counter(g, "gateway_generation_requests_total", "stable"))
    assert.equal(1, g:generation())
    -- back by hand
    assert.equal(200, g:admin("/reload?end=back", "POST").status)
    for n = 1, 30 do assert.equal("stable", ask(g, n).body) end
    local last = staged(g).last
    assert.equal("taken back", last.outcome)
    assert.equal("by hand", last.reason)
    assert.equal(of_candidate * 3, counter(g, "gateway_generation_requests_total", "candidate"))
    g:stop()
  end)

  it("goes back by itself when a condition is met, and says why", function()
    local g = start()
    local result
    peers.within(function()
      peers.spawn(function()
        result = stage(g, { share = "50%", ["for"] = "60s", min = 20, abort_if = { "errors>1%" }, file = "bad.lua", wait = true }, 30)
      end)
      peers.eventually(function() return now(g) ~= nil end, "the staging")
      local n, failed = 0, 0
      local conn = peers.connect(g.port)
      while not result do
        n = n + 1
        if ask(g, n, conn).status == 500 then failed = failed + 1 end
        assert.is_true(failed < 5000)
      end
      assert.is_true(failed >= 20)
      conn:close()
    end)
    assert.equal(409, result.status)
    assert.is_false(result.json.ok)
    local last = result.json.staged.last
    assert.equal("taken back", last.outcome)
    assert.equal("errors>1%: the candidate's is 100%", last.reason)
    assert.is_true(last.candidate.requests >= 20 and last.candidate.errors == last.candidate.requests)
    assert.equal(0, last.stable.errors)
    assert.matches("taken back: errors>1%", g:status().reloads.last.errors[1], 1, true)
    g:log_wait(function(line) return line.message == "the candidate generation was taken back" end)
    for n = 1, 50 do assert.equal(200, ask(g, n).status) end
    assert.equal(1, g:generation())
    peers.within(function()
      peers.eventually(function() return g:status().generations_draining == 0 end, "the candidate to be freed")
    end)
    g:stop()
  end)

  it("is not judged by fewer requests than it needs", function()
    local g = start()
    stage(g, { share = 1, ["for"] = "1s", min = 20, abort_if = { "errors>1%" }, file = "bad.lua" })
    peers.within(function() peers.eventually(function() return now(g) ~= nil end, "the staging") end)
    for n = 1, 5 do assert.equal(500, ask(g, n).status) end
    local last = wait_end(g)
    assert.equal("promoted", last.outcome)
    assert.matches("with 5 requests", last.reason, 1, true)
    g:stop()
  end)

  it("is put in place when its time is up, with all that was the stable one's till then; nothing is lost on the way", function()
    local g = start { own = GOOD .. 'gateway.listen "127.0.0.1:${port2}"\n' }
    local lost, asked, by = {}, 0, { stable = 0, candidate = 0 }
    peers.within(function()
      local going = true
      for c = 1, 8 do
        peers.spawn(function()
          local conn = peers.connect(g.port)
          local n = c * 1000
          while going do
            n = n + 1
            local response = ask(g, n % 40, conn)
            asked = asked + 1
            if response.status ~= 200 or not by[response.body] then lost[#lost + 1] = response.status or "nothing" end
            if by[response.body] then by[response.body] = by[response.body] + 1 end
          end
          conn:close()
        end)
      end
      assert.equal(202, stage(g, { share = "40%", ["for"] = "60s", file = "good.lua" }).status)
      peers.eventually(function() return (now(g) or { candidate = { requests = 0 } }).candidate.requests > 20 end, "the staging")
      assert.equal(200, g:admin("/reload?end=back", "POST").status)
      peers.eventually(function() return g:status().generations_draining == 0 end, "the candidate to be freed")
      local answer = stage(g, { share = "40%", ["for"] = "700ms", abort_if = { "errors>0%", "p99>10s" }, min = 1, file = "own.lua",
        wait = true }, 20)
      assert.equal(200, answer.status, answer.body)
      assert.equal("promoted", answer.json.staged.last.outcome)
      assert.is_true(answer.json.ok)
      peers.sleep(0.05)
      going = false
    end)
    assert.same({}, lost)
    assert.is_true(by.stable > 50 and by.candidate > 50, "asked " .. asked)
    for n = 1, 40 do assert.equal("candidate", ask(g, n).body) end
    assert.equal(3, g:generation())
    assert.is_true(peers.within(function() return peers.reachable(g.vars.port2) end))
    peers.within(function()
      peers.eventually(function() return g:status().generations_draining == 0 end, "the old generation to be freed")
    end)
    g:stop()
  end)

  it("stays with the stable one's sockets until its end; a socket that cannot be had then takes it back", function()
    local taken, port = sys.listen "127.0.0.1:0"
    local g = start { own = GOOD .. ('gateway.listen "127.0.0.1:%d"\n'):format(port) }
    local answer = stage(g, { share = "50%", ["for"] = "200ms", file = "own.lua", wait = true }, 20)
    assert.equal(409, answer.status)
    assert.matches("it could not be put in place: ", answer.json.staged.last.reason, 1, true)
    assert.matches("in use", answer.json.staged.last.reason, 1, true)
    for n = 1, 10 do assert.equal("stable", ask(g, n).body) end
    sys.close(taken)
    g:stop()
  end)

  it("is refused when it cannot be built, and when what is asked for makes no sense", function()
    local g = start()
    local answer = stage(g, { share = "5%", file = "broken.lua", wait = true })
    assert.equal(422, answer.status)
    assert.matches("broken.lua", answer.json.errors[1], 1, true)
    assert.equal(422, stage(g, { share = "5%", file = "missing.lua" }).status)
    for query, words in pairs {
      ["share=0"] = "share: expected", ["share=200%25"] = "share: expected", ["share=x"] = "share: expected",
      ["for=5s"] = "share: expected",
      ["share=5%25&for=0"] = "for: expected", ["share=5%25&for=5y"] = "for: expected", ["share=5%25&min=0"] = "min: expected",
      ["share=5%25&abort_if=errors"] = "expected a condition", ["share=5%25&frob=1"] = "expected share, for",
      ["share=5%25&abort_if=errors%3Estable%2B5"] = "compared by their share", ["end=never"] = "end: expected promote or back",
    } do
      local refused = g:admin("/reload?" .. query, "POST")
      assert.equal(400, refused.status, query)
      assert.matches(words, refused.json.errors[1], 1, true)
    end
    assert.equal(409, g:admin("/reload?end=back", "POST").status)
    assert.equal(200, g:reload().status)
    g:stop()
  end)

  it("lets no other reload in: one that waits is refused, a saved file or a signal waits for the end", function()
    local g = start()
    assert.equal(202, stage(g, { share = "50%", ["for"] = "60s", file = "good.lua" }).status)
    peers.within(function() peers.eventually(function() return now(g) ~= nil end, "the staging") end)
    local refused = g:reload()
    assert.equal(409, refused.status)
    assert.matches("a staged reload is under way", refused.json.errors[1], 1, true)
    assert.equal(409, stage(g, { share = "5%" }).status)
    g:signal(sys.SIGHUP)
    g:log_wait(function(line) return line.message == "a reload is put off until the staged one has ended" end)
    assert.equal(200, g:admin("/reload?end=promote", "POST").status)
    g:wait_generation(3) -- the one that was put off loads the gateway's own script again
    assert.equal("stable", ask(g, 1).body)
    g:stop()
  end)

  it("is taken back when the gateway ends, and drains with it", function()
    local g = start()
    local result, slow
    peers.within(function()
      g.backends[1]:answer(function() peers.sleep(0.3) return { body = "late" } end)
      peers.spawn(function() result = stage(g, { share = 1, ["for"] = "60s", file = "good.lua", wait = true }, 20) end)
      peers.eventually(function() return now(g) ~= nil end, "the staging")
      peers.spawn(function() slow = peers.ask(g.port, { path = "/backend" }) end)
      peers.eventually(function() return #g.backends[1].requests == 1 end, "the request")
      g:signal(sys.SIGTERM)
      peers.eventually(function() return result and slow end, "both answers")
    end)
    assert.equal(503, result.status)
    assert.equal("the gateway is draining", result.json.staged.last.reason)
    assert.equal("late", slow.body)
    assert.equal(0, g:wait_exit())
    g:stop()
  end)

  it("is taken back when a binary upgrade begins, which goes on", function()
    local g = start()
    assert.equal(202, stage(g, { share = "50%", ["for"] = "60s", file = "good.lua" }).status)
    peers.within(function() peers.eventually(function() return now(g) ~= nil end, "the staging") end)
    sys.adopt_orphans()
    g:signal(sys.SIGUSR2)
    g:log_wait(function(line) return line.message == "the candidate generation was taken back" end)
    local line = g:log_wait(function(entry) return entry.message == "upgraded: the new process serves" end)
    g:succeeded_by(line.new_pid)
    for n = 1, 10 do assert.equal("stable", ask(g, n).body) end
    g:stop()
  end)

  it("survives a candidate whose script runs away, and is taken back for it", function()
    local lua = [[
gateway.route "/lua" { use = { function(request, next) %s return next() end }, to = gateway.respond(200, "x") }
]]
    local g = start { script = STABLE .. lua:format(""), own = GOOD .. lua:format("while true do end") }
    local answer = stage(g, { share = "50%", ["for"] = "60s", file = "own.lua", min = 3, abort_if = { "errors>stable+10%" } })
    assert.equal(202, answer.status, answer.body)
    peers.within(function()
      peers.eventually(function() return now(g) ~= nil end, "the staging")
      local conn = peers.connect(g.port)
      local n = 0
      while now(g) do
        n = n + 1
        conn:ask { path = "/lua", headers = { ["X-Forwarded-For"] = client(n) } }
      end
      conn:close()
    end)
    assert.matches("^errors>stable%+10%%: the candidate's is ", staged(g).last.reason)
    assert.equal(0, staged(g).last.stable.errors)
    peers.within(function()
      peers.eventually(function() return g:status().generations_draining == 0 end, "the candidate to be freed")
    end)
    for n = 1, 20 do assert.equal(200, g:ask({ path = "/lua", headers = { ["X-Forwarded-For"] = client(n) } }).status) end
    g:stop()
  end)

  it("leaves nothing behind, many times over", function()
    local g = start()
    local function round()
      assert.equal(202, stage(g, { share = "50%", ["for"] = "60s", file = "good.lua" }).status)
      for n = 1, 4 do ask(g, n) end
      assert.equal(200, g:admin("/reload?end=back", "POST").status)
      peers.within(function()
        peers.eventually(function() return g:status().generations_draining == 0 end, "the candidate to be freed")
      end)
    end
    for _ = 1, 8 do round() end
    local generations = g:status().generations_draining
    for _ = 1, 8 do round() end
    assert.equal(generations, g:status().generations_draining)
    assert.equal(1, g:generation())
    assert.equal(200, g:reload().status)
    assert.equal(18, g:generation()) -- each candidate had a number
    g:stop() -- and the leak checker has nothing to say
  end)

  it("shares limits with the stable one, whose settings hold until the end; new upstreams with breakers work", function()
    local with = [[
local l = gateway.rate_limit { name = "l", limit = %d, window = "1h", by = "none" }
gateway.route "/limited" { use = { l }, to = gateway.respond(200, "x") }
]]
    local g = start { script = STABLE .. with:format(5), own = GOOD .. with:format(100) .. [[
local fresh = gateway.upstream "fresh" { "${backend1}", breaker = { failures = 2, open_for = 60 }, concurrency = 5 }
gateway.route "/fresh" { to = fresh }
]] }
    local answer = stage(g, { share = "50%", ["for"] = "60s", file = "own.lua" })
    assert.equal(202, answer.status, answer.body)
    local admitted = 0
    peers.within(function()
      g.backends[1]:answer { status = 503 }
      peers.eventually(function() return now(g) ~= nil end, "the staging")
      local conn = peers.connect(g.port)
      for n = 1, 40 do
        local response = conn:ask { path = "/limited", headers = { ["X-Forwarded-For"] = client(n) } }
        if response.status == 200 then admitted = admitted + 1 end
      end
      local refused = 0
      for n = 1, 40 do
        local response = conn:ask { path = "/fresh", headers = { ["X-Forwarded-For"] = client(n) } }
        if response.status == 503 and response.headers:get "retry-after" then refused = refused + 1 end
      end
      conn:close()
      assert.equal(5, admitted)
      assert.is_true(refused > 5, "refused by the breaker: " .. refused)
    end)
    g:stop()
  end)

  it("runs scripts of both, with their timers", function()
    local lua = [[
local function by(request, next) local r = next() r.headers["X-By"] = "%s" return r end
gateway.route "/lua" { use = { by }, to = gateway.respond(200, "x") }
gateway.every(0.05, function() gateway.log.info("tick", { by = "%s" }) end)
]]
    local g = start { script = STABLE .. lua:format("stable", "stable"), own = GOOD .. lua:format("candidate", "candidate") }
    local answer = stage(g, { share = "50%", ["for"] = "60s", file = "own.lua" })
    assert.equal(202, answer.status, answer.body)
    local by = {}
    peers.within(function()
      peers.eventually(function() return now(g) ~= nil end, "the staging")
      local conn = peers.connect(g.port)
      for n = 1, 100 do
        local response = conn:ask { path = "/lua", headers = { ["X-Forwarded-For"] = client(n) } }
        by[response.headers:get "x-by" or response.head] = true
      end
      conn:close()
    end)
    assert.same({ stable = true, candidate = true }, by)
    local _, from = g:log_wait(function(line) return line.message == "tick" and line.by == "candidate" end)
    g:admin("/reload?end=promote", "POST")
    peers.within(function()
      peers.eventually(function() return g:status().generations_draining == 0 end, "the old generation to be freed")
    end)
    g:log_wait(function(line) return line.message == "tick" and line.by == "candidate" end, "a tick", #g:log() + 1)
    assert.is_true(from > 0)
    g:stop()
  end)
end)

describe("gateway reload --share", function()
  local runs = 0
  local function run(g, ...)
    runs = runs + 1
    local result, prefix = nil, ("%s/run%d."):format(g.dir, runs)
    local words = { gateway.binary(), "reload", "--admin", "127.0.0.1:" .. g.vars.admin, ... }
    local pid = assert(sys.spawn { argv = words, env = sys.environment(), stdout = prefix .. "out", stderr = prefix .. "err" })
    return function()
      local code
      peers.eventually(function()
        code = sys.ended(pid)
        return code ~= nil
      end, "the command to end", 20)
      local function read(name)
        local file = assert(io.open(prefix .. name))
        result = file:read "*a"
        file:close()
        return result
      end
      return code, read "out", read "err"
    end
  end

  it("waits for the end and says what came of it", function()
    local g = start()
    peers.within(function()
      local ended = run(g, "--share", "50%", "--for", "60s", "--abort-if", "errors>1%", "--abort-if", "p99>10s", "--script",
        g.dir .. "/bad.lua")
      peers.eventually(function() return now(g) ~= nil end, "the staging")
      assert.same({ "errors>1%", "p99>10s" }, now(g).abort_if)
      local conn = peers.connect(g.port)
      local n = 0
      while now(g) do
        n = n + 1
        ask(g, n, conn)
      end
      conn:close()
      local code, out, err, _ = ended()
      assert.equal(1, code)
      assert.equal("", out)
      assert.matches("^generation 2 was taken back: errors>1%%: the candidate's is 100%%\n", err)
      assert.matches("\n  candidate  %d+ requests, 100%% errors, mean ", err)

      code, out = run(g, "--share=50%", "--for=300ms", "--script", g.dir .. "/good.lua")()
      assert.equal(0, code)
      assert.matches("^generation 3 was put in place: its time is up", out)

      code, out = run(g, "--share=50%", "--for=60s", "--no-wait")()
      assert.equal(0, code)
      assert.matches("^staged       generation 4 for 50%% of the clients, 1 min 0 s left\n", out)
      code, out = run(g, "--promote")()
      assert.equal(0, code)
      assert.matches("^generation 4 was put in place: by hand\n", out)
      code, _, err = run(g, "--back")()
      assert.equal(1, code)
      assert.equal("no reload is staged\n", err)
      code, _, err = run(g, "--share=5%", "--script", g.dir .. "/broken.lua")()
      assert.equal(1, code)
      assert.matches("broken.lua:1: ", err, 1, true)
      assert.matches("reload refused: generation 4 goes on", err, 1, true)
      code, _, err = run(g, "--share=5%", "--script", g.dir .. "/not-there.lua")()
      assert.equal(1, code)
      assert.matches("No such file", err, 1, true)
      code, _, err = run(g, "--for=5s")()
      assert.equal(2, code)
      assert.matches("--share is expected", err, 1, true)
      assert.equal(2, (run(g, "--back", "--share=5%")()))
    end)
    g:stop()
  end)
end)
