-- Copies of requests for another upstream, whose answers nobody sees: to try a new version under real traffic. The client never waits for
-- them.

local check = require "gateway.check"
local gateway = require "gateway"
local left_out = require("gateway.headers").not_fetched

return {
  name = "mirror",
  version = "1.0.0",
  description = "Sends a copy of a share of the requests to another upstream, beside the real ones, and drops its answers.",
  example = { to = "shadow", share = 10 },
  schema = {
    to = { type = "upstream", required = true, description = "who gets the copies" },
    share = { type = "number", min = 0, max = 100, default = 100, description = "percent of the requests" },
    methods = { type = "list", of = "string", default = {}, description = "methods that are copied; empty: all" },
    body = { type = "size", default = "64KB", max = 2 ^ 24,
      description = "bodies up to this length are copied (they are taken in before the request goes on); requests with longer ones, or "
        .. "ones of unknown length, have no copy" },
    in_flight = { type = "integer", min = 1, max = 1000, default = 100,
      description = "copies under way at a time, on each worker; what would be more is dropped" },
    timeout = { type = "duration", min = 0.001, max = 600, default = 10, description = "after which a copy is given up" },
    remove = { type = "list", of = "string", default = {}, description = "header fields that the copies do not have",
      example = { "Authorization", "Cookie" } },
    mark = { type = "string", default = "X-Mirrored", description = "field that tells that it is a copy; empty: none" },
  },
  check = function(config)
    if config.mark ~= "" and not check.header_name(config.mark) then return "mark", "expected the name of a header field" end
    for _, name in ipairs(config.remove) do
      if not check.header_name(name) then return "remove", ("expected names of header fields, found %q"):format(name) end
    end
  end,
  new = function(config)
    local a, b, c = gateway.crypto.random(3):byte(1, 3)
    math.randomseed(a * 65536 + b * 256 + c)
    local random = math.random
    local counted = gateway.counter("mirror_requests_total", "Copies of requests, by what became of them.", { "upstream", "result" })
    local to, share, most, longest = config.to, config.share / 100, config.in_flight, config.body
    local name = to.name
    local methods, removed = nil, {}
    for lower in pairs(left_out) do removed[lower] = true end
    for _, field in ipairs(config.remove) do removed[field:lower()] = true end
    for _, method in ipairs(config.methods) do
      methods = methods or {}
      methods[method:upper()] = true
    end
    local under_way = 0

    -- What is needed of the request after its end; nil: there can be no copy.
    local function copied(request)
      local headers = request.headers
      local body
      if headers["transfer-encoding"] then return nil end
      local length = tonumber(headers["content-length"] or 0)
      if length > longest then return nil end
      if length > 0 then
        body = request:body()
        if not body then return nil end
      end
      local fields = {}
      for field, value in headers:each() do
        field = field:lower()
        if not removed[field] then
          local list = fields[field]
          if not list then
            fields[field] = { value }
          else
            list[#list + 1] = value
          end
        end
      end
      fields["x-forwarded-for"], fields["x-forwarded-proto"] = request.client_ip, request.scheme
      if config.mark ~= "" then fields[config.mark:lower()] = "1" end
      local query = request.query
      return {
        method = request.method, path = query ~= "" and request.path .. "?" .. query or request.path, headers = fields, body = body,
        timeout = config.timeout, max_body = "1MB",
      }
    end

    local function send(copy)
      under_way = under_way + 1
      local started = gateway.spawn(function()
        -- What a client sent may be none that can be sent again: whatever comes of it, it is not under way any more.
        local good, response, problem = pcall(gateway.fetch, to, copy)
        under_way = under_way - 1
        if not good then response, problem = nil, response end
        counted:inc(1, { name, response and "sent" or "failed" })
        if not response then gateway.log.debug("a mirrored request failed", { upstream = name, error = problem }) end
      end, { timeout = config.timeout + 5 })
      if not started then
        under_way = under_way - 1
        counted:inc(1, { name, "dropped" })
      end
    end

    return function(request, next)
      if methods and not methods[request.method] or share < 1 and random() >= share then return next() end
      if under_way >= most then
        counted:inc(1, { name, "dropped" })
        return next()
      end
      local copy = copied(request)
      if copy then send(copy) else counted:inc(1, { name, "dropped" }) end
      return next()
    end
  end,
}
