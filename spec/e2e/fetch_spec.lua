-- gateway.fetch, over the wire: what it sends, what it takes, and what comes of peers that do not behave.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local SCRIPT = [=[${prelude}
gateway.timeouts { chain = 10 }
local one = "http://${backend1}"
local up = gateway.upstream "up" { "${backend1}" }
local careful = gateway.upstream "careful" { "${backend1}", "${backend3}",
  retry = { attempts = 2, on = { "connect", "reset", 503 } }, timeouts = { connect = 1, first_byte = 1, total = 2 } }
local dead = gateway.upstream "dead" { "${backend2}" }
local broken = gateway.upstream "broken" { "${backend2}", breaker = { failures = 1, open_for = 60 } }
local sticky = gateway.upstream "sticky" { "${backend1}", "${backend3}", balance = "hash", hash_on = "header:x-key" }
local function said(value, problem) return gateway.respond(200, value == nil and "nil " .. tostring(problem) or tostring(value)) end
local function to(path, f) gateway.route("= " .. path) { to = f } end
local function shown(r, problem)
  if not r then return said(nil, problem) end
  local out = { status = r.status, body = r.body, from = r.headers["X-FROM"], all = r.headers:all("set-cookie") }
  return gateway.respond(200, out)
end

to("/get", function(q) return shown(gateway.fetch(one .. "/there?" .. q.query)) end)
to("/post", function() return shown(gateway.fetch(one .. "/p", { method = "POST", body = "some", headers = {
  ["X-One"] = "1", ["X-Two"] = { "a", "b" }, Host = "other.example", ["x-request-id"] = "mine" } })) end)
to("/table", function() return shown(gateway.fetch(one, { body = { a = { 1, 2 } } })) end)
to("/put-nothing", function() return shown(gateway.fetch(one, { method = "PUT" })) end)
to("/head", function() return shown(gateway.fetch(one, { method = "HEAD" })) end)
to("/json", function() return said(gateway.fetch(one .. "/json"):json().deep[2].x) end)
to("/localhost", function() return shown(gateway.fetch("http://localhost:${backend1_port}/name")) end)
to("/unix", function() return shown(gateway.fetch("unix:${dir}/peer.sock:/over/unix?a=1")) end)
to("/upstream", function() return shown(gateway.fetch(up, { path = "/in/upstream?b=2", headers = { ["X-A"] = "1" } })) end)
to("/upstream-plain", function() return shown(gateway.fetch(up)) end)
to("/careful", function() return shown(gateway.fetch(careful, { path = "/careful" })) end)
to("/dead", function() return shown(gateway.fetch(dead)) end)
to("/broken", function() gateway.fetch(broken) return shown(gateway.fetch(broken)) end)
to("/sticky", function(q) local r = gateway.fetch(sticky, { key = q.query }) return said(r.headers["x-from"]) end)
to("/quick", function() return shown(gateway.fetch(one .. "/quick", { timeout = "200ms", max_body = 1000 })) end)
to("/quick-upstream", function() return shown(gateway.fetch(up, { timeout = 0.2, max_body = 1000 })) end)
to("/long", function(q) q:finally(function(status) gateway.log.info("final", { status = status }) end)
  return shown(gateway.fetch(one .. "/long")) end)
to("/large", function() local r = gateway.fetch(one .. "/large", { body = ("x"):rep(3000000) }) return said(#r.body) end)
to("/refused", function() return shown(gateway.fetch("http://${backend2}/x")) end)
to("/nowhere", function() return shown(gateway.fetch("http://nowhere.invalid/x")) end)
to("/url", function(q) return shown(gateway.fetch(q.headers["x-url"])) end)
to("/parallel", function()
  local a, b, c = gateway.all {
    function() return gateway.fetch(one .. "/1").body end, function() return gateway.fetch(up, { path = "/2" }).body end,
    function() return (coroutine.wrap(function() return gateway.fetch(one .. "/3").body end)()) end }
  return said(a .. b .. c)
end)
to("/parallel-fails", function()
  local good, problem = pcall(gateway.all, {
    function() gateway.fetch(one .. "/hang") end, function() gateway.sleep(0.05) error("no", 0) end })
  return said(tostring(good) .. problem .. gateway.fetch(one .. "/then").body)
end)
gateway.route "= /after" { to = up, use = { function(q, next)
  local response = next()
  local r = gateway.fetch(one .. "/side")
  response.headers["X-Side"] = r.body
  return response
end } }
gateway.route "= /before" { to = up, use = { function(q, next)
  local r, problem = gateway.fetch(one .. "/auth")
  if not r then return gateway.respond(502, problem) end
  if r.status ~= 200 then return gateway.respond(r.status, r.body) end
  return next()
end } }
to("/in-pcall", function() local good, r = pcall(gateway.fetch, one) return said(tostring(good) .. r.body) end)
to("/keep", function(q) local r = gateway.fetch(one, { method = q.query }) return said(r and r.body or "failed") end)
for _, wrong in ipairs {
  { "option", function() gateway.fetch(one, { tiemout = 1 }) end }, { "target", function() gateway.fetch(5) end },
  { "options", function() gateway.fetch(one, "GET") end }, { "method", function() gateway.fetch(one, { method = "CONNECT" }) end },
  { "method-form", function() gateway.fetch(one, { method = "G ET" }) end },
  { "framing", function() gateway.fetch(one, { headers = { ["Content-Length"] = "1" } }) end },
  { "hop", function() gateway.fetch(one, { headers = { connection = "close" } }) end },
  { "expect", function() gateway.fetch(one, { headers = { expect = "100-continue" } }) end },
  { "smuggle", function() gateway.fetch(one, { headers = { ["X-A"] = "a\r\nX-B: c" } }) end },
  { "host", function() gateway.fetch(one, { headers = { Host = "a b" } }) end },
  { "timeout", function() gateway.fetch(one, { timeout = 0 }) end }, { "path", function() gateway.fetch(one, { path = "/" }) end },
  { "body", function() gateway.fetch(one, { body = print }) end }, { "max", function() gateway.fetch(one, { max_body = "much" }) end },
} do to("/wrong/" .. wrong[1], wrong[2]) end
]=]

describe("gateway.fetch:", function()
  local g, b, c, unix

  lazy_setup(function()
    g = gateway.start { backends = { "127.0.0.1:0", "refused", "127.0.0.1:0" }, script = SCRIPT }
    b, c = g.backends[1], g.backends[3]
    unix = peers.listen("unix:" .. g.dir .. "/peer.sock")
  end)
  lazy_teardown(function()
    if unix then unix:close() end
    if g then g:stop() end
  end)

  -- asks with the first backend answering or serving; gives the response, decoded where it is JSON
  local function ask(request, peer)
    local response
    peers.run(function()
      if type(peer) == "function" then b:serve(peer) else
        b:answer(peer or { headers = { { "X-From", "b" }, { "Set-Cookie", "a=1" }, { "Set-Cookie", "b=2" } }, body = "hello" })
      end
      c:answer { headers = { ["X-From"] = "c" }, body = "hello from c" }
      unix:answer { body = "by unix" }
      response = g:ask(request)
    end)
    local good, decoded = pcall(cjson.decode, response.body)
    response.json = good and type(decoded) == "table" and decoded or {}
    return response
  end

  local function each_line(text)
    return function(conn)
      conn:read_request()
      conn:write(text)
      conn:close()
    end
  end

  it("gets a URL, with the answer's fields without regard to case", function()
    local r = ask("/get?a=1&b=%20").json
    assert.same({ 200, "hello", "b", { "a=1", "b=2" } }, { r.status, r.body, r.from, r.all })
    local seen = b:last()
    assert.equal("/there?a=1&b=%20", seen.target)
    assert.equal(b.at, seen.headers:get "host")
    assert.equal(32, #seen.headers:get "x-request-id")
    assert.is_nil(seen.headers:get "x-forwarded-for")
    assert.is_nil(seen.headers:get "content-length")
  end)

  it("hands trace context and the request's id on", function()
    local trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ask { path = "/get", headers = { traceparent = trace, ["X-Request-ID"] = "abc" } }
    assert.equal("abc", b:last().headers:get "x-request-id")
    assert.equal(trace, b:last().headers:get "traceparent")
  end)

  it("sends methods, fields, bodies and hosts", function()
    ask "/post"
    local seen = b:last()
    assert.same({ "POST", "/p", "some", "1", "other.example", "mine" }, { seen.method, seen.target, seen.body, seen.headers:get "x-one",
      seen.headers:get "host", seen.headers:get "x-request-id" })
    assert.same({ "a", "b" }, seen.headers:all "x-two")
    ask "/table"
    seen = b:last()
    assert.same({ "POST", "/", '{"a":[1,2]}', "application/json" },
      { seen.method, seen.target, seen.body, seen.headers:get "content-type" })
    ask "/put-nothing"
    assert.same({ "PUT", "0" }, { b:last().method, b:last().headers:get "content-length" })
    assert.equal("", ask("/head").json.body)
    assert.equal("3000000", ask("/large", function(conn) conn:write(message.response { body = conn:read_request().body }) end).body)
  end)

  it("reads JSON, names, unix sockets", function()
    assert.equal("7", ask("/json", { body = '{"deep":[1,{"x":7}]}' }).body)
    assert.equal(200, ask("/localhost").json.status)
    assert.equal("localhost:" .. b.port, b:last().headers:get "host")
    assert.equal("by unix", ask("/unix").json.body)
    assert.equal("/over/unix?a=1", unix:last().target)
  end)

  it("goes to an upstream as requests do", function()
    assert.equal("hello", ask("/upstream").json.body)
    assert.same({ "/in/upstream?b=2", "1" }, { b:last().target, b:last().headers:get "x-a" })
    ask "/upstream-plain"
    assert.equal("/", b:last().target)
    local picked = {}
    for key = 1, 20 do
      local first = ask("/sticky?" .. key).body
      assert.equal(first, ask("/sticky?" .. key).body)
      picked[first] = true
    end
    assert.same({ b = true, c = true }, picked)
  end)

  it("retries as the upstream says, and asks breakers", function()
    for _ = 1, 4 do assert.equal("hello from c", ask("/careful", { status = 503 }).json.body) end
    assert.equal("hello from c", ask("/careful", function(conn) conn:read_request() conn:reset() end).json.body)
    assert.equal("nil connect refused: upstream dead", ask("/dead").body)
    assert.equal("nil every endpoint's circuit breaker is open: upstream broken", ask("/broken").body)
  end)

  it("uses connections again, and a fresh one when the kept one has gone", function()
    local connections = 0
    peers.run(function()
      b:serve(function(conn)
        connections = connections + 1
        while true do
          if not conn:read_request() then return end
          conn:write(message.response { body = tostring(connections) })
        end
      end)
      for _ = 1, 3 do assert.equal("1", g:ask("/keep?GET").body) end
    end)
    peers.run(function() -- the last run's end has closed it
      b:answer { body = "fresh" }
      for _ = 1, 2 do assert.equal("fresh", g:ask("/keep?GET").body) end
    end)
    local gone = {}
    peers.run(function()
      b:serve(function(conn, number)
        conn:read_request()
        gone[#gone + 1] = number
        conn:write(message.response { body = "once" })
        conn:read_request()
        conn:close() -- a second request meets the end
      end)
      assert.equal("once", g:ask("/keep?GET").body)
      assert.equal("once", g:ask("/keep?GET").body)
      assert.equal("failed", g:ask("/keep?POST").body) -- who knows what it has done
    end)
  end)

  for _, case in ipairs {
    { "never answers", "timeout", function(conn) conn:read_request() conn:hang() end },
    { "does not read", "timeout", function(conn) conn:hang() end },
    { "sends half a head", "timeout", function(conn) conn:read_request() conn:write "HTTP/1.1 200 OK\r\nX-A: " conn:hang() end },
    { "sends half a body", "timeout", function(conn) conn:read_request() conn:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"
      conn:hang() end },
    { "sends one byte now and then", "timeout", function(conn) conn:read_request()
      conn:write_slowly("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" .. ("x"):rep(100), 1, 0.02) end },
    { "sends 1xx for ever", "too many 1xx responses", function(conn) conn:read_request()
      conn:write(("HTTP/1.1 100 Continue\r\n\r\n"):rep(40)) conn:hang() end },
    { "closes at once", "closed without a response", function(conn) conn:read_request() conn:close() end },
    { "resets", "connection reset", function(conn) conn:read_request() conn:reset() end },
    { "closes within the head", "closed in the middle of the response head", each_line "HTTP/1.1 200 OK\r\nX-A" },
    { "closes within the body", "closed in the middle of the response body", each_line "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123" },
    { "closes within chunks", "closed in the middle of the response body",
      each_line "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc" },
    { "sends bad chunks", "malformed response body", each_line "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc" },
    { "says too long a length", "the response body is longer than max_body",
      each_line("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" .. ("x"):rep(1001)) },
    { "sends too much in chunks", "the response body is longer than max_body",
      each_line("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" .. ("x"):rep(1001) .. "\r\n0\r\n\r\n") },
    { "sends too much until it closes", "the response body is longer than max_body",
      each_line("HTTP/1.1 200 OK\r\n\r\n" .. ("x"):rep(5000)) },
    { "speaks something else", "", each_line "SSH-2.0-OpenSSH_9.2\r\n\r\n" },
    { "frames twice", "", each_line "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
    { "switches protocols", "switched protocols without being asked",
      each_line "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" },
  } do
    it("a peer that " .. case[1], function()
      for _, path in ipairs { "/quick", "/quick-upstream" } do
        local body = ask(path, case[3]).body
        assert.equal("nil " .. case[2], body:sub(1, 4 + #case[2]), path)
        local where = path == "/quick" and "http://" .. b.at .. "/quick" or "upstream up"
        assert.equal(where, body:sub(-#where))
      end
      assert.equal("hello", ask("/quick").json.body)
    end)
  end

  it("takes bodies by chunks, by length, until the end, and byte by byte; 1xx are stepped over", function()
    for _, text in ipairs {
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde", "HTTP/1.0 200 OK\r\n\r\nabcde",
      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
    } do
      assert.equal("abcde", ask("/get", each_line(text)).json.body)
      assert.equal("abcde", ask("/get", function(conn) conn:read_request() conn:write_slowly(text, 1, 0) conn:close() end).json.body)
    end
    assert.same({ 204, "" }, (function(r) return { r.status, r.body } end)(ask("/get", each_line "HTTP/1.1 204 No Content\r\n\r\n").json))
    assert.same({ 301 }, { ask("/get", { status = 301, headers = { Location = "/elsewhere" } }).json.status })
    assert.same({ 500 }, { ask("/get", { status = 500 }).json.status })
  end)

  for _, case in ipairs {
    { "https://a.example/", "https is not available in this version" }, { "ftp://a/", "its scheme is another than http" },
    { "nothing", "no scheme" }, { "http://me:secret@a/", "it has a user name" }, { "http://a b/", "percent-encoded" },
    { "http:///x", "no host" }, { "http://a:0/", "port 0" }, { "http://a:65536/", "no host, or one that cannot be" },
    { "http://[::1/", "no host" }, { "unix:", "" },
  } do
    it("cannot fetch " .. case[1], function()
      local body = ask({ path = "/url", headers = { ["X-Url"] = case[1] } }).body
      assert.equal("nil cannot fetch ", body:sub(1, 17))
      assert.truthy(body:find(case[2], 1, true), body)
    end)
  end

  it("says what and where when nobody is there", function()
    assert.equal("nil connect refused: http://" .. g.vars.backend2 .. "/x", ask("/refused").body)
    local body = ask("/nowhere").body
    assert.truthy(body:find("^nil the name cannot be resolved %(.*%): http://nowhere.invalid/x$"), body)
  end)

  for _, case in ipairs {
    { "option", "unknown option" }, { "target", "expected a URL or an upstream, found 5" }, { "options", "expected a table of options" },
    { "method", 'method: expected one such as "GET"' }, { "method-form", "method: expected one such as" },
    { "framing", 'header "Content-Length" frames the connection' }, { "hop", "frames the connection" },
    { "expect", "frames the connection" },
    { "smuggle", "expected a string without line ends" }, { "host", 'header "Host": found "a b", which may not stand there' },
    { "timeout", "timeout: expected a duration" }, { "path", "path and key go with an upstream" },
    { "body", "body: expected a string or a table" }, { "max", "max_body: expected a size" },
  } do
    it("misused: " .. case[1], function()
      local from = #g:log() + 1
      assert.equal(500, ask("/wrong/" .. case[1]).status)
      local line = g:log_wait(function(l) return l.message == "script error" end, "an error", from)
      assert.truthy(line.error:find("main.lua:%d+: gateway.fetch: "), line.error)
      assert.truthy(line.error:find(case[2], 1, true), line.error)
    end)
  end

  it("works before and after next(), and inside of pcall", function()
    local function peer(conn)
      while true do
        local request = conn:read_request()
        if not request then return end
        conn:write(message.response { body = "to " .. request.target })
      end
    end
    local response = ask("/after", peer)
    assert.same({ "to /after", "to /side" }, { response.body, response.headers:get "x-side" })
    assert.equal("to /before", ask("/before", peer).body)
    assert.equal(401, ask("/before", { status = 401, body = "no" }).status)
    assert.equal("truehello", ask("/in-pcall").body)
  end)

  it("fetches side by side", function()
    peers.run(function()
      local waiting, most = 0, 0
      b:serve(function(conn)
        local request = conn:read_request()
        waiting = waiting + 1
        most = math.max(most, waiting)
        peers.eventually(function() return most == 3 end, "all three at once")
        conn:write(message.response { body = request.target })
      end)
      assert.equal("/1/2/3", g:ask("/parallel").body)
      assert.equal(3, most)
    end)
  end)

  it("is cancelled with the function of gateway.all that it waits in", function()
    peers.run(function()
      local ended
      b:serve(function(conn)
        if conn:read_request().target == "/hang" then
          ended = conn:wait_end()
        else -- the request goes on meanwhile
          peers.eventually(function() return ended end, "the connection's end")
          conn:write(message.response { body = "then" })
        end
      end)
      assert.equal("falsenothen", g:ask("/parallel-fails").body)
    end)
  end)

  it("is cancelled at once when the client goes away, and the finalizer runs", function()
    for _, how in ipairs { "close", "reset" } do
      local from = #g:log() + 1
      peers.run(function()
        local asked, ended
        b:serve(function(conn)
          conn:read_request()
          asked = true
          ended = conn:wait_end()
        end)
        local client = g:client()
        client:write(message.request { path = "/long" })
        peers.eventually(function() return asked end, "the fetch")
        client[how](client)
        peers.eventually(function() return ended end, "the fetch's end")
      end)
      assert.equal(499, g:log_wait(function(l) return l.message == "final" end, "the finalizer", from).status)
    end
  end)

  it("ends in a drain with its request, and is cut when time is up", function()
    local script = "${prelude} gateway.timeouts { drain = ${drain} }\n" .. [[
      gateway.route "= /long" { to = function()
        local r, e = gateway.fetch("http://${backend1}/") return gateway.respond(200, r and r.body or e) end }
      gateway.every(0.01, function() gateway.fetch("http://${backend1}/timer") end, { each_worker = true })]]
    for _, drain in ipairs { 10, 0.1 } do
      local one = gateway.start { backends = 1, script = script, vars = { drain = drain } }
      peers.run(function()
        local asked
        one.backends[1]:serve(function(conn)
          if conn:read_request().target == "/timer" then conn:hang() end
          asked = true
          if drain < 1 then conn:wait_end() else
            peers.sleep(0.1)
            conn:write(message.response { body = "after all" })
          end
        end)
        local client = one:client()
        client:write(message.request { path = "/long" })
        peers.eventually(function() return asked end, "the fetch")
        one:signal(15)
        if drain < 1 then client:wait_end() else assert.equal("after all", client:read_response().body) end
      end)
      assert.equal(0, one:wait_exit())
      one:stop()
    end
  end)

  it("fetches from two workers and many requests at once, without leaving anything", function()
    local two = gateway.start { backends = 1, workers = 2, script = [[${prelude}
      local up = gateway.upstream "up" { "${backend1}" }
      gateway.route "/" { to = function(q)
        local r, e = gateway.fetch(q.query == "" and "http://${backend1}/x" or up)
        return gateway.respond(200, r and r.body or e) end }]] }
    peers.run(function()
      two.backends[1]:answer { body = "many" }
      local asks = {}
      for i = 1, 200 do
        asks[i] = function() for _ = 1, 3 do assert.equal("many", two:ask(i % 2 == 0 and "/" or "/?u").body) end end
      end
      peers.all(asks)
    end)
    two:stop()
  end)
end)

describe("gateway.fetch without", function()
  it("descriptors gives an error, and goes on after", function()
    local g = gateway.start { backends = 1, open_files = 40, script = [[${prelude}
      gateway.route "/" { to = function()
        local t = {}
        for i = 1, 60 do t[i] = function() return (select(2, gateway.fetch("http://${backend1}/" .. i))) or false end end
        local problems = {}
        for _, problem in ipairs { gateway.all(t) } do if problem then problems[#problems + 1] = problem end end
        return gateway.respond(200, #problems .. " " .. tostring(problems[1]))
      end }]] }
    peers.run(function()
      g.backends[1]:serve(function(conn)
        conn:read_request()
        peers.sleep(0.3)
        conn:write(message.response { body = "x" })
      end)
      local body = g:ask("/").body
      assert.truthy(body:find("out of file descriptors: http://", 1, true), body)
    end)
    peers.run(function()
      g.backends[1]:answer { body = "x" }
      peers.eventually(function() local good, r = pcall(g.ask, g, "/") return good and r.status == 200 end, "an answer")
    end)
    g:stop()
  end)
end)
