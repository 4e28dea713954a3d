-- gateway.route "/path" { ... } and gateway.use { ... }; and at the end of the load, everything that was declared made into the plain table
-- that the builder walks.

local check = require "gateway.check"
local limit = require "gateway.limit"
local respond = require "gateway.respond"
local spec = require "gateway.spec"
local traffic = require "gateway.traffic"
local upstream = require "gateway.upstream"

local route = {}

---@alias gateway.Next fun(): gateway.Response
---@alias gateway.Middleware gateway.Limit|fun(request: gateway.Request, next: gateway.Next): gateway.Response?
---@alias gateway.Decide fun(request: gateway.Request): gateway.Upstream|gateway.Response
---@alias gateway.Target gateway.Upstream|gateway.Response|gateway.Split|string|gateway.Decide

---@class gateway.RouteOptions
---@field to gateway.Target an upstream (or its name), a response, a split, or a function that gives an upstream or a response
---@field methods? string[]|string
---@field host? string "api.example.com" or "*.example.com"
---@field headers? table<string, string> all must stand in the request; "*": present with any value
---@field use? gateway.Middleware[] outermost first
---@field name? string label in logs and metrics; the pattern by default
---@field limits? { body_bytes: number|string }
---@field access_log? boolean
---@field record? boolean keep its last request heads, secrets masked: see gateway.record

local fields = {
  methods = { type = "any" }, host = { type = "string" }, headers = { type = "map", of = "string" }, use = { type = "any" },
  to = { type = "any" }, name = { type = "string" }, access_log = { type = "boolean" }, record = { type = "boolean" },
  limits = { type = "table", fields = { body_bytes = { type = "size" } } },
}

-- What made a middleware, for `gateway routes` and the digest: plugins note theirs here.
route.labels = setmetatable({}, { __mode = "k" }) -- function → { name =, config = }

local library = debug.getinfo(1, "S").source:gsub("route%.lua$", "")

