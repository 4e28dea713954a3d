-- Lets clients in, or keeps them out, by their address.
--
--     gateway.plugin("ip-restriction", { allow = { "10.0.0.0/8", "2001:db8::/32" }, deny = { "10.6.6.0/24" } })
--
-- What is denied stays out even where it is allowed as well. The address is request.client_ip: behind proxies, name those in
-- gateway.trusted_proxies. Lists may have thousands of blocks: they are tries.

local gateway = require "gateway"
local cidr = require "gateway.cidr"

local function block_problem(block)
  local set, problems = cidr.compile(block)
  if not set then return problems[1] end
end

local function blocks(description)
  return { type = "list", of = { type = "string", check = block_problem }, description = description }
end

return {
  name = "ip-restriction",
  version = "1.0.0",
  description = "Lets clients in, or keeps them out, by their address.",
  example = { allow = { "10.0.0.0/8", "2001:db8::/32" }, deny = { "10.6.6.6" } },
  schema = {
    allow = blocks('addresses and CIDR blocks that may come in, and nobody else; "unix": the peers of unix sockets'),
    deny = blocks("addresses and CIDR blocks that may not"),
    status = { type = "integer", min = 400, max = 499, default = 403, description = "status of the answer to those who may not come in" },
    message = { type = "string", default = "your address is not allowed here", description = "what that answer says" },
  },
  one_required = { "allow", "deny" },
  new = function(config)
    local allow = config.allow and cidr.cidr(config.allow)
    local deny = config.deny and cidr.cidr(config.deny)
    local status, body = config.status, { error = config.message }

    return function(request, next)
      local ip = request.client_ip
      if deny and deny:contains(ip) or allow and not allow:contains(ip) then return gateway.respond(status, body) end
      return next()
    end
  end,
}
