-- In the script of testing.serve: what stands for a testing.upstream of the test, which listens at an address there.

local spec = require "gateway.spec"
local upstream = require "gateway.upstream"

local Played = {}
Played.describe = function() return "a testing.upstream" end
Played.__gateway_endpoint = function(self) return self.address end

function Played.__gateway_upstream(self)
  local state = spec.state
  state.testing = state.testing or {}
  local known = state.testing[self.name]
  if not known then
    local source = spec.where()
    known = upstream.make(self.name, source)
    upstream.declare(known, { self.address }, source)
    state.testing[self.name] = known
  end
  return known
end

---@package
return function(address, name)
  return setmetatable({ address = address, name = name }, Played)
end
