-- Sends clients elsewhere: to https, to another host, by pattern.

local check = require "gateway.check"
local gateway = require "gateway"
local template = require "gateway.template"

return {
  name = "redirect",
  version = "1.0.0",
  description = "Answers with a redirect: everything, what a pattern matches, or what came over http.",
  example = { match = "^/old/(.*)$", to = "/new/$1", status = 301 },
  schema = {
    to = { type = "string", description = "where to: $1 and ${name} of match, ${host}, ${path}, ${query}, ${scheme}, ${param.NAME}",
      example = "https://www.example.com${path}" },
    match = { type = "regex", description = "a pattern for the path; what it does not match goes on to the backend" },
    https = { type = "boolean", default = false, description = "what came over http goes to https, at the same host and path" },
    status = { type = "enum", values = { 301, 302, 303, 307, 308 }, default = 308,
      description = "301, 308: for good; 302, 307: for now; 307, 308: with the same method and body; 303: as GET" },
    keep_query = { type = "boolean", default = true, description = "the request's query goes behind, unless `to` has one" },
  },
  check = function(config)
    if config.https == (config.to ~= nil) then return "expected either to or https = true" end
    if config.match and not config.to then return "match", "goes with to" end
    if config.to then
      local _, problem = template.compile(config.to, config.match and gateway.regex(config.match))
      if problem then return "to", problem end
      if not config.to:find("^%a[%w+.-]*://") and not config.to:find("^[/$]") then
        return "to", "expected a URL or a path, found " .. check.describe(config.to)
      end
    end
  end,
  new = function(config)
    local regex = config.match and gateway.regex(config.match)
    local to = config.to and template.compile(config.to, regex)
    -- "https://www.example.com$1": what $1 holds may begin with "@" or ".", and be another host. Where a placeholder stands behind the
    -- authority, and nothing but a path can follow, there is a "/" between.
    local authority = config.to and config.to:match("^%a[%w+.-]*://[^/?#$]*[%w%]]%f[$]")
    if authority and not config.to:find("^%${?[%w_.:-]+}?%f[%z/?#$]", #authority + 1) then authority = nil end
    local status, https = config.status, config.https
    local add_query = config.keep_query and not (config.to and config.to:find("[?]"))
      and not (config.to and config.to:find("${query}", 1, true))

    -- What clients sent must neither end the field nor mean another host: "//evil" would.
    local function safe(url)
      url = url:gsub("[%c \"<>\\^`{|}\128-\255]", function(c) return ("%%%02X"):format(c:byte()) end)
      if url:sub(1, 2) == "//" then url = "/" .. url:gsub("^/+", "") end
      return url
    end

    return function(request, next)
      local url
      if https then
        if request.scheme == "https" or request.host == "" then return next() end
        url = "https://" .. request.host .. request.path
      else
        local captures, problem
        if regex then
          captures, problem = regex:match(request.path)
          if problem then gateway.log.warn("redirect: the pattern was given up", { pattern = regex.pattern, error = problem }) end
          if not captures then return next() end
        end
        url = to(request, captures)
        if authority and not url:find("^[/?#]", #authority + 1) then url = authority .. "/" .. url:sub(#authority + 1) end
      end
      local query = request.query
      if add_query and query ~= "" then url = url .. "?" .. query end
      return gateway.redirect(safe(url), status)
    end
  end,
}
