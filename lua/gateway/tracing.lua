-- gateway.tracing: W3C Trace Context towards backends, spans to an OpenTelemetry collector. The work is C's (runtime/gateway/trace.c).

local check = require "gateway.check"
local spec = require "gateway.spec"

local tracing = {}

local fields = {
  endpoint = { type = "string" },
  ratio = { type = "number", min = 0, max = 1 },
  errors = { type = "boolean" },
  middleware = { type = "boolean" },
  service = { type = "string" },
  headers = { type = "map", of = "string" },
  timeout = { type = "duration", min = 0.05, max = 60 },
}

---@class gateway.Tracing
---@field endpoint? string where spans go by OTLP over HTTP: "http://HOST[:4318][/v1/traces]"; none: only traceparent is continued or begun
---@field ratio? number share of the traces that begin here that is sampled, 0 to 1 (1); a parent's decision goes before it
---@field errors? boolean spans of requests that failed, sampled or not (true)
---@field middleware? boolean a span for each middleware function, too (false)
---@field service? string service.name ("gateway")
---@field headers? table<string, string> to send to the collector, such as an API key
---@field timeout? number|string that sending one batch may take (2 s)

--- gateway.tracing { endpoint = "http://127.0.0.1:4318", ratio = 0.01 }. Without it, a request's traceparent passes through untouched.
---@param given gateway.Tracing
function tracing.tracing(given)
  local source = spec.once("tracing")
  if type(given) ~= "table" or getmetatable(given) then
    spec.problem("gateway.tracing: expected a table of options, found " .. check.describe(given), source)
    return
  end
  local report = spec.reporter("gateway.tracing", source)
  local out = { ratio = 1, errors = true, service = "gateway", timeout = 2, source = source }
  for key, value in pairs(check.fields(given, fields, "", report)) do out[key] = value end
  local lines, names = {}, {}
  for name in pairs(out.headers or {}) do names[#names + 1] = name end
  table.sort(names)
  local ours = { host = true, ["content-length"] = true, ["content-type"] = true, connection = true, ["transfer-encoding"] = true }
  for _, name in ipairs(names) do
    local value = out.headers[name]
    if not check.header_name(name) or ours[name:lower()] then
      report(("headers: expected the name of a field that the gateway does not write itself, found %s"):format(check.describe(name)))
    elseif not check.header_value(value) then
      report(("headers.%s: expected a header field's value, without line breaks or spaces at its ends"):format(name)) -- it may be a secret
    else
      lines[#lines + 1] = name .. ": " .. value .. "\r\n"
    end
  end
  out.headers = #lines > 0 and table.concat(lines) or nil
  spec.state.tracing = out
end

return tracing
