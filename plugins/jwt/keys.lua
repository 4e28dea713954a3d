-- The keys that tokens are checked with: those of the config, and a JSON Web Key Set (RFC 7517 section 5) that is fetched and kept.

local gateway = require "gateway"

local keys = {}

local KEYS_MOST = 100 -- of one set
local TRIES_MOST = 8  -- that one token may cost

local Set = {}
Set.__index = Set

--- A set of keys that stay: those of the config.
function keys.fixed(list)
  return setmetatable({ list = list }, Set)
end

-- Those of the list that may have made the signature, at most TRIES_MOST.
local function choose(out, list, id, algorithm)
  for _, key in ipairs(list) do
    local fits = key.algorithms[algorithm] and (not key.algorithm or key.algorithm == algorithm)
    if fits and (key.id == nil or id == nil or key.id == id) and #out < TRIES_MOST then out[#out + 1] = key end
  end
end

--- The keys of a JWK Set, without those that are of no use here: for encryption, of kinds that are not known, and secrets, which nobody
--- publishes.
---@param text string
---@return gateway.Key[]?
---@return string? problem
function keys.parse(text)
  local set, problem = gateway.json.decode(text, { depth = 8, unique = true })
  if set == nil then return nil, problem end
  if type(set) ~= "table" or type(set.keys) ~= "table" then return nil, 'it is no JSON Web Key Set: there is no list "keys"' end
  local out, reason = {}, "it is empty"
  for i = 1, math.min(#set.keys, KEYS_MOST) do
    local jwk = set.keys[i]
    if type(jwk) == "table" and jwk ~= gateway.json.null and jwk.kty ~= "oct" and (jwk.use == nil or jwk.use == "sig") then
      local key, why = gateway.crypto.key(setmetatable(jwk, nil))
      if key then out[#out + 1] = key else reason = why end
    end
  end
  if #out == 0 then return nil, "there is no key in it that can be used: " .. reason end
  return out
end

---@class gateway.jwt.Remote
---@field url string
---@field ttl number seconds after which it is fetched again
---@field stale number how much longer old keys are good while it cannot be fetched
---@field refresh_every number an id that is not known has it fetched again, but not more often than this
---@field timeout number
local Remote = {}
Remote.__index = Remote

--- A set that is fetched when it is needed first.
function keys.remote(settings)
  local self = { fetch = gateway.fetch, list = nil, fetched = 0, tried = -math.huge, busy_until = 0 }
  for name, value in pairs(settings) do self[name] = value end
  return setmetatable(self, Remote)
end

local function fetch(self)
  local response, problem = self.fetch(self.url, {
    timeout = self.timeout, max_body = "1MB", headers = { Accept = "application/json" },
  })
  if not response then return nil, problem end
  if response.status ~= 200 then return nil, ("status %d"):format(response.status) end
  return keys.parse(response.body)
end

local function work(self)
  local list, problem = fetch(self)
  self.busy_until = 0
  if list then
    self.list, self.fetched, self.problem = list, gateway.now(), nil
  else
    self.problem = problem
    gateway.log.warn("jwt: the keys could not be fetched", { url = self.url, error = tostring(problem), kept = self.list ~= nil })
  end
end

-- Waits for the keys that are being fetched.
local function join(self)
  while gateway.now() < self.busy_until do gateway.sleep(0.01) end
end

-- They are fetched beside the request that asks first: should its client go away, nobody waits in vain.
local function refresh(self)
  self.tried, self.busy_until = gateway.now(), gateway.now() + self.timeout
  if gateway.spawn(function() work(self) end, { timeout = self.timeout + 1 }) then return join(self) end
  work(self)
end

local function knows(self, id)
  for _, key in ipairs(self.list) do
    if key.id == nil or key.id == id then return true end
  end
  return false
end

--- The keys that may have signed.
---@return gateway.Key[]? list
---@return string? problem there are no keys to be had now
function Remote:find(id, algorithm)
  local now = gateway.now()
  local busy = now < self.busy_until
  local age = now - self.fetched
  if self.list and age > self.ttl + self.stale then self.list = nil end
  local wanted = not self.list or age > self.ttl or (id ~= nil and not knows(self, id))
  if wanted and not busy and now - self.tried >= (self.list and self.refresh_every or math.min(self.refresh_every, 1)) then
    refresh(self)
  elseif busy and (not self.list or (id ~= nil and not knows(self, id))) then
    join(self)
  end
  if not self.list then return nil, self.problem or "they could not be fetched in time" end
  local out = {}
  choose(out, self.list, id, algorithm)
  return out
end

function Set:find(id, algorithm)
  local out = {}
  choose(out, self.list, id, algorithm)
  return out
end

return keys
