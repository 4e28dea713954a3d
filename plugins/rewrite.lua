-- Another path, query or host towards the backend. What the route matches is not changed by it: that was decided before.

local check = require "gateway.check"
local gateway = require "gateway"
local query_escape = require("gateway.query").escape
local template = require "gateway.template"

local function slash(text)
  if text:sub(1, 1) ~= "/" then return "expected it to begin with '/'" end
end

local function encoded(c) return ("%%%02X"):format(c:byte()) end

-- What clients say elsewhere than in the path becomes text of the path, and never a step up in it.
local function fit_path(value, kind)
  if kind == "path" then return value end
  for segment in (value:gsub("\\", "/") .. "/"):gmatch "([^/]*)/" do
    if segment == "." or segment == ".." then return nil end
  end
  return (value:gsub("[^%w%-._~!$&'()*+,;=:@/]", encoded))
end

-- What is filled in is the value of a parameter, and no further parameter; but the query as a whole is what it is.
local function fit_query(value, kind)
  if kind == "query" then return value end
  if kind == "path" then return (value:gsub("[&+;#]", encoded)) end
  return query_escape(value)
end

local function fit_host(value) return value:find("^[%w%-._~:%[%]]*$") and value or nil end

return {
  name = "rewrite",
  version = "1.0.0",
  description = "Changes the path, the query or the host that the backend sees: prefixes off and on, regular expressions with captures.",
  example = { strip_prefix = "/api/v1", add_prefix = "/internal" },
  schema = {
    strip_prefix = { type = "string", check = slash,
      description = "taken off when the path begins with it, on whole segments", example = "/api/v1" },
    rules = { type = "list", min_items = 1, of = { type = "record", fields = {
      match = { type = "regex", required = true, description = "a pattern for the path, found anywhere in it unless anchored by ^ and $" },
      to = { type = "string", required = true,
        description = "the new path, and ?query if it has one: $1, ${name}, ${host}, ${header.NAME}, ${param.NAME}" },
      methods = { type = "list", of = "string", description = "only for these" },
    } }, description = "the first that matches is used", example = { { match = "^/users/(\\d+)$", to = "/v2/user?id=$1" } } },
    add_prefix = { type = "string", check = slash, description = "put in front, last of all", example = "/internal" },
    host = { type = "string", check = template.check,
      description = "the Host that the backend sees", example = "${param.tenant}.internal" },
    keep_query = { type = "boolean", default = true,
      description = "what a rule's ?query says goes before the request's own; false: instead of it" },
  },
  check = function(config)
    if not (config.strip_prefix or config.rules or config.add_prefix or config.host) then
      return "expected strip_prefix, rules, add_prefix or host: nothing would be rewritten"
    end
    for i, rule in ipairs(config.rules or {}) do
      local _, problem = template.compile(rule.to, gateway.regex(rule.match))
      if problem then return ("rules[%d].to"):format(i), problem end
      if rule.to:sub(1, 1) ~= "/" and rule.to:sub(1, 1) ~= "$" then
        return ("rules[%d].to"):format(i), "expected a path, found " .. check.describe(rule.to)
      end
    end
  end,
  new = function(config)
    local strip = config.strip_prefix and config.strip_prefix:gsub("/+$", "") or nil
    local add = config.add_prefix and config.add_prefix:gsub("/+$", "") or nil
    local host = config.host and template.compile(config.host, nil, fit_host)
    local keep_query = config.keep_query
    local rules = {}
    for i, rule in ipairs(config.rules or {}) do
      local regex, methods = gateway.regex(rule.match), nil
      for _, name in ipairs(rule.methods or {}) do
        methods = methods or {}
        methods[name:upper()] = true
      end
      local path, query = rule.to:match("^([^?]*)%??(.*)$")
      rules[i] = { regex = regex, methods = methods, path = template.compile(path, regex, fit_path),
        query = query ~= "" and template.compile(query, regex, fit_query) or nil }
    end

    -- nil: what a client sent cannot stand in a path.
    local function apply(request, path)
      for i = 1, #rules do
        local rule = rules[i]
        if not rule.methods or rule.methods[request.method] then
          local captures, problem = rule.regex:match(path)
          if problem then
            gateway.log.warn("rewrite: a pattern was given up", { pattern = rule.regex.pattern, error = problem })
          elseif captures then
            if rule.query then
              local query, own = rule.query(request, captures), request.query
              if keep_query and own ~= "" then query = query .. "&" .. own end
              request.query = query
            elseif not keep_query then
              request.query = ""
            end
            path = rule.path(request, captures)
            return path and (path:sub(1, 1) == "/" and path or "/" .. path)
          end
        end
      end
      return path
    end

    local function change(request)
      local path = request.path
      local before = path
      if strip and path:sub(1, #strip) == strip then
        local after = path:sub(#strip + 1, #strip + 1)
        if after == "/" then path = path:sub(#strip + 1) elseif after == "" then path = "/" end
      end
      if rules[1] then path = apply(request, path) end
      local to = host and host(request)
      if not path or host and not to then error("a value that may not stand there", 0) end
      if add then path = add .. path end
      if path ~= before then request.path = path end
      if to then request.headers["Host"] = to end
    end

    return function(request, next)
      local good, problem = pcall(change, request)
      if not good then -- what the client sent makes no URL
        gateway.log.info("rewrite: the request cannot be rewritten", { error = tostring(problem) })
        return gateway.respond(400, { error = "the request cannot be rewritten" })
      end
      return next()
    end
  end,
}
