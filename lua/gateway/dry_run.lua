-- A script's gateway in this process, asked without anybody being asked by it: connections go to a backend that is played here. What each
-- middleware does with a request is watched. For `gateway explain` and `gateway plan`.

local chain = require "gateway.chain"
local core = require "gateway.testing_core"
local digest = require "gateway.digest"
local http = require "gateway.testing_http"
local respond = require "gateway.respond"
local route = require "gateway.route"
local testing_app = require "gateway.testing_app"
local testing_upstream = require "gateway.testing_upstream"

local dry_run = {}

local MASK = "***"

-- ---- pictures: what a message is at one moment ----

local function fields_of(headers)
  local list, by_name = {}, {}
  for name, value in headers:each() do
    local lower = name:lower()
    if not by_name[lower] then
      by_name[lower] = { name = name, values = {} }
      list[#list + 1] = by_name[lower]
    end
    table.insert(by_name[lower].values, value)
  end
  return list, by_name
end

--- The value of a field as it may be shown.
function dry_run.shown(name, value)
  return core.secret(name) and MASK or value
end

--- A query or target with the values of secret parameters masked.
function dry_run.shown_target(text)
  return (text:gsub("([^?&=]+)=([^&]*)", function(name, value)
    if core.secret(name) or name:find("%", 1, true) then return ("%s=%s"):format(name, MASK) end
    return ("%s=%s"):format(name, value)
  end))
end

local function picture_of_request(request)
  local list, by_name = fields_of(request.headers)
  return { path = request.path, query = request.query, upstream = request.upstream, fields = list, by_name = by_name }
end

local function picture_of_response(response)
  local list, by_name = fields_of(response.headers)
  local body = rawget(response, "_body")
  return { status = response.status, fields = list, by_name = by_name, body = body and #body or nil }
end

local function same(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i] ~= b[i] then return false end
  end
  return true
end

-- What has changed from one picture to a later one: { { what =, name =, value = }, ... }.
local function differences(before, after)
  local out = {}
  for _, what in ipairs { "path", "query", "upstream", "status", "body" } do
    if before[what] ~= after[what] then out[#out + 1] = { what = what, value = after[what] } end
  end
  for _, field in ipairs(after.fields) do
    local old = before.by_name[field.name:lower()]
    if not old then
      out[#out + 1] = { what = "add", name = field.name, value = table.concat(field.values, ", ") }
    elseif not same(old.values, field.values) then
      out[#out + 1] = { what = "set", name = field.name, value = table.concat(field.values, ", ") }
    end
  end
  for _, field in ipairs(before.fields) do
    if not after.by_name[field.name:lower()] then out[#out + 1] = { what = "remove", name = field.name } end
  end
  for _, change in ipairs(out) do
    if change.name then
      change.value = change.value and dry_run.shown(change.name, change.value)
    elseif change.what == "query" and change.value then
      change.value = dry_run.shown_target(change.value)
    end
  end
  return out
end

-- ---- watching a chain ----

---@class gateway.DryStep what one middleware did
---@field place integer in the chain
---@field nexts? integer times that it called next()
---@field request? table[] what it changed before next()
---@field response? table[] what it changed of the response
---@field answered? integer status of the answer that it made
---@field asked table[] requests of its own: { method =, url = }
---@field waited? number seconds
---@field ended? boolean it returned

local Run = {}
Run.__index = Run

local function watch(self, f, place)
  return function(request, next)
    local step = { place = place, asked = {} }
    local outer = self.current
    self.steps[place], self.current = step, step
    local since, waited = self.app:_elapsed(), 0
    local before, given, first = picture_of_request(request), nil, nil
    local result = f(request, next and function()
      step.nexts = (step.nexts or 0) + 1
      step.request = step.request or differences(before, picture_of_request(request))
      waited = waited + self.app:_elapsed() - since
      self.current = nil
      local response = next()
      self.current, since = step, self.app:_elapsed()
      given, first = response, picture_of_response(response)
      return response
    end)
    self.current = outer
    step.ended, waited = true, waited + self.app:_elapsed() - since
    if waited > 0 then step.waited = waited end
    local after = result or given
    if next == nil then -- `to`
      step.answered = getmetatable(result) == respond.Made and result.status or nil
    elseif given and (after == given) then
      step.response = differences(first, picture_of_response(after))
    elseif type(after) == "table" and after.status then
      step.answered = after.status
      if not step.request then step.request = differences(before, picture_of_request(request)) end
    end
    return result
  end
end

local function observer(self)
  return function(spec)
    for i, f in ipairs(spec.use) do
      local watched = watch(self, f, i)
      route.labels[watched] = route.labels[f] or { name = route.function_text(f) }
      spec.use[i] = watched
    end
    if spec.to then
      local watched = watch(self, spec.to, #spec.use + 1)
      route.labels[watched] = { name = route.function_text(spec.to) }
      spec.to = watched
    end
  end
end

-- ---- loading ----

local function folder_of(path)
  local folder = path:match("^(.*)/[^/]*$")
  return folder == "" and "/" or folder or "."
end

-- A script may not end this process, nor write between the lines of what is told about it.
local function surround(folder)
  package.path = ("%s/?.lua;%s/?/init.lua;%s/lua/?.lua;%s/lua/?/init.lua;%s"):format(folder, folder, folder, folder,
    (package.path:gsub("^%./%?%.lua;", "")))
  os.exit = function() error("os.exit is not available in a gateway script", 2) end -- luacheck: ignore 122
  print = function() end -- luacheck: ignore 121
end

--- Loads a script. Nothing but its own files is read; names are not looked up.
---@param path string
---@param options { status: integer?, describe: fun(data: table, chains: table)? } what the played backends answer with (200); and who
---       looks at what is declared before it is built: what that gives is run.described
---@return table? run
---@return string problems lines, when there is no run
function dry_run.load(path, options)
  local folder = folder_of(path)
  surround(folder)
  local self = setmetatable({ steps = {}, asked = {}, options = options }, Run)
  local stranger = testing_upstream.new(function(request) return self:_answer(request) end)
  chain.observer = observer(self)
  local good, app = pcall(testing_app.new, function()
    local chunk, problem = loadfile(path)
    if not chunk then error(problem, 0) end
    chunk()
  end, { folder = folder }, path, nil, 1, {
    stranger = stranger,
    declared = function(data, chains)
      self.data, self.chains, self.text = data, chains, digest.text(data)
      self.described = options.describe and options.describe(data, chains)
      data.access_log, data.event_log = nil, nil -- what the gateway says of a request is read from its log: all of it
      for _, one in ipairs(data.routes) do one.access_log = nil end
      self.named = {}
      for i, upstream in ipairs(data.upstreams) do
        self.named[i] = {}
        for k, endpoint in ipairs(upstream.endpoints) do self.named[i][k] = endpoint.address end
      end
    end,
  })
  chain.observer = nil
  if not good then return nil, tostring(app) end
  self.app = app
  return self, ""
end

function Run:close()
  self.app:close()
end

-- ---- asking ----

-- What comes to a backend: the request that is being forwarded, or one of a middleware's own.
function Run:_answer(request)
  if not self.active then return 200 end
  local names = request.headers
  if self.current then
    table.insert(self.current.asked, { method = request.method, url = ("http://%s%s"):format(names.host or request.address,
      dry_run.shown_target(request.target)) })
    return 200
  end
  table.insert(self.asked, request)
  return self.options.status or 200
end

--- A request's bytes: { method =, host =, target =, headers = { { name, value } }, body = } → head, body.
function dry_run.bytes(asked)
  local lines, given = { ("%s %s HTTP/1.1"):format(asked.method, asked.target) }, {}
  for _, field in ipairs(asked.headers) do given[field[1]:lower()] = true end
  if not given.host then lines[2] = "Host: " .. asked.host end
  for _, field in ipairs(asked.headers) do lines[#lines + 1] = ("%s: %s"):format(field[1], field[2]) end
  local body = asked.body
  if body and not given["content-length"] and not given["transfer-encoding"] then
    lines[#lines + 1] = ("Content-Length: %d"):format(#body)
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n", body or ""
end

local function name_of_step(outcome, place)
  local texts = outcome.route and outcome.route.chain_texts or {}
  local before = outcome.route and #(outcome.route.limits or {}) or 0
  if texts[before + place] then return texts[before + place] end
  local target = outcome.route and outcome.route.target
  return target and target.text or "to"
end

--- Sends a request through it.
---@param head string
---@param body string
---@param method string
---@param client_ip string
---@return table outcome { judged, route, status, error, steps, asked, response, access, problems }
function Run:ask(head, body, method, client_ip)
  self.steps, self.asked, self.current, self.active = {}, {}, nil, true
  local app = self.app
  local logged = #app.log
  local judged = app._core:judge(head)
  local client = app:connect { client_ip = client_ip }
  local good, response = pcall(function()
    return client:start({ raw = { head .. body }, method = method, alone = true }):wait()
  end)
  client:close()
  app:_settle()
  self.active = false
  local access = app.access[#app.access] or {}
  local outcome = {
    judged = judged, route = judged.route and self.data.routes[judged.route], asked = self.asked, access = access, steps = {},
    problems = {},
  }
  if good then
    outcome.response, outcome.status = response, response.status or 0
    outcome.error = access.error or (response.status == nil and response.error) or nil
  else
    outcome.status, outcome.error = 0, tostring(response)
  end
  for place = 1, 200 do
    local step = self.steps[place]
    if not step then break end
    step.name = name_of_step(outcome, place)
    outcome.steps[place] = step
  end
  for i = logged + 1, #app.log do
    local line = app.log[i]
    if line.level == "error" or line.level == "warn" then
      outcome.problems[#outcome.problems + 1] = line.error and ("%s: %s"):format(line.message, tostring(line.error)) or line.message
    end
  end
  return outcome
end

--- The head of a request that came to a backend, with secrets masked.
function dry_run.head_of(request)
  local lines = { ("%s %s HTTP/1.1"):format(request.method, dry_run.shown_target(request.target)) }
  local names, values = rawget(request.headers, 1), rawget(request.headers, 3)
  for i = 1, #names do lines[#lines + 1] = ("%s: %s"):format(names[i], dry_run.shown(names[i], values[i])) end
  return lines
end

dry_run.picture_of_response, dry_run.http = picture_of_response, http

return dry_run
