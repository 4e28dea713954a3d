-- correlation-id: whose id it is, what it looks like, where it is said.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local function ask(config, headers)
  local backend = testing.upstream { status = 200 }
  local seen
  local app = testing.app(function(gateway)
    gateway.route "/" {
      use = {
        gateway.plugin("correlation-id", config),
        function(request, next)
          seen = request.ctx.correlation_id
          return next()
        end,
      },
      to = backend,
    }
  end)
  local response = app:get("/", { headers = headers })
  local name = config and config.header or "X-Correlation-ID"
  return backend.requests[1].headers[name], response.headers[name], seen, response
end

describe("correlation-id", function()
  for generator, pattern in pairs {
    uuid = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$", hex = "^" .. ("%x"):rep(32) .. "$",
  } do
    it("makes one: " .. generator, function()
      local sent, echoed, seen = ask { generator = generator }
      assert.truthy(sent:find(pattern), sent)
      assert.same({ sent, sent }, { echoed, seen })
      assert.are_not.equal(sent, (ask { generator = generator }))
    end)
  end
  it("takes the request's own", function()
    local sent, _, _, response = ask { generator = "request_id", header = "X-Trace" }
    assert.equal(response.request_id, sent)
  end)
  for _, case in ipairs {
    { "keeps a good one", nil, "order-17:a/b.c_d+e=@", true },
    { "replaces one with blanks", nil, "a b", false },
    { "replaces one with quotes", nil, 'a"b', false },
    { "replaces an empty one", nil, "", false },
    { "keeps one of full length", nil, ("x"):rep(128), true },
    { "replaces a longer one", nil, ("x"):rep(129), false },
    { "replaces any, where told to", { keep = false }, "good", false },
  } do
    it(case[1], function()
      local sent, echoed = ask(case[2], { ["X-Correlation-ID"] = case[3] })
      assert.equal(case[4], sent == case[3])
      assert.equal(sent, echoed)
    end)
  end
  it("keeps it from the client, where told to", function()
    local sent, echoed, seen = ask { echo = false }
    assert.is_nil(echoed)
    assert.equal(sent, seen)
  end)
end)
