-- crypto.password: on the virtual clock of a test's gateway, where the hash is computed at once, and misuse.

local crypto = require "gateway.crypto"
local testing = require "gateway.testing"

local HASH = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW" -- of "U*U"

local function app_with(f)
  return testing.app(function(gateway)
    gateway.route "/" { use = { function(request) return gateway.respond(200, { f(request) }) end }, to = gateway.respond(200) }
  end)
end

describe("crypto.password", function()
  it("waits for what comes out of it", function()
    local app = app_with(function(request) return tostring(crypto.password(HASH, request.headers["x-password"])) end)
    for _ = 1, 3 do
      assert.equal('["true"]', app:get("/", { headers = { ["X-Password"] = "U*U" } }).body)
      assert.equal('["false"]', app:get("/", { headers = { ["X-Password"] = "U*V" } }).body)
    end
  end)

  it("remembers it for a while", function()
    local app = app_with(function(request)
      local slow = request.headers["x-ttl"] and tonumber(request.headers["x-ttl"])
      return tostring(crypto.password(HASH, "U*U", slow))
    end)
    app:get("/")
    local before = os.clock()
    for _ = 1, 50 do assert.equal('["true"]', app:get("/").body) end
    local quick = os.clock() - before
    before = os.clock()
    for _ = 1, 50 do assert.equal('["true"]', app:get("/", { headers = { ["X-TTL"] = "0" } }).body) end
    assert.is_true(os.clock() - before > quick + 0.05)
  end)

  it("works in gateway.all, and beside others that ask the same", function()
    local app = testing.app(function(gateway)
      gateway.route "/" {
        to = gateway.respond(200),
        use = { function()
          local ask = function() return tostring(crypto.password(HASH, "U*U", 0)) end
          return gateway.respond(200, table.concat({ gateway.all { ask, ask, ask, function()
            return tostring(crypto.password(HASH, "other", 0))
          end } }, " "))
        end },
      }
    end)
    assert.equal("true true true false", app:get("/").body)
  end)

  it("says why a hash is none", function()
    local app = app_with(function() return select(2, crypto.password("plain", "U*U")) end)
    assert.truthy(app:get("/").body:find("it is no hash that is known", 1, true))
  end)

  it("is not asked about passwords that are nobody's", function()
    local app = app_with(function(request) return tostring(crypto.password(HASH, request.headers["x-a"] and "a\0b" or ("x"):rep(512))) end)
    assert.equal('["false"]', app:get("/").body)
    assert.equal('["false"]', app:get("/", { headers = { ["X-A"] = "1" } }).body)
  end)

  it("ends with a request that goes away", function()
    local app = app_with(function() return tostring(crypto.password(HASH, "U*W", 0)) end)
    for _ = 1, 5 do
      local pending = app:start("/")
      pending:abort()
    end
    assert.equal('["false"]', app:get("/").body)
  end)

  it("cannot wait while the script loads, and wants strings", function()
    for _, case in ipairs {
      { function() return (crypto.password(HASH, "not asked yet")) end, "crypto.password waits: it can be called in a request or a timer" },
      { function() return (crypto.password(5, "U*U")) end, "crypto.password: hash: expected a string, found 5" },
      { function() return (crypto.password(HASH, nil)) end, "crypto.password: expected a string, found a nil" },
    } do
      local good, problem = pcall(case[1])
      assert.is_false(good)
      assert.truthy(tostring(problem):find(case[2], 1, true), problem)
    end
  end)
end)
