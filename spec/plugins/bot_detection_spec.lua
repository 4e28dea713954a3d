-- bot-detection: who is one, who is not, and what becomes of them.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"

local function start(config)
  local backend = testing.upstream { status = 200 }
  local app = testing.app(function(gateway)
    gateway.route "/" { use = { gateway.plugin("bot-detection", config) }, to = backend }
  end)
  return function(agent, headers)
    headers = headers or {}
    headers["User-Agent"] = agent
    return app:get("/", { headers = headers }).status, backend.requests[#backend.requests], app
  end
end

describe("bot-detection", function()
  for agent, status in pairs {
    [CHROME] = 200, ["Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"] = 200,
    ["curl/8.5.0"] = 403, ["CURL/8.5.0"] = 403, ["python-requests/2.32"] = 403, ["Mozilla/5.0 HeadlessChrome/126.0"] = 403,
    ["Mozilla/5.0 (compatible; AhrefsBot/7.0)"] = 403, ["sqlmap/1.8"] = 403, ["Go-http-client/1.1"] = 403, ["Java/17.0.2"] = 403,
    ["MyCurlyApp/1"] = 200, [("A"):rep(8000)] = 200,
  } do
    it(("%d: %s"):format(status, agent:sub(1, 40)), function() assert.equal(status, (start()(agent))) end)
  end
  it("knows what it is told", function()
    local ask = start { deny = { "^Acme", "spider$" }, allow = { "^AcmeMonitor/" }, known = false, status = 429 }
    assert.same({ 429, 200, 429, 200 }, { (ask "acme/1"), (ask "AcmeMonitor/2 spider"), (ask "a Spider"), (ask "curl/8") })
  end)
  it("requests without an agent", function()
    assert.equal(200, (start()(nil)))
    assert.equal(403, (start { empty = "deny" }(nil)))
    assert.equal(403, (start { empty = "deny" }("")))
  end)
  it("marks them for the backend, and lets nobody else say it", function()
    local ask = start { action = "mark" }
    local status, seen = ask("wget/1.21", { ["X-Bot"] = "no" })
    assert.same({ 200, "wget" }, { status, seen.headers["x-bot"] })
    status, seen = ask(CHROME, { ["X-Bot"] = "yes" })
    assert.same({ 200, nil }, { status, seen.headers["x-bot"] })
  end)
  it("writes a line for each, where told to", function()
    local _, _, app = start { log = true }("curl/8")
    local line = app.log[#app.log]
    assert.same({ "robot", "curl/8", "curl" }, { line.message, line.agent, line.matched })
  end)
  it("refuses an expression that is none", function()
    local good, message = pcall(start, { deny = { "(" } })
    assert.is_false(good)
    assert.truthy(tostring(message):find('deny[1]: expected a regular expression, found "("', 1, true), message)
  end)
end)
