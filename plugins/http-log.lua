-- A line for each request, sent to an HTTP service in batches. Nobody waits for it: lines stand in a buffer of fixed size, and what does
-- not fit is dropped and counted. A reload or a drain lets what is there still be sent.

local check = require "gateway.check"
local gateway = require "gateway"

local json = gateway.json
local not_fetched = require("gateway.headers").not_fetched

local LOOK = 0.1      -- seconds between looks whether a batch is full
local TOLD_EACH = 10  -- seconds between two lines in the gateway's own log about the same sink
local BACKOFF, BACKOFF_MOST = 0.5, 10
local VALUE_MOST = 1024 -- bytes of a header field or a context value

local function iso(seconds)
  local whole = math.floor(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. (".%03dZ"):format(math.floor((seconds - whole) * 1000))
end

local function short(value)
  value = tostring(value)
  return #value > VALUE_MOST and value:sub(1, VALUE_MOST) or value
end

-- ---- a sink: the buffer of one use of the plugin, on one worker ----

local Sink = {}
Sink.__index = Sink

function Sink:drop(count, why)
  self.counted:inc(count, { self.label, "dropped" })
  self.dropped = self.dropped + count
  local now = gateway.now()
  if now - self.told < TOLD_EACH then return end
  self.told = now
  gateway.log.warn("lines for the HTTP log were dropped", { sink = self.label, lines = self.dropped, error = why })
  self.dropped = 0
end

-- Nothing that trying again could not help: 408, 425, 429 and what is the server's fault.
local function again(status)
  return status >= 500 or status == 408 or status == 425 or status == 429
end

function Sink:send(lines)
  local config = self.config
  local body = config.format == "ndjson" and table.concat(lines, "\n") .. "\n" or "[" .. table.concat(lines, ",") .. "]"
  local problem
  for try = 0, config.retries do
    if try > 0 then gateway.sleep(math.min(BACKOFF * 2 ^ (try - 1), BACKOFF_MOST)) end
    local response, why
    if self.upstream then
      response, why = gateway.fetch(config.to, { method = config.method, path = config.path, headers = self.headers, body = body,
        timeout = config.timeout, max_body = "64KB" })
    else
      response, why = gateway.fetch(config.to, { method = config.method, headers = self.headers, body = body, timeout = config.timeout,
        max_body = "64KB" })
    end
    if response and response.status < 300 then
      self.counted:inc(#lines, { self.label, "sent" })
      return
    end
    problem = response and "status " .. response.status or why
    if response and not again(response.status) then break end
  end
  self:drop(#lines, problem)
end

-- One batch, once it is full or old enough. Then its successor, where more has come.
function Sink:flush()
  local deadline = gateway.now() + self.config.interval
  while #self.lines < self.config.batch and gateway.now() < deadline do
    if not gateway.sleep(math.min(LOOK, deadline - gateway.now())) then break end
  end
  local lines = self.lines
  if #lines > self.config.batch then
    local first, rest, bytes = {}, {}, 0
    for i, line in ipairs(lines) do
      if i <= self.config.batch then
        first[i] = line
      else
        rest[#rest + 1] = line
        bytes = bytes + #line
      end
    end
    lines, self.lines, self.bytes = first, rest, bytes
  else
    self.lines, self.bytes = {}, 0
  end
  self:send(lines)
  self.busy_until = 0
  if #self.lines > 0 then self:start() end
end

-- A flush that is ended by its timeout tells nobody: so it counts as under way for that long only.
function Sink:start()
  local now = gateway.now()
  if now < self.busy_until then return end
  self.busy_until = now + self.longest
  if not gateway.spawn(function() self:flush() end, { timeout = self.longest }) then self.busy_until = 0 end
end

function Sink:add(line)
  if self.bytes + #line > self.config.buffer then return self:drop(1, "the buffer is full") end
  self.lines[#self.lines + 1] = line
  self.bytes = self.bytes + #line
  self:start()
end

return {
  name = "http-log",
  version = "1.0.0",
  description = "Sends a line of JSON for each request to an HTTP service, in batches, without anybody waiting for it.",
  example = { to = "http://logs.internal/lines", fields = { service = "edge" } },
  schema = {
    to = { type = "union", any_of = { { type = "url", schemes = { "http", "https" } }, "upstream" }, required = true,
      check = check.fetchable,
      description = "where the lines go: a URL, or an upstream" },
    path = { type = "string", default = "/", pattern = "^/", description = "with an upstream: the path" },
    method = { type = "enum", one_of = { "POST", "PUT" }, default = "POST", description = "method of the requests that carry the lines" },
    headers = { type = "map", of = "string", default = {}, secret = true,
      description = "header fields of the requests that carry the lines, such as credentials" },
    format = { type = "enum", one_of = { "array", "ndjson" }, default = "array", description = "a JSON array, or a JSON object a line" },
    batch = { type = "integer", min = 1, max = 10000, default = 200, description = "lines in one request at most" },
    interval = { type = "duration", min = 0.01, max = 60, default = 1, description = "how long lines wait for a full batch" },
    buffer = { type = "size", min = 2 ^ 12, max = 2 ^ 26, default = "4MB",
      description = "bytes of lines that may wait, on each worker; what would be more is dropped and counted" },
    timeout = { type = "duration", min = 0.01, max = 60, default = 10, description = "how long one such request may take" },
    retries = { type = "integer", min = 0, max = 10, default = 3,
      description = "tries after the first, ever longer apart; then the batch is dropped" },
    share = { type = "number", min = 0, max = 100, default = 100, description = "percent of the requests that have a line" },
    query = { type = "boolean", default = false, description = "the query is part of the line: it may hold secrets" },
    request_headers = { type = "list", of = "string", default = {}, description = "fields of the request that are part of the line" },
    context = { type = "list", of = "string", default = { "consumer", "correlation_id" },
      description = "what of request.ctx is part of the line, where it is text, a number or a boolean" },
    fields = { type = "map", of = "string", default = {}, description = "fixed members of every line", example = { service = "edge" } },
  },
  check = function(config)
    for name, text in pairs(config.headers) do
      if not check.header_name(name) or not check.header_value(text) or not_fetched[name:lower()] then
        return "headers", "expected header fields that the gateway does not write itself"
      end
    end
  end,
  new = function(config)
    local a, b, c = gateway.crypto.random(3):byte(1, 3)
    math.randomseed(a * 65536 + b * 256 + c)
    local random, share = math.random, config.share / 100
    local upstream = type(config.to) ~= "string"
    local headers = { ["Content-Type"] = config.format == "ndjson" and "application/x-ndjson" or "application/json" }
    for name, text in pairs(config.headers) do headers[name] = text end
    local longest = config.interval + (config.retries + 1) * config.timeout
    for try = 1, config.retries do longest = longest + math.min(BACKOFF * 2 ^ (try - 1), BACKOFF_MOST) end
    local sink = setmetatable({
      config = config, upstream = upstream, headers = headers, lines = {}, bytes = 0, busy_until = 0, dropped = 0, told = -math.huge,
      label = upstream and config.to.name or config.to:match("^%a+://([^/?#]+)") or config.to, longest = math.min(longest + 5, 3600),
      counted = gateway.counter("http_log_lines_total", "Lines for HTTP logs, by what became of them.", { "sink", "result" }),
    }, Sink)

    local function line_of(request, status, problem)
      local line = {
        time = iso(request.started), duration = math.max(0, gateway.now() - request.started), request_id = request.id,
        route = request.route, client_ip = request.client_ip, method = request.method, scheme = request.scheme, host = request.host,
        path = request.path, status = status, upstream = request.upstream, error = problem,
      }
      if config.query then line.query = request.query end
      for _, name in ipairs(config.context) do
        local value = request.ctx[name]
        local kind = type(value)
        if kind == "string" then
          line[name] = short(value)
        elseif kind == "number" or kind == "boolean" then
          line[name] = value
        end
      end
      if config.request_headers[1] then
        local fields = {}
        for _, name in ipairs(config.request_headers) do
          local value = request.headers[name]
          if value then fields[name:lower()] = short(value) end
        end
        line.headers = fields
      end
      for name, text in pairs(config.fields) do line[name] = text end
      return json.encode(line)
    end

    return function(request, next)
      if share >= 1 or random() < share then
        request:finally(function(status, problem) sink:add(line_of(request, status, problem)) end)
      end
      return next()
    end
  end,
}
