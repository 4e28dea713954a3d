-- Digests, HMAC, signatures, random bytes and comparison in constant time, by OpenSSL (runtime/secure); passwords: password.lua.
--
-- Misuse (a wrong type, an unknown algorithm) raises at the caller's line; what data can be wrong about gives nil and a message.

local C = require "gateway.ffi"
local base64 = require "gateway.base64"
local check = require "gateway.check"
local ffi = require "ffi"
local owned = require "gateway.owned"

---@class gateway.crypto
local crypto = {}

local text_of = ffi.string
local out = ffi.new("char[1024]") -- GW_KEY_SIGNATURE_MOST
local reason = ffi.new("const char *[1]")

local kinds = { md5 = 0, sha1 = 1, sha256 = 2, sha384 = 3, sha512 = 4 } -- enum gw_digest_kind

local function need_text(what, text, level)
  if type(text) ~= "string" then error(("%s: expected a string, found %s"):format(what, check.describe(text)), level + 1) end
end

local function failed(what, status)
  error(("%s: %s"):format(what, status == -4 and "not enough memory" or "not available in this system's OpenSSL"), 3)
end

-- ---- bytes ----

local digits = {}
for i = 0, 255 do digits[string.char(i)] = ("%02x"):format(i) end

--- Bytes as hexadecimal digits, in lower case.
---@param text string
---@return string
function crypto.hex(text)
  need_text("crypto.hex", text, 2)
  return (text:gsub(".", digits))
end

--- The bytes of hexadecimal digits, in either case.
---@param text string
---@return string? bytes
---@return string? problem
function crypto.unhex(text)
  need_text("crypto.unhex", text, 2)
  if #text % 2 ~= 0 or text:find("%X") then return nil, "expected hexadecimal digits, an even number of them" end
  return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

