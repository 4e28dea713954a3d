-- Where plugins are: plugins/ beside the script, then the folders of GATEWAY_PLUGINS, then those that are shipped with the gateway (inside
-- the program; under plain luajit in the repository). In each, NAME.lua, or NAME/init.lua for one of several files, which finds its other
-- files by `require "NAME.part"`. The first that is found counts.

local blame = require "gateway.blame"
local check = require "gateway.check"
local schema = require "gateway.schema"
local spec = require "gateway.spec"

local files = {}

---@class gateway.Plugin what a plugin's file returns
---@field name string as the file, or its folder, is called
---@field version? string
---@field description? string
---@field schema? table<string, gateway.Field|string> what the config may hold
---@field check? fun(config: table): string?, string? over several fields: nothing, or what is wrong, or the field and what is wrong
---@field exclusive? string[]|string[][] fields of which at most one is given
---@field one_required? string[]|string[][] fields of which at least one is given
---@field together? string[]|string[][] fields that are given all or not at all
---@field example? table options for `gateway plugins NAME` to show
---@field new fun(config: table): gateway.Middleware

--- The shipped plugins inside the program, set by who starts the library: shipped(path) → the text of "plugins/NAME.lua", or nil;
--- shipped() → all paths.
---@type (fun(path?: string): any)|nil
files.shipped = nil

--- The names in a folder; nil when it is none. Set likewise.
---@type (fun(folder: string): string[]?)|nil
files.list = nil

local SHIPPED = "plugins" -- the folder's name in messages; chunk names begin with it

--- More folders, behind the script's own (gateway.testing).
---@type string[]|nil
files.more = nil

-- Under plain luajit the library's folder says where the repository is.
local repository = debug.getinfo(1, "S").source:gsub("^@", ""):match("^(.*)lua/gateway/plugin_files%.lua$")

---@class gateway.PluginFolder
---@field path string
---@field why string "beside the script", "GATEWAY_PLUGINS" or "shipped"
---@field built_in? boolean

