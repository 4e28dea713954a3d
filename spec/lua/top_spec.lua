-- gateway.top: snapshots as lines of a screen.

local top = require "gateway.top"

local function snapshot(change)
  local s = {
    version = "1.2.3", pid = 7, state = "serving", script = "main.lua", uptime = 100, cpu_seconds = 1, resident_bytes = 2 ^ 20,
    time = 1000, generation = { number = 4 }, workers = { { index = 0, lua_bytes = 1024 } }, requests_in_flight = 0,
    connections = { active = 3, accepted = 9 }, limited = 0, log_lines_dropped = 0, spans = { exported = 0, dropped = 0 },
    bounds = { 0.005, 0.01, 0.1 }, reloads = { history = {} }, slow = {}, plugins = {}, plugins_left_out = 0, upstreams = {},
    upstreams_left_out = 0, routes_left_out = 0, routes = {},
    total = { requests = 0, classes = { 0, 0, 0, 0, 0, 0 }, durations = { 0, 0, 0, 0 } },
  }
  for name, value in pairs(change or {}) do s[name] = value end
  return s
end

local function route(name, classes, durations)
  local requests = 0
  for _, n in ipairs(classes) do requests = requests + n end
  return { name = name, classes = classes, durations = durations or { requests, 0, 0, 0 }, requests = requests }
end

local function endpoint(address, change)
  local e = { address = address, weight = 1, backup = false, healthy = true, down = {}, drained = false, breaker = "closed",
    in_flight = 0, tries = 0, failed = 0, idle = 0, busy = 0 }
  for name, value in pairs(change or {}) do e[name] = value end
  return e
end

local function screen(now, before, width, height, styled)
  return top.screen(now, before or snapshot { uptime = 95 }, width or 120, height or 0, styled or false)
end

local function find(lines, pattern)
  for i, line in ipairs(lines) do
    if line:find(pattern) then return line, i end
  end
  error("no line with " .. pattern .. " in\n" .. table.concat(lines, "\n"), 2)
end

describe("gateway top", function()
  it("has rates, shares and percentiles of the time between two snapshots", function()
    local before = snapshot { uptime = 95, total = route("", { 0, 0, 100, 0, 0, 0 }, { 100, 0, 0, 0 }),
      routes = { route("a", { 0, 0, 100, 0, 0, 0 }, { 100, 0, 0, 0 }) } }
    local now = snapshot { uptime = 100, total = route("", { 0, 0, 145, 0, 3, 2 }, { 130, 10, 10, 0 }), cpu_seconds = 1.5,
      routes = { route("a", { 0, 0, 145, 0, 3, 2 }, { 130, 10, 10, 0 }) } }
    local lines = screen(now, before)
    local line = find(lines, "requests 10%.0/s")
    assert.truthy(line:find("errors 4.0 %", 1, true), line)
    assert.truthy(line:find("4xx 6.0 %", 1, true), line)
    assert.truthy(line:find("p50 <5 ms", 1, true), line)
    assert.truthy(line:find("p99 96 ms", 1, true), line)
    assert.truthy(line:find("total 150", 1, true), line)
    find(lines, "cpu 10 %%")
    line = find(lines, "^a ")
    assert.truthy(line:find("10.0", 1, true) and line:find("96 ms", 1, true) and line:find("150", 1, true), line)
  end)

  it("begins anew with another process", function()
    local before = snapshot { pid = 6, total = route("", { 0, 0, 1e6, 0, 0, 0 }) }
    find(screen(snapshot { total = route("", { 0, 0, 5, 0, 0, 0 }) }, before), "requests 0/s")
  end)

  it("tells what is wrong first: endpoints, plugins, the last reload with all its errors", function()
    local lines = screen(snapshot {
      upstreams = { { name = "u", endpoints = { endpoint("10.0.0.1:80", { healthy = false, down = { "active" } }),
        endpoint("10.0.0.2:80", { breaker = "open" }), endpoint("10.0.0.3:80", { drained = true }) } } },
      plugins = { { name = "p", off = true, calls = 1, errors = 3, runaways = 0, cpu_seconds = 0 } },
      reloads = { history = { { ok = false, cause = "files", errors = { "main.lua:3: no", "main.lua:4: neither" } } } },
    })
    for i, text in ipairs { "u 10.0.0.1:80: down %(active%)", "u 10.0.0.2:80: breaker open", "plugin p is switched off",
      "the last reload was refused %(files%)", "main.lua:3: no", "main.lua:4: neither" } do
      local _, at = find(lines, text)
      assert.equal(3 + i, at)
    end
    find(lines, "10.0.0.3:80%s+drained")
  end)

  it("shows names as text, whatever they are", function()
    local lines = screen(snapshot {
      routes = { route("\27[2Jevil\7", { 0, 0, 1, 0, 0, 0 }), route("c1 \194\155 31m", { 0, 0, 1, 0, 0, 0 }),
        route("turn \226\128\174 ed", { 0, 0, 1, 0, 0, 0 }), route("Grüße", { 0, 0, 1, 0, 0, 0 }) },
      script = "a\nb",
    }, nil, 120, 0, true)
    local text = table.concat(lines, "\n")
    assert.is_nil(text:find("\27[2J", 1, true))
    assert.is_nil(text:find("\7", 1, true))
    assert.is_nil(text:find("\194\155", 1, true))
    assert.is_nil(text:find("\226\128\174", 1, true))
    find(lines, "%?%[2Jevil%?")
    find(lines, "a%?b")
    find(lines, "Grüße")
  end)

  -- width, height -> whatever there is, no line is longer and there are not more
  local many = { routes = {}, slow = {}, plugins = {}, upstreams = { { name = "an-upstream", endpoints = {} } }, routes_left_out = 900 }
  for i = 1, 100 do many.routes[i] = route("/a/very/long/name/of/a/route/ü/" .. i, { 0, 0, i, 0, 0, 0 }) end
  for i = 1, 40 do many.upstreams[1].endpoints[i] = endpoint("10.0.0." .. i .. ":8080", { healthy = i > 20, down = { "active" } }) end
  for i = 1, 20 do
    many.slow[i] = { seconds = i, status = 200, method = "GET", path = "/" .. ("p"):rep(100), route = "r", endpoint = "", id = "" }
    many.plugins[i] = { name = "plugin" .. i, off = false, calls = 1, errors = 0, runaways = 0, cpu_seconds = 0 }
  end
  for _, size in ipairs { { 20, 5 }, { 40, 12 }, { 60, 20 }, { 80, 24 }, { 120, 40 }, { 200, 300 }, { 80, 1 } } do
    it(("fits %d columns and %d lines"):format(size[1], size[2]), function()
      local lines = screen(snapshot(many), nil, size[1], size[2])
      assert.is_true(#lines <= size[2], #lines)
      for _, line in ipairs(lines) do
        local _, characters = line:gsub("[^\128-\191]", "")
        assert.is_true(characters <= size[1], line)
      end
      if size[2] >= 20 then
        find(lines, "^ROUTE")
        find(lines, "^UPSTREAM")
        find(lines, "and %d+ more")
      end
    end)
  end

  it("gives all of it where there is no end of lines", function()
    local lines = screen(snapshot(many), nil, 200, 0)
    assert.is_true(#lines > 100 + 40 + 20 + 20)
    find(lines, "and 900 more")
  end)

  it("has colours only where they are asked for", function()
    assert.is_nil(table.concat(screen(snapshot(many), nil, 80, 24), "\n"):find("\27", 1, true))
    assert.truthy(table.concat(screen(snapshot(many), nil, 80, 24, true), "\n"):find("\27[31m", 1, true))
  end)
end)
