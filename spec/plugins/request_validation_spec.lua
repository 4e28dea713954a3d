-- request-validation: what fits, what does not, and what is said about it.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local json = require "gateway.json"
local testing = require "gateway.testing"

local backend

local function start(config)
  backend = testing.upstream { status = 200 }
  return testing.app(function(gateway)
    gateway.route "/" { use = { gateway.plugin("request-validation", config) }, to = backend }
  end)
end

local ORDER = {
  type = "object", required = { "id", "lines" }, additionalProperties = false,
  properties = {
    id = { type = "integer", minimum = 1 }, note = { type = "string", maxLength = 5 },
    lines = { type = "array", minItems = 1, items = { type = "object", required = { "sku" } } },
  },
}
local GOOD = '{"id":1,"lines":[{"sku":"a"}]}'

local function post(app, body, content_type, options)
  local request = { method = "POST", body = body, headers = { ["Content-Type"] = content_type or "application/json" } }
  for key, value in pairs(options or {}) do request[key] = value end
  return app:request(request)
end

describe("request-validation: bodies:", function()
  for _, case in ipairs {
    { "good", GOOD, 200 },
    { "good, as a kind of JSON", GOOD, 200, "application/vnd.x+json; charset=utf-8" },
    { "no JSON", "{", 400, nil, "it is no JSON" },
    { "a name twice", '{"id":1,"id":2,"lines":[{"sku":"a"}]}', 400, nil, "it is no JSON" },
    { "empty", "", 400, nil, "it is empty" },
    { "of another type", GOOD, 415, "text/plain" },
    { "too long", '{"id":1,"note":"' .. ("x"):rep(2000) .. '"}', 413 },
    { "too deep", ("["):rep(20) .. ("]"):rep(20), 400, nil, "it is no JSON" },
  } do
    it(case[1], function()
      local app = start { body = ORDER, max_body = "1KB", depth = 10 }
      local response = post(app, case[2], case[4])
      assert.equal(case[3], response.status)
      assert.equal(case[3] == 200 and 1 or 0, #backend.requests)
      if case[3] == 200 then assert.equal(case[2], backend.requests[1].body) end
      if case[5] then assert.truthy(response.body:find(case[5], 1, true), response.body) end
    end)
  end
  it("says what is wrong, and never the value", function()
    local response = post(start { body = json.encode(ORDER) }, '{"id":0,"note":"secret","lines":[{"sku":1},{}],"more":1}')
    assert.equal(400, response.status)
    local pointers = {}
    for _, one in ipairs(response.json.errors) do pointers[one.pointer .. " " .. one.keyword] = true end
    assert.same({ ["/id minimum"] = true, ["/note maxLength"] = true, ["/lines/1 required"] = true, [" additionalProperties"] = true },
      pointers)
    assert.is_nil(response.body:find("secret", 1, true))
  end)
  it("or keeps it to itself", function()
    local response = post(start { body = ORDER, verbose = false, status = 422 }, "{}")
    assert.equal(422, response.status)
    assert.same({ error = "the request is not valid" }, response.json)
  end)
  it("looks at the methods that it is told", function()
    local app = start { body = ORDER, required = false }
    assert.equal(200, app:get("/").status)
    assert.equal(200, post(app, "").status)
    assert.equal(200, post(app, "{}", nil, { method = "DELETE" }).status)
    assert.equal(400, post(app, "{}", nil, { method = "PATCH" }).status)
  end)
end)

describe("request-validation: queries and fields:", function()
  local query = {
    required = { "page" }, additionalProperties = false,
    properties = {
      page = { type = "integer", minimum = 1 }, tag = { type = "array", items = { type = "string" }, maxItems = 2 },
      all = { type = "boolean" }, q = { type = "string" }, ratio = { type = "number" },
    },
  }
  for target, status in pairs {
    ["/?page=1"] = 200, ["/?page=0"] = 400, ["/?page=x"] = 400, ["/?page=1.5"] = 400, ["/?page=0x10"] = 400, ["/"] = 400,
    ["/?page=1&page=2"] = 400, ["/?page=1&tag=a&tag=b"] = 200, ["/?page=1&tag=a&tag=b&tag=c"] = 400, ["/?page=1&all=true"] = 200,
    ["/?page=1&all=yes"] = 400, ["/?page=1&q=5"] = 200, ["/?page=1&ratio=-1.5e3"] = 200, ["/?page=1&other=1"] = 400,
    ["/?%70age=1"] = 200, ["/?page=1&q="] = 200,
  } do
    it(("%d: %s"):format(status, target), function() assert.equal(status, start({ query = query }):get(target).status) end)
  end
  it("header fields", function()
    local app = start { headers = { required = { "x-tenant" }, properties = { ["x-tenant"] = { pattern = "^t-\\d+$" } } } }
    assert.equal(200, app:get("/", { headers = { ["X-Tenant"] = "t-17" } }).status)
    assert.equal(400, app:get("/", { headers = { ["X-Tenant"] = "t-x" } }).status)
    assert.equal(400, app:get("/", { headers = { ["X-Tenant"] = { "t-1", "t-2" } } }).status)
    assert.equal(400, app:get("/").status)
  end)
end)

for _, case in ipairs {
  { {}, "body" },
  { { body = "{" }, "body: " },
  { { body = { type = "objekt" } }, "body: " },
  { { query = 5 }, "expected a JSON Schema, as a table or as JSON text" },
} do
  it("refuses: " .. case[2], function()
    local good, message = pcall(start, case[1])
    assert.is_false(good)
    assert.truthy(tostring(message):find(case[2], 1, true), message)
  end)
end
