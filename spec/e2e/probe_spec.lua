-- What an active probe sends, and what it makes of each kind of answer. One backend plays all parts: an upstream for each case, told
-- apart by the path that it probes.

local message = require "spec.support.message"
local peers = require "spec.support.peers"
local sick = require "spec.support.sick"

local BIG = ("x"):rep(65536)

-- name, options of health.active, what the backend does (a response, raw bytes, or a function), reason of the fall (nil: it stays up)
local cases = {
  { "200 is well by default", "", {} },
  { "204 too", "", { status = 204 } },
  { "500 is not", "", { status = 500 }, "status 500" },
  { "nor is 301", "", { status = 301 }, "status 301" },
  { "a status in the list", "expect = { 404 }", { status = 404 } },
  { "a status in a range", 'expect = { "400-499", 201 }', { status = 418 } },
  { "a status outside of the list", "expect = { 204 }", {}, "status 200" },
  { "a status that no list can name", "", "HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n", "status 799" },
  { "101 is final", "", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "status 101" },
  { "1xx before it do not count", "",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" },
  { "a head in pieces", "", function(conn) conn:write_slowly("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 7, 0.002) end },
  { "a body that is not asked about is not waited for", "", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" },
  { "no HTTP", "", "220 smtp.example ready\r\n\r\n", "invalid response: " },
  { "a lone line feed", "", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "invalid response: " },
  { "both framings", "", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", "invalid response: " },
  { "a head that does not end", "", "HTTP/1.1 200 OK\r\nX: " .. ("a"):rep(40000), "invalid response: " },
  { "an end before the answer", "", function(conn) conn:close() end, "connection closed before the response" },
  { "an end within the head", "", function(conn) conn:write "HTTP/1.1 200 OK\r\n"; conn:close() end,
    "connection closed before the response" },
  { "a reset", "", function(conn) conn:write "HTTP/1.1 200 OK\r\n"; conn:reset() end, "connection reset" },
  { "silence", "timeout = 0.15", function(conn) conn:hang() end, "timeout" },
  { "an answer that drips", "timeout = 0.15", function(conn) conn:write_slowly("HTTP/1.1 200 OK\r\nX: " .. ("y"):rep(1000), 1, 0.01) end,
    "timeout" },
  { "a body that drips", 'timeout = 0.15, body = "b"',
    function(conn) conn:write_slowly("HTTP/1.1 200 OK\r\n\r\n" .. ("y"):rep(1000), 40, 0.01) end, "timeout" },
  { "the text is in the body", 'body = "green"', { body = "all is green here" } },
  { "the body is the text", 'body = "green"', { body = "green" } },
  { "the text is not in the body", 'body = "green"', { body = "all is gree" }, "the body lacks the expected text" },
  { "no body at all", 'body = "green"', { status = 204 }, "the body lacks the expected text" },
  { "the status counts as well", 'body = "green"', { status = 503, body = "green" }, "status 503" },
  { "the text across reads", 'body = "green"',
    function(conn) conn:write_slowly("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nggrgreenn", 1, 0.001) end },
  { "the text across chunks", 'body = "green"',
    function(conn)
      conn:write_slowly("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. message.chunked("grgr", "e", "e", "n!"), 3, 0.001)
    end },
  { "chunk sizes are not the body", 'body = "5"', "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. message.chunked("hello"),
    "the body lacks the expected text" },
  { "malformed chunks", 'body = "green"', "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed chunks" },
  { "a body that ends with the connection", 'body = "green"',
    function(conn) conn:write "HTTP/1.1 200 OK\r\n\r\nis green"; conn:close() end },
  { "such a body without the text", 'body = "green"', function(conn) conn:write "HTTP/1.1 200 OK\r\n\r\nis red"; conn:close() end,
    "the body lacks the expected text" },
  { "an end within the body", 'body = "green"',
    function(conn) conn:write "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ngree"; conn:close() end,
    "connection closed within the body" },
  { "what follows the text is not waited for", 'body = "green"', "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ngreen" },
  { "what follows the body is not part of it", 'body = "green"', "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngreen",
    "the body lacks the expected text" },
  { "at the end of the first 64 KB", 'body = "green"', { body = BIG:sub(6) .. "green" .. BIG } },
  { "behind the first 64 KB", 'body = "green"', { body = BIG:sub(5) .. "green" .. BIG }, "the body lacks the expected text" },
  { "behind the first 64 KB of chunks", 'body = "green"',
    function(conn)
      conn:write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
      conn:try_write(message.chunked(BIG:sub(5), "green"))
    end, "the body lacks the expected text" },
  { "a long text", ('body = ("ab"):rep(15000) .. "c"'), { body = "b" .. ("ab"):rep(15002) .. "c" } },
  { "a long text that is not there", ('body = ("ab"):rep(15000) .. "c"'), { body = ("ab"):rep(15002) .. "bc" },
    "the body lacks the expected text" },
  { "HEAD has no body", 'method = "HEAD", body = "green"', "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "the body lacks the expected text" },
  { "HEAD, by status", 'method = "HEAD"', "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" },
}

describe("a probe:", function()
  local seen, downs = {}, {}

  -- All cases at once: each backend connection is asked for /1, /2, ... and plays the case of that number.
  lazy_setup(function()
    local script = {}
    for i, case in ipairs(cases) do
      local options = ('path = "/%d", interval = 0.3, fall = 1%s'):format(i, case[2] == "" and "" or ", " .. case[2])
      script[#script + 1] = ('gateway.upstream "case-%d" { "${x}", health = { active = { %s } } }'):format(i, options)
    end
    local backend
    sick.run({
      script = table.concat(script, "\n"), seconds = 60,
      setup = function(_, vars)
        backend = peers.listen()
        vars.x = backend.at
        backend:serve(function(conn)
          local request = conn:read_request()
          if not request then return end
          local number = tonumber(request.target:match("^/(%d+)$"))
          seen[number] = (seen[number] or 0) + 1
          local answer = cases[number][3]
          if type(answer) == "table" then answer = message.response(answer) end
          if type(answer) == "string" then
            if conn:try_write(answer) then conn:wait_end() end
          else
            pcall(answer, conn)
            if conn.fd then conn:wait_end() end
          end
        end)
      end,
    }, function(g)
      peers.eventually(function()
        for i in ipairs(cases) do
          if (seen[i] or 0) < 2 then return false end
        end
        return true
      end, "two probes of each", 30)
      peers.eventually(function()
        downs = {}
        local count = 0
        for _, u in ipairs(g:status().upstreams) do
          if not u.endpoints[1].healthy then
            downs[tonumber(u.name:match("%d+"))] = { endpoint = u.endpoints[1] }
            count = count + 1
          end
        end
        local wanted = 0
        for _, case in ipairs(cases) do
          if case[4] then wanted = wanted + 1 end
        end
        return count >= wanted
      end, "those that should fall have fallen", 10)
      for _, line in ipairs(g:log()) do
        if line.message == "endpoint down" then
          local down = downs[tonumber(line.upstream:match("%d+"))]
          down.reason, down.lines = line.reason, (down.lines or 0) + 1
          assert.same({ "active", backend.at, "warn" }, { line.cause, line.endpoint, line.level })
        end
      end
      backend:close()
    end)
  end)

  for i, case in ipairs(cases) do
    it(case[1], function()
      local down = downs[i]
      if not case[4] then
        assert.is_nil(down and down.reason)
        return
      end
      assert.truthy(down, "it is taken for healthy")
      assert.equal(case[4], down.reason:sub(1, #case[4]))
      assert.equal(1, down.lines)
      assert.same({ "active" }, down.endpoint.down)
      assert.same({ active_down = 1, active_up = 0, ejections = 0 }, down.endpoint.transitions)
    end)
  end
end)

describe("a probe's request", function()
  for _, case in ipairs {
    { "a GET", "", "GET /healthz HTTP/1.1\r\nHost: ${a}\r\nConnection: close\r\n\r\n" },
    { "the upstream's host", "", "GET /healthz HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n", 'host = "shop.example",' },
    { "its own host", 'host = "probe.example"', "GET /healthz HTTP/1.1\r\nHost: probe.example\r\nConnection: close\r\n\r\n",
      'host = "shop.example",' },
    { "headers", 'headers = { ["X-Probe"] = "1", Accept = "text/plain" }',
      "GET /healthz HTTP/1.1\r\nHost: ${a}\r\nConnection: close\r\nAccept: text/plain\r\nX-Probe: 1\r\n\r\n" },
    { "another method", 'method = "OPTIONS"', "OPTIONS /healthz HTTP/1.1\r\nHost: ${a}\r\nConnection: close\r\n\r\n" },
    { "a method with a body", 'method = "POST"', "POST /healthz HTTP/1.1\r\nHost: ${a}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" },
  } do
    it("is written with " .. case[1], function()
      local separator = case[2] == "" and "" or ", "
      sick.run({
        backends = "a",
        script = ([[gateway.upstream "u" { "${a}", %s health = { active = { path = "/healthz", interval = 0.02%s%s } } }]])
          :format(case[4] or "", separator, case[2]),
      }, function(g, b)
        peers.eventually(function() return b.a.probes >= 2 end)
        assert.equal(g:fill(case[3]), b.a:last().head)
        local connections = {}
        for _, request in ipairs(b.a.requests) do connections[request.connection] = true end
        assert.equal(#b.a.requests, #connections) -- one each
      end)
    end)
  end

  it("names localhost on a unix socket", function()
    local path = os.tmpname()
    os.remove(path)
    sick.run({
      script = [[gateway.upstream "u" { "${x}", health = { active = { path = "/healthz", interval = 0.02 } } }]],
      setup = function(backends, vars)
        backends.x = sick.backend("x", "unix:" .. path)
        vars.x = "unix:" .. path
      end,
    }, function(_, b)
      peers.eventually(function() return b.x.probes >= 2 end)
      assert.equal("localhost", b.x:last().headers:get "host")
    end)
    os.remove(path)
  end)
end)

describe("a probe of the connection alone", function()
  it("is content when it opens, and says nothing on it", function()
    sick.run({
      script = [[gateway.upstream "u" { "${x}", "${refused}", health = { active = { tcp = true, interval = 0.05 } } }]],
      setup = function(backends, vars)
        backends.x, backends.refused = peers.listen(), peers.listen(nil, { listening = false })
        backends.x.ends = {}
        backends.x:serve(function(conn)
          local how, bytes = conn:wait_end()
          table.insert(backends.x.ends, how .. bytes)
        end)
        vars.x, vars.refused = backends.x.at, backends.refused.at
      end,
    }, function(g, b)
      local line = g:down(b.refused)
      assert.same({ "connection refused", "active", "u", "warn" }, { line.reason, line.cause, line.upstream, line.level })
      peers.eventually(function() return #b.x.ends >= 3 end)
      assert.same({ "eof", "eof", "eof" }, { b.x.ends[1], b.x.ends[2], b.x.ends[3] })
      assert.is_true(g:endpoint(b.x).healthy)
      assert.is_false(g:endpoint(b.refused).healthy)
    end)
  end)
end)
