-- gateway.cidr { "10.0.0.0/8", "2001:db8::/32" }: sets of addresses, as tries in C (runtime/net/cidr.c): a look takes 32 steps for IPv4 and
-- 128 for IPv6 at most, however many blocks there are.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local owned = require "gateway.owned"

local cidr = {}

local reason = ffi.new("const char *[1]")

---@class gateway.CidrSet
local Set = { describe = function() return "a set of CIDR blocks" end }
Set.__index = Set
Set.__tostring = Set.describe

--- Whether an address is in one of the blocks. IPv4-mapped IPv6 addresses are IPv4 here.
---@param ip string as request.client_ip is: "192.0.2.1", "2001:db8::1", or "unix"
---@return boolean
---@return string? problem it is no address
function Set:contains(ip)
  if type(ip) ~= "string" then error("set:contains: expected an address, found " .. check.describe(ip), 2) end
  local result = C.gw_lua_cidr_has(self[1], ip, #ip)
  if result < 0 then return false, "expected an IP address, found " .. check.describe(ip) end
  return result == 1
end

--- The set, or what is wrong with each block that is wrong.
---@param blocks string|string[] addresses, CIDR blocks, or "unix" for the peers of unix sockets
---@return gateway.CidrSet? set
---@return string[]? problems
function cidr.compile(blocks)
  if type(blocks) == "string" then blocks = { blocks } end
  if type(blocks) ~= "table" or getmetatable(blocks) then
    return nil, { "expected a list of CIDR blocks, found " .. check.describe(blocks) }
  end
  local set = C.gw_lua_cidr_new()
  if set == nil then error("not enough memory", 0) end
  owned.keep(set)
  local problems, count = {}, 0
  for key, block in pairs(blocks) do
    count = count + 1
    if type(key) ~= "number" then
      problems[#problems + 1] = "expected a list of CIDR blocks, found the key " .. check.describe(key)
    elseif type(block) ~= "string" then
      problems[#problems + 1] = "expected a CIDR block, found " .. check.describe(block)
    else
      local status = C.gw_lua_cidr_add(set, block, #block, reason)
      if status == -4 then error("not enough memory", 0) end
      if status < 0 then problems[#problems + 1] = ("%s: %s"):format(check.describe(block), ffi.string(reason[0])) end
    end
  end
  if #problems > 0 then
    table.sort(problems)
    return nil, problems
  end
  local bytes = math.min(count * 12 * 32, 1e8) -- of the trie, nearly: so that the collector knows what hangs on the set
  return setmetatable({ set, ffi.new("char[?]", bytes), size = count }, Set)
end

--- A set of CIDR blocks. Raises, at the caller's line, what is wrong with them.
---@param blocks string|string[]
---@return gateway.CidrSet
function cidr.cidr(blocks)
  local set, problems = cidr.compile(blocks)
  if not set then error("gateway.cidr: " .. table.concat(problems, "\ngateway.cidr: "), 2) end
  return set
end

return cidr
