-- One half of `gateway plan`: what a script declares, and what becomes of recorded request heads in it, as JSON for plan.lua.

local digest = require "gateway.digest"
local dry_run = require "gateway.dry_run"
local json = require "gateway.json"
local route = require "gateway.route"
local settings = require "gateway.settings"

local STEP_MOST = 60 -- most seconds that pass between two heads

-- ---- what is declared ----

local files = {}

local function rows_of(path)
  if files[path] then return files[path] end
  local rows, file = {}, io.open(path, "r")
  for row in file and file:lines() or function() end do rows[#rows + 1] = row end
  if file then file:close() end
  files[path] = rows
  return rows
end

-- Functions are the same when their text is, wherever it stands and however it is indented. (What they see around them may still differ.)
local function code_of(f)
  local info = debug.getinfo(f, "S")
  local rows = rows_of((info.source:gsub("^@", "")))
  local out = {}
  for i = info.linedefined, info.lastlinedefined do out[#out + 1] = ((rows[i] or ""):gsub("%s+", " ")) end
  local text = table.concat(out, " ")
  return text:match("function.*%f[%w]end%f[%W]") or text
end

local function lines_of(value)
  local text = digest.lines(value)
  local out = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local name, rest = line:match("^(.-) = (.*)$")
    if name then out[#out + 1] = { name = name, value = rest } end
  end
  return out
end

-- The middleware of a route: { text = for people, same = what is compared }.
local function chain_of(declared, chains)
  local out = {}
  local texts, configs = declared.chain_texts or {}, declared.chain_configs or {}
  local limits = #(declared.limits or {})
  local chain = declared.chain and chains[declared.chain + 1]
  for i, text in ipairs(texts) do
    local f = i > limits and chain and chain.use[i - limits]
    local label = f and route.labels[f]
    local same = text
    if label and configs[i] then
      same = text .. " " .. digest.lines(configs[i])
    elseif f and not label then
      same = "function " .. code_of(f)
    end
    out[i] = { text = text, same = same }
  end
  return out
end

local function target_of(declared, chains)
  local target = declared.target
  if target.kind == "upstream" then return { text = "upstream " .. target.name } end
  if target.kind == "script" then
    local chain = declared.chain and chains[declared.chain + 1]
    return { text = target.text, same = chain and chain.to and "function " .. code_of(chain.to) or target.text }
  end
  if target.kind == "answer" then
    return { text = ("answer %d"):format(target.answer.status), same = digest.lines(target.answer) }
  end
  if target.kind ~= "split" then return { text = "nothing" } end
  local arms = {}
  for i, share in ipairs(target.shares) do
    arms[i] = ("%s %s"):format(share.name or ("answer %d"):format(share.answer.status), ("%.14g"):format(share.weight))
  end
  return { text = "split " .. table.concat(arms, ", "), same = digest.lines(target) }
end

local function key_of(declared)
  local parts = { declared.host or declared.pattern, declared.host and declared.pattern or nil }
  for _, condition in ipairs(declared.headers or {}) do parts[#parts + 1] = condition.name:lower() .. ":" .. (condition.value or "*") end
  return table.concat(parts, " ")
end

local function routes_of(data, chains)
  local out = json.array {}
  for i, declared in ipairs(data.routes) do
    local methods = declared.methods and table.concat(declared.methods, ", ") or "any"
    local same, texts, steps = {}, {}, json.array(chain_of(declared, chains))
    for k, step in ipairs(steps) do same[k], texts[k] = step.same, step.text end
    local target = target_of(declared, chains)
    out[i] = {
      key = key_of(declared), pattern = declared.pattern, host = declared.host, source = declared.source,
      properties = json.array {
        { name = "methods", text = methods, same = methods },
        { name = "use", text = #texts > 0 and table.concat(texts, ", ") or "none", same = table.concat(same, "\n"),
          steps = steps },
        { name = "to", text = target.text, same = target.same or target.text },
        { name = "name", text = declared.name, same = declared.name },
        { name = "limits.body_bytes", text = tostring(declared.body_bytes or "default"), same = tostring(declared.body_bytes) },
        { name = "access_log", text = tostring(declared.access_log ~= false), same = tostring(declared.access_log ~= false) },
        { name = "record", text = tostring(declared.record or "default"), same = tostring(declared.record) },
      },
    }
  end
  return out
end

local function upstreams_of(data)
  local out = json.array {}
  for i, declared in ipairs(data.upstreams) do
    local endpoints, lines = json.array {}, json.array {}
    for k, endpoint in ipairs(declared.endpoints) do
      endpoints[k] = { address = endpoint.address,
        settings = ("weight %d%s%s"):format(endpoint.weight, endpoint.backup and ", backup" or "",
          endpoint.resolve and (", resolve %g s"):format(endpoint.resolve) or "") }
    end
    local rest = {}
    for name, value in pairs(declared) do
      if name ~= "endpoints" and name ~= "source" and name ~= "name" then rest[name] = value end
    end
    if rest.hash_on and rest.hash_on.f then rest.hash_on = { code = code_of(rest.hash_on.f) } end
    for k, line in ipairs(next(rest) ~= nil and lines_of(rest) or {}) do lines[k] = line end
    out[i] = { name = declared.name, endpoints = endpoints, settings = lines }
  end
  return out
end

local plain_settings = { "workers", "limits", "timeouts", "lua", "forwarding", "request_id", "access_log", "event_log", "tracing", "record",
  "watch" }

local function settings_of(data)
  local out, some = json.array {}, {}
  for _, name in ipairs(plain_settings) do some[name] = data[name] end
  for name, defaults in pairs(settings.defaults) do
    local whole = {}
    for key, value in pairs(defaults) do whole[key] = value end
    for key, value in pairs(some[name] or {}) do whole[key] = value end
    some[name] = whole
  end
  for _, name in ipairs { "access_log", "event_log", "tracing" } do -- where they were set is no setting
    if type(some[name]) == "table" then
      local copy = {}
      for key, value in pairs(some[name]) do if key ~= "source" then copy[key] = value end end
      some[name] = copy
    end
  end
  local proxies = {}
  for i, one in ipairs(data.trusted_proxies or {}) do proxies[i] = one.cidr end
  if proxies[1] then some.trusted_proxies = proxies end
  for _, line in ipairs(next(some) ~= nil and lines_of(some) or {}) do out[#out + 1] = line end
  return out
end

local function listeners_of(data)
  local out = json.array {}
  for i, listen in ipairs(data.listens) do out[i] = listen.at end
  return out
end

-- ---- what becomes of requests ----

local framing = {
  ["content-length"] = true, ["transfer-encoding"] = true, connection = true, expect = true, upgrade = true, te = true, trailer = true,
  ["keep-alive"] = true,
}

local function seconds_of(text)
  local y, mo, d, h, mi, s = text:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)Z$")
  if not y then return nil end
  return os.time { year = tonumber(y), month = tonumber(mo), day = tonumber(d), hour = tonumber(h), min = tonumber(mi), sec = 0,
    isdst = false } + tonumber(s)
end

local function steps_of(outcome)
  local out = {}
  for _, step in ipairs(outcome.steps) do
    local text = step.name
    if not step.ended then
      text = text .. " failed"
    elseif step.answered and step.nexts then
      text = ("%s answered %d in place of the response"):format(text, step.answered)
    elseif step.answered then
      text = ("%s answered %d"):format(text, step.answered)
    end
    out[#out + 1] = text
  end
  return #out > 0 and table.concat(out, ", ") or "none"
end

-- What would differ in the request that a backend gets, its id aside.
local function sent_of(outcome)
  local request = outcome.asked[1]
  if not request then return "" end
  local out = {}
  for i, line in ipairs(dry_run.head_of(request)) do
    if not line:lower():find("^x%-request%-id:") and not line:lower():find("^traceparent:") then out[#out + 1] = line end
    if i == 1 then out[1] = line end
  end
  return table.concat(out, "\n")
end

local function response_of(outcome)
  local out = {}
  if outcome.response and outcome.response.headers then
    for name, value in outcome.response.headers:each() do
      local lower = name:lower()
      if lower ~= "date" and lower ~= "x-request-id" and lower ~= "ratelimit" then
        out[#out + 1] = ("%s: %s"):format(name, dry_run.shown(name, value))
      end
    end
  end
  return table.concat(out, "\n")
end

local function replay(run, head)
  local headers, host = {}, nil
  for _, field in ipairs(head.headers) do
    local lower = field[1]:lower()
    if lower == "host" then host = field[2] end
    if not framing[lower] then headers[#headers + 1] = field end
  end
  local bytes = dry_run.bytes { method = head.method, target = head.target, headers = headers, host = host or "" }
  local outcome = run:ask(bytes, "", head.method, head.client_ip)
  return {
    status = outcome.status, error = outcome.error, route = outcome.route and key_of(outcome.route),
    route_source = outcome.route and outcome.route.source, chain = steps_of(outcome), upstream = outcome.access.upstream,
    sent = sent_of(outcome), response = response_of(outcome),
  }
end

---@param words string[] the script, and the heads as JSON
---@return string
return function(words)
  local heads = json.decode(words[2]) or {}
  local run, problems = dry_run.load(words[1], {
    describe = function(data, chains)
      return { routes = routes_of(data, chains), upstreams = upstreams_of(data), settings = settings_of(data),
        listeners = listeners_of(data), admin = data.admin and data.admin.at }
    end,
  })
  if not run then error(problems, 0) end
  local out = run.described
  out.requests = json.array {}
  local before
  for i, head in ipairs(heads) do
    local at = seconds_of(head.at)
    if at and before and at > before then run.app.clock:advance(math.min(at - before, STEP_MOST)) end
    before = at or before
    local good, outcome = pcall(replay, run, head)
    out.requests[i] = good and outcome or { status = 0, error = tostring(outcome), chain = "none", sent = "", response = "" }
  end
  run:close()
  return json.encode(out)
end
