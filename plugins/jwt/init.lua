-- Lets in requests with a JSON Web Token (RFC 7519) that one of the known keys has signed, and whose claims are as they must be.
--
--     gateway.plugin("jwt", {
--       jwks_url = "https://issuer.example/.well-known/jwks.json", issuer = "https://issuer.example/", audience = "my-api",
--       roles = { any = { "admin", "editor" } }, claims_to_headers = { email = "X-Email" },
--     })
--
-- The algorithm that a token names is used only with a key that is made for it: a public key is never a secret, and "none" is no algorithm.
-- 401 and 403 are as in RFC 6750. Behind it, request.ctx.jwt = { header =, claims = } and request.ctx.consumer.

local check = require "gateway.check"
local credentials = require "gateway.credentials"
local gateway = require "gateway"
local keys = require "jwt.keys"

local base64, crypto, json = gateway.base64, gateway.crypto, gateway.json
local quoted = credentials.quoted

local algorithms = {
  "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
}

-- ---- the config ----

local function pem_problem(text)
  local key, problem = crypto.key(text)
  if not key then return problem end
end

local function jwk_problem(jwk)
  local key, problem = crypto.key(jwk)
  if not key then return problem end
end

local function strings(description)
  return { type = "union", any_of = { "string", { type = "list", of = "string", min_items = 1 } }, description = description }
end

local function list_of(value)
  if type(value) == "string" then return { value } end
  return value
end

local secret_field = { type = "string", min_len = 16, secret = true, description = "the shared secret of HS256, HS384 and HS512" }
local pem_field = { type = "string", check = pem_problem, description = "a public key or a certificate in PEM" }

local schema = {
  secret = secret_field,
  public_key = pem_field,
  keys = {
    type = "list", min_items = 1, description = "several keys, each with one of secret, public_key and jwk",
    of = {
      type = "record", one_required = { "secret", "public_key", "jwk" }, exclusive = { "secret", "public_key", "jwk" },
      fields = {
        id = { type = "string", description = 'the "kid" of its tokens; without one it is tried for all' },
        secret = secret_field, public_key = pem_field,
        jwk = { type = "map", of = "any", check = jwk_problem, secret = true, description = "a JSON Web Key" },
      },
    },
  },
  jwks_url = { type = "url", check = check.fetchable, description = "where the issuer publishes its keys (a JSON Web Key Set)" },
  jwks_ttl = { type = "duration", min = 1, default = "10m", description = "how long they are good before they are fetched again" },
  jwks_stale = {
    type = "duration", min = 0, default = "1h", description = "how much longer they are good while they cannot be fetched",
  },
  jwks_refresh_every = {
    type = "duration", min = 1, default = "30s", description = "a key id that is not known has them fetched again, but not more often",
  },
  jwks_timeout = { type = "duration", min = 0.01, default = "5s", description = "how long fetching the keys may take" },
  algorithms = {
    type = "list", of = { type = "enum", one_of = algorithms }, min_items = 1, unique = true,
    description = "those that are taken; without it, all that the keys are made for",
  },
  issuer = strings 'what the claim "iss" must be; several: one of them',
  audience = strings 'what the claim "aud" must be or hold; several: one of them',
  required_claims = { type = "list", of = "string", default = { "exp" }, description = "claims that must be there" },
  clock_skew = { type = "duration", min = 0, max = 3600, default = "30s", description = "how far clocks may differ: exp, nbf, iat" },
  roles = {
    type = "record", one_required = { "any", "all" },
    description = "what a token must hold to be let in (403 otherwise)",
    fields = {
      claim = {
        type = "string", default = "roles",
        description = 'a list, or words with blanks between them; "realm_access.roles" is a claim within a claim',
      },
      any = { type = "list", of = "string", min_items = 1, description = "one of these" },
      all = { type = "list", of = "string", min_items = 1, description = "all of these" },
    },
  },
  header = credentials.header_field("authorization", 'where the token stands, behind "Bearer"; false: in no header'),
  query = { type = "string", min_len = 1, description = "a parameter of the query in which it may stand as well" },
  cookie = { type = "string", min_len = 1, description = "a cookie in which it may stand as well" },
  optional = { type = "boolean", default = false, description = "requests without a token go on, as nobody's" },
  hide_credentials = { type = "boolean", default = false, description = "the backend does not get the token" },
  consumer_claim = { type = "string", default = "sub", description = "the claim that says who it is" },
  consumer_header = credentials.consumer_field(),
  claims_to_headers = {
    type = "map", of = credentials.header_field(nil, "the header"), default = {},
    description = "claims that the backend gets as headers, which clients cannot send",
  },
  realm = credentials.name_field("the realm that refusals name in WWW-Authenticate", "gateway"),
}

