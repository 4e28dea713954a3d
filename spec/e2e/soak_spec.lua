-- All that scripts can do, at once and at random, under reloads of ever different scripts, runaways, log rotation and scrapes, with
-- clients and backends of every temper. At the end everything answers, nothing is left over, and each request was counted and logged once.
-- GATEWAY_SOAK_SEED repeats a run, GATEWAY_SOAK_SECONDS makes it longer; GATEWAY_SOAK_MEMORY=1 lets allocations of a release build fail.

local base64 = require "gateway.base64"
local cjson = require "cjson"
local crypto = require "gateway.crypto"
local failing_memory = require "spec.support.failing_memory"
local gateway = require "spec.support.gateway"
local lfs = require "lfs"
local message = require "spec.support.message"
local metrics = require "spec.support.metrics"
local moody = require "spec.support.moody"
local peers = require "spec.support.peers"

local SECONDS = tonumber(os.getenv("GATEWAY_SOAK_SECONDS")) or 12
local SEED = tonumber(os.getenv("GATEWAY_SOAK_SEED")) or os.time()
local MEMORY = os.getenv("GATEWAY_SOAK_MEMORY") == "1"
local CLIENTS = 30
local SIGUSR1 = 10
local SECRET = "a secret of the soak, and no other"

-- Words in capitals differ from one reload to the next.
local SCRIPT = [=[${prelude}
gateway.timeouts { header = 1, idle = 2, body = 1, chain = 1.5, drain = 3 }
gateway.limits { body_bytes = "400KB" }
gateway.script { cpu = "CPUms" }
gateway.access_log { to = "${dir}/access.log" }
gateway.tracing { endpoint = "http://${backend3}", ratio = RATIO, timeout = 0.3 }
gateway.use { gateway.concurrency_limit { max = 500 } }
local mark = "MARK"
local calm = { first_byte = 0.6, idle = 0.6, total = 1.5, tunnel = 2 }
local up = gateway.upstream "up" { "${backend1}", "${backend2}", timeouts = calm, pool = { idle = 5, idle_for = 0.3, requests = 20 },
  balance = "BALANCE", MORE }
local other = gateway.upstream "other" { "${backend2}", timeouts = calm, concurrency = { initial = 30, most = 60 },
  retry = { attempts = 3, on = { "connect", "reset", "timeout", "502-504" }, backoff = 0.01, hedge = 0.05, per_try = 0.2, budget = 1 },
  breaker = { failures = 4, open_for = 0.05 } }
local tries = gateway.counter("tries_total", "Tries.", { "kind" })
local took = gateway.histogram("took_seconds", "Time.", { "kind" })
local d = gateway.shared("soak", { size = "1MB" })
local url = "http://${backend1}/"

local function target(request) return request.path .. "?" .. request.query end
local function fields(request) return { ["X-Token"] = request.headers["x-token"] } end
local function fetched(request, to)
  local r, problem
  if to then
    r, problem = gateway.fetch(to, { path = target(request), headers = fields(request), timeout = 0.3, max_body = "100KB" })
  else
    r, problem = gateway.fetch(url .. "?" .. request.query, { headers = fields(request), timeout = 0.3 })
  end
  tries:inc(1, { r and "good" or "bad" })
  if r and r.status == 200 and r.body:sub(1, #request.headers["x-token"]) ~= request.headers["x-token"] then
    error "the answer of another's fetch"
  end
  return r, problem
end
local function route(path, use, to) gateway.route(path) { use = use, to = to or up } end

gateway.every(0.05, function()
  d:incr("timer", 1, 0)
  local r = gateway.fetch(up, { path = "/?mood=good", timeout = 0.2 })
  d:set("last", r and r.status or 0, 1)
end, { each_worker = true, at_once = true, timeout = 0.5 })

route("/plain", {})
route("/other", {}, other)
route("/split", {}, gateway.split { { up, weight = WEIGHT }, { other, weight = 3 } })
route("/chosen", { function(request, next) request.upstream = request.query:find "good" and other or up return next() end })
route("/before", { function(request, next) fetched(request, other) return next() end })
route("/after", { function(request, next) local r = next() fetched(request) r.headers["X-Mark"] = mark return r end })
route("/both", { function(request, next)
  fetched(request)
  local r = next()
  r:body("50KB")
  fetched(request, up)
  return r
end })
route("/all", { function(request, next)
  gateway.all { function() return fetched(request, up) end, function() gateway.sleep(0.01) end, function() return fetched(request) end }
  return next()
end })
route("/sleep", { function(_, next)
  gateway.sleep(math.random() * 0.02)
  local r = next()
  gateway.sleep(math.random() * 0.02)
  return r
end })
route("/spawn", { function(request, next)
  local headers, path = fields(request), target(request)
  for _ = 1, 3 do
    gateway.spawn(function()
      gateway.fetch(up, { path = path, headers = headers, timeout = 0.4 })
      d:incr("spawned", 1, 0)
    end, { timeout = 0.3 })
  end
  return next()
end })
route("/finally", { function(request, next)
  local began = gateway.now()
  request:finally(function(status) took:observe(gateway.now() - began, { tostring(status) }) end)
  request:finally(function() gateway.spawn(function() gateway.sleep(0.02) end) error "in a finalizer, on purpose" end)
  return next()
end })
route("/single", { function(request, next)
  local query = request.query
  pcall(gateway.single_flight, "k" .. #query, function() return gateway.fetch(up, { path = "/?" .. query, timeout = 0.3 }) end,
    { timeout = 0.4 })
  return next()
end })
route("/shared", { function(request, next)
  d:set(request.headers["x-token"], ("v"):rep(#request.query * 50), 2)
  d:get(request.headers["x-token"])
  local token = d:lock("lock", 0.05)
  if token then gateway.sleep(0.01) d:unlock("lock", token) end
  return next()
end })
route("/limited", { gateway.rate_limit { rate = 50, burst = 20, by = "header:X-Token" },
  gateway.rate_limit { limit = 400, window = 1, by = "ip" } })
route("/jwt", { gateway.plugin("jwt", { secret = "${secret}", jwks_url = url .. "jwks.json", jwks_timeout = 0.3, jwks_ttl = 1 }) })
route("/forward", { gateway.plugin("forward-auth", { upstream = other, path = "/?mood=good", timeout = 0.4,
  client_headers = { "X-Token" } }) })
route("/key", { gateway.plugin("key-auth", { keys = { good = "alice" } }), gateway.plugin("response-cache", { default_ttl = 0.05 }) })
route("/cache", { gateway.plugin("response-cache", { default_ttl = 0.05, stale_while_revalidate = 0.1, key_headers = { "X-Token-Class" },
  wait = 0.3 }) })
route("/mirror", { gateway.plugin("mirror", { to = "other", timeout = 0.3 }), gateway.plugin("http-log", {
  to = "http://${backend3}/lines", interval = 0.05, timeout = 0.2, retries = 1 }) })
route("/change", { gateway.plugin("cors", { origins = { "https://*.example.com" } }), gateway.plugin("request-transform", {
  headers = { set = { ["X-Path"] = "${query.bytes} ${query.mood} ${header.X-Token}" } } }), gateway.plugin("response-transform", {
  headers = { add = { ["X-Mark"] = mark } } }), gateway.plugin("canary", { to = "other", weight = 20, sticky = "cookie" }) })
route("/valid", { gateway.plugin("request-validation", { body = { type = "object", required = { "id" } } }) })
route("/read", { function(request, next) request:body() return next() end })
route("/own", { function(request, next) local r = next() r.body = "own " .. request.headers["x-token"] return r end })
route("/log", { function(request, next) request.log.token = request.headers["x-token"] request.log.text = ('"\n\\'):rep(50)
  return next() end })
route("/fixed", {}, function(request) return gateway.respond(200, "own " .. request.headers["x-token"]) end)
route("/error", {}, function() error "on purpose" end)
route("/runaway", {}, function() while true do end end)
route("/late", { function(_, next) next() while true do end end })
route("/busy", { function(request, next) gateway.spawn(function() gateway.sleep(0.01) while true do end end) return next() end })
route("/plugin", { gateway.plugin("ip-restriction", { deny = { "10.0.0.0/8" } }), gateway.plugin("security-headers", {}) })
]=]

local RETRIES = [[slow_start = 1, retry = { attempts = 2, on = { "connect", "reset" }, budget = 0.5 },
  health = { passive = { min_requests = 5, eject_for = 0.1, window = 1 } } ]]

local random = math.random
local function chance(p) return random() < p end
local function pick(list) return list[random(#list)] end

local function variant(number)
  return (SCRIPT:gsub("MARK", tostring(number)):gsub("WEIGHT", random(1, 9)):gsub("RATIO", pick { "0", "0.5", "1" })
    :gsub("BALANCE", pick { "round_robin", "least_conn", "ewma", "random" }):gsub("MORE", pick { "", RETRIES })
    :gsub("CPU", pick { "30", "50" }))
end

local function jwt(head, claims, secret)
  local text = base64.encode_url(head) .. "." .. base64.encode_url(claims)
  return "Bearer " .. text .. "." .. base64.encode_url(crypto.hmac("sha256", secret, text))
end

local tokens = {
  jwt('{"alg":"HS256"}', '{"sub":"alice","exp":9999999999}', SECRET), jwt('{"alg":"HS256"}', '{"sub":"eve","exp":9999999999}', "wrong"),
  jwt('{"alg":"none"}', '{"exp":9999999999}', SECRET), jwt('{"alg":"ES256","kid":"other"}', '{"exp":9999999999}', SECRET),
  jwt('{"alg":"HS256","kid":"' .. ("k"):rep(3000) .. '"}', ("["):rep(3000), SECRET), "Bearer " .. ("A"):rep(8000), "Bearer a.b.c",
}

local paths = {
  "/plain", "/other", "/split", "/chosen", "/before", "/after", "/both", "/all", "/sleep", "/spawn", "/finally", "/single", "/shared",
  "/limited", "/jwt", "/forward", "/key", "/cache", "/mirror", "/change", "/valid", "/read", "/own", "/log", "/fixed", "/error", "/plugin",
  "/none",
}
local rare = { "/runaway", "/late", "/busy" }
local own = { ["/own"] = true, ["/fixed"] = true }
-- Whose answer may be another's: a cache gives what it has.
local stored = { ["/cache"] = true, ["/key"] = true }

local function headers_for(path, token)
  local headers = { { "X-Token", token } }
  local function add(name, value) headers[#headers + 1] = { name, value } end
  if path == "/jwt" then add("Authorization", pick(tokens)) end
  if path == "/key" then add("X-API-Key", pick { "good", "bad" }) end
  if path == "/change" then add("Origin", pick { "https://a.example.com", "null", "https://example.com.evil", "\"", "" }) end
  if path == "/cache" then
    add("X-Token-Class", pick { "a", "b" })
    if chance(0.2) then add("Cache-Control", pick { "no-cache", "max-age=0", "only-if-cached", "no-store", "max-stale=\",=" }) end
  end
  if chance(0.2) then add("Traceparent", pick { "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-x", ("0"):rep(500) }) end
  return headers
end

local garbage = {
  "GET / HTTP/1.1\r\n\r\n", "\0\1\2", "GET /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
  "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "GET /" .. ("a"):rep(20000) .. " HTTP/1.1\r\n",
  "GET /plain HTTP/1.1\r\nHost: a\r\n" .. ("X: y\r\n"):rep(300) .. "\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

local known = {}
for _, status in ipairs { 200, 204, 400, 401, 403, 404, 408, 413, 415, 422, 429, 431, 499, 500, 502, 503, 504 } do known[status] = true end

local counter = 0
local function session(g, statistics)
  local client = g:client { wait = 20 }
  for _ = 1, random(1, 10) do
    counter = counter + 1
    local token = "t" .. counter
    local path = chance(0.01) and pick(rare) or pick(paths)
    local mood = pick { "good", "good", "good", "good", "good", "chunked", "chunked", "hints", "close", "cut", "garbage", "reset", "early" }
    if chance(0.01) then mood = "hang" end
    if chance(0.03) then mood = "upgrade" end
    if chance(0.01) then
      client:try_write(pick(garbage))
      client:try_write("\r\n\r\n")
      peers.sleep(random() * 0.02)
      return client[pick { "close", "reset" }](client)
    end
    local target = ("%s?mood=%s&bytes=%d"):format(path, mood, pick { 0, 0, 10, 1000, 40000, 200000 })
    local headers = headers_for(path, token)
    local method = pick { "GET", "GET", "GET", "POST", "HEAD", "OPTIONS" }
    local text
    if mood == "upgrade" then
      method = "GET"
      headers[#headers + 1] = { "Connection", "upgrade" }
      headers[#headers + 1] = { "Upgrade", "echo" }
      text = message.request { path = target, headers = headers }
    elseif method == "POST" then
      if path == "/valid" then headers[#headers + 1] = { "Content-Type", "application/json" } end
      local body = path == "/valid" and pick { '{"id":1}', '{"id":1,"id":2}', "[", ('{"id":'):rep(200), "" }
        or ("b"):rep(pick { 0, 5, 3000, 100000, 450000 })
      if chance(0.5) then
        text = message.request { method = method, path = target, headers = headers, body = body }
      else
        headers[#headers + 1] = { "Transfer-Encoding", "chunked" }
        text = message.request { method = method, path = target, headers = headers }
          .. (body == "" and message.chunked() or message.chunked(body))
      end
    else
      text = message.request { method = method, path = target, headers = headers }
    end
    if chance(0.02) then -- breaks off in the middle
      client:try_write(text:sub(1, random(1, #text)))
      peers.sleep(random() * 0.02)
      return client[pick { "close", "reset" }](client)
    end
    if chance(0.05) and #text < 4000 then
      client:write_slowly(text, math.max(1, math.floor(#text / random(1, 20))), 0.001)
    else
      client:try_write(text)
    end
    if chance(0.06) then -- goes away while it waits
      peers.sleep(random() * random() * 0.2)
      return client[pick { "close", "reset" }](client)
    end
    local good, response = pcall(client.read_response, client, { method = method, truncated = true })
    if not good then
      if MEMORY then return client:close() end
      error(("%s\nfor %s %s"):format(tostring(response), method, target), 0)
    end
    statistics[response.status] = (statistics[response.status] or 0) + 1
    statistics[path] = (statistics[path] or 0) + (response.status == 200 and 1 or 0)
    if response.status == 101 then
      local seen = pcall(function() -- a tunnel may end at any time: its backend did, or it was idle
        assert(client:read_exact(#token) == token)
        local block = ("z"):rep(random(1, 30000))
        client:write(block)
        assert(client:read_exact(#block) == block)
      end)
      statistics.tunnels = (statistics.tunnels or 0) + (seen and 1 or 0)
      return client[pick { "close", "reset" }](client)
    end
    assert.is_true(known[response.status], ("%d for %s %s"):format(response.status, method, target))
    if not stored[path] then
      local seen = response.headers:get "x-token"
      assert.is_true(seen == nil or seen == token or path == "/forward", ("got the answer of %s for %s"):format(tostring(seen), token))
      if response.status == 200 and not response.truncated and method ~= "HEAD" then
        local whole = own[path] and "own " .. token or moody.body_for(token, target)
        assert.is_true(response.body == whole, ("%d bytes, wanted %d, for %s %s: %q"):format(#response.body, #whole, method, target,
          response.body:sub(1, 60)))
      end
    elseif path == "/key" and response.status == 200 then
      assert.equal("X-API-Key", headers[2][1])
      assert.equal("good", headers[2][2])
    end
    if response.truncated or response.headers:lists("connection", "close") then return client:close() end
  end
  client:close()
end

-- The third backend: a collector of spans and of log lines, in a bad mood.
local function collector(conn)
  conn.wait = SECONDS + 300
  while true do
    local request = conn:read_request()
    if not request then return end
    if chance(0.1) then return conn:reset() end
    if chance(0.1) then peers.sleep(random() * 0.6) end
    conn:write(chance(0.1) and "HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n" or chance(0.05) and "garbage\r\n\r\n"
      or message.response { status = 200, body = "{}" })
  end
end

-- Keys that other requests' tokens are checked with, and whatever else is asked of the backends.
local function backend(conn, number)
  conn.wait = SECONDS + 300
  if chance(0.02) then return conn:reset() end
  return moody.backend(conn, number)
end

-- Lines of the access log by route and status, all its files together.
local function logged(g)
  local out, lines = {}, 0
  for name in lfs.dir(g.dir) do
    if name:find("^access%.log") then
      local file = assert(io.open(g.dir .. "/" .. name, "rb"))
      for line in file:lines() do
        local one = cjson.decode(line)
        local key = (one.route or "(none)") .. " " .. one.status
        out[key] = (out[key] or 0) + 1
        lines = lines + 1
      end
      file:close()
    end
  end
  return out, lines
end

local function counted_as_logged(g)
  local scrape = metrics.eventually(g, function(s)
    return s:value "gateway_requests_in_flight" == 0 and s:sum "gateway_upstream_connections_busy" == 0
      and s:sum "gateway_upstream_requests_in_flight" == 0
  end, "nothing in flight")
  assert.equal(0, scrape:sum "gateway_log_lines_dropped_total")
  local counted = {}
  for _, sample in ipairs(scrape:all "gateway_requests_total") do
    local key = sample.labels.route .. " " .. sample.labels.status
    counted[key] = (counted[key] or 0) + sample.value
  end
  local lines
  peers.eventually(function()
    local count
    lines, count = logged(g)
    return count >= scrape:sum "gateway_requests_total"
  end, "a log line for each request", 10)
  assert.same(lines, counted)
  return scrape
end

describe("soak:", function()
  local memory
  teardown(function() if memory then memory:close() end end)

  it(("seed %d"):format(SEED), function()
    math.randomseed(SEED)
    local options = { backends = 3, workers = 2, script = variant(1), vars = { secret = SECRET } }
    if MEMORY then
      memory = failing_memory.prepare()
      options.binary, options.env = memory.binary, memory.env
    end
    local g = gateway.start(options)
    local statistics, scrapes, reloads, rotations = {}, 0, 0, 0
    local good, problem = pcall(peers.run, function()
      g.backends[1]:serve(backend)
      g.backends[2]:serve(backend)
      g.backends[3]:serve(collector)
      local until_, running = peers.now() + SECONDS, {}
      local function beside(pause, f)
        running[#running + 1] = function()
          while peers.now() < until_ do
            f()
            peers.sleep(pause * (0.5 + random()))
          end
        end
      end
      for _ = 1, CLIENTS do beside(0, function() session(g, statistics) end) end
      beside(0.15, function()
        reloads = reloads + 1
        g:write("main.lua", variant(reloads + 1))
        local good, response = pcall(g.reload, g, 30)
        if not MEMORY then assert.message(good and response.body or response).is_true(good and response.status == 200) end
      end)
      beside(0.3, function()
        rotations = rotations + 1
        assert(os.rename(g.dir .. "/access.log", ("%s/access.log.%d"):format(g.dir, rotations)))
        g:signal(SIGUSR1)
        peers.eventually(function() return lfs.attributes(g.dir .. "/access.log") end, "the log's new file", 10)
      end)
      beside(0.1, function()
        local good, page = pcall(g.admin, g, "/metrics", nil, 20)
        if good and page.status == 200 then
          metrics.parse(page.body)
          assert.is_nil(page.body:find(SECRET, 1, true))
          scrapes = scrapes + 1
        end
        pcall(g.admin, g, "/status", nil, 20)
      end)
      if MEMORY then
        beside(0.2, function()
          memory:fail { one_in = pick { 2, 10, 100 } }
          peers.sleep(0.1)
          memory:relent()
        end)
      end
      peers.all(running, SECONDS + 60)
      if memory then memory:relent() end
      assert.is_true((statistics[200] or 0) > 20 * SECONDS / 12, "too little came through")
      -- as before
      assert.equal(200, g:reload(30).status)
      for _, path in ipairs { "/fixed", "/plain", "/after", "/all" } do
        local response = g:ask { path = path .. "?mood=good", headers = { ["X-Token"] = "last" } }
        assert.message(path .. response.body).equal(200, response.status)
      end
      peers.eventually(function()
        local status, left = g:status(), 0
        for _, worker in ipairs(status.workers) do left = left + worker.connections.active end
        return left + status.generations_draining == 0
      end, "nothing left over", 20)
      local scrape = MEMORY and metrics.scrape(g) or counted_as_logged(g)
      local all = g:admin("/metrics").body .. g:admin("/status").body .. g:stderr()
      assert.is_nil(all:find(SECRET, 1, true))
      if os.getenv("GATEWAY_SOAK_SECONDS") then
        print(("\n%d requests, %d reloads, %d scrapes, %d rotations, %d tunnels, %d runaways, resident %d"):format(counter, reloads,
          scrapes, rotations, statistics.tunnels or 0, scrape:sum "gateway_lua_runaways_total", g:resident()))
        for key, value in pairs(statistics) do io.write(tostring(key), "=", value, " ") end
        print()
      end
    end, { seconds = SECONDS + 120 })
    g:stop() -- first: what a sanitizer says of the end is worth more than that somebody met it
    if not good then error(problem, 0) end
  end)
end)
