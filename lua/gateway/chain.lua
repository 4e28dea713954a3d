-- The coroutines that run a route's functions. C makes tasks with what `install` returns, and resumes them; see runtime/script/task.h.
--
-- A task's closures are composed once, when the task is made. A layer is the frame around one middleware: it calls it and looks at what it
-- returned. Layers stay on the stack while next() waits; C knows how many there are, so it knows when nothing but layers is left.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local limit = require "gateway.limit"
local limit_step = require "gateway.limit_step"
local message = require "gateway.message"
local respond = require "gateway.respond"
local route = require "gateway.route"
local declared = require "gateway.spec"
local spawn = require "gateway.spawn"
local traffic = require "gateway.traffic"
local upstream = require "gateway.upstream"
local wait = require "gateway.wait"
local log = require "gateway.log"

local chain = {}

local Made, Upstream = respond.Made, upstream.Upstream
local PASS, RESPOND = 1, 2 -- enum gw_lua_verdict
local view_pointer = ffi.typeof("gw_lua_view *")

function traffic.tell(request, key) C.gw_lua_key(request[1], key, #key) end
function traffic.choose(request) return C.gw_lua_choose(request[1]) end

-- A task: the objects that its closures share. results[i] is what layer i returned in this request, or false.
---@class gateway.Task
---@field view any
---@field request gateway.Request
---@field response gateway.Response what next() gives at the end of the chain
---@field results table
---@field here any int *: which of the counted functions runs
---@field cells any gw_lua_plugin_cell **: what is counted, by place

local function returned_wrong(f, found)
  error(("middleware %s returned %s: expected a response (what next() gave, or gateway.respond(...))"):format(route.function_text(f),
    check.describe(found)), 0)
end

-- What a middleware that returned nothing meant: the response that its next() gave.
local function unsaid(task, f, result, inner)
  if result ~= nil then returned_wrong(f, result) end
  if inner then return inner end
  if task.view.forwarded ~= 0 then return task.response end
  error(("middleware %s neither called next() nor returned a response"):format(route.function_text(f)), 0)
end

-- Where in the script a worker is, and what it counts, for C: see runtime/gateway/plugin_counters.h. `here` is the place of the function
-- that runs, in the list of what is counted; 0: none.
local cells_pointer, here_pointer = ffi.typeof("gw_lua_plugin_cell **"), ffi.typeof("int *")

local function layer(task, f, after, i, place, outer)
  local request, response, results, here, cells = task.request, task.response, task.results, task.here, task.cells
  return function()
    here[0] = place
    do -- no local of it when f is called: what a trace leaves with, it has to make
      local cell = cells[place]
      cell.calls = cell.calls + 1
    end
    local result = f(request, after)
    if result ~= response and getmetatable(result) ~= Made then result = unsaid(task, f, result, results[i + 1]) end
    results[i] = result
    here[0] = outer
    return result
  end
end

-- The same where middleware has spans (gateway.tracing { middleware = true }): as many frames, so that C counts right.
local function traced_layer(task, f, after, i, place, outer)
  local request, response, results, here, cells, view = task.request, task.response, task.results, task.here, task.cells, task.view
  local label = route.labels[f]
  local name = label and label.name or route.function_text(f)
  return function()
    here[0] = place
    local cell = cells[place]
    cell.calls = cell.calls + 1
    local span = C.gw_lua_span_enter(view, name, #name)
    local result = f(request, after)
    if view.exchange ~= nil then C.gw_lua_span_leave(view, span) end
    if result ~= response and getmetatable(result) ~= Made then result = unsaid(task, f, result, results[i + 1]) end
    results[i] = result
    here[0] = outer
    return result
  end
end

-- The same for a plugin that may be switched off.
local function switched(inner, task, after, i, place, switch)
  local results, cells = task.results, task.cells
  return function()
    local cell = cells[place]
    if cell.off_until[0] > 0 and C.gw_lua_plugin_off(task.view, place) ~= 0 then
      local result
      if switch.on_failure == "open" then
        cell.skipped = cell.skipped + 1
        result = after()
      else
        cell.refused = cell.refused + 1
        result = respond.respond(503, { error = "temporarily unavailable", status = 503 })
      end
      results[i] = result
      return result
    end
    return inner()
  end
end

-- The end of a chain whose route has `to = function`: the function decides between an upstream and a response.
local function decide(task, f, next, i, place, outer)
  local request, results, view, here, cells = task.request, task.results, task.view, task.here, task.cells
  return function()
    here[0] = place
    do
      local cell = cells[place]
      cell.calls = cell.calls + 1
    end
    local target = f(request)
    local meta = getmetatable(target)
    if meta ~= Upstream and meta ~= Made then
      target = upstream.from(target)
      meta = getmetatable(target)
    end
    if meta == Upstream then
      local hash_on = target._data.hash_on
      if hash_on and hash_on.f then traffic.key(request, hash_on.f) end
      C.gw_lua_use_upstream(view, target._index)
      here[0] = outer
      return next()
    elseif meta == Made then
      results[i] = target
      here[0] = outer
      return target
    end
    error(("to: %s returned %s: expected an upstream or a response%s"):format(route.function_text(f), check.describe(target),
      type(target) == "string" and " (what gateway.upstream gave, not its name)" or ""), 0)
  end
end

local function failed_to_send(what, status)
  error(("the response could not be made: %s (%s)"):format(what, status == -4 and "not enough memory" or "not allowed"), 0)
end

-- Puts a response that the script made into the exchange.
local function send_made(view, response)
  local status, body = response.status, response._body
  if not respond.status_good(status) then
    error("a response's status: expected a number from 200 to 599, found " .. check.describe(status), 0)
  end
  local code = C.gw_lua_reply(view, status, body, #body)
  if code < 0 then failed_to_send("body", code) end
  local list, content_type = rawget(response, "_headers"), response._type
  if list then
    local names, lowers, values = list[1], list[2], list[3]
    for i = 1, #names do
      if lowers[i] == "content-type" then content_type = nil end
      code = C.gw_lua_header_add(view, 1, names[i], #names[i], values[i], #values[i])
      if code < 0 then failed_to_send(("header %q"):format(names[i]), code) end
    end
  end
  if content_type then C.gw_lua_header_add(view, 1, "Content-Type", 12, content_type, #content_type) end
end

-- The end of a request: what came out of the chain goes to C, and the task forgets it.
local function settle(task, result)
  local view, results = task.view, task.results
  if result == task.response then
    view.verdict = PASS
  else
    if getmetatable(result) ~= Made then -- only `to` returned it, and that checks: here for good measure
      error("the chain returned " .. check.describe(result) .. ": expected a response", 0)
    end
    send_made(view, result)
    view.verdict = RESPOND
  end
  for i = 1, task.depth do results[i] = false end
  local request = task.request
  if request[6] and not request[8] then request[6] = false end -- finalizers see it, too
end

-- Each chain drives its tasks by a prototype of its own, so that the compiler's traces of one chain do not stand in the way of another's.
local driver_source = [[
local park, settle = ...
return function(task, run)
  while true do
    park()
    settle(task, run())
  end
end
]]

-- A traceback without the library's own frames.
local library = debug.getinfo(1, "S").source:gsub("^[@=]", ""):gsub("chain%.lua$", "")
local function explain(coroutine_, problem)
  if type(problem) ~= "string" then
    local meta = getmetatable(problem)
    problem = type(problem) == "table" and meta and meta.__tostring and tostring(problem)
      or ("the script raised %s instead of a message"):format(check.describe(problem))
  end
  local frames = {}
  for frame in debug.traceback(coroutine_):gmatch("\n\t([^\n]*)") do
    if not frame:find(library, 1, true) and not frame:find("[C]:", 1, true) and not frame:find("=driver", 1, true)
      and not frame:find("^driver:") then
      frames[#frames + 1] = frame
    end
  end
  -- request.body() for request:body(): a method of ours that finds no object in front.
  if frames[1] and problem:find(library, 1, true) == 1 and problem:find("attempt to index local '[sv][ei][le][fw]'") then
    problem = frames[1]:match("^%S+") .. " a method was called with a dot, or on something else: expected a colon, as in request:body()"
  end
  if #frames == 1 and problem:find(frames[1]:match("^[^ ]*"):gsub(":$", ""), 1, true) then return problem end -- it says where already
  return problem, #frames > 0 and table.concat(frames, "\n") or nil
end

--- Requests share a worker's globals, so one that sets a new one has forgotten a `local`, or will be surprised. (While a script loads, it
--- may: old modules do.) A script that watches its globals itself is left alone.
function chain.close_globals()
  if getmetatable(_G) ~= nil then return end
  setmetatable(_G, { __newindex = function(_, name)
    error(("the global variable %s is set while a request runs, where all requests of a worker would share it: write `local %s`, "
      .. "or set it while the script loads"):format(check.describe(name), tostring(name)), 2)
  end })
end

-- Runs the finalizers of one request after the other, each in a coroutine of its own: none is in the way of the next.
local function finalize(request, status)
  local list, out = request[8], wait.here("a finalizer", 1).out
  local problem = out.ptr ~= nil and ffi.string(out.ptr, out.len) or nil
  request[8] = true -- they run: there can be no more
  for i = #list, 1, -1 do
    local thread = wait.raw_create(list[i])
    local good, failure = wait.raw_resume(thread, status, problem)
    if good and wait.raw_status(thread) ~= "dead" then
      good, failure = false, "a finalizer called coroutine.yield outside a coroutine of its own"
    end
    if not good then
      local said, traceback = explain(thread, failure)
      log.error("finalizer failed", { error = said, traceback = traceback })
    end
  end
  request[6], request[8] = false, false
end

local function finisher(request, status)
  while true do
    finalize(request, status)
    request, status = coroutine.yield()
  end
end

--- Gets each chain before it is installed, and may put functions around its functions (dry_run.lua).
---@type (fun(chain: { use: function[], to: function? }))|nil
chain.observer = nil

--- Called by C when the script has been loaded.
---@param chains { use: function[], to: function? }[]
---@param park function leaves the coroutine until the next request
---@param next function forwards the request and leaves until its response is there
---@param leave function leaves until the task is woken
---@param waits userdata gw_lua_waits
---@param token userdata
---@param counting userdata gw_lua_plugin_cell **: this worker's counters, by place
---@param places userdata int *: where it is
---@param plugins table[] what is counted
---@return fun(memory: userdata, index: integer): thread, table, table make
---@return function explain
---@return fun(): thread make_finisher
---@return fun(memory: userdata, index: integer): thread, table make_job
function chain.install(chains, park, next, leave, waits, token, counting, places, plugins)
  local cells, here = ffi.cast(cells_pointer, counting), ffi.cast(here_pointer, places)
  message.bind(leave)
  wait.bind(C, leave, waits, token)
  local steps = {}
  for _, spec in ipairs(chains) do
    for i, f in ipairs(spec.use) do
      local limited = limit.steps[f]
      if limited then
        if not steps[f] then
          steps[f] = limit_step.make(limited)
          route.labels[steps[f]] = route.labels[f]
        end
        spec.use[i] = steps[f]
      end
    end
  end
  for _, spec in ipairs(chain.observer and chains or {}) do chain.observer(spec) end
  -- The compiler throws everything away when its room is full: a script with hundreds of chains would be compiled over and over.
  jit.opt.start("maxtrace=20000", "maxmcode=32768")
  local drivers = {}
  local tracing = declared.state.tracing
  local traced = tracing and tracing.middleware

  local function make(memory, index)
    local spec = chains[index]
    local driver = drivers[index]
    if not driver then
      driver = assert(loadstring(driver_source, "=driver"))(park, settle)
      drivers[index] = driver
    end
    local view = ffi.cast(view_pointer, memory)
    local request, response = message.new(view, memory)
    local depth = #spec.use + 1
    local task = { view = view, request = request, response = response, results = {}, depth = depth, here = here, cells = cells }
    for i = 1, depth do task.results[i] = false end
    local at = spec.places
    local run = spec.to and decide(task, spec.to, next, depth, at[depth], at[depth - 1] or 0) or next
    for i = #spec.use, 1, -1 do
      local after, plugin = run, plugins[at[i]]
      run = (traced and traced_layer or layer)(task, spec.use[i], after, i, at[i], at[i - 1] or 0)
      if plugin and plugin.switch then run = switched(run, task, after, i, at[i], plugin.switch) end
    end
    local thread = coroutine.create(function() return driver(task, run) end)
    return thread, response, { thread, memory, request }
  end

  local timers = chains.timers
  local function make_job(memory, index)
    local thread = coroutine.create(index > 0 and timers[index].f or spawn.take(-index))
    return thread, { thread, memory }
  end

  return make, explain, function() return coroutine.create(finisher) end, make_job
end

return chain
