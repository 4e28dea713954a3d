-- What a match costs, and what building costs, at 10, 1,000 and 10,000 routes. From the top of the tree, after
-- `cmake --preset release && cmake --build --preset release`:
--
--     GATEWAY_BUILD=build/release luajit spec/bench/router.lua
--
-- Slices travel by value, and such calls LuaJIT makes from its interpreter: what the same calls cost with a router that has no routes is
-- taken off. Each request goes to a route chosen by chance, so that what is measured includes the cache misses of a large table.

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local routes = require "spec.support.routes"

local C = cdef.load "gateway/router.h"
local REQUESTS, ROUNDS = 16384, 40

-- Every mixture of literal and parameter in 13 segments: nobody writes such routes; it shows the bound. The worst path is tried at
-- every node of the tree, and at each once.
local function branching(i)
  local parts = {}
  for k = 0, 12 do parts[k + 1] = bit.band(bit.rshift(i, k), 1) == 1 and "a" or ":p" .. k end
  return { "/" .. table.concat(parts, "/") .. "/end" .. math.floor(i / 8192) }
end

-- name, route(i), request(i)
local kinds = {
  {
    "prefixes",
    function(i) return { ("/service%d/v%d/api"):format(i, i % 3) } end,
    function(i) return { ("/service%d/v%d/api/users/12345"):format(i, i % 3) } end,
  },
  {
    "mixed",
    function(i)
      local shape = i % 4
      if shape == 0 then return { ("= /team%d/service%d/status"):format(i % 100, i) } end
      if shape == 1 then return { ("/team%d/service%d/users/:id/posts/:post"):format(i % 100, i), methods = { "GET" } } end
      if shape == 2 then return { ("/team%d/service%d/files/*rest"):format(i % 100, i) } end
      return { ("/team%d/service%d"):format(i % 100, i), headers = { ["X-Version"] = "2" } }
    end,
    function(i)
      local tail = ({ [0] = "/status", "/users/123/posts/456", "/files/a/b.png", "/x" })[i % 4]
      return { ("/team%d/service%d%s"):format(i % 100, i, tail) }
    end,
  },
  {
    "hosts",
    function(i) return { "/", host = ("tenant%d.example.com"):format(i) } end,
    function(i) return { "/users/12345", host = ("tenant%d.example.com"):format(i) } end,
  },
  {
    "header values at one path",
    function(i) return { "/api", headers = { ["X-Version"] = "v" .. i } } end,
    function(i) return { "/api/users", header = "v" .. i } end,
  },
  {
    "nothing found",
    function(i) return { ("/service%d/:x/api"):format(i) } end,
    function(i) return { ("/service%d/some/thing/else"):format(i), missing = true } end,
  },
  { "branching", branching, function(i) return { ("/a"):rep(13) .. "/end" .. math.floor(i / 8192) } end },
  { "branching, worst path", branching, function() return { ("/a"):rep(13) .. "/none", missing = true } end },
}

local function build(route, n)
  local anchors, matches = {}, {}
  for i = 1, n do matches[i] = routes.match(route(i), i, anchors) end
  local message = ffi.new("char[1024]")
  collectgarbage() collectgarbage("stop")
  local from = os.clock()
  local router = ffi.gc(C.gw_router_new(), C.gw_router_free)
  for i = 1, n do
    if C.gw_router_add(router, matches[i], message, 1024) ~= 0 then error(ffi.string(message)) end
  end
  if C.gw_router_build(router, message, 1024) ~= 0 then error(ffi.string(message)) end
  local seconds = os.clock() - from
  collectgarbage("restart")
  return router, seconds, anchors
end

local function measure(router, request, n)
  local keep = {}
  local paths, hosts = ffi.new("gw_slice[?]", REQUESTS), ffi.new("gw_slice[?]", REQUESTS)
  local values = ffi.new("gw_slice[?]", REQUESTS)
  local missing
  local function slice(text)
    keep[#keep + 1] = cdef.slice(text)
    return keep[#keep]
  end
  for k = 0, REQUESTS - 1 do
    local r = request(math.random(n))
    paths[k], hosts[k], values[k] = slice(r[1]), slice(r.host or "www.example.org"), slice(r.header or "2")
    missing = r.missing
  end
  -- What a browser sends, about.
  local headers = ffi.new("gw_headers")
  for i, name in ipairs { "Host", "User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Cookie", "X-Version" } do
    headers.item[i - 1].name, headers.item[i - 1].value = slice(name), slice("some value")
    headers.count = i
  end
  local get, found = slice("GET"), ffi.new("gw_found")
  local unmatched = 0
  local function round(handle)
    local from = os.clock()
    for k = 0, REQUESTS - 1 do
      headers.item[6].value = values[k]
      C.gw_router_find(handle, hosts[k], paths[k], C.GW_METHOD_GET, get, headers, found)
      if found.route == nil then unmatched = unmatched + 1 end
    end
    return (os.clock() - from) / REQUESTS * 1e9
  end
  local empty = ffi.gc(C.gw_router_new(), C.gw_router_free)
  assert(C.gw_router_build(empty, ffi.new("char[64]"), 64) == 0)
  local best, best_empty = math.huge, math.huge
  for _ = 1, missing and 5 or ROUNDS do
    unmatched = 0
    best = math.min(best, round(router))
    assert(unmatched == (missing and REQUESTS or 0), "the requests are not those that were meant")
    best_empty = math.min(best_empty, round(empty))
  end
  return best - best_empty
end

math.randomseed(1)
print(("%-28s %8s %12s %12s"):format("routes", "number", "build", "a match"))
for _, kind in ipairs(kinds) do
  for _, n in ipairs { 10, 1000, 10000 } do
    local router, seconds, anchors = build(kind[2], n)
    print(("%-28s %8d %9.2f ms %9.0f ns"):format(kind[1], n, seconds * 1e3, measure(router, kind[3], n)))
    assert(#anchors > 0) -- lives until here
  end
end
