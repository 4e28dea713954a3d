-- Everything at once, at random: clients and backends of every temper, reloads in between. Each answer must belong to its request, and
-- at the end nothing may be left over: no request in flight, no connection, no sanitizer report. GATEWAY_CHAOS_SEED repeats a run,
-- GATEWAY_CHAOS_SECONDS makes it longer.

local gateway = require "spec.support.gateway"
local message = require "spec.support.message"
local metrics = require "spec.support.metrics"
local moody = require "spec.support.moody"
local peers = require "spec.support.peers"

local SECONDS = tonumber(os.getenv("GATEWAY_CHAOS_SECONDS")) or 5
local SEED = tonumber(os.getenv("GATEWAY_CHAOS_SEED")) or os.time()

local SCRIPT = [[${prelude}
  gateway.access_log { sample = 1 }
  gateway.timeouts { header = 1, idle = 2, body = 1 }
  gateway.limits { body_bytes = "400KB" }
  local mark = "NUMBER"
  local up = gateway.upstream "up" { "${backend1}", "${backend2}", timeouts = { first_byte = 0.6, idle = 0.6, total = 2 },
    pool = { idle = 5, idle_for = 0.3, requests = 20 }, MORE }
  gateway.route "/plain" { to = up }
  gateway.route "/tail" { to = up, use = { function(request, next) request.headers["X-Tail"] = mark; return next() end } }
  gateway.route "/lua" { to = up, use = { function(request, next) local r = next(); r.headers["X-Lua"] = mark; return r end } }
  gateway.route "/read" { to = up, use = { function(request, next) request:body(); return next() end } }
  gateway.route "/own" { to = up, use = { function(request, next) local r = next();
    r.body = "own " .. request.headers["x-token"]; return r end } }
  gateway.route "/fixed" { to = function(request) return gateway.respond(200, "own " .. request.headers["x-token"]) end }
  gateway.route "/error" { to = function(request) error "on purpose" end }
]]

-- The same with everything on that decides who gets a request, and how often.
local TRAFFIC = [[balance = "least_conn", slow_start = 1, concurrency = { initial = 30, most = 60 },
    retry = { attempts = 3, on = { "connect", "reset", "timeout", "502-504" }, backoff = 0.01, hedge = 0.05, per_try = 0.2, budget = 1 },
    breaker = { failures = 4, open_for = 0.05 }, health = { passive = { min_requests = 5, eject_for = 0.1, window = 1 } } ]]

