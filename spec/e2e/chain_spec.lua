-- The chain of functions from inside: what a middleware may do and what it is told when it may not. Each case is one function, whose error
-- must stand in the log with the words that are expected, and never in the answer.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

-- name, Lua of the middleware (f), words of the error
local wrong = {
  { "nothing", "function(request, next) end", "neither called next() nor returned a response" },
  { "nothing inside", "function(request, next) return next() end, function() end", "neither called next() nor returned a response" },
  { "a number", "function() return 7 end", "returned 7: expected a response" },
  { "a string", "function() return 'x' end", 'returned "x": expected a response' },
  { "a table", "function() return { status = 200 } end", "returned a table: expected a response" },
  { "the request", "function(request) return request end", "returned a request: expected a response" },
  { "twice", "function(request, next) next() local r = next() return r end", "next() was called a second time" },
  { "across a function of C", "function(request, next) table.sort({ 2, 1 }, function() coroutine.wrap(next)() end) end",
    "what waits cannot be called from here: a function of C" },
  { "a yield", "function() coroutine.yield(1) end", "the script called coroutine.yield outside a coroutine of its own" },
  { "an error table", "function() error({}) end", "the script raised a table instead of a message" },
  { "an error with __tostring", "function() error(setmetatable({}, { __tostring = function() return 'my words' end })) end", "my words" },
  { "request: unknown field", "function(request) return request.pth end", 'request: unknown field "pth" (did you mean "path"?)' },
  { "request: no place of one's own", "function(request) request.mine = 1 end", "things of your own belong in request.ctx" },
  { "request: read only", "function(request) request.method = 'PUT' end", "request.method cannot be set" },
  { "request: headers as such", "function(request) request.headers = {} end", "request.headers cannot be replaced" },
  { "request: cookies", "function(request) request.cookies.a = 'b' end", "request.cookies cannot be set" },
  { "request: upstream", "function(request) request.upstream = 'bb' end", 'request.upstream: unknown upstream "bb"' },
  { "request: no upstream", "function(request) request.upstream = {} end", "expected an upstream or the name of one, found a table" },
  { "request: upstream, late", "function(request, next) local r = next() request.upstream = 'b' return r end",
    "the request has been forwarded already" },
  { "request: path", "function(request) request.path = 5 end", "request.path: expected a string, found 5" },
  { "request: path with ?", "function(request) request.path = '/a?b' end", "'?' and '#' end a path" },
  { "request: path above the root", "function(request) request.path = '/../a' end", 'request.path: found "/../a": ' },
  { "request: query", "function(request) request.query = 'a b' end", "request.query: expected percent-encoded text" },
  { "header: name", "function(request) request.headers['a b'] = 'c' end", 'header name: expected letters, digits and -, found "a b"' },
  { "header: line end", "function(request) request.headers.a = 'c\\nd' end", 'header "a": expected a string without line ends' },
  { "header: a boolean", "function(request) request.headers.a = true end", 'header "a": expected a string' },
  { "header: framing", "function(request) request.headers['content-length'] = '5' end", 'header "content-length" frames the connection' },
  { "header: framing removed", "function(request) request.headers['transfer-encoding'] = nil end", "frames the connection" },
  { "header: a bad host", "function(request) request.headers.host = 'a b' end", 'header "host": found "a b", which may not stand there' },
  { "header: too many", "function(request) for i = 1, 1000 do request.headers['x' .. i] = 'y' end end", "no room for another field" },
  { "response: status", "function(request, next) local r = next() r.status = 99 return r end", "response.status: expected a status" },
  { "response: status text", "function(request, next) local r = next() r.status = '200' return r end",
    "response.status: expected a status" },
  { "response: unknown", "function(request, next) local r = next() return r.sttus end", 'unknown field "sttus" (did you mean "status"?)' },
  { "response: own field", "function(request, next) local r = next() r.x = 1 return r end", "response has no field" },
  { "response: body", "function(request, next) local r = next() r.body = {} return r end", "response.body: expected a string" },
  { "made: status", "function() local r = gateway.respond(200) r.status = 9 return r end", "expected a number from 200 to 599, found 9" },
  { "made: body", "function() local r = gateway.respond(200) r.body = {} return r end", "response.body: expected a string" },
  { "respond: status", "function() return gateway.respond('x') end", "gateway.respond: expected a status from 200 to 599" },
  { "declaring", "function() gateway.route '/x' end", "it can be called only while the script loads" },
  { "a plugin for a request", "function() gateway.plugin 'x' end", "it can be called only while the script loads" },
}

