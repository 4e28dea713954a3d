-- plugins/hmac-auth.lua

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local base64 = require "gateway.base64"
local crypto = require "gateway.crypto"
local testing = require "gateway.testing"

local SECRET = "an adequate secret"
local NOW = 1769860800 -- Sat, 31 Jan 2026 12:00:00 GMT
local DATE = "Sat, 31 Jan 2026 12:00:00 GMT"

local function app_with(config)
  local backend = testing.upstream { body = "hi" }
  local all = { secrets = { alice = SECRET } }
  for key, value in pairs(config or {}) do all[key] = value end
  local app = testing.app(function(gateway)
    gateway.route "/" { use = { gateway.plugin("hmac-auth", all) }, to = backend }
  end, { now = NOW })
  return app, backend
end

-- The Authorization field for lines, as a client writes them by hand.
local function sign(lines, more)
  more = more or {}
  local names = {}
  for i, line in ipairs(lines) do names[i] = line:match("^(.-): ") end
  local algorithm = more.algorithm or "hmac-sha256"
  local signature = base64.encode(crypto.hmac(algorithm:match("%-(.*)"), more.secret or SECRET, table.concat(lines, "\n")))
  return ('%s %s="%s", algorithm="%s", headers="%s", signature="%s"'):format(more.scheme or "Signature", more.key or "keyId",
    more.id or "alice", algorithm, more.names or table.concat(names, " "), more.signature or signature)
end

local target, host, date = "(request-target): get /a?b=1", "host: gateway.test", "date: " .. DATE
local function digest_of(body) return "SHA-256=" .. base64.encode(crypto.sha256(body)) end

