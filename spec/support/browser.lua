--- A real browser: headless Chromium, driven through chromedriver by WebDriver (https://www.w3.org/TR/webdriver2/), plain HTTP.
--
--     local b = browser.start()
--     b:open("http://127.0.0.1:" .. port .. "/")
--     b:wait("return document.title == 'gateway'", "the page")
--     assert.same({}, b:complaints())       -- errors of the console, violations of the content security policy
--     b:stop()
--
-- It has a fresh profile in a folder of its own, and asks nobody but the pages that it is told to open.

local cjson = require "cjson"
local lfs = require "lfs"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local browser = {}

local DRIVER, CHROMIUM = "/usr/bin/chromedriver", "/usr/bin/chromium"
local START_SECONDS, COMMAND_SECONDS = 40, 20
local ELEMENT = "element-6066-11e4-a52e-4f735466cecf" -- WebDriver section 11

local B = {}
B.__index = B

local function remove_tree(path)
  if lfs.symlinkattributes(path, "mode") == "directory" then
    for name in lfs.dir(path) do
      if name ~= "." and name ~= ".." then remove_tree(path .. "/" .. name) end
    end
    lfs.rmdir(path)
  else
    os.remove(path)
  end
end

-- One command of the protocol; what it gives.
function B:command(method, path, body, seconds)
  local response = peers.within(function()
    local text = body and (next(body) == nil and "{}" or cjson.encode(body))
    return peers.ask(self.port, { method = method, path = path, host = "127.0.0.1", body = text,
      headers = { ["Content-Type"] = text and "application/json", Connection = "close" } }, { wait = seconds or COMMAND_SECONDS })
  end)
  local value = cjson.decode(response.body).value
  if response.status ~= 200 then
    error(("the browser: %s %s: %s"):format(method, path, type(value) == "table" and value.message or response.body), 0)
  end
  return value
end

function B:session_command(method, path, body, seconds)
  return self:command(method, "/session/" .. self.session .. path, body, seconds)
end

local ARGUMENTS = {
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-default-apps", "--disable-dev-shm-usage",
  "--no-default-browser-check", "--hide-scrollbars", "--force-device-scale-factor=1", "--remote-debugging-pipe",
}

--- options: arguments (more of Chromium's).
function browser.start(options)
  local self = setmetatable({ dir = sys.temp_dir(), port = sys.free_port() }, B)
  lfs.mkdir(self.dir .. "/home")
  self.pid = assert(sys.spawn {
    argv = { DRIVER, "--port=" .. self.port, "--log-level=WARNING" },
    env = { HOME = self.dir .. "/home", TMPDIR = self.dir, PATH = "/usr/bin:/bin", LANG = "C.UTF-8", TZ = "UTC" },
    stdout = self.dir .. "/stdout", stderr = self.dir .. "/stderr",
  })
  local arguments = { unpack(ARGUMENTS) }
  arguments[#arguments + 1] = "--user-data-dir=" .. self.dir .. "/profile"
  for _, one in ipairs(options and options.arguments or {}) do arguments[#arguments + 1] = one end
  local ok, err = pcall(function()
    peers.within(function()
      peers.eventually(function() return peers.reachable(self.port) end, "chromedriver (apt-get install chromium-driver)", START_SECONDS)
    end)
    local made = self:command("POST", "/session", { capabilities = { alwaysMatch = {
      browserName = "chrome", ["goog:chromeOptions"] = { binary = CHROMIUM, args = arguments },
      ["goog:loggingPrefs"] = { browser = "ALL" },
    } } }, START_SECONDS)
    self.session = made.sessionId
    self:session_command("POST", "/timeouts", { script = 15000, pageLoad = 15000 })
  end)
  if not ok then
    self:stop()
    error(err, 0)
  end
  return self
end

function B:stop()
  if not self.pid then return end
  if self.session then pcall(self.session_command, self, "DELETE", "") end
  sys.kill(self.pid, 15)
  peers.within(function()
    peers.eventually(function() return sys.ended(self.pid) end, "the end of chromedriver", 10)
  end)
  self.pid = nil
  remove_tree(self.dir)
end

--- Opens a page and waits until it is loaded.
function B:open(url)
  self:session_command("POST", "/url", { url = url })
end

--- The size of what a page sees, in CSS pixels.
function B:size(width, height)
  self:tools("Emulation.setDeviceMetricsOverride", { width = width, height = height, deviceScaleFactor = 1, mobile = false })
end

--- A media feature, as CSS asks for it: ("prefers-color-scheme", "dark").
function B:media(name, value)
  self:tools("Emulation.setEmulatedMedia", { features = { { name = name, value = value } } })
end

--- A command of Chrome's own protocol.
function B:tools(command, parameters)
  return self:session_command("POST", "/goog/cdp/execute", { cmd = command, params = parameters })
end

--- What the function body gives; `arguments[0]` and so on are what follows. nil for null and undefined.
function B:run(script, ...)
  local args = { ... }
  args[#args + 1] = false -- cjson makes an object of an empty table
  local value = self:session_command("POST", "/execute/sync", { script = script, args = args })
  if value == cjson.null then return nil end
  return value
end

--- Waits until the function body gives something true; gives it.
function B:wait(script, what, ...)
  local args, value = { ... }, nil
  local ok = peers.within(function()
    return pcall(peers.eventually, function()
      value = self:run(script, unpack(args))
      return value
    end, what, 12)
  end)
  if not ok then
    error(("the page has not: %s\nit says: %s\nit complains: %s"):format(what or script, self:text():sub(1, 4000),
      cjson.encode(self:complaints())), 0)
  end
  return value
end

--- All text of the page that can be seen.
function B:text(selector)
  return self:run("const e = document.querySelector(arguments[0]); return e ? e.innerText : '(nothing)'", selector or "body")
end

--- Presses keys as a keyboard does, one after the other: characters, or names as in browser.KEYS.
browser.KEYS = { Tab = 0xE004, Enter = 0xE007, Escape = 0xE00C, Left = 0xE012, Up = 0xE013, Right = 0xE014, Down = 0xE015 }
function B:press(...)
  local actions = {}
  for _, key in ipairs { ... } do
    local code = browser.KEYS[key]
    local value = key
    if code then -- three bytes of UTF-8
      value = string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
    end
    actions[#actions + 1] = { type = "keyDown", value = value }
    actions[#actions + 1] = { type = "keyUp", value = value }
  end
  self:session_command("POST", "/actions", { actions = { { type = "key", id = "keyboard", actions = actions } } })
end

--- Clicks into the middle of the first element of that selector.
function B:click(selector)
  local element = self:session_command("POST", "/element", { using = "css selector", value = selector })
  self:session_command("POST", "/element/" .. element[ELEMENT] .. "/click", {})
end

--- What stands in the console since the last call that is a warning or an error: among them violations of the policy. Failures of
-- the network are left out where `network` is true (a gateway that was stopped).
function B:complaints(network)
  local found = {}
  for _, entry in ipairs(self:session_command("POST", "/se/log", { type = "browser" })) do
    if (entry.level == "SEVERE" or entry.level == "WARNING") and not (network and entry.source == "network") then
      found[#found + 1] = entry.message
    end
  end
  return found
end

--- Writes what the window shows (`full`: the whole page) as a PNG file.
function B:screenshot(path, full)
  local shot = self:tools("Page.captureScreenshot", { format = "png", captureBeyondViewport = full or false })
  local mime = require "mime"
  local file = assert(io.open(path, "wb"))
  file:write((mime.unb64(shot.data)))
  file:close()
end

return browser
