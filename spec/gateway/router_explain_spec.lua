-- Why a route does not take a request: the first thing that differs.

local routes = require "spec.support.routes"

local cases = {
  { "host", { "/", host = "a.test" }, { "/", host = "b.test" }, miss = "host" },
  { "a suffix alone", { "/", host = "*.a.test" }, { "/", host = "a.test" }, miss = "host" },
  { "a suffix, any case, final dot", { "/", host = "*.a.test" }, { "/", host = "B.A.test." }, miss = "none" },
  { "first segment", { "/api" }, { "/apx/y" }, miss = "path", segment = 1, expected = "api", found = "apx" },
  { "later segment", { "/api/users" }, { "/api/groups/7" }, miss = "path", segment = 2, expected = "users", found = "groups" },
  { "path too short", { "/api/users" }, { "/api" }, miss = "path", segment = 2, expected = "users" },
  { "an exact path goes on", { "= /api" }, { "/api/x" }, miss = "path", segment = 2, found = "x" },
  { "an exact path and a final slash", { "= /api" }, { "/api/" }, miss = "path", segment = 2, found = "" },
  { "an exact path, another segment", { "= /a/b" }, { "/a/c" }, miss = "path", segment = 2, expected = "b", found = "c" },
  { "an empty parameter", { "/u/:id" }, { "/u/" }, miss = "path", segment = 2, expected = "id", found = "" },
  { "a parameter's path goes on", { "/u/:id" }, { "/u/7/x" }, miss = "path", segment = 3, found = "x" },
  { "a loose prefix", { "/api*" }, { "/ap" }, miss = "path", segment = 1, expected = "api", found = "ap" },
  { "a loose prefix that fits", { "/api*" }, { "/apix/y" }, miss = "none" },
  { "a rest that is empty", { "/files/*rest" }, { "/files" }, miss = "none" },
  { "the root takes all", { "/" }, { "/a/b" }, miss = "none" },
  { "the root alone", { "= /" }, { "/a" }, miss = "path", segment = 1, expected = "", found = "a" },
  { "a header that is not there", { "/", headers = { a = "1", b = "*" } }, { "/", headers = { { "A", "1" } } }, miss = "header",
    condition = 2 },
  { "a header with another value", { "/", headers = { a = "1" } }, { "/", headers = { { "A", "2" } } }, miss = "header", condition = 1,
    found = "2" },
  { "one of several fields", { "/", headers = { a = "1" } }, { "/", headers = { { "A", "2" }, { "a", "1" } } }, miss = "none" },
  { "method", { "/", methods = { "GET" } }, { "/", method = "POST" }, miss = "method" },
  { "HEAD where GET is", { "/", methods = { "GET" } }, { "/", method = "HEAD" }, miss = "none" },
  { "another method's name", { "/", methods = { "PURGE" } }, { "/", method = "BAN" }, miss = "method" },
  { "no path at all", { "/" }, { "*", method = "OPTIONS" }, miss = "path", segment = 1, found = "*" },
}

describe("why a route does not take a request", function()
  for _, case in ipairs(cases) do
    it(case[1], function()
      local router = assert(routes.new { case[2] })
      local why = router:explain(case[3])[1]
      assert.same({ miss = case.miss, segment = case.segment, expected = case.expected, found = case.found, condition = case.condition },
        { miss = why.miss, segment = why.segment, expected = why.expected, found = why.found, condition = why.condition })
    end)
  end
end)
