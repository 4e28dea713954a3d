-- plugins/jwt: tokens, claims, roles, what the backend gets, and what is wrong with a config.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local base64 = require "gateway.base64"
local crypto = require "gateway.crypto"
local json = require "gateway.json"
local keys = require "spec.support.keys"
local testing = require "gateway.testing"

local NOW = 1769860800
local SECRET = "a secret of sixteen bytes"

local function app_with(config)
  local backend = testing.upstream { body = "hi" }
  local app = testing.app(function(gateway)
    gateway.route "/" { use = { gateway.plugin("jwt", config) }, to = backend }
  end, { now = NOW })
  return app, backend
end

-- A token of that head and payload, as texts.
local function token_of(head, payload, alg, key)
  local text = base64.encode_url(head) .. "." .. base64.encode_url(payload)
  return text .. "." .. base64.encode_url(assert(crypto.sign(alg, key, text)))
end

local function token(claims, alg, key, head)
  alg = alg or "HS256"
  local header = { alg = alg }
  for name, value in pairs(head or {}) do header[name] = value end
  if claims.exp == nil then claims.exp = NOW + 60 elseif claims.exp == false then claims.exp = nil end
  return token_of(json.encode(header), json.encode(claims), alg, key or crypto.secret(SECRET))
end

local function bearer(text) return { Authorization = "Bearer " .. text } end

