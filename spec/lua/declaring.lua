--- Runs the text of a script with a fresh library, under plain LuaJIT: what it declared and what was wrong with it.

local declaring = {}

-- A library that no test has touched. lua/gateway/ffi.lua is left alone: what it declared cannot be declared again.
local function fresh()
  for name in pairs(package.loaded) do
    if name:match("^gateway") and name ~= "gateway.ffi" then package.loaded[name] = nil end
  end
  return require "gateway"
end

---@param text string
---@param options? { folder?: string, listen?: boolean, parse?: function }
---@return table spec, string[] problems, table chains
function declaring.run(text, options)
  options = options or {}
  fresh()
  local spec = require "gateway.spec"
  spec.state.script = "script.lua"
  spec.state.folder = options.folder
  if options.parse then require("gateway.load").parse = options.parse end
  local chunk = assert(loadstring('local gateway = require "gateway"; ' .. text, "@script.lua"))
  chunk()
  if options.listen ~= false then require("gateway").listen "127.0.0.1:1" end
  return require("gateway.route").finish()
end

--- Only what was wrong.
function declaring.problems(text, options)
  local _, problems = declaring.run(text, options)
  return problems
end

return declaring
