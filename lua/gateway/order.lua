-- pairs() while a script loads: names in their order. LuaJIT seeds its tables anew in each state, so that without it every worker would go
-- through the same table in an order of its own, and a script that declares routes in a loop would not say the same on each of them.

local order = {}

local ranks = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local x, y = ranks[type(a)], ranks[type(b)]
  if x ~= y then return x < y end
  if x == 3 then return not a and b end
  return a < b
end

--- Puts the ordered pairs() in place of Lua's. Keys that have no order (tables, functions) come last, as Lua has them. As with Lua's own,
--- the loop may change and remove what is there, but not add.
---@return function finish puts Lua's own back, also for those who kept the ordered one in a local
function order.install()
  local plain = pairs
  local loading = true

  local function ordered(t)
    if not loading or type(t) ~= "table" then return plain(t) end
    local keys, rest = {}, {}
    for key in plain(t) do
      local list = ranks[type(key)] and keys or rest
      list[#list + 1] = key
    end
    table.sort(keys, before)
    for _, key in ipairs(rest) do keys[#keys + 1] = key end
    local at = 0
    return function(of)
      while true do
        at = at + 1
        local key = keys[at]
        if key == nil then return nil end
        local value = rawget(of, key)
        if value ~= nil then return key, value end
      end
    end, t, nil
  end

  pairs = ordered -- luacheck: ignore 121
  return function()
    loading = false
    if pairs == ordered then pairs = plain end -- luacheck: ignore 121
  end
end

return order
