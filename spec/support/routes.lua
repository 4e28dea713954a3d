--- Routers for specs: routes as Lua tables, matches as Lua tables.
--
--     local routes = require "spec.support.routes"
--     local router = routes.new { { "/api", methods = { "GET" }, host = "a.example", headers = { x = "1", y = "*" }, as = "api" } }
--     router:find { "/api/x", method = "GET", host = "a.example", headers = { { "X", "1" } } }   -- { route = "api", params = {} }
--
-- `as` is what a match gives back; without it, the pattern.

local ffi = require "ffi"
local cdef = require "spec.support.cdef"

local C = cdef.load("gateway/router.h", "gateway/router_explain.h")

local routes = {}

local METHODS = { "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE" }
local number_of = {}
for i, name in ipairs(METHODS) do number_of[name] = i end

local Router = {}
Router.__index = Router

--- A route as a gw_match. Everything that C keeps pointers to is kept in `anchors`.
function routes.match(route, index, anchors)
  local match = ffi.new("gw_match")
  local function slice(text)
    local s = cdef.slice(text)
    anchors[#anchors + 1] = s
    return s
  end
  match.host = slice(route.host)
  match.pattern = slice(route[1])
  match.source = slice(route.source or ("routes.lua:" .. index))
  match.route = ffi.cast("void *", index)
  local others = {}
  for _, name in ipairs(route.methods or {}) do
    local number = number_of[name]
    if number then
      match.methods = bit.bor(match.methods, bit.lshift(1, number))
    else
      others[#others + 1] = name
    end
  end
  local array = ffi.new("gw_slice[?]", math.max(1, #others))
  for i, name in ipairs(others) do array[i - 1] = slice(name) end
  match.other_methods, match.other_method_count = array, #others
  local names = {}
  for name in pairs(route.headers or {}) do names[#names + 1] = name end
  table.sort(names)
  local conditions = ffi.new("gw_header_condition[?]", math.max(1, #names))
  for i, name in ipairs(names) do
    local value = route.headers[name]
    conditions[i - 1].name = slice(name)
    conditions[i - 1].value = slice(value ~= "*" and value or nil)
  end
  match.headers, match.header_count = conditions, #names
  anchors[#anchors + 1], anchors[#anchors + 2], anchors[#anchors + 3] = array, conditions, match
  return match
end

--- A router; or nil and the message of what was refused, and "add" or "build".
function routes.new(list)
  local self = setmetatable({ list = list, anchors = {}, found = ffi.new("gw_found"), headers = ffi.new("gw_headers") }, Router)
  self.handle = ffi.gc(C.gw_router_new(), C.gw_router_free)
  local message = ffi.new("char[1024]")
  for i, route in ipairs(list) do
    local status = C.gw_router_add(self.handle, routes.match(route, i, self.anchors), message, 1024)
    if status ~= 0 then
      assert(status == C.GW_INVALID)
      return nil, ffi.string(message), "add"
    end
  end
  local status = C.gw_router_build(self.handle, message, 1024)
  if status ~= 0 then
    assert(status == C.GW_INVALID)
    return nil, ffi.string(message), "build"
  end
  return self
end

local function name_of(self, pointer)
  local route = self.list[tonumber(ffi.cast("intptr_t", pointer))]
  return route.as or route[1]
end

-- The arguments of C that say what is asked, and what must live as long as they do.
local function asked(self, request)
  local keep = {}
  local function slice(text)
    local s = cdef.slice(text)
    keep[#keep + 1] = s
    return s
  end
  local method = request.method or "GET"
  local h = self.headers
  h.count = 0
  for _, field in ipairs(request.headers or {}) do
    h.item[h.count].name, h.item[h.count].value = slice(field[1]), slice(field[2])
    h.count = h.count + 1
  end
  return keep, slice(request.host or ""), slice(request[1]), number_of[method] or C.GW_METHOD_OTHER, slice(method), h
end

local MISSES = { [0] = "none", "host", "path", "header", "method" }

--- For each route in the order in which they are tried: { route =, miss = "none" | "host" | "path" | "header" | "method", segment =,
--- expected =, found =, condition = }.
function Router:explain(request)
  local keep, host, path, method, name, h = asked(self, request)
  local why, out = ffi.new("gw_router_reason"), {}
  for i = 0, #self.list - 1 do
    assert(C.gw_router_explain(self.handle, i, host, path, method, name, h, why))
    out[i + 1] = {
      route = name_of(self, C.gw_router_at(self.handle, i).route), miss = MISSES[why.miss],
      segment = why.miss == C.GW_MISS_PATH and why.segment or nil, expected = cdef.text(why.expected), found = cdef.text(why.found),
      condition = why.miss == C.GW_MISS_HEADER and why.condition + 1 or nil,
    }
  end
  assert(not C.gw_router_explain(self.handle, #self.list, host, path, method, name, h, why))
  return out, keep
end

--- { route = NAME, params = { name = value } }; { allow = "GET, HEAD" } where only the method is wrong; {} where there is none.
function Router:find(request)
  local keep, host, path, method, name, h = asked(self, request)
  local found = self.found
  C.gw_router_find(self.handle, host, path, method, name, h, found)
  found = #keep > 0 and found
  if found.route == nil then
    if not found.method_only then return {} end
    local text = ffi.new("char[128]")
    return { allow = ffi.string(text, C.gw_found_allow(found, text, ffi.sizeof(text))) }
  end
  local params = {}
  for i = 0, found.param_count - 1 do params[cdef.text(found.params[i].name)] = cdef.text(found.params[i].value) end
  return { route = name_of(self, found.route), params = params }
end

--- The routes in the order in which they are tried.
function Router:order()
  local out = {}
  for i = 0, #self.list - 1 do out[#out + 1] = name_of(self, C.gw_router_at(self.handle, i).route) end
  assert(C.gw_router_at(self.handle, #self.list) == nil)
  return out
end

return routes
