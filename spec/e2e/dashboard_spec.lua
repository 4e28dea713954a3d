-- The dashboard in a real browser: what it shows is what happened, by mouse and by keyboard, light, dark and narrow; and what scripts,
-- clients and backends say reaches it as text only.

local browser = require "spec.support.browser"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local b -- one browser for all
lazy_setup(function() b = browser.start() end)
lazy_teardown(function() if b then b:stop() end end)

local function address(g)
  return "http://127.0.0.1:" .. g.vars.admin .. "/"
end

-- The texts of the cells of the row whose first cell is `name`, in the table inside `within`.
local ROW = [[
  for (const row of document.querySelectorAll(arguments[0] + " tbody tr")) {
    if (row.cells[0].textContent === arguments[1]) return [...row.cells].map((cell) => cell.textContent);
  }
  return null;
]]

local function row(within, name)
  return b:run(ROW, within, name)
end

-- Waits until the row's cell number `at` (from 1 on) is `text`; gives the row.
local function wait_row(within, name, at, text)
  return b:wait("const cells = (function () {" .. ROW .. "}).apply(null, arguments);"
    .. "return cells && cells[arguments[2]] === arguments[3] && cells", ("a row %s with %s"):format(name, text), within, name, at - 1,
    text)
end

local IMG = '<img src=x onerror="window.hit=1">'

