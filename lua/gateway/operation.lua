-- How the gateway is run: gateway.admin, where operators and probes ask, and who may; gateway.user, as whom it serves.

local check = require "gateway.check"
local spec = require "gateway.spec"

local operation = {}

local ADDRESS = 'expected an address such as "127.0.0.1:9901"'
local TOKEN_LEAST = 16

local function octal(text)
  return type(text) == "string" and text:find("^[0-7]?[0-7][0-7][0-7]$") and tonumber(text, 8) or nil
end

-- What a token may be: visible ASCII, so that a header field takes it as it is.
local function good_token(text, what, report)
  if #text < TOKEN_LEAST then
    report(("%s: expected at least %d characters, found %d"):format(what, TOKEN_LEAST, #text))
  elseif text:find("[^\33-\126]") then
    report(what .. ": expected visible ASCII characters without spaces")
  else
    return text
  end
end

local function read_token(path, report)
  local folder = spec.state.folder
  if path:sub(1, 1) ~= "/" and folder and folder ~= "." then path = folder .. "/" .. path end
  table.insert(spec.state.files, path)
  local file, why = io.open(path, "rb")
  local text = file and file:read(4096)
  if file then file:close() end
  if not text then
    report("token_file: cannot read " .. (why or path))
    return nil
  end
  return good_token(text:gsub("%s+$", ""), "token_file: " .. path, report)
end

local fields = {
  token = { type = "string", secret = true }, token_file = { type = "string" }, mode = { type = "string" }, host = { type = "string" },
}

---@class gateway.Admin
---@field [1] string "127.0.0.1:9901", "0.0.0.0:9901" (then with a token), "unix:/path"
---@field token? string what every request but /healthz and /readyz must bring: Authorization: Bearer TOKEN; at least 16 characters
---@field token_file? string a file that holds it, relative to the script's folder; read when the script loads
---@field mode? string of a unix socket, in octal ("0600")
---@field host? string a name under which it is asked for, beside localhost and IP addresses

--- gateway.admin "127.0.0.1:9901", or { "0.0.0.0:9901", token_file = "/path" }: where /healthz, /readyz, /status, /metrics and /reload
--- answer; false: nowhere.
---@param given string|gateway.Admin|false
function operation.admin(given)
  local source = spec.once("admin")
  if given == false then return end
  if type(given) == "string" then
    spec.state.admin = { at = given, source = source }
    return
  end
  if type(given) ~= "table" or getmetatable(given) then
    spec.problem(("gateway.admin: %s, or false, found %s"):format(ADDRESS, check.describe(given)), source)
    return
  end
  local report = spec.reporter("gateway.admin", source)
  local options, address = {}, given[1]
  for key, value in pairs(given) do
    if key == "address" and address == nil then -- in YAML
      address = value
    elseif key ~= 1 then
      options[key] = value
    end
  end
  if type(address) ~= "string" then
    report(('expected an address first, as in { "0.0.0.0:9901", token = "..." }, found %s'):format(check.describe(address)))
    return
  end
  local good = check.fields(options, fields, "", report)
  local out = { at = address, source = source, host = good.host }
  if good.token and good.token_file then
    report("token and token_file: expected one of them")
  elseif good.token then
    out.token = good_token(good.token, "token", report)
  elseif good.token_file then
    out.token = read_token(good.token_file, report)
  end
  if (options.token ~= nil or options.token_file ~= nil) and not out.token then return end -- told; nothing more about it
  if good.mode then
    out.mode = octal(good.mode)
    if not out.mode then
      report('mode: expected an octal number such as "0660", found ' .. check.describe(good.mode))
    elseif address:sub(1, 5) ~= "unix:" then
      report('mode: expected only with an address "unix:/path"')
    end
  end
  spec.state.admin = out
end

---@class gateway.User
---@field [1] string its name
---@field group? string another group than the user's own

--- gateway.user "gateway", or { "gateway", group = "www-data" }: as whom the process serves, once it listens. Started as root.
---@param given string|gateway.User
function operation.user(given)
  local source = spec.once("user")
  local name, options = given, {}
  if type(given) == "table" and not getmetatable(given) then
    name = given[1]
    for key, value in pairs(given) do
      if key == "name" and name == nil then name = value elseif key ~= 1 then options[key] = value end
    end
  end
  if type(name) ~= "string" or name == "" then
    spec.problem('gateway.user: expected the name of a user such as "www-data", found ' .. check.describe(name), source)
    return
  end
  local good = check.fields(options, { group = { type = "string" } }, "", spec.reporter("gateway.user", source))
  spec.state.user = { name = name, group = good.group, source = source }
end

return operation
