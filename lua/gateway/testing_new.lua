-- `gateway new plugin NAME`: a plugin to begin with, and its test, both of which pass as they are.

local check = require "gateway.check"

local PLUGIN = [==[
-- ${name}: limits how many requests each client may make in a while, and tells it how many it has made.
--
-- This is a plugin to begin with: it has options, state that all workers share, and it looks at requests as well as at responses. Keep what
-- you need. A script uses it so:
--
--     gateway.route "/" { use = { gateway.plugin("${name}", { most = 10 }) }, to = users }

local gateway = require "gateway"

return {
  name = "${name}", -- as the file is called
  version = "0.1.0",
  description = "Limits how many requests each client may make in a while.",

  -- What may stand in the options. Whatever does not fit is refused when the script is loaded, with the script's file and line.
  schema = {
    most = { type = "integer", min = 1, default = 100 },
    within = { type = "duration", default = "1m" },
    header = { type = "string", default = "X-Request-Count" },
  },

  -- Called once for each place where the plugin is used, with the options checked and complete.
  new = function(config)
    -- A dictionary of bounded size that all workers see, and that a reload keeps.
    local counts = gateway.shared "${name}"

    -- Called for each request. next() sends it on and gives the response.
    return function(request, next)
      local count = counts:incr(request.client_ip, 1, 0, config.within)
      if count and count > config.most then
        return gateway.respond(429, { error = "too many requests" })
      end
      local response = next()
      if count then response.headers[config.header] = count end
      return response
    end
  end,
}
]==]

local SPEC = [==[
-- What the plugin ${name} does. Run it with: gateway test ${spec}

local testing = require "gateway.testing"

describe("${name}", function()
  -- A gateway in this process with the plugin in front of a backend that answers "hi".
  local function app_with(options)
    return testing.app(function(gateway)
      gateway.route "/" { use = { gateway.plugin("${name}", options) }, to = testing.upstream { status = 200, body = "hi" } }
    end)
  end

  it("tells how many requests there were", function()
    local app = app_with {}
    assert.response(app:get("/")).has.header("X-Request-Count", "1")
    assert.response(app:get("/")).has.header("X-Request-Count", "2")
  end)

  it("refuses more than it may, for each client", function()
    local app = app_with { most = 1 }
    assert.response(app:get("/")).has.status(200)
    local refused = app:get("/")
    assert.response(refused).has.status(429)
    assert.response(refused).has.json { error = "too many requests" }
    assert.response(app:get("/", { client_ip = "10.0.0.2" })).has.status(200)
  end)

  it("begins anew after a while", function()
    local app = app_with { most = 1, within = "30s" }
    app:get("/")
    app.clock:advance(31) -- takes no time
    assert.response(app:get("/")).has.status(200)
  end)

  it("refuses options that make no sense", function()
    assert.has_error(function() app_with { most = "many" } end)
  end)
end)
]==]

local function fail(status, ...)
  io.stderr:write("gateway new: ", (string.format(...)), "\n")
  if status == 2 then io.stderr:write("try: gateway new --help\n") end
  return status
end

local function exists(path)
  local file = io.open(path, "r")
  if file then file:close() end
  return file ~= nil
end

-- The folder and those above it.
local function make_folders(path)
  local make = debug.getregistry()["gateway.make_folder"]
  local at = path:sub(1, 1) == "/" and "/" or ""
  for part in path:gmatch("[^/]+") do
    at = at .. part
    if not exists(at) then
      local good, why = make(at)
      if not good then return nil, ("%s: %s"):format(at, why) end
    end
    at = at .. "/"
  end
  return true
end

local function write(path, text)
  local file, why = io.open(path, "w")
  if not file then return nil, why end
  local good, problem = file:write(text)
  local closed, late = file:close()
  if not good or not closed then return nil, ("%s: %s"):format(path, problem or late) end
  return true
end

local function words_of(words)
  local folder, names, at = ".", {}, 1
  while words[at] do
    local word = words[at]
    local value = word:match("^%-%-dir=(.+)$")
    if value then
      folder = value
    elseif word == "--dir" then
      at = at + 1
      folder = words[at]
      if not folder then return nil, "a FOLDER is expected behind --dir" end
    elseif word:sub(1, 1) == "-" then
      return nil, ("unknown option %q"):format(word)
    else
      names[#names + 1] = word
    end
    at = at + 1
  end
  return names, (folder:gsub("(.)/+$", "%1"))
end

---@param words string[]
---@return integer status
return function(words)
  local names, folder = words_of(words)
  if not names then return fail(2, "%s", folder) end
  if names[1] ~= "plugin" then
    return fail(2, "expected: gateway new plugin NAME, found %s", names[1] and check.describe(names[1]) or "nothing behind new")
  end
  local name = names[2]
  if not name then return fail(2, "a NAME is expected behind plugin") end
  if names[3] then return fail(2, "one NAME is expected, found a second one, %q", names[3]) end
  if not name:find("^%w[%w_%-]*$") or #name > 60 then
    return fail(2, "a plugin's name has letters, digits, '_' and '-' and begins with a letter or digit, found %s", check.describe(name))
  end
  local base = folder == "." and "" or folder .. "/"
  local plugin, spec = base .. "plugins/" .. name .. ".lua", base .. "spec/plugins/" .. name .. "_spec.lua"
  for _, path in ipairs { plugin, base .. "plugins/" .. name .. "/init.lua", spec } do
    if exists(path) then return fail(1, "%s is there already: nothing was written", path) end
  end
  local values = { name = name, spec = spec }
  for _, file in ipairs { { plugin, PLUGIN, base .. "plugins" }, { spec, SPEC, base .. "spec/plugins" } } do
    local good, why = make_folders(file[3])
    if good then good, why = write(file[1], (file[2]:gsub("%${(%w+)}", values))) end
    if not good then return fail(1, "%s", why) end
    io.stdout:write("wrote ", file[1], "\n")
  end
  local shipped = debug.getregistry()["gateway.shipped_plugins"]
  if shipped("plugins/" .. name .. ".lua") or shipped("plugins/" .. name .. "/init.lua") then
    io.stdout:write("note: it takes the place of the shipped plugin of that name\n")
  end
  io.stdout:write("try: gateway test ", spec, "\n")
  return 0
end
