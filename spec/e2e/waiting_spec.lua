-- Waiting in scripts: gateway.sleep, gateway.all, gateway.every, request:finally, and what ends them.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local SCRIPT = [=[${prelude}
gateway.timeouts { chain = 0.3 }
local b = gateway.upstream "b" { "${backend1}" }
local function to(path, f) gateway.route("= " .. path) { to = f } end
local function use(path, ...) gateway.route("= " .. path) { use = { ... }, to = b } end
local function said(value) return gateway.respond(200, tostring(value)) end
local wrap, resume, create = coroutine.wrap, coroutine.resume, coroutine.create

use("/before", function(_, next) gateway.sleep "20ms" return next() end)
use("/after", function(_, next) local r = next() gateway.sleep(0.02) r.headers.slept = "yes" return r end)
use("/after-then-body", function(_, next) local r = next() gateway.sleep(0.05) r.body = r:body():upper() return r end)
use("/both", function(_, next) gateway.sleep(0) local r = next() gateway.sleep(0) return r end, function(_, next) gateway.sleep(0)
  return next() end)
use("/body-then-sleep", function(q, next) local n = #q:body() gateway.sleep(0.02) q.headers["X-Read"] = n return next() end)
to("/to", function() gateway.sleep(0.02) return said "slept" end)
to("/to-upstream", function() gateway.sleep(0.02) return b end)
to("/result", function() return said(gateway.sleep(0)) end)
to("/pcall", function()
  local good, problem = pcall(function() gateway.sleep(0.01) error("inside", 0) end)
  return said(tostring(good) .. " " .. problem)
end)
to("/metamethod", function()
  local t = setmetatable({}, { __index = function() gateway.sleep(0.01) return "found" end })
  return said(t.x)
end)
to("/generator", function()
  local out = {}
  for i in wrap(function() for i = 1, 3 do gateway.sleep(0.01) coroutine.yield(i) end end) do out[#out + 1] = i end
  return said(table.concat(out, ","))
end)
to("/nested", function()
  return said(wrap(function() return wrap(function() gateway.sleep(0.01) return "deep" end)() end)())
end)
to("/resume", function()
  local co = create(function(a) gateway.sleep(0.01) local c = coroutine.yield(a + 1) gateway.sleep(0.01) error("end " .. c, 0) end)
  local _, first = resume(co, 1)
  local good, second = resume(co, "x")
  return said(first .. " " .. tostring(good) .. " " .. second .. " " .. coroutine.status(co))
end)
local kept
to("/keep", function() kept = create(function() gateway.sleep(0.2) end) resume(kept) return said "kept" end)
to("/steal", function() local good, problem = resume(kept) return said(tostring(good) .. " " .. problem) end)
to("/steal-wrapped", function()
  local f
  local ok, why
  f = wrap(function() gateway.sleep(0.05) end)
  gateway.all { f, function() ok, why = pcall(f) end }
  return said(tostring(ok) .. " " .. why)
end)
to("/sort", function() table.sort({ 2, 1 }, function() gateway.sleep(0.01) return false end) return said "sorted" end)
to("/wrong", function() gateway.sleep("soon") end)
to("/negative", function() gateway.sleep(-1) end)
to("/yield-in-all", function() gateway.all { function() coroutine.yield(1) end } end)

to("/all", function()
  local started, most = 0, 0
  local function one(value)
    return function() started = started + 1 gateway.sleep(0.02) most = math.max(most, started) return value end
  end
  local a, n, c = gateway.all { one "a", function() end, one "c" }
  return said(a .. tostring(n) .. c .. most)
end)
to("/all-nested", function()
  local function inner(x) return function() local a, b = gateway.all { function() gateway.sleep(0.01) return x .. 1 end,
    function() return x .. 2 end } return a .. b end end
  return said(table.concat({ gateway.all { inner "a", inner "b" } }, " "))
end)
to("/all-generators", function()
  local function f(x) return function() local out = "" for i in wrap(function() for i = 1, 2 do gateway.sleep(0.01)
    coroutine.yield(x .. i) end end) do out = out .. i end return out end end
  return said(table.concat({ gateway.all { f "a", f "b" } }, " "))
end)
to("/all-fails", function()
  local on = false
  local good, problem = pcall(gateway.all, {
    function() gateway.all { function() gateway.sleep(60) on = true end } end, function() gateway.sleep(60) on = true end,
    function() gateway.sleep(0.02) error("one failed", 0) end })
  gateway.sleep(0.02)
  return said(tostring(good) .. " " .. problem .. " " .. tostring(on))
end)
to("/all-none", function() return said(select("#", gateway.all {})) end)
to("/all-body", function(q)
  local body = gateway.all { function() return q:body() end, function() gateway.sleep(0.01) end }
  return said(body)
end)
use("/all-body-given-up", function(q, next)
  pcall(gateway.all, { function() return q:body() end, function() gateway.sleep(0.05) error "no patience" end })
  return next()
end)
use("/all-next", function(_, next) gateway.all { next } end)
to("/all-many", function() local t = {} for i = 1, 101 do t[i] = function() end end gateway.all(t) end)
to("/all-not-functions", function() gateway.all { 1 } end)
to("/all-too-much", function()
  local t = {}
  for i = 1, 3 do t[i] = function()
    local inner = {}
    for k = 1, 100 do inner[k] = function() return (select(2, gateway.sleep(0.05))) or false end end
    return { gateway.all(inner) }
  end end
  local refused, why = 0, nil
  for _, list in ipairs { gateway.all(t) } do
    for _, problem in ipairs(list) do if problem then refused, why = refused + 1, problem end end
  end
  return said(refused .. " " .. why)
end)

to("/forever", function() while true do gateway.sleep(0.1) end end)
use("/forever-after", function(_, next) next() while true do gateway.sleep(0.1) end end)
to("/in-pieces", function() for _ = 1, 3 do gateway.sleep(0.05) end return said "done" end)

local function final(q, word)
  q:finally(function(status, problem)
    gateway.log.info("final", { word = word, status = status, problem = problem, path = q.path, ctx = q.ctx.word,
      agent = q.headers["x-agent"] })
  end)
end
use("/final", function(q, next) q.ctx.word = "kept" final(q, "first") final(q, "second") return next() end)
use("/final-after", function(q, next) local r = next() q.ctx.word = "kept" final(q, "after") return r end)
to("/final-made", function(q) final(q, "made") return said "made" end)
to("/final-error", function(q) final(q, "error") error "boom" end)
to("/final-waits", function(q) final(q, "outer") q:finally(function() gateway.sleep(1) end) q:finally(function() error "own" end)
  q:finally(function() coroutine.yield() end) q:finally(function() q:finally(function() end) end) q:finally(function() q:body() end)
  return said "waits" end)
to("/final-forever", function(q) final(q, "forever") gateway.sleep(60) end)
to("/final-gone", function(q) final(q, "gone") gateway.all { function() gateway.sleep(0.2) end, function() gateway.sleep(0.2) end } end)
to("/final-wrong", function(q) q:finally(1) end)
to("/final-many", function(q) for _ = 1, 101 do q:finally(function() end) end end)
use("/final-response", function(q, next) local r = next() q:finally(function() gateway.log.info("final", { word = "response",
  status = r.status, type = r.headers["content-type"] or "none" }) end) return r end)
]=]

describe("waiting:", function()
  local g, b

  lazy_setup(function()
    g = gateway.start { backends = 1, script = SCRIPT }
    b = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  local function ask(request, answer)
    local response
    peers.run(function()
      b:answer(answer or { body = "hello" })
      response = g:ask(request)
    end)
    return response
  end

  local function finals(from, word)
    return g:log_wait(function(l) return l.message == "final" and l.word == word end, "finalizer " .. word, from)
  end

  for _, case in ipairs {
    { "/before", "hello" }, { "/after", "hello", "slept" }, { "/after-then-body", "HELLO" }, { "/both", "hello" }, { "/to", "slept" },
    { "/to-upstream", "hello" }, { "/result", "true" }, { "/pcall", "false inside" }, { "/metamethod", "found" },
    { "/generator", "1,2,3" }, { "/nested", "deep" }, { "/resume", "2 false end x dead" }, { "/all", "anilc2" },
    { "/all-nested", "a1a2 b1b2" }, { "/all-generators", "a1a2 b1b2" }, { "/all-fails", "false one failed false" }, { "/all-none", "0" },
    { "/all-too-much", "44 too many things are waited for at once" }, { "/in-pieces", "done" },
    { "/steal-wrapped", "cannot resume a coroutine that waits (in gateway.sleep, gateway.fetch, next() or the like)", loose = true },
  } do
    it("goes on " .. case[1], function()
      local response = ask(case[1])
      assert.equal(200, response.status)
      if case.loose then
        assert.truthy(response.body:find(case[2], 1, true), response.body)
      else
        assert.equal(case[2], response.body)
      end
      if case[3] then assert.equal("yes", response.headers:get(case[3])) end
    end)
  end

  for _, case in ipairs {
    { "/sort", "what waits cannot be called from here: a function of C (table.sort, string.gsub, ...) stands in between", anywhere = true },
    { "/wrong", 'gateway.sleep: expected a duration (seconds, or a string such as "250ms", "30s", "5m", "1h"), found "soon"' },
    { "/negative", "gateway.sleep: expected a duration" },
    { "/yield-in-all", "a function that gateway.all ran called coroutine.yield outside a coroutine of its own", anywhere = true },
    { "/all-next", "next() cannot be called inside of gateway.all", anywhere = true },
    { "/all-many", "gateway.all: expected at most 100 functions, found 101" },
    { "/all-not-functions", "gateway.all: [1]: expected a function, found 1" },
    { "/final-wrong", "request:finally: expected a function, found 1" }, { "/final-many", "a request can have at most 100" },
  } do
    it("says what is wrong " .. case[1], function()
      local from = #g:log() + 1
      assert.equal(500, ask(case[1]).status)
      local line = g:log_wait(function(l) return l.message == "script error" end, "an error", from)
      assert.truthy(line.error:find(case[2], 1, true), line.error)
      if not case.anywhere then assert.truthy(line.error:find("main.lua:", 1, true), line.error) end
    end)
  end

  it("reads a body beside other things, and forwards one that was given up", function()
    assert.equal("all of it", ask({ path = "/all-body", method = "POST", body = "all of it" }).body)
    peers.run(function()
      b:answer(function(request) return { body = request.body } end)
      local client = g:client()
      client:write "POST /all-body-given-up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345"
      peers.sleep(0.15)
      client:write "67890"
      local response = client:read_response()
      assert.equal(200, response.status)
      assert.equal("1234567890", response.body)
    end)
    ask { path = "/body-then-sleep", method = "POST", body = "abcd" }
    assert.equal("4", b:last().headers:get "x-read")
  end)

  it("refuses to resume what waits in another request", function()
    peers.run(function()
      local one = g:client()
      one:write(message.request { path = "/keep" })
      peers.eventually(function()
        return g:ask("/steal").body:find("cannot resume a coroutine that waits", 1, true)
      end, "a refusal")
      assert.equal("kept", one:read_response().body)
    end)
  end)

  it("has a bound on all waits of a request: 504", function()
    for _, path in ipairs { "/forever", "/forever-after" } do
      local from = #g:log() + 1
      local response = ask(path)
      assert.equal(504, response.status)
      assert.equal("Gateway Timeout", cjson.decode(response.body).error)
      local line = g:log_wait(function(l) return l.type == "access" and l.path == path end, "a line", from)
      assert.equal("the script waited for longer than timeouts.chain", line.error)
      assert.is_true(line.duration >= 0.29 and line.duration < 5)
    end
    assert.equal("hello", ask("/before").body)
  end)

  describe("finalizers", function()
    it("run newest first, and see the request", function()
      local from = #g:log() + 1
      ask { path = "/final", headers = { ["X-Agent"] = "me" } }
      local second, at = finals(from, "second")
      local first, after = finals(from, "first")
      assert.is_true(at < after)
      assert.same({ 200, "/final", "kept", "me" }, { first.status, first.path, first.ctx, first.agent })
      assert.is_nil(second.problem)
      assert.equal("/final", second.route:sub(3))
      local _, access = g:log_wait(function(l) return l.type == "access" and l.path == "/final" end, "a line", from)
      assert.is_true(after < access)
    end)

    it("run after next(), for what a script made, after an error, and when a request waited too long", function()
      for _, case in ipairs { { "/final-after", "after", 200 }, { "/final-made", "made", 200 },
        { "/final-error", "error", 500, "script error" },
        { "/final-forever", "forever", 504, "the script waited for longer than timeouts.chain" } } do
        local from = #g:log() + 1
        assert.equal(case[3], ask(case[1]).status)
        local line = finals(from, case[2])
        assert.equal(case[3], line.status)
        assert.equal(case[4], line.problem)
      end
    end)

    it("do not see another request's, and nothing of a response that has gone", function()
      local from = #g:log() + 1
      for _ = 1, 3 do ask "/final-response" end
      local line = finals(from, "response")
      assert.same({ 200, "none" }, { line.status, line.type })
    end)

    it("fail alone", function()
      local from = #g:log() + 1
      assert.equal("waits", ask("/final-waits").body)
      finals(from, "outer")
      local said = {}
      for _, line in ipairs(g:log()) do
        if line.message == "finalizer failed" then said[#said + 1] = line.error end
      end
      said = table.concat(said, "\n")
      for _, text in ipairs { "gateway.sleep waits", "own", "coroutine.yield", "a finalizer cannot have another" } do
        assert.truthy(said:find(text, 1, true), said)
      end
    end)

    it("run when the client goes away while the script waits", function()
      for _, how in ipairs { "close", "reset" } do
        local from = #g:log() + 1
        peers.run(function()
          local client = g:client()
          client:write(message.request { path = "/final-gone" })
          peers.sleep(0.02)
          client[how](client)
          local line = finals(from, "gone")
          assert.equal(499, line.status)
          assert.equal("client went away before the response", line.problem)
        end)
      end
    end)
  end)

  it("takes a thousand waiting requests at once, and keeps nothing of them", function()
    local function round()
      peers.run(function()
        local clients = {}
        for i = 1, 1000 do
          clients[i] = g:client()
          clients[i]:write(message.request { path = i % 2 == 0 and "/to" or "/final-gone" })
        end
        for i = 1, 1000 do
          if i % 2 == 0 then assert.equal("slept", clients[i]:read_response().body) else clients[i]:close() end
        end
      end)
    end
    round()
    assert.equal("slept", ask("/to").body)
  end)
end)

describe("waiting while the gateway changes:", function()
  local SLOW = [=[${prelude}
    gateway.every("${interval}", function()
      gateway.log.info("run", { n = ${n}, phase = "begin" })
      gateway.sleep(${length})
      gateway.log.info("run", { n = ${n}, phase = "end" })
    end, { ${options} })
    gateway.every(0.02, function() error "in a timer" end, { jitter = 0 })
    gateway.every(0.02, function() gateway.log.info "stuck" gateway.sleep(60) end, { timeout = "50ms" })
    gateway.route "= /slow" { to = function(q)
      q:finally(function(status) gateway.log.info("final", { status = status }) end)
      gateway.log.info "slow"
      gateway.sleep(0.4) return gateway.respond(200, "slow ${n}") end }
    gateway.route "= /n" { to = gateway.respond(200, "${n}") }
    gateway.route "= /stuck" { to = function(q) q:finally(function(status) gateway.log.info("final", { status = status }) end)
      gateway.log.info "slow" gateway.sleep(50) end }
  ]=]

  local function start(vars, workers)
    local all = { n = 1, interval = "30ms", length = 0.05, options = "" }
    for name, value in pairs(vars) do all[name] = value end
    return gateway.start { script = SLOW, vars = all, workers = workers }
  end

  local function is(n, phase) return function(l) return l.message == "run" and l.n == n and (not phase or l.phase == phase) end end

  it("a request that waits ends by the script that it began with", function()
    local g = start {}
    peers.run(function()
      local client = g:client()
      client:write(message.request { path = "/slow" })
      g:log_wait(function(l) return l.message == "slow" end)
      g.vars.n = 2
      g:write("main.lua", SLOW)
      assert.equal(200, g:reload().status)
      assert.equal("2", g:ask("/n").body)
      assert.equal("slow 1", client:read_response().body)
    end)
    g:stop()
  end)

  it("timers fire, wait, do not overlap, run on one worker, and fail alone", function()
    local g = start({}, 3)
    local _, at = g:log_wait(is(1, "end"))
    _, at = g:log_wait(is(1, "end"), "a second run", at + 1)
    g:log_wait(is(1, "end"), "a third run", at + 1)
    local error_line = g:log_wait(function(l) return l.message == "script error" and l.timer and l.error:find "in a timer" end)
    assert.truthy(error_line.timer:find("main.lua:%d+$"))
    g:log_wait(function(l) return l.message == "script error" and l.error:find("longer than its timeout", 1, true) end)
    g:log_wait(function(l) return l.message == "stuck" end, "a run after one that was ended", select(2,
      g:log_wait(function(l) return l.message == "script error" and l.error:find("longer than its timeout", 1, true) end)) + 1)
    local open = 0
    for _, line in ipairs(g:log()) do
      if is(1)(line) then
        open = open + (line.phase == "begin" and 1 or -1)
        assert.is_true(open == 0 or open == 1)
      end
    end
    g:stop()
  end)

  it("each_worker runs on every worker, at_once at once", function()
    local g = start({ interval = "1h", options = "each_worker = true, at_once = true", length = 0 }, 3)
    peers.within(function()
      peers.eventually(function() return g:log_count(is(1, "end")) == 3 end, "a run on each worker")
    end)
    g:stop()
  end)

  it("timers end with their generation, runs under way included, and do not keep it", function()
    local g = start { length = 30, options = "at_once = true" }
    g:log_wait(is(1, "begin"))
    g.vars.n = 2
    g:write("main.lua", SLOW)
    assert.equal(200, g:reload().status)
    local _, at = g:log_wait(is(2, "begin"))
    peers.within(function()
      peers.eventually(function() return g:status().generations_draining == 0 or g:status().draining_generations == 0
        or not g:status().retired or g:status().retired == 0 end, "the old generation to go")
    end)
    g:reload()
    g:log_wait(is(2, "begin"), "a run of the third", at + 1)
    for i = at, #g:log() do assert.is_false(is(1)(g:log()[i])) end
    g:stop()
  end)

  it("a drain lets a waiting request end, and ends timers", function()
    local g = start { length = 30, options = "at_once = true" }
    g:log_wait(is(1, "begin"))
    peers.run(function()
      local client = g:client()
      client:write(message.request { path = "/slow" })
      g:log_wait(function(l) return l.message == "slow" end)
      g:signal(15)
      assert.equal("slow 1", client:read_response().body)
    end)
    assert.equal(0, g:wait_exit())
    assert.is_not_nil(g:log_wait(function(l) return l.message == "final" and l.status == 200 end))
    g:stop()
  end)

  it("when the time to drain is up, finalizers still run", function()
    local g = gateway.start { script = "${prelude} gateway.timeouts { drain = 0.1 }" .. SLOW:gsub("${prelude}", ""),
      vars = { n = 1, interval = "1h", length = 0, options = "" } }
    peers.run(function()
      local client = g:client()
      client:write(message.request { path = "/stuck" })
      g:log_wait(function(l) return l.message == "slow" end)
      g:signal(15)
      client:wait_end()
    end)
    assert.equal(0, g:wait_exit())
    g:log_wait(function(l) return l.message == "final" and l.status == 503 end)
    g:stop()
  end)

  it("says what is wrong with a timer, at load", function()
    local run = gateway.command { args = { "check", "${dir}/main.lua" }, script = [[${prelude}
      gateway.every("soon", function() end)
      gateway.every(1, "f")
      gateway.every(1, function() end, { jiter = 1 })
      gateway.every(0, function() end)
      gateway.route "/" { to = gateway.respond(200) }
      gateway.sleep(1)]] }
    assert.equal(1, run.code)
    local said = run.stdout .. run.stderr
    for _, text in ipairs { "main.lua:2: gateway.every: expected a duration",
      "main.lua:3: gateway.every: expected a function to run, found",
      "main.lua:4: gateway.every: unknown option", "did you mean", "main.lua:5: gateway.every:",
      "main.lua:7: gateway.sleep waits: it can be called in a request or a timer, not while the script loads" } do
      assert.truthy(said:find(text, 1, true), said)
    end
  end)
end)

