-- gateway.load "routes.yaml": the same vocabulary in YAML. Each entry goes through the functions that scripts call, with the file's line as
-- its source. Two forms of route:
--
--   - path: /api/users        the vocabulary: to, use, methods, host, headers, name, limits, access_log
--     to: users
--   - path: /api/*            the plain form: path, headers, backends, and nothing else
--     headers: { X-Version: "2" }
--     backends: [ "10.0.0.1:8080", "http://10.0.0.2:8080" ]

local check = require "gateway.check"
local limit = require "gateway.limit"
local logs = require "gateway.logs"
local operation = require "gateway.operation"
local plugin = require "gateway.plugin"
local respond = require "gateway.respond"
local route = require "gateway.route"
local settings = require "gateway.settings"
local spec = require "gateway.spec"
local tracing = require "gateway.tracing"
local upstream = require "gateway.upstream"

local load = {}

-- How often the names among plain backends are looked up again: the plain form has no word for it.
local PLAIN_RESOLVE = 30

-- One file being read: its name, its text, and the lines of its maps and lists.
local function reader(name, text, lines)
  local self = {}
  local rows
  --- Whether `word` stands on the line of that key as it is.
  function self.says(node, key, word)
    local at = lines and lines[node] and lines[node][key]
    if not at then return true end
    if not rows then
      rows = {}
      for row in (text .. "\n"):gmatch("([^\n]*)\n") do rows[#rows + 1] = row end
    end
    for token in (rows[at] or ""):gmatch("[^%s,{}:]+") do
      if token == word then return true end
    end
    return false
  end
  --- "file:line" of a key, or of the node itself; nil when it is not of this file.
  function self.locate(node, key)
    local known = type(node) == "table" and lines and lines[node]
    if type(known) == "table" then known = key ~= nil and known[key] or known[0] end
    return known and ("%s:%d"):format(name, known)
  end
  function self.source(node, key)
    return self.locate(node, key) or name
  end
  return self
end

local function plugin_of(item, source)
  local made = route.failed
  spec.at(source, function()
    if type(item) == "string" then
      made = plugin.plugin(item)
    elseif type(item) == "table" and (item.rate_limit ~= nil or item.concurrency_limit ~= nil) then
      local word = item.rate_limit ~= nil and "rate_limit" or "concurrency_limit"
      for _, key in ipairs(check.names(item)) do
        if key ~= word then spec.problem("use: " .. check.unknown("option", key, { [word] = true })) end
      end
      made = limit[word](item[word])
    elseif type(item) == "table" and type(item.plugin) == "string" then
      for _, key in ipairs(check.names(item)) do
        if key ~= "plugin" and key ~= "config" and key ~= "options" then
          spec.problem("use: " .. check.unknown("option", key, { plugin = true, config = true, options = true }))
        end
      end
      made = plugin.plugin(item.plugin, item.config, item.options)
    else
      spec.problem("use: expected a plugin's name or { plugin: NAME, config: { ... } }, found " .. check.describe(item))
    end
  end)
  return made
end

local function plugins_of(list, file, source)
  if list == nil then return nil end
  if not check.is_list(list) then
    spec.problem("use: expected a list of plugins, found " .. check.describe(list), source)
    return nil
  end
  local out = {}
  for i, item in ipairs(list) do out[i] = plugin_of(item, type(item) == "table" and file.source(item) or file.source(list, i)) end
  return out
end

local target_of

local made_of = {
  respond = function(given)
    if type(given) == "number" then given = { status = given } end
    local good = check.value(given, {
      type = "table",
      fields = { status = { type = "integer", required = true }, body = { type = "any" }, headers = { type = "map", of = "any" } },
    }, "", spec.reporter("to: respond"))
    return good and good.status and respond.respond(good.status, good.body, good.headers)
  end,
  redirect = function(given)
    if type(given) == "string" then given = { url = given } end
    local good = check.value(given, {
      type = "table", fields = { url = { type = "string", required = true }, status = { type = "integer" } },
    }, "", spec.reporter("to: redirect"))
    return good and good.url and respond.redirect(good.url, good.status)
  end,
  split = function(given)
    if not check.is_list(given) then
      spec.problem("to: split: expected a list of { to: UPSTREAM, weight: N }, found " .. check.describe(given))
      return nil
    end
    local arms = {}
    for i, arm in ipairs(given) do
      local good = check.value(arm, {
        type = "table", fields = { to = { type = "any", required = true }, weight = { type = "any", default = 1 } },
      }, "", spec.reporter(("to: split[%d]"):format(i)))
      if good and good.to ~= nil then arms[#arms + 1] = { target_of(good.to), weight = good.weight } end
    end
    if #arms == 0 and #given > 0 then return nil end -- what is wrong with them has been said
    return respond.split(arms)
  end,
}

-- `to` in YAML: an upstream's name, or a map with one of respond, redirect, split.
function target_of(to)
  if type(to) ~= "table" then return to end
  local key, value = next(to)
  if key and next(to, key) == nil and made_of[key] then return made_of[key](value) or respond.respond(500) end
  local found = check.describe(to)
  if type(key) == "string" and not made_of[key] then found = ("the name %q"):format(key) end
  spec.problem("to: expected an upstream's name, or a map with one of respond, redirect, split; found " .. found)
  return respond.respond(500)
end

-- YAML reads 2 as a number; a header's value is text. 2.0 and 0x2 are the same number, so only what is written as digits is taken.
local function header_texts(headers, where, file)
  if type(headers) ~= "table" then return headers end
  local out = {}
  for _, name in ipairs(check.names(headers)) do
    local value = headers[name]
    if type(value) == "number" and value % 1 == 0 and file.says(headers, name, ("%d"):format(value)) then
      value = ("%d"):format(value)
    elseif type(value) == "number" or type(value) == "boolean" then
      spec.problem(("%s: headers.%s: expected text, found %s: put it in quotes"):format(where, tostring(name), check.describe(value)))
      value = tostring(value)
    end
    out[name] = value
  end
  return out
end

local plain_fields = {
  path = { type = "string", required = true }, headers = { type = "map", of = "string" },
  backends = { type = "list", of = "string", required = true },
}

-- The plain form. Its path is a prefix: "/api" and "/api/*" on whole segments, "/api*" with any continuation. Routes with the same backends
-- share one upstream, whose name is the list of them.
local function plain_route(item, file)
  local where = "route " .. check.describe(item.path)
  local given = check.copy(item)
  given.headers = header_texts(item.headers, where, file)
  local good = check.fields(given, plain_fields, "", spec.reporter(where))
  if not good.path or not good.backends then return end
  if good.path:sub(1, 1) ~= "/" then
    spec.problem(("%s: path: expected a prefix that begins with '/', found %s"):format(where, check.describe(good.path)))
    return
  elseif good.path:find("/:") or good.path:find("*", 1, true) ~= nil and not good.path:find("^[^*]*%*$") then
    spec.problem(("%s: path: expected a prefix, with '/*' or '*' at its end at most, found %s"):format(where, check.describe(good.path)))
    return
  elseif #good.backends == 0 then
    if #given.backends > 0 then return end -- what is wrong with them has been said
    spec.problem(("%s: backends: expected at least one, found an empty list"):format(where))
    return
  end
  local name = table.concat(good.backends, ",")
  local group = spec.state.upstream_by_name[name]
  if not group then
    group = upstream.make(name, spec.where())
    local endpoints = {}
    for i, backend in ipairs(good.backends) do endpoints[i] = { backend, resolve = PLAIN_RESOLVE } end
    upstream.declare(group, endpoints, spec.where())
  end
  route.declare(good.path, { headers = good.headers, to = group }, spec.where())
end

local function full_route(item, file)
  local path = item.path
  local options = {}
  for key, value in pairs(item) do
    if key ~= "path" then options[key] = value end
  end
  if type(path) ~= "string" then
    spec.problem('route: path is required: expected a pattern such as "/api", found ' .. check.describe(path))
    return
  end
  options.headers = header_texts(options.headers, "route " .. check.describe(path), file)
  if options.to ~= nil then options.to = target_of(options.to) end
  options.use = plugins_of(options.use, file, spec.where())
  route.declare(path, options, spec.where())
end

local function routes(list, file, source)
  if not check.is_list(list) then
    spec.problem("routes: expected a list, found " .. check.describe(list), source)
    return
  end
  for i, item in ipairs(list) do
    local at = type(item) == "table" and file.source(item) or file.source(list, i)
    if type(item) ~= "table" or (check.is_list(item) and #item > 0) then
      spec.problem(("routes[%d]: expected a map with path and to (or backends), found %s"):format(i, check.describe(item)), at)
    else
      spec.at(at, item.backends ~= nil and item.to == nil and plain_route or full_route, item, file)
    end
  end
end

local function upstreams(map, file, source)
  if type(map) ~= "table" or #map > 0 then
    spec.problem("upstreams: expected a map from names to endpoints, found " .. check.describe(map), source)
    return
  end
  local names = {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do
    local given = map[name]
    spec.at(file.source(map, name), function()
      local options = {}
      local endpoints = given
      if type(given) == "table" and not check.is_list(given) then
        for key, value in pairs(given) do options[key] = value end
        endpoints, options.endpoints = given.endpoints, nil
      elseif type(given) == "string" then
        endpoints = { given }
      end
      if endpoints ~= nil and not check.is_list(endpoints) then
        spec.problem(("upstream %s: expected a list of endpoints, found %s"):format(check.describe(name), check.describe(endpoints)))
        if upstream.name_good(name) then
          upstream.make(name, spec.where()) -- so that nobody is told that it is unknown
          return
        end
        endpoints = nil
      end
      for i, item in ipairs(endpoints or {}) do
        options[i] = item
        if type(item) == "table" and item.address ~= nil then -- { address: "host:port", weight: 3 }
          options[i] = { item.address }
          for key, value in pairs(item) do if key ~= "address" then options[i][key] = value end end
        end
      end
      upstream.upstream(name, options)
    end)
  end
end

local single = {
  "admin", "user", "workers", "limits", "timeouts", "script", "access_log", "event_log", "tracing", "trusted_proxies", "forwarding",
  "request_id", "record", "watch",
}

local known = { listen = true, upstreams = true, use = true, routes = true }
for _, name in ipairs(single) do known[name] = true end

local function apply(tree, file)
  local keys = {}
  for key in pairs(tree) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    if not known[key] then spec.problem(check.unknown("name", key, known), file.source(tree, key)) end
  end
  for _, name in ipairs(single) do
    local declare = settings[name] or operation[name] or logs[name] or tracing[name]
    if tree[name] ~= nil then spec.at(file.source(tree, name), declare, tree[name]) end
  end
  if tree.listen ~= nil then
    local list = type(tree.listen) == "table" and tree.listen or { tree.listen }
    for _, address in ipairs(list) do spec.at(file.source(tree, "listen"), settings.listen, address) end
  end
  if tree.upstreams ~= nil then upstreams(tree.upstreams, file, file.source(tree, "upstreams")) end
  if tree.use ~= nil then
    local list = plugins_of(tree.use, file, file.source(tree, "use"))
    if list then spec.at(file.source(tree, "use"), route.use, list) end
  end
  if tree.routes ~= nil then routes(tree.routes, file, file.source(tree, "routes")) end
end

--- Declares what a YAML file says. The path is relative to the script's folder.
---@param path string
function load.load(path)
  spec.declaring("gateway.load")
  if type(path) ~= "string" or path == "" then
    spec.problem('gateway.load: expected the path of a YAML file, found ' .. check.describe(path))
    return
  end
  local full = path
  local folder = spec.state.folder
  if path:sub(1, 1) ~= "/" and folder and folder ~= "." then full = folder .. "/" .. path end
  table.insert(spec.state.files, full)
  local stream, message = io.open(full, "rb")
  if not stream then
    spec.problem(("gateway.load: cannot read %s"):format(message))
    return
  end
  local text, failure = stream:read("*a")
  stream:close()
  if not text then
    spec.problem(("gateway.load: cannot read %s: %s"):format(full, tostring(failure)))
    return
  end
  local parse = load.parse or require "gateway.yaml"
  local tree, lines = parse(text, full)
  if tree == nil then
    if lines == nil then return end -- an empty file says nothing
    local source, why = tostring(lines):match("^(.-:%d+:%d+): (.*)$")
    spec.problem(why or tostring(lines), source or full)
    return
  end
  local file = reader(full, text, lines)
  if type(tree) ~= "table" or (#tree > 0) then
    spec.problem("expected a map with names such as upstreams and routes, found " .. check.describe(tree), file.source(tree))
    return
  end
  local before = spec.state.locate
  spec.state.locate = file.locate
  apply(tree, file)
  spec.state.locate = before
end

return load
