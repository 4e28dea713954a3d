-- `gateway plugins`: what there is and where; and `gateway plugins NAME`: what a plugin does and takes, from its schema.

local files = require "gateway.plugin_files"
local schema = require "gateway.schema"
local spec = require "gateway.spec"

local docs = {}

-- ---- values as a script would write them ----

local function by_text(a, b) return tostring(a) < tostring(b) end

local function key_text(key)
  if type(key) ~= "string" then return ("[%s]"):format(tostring(key)) end
  return key:find("^[%a_][%w_]*$") and key or ("[%q]"):format(key)
end

local function literal(value, depth)
  local kind = type(value)
  if kind == "string" then return (("%q"):format(value):gsub("\\\n", "\\n")) end
  if kind == "function" then return "function" end
  if kind ~= "table" then return tostring(value) end
  if getmetatable(value) or (depth or 0) > 4 then return "{ ... }" end
  local out, names = {}, {}
  for i, item in ipairs(value) do out[i] = literal(item, (depth or 0) + 1) end
  for key in pairs(value) do
    if not (type(key) == "number" and out[key]) then names[#names + 1] = key end
  end
  table.sort(names, by_text)
  for _, key in ipairs(names) do
    out[#out + 1] = ("%s = %s"):format(key_text(key), literal(value[key], (depth or 0) + 1))
  end
  return #out == 0 and "{}" or "{ " .. table.concat(out, ", ") .. " }"
end

-- ---- what a field takes, in a few words ----

local short = {
  duration = "a duration", size = "a size", regex = "a regular expression", cidr = "an address or CIDR block", upstream = "an upstream",
  record = "a table", any = "anything",
}

local function takes(d)
  if d.any_of then
    local out = {}
    for i, one in ipairs(d.any_of) do out[i] = takes(one) end
    return table.concat(out, ", or ")
  elseif d.one_of or not short[d.type] then
    if d.type == "map" then
      local of = d.of.one_of and takes(d.of) or d.of.plural
      return schema.expected(d) .. (d.of.type ~= "any" and " from names to " .. of or "")
    elseif d.type == "list" and d.of.type ~= "any" and (d.of.one_of or d.min_items or d.max_items) then
      return ("%s, each %s"):format((d.min_items or d.max_items) and schema.expected(d) or "a list", takes(d.of))
    end
    return schema.expected(d)
  elseif d.min or d.max then
    local least, most = d.min and ("%.14g"):format(d.min), d.max and ("%.14g"):format(d.max)
    return ("%s%s%s"):format(short[d.type], least and " from " .. least or "", most and (least and " to " or " up to ") .. most or "")
  end
  return short[d.type]
end

local function remarks(d)
  local out = {}
  if d.required then out[#out + 1] = "required" end
  if d.default ~= nil then
    out[#out + 1] = (type(d.default) == "function" and d.type ~= "function") and "has a default"
      or "default " .. (d.secret and "(secret)" or literal(d.default))
  end
  if d.secret then out[#out + 1] = "secret" end
  if d.deprecated then out[#out + 1] = "deprecated" .. (type(d.deprecated) == "string" and " (" .. d.deprecated .. ")" or "") end
  return table.concat(out, ", ")
end

-- Lines of at most so many columns; those behind the first begin with `further`.
local function wrapped(text, indent, out, further)
  local line = indent
  for word in text:gmatch("%S+") do
    if #line > #indent and #line + #word + 1 > 88 then
      out[#out + 1] = line
      indent = further or indent
      line = indent
    end
    line = line == indent and indent .. word or line .. " " .. word
  end
  if line ~= indent then out[#out + 1] = line end
end

local function group_lines(d, indent, out)
  local said = {
    { "exclusive", "at most one of" }, { "one_required", "at least one of" }, { "together", "together or not at all:" },
  }
  for _, rule in ipairs(said) do
    for _, group in ipairs(d[rule[1]] or {}) do wrapped(("%s %s"):format(rule[2], table.concat(group, ", ")), indent, out) end
  end
end

local function fields_lines(d, prefix, out)
  for _, name in ipairs(d.order or {}) do
    local field = d.fields[name]
    local about = remarks(field)
    wrapped(("%s%s: %s%s"):format(prefix, name, takes(field), about ~= "" and " -- " .. about or ""), "  ", out, "    ")
    if field.description then wrapped(field.description, "      ", out) end
    if field.example ~= nil then
      wrapped(("for example %s = %s"):format(key_text(name), literal(field.example)), "      ", out)
    end
    for former, now in pairs(d.renames) do
      if now == name then wrapped(("was called %s"):format(former), "      ", out) end
    end
    local inner, path = field, prefix .. name
    while inner.type == "list" or inner.type == "map" do
      path = path .. (inner.type == "list" and "[]" or ".*")
      inner = inner.of
    end
    if inner.order then
      fields_lines(inner, path .. ".", out)
      group_lines(inner, "      ", out)
    end
  end
end

-- ---- the two commands ----

-- A plugin's file with its schema; problems instead when it cannot be loaded.
local function loaded(file, name)
  local problems = {}
  local plugin, compiled = files.load(file, name, function(message) problems[#problems + 1] = ("plugin %q: %s"):format(name, message) end)
  for _, problem in ipairs(spec.state.problems) do problems[#problems + 1] = ("%s: %s"):format(problem.source, problem.message) end
  spec.state.problems = {}
  return plugin, compiled, problems
end

local function where(file)
  return file.folder.built_in and file.path .. " (shipped)" or file.path
end

--- The text of one plugin's documentation; or nil and what is wrong.
---@param name string
---@return string? text
---@return string? problem
function docs.one(name)
  local file = files.find(name)
  if not file then
    local names = {}
    for _, entry in ipairs(files.all()) do names[#names + 1] = entry.name end
    local near = require "gateway.check".nearest(name, names)
    local folders = {}
    for _, folder in ipairs(files.folders()) do folders[#folders + 1] = folder.built_in and "the shipped ones" or folder.path end
    return nil, ("plugin %q: not found%s; looked in %s"):format(name, near and (" (did you mean %q?)"):format(near) or "",
      table.concat(folders, ", "))
  end
  local plugin, compiled, problems = loaded(file, name)
  if not plugin then return nil, table.concat(problems, "\n") end
  local out = { ("%s%s  %s"):format(plugin.name, plugin.version and " " .. plugin.version or "", where(file)) }
  if plugin.description then wrapped(plugin.description, "", out) end
  out[#out + 1] = ""
  if #compiled.order == 0 then
    out[#out + 1] = "It takes no options."
  else
    out[#out + 1] = "options:"
    fields_lines(compiled, "", out)
    group_lines(compiled, "  ", out)
  end
  local required = {}
  for _, field in ipairs(compiled.order) do
    local d = compiled.fields[field]
    if d.required then
      required[#required + 1] = ("%s = %s"):format(key_text(field), d.example ~= nil and literal(d.example) or "...")
    end
  end
  for _, group in ipairs(compiled.one_required or {}) do
    local field = compiled.fields[group[1]]
    required[#required + 1] = ("%s = %s"):format(key_text(group[1]), field.example ~= nil and literal(field.example) or "...")
  end
  out[#out + 1] = ""
  out[#out + 1] = "example:"
  local shown = plugin.example and next(plugin.example) and literal(plugin.example)
  out[#out + 1] = shown and ("  use = { gateway.plugin(%q, %s) }"):format(name, shown)
    or #required == 0 and ("  use = { gateway.plugin %q }"):format(name)
    or ("  use = { gateway.plugin(%q, { %s }) }"):format(name, table.concat(required, ", "))
  return table.concat(out, "\n") .. "\n"
end

-- In the repository the shipped plugins are found twice: as files, and inside the program.
local function same_text(one, other)
  if not other.folder.built_in or one.folder.built_in then return false end
  local stream = io.open(one.path, "rb")
  local text = stream and stream:read("*a")
  if stream then stream:close() end
  return text ~= nil and files.shipped ~= nil and text == files.shipped(other.path)
end

--- The table of all plugins.
---@return string
function docs.all()
  local rows = { { "NAME", "VERSION", "FILE", "DESCRIPTION" } }
  for _, entry in ipairs(files.all()) do
    for i, file in ipairs(entry.files) do
      if i > 1 and same_text(entry.files[1], file) then
        rows[#rows][3] = where(file)
      elseif i > 1 then
        rows[#rows + 1] = { entry.name, "", where(file), "(hidden by the one above)" }
      else
        local plugin = loaded(file, entry.name)
        rows[#rows + 1] = { entry.name, plugin and plugin.version or "-", where(file),
          plugin and (plugin.description or "-") or "cannot be loaded: see gateway plugins " .. entry.name }
      end
    end
  end
  if #rows == 1 then
    local folders = {}
    for _, folder in ipairs(files.folders()) do folders[#folders + 1] = folder.built_in and "the shipped ones" or folder.path end
    return "no plugins in " .. table.concat(folders, ", ") .. "\n"
  end
  local width = { 0, 0, 0 }
  for _, row in ipairs(rows) do for k = 1, 3 do width[k] = math.max(width[k], #row[k]) end end
  local out = {}
  for i, row in ipairs(rows) do
    for k = 1, 3 do row[k] = row[k] .. (" "):rep(width[k] - #row[k]) end
    out[i] = table.concat(row, "  "):gsub("[%c]", " ")
  end
  return table.concat(out, "\n") .. "\n"
end

--- Called by the command: the text to print, or nil and what is wrong.
---@param options { word?: string, folder: string, shipped: function, list: function }
function docs.run(options)
  spec.state.folder = options.folder
  files.shipped, files.list = options.shipped, options.list
  if options.word then return docs.one(options.word) end
  return docs.all()
end

return docs