local random = math.random
local function chance(p) return random() < p end
local function pick(list) return list[random(#list)] end

local counter = 0
local function client_session(g, statistics, refusals)
  local client = g:client { wait = 5 }
  for _ = 1, random(1, 12) do
    counter = counter + 1
    local token = "t" .. counter
    local path = pick { "/plain", "/plain", "/tail", "/lua", "/read", "/own", "/fixed", "/error", "/none" }
    local mood = pick { "good", "good", "good", "chunked", "chunked", "hints", "close", "cut", "garbage", "reset", "early" }
    if chance(0.01) then mood = "hang" end
    if chance(0.05) then mood = "upgrade" end
    local bytes = pick { 0, 0, 10, 1000, 40000, 200000 }
    local method = pick { "GET", "GET", "POST", "PUT", "HEAD" }
    local headers = { { "X-Token", token } }
    local target = ("%s?mood=%s&bytes=%d"):format(path, mood, bytes)
    local text
    if mood == "upgrade" then
      method = "GET"
      headers[2], headers[3] = { "Connection", "upgrade" }, { "Upgrade", "echo" }
      text = message.request { path = target, headers = headers }
    elseif method == "POST" or method == "PUT" then
      local body = ("b"):rep(pick { 0, 5, 3000, 100000, 450000 })
      if chance(0.1) then headers[2] = { "Expect", "100-continue" } end
      if chance(0.5) then
        text = message.request { method = method, path = target, headers = headers, body = body }
      else
        headers[#headers + 1] = { "Transfer-Encoding", "chunked" }
        text = message.request { method = method, path = target, headers = headers }
          .. (body == "" and message.chunked() or message.chunked(body:sub(1, 3), body:sub(4) ~= "" and body:sub(4) or "x"))
      end
    else
      text = message.request { method = method, path = target, headers = headers }
    end
    if chance(0.03) then -- breaks off in the middle of the request
      client:try_write(text:sub(1, random(1, #text)))
      peers.sleep(random() * 0.02)
      return client[pick { "close", "reset" }](client)
    end
    if chance(0.1) and #text < 4000 then
      client:write_slowly(text, math.max(1, math.floor(#text / random(1, 20))), 0.001)
    else
      client:try_write(text) -- an early answer may end it; the answer is there to be read
    end
    if chance(0.03) then -- goes away while it waits
      peers.sleep(random() * 0.02)
      return client[pick { "close", "reset" }](client)
    end
    local ok, response = pcall(client.read_response, client, { method = method, truncated = true })
    if not ok then
      error(("%s\nfor %s %s"):format(tostring(response), method, target), 0)
    end
    statistics[response.status] = (statistics[response.status] or 0) + 1
    if response.status == 101 then
      assert.equal(token, client:read_exact(#token))
      local block = ("z"):rep(random(1, 30000))
      client:write(block)
      assert.is_true(client:read_exact(#block) == block)
      return client[pick { "close", "reset" }](client)
    end
    local known = { [200] = true, [403] = true, [404] = true, [408] = true, [413] = true, [500] = true, [502] = true,
      [503] = refusals, [504] = true }
    assert.is_true(known[response.status], ("%d for %s %s"):format(response.status, method, target))
    if response.status == 200 and not response.truncated and method ~= "HEAD" then
      local whole = (path == "/own" or path == "/fixed") and "own " .. token or moody.body_for(token, target)
      -- a body framed by close that is cut has no end that could be missed: the gateway resets then, which reads as truncated
      assert.is_true(response.body == whole, ("%d bytes, wanted %d, for %s %s: %q"):format(#response.body, #whole, method, target,
        response.body:sub(1, 60)))
    elseif response.status == 200 and method ~= "HEAD" and path ~= "/own" then
      assert.is_true(mood == "cut", target)
    end
    local seen = response.headers:get("x-token")
    assert.is_true(seen == nil or seen == token, ("got the answer of %s for %s"):format(tostring(seen), token))
    if response.truncated or response.headers:lists("connection", "close") then return client:close() end
  end
  client:close()
end

-- Two things count each request when it ends, whatever end that was: they must agree, by route and status.
local function counted_as_logged(g)
  local scrape = metrics.scrape(g)
  assert.equal(0, scrape:sum "gateway_log_lines_dropped_total")
  assert.equal(0, scrape:value "gateway_requests_in_flight")
  assert.equal(0, scrape:sum "gateway_upstream_connections_busy")
  assert.equal(0, scrape:sum "gateway_upstream_requests_in_flight")
  assert.equal(scrape:sum "gateway_requests_total", scrape:sum "gateway_request_duration_seconds_count")
  local counted = {}
  for _, sample in ipairs(scrape:all "gateway_requests_total") do
    local key = sample.labels.route .. " " .. sample.labels.status
    counted[key] = (counted[key] or 0) + sample.value
  end
  local logged
  peers.eventually(function()
    local lines = 0
    logged = {}
    for _, line in ipairs(g:log()) do
      if line.type == "access" then
        local key = (line.route or "(none)") .. " " .. line.status
        logged[key] = (logged[key] or 0) + 1
        lines = lines + 1
      end
    end
    return lines >= scrape:sum "gateway_requests_total"
  end, "a log line for each request", 10)
  assert.same(logged, counted)
end

describe("chaos:", function()
  for _, more in ipairs { "", TRAFFIC } do
    it(("seed %d%s"):format(SEED, more ~= "" and ", retries and all" or ""), function()
      math.randomseed(SEED)
      local script = SCRIPT:gsub("MORE", more)
      local g = gateway.start { backends = 2, workers = 2, script = (script:gsub("NUMBER", "1")) }
      local statistics = {}
      peers.run(function()
        for _, backend in ipairs(g.backends) do backend:serve(moody.backend) end
        local until_, running = peers.now() + SECONDS, {}
        for i = 1, 40 do
          running[i] = function()
            while peers.now() < until_ do
              client_session(g, statistics, more ~= "")
            end
          end
        end
        running[#running + 1] = function()
          local number = 1
          while peers.now() < until_ do
            number = number + 1
            g:write("main.lua", (script:gsub("NUMBER", tostring(number))))
            assert.equal(200, g:reload().status)
            peers.sleep(random() * 0.3)
          end
        end
        peers.all(running, SECONDS + 30)
        assert.is_true((statistics[200] or 0) > 100, "too little came through")
        peers.eventually(function()
          local status, left = g:status(), 0
          for _, worker in ipairs(status.workers) do left = left + worker.connections.active end
          for _, upstream in ipairs(status.upstreams) do
            for _, endpoint in ipairs(upstream.endpoints) do left = left + endpoint.in_flight end
          end
          return left + status.generations_draining == 0
        end, "nothing left over", 10)
        counted_as_logged(g)
      end, { seconds = SECONDS + 60 })
      g:stop()
    end)
  end
end)
