local gateway = require "gateway"

function helper(name) return name end -- luacheck: ignore 111

return {
  name = "global",
  schema = { name = "string" },
  new = function(config)
    count = 0 -- luacheck: ignore 111
    return function(_, next)
      return helper(config.name) and next() or gateway.respond(404)
    end
  end,
}
