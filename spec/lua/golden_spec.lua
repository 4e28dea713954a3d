-- Every word that the library says about a mistake, as it is said: each script of spec/golden is run, and what is said about it must be
-- what stands in the .txt beside it, to the letter. And every place in lua/gateway that says something is reached by one of them.
--
--     GATEWAY_GOLDEN=write ./spec/run spec/lua/golden_spec.lua     writes the texts anew: look at what git diff shows
--
-- A script finds `gateway`, `testing`, and try(f): what f raises is said, too. Declarations are reported like `gateway check` does.

local cdef = require "spec.support.cdef"
local parse = assert(package.loadlib(cdef.library, "gw_yaml_load"))

local FOLDER = "spec/golden"
local writing = os.getenv("GATEWAY_GOLDEN") == "write"

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end

local function files_of(pattern)
  local out, pipe = {}, assert(io.popen("ls " .. pattern))
  for line in pipe:lines() do out[#out + 1] = line end
  pipe:close()
  return out
end

-- ---- running a script ----

local reached = {} -- "lua/gateway/route.lua" → line → true

local function on_line(_, line)
  local source = debug.getinfo(2, "S").source
  local file = source:match("lua/gateway/[%w_]+%.lua$")
  if file then
    reached[file] = reached[file] or {}
    reached[file][line] = true
  end
end

local function fresh()
  for name in pairs(package.loaded) do
    if name:find("^gateway") and name ~= "gateway.ffi" then package.loaded[name] = nil end
  end
end

-- Tables of one address, numbers of lines in the library: whatever differs from run to run, or with every edit there.
local function settled(text)
  text = text:gsub('(gateway: unknown name "[%w_]+"; known: ).*', "%1...") -- all that the library has
  return (text:gsub("0x%x+", "0x..."):gsub("(lua/gateway/[%w_]+%.lua):%d+", "%1:N"))
end

local function run(path)
  local name = path:match("([^/]+)%.lua$")
  fresh()
  local spec = require "gateway.spec"
  spec.state.script, spec.state.folder = name .. ".lua", FOLDER
  require("gateway.load").parse = parse
  local said = {}
  local function say(text) said[#said + 1] = settled(text) end
  local env = setmetatable({
    gateway = require "gateway", testing = require "gateway.testing", say = say,
    try = function(f, ...)
      local good, message = pcall(f, ...)
      if good then say "raised nothing" else say("raised: " .. tostring(message)) end
    end,
  }, { __index = _G })
  local chunk = setfenv(assert(loadstring(assert(read(path)), "@" .. name .. ".lua")), env)
  debug.sethook(on_line, "l")
  local good, failure = pcall(chunk)
  local _, problems = require "gateway.route".finish()
  local warnings = require "gateway.route".texts(spec.state.warnings)
  debug.sethook()
  if not good then say("failed: " .. tostring(failure)) end
  local function place(text)
    local file, line = text:match("^([^:]*):(%d+):")
    return (file == name .. ".lua" and "" or file or ""), tonumber(line or 0)
  end
  for i, text in ipairs(problems) do problems[i] = { text = text, index = i } end
  table.sort(problems, function(a, b)
    local a_file, a_line = place(a.text)
    local b_file, b_line = place(b.text)
    if a_file ~= b_file then return a_file < b_file end
    if a_line ~= b_line then return a_line < b_line end
    return a.index < b.index
  end)
  local out = {}
  for _, problem in ipairs(problems) do out[#out + 1] = settled(problem.text) end
  for _, warning in ipairs(warnings) do out[#out + 1] = "warning: " .. settled(warning) end
  for _, text in ipairs(said) do out[#out + 1] = text end
  return table.concat(out, "\n") .. "\n"
end

describe("what is said about", function()
  setup(function() jit.off() end) -- compiled code would not tell its lines
  teardown(function() jit.on() end)

  for _, path in ipairs(files_of(FOLDER .. "/*.lua")) do
    it(path, function()
      local text = run(path)
      local golden = path:gsub("%.lua$", ".txt")
      if writing then
        local file = assert(io.open(golden, "wb"))
        file:write(text)
        file:close()
      end
      assert.equal(read(golden), text)
    end)
  end
end)

-- ---- is everything reached? ----

-- Files whose words have tests of their own.
local elsewhere = {
  boot = "spec/script/load_spec.lua", ffi = "the build", digest = "spec/script/load_spec.lua", types = "spec/lua/types_spec.lua",
  plugin_docs = "spec/process/command_spec.lua", json_schema = "spec/lua/json_schema_spec.lua",
  explain = "spec/process/explain_spec.lua", explain_text = "spec/process/explain_spec.lua", dry_run = "spec/process/explain_spec.lua",
  plan = "spec/e2e/plan_spec.lua", plan_run = "spec/e2e/plan_spec.lua", plan_text = "spec/e2e/plan_spec.lua",
}

-- What cannot be brought about here.
local out_of_reach = {
  "not enough memory", "failed_to_send", "no random bytes", "OpenSSL", "the response could not be made", "settings out of range",
  "primitives.failed", "the schema names no known type", "the chain returned", "the global variable", "words[entry.kind], entry.name",
  "expected its label values", "is not available in this version", "limits run in the gateway only", "no request is served here",
}

local sayers = {}
for word in ("error report problem warn tell wrong refuse fail"):gmatch("%a+") do sayers[word] = true end

-- The longest piece of text in a line of code that is said as it stands.
local function longest_words(code)
  local best = ""
  for quote, text in code:gmatch("([\"'])(.-)%1") do
    for piece in (quote and text:gsub("\\.", "%%s") .. "%s"):gmatch("(.-)%%[%d.]*%a") do if #piece > #best then best = piece end end
  end
  return #best >= 8 and best or nil
end

local function sites(file)
  local out, number = {}, 0
  for line in (read(file) .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    local code = line:gsub("^%s*%-%-.*$", "")
    local says = false
    for before, word in code:gmatch("()%f[%w_]([%a_]+)%(") do
      says = says or sayers[word] and not code:sub(1, before - 1):find("function%s[%w_.:]*$")
    end
    -- A condition on the same line is met whenever the line is: then the words themselves must stand somewhere.
    local words = says and code:find("^%s*if%s") and longest_words(code:match("%f[%w_]then(.*)$") or "")
    for _, text in ipairs(out_of_reach) do says = says and not code:find(text, 1, true) end
    if says then out[#out + 1] = { line = number, words = words or nil } end
  end
  return out
end

local said_anywhere = ""

describe("everything that the library can say is said by a script of spec/golden:", function()
  setup(function()
    for _, path in ipairs(files_of(FOLDER .. "/*.txt")) do said_anywhere = said_anywhere .. read(path) end
  end)

  for _, file in ipairs(files_of "lua/gateway/*.lua") do
    local name = file:match("([%w_]+)%.lua$")
    if not elsewhere[name] and not name:find("^testing") then
      it(file, function()
        local missing = {}
        for _, site in ipairs(sites(file)) do
          local there = reached[file] and reached[file][site.line]
          if not there or site.words and not said_anywhere:find(site.words, 1, true) then
            missing[#missing + 1] = ("%s:%d"):format(file, site.line)
          end
        end
        if #missing > 0 then
          error(("no script of %s makes the library say what stands at %s: add one there, and run this with GATEWAY_GOLDEN=write"):format(
            FOLDER, table.concat(missing, ", ")), 0)
        end
      end)
    end
  end
end)
