-- Answers that a script makes: gateway.respond, gateway.redirect; and gateway.split, which shares requests out among upstreams.

local check = require "gateway.check"
local headers = require "gateway.headers"
local json = require "gateway.json"
local spec = require "gateway.spec"

local respond = {}

---@class gateway.Response
---@field status integer
---@field headers gateway.Headers names without regard to case; nil removes
---@field body any response.body = "..." replaces it; response:body() reads it
local Made = {}
respond.Made = Made

local function made_body(response)
  return response._body
end

-- A response that was made keeps status as a plain field, its body in _body and its fields in _headers (made when asked for).
function Made.__index(response, key)
  if key == "headers" then
    local list = rawget(response, "_headers")
    if not list then
      list = headers.new()
      rawset(response, "_headers", list)
    end
    return list
  elseif key == "body" then
    return made_body
  end
  return nil
end

function Made.__newindex(response, key, value)
  if key == "body" then
    if type(value) == "number" then value = tostring(value) end
    if type(value) ~= "string" then return spec.problem("response.body: expected a string, found " .. check.describe(value)) end
    rawset(response, "_body", value)
    return
  elseif key == "headers" then
    return spec.problem("response.headers cannot be replaced: set its fields, response.headers[\"X-Name\"] = value")
  end
  spec.problem("a response has no " .. check.describe(key) .. " to set: expected status, headers or body")
end

function Made.describe(response)
  return ("a response (%s)"):format(tostring(response.status))
end

local function status_good(status)
  return type(status) == "number" and status % 1 == 0 and status >= 200 and status <= 599
end
respond.status_good = status_good

local function add_headers(response, given)
  local list = response.headers
  local names = {}
  for name in pairs(given) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do list[name] = given[name] end
end

--- A response made here. A table as body is sent as JSON.
---@param status integer 200 to 599
---@param body? string|number|table
---@param fields? table<string, string|number|string[]>
---@return gateway.Response
function respond.respond(status, body, fields)
  if not status_good(status) then
    spec.problem("gateway.respond: expected a status from 200 to 599, found " .. check.describe(status))
    status = 500
  end
  local kind = type(body)
  local content_type
  if kind == "string" then
    content_type = "text/plain; charset=utf-8"
  elseif kind == "table" then
    local good, text = pcall(json.encode, body)
    if not good then
      spec.problem("gateway.respond: " .. tostring(text))
      text = ""
    end
    body, content_type = text, "application/json"
  elseif kind == "number" then
    body, content_type = tostring(body), "text/plain; charset=utf-8"
  elseif kind == "nil" then
    body = ""
  else
    spec.problem("gateway.respond: expected a string or a table as body, found " .. check.describe(body))
    body = ""
  end
  local response = setmetatable({ status = status, _body = body, _type = content_type }, Made)
  if fields ~= nil then
    if type(fields) ~= "table" then
      spec.problem("gateway.respond: expected a table of headers, found " .. check.describe(fields))
    else
      add_headers(response, fields)
    end
  end
  return response
end

local redirects = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

--- Sends the client elsewhere.
---@param url string absolute, or a path
---@param status? integer 301, 302 (default), 303, 307 or 308
---@return gateway.Response
function respond.redirect(url, status)
  status = status or 302
  if not redirects[status] then
    spec.problem("gateway.redirect: expected 301, 302, 303, 307 or 308, found " .. check.describe(status))
    status = 302
  end
  if type(url) ~= "string" or url == "" or not check.header_value(url) or url:find(" ", 1, true) then
    spec.problem("gateway.redirect: expected a URL, found " .. check.describe(url))
    url = "/"
  end
  local response = setmetatable({ status = status, _body = "" }, Made)
  response.headers.Location = url
  return response
end

---@class gateway.Split
local Split = { describe = function() return "a split" end }
respond.Split = Split

--- Shares requests out by weight: gateway.split { { stable, weight = 95 }, { beta, weight = 5 } }. An arm is an upstream (or its name) or a
--- response; a bare one has weight 1.
---@param arms (gateway.Upstream|gateway.Response|string|{ [1]: gateway.Upstream|gateway.Response|string, weight?: integer })[]
---@return gateway.Split
function respond.split(arms)
  spec.declaring("gateway.split")
  local source = spec.where()
  local out = setmetatable({ source = source, arms = {} }, Split)
  if type(arms) ~= "table" or getmetatable(arms) or not check.is_list(arms) or #arms == 0 then
    spec.problem("gateway.split: expected a list such as { { stable, weight = 95 }, { beta, weight = 5 } }, found " .. check.describe(arms),
      source)
    return out
  end
  for i, arm in ipairs(arms) do
    local target, weight = arm, 1
    if type(arm) == "table" and not getmetatable(arm) then
      target = arm[1]
      local rest = {}
      for key, value in pairs(arm) do if key ~= 1 then rest[key] = value end end
      local good = check.fields(rest, { weight = { type = "integer", min = 0, max = 1000000, default = 1 } }, "",
        spec.reporter(("gateway.split: arm %d"):format(i), source))
      weight = good.weight or 1
    end
    table.insert(out.arms, { target = target, weight = weight })
  end
  local total = 0
  for _, arm in ipairs(out.arms) do total = total + arm.weight end
  if total == 0 then spec.problem("gateway.split: expected a weight above 0 in at least one arm, found none", source) end
  return out
end

--- The plain data of a response, for the builder.
function respond.data(response)
  local out = { status = response.status, body = response._body, headers = {} }
  local typed = false
  local list = rawget(response, "_headers")
  if list then
    for i = 1, #list[1] do
      if list[2][i] == "content-type" then typed = true end
      out.headers[i] = { name = list[1][i], value = list[3][i] }
    end
  end
  if response._type and not typed then table.insert(out.headers, 1, { name = "Content-Type", value = response._type }) end
  return out
end

return respond
