-- An id that goes with a request through all services, under a name of one's own. (X-Request-ID is the gateway's own: gateway.request_id.)

local check = require "gateway.check"
local gateway = require "gateway"

local generators = {
  -- RFC 9562, version 4
  uuid = function()
    local hex = gateway.crypto.hex(gateway.crypto.random(16))
    local variant = tonumber(hex:sub(17, 17), 16) % 4 + 1
    return ("%s-%s-4%s-%s%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16), ("89ab"):sub(variant, variant), hex:sub(18, 20),
      hex:sub(21, 32))
  end,
  hex = function() return gateway.crypto.hex(gateway.crypto.random(16)) end,
  request_id = function(request)
    local id = request.id
    return id ~= "" and id or gateway.crypto.hex(gateway.crypto.random(16))
  end,
}

return {
  name = "correlation-id",
  version = "1.0.0",
  description = "Gives each request an id in a field of your choice, keeping one that the client sent, and echoes it.",
  example = { header = "X-Correlation-ID", generator = "uuid" },
  schema = {
    header = { type = "string", default = "X-Correlation-ID", description = "the field",
      check = function(name) if not check.header_name(name) then return "expected the name of a header field" end end },
    generator = { type = "enum", one_of = { "uuid", "hex", "request_id" }, default = "uuid",
      description = "what a new id is: a UUID, 128 random bits, or the gateway's own request id" },
    keep = { type = "boolean", default = true, description = "keep the client's, where it is well-formed" },
    echo = { type = "boolean", default = true, description = "say it in the answer, too" },
    max_length = { type = "integer", default = 128, min = 8, max = 1024, description = "a longer one of the client's is replaced" },
  },
  new = function(config)
    local header, keep, most, make = config.header, config.keep, config.max_length, generators[config.generator]
    local function id_of(request)
      local theirs = keep and request.headers[header]
      -- what goes on into logs and headers elsewhere: no blanks, quotes or controls
      if theirs and #theirs <= most and theirs:find("^[%w%-_.:/+=@]+$") then return theirs end
      local id = make(request)
      request.headers[header] = id
      return id
    end
    if not config.echo then
      return function(request, next)
        request.ctx.correlation_id = id_of(request)
        return next()
      end
    end
    return function(request, next)
      local id = id_of(request)
      request.ctx.correlation_id = id
      local response = next()
      response.headers[header] = id
      return response
    end
  end,
}
