-- The plugins that authenticate, in the real program: each lets in and keeps out; slow password hashes hold up nobody else, and go with
-- who asked for them.

local base64 = require "gateway.base64"
local crypto = require "gateway.crypto"
local gateway = require "spec.support.gateway"
local loop = require "spec.support.loop"
local peers = require "spec.support.peers"
local keys = require "spec.support.keys"
local sys = require "spec.support.sys"

-- "slow horse", cost 10: more than 50 ms a check
local SLOW = "$2b$10$2X.mGC7G4lc3CUFoaRvUfuwHTMUO.w/N6Eji28zyEBoPXFXhvzpbK"

local SCRIPT = [=[${prelude}
local users = gateway.upstream "users" { "${backend1}" }
local function guarded(path, name, config) gateway.route(path) { use = { gateway.plugin(name, config) }, to = users } end
guarded("/key", "key-auth", { keys = { abc = "alice" } })
guarded("/ip", "ip-restriction", { deny = { "127.0.0.0/8", "unix" } })
guarded("/basic", "basic-auth", { users = { alice = "]=] .. SLOW .. [=[" }, remember = 0 })
guarded("/hmac", "hmac-auth", { secrets = { alice = "an adequate secret" }, replay = "seen" })
guarded("/jwt", "jwt", { public_key = [[${public_key}]], roles = { any = { "admin" } } })
guarded("/forward", "forward-auth", {
  url = "http://${backend2}/check", request_headers = { "X-Key" }, response_headers = { "X-User" }, timeout = 2,
})
guarded("/jwks", "jwt", { jwks_url = "http://${backend2}/jwks.json", jwks_timeout = 2 })
gateway.route "/free" { to = gateway.respond(200, "free") }
]=]

local function token(claims, head)
  local text = base64.encode_url(head or '{"alg":"ES256"}') .. "." .. base64.encode_url(claims)
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
    g = gateway.start { backends = 2, script = SCRIPT, vars = { public_key = keys.p256_public } }
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

  it("is asked about elsewhere", function()
    local x, y = keys.p256_jwk.x, keys.p256_jwk.y
    peers.run(function()
      g.backends[1]:answer { body = "hi" }
      g.backends[2]:answer(function(request)
        if request.target == "/jwks.json" then
          return { body = ('{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"%s","y":"%s"}]}'):format(x, y) }
        end
        if request.headers:get("x-key") ~= "good" then return { status = 302, headers = { Location = "/login" }, body = "no" } end
        return { status = 204, headers = { ["X-User"] = "alice" } }
      end)
      local response = g:ask { path = "/forward", headers = { ["X-Key"] = "good", ["X-User"] = "root" } }
      assert.equal(200, response.status)
      assert.equal("alice", g.backends[1]:last().headers:get("x-user"))
      response = g:ask { path = "/forward", headers = { ["X-Key"] = "bad" } }
      assert.equal(302, response.status)
      assert.equal("/login", response.headers:get("location"))
      assert.equal("no", response.body)
      local claims = '{"sub":"alice","exp":9999999999}'
      for _ = 1, 2 do
        response = g:ask { path = "/jwks", headers = { Authorization = "Bearer " .. token(claims, '{"alg":"ES256","kid":"k"}') } }
        assert.equal(200, response.status)
      end
      assert.equal("alice", g.backends[1]:last().headers:get("x-consumer"))
      response = g:ask { path = "/jwks", headers = { Authorization = "Bearer " .. token(claims, '{"alg":"ES256","kid":"other"}') } }
      assert.equal(401, response.status)
    end)
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
      assert.is_true(slowest < 0.25, slowest .. " s")
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
