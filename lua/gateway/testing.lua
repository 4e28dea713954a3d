-- gateway.testing: tests of plugins and scripts with plain busted: no server, no port, no waiting.
--
--     local testing = require "gateway.testing"
--     local app = testing.app(function(gateway)
--       gateway.route "/" { to = testing.upstream { status = 200, body = "hi" } }
--     end)
--     assert.equal(200, app:get("/").status)

local check = require "gateway.check"
local spec = require "gateway.spec"
local testing_app = require "gateway.testing_app"
local testing_upstream = require "gateway.testing_upstream"
local units = require "gateway.units"

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
---@param f fun(gateway: table)
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

--- A real gateway, a process of its own on ports that the kernel chooses, asked in the same words over real sockets and in real time. It
--- ends with the test. A function is compiled anew for it: of the test's locals it can use text, numbers, tables of them and
--- testing.upstream.
---@param what string|fun(gateway: table) a function, the text of a script, or the path of one; without gateway.listen it gets a free port
---@return gateway.testing.Served
function testing.serve(what)
  close_all(kept.ended)
  local testing_serve = require "gateway.testing_serve"
  local app = testing_serve.new(what, 2)
  local list = within_test() and kept.test or kept.file
  list[#list + 1] = app
  return app
end

-- ---- helpers ----

---@class gateway.testing.Clock
local Clock = {}
Clock.__index = Clock
function Clock:now() return self.time end
function Clock:advance(seconds)
  local time = units.duration(seconds)
  if not time then error("clock:advance: expected " .. units.duration_expected .. ", found " .. check.describe(seconds), 2) end
  self.time = self.time + time
end

--- A clock for primitives by hand: gateway.token_bucket { rate = 1, clock = clock }; clock:advance(10).
---@param seconds? number what it shows at first; 0
---@return gateway.testing.Clock
function testing.clock(seconds)
  return setmetatable({ time = seconds or 0 }, Clock)
end

---@class gateway.testing.JwtOptions
---@field claims table
---@field alg? string "HS256"; RS256, ES256, EdDSA and so on
---@field key? string|gateway.Key a secret, or a private key as PEM; by default that of testing.keys
---@field header? table more members of the token's head, such as kid

--- A JSON Web Token, signed.
---@param options gateway.testing.JwtOptions
---@return string
function testing.jwt(options)
  if type(options) ~= "table" or type(options.claims) ~= "table" then
    error("testing.jwt: expected { claims = { sub = \"alice\" } }, found " .. check.describe(options), 2)
  end
  local base64, crypto, json = require "gateway.base64", require "gateway.crypto", require "gateway.json"
  local alg = options.alg or "HS256"
  local head = { alg = alg, typ = "JWT" }
  for name, value in pairs(options.header or {}) do head[name] = value end
  local text = base64.encode_url(json.encode(head)) .. "." .. base64.encode_url(json.encode(options.claims))
  if alg == "none" then return text .. "." end
  local key = options.key or (testing.keys[alg] and testing.keys[alg].private)
  local problem
  if type(key) == "string" then
    if alg:find("^HS") then key = crypto.secret(key) else key, problem = crypto.key(key) end
  end
  if not key then error(("testing.jwt: no key for %s%s"):format(alg, problem and ": " .. problem or ""), 2) end
  local signature
  signature, problem = crypto.sign(alg, key, text)
  if not signature then error("testing.jwt: " .. tostring(problem), 2) end
  return text .. "." .. base64.encode_url(signature)
end

--- Keys for tests, known to everybody: keys.RS256.private and .public (PEM), keys.ES256, keys.EdDSA; keys.HS256.private is a secret.
testing.keys = require "gateway.testing_keys"

require "gateway.testing_assert"

return testing
