-- `gateway types`: one file of definitions for editors (LuaCATS, as lua-language-server reads it), made of the comments in the library
-- itself: every class and alias, and every function that a script can reach through `require "gateway"`.
--
-- How it goes by the library's text: a block of lines that begin with "---", and the line of code behind it. A class stands above the local
-- table that holds its methods; a public function above `function module.name(...)` or `module.name = ...`. A tag that goes on in the next
-- line (three spaces or more) is made one line, which is what editors read.

local types = {}

---@class gateway.TypeBlock
---@field lines string[] as they stand there, each tag on one line
---@field code string the line behind
---@field file string

-- All blocks of a file.
local function blocks_of(text, file)
  local out, lines = {}, {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    local comment = line:match("^%s*(%-%-%-.*)$")
    if comment and not comment:find("^%-%-%-%-") then
      local more = comment:match("^%-%-%-%s%s%s+(%S.*)$")
      if more and #lines > 0 and lines[#lines]:find("^%-%-%-@") then
        lines[#lines] = lines[#lines] .. " " .. more
      else
        lines[#lines + 1] = comment
      end
    elseif #lines > 0 then
      out[#out + 1] = { lines = lines, code = line, file = file }
      lines = {}
    end
  end
  return out
end

local function class_of(block)
  for _, line in ipairs(block.lines) do
    local name = line:match("^%-%-%-@class%s+([%w_.]+)")
    if name then return name end
  end
  return nil
end

local function defines_type(block)
  for _, line in ipairs(block.lines) do
    if line:find("^%-%-%-@class") or line:find("^%-%-%-@alias") or line:find("^%-%-%-@enum") then return true end
  end
  return false
end

-- "function a.b:c(x, y)" → "a.b", ":", "c", "x, y"; "a.b = ..." → "a", ".", "b", nil
local function definition_of(code)
  local owner, mark, name, arguments = code:match("^%s*function%s+([%w_.]-)([.:])([%w_]+)%s*%(([^)]*)%)")
  if owner then return owner, mark, name, arguments end
  owner, name, arguments = code:match("^%s*([%w_.]-)%.([%w_]+)%s*=%s*function%s*%(([^)]*)%)")
  if owner then return owner, ".", name, arguments end
  owner, name = code:match("^%s*([%w_.]-)%.([%w_]+)%s*=[^=]")
  if owner then return owner, ".", name, nil end
  return nil
end

-- What the text of the library says: types in order, and functions by file and name.
local function read_library(files, read)
  local found = { types = {}, functions = {}, methods = {} }
  for _, file in ipairs(files) do
    local classes = {}
    local blocks = blocks_of(read(file), file)
    for _, block in ipairs(blocks) do
      if defines_type(block) then
        found.types[#found.types + 1] = block
        local name, holder = class_of(block), block.code:match("^%s*local%s+([%w_]+)%s*=")
        if name and holder then
          classes[holder] = name
          block.class = name
        end
      end
    end
    found.functions[file] = {}
    for _, block in ipairs(blocks) do
      local owner, mark, name, arguments = definition_of(block.code)
      if owner and not defines_type(block) then
        local entry = { block = block, mark = mark, name = name, arguments = arguments, owner = owner }
        found.functions[file][name] = found.functions[file][name] or entry
        found.functions[file][owner .. "." .. name] = entry
        local class = classes[owner]
        if class then
          found.methods[class] = found.methods[class] or {}
          table.insert(found.methods[class], entry)
        end
      end
    end
  end
  return found
end

local function add_block(out, block)
  for _, line in ipairs(block.lines) do out[#out + 1] = line end
end

-- A name that Lua takes for a local: "gateway.TokenBucket" → "TokenBucket".
local function holder_of(class)
  return (class:gsub("^gateway%.", ""):gsub("%.", "_"))
end

-- Names of types in a text of the definitions.
local function names_in(lines, wanted)
  local grown = false
  for _, line in ipairs(lines) do
    if line:find("^%-%-%-@") then
      for name in line:gmatch("gateway%.[%w_.]*[%w_]") do
        grown = grown or not wanted[name]
        wanted[name] = true
      end
    end
  end
  return grown
end

local function type_names(block)
  local out = {}
  for _, line in ipairs(block.lines) do
    out[#out + 1] = line:match("^%-%-%-@class%s+([%w_.]+)") or line:match("^%-%-%-@alias%s+([%w_.]+)")
  end
  return out
end

-- The types that scripts meet: those that public functions name, and those that these name. Others are the library's own.
local function public_types(found, public)
  local wanted = { ["gateway.Plugin"] = true }
  names_in(public, wanted)
  local grown = true
  while grown do
    grown = false
    for _, block in ipairs(found.types) do
      local is = false
      for _, name in ipairs(type_names(block)) do is = is or wanted[name] end
      if is and not block.wanted then
        block.wanted, grown = true, true
        names_in(block.lines, wanted)
        for _, method in ipairs(found.methods[block.class] or {}) do names_in(method.block.lines, wanted) end
      end
    end
  end
end

local function is_internal(block)
  for _, line in ipairs(block.lines) do
    if line:find("^%-%-%-@package") or line:find("^%-%-%-@private") then return true end
  end
  return false
end

local function add_types(out, found)
  for _, block in ipairs(found.types) do
    if not block.wanted then goto next end
    add_block(out, block)
    local methods = block.class and found.methods[block.class]
    if methods then
      local holder = holder_of(block.class)
      out[#out + 1] = ("local %s = {}"):format(holder)
      for _, method in ipairs(methods) do
        if is_internal(method.block) then goto method end
        local arguments = method.arguments or ""
        local mark = method.mark
        if arguments:find("^self%f[%W]") then arguments, mark = arguments:gsub("^self%s*,?%s*", ""), ":" end
        out[#out + 1] = ""
        add_block(out, method.block)
        out[#out + 1] = ("function %s%s%s(%s) end"):format(holder, mark, method.name, arguments)
        ::method::
      end
    end
    out[#out + 1] = ""
    ::next::
  end
end

local function file_of(f)
  return debug.getinfo(f, "S").source:gsub("^@", ""):match("(lua/gateway/[%w_]+%.lua)$")
end

local function add_value(out, path, entry)
  add_block(out, entry.block)
  if entry.arguments then
    out[#out + 1] = ("function %s(%s) end"):format(path, entry.arguments)
  else
    out[#out + 1] = ("%s = nil"):format(path)
  end
  out[#out + 1] = ""
end

local function sorted_keys(t)
  local out = {}
  for key in pairs(t) do if type(key) == "string" then out[#out + 1] = key end end
  table.sort(out)
  return out
end

local function has_class(found, name)
  for _, block in ipairs(found.types) do
    for _, line in ipairs(block.lines) do if line:find("^%-%-%-@class%s+" .. name:gsub("%.", "%%.") .. "%f[^%w_.]") then return true end end
  end
  return false
end

-- What a script reaches as gateway.NAME.
local function add_public(out, found, name, value, missing)
  local path = "gateway." .. name
  if type(value) == "function" then
    local file = file_of(value)
    local entry = file and found.functions[file] and found.functions[file][name]
    if entry then add_value(out, path, entry) else missing[#missing + 1] = path end
  elseif has_class(found, path) then
    out[#out + 1] = ("---@type %s\n%s = nil\n"):format(path, path)
  elseif type(value) == "table" then
    out[#out + 1] = ("%s = {}\n"):format(path)
    for _, key in ipairs(sorted_keys(value)) do
      local inner = value[key]
      local file = type(inner) == "function" and file_of(inner)
      local known = file and found.functions[file]
      local entry
      for full, candidate in pairs(known or {}) do
        if full:find("%f[%w_]" .. name .. "%." .. key .. "$") then entry = candidate end
      end
      entry = entry or known and known[key]
      if entry then
        if not is_internal(entry.block) then add_value(out, path .. "." .. key, entry) end
      elseif file then
        missing[#missing + 1] = path .. "." .. key
      end
    end
  else
    missing[#missing + 1] = path
  end
end

--- The text of the definitions.
---@param files string[] paths of the library's files, "lua/gateway/init.lua" and so on
---@param read fun(path: string): string
---@return string text
---@return string[] missing public names that have no annotation
function types.text(files, read)
  local gateway = require "gateway"
  table.sort(files)
  local found = read_library(files, read)
  local public, missing = {}, {}
  local names, seen = {}, {}
  for _, list in ipairs(getmetatable(gateway).names) do
    for _, name in ipairs(sorted_keys(list)) do names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if not seen[name] then add_public(public, found, name, gateway[name], missing) end
    seen[name] = true
  end
  public_types(found, public)
  local out = { "---@meta gateway", "-- Definitions for editors. Written by `gateway types`; changes are lost.", "" }
  add_types(out, found)
  out[#out + 1] = "local gateway = {}\n"
  for _, line in ipairs(public) do out[#out + 1] = line end
  out[#out + 1] = "return gateway\n"
  return table.concat(out, "\n"), missing
end

--- The same for gateway.testing: a module of its own, on top of the others' types.
---@param files string[]
---@param read fun(path: string): string
---@return string text
---@return string[] missing
function types.testing_text(files, read)
  local found = read_library(files, read)
  local public, missing = {}, {}
  local sources = { upstream = { "lua/gateway/testing_upstream.lua", "new" } }
  for _, name in ipairs { "app", "clock", "jwt", "serve", "upstream" } do
    local source = sources[name] or { "lua/gateway/testing.lua", name }
    local entry = found.functions[source[1]] and found.functions[source[1]][source[2]]
    if entry then add_value(public, "testing." .. name, entry) else missing[#missing + 1] = "gateway.testing." .. name end
  end
  for _, block in ipairs(found.types) do
    for _, name in ipairs(type_names(block)) do block.wanted = block.wanted or name:find("^gateway%.testing%.") ~= nil end
  end
  local out = { "---@meta gateway.testing", "-- Definitions for editors. Written by `gateway types`; changes are lost.", "" }
  add_types(out, found)
  out[#out + 1] = "local testing = {}\n"
  for _, line in ipairs(public) do out[#out + 1] = line end
  out[#out + 1] = "---@type table<string, { private: string, public: string }>\ntesting.keys = nil\n\nreturn testing\n"
  return table.concat(out, "\n"), missing
end

local function write(path, text)
  local file, why = io.open(path, "w")
  if not file then return nil, ("cannot write %s"):format(why) end
  local good, problem = file:write(text)
  local closed, late = file:close()
  if not good or not closed then return nil, ("cannot write %s: %s"):format(path, problem or late) end
  return true
end

--- Called by the command: writes WORD/gateway.lua and WORD/gateway-testing.lua. The text to print, or nil and what is wrong.
---@param options { word: string, library: function }
function types.run(options)
  local text = types.text(options.library(), options.library)
  local folder = options.word:gsub("(.)/+$", "%1")
  local path = folder .. "/gateway.lua"
  local good, problem = write(path, text)
  if good then good, problem = write(folder .. "/gateway-testing.lua", (types.testing_text(options.library(), options.library))) end
  if not good then return nil, problem end
  return ([[
wrote %s and gateway-testing.lua

lua-language-server completes what is in it when .luarc.json beside your script says:

  { "runtime.version": "LuaJIT", "workspace.library": ["%s"] }
]]):format(path, folder)
end

return types