describe("hmac-auth", function()
  it("signs as documented", function() -- computed with: openssl dgst -sha256 -hmac
    local command = "printf '%%s' '%s\n%s\n%s' | openssl dgst -sha256 -hmac '%s' -binary | base64 -w0"
    local pipe = io.popen(command:format(target, host, date, SECRET))
    local signature = pipe:read("*a")
    pipe:close()
    if signature == "" then return pending("there is no openssl command") end
    assert.equal(signature, sign({ target, host, date }):match('signature="(.-)"'))
  end)

  local good = { target, host, date }
  for _, case in ipairs { -- what, config, Authorization, other headers, status or what is wrong
    { "a signature", {}, sign(good), { Date = DATE } },
    { "the other scheme", {}, sign(good, { scheme = "hmac", key = "username" }), { Date = DATE } },
    { "SHA-512", {}, sign(good, { algorithm = "hmac-sha512" }), { Date = DATE } },
    { "X-Date", {}, sign { target, host, "x-date: " .. DATE }, { ["X-Date"] = DATE } },
    { "a date within bounds", { clock_skew = 60 }, sign { target, host, "date: Sat, 31 Jan 2026 11:59:00 GMT" },
      { Date = "Sat, 31 Jan 2026 11:59:00 GMT" } },
    { "more fields", {}, sign { target, host, date, "x-a: 1" }, { Date = DATE, ["X-A"] = "1" } },
    { "the digest of no body", {}, sign { target, host, date, "digest: " .. digest_of "" }, { Date = DATE, Digest = digest_of "" } },
    { "no signature", {}, nil, {}, "the request is not signed" },
    { "something else", {}, "Basic YTpi", {}, "the Authorization field is no signature" },
    { "half a signature", {}, 'Signature keyId="alice"', {}, "the Authorization field is no signature" },
    { "a name twice", {}, 'Signature keyId="alice", keyId="bob", signature="x"', {}, "the Authorization field is no signature" },
    { "another secret", {}, sign(good, { secret = "another secret, too" }), { Date = DATE }, "the signature is not valid" },
    { "an unknown name", {}, sign(good, { id = "eve" }), { Date = DATE }, "the signature is not valid" },
    { "another method", {}, sign { "(request-target): post /a?b=1", host, date }, { Date = DATE }, "the signature is not valid" },
    { "another query", {}, sign { "(request-target): get /a?b=2", host, date }, { Date = DATE }, "the signature is not valid" },
    { "another date than was signed", {}, sign(good), { Date = "Sat, 31 Jan 2026 12:00:01 GMT" }, "the signature is not valid" },
    { "an old date", {}, sign { target, host, "date: Sat, 31 Jan 2026 11:54:59 GMT" }, { Date = "Sat, 31 Jan 2026 11:54:59 GMT" },
      "the date is too far from now" },
    { "a late date", {}, sign { target, host, "date: Sat, 31 Jan 2026 12:05:01 GMT" }, { Date = "Sat, 31 Jan 2026 12:05:01 GMT" },
      "the date is too far from now" },
    { "no date", {}, sign { target, host, date }, { Date = "yesterday" }, "the date cannot be read" },
    { "too little", {}, sign { target, date }, { Date = DATE }, "the signature must cover host" },
    { "a field that is not there", {}, sign { target, host, date, "x-a: 1" },
    { Date = DATE }, "the signature covers x-a, which is not there" },
    { "a field twice", {}, sign(good, { names = "(request-target) host date date" }), { Date = DATE }, "the signature names date twice" },
    { "SHA-1", {}, sign(good):gsub("hmac%-sha256", "hmac-sha1"), { Date = DATE }, "the signature's algorithm is not taken here" },
    { "an algorithm that is not taken", { algorithms = { "hmac-sha512" } }, sign(good), { Date = DATE },
      "the signature's algorithm is not taken here" },
  } do
    it("meets " .. case[1], function()
      local app, backend = app_with(case[2])
      local headers = { Authorization = case[3] }
      for name, value in pairs(case[4]) do headers[name] = value end
      local response = app:get("/a?b=1", { headers = headers })
      if case[5] then
        assert.equal(case[5], response.json.error)
        assert.equal(401, response.status)
        assert.truthy(response.headers["www-authenticate"]:find('^Signature realm="gateway", headers="%(request%-target%) host date"$'))
        assert.equal(0, #backend.requests)
      else
        assert.equal(200, response.status)
        assert.equal("alice", backend.requests[1].headers["x-consumer"])
        assert.is_nil(backend.requests[1].headers.authorization)
      end
    end)
  end

  local posted = "(request-target): post /"
  for _, case in ipairs { -- config, Digest, body, lines, error
    { {}, digest_of "text", "text", true }, { {}, digest_of "texT", "text", true, "the digest is not the body's" },
    { {}, nil, "text", false, "the signature must cover digest" },
    { {}, digest_of "text", "text", false, "the signature must cover digest" },
    { {}, "MD5=abc", "text", true, "expected Digest: SHA-256=..." }, { {}, nil, "", false },
    { { body = "when_signed" }, nil, "text", false },
    { { body = "when_signed" }, digest_of "x", "text", true, "the digest is not the body's" },
    { { body = "ignored" }, digest_of "x", "text", true },
  } do
    it(("has a body %q with %s, %s"):format(case[3], tostring(case[2]), case[5] or "which is fine"), function()
      local app, backend = app_with(case[1])
      local lines = { posted, host, date, case[4] and "digest: " .. case[2] or nil }
      local response = app:post("/", { body = case[3], headers = { Date = DATE, Digest = case[2], Authorization = sign(lines) } })
      assert.equal(case[5], response.status ~= 200 and response.json.error or nil)
      if not case[5] then assert.equal(case[3], backend.requests[1].body) end
    end)
  end

  it("takes a chunked body without its digest for one", function()
    local app = app_with()
    local headers = { Date = DATE, Authorization = sign { posted, host, date } }
    local response = app:post("/", { body = "text", chunked = true, headers = headers })
    assert.equal("the signature must cover digest", response.json.error)
  end)

  it("lets a signature count once where it is told to", function()
    local app = app_with { replay = "hmac-spec" }
    local headers = { Date = DATE, Authorization = sign { "(request-target): get /", host, date } }
    assert.equal(200, app:get("/", { headers = headers }).status)
    local again = app:get("/", { headers = headers })
    assert.equal(401, again.status)
    assert.equal("the request was made before", again.json.error)
    headers.Authorization = sign { "(request-target): get /other", host, date }
    assert.equal(200, app:get("/other", { headers = headers }).status)
  end)

  for _, case in ipairs {
    { { secrets = { alice = "short" } }, "16" }, { { secrets = {} }, "secrets" }, { { signed = { "Host" } }, "in lower case" },
    { { algorithms = { "hmac-sha1" } }, "hmac-sha256" }, { { replay = true }, "replay" },
  } do
    it("refuses a config that is wrong: " .. case[2], function()
      local fine, problem = pcall(app_with, case[1])
      assert.is_false(fine)
      assert.truthy(tostring(problem):find(case[2], 1, true), problem)
    end)
  end
end)