-- name, Lua of the middlewares, what comes: status, body or false, header to look at and its value
local right = {
  { "nothing after next()", "function(_, next) next() end", 200, "backend" },
  { "nothing after next(), inside", "function(_, next) local r = next() r.headers.a = 'b' end, function(_, next) next() end", 200,
    "backend", "a", "b" },
  { "nothing after another's answer", "function(_, next) next() end, function() return gateway.respond(201, 'mine') end", 201, "mine" },
  { "another answer after next()", "function(_, next) next() return gateway.respond(202, 'late') end", 202, "late" },
  { "pcall around next()", "function(_, next) local ok, r = pcall(next) r.headers.ok = tostring(ok) return r end", 200, "backend", "ok",
    "true" },
  { "pcall around one that fails",
    "function(_, next) local ok, e = pcall(next) return gateway.respond(503, tostring(ok)) end, function() error 'x' end",
    503, "false" },
  { "an answer held back", "function(_, next) local r = next() r.headers.n = r.headers.n .. '2' return r end, "
    .. "function() return gateway.respond(200, 'x', { N = '1' }) end", 200, "x", "n", "12" },
  { "a list in a header", "function(_, next) local r = next() r.headers['x-list'] = { 'a', 'b' } r.headers:add('x-list', 'c') "
    .. "r.headers.all = table.concat(r.headers:all('X-List'), '|') return r end", 200, "backend", "all", "a|b|c" },
  { "each of a response", "function(_, next) local r = next() local n = {} for k in r.headers:each() do n[#n + 1] = k:lower() end "
    .. "table.sort(n) r.headers.names = table.concat(n, ' ') return r end", 200, "backend", "names", "content-length x-back" },
  { "a number in a header", "function(_, next) local r = next() r.headers.n = 5 return r end", 200, "backend", "n", "5" },
  { "a header taken away",
    "function(_, next) local r = next() r.headers['X-BACK'] = nil r.headers.gone = tostring(r.headers['x-back']) return r end",
    200, "backend", "gone", "nil" },
  { "a body as a number", "function(_, next) local r = next() r.body = 12 return r end", 200, "12" },
  { "the body of an answer made here", "function(_, next) local r = next() r.body = r:body() .. '!' return r end, "
    .. "function() return gateway.respond(200, 'made') end", 200, "made!" },
  { "JSON", "function() return gateway.respond(200, { a = 1 }) end", 200, '{"a":1}', "content-type", "application/json" },
  { "a content type of one's own", "function() return gateway.respond(200, '<a/>', { ['content-type'] = 'text/xml' }) end", 200, "<a/>",
    "content-type", "text/xml" },
  { "a redirect", "function() return gateway.redirect('/x', 307) end", 307, "", "location", "/x" },
  { "an own coroutine", "function(_, next) local f = coroutine.wrap(function() coroutine.yield(1) return 2 end) f() local r = next() "
    .. "r.headers.n = f() return r end", 200, "backend", "n", "2" },
  { "next() in an own coroutine", "function(_, next) local r = coroutine.wrap(function() return next() end)() r.headers.n = 1 return r end",
    200, "backend", "n", "1" },
  { "next() in an own coroutine, by a tail call", "function(_, next) return coroutine.wrap(next)() end", 200, "backend" },
  { "a loop of tail calls",
    "function(_, next) local function f(n) if n == 0 then return next() end return f(n - 1) end return f(10000) end", 200,
    "backend" },
  { "ctx is empty",
    "function(request, next) local n = request.ctx.n request.ctx.n = 1 local r = next() r.headers.n = tostring(n) return r end",
    200, "backend", "n", "nil" },
  { "a fixed upstream's name", "function(request, next) local r = next() r.headers.up = request.upstream return r end", 200, "backend",
    "up", "b" },
  { "gateway.now",
    "function(request, next) local r = next() r.headers.ok = tostring(gateway.now() - request.started < 60) return r end", 200,
    "backend", "ok", "true" },
  { "a host of one's own", "function(request, next) request.headers.host = 'other.example:81' return next() end", 200, "backend" },
}

