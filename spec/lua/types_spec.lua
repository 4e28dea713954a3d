-- What editors are told: the definitions that `gateway types` writes parse, name only types that there are, and say of each public function
-- what its parameters are. A small reader of LuaCATS stands here, strict about what lua-language-server would pass over in silence.

local types = require "gateway.types"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

local function library()
  local files, pipe = {}, assert(io.popen("ls lua/gateway/*.lua"))
  for line in pipe:lines() do files[#files + 1] = line end
  pipe:close()
  return files
end

-- ---- types as they are written ----

local builtin = {}
for name in ("any nil boolean string number integer function table thread userdata true false self unknown lightuserdata")
  :gmatch("%S+") do builtin[name] = true end

-- Reads one type at the beginning of a text: what is behind it, or nil and why. Names of types are told to `seen`.
local type_at

local function skip(text) return (text:gsub("^%s+", "")) end

local nested = 0

local function list_until(text, close, item)
  text = skip(text)
  if text:sub(1, 1) == close then return text:sub(2) end
  while true do
    nested = nested + 1
    local rest, why = item(text)
    nested = nested - 1
    if not rest then return nil, why end
    rest = skip(rest)
    local mark = rest:sub(1, 1)
    if mark == close then return rest:sub(2) end
    if mark ~= "," then return nil, ("expected ',' or '%s' before %q"):format(close, rest) end
    text = skip(rest:sub(2))
  end
end

local function single(text, seen)
  text = skip(text)
  local quoted = text:match('^"[^"]*"(.*)$')
  if quoted then return quoted end
  if text:sub(1, 1) == "(" then
    local rest, why = type_at(text:sub(2), seen)
    if not rest then return nil, why end
    return skip(rest):match("^%)(.*)$"), "expected ')'"
  elseif text:sub(1, 1) == "{" then
    return list_until(text:sub(2), "}", function(part)
      local behind = part:match("^[%a_][%w_]*%??%s*:(.*)$")
      if not behind and part:sub(1, 1) == "[" then
        local rest = type_at(part:sub(2), seen)
        behind = rest and skip(rest):match("^%]%s*:(.*)$")
        behind = behind or part:match("^%[%d+%]%s*:(.*)$")
      end
      if not behind then return nil, ("expected 'name: type' before %q"):format(part) end
      return type_at(behind, seen)
    end)
  end
  local fun = text:match("^fun%s*%((.*)$")
  if fun then
    local rest, why = list_until(fun, ")", function(part)
      local behind = part:match("^[%a_][%w_]*%??(.*)$") or part:match("^%.%.%.(.*)$")
      if not behind then return nil, ("expected a parameter before %q"):format(part) end
      behind = skip(behind)
      if behind:sub(1, 1) == ":" then return type_at(behind:sub(2), seen) end
      return behind
    end)
    if not rest then return nil, why end
    local mark = ":"
    while skip(rest):sub(1, 1) == mark do -- several returns only where nothing else could stand behind a comma
      rest, why = type_at(skip(rest):sub(2), seen)
      if not rest then return nil, why end
      mark = nested == 0 and "," or "no more"
    end
    return rest
  end
  local name, rest = text:match("^([%a_][%w_.]*)(.*)$")
  if not name then return nil, ("expected a type before %q"):format(text) end
  seen[name] = true
  if rest:sub(1, 1) == "<" then return list_until(rest:sub(2), ">", function(part) return type_at(part, seen) end) end
  return rest
end

function type_at(text, seen)
  while true do
    local rest, why = single(text, seen)
    if not rest then return nil, why end
    while rest:find("^%[%]") do rest = rest:sub(3) end
    if rest:sub(1, 1) == "?" then rest = rest:sub(2) end
    if not skip(rest):find("^|") then return rest end
    text = skip(rest):sub(2)
  end
end

-- What is behind a type is a description: it begins with a space, or there is none.
local function type_alone(text, seen)
  local rest, why = type_at(text, seen)
  if not rest then return why end
  if rest ~= "" and not rest:find("^%s") then return ("expected a space before %q"):format(rest) end
  return nil
end

-- ---- the definitions ----

local text, missing = types.text(library(), read)

-- Lines of the text with what is wrong with them; and what is defined and used.
local function look(text, known) -- luacheck: ignore 431
  local defined, used, problems = {}, {}, {}
  for name in pairs(known or {}) do defined[name] = true end
  local pending = { params = {} }
  local number = 0
  local functions = {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    local function wrong(why) problems[#problems + 1] = ("%d: %s: %s"):format(number, line, why) end
    local tag, rest = line:match("^%-%-%-@(%a+)%s*(.*)$")
    local seen = {}
    if tag == "class" then
      local name = rest:match("^([%w_.]+)") -- one that is there already goes on here
      if name then defined[name] = true else wrong("expected a name") end
    elseif tag == "alias" then
      local name, behind = rest:match("^([%w_.]+)%s+(.*)$")
      if not name then wrong("expected a name and a type") else
        defined[name] = true
        local why = type_alone(behind, seen)
        if why then wrong(why) end
      end
    elseif tag == "field" then
      local behind = rest:match("^[%a_][%w_]*%??%s+(.*)$")
      if not behind and rest:sub(1, 1) == "[" then
        local after = type_at(rest:sub(2), seen)
        behind = after and after:match("^%]%s+(.*)$") or rest:match("^%[%d+%]%s+(.*)$")
      end
      local why = behind and type_alone(behind, seen) or not behind and "expected a field's name and a type"
      if why then wrong(why) end
    elseif tag == "param" then
      local name, behind = rest:match("^([%a_][%w_]*)%??%s+(.*)$")
      if not name then name, behind = rest:match("^(%.%.%.)%s+(.*)$") end
      local why = not name and "expected a parameter's name and a type" or type_alone(behind, seen)
      if why then wrong(why) end
      if name then pending.params[name] = true end
    elseif tag == "return" or tag == "type" then
      local why = type_alone(rest, seen)
      if why then wrong(why) end
      pending.tagged = true
    elseif tag == "meta" or tag == "overload" or tag == "async" or tag == "deprecated" or tag == "nodiscard" or tag == "generic" then
      pending.tagged = true
    elseif tag then
      wrong("a tag that is not known")
    elseif line:find("^%-%-%-") then
      pending.described = true
    elseif line ~= "" then
      local path, arguments = line:match("^function ([%w_.:]+)%((.-)%) end$")
      if path then
        functions[#functions + 1] = path
        local there = {}
        for name in arguments:gmatch("[%w_.]+") do
          there[name] = true
          if not pending.params[name] then wrong("the parameter " .. name .. " is not annotated") end
        end
        for name in pairs(pending.params) do if not there[name] then wrong("there is no parameter " .. name) end end
        if not pending.described then wrong("it is not described") end
      end
      pending = { params = {} }
    end
    for name in pairs(seen) do used[name] = number end
  end
  for name, at in pairs(used) do
    if not builtin[name] and not defined[name] then problems[#problems + 1] = ("%d: unknown type %s"):format(at, name) end
  end
  return problems, functions, defined
end

describe("the definitions for editors", function()
  local problems, functions, defined = look(text)

  it("name everything that is public", function() assert.same({}, missing) end)
  it("are Lua", function() assert(loadstring(text)) end)
  it("parse as LuaCATS, and name only what is defined", function() assert.same({}, problems) end)

  it("hold what scripts use most", function()
    local at = {}
    for _, path in ipairs(functions) do at[path] = true end
    for _, path in ipairs { "gateway.route", "gateway.upstream", "gateway.respond", "gateway.plugin", "gateway.log.info",
      "TokenBucket:allow", "gateway.health.active" } do
      assert.is_true(at[path], path)
    end
    for _, name in ipairs { "gateway.Request", "gateway.Response", "gateway.Headers", "gateway.RouteOptions", "gateway.UpstreamOptions",
      "gateway.Plugin", "gateway.Field" } do
      assert.is_true(defined[name], name)
    end
  end)

  it("hide what is the library's own", function()
    assert.is_nil(text:find("gateway.log.bind", 1, true))
    assert.is_nil(text:find("gateway.Task", 1, true))
  end)

  local request = {}
  for name in ("method path query headers cookies params host scheme client_ip id route upstream started ctx body"):gmatch("%S+") do
    request[name] = true
  end
  for name, fields in pairs { Request = request, TrafficOptions = require "gateway.traffic".fields } do
    it("know every field of gateway." .. name, function()
      local class = text:match("%-%-%-@class gateway%." .. name .. "\n(.-)\n\n")
      for field in pairs(fields) do assert.truthy(class:find("@field " .. field .. "%?? "), field) end
    end)
  end
end)

describe("the definitions of gateway.testing", function()
  local of_testing, lost = types.testing_text(library(), read)
  local _, _, known = look(text)
  local problems, functions = look(of_testing, known)

  it("name everything that is public", function() assert.same({}, lost) end)
  it("are Lua", function() assert(loadstring(of_testing)) end)
  it("parse as LuaCATS, and name only what is defined", function() assert.same({}, problems) end)

  it("hold what tests use most", function()
    local at = {}
    for _, path in ipairs(functions) do at[path] = true end
    for _, path in ipairs { "testing.app", "testing.upstream", "testing.serve", "testing.jwt", "testing.clock", "testing_Pending:wait" } do
      assert.is_true(at[path], path)
    end
  end)
end)
