-- Trace context on the wire, and spans as a collector of OpenTelemetry gets them (OTLP over HTTP, JSON).

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

local function attributes(span)
  local out = {}
  for _, a in ipairs(span.attributes) do out[a.key] = a.value.stringValue or tonumber(a.value.intValue) end
  return out
end

-- All spans that the collector took so far, by arrival; each with its service's name.
local function spans_of(collector)
  local out = {}
  for _, request in ipairs(collector.requests) do
    assert.equal("POST", request.method)
    assert.equal("application/json", request.headers:get "content-type")
    for _, resource in ipairs(cjson.decode(request.body).resourceSpans) do
      for _, scope in ipairs(resource.scopeSpans) do
        for _, span in ipairs(scope.spans) do
          span.service = resource.resource.attributes[1].value.stringValue
          span.at = attributes(span)
          out[#out + 1] = span
        end
      end
    end
  end
  return out
end

local function wait_spans(collector, count)
  local spans
  peers.eventually(function()
    spans = spans_of(collector)
    return #spans >= count
  end, count .. " spans at the collector")
  return spans
end

-- f(g, backends...) inside a run; the last backend is the collector.
local function with(declarations, f, options)
  local o = { backends = 3, script = "${prelude}\n" .. declarations }
  for key, value in pairs(options or {}) do o[key] = value end
  local g = gateway.start(o)
  local ok, problem = pcall(peers.run, function() f(g, g.backends[1], g.backends[2], g.backends[3]) end)
  g:stop()
  if not ok then error(problem, 0) end
end

local ROUTE = 'gateway.route "/" { name = "all", to = gateway.upstream "b" { "${backend1}" } }\n'
local TO = 'endpoint = "http://${backend3}"'

describe("trace context", function()
  it("passes through untouched when the script says nothing of tracing", function()
    with(ROUTE, function(g, b)
      b:answer {}
      g:ask { path = "/", headers = { Traceparent = "anything at all", tracestate = "a=1" } }
      assert.equal("anything at all", b:last().headers:get "traceparent")
      assert.equal("a=1", b:last().headers:get "tracestate")
      g:ask "/"
      assert.is_nil(b:last().headers:get "traceparent")
    end)
  end)

  for _, case in ipairs {
    -- name, traceparent, continued?, flags
    { "is continued when sampled", "00-" .. ID .. "-" .. PARENT .. "-01", true, "01" },
    { "is continued when not sampled", "00-" .. ID .. "-" .. PARENT .. "-00", true, "00" },
    { "ignores flags that it does not know", "00-" .. ID .. "-" .. PARENT .. "-ff", true, "01" },
    { "of a later version is continued", "cc-" .. ID .. "-" .. PARENT .. "-01-what-comes", true, "01" },
    { "with more behind version 00 begins anew", "00-" .. ID .. "-" .. PARENT .. "-01-x", false, "01" },
    { "of version ff begins anew", "ff-" .. ID .. "-" .. PARENT .. "-01", false, "01" },
    { "in upper case begins anew", "00-" .. ID:upper() .. "-" .. PARENT .. "-01", false, "01" },
    { "without an id begins anew", "00-" .. ("0"):rep(32) .. "-" .. PARENT .. "-01", false, "01" },
    { "without a parent begins anew", "00-" .. ID .. "-" .. ("0"):rep(16) .. "-01", false, "01" },
    { "cut short begins anew", "00-" .. ID .. "-" .. PARENT .. "-0", false, "01" },
    { "given twice begins anew", "00-" .. ID .. "-" .. PARENT .. "-01\r\ntraceparent: 00-" .. ID .. "-" .. PARENT .. "-01", false, "01" },
    { "that is missing is begun", nil, false, "01" },
  } do
    it(case[1], function()
      with("gateway.tracing {}\n" .. ROUTE, function(g, b)
        b:answer {}
        g:ask { path = "/", headers = { Traceparent = case[2], Tracestate = "vendor=x" } }
        local all = b:last().headers:all "traceparent"
        assert.equal(1, #all)
        local id, span, flags = all[1]:match("^00%-(%x+)%-(%x+)%-(%x%x)$")
        assert.equal(32, #id)
        assert.equal(16, #span)
        assert.equal(case[3], id == ID)
        assert.not_equal(PARENT, span)
        assert.equal(case[4], flags)
        assert.equal(case[3] and "vendor=x" or nil, b:last().headers:get "tracestate")
        local line = g:log_wait(function(l) return l.type == "access" end)
        assert.equal(id, line.trace_id)
      end)
    end)
  end
end)

describe("spans", function()
  it("tell of the request, and below it of each try", function()
    with('gateway.tracing { ' .. TO .. [[, service = "edge \"1\"", headers = { ["X-Key"] = "k" } }
gateway.route "/r/:id" { name = "retried", to = gateway.upstream "two" { "${backend1}", "${backend2}",
  retry = { attempts = 2, on = { 503 } } } }
]], function(g, one, two, collector)
      one:answer { status = 503 }
      two:answer { status = 200 }
      collector:answer {}
      local spans
      for n = 1, 20 do -- until one was tried twice: who is first is chance
        g:ask { path = "/r/7?secret=1", headers = { Traceparent = "00-" .. ID .. "-" .. PARENT .. "-01", Tracestate = "v=1" } }
        spans = wait_spans(collector, n * 2)
        if #one.requests > 0 then break end
      end
      assert.equal("k", collector:last().headers:get "x-key")
      assert.equal("/v1/traces", collector:last().target)
      local last = spans[#spans] -- the request's comes behind its tries
      assert.equal("edge \"1\"", last.service)
      assert.equal("GET retried", last.name)
      assert.equal(2, last.kind)
      assert.equal(ID, last.traceId)
      assert.equal(PARENT, last.parentSpanId)
      assert.equal("v=1", last.traceState)
      assert.equal("/r/7", last.at["url.path"])
      assert.equal("retried", last.at["http.route"])
      assert.equal(200, last.at["http.response.status_code"])
      assert.same({}, last.status)
      local first, second = spans[#spans - 2], spans[#spans - 1]
      for _, span in ipairs { first, second } do
        assert.equal(3, span.kind)
        assert.equal(last.spanId, span.parentSpanId)
        assert.equal(ID, span.traceId)
        assert.equal("two", span.at["gateway.upstream"])
        assert.is_true(span.startTimeUnixNano >= last.startTimeUnixNano and span.endTimeUnixNano <= last.endTimeUnixNano)
      end
      assert.equal(503, first.at["http.response.status_code"])
      assert.equal(2, first.status.code)
      assert.equal(one.at, first.at["server.address"])
      assert.equal(200, second.at["http.response.status_code"])
      assert.equal(1, second.at["http.request.resend_count"])
      -- what each backend got is the id of its own try
      assert.equal(first.spanId, one:last().headers:get("traceparent"):match("%-(%x+)%-%x%x$"))
      assert.equal(second.spanId, two:last().headers:get("traceparent"):match("%-(%x+)%-%x%x$"))
    end)
  end)

  it("of middleware, when the script wants them: one in the other, tries inside", function()
    with("gateway.tracing { middleware = true, " .. TO .. " }\n" .. [[
local function outer(request, next)
  local response = next()
  response.headers["X-Outer"] = "1"
  return response
end
gateway.route "/" { use = { outer, gateway.plugin("cors", {}), function(request, next)
  if request.headers["x-fail"] then error "on purpose" end
  gateway.sleep(0.05)
  return next()
end }, to = gateway.upstream "b" { "${backend1}" } }
]], function(g, b, _, collector)
      b:answer {}
      collector:answer {}
      assert.equal(200, g:ask("/").status)
      local by = {}
      for _, span in ipairs(wait_spans(collector, 5)) do by[span.name:match "main%.lua:(%d+)" or span.name] = span end
      local outer, inner, server = by["3"], by["8"], by["GET /"]
      assert.is_not_nil(outer and inner and server)
      assert.same({ 1, 1, 1 }, { outer.kind, by.cors.kind, inner.kind })
      assert.equal(server.spanId, outer.parentSpanId)
      assert.equal(outer.spanId, by.cors.parentSpanId)
      assert.equal(by.cors.spanId, inner.parentSpanId)
      assert.equal(inner.spanId, by.GET.parentSpanId)
      assert.is_true(tonumber(inner.endTimeUnixNano) - tonumber(inner.startTimeUnixNano) >= 49e6)
      assert.equal(500, g:ask({ path = "/", headers = { ["X-Fail"] = "1" } }).status)
      local failed = {}
      for _, span in ipairs(wait_spans(collector, 9)) do
        if span.status.message == "did not come back" then failed[#failed + 1] = span.name end
      end
      assert.equal(3, #failed)
    end)
  end)

  it("of requests that failed are exported though nothing is sampled; others are not", function()
    with("gateway.tracing { ratio = 0, " .. TO .. " }\n" .. [[
gateway.route "/bad" { to = gateway.upstream "dead" { "127.0.0.1:1" } }
gateway.route "/no" { to = gateway.respond(404, "no") }
gateway.route "/good" { to = gateway.respond(200, "yes") }
]], function(g, _, _, collector)
      collector:answer {}
      for _ = 1, 5 do
        g:ask "/good"
        g:ask "/no"
      end
      assert.equal(502, g:ask("/bad").status)
      local spans = wait_spans(collector, 2)
      assert.equal(2, #spans)
      assert.equal("/bad", spans[2].at["url.path"])
      assert.equal(2, spans[2].status.code)
      assert.matches("refused", spans[1].status.message)
    end)
  end)

  it("are sampled by ratio, and every one arrives once", function()
    with("gateway.tracing { ratio = 0.3, " .. TO .. " }\n" .. ROUTE, function(g, b, _, collector)
      b:answer {}
      collector:answer {}
      local client, marked = g:client(), 0
      for _ = 1, 300 do client:ask "/" end
      for _, request in ipairs(b.requests) do
        if request.headers:get("traceparent"):sub(-2) == "01" then marked = marked + 1 end
      end
      assert.is_true(marked > 40 and marked < 150, "of 300 were sampled: " .. marked)
      assert.equal(2 * marked, #wait_spans(collector, 2 * marked))
      assert.equal(2 * marked, g:status().spans.exported)
    end)
  end)

  for _, case in ipairs {
    { "hangs", function(collector) collector:serve(function(conn) conn:hang() end) end },
    { "resets", function(collector) collector:serve(function(conn) conn:reset() end) end },
    { "answers 500", function(collector) collector:answer { status = 500 } end },
    { "talks nonsense", function(collector) collector:serve(function(conn) conn:write "SSH-2.0-hello there\r\n" conn:hang() end) end },
    { "is not there", function(collector) collector:close() end },
  } do
    it("are dropped and counted, and traffic goes on, when the collector " .. case[1], function()
      with("gateway.tracing { timeout = 0.3, " .. TO .. " }\n" .. ROUTE, function(g, b, _, collector)
        b:answer {}
        case[2](collector)
        for _ = 1, 20 do assert.equal(200, g:ask("/").status) end
        peers.eventually(function() return g:status().spans.dropped == 40 end, "spans counted as dropped")
        g:log_wait(function(l) return l.message and l.message:find "spans could not be sent" and l.error end)
        assert.equal(200, g:ask("/").status)
      end)
    end)
  end

  it("go to the new collector after a reload", function()
    with("gateway.tracing { " .. TO .. " }\n" .. ROUTE, function(g, b, other, collector)
      b:answer {}
      collector:answer {}
      other:answer {}
      g:ask "/"
      wait_spans(collector, 2)
      g:replace("main.lua", g:fill('${prelude}\ngateway.tracing { endpoint = "http://${backend2}/x/y" }\n' .. ROUTE))
      assert.equal(200, g:reload().status)
      g:ask "/"
      wait_spans(other, 2)
      assert.equal("/x/y", other:last().target)
      assert.equal(2, #spans_of(collector))
    end)
  end)

  for _, case in ipairs {
    { 'endpoint = "https://x"', 'gateway.tracing: endpoint: found "https://x": expected "http://HOST:PORT/PATH"' },
    { 'endpoint = "http://a:b@x/"', "a name and a password belong in headers" },
    { 'endpoint = "http://x:70000"', "expected \"http://HOST:PORT/PATH\"" },
    { 'endpoint = "http://"', "expected \"http://HOST:PORT/PATH\"" },
    { "ratio = 2", "ratio: expected a number from 0 to 1, found 2" },
    { 'headers = { Host = "x" }', 'headers: expected the name of a field .*, found "Host"' },
    { 'headers = { ["X-K"] = "a\\r\\nb" }', "headers.X%-K: expected a header field's value" },
  } do
    it("refuses " .. case[1], function()
      local ended = gateway.command { args = { "check", "${dir}/main.lua" }, script = "gateway = require 'gateway' gateway.listen ':0'\n"
        .. "gateway.tracing { " .. case[1] .. " }\ngateway.route '/' { to = gateway.respond(200, '') }" }
      assert.equal(1, ended.code)
      assert.matches("main.lua:2: ", ended.stderr)
      assert.matches(case[2], ended.stderr)
    end)
  end
end)
