-- gateway.access_log and gateway.event_log: what is logged of a request, and where lines go. C writes them (runtime/gateway/access_log.c).

local check = require "gateway.check"
local spec = require "gateway.spec"

local logs = {}

-- As in runtime/gateway/access_log.h.
local names = {
  "trace_id", "client_ip", "method", "scheme", "host", "path", "query", "status", "bytes", "bytes_in", "duration", "upstream", "endpoint",
  "upstream_duration", "attempts", "route", "generation", "worker", "error",
}
logs.fields = names

-- What lets somebody in somewhere has no place in a log.
local secrets = {
  authorization = true, ["proxy-authorization"] = true, cookie = true, ["set-cookie"] = true, ["www-authenticate"] = true,
  ["x-api-key"] = true, ["x-auth-token"] = true, ["x-csrf-token"] = true,
}
local HEADERS_MOST = 16

local function header_list(list, path, report)
  if #list > HEADERS_MOST then report(("%s: expected at most %d names, found %d"):format(path, HEADERS_MOST, #list)) end
  local out, seen = {}, {}
  for i, name in ipairs(list) do
    local lower = name:lower()
    if not check.header_name(name) then
      report(("%s[%d]: expected a header field's name, found %s"):format(path, i, check.describe(name)))
    elseif secrets[lower] then
      report(("%s[%d]: %s carries secrets, which a log must not have"):format(path, i, check.describe(name)))
    elseif not seen[lower] then
      seen[lower] = true
      out[#out + 1] = lower
    end
  end
  return out
end

local access_fields = {
  to = { type = "string" },
  sample = { type = "number", min = 0, max = 1 },
  fields = { type = "list", of = { type = "enum", values = names } },
  headers = { type = "list", of = "string" },
  response_headers = { type = "list", of = "string" },
}

---@class gateway.AccessLog
---@field to? string "stdout" (default), "stderr", a file's path, "udp:ADDRESS:PORT", "syslog", "syslog:unix:/path", "syslog:ADDRESS:PORT"
---@field sample? number share of requests that are logged, 0 to 1 (1)
---@field fields? string[] which fields a line has, instead of the usual ones; "time" and "type" are always there
---@field headers? string[] names of request header fields to log; never those that carry secrets
---@field response_headers? string[] the same of the response

--- gateway.access_log { to = "/var/log/gateway/access.log", sample = 0.1 }, or false to switch it off.
---@param given gateway.AccessLog|boolean
function logs.access_log(given)
  local source = spec.once("access_log")
  if type(given) == "boolean" then
    spec.state.access_log = given and { to = "stdout", sample = 1, source = source } or { off = true }
    return
  end
  if type(given) ~= "table" or getmetatable(given) then
    spec.problem("gateway.access_log: expected a table of options, or false, found " .. check.describe(given), source)
    return
  end
  local report = spec.reporter("gateway.access_log", source)
  local out = { to = "stdout", sample = 1, source = source }
  for key, value in pairs(check.fields(given, access_fields, "", report)) do out[key] = value end
  if out.headers then out.headers = header_list(out.headers, "headers", report) end
  if out.response_headers then out.response_headers = header_list(out.response_headers, "response_headers", report) end
  spec.state.access_log = out
end

local event_fields = {
  to = { type = "string" },
  level = { type = "enum", values = { "debug", "info", "warn", "error" } },
}

---@class gateway.EventLog
---@field to? string as for gateway.access_log ("stdout")
---@field level? "debug"|"info"|"warn"|"error" lines below it are left out ("debug": none)

--- gateway.event_log { to = "stderr", level = "info" }: everything that is logged but requests.
---@param given gateway.EventLog
function logs.event_log(given)
  local source = spec.once("event_log")
  if type(given) ~= "table" or getmetatable(given) then
    spec.problem("gateway.event_log: expected a table of options, found " .. check.describe(given), source)
    return
  end
  local out = { to = "stdout", level = "debug", source = source }
  for key, value in pairs(check.fields(given, event_fields, "", spec.reporter("gateway.event_log", source))) do out[key] = value end
  spec.state.event_log = out
end

return logs
