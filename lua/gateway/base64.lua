-- Base64 (RFC 4648), strictly: one text for one value; line ends, blanks and wrong padding are errors.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"

---@class gateway.base64
local base64 = {}

local EITHER, NONE, ALWAYS = 2, 0, 1 -- enum gw_base64_padding
local bytes = ffi.typeof("char[?]")
local made = ffi.new("int[1]")

local function encode(what, text, url, padded)
  if type(text) ~= "string" then error(("%s: expected a string, found %s"):format(what, check.describe(text)), 3) end
  local out = bytes(math.ceil(#text / 3) * 4 + 4)
  return ffi.string(out, C.gw_base64_encode(text, #text, url, padded, out))
end

local function decode(what, text, url, padding)
  if type(text) ~= "string" then error(("%s: expected a string, found %s"):format(what, check.describe(text)), 3) end
  local out = bytes(#text / 4 * 3 + 3)
  if C.gw_base64_decode(text, #text, url, padding, out, made) < 0 then
    return nil, ("base64: wrong at byte %d of %d"):format(made[0] + 1, #text)
  end
  return ffi.string(out, made[0])
end

--- With '+', '/' and padding (RFC 4648 section 4).
---@param text string any bytes
---@return string
function base64.encode(text) return (encode("base64.encode", text, 0, 1)) end

--- What base64.encode wrote, padding and all.
---@param text string
---@return string? bytes
---@return string? problem
function base64.decode(text)
  local bytes_, problem = decode("base64.decode", text, 0, ALWAYS) -- no tail call: errors count levels
  return bytes_, problem
end

--- With '-' and '_', without padding, as tokens and URLs have it (RFC 4648 section 5, RFC 7515 section 2).
---@param text string any bytes
---@return string
function base64.encode_url(text) return (encode("base64.encode_url", text, 1, 0)) end

--- What base64.encode_url wrote. Padding is taken only when `padded` says so, and then it is no duty.
---@param text string
---@param padded? boolean
---@return string? bytes
---@return string? problem
function base64.decode_url(text, padded)
  local bytes_, problem = decode("base64.decode_url", text, 1, padded and EITHER or NONE)
  return bytes_, problem
end

return base64