describe("the chain:", function()
  local g

  lazy_setup(function()
    local script = { '${prelude} local b = gateway.upstream "b" { "${backend1}" }\n' }
    for i, case in ipairs(wrong) do script[#script + 1] = ('gateway.route "= /wrong/%d" { to = b, use = { %s } }\n'):format(i, case[2]) end
    for i, case in ipairs(right) do script[#script + 1] = ('gateway.route "= /right/%d" { to = b, use = { %s } }\n'):format(i, case[2]) end
    script[#script + 1] = [[
      local kept, kept_headers
      gateway.route "= /keep" { to = b, use = { function(request, next) kept, kept_headers = request, request.headers return next() end } }
      gateway.route "= /kept" { to = function(request)
        local out = {}
        for i, f in ipairs {
          function() return kept.path end, function() return kept_headers.host end, function() kept_headers.a = "b" end,
          function() return kept.cookies.a end, function() return kept:body() end, function() kept.path = "/x" end,
        } do
          local ok, message = pcall(f)
          out[i] = ok and "fine" or tostring(message)
        end
        return gateway.respond(200, out)
      end }
      gateway.route "= /log" { name = "logging", to = function(request)
        gateway.log.warn("a word", { n = 1, list = { "a" }, bad = "\255" })
        print("printed", 2)
        return gateway.respond(200)
      end }
      gateway.script { cpu = "20s" }
      gateway.route "= /memory" { to = function() local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(1e6) .. i end end }
      local ups = { b = b }
      gateway.route "= /to/number" { to = function() return 5 end }
      gateway.route "= /to/split" { to = function() return ups end }
      gateway.route "= /to/upstream" { to = function(request) return ups[request.query] end, use = { function(_, next) return next() end } }
    ]]
    g = gateway.start { backends = 1, script = table.concat(script) }
  end)
  lazy_teardown(function() g:stop() end)

  local function ask(request)
    local response
    peers.run(function()
      g.backends[1]:answer(function() return { headers = { ["X-Back"] = "1" }, body = "backend" } end)
      response = g:ask(request)
    end)
    return response
  end

  for i, case in ipairs(wrong) do
    it("refuses " .. case[1], function()
      local from = #g:log() + 1
      local response = ask("/wrong/" .. i)
      assert.equal(500, response.status)
      assert.equal("Internal Server Error", cjson.decode(response.body).error)
      local line = g:log_wait(function(l)
        return l.message == "script error" and l.route == "= /wrong/" .. i
      end, "an error for " .. case[1], from)
      assert.truthy(line.error:find(case[3], 1, true), line.error)
      assert.truthy(line.source:find("main.lua:" .. i + 1 .. "$"), line.source)
      assert.equal(cjson.decode(response.body).request_id, line.request_id)
    end)
  end

  for i, case in ipairs(right) do
    it("lets " .. case[1], function()
      for _ = 1, 3 do -- a task that was used before does the same
        local response = ask("/right/" .. i)
        assert.equal(case[3], response.status, g:stderr())
        assert.equal(case[4], response.body)
        if case[5] then assert.equal(case[6], response.headers:get(case[5])) end
      end
    end)
  end

  it("compiled code says the same as interpreted code", function()
    peers.run(function()
      g.backends[1]:answer(function() return { headers = { ["X-Back"] = "1" }, body = "backend" } end)
      local client = g:client()
      for i, case in ipairs(right) do
        for round = 1, 150 do
          local response = client:ask("/right/" .. i)
          assert.equal(case[3], response.status, case[1] .. ", round " .. round)
          assert.equal(case[4], response.body, case[1])
          if case[5] then assert.equal(case[6], response.headers:get(case[5]), case[1]) end
        end
      end
    end, { seconds = 60 })
  end)

  it("a request that was kept raises when it is used", function()
    assert.equal(200, ask("/keep").status)
    local said = cjson.decode(ask("/kept").body)
    assert.equal(6, #said)
    for i = 1, 6 do assert.truthy(said[i]:find("this request has ended", 1, true), said[i]) end
  end)

  it("log lines carry the route and the request's id", function()
    local from = #g:log() + 1
    local response = ask { path = "/log", headers = { ["X-Request-ID"] = "abc-12345678" } }
    assert.equal(200, response.status)
    local line = g:log_wait(function(line) return line.message == "a word" end, "the script's line", from)
    assert.same({ "warn", "logging", "abc-12345678", 1, { "a" }, "\239\191\189" },
      { line.level, line.route, line.request_id, line.n, line.list, line.bad })
    line = g:log_wait(function(l) return l.message == "printed\t2" end, "what was printed", from)
    assert.equal("info", line.level)
  end)

  it("a script that takes all memory gets 500, and the next request is served", function()
    local from = #g:log() + 1
    assert.equal(500, ask("/memory").status)
    g:log_wait(function(line) return line.message == "script error" and line.error:find("not enough memory", 1, true) end, "the reason",
      from)
    assert.equal(200, ask("/right/1").status)
    assert.equal(500, ask("/memory").status)
    assert.equal(200, ask("/right/2").status)
  end)

  for _, case in ipairs {
    { "a number", "/to/number", "returned 5: expected an upstream or a response" },
    { "a table", "/to/split", "returned a table: expected an upstream or a response" },
    { "nothing", "/to/upstream?none", "returned nothing: expected an upstream or a response" },
  } do
    it("to = function may not give " .. case[1], function()
      local from = #g:log() + 1
      assert.equal(500, ask(case[2]).status)
      local line = g:log_wait(function(l)
        return l.message == "script error" and l.route == "= " .. case[2]:match("^[^?]*")
      end, "an error", from)
      assert.truthy(line.error:find(case[3], 1, true), line.error)
    end)
  end

  it("to = function may give an upstream behind tail calls", function()
    for _ = 1, 3 do assert.equal("backend", ask("/to/upstream?b").body) end
  end)

  it("clients that go away in the middle leave nothing behind", function()
    peers.run(function()
      g.backends[1]:serve(function(conn)
        conn:read_request()
        conn:hang()
      end)
      for _ = 1, 30 do
        local client = g:client()
        client:write("GET /right/5 HTTP/1.1\r\nHost: a\r\n\r\n")
        peers.sleep(0.002)
        client:reset()
      end
    end)
    assert.equal(200, ask("/right/5").status)
  end)
end)
