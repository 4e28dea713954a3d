-- /metrics against traffic that was counted: each request once, whatever way it ended, over workers and reloads; and no client can make
-- series. What scripts count themselves is in metrics_script_spec.lua.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local metrics = require "spec.support.metrics"
local peers = require "spec.support.peers"

local function with(g, f)
  local good, message_ = pcall(f, g)
  if good then return g:stop() end
  pcall(g.stop, g)
  error(message_, 0)
end

local function requests(scrape, route, method, status)
  return scrape:value("gateway_requests_total", { route = route, method = method, status = tostring(status) }) or 0
end

local SCRIPT = [[${prelude}
  gateway.limits { body_bytes = 1000 }
  gateway.timeouts { header = 0.3, body = 0.3 }
  local users = gateway.upstream "users" { "${backend1}", timeouts = { first_byte = 0.3, idle = 0.3, connect = 1 } }
  local gone = gateway.upstream "gone" { "${backend2}" }
  local brk = gateway.upstream "breaking" { "${backend2}", breaker = { failures = 2, open_for = 60 } }
  gateway.route "/users" { to = users, methods = { "GET", "POST", "HEAD", "PUT" } }
  gateway.route "/gone" { to = gone }
  gateway.route "/breaking" { to = brk }
  gateway.route "/fixed" { to = gateway.respond(200, "fixed") }
  gateway.route "/limited" {
    name = "limited", to = gateway.respond(200, "in"),
    use = { gateway.rate_limit { rate = 0.001, burst = 2, by = "none", name = "first" } },
  }
  gateway.route "/lua" {
    to = gateway.respond(200, "in"),
    use = {
      function(request, next)
        if request.headers["x-fail"] then error("as wanted") end
        if request.headers["x-say"] then return gateway.respond(tonumber(request.headers["x-say"]), "said") end
        return next()
      end,
      gateway.rate_limit { rate = 0.001, burst = 1, by = "header:X-Key", name = "second" },
    },
  }
  gateway.route "/odd" { name = 'odd "name" \\ with\nlines and ü', to = gateway.respond(204, "") }
]]

