-- What a script says once about the gateway as a whole: listen, workers, limits, timeouts, trusted_proxies, forwarding,
-- request_id. Each checks what it is given and puts the normalised form into the spec.

local check = require "gateway.check"
local spec = require "gateway.spec"

local settings = {}

settings.defaults = {
  limits = { header_bytes = 16384, headers = 100, body_bytes = 10 * 1024 * 1024, request_line = 8192, keep_encoded_slash = false },
  timeouts = { header = 10, idle = 75, body = 30, drain = 30, chain = 60, upgrade = 60 },
  forwarding = { x_forwarded = true, forwarded = false },
}

local limits = {
  header_bytes = { type = "size", min = 256, max = 1024 * 1024 },
  headers = { type = "integer", min = 1, max = 200 },
  request_line = { type = "size", min = 64, max = 1024 * 1024 },
  body_bytes = { type = "size" },
  keep_encoded_slash = { type = "boolean" },
}

local timeouts = {
  header = { type = "duration" }, idle = { type = "duration" }, body = { type = "duration" }, drain = { type = "duration" },
  chain = { type = "duration" }, upgrade = { type = "duration", min = 0.1 },
}

-- gateway.NAME { ... }: options over defaults.
local function table_setting(name, fields)
  return function(given)
    local source = spec.once(name)
    if type(given) ~= "table" or getmetatable(given) then
      spec.problem(("gateway.%s: expected a table of options, found %s"):format(name, check.describe(given)), source)
      return
    end
    local out = check.copy(settings.defaults[name]) or {}
    for key, value in pairs(check.fields(given, fields, "", spec.reporter("gateway." .. name, source))) do out[key] = value end
    spec.state[name] = out
  end
end

---@class gateway.Limits
---@field header_bytes? number|string longest request head: 431 past it (16 KB)
---@field headers? integer most header fields: 431 past it (100; at most 200)
---@field request_line? number|string longest request line: 414 past it (8 KB)
---@field body_bytes? number|string longest request body: 413 past it (10 MB)
---@field keep_encoded_slash? boolean let %2F in a path pass as it is (false: such a path is refused)

--- gateway.limits { header_bytes = "32KB" }: bounds of what clients may send.
---@type fun(given: gateway.Limits)
settings.limits = table_setting("limits", limits)

---@class gateway.Timeouts
---@field header? number|string for a whole request head: 408 past it (10 s)
---@field idle? number|string between requests of a connection (75 s)
---@field body? number|string between two pieces of a request body (30 s)
---@field drain? number|string for the end of what is in flight at shutdown (30 s)
---@field upgrade? number|string for a new process to serve, after SIGUSR2 (60 s)
---@field chain? number|string that the functions of one request may wait in all, next() and bodies aside: 504 past it (60 s)

--- gateway.timeouts { idle = 60 }: of the client's side.
---@type fun(given: gateway.Timeouts)
settings.timeouts = table_setting("timeouts", timeouts)

---@class gateway.Script
---@field cpu? number|string CPU time that a script may take in one go: a request whose script takes longer gets 500 (50 ms)
---@field memory? number|string most memory of one worker's Lua: an allocation past it is an error (256 MB; at most 2 GB)
---@field load? number|string time for loading the script (5 s); say it first

--- gateway.script { cpu = "50ms", memory = "256MB", load = "5s" }: what scripts may use.
---@param given gateway.Script
function settings.script(given)
  local source = spec.once("script")
  if type(given) ~= "table" or getmetatable(given) then
    spec.problem("gateway.script: expected a table of options, found " .. check.describe(given), source)
    return
  end
  local fields = {
    cpu = { type = "duration", min = 0.001, max = 60 }, memory = { type = "size", min = 4 * 1024 * 1024, max = 2 * 1024 * 1024 * 1024 },
    load = { type = "duration", min = 0.1, max = 600 },
  }
  local good = check.fields(given, fields, "", spec.reporter("gateway.script", source))
  if good.load and settings.set_load_seconds then settings.set_load_seconds(good.load) end
  spec.state.lua = { cpu = good.cpu, memory = good.memory }