--- The folders in the order of search.
---@return gateway.PluginFolder[]
function files.folders()
  local folder = spec.state.folder
  local out = { { path = (folder and folder ~= "." and folder .. "/" or "") .. "plugins", why = "beside the script" } }
  for _, path in ipairs(files.more or {}) do out[#out + 1] = { path = path, why = "beside the test" } end
  for path in (os.getenv("GATEWAY_PLUGINS") or ""):gmatch("[^:]+") do
    out[#out + 1] = { path = path:gsub("(.)/+$", "%1"), why = "GATEWAY_PLUGINS" }
  end
  if files.shipped then
    out[#out + 1] = { path = SHIPPED, why = "shipped", built_in = true }
  elseif repository then
    out[#out + 1] = { path = repository:gsub("^%./", "") .. "plugins", why = "shipped" }
  end
  return out
end

local function there(path)
  local file = io.open(path, "r")
  if not file then return false end
  local readable = file:read(0) ~= nil or file:seek("end") == 0 -- a folder opens, but cannot be read
  file:close()
  return readable
end

---@class gateway.PluginFile
---@field path string
---@field folder gateway.PluginFolder
---@field root? string the plugin's own folder, of one of several files
---@field twin? string a second file of that name in the same folder

local function in_folder(folder, name)
  local exists = folder.built_in and files.shipped or there
  local single, several = ("%s/%s.lua"):format(folder.path, name), ("%s/%s/init.lua"):format(folder.path, name)
  local has_single, has_several = exists(single), exists(several)
  if has_single then return { path = single, folder = folder, twin = has_several and several or nil } end
  if has_several then return { path = several, folder = folder, root = ("%s/%s"):format(folder.path, name) } end
  return nil, { single, several }
end

-- All files of a folder: what a plugin requires only while it serves counts, too. Bounded, should somebody link folders into circles.
local function watch_folder(folder, depth)
  for _, entry in ipairs(depth > 0 and files.list and files.list(folder) or {}) do
    local path = folder .. "/" .. entry
    if entry:find("%.lua$") then table.insert(spec.state.files, path) else watch_folder(path, depth - 1) end
  end
end

local function watch(found, name)
  if found.root then
    table.insert(spec.state.files, ("%s/%s.lua"):format(found.folder.path, name)) -- it would count before this one
    watch_folder(found.root, 4)
  end
  table.insert(spec.state.files, found.path)
end

--- The plugin's file, or nil and the paths that were tried before the shipped ones. What is tried is watched: when a file appears there,
--- it counts.
---@param name string
---@return gateway.PluginFile?
---@return string[] looked
function files.find(name)
  local looked = {}
  local watched = spec.state.files
  for _, folder in ipairs(files.folders()) do
    local found, tried = in_folder(folder, name)
    if found then
      if not folder.built_in then watch(found, name) end
      return found, looked
    end
    for _, path in ipairs(tried) do
      if folder.why ~= "shipped" then looked[#looked + 1] = path end
      if not folder.built_in then watched[#watched + 1] = path end
    end
  end
  return nil, looked
end

-- ---- a plugin's own modules ----

local roots = {} -- name → its file, for plugins of several files

local function chunk_of(path, built_in)
  if not built_in then return loadfile(path) end
  local text = files.shipped(path)
  return loadstring(text, "@" .. path)
end

local function searcher(module)
  local name, rest = module:match("^([%w_%-]+)%.([%w_%-.]+)$")
  local root = name and roots[name]
  if not root then return nil end
  local exists = root.folder.built_in and files.shipped or there
  local base = root.root .. "/" .. rest:gsub("%.", "/")
  local looked = {}
  for _, path in ipairs { base .. ".lua", base .. "/init.lua" } do
    if exists(path) then
      if not root.folder.built_in then table.insert(spec.state.files, path) end
      local chunk, message = chunk_of(path, root.folder.built_in)
      if not chunk then error(message, 0) end
      return chunk
    end
    looked[#looked + 1] = ("\n\tno file '%s' of the plugin %q"):format(path, name)
    if not root.folder.built_in then table.insert(spec.state.files, path) end
  end
  return table.concat(looked)
end

-- One searcher in a Lua state, whatever becomes of this module.
do
  local registry = debug.getregistry()
  registry["gateway.plugin_searcher"] = searcher
  if not registry["gateway.plugin_searcher_is_in"] then
    registry["gateway.plugin_searcher_is_in"] = true
    table.insert(package.loaders, 2, function(module) return registry["gateway.plugin_searcher"](module) end)
  end
end

-- ---- loading ----

local known = {
  name = "", version = "", description = "", schema = "", check = "", exclusive = "", one_required = "", together = "", new = "",
  example = "",
}

-- What the file returned. What is wrong with it is told; true when nothing was.
local function looks_right(result, name, path, report)
  if type(result) ~= "table" then
    report(("%s: expected the file to return a table { name, schema, new }, found %s"):format(path, check.describe(result)))
    return false
  end
  local good = true
  local function wrong(message)
    good = false
    report(("%s: %s"):format(path, message))
  end
  if result.name ~= name then wrong(("expected name = %q as the file is called, found %s"):format(name, check.describe(result.name))) end
  if type(result.new) ~= "function" then
    wrong("expected new = function(config) ... end, found " .. check.describe(result.new))
  end
  if result.schema ~= nil and type(result.schema) ~= "table" then
    wrong("expected schema to be a table of fields, found " .. check.describe(result.schema))
  end
  if result.check ~= nil and type(result.check) ~= "function" then
    wrong("expected check = function(config) ... end, found " .. check.describe(result.check))
  end
  if result.example ~= nil and type(result.example) ~= "table" then
    wrong("expected example to be a table of options, found " .. check.describe(result.example))
  end
  for _, word in ipairs { "version", "description" } do
    if result[word] ~= nil and type(result[word]) ~= "string" then
      wrong(("expected %s to be a string, found %s"):format(word, check.describe(result[word])))
    end
  end
  local names = {}
  for key in pairs(result) do names[#names + 1] = key end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(names) do
    if key == "priority" then
      wrong("a plugin has no priority: it runs where it stands in a `use`")
    elseif not known[key] and not (type(key) == "string" and key:find("^_")) then -- _names are the plugin's own
      wrong(check.unknown("field", key, known))
    end
  end
  return good
end

--- Runs a plugin's own function, and warns of the global variables that it sets: all plugins and the script share them, so that two with a
--- helper of one name would have one helper. A script that watches its globals itself is left alone.
---@param name string the plugin's
---@param f function
---@return boolean good
---@return any result or what is wrong, by blame.handler
function files.watching_globals(name, f, ...)
  if getmetatable(_G) ~= nil then return xpcall(f, blame.handler, ...) end
  local own = debug.getinfo(f, "S").source
  setmetatable(_G, { __newindex = function(globals, key, value)
    rawset(globals, key, value)
    local info = debug.getinfo(2, "Sl")
    if not info or info.source ~= own then return end -- a module that it requires may have to
    spec.warn(("plugin %q sets the global variable %s, which everything here shares: write `local`"):format(name, check.describe(key)),
      ("%s:%d"):format(own:gsub("^[@=]", ""), info.currentline))
  end })
  local good, result = xpcall(f, blame.handler, ...)
  setmetatable(_G, nil)
  return good, result
end

local loaded = {} -- by path: a plugin that is used twice is loaded once

--- Files are read anew: what they made when they were loaded belongs to a gateway that has ended (gateway.testing).
function files.forget()
  loaded = {}
end

--- The plugin in a file, its schema made ready. nil after a report.
---@param file gateway.PluginFile
---@param name string
---@param report fun(message: string)
---@return gateway.Plugin?
---@return table? schema compiled
function files.load(file, name, report)
  local path = file.path
  if loaded[path] then return loaded[path].plugin, loaded[path].schema end
  if file.twin then
    report(("expected one file, found two: %s and %s"):format(path, file.twin))
    return nil
  end
  if file.root then
    roots[name] = file
    for module in pairs(package.loaded) do
      if type(module) == "string" and module:sub(1, #name + 1) == name .. "." then package.loaded[module] = nil end
    end
  end
  local chunk, message = chunk_of(path, file.folder.built_in)
  if not chunk then
    report(blame.expand(message, spec.state.files))
    return nil
  end
  local good, result = files.watching_globals(name, chunk)
  if not good then
    report(blame.expand(result, spec.state.files))
    return nil
  end
  if not looks_right(result, name, path, report) then return nil end
  local wrong = false
  local compiled = schema.compile(result, function(problem)
    wrong = true
    report(("%s: %s"):format(path, problem))
  end)
  if wrong then return nil end
  loaded[path] = { plugin = result, schema = compiled }
  return result, compiled
end

-- ---- listing ----

--- Names of the plugins inside the program.
---@return string[]
function files.shipped_names()
  local names = {}
  for _, path in ipairs(files.shipped and files.shipped() or {}) do
    names[#names + 1] = path:match("^plugins/([^/]*)%.lua$") or path:match("^plugins/([^/]*)/init%.lua$")
  end
  return names
end

--- All that there is, by name: each with its files in the order of search, the first of which counts.
---@return { name: string, files: gateway.PluginFile[] }[]
function files.all()
  local by_name, out = {}, {}
  for _, folder in ipairs(files.folders()) do
    local names = folder.built_in and files.shipped_names() or files.list(folder.path) or {}
    local seen = {}
    for _, entry in ipairs(names) do
      local name = entry:gsub("%.lua$", "")
      local found = name:find("^[%w_%-]+$") and not seen[name] and in_folder(folder, name)
      if found then
        seen[name] = true
        if not by_name[name] then
          by_name[name] = { name = name, files = {} }
          out[#out + 1] = by_name[name]
        end
        table.insert(by_name[name].files, found)
      end
    end
  end
  table.sort(out, function(a, b) return a.name < b.name end)
  return out
end

return files