describe("/metrics:", function()
  local g
  lazy_setup(function() g = gateway.start { backends = { "127.0.0.1:0", "refused" }, script = SCRIPT, workers = 2 } end)
  lazy_teardown(function() if g then g:stop() end end)

  local modes = {
    ["/users/plain"] = { body = "hello" },
    ["/users/created"] = { status = 201, body = "made" },
    ["/users/odd"] = { status = 299, body = "" },
    ["/users/unavailable"] = { status = 503, body = "no" },
  }

  local function serve()
    g.backends[1]:serve(function(conn)
      while true do
        local request = conn:read_request()
        if not request then return end
        local path = request.target
        if modes[path] then
          conn:write(message.response(modes[path]))
        elseif path == "/users/hang" then
          conn:hang()
        elseif path == "/users/reset" then
          return conn:reset()
        elseif path == "/users/junk" then
          conn:write "SMTP 220 hello\r\n\r\n"
          return conn:close()
        elseif path == "/users/cut" then
          conn:write "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
          peers.sleep(0.05)
          return conn:close()
        elseif path == "/users/endless" then
          conn:write "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome"
          conn:hang()
        end
      end
    end)
  end

  -- name; what the client does (its status, or nil); route, method and status as counted; other counts that go up: { name, labels, by }
  local users, gone = { upstream = "users" }, { upstream = "gone" }
  local function errors(upstream, reason) return { "gateway_upstream_errors_total", { upstream = upstream, reason = reason }, 1 } end
  local cases = {
    { "completed", { path = "/users/plain" }, 200, "/users", "GET", 200, {
      { "gateway_response_body_bytes_total", { route = "/users" }, 5 }, { "gateway_upstream_duration_seconds_count", users, 1 } } },
    { "completed, HEAD", { path = "/users/plain", method = "HEAD" }, 200, "/users", "HEAD", 200 },
    { "a body up", { path = "/users/created", method = "POST", body = "12345678" }, 201, "/users", "POST", 201, {
      { "gateway_request_body_bytes_total", { route = "/users" }, 8 }, { "gateway_response_body_bytes_total", { route = "/users" }, 4 } } },
    { "an uncommon status", { path = "/users/odd" }, 299, "/users", "GET", 299 },
    { "the backend's 503", { path = "/users/unavailable" }, 503, "/users", "GET", 503 },
    { "a fixed answer", { path = "/fixed" }, 200, "/fixed", "GET", 200, { { "gateway_upstream_duration_seconds_count", users, 0 } } },
    { "no route", { path = "/nowhere" }, 404, "(none)", "GET", 404 },
    { "another method", { path = "/users", method = "DELETE" }, 405, "(none)", "DELETE", 405 },
    { "a method of extensions", { path = "/fixed", method = "PROPFIND" }, 200, "/fixed", "OTHER", 200 },
    { "an unknown method", { path = "/fixed", method = "BREW" }, 501, "(none)", "OTHER", 501 },
    { "OPTIONS *", { path = "*", method = "OPTIONS" }, 204, "(none)", "OPTIONS", 204 },
    { "a head that is none", "GET / HTTP/1.1\nHost: x\n\n", 400, "(none)", "OTHER", 400 },
    { "a path that is none", { path = "/../.." }, 400, "(none)", "GET", 400 },
    { "a head that does not come", "GET /fixed HTTP/1.1\r\nHos", 408, "(none)", "OTHER", 408 },
    { "a body too large", { path = "/users/plain", method = "POST", body = ("x"):rep(1001) }, 413, "/users", "POST", 413 },
    { "a body that does not come", "POST /users/plain HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", 408, "/users", "POST", 408, {
      { "gateway_request_body_bytes_total", { route = "/users" }, 4 } } },
    { "Lua's own answer", { path = "/lua", headers = { ["X-Say"] = "418" } }, 418, "/lua", "GET", 418 },
    { "a script error", { path = "/lua", headers = { ["X-Fail"] = "1" } }, 500, "/lua", "GET", 500, {
      { "gateway_lua_errors_total", nil, 1 } }, 1 },
    { "connection refused", { path = "/gone" }, 502, "/gone", "GET", 502, { errors("gone", "connect"),
      { "gateway_upstream_duration_seconds_count", gone, 1 } } },
    { "reset by the upstream", { path = "/users/reset", method = "POST", body = "" }, 502, "/users", "POST", 502,
      { errors("users", "reset") } },
    { "junk from the upstream", { path = "/users/junk" }, 502, "/users", "GET", 502, { errors("users", "response") } },
    { "the upstream is too slow", { path = "/users/hang" }, 504, "/users", "GET", 504, { errors("users", "timeout") } },
    { "cut by the upstream", { path = "/users/cut" }, "cut", "/users", "GET", 200, { errors("users", "response"),
      { "gateway_responses_cut_total", { route = "/users" }, 1 }, { "gateway_client_aborts_total", { route = "/users" }, 0 },
      { "gateway_response_body_bytes_total", { route = "/users" }, 4 } } },
    { "the upstream stops in the middle", { path = "/users/endless" }, "cut", "/users", "GET", 200, {
      { "gateway_responses_cut_total", { route = "/users" }, 1 } } },
    { "aborted before the answer", { path = "/users/hang" }, "abort", "/users", "GET", 499, {
      { "gateway_client_aborts_total", { route = "/users" }, 1 }, { "gateway_responses_cut_total", { route = "/users" }, 0 } } },
    { "aborted in the answer", { path = "/users/endless" }, "abort body", "/users", "GET", 200, {
      { "gateway_client_aborts_total", { route = "/users" }, 1 } } },
    { "an odd route name", { path = "/odd" }, 204, 'odd "name" \\ with\nlines and ü', "GET", 204 },
  }

  local function act(how, want)
    local client = g:client()
    client:write(type(how) == "string" and how or message.request(how))
    if want == "abort" then
      peers.sleep(0.03)
      client:reset()
    elseif want == "abort body" then
      client:read_until "some"
      client:reset()
    elseif want == "cut" then
      client:read_until "\r\n\r\n"
      client:wait_end()
    else
      assert.equal(want, client:read_response({ method = how.method }).status)
    end
    client:close()
  end

  for _, case in ipairs(cases) do
    local name, how, want, route, method, status, others, plugin_errors = unpack(case)
    it("counts once: " .. name, function()
      peers.run(function()
        serve()
        local before = metrics.scrape(g)
        act(how, want)
        local total = before:sum "gateway_requests_total"
        local after = metrics.eventually(g, function(s) return s:sum "gateway_requests_total" > total end, "the count of the request")
        assert.equal(total + 1, after:sum "gateway_requests_total")
        assert.equal(requests(before, route, method, status) + 1, requests(after, route, method, status))
        assert.equal(after:sum "gateway_requests_total", after:sum "gateway_request_duration_seconds_count")
        assert.equal(before:sum "gateway_plugin_errors_total" + (plugin_errors or 0), after:sum "gateway_plugin_errors_total")
        for _, other in ipairs(others or {}) do
          assert.equal((before:value(other[1], other[2]) or 0) + other[3], after:value(other[1], other[2]) or 0, other[1])
        end
      end)
    end)
  end

  it("tells refusals by route and limiter, whether C or the chain asked", function()
    peers.run(function()
      for _ = 1, 5 do g:ask "/limited" end
      for i = 1, 4 do g:ask { path = "/lua", headers = { ["X-Key"] = i % 2 == 0 and "a" or "b" } } end
      local after = metrics.scrape(g)
      assert.equal(3, after:value("gateway_rate_limited_total", { route = "limited", limiter = "first" }))
      assert.equal(2, after:value("gateway_rate_limited_total", { route = "/lua", limiter = "second" }))
      assert.equal(2, requests(after, "limited", "GET", 200))
      assert.equal(3, requests(after, "limited", "GET", 429))
    end)
  end)

  it("tells breakers, health, drained endpoints and pools", function()
    peers.run(function()
      serve()
      for _ = 1, 4 do g:ask "/breaking" end
      g:ask "/users/plain"
      local dead = { upstream = "breaking", endpoint = g.vars.backend2 }
      local live = { upstream = "users", endpoint = g.vars.backend1 }
      local after = metrics.eventually(g, function(s) return s:value("gateway_upstream_connections_idle", live) > 0 end)
      assert.equal(1, after:value("gateway_breaker_state", dead))
      assert.equal(1, after:value("gateway_breaker_opened_total", dead))
      assert.is_true(after:value("gateway_upstream_refused_total", { upstream = "breaking", reason = "breaker" }) >= 2)
      assert.is_nil(after:value("gateway_breaker_state", live))
      assert.equal(1, after:value("gateway_upstream_healthy", live))
      assert.equal(0, after:value("gateway_upstream_drained", live))
      assert.equal(0, after:value("gateway_upstream_connections_busy", live))
      assert.equal(0, after:value("gateway_upstream_requests_in_flight", live))
      assert.equal(200, g:admin("/drain?upstream=users&endpoint=" .. g.vars.backend1, "POST").status)
      assert.equal(1, metrics.scrape(g):value("gateway_upstream_drained", live))
      assert.equal(200, g:admin("/undrain?upstream=users&endpoint=" .. g.vars.backend1, "POST").status)
    end)
  end)

  it("tells what is under way", function()
    peers.run(function()
      serve()
      local live = { upstream = "users", endpoint = g.vars.backend1 }
      local idle = metrics.eventually(g, function(s) return s:value "gateway_requests_in_flight" == 0 end)
      assert.equal(0, idle:value("gateway_upstream_connections_busy", live))
      local clients = {}
      for i = 1, 3 do
        clients[i] = g:client()
        clients[i]:write(message.request { path = "/users/hang" })
      end
      local busy = metrics.eventually(g, function(s) return s:value("gateway_upstream_requests_in_flight", live) == 3 end, "3 in flight")
      assert.equal(3, busy:value "gateway_requests_in_flight")
      assert.equal(3, busy:value("gateway_upstream_connections_busy", live))
      assert.is_true(busy:value "gateway_connections_active" >= 3)
      for _, client in ipairs(clients) do client:close() end
      metrics.eventually(g, function(s)
        return s:value "gateway_requests_in_flight" == 0 and s:value("gateway_upstream_connections_busy", live) == 0
      end, "none under way")
    end)
  end)

  it("is OpenMetrics when that is asked for, with exemplars that lie in their buckets", function()
    peers.run(function()
      serve()
      g:ask { path = "/users/plain", headers = { ["X-Request-ID"] = "exemplar-of-mine" } }
      local scrape = metrics.scrape(g, true)
      assert.equal("application/openmetrics-text; version=1.0.0; charset=utf-8", scrape.response.headers:get "content-type")
      local seen, bounds = 0, {}
      for _, sample in ipairs(scrape:all "gateway_request_duration_seconds_bucket") do
        local route, bound = sample.labels.route, tonumber(sample.labels.le) or math.huge
        if sample.exemplar then
          seen = seen + 1
          assert.is_true(sample.exemplar.value <= bound and (not bounds[route] or sample.exemplar.value > bounds[route]))
          assert.is_true(math.abs(sample.exemplar.at - os.time()) < 120)
          assert.is_true(#sample.exemplar.id > 0)
        end
        bounds[route] = bound < math.huge and bound or nil
      end
      assert.is_true(seen > 3)
      local plain = metrics.scrape(g)
      assert.equal("text/plain; version=0.0.4; charset=utf-8", plain.response.headers:get "content-type")
      for _, sample in ipairs(plain.samples) do assert.is_nil(sample.exemplar) end
    end)
  end)

  it("answers HEAD with the head only", function()
    local response = peers.within(function()
      return peers.ask(g.vars.admin, { path = "/metrics", method = "HEAD", host = "127.0.0.1", headers = { Connection = "close" } },
        { method = "HEAD" })
    end)
    assert.equal(200, response.status)
    assert.equal(405, g:admin("/metrics", "POST").status)
  end)

  it("tells of the process and its reloads", function()
    local scrape = metrics.scrape(g)
    assert.equal(1, scrape:value("gateway_build_info", { version = scrape:all("gateway_build_info")[1].labels.version }))
    assert.equal(2, scrape:value "gateway_workers")
    assert.equal(1, scrape:value "gateway_last_reload_successful")
    assert.is_true(scrape:value "process_cpu_seconds_total" > 0)
    assert.is_true(scrape:value "process_resident_memory_bytes" > 1e6)
    assert.is_true(scrape:value "process_open_fds" > 5)
    assert.is_true(scrape:value "process_max_fds" >= scrape:value "process_open_fds")
    assert.is_true(math.abs(scrape:value "process_start_time_seconds" - os.time()) < 600)
    assert.equal(0, scrape:sum "gateway_log_lines_dropped_total")
    assert.equal(0, scrape:value "gateway_out_of_memory_total")
    metrics.eventually(g, function(s)
      local lua = s:value("gateway_lua_memory_bytes", { worker = "1" })
      return lua > 100000 and lua < 1e8 and s:value("gateway_event_loop_lag_seconds_count", { worker = "0" }) > 0
        and s:value("gateway_event_loop_lag_seconds_count", { worker = "1" }) > 0
    end, "a look at the loops' lag")
  end)
end)

describe("exemplars of traced requests", function()
  it("are the traces that are sampled", function()
    for _, sampled in ipairs { true, false } do
      with(gateway.start { script = '${prelude} gateway.tracing {} gateway.route "/" { to = gateway.respond(200, "x") }' }, function(g)
        local trace = "0af7651916cd43dd8448eb211c80319c"
        peers.run(function()
          g:ask { path = "/", headers = { traceparent = ("00-%s-b7ad6b7169203331-0%d"):format(trace, sampled and 1 or 0) } }
          local found
          for _, sample in ipairs(metrics.scrape(g, true).samples) do found = found or sample.exemplar and sample.exemplar.id end
          assert.equal(sampled and trace or nil, found)
        end)
      end)
    end
  end)
end)

describe("no client makes series:", function()
  it("10,000 paths, methods, hosts and header values leave their number as it was", function()
    with(gateway.start { backends = 1, script = [[${prelude}
      gateway.route "/a" { to = gateway.upstream "b" { "${backend1}" } }
      gateway.route "/files/:name" { to = gateway.respond(200, "fine"), use = { gateway.rate_limit { rate = 0.001, burst = 1 } } }
      gateway.route "/long" { to = gateway.respond(200, "fine"), host = "*.example.com" }]] }, function(g)
      peers.run(function()
        g.backends[1]:answer { body = "x" }
        local methods = { "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "PURGE", "MKCOL", "LOCK", "REPORT" }
        local function round(from, to)
          local conns = {}
          for i = 1, 20 do conns[i] = i end
          peers.each(conns, #conns, function(i)
            local client = g:client()
            for n = from + i, to, 20 do
              local kind = n % 4
              local path = kind == 0 and "/a/" .. n or kind == 1 and "/files/" .. n or kind == 2 and "/long?" .. n or "/" .. n
              client:ask { path = path, method = methods[n % #methods + 1], host = ("h%d.example.com"):format(n),
                headers = { ["X-Request-ID"] = "id" .. n, ["X-Forwarded-For"] = "10.0.0." .. n % 256, ["User-Agent"] = "a" .. n } }
            end
            client:close()
          end)
        end
        round(0, 500)
        local before = metrics.eventually(g, function(s) return s:sum "gateway_requests_total" == 500 end)
        round(500, 10500)
        local after = metrics.eventually(g, function(s) return s:sum "gateway_requests_total" == 10500 end)
        assert.equal(#before.samples, #after.samples)
      end, { seconds = 60 })
    end)
  end)

  it("a backend that answers with every status: each is counted, and there are no more of them", function()
    with(gateway.start { backends = 1, script = [[${prelude}
      gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }]] }, function(g)
      peers.run(function()
        g.backends[1]:answer(function(request) return { status = tonumber(request.target:match "%d+"), body = "" } end)
        local client = g:client()
        for round = 1, 2 do
          for status = 200, 599 do assert.equal(status, client:ask("/" .. status).status) end
          local scrape = metrics.eventually(g, function(s) return s:sum "gateway_requests_total" == round * 400 end)
          for status = 200, 599 do assert.equal(round, requests(scrape, "/", "GET", status)) end
        end
      end, { seconds = 60 })
    end)
  end)
end)

describe("over reloads", function()
  it("counts go on under load and never go back; routes that vanish keep theirs", function()
    local script = [[${prelude}
      -- %d
      local b = gateway.upstream "b" { "${backend1}" }
      gateway.route "/stays" { to = b }
      local limit = gateway.rate_limit { rate = 0.001, burst = 1, by = "none", name = "l" }
      gateway.route "/%s" { to = gateway.respond(200, "x"), use = { limit } }
    ]]
    with(gateway.start { backends = 1, workers = 2, script = script:format(0, "gone") }, function(g)
      peers.run(function()
        g.backends[1]:answer { body = "x" }
        assert.equal(200, g:ask("/gone").status)
        for _ = 1, 2 do assert.equal(429, g:ask("/gone").status) end
        local done, sent, last = false, 0, 0
        local list = { 1, 2, 3, 4, 5, "reload" }
        peers.each(list, #list, function(i)
          if i == "reload" then
            for n = 1, 12 do
              g:replace("main.lua", script:format(n, n % 2 == 1 and "other" or "others"))
              assert.equal(200, g:reload(20).status)
              local now = metrics.scrape(g):sum("gateway_requests_total", { route = "/stays" })
              assert.is_true(now >= last, "the count went back")
              last = now
            end
            done = true
            return
          end
          local client = g:client()
          while not done do
            assert.equal(200, client:ask("/stays").status)
            sent = sent + 1
          end
          client:close()
        end)
        local scrape = metrics.eventually(g, function(s) return s:value "gateway_requests_in_flight" == 0 end)
        assert.equal(sent, requests(scrape, "/stays", "GET", 200))
        assert.equal(sent, scrape:value("gateway_upstream_duration_seconds_count", { upstream = "b" }))
        assert.equal(1, requests(scrape, "/gone", "GET", 200))
        assert.equal(2, scrape:value("gateway_rate_limited_total", { route = "/gone", limiter = "l" }))
        assert.is_true(scrape:value "gateway_generation" >= 13)
        assert.is_true(scrape:value("gateway_reloads_total", { result = "success" }) >= 12)
        assert.equal(0, #scrape:all("gateway_client_aborts_total", { route = "/other" })) -- it counted nothing: nothing is kept of it
        assert.equal(1, #scrape:all("gateway_client_aborts_total", { route = "/others" }))

        g:replace("main.lua", "this is no Lua")
        assert.equal(422, g:reload(20).status)
        scrape = metrics.scrape(g)
        assert.is_true(scrape:value("gateway_reloads_total", { result = "refused" }) >= 1)
        assert.equal(0, scrape:value "gateway_last_reload_successful")
        assert.equal(sent, requests(scrape, "/stays", "GET", 200))

        g:replace("main.lua", script:format(99, "gone"))
        assert.equal(200, g:reload(20).status)
        g:ask "/gone" -- its old counts are found again
        scrape = metrics.eventually(g, function(s) return s:sum("gateway_requests_total", { route = "/gone" }) == 4 end)
        assert.equal(1, scrape:value "gateway_last_reload_successful")
      end, { seconds = 60 })
    end)
  end)
end)
