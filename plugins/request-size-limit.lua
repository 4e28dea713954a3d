-- Requests that are larger than a route wants them. What all of the gateway takes at most is set by gateway.limits.

local gateway = require "gateway"

return {
  name = "request-size-limit",
  version = "1.0.0",
  description = "Refuses requests whose body, query or path is too long, or whose body has no known length.",
  example = { body = "10MB", query = "2KB" },
  schema = {
    body = { type = "size", default = "1MB", description = "bytes of the body (413); chunked ones are counted as they come" },
    query = { type = "size", description = "bytes of the query (414)" },
    path = { type = "size", description = "bytes of the path (414)" },
    fields = { type = "integer", min = 1, description = "header fields (431)" },
    require_length = { type = "boolean", default = false, description = "refuse bodies without Content-Length (411)" },
  },
  new = function(config)
    local body, query, path, fields, require_length = config.body, config.query, config.path, config.fields, config.require_length
    return function(request, next)
      if path and #request.path > path then return gateway.respond(414, { error = "the path is too long", most = path }) end
      if query and #request.query > query then return gateway.respond(414, { error = "the query is too long", most = query }) end
      if fields then
        local count = 0
        for _ in request.headers:each() do count = count + 1 end
        if count > fields then return gateway.respond(431, { error = "too many header fields", most = fields }) end
      end
      if require_length and request.headers["transfer-encoding"] then
        return gateway.respond(411, { error = "a body needs a Content-Length here" })
      end
      if not request:limit_body(body) then return gateway.respond(413, { error = "the body is too long", most = body }) end
      return next()
    end
  end,
}
