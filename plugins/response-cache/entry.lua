-- A stored response as text, for gateway.shared, and back. The first line says what it is:
--
--     R STATUS STORED AGE LIFETIME REVALIDATE ERROR STRICT   a response; the fields follow, a line each, an empty line, the body
--     V ID NAME NAME ...                                      responses depend on these request fields; each has a key of its own
--     P                                                       the answer to this cannot be stored: nobody need wait for it
--
-- STORED is a time (seconds since 1970), AGE what the response had behind it then, the others spans in seconds from its age 0 on: fresh for
-- LIFETIME, and stale it will do for REVALIDATE more while it is fetched anew, for ERROR more when the backend fails. STRICT: 1 when it may
-- not be used stale.

local reserved = require("gateway.headers").reserved
local rules = require "response-cache.rules"

local entry = {}

---@class response_cache.Entry
---@field status integer
---@field stored number
---@field initial_age number
---@field lifetime number
---@field revalidate number
---@field error number
---@field strict boolean
---@field fields { [1]: string, [2]: string }[]
---@field body string

-- Fields that belong to one connection or one client, and those that are written anew each time.
local left_out = {
  ["set-cookie"] = true, age = true, ["proxy-authenticate"] = true, ["proxy-authentication-info"] = true, ["x-cache"] = true,
  ["x-request-id"] = true,
}

--- The fields of a response that are kept: not those of one connection or client, nor what no-cache="..." and private="..." name.
---@param headers gateway.Headers
---@param directives table<string, string|true>
---@return { [1]: string, [2]: string }[]
function entry.fields(headers, directives)
  local named = {}
  for _, directive in ipairs { "no-cache", "private" } do
    local value = directives[directive]
    if type(value) == "string" then
      for name in value:gmatch("[^,%s]+") do named[name:lower()] = true end
    end
  end
  local out = {}
  for name, value in headers:each() do
    local lower = name:lower()
    if not left_out[lower] and not reserved[lower] and not named[lower] then out[#out + 1] = { name, value } end
  end
  return out
end

---@param e response_cache.Entry
---@param name string in lower case
---@return string?
function entry.field(e, name)
  for _, field in ipairs(e.fields) do
    if field[1]:lower() == name then return field[2] end
  end
  return nil
end

---@param e response_cache.Entry
---@return string
function entry.encode(e)
  local out = { ("R %d %.6f %.17g %.17g %.17g %.17g %d"):format(e.status, e.stored, e.initial_age, e.lifetime, e.revalidate, e.error,
    e.strict and 1 or 0) }
  for _, field in ipairs(e.fields) do out[#out + 1] = field[1] .. ":" .. field[2] end
  out[#out + 1] = ""
  out[#out + 1] = e.body
  return table.concat(out, "\n")
end

---@param text string
---@return response_cache.Entry? nil when it is no response
function entry.decode(text)
  local status, stored, age, lifetime, revalidate, failure, strict, at =
    text:match("^R (%d+) (%S+) (%S+) (%S+) (%S+) (%S+) ([01])\n()")
  if not status then return nil end
  local fields = {}
  while true do
    local ending = text:find("\n", at, true)
    if not ending then return nil end
    if ending == at then break end
    local colon = text:find(":", at, true)
    fields[#fields + 1] = { text:sub(at, colon - 1), text:sub(colon + 1, ending - 1) }
    at = ending + 1
  end
  return {
    status = tonumber(status), stored = tonumber(stored), initial_age = tonumber(age), lifetime = tonumber(lifetime),
    revalidate = tonumber(revalidate), error = tonumber(failure), strict = strict == "1", fields = fields, body = text:sub(at + 1),
  }
end

--- Seconds since the backend made or confirmed it.
---@param e response_cache.Entry
---@param now number
---@return number
function entry.age(e, now)
  return math.max(0, e.initial_age + now - e.stored)
end

--- Reads from a response's head how long it may be kept; nil when it may not be kept at all.
---@param status integer
---@param headers gateway.Headers
---@param config table
---@param authorized boolean the request had credentials
---@param now number
---@return response_cache.Entry? without its body
function entry.judge(status, headers, config, authorized, now)
  if not config._statuses[status] then return nil end
  local directives = rules.directives(headers["cache-control"])
  if directives["no-store"] or directives.private == true then return nil end
  if authorized and not rules.authorized(directives) then return nil end
  if headers["set-cookie"] and not config.store_cookies then return nil end
  if headers["content-range"] or headers.vary == "*" then return nil end
  local lifetime = rules.lifetime(directives, headers.expires, headers.date, now)
  if lifetime == nil then
    -- HTTP/1.0 backends say it so (RFC 9111 section 5.4)
    lifetime = (headers.pragma or ""):lower():find("no-cache", 1, true) and 0 or config.default_ttl
  end
  if directives["no-cache"] == true then lifetime = 0 end
  local strict = rules.strict(directives)
  local revalidate = strict and 0 or rules.seconds(directives, "stale-while-revalidate") or config.stale_while_revalidate
  local failure = strict and 0 or rules.seconds(directives, "stale-if-error") or config.stale_if_error
  local confirmable = headers.etag ~= nil or headers["last-modified"] ~= nil
  if lifetime <= 0 and revalidate <= 0 and failure <= 0 and not confirmable then return nil end
  local age = (headers.age or ""):match("^%s*(%d+)")
  return {
    status = status, stored = now, initial_age = tonumber(age) or 0, lifetime = lifetime, revalidate = revalidate, error = failure,
    strict = strict, fields = entry.fields(headers, directives), body = "",
  }
end

--- Seconds from now for which it can be of use.
---@param e response_cache.Entry
---@param config table
---@return number
function entry.useful_for(e, config)
  local stale = math.max(e.revalidate, e.error)
  if entry.field(e, "etag") or entry.field(e, "last-modified") then stale = math.max(stale, config.keep) end
  return e.lifetime - e.initial_age + stale
end

return entry
