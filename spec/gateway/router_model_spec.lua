-- The router against a slow model that looks at every route: random routes, random requests, the same answers.

local routes = require "spec.support.routes"

local SEGMENTS = { "a", "b", "ab", "abc" }
local HOSTS = { "a.test", "b.a.test", "c.b.a.test", "test", "other" }
local METHODS = { "GET", "HEAD", "POST", "PURGE" }

-- A generator of its own, so that a failure comes back: the seed is in the message.
local function generator(seed)
  local state = seed
  return function(n)
    state = (state * 1103515245 + 12345) % 2147483648
    return math.floor(state / 65536) % n + 1
  end
end

local function random_pattern(pick)
  local kind, parts, names = pick(8), {}, 0
  for i = 1, pick(4) - 1 do
    if kind <= 5 and pick(3) == 1 then
      names = names + 1
      parts[i] = ":" .. (pick(2) == 1 and "p" or "q") .. names
    else
      parts[i] = SEGMENTS[pick(#SEGMENTS)]
    end
  end
  local path = "/" .. table.concat(parts, "/")
  if kind == 6 then return "= " .. path end
  if kind == 5 then return path == "/" and "/*rest" or path .. "/*rest" end
  if kind == 4 then return path == "/" and "/*" or path .. "/*" end
  if (kind == 7 or kind == 3) and path ~= "/" and not parts[#parts]:find("^:") then return path .. "*" end
  if kind == 8 and path ~= "/" then return path .. "/" end
  return path
end

local function random_route(pick, i)
  local route = { random_pattern(pick), as = i }
  local host = pick(6)
  if host <= 2 then route.host = HOSTS[pick(#HOSTS)] elseif host == 3 then route.host = "*." .. HOSTS[pick(#HOSTS)] end
  if pick(3) == 1 then
    route.methods = { METHODS[pick(#METHODS)] }
    if pick(2) == 1 then route.methods[2] = METHODS[pick(#METHODS)] end
  end
  for _, name in ipairs { "x", "y" } do
    local value = ({ "1", "2", "*" })[pick(12)]
    if value then
      route.headers = route.headers or {}
      route.headers[name] = value
    end
  end
  return route
end

local function random_request(pick)
  local parts = {}
  for i = 1, pick(5) - 1 do parts[i] = ({ "a", "b", "ab", "abc", "abcd", "", "A" })[pick(7)] end
  local request = { "/" .. table.concat(parts, "/"), method = ({ "GET", "HEAD", "POST", "PURGE", "PUT" })[pick(5)], headers = {} }
  local host = HOSTS[pick(#HOSTS)]
  request.host = ({ host, host:upper(), "z." .. host, host .. "." })[pick(4)]
  for _, name in ipairs { "X", "y", "x" } do
    local value = ({ "1", "2", "3" })[pick(5)]
    if value then table.insert(request.headers, { name, value }) end
  end
  return request
end

-- The model.

local function split(text)
  local parts = {}
  for part in (text .. "/"):gmatch("([^/]*)/") do parts[#parts + 1] = part end
  return parts
end

-- { kind, segments, loose, rest }: kind 1 exact, 2 parameters, 3 prefix
local function read(pattern)
  if pattern:find("^=") then return { kind = 1, path = pattern:match("/.*") } end
  local segments = split(pattern:sub(2))
  local out = { kind = 3, segments = segments, parameters = false }
  local last = segments[#segments]
  for _, s in ipairs(segments) do out.parameters = out.parameters or s:find("^:") ~= nil end
  local open = last:find("*", 1, true) ~= nil
  if last:find("^%*") then
    out.rest = #last > 1 and last:sub(2) or nil
    segments[#segments] = nil
  elseif open then
    segments[#segments], out.loose = last:sub(1, -2), true
  elseif last == "" and not out.parameters then
    segments[#segments] = nil
  end
  if out.parameters and not open then out.kind = 2 end
  return out
end

-- The parameters, or nil when the path does not match.
local function match_path(p, path)
  if p.kind == 1 then return p.path == path and {} or nil end
  local params, parts = {}, split(path:sub(2))
  for i, want in ipairs(p.segments) do
    local part = parts[i]
    if part == nil then return nil end
    if want:find("^:") then
      if part == "" then return nil end
      params[want:sub(2)] = part
    elseif p.loose and i == #p.segments then
      return part:sub(1, #want) == want and params or nil
    elseif part ~= want then
      return nil
    end
  end
  if p.kind == 2 and #parts ~= #p.segments then return nil end
  if p.rest then params[p.rest] = table.concat(parts, "/", #p.segments + 1) end
  return params
end

local function match_host(want, host)
  if not want then return true end
  host = host:lower():gsub("%.$", "")
  local suffix = want:match("^%*(.*)")
  if suffix then return #host > #suffix and host:sub(-#suffix) == suffix end
  return want == host
end

local function match_headers(route, request)
  for name, value in pairs(route.headers or {}) do
    local there = false
    for _, field in ipairs(request.headers) do
      there = there or (field[1]:lower() == name and (value == "*" or field[2] == value))
    end
    if not there then return false end
  end
  return true
end

local function takes_method(route, method)
  if not route.methods then return true end
  for _, m in ipairs(route.methods) do
    if m == method or (m == "GET" and method == "HEAD") then return true end
  end
  return false
end

local function header_count(route)
  local n = 0
  for _ in pairs(route.headers or {}) do n = n + 1 end
  return n
end

-- What is compared, number by number: smaller wins.
local function weight(route, p)
  local host = route.host
  local out = { not host and 3 or host:find("^%*") and 2 or 1, host and -#host or 0, p.kind }
  if p.kind ~= 1 then
    out[#out + 1] = -#p.segments
    for i, s in ipairs(p.segments) do
      local loose = p.loose and i == #p.segments
      out[#out + 1] = s:find("^:") and 1000 or loose and 500 - #s or 0
    end
  end
  out[#out + 1] = -header_count(route)
  out[#out + 1] = route.methods and 0 or 1
  return out
end

local function wins(a, b)
  for i = 1, math.max(#a, #b) do
    if a[i] ~= b[i] then return (a[i] or 0) < (b[i] or 0) end
  end
  return false
end

local function shape(p)
  if p.kind == 1 then return "= " .. p.path end
  local text = table.concat(p.segments, "/"):gsub(":[^/]*", ":")
  return table.concat({ p.kind, p.loose and "loose" or "whole", text, #p.segments }, " ")
end

local function tie(a, p, b, q)
  if a.host ~= b.host or shape(p) ~= shape(q) or header_count(a) ~= header_count(b)
    or not a.methods ~= not b.methods then return false end
  for name, value in pairs(a.headers or {}) do
    local other = (b.headers or {})[name]
    if other and value ~= "*" and other ~= "*" and value ~= other then return false end
  end
  if not a.methods then return true end
  for _, m in ipairs { "GET", "HEAD", "POST", "PURGE" } do
    if takes_method(a, m) and takes_method(b, m) then return true end
  end
  return false
end

local function model_find(list, patterns, request)
  local best, best_weight, best_params, allow
  for i, route in ipairs(list) do
    local params = match_path(patterns[i], request[1])
    if params and match_host(route.host, request.host) and match_headers(route, request) then
      if takes_method(route, request.method) then
        local w = weight(route, patterns[i])
        if not best or wins(w, best_weight) then best, best_weight, best_params = route.as, w, params end
      else
        allow = allow or {}
        for _, m in ipairs(METHODS) do allow[m] = allow[m] or takes_method(route, m) or nil end
      end
    end
  end
  if best then return { route = best, params = best_params } end
  if not allow then return {} end
  local names = {}
  for _, m in ipairs(METHODS) do if allow[m] then names[#names + 1] = m end end
  return { allow = table.concat(names, ", ") }
end

local function tell(route)
  local headers = {}
  for name, value in pairs(route.headers or {}) do headers[#headers + 1] = name .. "=" .. value end
  return ("%s %s %s {%s} %s"):format(route.as, route.host or "-", table.concat(route.methods or { "*" }, ","),
    table.concat(headers, ","), route[1])
end

describe("router and model", function()
  it("agree on 200 random sets of routes", function()
    local asked, found, refused, other = 0, 0, 0, 0
    for seed = 1, 200 do
      local pick = generator(seed)
      local list, patterns = {}, {}
      -- Where a route ties with one that is there already, the router has to say so; then the set goes on without it.
      for i = 1, 5 + pick(30) do
        local route = random_route(pick, i)
        local p = read(route[1])
        local ties = false
        for k, earlier in ipairs(list) do ties = ties or tie(route, p, earlier, patterns[k]) end
        if ties and refused < 400 then
          list[#list + 1] = route
          local router, message = routes.new(list)
          assert.is_nil(router, ("seed %d: no tie seen: %s"):format(seed, tell(route)))
          assert.matches("ties with", message)
          list[#list] = nil
          refused = refused + 1
        end
        if not ties then list[#list + 1], patterns[#patterns + 1] = route, p end
      end
      local router, message = routes.new(list)
      assert(router, ("seed %d: %s"):format(seed, tostring(message)))
      for _ = 1, 100 do
        local request = random_request(pick)
        local expected, got = model_find(list, patterns, request), router:find(request)
        asked = asked + 1
        if expected.route then found = found + 1 elseif expected.allow then other = other + 1 end
        if expected.route ~= got.route or expected.allow ~= got.allow then
          local all = {}
          for _, route in ipairs(list) do all[#all + 1] = tell(route) end
          error(("seed %d: %s %s %s: expected %s, got %s\n%s"):format(seed, request.method, request.host, request[1],
            tostring(expected.route or expected.allow), tostring(got.route or got.allow), table.concat(all, "\n")))
        end
        assert.same(expected.params, got.params)
        -- What is told of each route alone comes to the same: the first that misses nothing takes it.
        local first, refused_by_method
        for _, one in ipairs(router:explain(request)) do
          if one.miss == "none" and not first then first = one.route end
          refused_by_method = refused_by_method or one.miss == "method"
        end
        assert.equal(got.route, first, ("seed %d: %s %s %s"):format(seed, request.method, request.host, request[1]))
        assert.equal(got.route == nil and got.allow ~= nil, got.route == nil and refused_by_method or false)
      end
    end
    assert.is_true(found > asked / 10 and refused > 100 and other > 100, "the cases say something")
  end)
end)