-- The config's keys; raises for one that is none.
local function fixed_keys(config)
  local out = {}
  local function add(key, problem, id)
    if not key then error(problem, 0) end
    key.id = id or key.id
    out[#out + 1] = key
  end
  if config.secret then add(crypto.secret(config.secret)) end
  if config.public_key then add(crypto.key(config.public_key)) end
  for _, one in ipairs(config.keys or {}) do
    if one.secret then
      add(crypto.secret(one.secret), nil, one.id)
    else
      local key, problem = crypto.key(one.public_key or one.jwk)
      add(key, problem, one.id)
    end
  end
  return out
end

-- ---- tokens ----

local function object(text)
  local bytes = base64.decode_url(text)
  local value = bytes and json.decode(bytes, { depth = 32, unique = true })
  if type(value) ~= "table" or value == json.null or value[1] ~= nil or getmetatable(value) then return nil end
  return value
end

-- A token's parts, or what is wrong with it.
local function parse(token)
  local head, payload, signature = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]*)$")
  local header = head and object(head)
  if not header or type(header.alg) ~= "string" or (header.kid ~= nil and type(header.kid) ~= "string") then
    return nil, "it is no token"
  end
  if header.crit ~= nil then return nil, "it needs extensions that are not known" end
  local bytes = base64.decode_url(signature)
  if not bytes then return nil, "it is no token" end
  return { header = header, payload = payload, signed = head .. "." .. payload, signature = bytes }
end

local function has(list, value)
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end

local function is_time(value)
  return value == nil or type(value) == "number"
end

-- What is wrong with the claims; nil: nothing.
local function claims_problem(claims, config, issuers, audiences)
  for _, name in ipairs(config.required_claims) do
    if claims[name] == nil or claims[name] == json.null then return ("the claim %s is missing"):format(name) end
  end
  if not is_time(claims.exp) or not is_time(claims.nbf) or not is_time(claims.iat) then return "its times are no numbers" end
  local now, skew = gateway.now(), config.clock_skew
  if claims.exp and now >= claims.exp + skew then return "it has expired" end
  if claims.nbf and now < claims.nbf - skew then return "it is not valid yet" end
  if claims.iat and now < claims.iat - skew then return "it is from the future" end
  if issuers and not has(issuers, claims.iss) then return "it is of another issuer" end
  if audiences then
    local given = type(claims.aud) == "table" and claims.aud or { claims.aud }
    local good = false
    for _, one in ipairs(given) do good = good or has(audiences, one) end
    if not good then return "it is for another audience" end
  end
  return nil
end

-- "realm_access.roles": a claim of that very name, or one within another.
local function claim_of(claims, name)
  local value = claims[name]
  if value ~= nil then return value end
  value = claims
  for part in name:gmatch("[^.]+") do
    if type(value) ~= "table" or value == json.null then return nil end
    value = value[part]
  end
  return value
end

local function roles_good(claims, roles)
  local held = {}
  local value = claim_of(claims, roles.claim)
  if type(value) == "string" then
    for word in value:gmatch("%S+") do held[word] = true end
  elseif type(value) == "table" then
    for _, word in ipairs(value) do held[word] = true end
  end
  for _, role in ipairs(roles.all or {}) do
    if not held[role] then return false end
  end
  if not roles.any then return true end
  for _, role in ipairs(roles.any) do
    if held[role] then return true end
  end
  return false
end

-- A claim as a header's value; nil: it cannot be one.
local function header_text(value)
  if type(value) == "table" and value ~= json.null then
    local out = {}
    for i, one in ipairs(value) do
      if type(one) ~= "string" and type(one) ~= "number" then return nil end
      out[i] = tostring(one)
    end
    if #out == 0 then return nil end
    value = table.concat(out, ",")
  elseif type(value) == "boolean" or type(value) == "number" then
    value = type(value) == "number" and ("%.14g"):format(value) or tostring(value)
  end
  return type(value) == "string" and value ~= "" and check.header_value(value) and value or nil