local function middleware_of(item, where, report)
  if type(item) == "function" and not route.labels[item] and debug.getinfo(item, "S").source:sub(1, #library) == library then
    report(('%s: expected a function (function(request, next) ... end) or a plugin, found a function of the gateway itself: call it, '
      .. 'as in gateway.plugin "cors"'):format(where))
    return nil
  end
  if type(item) == "function" or limit.is(item) then return item end
  if type(item) == "table" and not getmetatable(item) and #item > 0 then
    report(("%s: expected a function (function(request, next) ... end) or a plugin, found a table: write the list flat"):format(where))
  else
    local hint = type(item) == "string" and (": write gateway.plugin %s"):format(check.describe(item)) or ""
    report(("%s: expected a function (function(request, next) ... end) or a plugin, found %s%s"):format(where, check.describe(item), hint))
  end
  return nil
end

-- A list of middleware; a single function is taken as a list of one. Entries: { f =, source = }.
local function middlewares_of(given, path, report)
  local out = {}
  if given == nil or given == limit.failed then return out end
  if type(given) == "function" or limit.is(given) then given = { given } end
  if type(given) ~= "table" or getmetatable(given) then
    report(("%s: expected a list of functions and plugins, found %s"):format(path, check.describe(given)))
    return out
  end
  local most = 0
  for _, key in ipairs(check.names(given)) do
    if type(key) == "number" then
      most = math.max(most, key)
    else
      report(("%s: expected a list of functions and plugins, found the name %s in it"):format(path, check.describe(key)))
    end
  end
  for i = 1, most do
    if given[i] ~= route.failed and given[i] ~= limit.failed then
      out[#out + 1] = middleware_of(given[i], ("%s[%d]"):format(path, i), report)
    end
  end
  return out
end
-- Stands for a middleware that could not be made (already reported).
route.failed = setmetatable({}, { describe = function() return "a plugin that failed" end })

local function methods_of(given, report)
  if given == nil then return nil end
  if type(given) == "string" then given = { given } end
  if not check.is_list(given) or #given == 0 then
    local empty = type(given) == "table" and next(given) == nil
    report('methods: expected a list such as { "GET", "POST" }, found ' .. (empty and "an empty one" or check.describe(given)))
    return nil
  end
  local out, seen = {}, {}
  for i, name in ipairs(given) do
    if type(name) ~= "string" or not name:find("^[A-Z][A-Z%-]*$") then
      local capitals = type(name) == "string" and name:find("^[%a%-]+$") and name:upper()
      report(("methods[%d]: expected a method in capitals such as %q, found %s"):format(i, capitals or "GET", check.describe(name)))
    elseif not seen[name] then
      seen[name] = true
      out[#out + 1] = name
    end
  end
  return out
end

local function header_conditions_of(given, report)
  if not given then return nil end
  local out = {}
  local names = {}
  for name in pairs(given) do names[#names + 1] = name end
  table.sort(names)
  local seen = {}
  for _, name in ipairs(names) do
    if not check.header_name(name) then
      report("headers: expected header names, found " .. check.describe(name))
    elseif seen[name:lower()] then
      report(("headers: %s stands there twice"):format(check.describe(name)))
    else
      seen[name:lower()] = true
      out[#out + 1] = { name = name, value = given[name] ~= "*" and given[name] or nil, any = given[name] == "*" }
    end
  end
  return out
end

-- `to` of one arm or route, as plain data; nil after a report. Upstreams may be named before they are declared: so this runs at the end.
-- Second: the upstream's hash_on function, if it has one; of a split, those of its arms, false where there is none.
local function target_of(to, where, report, nested)
  to = upstream.from(to)
  if type(to) == "string" then
    local named = spec.state.upstream_by_name[to]
    if not named then
      if not spec.state.cut then report(("%s: %s"):format(where, upstream.unknown(to))) end
      return nil
    end
    to = named
  end
  if upstream.is(to) then
    return { kind = "upstream", upstream = to._index or 0, name = to.name }, to._data.hash_on and to._data.hash_on.f
  end
  local meta = getmetatable(to)
  if meta == respond.Made then return { kind = "answer", answer = respond.data(to) } end
  if not nested then
    if meta == respond.Split then
      local out, keys, keyed = { kind = "split", shares = {} }, {}, false
      for i, arm in ipairs(to.arms) do
        local target, key = target_of(arm.target, ("%s: arm %d"):format(where, i), report, true)
        if target and arm.weight > 0 then
          target.weight = arm.weight
          out.shares[#out.shares + 1] = target
          keys[#out.shares] = key or false
          keyed = keyed or key ~= nil
        end
      end
      return out, keyed and keys or nil
    elseif type(to) == "function" then
      return { kind = "script", f = to, text = "function " .. route.function_text(to) }
    end
  end
  local found = check.describe(to)
  if type(to) == "function" and nested then found = "a function" end
  local wanted = nested and "an upstream or a response" or "an upstream, a response, a split or a function"
  report(("%s: expected %s, found %s"):format(where, wanted, found))
  return nil
end

local function declare(pattern, given, source)
  local report = spec.reporter(("route %s"):format(check.describe(pattern)), source)
  if type(given) ~= "table" or getmetatable(given) then
    report("expected a table of options such as { to = users }, found " .. check.describe(given))
    return
  end
  local options = check.fields(given, fields, "", report)
  local limits = options.limits or {}
  local out = {
    pattern = pattern, source = source, name = options.name or pattern, host = options.host, methods = methods_of(options.methods, report),
    headers = header_conditions_of(options.headers, report), use = middlewares_of(options.use, "use", report), to = options.to,
    body_bytes = limits.body_bytes, access_log = options.access_log, record = options.record,
  }
  if given.to == nil then
    report("to is required: expected an upstream, a response, a split or a function, found nothing")
    out.to = respond.respond(500)
  end
  table.insert(spec.state.routes, out)
end
route.declare = declare

--- Declares a route. Patterns: "/api" (prefix on segments), "= /exact", "/users/:id", "/files/*rest", "/api*" (any continuation).
---@overload fun(pattern: string, given: gateway.RouteOptions)
---@param pattern string
---@param given? gateway.RouteOptions the options, or give them in a second call: gateway.route "/api" { to = users }
---@return fun(options: gateway.RouteOptions)
function route.route(pattern, given)
  spec.declaring("gateway.route")
  local source = spec.where()
  if type(pattern) ~= "string" then
    spec.problem('gateway.route: expected a pattern such as "/api", found ' .. check.describe(pattern), source)
    pattern = "/"
  end
  if given ~= nil then return declare(pattern, given, source) end
  local text = ("route %s"):format(check.describe(pattern))
  local complete = spec.begin(text, ("gateway.route %s { to = ... }"):format(check.describe(pattern)))
  return function(options)
    complete()
    declare(pattern, options, source)
  end
end

--- Middleware for every route, outermost first, before the routes' own: gateway.use { gateway.plugin "security-headers" }.
---@param list gateway.Middleware[]|gateway.Middleware
function route.use(list)
  spec.declaring("gateway.use")
  for _, f in ipairs(middlewares_of(list, "gateway.use", function(message) spec.problem(message) end)) do
    table.insert(spec.state.use, f)
  end
end

local function function_text(f)
  local label = route.labels[f]
  if label then return label.name end
  local info = debug.getinfo(f, "S")
  return ("%s:%d"):format(info.source:gsub("^[@=]", ""), info.linedefined)
end
route.function_text = function_text

--- Problems or warnings as texts, "file:line: message", each once.
---@param list { source: string, message: string }[]
---@return string[]
function route.texts(list)
  local out, seen = {}, {}
  for _, one in ipairs(list) do
    local text = ("%s: %s"):format(one.source, one.message)
    if not seen[text] then
      seen[text] = true
      out[#out + 1] = text
    end
  end
  return out
end

--- Everything declared, as plain data for the builder, and the chains of functions, which are kept for the workers. Ends the loading.
---@return table spec
---@return table problems a list of "file:line: message"
---@return table chains
function route.finish()
  local state = spec.state
  local ids, id_count = {}, 0
  local function id_of(f)
    if not ids[f] then
      id_count = id_count + 1
      ids[f] = id_count
    end
    return ids[f]
  end

  for _, pending in ipairs(state.pending) do
    if not pending.done then spec.problem(pending.message, pending.source) end
  end
  if #state.listens == 0 then spec.problem('nothing to listen on: expected gateway.listen "0.0.0.0:8080"', state.script or "script") end

  -- The step that tells the balancer's key: by one function, or by that of the split's arm that takes the request. Alike ones are one.
  local keyers = {}
  local function keyer(hash)
    if type(hash) == "function" then
      keyers[hash] = keyers[hash] or function(request, next)
        if traffic.choose(request) ~= -2 then traffic.key(request, hash) end
        return next()
      end
      return keyers[hash], "hash_on " .. function_text(hash)
    end
    local ids_of_arms, texts = {}, {}
    for i, f in ipairs(hash) do
      ids_of_arms[i] = f and id_of(f) or "-"
      if f then texts[#texts + 1] = function_text(f) end
    end
    local name = table.concat(ids_of_arms, " ")
    keyers[name] = keyers[name] or function(request, next)
      local f = hash[traffic.choose(request) + 1]
      if f then traffic.key(request, f) end
      return next()
    end
    return keyers[name], "hash_on " .. table.concat(texts, ", ")
  end

  -- What is counted by name: plugins, and the script's functions by where they begin. chains hold places in this list; 0: not counted.
  local plugins, plugin_at = {}, {}
  local function counted(f)
    local label = route.labels[f]
    local name = function_text(f)
    local place, switch = plugin_at[name], label and label.switch
    if not place then
      place = #plugins + 1
      plugins[place] = { name = name, anonymous = label == nil }
      plugin_at[name] = place
    end
    local known = plugins[place]
    if switch and known.switch and known.switch.text ~= switch.text then
      spec.problem(("plugin %q: expected the same on_failure, failures, within and off_for each time it is used, found others at %s")
        :format(name, known.switch.source), switch.source)
    end
    known.switch = known.switch or switch
    return place
  end

  local chains, chain_at = {}, {}
  local routes = {}
  for i, declared in ipairs(state.routes) do
    local report = spec.reporter(("route %s"):format(check.describe(declared.pattern)), declared.source)
    local target, hash = target_of(declared.to, "to", report)
    target = target or { kind = "none" }
    local chain, texts, labels, key, limits, limiters, places = {}, nil, nil, {}, nil, nil, {}
    for _, list in ipairs { state.use, declared.use } do
      for _, f in ipairs(list) do
        texts, labels = texts or {}, labels or {}
        if limit.is(f) then
          limiters = limiters or {}
          limiters[#limiters + 1] = f.index -- here or in the chain: what metrics tell of
          if #chain == 0 and not f.by_function then -- C asks it before any Lua is entered
            limits = limits or {}
            limits[#limits + 1] = f.index
            texts[#texts + 1], labels[#labels + 1] = f.text, false
            goto next
          end
          local step = limit.step(f)
          route.labels[step] = { name = f.text }
          f = step
          places[#chain + 1] = 0
        else
          places[#chain + 1] = counted(f)
        end
        chain[#chain + 1] = f
        texts[#texts + 1] = function_text(f)
        labels[#labels + 1] = route.labels[f] and route.labels[f].config or false
        key[#key + 1] = id_of(f)
        ::next::
      end
    end
    if hash then -- innermost: what it reads is what the others made of the request
      texts, labels = texts or {}, labels or {}
      local step, text = keyer(hash)
      chain[#chain + 1], texts[#texts + 1], labels[#labels + 1] = step, text, false
      key[#key + 1] = id_of(step)
      places[#chain] = 0
    end
    local index
    if #chain > 0 or target.kind == "script" then -- routes with the same functions share one chain, and so its pooled tasks
      key[#key + 1] = target.kind == "script" and "to " .. id_of(target.f) or "next"
      local name = table.concat(key, " ")
      index = chain_at[name]
      if not index then
        places[#chain + 1] = target.kind == "script" and counted(target.f) or 0
        chains[#chains + 1] = { use = chain, to = target.kind == "script" and target.f or nil, places = places }
        index = #chains - 1
        chain_at[name] = index
      end
    end
    routes[i] = {
      pattern = declared.pattern, source = declared.source, name = declared.name, host = declared.host, methods = declared.methods,
      headers = declared.headers, target = target, chain = index, chain_texts = texts, chain_configs = labels,
      body_bytes = declared.body_bytes, access_log = declared.access_log, record = declared.record, limits = limits,
      limiters = limiters,
    }
  end

  if not state.cut then upstream.finish() end
  chains.timers = state.timers or {}
  local upstreams = {}
  for i, declared in ipairs(state.upstreams) do upstreams[i] = declared._data end

  state.loading = false
  local problems = route.texts(state.problems)
  return {
    listens = state.listens, admin = state.admin, workers = state.workers or 0, limits = state.limits, timeouts = state.timeouts,
    lua = state.lua, user = state.user,
    trusted_proxies = state.trusted_proxies, forwarding = state.forwarding, request_id = state.request_id, access_log = state.access_log,
    event_log = state.event_log, record = state.record, watch = state.watch, tracing = state.tracing,
    upstreams = upstreams, routes = routes, metrics = state.metrics, files = state.files, shared = state.shared,
    limits_used = limit.data(), timers = state.timers, plugins = plugins,
  }, problems, chains
end

return route
