-- gateway.testing: tests of plugins and scripts with plain busted: no server, no port, no waiting.
--
--     local testing = require "gateway.testing"
--     local app = testing.app(function(gateway)
--       gateway.route "/" { to = testing.upstream { status = 200, body = "hi" } }
--     end)
--     assert.equal(200, app:get("/").status)

local spec = require "gateway.spec"
local testing_app = require "gateway.testing_app"
local testing_upstream = require "gateway.testing_upstream"

local testing = {}

-- ---- apps end with the test that made them ----

-- busted loads this file anew for each file of tests; what it subscribed to stays.
local registry = debug.getregistry()
local kept = registry["gateway.testing"]
if not kept then
  kept = { test = {}, ended = {}, file = {} } -- made by a test; by one that has ended; by a setup
  registry["gateway.testing"] = kept
end

local function close_all(list)
  for i = #list, 1, -1 do
    list[i]:close()
    list[i] = nil
  end
end

if not kept.subscribed then
  local busted = package.loaded.busted
  local subscribe = type(busted) == "table" and busted.subscribe
  if subscribe then
    kept.subscribed = true
    -- after_each comes behind the test's end, and may want the apps: they are closed when the next one is made.
    subscribe({ "test", "end" }, function()
      for _, app in ipairs(kept.test) do kept.ended[#kept.ended + 1] = app end
      kept.test = {}
      return nil, true
    end)
    subscribe({ "file", "end" }, function()
      close_all(kept.ended)
      close_all(kept.test)
      close_all(kept.file)
      return nil, true
    end)
  end
end

-- Whether a test (or its before_each) runs, and no setup of a whole file: busted says it on the stack.
local function within_test()
  for level = 3, 200 do
    local info = debug.getinfo(level, "S")
    if not info then return true end
    if info.source:find("busted[/\\]core%.lua$") then
      for i = 1, 10 do
        local name, value = debug.getlocal(level, i)
        if not name then break end
        if name == "descriptor" and type(value) == "string" then return value == "it" or value == "before_each" end
      end
    end
  end
  return true
end

-- ---- where plugins are ----

-- Beside the file of tests, and up to two folders above: spec/plugins/x_spec.lua finds plugins/x.lua.
local function plugin_folders(path)
  local folder = path:match("^(.*)/[^/]*$") or "."
  return { folder .. "/plugins", folder, folder .. "/../plugins", folder .. "/../../plugins" }
end

---@class gateway.testing.Options
---@field hosts? table<string, gateway.testing.Upstream> who plays the addresses and names that are declared: ["auth.internal:80"] = ...
---@field folder? string of the script, with its plugins/; "."
---@field plugins? string[] more folders of plugins
---@field now? number seconds since 1970 that the clock begins at; the present
---@field host? string of requests that name none; "gateway.test"

--- A gateway in this process, with what the function declares, on a clock of its own that moves only when told to or when a request waits.
--- What is wrong with the declarations is raised, in the words of `gateway check`.
---@param f fun(gateway: gateway)
---@param options? gateway.testing.Options
---@return gateway.testing.App
function testing.app(f, options)
  close_all(kept.ended)
  local source = spec.where():gsub(":%d+$", "")
  local app = testing_app.new(f, options, source, plugin_folders(source), 2)
  local list = within_test() and kept.test or kept.file
  list[#list + 1] = app
  return app
end

testing.upstream = testing_upstream.new

return testing