describe("the dashboard", function()
  local g, fine
  lazy_setup(function()
    g = gateway.start {
      backends = 3, workers = 2,
      script = ([[${prelude}
        local health = { active = { path = "/healthz", interval = 0.2, timeout = 1, rise = 1, fall = 1 } }
        local users = gateway.upstream "users" { "${backend1}", "${backend2}", health = health }
        local evil = gateway.upstream "evil" { "${backend3}" }
        gateway.route "/users" { name = "users", to = users }
        gateway.route "/evil" { name = '%s', to = evil, use = { function(request, next) return next() end } }
        gateway.route "/fixed" { to = gateway.respond(200, "fixed") }
        gateway.route "/bad" { to = gateway.respond(503, "bad") }
        gateway.route "/slow" { to = function() gateway.sleep(0.7) return gateway.respond(200, "slow") end }
        gateway.route "/few" { use = { gateway.rate_limit { rate = 0.001, burst = 1, by = "none", name = "few-limit" } },
          to = gateway.respond(200, "x") }
      ]]):format(IMG),
    }
    fine = io.open(g.dir .. "/main.lua"):read("*a")
    b:size(1280, 900)
  end)
  lazy_teardown(function() if g then g:stop() end end)

  local function backends()
    for i = 1, 3 do
      g.backends[i]:answer(function(request)
        return { status = request.target == "/evil/500" and 500 or 200, body = "12345" }
      end)
    end
  end

  it("loads nothing from elsewhere, and runs what its policy lets in", function()
    local response = g:admin("/")
    assert.equal(200, response.status)
    assert.equal("text/html; charset=utf-8", response.headers:get("Content-Type"))
    local policy = response.headers:get("Content-Security-Policy")
    assert.truthy(policy:find("default-src 'none'; script-src 'sha256-", 1, true))
    for _, part in ipairs { "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "connect-src 'self'" } do
      assert.truthy(policy:find(part, 1, true), part)
    end
    assert.is_nil(policy:find("unsafe", 1, true))
    assert.equal("nosniff", response.headers:get("X-Content-Type-Options"))
    assert.equal("no-referrer", response.headers:get("Referrer-Policy"))
    assert.is_nil(response.body:find("innerHTML", 1, true))
    assert.is_nil(response.body:find("{{", 1, true))
    for _, name in ipairs { " src=[\"']http", " href=[\"']http", "@import", "url%(" } do
      assert.is_nil(response.body:find(name), name)
    end
  end)

  it("shows what the load was, and names as text", function()
    peers.run(function()
      backends()
      for _ = 1, 12 do assert.equal(200, g:ask("/users").status) end
      for _ = 1, 5 do assert.equal(200, g:ask("/evil").status) end
      for _ = 1, 2 do assert.equal(500, g:ask("/evil/500").status) end
      for _ = 1, 9 do g:ask("/fixed") end
      for _ = 1, 4 do g:ask("/nothing/" .. IMG:gsub('[<>" ]', "")) end
      g:ask("/slow")
      for _ = 1, 3 do g:ask("/few") end
      b:open(address(g))
      wait_row("#routes", "users", 8, "12")
      -- name, total, 2xx, 3xx, 4xx, 5xx, cut
      for _, case in ipairs {
        { "users", "12", "12", "0", "0", "0", "0" }, { IMG, "7", "5", "0", "0", "2", "0" }, { "/fixed", "9", "9", "0", "0", "0", "0" },
        { "(none)", "4", "0", "0", "4", "0", "0" }, { "/few", "3", "1", "0", "2", "0", "0" },
      } do
        local cells = row("#routes", case[1])
        assert.same(case, { cells[1], unpack(cells, 8, 13) })
      end
      assert.truthy(b:text("#tile-rate"):find("36 since the start", 1, true), b:text("#tile-rate"))
      assert.truthy(b:text("#slow-table tbody tr"):find("7%d%d ms%s+200%s+GET /slow"), b:text("#slow-table"))
      assert.same({ "few-limit", "/few", "0", "2" }, row("#limits", "few-limit"))
      assert.equal("serving", b:text("#state"))
      assert.equal(0, b:run("return document.querySelectorAll('img, b:not(figcaption b)').length"))
      assert.is_nil(b:run("return window.hit"))
      assert.same({}, b:complaints())
    end)
  end)

  it("shows rates and percentiles of now", function()
    peers.run(function()
      backends()
      for _ = 1, 40 do g:ask("/users") end
      for _ = 1, 10 do g:ask("/bad") end
      local cells = wait_row("#routes", "users", 8, "52")
      assert.equal("< 5 ms", cells[4])
      local rate = tonumber(cells[2])
      assert.is_true(rate > 0 and rate < 80, cells[2])
      assert.equal("100 %", wait_row("#routes", "/bad", 8, "10")[3])
      b:wait("return /of requests failed/.test(document.querySelector('#problems').textContent)", "the share of errors")
      local endpoint = row("#upstreams", g.backends[1].at)
      assert.equal("50 %", endpoint[3])
      assert.truthy(b:run("return document.querySelector('#traffic-chart .area.s2').getAttribute('d')"):find("^M"))
      assert.truthy(b:run("return document.querySelector('#latency-chart svg').getAttribute('aria-label')"):find("p99", 1, true))
      b:run("document.querySelector('#traffic-chart details').open = true")
      b:wait("return document.querySelectorAll('#traffic-chart tbody tr').length > 0", "the chart as a table")
      b:run("document.querySelector('#traffic-chart details').open = false")
    end)
  end)

  it("tells an endpoint that goes down, and says it aloud", function()
    peers.run(function()
      local well = true
      backends()
      g.backends[2]:answer(function(request)
        return { status = request.target == "/healthz" and not well and 500 or 200 }
      end)
      well = false
      wait_row("#upstreams", g.backends[2].at, 2, "down (probes)")
      b:wait("return document.querySelector('#tile-health').textContent.includes('Degraded')", "the tile")
      local said = "Upstream users: 1 of 2 endpoints down: " .. g.backends[2].at
      b:wait("return document.querySelector('#announce').textContent.includes(arguments[0])", "the announcement", said)
      assert.truthy(b:text("#problems"):find(said, 1, true))
      well = true
      wait_row("#upstreams", g.backends[2].at, 2, "up")
    end)
  end)

  it("shows why a reload was refused, all of it", function()
    peers.run(function()
      backends()
      g:replace("main.lua", fine .. "\ngateway.route '/x' { tu = 1 }\ngateway.route '/y' { name = '<script>window.hit=1</script>' }")
      assert.equal(422, g:reload().status)
      local errors = g:status().reloads.last.errors
      assert.is_true(#errors >= 2)
      for _, error in ipairs(errors) do
        b:wait("return document.querySelector('#history').innerText.includes(arguments[0])", error, error)
        b:wait("return document.querySelector('#problems').innerText.includes(arguments[0])", error, error)
      end
      b:wait("return document.querySelector('#announce').textContent.includes('The last reload was refused')", "the announcement")
      g:replace("main.lua", fine)
      assert.equal(200, g:reload().status)
      b:wait("return !document.querySelector('#problems').innerText.includes('refused')", "the problem to be over")
      local number = g:generation()
      b:wait("return document.querySelector('#facts').innerText.replace(/\\s+/g, ' ').includes('generation ' + arguments[0])",
        "the generation", number)
      assert.is_nil(b:run("return window.hit"))
      assert.same({}, b:complaints())
    end)
  end)

  it("shows a staged reload beside the stable generation, and how it ended", function()
    peers.run(function()
      backends()
      g:replace("main.lua", fine .. "\ngateway.route '/new' { to = gateway.respond(200, 'new') }")
      local answer = g:admin("/reload?share=50%25&for=60s&abort_if=errors%3E1%25&wait=0", "POST")
      assert.equal(202, answer.status, answer.body)
      local number = answer.json.staged.now.generation
      b:wait("return document.querySelector('#staged').innerText.includes(arguments[0])", "the staged one",
        ("Staged: generation %d has 50 %% of the clients"):format(number))
      assert.truthy(b:text("#staged"):find("unless errors>1%", 1, true), b:text("#staged"))
      assert.truthy(gateway.command({ args = { "top", "--once", "--admin", "127.0.0.1:" .. g.vars.admin } }).stdout:find(
        ("staged: generation %d, 50 %% of the clients"):format(number), 1, true))
      assert.equal(200, g:admin("/reload?end=promote", "POST").status)
      b:wait("return document.querySelector('#staged').hidden", "the end of it")
      b:wait("return document.querySelector('#history li').innerText.includes('staged reload')", "its line")
      g:replace("main.lua", fine)
      assert.equal(200, g:reload().status)
    end)
  end)

  it("goes by the keyboard", function()
    local function focus()
      return b:run("const e = document.activeElement; return e.id || e.className || e.tagName")
    end
    b:open(address(g))
    b:wait("return !document.querySelector('#main').hidden && document.querySelector('#routes tbody tr')", "the page")
    b:press("Tab")
    assert.equal("skip", focus())
    b:press("Enter")
    assert.equal("now", focus())
    b:press("?")
    assert.is_true(b:run("return document.querySelector('#help').open"))
    b:press("Escape")
    assert.is_false(b:run("return document.querySelector('#help').open"))
    for i, id in ipairs { "now", "traffic", "routes", "upstreams", "slow", "reloads", "scripts" } do
      b:press(tostring(i))
      assert.equal(id, focus())
    end
    b:press("/")
    assert.equal("filter", focus())
    b:press("f", "i", "x", "e", "d")
    b:wait("return document.querySelectorAll('#routes tbody tr').length === 1", "one route")
    assert.is_truthy(row("#routes", "/fixed"))
    for _ = 1, 5 do b:press("\238\128\131") end -- backspace
    b:wait("return document.querySelectorAll('#routes tbody tr').length > 4", "all routes again")
    b:press("Escape")
    b:run("document.querySelector('#routes button.row').focus()")
    local first = b:run("return document.activeElement.textContent")
    b:press("Down")
    local second = b:run("return document.activeElement.textContent")
    assert.are_not.equal(first, second)
    b:press("Up")
    assert.equal(first, b:run("return document.activeElement.textContent"))
    b:press("Enter")
    b:wait("return document.querySelector('#latency-chart figcaption').innerText.includes(arguments[0])", "its latency", first)
    assert.equal(first, b:run("return document.querySelector('tr.chosen').cells[0].textContent"))
    b:press("a")
    b:wait("return document.querySelector('#latency-chart figcaption').innerText.includes('all routes')", "all of them")
    b:press("p")
    assert.equal("true", b:run("return document.querySelector('#pause').getAttribute('aria-pressed')"))
    b:press("p")
    assert.same({}, b:complaints())
  end)

  it("is light and dark, as the system has it or as it is told", function()
    local function light()
      local r = b:run("return getComputedStyle(document.body).backgroundColor"):match("%d+")
      return tonumber(r) > 128
    end
    b:media("prefers-color-scheme", "light")
    assert.is_true(light())
    b:media("prefers-color-scheme", "dark")
    assert.is_false(light())
    b:press("t")
    assert.is_true(light())
    b:media("prefers-color-scheme", "light")
    b:press("t")
    assert.is_false(light())
    b:open(address(g)) -- it is remembered
    assert.is_false(light())
    b:press("t")
    assert.is_true(light())
  end)

  it("fits a narrow screen", function()
    b:size(360, 740)
    b:wait("return !document.querySelector('#main').hidden && document.querySelector('#routes tbody tr')", "the page")
    b:wait("return document.documentElement.scrollWidth <= 360", "nothing stands out")
    b:size(1280, 900)
  end)

  it("says that it is disconnected, and comes back by itself", function()
    g:signal(19) -- SIGSTOP: nothing comes any more
    b:wait("return document.querySelector('#state').dataset.state === 'disconnected'", "disconnected")
    assert.truthy(b:text("#state"):find("disconnected: nothing came for a while; again in", 1, true))
    g:signal(18)
    b:wait("return document.querySelector('#state').dataset.state === 'serving'", "connected again")
    assert.same({}, b:complaints(true))
  end)
end)

describe("the dashboard and a token:", function()
  it("it is asked for, kept in the tab, and stands in no address", function()
    local g = gateway.start {
      script = [[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.workers(1)
        gateway.admin { "127.0.0.1:${admin}", token = "correct-horse-battery" }]],
    }
    b:open(address(g))
    b:wait("return !document.querySelector('#login').hidden", "the login")
    assert.is_true(b:run("return document.querySelector('#main').hidden"))
    assert.equal("token", b:run("return document.activeElement.id"))
    b:press("w", "r", "o", "n", "g", "Enter")
    b:wait("return document.querySelector('#login-error').textContent === 'That is not the token.'", "the refusal")
    for letter in ("correct-horse-battery"):gmatch(".") do b:press(letter) end
    b:press("Enter")
    b:wait("return !document.querySelector('#main').hidden", "the figures")
    assert.is_true(b:run("return document.querySelector('#login').hidden"))
    assert.equal(address(g), b:run("return location.href"))
    b:open(address(g)) -- the tab knows it
    b:wait("return !document.querySelector('#main').hidden", "the figures again")
    for _, complaint in ipairs(b:complaints()) do assert.truthy(complaint:find("401", 1, true), complaint) end
    for _, line in ipairs(g:log()) do
      assert.is_nil(require("cjson").encode(line):find("correct-horse", 1, true))
    end
    g:stop()
  end)
end)
