-- Lets in requests that are signed with a secret which client and gateway share (HMAC), so that no secret ever travels.
--
--     gateway.plugin("hmac-auth", { secrets = { alice = "a long secret" } })
--
-- A client sends (after draft-cavage-http-signatures-12, as Kong's plugin of that name has it):
--
--     Date: Sat, 31 Jan 2026 12:00:00 GMT
--     Digest: SHA-256=<base64 of the body's SHA-256>                                      when there is a body
--     Authorization: Signature keyId="alice", algorithm="hmac-sha256",
--                    headers="(request-target) host date digest", signature="<base64>"    one line
--
-- What is signed is a line for each word of `headers`, in that order, with "\n" between them and none at the end:
--
--     (request-target): post /orders?dry=1       method in lower case; path as the gateway has normalised it, with its query
--     host: api.example.com                      a field's name in lower case, and its value; of several fields of a name, joined by ", "
--     date: Sat, 31 Jan 2026 12:00:00 GMT
--     digest: SHA-256=...
--
-- X-Date may stand for Date, for clients that cannot set it. Behind it, request.ctx.consumer is the consumer's name.

local gateway = require "gateway"
local credentials = require "gateway.credentials"

local base64, crypto = gateway.base64, gateway.crypto

local algorithms = { ["hmac-sha256"] = "sha256", ["hmac-sha384"] = "sha384", ["hmac-sha512"] = "sha512" }

local months = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

-- Days since 1970 of a date of the Gregorian calendar (Howard Hinnant, chrono-compatible low-level date algorithms).
local function days_of(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

-- Seconds since 1970 of an IMF-fixdate (RFC 9110 section 5.6.7), or nil.
local function time_of(text)
  local day, month, year, hour, minute, second = text:match("^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  if not day or not months[month] then return nil end
  return days_of(tonumber(year), months[month], tonumber(day)) * 86400 + hour * 3600 + minute * 60 + second
end

-- key="value" pairs behind the scheme, or nil: it is none of ours.
local function parameters_of(field)
  local scheme, rest = field:match("^(%a+)[ \t]+(.*)$")
  if not scheme or (scheme:lower() ~= "signature" and scheme:lower() ~= "hmac") then return nil end
  local out, at = {}, 1
  while at <= #rest do
    local name, value, behind = rest:match('^[ \t]*(%a+)[ \t]*=[ \t]*"([^"]*)"[ \t]*()', at)
    if not name or out[name] then return nil end
    out[name] = value
    if behind <= #rest and rest:sub(behind, behind) ~= "," then return nil end
    at = behind + 1
  end
  out.id = out.keyId or out.username
  if not out.id or not out.signature then return nil end
  return out
end

-- The text that was signed; nil: a field that is named is not there.
local function signed_text(request, names)
  local lines = {}
  for i, name in ipairs(names) do
    local value
    if name == "(request-target)" then
      local query = request.query
      value = ("%s %s%s"):format(request.method:lower(), request.path, query ~= "" and "?" .. query or "")
    else
      value = request.headers[name]
    end
    if not value then return nil, ("the signature covers %s, which is not there"):format(name) end
    lines[i] = name .. ": " .. value
  end
  return table.concat(lines, "\n")
end

-- Whether the body is what the Digest field says. The body is read, within its limits.
local function digest_good(request)
  local wanted = (request.headers.digest or ""):match("^[Ss][Hh][Aa]%-256=(.+)$")
  if not wanted then return false, "expected Digest: SHA-256=..." end
  local body, problem = request:body()
  if not body then return false, problem end
  return crypto.equal(base64.encode(crypto.sha256(body)), wanted), "the digest is not the body's"
end

local function has_body(request)
  local length = request.headers["content-length"]
  return length ~= nil and length ~= "0" or request.headers["transfer-encoding"] ~= nil
end

local function word_problem(name)
  if name ~= "(request-target)" and (name:find("[^%w_-]") or name:find("%u")) then
    return 'expected "(request-target)" or a header\'s name in lower case'
  end
end

return {
  name = "hmac-auth",
  version = "1.0.0",
  description = "Lets in requests that are signed with a shared secret.",
  example = { secrets = { alice = "sixteen bytes at least" } },
  schema = {
    secrets = {
      type = "map", keys = credentials.name_field "who it is", of = { type = "string", min_len = 16 }, required = true, min_items = 1,
      secret = true, description = "secrets, 16 bytes at least, by the consumers' names (keyId)",
    },
    algorithms = {
      type = "list", of = { type = "enum", one_of = { "hmac-sha256", "hmac-sha384", "hmac-sha512" } }, min_items = 1, unique = true,
      default = { "hmac-sha256", "hmac-sha384", "hmac-sha512" }, description = "those that are taken",
    },
    signed = {
      type = "list", of = { type = "string", check = word_problem }, default = { "(request-target)", "host", "date" },
      description = 'what every signature must cover; "date" may be x-date',
    },
    clock_skew = { type = "duration", min = 1, default = "5m", description = "how far the date may be from now, both ways" },
    body = {
      type = "enum", one_of = { "required", "when_signed", "ignored" }, default = "required",
      description = "whether requests with a body must sign its Digest, or may; it is checked in both cases",
    },
    replay = {
      type = "union", any_of = { { type = "boolean", one_of = { false } }, { type = "string", pattern = "^[%w_.%-]+$", max_len = 100 } },
      default = false, description = "the name of a gateway.shared dictionary that keeps signatures, so that each counts once",
    },
    hide_credentials = { type = "boolean", default = true, description = "the backend does not get the Authorization field" },
    consumer_header = credentials.consumer_field(),
    realm = credentials.name_field("the realm that refusals name in WWW-Authenticate", "gateway"),
  },
  new = function(config)
    local secrets, skew, body = config.secrets, config.clock_skew, config.body
    local allowed = {}
    for _, name in ipairs(config.algorithms) do allowed[name] = algorithms[name] end
    local seen = config.replay and gateway.shared(config.replay)
    local nobody = crypto.random(32) -- so that an unknown name takes the time of a known one
    local challenge = {
      ["WWW-Authenticate"] = ("Signature realm=%s, headers=%s"):format(credentials.quoted(config.realm),
        credentials.quoted(table.concat(config.signed, " "))),
    }

    local function refuse(why) return gateway.respond(401, { error = why }, challenge) end

    -- What the signature covers, or what it leaves out.
    local function covered(given)
      local names, has = {}, {}
      for name in given:gmatch("%S+") do
        name = name:lower()
        if has[name] then return nil, nil, ("the signature names %s twice"):format(name) end
        names[#names + 1], has[name] = name, true
      end
      for _, name in ipairs(config.signed) do
        if not has[name] and not (name == "date" and has["x-date"]) then
          return nil, nil, ("the signature must cover %s"):format(name)
        end
      end
      return names, has
    end

    return function(request, next)
      local field = request.headers.authorization
      local given = field and parameters_of(field)
      if not given then return refuse(field and "the Authorization field is no signature" or "the request is not signed") end
      local digest = allowed[given.algorithm or "hmac-sha256"]
      if not digest then return refuse("the signature's algorithm is not taken here") end
      local names, has, problem = covered(given.headers or "date")
      if not names then return refuse(problem) end

      local date = has["x-date"] and request.headers["x-date"] or has.date and request.headers.date
      local when = date and time_of(date)
      if date and not when then return refuse("the date cannot be read") end
      if when and math.abs(gateway.now() - when) > skew then return refuse("the date is too far from now") end

      local text
      text, problem = signed_text(request, names)
      if not text then return refuse(problem) end
      local secret = secrets[given.id]
      local expected = base64.encode(crypto.hmac(digest, secret or nobody, text))
      if not crypto.equal(expected, given.signature) or not secret then return refuse("the signature is not valid") end

      if body == "required" and not has.digest and has_body(request) then return refuse("the signature must cover digest") end
      if body ~= "ignored" and has.digest then
        local good
        good, problem = digest_good(request)
        if not good then return refuse(problem) end
      end
      -- Only what is signed comes this far, so nobody else can fill the dictionary.
      if seen then
        local added, why = seen:add(given.id .. " " .. expected, true, when and math.max(1, when + skew - gateway.now()) or 2 * skew)
        if not added then
          if why == "exists" then return refuse("the request was made before") end
          return gateway.respond(503, { error = "signatures cannot be checked at the moment" }, { ["Retry-After"] = "1" })
        end
      end
      if config.hide_credentials then request.headers.authorization = nil end
      credentials.identify(request, given.id, config.consumer_header)
      return next()
    end
  end,
}
