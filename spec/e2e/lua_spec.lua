-- Middleware and targets written in Lua, over the wire.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local SCRIPT = [=[${prelude}
local b = gateway.upstream "b" { "${backend1}" }
local c = gateway.upstream "c" { "${backend2}" }

local function note(name)
  return function(request, next)
    request.headers["X-Order"] = (request.headers["X-Order"] or "") .. name
    local response = next()
    response.headers["X-Order"] = (response.headers["X-Order"] or "") .. name
    return response
  end
end

local function route(path, use, to) gateway.route(path) { use = use, to = to or b } end

route("/refuse", { function(request, next)
  if request.headers["x-block"] then return gateway.respond(403, "blocked") end
  return next()
end })
route("/onion", { note "a", note "b", note "c" })
route("/onion-respond", { note "a", note "b" }, gateway.respond(200, "fixed"))
route("/mixed", { note "a", function(_, next) return next() end, note "b", function(_, next) return next() end })
route("/tail", { function(request, next) request.headers["X-Tail"] = "1"; return next() end })
route("/status", { function(request, next) local r = next(); r.status = 299; r.headers["X-Old"] = nil;
  r.headers["X-Was"] = r.headers["x-old"] or "gone"; return r end })
route("/see", { function(request, next) local r = next(); r.headers["X-Seen"] = r.status .. " "
  .. tostring(r.headers["x-from"]); return r end })
route("/replace", { function(request, next) local r = next(); r.body = "replaced"; return r end })
route("/other", { function(request, next) next(); return gateway.respond(418, "another one") end })
route("/body", { function(request, next) local r = next(); local body = r:body(); r.body = body:upper(); return r end },
  gateway.respond(200, "hello from lua"))
route("/rewrite", { function(request, next) request.path = "/new path/x"; request.query = "a=1&b"; return next() end })
route("/error", { function(request, next) local secret = nil; return secret.field end })
route("/error-after", { function(request, next) next(); error "after the response" end })
route("/error-table", { function() error { code = 1 } end })
route("/twice", { function(request, next) next(); return next() end })
route("/nothing", { function(request, next) end })
route("/number", { function(request, next) return 7 end })
route("/command", { function(request, next) os.execute "sleep 60"; return next() end })
route("/pipe", { function(request, next) local pipe = io.popen "sleep 60"; pipe:close(); return next() end })
route("/terminal", { function(request, next) io.read(); return next() end })
route("/bad-header", { function(request, next) local r = next(); r.headers["X-Bad"] = "a\r\nX-Injected: 1"; return r end })
route("/bad-request-header", { function(request, next) request.headers["X-Bad"] = "a\r\nX-Injected: 1"; return next() end })
route("/late-next", { function(request, next) kept = next; return next() end })
route("/ctx", { function(request, next) request.ctx.n = (request.ctx.n or 0) + 1; local r = next();
  r.headers["X-N"] = tostring(request.ctx.n); return r end,
  function(request, next) request.ctx.n = request.ctx.n + 1; return next() end })
route("/read", { function(request, next) local body = request:body(); request.headers["X-Length"] = tostring(#body);
  return next() end })
route("/read-respond", nil, function(request) return gateway.respond(200, "got " .. request:body()) end)
route("/to", nil, function(request) return request.headers["x-c"] and c or b end)
route("/to-name", nil, function(request) return "c" end)
route("/to-respond", nil, function(request) return gateway.respond(202, { path = request.path, list = { 1, 2 },
  nested = { ok = true } }, { ["X-More"] = { "1", "2" } }) end)
route("/to-nil", nil, function(request) return nil end)
route("/to-through", { note "a" }, function(request) return c end)
local function elsewhere(to)
  return function(request, next)
    request.upstream = to
    request.headers["X-Upstream"] = request.upstream
    return next()
  end
end
local function at_most(bytes)
  return function(request, next)
    if not request:limit_body(bytes) then return gateway.respond(413, "known to be longer") end
    return next()
  end
end
route("/limited", { at_most(10) }, b)
route("/limited-twice", { at_most "10B", at_most "1MB" }, b)
route("/limited-read", { at_most(10), function(request, next)
  local body, problem = request:body()
  if not body then return gateway.respond(413, problem) end
  return next()
end }, b)
route("/chosen", { elsewhere(c) }, b)
route("/chosen-name", { elsewhere "c", note "a" }, b)
route("/chosen-over-answer", { elsewhere "b" }, gateway.respond(200, "an answer"))
route("/chosen-over-split", { elsewhere "c" }, gateway.split { { b, weight = 1 }, { gateway.respond(200, "arm"), weight = 1 } })
route("/chosen-twice", { elsewhere "b", elsewhere "c" }, b)
route("/chosen-not", { elsewhere "c" }, function() return b end)
route("/chosen-hash", { elsewhere "c" }, gateway.upstream "h" { "${backend1}", balance = "hash", hash_on = function() return "k" end })
route("/chosen-late", { function(request, next) next(); request.upstream = c end }, b)
local function peek(most)
  return function(request, next)
    local response = next()
    local body, problem = response:body(most)
    response.headers["X-Peeked"] = body and #body or problem
    return response
  end
end
route("/peek", { peek() }, b)
route("/peek-100", { peek(100) }, b)
route("/shout", { function(request, next)
  local response = next()
  response.body = response:body():upper()
  return response
end }, b)
route("/json", nil, gateway.respond(200, { hello = "world", n = 1.5, quote = "\"\\\n" }))
route("/redirect", nil, gateway.redirect("https://elsewhere.example/x?y=1", 308))
route("/redirect-302", nil, gateway.redirect "/there")
route("/split", nil, gateway.split { { b, weight = 3 }, { c, weight = 1 } })
route("/split-all", nil, gateway.split { { b, weight = 0 }, { gateway.respond(200, "c only"), weight = 1 } })
gateway.route "/facts/:id" { name = "facts", to = function(request)
  return gateway.respond(200, { method = request.method, path = request.path, query = request.query, host = request.host,
    scheme = request.scheme,
    ip = request.client_ip, id = request.id, param = request.params.id, route = request.route, cookie = request.cookies.b,
      agent = request.headers["USER-AGENT"],
    joined = request.headers["x-twice"], all = request.headers:all("x-twice"), absent = request.headers["x-absent"] == nil,
      started = type(request.started) })
end }
]=]

describe("lua:", function()
  local g, b, c

  lazy_setup(function()
    g = gateway.start { backends = 2, script = SCRIPT }
    b, c = g.backends[1], g.backends[2]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  -- asks with both backends answering; returns the response and what the first backend saw
  local function ask(request, what)
    local response
    peers.run(function()
      b:answer(what or function() return { headers = { ["X-From"] = "b", ["X-Old"] = "1" }, body = "hello from b" } end)
      c:answer { body = "hello from c" }
      response = g:ask(request)
    end)
    return response, b:last()
  end

  it("refuses, and lets through", function()
    local response, seen = ask { path = "/refuse", headers = { ["X-Block"] = "1" } }
    assert.equal(403, response.status)
    assert.equal("blocked", response.body)
    assert.is_nil(seen)
    response, seen = ask "/refuse"
    assert.equal("hello from b", response.body)
    assert.is_not_nil(seen)
  end)

  it("is an onion: outermost first in, last out", function()
    local response, seen = ask "/onion"
    assert.equal("abc", seen.headers:get("x-order"))
    assert.equal("cba", response.headers:get("x-order"))
    response = ask "/onion-respond"
    assert.equal("fixed", response.body)
    assert.equal("ba", response.headers:get("x-order"))
    response, seen = ask "/mixed"
    assert.equal("ab", seen.headers:get("x-order"))
    assert.equal("ba", response.headers:get("x-order"))
  end)

  it("limits a body to less than the route allows", function()
    local fits, long = ("x"):rep(10), ("x"):rep(11)
    for _, path in ipairs { "/limited", "/limited-twice", "/limited-read" } do
      for _, chunked in ipairs { false, true } do
        local function post(body)
          if not chunked then return ask { method = "POST", path = path, body = body } end
          return ask { method = "POST", path = path, headers = { ["Transfer-Encoding"] = "chunked" }, body = message.chunked(body) }
        end
        local response, seen = post(fits)
        assert.message(path).equal(200, response.status)
        assert.equal(fits, seen.body)
        response = post(long)
        assert.message(path).equal(413, response.status)
      end
    end
  end)

  it("chooses another upstream than the route's", function()
    local from_b, from_c = "hello from b", "hello from c"
    for path, body in pairs {
      ["/chosen"] = from_c, ["/chosen-name"] = from_c, ["/chosen-over-answer"] = from_b, ["/chosen-over-split"] = from_c,
      ["/chosen-twice"] = from_c, ["/chosen-not"] = from_b, ["/chosen-hash"] = from_c,
    } do
      local response, seen = ask(path)
      assert.message(path).equal(body, response.body)
      if path == "/chosen-over-answer" then assert.equal("b", seen.headers:get "x-upstream") end
    end
    assert.equal(500, ask("/chosen-late").status)
  end)

  it("tail calls need no resume, and do their work", function()
    local response, seen = ask "/tail"
    assert.equal("1", seen.headers:get("x-tail"))
    assert.equal("hello from b", response.body)
  end)

  it("reads and changes the response", function()
    local response = ask "/status"
    assert.equal(299, response.status)
    assert.is_false(response.headers:has("x-old"))
    assert.equal("gone", response.headers:get("x-was"))
    response = ask "/see"
    assert.equal("200 b", response.headers:get("x-seen"))
    response = ask "/replace"
    assert.equal("replaced", response.body)
    response = ask "/other"
    assert.equal(418, response.status)
    assert.equal("another one", response.body)
  end)

  it("reads the body of a response that was made here", function()
    assert.equal("HELLO FROM LUA", ask("/body").body)
  end)

  local long = ("0123456789abcdef"):rep(20000)
  for _, case in ipairs {
    { "with a length", function() return { body = long } end, long },
    { "with a length, a piece at a time", function() return { body = long, slowly = true } end, long },
    { "without a byte", function() return { body = "" } end, "" },
    { "in chunks", function() return { body = long, chunked = true } end, long },
    { "ended by close", function() return { body = long, close = true } end, long },
  } do
    it("reads a backend's body " .. case[1], function()
      peers.run(function()
        b:serve(function(conn)
          while conn:read_request() do
            local how = case[2]()
            local head = "HTTP/1.1 200 OK\r\nX-Kind: text\r\n"
            if how.chunked then
              conn:write(head .. "Transfer-Encoding: chunked\r\n\r\n")
              for from = 1, #how.body, 7777 do
                local piece = how.body:sub(from, from + 7776)
                conn:write(("%x\r\n%s\r\n"):format(#piece, piece))
              end
              conn:write "0\r\n\r\n"
            elseif how.close then
              conn:write(head .. "\r\n" .. how.body)
              conn:close()
              return
            elseif how.slowly then
              conn:write(head .. "Content-Length: " .. #how.body .. "\r\n\r\n")
              for from = 1, #how.body, 40000 do
                conn:write(how.body:sub(from, from + 39999))
                peers.sleep(0.002)
              end
            else
              conn:write(head .. "Content-Length: " .. #how.body .. "\r\n\r\n" .. how.body)
            end
          end
        end)
        local client = g:client()
        for _ = 1, 3 do
          local response = client:ask("/peek")
          assert.equal(200, response.status)
          assert.equal(case[3], response.body)
          assert.equal(tostring(#case[3]), response.headers:get "x-peeked")
          assert.equal("text", response.headers:get "x-kind")
          assert.equal(case[3]:upper(), client:ask("/shout").body)
        end
      end)
    end)
  end

  it("a backend's body that is too long for Lua by its length still streams", function()
    peers.run(function()
      b:answer { body = ("x"):rep(5000) }
      local response = g:ask("/peek-100")
      assert.equal(200, response.status)
      assert.equal("too large", response.headers:get "x-peeked")
      assert.equal(5000, #response.body)
    end)
  end)

  local whole, tail = ("x"):rep(5000), ("y"):rep(300000)
  for _, case in ipairs {
    { "in one chunk", "Transfer-Encoding: chunked\r\n\r\n1388\r\n" .. whole .. "\r\n0\r\n\r\n", whole },
    { "in many chunks", "Transfer-Encoding: chunked\r\n\r\n1\r\nz\r\n63\r\n" .. ("z"):rep(99) .. "\r\n1388\r\n" .. whole .. "\r\n" ..
      "493e0\r\n" .. tail .. "\r\n0\r\nX-Trailer: t\r\n\r\n", ("z"):rep(100) .. whole .. tail },
    { "that ends with the connection", "\r\n" .. whole .. tail, whole .. tail },
  } do
    it("a backend's body too long for the script, " .. case[1] .. ", goes out all the same", function()
      peers.run(function()
        b:serve(function(conn)
          if not conn:read_request() then return end
          conn:write("HTTP/1.1 200 OK\r\n")
          conn:write(case[2])
          conn:close()
        end)
        local response = g:ask("/peek-100")
        assert.equal(200, response.status)
        assert.equal("too large", response.headers:get "x-peeked")
        assert.is_true(case[3] == response.body)
        assert.is_true(case[3] == g:ask({ path = "/peek-100", version = "1.0" }).body)
      end)
    end)
  end

  for _, case in ipairs {
    { "that breaks off", "Content-Length: 5000\r\n\r\nxxx", "/peek" },
    { "with bad chunks", "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "/peek" },
  } do
    it("a backend's body " .. case[1] .. " is 502", function()
      peers.run(function()
        b:serve(function(conn)
          if not conn:read_request() then return end
          conn:write("HTTP/1.1 200 OK\r\n" .. case[2])
          conn:close()
        end)
        assert.equal(502, g:ask(case[3]).status)
      end)
    end)
  end

  it("connections go on after replaced bodies", function()
    peers.run(function()
      b:answer { body = ("x"):rep(100000) }
      local client = g:client()
      for _ = 1, 5 do
        assert.equal("replaced", client:ask("/replace").body)
        assert.equal("another one", client:ask("/other").body)
        assert.equal(100000, #client:ask("/tail").body)
      end
    end)
  end)

  it("rewrites path and query", function()
    local response, seen = ask "/rewrite?old=1"
    assert.equal(200, response.status)
    assert.equal("/new%20path/x?a=1&b", seen.target)
  end)

  it("shares a table for one request", function()
    assert.equal("2", ask("/ctx").headers:get("x-n"))
    assert.equal("2", ask("/ctx").headers:get("x-n"))
  end)

  describe("errors are 500 without a word of the code:", function()
    for _, path in ipairs { "/error", "/error-table", "/error-after", "/twice", "/nothing", "/number", "/bad-header",
      "/bad-request-header", "/to-nil", "/command", "/pipe", "/terminal" } do
      it(path, function()
        local from = #g:log() + 1
        local response = ask(path)
        assert.equal(500, response.status)
        local body = cjson.decode(response.body)
        assert.equal(500, body.status)
        assert.equal("string", type(body.request_id))
        for _, leak in ipairs { "main.lua", "traceback", "secret", "attempt to", "X-Injected" } do
          assert.is_nil((response.head .. response.body):find(leak, 1, true), leak)
        end
        -- the log has it, with its place
        g:log_wait(function(line)
          return cjson.encode(line):find("main.lua", 1, true) and line.level == "error"
        end, "an error with its place for " .. path, from)
      end)
    end

    it("and the connection, and the worker, go on", function()
      peers.run(function()
        b:answer { body = "ok" }
        local client = g:client()
        for _ = 1, 20 do
          assert.equal(500, client:ask("/error").status)
          assert.equal(500, client:ask("/error-after").status)
          assert.equal("ok", client:ask("/tail").body)
        end
      end)
    end)
  end)

  describe("request:body()", function()
    for _, bytes in ipairs { 0, 1, 5000, 33152, 200000 } do
      for _, kind in ipairs { "length", "chunked" } do
        it(("%d bytes, %s, read and still forwarded"):format(bytes, kind), function()
          peers.run(function()
            b:answer(function(request) return { body = request.headers:get("x-length") .. " " .. request.body } end)
            local body = ("0123456789"):rep(math.ceil(bytes / 10)):sub(1, bytes)
            local client = g:client()
            for _ = 1, 2 do
              if kind == "length" then
                client:send(message.request { method = "POST", path = "/read", body = body })
              else
                client:send(message.request { method = "POST", path = "/read", headers = { ["Transfer-Encoding"] = "chunked" } })
                if bytes > 1 then
                  client:send(message.chunked(body:sub(1, 1), body:sub(2)))
                else
                  client:send(bytes == 1 and message.chunked(body) or message.chunked())
                end
              end
              local response = client:read_response()
              assert.is_true(response.body == bytes .. " " .. body, response.body:sub(1, 200))
            end
          end)
        end)
      end
    end

    it("waits for what comes late", function()
      peers.run(function()
        local client = g:client()
        client:send "POST /read-respond HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
        client:expect_silence(0.05)
        client:send "world"
        assert.equal("got helloworld", client:read_response().body)
      end)
    end)

    it("answers Expect: 100-continue itself", function()
      peers.run(function()
        local client = g:client()
        client:send "POST /read-respond HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        assert.equal(100, client:read_response_head().status)
        client:send "hello"
        assert.equal("got hello", client:read_response().body)
      end)
    end)

    it("a client that goes away meanwhile harms nobody", function()
      peers.run(function()
        for i = 1, 10 do
          local client = g:client()
          client:send "POST /read-respond HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
          peers.sleep(0.003)
          client[i % 2 == 0 and "close" or "reset"](client)
        end
        assert.equal("got x", g:ask({ method = "POST", path = "/read-respond", body = "x" }).body)
      end)
    end)
  end)

  describe("to:", function()
    it("a function that chooses an upstream", function()
      assert.equal("hello from b", ask("/to").body)
      assert.equal("hello from c", ask({ path = "/to", headers = { ["X-C"] = "1" } }).body)
      assert.equal("hello from c", ask("/to-through").body)
    end)

    it("a function that answers, with a table as JSON", function()
      local response = ask "/to-respond"
      assert.equal(202, response.status)
      assert.equal("application/json", response.headers:get("content-type"))
      assert.same({ path = "/to-respond", list = { 1, 2 }, nested = { ok = true } }, cjson.decode(response.body))
      assert.same({ "1", "2" }, response.headers:all("x-more"))
    end)

    it("a fixed answer", function()
      local response = ask "/json"
      assert.equal("application/json", response.headers:get("content-type"))
      assert.same({ hello = "world", n = 1.5, quote = "\"\\\n" }, cjson.decode(response.body))
      response = ask { path = "/json", method = "HEAD" }
      assert.equal(200, response.status)
    end)

    it("a fixed answer does not need the body of the request, and keeps the connection in step", function()
      peers.run(function()
        local client = g:client()
        for _ = 1, 3 do
          local response = client:ask { path = "/json", method = "POST", body = ("x"):rep(5000) }
          assert.equal(200, response.status)
          if response.headers:lists("connection", "close") then break end
        end
      end)
    end)

    it("redirects", function()
      local response = ask "/redirect"
      assert.equal(308, response.status)
      assert.equal("https://elsewhere.example/x?y=1", response.headers:get("location"))
      response = ask "/redirect-302"
      assert.equal(302, response.status)
      assert.equal("/there", response.headers:get("location"))
    end)

    it("splits by weight", function()
      peers.run(function()
        b:answer { body = "b" }
        c:answer { body = "c" }
        local client, count = g:client(), { b = 0, c = 0 }
        for _ = 1, 400 do
          local body = client:ask("/split").body
          count[body] = count[body] + 1
        end
        -- 3 : 1 at random; six standard deviations
        assert.is_true(math.abs(count.b - 300) < 52, count.b)
        for _ = 1, 20 do assert.equal("c only", client:ask("/split-all").body) end
      end)
    end)
  end)

  it("a request tells what it is", function()
    local response = g:ask { path = "/facts/a%20b?q=1&r=%2f", host = "a.example:81", headers = { { "X-Twice", "1" },
    { "User-Agent", "spec" }, { "X-Twice", "2" },
      { "Cookie", "a=1; b=two" }, { "X-Request-ID", "abc-123456" } } }
    assert.same({ method = "GET", path = "/facts/a%20b", query = "q=1&r=%2f", host = "a.example", scheme = "http",
      ip = "127.0.0.1", id = "abc-123456",
      param = "a b", route = "facts", cookie = "two", agent = "spec", joined = "1, 2", all = { "1", "2" }, absent = true,
        started = "number" },
      cjson.decode(response.body))
  end)

  it("gateway.use stands before the routes' own middleware, on every route", function()
    local other = gateway.start {
      script = [[${prelude}
        gateway.use { function(request, next) local r = next(); r.headers["X-All"] = (r.headers["X-All"] or "") .. "1";
          return r end }
        gateway.route "/a" { to = gateway.respond(200, "a") }
        gateway.route "/b" { use = { function(request, next) local r = next(); r.headers["X-All"] = "0"; return r end },
          to = gateway.respond(200, "b") }
      ]],
    }
    assert.equal("1", other:ask("/a").headers:get("x-all"))
    assert.equal("01", other:ask("/b").headers:get("x-all"))
    other:stop()
  end)

  it("a plugin beside the script is found and configured", function()
    local other = gateway.start {
      files = { ["plugins/greet.lua"] = [[
        return { name = "greet", version = "1.0.0", description = "Greets.", schema = { word = { type = "string",
          default = "hello" } },
          new = function(config) return function(request, next) local r = next(); r.headers["X-Greeting"] = config.word;
            return r end end }
      ]] },
      script = [[${prelude}
        gateway.route "/a" { use = { gateway.plugin "greet" }, to = gateway.respond(200, "a") }
        gateway.route "/b" { use = { gateway.plugin("greet", { word = "hey" }) }, to = gateway.respond(200, "b") }
      ]],
    }
    assert.equal("hello", other:ask("/a").headers:get("x-greeting"))
    assert.equal("hey", other:ask("/b").headers:get("x-greeting"))
    other:stop()
  end)

  it("many requests at once, suspended in Lua, keep their own state", function()
    peers.run(function()
      b:answer(function(request)
        peers.sleep(0.001 * (tonumber(request.headers:get("x-n")) % 7))
        return { headers = { ["X-From"] = request.headers:get("x-n") }, body = "ok" }
      end)
      local all = {}
      for i = 1, 40 do
        all[i] = function()
          local client = g:client()
          for round = 1, 5 do
            local n = tostring(i * 10 + round)
            local response = client:ask { path = "/see", headers = { ["X-N"] = n } }
            assert.equal("200 " .. n, response.headers:get("x-seen"))
          end
        end
      end
      peers.all(all)
    end)
  end)
end)
