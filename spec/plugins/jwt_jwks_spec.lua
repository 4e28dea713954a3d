-- plugins/jwt with keys from a URL: fetched once, kept, fetched again; and all that can go wrong with that.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local base64 = require "gateway.base64"
local crypto = require "gateway.crypto"
local json = require "gateway.json"
local keys = require "spec.support.keys"
local testing = require "gateway.testing"

-- Public keys as JSON Web Keys, from RFC 8037 A.2 and from what openssl says of the specs' own.
local ED = { kty = "OKP", crv = "Ed25519", kid = "rfc", x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", use = "sig", alg = "EdDSA" }
local OURS = { kty = "OKP", crv = "Ed25519", kid = "ours", x = "w25cFvkDCwBY2xDpsWzgwJo9srmacJUr5ofBJT9vUaA" }
local P256 = {
  kty = "EC", crv = "P-256", kid = "p256", x = "88OCtg7xMAzYs0C3FemtPIDkJMYXqUuW4M61MasmL7Y",
  y = "tHZ3DVVozyPqcRtv_rgLbRXs73krV3EK-2-MwNCwA0U",
}

local function set_of(...) return { status = 200, body = json.encode { keys = { ... } } } end

-- `issuer`: who plays the URL.
local function app_with(config, issuer)
  local backend = testing.upstream { body = "hi" }
  local server = testing.upstream(issuer)
  local app = testing.app(function(gateway)
    local all = { jwks_url = "http://issuer.internal/jwks.json" }
    for name, value in pairs(config) do all[name] = value end
    gateway.route "/" { use = { gateway.plugin("jwt", all) }, to = backend }
  end, { hosts = { ["issuer.internal:80"] = server } })
  return app, server
end

local function bearer(app, kid, key, alg)
  local head, claims = json.encode { alg = alg or "EdDSA", kid = kid }, json.encode { sub = "alice", exp = app.clock:now() + 1e6 }
  local text = base64.encode_url(head) .. "." .. base64.encode_url(claims)
  local signature = assert(crypto.sign(alg or "EdDSA", assert(crypto.key(key or keys.ed25519)), text))
  return { headers = { Authorization = "Bearer " .. text .. "." .. base64.encode_url(signature) } }
end

describe("jwt with a JWKS URL", function()
  it("fetches the keys once", function()
    local app, issuer = app_with({}, set_of(ED, OURS, P256))
    for _ = 1, 3 do
      assert.equal(200, app:get("/", bearer(app, "ours")).status)
      assert.equal(200, app:get("/", bearer(app, "p256", keys.p256, "ES256")).status)
    end
    assert.equal(1, #issuer.requests)
    assert.equal(401, app:get("/", bearer(app, "rfc")).status) -- another key's id
    assert.equal(200, app:get("/", bearer(app)).status)
  end)

  it("fetches them once for many requests at the same time", function()
    local answer = set_of(OURS)
    answer.delay = 1
    local app, issuer = app_with({}, answer)
    local pending = {}
    for i = 1, 20 do
      local options = bearer(app, "ours")
      options.path = "/"
      pending[i] = app:start(options)
    end
    for i = 1, 20 do assert.equal(200, pending[i]:wait().status) end
    assert.equal(1, #issuer.requests)
  end)

  it("goes on when who fetches goes away", function()
    local answer = set_of(OURS)
    answer.delay = 1
    local app, issuer = app_with({ jwks_timeout = 3 }, answer)
    local options = bearer(app, "ours")
    options.path = "/"
    local gone, stays = app:start(options), app:start(options)
    app.clock:advance(0.5)
    gone:abort()
    assert.equal(200, stays:wait().status) -- and does not wait until the one that has gone would have timed out
    assert.is_true(app.clock:elapsed() < 1.5, app.clock:elapsed())
    assert.equal(200, app:get("/", bearer(app, "ours")).status)
    assert.equal(1, #issuer.requests)
  end)

  it("fetches them again when they are old", function()
    local current = set_of(OURS)
    local app, issuer = app_with({ jwks_ttl = 60 }, function() return current end)
    assert.equal(200, app:get("/", bearer(app, "ours")).status)
    current = set_of(ED)
    app.clock:advance(59)
    assert.equal(200, app:get("/", bearer(app, "ours")).status)
    app.clock:advance(2)
    assert.equal(401, app:get("/", bearer(app, "ours")).status)
    assert.equal(2, #issuer.requests)
  end)

  it("fetches them again for an id that is not known, but not more often than it may", function()
    local current = set_of(ED)
    local app, issuer = app_with({ jwks_refresh_every = 30 }, function() return current end)
    assert.equal(401, app:get("/", bearer(app, "ours")).status)
    assert.equal(1, #issuer.requests)
    current = set_of(ED, OURS)
    for _ = 1, 10 do assert.equal(401, app:get("/", bearer(app, "ours")).status) end
    assert.equal(1, #issuer.requests)
    app.clock:advance(31)
    assert.equal(200, app:get("/", bearer(app, "ours")).status)
    assert.equal(2, #issuer.requests)
  end)

  it("keeps old keys while they cannot be fetched, and not for ever", function()
    local current = set_of(OURS)
    local app = app_with({ jwks_ttl = 60, jwks_stale = 600 }, function() return current end)
    assert.equal(200, app:get("/", bearer(app, "ours")).status)
    current = { status = 500 }
    app.clock:advance(300)
    assert.equal(200, app:get("/", bearer(app, "ours")).status)
    app.clock:advance(400)
    local response = app:get("/", bearer(app, "ours"))
    assert.equal(503, response.status)
    assert.equal("1", response.headers["retry-after"])
    current = set_of(OURS)
    app.clock:advance(2)
    assert.equal(200, app:get("/", bearer(app, "ours")).status)
  end)

  for _, case in ipairs {
    { "says 404", { status = 404 } }, { "hangs", { hang = true } }, { "refuses", { refuse = true } },
    { "says nonsense", { body = "<html>" } },
    { "has no keys", set_of() }, { "has a secret", set_of { kty = "oct", k = "c2VjcmV0IHNlY3JldA", kid = "ours" } },
    { "has keys for something else", set_of { kty = "OKP", crv = "Ed25519", use = "enc", x = ED.x, kid = "ours" } },
    { "has a list that is none", { body = '{"keys":5}' } }, { "says too much", { body = '{"keys":["' .. ("x"):rep(2 ^ 21) .. '"]}' } },
  } do
    it("lets nobody in with an issuer that " .. case[1], function()
      local app = app_with({ jwks_timeout = 1 }, case[2])
      local response = app:get("/", bearer(app, "ours"))
      assert.equal(503, response.status)
      assert.is_true(app.clock:elapsed() < 2)
      local found = false
      for _, line in ipairs(app.log) do found = found or (line.message or ""):find("jwt: the keys could not be fetched", 1, true) ~= nil end
      assert.is_true(found)
    end)
  end

  it("uses its own keys as well, whatever the issuer says", function()
    local app = app_with({ public_key = keys.ed25519_public }, { status = 500 })
    assert.equal(200, app:get("/", bearer(app)).status)
  end)
end)
