--- The real binary under test: started with a script in a folder of its own, watched, stopped, checked.
--
--     local g = gateway.start {
--       backends = 1,                                   -- listening sockets of this process: g.backends[1] (see peers.lua)
--       script = [[${prelude}
--         gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }]],
--     }
--     ...
--     g:stop()                                          -- SIGTERM; must exit 0 and leave no sanitizer report
--
-- In scripts and files, ${name} stands for: prelude (require, listen, admin, workers; one line, so that line numbers stay), port,
-- port2, port3, admin (port numbers), dir, backend1... ("host:port"), backend1_port..., and what `vars` names. The binary is
-- build/dev/gateway, or what
-- GATEWAY_BIN says.

local cjson = require "cjson"
local lfs = require "lfs"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local gateway = {}

local START_SECONDS, STOP_SECONDS = 20, 20

function gateway.binary()
  local path = os.getenv("GATEWAY_BIN") or "build/dev/gateway"
  if not lfs.attributes(path) then error("no gateway binary at " .. path .. " (GATEWAY_BIN says where else)", 0) end
  return path
end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read("*a")
  file:close()
  return text
end

local function write_file(path, text)
  local folder = path:match("^(.*)/[^/]+$")
  local at = ""
  for part in folder:gmatch("[^/]+") do
    at = at .. "/" .. part
    lfs.mkdir(at)
  end
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function remove_tree(path)
  if lfs.symlinkattributes(path, "mode") == "directory" then
    for name in lfs.dir(path) do
      if name ~= "." and name ~= ".." then remove_tree(path .. "/" .. name) end
    end
    lfs.rmdir(path)
  else
    os.remove(path)
  end
end

local function environment(dir, extra, asan)
  local env = sys.environment()
  env.LD_PRELOAD = nil -- busted itself may run with a sanitizer's library
  env.ASAN_OPTIONS = "detect_leaks=1:exitcode=99:log_path=" .. dir .. "/sanitizer" .. (asan and ":" .. asan or "")
  env.LSAN_OPTIONS = "exitcode=99:log_path=" .. dir .. "/sanitizer:print_suppressions=0"
    .. (os.getenv("GATEWAY_LSAN_SUPPRESSIONS") and ":suppressions=" .. os.getenv("GATEWAY_LSAN_SUPPRESSIONS") or "")
  env.UBSAN_OPTIONS = "halt_on_error=1:print_stacktrace=1:exitcode=99:log_path=" .. dir .. "/sanitizer"
  env.TSAN_OPTIONS = "exitcode=66:second_deadlock_stack=1:log_path=" .. dir .. "/sanitizer"
    .. (os.getenv("GATEWAY_TSAN_SUPPRESSIONS") and ":suppressions=" .. os.getenv("GATEWAY_TSAN_SUPPRESSIONS") or "")
  for name, value in pairs(extra or {}) do env[name] = value end
  return env
end

local mt = { __index = {} }
local G = mt.__index

--- Puts the values in place of ${name}.
function G:fill(text)
  return (text:gsub("%${([%w_]+)}", function(name)
    local value = self.vars[name]
    if value == nil then error("no variable ${" .. name .. "}", 0) end
    return tostring(value)
  end))
end

--- Writes a file of the gateway's folder in place (as most editors' plain save).
function G:write(name, text)
  write_file(self.dir .. "/" .. name, self:fill(text))
end

--- Writes a file beside it and renames it into place (as careful editors do).
function G:replace(name, text)
  local path = self.dir .. "/" .. name
  write_file(path .. ".new~", self:fill(text))
  assert(os.rename(path .. ".new~", path))
end

--- What it wrote to standard error.
function G:stderr()
  return read_file(self.dir .. "/stderr")
end

