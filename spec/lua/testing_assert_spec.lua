-- The words that gateway.testing adds to luassert, and the helpers beside the app.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local gateway = require "gateway"
local testing = require "gateway.testing"

local app

before_each(function()
  app = testing.app(function(g)
    g.route "/ok" { to = g.respond(200, { a = { b = 1 }, list = { 1, 2 } }, { ["X-One"] = "1" }) }
    g.route "/broken" { use = { function() error("oh no") end }, to = testing.upstream {} }
    g.route "/cut" { to = testing.upstream { reset = "body" } }
  end)
end)

after_each(function() assert.equal(404, app:get("/after").status) end) -- it is still there

-- What an assertion says when it fails.
local function failure(f)
  local good, message = pcall(f)
  assert.is_false(good)
  return type(message) == "table" and tostring(message.message or message[1] or message) or tostring(message)
end

describe("assert.response", function()
  it("is content with what is right", function()
    local response = app:get("/ok")
    assert.response(response).has.status(200)
    assert.response(response).has.header("x-one")
    assert.response(response).has.header("X-One", "1")
    assert.response(response).has.header("X-Request-ID", "^%x+$")
    assert.response(response).has.no.header("X-Two")
    assert.response(response).has.no.status(404)
    assert.response(response).has.json { a = { b = 1 }, list = { 1, 2 } }
    assert.response(response).has.body('"b":1')
    assert.response(response).is.complete()
    assert.response(app:get("/cut")).is_not.complete()
  end)

  for _, case in ipairs {
    { "a status", function(r) assert.response(r).has.status(201) end, "expected status 201, found 200\nthe body is {" },
    { "a header that is missing", function(r) assert.response(r).has.header("X-Two") end,
      "expected the header X-Two, found no such field" },
    { "a header's value", function(r) assert.response(r).has.header("X-One", "2") end, 'expected the header X-One: "2", found "1"' },
    { "a header that is there", function(r) assert.response(r).has.no.header("X-One") end, 'expected not the header X-One, found "1"' },
    { "JSON that differs", function(r) assert.response(r).has.json { a = { b = 2 }, list = { 1, 2 } } end, "JSON with a.b: 2, found 1" },
    { "JSON with more", function(r) assert.response(r).has.json { a = { b = 1 } } end, "nothing at list" },
    { "a body", function(r) assert.response(r).has.body("nope") end, 'expected the body "nope"' },
    { "no response", function() assert.response(7).has.status(1) end, "expected a response, found 7" },
  } do
    it("says what is wrong: " .. case[1], function()
      local response = app:get("/ok")
      local message = failure(function() case[2](response) end)
      assert.truthy(message:find(case[3], 1, true), message)
    end)
  end

  it("says what the gateway says", function()
    local response = app:get("/broken")
    local message = failure(function() assert.response(response).has.status(200) end)
    assert.truthy(message:find("found 500", 1, true), message)
    assert.truthy(message:find("oh no", 1, true), message)
    assert.truthy(message:find("testing_assert_spec.lua", 1, true), message)
  end)
end)

describe("assert.logged and assert.metric", function()
  it("look at the app", function()
    app:get("/ok")
    app:get("/broken")
    assert.logged(app, "script error")
    assert.logged(app, "oh no", "error")
    assert.is_not.logged(app, "never said")
    assert.metric(app, "gateway_requests_total", { route = "/ok", status = 200 }, 1)
    assert.metric(app, "gateway_requests_total", nil, 2)
    assert.is_not.metric(app, "gateway_nonsense_total")
  end)

  it("say what is there instead", function()
    app:get("/ok")
    app:get("/broken")
    local message = failure(function() assert.logged(app, "never said") end)
    assert.truthy(message:find('expected a log line with "never said"; the log is:', 1, true), message)
    assert.truthy(message:find("oh no", 1, true), message)
    message = failure(function() assert.metric(app, "gateway_requests_total", { route = "/ok" }, 5) end)
    assert.truthy(message:find("gateway_requests_total{route=/ok} to be 5, found 1", 1, true), message)
  end)

  it("know only their own app", function()
    app:get("/ok")
    local other = testing.app(function(g) g.route "/ok" { to = g.respond(200) } end)
    assert.is_not.metric(other, "gateway_requests_total", { route = "/ok", status = 200 })
    other:get("/ok")
    assert.metric(other, "gateway_requests_total", { route = "/ok", status = 200 }, 1)
    assert.metric(app, "gateway_requests_total", { route = "/ok", status = 200 }, 1)
  end)
end)

describe("testing.clock", function()
  it("is the time of primitives by hand", function()
    local clock = testing.clock()
    local bucket = gateway.token_bucket { rate = 1, burst = 1, clock = clock }
    assert.is_true((bucket:allow()))
    assert.is_false((bucket:allow()))
    clock:advance(1)
    assert.is_true((bucket:allow()))
  end)
end)

describe("testing.jwt", function()
  local base64, crypto = require "gateway.base64", require "gateway.crypto"

  for _, alg in ipairs { "HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA" } do
    it("signs by " .. alg, function()
      local token = testing.jwt { alg = alg, claims = { sub = "alice" }, header = { kid = "one" } }
      local head, claims, signature = token:match("^([^.]+)%.([^.]+)%.([^.]+)$")
      assert.truthy(base64.decode_url(head):find('"kid":"one"', 1, true))
      assert.equal('{"sub":"alice"}', base64.decode_url(claims))
      local public = testing.keys[alg].public
      local key = alg:find("^HS") and crypto.secret(public) or assert(crypto.key(public))
      assert.is_true(crypto.verify(alg, key, head .. "." .. claims, base64.decode_url(signature)))
    end)
  end

  it("takes another's key, and says what is wrong with it", function()
    assert.not_equal(testing.jwt { claims = {}, key = "x" }, testing.jwt { claims = {}, key = "y" })
    assert.has_error(function() testing.jwt { claims = {}, alg = "RS256", key = "no PEM" } end)
    assert.has_error(function() testing.jwt {} end)
  end)
end)
