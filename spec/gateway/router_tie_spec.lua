-- Ties: two routes that stand equal and could take one request are an error at load, which names both.

local routes = require "spec.support.routes"

-- { name, route, route, what both would take, or nil: no tie }
local cases = {
  { "the same twice", { "/a" }, { "/a" }, "the same" },
  { "a final slash is no difference", { "/a" }, { "/a/" }, "the same" },
  { "nor are /* and the name of a remainder", { "/a/*x" }, { "/a/*" }, "the same" },
  { "nor the names of parameters", { "/a/:x/b" }, { "/a/:y/b" }, "the same" },
  { "nor the case of a host", { "/a", host = "A.test" }, { "/a", host = "a.test." }, "the same" },
  { "nor UTF-8 or its escapes", { "/é" }, { "/%C3%A9" }, "the same" },
  { "one method in common", { "/a", methods = { "GET", "PUT" } }, { "/a", methods = { "PUT", "POST" } }, "PUT" },
  { "several methods in common", { "/a", methods = { "GET", "PUT" } }, { "/a", methods = { "PUT", "GET" } }, "GET, PUT" },
  { "GET takes HEAD too", { "/a", methods = { "GET" } }, { "/a", methods = { "HEAD" } }, "HEAD" },
  { "a method of its own name", { "/a", methods = { "PURGE", "X" } }, { "/a", methods = { "GET", "PURGE" } }, "PURGE" },
  { "headers that one request can have", { "/a", headers = { x = "1" } }, { "/a", headers = { y = "1" } }, "the same" },
  { "a value and any value", { "/a", headers = { x = "1" } }, { "/a", headers = { X = "*" } }, "the same" },
  { "the same header value", { "/a", headers = { x = "1", y = "*" } }, { "/a", headers = { X = "1", z = "1" } }, "the same" },
  { "other paths", { "/a" }, { "/b" } },
  { "an exact path and a prefix", { "/a" }, { "= /a" } },
  { "whole segments and the loose form", { "/a" }, { "/a*" } },
  { "a parameter and a remainder", { "/a/:x" }, { "/a/*x" } },
  { "a slash behind a parameter", { "/a/:x" }, { "/a/:x/" } },
  { "other hosts", { "/a", host = "a.test" }, { "/a", host = "*.a.test" } },
  { "a host and none", { "/a", host = "a.test" }, { "/a" } },
  { "other methods", { "/a", methods = { "GET" } }, { "/a", methods = { "POST", "PURGE" } } },
  { "a method and none", { "/a", methods = { "GET" } }, { "/a" } },
  { "more conditions", { "/a", headers = { x = "1" } }, { "/a", headers = { x = "1", y = "*" } } },
  { "values that contradict", { "/a", headers = { x = "1", y = "1" } }, { "/a", headers = { X = "2", y = "1" } } },
  { "values differ by case", { "/a", headers = { x = "a" } }, { "/a", headers = { x = "A" } } },
}

describe("router ties", function()
  for _, case in ipairs(cases) do
    it((case[4] and "are refused: " or "are none: ") .. case[1], function()
      local a, b = case[2], case[3]
      a.source, b.source = "a.lua:3", "b.lua:7"
      for _ = 1, 2 do
        local router, message, where = routes.new { a, b }
        if case[4] then
          assert.is_nil(router)
          assert.equal(("%s: route %q ties with %q (%s): both would take %s requests; "
            .. "add a method, a header or a longer path to one"):format(b.source, b[1], a[1], a.source, case[4]), message)
          assert.equal("build", where)
        else
          assert.is_nil(message)
          assert(router)
        end
        a, b = b, a -- the later one is named first
      end
    end)
  end

  it("are found among many that are none", function()
    local list = {}
    for i = 1, 300 do
      list[#list + 1] = { "/a", methods = { "GET", "PURGE" }, headers = { tenant = "t" .. i, plan = "gold" } }
      list[#list + 1] = { "/a", methods = { "PUT" }, headers = { tenant = "t" .. i, plan = "gold" } }
      list[#list + 1] = { "/a", methods = { "GET" }, headers = { tenant = "t" .. i, plan = "free" } }
      list[#list + 1] = { "/a", methods = { "GET" }, headers = { region = "r" .. i, plan = "none" } }
    end
    assert(routes.new(list))
    for _, extra in ipairs {
      { headers = { tenant = "t150", plan = "gold" }, methods = { "POST", "PURGE" } }, { headers = { tenant = "t150",
        plan = "*" }, methods = { "PUT" } },
      { headers = { region = "*", plan = "free" }, methods = { "HEAD" } }, { headers = { color = "1", region = "r9" },
        methods = { "GET" } },
    } do
      extra[1], extra.source = "/a", "late.lua:1"
      list[#list + 1] = extra
      local router, message = routes.new(list)
      assert.is_nil(router)
      assert.matches('^late.lua:1: route "/a" ties with "/a" %(routes.lua:%d+%)', message)
      list[#list] = nil
    end
  end)
end)
