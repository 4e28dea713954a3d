-- The plugins that authenticate, in the real program: each lets in and keeps out; slow password hashes hold up nobody else, and go with
-- who asked for them.

local base64 = require "gateway.base64"
local crypto = require "gateway.crypto"
local gateway = require "spec.support.gateway"
local loop = require "spec.support.loop"
local peers = require "spec.support.peers"
local keys = require "spec.support.keys"
local sys = require "spec.support.sys"

-- "slow horse", cost 11: more than 100 ms a check
local SLOW = "$2b$11$VMwHH676WM0nuR94KyKug.QFfQRoeNwWjMLEKFSC0PIelrkV9kbee"

local SCRIPT = [=[${prelude}
local users = gateway.upstream "users" { "${backend1}" }
local function guarded(path, name, config) gateway.route(path) { use = { gateway.plugin(name, config) }, to = users } end
guarded("/key", "key-auth", { keys = { abc = "alice" } })
guarded("/ip", "ip-restriction", { deny = { "127.0.0.0/8", "unix" } })
guarded("/basic", "basic-auth", { users = { alice = "]=] .. SLOW .. [=[" }, remember = 0 })
guarded("/hmac", "hmac-auth", { secrets = { alice = "an adequate secret" }, replay = "seen" })
guarded("/jwt", "jwt", { public_key = [[${public_key}]], roles = { any = { "admin" } } })
gateway.route "/free" { to = gateway.respond(200, "free") }
]=]

local function token(claims)
  local text = base64.encode_url('{"alg":"ES256"}') .. "." .. base64.encode_url(claims)
  return text .. "." .. base64.encode_url(assert(crypto.sign("ES256", assert(crypto.key(keys.p256)), text)))
end

local function signed()
  local date = os.date("!%a, %d %b %Y %H:%M:%S GMT")
  local text = "(request-target): get /hmac\nhost: a\ndate: " .. date
  return { Date = date, Authorization = ('Signature keyId="alice",headers="(request-target) host date",signature="%s"'):format(
    base64.encode(crypto.hmac("sha256", "an adequate secret", text))) }
end

local function basic(password) return { Authorization = "Basic " .. base64.encode("alice:" .. password) } end

describe("who asks", function()
  local g

  before_each(function()
    g = gateway.start { backends = 1, script = SCRIPT, vars = { public_key = keys.p256_public } }
  end)
  after_each(function() if g then g:stop() end end)

  it("is let in, or not, by every plugin", function()
    local once = signed()
    for _, case in ipairs {
      { "/key", {}, 401 }, { "/key", { ["X-API-Key"] = "abd" }, 401 }, { "/key", { ["X-API-Key"] = "abc" }, 200, "alice" },
      { "/ip", {}, 403 },
      { "/basic", {}, 401 }, { "/basic", basic "wrong", 401 }, { "/basic", basic "slow horse", 200, "alice" },
      { "/hmac", {}, 401 }, { "/hmac", once, 200, "alice" }, { "/hmac", once, 401 },
      { "/jwt", {}, 401 }, { "/jwt", { Authorization = "Bearer " .. token '{"sub":"alice","exp":1,"roles":["admin"]}' }, 401 },
      { "/jwt", { Authorization = "Bearer " .. token '{"sub":"alice","exp":9999999999,"roles":["user"]}' }, 403 },
      { "/jwt", { Authorization = "Bearer " .. token '{"sub":"alice","exp":9999999999,"roles":["admin"]}' }, 200, "alice" },
    } do
      peers.run(function()
        g.backends[1]:answer { body = "hi" }
        local response = g:ask { path = case[1], host = "a", headers = case[2] }
        assert.message(case[1] .. " " .. response.body).equal(case[3], response.status)
        if case[3] == 200 then assert.equal(case[4], g.backends[1]:last().headers:get("x-consumer")) end
      end)
    end
  end)

  it("is not held up by others' passwords", function()
    peers.run(function()
      local left = 4
      for i = 1, 4 do
        loop.spawn(function()
          assert.equal(401, g:ask({ path = "/basic", headers = basic("guess " .. i) }, { seconds = 20 }).status)
          left = left - 1
        end)
      end
      local client, asked, slowest = g:client(), 0, 0
      while left > 0 do
        local before = sys.now()
        assert.equal(200, client:ask({ path = "/free" }).status)
        slowest = math.max(slowest, sys.now() - before)
        asked = asked + 1
        loop.sleep(0.005)
      end
      assert.is_true(asked > 10, asked .. " requests meanwhile")
      assert.is_true(slowest < 0.1, slowest .. " s")
    end)
  end)

  it("takes the check along when it goes away, and when the gateway ends", function()
    peers.run(function()
      for i = 1, 8 do
        local client = g:client()
        client:send(("GET /basic HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\n\r\n"):format(basic("guess " .. i).Authorization))
        if i % 2 == 0 then client:close() end
      end
      assert.equal(200, g:ask({ path = "/free" }).status)
    end)
    g:reload()
    g:signal(15)
    assert.equal(0, g:wait_exit(20))
  end)
end)
