-- Lets in requests that carry a known API key.
--
--     gateway.plugin("key-auth", { keys = { ["s3cret"] = "alice", ["sha256:9f86d08..."] = "bob" } })
--
-- A key is looked for in the header, and in the query and the cookie where those are named. It is known by its SHA-256, so keys can be
-- stored as that ("sha256:" and 64 digits: printf %s "$KEY" | sha256sum), and the time that a lookup takes says nothing about any key.
-- Behind it, request.ctx.consumer is the consumer's name, and the backend gets it as a header that clients cannot send.

local gateway = require "gateway"
local credentials = require "gateway.credentials"

local crypto = gateway.crypto

local function key_problem(key)
  local digest = key:match("^sha256:(.*)$")
  if digest and not digest:find("^" .. ("%x"):rep(64) .. "$") then
    return 'expected 64 hexadecimal digits behind "sha256:"'
  elseif key == "" then
    return "expected a key, found an empty one"
  end
end

return {
  name = "key-auth",
  version = "1.0.0",
  description = "Lets in requests that carry a known API key.",
  example = { keys = { ["a long random key"] = "alice" } },
  schema = {
    keys = {
      type = "map", keys = { type = "string", check = key_problem }, of = credentials.name_field "who it is", required = true,
      min_items = 1, secret = true, description = 'consumers by their keys; "sha256:..." is the digest of a key',
    },
    header = credentials.header_field("x-api-key", "where the key stands; false: in no header"),
    query = { type = "string", min_len = 1, description = "a parameter of the query in which the key may stand as well" },
    cookie = { type = "string", min_len = 1, description = "a cookie in which the key may stand as well" },
    hide_credentials = { type = "boolean", default = true, description = "the backend does not get the key" },
    consumer_header = credentials.consumer_field(),
    anonymous = credentials.name_field "the consumer that requests without a key are; without it they are refused",
    realm = credentials.name_field("the realm that refusals name in WWW-Authenticate", "gateway"),
  },
  check = function(config)
    if config.header == false and not config.query and not config.cookie then return "header", "false, and neither query nor cookie" end
  end,
  new = function(config)
    local place = credentials.place(config)
    local consumers = {}
    for key, consumer in pairs(config.keys) do
      local digest = key:match("^sha256:(.*)$")
      local id = digest and crypto.unhex(digest) or crypto.sha256(key)
      if consumers[id] and consumers[id] ~= consumer then error("two consumers have the same key", 0) end
      consumers[id] = consumer
    end
    local challenge = { ["WWW-Authenticate"] = "Key realm=" .. credentials.quoted(config.realm) }
    local hide, consumer_header, anonymous = config.hide_credentials, config.consumer_header, config.anonymous

    return function(request, next)
      local key, where, rest = place:find(request)
      local consumer
      if key then
        consumer = consumers[crypto.sha256(key)]
        if not consumer then return gateway.respond(401, { error = "unknown API key" }, challenge) end
        if hide then place:hide(request, where, rest) end
      elseif where == "several" then
        return gateway.respond(401, { error = "more than one API key" }, challenge)
      elseif anonymous then
        consumer = anonymous
      else
        return gateway.respond(401, { error = "no API key" }, challenge)
      end
      credentials.identify(request, consumer, consumer_header)
      return next()
    end
  end,
}
