-- Asks a service whether a request may come in, like Traefik's forwardAuth and nginx's auth_request.
--
--     gateway.plugin("forward-auth", { url = "http://auth.internal:9000/check", response_headers = { "X-User", "X-Groups" } })
--
-- The service gets a GET with the request's header fields (all, or those of request_headers), and with X-Forwarded-Method, -Uri, -Proto,
-- -Host and -For, which clients cannot send here. When it answers 2xx the request goes on, with response_headers copied from that answer
-- onto it; else its answer is the client's answer: a 401, a redirect to a login. When it fails (no answer in time, 5xx), so does the
-- request, unless `fail` is "open".

local check = require "gateway.check"
local credentials = require "gateway.credentials"
local gateway = require "gateway"
local reserved = require("gateway.headers").reserved

-- What belongs to one connection or one message, and not to what is asked about: a service that heeded conditions would answer 304, which
-- lets nobody in. "_" as backends see it that make variables of names.
local message_own = {
  host = true, expect = true, date = true, range = true, forwarded = true, ["content-type"] = true, ["content-encoding"] = true,
  ["proxy-authorization"] = true, ["proxy-authenticate"] = true, ["if-match"] = true, ["if-none-match"] = true, ["if-range"] = true,
  ["if-modified-since"] = true, ["if-unmodified-since"] = true,
}

local function own(name)
  if name:find("_", 1, true) then name = name:gsub("_", "-") end
  return reserved[name] or message_own[name] or name:find("^x%-forwarded%-")
end

local function names(description)
  return {
    type = "list", description = description,
    of = { type = "string", check = function(name)
      if not check.header_name(name) or reserved[name:lower()] then return "expected the name of a header that scripts may set" end
    end },
  }
end

local request_headers = names "fields of the request that the service gets; without it all of them"

return {
  name = "forward-auth",
  version = "1.0.0",
  description = "Asks a service whether a request may come in.",
  example = { url = "http://auth.internal/check", response_headers = { "X-User" } },
  schema = {
    url = { type = "url", check = check.fetchable, description = "where the service is asked" },
    upstream = { type = "upstream", description = "the service as an upstream, with balancing, health and timeouts of its own" },
    path = { type = "string", pattern = "^/", default = "/", description = "with upstream: path and query that are asked for" },
    timeout = { type = "duration", min = 0.001, max = 300, default = "5s", description = "how long the service may take; then see fail" },
    request_headers = request_headers,
    response_headers = names "fields of the service's 2xx answer that the backend gets; what clients send of them is taken away",
    client_headers = names "fields of the service's 2xx answer that the client gets, such as Set-Cookie",
    consumer_from = credentials.header_field(false, "the field of the service's answer that says who it is"),
    consumer_header = credentials.consumer_field(),
    fail = {
      type = "enum", one_of = { "closed", "open" }, default = "closed",
      description = "what becomes of requests when the service fails: they do as well (503), or they go on as nobody's",
    },
    max_body = { type = "size", min = 0, default = "1MB", description = "longest answer of the service that is taken" },
  },
  exclusive = { "url", "upstream" },
  one_required = { "url", "upstream" },
  new = function(config)
    local fetch = gateway.fetch
    local target = config.url or config.upstream
    local wanted
    if config.request_headers then
      wanted = {}
      for _, name in ipairs(config.request_headers) do wanted[name:lower()] = true end
    end
    local up, down = config.response_headers or {}, config.client_headers or {}
    local consumer_from, consumer_header = config.consumer_from, config.consumer_header
    local path = config.upstream and config.path or nil

    local function headers_of(request)
      local out = {}
      for name, value in request.headers:each() do
        local lower = name:lower()
        if not own(lower) and (not wanted or wanted[lower]) then
          local list = out[lower]
          if list then list[#list + 1] = value else out[lower] = { value } end
        end
      end
      local query = request.query
      out["x-forwarded-method"] = request.method
      out["x-forwarded-uri"] = request.path .. (query ~= "" and "?" .. query or "")
      out["x-forwarded-proto"] = request.scheme
      out["x-forwarded-host"] = request.headers.host or request.host
      out["x-forwarded-for"] = request.client_ip
      return out
    end

    -- The service's no, as the client gets it.
    local function refusal(answer)
      local response = gateway.respond(answer.status, answer.body)
      response.headers["content-type"] = answer.headers["content-type"]
      for name, value in answer.headers:each() do
        local lower = name:lower()
        if not own(lower) or lower == "content-encoding" then response.headers:add(name, value) end
      end
      return response
    end

    local function copy(answer, request)
      for _, name in ipairs(up) do
        local values = answer and answer.headers:all(name) or {}
        credentials.vouch(request, name, #values > 0 and values or nil)
      end
      local consumer = answer and consumer_from and answer.headers[consumer_from]
      if consumer_from then credentials.identify(request, consumer ~= "" and consumer or nil, consumer_header) end
    end

    return function(request, next)
      local answer, problem = fetch(target, {
        method = "GET", headers = headers_of(request), timeout = config.timeout, path = path, max_body = config.max_body,
      })
      if answer and answer.status >= 500 then
        problem = ("the service answered %d"):format(answer.status)
        answer = nil
      end
      if not answer then
        gateway.log.warn("forward-auth: the service could not be asked", { error = problem, fail = config.fail })
        if config.fail == "closed" then
          return gateway.respond(503, { error = "access cannot be checked at the moment" }, { ["Retry-After"] = "1" })
        end
      elseif answer.status < 200 or answer.status > 299 then
        return refusal(answer)
      end
      copy(answer, request)
      if not answer or #down == 0 then return next() end
      local response = next()
      for _, name in ipairs(down) do
        for _, value in ipairs(answer.headers:all(name)) do response.headers:add(name, value) end
      end
      return response
    end
  end,
}
