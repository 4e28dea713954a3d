-- Another try: what becomes of an answer when nobody else can be had, and of bodies whose length is not known beforehand.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local peers = require "spec.support.peers"

local function with(options, f)
  local list = {}
  for i = 1, options.backends or 2 do list[i] = ('{ "${backend%d}", backup = %s }'):format(i, tostring(i > 1)) end
  local g = gateway.start {
    backends = options.backends or 2,
    script = ('${prelude} gateway.limits { body_bytes = 100000 } gateway.route "/" { use = { %s }, to = gateway.upstream "u" { %s, %s } }')
      :format(options.use or "", table.concat(list, ", "), options[1]),
  }
  local ok, err = pcall(peers.run, function() f(g, g:client()) end)
  g:stop()
  if not ok then error(err, 0) end
end

local waits = "function(request, next) local response = next() response.headers['X-Lua'] = 'seen' return response end"
local reads = "function(request, next) local response = next() response:body() return response end"

describe("when nobody else can be had, the answer that asked for another try goes on:", function()
  local body = ("own words "):rep(30000)
  local breaker = "breaker = { failures = 1, open_for = 60 }"

  for _, case in ipairs {
    { "at once", "retry = { on = { 503 }, backoff = 0 }, " .. breaker },
    { "after a back-off", "retry = { on = { 503 }, backoff = { base = 0.05, most = 0.05 } }, " .. breaker },
    { "to Lua that waits", "retry = { on = { 503 }, backoff = 0 }, " .. breaker, use = waits },
    { "to Lua that waits, after a back-off", "retry = { on = { 503 }, backoff = { base = 0.05, most = 0.05 } }, " .. breaker,
      use = waits },
    { "to Lua that reads it", "retry = { on = { 503 }, backoff = { base = 0.02, most = 0.02 } }, " .. breaker, use = reads,
      limit = true },
    { "without a place in the budget", "retry = { on = { 503 }, backoff = 0, budget = { share = 0, minimum = 0 } }", healthy = true },
  } do
    for _, framing in ipairs { "length", "chunked", "close", "none" } do
      it(("%s, framed by %s"):format(case[1], framing), function()
        local said = framing == "none" and "" or case.limit and body:sub(1, 50000) or body
        with({ case[2], backends = 1, use = case.use }, function(g, client)
          g.backends[1]:answer(function(_, conn)
            local headers = { ["X-Backend"] = "1" }
            if framing == "chunked" then
              headers["Transfer-Encoding"] = "chunked"
              return { status = 503, headers = headers, body = message.chunked(said) }
            elseif framing == "close" then
              conn:write("HTTP/1.1 503 No\r\nX-Backend: 1\r\nConnection: close\r\n\r\n" .. said)
              conn:close()
              return nil
            end
            return { status = 503, headers = headers, body = said }
          end)
          local response = client:ask "/"
          assert.equal(503, response.status)
          assert.equal("1", response.headers:get "x-backend")
          assert.equal(case.use == waits and "seen" or nil, response.headers:get "x-lua")
          assert.is_true(response.body == said, #response.body)
          assert.equal(1, #g.backends[1].requests)
          if not case.healthy then -- the breaker has learnt of it: the next one is the gateway's to refuse
            response = client:ask "/"
            assert.equal(503, response.status)
            assert.is_nil(response.headers:get "x-backend")
          end
          peers.eventually(function() return g:status().upstreams[1].endpoints[1].in_flight == 0 end, "nothing in flight")
        end)
      end)
    end
  end

  it("a client that goes away while another try waits takes it along", function()
    with({ "retry = { on = { 503 }, backoff = { base = 30, most = 30 } }" }, function(g, client)
      g.backends[1]:answer { status = 503, body = body }
      client:send(message.request {})
      peers.eventually(function() return #g.backends[1].requests == 1 end, "the first try")
      peers.sleep(0.02)
      client:close()
      g:log_wait(function(line) return line.type == "access" and line.status == 499 end)
      peers.eventually(function() return next(g.backends[1].open) == nil end, "the end of its connection")
    end)
  end)

  it("somebody else is still asked, after a back-off too, and the first connection is used again", function()
    with({ "retry = { on = { 503 }, backoff = { base = 0.02, most = 0.02 } }" }, function(g, client)
      g.backends[1]:answer { status = 503, body = "one" }
      g.backends[2]:answer { body = "two" }
      for _ = 1, 5 do assert.equal("two", client:ask("/").body) end
      local connections = 0
      for _ in pairs(g.backends[1].open) do connections = connections + 1 end
      assert.equal(1, connections)
      assert.equal(5, #g.backends[1].requests)
    end)
  end)
end)

describe("a chunked body", function()
  local function put(client, pieces, trailers)
    client:send(message.request { method = "PUT", path = "/", headers = { ["Transfer-Encoding"] = "chunked" } })
    for _, piece in ipairs(pieces) do
      client:send(("%x\r\n%s\r\n"):format(#piece, piece))
      peers.sleep(0.002)
    end
    client:send(trailers and "0\r\n" .. trailers .. "\r\n\r\n" or "0\r\n\r\n")
    return client:read_response()
  end

  for _, case in ipairs {
    { "none of it", {}, true }, { "one piece", { "hello" }, true }, { "up to the bound", { ("x"):rep(99), "y" }, true },
    { "a byte more", { ("x"):rep(99), "yz" }, false }, { "in one piece, a byte more", { ("x"):rep(101) }, false },
    { "much more", { ("x"):rep(99), ("y"):rep(30000), ("z"):rep(30000) }, false },
  } do
    for _, trailers in ipairs { false, "X-Sum: 42" } do
      it(("%s%s: %s"):format(case[1], trailers and ", with trailers" or "", case[3] and "is sent again" or "streams"), function()
        with({ "retry = { on = { 503 }, backoff = 0, body = 100 }" }, function(g, client)
          g.backends[1]:answer { status = 503, body = "one" }
          g.backends[2]:answer { body = "two" }
          local whole = table.concat(case[2])
          for _ = 1, 2 do assert.equal(case[3] and 200 or 503, put(client, case[2], trailers).status) end
          for i = 1, case[3] and 2 or 1 do
            local requests = g.backends[i].requests
            assert.equal(2, #requests)
            for _, request in ipairs(requests) do
              assert.is_true(request.body == whole, #request.body)
              local chunked = trailers or not case[3]
              assert.equal(chunked and "chunked" or nil, request.headers:get "transfer-encoding")
              assert.equal(not chunked and tostring(#whole) or nil, request.headers:get "content-length")
              if trailers then assert.equal("42", request.trailers:get "x-sum") end
            end
          end
        end)
      end)
    end
  end

  it("too long for the route is refused, kept or not", function()
    with({ "retry = { on = { 503 }, backoff = 0, body = 1000 }" }, function(g, client)
      g.backends[1]:answer { body = "one" }
      client:send(message.request { method = "PUT", path = "/", headers = { ["Transfer-Encoding"] = "chunked" } })
      client:try_write(("%x\r\n%s\r\n"):format(120000, ("x"):rep(120000)))
      assert.equal(413, client:read_response().status)
    end)
  end)

  it("that is broken is refused before anybody is asked", function()
    with({ "retry = { on = { 503 }, backoff = 0 }" }, function(g, client)
      client:send(message.request { method = "PUT", path = "/", headers = { ["Transfer-Encoding"] = "chunked" } } .. "5\r\nhelloXX")
      assert.equal(400, client:read_response().status)
      assert.equal(0, #g.backends[1].requests)
    end)
  end)

  it("of a POST streams, as ever", function()
    with({ "retry = { on = { 503 }, backoff = 0 }" }, function(g, client)
      g.backends[1]:answer { body = "one" }
      client:send(message.request { method = "POST", path = "/", headers = { ["Transfer-Encoding"] = "chunked" } } .. "5\r\nhello\r\n")
      peers.eventually(function() return next(g.backends[1].open) ~= nil end, "the backend sees it come")
      client:send "0\r\n\r\n"
      assert.equal("one", client:read_response().body)
      assert.equal("hello", g.backends[1].requests[1].body)
    end)
  end)
end)