end

---@class gateway.Forwarding
---@field x_forwarded? boolean send X-Forwarded-For, -Proto, -Host (true)
---@field forwarded? boolean send Forwarded, RFC 7239 (false)
---@field via? string pseudonym to send in Via; none: no Via

local set_forwarding = table_setting("forwarding", {
  x_forwarded = { type = "boolean" }, forwarded = { type = "boolean" }, via = { type = "string" },
})

--- gateway.forwarding { forwarded = true }: what upstreams are told about the client.
---@param given gateway.Forwarding
function settings.forwarding(given)
  set_forwarding(given)
  local via = spec.state.forwarding and spec.state.forwarding.via
  if via and not via:find(check.token) then
    spec.problem("gateway.forwarding: via: expected a pseudonym without spaces or separators, found " .. check.describe(via))
    spec.state.forwarding.via = nil
  end
end

---@class gateway.Record
---@field keep? integer request heads that each worker keeps (200; at most 5000)
---@field all? boolean of every route that does not say record = false, and of requests that no route takes (false)

--- gateway.record { keep = 500 }: the last request heads, for GET /recent at the admin address and for gateway plan. Of routes with
--- record = true; values of fields and parameters that look secret are masked.
---@type fun(given: gateway.Record)
settings.record = table_setting("record", { keep = { type = "integer", min = 1, max = 5000 }, all = { type = "boolean" } })

--- gateway.listen "0.0.0.0:8080": "HOST:PORT" with a numeric host, ":PORT" for all addresses, "unix:/path". Several are fine.
---@param address string
function settings.listen(address)
  spec.declaring("gateway.listen")
  local source = spec.where()
  if type(address) ~= "string" then
    spec.problem('gateway.listen: expected an address such as "0.0.0.0:8080" or "unix:/run/gateway.sock", found '
      .. check.describe(address), source)
    return
  end
  for _, other in ipairs(spec.state.listens) do
    if other.at == address then
      spec.problem(("gateway.listen: %q was given before, at %s"):format(address, other.source), source)
      return
    end
  end
  table.insert(spec.state.listens, { at = address, source = source })
end

--- gateway.workers(4), or "auto": one a core.
---@param count integer|"auto"
function settings.workers(count)
  local source = spec.once("workers")
  if count == "auto" then
    spec.state.workers = 0
  elseif type(count) == "number" and count % 1 == 0 and count >= 1 and count <= 256 then
    spec.state.workers = count
  else
    spec.problem('gateway.workers: expected "auto" or a whole number from 1 to 256, found ' .. check.describe(count), source)
  end
end

--- gateway.trusted_proxies { "10.0.0.0/8", "::1" }: peers whose X-Forwarded-For, -Proto and Forwarded are believed.
---@param list string[]
function settings.trusted_proxies(list)
  local source = spec.once("trusted_proxies")
  if type(list) == "string" then list = { list } end
  local good = check.value(list, { type = "list", of = "string" }, "", spec.reporter("gateway.trusted_proxies", source))
  for _, cidr in ipairs(good or {}) do table.insert(spec.state.trusted_proxies, { cidr = cidr, source = source }) end
end

--- gateway.request_id(false): no X-Request-ID.
---@param on boolean
function settings.request_id(on)
  local source = spec.once("request_id")
  if type(on) ~= "boolean" then
    spec.problem("gateway.request_id: expected true or false, found " .. check.describe(on), source)
    return
  end
  spec.state.request_id = on
end

--- gateway.watch(false): saving the script, or a file that it loads, does not reload it; who deploys it says when (gateway reload, SIGHUP).
---@param on boolean
function settings.watch(on)
  local source = spec.once("watch")
  if type(on) ~= "boolean" then
    spec.problem("gateway.watch: expected true or false, found " .. check.describe(on), source)
    return
  end
  spec.state.watch = on
end

return settings
