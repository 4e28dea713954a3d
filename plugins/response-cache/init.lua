-- Answers are kept in gateway.shared and given again while they are fresh: a shared cache as RFC 9111 has it.

local entry = require "response-cache.entry"
local gateway = require "gateway"
local rules = require "response-cache.rules"
local not_fetched = require("gateway.headers").not_fetched
local spec = require "gateway.spec"

local CHECK_EACH = 0.005 -- seconds between looks of who waits for another's answer, growing to:
local CHECK_MOST = 0.1
local PASS_FOR = 10      -- seconds for which nobody waits for an answer that turned out not to be storable
local KEY_MOST = 1024    -- bytes; longer keys are hashed

local safe = { GET = true, HEAD = true, OPTIONS = true, TRACE = true }

local can_fetch = pcall(function() return gateway.fetch end)

-- ---- keys ----

local function key_of(request, config)
  local query = request.query
  if config.query == "ignore" then query = "" end
  if config.query == "sorted" and query ~= "" then
    local fields = {}
    for field in query:gmatch("[^&]+") do fields[#fields + 1] = field end
    table.sort(fields)
    query = table.concat(fields, "&")
  end
  -- The route and the upstream, too: the same URL may go to different places, by header or by share.
  local parts = { request.route, request.upstream or "", request.scheme, request.host, request.path, query }
  for _, name in ipairs(config.key_headers) do parts[#parts + 1] = request.headers[name] or "" end
  for _, name in ipairs(config.key_cookies) do parts[#parts + 1] = request.cookies[name] or "" end
  -- NUL stands in none of them
  local key = config._prefix .. table.concat(parts, "\0")
  return #key <= KEY_MOST and key or config._prefix .. gateway.crypto.sha256(key)
end

-- What differs by consumer (request.ctx.consumer, of a plugin that authenticates in front of this one) is told apart as if Vary named this.
local CONSUMER = ":consumer"

-- The key of the response that was chosen by these fields of the request.
local function variant_key(key, id, names, headers, consumer)
  local parts = { key, id }
  for _, name in ipairs(names) do
    if name == CONSUMER then
      parts[#parts + 1] = consumer and "c" .. consumer or ""
    else
      parts[#parts + 1] = (headers[name] or ""):gsub("%s+", " ")
    end
  end
  local text = table.concat(parts, "\0")
  return #text <= 4 * KEY_MOST and text or key .. "\0" .. id .. "\0" .. gateway.crypto.sha256(text)
end

local function names_of(text)
  local id, names = text:match("^V (%S+)(.*)$")
  local out = {}
  for name in names:gmatch("%S+") do out[#out + 1] = name end
  return id, out
end

local function by_consumer(names) return names[#names] == CONSUMER end

-- What is stored for a request: an entry and its key, or nil; "P" when the last answer could not be stored.
local function look(config, want)
  local key, headers, consumer = want.key, want.headers, want.consumer
  local text = config._store:get(key)
  if text == nil then return nil, key end
  if text == "P" then return "P", key end
  if text:byte() == 86 then -- V
    local id, names = names_of(text)
    if consumer and not by_consumer(names) then return nil, key end -- it is nobody's: not for somebody
    key = variant_key(key, id, names, headers, consumer)
    text = config._store:get(key)
    if text == nil then return nil, key end
  elseif consumer then
    return nil, key
  end
  return entry.decode(text), key
end

-- ---- storing ----

local function store(config, want, vary, e)
  local key, seconds = want.key, entry.useful_for(e, config)
  if seconds <= 0 then return false end
  local there = config._store:get(key)
  local id, names
  if there and there:byte() == 86 then id, names = names_of(there) end
  if want.consumer or names and by_consumer(names) then vary[#vary + 1] = CONSUMER end
  if #vary > 0 then
    if not id or table.concat(names, " ") ~= table.concat(vary, " ") then
      id = ("%d-%.6f"):format(config._store:incr(config._prefix .. "\0ids", 1, 0) or 0, e.stored)
      names = vary
    end
    config._store:set(key, "V " .. id .. " " .. table.concat(names, " "), math.max(seconds, config.keep))
    key = variant_key(key, id, names, want.headers, want.consumer)
  end
  return config._store:set(key, entry.encode(e), seconds) == true
end

-- The request's fields as they came, by lower-case names: middleware behind this one may change them before the answer says which count.
local function snapshot(headers)
  local out = {}
  for name, value in headers:each() do
    name = name:lower()
    out[name] = out[name] and out[name] .. ", " .. value or value
  end
  return out
end

-- Keeps what a backend has answered, if that may be and is short enough. `want`: { headers =, authorized =, key =, consumer = }
-- of the request.
local function keep(config, want, response)
  local e = entry.judge(response.status, response.headers, config, want.authorized, gateway.now())
  local vary = e and rules.vary(response.headers.vary)
  if not e or not vary then return nil end
  local length = tonumber(response.headers["content-length"])
  if length and length > config.max_body then return nil end
  local kind = response.headers["content-type"]
  if kind and kind:lower():find("^text/event%-stream") then return nil end
  local body = response.body
  if type(body) ~= "string" then body = response:body(config.max_body) end -- fetched ones have it already
  if not body or #body > config.max_body then return nil end
  e.body = body
  return store(config, want, vary, e) and e or nil
end

-- What a backend's 304 says of what is stored: its fields replace the stored ones (RFC 9111 section 4.3.4).
local function confirm(config, want, stored_key, e, response)
  local fresh = entry.judge(e.status, response.headers, config, want.authorized, gateway.now())
  if not fresh then
    config._store:delete(stored_key)
    return e
  end
  local news, replaced = fresh.fields, {}
  for _, field in ipairs(news) do replaced[field[1]:lower()] = true end
  for _, field in ipairs(e.fields) do
    if not replaced[field[1]:lower()] then news[#news + 1] = field end
  end
  fresh.body = e.body
  local seconds = entry.useful_for(fresh, config)
  if seconds > 0 then config._store:set(stored_key, entry.encode(fresh), seconds) else config._store:delete(stored_key) end
  return fresh
end

-- ---- answering ----

local in_304 = {
  ["cache-control"] = true, ["content-location"] = true, date = true, etag = true, expires = true, vary = true, ["last-modified"] = true,
}

local function answer(config, want, e, word)
  local unchanged = (e.status == 200 or e.status == 203)
    and rules.unchanged(want.none_match, want.modified_since, entry.field(e, "etag"), entry.field(e, "last-modified"))
  local response = gateway.respond(unchanged and 304 or e.status)
  for _, field in ipairs(e.fields) do
    if not unchanged or in_304[field[1]:lower()] then response.headers:add(field[1], field[2]) end
  end
  if not unchanged then response.body = e.body end
  response.headers.Age = ("%d"):format(entry.age(e, gateway.now()))
  if config.header then response.headers[config.header] = word end
  return response
end

-- What came from the backend, told apart from what was stored.
local function passed(config, response, word)
  if config.header then response.headers[config.header] = word end
  return response
end

-- ---- one flight for the same key ----

local function lease_key(want)
  return "L\0" .. want.key .. (want.consumer and "\0c" .. want.consumer or "")
end

-- Waits until whoever asks the backend has stored an answer; nil: there is none to wait for any more.
local function await(config, want)
  local deadline, pause = gateway.now() + config.wait, CHECK_EACH
  while gateway.now() < deadline do
    if not gateway.sleep(pause) then return nil end
    pause = math.min(pause * 1.5, CHECK_MOST)
    local e = look(config, want)
    if e == "P" then return nil end
    if e and entry.age(e, gateway.now()) < e.lifetime then return e end
    if config._store:get(lease_key(want)) == nil then return nil end
  end
  return nil
end

-- ---- asking the backend ----

local failed = { [500] = true, [502] = true, [503] = true, [504] = true }

-- The request goes on as an unconditional one, or as one that asks whether `e` is still good.
local function set_conditions(headers, e)
  headers["If-None-Match"] = e and entry.field(e, "etag") or nil
  headers["If-Modified-Since"] = e and entry.field(e, "last-modified") or nil
end

local function ask(config, request, next, want, stored_key, e)
  if request.method ~= "GET" then return passed(config, next(), "MISS") end
  want.headers = snapshot(request.headers)
  set_conditions(request.headers, e)
  local response = next()
  -- Who is known only behind this got an answer for somebody: the same as with Authorization.
  if request.ctx.consumer ~= nil and not want.consumer then want.authorized = true end
  if e and response.status == 304 then return answer(config, want, confirm(config, want, stored_key, e, response), "REVALIDATED") end
  if e and failed[response.status] and entry.age(e, gateway.now()) < e.lifetime + e.error then
    return answer(config, want, e, "STALE")
  end
  local kept = keep(config, want, response)
  if kept and (want.none_match or want.modified_since) then return answer(config, want, kept, "MISS") end
  if not kept and not e and not want.authorized and not failed[response.status] then config._store:add(want.key, "P", PASS_FOR) end
  return passed(config, response, "MISS")
end

-- Asks while others wait. However this request ends, they do not wait for it any longer.
local function ask_alone(config, request, next, want, stored_key, e, token)
  local key = lease_key(want)
  request:finally(function() config._store:unlock(key, token) end)
  local response = ask(config, request, next, want, stored_key, e)
  config._store:unlock(key, token)
  return response
end

-- Fetches anew what is sent stale meanwhile. False: it cannot be done from here.
local function refresh(config, request, want, stored_key, e, token)
  local to = config._upstreams[request.upstream or ""]
  if not to or not can_fetch then return false end
  local headers = snapshot(request.headers)
  for name in pairs(not_fetched) do headers[name] = nil end
  headers["x-forwarded-for"], headers["x-forwarded-proto"], headers["x-forwarded-host"] =
    request.client_ip, request.scheme, request.headers.host
  local later = { key = want.key, headers = snapshot(request.headers), authorized = want.authorized, consumer = want.consumer }
  headers["if-none-match"], headers["if-modified-since"] = entry.field(e, "etag"), entry.field(e, "last-modified")
  local target = request.path .. (request.query ~= "" and "?" .. request.query or "")
  return gateway.spawn(function()
    local response = gateway.fetch(to, { method = "GET", path = target, headers = headers, timeout = math.max(config.wait, 1) * 2,
      max_body = config.max_body })
    if response then
      if response.status == 304 then confirm(config, later, stored_key, e, response) else keep(config, later, response) end
    end
    config._store:unlock(lease_key(later), token)
  end)
end

-- ---- a request ----

-- With these, some backends answer another question than the one that the key is made of.
local overrides = { "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "upgrade" }

local function bypasses(request, cc, config)
  local headers = request.headers
  for i = 1, #overrides do
    if headers[overrides[i]] then return true end
  end
  if headers.range or headers["if-match"] or headers["if-unmodified-since"] or headers["if-range"] then return true end
  if headers["content-length"] and headers["content-length"] ~= "0" or headers["transfer-encoding"] then return true end
  if cc["no-store"] then return true end
  for _, name in ipairs(config.bypass_cookies) do
    if request.cookies[name] then return true end
  end
  return false
end

local function serve(config, request, next)
  local headers = request.headers
  local cc = config.client_directives and rules.directives(headers["cache-control"]) or {}
  if config.client_directives and not headers["cache-control"] and (headers.pragma or ""):lower():find("no-cache", 1, true) then
    cc = { ["no-cache"] = true }
  end
  if bypasses(request, cc, config) then return passed(config, next(), "BYPASS") end
  local consumer = request.ctx.consumer
  local want = {
    key = key_of(request, config), consumer = consumer ~= nil and tostring(consumer) or nil, headers = headers,
    none_match = headers["if-none-match"], modified_since = headers["if-modified-since"], authorized = headers.authorization ~= nil,
  }
  local e, stored_key = look(config, want)
  local alone = e == "P" -- the last answer could not be stored: nobody waits for the next one
  if alone then e = nil end
  if e then
    local age = entry.age(e, gateway.now())
    if not cc["no-cache"] and rules.acceptable(cc, age, e.lifetime, e.strict) then
      return answer(config, want, e, age < e.lifetime and "HIT" or "STALE")
    end
    if not cc["no-cache"] and cc["max-age"] == nil and cc["min-fresh"] == nil and age < e.lifetime + e.revalidate then
      local token = config._store:lock(lease_key(want), math.max(config.wait, 1) * 2)
      -- Where it goes may be known to the route's function only: then this request asks itself; the others take the stale one meanwhile.
      if token and not refresh(config, request, want, stored_key, e, token) then
        if request.method == "GET" then return ask_alone(config, request, next, want, stored_key, e, token) end
        config._store:unlock(lease_key(want), token)
      end
      return answer(config, want, e, "STALE")
    end
  end
  if cc["only-if-cached"] then return gateway.respond(504, { error = "nothing is stored for this" }) end
  if alone or config.wait == 0 or request.method ~= "GET" then return ask(config, request, next, want, stored_key, e) end
  local token = config._store:lock(lease_key(want), config.wait)
  if token then return ask_alone(config, request, next, want, stored_key, e, token) end
  if not cc["no-cache"] then
    local theirs = await(config, want)
    if theirs then return answer(config, want, theirs, "HIT") end
  end
  return ask(config, request, next, want, stored_key, e)
end

return {
  name = "response-cache",
  version = "1.0.0",
  description = "Keeps answers that may be kept, and gives them again: a shared cache by RFC 9111.",
  example = { default_ttl = "30s", stale_if_error = "10m" },
  schema = {
    store = { type = "string", default = "response-cache", pattern = "^[%w_.-]+$", max_len = 100,
      description = "name of the gateway.shared that the answers are kept in; plugins that name the same one share it" },
    size = { type = "size", default = "64MB", min = 2 ^ 20, max = 2 ^ 36, description = "memory for it, all workers together" },
    max_body = { type = "size", default = "512KB", description = "longer answers are not stored" },
    default_ttl = { type = "duration", default = 0, description = "how long an answer is fresh that does not say it itself" },
    statuses = { type = "list", of = { type = "integer", min = 200, max = 599 }, default = { 200, 203, 300, 301, 308, 404, 410 },
      description = "answers that may be kept" },
    query = { type = "enum", one_of = { "whole", "sorted", "ignore" }, default = "whole",
      description = "how the query belongs to the key: as it is, with its fields in order, or not at all" },
    key_headers = { type = "list", of = "string", default = {},
      description = "request fields that belong to the key; those in Vary do anyway" },
    key_cookies = { type = "list", of = "string", default = {}, description = "cookies that belong to the key" },
    bypass_cookies = { type = "list", of = "string", default = {},
      description = "requests with one of these cookies are not answered from the store" },
    store_cookies = { type = "boolean", default = false, description = "keep answers with Set-Cookie, too (without that field)" },
    stale_while_revalidate = { type = "duration", default = 0,
      description = "how long a stale answer is given while it is fetched anew, where the answer does not say it itself" },
    stale_if_error = { type = "duration", default = 0,
      description = "how long a stale answer is given when the backend fails, where the answer does not say it itself" },
    keep = { type = "duration", default = "10m",
      description = "how long a stale answer is kept so that the backend can confirm it (ETag, Last-Modified)" },
    wait = { type = "duration", default = 5, max = 60,
      description = "how long requests for the same thing wait for the one that asks the backend; 0: each asks" },
    client_directives = { type = "boolean", default = true,
      description = "heed Cache-Control of requests: no-cache, max-age, only-if-cached, ..." },
    invalidate = { type = "boolean", default = true,
      description = "a POST, PUT, PATCH or DELETE that succeeds removes what is stored for its URL" },
    header = { type = "string", default = "X-Cache",
      description = "field that tells HIT, MISS, STALE, REVALIDATED or BYPASS; empty: none" },
  },
  new = function(config)
    config._store = gateway.shared(config.store, { size = config.size })
    config._prefix = "C\0"
    config._upstreams = spec.state.upstream_by_name
    config._statuses = {}
    for _, status in ipairs(config.statuses) do config._statuses[status] = true end
    if config.header == "" then config.header = nil end
    return function(request, next)
      local method = request.method
      if method == "GET" or method == "HEAD" then return serve(config, request, next) end
      local response = next()
      if config.invalidate and not safe[method] and response.status < 400 then config._store:delete(key_of(request, config)) end
      return response
    end
  end,
}