--- All log lines so far, decoded. A line that is no JSON fails.
function G:log()
  local text = read_file(self.dir .. "/stdout")
  for line in text:sub(self.log_at + 1):gmatch("([^\n]*)\n") do
    local ok, value = pcall(cjson.decode, line)
    if not ok or type(value) ~= "table" then error("a log line is no JSON object: " .. line, 0) end
    self.lines[#self.lines + 1] = value
    self.log_at = self.log_at + #line + 1
  end
  return self.lines
end

--- Waits for a log line of which predicate(line) is true (from line `from` on) and returns it and its number.
function G:log_wait(predicate, what, from)
  local found, number
  peers.within(function()
    local ok = pcall(peers.eventually, function()
      local lines = self:log()
      for i = from or 1, #lines do
        if predicate(lines[i]) then
          found, number = lines[i], i
          return true
        end
      end
    end, "a log line")
    if not ok then
      local text = read_file(self.dir .. "/stdout")
      error("no log line came: " .. (what or "as wanted") .. "\nlog ends with: " .. text:sub(-2000), 0)
    end
  end)
  return found, number
end

--- How many log lines satisfy the predicate at this moment.
function G:log_count(predicate)
  local n = 0
  for _, line in ipairs(self:log()) do
    if predicate(line) then n = n + 1 end
  end
  return n
end

--- One request to the admin address; response.json is its decoded body.
-- seconds: how long it may take.
function G:admin(path, method, seconds)
  local response = peers.within(function()
    return peers.ask(self.vars.admin, { path = path, method = method, host = "127.0.0.1", headers = { Connection = "close" } },
      { wait = seconds })
  end)
  local ok, value = pcall(cjson.decode, response.body)
  if ok then response.json = value end
  return response
end

--- /status, decoded.
function G:status()
  local response = self:admin("/status")
  if response.status ~= 200 or not response.json then error("/status: " .. response.head .. response.body, 0) end
  return response.json
end

--- Number of the generation that serves.
function G:generation()
  local generation = self:status().generation
  return type(generation) == "table" and generation.number or generation
end

--- Waits until the generation has (at least) this number.
function G:wait_generation(number)
  peers.within(function()
    return peers.eventually(function() return self:generation() >= number end, "generation " .. number)
  end)
end

--- POST /reload and its response.
function G:reload(seconds)
  return self:admin("/reload", "POST", seconds)
end

function G:signal(number)
  sys.kill(self.pid, number)
end

local function sanitizer_reports(dir)
  local reports = {}
  for name in lfs.dir(dir) do
    if name:match("^sanitizer%.") then reports[#reports + 1] = read_file(dir .. "/" .. name) end
  end
  local err = read_file(dir .. "/stderr")
  if err:find("Sanitizer", 1, true) or err:find("runtime error:", 1, true) then reports[#reports + 1] = err end
  return table.concat(reports, "\n")
end

local function explain(self, text)
  return ("%s\nfolder: %s\nstderr: %s\nsanitizer: %s\nlog ends with: %s"):format(text, self.dir, self:stderr():sub(-3000),
    sanitizer_reports(self.dir):sub(1, 6000), read_file(self.dir .. "/stdout"):sub(-2000))
end

--- SIGUSR2: waits until the successor serves and this process has ended; from then on the gateway is the successor.
function G:upgrade()
  sys.adopt_orphans()
  local from = #self:log() + 1
  sys.kill(self.pid, sys.SIGUSR2)
  local line = self:log_wait(function(line) return line.message == "upgraded: the new process serves" end, "an upgrade", from)
  self:succeeded_by(line.new_pid)
  return line
end

--- Waits for the process to end; from then on the gateway is the one with this pid.
function G:succeeded_by(pid)
  local code = self:wait_exit()
  if code ~= 0 then error(explain(self, ("the old process ended with %s"):format(tostring(code))), 0) end
  self.pid, self.code = pid, nil
end

--- Exit code, or nil while it runs.
function G:exit_code()
  if self.code == nil then self.code = sys.ended(self.pid) end
  return self.code
end

function G:running()
  return self:exit_code() == nil
end

--- Waits for the process to end and gives its exit code.
function G:wait_exit(seconds)
  seconds = seconds or STOP_SECONDS
  peers.within(function()
    local deadline = sys.now() + seconds
    while self:running() do
      if sys.now() > deadline then
        sys.kill(self.pid, sys.SIGKILL)
        error(explain(self, ("did not end within %g s"):format(seconds)), 0)
      end
      peers.sleep(0.005)
    end
  end)
  if sanitizer_reports(self.dir) ~= "" then error(explain(self, "a sanitizer reported"), 0) end
  return self.code
end

--- Checks what a run leaves behind: exit code (0), no sanitizer report, well-formed log lines. Then removes the folder.
function G:check_end(expected)
  local reports = sanitizer_reports(self.dir)
  if reports ~= "" then error(explain(self, "a sanitizer reported"), 0) end
  if self.code ~= (expected or 0) then error(explain(self, ("ended with %s"):format(tostring(self.code))), 0) end
  self:log()
  remove_tree(self.dir)
end

--- Ends it in order: SIGTERM, exit 0, clean. Fine when it has ended already. Closes the backends.
function G:stop()
  for _, backend in ipairs(self.backends) do backend:close() end
  if self.checked then return end
  self.checked = true
  if self:running() then
    sys.kill(self.pid, sys.SIGTERM)
    self:wait_exit()
  end
  self:check_end()
end

function G:client(options)
  return peers.connect(self.port, options)
end

--- One request to the first listener, on a connection of its own.
function G:ask(request, options)
  return peers.within(function() return peers.ask(self.port, request, options) end)
end

--- Resident memory, bytes.
function G:resident()
  return sys.resident(self.pid)
end

local function prepare(options)
  local self = setmetatable({ dir = sys.temp_dir(), lines = {}, log_at = 0, backends = {}, vars = {} }, mt)
  local vars = self.vars
  for name, value in pairs(options.vars or {}) do vars[name] = value end
  vars.port, vars.port2, vars.port3, vars.admin = sys.free_port(), sys.free_port(), sys.free_port(), sys.free_port()
  vars.dir = self.dir
  if options.admin then vars.admin = self:fill(options.admin) end
  vars.prelude = ('local gateway = require "gateway"; gateway.listen "127.0.0.1:%d"; gateway.admin "%s"; gateway.workers(%s);')
    :format(vars.port, options.admin and vars.admin or "127.0.0.1:" .. vars.admin, tostring(options.workers or 1))
  self.port = vars.port
  local backends = options.backends or 0
  if type(backends) == "number" then
    local list = {}
    for i = 1, backends do list[i] = "127.0.0.1:0" end
    backends = list
  end
  for i, at in ipairs(backends) do
    local refused = at == "refused"
    local backend = peers.listen(refused and "127.0.0.1:0" or self:fill(at), { listening = not refused,
      send_buffer = options.backend_send_buffer, receive_buffer = options.backend_receive_buffer })
    self.backends[i] = backend
    vars["backend" .. i], vars["backend" .. i .. "_port"] = backend.at, backend.port
  end
  for name, text in pairs(options.files or {}) do self:write(name, text) end
  self.script = "main.lua"
  self:write(self.script, options.script or error("no script", 3))
  return self
end

--- Runs the binary to its end: gateway.command { args = { "check", "${dir}/main.lua" }, script =, files = } gives code,
-- stdout, stderr.
-- The script is ${dir}/main.lua.
function gateway.command(options)
  options.script = options.script or ""
  local self = prepare(options)
  local argv = { gateway.binary() }
  if options.inside then -- the command stands in the folder of its files
    local binary = argv[1]:sub(1, 1) == "/" and argv[1] or os.getenv("PWD") .. "/" .. argv[1]
    argv = { "/bin/sh", "-c", 'cd "$0" && exec "$@"', self.dir, binary }
  end
  for _, arg in ipairs(options.args) do argv[#argv + 1] = self:fill(arg) end
  self.pid = assert(sys.spawn { argv = argv, env = environment(self.dir, options.env), stdout = self.dir .. "/stdout",
    stderr = self.dir .. "/stderr" })
  self:wait_exit(options.seconds)
  local result = { code = self.code, stdout = read_file(self.dir .. "/stdout"), stderr = self:stderr(), dir = self.dir }
  local reports = sanitizer_reports(self.dir)
  if reports ~= "" then error(explain(self, "a sanitizer reported"), 0) end
  for _, backend in ipairs(self.backends) do backend:close() end
  remove_tree(self.dir)
  return result
end

local function launch(options)
  local self = prepare(options)
  local argv = { options.binary or gateway.binary() }
  for _, arg in ipairs(options.args or {}) do argv[#argv + 1] = self:fill(arg) end
  argv[#argv + 1] = self.dir .. "/" .. self.script
  self.pid = assert(sys.spawn { argv = argv, env = environment(self.dir, options.env, options.asan), stdout = self.dir .. "/stdout",
    stderr = self.dir .. "/stderr", open_files = options.open_files,
    pass = options.pass })
  return self
end

local function wait_ready(self)
  local deadline = sys.now() + START_SECONDS
  local with_admin = read_file(self.dir .. "/" .. self.script):find("gateway.admin", 1, true)
  peers.within(function()
    while true do
      if not self:running() then return end
      local ok, ready = pcall(function()
        if with_admin then return self:admin("/readyz").status == 200 end
        return peers.reachable(self.port)
      end)
      if ok and ready then return end
      if sys.now() > deadline then
        sys.kill(self.pid, sys.SIGKILL)
        error(explain(self, "not ready in time"), 0)
      end
      peers.sleep(0.005)
    end
  end)
end

--- Starts it and waits until it is ready. options: script, files, vars, backends (a number, or a list of addresses; "refused" gives
-- a port where nobody listens), workers (1), env, args, open_files (RLIMIT_NOFILE), asan (more
-- options of AddressSanitizer), pass (listening descriptors, as systemd does it), admin (another address than a port of
-- 127.0.0.1), binary (another than gateway.binary()).
function gateway.start(options)
  for attempt = 1, 3 do
    local self = launch(options)
    wait_ready(self)
    if self:running() then return self end
    -- somebody else may have taken a port between our look and its bind
    local said = read_file(self.dir .. "/stdout") .. self:stderr()
    for _, backend in ipairs(self.backends) do backend:close() end
    if attempt == 3 or not said:lower():find("in use", 1, true) then
      error(explain(self, "ended at start with " .. tostring(self.code)), 0)
    end
  end
end

return gateway
