-- request-transform and response-transform.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local function run(plugin, config, options, answer)
  local up = testing.upstream(answer or { status = 200 })
  local app = testing.app(function(gateway) gateway.route "/r/:id" { use = { gateway.plugin(plugin, config) }, to = up } end)
  options = options or {}
  options.path = options.path or "/r/7"
  return app:request(options), up.requests[1], app
end

local function refused(plugin, config, expected)
  local good, problem = pcall(run, plugin, config)
  assert.is_false(good)
  assert.is_truthy(tostring(problem):find(expected, 1, true), tostring(problem))
end

describe("request-transform", function()
  it("removes, renames, sets, adds and appends header fields", function()
    local _, seen = run("request-transform", { headers = {
      remove = { "X-Gone", "X-Never" }, rename = { ["X-Old"] = "X-New" },
      set = { ["X-Id"] = "${param.id}/${method}/${client_ip}/${header.X-Kept}", ["X-Kept"] = "changed" },
      add = { ["X-Kept"] = "not this", ["X-Added"] = "yes" }, append = { ["X-List"] = "2" },
    } }, { headers = { ["X-Gone"] = "1", ["X-Old"] = "old", ["X-Kept"] = "kept", ["X-List"] = "1" } })
    local h = seen.headers
    assert.is_nil(h["x-gone"])
    assert.is_nil(h["x-old"])
    assert.equal("old", h["x-new"])
    assert.equal("7/GET/127.0.0.1/kept", h["x-id"])
    assert.equal("changed", h["x-kept"])
    assert.equal("yes", h["x-added"])
    assert.equal("1, 2", h["x-list"])
  end)

  it("values from clients cannot end a field", function()
    local response, seen = run("request-transform", { headers = { set = { ["X-Q"] = "${query.q}" } } },
      { path = "/r/7?q=a%0d%0aX-Evil:%201" })
    assert.equal(200, response.status)
    assert.is_nil(seen.headers["x-evil"])
    assert.equal("a  X-Evil: 1", seen.headers["x-q"])
  end)

  for _, case in ipairs {
    { { remove = { "b" } }, "a=1&b=2&b=3&c", "a=1&c" },
    { { rename = { a = "z" } }, "a=1%2F&b=2", "z=1%2F&b=2" },
    { { set = { b = "x y" } }, "a=1&b=2&b=3", "a=1&b=x%20y" },
    { { add = { a = "2", n = "${param.id}" } }, "a=1", "a=1&n=7" },
    { { only = { "a" } }, "a=1&b=2&a=3", "a=1&a=3" },
    { { add = { a = "1" } }, "", "a=1" },
    { { remove = { "a b" } }, "a+b=1&a%20b=2&c=%zz", "c=%zz" },
  } do
    it(("query %q becomes %q"):format(case[2], case[3]), function()
      local _, seen = run("request-transform", { query = case[1] }, { path = "/r/7" .. (case[2] ~= "" and "?" .. case[2] or "") })
      assert.equal(case[3], seen.query)
    end)
  end

  it("refuses what would do nothing or could not be", function()
    refused("request-transform", {}, "expected headers or query: nothing would be changed")
    refused("request-transform", { headers = { remove = { "a b" } } }, 'headers.remove: expected names of header fields, found "a b"')
    refused("request-transform", { headers = { set = { ["X-A"] = "${nope}" } } }, "${nope}: expected one of")
    refused("request-transform", { headers = { sett = {} } }, '(did you mean "set"?)')
  end)
end)

describe("response-transform", function()
  it("header fields and statuses", function()
    local response = run("response-transform", { headers = { remove = { "Server" }, set = { ["X-Route"] = "${route} ${param.id}" } },
      status = { ["404"] = 410 } }, nil, { status = 404, headers = { Server = "x" } })
    assert.equal(410, response.status)
    assert.is_nil(response.headers.server)
    assert.equal("/r/:id 7", response.headers["x-route"])
  end)

  local json = { ["Content-Type"] = "application/json; charset=utf-8", ETag = '"1"' }
  it("members of JSON bodies", function()
    local response = run("response-transform", { json = { remove = { "user.password", "items.1", "no.such" },
      set = { ["user.id"] = "${param.id}", ["meta.version"] = 2, flag = true } } }, nil,
      { headers = json, body = '{"user":{"name":"a","password":"p"},"items":[1,2,3],"none":null,"empty":[]}' })
    assert.same({ "a", "7" }, { response.json.user.name, response.json.user.id })
    assert.is_nil(response.json.user.password)
    assert.same({ 2, 3 }, { response.json.items[1], response.json.items[2] })
    assert.equal(2, response.json.meta.version)
    assert.is_true(response.json.flag)
    assert.is_truthy(response.body:find('"none":null', 1, true))
    assert.is_truthy(response.body:find('"empty":[]', 1, true))
    assert.is_nil(response.headers.etag)
    assert.equal(tostring(#response.body), response.headers["content-length"])
  end)

  for _, case in ipairs {
    { "is no JSON", { headers = json, body = "{oops" } },
    { "is null", { headers = json, body = "null" } },
    { "is of another type", { headers = { ["Content-Type"] = "text/plain" }, body = '{"a":1}' } },
    { "is compressed", { headers = { ["Content-Type"] = "application/json", ["Content-Encoding"] = "gzip" }, body = '{"a":1}' } },
    { "is too long", { headers = json, body = '{"a":"' .. ("x"):rep(2000) .. '"}' } },
    { "is too long, and does not say so", { headers = json, body = '{"a":"' .. ("x"):rep(2000) .. '"}', chunked = true } },
  } do
    it("a body passes untouched that " .. case[1], function()
      local response = run("response-transform", { json = { set = { a = 2 }, most = 1000 } }, nil, case[2])
      assert.equal(200, response.status)
      assert.equal(case[2].body, response.body)
    end)
  end

  it("only answers of some statuses", function()
    local config = { headers = { set = { ["X-A"] = "1" } }, only = { 500 } }
    assert.is_nil(run("response-transform", config).headers["x-a"])
    assert.equal("1", run("response-transform", config, nil, { status = 500 }).headers["x-a"])
  end)

  it("refuses what would do nothing or could not be", function()
    refused("response-transform", {}, "expected headers, status or json: nothing would be changed")
    refused("response-transform", { status = { ["4xx"] = 400 } }, 'expected statuses such as ["404"] = 410, found "4xx"')
    refused("response-transform", { json = { set = { a = "${nope}" } } }, "${nope}: expected one of")
  end)
end)
