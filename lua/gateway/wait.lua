-- Waiting: what gateway.sleep, gateway.fetch, gateway.all and bodies have in common.
--
-- A task's coroutine leaves by a function of C (`leave`), which comes back when something that the task waits for has come. Inside of a
-- coroutine of the script's own the same function yields a token to who resumed it, and coroutine.resume and coroutine.wrap, which stand in
-- for Lua's own here, pass it on until it reaches the task's coroutine. So whoever waits, whichever coroutine it is in, waits by:
--
--     repeat leave() until what I wait for is there
--
-- because everybody inside of the task is woken by whatever comes for one of them.

local check = require "gateway.check"

local wait = {}

local raw_create, raw_resume, raw_status = coroutine.create, coroutine.resume, coroutine.status
wait.raw_create, wait.raw_resume, wait.raw_status = raw_create, raw_resume, raw_status

-- Set by chain.lua through wait.bind. Before, while the script loads, nothing can wait and nothing yields the token.
local C, leave, waits
local token = {}

-- Coroutines that wait: their token was passed on. Nobody else may resume them meanwhile.
local waiting = setmetatable({}, { __mode = "k" })

local REFUSED = "cannot resume a coroutine that waits (in gateway.sleep, gateway.fetch, next() or the like)"

-- What a resumed coroutine came back with; a token is passed on first, and what comes of it handed in.
local function pass(co, good, first, ...)
  if first ~= token or not good then return good, first, ... end
  waiting[co] = true
  local value = leave()
  waiting[co] = nil
  return pass(co, raw_resume(co, value))
end

local function resume(co, ...)
  if waiting[co] then return false, REFUSED end
  return pass(co, raw_resume(co, ...))
end

local function finish(good, ...)
  if good then return ... end
  error((...), 0)
end

local function wrap(f)
  local co = raw_create(f)
  return function(...)
    if waiting[co] then error(REFUSED, 2) end
    if raw_status(co) == "dead" then error("cannot resume dead coroutine", 2) end
    return finish(pass(co, raw_resume(co, ...)))
  end
end

--- Puts the functions that pass waiting on in place of Lua's own. Before the script runs, so that it can keep them in locals.
function wait.install()
  coroutine.resume, coroutine.wrap = resume, wrap -- luacheck: ignore 122
end

--- Gives what C made. Called once, by chain.lua.
---@param library any
---@param leave_function function
---@param memory userdata gw_lua_waits of this state
---@param mark userdata the token
function wait.bind(library, leave_function, memory, mark)
  C, leave, token = library, leave_function, mark
  waits = require("ffi").cast("gw_lua_waits *", memory)
end

-- Leaves until something has come, which need not be what the caller waits for.
function wait.leave()
  leave()
end

--- gw_lua_waits of this state. Raises at `level` when nothing can wait now.
function wait.here(what, level)
  if not waits then error(("%s waits: it can be called in a request or a timer, not while the script loads"):format(what), level + 1) end
  return C.gw_lua_waits_here(waits)
end

local LIMIT, INVALID = -6, -5

--- Why something could not be begun: misuse is raised at `level`, the rest returned.
---@return string problem
function wait.problem(what, level)
  local status = C.gw_lua_waits_here(waits).status
  if status == INVALID then
    error(("%s waits: it can be called in a request or a timer, not while the script loads or in a finalizer"):format(what), level + 1)
  end
  if status == LIMIT then return "too many things are waited for at once" end
  return "not enough memory"
end

-- What the function of gateway.all that runs waits for: handles, and the same of a gateway.all inside of it. Only while waits.parallel > 0.
local scope

--- Waits until a handle of C's is over. Ending it is the caller's.
function wait.until_over(handle)
  local mine = scope and C.gw_lua_waits_here(waits).parallel > 0 and scope
  if mine then mine[handle] = true end
  repeat leave() until C.gw_lua_wait_over(handle) ~= 0
  if mine then mine[handle] = nil end
end

-- ---- gateway.all ----

local ALL_MOST = 100

-- Its function is not resumed any more.
local function cancel(what)
  for item in pairs(what) do
    if type(item) == "table" then -- the scopes of a gateway.all inside of it
      for _, inner in ipairs(item) do cancel(inner) end
    else
      C.gw_lua_wait_end(item)
    end
  end
end

--- Runs functions side by side, each in a coroutine of its own, and waits for all of them: whatever waits in one lets the others go on.
--- When one fails, the others are not resumed any more, what they wait for is cancelled, and its error is raised.
---@param functions function[] at most 100
---@return any ... the first result of each, in their order
function wait.all(functions)
  if type(functions) ~= "table" or getmetatable(functions) then
    error("gateway.all: expected a list of functions, found " .. check.describe(functions), 2)
  end
  local count = #functions
  if count > ALL_MOST then error(("gateway.all: expected at most %d functions, found %d"):format(ALL_MOST, count), 2) end
  for i = 1, count do
    if type(functions[i]) ~= "function" then
      error(("gateway.all: [%d]: expected a function, found %s"):format(i, check.describe(functions[i])), 2)
    end
  end
  for key in pairs(functions) do
    if type(key) ~= "number" or key < 1 or key > count or key % 1 ~= 0 then
      error("gateway.all: expected a list of functions, found the key " .. check.describe(key) .. " in it", 2)
    end
  end
  local shared = wait.here("gateway.all", 2)
  local running, scopes, results, left = {}, {}, {}, count
  for i = 1, count do running[i], scopes[i] = raw_create(functions[i]), {} end
  local outer = shared.parallel > 0 and scope
  if outer then outer[scopes] = true end
  while true do
    for i = 1, count do
      local co = running[i]
      if co then
        waiting[co] = nil
        shared.parallel, scope = shared.parallel + 1, scopes[i]
        local good, result = raw_resume(co)
        shared.parallel, scope = shared.parallel - 1, outer
        if good and result == token and raw_status(co) == "suspended" then
          waiting[co] = true
        else
          running[i] = false
          left = left - 1
          if not good or raw_status(co) ~= "dead" then
            if outer then outer[scopes] = nil end
            for k = 1, count do cancel(scopes[k]) end
            error(good and "a function that gateway.all ran called coroutine.yield outside a coroutine of its own" or result, 0)
          end
          results[i] = result
        end
      end
    end
    if left == 0 then
      if outer then outer[scopes] = nil end
      return unpack(results, 1, count)
    end
    leave()
  end
end

return wait
