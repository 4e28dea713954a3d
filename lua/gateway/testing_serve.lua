-- testing.serve: a real gateway, a process of its own on ports that the kernel chooses, for what a test wants to see on real sockets: the
-- same requests and the same backends as testing.app has, in real time.

local check = require "gateway.check"
local core = require "gateway.testing_core"
local ffi = require "ffi"
local json = require "gateway.json"
local testing_app = require "gateway.testing_app"
local testing_json = require "gateway.testing_json"
local testing_upstream = require "gateway.testing_upstream"
local wire = require "gateway.testing_wire"
local C = require "gateway.ffi"

local START_SECONDS, STOP_SECONDS, ANSWER_SECONDS = 30, 15, 60

---@class gateway.testing.Served
---@field address string "127.0.0.1:34567", of the first listener
---@field listeners string[] all of them
---@field admin string? of the admin address
---@field pid integer
---@field log table[]
---@field access table[]
---@field start fun(self: gateway.testing.Served, options?: gateway.testing.RequestOptions|string): gateway.testing.Pending
---@field request fun(self: gateway.testing.Served, options: gateway.testing.RequestOptions): gateway.testing.Response
---@field get fun(self: gateway.testing.Served, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field post fun(self: gateway.testing.Served, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field put fun(self: gateway.testing.Served, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field patch fun(self: gateway.testing.Served, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field delete fun(self: gateway.testing.Served, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field head fun(self: gateway.testing.Served, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
---@field options fun(self: gateway.testing.Served, path?: string, given?: gateway.testing.RequestOptions): gateway.testing.Response
local Served = {}
for _, name in ipairs { "start", "request", "get", "post", "put", "patch", "delete", "head", "options" } do
  Served[name] = testing_app.App[name]
end

-- What testing_wire.lua asks of an app's C: here with real sockets.
local sockets = {
  read = function(_, fd) return core.read(fd) end,
  write = function(_, fd, bytes, from) return core.write(fd, bytes, from) end,
  shut = function(_, fd, how) return core.shut(fd, how) end,
}

-- ---- the program and the script ----

local function exists(path)
  local file = io.open(path, "r")
  if file then file:close() end
  return file ~= nil
end

local function program()
  local named = os.getenv("GATEWAY_BIN")
  if named then return named end
  local library = ffi.string(C.gw_testing_library())
  if library == "" then return core.program() end
  local beside = (library:match("^(.*)/") or ".") .. "/gateway"
  if exists(beside) then return beside end
  for folder in (os.getenv("PATH") or ""):gmatch("[^:]+") do
    if exists(folder .. "/gateway") then return folder .. "/gateway" end
  end
  error("testing.serve: the gateway's program was not found; set GATEWAY_BIN to it", 0)
end

-- The text of a function, from its file: compiled again it has no upvalues but those that are given to it.
local function text_of(f, info)
  local path = info.source:match("^@(.*)")
  local file = path and io.open(path, "r")
  if not file then error("testing.serve: the function's source is not in a file: give the script as text", 0) end
  local lines, number = {}, 0
  for line in file:lines() do
    number = number + 1
    if number >= info.linedefined and number <= info.lastlinedefined then lines[#lines + 1] = line end
  end
  file:close()
  local text = table.concat(lines, "\n")
  local ends = {}
  local from = #text - #lines[#lines] + 1
  for at in text:sub(from):gmatch("()%f[%w_]end%f[^%w_]") do ends[#ends + 1] = from + at + 1 end
  for at in lines[1]:gmatch("()%f[%w_]function%f[^%w_]") do
    for i = #ends, 1, -1 do
      local candidate = text:sub(at, ends[i])
      if loadstring("return " .. candidate) then return candidate, f end
    end
  end
  error("testing.serve: the function cannot be read from its file: let no other function begin or end on its lines", 0)
end

local literal

local function plain(value, depth)
  if depth > 20 or getmetatable(value) then return nil end
  local out = {}
  for key, item in pairs(value) do
    local k, v = literal(key, depth + 1), literal(item, depth + 1)
    if not k or not v then return nil end
    out[#out + 1] = ("[%s] = %s"):format(k, v)
  end
  table.sort(out)
  return "{ " .. table.concat(out, ", ") .. " }"
end

function literal(value, depth)
  local kind = type(value)
  if kind == "string" then return (("%q"):format(value):gsub("\\\n", "\\n")) end
  if kind == "number" then return ("%.17g"):format(value) end
  if kind == "boolean" or kind == "nil" then return tostring(value) end
  if kind == "table" then return plain(value, depth or 0) end
  return nil
end

-- A script that runs the function: what it uses of the test's locals goes along, as far as that is possible.
function Served:_script_of(f)
  local info = debug.getinfo(f, "S")
  local text = text_of(f, info)
  local out = {}
  for i = 1, 250 do
    local name, value = debug.getupvalue(f, i)
    if not name then break end
    local source
    if value == require "gateway" then
      source = 'require "gateway"'
    elseif value == package.loaded["gateway.testing"] then
      source = nil
    elseif testing_upstream.is(value) then
      source = ('require "gateway.testing_played"(%q, %q)'):format(self:_listen(value))
    else
      source = literal(value)
    end
    if not source then
      error(("testing.serve: %s is %s: a function of another process can use text, numbers, tables of them and testing.upstream"):format(
        name, value == package.loaded["gateway.testing"] and "gateway.testing" or check.describe(value)), 0)
    end
    out[#out + 1] = ("local %s = %s"):format(name, source)
  end
  -- On one line with what goes before, lines of messages are those of the test's file, counted from the function.
  return ("%s; (%s)(require \"gateway\")"):format(table.concat(out, "; "), text)
end

local function prelude(text)
  local out = 'local gateway = require "gateway"; '
  if not text:find("gateway%.listen") then out = out .. 'gateway.listen "127.0.0.1:0"; ' end
  if not text:find("gateway%.admin") then out = out .. 'gateway.admin "127.0.0.1:0"; ' end
  if not text:find("gateway%.workers") then out = out .. "gateway.workers(1); " end
  return out
end

-- ---- backends ----

-- Plays a testing.upstream at an address of its own; its address and a name for it.
function Served:_listen(upstream)
  local known = self._played[upstream]
  if known then return known.address, known.name end
  local fd, port = core.listen()
  if not fd then error("testing.serve: " .. port, 0) end
  self._count = self._count + 1
  known = {
    upstream = upstream, address = "127.0.0.1:" .. port, name = upstream.name or "testing-" .. self._count, listening = fd, index = 1,
  }
  self._played[upstream] = known
  table.insert(self._listening, known)
  return known.address, known.name
end

local function take_connections(self)
  local did = false
  for _, endpoint in ipairs(self._listening) do
    local fd = core.accept(endpoint.listening)
    while fd do
      did = true
      local answer = endpoint.upstream:_next()
      if type(answer) == "table" and answer.refuse then -- a listening socket cannot refuse one: it breaks it
        endpoint.upstream.refused = endpoint.upstream.refused + 1
        endpoint.upstream:_next(true)
        core.shut(fd, "reset")
      else
        self._connections = self._connections + 1
        table.insert(self._peers, wire.peer(self, fd, endpoint, self._connections))
      end
      fd = core.accept(endpoint.listening)
    end
  end
  return did
end

-- Everything that can be done without waiting.
function Served:_settle()
  if self._closed then error("the gateway has been stopped", 0) end
  repeat
    local did = take_connections(self)
    for _, list in ipairs { self._peers, self._clients } do
      for i = #list, 1, -1 do
        local one = list[i]
        did = one:step() or did
        if not one.fd then
          for k = #list, 1, -1 do if list[k] == one then table.remove(list, k) end end
        end
      end
    end
  until not did
end

-- Waits until something may be done, at most for so long.
local function wait(self, seconds)
  local readers, writers, now = {}, {}, self:_elapsed()
  for _, endpoint in ipairs(self._listening) do readers[#readers + 1] = endpoint.listening end
  for _, list in ipairs { self._peers, self._clients } do
    for _, one in ipairs(list) do
      if one.fd then
        readers[#readers + 1] = one.fd
        if one.due then
          seconds = math.min(seconds, math.max(0, one.due - now))
        elseif type(one.queue[1]) == "string" then
          writers[#writers + 1] = one.fd
        end
      end
    end
  end
  core.wait(readers, writers, seconds)
end

--- Lets real time pass until f() is true; an error after so many seconds.
---@param f fun(): any
---@param seconds? number 10
---@param what? string for the message
function Served:eventually(f, seconds, what)
  local deadline = self:_elapsed() + (seconds or 10)
  while true do
    self:_settle()
    local value = f()
    if value then return value end
    if self:_elapsed() > deadline then
      error(("%s: not within %g s%s"):format(what or "what was waited for", seconds or 10, self:_explain()), 2)
    end
    wait(self, 0.01)
  end
end

function Served:_await(pending)
  local deadline = self:_elapsed() + ANSWER_SECONDS
  self:_settle()
  while not pending.response do
    if self:_elapsed() > deadline then error(("no response within %d s"):format(ANSWER_SECONDS) .. self:_explain(), 0) end
    wait(self, math.min(0.5, deadline - self:_elapsed()))
    self:_settle()
  end
end

function Served:_elapsed()
  return core.monotonic() - self._began
end

-- ---- what it says ----

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read("*a") or ""
  if file then file:close() end
  return text
end

-- Whole lines of stdout that are new.
local function take_lines(self)
  if not self._folder then return end
  local text = read(self._folder .. "/stdout")
  for line, behind in text:sub(self._log_at):gmatch("([^\n]*)\n()") do
    local record = testing_json.decode(line) or { message = line }
    table.insert(record.type == "access" and self._access or self._log, record)
    self._next = self._log_at + behind - 1
  end
  self._log_at = self._next or self._log_at
end

function Served:_explain()
  take_lines(self)
  local out = {}
  for i = math.max(1, #self._log - 9), #self._log do out[#out + 1] = json.encode(self._log[i]) end
  local errors = self._folder and read(self._folder .. "/stderr") or ""
  if errors ~= "" then out[#out + 1] = errors:sub(-3000) end
  return #out > 0 and "\nthe gateway says:\n  " .. table.concat(out, "\n  ") or ""
end

-- ---- life ----

local function remove(folder)
  for _, name in ipairs { "main.lua", "stdout", "stderr" } do os.remove(folder .. "/" .. name) end
  os.remove(folder)
end

local function wait_ready(self)
  local deadline = self:_elapsed() + START_SECONDS
  while true do
    local status = core.ended(self.pid)
    take_lines(self)
    for _, record in ipairs(self._log) do
      if record.message == "generation serving" then
        self.listeners = record.listeners
        self.address = record.listeners[1]
        self.admin = record.admin ~= "" and record.admin or nil
        return
      end
    end
    if status then
      self.pid = nil
      local errors = read(self._folder .. "/stderr")
      error(errors ~= "" and (errors:gsub("\n$", "")) or ("the gateway ended with %d"):format(status), 0)
    end
    if self:_elapsed() > deadline then error("the gateway was not ready in time" .. self:_explain(), 0) end
    core.wait({}, {}, 0.005)
  end
end

--- Ends it: SIGTERM, and SIGKILL when that is not enough; gives its exit status. Tests need not call it.
---@return integer status
function Served:close()
  if self._closed then return self.status end
  take_lines(self)
  rawset(self, "_closed", true)
  for _, list in ipairs { self._peers, self._clients } do
    for _, one in ipairs(list) do if one.fd then core.shut(one.fd, "close") end end
  end
  for _, endpoint in ipairs(self._listening) do core.shut(endpoint.listening, "close") end
  local status
  if self.pid then
    core.signal(self.pid, "term")
    local deadline = self:_elapsed() + STOP_SECONDS
    repeat
      status = core.ended(self.pid)
      if not status then
        if self:_elapsed() > deadline then core.signal(self.pid, "kill") end
        core.wait({}, {}, 0.005)
      end
    until status
    take_lines(self)
  end
  remove(self._folder)
  self._folder = nil
  self.status = status
  return status
end

--- Reloads the script (SIGHUP) and waits until that has been done.
function Served:reload()
  take_lines(self)
  local before = #self._log
  core.signal(self.pid, "hup")
  self:eventually(function()
    take_lines(self)
    for i = before + 1, #self._log do
      local message = self._log[i].message
      if message == "generation serving" or message == "reload refused" then return true end
    end
  end, 30, "a reload")
end

--- A client's connection.
---@param options? { address: string? } another of its listeners, or the admin address
---@return gateway.testing.Connection
function Served:connect(options)
  if self._closed then error("the gateway has been stopped", 2) end
  local fd, problem = core.connect(options and options.address or self.address, 10)
  if not fd then error("testing.serve: " .. tostring(problem) .. self:_explain(), 2) end
  local client = wire.client(self, fd)
  table.insert(self._clients, client)
  return client
end

local Served_meta = {
  __index = function(self, key)
    local method = Served[key]
    if method then return method end
    if key == "log" or key == "access" then
      take_lines(self)
      return rawget(self, "_" .. key)
    end
    return nil
  end,
  __tostring = function() return "testing.serve" end,
}

local testing_serve = {}

--- Starts one. `what`: function(gateway), the text of a script (more than one line, or with a call), or the path of one.
function testing_serve.new(what, level)
  local self = setmetatable({
    _core = sockets, _began = core.monotonic(), _peers = {}, _clients = {}, _played = {}, _listening = {}, _connections = 0, _count = 0,
    _log = {}, _access = {}, _log_at = 1, _host = "gateway.test",
  }, Served_meta)
  local folder, problem = core.folder()
  if not folder then error("testing.serve: " .. problem, level + 1) end
  self._folder = folder
  local good, failure = pcall(function()
    local path = folder .. "/main.lua"
    local text
    if type(what) == "function" then
      text = self:_script_of(what)
    elseif type(what) == "string" and (what:find("\n", 1, true) or not what:find("%.lua$")) then
      text = what
    elseif type(what) == "string" then
      if not exists(what) then error(("testing.serve: no such script: %s"):format(what), 0) end
      path = what
    else
      error("testing.serve: expected a function(gateway), a script or its path, found " .. check.describe(what), 0)
    end
    if text then
      local file = assert(io.open(path, "w"))
      assert(file:write(prelude(text), text, "\n"))
      file:close()
    end
    local pid
    pid, problem = core.spawn({ program(), "run", path }, folder .. "/stdout", folder .. "/stderr")
    if not pid then error("testing.serve: " .. problem, 0) end
    self.pid = pid
    wait_ready(self)
  end)
  if not good then
    self:close()
    error(failure, 0)
  end
  return self
end

return testing_serve
