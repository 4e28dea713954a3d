-- gateway.log.info(message, fields): a JSON line beside the gateway's own. In a request the line carries its id and route. While the script
-- loads, and outside the gateway, lines go to stderr.

local check = require "gateway.check"
local json = require "gateway.json"

local log = {}

-- Set by the gateway: write(level, message, members), where members is JSON text without the outer braces, or nil.
local write

--- Gives the lines to someone else than stderr. Called by the gateway when it starts the library.
---@package
function log.bind(f)
  write = f
end

local levels = { debug = 0, info = 1, warn = 2, error = 3 }

local function line(level, message, fields)
  local members
  if type(message) == "table" then
    error(('gateway.log: expected a message, found a table: write gateway.log.%s("what happened", { ... })'):format(level), 3)
  end
  if fields ~= nil then
    if type(fields) ~= "table" then error("gateway.log: expected a table of fields, found " .. check.describe(fields), 3) end
    local good, text = pcall(json.encode, fields)
    if not good then error("gateway.log: " .. tostring(text), 3) end
    if #text > 2 and text:byte() == 123 then members = text:sub(2, -2) end -- an object, not a list
  end
  message = tostring(message)
  if write then return write(levels[level], message, members) end
  io.stderr:write(('{"level":"%s","message":%s%s}\n'):format(level, json.encode(message), members and "," .. members or ""))
end

--- A line for who looks for a mistake.
---@param message string
---@param fields? table<string, any>
function log.debug(message, fields) line("debug", message, fields) end

--- A line about what happens as it should.
---@param message string
---@param fields? table<string, any>
function log.info(message, fields) line("info", message, fields) end

--- A line about what somebody should look at.
---@param message string
---@param fields? table<string, any>
function log.warn(message, fields) line("warn", message, fields) end

--- A line about what went wrong.
---@param message string
---@param fields? table<string, any>
function log.error(message, fields) line("error", message, fields) end

return setmetatable(log, {
  __call = function() error('gateway.log is no function: write gateway.log.info("what happened", { field = value })', 2) end,
  __index = function(_, name) error("gateway.log: " .. check.unknown("level", name, levels), 2) end,
})