--- Whether two secrets are equal: how long it takes tells their lengths and nothing else. False when one of them is no string.
---@param a any
---@param b any
---@return boolean
function crypto.equal(a, b)
  if type(a) ~= "string" or type(b) ~= "string" then return false end
  return C.gw_equal_secret(a, #a, b, #b) ~= 0
end

--- Bytes that nobody can guess.
---@param n integer 1 to 65536
---@return string
function crypto.random(n)
  if type(n) ~= "number" or n % 1 ~= 0 or n < 1 or n > 65536 then
    error("crypto.random: expected a number of bytes from 1 to 65536, found " .. check.describe(n), 2)
  end
  local room = n <= 1024 and out or ffi.new("char[?]", n)
  if C.gw_random_secret(room, n) < 0 then error("crypto.random: the system has no random bytes to give", 2) end
  return text_of(room, n)
end

--- Whether a password is a hash's, as crypt(5) writes them; password.lua says more. Waits.
---@param hash string "$2b$12$...", "$y$...", "$6$..."
---@param password string
---@param ttl? number seconds for which the result is remembered (60)
---@return boolean? good nil: it could not be checked
---@return string? problem
function crypto.password(hash, password, ttl)
  local good, problem = require("gateway.password").check(hash, password, ttl) -- no tail call: errors count levels
  return good, problem
end

-- ---- digests ----

for name, kind in pairs(kinds) do
  local what = "crypto." .. name
  crypto[name] = function(text)
    need_text(what, text, 2)
    local len = C.gw_digest(kind, text, #text, out)
    if len < 0 then failed(what, len) end
    return text_of(out, len)
  end
  crypto[name .. "_hex"] = function(text)
    need_text(what .. "_hex", text, 2)
    local len = C.gw_digest(kind, text, #text, out)
    if len < 0 then failed(what, len) end
    return crypto.hex(text_of(out, len))
  end
end

-- What the loop made, for editors.
---@class gateway.crypto
---@field md5 fun(text: string): string raw bytes; broken: only for formats that ask for it
---@field sha1 fun(text: string): string raw bytes; broken for signatures
---@field sha256 fun(text: string): string raw bytes
---@field sha384 fun(text: string): string raw bytes
---@field sha512 fun(text: string): string raw bytes
---@field md5_hex fun(text: string): string
---@field sha1_hex fun(text: string): string
---@field sha256_hex fun(text: string): string
---@field sha384_hex fun(text: string): string
---@field sha512_hex fun(text: string): string

local function mac(what, algorithm, key, text)
  local kind = kinds[algorithm]
  if not kind then error(("%s: %s"):format(what, check.unknown("algorithm", algorithm, kinds)), 3) end
  need_text(what .. ": key", key, 3)
  need_text(what, text, 3)
  local len = C.gw_hmac(kind, key, #key, text, #text, out)
  if len < 0 then failed(what, len) end
  return text_of(out, len)
end

--- HMAC (RFC 2104), raw bytes.
---@param algorithm "sha256"|"sha384"|"sha512"|"sha1"|"md5"
---@param key string
---@param text string
---@return string
function crypto.hmac(algorithm, key, text)
  return (mac("crypto.hmac", algorithm, key, text)) -- no tail call: errors count levels
end

--- HMAC, in hexadecimal digits.
---@param algorithm "sha256"|"sha384"|"sha512"|"sha1"|"md5"
---@param key string
---@param text string
---@return string
function crypto.hmac_hex(algorithm, key, text) return crypto.hex(mac("crypto.hmac_hex", algorithm, key, text)) end

-- ---- keys ----

-- enum gw_jws
local signatures = { RS256 = 0, RS384 = 1, RS512 = 2, PS256 = 3, PS384 = 4, PS512 = 5, ES256 = 6, ES384 = 7, ES512 = 8, EdDSA = 9 }
local macs = { HS256 = "sha256", HS384 = "sha384", HS512 = "sha512" }

local rsa_algorithms = { RS256 = true, RS384 = true, RS512 = true, PS256 = true, PS384 = true, PS512 = true }

-- enum gw_key_kind + 1
local key_kinds = {
  { kind = "RSA", algorithms = rsa_algorithms },
  { kind = "P-256", algorithms = { ES256 = true } }, { kind = "P-384", algorithms = { ES384 = true } },
  { kind = "P-521", algorithms = { ES512 = true } },
  { kind = "Ed25519", algorithms = { EdDSA = true } }, { kind = "Ed448", algorithms = { EdDSA = true } },
}
local secret_algorithms = { HS256 = true, HS384 = true, HS512 = true }
local curves = { ["P-256"] = 1, ["P-384"] = 2, ["P-521"] = 3 }
local edwards = { Ed25519 = 4, Ed448 = 5 }

--- A key, parsed once.
---@class gateway.Key
---@field kind "RSA"|"P-256"|"P-384"|"P-521"|"Ed25519"|"Ed448"|"secret"
---@field algorithms table<string, true> what it can be used for
---@field private boolean it can sign
---@field id string? "kid" of a JSON Web Key
---@field algorithm string? "alg" of a JSON Web Key: the only one that it is for
---@field bits integer? of the modulus or the curve
local Key = { describe = function(key) return "a key (" .. key.kind .. ")" end }
Key.__index = Key
Key.__tostring = Key.describe -- never the key itself

local function parsed(pointer)
  if pointer == nil then return nil, text_of(reason[0]) end
  owned.keep(pointer)
  local kind = key_kinds[C.gw_key_kind(pointer) + 1]
  return setmetatable({ kind = kind.kind, algorithms = kind.algorithms, private = C.gw_key_private(pointer) ~= 0,
    bits = C.gw_key_bits(pointer), _pointer = pointer }, Key)
end

local function secret(bytes)
  return setmetatable({ kind = "secret", algorithms = secret_algorithms, private = true, _secret = bytes }, Key)
end

-- The bytes of a member, which RFC 7515 writes in base64url.
local function member(jwk, name)
  local text = jwk[name]
  if type(text) ~= "string" then return nil, ("%q: expected base64url, found %s"):format(name, check.describe(text)) end
  local bytes, problem = base64.decode_url(text)
  if not bytes then return nil, ("%q: %s"):format(name, problem) end
  return bytes
end

local readers = {}

function readers.RSA(jwk)
  local n, problem = member(jwk, "n")
  if not n then return nil, problem end
  local e
  e, problem = member(jwk, "e")
  if not e then return nil, problem end
  return parsed(C.gw_key_rsa(n, #n, e, #e, reason))
end

local function point(jwk, known, has_y)
  local curve = known[jwk.crv]
  if not curve then return nil, check.unknown("curve", jwk.crv, known) end
  local x, problem = member(jwk, "x")
  if not x then return nil, problem end
  local y = ""
  if has_y then
    y, problem = member(jwk, "y")
    if not y then return nil, problem end
  end
  return parsed(C.gw_key_point(curve, x, #x, y, #y, reason))
end

function readers.EC(jwk) return point(jwk, curves, true) end
function readers.OKP(jwk) return point(jwk, edwards, false) end

function readers.oct(jwk)
  local k, problem = member(jwk, "k")
  if not k then return nil, problem end
  if k == "" then return nil, '"k": expected bytes, found none' end
  return secret(k)
end

local function from_jwk(jwk)
  local reader = readers[jwk.kty]
  if not reader then return nil, "a JSON Web Key: " .. check.unknown("kty", jwk.kty, readers) end
  local key, problem = reader(jwk)
  if not key then return nil, ("a JSON Web Key (%s): %s"):format(jwk.kty, problem) end
  if jwk.alg ~= nil then
    -- A key that is meant for something else altogether, such as encryption, is of no use here; which one it is for, is kept.
    if not key.algorithms[jwk.alg] then
      return nil, ("a JSON Web Key (%s): alg %s is none for signatures of a key of this kind"):format(jwk.kty, check.describe(jwk.alg))
    end
    key.algorithm = jwk.alg
  end
  if jwk.kid ~= nil and type(jwk.kid) ~= "string" then
    return nil, ("a JSON Web Key (%s): kid: expected a string, found %s"):format(jwk.kty, check.describe(jwk.kid))
  end
  key.id = jwk.kid
  return key
end

--- A key from PEM (a public key, a certificate, or a private key without pass phrase), or from a JSON Web Key (RFC 7517) as a table: kty
--- RSA, EC, OKP (their public part) or oct. Parse keys once, while the script loads, and keep them.
---@param source string|table
---@return gateway.Key? key
---@return string? problem
function crypto.key(source)
  if type(source) == "string" then return parsed(C.gw_key_pem(source, #source, reason)) end
  if type(source) == "table" and getmetatable(source) == nil then return from_jwk(source) end
  error("crypto.key: expected PEM or a JSON Web Key as a table, found " .. check.describe(source), 2)
end

--- A secret as a key for HS256, HS384 and HS512.
---@param bytes string
---@return gateway.Key
function crypto.secret(bytes)
  need_text("crypto.secret", bytes, 2)
  if bytes == "" then error("crypto.secret: expected bytes, found an empty string", 2) end
  return secret(bytes)
end

-- ---- signatures ----

local function look(what, algorithm, key)
  if getmetatable(key) ~= Key then
    error(("%s: expected a key of crypto.key or crypto.secret, found %s"):format(what, check.describe(key)), 3)
  end
  if not signatures[algorithm] and not macs[algorithm] then
    local known = {}
    for name in pairs(signatures) do known[name] = true end
    for name in pairs(macs) do known[name] = true end
    return nil, check.unknown("algorithm", algorithm, known)
  end
  if not key.algorithms[algorithm] or key.algorithm and key.algorithm ~= algorithm then
    return nil, ("a key of kind %s is none for %s"):format(key.kind, algorithm)
  end
  return true
end

--- Whether a signature of JSON Web Signature (RFC 7518 section 3, RFC 8037) is the key's. What a key can be used for follows from its kind:
--- an algorithm that comes from outside can never make a public key a secret.
---@param algorithm string RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA HS256 HS384 HS512
---@param key gateway.Key
---@param text string what was signed
---@param signature string raw bytes; of ES*: r and s, as tokens have it
---@return boolean? good nil: the algorithm is unknown or none for this key
---@return string? problem
function crypto.verify(algorithm, key, text, signature)
  local good, problem = look("crypto.verify", algorithm, key)
  if not good then return nil, problem end
  need_text("crypto.verify: text", text, 2)
  need_text("crypto.verify: signature", signature, 2)
  if macs[algorithm] then return crypto.equal(mac("crypto.verify", macs[algorithm], key._secret, text), signature) end
  local result = C.gw_key_verify(key._pointer, signatures[algorithm], text, #text, signature, #signature)
  if result < 0 then return nil, "not enough memory" end
  return result == 1
end

--- Signs.
---@param algorithm string as for crypto.verify
---@param key gateway.Key a private key or a secret
---@param text string
---@return string? signature raw bytes
---@return string? problem
function crypto.sign(algorithm, key, text)
  local good, problem = look("crypto.sign", algorithm, key)
  if not good then return nil, problem end
  need_text("crypto.sign", text, 2)
  if macs[algorithm] then return mac("crypto.sign", macs[algorithm], key._secret, text) end
  if not key.private then return nil, "a public key cannot sign" end
  local len = C.gw_key_sign(key._pointer, signatures[algorithm], text, #text, out)
  if len < 0 then return nil, "not enough memory" end
  return text_of(out, len)
end

return crypto
