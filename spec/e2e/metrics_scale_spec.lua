-- A scrape of a large gateway is quick, and costs those who are served nothing: workers are not asked. Prints how long one takes.

local gateway = require "spec.support.gateway"
local metrics = require "spec.support.metrics"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

-- Milliseconds for a scrape of 1,000 routes and 1,000 endpoints. A build with sanitizers only must not be absurd.
local release = gateway.binary():find "release" ~= nil
local MOST = release and 20 or 500

local function with(g, f)
  local good, message = pcall(f, g)
  if good then return g:stop() end
  pcall(g.stop, g)
  error(message, 0)
end

describe("a scrape of 1,000 routes and 1,000 endpoints", function()
  local script = [[${prelude}
    local upstreams = {}
    for i = 1, 100 do
      local endpoints = { breaker = { failures = 5 }, health = { passive = { window = 30, min_requests = 10, error_rate = 0.5 } } }
      for k = 1, 10 do endpoints[k] = ("127.0.%d.%d:9"):format(i, k) end
      upstreams[i] = gateway.upstream("upstream-" .. i)(endpoints)
    end
    for i = 1, 1000 do
      gateway.route("= /route/" .. i) { to = i % 10 == 0 and upstreams[i / 10] or gateway.respond(200, "x") }
    end]]

  it(("takes less than %d ms, and loses nothing under load"):format(MOST), function()
    with(gateway.start { script = script, workers = 2 }, function(g)
      peers.run(function()
        local list = {}
        for i = 1, 8 do list[i] = i end
        local function round(n)
          peers.each(list, #list, function(i)
            local client = g:client()
            for route = i, 1000, #list do
              if route % 10 ~= 0 then assert.equal(200, client:ask("/route/" .. route).status) end
            end
            client:close()
          end)
          return n * 900
        end
        local counted = round(1)
        local first = metrics.eventually(g, function(s) return s:sum "gateway_requests_total" == counted end)
        assert.equal(1000, #first:all "gateway_upstream_healthy")
        assert.equal(1001, #first:all "gateway_request_duration_seconds_count")
        local best, bytes = math.huge, nil
        for _ = 1, 10 do
          local client = peers.connect(g.vars.admin)
          local began = sys.now()
          client:write "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
          local head = client:read_head()
          best = math.min(best, (sys.now() - began) * 1000)
          bytes = tonumber(head:match "Content%-Length: (%d+)")
          client:read_exact(bytes, true)
          client:close()
        end
        print(("  a scrape of 1,000 routes and 1,000 endpoints: %.1f ms, %.1f MB"):format(best, bytes / 1e6))
        assert.is_true(best < MOST, ("%.1f ms"):format(best))

        local done, scrapes = false, 0
        peers.each({ "load", "scrape" }, 2, function(what)
          if what == "load" then
            counted = round(2)
            done = true
            return
          end
          local client = peers.connect(g.vars.admin)
          while not done do
            client:write "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            client:read_exact(tonumber(client:read_head():match "Content%-Length: (%d+)"), true)
            scrapes = scrapes + 1
          end
          client:close()
        end)
        assert.is_true(scrapes > 0)
        local last = metrics.eventually(g, function(s) return s:value "gateway_requests_in_flight" == 0 end)
        assert.equal(counted, last:sum "gateway_requests_total")
      end, { seconds = 90 })
    end)
  end)
end)
