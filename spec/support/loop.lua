--- A small scheduler: coroutines over poll(2), so that one test can be several clients and backends at once.
--
--     loop.run(function()          -- everything below happens inside
--       loop.spawn(function() ... end)
--     end)
--
-- Nothing here can hang: every wait has a deadline, and so has the whole run. When the main function ends, or anything fails, the
-- other tasks are dropped and every descriptor that was opened in the run is closed. An error in any task fails the run, save
-- "the peer has gone" errors (see loop.gone) in tasks that were spawned as servers.

local sys = require "spec.support.sys"

local loop = {}

loop.WAIT = 6  -- seconds that one wait may take
loop.RUN = 30  -- seconds that one run may take

local current -- the run under way: { tasks, deadline, task, cleanups }

--- Whether the caller runs inside loop.run.
function loop.inside()
  return current ~= nil
end

--- An error that says that the other side ended or broke the connection. It is a table, so that servers can tell it from a failed
-- assertion.
function loop.gone(what)
  return setmetatable({ gone = true, what = what }, { __tostring = function(e) return "connection ended: " .. e.what end })
end

local function is_gone(err)
  return type(err) == "table" and err.gone == true
end
loop.is_gone = is_gone

local function add_task(f, options)
  local task = { co = coroutine.create(f), server = options and options.server, name = options and options.name, ready = true }
  current.tasks[#current.tasks + 1] = task
  return task
end

--- Runs f beside the caller. options: server = true (a peer that goes away does not fail the run). Returns the task; task.done
-- is true when it ended.
function loop.spawn(f, options)
  assert(current, "loop.spawn outside loop.run")
  return add_task(f, options)
end

local function resume(task)
  task.ready = nil
  local fd, timed_out = task.fd, task.timed_out
  task.fd, task.events, task.deadline, task.timed_out = nil, nil, nil, nil
  current.task = task
  local ok, err = coroutine.resume(task.co, not timed_out, fd)
  current.task = nil
  if ok then
    if coroutine.status(task.co) == "dead" then task.done = true end
    return
  end
  task.done, task.failed = true, err
  if task.server and is_gone(err) then return end
  if type(err) == "string" then err = debug.traceback(task.co, err) end
  current.failure = { err }
end

local function turn()
  local now = sys.now()
  -- what is ready first
  local ran = false
  for i = 1, #current.tasks do
    local task = current.tasks[i]
    if not task.done and task.ready then
      ran = true
      resume(task)
      if current.failure then return end
    end
  end
  -- forget the dead
  local kept = {}
  for _, task in ipairs(current.tasks) do
    if not task.done then kept[#kept + 1] = task end
  end
  current.tasks = kept
  if ran then return end
  -- then wait
  local list, owners, until_ = {}, {}, current.deadline
  for _, task in ipairs(kept) do
    if task.fd then
      list[#list + 1] = { task.fd, task.events }
      owners[#owners + 1] = task
    end
    if task.deadline and task.deadline < until_ then until_ = task.deadline end
  end
  local ready = sys.poll(list, until_ - now)
  now = sys.now()
  for i, task in ipairs(owners) do
    if ready[i] then task.ready = true end
  end
  for _, task in ipairs(kept) do
    if not task.ready and task.deadline and task.deadline <= now then
      task.ready, task.timed_out = true, true
    end
  end
end

--- Runs f as the main task of a fresh run. options: seconds (most the run may take).
function loop.run(f, options)
  assert(not current, "loop.run inside loop.run")
  local seconds = options and options.seconds or loop.RUN
  current = { tasks = {}, deadline = sys.now() + seconds, cleanups = {} }
  local main = add_task(f)
  while not main.done and not current.failure do
    if sys.now() >= current.deadline then
      current.failure = { debug.traceback(main.co, "the test did not end within " .. seconds .. " s; it waits") }
      break
    end
    turn()
  end
  local ended = current
  for i = #ended.cleanups, 1, -1 do ended.cleanups[i]() end
  current = nil
  if ended.failure then error(ended.failure[1], 0) end
end

--- Calls f inside a run: the present one, or one made for it. Returns what f returns (one value).
function loop.within(f)
  if current then return f() end
  local result
  loop.run(function() result = f() end)
  return result
end

--- f is called when the run ends, however it does.
function loop.at_end(f)
  assert(current, "outside loop.run")
  table.insert(current.cleanups, f)
end

--- Waits until fd is ready for `events`, an absolute deadline or `seconds` from now. False when the time passed.
function loop.wait_fd(fd, events, deadline)
  local task = assert(current and current.task, "waiting outside loop.run")
  task.fd, task.events, task.deadline = fd, events, deadline or sys.now() + loop.WAIT
  return (coroutine.yield())
end

--- Lets the others run for `seconds` (0: one turn).
function loop.sleep(seconds)
  local task = assert(current and current.task, "waiting outside loop.run")
  if seconds <= 0 then
    task.ready = true
  else
    task.deadline = sys.now() + seconds
  end
  coroutine.yield()
end

--- Waits until condition() gives something true, and returns it; looks every few milliseconds. Fails after `seconds`.
function loop.eventually(condition, what, seconds)
  local deadline = sys.now() + (seconds or loop.WAIT)
  while true do
    local value = condition()
    if value then return value end
    if sys.now() > deadline then error("never came true: " .. (what or "the condition"), 2) end
    loop.sleep(0.003)
  end
end

--- Waits until all the functions, run side by side, have ended.
function loop.all(functions, seconds)
  local tasks = {}
  for i, f in ipairs(functions) do tasks[i] = loop.spawn(f) end
  loop.eventually(function()
    for _, task in ipairs(tasks) do
      if not task.done then return false end
    end
    return true
  end, "all tasks done", seconds or loop.RUN)
end

--- Calls f(item, index) for every item, at most `width` at a time.
function loop.each(items, width, f, seconds)
  local nextup, workers = 0, {}
  for i = 1, math.min(width, #items) do
    workers[i] = function()
      while nextup < #items do
        nextup = nextup + 1
        local index = nextup
        f(items[index], index)
      end
    end
  end
  loop.all(workers, seconds)
end

return loop
