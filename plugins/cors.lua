-- Cross-origin resource sharing (Fetch standard, section 3.2): answers preflight requests, tells browsers which origins may read answers.

local check = require "gateway.check"
local gateway = require "gateway"

local ORIGIN = "^%l[%l%d+.-]*://[%w.%-%[%]:*]+$"

local function names(description, default, example)
  return { type = "list", of = "string", default = default, description = description, example = example }
end

-- All of them, unless some are named, or patterns.
local function origins_of(config)
  return config.origins or (#config.origin_patterns > 0 and {} or { "*" })
end

-- A function that says whether an origin (as browsers send it: lower case) is allowed.
local function matcher(config)
  local exact, suffixes = {}, {}
  for _, origin in ipairs(origins_of(config)) do
    if origin == "*" then return function() return true end, true end
    local scheme, suffix = origin:lower():match("^(%a[%w+.-]*://)%*(%..+)$")
    if scheme then
      suffixes[#suffixes + 1] = { scheme, suffix }
    else
      exact[origin:lower()] = true
    end
  end
  local patterns = {}
  for i, pattern in ipairs(config.origin_patterns) do patterns[i] = gateway.regex(pattern, "a") end
  return function(origin)
    if exact[origin] then return true end
    for _, s in ipairs(suffixes) do
      -- Something stands before the suffix, and nothing of it is a port, a path or a user.
      if #origin > #s[1] + #s[2] and origin:sub(1, #s[1]) == s[1] and origin:sub(-#s[2]) == s[2]
        and origin:sub(#s[1] + 1, -#s[2] - 1):find("^[%w%-.]+$") then
        return true
      end
    end
    for _, pattern in ipairs(patterns) do
      local first, last = pattern:find(origin)
      if first == 1 and last == #origin then return true end
    end
    return false
  end, false
end

return {
  name = "cors",
  version = "1.0.0",
  description = "Tells browsers which other origins may use this route, and answers their preflight requests. The route takes OPTIONS.",
  example = { origins = { "https://app.example.com" }, credentials = true },
  schema = {
    origins = { type = "list", of = "string", description = "who may: \"https://app.example.com\", \"https://*.example.com\" (any depth "
      .. "below), \"*\"; all where neither these nor patterns are given", example = { "https://app.example.com" } },
    origin_patterns = { type = "list", of = { type = "regex" }, default = {},
      description = "likewise, as regular expressions of the whole origin" },
    methods = names("which methods may be used", { "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE" }),
    headers = names("which request fields may be sent; none named: those that the browser asks for", {},
      { "Authorization", "Content-Type" }),
    expose = names("which fields of the answer scripts may read, beside the harmless ones", {}, { "X-Request-ID" }),
    credentials = { type = "boolean", default = false, description = "with cookies and the like; then origins must be named" },
    max_age = { type = "duration", description = "how long browsers may remember the answer to a preflight", example = "10m" },
    private_network = { type = "boolean", default = false, description = "let public sites reach this one in a private network" },
    preflight_continue = { type = "boolean", default = false, description = "let the backend see preflight requests, too" },
  },
  check = function(config)
    local origins = origins_of(config)
    for i, origin in ipairs(origins) do
      if origin == "*" then
        if config.credentials then
          return "credentials", "may not go with origins = { \"*\" }: any site could act as the user; name the origins"
        end
        if #origins > 1 then return "origins", "\"*\" takes all: expected it alone" end
      elseif origin ~= "null" and (not origin:lower():find(ORIGIN) or select(2, origin:gsub("%*", "")) > 1
        or (origin:find("*", 1, true) and not origin:find("://*.", 1, true))) then
        return ("origins[%d]"):format(i), ("expected \"SCHEME://HOST[:PORT]\", \"https://*.example.com\" or \"*\", found %s"):format(
          check.describe(origin))
      end
    end
    for _, field in ipairs { "methods", "headers", "expose" } do
      for i, name in ipairs(config[field]) do
        if not check.header_name(name) then
          return ("%s[%d]"):format(field, i), "expected a name, found " .. check.describe(name)
        end
      end
    end
  end,
  new = function(config)
    local allowed, all = matcher(config)
    local methods = table.concat(config.methods, ", "):upper()
    local headers = #config.headers > 0 and table.concat(config.headers, ", ") or nil
    local expose = #config.expose > 0 and table.concat(config.expose, ", ") or nil
    local max_age = config.max_age and ("%d"):format(config.max_age) or nil
    local credentials, private_network, preflight_continue = config.credentials, config.private_network, config.preflight_continue
    local vary = not all or credentials

    local function add_vary(list, name)
      local there = list["Vary"]
      if not there then
        list["Vary"] = name
      elseif there ~= "*" and not (", " .. there:lower() .. ","):find("[ ,]" .. name:lower():gsub("%-", "%%-") .. "%s*,") then
        list["Vary"] = there .. ", " .. name
      end
    end

    local function permit(list, origin)
      list["Access-Control-Allow-Origin"] = vary and origin or "*"
      if credentials then list["Access-Control-Allow-Credentials"] = "true" end
    end

    local function preflight(request, origin)
      local response = gateway.respond(204)
      local list = response.headers
      if vary then add_vary(list, "Origin") end
      if not allowed(origin:lower()) then return response end -- the browser refuses by what is missing
      permit(list, origin)
      list["Access-Control-Allow-Methods"] = methods
      local asked = request.headers["Access-Control-Request-Headers"]
      if headers then
        list["Access-Control-Allow-Headers"] = headers
      elseif asked and #asked <= 4096 then
        list["Access-Control-Allow-Headers"] = asked
        add_vary(list, "Access-Control-Request-Headers")
      end
      if max_age then list["Access-Control-Max-Age"] = max_age end
      if private_network and request.headers["Access-Control-Request-Private-Network"] == "true" then
        list["Access-Control-Allow-Private-Network"] = "true"
      end
      return response
    end

    return function(request, next)
      local origin = request.headers["Origin"]
      if not origin then
        if not vary then return next() end
        local response = next()
        add_vary(response.headers, "Origin") -- a cache must not give this answer to somebody with an origin
        return response
      end
      if not preflight_continue and request.method == "OPTIONS" and request.headers["Access-Control-Request-Method"] then
        return preflight(request, origin)
      end
      local response = next()
      local list = response.headers
      -- What the backend says of it is replaced: two answers are none.
      list["Access-Control-Allow-Origin"] = nil
      list["Access-Control-Allow-Credentials"] = nil
      if vary then add_vary(list, "Origin") end
      if allowed(origin:lower()) then
        permit(list, origin)
        if expose then list["Access-Control-Expose-Headers"] = expose end
      end
      return response
    end
  end,
}
