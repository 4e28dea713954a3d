-- plugins/key-auth.lua

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" -- of "test"

local function app_with(config)
  local backend = testing.upstream { body = "hi" }
  local app = testing.app(function(gateway)
    gateway.route "/" { use = { gateway.plugin("key-auth", config) }, to = backend }
  end)
  return app, backend
end

describe("key-auth", function()
  local keys = { abc = "alice", ["b o+b"] = "bob", ["sha256:" .. DIGEST] = "carol" }

  for _, case in ipairs { -- config, path, headers, status, consumer, path and headers that the backend got
    { "a key in the header", {}, "/", { ["X-API-Key"] = "abc" }, 200, "alice" },
    { "a key that is stored as a digest", {}, "/", { ["x-api-key"] = "test" }, 200, "carol" },
    { "a digest instead of its key", {}, "/", { ["x-api-key"] = "sha256:" .. DIGEST }, 401 },
    { "no key", {}, "/", {}, 401 }, { "an unknown key", {}, "/", { ["x-api-key"] = "abd" }, 401 },
    { "an empty key", {}, "/", { ["x-api-key"] = "" }, 401 },
    { "two keys in fields of one name", {}, "/", { ["x-api-key"] = { "abc", "abc" } }, 401 },
    { "another header", { header = "x-key" }, "/", { ["x-key"] = "abc" }, 200, "alice" },
    { "the usual header where another is asked for", { header = "x-key" }, "/", { ["x-api-key"] = "abc" }, 401 },
    { "a key in the query", { query = "key" }, "/?a=1&key=b%20o%2Bb&b=2", {}, 200, "bob", "/?a=1&b=2" },
    { "a key in the query alone", { query = "key" }, "/?key=abc", {}, 200, "alice", "/" },
    { "a key in front", { query = "key" }, "/?key=abc&b=2", {}, 200, "alice", "/?b=2" },
    { "a key in the middle", { query = "key" }, "/?a=1&key=abc&b=2", {}, 200, "alice", "/?a=1&b=2" },
    { "a key at the end", { query = "key" }, "/?a&=x&key=abc", {}, 200, "alice", "/?a&=x" },
    { "other names that end or begin like it", { query = "key" }, "/?xkey=abc&keys=abc&a=key=abc", {}, 401 },
    { "the name alone", { query = "key" }, "/?key", {}, 401 },
    { "two, one of them empty", { query = "key" }, "/?key=abc&key", {}, 401 },
    { "a key in a name that is encoded", { query = "key" }, "/?%6Bey=abc", {}, 200, "alice", "/" },
    { "two keys in the query", { query = "key" }, "/?key=abc&key=abd", {}, 401 },
    { "a key in header and query", { query = "key" }, "/?key=abc", { ["x-api-key"] = "abc" }, 401 },
    { "a query where none is asked for", {}, "/?key=abc", {}, 401 },
    { "a key in a cookie", { cookie = "k", header = false }, "/", { Cookie = "a=1; k=abc; b=2" }, 200, "alice", "/",
      { cookie = "a=1; b=2" } },
    { "a header where only the cookie counts", { cookie = "k", header = false }, "/", { ["x-api-key"] = "abc" }, 401 },
    { "no key where there is somebody for it", { anonymous = "nobody" }, "/", {}, 200, "nobody" },
    { "a wrong key where there is somebody for none", { anonymous = "nobody" }, "/", { ["x-api-key"] = "x" }, 401 },
    { "who says whom it is", {}, "/", { ["x-api-key"] = "abc", ["X-Consumer"] = "root" }, 200, "alice" },
    { "who says whom it is in a name that backends may take for it", {}, "/",
      { ["x-api-key"] = "abc", X_Consumer = "root", ["x-CONSUMER"] = "root" }, 200, "alice", "/", { ["x_consumer"] = "" } },
    { "who says whom it is without a key", { anonymous = "nobody" }, "/", { ["x-consumer"] = "root" }, 200, "nobody" },
  } do
    it("meets " .. case[1], function()
      local config = { keys = keys }
      for k, v in pairs(case[2]) do config[k] = v end
      local app, backend = app_with(config)
      local response = app:get(case[3], { headers = case[4] })
      assert.equal(case[5], response.status)
      if case[5] == 401 then
        assert.equal('Key realm="gateway"', response.headers["www-authenticate"])
        assert.equal(0, #backend.requests)
        return
      end
      local got = backend.requests[1]
      assert.equal(case[6], got.headers["x-consumer"])
      assert.is_nil(got.headers["x-api-key"])
      if case[7] then assert.equal(case[7], got.target) end
      for name, value in pairs(case[8] or {}) do assert.equal(value, got.headers[name] or "") end
      assert.equal(case[6], app.access[#app.access].consumer)
    end)
  end

  it("leaves the key in where it is told to, and the consumer untold", function()
    local app, backend = app_with { keys = keys, hide_credentials = false, consumer_header = false }
    assert.equal(200, app:get("/", { headers = { ["x-api-key"] = "abc" } }).status)
    assert.equal("abc", backend.requests[1].headers["x-api-key"])
    assert.is_nil(backend.requests[1].headers["x-consumer"])
  end)

  for _, case in ipairs {
    { "no keys", {}, "keys" }, { "an empty list", { keys = {} }, "keys" },
    { "half a digest", { keys = { ["sha256:abcd"] = "x" } }, "sha256" },
    { "an empty key", { keys = { [""] = "x" } }, "empty" },
    { "a consumer with a line end", { keys = { a = "b\nc" } }, "control characters" },
    { "nowhere to look", { keys = keys, header = false }, "neither query nor cookie" },
    { "a header that is none", { keys = keys, header = "a b" }, "header" },
    { "a wrong name", { keys = keys, heder = "x" }, 'did you mean "header"' },
    { "a key that two have", { keys = { test = "a", ["sha256:" .. DIGEST] = "b" } }, "two consumers" },
  } do
    it("refuses " .. case[1], function()
      local good, problem = pcall(app_with, case[2])
      assert.is_false(good)
      assert.truthy(tostring(problem):find(case[3], 1, true), problem)
      assert.falsy(tostring(problem):find("abc", 1, true))
    end)
  end
end)