end

-- ---- the middleware ----

return {
  name = "jwt",
  version = "1.0.0",
  description = "Lets in requests with a JSON Web Token that a known key has signed.",
  example = { jwks_url = "http://auth.internal/jwks.json", issuer = "https://auth.example.com", roles = { any = { "admin" } } },
  schema = schema,
  one_required = { "secret", "public_key", "keys", "jwks_url" },
  check = function(config)
    if config.header == false and not config.query and not config.cookie then return "header", "false, and neither query nor cookie" end
  end,
  new = function(config)
    local place = credentials.place {
      header = config.header, scheme = config.header and config.header:lower() == "authorization" and "Bearer" or nil,
      query = config.query, cookie = config.cookie,
    }
    local fixed = fixed_keys(config)
    local set = #fixed > 0 and keys.fixed(fixed) or nil
    local remote = config.jwks_url and keys.remote {
      url = config.jwks_url, ttl = config.jwks_ttl, stale = config.jwks_stale, refresh_every = config.jwks_refresh_every,
      timeout = config.jwks_timeout,
    } or nil
    local allowed = {}
    for _, name in ipairs(config.algorithms or algorithms) do allowed[name] = true end
    local issuers, audiences = list_of(config.issuer), list_of(config.audience)
    local realm = "Bearer realm=" .. quoted(config.realm)
    local told = {} -- headers by claims, in an order that stays
    for claim, header in pairs(config.claims_to_headers) do told[#told + 1] = { claim = claim, header = header } end
    table.sort(told, function(a, b) return a.claim < b.claim end)

    local function refuse(status, kind, why, more)
      local challenge = kind and ("%s, error=%s, error_description=%s%s"):format(realm, quoted(kind), quoted(why), more or "") or realm
      return gateway.respond(status, { error = why }, { ["WWW-Authenticate"] = challenge })
    end

    -- Whether one of the keys has signed it; nil: keys could not be had.
    local function signed(token)
      local header = token.header
      for _, source in ipairs { set or false, remote or false } do
        local list, problem = {}, nil
        if source then list, problem = source:find(header.kid, header.alg) end
        if not list then return nil, problem end
        for _, key in ipairs(list) do
          if crypto.verify(header.alg, key, token.signed, token.signature) then return true end
        end
      end
      return false
    end

    local function identify(request, claims)
      for _, one in ipairs(told) do
        local text = claims and header_text(claim_of(claims, one.claim)) or nil
        credentials.vouch(request, one.header, text)
      end
      local consumer = claims and header_text(claim_of(claims, config.consumer_claim)) or nil
      credentials.identify(request, consumer, config.consumer_header)
    end

    local needed = ""
    if config.roles then
      local words = {}
      for _, list in ipairs { config.roles.all or {}, config.roles.any or {} } do
        for _, word in ipairs(list) do words[#words + 1] = word end
      end
      needed = ", scope=" .. quoted(table.concat(words, " "))
    end

    return function(request, next)
      local text, where, rest = place:find(request)
      if where == "several" then return refuse(401, "invalid_request", "there is more than one token") end
      if not text then
        if not config.optional then return refuse(401, nil, "there is no token") end
        identify(request, nil)
        return next()
      end
      local token, problem = parse(text)
      if not token then return refuse(401, "invalid_token", problem) end
      if not allowed[token.header.alg] then return refuse(401, "invalid_token", "its algorithm is not taken here") end
      local good
      good, problem = signed(token)
      if good == nil then
        gateway.log.warn("jwt: there are no keys to check a token with", { error = tostring(problem) })
        return gateway.respond(503, { error = "tokens cannot be checked at the moment" }, { ["Retry-After"] = "1" })
      end
      if not good then return refuse(401, "invalid_token", "its signature is not valid") end
      local claims = object(token.payload)
      if not claims then return refuse(401, "invalid_token", "its claims cannot be read") end
      problem = claims_problem(claims, config, issuers, audiences)
      if problem then return refuse(401, "invalid_token", problem) end
      if config.roles and not roles_good(claims, config.roles) then
        return refuse(403, "insufficient_scope", "it does not hold what is needed here", needed)
      end
      if config.hide_credentials then place:hide(request, where, rest) end
      request.ctx.jwt = { header = token.header, claims = claims }
      identify(request, claims)
      return next()
    end
  end,
}