describe("jwt", function()
  for _, case in ipairs { { "RS256", "rsa" }, { "RS512", "rsa" }, { "PS256", "rsa" }, { "ES256", "p256" }, { "ES384", "p384" },
    { "ES512", "p521" },
    { "EdDSA", "ed25519" } } do
    it("takes " .. case[1], function()
      local app, backend = app_with { public_key = keys[case[2] .. "_public"] }
      local text = token({ sub = "alice" }, case[1], crypto.key(keys[case[2]]))
      assert.equal(200, app:get("/", { headers = bearer(text) }).status)
      assert.equal("alice", backend.requests[1].headers["x-consumer"])
      assert.equal("Bearer " .. text, backend.requests[1].headers.authorization)
      local other = token({ sub = "alice" }, case[1], crypto.key(keys[case[2]]), { x = 1 })
      local swapped = other:match("^.*%.") .. text:match("[^.]*$")
      assert.equal(401, app:get("/", { headers = bearer(swapped) }).status)
    end)
  end

  -- claims, config, what is wrong
  for _, case in ipairs {
    { "a token", {}, {} },
    { "an expired token", { exp = NOW - 31 }, {}, "it has expired" }, { "a token that has just expired", { exp = NOW - 29 }, {} },
    { "no bound on skew", { exp = NOW }, { clock_skew = 0 }, "it has expired" },
    { "a token without an end", { exp = false }, {}, "the claim exp is missing" },
    { "a token without an end where it may", { exp = false }, { required_claims = {} } },
    { "an end that is no number", { exp = "tomorrow" }, {}, "its times are no numbers" },
    { "a token of tomorrow", { nbf = NOW + 31 }, {}, "it is not valid yet" }, { "a token of just now", { nbf = NOW + 29 }, {} },
    { "a token from the future", { iat = NOW + 31 }, {}, "it is from the future" },
    { "the issuer", { iss = "me" }, { issuer = "me" } }, { "one of the issuers", { iss = "me" }, { issuer = { "you", "me" } } },
    { "another issuer", { iss = "me" }, { issuer = "you" }, "it is of another issuer" },
    { "no issuer", {}, { issuer = "you" }, "it is of another issuer" },
    { "the audience", { aud = "api" }, { audience = "api" } }, { "several audiences", { aud = { "x", "api" } },
    { audience = { "api", "y" } } },
    { "another audience", { aud = { "x" } }, { audience = "api" }, "it is for another audience" },
    { "no audience", {}, { audience = "api" }, "it is for another audience" },
    { "a claim that is asked for", { team = "a" }, { required_claims = { "exp", "team" } } },
    { "a claim that is null", { team = json.null }, { required_claims = { "team" } }, "the claim team is missing" },
  } do
    it("meets " .. case[1], function()
      local config = { secret = SECRET }
      for name, value in pairs(case[3]) do config[name] = value end
      local app = app_with(config)
      local claims = {}
      for name, value in pairs(case[2]) do claims[name] = value end
      local response = app:get("/", { headers = bearer(token(claims)) })
      if not case[4] then return assert.equal(200, response.status) end
      assert.equal(401, response.status)
      assert.equal(case[4], response.json.error)
      assert.equal(('Bearer realm="gateway", error="invalid_token", error_description="%s"'):format(case[4]),
        response.headers["www-authenticate"])
    end)
  end

  local good = '{"sub":"a","exp":' .. NOW + 60 .. "}"
  local secret = crypto.secret(SECRET)
  local function signed(head, payload) return token_of(head, payload or good, "HS256", secret) end
  for _, case in ipairs { -- what, token, what is wrong
    { "nothing", "", "there is no token" }, { "another word", "abc", "it is no token" }, { "two parts", "a.b", "it is no token" },
    { "four parts", signed '{"alg":"HS256"}' .. ".x", "it is no token" }, { "a head that is no JSON", signed "{", "it is no token" },
    { "a head that is a list", signed "[1]", "it is no token" }, { "no algorithm", signed "{}", "it is no token" },
    { "an algorithm twice", signed '{"alg":"HS256","alg":"HS256"}', "it is no token" },
    { "an algorithm that is none", signed '{"alg":5}', "it is no token" },
    { "none", base64.encode_url '{"alg":"none"}' .. "." .. base64.encode_url(good) .. ".", "its algorithm is not taken here" },
    { "None", base64.encode_url '{"alg":"None"}' .. "." .. base64.encode_url(good) .. ".", "its algorithm is not taken here" },
    { "no signature", base64.encode_url '{"alg":"HS256"}' .. "." .. base64.encode_url(good) .. ".", "its signature is not valid" },
    { "padding", signed '{"alg":"HS256"}' .. "=", "it is no token" },
    { "critical extensions", signed '{"alg":"HS256","crit":["b64"],"b64":false}', "it needs extensions that are not known" },
    { "another secret", token_of('{"alg":"HS256"}', good, "HS256", crypto.secret "another"), "its signature is not valid" },
    { "another algorithm than it was signed with", token_of('{"alg":"HS512"}', good, "HS256", secret), "its signature is not valid" },
    { "claims that are none", signed('{"alg":"HS256"}', "5"), "its claims cannot be read" },
    { "claims that stand there twice", signed('{"alg":"HS256"}', '{"exp":1,"exp":9999999999}'), "its claims cannot be read" },
    { "a key id that is none", signed '{"alg":"HS256","kid":5}', "it is no token" },
  } do
    it("refuses " .. case[1], function()
      local app, backend = app_with { secret = SECRET }
      local response = app:get("/", { headers = bearer(case[2]) })
      assert.equal(401, response.status)
      assert.equal(case[3], response.json.error)
      assert.equal(0, #backend.requests)
    end)
  end

  it("never takes a public key for a secret", function()
    local app = app_with { public_key = keys.rsa_public }
    for _, text in ipairs { keys.rsa_public, (keys.rsa_public:gsub("\n$", "")) } do
      local response = app:get("/", { headers = bearer(token({}, "HS256", crypto.secret(text))) })
      assert.equal("its signature is not valid", response.json.error)
    end
  end)

  it("takes the algorithms that are allowed", function()
    local app = app_with { public_key = keys.rsa_public, algorithms = { "PS256" } }
    local key = crypto.key(keys.rsa)
    assert.equal(200, app:get("/", { headers = bearer(token({}, "PS256", key)) }).status)
    assert.equal("its algorithm is not taken here", app:get("/", { headers = bearer(token({}, "RS256", key)) }).json.error)
  end)

  it("chooses among keys by their id and kind", function()
    local app = app_with { keys = {
      { id = "one", secret = SECRET }, { id = "two", public_key = keys.p256_public },
      { jwk = { kty = "oct", k = base64.encode_url "another secret, longer", kid = "three", alg = "HS512" } },
    } }
    local function status(...) return app:get("/", { headers = bearer(token({}, ...)) }).status end
    local three = crypto.secret "another secret, longer"
    assert.equal(200, status("HS256", nil, { kid = "one" }))
    assert.equal(200, status("HS256"))
    assert.equal(401, status("HS256", nil, { kid = "two" }))
    assert.equal(401, status("HS256", nil, { kid = "none" }))
    assert.equal(200, status("ES256", crypto.key(keys.p256), { kid = "two" }))
    assert.equal(200, status("ES256", crypto.key(keys.p256)))
    assert.equal(200, status("HS512", three, { kid = "three" }))
    assert.equal(401, status("HS256", three, { kid = "three" }))
  end)

  for _, case in ipairs { -- roles, claims, status
    { { any = { "admin", "editor" } }, { roles = { "editor" } }, 200 }, { { any = { "admin" } }, { roles = { "editor" } }, 403 },
    { { any = { "admin" } }, {}, 403 }, { { any = { "admin" } }, { roles = "user admin" }, 200 },
    { { all = { "read", "write" }, claim = "scope" }, { scope = "read write" }, 200 },
    { { all = { "read", "write" }, claim = "scope" }, { scope = "read" }, 403 },
    { { all = { "a" }, any = { "b" }, claim = "realm_access.roles" }, { realm_access = { roles = { "a", "b" } } }, 200 },
    { { any = { "a" }, claim = "realm_access.roles" }, { realm_access = 5 }, 403 },
    { { any = { "a" }, claim = "https://x.example/roles" }, { ["https://x.example/roles"] = { "a" } }, 200 },
    { { any = { "a" } }, { roles = json.null }, 403 },
  } do
    it(("answers %s, where %s is asked for, with %d"):format(json.encode(case[2]), json.encode(case[1]), case[3]), function()
      local app = app_with { secret = SECRET, roles = case[1] }
      local claims = {}
      for name, value in pairs(case[2]) do claims[name] = value end
      local response = app:get("/", { headers = bearer(token(claims)) })
      assert.equal(case[3], response.status)
      if case[3] == 403 then
        assert.truthy(response.headers["www-authenticate"]:find('error="insufficient_scope".*scope="'))
      end
    end)
  end

  it("tells the backend who it is, and clients cannot", function()
    local app, backend = app_with {
      secret = SECRET, consumer_claim = "user.name", hide_credentials = true,
      claims_to_headers = {
        email = "X-Email", roles = "X-Roles", admin = "X-Admin", level = "X-Level", bad = "X-Bad", object = "X-Object",
      },
    }
    local claims = {
      user = { name = "alice" }, email = "a@b.c", roles = { "x", "y" }, admin = true, level = 3, bad = "a\r\nb", object = { a = 1 },
    }
    local headers = bearer(token(claims))
    headers["X-Bad"], headers["X-Consumer"], headers["X-Object"] = "root", "root", "root"
    assert.equal(200, app:get("/", { headers = headers }).status)
    local got = backend.requests[1].headers
    assert.same({ "alice", "a@b.c", "x,y", "true", "3" },
    { got["x-consumer"], got["x-email"], got["x-roles"], got["x-admin"], got["x-level"] })
    assert.is_nil(got["x-bad"])
    assert.is_nil(got["x-object"])
    assert.is_nil(got.authorization)
    assert.equal("alice", app.access[1].consumer)
  end)

  it("lets requests without a token in where it is told to", function()
    local app, backend = app_with { secret = SECRET, optional = true, claims_to_headers = { email = "X-Email" } }
    assert.equal(200, app:get("/", { headers = { ["X-Consumer"] = "root", ["X-Email"] = "root" } }).status)
    assert.is_nil(backend.requests[1].headers["x-consumer"])
    assert.is_nil(backend.requests[1].headers["x-email"])
    assert.equal(401, app:get("/", { headers = bearer "x.y.z" }).status)
  end)

  it("finds the token in a cookie, the query and a header of its own", function()
    local app, backend = app_with { secret = SECRET, cookie = "t", query = "jwt", header = "x-token", hide_credentials = true }
    local text = token({ sub = "alice" })
    for _, options in ipairs {
      { headers = { Cookie = "a=1; t=" .. text } }, { path = "/?x=1&jwt=" .. text }, { headers = { ["X-Token"] = text } },
    } do
      assert.equal(200, app:request(options).status)
      local got = backend.requests[#backend.requests]
      assert.falsy(got.target:find(text, 1, true))
      assert.falsy((got.headers.cookie or ""):find(text, 1, true))
      assert.is_nil(got.headers["x-token"])
    end
    local response = app:get("/?jwt=" .. text, { headers = { ["X-Token"] = text } })
    assert.equal(401, response.status)
    assert.truthy(response.headers["www-authenticate"]:find('error="invalid_request"', 1, true))
    assert.equal('Bearer realm="gateway"', app:get("/").headers["www-authenticate"])
  end)

  for _, case in ipairs {
    { "no keys", {}, "secret" }, { "a short secret", { secret = "short" }, "16" }, { "a key that is none", { public_key = "x" }, "BEGIN" },
    { "a short RSA key", { public_key = keys.rsa_1024 }, "2048" },
    { "two in one", { keys = { { secret = SECRET, public_key = keys.rsa_public } } },
      "exclusive" },
    { "a JSON Web Key that is none", { keys = { { jwk = { kty = "RSA" } } } }, '"n"' },
    { "an unknown algorithm", { secret = SECRET, algorithms = { "none" } }, "RS256" },
    { "roles of nothing", { secret = SECRET, roles = {} }, "any" },
    { "no place", { secret = SECRET, header = false }, "neither query nor cookie" },
  } do
    it("refuses " .. case[1], function()
      local fine, problem = pcall(app_with, case[2])
      assert.is_false(fine)
      if case[3] ~= "exclusive" then assert.truthy(tostring(problem):find(case[3], 1, true), problem) end
      assert.falsy(tostring(problem):find(SECRET, 1, true))
    end)
  end
end)
