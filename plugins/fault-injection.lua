-- Faults on purpose: answers that come late, or not as they should, for a share of the requests. To see what clients make of it.

local check = require "gateway.check"
local gateway = require "gateway"

local function percent(description)
  return { type = "number", min = 0, max = 100, default = 100, description = description }
end

return {
  name = "fault-injection",
  version = "1.0.0",
  description = "Delays a share of the requests, answers a share of them with an error, or both.",
  example = { delay = "500ms", delay_share = 10 },
  schema = {
    delay = { type = "duration", min = 0.001, max = 600, description = "how long a request is held up before it goes on" },
    delay_most = { type = "duration", max = 600,
      description = "where it is longer than delay: any time between the two, by chance" },
    delay_share = percent "percent of the requests that are held up",
    abort = { type = "integer", min = 200, max = 599, description = "status that is answered instead of going on" },
    abort_share = percent "percent of the requests that are answered so",
    abort_body = { type = "string", description = "body of that answer; without one it is a small JSON object" },
    abort_headers = { type = "map", of = "string", default = {}, description = "fields of that answer",
      example = { ["Retry-After"] = "1" } },
    header = { type = "string", description = "only requests with this field" },
    header_value = { type = "string", description = "and this value of it" },
    mark = { type = "string", default = "X-Fault",
      description = "field of the answer that says \"delay\", \"abort\" or \"delay, abort\"; empty: none" },
    delayed_most = { type = "integer", min = 1, default = 1000,
      description = "requests that are held up at a time, on each worker; those beyond go on at once" },
  },
  one_required = { "delay", "abort" },
  check = function(config)
    for _, name in ipairs { "header", "mark" } do
      if config[name] and config[name] ~= "" and not check.header_name(config[name]) then
        return name, "expected the name of a header field"
      end
    end
    if config.header_value and not config.header then return "header_value", "goes with header: which field is meant?" end
    if config.delay_most and (not config.delay or config.delay_most < config.delay) then
      return "delay_most", "expected a delay beside it that is not longer"
    end
    for name, value in pairs(config.abort_headers) do
      if not check.header_name(name) or not check.header_value(value) then
        return "abort_headers", ("expected header fields, found %q"):format(name)
      end
    end
  end,
  new = function(config)
    local a, b, c = gateway.crypto.random(3):byte(1, 3)
    math.randomseed(a * 65536 + b * 256 + c)
    local random = math.random
    local delay, most, delay_share = config.delay, config.delay_most or config.delay, config.delay_share / 100
    local abort, abort_share, body = config.abort, config.abort_share / 100, config.abort_body
    local header, header_value = config.header, config.header_value
    local mark = config.mark ~= "" and config.mark or nil
    local delayed = 0

    local function hold_up(request)
      if delayed >= config.delayed_most then return false end
      local held = true
      local function released()
        if held then delayed = delayed - 1 end
        held = false
      end
      request:finally(released) -- the client may go away meanwhile
      delayed = delayed + 1
      gateway.sleep(delay + random() * (most - delay))
      released()
      return true
    end

    local function answer(word)
      local response = gateway.respond(abort, body or { error = "a fault on purpose" }, config.abort_headers)
      if mark then response.headers[mark] = word end
      return response
    end

    return function(request, next)
      if header then
        local value = request.headers[header]
        if value == nil or header_value and value ~= header_value then return next() end
      end
      local late = delay and random() < delay_share and hold_up(request)
      if abort and random() < abort_share then return answer(late and "delay, abort" or "abort") end
      if not late or not mark then return next() end
      local response = next()
      response.headers[mark] = "delay"
      return response
    end
  end,
}
