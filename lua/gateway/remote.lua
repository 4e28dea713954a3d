-- What a running gateway answered, in words: `gateway status`, `gateway reload`, `gateway drain`.

local json = require "gateway.json"
local words = require "gateway.words"

local remote = {}

local count, bytes, duration, plural, given, plain = words.count, words.bytes, words.duration, words.plural, words.given, words.plain

-- Rows of texts as columns; those named in `right` end below each other.
local function columns(rows, right)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  local out = {}
  for n, row in ipairs(rows) do
    local line = {}
    for i, cell in ipairs(row) do line[i] = ("%" .. (right[i] and "" or "-") .. widths[i] .. "s"):format(cell) end
    out[n] = "  " .. table.concat(line, "  "):gsub("%s+$", "")
  end
  return out
end

-- ---- status ----

local function health_of(endpoint)
  local said = {}
  if endpoint.drained then said[#said + 1] = "drained" end
  if not endpoint.healthy then said[#said + 1] = "down (" .. table.concat(endpoint.down, ", ") .. ")" end
  return #said > 0 and table.concat(said, ", ") or "up"
end

local function breaker_of(endpoint)
  return given(endpoint.breaker) and (endpoint.breaker.state:gsub("_", "-")) or "-"
end

local function add_upstreams(out, status)
  for _, upstream in ipairs(status.upstreams) do
    out[#out + 1] = ""
    out[#out + 1] = ("upstream %s (%s), %d of %s in rotation"):format(plain(upstream.name), upstream.balance, upstream.eligible,
      plural(#upstream.endpoints, "endpoint"))
    if #upstream.endpoints > 0 then
      local rows = { { "ENDPOINT", "HEALTH", "BREAKER", "IN FLIGHT", "WEIGHT" } }
      for _, endpoint in ipairs(upstream.endpoints) do
        rows[#rows + 1] = { plain(endpoint.address), health_of(endpoint), breaker_of(endpoint), count(endpoint.in_flight),
          count(endpoint.weight) .. (endpoint.backup and " (backup)" or "") }
      end
      for _, line in ipairs(columns(rows, { [4] = true })) do out[#out + 1] = line end
    end
    for _, address in ipairs(upstream.drained_away or {}) do out[#out + 1] = "  " .. plain(address) .. "  drained, not in the script" end
  end
end

local function add_workers(out, status)
  local rows = { { "WORKER", "CONNECTIONS", "ACCEPTED", "REQUESTS", "5XX", "LUA MEMORY", "LUA OVERRAN" } }
  for _, worker in ipairs(status.workers) do
    rows[#rows + 1] = { tostring(worker.index), count(worker.connections.active), count(worker.connections.accepted),
      count(worker.requests), count(worker.responses["5xx"]), bytes(worker.lua.memory), count(worker.lua.overran) }
  end
  local right = { false, true, true, true, true, true, true }
  for _, line in ipairs(columns(rows, right)) do out[#out + 1] = line end
end

---@param status table what /status gives
---@return string
function remote.status(status)
  local active, requests, overran, lost = 0, 0, 0, 0
  for _, worker in ipairs(status.workers) do
    active, requests = active + worker.connections.active, requests + worker.requests
    overran, lost = overran + worker.lua.overran, lost + worker.lua.states_lost
  end
  local generation, last = status.generation, given(status.reloads.last)
  local addresses = {}
  for i, listener in ipairs(status.listeners) do addresses[i] = plain(listener.address) end
  local out = {
    ("gateway %s, process %d, %s for %s"):format(status.version, status.pid, status.state, duration(status.uptime)),
    ("script       %s, generation %d since %s%s"):format(plain(status.script), generation.number, generation.loaded_at,
      status.generations_draining > 0 and ", " .. status.generations_draining .. " before it still at work" or ""),
    ("listens at   %s"):format(#addresses > 0 and table.concat(addresses, ", ") or "nothing"),
    ("declares     %s, %s"):format(plural(generation.routes, "route"), plural(generation.upstreams, "upstream")),
    ("connections  %s"):format(count(active)),
    ("requests     %s, %.1f a second since the start"):format(count(requests), status.uptime > 0 and requests / status.uptime or 0),
    ("reloads      %s taken up, %s refused%s"):format(count(status.reloads.succeeded), count(status.reloads.refused),
      status.reloads.building and ", one under way" or ""),
  }
  if last then
    out[#out + 1] = ("last reload  %s by %s, %s"):format(last.at, plain(last.cause), last.ok and "taken up" or "refused:")
    for _, message in ipairs(last.errors) do out[#out + 1] = "  " .. plain(message) end
  end
  if status.reloads.staged then remote.add_staged(out, status.reloads.staged) end
  out[#out + 1] = ("scripts      %s overran their time, %s lost"):format(plural(overran, "run"), plural(lost, "Lua state"))
  out[#out + 1] = ("log          %s dropped"):format(plural(status.log_lines_dropped, "line"))
  out[#out + 1] = ""
  add_workers(out, status)
  add_upstreams(out, status)
  return table.concat(out, "\n") .. "\n"
end

-- ---- reload, drain ----

local function reload(result, status)
  if status ~= 200 then
    local out = {}
    for i, message in ipairs(result.errors or {}) do out[i] = plain(message) end
    if result.generation then out[#out + 1] = ("reload refused: generation %d goes on"):format(result.generation) end
    return nil, table.concat(out, "\n")
  end
  local out = {}
  for _, message in ipairs(result.warnings) do out[#out + 1] = "warning: " .. plain(message) end
  out[#out + 1] = ("generation %d serves, after %s"):format(result.generation, duration(result.seconds))
  for _, line in ipairs(result.changes) do out[#out + 1] = "  " .. plain(line) end
  if #result.changes == 0 then out[#out + 1] = "  the same routes, upstreams and listeners as before" end
  return table.concat(out, "\n") .. "\n"
end

local function drain(result)
  if not result.endpoint then
    return ("draining: %s, at most %s\n"):format(plural(result.connections, "connection"), duration(result.drain))
  end
  return ("%s of upstream %s: %s, %s in flight\n"):format(plain(result.endpoint), plain(result.upstream),
    result.drained and "drained" or "takes requests again", plural(result.in_flight, "request"))
end

-- A latency: parts of a millisecond count here.
local function latency(seconds)
  return seconds < 1 and ("%.3g ms"):format(seconds * 1000) or ("%.3g s"):format(seconds)
end

local function side_line(name, side)
  return ("  %-10s %s, %.3g%% errors, mean %s, p50 %s, p99 %s"):format(name, plural(side.requests, "request"), side.error_rate * 100,
    latency(side.mean), latency(side.p50), latency(side.p99))
end

local function add_staged(out, staged)
  local now, last = given(staged.now), given(staged.last)
  if now then
    out[#out + 1] = ("staged       generation %d for %.4g%% of the clients, %s left%s"):format(now.generation, now.share * 100,
      duration(now.remaining), #now.abort_if > 0 and ", back if " .. plain(table.concat(now.abort_if, " or ")) or "")
    out[#out + 1] = side_line("stable", now.stable)
    out[#out + 1] = side_line("candidate", now.candidate)
  elseif last then
    out[#out + 1] = ("last staged  generation %d was %s at %s: %s"):format(last.generation,
      last.outcome == "promoted" and "put in place" or last.outcome, last.at, plain(last.reason))
  end
end

local function staged(result, status)
  local about = result.staged
  if not about then return reload(result, status) end
  local now, last, out = given(about.now), given(about.last), {}
  if now then
    add_staged(out, about)
    return table.concat(out, "\n") .. "\n"
  end
  out[1] = ("generation %d was %s: %s"):format(last.generation, last.outcome == "promoted" and "put in place" or last.outcome,
    plain(last.reason))
  out[2], out[3] = side_line("stable", last.stable), side_line("candidate", last.candidate)
  for _, line in ipairs(last.outcome == "promoted" and result.result.changes or {}) do out[#out + 1] = "  " .. plain(line) end
  local text = table.concat(out, "\n")
  if status ~= 200 then return nil, text end
  return text .. "\n"
end

local function plan(result, status)
  if status == 200 then return require "gateway.plan_text"(result) end
  local out = {}
  for i, message in ipairs(result.errors or {}) do out[i] = plain(message) end
  return nil, table.concat(out, "\n")
end

local render = {
  status = remote.status, reload = reload, drain = drain, undrain = drain, staged = staged, plan = plan,
}
remote.add_staged = add_staged

--- The command: `word` is "WHAT STATUS JSON".
---@return string? text
---@return string? why
function remote.run(command)
  local what, status, body = command.word:match("^(%a+) (%d+) (.*)$")
  status = tonumber(status)
  local result = json.decode(body)
  if type(result) ~= "table" then return nil, "gateway: the admin address gave an answer that is none of a gateway's" end
  if result.error then
    local hint = status == 401 and " (--token-file, GATEWAY_TOKEN_FILE or GATEWAY_TOKEN give it one)" or ""
    return nil, ("gateway: %s%s"):format(plain(result.error), hint)
  end
  return render[what](result, status)
end

return remote
