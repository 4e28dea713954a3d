-- Lets in requests with the name and password of a known user (RFC 7617).
--
--     gateway.plugin("basic-auth", { users = { alice = "$2b$12$..." } })        -- or file = "users.htpasswd"
--
-- Passwords are hashes of crypt(5): bcrypt (htpasswd -nB alice), yescrypt and SHA-512-crypt (mkpasswd). Checking one takes tens of
-- milliseconds of a processor by design: it is done beside the worker while the request waits, and what came out of it is remembered for a
-- while. Behind it, request.ctx.consumer is the user's name.

local check = require "gateway.check"
local credentials = require "gateway.credentials"
local gateway = require "gateway"
local password = require "gateway.password"
local spec = require "gateway.spec"

local base64, crypto = gateway.base64, gateway.crypto

local FILE_MOST = 16 * 2 ^ 20

local function user_problem(name)
  if name == "" or name:find(":", 1, true) or not check.header_value(name) then
    return 'expected a name without ":" and control characters'
  end
end

-- "name:hash" lines, as htpasswd writes them.
local function read_file(path, users)
  local folder = spec.state.folder
  if not path:find("^/") and folder then path = folder .. "/" .. path end
  if spec.state.files then table.insert(spec.state.files, path) end -- saving it reloads
  local file, problem = io.open(path, "rb")
  if not file then error("file: " .. problem, 0) end
  local text = file:read(FILE_MOST + 1) or ""
  file:close()
  if #text > FILE_MOST then error(("file: %s is longer than 16 MB"):format(path), 0) end
  local number = 0
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    line = line:gsub("\r$", "")
    if line ~= "" and not line:find("^#") then
      local name, hash = line:match("^([^:]+):([^:]+)")
      local why = not name and "expected NAME:HASH" or user_problem(name) or password.problem(hash)
      if not why and users[name] then why = ("%s stands there twice"):format(check.describe(name)) end
      if why then error(("%s:%d: %s"):format(path, number, why), 0) end
      users[name] = hash
    end
  end
end

return {
  name = "basic-auth",
  version = "1.0.0",
  description = "Lets in requests with the name and password of a known user.",
  example = { users = { alice = "$2b$12$deqJ6Cohf0ZRREOJ8abDBuo3EXEPL7scuCWkc5ALsX3T1bOtt4Wf6" } }, -- "correct horse"
  schema = {
    users = {
      type = "map", keys = { type = "string", check = user_problem }, of = { type = "string", check = password.problem }, secret = true,
      description = "hashes of passwords by users' names: bcrypt, yescrypt, scrypt, SHA-512-crypt, SHA-256-crypt",
    },
    file = { type = "string", min_len = 1, description = "a file of NAME:HASH lines, as htpasswd -B writes them; beside the script" },
    remember = {
      type = "duration", min = 0, max = 3600, default = "1m", description = "how long the result of a check is good; 0: each is made anew",
    },
    hide_credentials = { type = "boolean", default = true, description = "the backend does not get the Authorization field" },
    consumer_header = credentials.consumer_field(),
    realm = credentials.name_field("the realm that refusals name in WWW-Authenticate", "gateway"),
  },
  one_required = { "users", "file" },
  new = function(config)
    local users = {}
    for name, hash in pairs(config.users or {}) do users[name] = hash end
    if config.file then read_file(config.file, users) end
    local _, somebodys = next(users)
    local remember = config.remember
    local challenge = { ["WWW-Authenticate"] = ('Basic realm=%s, charset="UTF-8"'):format(credentials.quoted(config.realm)) }

    local function refuse(why) return gateway.respond(401, { error = why }, challenge) end

    return function(request, next)
      local field = request.headers.authorization
      local scheme, rest = (field or ""):match("^(%a+)[ \t]+([^ \t]+)[ \t]*$")
      if not scheme or scheme:lower() ~= "basic" then return refuse("name and password are needed") end
      local text = base64.decode(rest)
      local name, given = (text or ""):match("^([^:]*):(.*)$")
      if not name then return refuse("the Authorization field cannot be read") end
      local hash = users[name]
      -- A name that is not known takes as long as one that is.
      local good, problem = crypto.password(hash or somebodys or "", given, remember)
      if good == nil and somebodys then -- for those that are not known, too: the answer says nothing about names
        gateway.log.warn("basic-auth: a password could not be checked", { error = tostring(problem) })
        return gateway.respond(503, { error = "passwords cannot be checked at the moment" }, { ["Retry-After"] = "1" })
      end
      if not good or not hash then return refuse("name or password are wrong") end
      if config.hide_credentials then request.headers.authorization = nil end
      credentials.identify(request, name, config.consumer_header)
      return next()
    end
  end,
}
