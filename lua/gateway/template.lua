-- Texts with ${...} in them, as options of plugins have them: "https://${host}${path}". Compiled when the script loads, so that what is
-- wrong is said then; filled in for each request.

local check = require "gateway.check"
local query = require "gateway.query"

local template = {}

local plain = {
  client_ip = function(request) return request.client_ip end,
  host = function(request) return request.host end,
  id = function(request) return request.id end,
  method = function(request) return request.method end,
  path = function(request) return request.path end,
  query = function(request) return request.query end,
  route = function(request) return request.route end,
  scheme = function(request) return request.scheme end,
  upstream = function(request) return request.upstream end,
}

local keyed = {
  header = function(name) return function(request) return request.headers[name] end end,
  cookie = function(name) return function(request) return request.cookies[name] end end,
  param = function(name) return function(request) return request.params[name] end end,
  query = function(name) return function(request) return query.get(request.query, name) end end,
  ctx = function(name)
    return function(request)
      local value = request.ctx[name]
      return value ~= nil and tostring(value) or nil
    end
  end,
}

local function list_of(names)
  local out = {}
  for name in pairs(names) do out[#out + 1] = name end
  table.sort(out)
  return table.concat(out, ", ")
end

-- Second result: what the text is: "path" or "query" of the request, or out of its path, percent-encoded as it came; or "text".
local function part_of(word, regex)
  if plain[word] then return plain[word], (word == "path" or word == "query") and word or "text" end
  local kind, name = word:match("^(%a+)[.:](.+)$")
  if kind and keyed[kind] then return keyed[kind](name), "text" end
  local group = regex and (tonumber(word) or regex.names[word])
  if group and group <= regex.captures then return function(_, captures) return captures and captures[group] end, "path" end
  if regex and tonumber(word) then return nil, ("${%s}: the pattern has %d groups"):format(word, regex.captures) end
  local near = check.nearest(word, { "client_ip", "host", "id", "method", "path", "query", "route", "scheme", "upstream" })
  return nil, ("${%s}: expected one of %s, or header.NAME, cookie.NAME, param.NAME, query.NAME, ctx.NAME%s%s"):format(word, list_of(plain),
    regex and ", or a group of the pattern" or "", near and (" (did you mean %q?)"):format(near) or "")
end

--- A function(request, captures) that fills the text in; what is not there becomes "". With a regex, $1 or ${1} and ${name} are its groups.
--- "$$" is a dollar sign. What is filled in is made to fit its place first: fit(value, kind), with the kind "path" or "query" where it is
--- of those, percent-encoded as it came, and "text" else, gives what stands there; or nil: then there is none of the whole.
---@param text string
---@param regex? gateway.Regex
---@param fit? fun(value: string, kind: "path"|"query"|"text"): string?
---@return (fun(request: gateway.Request, captures?: table): string?)? fill
---@return string? problem
function template.compile(text, regex, fit)
  local parts, at, constant = {}, 1, true
  while true do
    local i = text:find("$", at, true)
    if not i then break end
    if i > at then parts[#parts + 1] = text:sub(at, i - 1) end
    local word, past = text:match("^%${([^}]*)}()", i)
    if not word and regex then word, past = text:match("^%$(%d)()", i) end
    if word then
      local part, kind = part_of(word, regex)
      if not part then return nil, kind end
      parts[#parts + 1] = fit and function(request, captures) return fit(part(request, captures) or "", kind) or false end or part
      constant, at = false, past
    elseif text:sub(i + 1, i + 1) == "$" then
      parts[#parts + 1] = "$"
      at = i + 2
    else
      return nil, ("expected ${NAME} or $$ at byte %d, found %s"):format(i, check.describe(text:sub(i, i + 9)))
    end
  end
  if at <= #text then parts[#parts + 1] = text:sub(at) end
  if constant then
    local whole = table.concat(parts)
    return function() return whole end
  end
  local count = #parts
  return function(request, captures)
    local out = {}
    for k = 1, count do
      local part = parts[k]
      local value = type(part) == "string" and part or part(request, captures)
      if value == false then return nil end
      out[k] = value or ""
    end
    return table.concat(out)
  end
end

--- For a schema: { type = "string", check = template.check }.
---@param text string
---@return string? problem
function template.check(text)
  local _, problem = template.compile(text)
  return problem
end

return template
