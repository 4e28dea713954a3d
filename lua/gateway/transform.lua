-- What request-transform and response-transform share: header fields by name, and JSON bodies by path.

local check = require "gateway.check"
local json = require "gateway.json"
local template = require "gateway.template"

local transform = {}

local function header_keys(map)
  for name in pairs(map) do
    if not check.header_name(name) then return "expected names of header fields, found " .. check.describe(name) end
  end
end

local function header_list(list)
  for _, name in ipairs(list) do
    if not check.header_name(name) then return "expected names of header fields, found " .. check.describe(name) end
  end
end

local value = { type = "string", check = template.check }

--- A schema's fields for header fields: remove, rename, set, add, append.
---@param what string "the request", "the answer"
function transform.header_fields(what)
  return {
    remove = { type = "list", of = "string", default = {}, check = header_list, description = "taken out of " .. what },
    rename = { type = "map", of = { type = "string", check = function(name)
      if not check.header_name(name) then return "expected the name of a header field" end
    end }, default = {}, check = header_keys, description = "old name to new name" },
    set = { type = "map", of = value, default = {}, check = header_keys, description = "put in, whether it is there or not",
      example = { ["X-Real-IP"] = "${client_ip}" } },
    add = { type = "map", of = value, default = {}, check = header_keys, description = "put in where it is not there" },
    append = { type = "map", of = value, default = {}, check = header_keys, description = "one more field of that name" },
  }
end

local function compiled(map)
  local out, names = {}, {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do out[i] = { name = name, fill = template.compile(map[name]) } end
  return out
end

--- A function(headers, request) that does what the fields say.
function transform.headers(config)
  local remove, set, add, append = config.remove, compiled(config.set), compiled(config.add), compiled(config.append)
  local rename, names = {}, {}
  for name in pairs(config.rename) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do rename[i] = { from = name, to = config.rename[name] } end

  -- What a client or a backend sent may hold what a field may not: that is left out, not an error.
  local function clean(text)
    return (text:gsub("[%c]", " "):gsub("^ +", ""):gsub(" +$", ""))
  end

  return function(headers, request)
    for i = 1, #remove do headers[remove[i]] = nil end
    for i = 1, #rename do
      local values = headers:all(rename[i].from)
      if values[1] then
        headers[rename[i].from] = nil
        headers[rename[i].to] = values
      end
    end
    for i = 1, #set do headers[set[i].name] = clean(set[i].fill(request)) end
    for i = 1, #add do
      if not headers[add[i].name] then headers[add[i].name] = clean(add[i].fill(request)) end
    end
    for i = 1, #append do headers:add(append[i].name, clean(append[i].fill(request))) end
  end
end

-- ---- JSON ----

local function path_of(text)
  local out = {}
  for part in text:gmatch("[^.]+") do out[#out + 1] = part end
  return out
end

local function walk(tree, path, make)
  for i = 1, #path - 1 do
    local key = path[i]
    if type(tree) ~= "table" or tree == json.null then return nil end
    if tree[key] == nil and tonumber(key) and tree[1] ~= nil then key = tonumber(key) end
    if tree[key] == nil then
      if not make then return nil end
      tree[key] = {}
    end
    tree = tree[key]
  end
  if type(tree) ~= "table" or tree == json.null then return nil end
  local last = path[#path]
  if tree[last] == nil and tonumber(last) and tree[1] ~= nil then last = tonumber(last) end
  return tree, last
end

--- A function(tree, request) over a decoded JSON body; `remove` a list of paths ("user.password", "items.1"), `set` values by path:
--- strings are templates.
function transform.json(remove, set)
  local removed, changed = {}, {}
  for i, path in ipairs(remove) do removed[i] = path_of(path) end
  local names = {}
  for path in pairs(set) do names[#names + 1] = path end
  table.sort(names)
  for i, path in ipairs(names) do
    local given = set[path]
    local fill = type(given) == "string" and template.compile(given)
    changed[i] = { path = path_of(path), fill = fill or function() return given end }
  end
  return function(tree, request)
    for i = 1, #removed do
      local at, key = walk(tree, removed[i], false)
      if at then
        if type(key) == "number" then table.remove(at, key) else at[key] = nil end
      end
    end
    for i = 1, #changed do
      local at, key = walk(tree, changed[i].path, true)
      if at then at[key] = changed[i].fill(request) end
    end
    return tree
  end
end

return transform
