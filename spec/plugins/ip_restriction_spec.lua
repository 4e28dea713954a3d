-- plugins/ip-restriction.lua

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local function app_with(config, more)
  return testing.app(function(gateway)
    if more then more(gateway) end
    gateway.route "/" { use = { gateway.plugin("ip-restriction", config) }, to = testing.upstream { body = "hi" } }
  end)
end

describe("ip-restriction", function()
  for _, case in ipairs {
    { { allow = { "10.0.0.0/8" } }, { ["10.1.2.3"] = 200, ["11.1.2.3"] = 403, ["2001:db8::1"] = 403 } },
    { { deny = { "10.0.0.0/8", "2001:db8::/32" } },
    { ["10.1.2.3"] = 403, ["11.1.2.3"] = 200, ["2001:db8::1"] = 403, ["2001:db9::1"] = 200 } },
    { { allow = { "10.0.0.0/8" }, deny = { "10.6.6.0/24" } }, { ["10.1.2.3"] = 200, ["10.6.6.6"] = 403, ["1.1.1.1"] = 403 } },
    { { allow = {} }, { ["10.1.2.3"] = 403 } },
    { { deny = { "192.0.2.1" }, status = 404, message = "not here" }, { ["192.0.2.1"] = 404, ["192.0.2.2"] = 200 } },
  } do
    for ip, status in pairs(case[2]) do
      it(("answers %s with %d"):format(ip, status), function()
        local app = app_with(case[1])
        local response = app:get("/", { client_ip = ip })
        assert.equal(status, response.status)
        if status ~= 200 then assert.equal(case[1].message or "your address is not allowed here", response.json.error) end
      end)
    end
  end

  it("believes X-Forwarded-For of trusted proxies only", function()
    local app = app_with({ allow = { "10.0.0.0/8" } }, function(gateway) gateway.trusted_proxies { "192.0.2.1" } end)
    local headers = { ["X-Forwarded-For"] = "10.1.1.1" }
    assert.equal(200, app:get("/", { client_ip = "192.0.2.1", headers = headers }).status)
    assert.equal(403, app:get("/", { client_ip = "192.0.2.2", headers = headers }).status)
  end)

  for _, case in ipairs {
    { {}, "allow" }, { { allow = { "10.0.0.1/8" } }, "bits are set behind the prefix length" }, { { deny = { "x" } }, "a CIDR block like" },
    { { allow = "10.0.0.0/8" }, "allow" }, { { allow = {}, status = 200 }, "status" },
  } do
    it("refuses what is wrong: " .. case[2], function()
      local good, problem = pcall(app_with, case[1])
      assert.is_false(good)
      assert.truthy(tostring(problem):find(case[2], 1, true), problem)
    end)
  end
end)
