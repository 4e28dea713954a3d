-- response-cache: what is kept, for whom, for how long, and what is asked anew. In virtual time.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local T0 = 1700000000 -- Tue, 14 Nov 2023 22:13:20 GMT

local app, backend, answers

-- An app whose backend gives answers(request), with a counter in the body.
local function start(config, more)
  answers = { headers = { ["Cache-Control"] = "max-age=60" } }
  local count = 0
  backend = testing.upstream(function(request)
    count = count + 1
    local answer = type(answers) == "function" and answers(request) or answers
    local out = { body = answer.body or tostring(count) }
    for key, value in pairs(answer) do out[key] = value end
    return out
  end)
  app = testing.app(function(gateway)
    local use = { gateway.plugin("response-cache", config) }
    if more then use[2] = more(gateway) end
    gateway.route "/" { use = use, to = backend }
  end, { now = T0 })
end

local function get(path, headers)
  return app:request { path = path or "/", headers = headers }
end

-- "HIT 1": how it was answered, and the body.
local function told(response)
  return (response.headers["x-cache"] or "-") .. " " .. (response.status == 200 and response.body or response.status)
end

describe("response-cache", function()
  it("gives an answer again while it is fresh, with its age", function()
    start()
    assert.equal("MISS 1", told(get()))
    app.clock:advance(59)
    local response = get()
    assert.equal("HIT 1", told(response))
    assert.equal("59", response.headers.age)
    assert.equal("max-age=60", response.headers["cache-control"])
    app.clock:advance(1)
    assert.equal("MISS 2", told(get()))
    assert.equal(2, #backend.requests)
  end)

  it("keeps fields, repeated ones too, and bodies of any bytes", function()
    start()
    local body = ("\0\n\r\n:\255"):rep(1000)
    answers = { body = body }
    answers.headers = { ["Cache-Control"] = "max-age=60", Link = { "<a>", "<b>" }, ["X-Empty"] = "", ["X-Colon"] = "a: b" }
    get()
    local response = get()
    assert.equal("HIT", response.headers["x-cache"])
    assert.equal(body, response.body)
    assert.same({ "<a>", "<b>" }, response.headers:all "link")
    assert.same({ "", "a: b" }, { response.headers["x-empty"], response.headers["x-colon"] })
    assert.is_nil(response.headers["content-type"])
  end)

  it("answers HEAD from what GET has stored, and stores nothing for HEAD", function()
    start()
    assert.equal("MISS", app:request({ method = "HEAD" }).headers["x-cache"])
    get()
    local response = app:request { method = "HEAD" }
    assert.equal("HIT", response.headers["x-cache"])
    assert.equal("", response.body)
    assert.equal(2, #backend.requests)
  end)

  describe("stores", function()
    local now, later = "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:50 GMT"
    -- what stands in the answer; seconds for which it is given again (0: not at all)
    for _, case in ipairs {
      { "max-age", { ["Cache-Control"] = "max-age=10" }, 10 },
      { "s-maxage before max-age", { ["Cache-Control"] = "max-age=10, s-maxage=20" }, 20 },
      { "in capitals and quotes", { ["Cache-Control"] = 'Public , MAX-AGE="10"' }, 10 },
      { "the stricter of two", { ["Cache-Control"] = { "max-age=50", "max-age=10" } }, 10 },
      { "Expires", { Expires = later, Date = now }, 30 },
      { "Expires without Date", { Expires = later }, 30 },
      { "max-age before Expires", { ["Cache-Control"] = "max-age=10", Expires = later, Date = now }, 10 },
      { "an age behind it", { ["Cache-Control"] = "max-age=60", Age = "50" }, 10 },
      { "nothing said", {}, 0 },
      { "Expires that is no date", { Expires = "0" }, 0 },
      { "Expires in the past", { Expires = "Tue, 14 Nov 2023 22:13:19 GMT" }, 0 },
      { "max-age that is no number", { ["Cache-Control"] = "max-age=x" }, 0 },
      { "no-store", { ["Cache-Control"] = "max-age=60, no-store" }, 0 },
      { "private", { ["Cache-Control"] = "max-age=60, private" }, 0 },
      { "no-cache", { ["Cache-Control"] = "max-age=60, no-cache" }, 0 },
      { "Vary: *", { ["Cache-Control"] = "max-age=60", Vary = "*" }, 0 },
      { "Set-Cookie", { ["Cache-Control"] = "max-age=60", ["Set-Cookie"] = "a=b" }, 0 },
      { "a stream of events", { ["Cache-Control"] = "max-age=60", ["Content-Type"] = "text/event-stream" }, 0 },
    } do
      local name, headers, seconds = unpack(case)
      it(("%s: %d s"):format(name, seconds), function()
        start()
        answers = { headers = headers }
        get()
        app.clock:advance(math.max(0, seconds - 1))
        assert.equal(seconds > 0 and "HIT 1" or "MISS 2", told(get()))
        app.clock:advance(1)
        local third = get()
        assert.equal(seconds > 0 and "MISS 2" or "MISS 3", told(third))
      end)
    end
    for status, kept in pairs { [200] = true, [301] = true, [404] = true, [410] = true, [302] = false, [500] = false, [403] = false } do
      it(("status %d: %s"):format(status, tostring(kept)), function()
        start()
        answers = { status = status, headers = { ["Cache-Control"] = "max-age=60" } }
        get()
        assert.equal(kept and "HIT" or "MISS", get().headers["x-cache"])
        assert.equal(status, get().status)
      end)
    end
    it("what says nothing, for default_ttl", function()
      start { default_ttl = "20s" }
      answers = {}
      get()
      app.clock:advance(19)
      assert.equal("HIT 1", told(get()))
      app.clock:advance(1)
      assert.equal("MISS 2", told(get()))
    end)
    it("nothing longer than max_body, and passes it on whole", function()
      start { max_body = 1000 }
      for _, chunked in ipairs { false, true } do
        local long = ("x"):rep(1001)
        answers = { body = long, chunked = chunked, headers = { ["Cache-Control"] = "max-age=60" } }
        assert.is_true(long == get("/long").body)
        assert.equal("MISS", get("/long").headers["x-cache"])
        answers.body = { long:sub(1, 600), 0.1, long:sub(601), 0.1, long }
        if chunked then assert.is_true(long .. long == get("/long").body) end
      end
      answers.body = ("x"):rep(1000)
      get "/short"
      assert.equal("HIT", get("/short").headers["x-cache"])
    end)
    it("nothing that broke off", function()
      start()
      answers = { body = "half", reset = "body", headers = { ["Cache-Control"] = "max-age=60" } }
      pcall(get)
      answers = { body = "whole", headers = { ["Cache-Control"] = "max-age=60" } }
      assert.equal("MISS whole", told(get()))
    end)
    it("Set-Cookie without the cookie, where told to", function()
      start { store_cookies = true }
      answers = { headers = { ["Cache-Control"] = "max-age=60", ["Set-Cookie"] = "a=b" } }
      assert.equal("a=b", get().headers["set-cookie"])
      local response = get()
      assert.equal("HIT 1", told(response))
      assert.is_nil(response.headers["set-cookie"])
    end)
  end)

  it("keeps answers to requests with credentials only where the answer allows it", function()
    start()
    local credentials = { Authorization = "Bearer x" }
    get("/", credentials)
    assert.equal("MISS 2", told(get("/", credentials)))
    for i, directive in ipairs { "public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate" } do
      answers = { headers = { ["Cache-Control"] = directive } }
      get("/" .. i, credentials)
      assert.equal("HIT", get("/" .. i, credentials).headers["x-cache"])
    end
  end)

  it("keeps apart what differs by URL, host and the fields in Vary", function()
    start()
    assert.equal("MISS 1", told(get "/a"))
    assert.equal("MISS 2", told(get "/b"))
    assert.equal("MISS 3", told(get "/a?x=1"))
    assert.equal("MISS 4", told(app:request { path = "/a", host = "other.test" }))
    assert.equal("HIT 1", told(get "/a"))
    answers = { headers = { ["Cache-Control"] = "max-age=60", Vary = "Accept-Language, accept-encoding" } }
    assert.equal("MISS 5", told(get("/v", { ["Accept-Language"] = "de" })))
    assert.equal("MISS 6", told(get("/v", { ["Accept-Language"] = "en" })))
    assert.equal("MISS 7", told(get("/v", { ["Accept-Language"] = "de", ["Accept-Encoding"] = "gzip" })))
    assert.equal("MISS 8", told(get "/v"))
    assert.equal("HIT 5", told(get("/v", { ["Accept-Language"] = "de" })))
    assert.equal("HIT 6", told(get("/v", { ["Accept-Language"] = "en", ["User-Agent"] = "x" })))
    assert.equal("HIT 7", told(get("/v", { ["Accept-Encoding"] = "gzip", ["Accept-Language"] = "de" })))
    assert.equal("HIT 8", told(get "/v"))
  end)

  it("goes by the fields as they came in, whatever middleware behind it makes of them", function()
    start(nil, function() return function(request, next)
      request.headers["Accept-Language"] = "xx"
      return next()
    end end)
    answers = { headers = { ["Cache-Control"] = "max-age=60", Vary = "Accept-Language" } }
    get("/", { ["Accept-Language"] = "de" })
    assert.equal("HIT 1", told(get("/", { ["Accept-Language"] = "de" })))
    assert.equal("MISS 2", told(get("/", { ["Accept-Language"] = "en" })))
  end)

  it("makes keys as it is told", function()
    start { query = "sorted", key_headers = { "X-Tenant" }, key_cookies = { "region" }, bypass_cookies = { "session" } }
    get "/?b=2&a=1"
    assert.equal("HIT 1", told(get "/?a=1&b=2"))
    assert.equal("MISS 2", told(get("/?a=1&b=2", { ["X-Tenant"] = "t" })))
    assert.equal("MISS 3", told(get("/?a=1&b=2", { Cookie = "region=eu" })))
    assert.equal("BYPASS 4", told(get("/?a=1&b=2", { Cookie = "session=1" })))
    local long = "/?" .. ("x"):rep(3000)
    assert.equal("MISS 5", told(get(long)))
    assert.equal("HIT 5", told(get(long)))
    assert.equal("MISS 6", told(get(long .. "y")))
  end)

  describe("heeds the request:", function()
    for _, case in ipairs {
      { "no-cache asks anew, and stores", { ["Cache-Control"] = "no-cache" }, "MISS 2", "HIT 2" },
      { "Pragma: no-cache likewise", { Pragma = "no-cache" }, "MISS 2", "HIT 2" },
      { "no-store keeps out of it", { ["Cache-Control"] = "no-store" }, "BYPASS 2", "HIT 1" },
      { "max-age takes no older one", { ["Cache-Control"] = "max-age=29" }, "MISS 2", "HIT 2" },
      { "max-age takes a younger one", { ["Cache-Control"] = "max-age=30" }, "HIT 1", "HIT 1" },
      { "min-fresh wants it fresh for long", { ["Cache-Control"] = "min-fresh=31" }, "MISS 2", "HIT 2" },
      { "a range is not from here", { Range = "bytes=0-1" }, "BYPASS 2", "HIT 1" },
      { "only-if-cached finds it", { ["Cache-Control"] = "only-if-cached" }, "HIT 1", "HIT 1" },
    } do
      local name, headers, first, second = unpack(case)
      it(name, function()
        start()
        get()
        app.clock:advance(30)
        assert.equal(first, told(get("/", headers)))
        assert.equal(second, told(get()))
      end)
    end
    it("only-if-cached does not find it", function()
      start()
      assert.equal(504, get("/", { ["Cache-Control"] = "only-if-cached" }).status)
      assert.equal(0, #backend.requests)
    end)
    it("max-stale takes a stale one, unless the answer forbids it", function()
      start()
      answers = { headers = { ["Cache-Control"] = "max-age=10", ETag = '"1"' } }
      get()
      app.clock:advance(20)
      assert.equal("STALE 1", told(get("/", { ["Cache-Control"] = "max-stale=10" })))
      assert.equal("MISS 2", told(get("/", { ["Cache-Control"] = "max-stale=9" })))
      answers = { headers = { ["Cache-Control"] = "max-age=10, must-revalidate", ETag = '"1"' } }
      get "/strict"
      app.clock:advance(20)
      assert.equal("MISS 4", told(get("/strict", { ["Cache-Control"] = "max-stale" })))
    end)
    it("not, where told so", function()
      start { client_directives = false }
      get()
      assert.equal("HIT 1", told(get("/", { ["Cache-Control"] = "no-cache, no-store" })))
    end)
  end)

  describe("conditions:", function()
    local modified = "Tue, 14 Nov 2023 20:00:00 GMT"
    before_each(function()
      start()
      answers = { headers = { ["Cache-Control"] = "max-age=60", ETag = 'W/"one"', ["Last-Modified"] = modified, ["X-More"] = "x" } }
    end)
    for _, case in ipairs {
      { 'If-None-Match: "one"', { ["If-None-Match"] = '"one"' }, 304 },
      { 'a list of tags', { ["If-None-Match"] = '"zero", W/"one"' }, 304 },
      { "any", { ["If-None-Match"] = "*" }, 304 },
      { "another tag", { ["If-None-Match"] = '"two"' }, 200 },
      { "a tag goes before a date", { ["If-None-Match"] = '"two"', ["If-Modified-Since"] = modified }, 200 },
      { "the same date", { ["If-Modified-Since"] = modified }, 304 },
      { "a later date, in an old form", { ["If-Modified-Since"] = "Tuesday, 14-Nov-23 20:00:01 GMT" }, 304 },
      { "an earlier date", { ["If-Modified-Since"] = "Tue Nov 14 19:59:59 2023" }, 200 },
      { "no date", { ["If-Modified-Since"] = "yesterday" }, 200 },
    } do
      local name, headers, status = unpack(case)
      it(name, function()
        for _, word in ipairs { "MISS", "HIT" } do
          local response = get("/", headers)
          assert.equal(status, response.status)
          assert.equal(word, response.headers["x-cache"])
          assert.equal('W/"one"', response.headers.etag)
          assert.equal(status == 304 and "" or "1", response.body)
          assert.equal(status == 200 and "x" or nil, word == "HIT" and response.headers["x-more"] or status == 200 and "x" or nil)
        end
        assert.equal(1, #backend.requests)
        assert.is_nil(backend.requests[1].headers["if-none-match"]) -- asked whole, so that it can be stored
      end)
    end

    it("a stale one is confirmed by the backend, and fresh again", function()
      get()
      app.clock:advance(60)
      answers = function(request)
        assert.equal('W/"one"', request.headers["if-none-match"])
        assert.equal(modified, request.headers["if-modified-since"])
        return { status = 304, body = "", headers = { ["Cache-Control"] = "max-age=30", ETag = 'W/"one"', ["X-More"] = "y" } }
      end
      local response = get()
      assert.equal("REVALIDATED 1", told(response))
      assert.equal("y", response.headers["x-more"])
      app.clock:advance(29)
      response = get()
      assert.equal("HIT 1", told(response))
      assert.equal("y", response.headers["x-more"])
      assert.equal("29", response.headers.age)
      app.clock:advance(1)
      assert.equal(304, get("/", { ["If-None-Match"] = '"one"' }).status)
    end)
  end)

  it("gives a stale answer when the backend fails, for as long as told", function()
    start()
    answers = { headers = { ["Cache-Control"] = "max-age=10, stale-if-error=20" } }
    get()
    app.clock:advance(10)
    for _, failure in ipairs { { status = 503 }, { status = 500 }, { reset = true } } do
      answers = failure
      assert.equal("STALE 1", told(get()))
      app.clock:advance(2)
    end
    app.clock:advance(14)
    answers = { status = 503 }
    assert.equal("MISS 503", told(get()))
  end)

  describe("one flight:", function()
    local function flight(n, path, headers)
      local pending = {}
      for i = 1, n do pending[i] = app:start { path = path or "/", headers = headers and headers[i] } end
      local out = {}
      for i = 1, n do out[i] = told(pending[i]:wait()) end
      table.sort(out)
      return out
    end
    it("those who ask for the same thing at once wait for the first", function()
      start()
      answers = { delay = 2, headers = { ["Cache-Control"] = "max-age=60" } }
      assert.same({ "HIT 1", "HIT 1", "HIT 1", "MISS 1" }, flight(4))
      assert.equal(1, #backend.requests)
      assert.is_true(app.clock:elapsed() < 2.3)
    end)
    it("but not for what cannot be stored, and then not again", function()
      start()
      answers = { delay = 1, headers = { ["Cache-Control"] = "no-store" } }
      assert.same({ "MISS 1", "MISS 2", "MISS 3" }, flight(3))
      assert.is_true(app.clock:elapsed() < 2.3)
      flight(3)
      assert.is_true(app.clock:elapsed() < 3.5)
    end)
    it("nor for longer than told", function()
      start { wait = 1 }
      answers = { delay = 5, headers = { ["Cache-Control"] = "max-age=60" } }
      flight(3)
      assert.equal(3, #backend.requests)
      assert.is_true(app.clock:elapsed() < 6.3)
    end)
    it("nor for one whose client went away", function()
      start()
      answers = { delay = 3, headers = { ["Cache-Control"] = "max-age=60" } }
      local first = app:start "/"
      app.clock:advance(0.5)
      local second = app:start "/"
      app.clock:advance(0.5)
      first:abort()
      assert.equal("MISS 2", told(second:wait()))
      assert.is_true(app.clock:elapsed() < 4.5)
    end)
    it("each asks where it is told so", function()
      start { wait = 0 }
      answers = { delay = 1, headers = { ["Cache-Control"] = "max-age=60" } }
      flight(3)
      assert.equal(3, #backend.requests)
    end)
    it("a stale answer is given while one asks anew", function()
      start()
      answers = { headers = { ["Cache-Control"] = "max-age=10, stale-while-revalidate=30" } }
      get()
      app.clock:advance(20)
      answers = { delay = 2, headers = { ["Cache-Control"] = "max-age=10, stale-while-revalidate=30" } }
      local out = flight(4)
      assert.same({ "STALE 1", "STALE 1", "STALE 1" }, { out[#out - 2], out[#out - 1], out[#out] })
      app.clock:advance(3)
      assert.equal("HIT 2", told(get()))
      assert.equal(2, #backend.requests)
      app.clock:advance(41)
      assert.equal("MISS 3", told(get()))
    end)
  end)

  it("lets a change of the thing remove what is stored", function()
    start()
    get "/thing"
    app:request { method = "POST", path = "/thing", body = "x" }
    assert.equal("MISS 3", told(get "/thing"))
    answers = { status = 409 }
    app:request { method = "DELETE", path = "/thing" }
    assert.equal("HIT 3", told(get "/thing"))
  end)

  it("forgets when it is full, and serves on", function()
    start { size = "1MB" }
    answers = { body = ("x"):rep(100000), headers = { ["Cache-Control"] = "max-age=60" } }
    for i = 1, 30 do assert.equal(100000, #get("/" .. i).body) end
    assert.equal("HIT", get("/30").headers["x-cache"])
    assert.equal("MISS", get("/1").headers["x-cache"])
  end)
  describe("of somebody", function()
    -- Both ways round: who it is, is known before the cache or behind it.
    local function start_for(auth_first, answer, second)
      local count = 0
      backend = testing.upstream(function(request)
        count = count + 1
        return { body = ("%d for %s"):format(count, tostring(request.headers["x-consumer"])), headers = answer }
      end)
      app = testing.app(function(gateway)
        local auth = gateway.plugin("key-auth", { keys = { a = "alice", b = "bob" }, anonymous = second })
        local cache = gateway.plugin("response-cache", {})
        gateway.route "/" { use = auth_first and { auth, cache } or { cache, auth }, to = backend }
      end, { now = T0 })
    end
    local function as(key, more)
      local options = { path = "/", headers = { ["X-API-Key"] = key } }
      for name, value in pairs(more or {}) do options[name] = value end
      return told(app:request(options))
    end

    it("an answer is for nobody else", function()
      start_for(true, { ["Cache-Control"] = "max-age=60" })
      assert.same({ "MISS 1 for alice", "MISS 2 for bob", "HIT 1 for alice", "HIT 2 for bob", "- 401" },
        { as "a", as "b", as "a", as "b", as "x" })
      app:request { method = "POST", path = "/", headers = { ["X-API-Key"] = "a" }, body = "x" }
      assert.same({ "MISS 4 for alice", "MISS 5 for bob" }, { as "a", as "b" }) -- a change is everybody's
    end)

    it("also when it differs by other fields", function()
      start_for(true, { ["Cache-Control"] = "max-age=60", Vary = "Accept-Language" })
      local function german(key) return as(key, { headers = { ["X-API-Key"] = key, ["Accept-Language"] = "de" } }) end
      assert.same({ "MISS 1 for alice", "MISS 2 for alice", "MISS 3 for bob", "HIT 2 for alice", "HIT 1 for alice" },
        { as "a", german "a", german "b", german "a", as "a" })
    end)

    it("is not kept where it is known only behind the cache whose it is, unless it says that it is for all", function()
      start_for(false, { ["Cache-Control"] = "max-age=60" })
      assert.same({ "MISS 1 for alice", "MISS 2 for bob", "MISS 401" }, { as "a", as "b", as "x" })
      start_for(false, { ["Cache-Control"] = "public, max-age=60" })
      assert.same({ "MISS 1 for alice", "HIT 1 for alice" }, { as "a", as "b" })
    end)
  end)

  it("gives again what a backend framed oddly", function()
    start()
    answers = { headers = { ["Cache-Control"] = "max-age=60", ["HTTP2-Settings"] = "x", Upgrade = "h2c", ["Keep-Alive"] = "x", TE = "a" } }
    assert.same({ "MISS 1", "HIT 1" }, { told(get()), told(get()) })
  end)

  it("steps aside for requests that may mean something else", function()
    start()
    get()
    for _, name in ipairs { "X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "X-Original-URL", "X-Rewrite-URL" } do
      assert.matches("^BYPASS", told(get("/", { [name] = "DELETE" })))
    end
    assert.equal("HIT 1", told(get()))
  end)

  it("fetches anew for clients whose fields a fetch does not take", function()
    start()
    answers = { headers = { ["Cache-Control"] = "max-age=10, stale-while-revalidate=60" } }
    get()
    app.clock:advance(20)
    assert.equal("STALE 1", told(get("/", { ["Proxy-Authorization"] = "x" })))
    app.clock:advance(1)
    assert.equal("HIT 2", told(get()))
  end)
end)
