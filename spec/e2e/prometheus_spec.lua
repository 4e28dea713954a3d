-- What reads /metrics in the world: promtool finds nothing to say against it, a real Prometheus scrapes it, and every query of the
-- dashboard and of the alert rules in examples/observability names metrics that are there.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local metrics = require "spec.support.metrics"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local FOLDER = "examples/observability/"

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function write_file(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- Runs a command to its end: exit code, and all that it said.
local function run(argv, dir, stdin)
  if stdin then write_file(dir .. "/in", stdin) end
  os.remove(dir .. "/said")
  os.remove(dir .. "/said_too")
  local pid = assert(sys.spawn { argv = argv, env = sys.environment(), stdin = stdin and dir .. "/in", stdout = dir .. "/said",
    stderr = dir .. "/said_too" })
  local code
  peers.within(function()
    peers.eventually(function()
      code = sys.ended(pid)
      return code ~= nil
    end, table.concat(argv, " "), 20)
  end)
  return code, read_file(dir .. "/said") .. read_file(dir .. "/said_too")
end

-- All expressions of the dashboard, as Grafana would send them.
local function dashboard_queries()
  local dashboard, out = cjson.decode(read_file(FOLDER .. "grafana.json")), {}
  local function add(title, text)
    text = text:gsub("%$__rate_interval", "5s"):gsub("%$%a+", ".*")
    out[#out + 1] = { title = title, text = text }
  end
  for _, panel in ipairs(dashboard.panels) do
    for _, target in ipairs(panel.targets or {}) do add(panel.title, target.expr) end
  end
  for _, annotation in ipairs(dashboard.annotations.list) do add(annotation.name, annotation.expr) end
  for _, variable in ipairs(dashboard.templating.list) do
    local name, label = tostring(variable.query):match "^label_values%(([%w_]+), ([%w_]+)%)$"
    if variable.type == "query" then
      add(variable.name, ("count by (%s) (%s)"):format(assert(label, variable.query), name))
    end
  end
  return out
end

local function metric_names(text)
  local out = {}
  for name in text:gsub('".-"', ""):gmatch "[%a_:][%w_:]*" do
    if name:find "^gateway_" or name:find "^process_" then out[#out + 1] = name end
  end
  return out
end

describe("Prometheus:", function()
  local g, dir
  lazy_setup(function()
    dir = sys.temp_dir()
    g = gateway.start { backends = { "127.0.0.1:0", "refused" }, workers = 2, script = [[${prelude}
      local count = gateway.counter("spec_things_total", "Things, \\ and\nmore.", { "kind" })
      local size = gateway.histogram("spec_size_bytes", "Sizes.", nil, { 10, 1000 })
      local level = gateway.gauge("spec_level", "Level.")
      local b = gateway.upstream "b" { "${backend1}", breaker = { failures = 2 } }
      local gone = gateway.upstream "gone" { "${backend2}", health = { passive = { window = 30, min_requests = 1, error_rate = 0.1 } },
        retry = { attempts = 2, on = { "connect" } } }
      gateway.route "/" { to = b }
      gateway.route "/gone" { to = gone }
      gateway.route "/lua" {
        name = 'a "route" \\ of mine',
        to = gateway.respond(200, "x"),
        use = { gateway.rate_limit { rate = 0.001, burst = 1, by = "none", name = "l" }, function(request, next)
          count:inc(1, 'odd "value" \\ \n')
          size:observe(100)
          level:set(0.1)
          return next()
        end },
      } ]] }
  end)
  lazy_teardown(function()
    if g then g:stop() end
    os.execute("rm -rf '" .. dir .. "'")
  end)

  local function traffic()
    g.backends[1]:answer { body = "x" }
    for _ = 1, 5 do
      assert.equal(200, g:ask("/").status)
      g:ask { path = "/", method = "POST", body = "12345" }
      g:ask "/gone"
      g:ask "/lua"
      g:ask { path = "/", headers = { Host = "a\1b" } }
    end
  end

  it("promtool finds nothing to say against a scrape, nor against the example's files", function()
    peers.run(traffic)
    local code, said = run({ "/usr/bin/promtool", "check", "metrics" }, dir, metrics.scrape(g).text)
    assert.equal("", said)
    assert.equal(0, code)
    code, said = run({ "/usr/bin/promtool", "check", "config", FOLDER .. "prometheus.yml" }, dir)
    assert.equal(0, code, said)
  end)

  it("every query of the dashboard and of the rules names metrics that are there", function()
    peers.run(traffic)
    local scrape, there = metrics.scrape(g), {}
    for _, sample in ipairs(scrape.samples) do there[sample.name] = true end
    for _, query in ipairs(dashboard_queries()) do
      local names = metric_names(query.text)
      assert.is_true(#names > 0, query.title)
      for _, name in ipairs(names) do assert.is_true(there[name], query.title .. ": " .. name) end
    end
    local seen = 0
    for name in read_file(FOLDER .. "alerts.yml"):gsub("#[^\n]*", ""):gmatch "[%a_]+_[%a_]+" do
      if name:find "^gateway_" or name:find "^process_" then
        seen = seen + 1
        assert.is_true(there[name], "alerts.yml: " .. name)
      end
    end
    assert.is_true(seen >= 10)
  end)

  it("a real one scrapes it, in OpenMetrics with exemplars, and answers every query of the dashboard", function()
    local port = sys.free_port()
    write_file(dir .. "/prometheus.yml", ([[
global: { scrape_interval: 500ms, scrape_timeout: 400ms }
scrape_configs:
  - { job_name: gateway, static_configs: [ { targets: [ "127.0.0.1:%d" ] } ] }
]]):format(g.vars.admin))
    local pid = assert(sys.spawn { argv = { "/usr/bin/prometheus", "--config.file=" .. dir .. "/prometheus.yml",
      "--storage.tsdb.path=" .. dir .. "/tsdb", "--web.listen-address=127.0.0.1:" .. port, "--enable-feature=exemplar-storage",
      "--log.level=warn" }, env = sys.environment(), stdout = dir .. "/prometheus.out", stderr = dir .. "/prometheus.err" })
    local good, message = pcall(peers.run, function()
      local function api(path, parameters)
        local text = {}
        for name, value in pairs(parameters or {}) do
          text[#text + 1] = name .. "=" .. value:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
        end
        local request = { path = path .. "?" .. table.concat(text, "&"), headers = { Connection = "close" } }
        local response = peers.ask(port, request, { wait = 10 })
        local decoded = cjson.decode(response.body)
        assert.equal("success", decoded.status, response.body)
        return decoded.data
      end
      local function query(text) return api("/api/v1/query", { query = text }).result end
      peers.eventually(function() return peers.reachable(port) and sys.ended(pid) == nil end, "Prometheus", 30)
      peers.eventually(function()
        traffic()
        local good, result = pcall(query, "min_over_time(up[10s]) == 1 and count_over_time(up[10s]) >= 4")
        return good and #result == 1
      end, "four scrapes", 40)
      local counted = metrics.scrape(g):sum("gateway_requests_total", { route = "/", method = "GET", status = "200" })
      peers.eventually(function()
        local result = query 'gateway_requests_total{route="/",method="GET",status="200"}'
        return #result == 1 and tonumber(result[1].value[2]) == counted
      end, "the count as it is here", 20)
      for _, one in ipairs(dashboard_queries()) do
        local result = query(one.text)
        if one.title ~= "Reloads" then assert.is_true(#result > 0, ("%s: no result of %s"):format(one.title, one.text)) end
      end
      assert.equal('odd "value" \\ \n', query("spec_things_total")[1].metric.kind)
      local targets = api "/api/v1/targets".activeTargets
      assert.equal("up", targets[1].health)
      assert.equal("", targets[1].lastError)
      local now = os.time()
      local exemplars = api("/api/v1/query_exemplars", { query = "gateway_request_duration_seconds_bucket", start = tostring(now - 600),
        ["end"] = tostring(now + 600) })
      assert.is_true(#exemplars > 0)
      assert.equal(32, #exemplars[1].exemplars[1].labels.trace_id)
    end, { seconds = 110 })
    sys.kill(pid, sys.SIGKILL)
    peers.within(function() peers.eventually(function() return sys.ended(pid) ~= nil end, "its end", 20) end)
    if not good then error(tostring(message) .. "\n" .. read_file(dir .. "/prometheus.err"):sub(-2000), 0) end
  end)
end)
