-- plugins/basic-auth.lua

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local base64 = require "gateway.base64"
local testing = require "gateway.testing"

local BCRYPT = "$2b$05$ojGfEq7gPedWulmjtFqK3eLv/kmAg0p2.kVO/yFcCaZGXXDZPGBZe" -- all of "correct horse"
local SHA512 = "$6$rounds=1000$8VhwMVxgPO.iWOyC$iqgddahihHUyOutGVBc2M6Yc.3YlIH9SXQSKjniZ0u2K9oStu8Sx32ppbgGcIRC/GPwJvaxJnRzxjIv1EA9aE."
local YESCRYPT = "$y$j9T$j5SK3vJvDldgI9yPXvdJ7/$jp6OvDiG0D9H8hMmwZZ1M2na64heS4pXJm7bHj/rAP5"

local function app_with(config)
  local backend = testing.upstream { body = "hi" }
  local app = testing.app(function(gateway)
    gateway.route "/" { use = { gateway.plugin("basic-auth", config) }, to = backend }
  end)
  return app, backend
end

local function basic(text) return "Basic " .. base64.encode(text) end

describe("basic-auth", function()
  local users = { alice = BCRYPT, bob = SHA512, ["böb"] = YESCRYPT }

  for _, case in ipairs {
    { "bcrypt", basic "alice:correct horse", 200, "alice" }, { "SHA-512-crypt", basic "bob:correct horse", 200, "bob" },
    { "yescrypt", basic "böb:correct horse", 200, "böb" },
    { "the scheme in any case", "bAsIc  " .. base64.encode "alice:correct horse", 200,
      "alice" },
    { "a wrong password", basic "alice:correct hors", 401 }, { "an empty password", basic "alice:", 401 },
    { "an unknown name", basic "eve:correct horse", 401 }, { "no colon", basic "alice", 401 }, { "no base64", "Basic !!", 401 },
    { "a NUL", basic "alice:correct horse\0", 401 }, { "another scheme", "Bearer abc", 401 }, { "nothing", nil, 401 },
    { "a long password", basic("alice:" .. ("x"):rep(5000)), 401 }, { "no name", basic ":correct horse", 401 },
  } do
    it("meets " .. case[1], function()
      local app, backend = app_with { users = users }
      for _ = 1, 2 do -- as it is, and as it is remembered
        local response = app:get("/", { headers = { Authorization = case[2], ["X-Consumer"] = "root" } })
        assert.equal(case[3], response.status)
        if case[3] == 401 then
          assert.equal('Basic realm="gateway", charset="UTF-8"', response.headers["www-authenticate"])
          assert.equal(0, #backend.requests)
        else
          assert.equal(case[4], backend.requests[#backend.requests].headers["x-consumer"])
          assert.is_nil(backend.requests[#backend.requests].headers.authorization)
        end
      end
    end)
  end

  it("reads users from a file", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write("# users\n\nalice:" .. BCRYPT .. "\r\nbob:" .. SHA512 .. ":more:fields\n")
    file:close()
    local app = app_with { file = path, users = { carol = SHA512 } }
    for _, name in ipairs { "alice", "bob", "carol" } do
      assert.equal(200, app:get("/", { headers = { Authorization = basic(name .. ":correct horse") } }).status)
    end
    for _, case in ipairs { { "alice\n", "expected NAME:HASH" }, { "alice:plain\n", "it is no hash that is known" },
      { "\na:" .. BCRYPT .. "\na:" .. BCRYPT .. "\n", ':3: "a" stands there twice' }, { "a:{SHA}x\n", "too weak" } } do
      file = assert(io.open(path, "wb"))
      file:write(case[1])
      file:close()
      local good, problem = pcall(app_with, { file = path })
      assert.is_false(good)
      assert.truthy(tostring(problem):find(case[2], 1, true), problem)
    end
    os.remove(path)
    assert.is_false((pcall(app_with, { file = path })))
  end)

  it("lets nobody in where there is nobody", function()
    local app = app_with { users = {} }
    assert.equal(401, app:get("/", { headers = { Authorization = basic "a:b" } }).status)
  end)

  for _, case in ipairs {
    { {}, "users" }, { { users = { alice = "plain" } }, "it is no hash that is known" },
    { { users = { ["a:b"] = BCRYPT } }, 'without ":"' },
    { { users = { alice = "$argon2id$v=19$x" } }, "argon2 is not supported" }, { { users = { alice = "$apr1$x$y" } }, "too weak" },
  } do
    it("refuses a config that is wrong: " .. case[2], function()
      local good, problem = pcall(app_with, case[1])
      assert.is_false(good)
      assert.truthy(tostring(problem):find(case[2], 1, true), problem)
      assert.falsy(tostring(problem):find(BCRYPT, 1, true))
    end)
  end
end)
