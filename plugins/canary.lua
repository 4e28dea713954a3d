-- Some requests go to another upstream: by their share, by a header, by a cookie; and the same client always to the same one.

local bit = require "bit"
local check = require "gateway.check"
local gateway = require "gateway"

local bxor, rshift, tobit = bit.bxor, bit.rshift, bit.tobit

-- 32 bits times 32 bits, modulo 2^32, in doubles that hold 53.
local function multiply(a, b)
  return tobit(((rshift(a, 16) * b) % 2 ^ 16 * 2 ^ 16 + bit.band(a, 0xffff) * b) % 2 ^ 32)
end

-- FNV-1a, then the finaliser of MurmurHash3: a place from 0 to 99.99 for a text, the same everywhere and always.
local function place_of(text)
  local h = tobit(2166136261)
  for i = 1, #text do h = multiply(bxor(h, text:byte(i)), 16777619) end
  h = multiply(bxor(h, rshift(h, 16)), 0x85ebca6b)
  h = multiply(bxor(h, rshift(h, 13)), 0xc2b2ae35)
  h = bxor(h, rshift(h, 16))
  return h % 2 ^ 32 % 10000 / 100
end

local function by_of(text)
  if text == "ip" then return function(request) return request.client_ip end end
  local kind, name = text:match("^(%a+):(.+)$")
  if kind == "header" then return function(request) return request.headers[name] end end
  if kind == "cookie" then return function(request) return request.cookies[name] end end
  return nil
end

-- The percentage as steps have it by now. `began`: when the first of them did, kept over reloads.
local function stepped(steps, name)
  local store = gateway.shared("canary", { size = "1MB" })
  local key = "began:" .. name
  return function()
    local now = gateway.now()
    local began = store:get(key)
    if not began then
      store:add(key, now)
      began = store:get(key) or now
    end
    local weight = 0
    for _, step in ipairs(steps) do
      if now - began >= step.after then weight = step.weight end
    end
    return weight
  end
end

return {
  name = "canary",
  version = "1.0.0",
  description = "Sends a share of the requests, or those with a header or a cookie, to another upstream; clients stay where they are.",
  example = { to = "beta", weight = 5, sticky = "cookie" },
  schema = {
    to = { type = "upstream", required = true, description = "the new one; everybody else goes where the route says" },
    weight = { type = "number", min = 0, max = 100, description = "percent of the requests; 0.01 is the least that counts" },
    steps = { type = "list", min_items = 1, of = { type = "record", fields = {
      after = { type = "duration", required = true, description = "since the first request that this plugin saw under this `name`" },
      weight = { type = "number", min = 0, max = 100, required = true, description = "percent from then on" },
    } }, description = "percent by time, in place of weight", example = { { after = 0, weight = 1 }, { after = "1h", weight = 10 } } },
    name = { type = "string", default = "default", pattern = "^[%w_.-]+$", max_len = 60,
      description = "which canary this is: steps begin once for each, over reloads; places of clients differ by it" },
    header = { type = "string", description = "a field that decides: see header_value" },
    header_value = { type = "string",
      description = "the value that means the new one; without: \"always\" does, and \"never\" the old one" },
    cookie = { type = "string", description = "a cookie that decides: \"always\" means the new one, \"never\" the old one" },
    sticky = { type = "string", default = "none",
      description = 'how a client stays where it is: "none", "cookie" (ours), "ip", "header:NAME" or "cookie:NAME" (a user\'s id)',
      check = function(text)
        if text ~= "none" and text ~= "cookie" and not by_of(text) then
          return 'expected "none", "cookie", "ip", "header:NAME" or "cookie:NAME"'
        end
      end },
    sticky_cookie = { type = "string", default = "canary", pattern = "^[%w_-]+$", description = "name of our cookie" },
    sticky_for = { type = "duration", default = "1d", description = "how long our cookie is kept" },
    mark = { type = "string", default = "", description = "a field of the answer that says \"canary\" or \"stable\"; empty: none" },
  },
  exclusive = { "weight", "steps" },
  check = function(config)
    for _, name in ipairs { "header", "mark" } do
      if config[name] and config[name] ~= "" and not check.header_name(config[name]) then
        return name, "expected the name of a header field"
      end
    end
    if config.header_value and not config.header then return "header_value", "goes with header: which field is meant?" end
    if not config.weight and not config.steps and not config.header and not config.cookie then
      return "expected weight, steps, header or cookie: nothing would ever go to the new one"
    end
    for i = 2, #(config.steps or {}) do
      if config.steps[i].after <= config.steps[i - 1].after then return "steps", "expected them in the order of their times" end
    end
  end,
  new = function(config)
    local to, name, mark = config.to, config.name, config.mark
    local header, header_value, cookie = config.header, config.header_value, config.cookie
    local sticky_cookie = config.sticky == "cookie" and config.sticky_cookie or nil
    local by = config.sticky ~= "none" and config.sticky ~= "cookie" and by_of(config.sticky) or nil
    local weight_now = config.steps and stepped(config.steps, name)
    local fixed = config.weight or 0
    local random = math.random
    -- LuaJIT begins with the same numbers in each state: workers would choose alike.
    local a, b, c = gateway.crypto.random(3):byte(1, 3)
    math.randomseed(a * 65536 + b * 256 + c)
    local attributes = ("; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax"):format(config.sticky_for)

    -- What the request itself asks for: true, false, or nil where it says nothing.
    local function asked(request)
      local said = header and request.headers[header]
      if said then
        if header_value then
          if said == header_value then return true end
        elseif said == "always" then
          return true
        elseif said == "never" then
          return false
        end
      end
      said = cookie and request.cookies[cookie]
      if said == "always" then return true end
      if said == "never" then return false end
      return nil
    end

    return function(request, next)
      local canary, set = asked(request), nil
      if canary == nil then
        local weight, place = fixed
        if weight_now then weight = weight_now() end
        local key = by and by(request)
        if key and #key <= 256 then
          place = place_of(name .. "\0" .. key)
        elseif sticky_cookie then
          -- The cookie holds the client's place, not the choice: as the weight grows more clients change over, and none back.
          local theirs = request.cookies[sticky_cookie]
          place = theirs and theirs:find("^%d%d?%.?%d?%d?$") and tonumber(theirs) or nil
          if not place then
            place = random(0, 9999) / 100
            set = ("%s=%.2f%s"):format(sticky_cookie, place, attributes)
          end
        else
          place = random(0, 9999) / 100
        end
        canary = place < weight
      end
      if canary then request.upstream = to end
      if not set and mark == "" then return next() end
      local response = next()
      if set then response.headers:add("Set-Cookie", set) end
      if mark ~= "" then response.headers[mark] = canary and "canary" or "stable" end
      return response
    end
  end,
}
