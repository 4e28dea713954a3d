-- Metrics that scripts and plugins declare, over the wire: exact over workers and reloads, bounded, and told as they were declared.

local gateway = require "spec.support.gateway"
local metrics = require "spec.support.metrics"
local peers = require "spec.support.peers"

local function with(g, f)
  local good, message = pcall(f, g)
  if good then return g:stop() end
  pcall(g.stop, g)
  error(message, 0)
end

local function flood(g, request, count, connections)
  local list = {}
  for i = 1, connections do list[i] = i end
  peers.each(list, connections, function(i)
    local client = g:client()
    for n = i, count, connections do
      assert.equal(200, client:ask(type(request) == "function" and request(n) or request).status)
    end
    client:close()
  end)
end

local SCRIPT = [[${prelude}
  -- ${version}
  local logins = gateway.counter("logins_total", 'Logins, by "plan"\nand \\ more.', { "plan" })
  local visits = gateway.counter("visits", "Visits.")
  local queue = gateway.gauge("queue_length", "Length.", { "queue" })
  local sizes = gateway.histogram("asked_size_bytes", "Size.", { "kind" }, { 10, 100 })
  local free = gateway.counter("freely_total", "By what clients send.", { "id" }, { series = 20 })
  gateway.route "/count" {
    use = {
      gateway.plugin "counting",
      function(request, next)
        logins:inc(1, request.headers["x-plan"] or "none")
        visits:inc()
        queue:add(1, "all")
        sizes:observe(tonumber(request.headers["x-size"]) or 0, { kind = "asked" })
        return next()
      end,
    },
    to = gateway.respond(200, "counted"),
  }
  gateway.route "/free" {
    use = { function(request, next) free:inc(1, request.headers["x-id"]) return next() end },
    to = gateway.respond(200, "counted"),
  }
  gateway.route "/set" {
    use = { function(request, next) queue:set(tonumber(request.headers["x-to"]), "all") return next() end },
    to = gateway.respond(200, "set"),
  }
]]
local PLUGIN = [[
local gateway = require "gateway"
return {
  name = "counting", schema = {},
  new = function()
    local calls = gateway.counter("counting_calls_total", "Calls of the plugin.", { "phase" })
    return function(request, next)
      calls:inc(1, "before")
      local response = next()
      calls:inc(1, "after")
      return response
    end
  end,
}
]]

local function start(script, workers)
  return gateway.start { script = script or SCRIPT, files = { ["plugins/counting.lua"] = PLUGIN }, workers = workers or 2,
    vars = { version = "1" } }
end

