-- crypto.password(hash, password): password hashes as crypt(5) writes them. A check takes tens of milliseconds by design, so it is made on
-- another thread while the request waits, and what came out of it is remembered for a while: by an HMAC with a key that only this Lua state
-- knows, in tables that are bounded.

local C = require "gateway.ffi"
local check = require "gateway.check"
local crypto = require "gateway.crypto"
local ffi = require "ffi"
local time = require "gateway.time"
local wait = require "gateway.wait"

local password = {}

local REMEMBERED_MOST = 2000 -- of each kind
local PASSWORD_MOST = 512    -- GW_PASSWORD_MOST: longer ones are nobody's

local secret = crypto.random(32)

-- Two halves, the older of which goes when the newer is full. Those that were right and those that were wrong apart: who guesses must not
-- push out who knows.
local function memory() return { new = {}, old = {}, count = 0 } end
local right, wrong = memory(), memory()

local function remembered(kind, key, now)
  local until_ = kind.new[key] or kind.old[key]
  return until_ ~= nil and now < until_
end

local function remember(kind, key, until_)
  if kind.count >= REMEMBERED_MOST / 2 then kind.old, kind.new, kind.count = kind.new, {}, 0 end
  if kind.new[key] == nil then kind.count = kind.count + 1 end
  kind.new[key] = until_
end

--- Why a text can be no hash to check against, or nil: it can. For checks while the script loads.
---@param hash string
---@return string? problem
function password.problem(hash)
  local why = C.gw_password_problem(hash, #hash)
  if why == nil then return nil end
  return ffi.string(why)
end

--- Whether a password is the hash's: bcrypt ($2b$), yescrypt ($y$), scrypt ($7$), SHA-512-crypt ($6$), SHA-256-crypt ($5$). Waits, unless
--- it was asked within `ttl`.
---@param hash string
---@param text string
---@param ttl? number seconds for which the result is remembered (60); 0: it is not
---@return boolean? good nil: it could not be checked
---@return string? problem
function password.check(hash, text, ttl)
  -- The level is that of who calls crypto.password, which calls this.
  if type(hash) ~= "string" then error("crypto.password: hash: expected a string, found " .. check.describe(hash), 3) end
  if type(text) ~= "string" then error("crypto.password: expected a string, found a " .. type(text), 3) end
  local problem = password.problem(hash)
  if problem then return nil, problem end
  if #text >= PASSWORD_MOST or text:find("\0", 1, true) then return false end
  ttl = ttl or 60
  local now = time.now()
  local key = crypto.hmac("sha256", secret, #hash .. ":" .. hash .. text)
  if ttl > 0 then
    if remembered(right, key, now) then return true end
    if remembered(wrong, key, now) then return false end
  end
  local handle = C.gw_lua_password(wait.here("crypto.password", 3), hash, #hash, text, #text)
  if handle == nil then return nil, wait.problem("crypto.password", 3) end
  wait.until_over(handle)
  local result = C.gw_lua_password_result(handle)
  C.gw_lua_wait_end(handle)
  if result < 0 then return nil, result == -4 and "not enough memory" or "the hash cannot be checked" end
  if ttl > 0 then remember(result == 1 and right or wrong, key, time.now() + ttl) end
  return result == 1
end

return password