describe("a script's metrics", function()
  it("count exactly whichever worker it is, and are told as declared, in both forms", function()
    with(start(), function(g)
      peers.run(function()
        local first = metrics.scrape(g)
        assert.equal(0, first:value "visits_total")
        assert.equal(0, #first:all "logins_total")
        local odd = 'a"b\\c'
        flood(g, function(n)
          return { path = "/count", headers = { ["X-Plan"] = n % 3 == 0 and "gold" or n % 3 == 1 and "free" or odd,
            ["X-Size"] = tostring(n % 200) } }
        end, 600, 12)
        for _, form in ipairs { false, true } do
          local scrape = metrics.scrape(g, form)
          for _, plan in ipairs { "gold", "free", odd } do assert.equal(200, scrape:value("logins_total", { plan = plan })) end
          assert.equal(600, scrape:value "visits_total")
          assert.equal(600, scrape:value("queue_length", { queue = "all" }))
          assert.equal(600, scrape:value("asked_size_bytes_count", { kind = "asked" }))
          assert.equal(3 * 11, scrape:value("asked_size_bytes_bucket", { kind = "asked", le = "10.0" }))
          assert.equal(3 * 101, scrape:value("asked_size_bytes_bucket", { kind = "asked", le = "100.0" }))
          assert.equal(3 * 199 * 100, scrape:value("asked_size_bytes_sum", { kind = "asked" }))
          assert.equal(600, scrape:value("counting_calls_total", { phase = "before" }))
          assert.equal(600, scrape:value("counting_calls_total", { phase = "after" }))
          assert.equal(600, scrape:value("gateway_plugin_calls_total", { plugin = "counting" }))
          assert.equal(0, scrape:value("gateway_plugin_errors_total", { plugin = "counting" }))
          assert.equal(0, scrape:value("gateway_plugin_off", { plugin = "counting" }))
          assert.equal(0, scrape:value("gateway_metric_series_dropped_total", { metric = "logins_total" }))
          assert.equal(form and 'Logins, by \\"plan\\"\\nand \\\\ more.' or 'Logins, by "plan"\\nand \\\\ more.',
            scrape.families[form and "logins" or "logins_total"].help)
        end
        g:ask { path = "/set", headers = { ["X-To"] = "-2.5" } }
        assert.equal(-2.5, metrics.scrape(g):value("queue_length", { queue = "all" }))
      end, { seconds = 60 })
    end)
  end)

  it("are bounded whatever values come: what is lost is counted", function()
    with(start(), function(g)
      peers.run(function()
        flood(g, function(n) return { path = "/free", headers = { ["X-Id"] = "id" .. n } } end, 1000, 10)
        local scrape = metrics.scrape(g)
        assert.equal(20, #scrape:all "freely_total")
        assert.equal(20, scrape:sum "freely_total")
        assert.equal(980, scrape:value("gateway_metric_series_dropped_total", { metric = "freely_total" }))
      end, { seconds = 60 })
    end)
  end)

  it("live over reloads by name and shape, under load; a refused script changes nothing; another shape begins anew, and is told", function()
    with(start(), function(g)
      peers.run(function()
        local done, sent = false, 0
        local list = { 1, 2, 3, 4, "reload" }
        peers.each(list, #list, function(i)
          if i == "reload" then
            for n = 2, 9 do
              g.vars.version = n % 3 == 0 and "${" or n -- nothing to the script
              g:replace("main.lua", n % 4 == 0 and SCRIPT .. "\nnonsense(" or SCRIPT)
              g:reload(20)
              peers.sleep(0.05)
            end
            done = true
            return
          end
          local client = g:client()
          while not done do
            assert.equal(200, client:ask({ path = "/count", headers = { ["X-Plan"] = "gold" } }).status)
            sent = sent + 1
          end
          client:close()
        end)
        local scrape = metrics.scrape(g)
        assert.is_true(scrape:value "gateway_generation" > 5)
        assert.is_true(scrape:value("gateway_reloads_total", { result = "refused" }) >= 2)
        assert.equal(sent, scrape:value("logins_total", { plan = "gold" }))
        assert.equal(sent, scrape:value "visits_total")
        assert.equal(sent, scrape:value("queue_length", { queue = "all" }))
        assert.equal(sent, scrape:value("asked_size_bytes_count", { kind = "asked" }))
        assert.equal(sent, scrape:value("counting_calls_total", { phase = "after" }))

        g:replace("main.lua", (SCRIPT:gsub('{ "plan" }%)', '{ "level" })')))
        assert.equal(200, g:reload(20).status)
        local line = g:log_wait(function(l) return l.message == "a metric of the script begins anew" end)
        assert.equal("logins", line.metric)
        assert.equal("its labels changed", line.reason)
        scrape = metrics.scrape(g)
        assert.equal(0, #scrape:all "logins_total")
        assert.equal(sent, scrape:value "visits_total")

        g:replace("main.lua", '${prelude} gateway.route "/" { to = gateway.respond(200, "") }')
        assert.equal(200, g:reload(20).status)
        assert.is_nil(metrics.scrape(g):value "visits_total")
      end, { seconds = 60 })
    end)
  end)

  it("cannot be counted while the script loads", function()
    local run = gateway.command { args = { "check", "${dir}/main.lua" },
      script = '${prelude} gateway.counter("c", "C."):inc()\ngateway.route "/" { to = gateway.respond(200, "") }' }
    assert.equal(1, run.code)
    local said = run.stderr .. run.stdout
    assert.truthy(said:find("main.lua:1: c: counting while the script loads would count once for each worker", 1, true), said)
  end)
end)
