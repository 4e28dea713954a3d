-- Where log lines go, what stands in them, and that no sink, however broken, holds up traffic.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local socket = require "socket"
local unix = require "socket.unix"

local ffi = require "ffi"
ffi.cdef "int gwt_log_fcntl(int fd, int command, ...) asm(\"fcntl\");"

local SIGUSR1 = 10

-- A gateway that inherited it would keep it open.
local function private(receiver, seconds)
  ffi.C.gwt_log_fcntl(receiver:getfd(), 2, ffi.cast("int", 1)) -- F_SETFD, FD_CLOEXEC
  receiver:settimeout(seconds)
  return receiver
end

local ROUTES = [[
gateway.route "/" { to = gateway.respond(200, "hello", { ["X-Kind"] = "greeting", ["Set-Cookie"] = "s=1" }) }
gateway.route "/quiet" { access_log = false, to = gateway.respond(200, "hush") }
]]

local function lines_of(path)
  local out = {}
  local file = io.open(path, "rb")
  if not file then return out end
  for line in file:lines() do out[#out + 1] = cjson.decode(line) end
  file:close()
  return out
end

local function wait_lines(path, count)
  local lines
  peers.within(function()
    peers.eventually(function()
      lines = lines_of(path)
      return #lines >= count
    end, ("%d lines in %s"):format(count, path))
  end)
  return lines
end

-- Runs the gateway with the declarations, hands it to f, and ends it.
local function with(declarations, f, options)
  local o = { script = "${prelude}\n" .. declarations .. ROUTES }
  for key, value in pairs(options or {}) do o[key] = value end
  local g = gateway.start(o)
  local ok, problem = pcall(f, g)
  g:stop()
  if not ok then error(problem, 0) end
end

local function access(line) return line.type == "access" end

describe("the access log", function()
  it("goes to a file of its own, each request once", function()
    with('gateway.access_log { to = "${dir}/access.log" }\n', function(g)
      for i = 1, 20 do assert.equal(200, g:ask("/a" .. i).status) end
      g:ask "/quiet"
      g:ask "/last"
      local lines = wait_lines(g.dir .. "/access.log", 21)
      assert.equal(21, #lines)
      for i = 1, 20 do assert.equal("/a" .. i, lines[i].path) end
      assert.equal(0, g:log_count(access))
    end)
  end)

  it("is opened anew at SIGUSR1, so that files can be renamed", function()
    with('gateway.access_log { to = "${dir}/access.log" }\n', function(g)
      local path = g.dir .. "/access.log"
      g:ask "/before"
      wait_lines(path, 1)
      assert(os.rename(path, path .. ".1"))
      g:ask "/between" -- goes to the renamed file
      wait_lines(path .. ".1", 2)
      g:signal(SIGUSR1)
      g:log_wait(function(line) return line.message == "log files opened anew" and line.files == 1 end)
      g:ask "/after"
      assert.equal("/after", wait_lines(path, 1)[1].path)
      assert.equal(2, #lines_of(path .. ".1"))
    end)
  end)

  it("keeps the old file when it cannot be opened anew", function()
    with('gateway.access_log { to = "${dir}/logs/access.log" }\n', function(g)
      local path = g.dir .. "/logs/access.log"
      g:ask "/before"
      wait_lines(path, 1)
      assert(os.rename(g.dir .. "/logs", g.dir .. "/away"))
      g:signal(SIGUSR1)
      local line = g:log_wait(function(l) return l.message:find "could not be opened anew" end)
      assert.matches("main.lua:2: gateway.access_log: cannot write to .*No such file", line.errors[1])
      g:ask "/after"
      assert.equal("/after", wait_lines(g.dir .. "/away/access.log", 2)[2].path)
    end, { files = { ["logs/there"] = "" } })
  end)

  it("has the fields that were asked for, and no others", function()
    with([[gateway.access_log { fields = { "status", "host", "query", "scheme", "bytes_in", "generation", "worker" },
      headers = { "User-Agent", "X-Absent" }, response_headers = { "x-kind", "Content-Type" } }
]], function(g)
      g:ask { path = "/x?a=1&b=%22", host = "example.com", headers = { ["User-Agent"] = "curl/\"8\"" } }
      local line = g:log_wait(access)
      line.time = nil
      line.worker = nil
      assert.same({ type = "access", status = 200, host = "example.com", query = "a=1&b=%22", scheme = "http", bytes_in = 0, generation = 1,
        headers = { ["user-agent"] = 'curl/"8"' },
        response_headers = { ["x-kind"] = "greeting", ["content-type"] = line.response_headers["content-type"] } }, line)
    end)
  end)

  it("takes fields from scripts, valid JSON whatever their bytes", function()
    with([[gateway.use { function(request, next)
      request.log.consumer = "al\"ice\255"
      request.log.n = 1.5
      request.log.big = 1 / 0
      request.log.ok = true
      request.log.gone = "x"
      request.log.gone = nil
      request.log.consumer_again = request.log.consumer
      request.log.read = tostring(request.log.n) .. tostring(request.log.ok) .. tostring(request.log.gone)
      local failures = {}
      for name, value in pairs {
        status = 1, ["bad name"] = 1, headers = "x", ["1st"] = 1, [("x"):rep(65)] = 1, long = ("x"):rep(5000), t = {},
      } do
        local good, problem = pcall(function() request.log[name] = value end)
        failures[#failures + 1] = good and "TAKEN " .. name or nil
        if not problem:find("main.lua:%d+: request.log") then failures[#failures + 1] = problem end
      end
      for name in ("time type request_id headers response_headers cut trace_id client_ip method scheme host path query status "
        .. "bytes bytes_in duration upstream endpoint upstream_duration attempts route generation worker error"):gmatch "%S+" do
        if pcall(function() request.log[name] = 1 end) then failures[#failures + 1] = "TAKEN " .. name end
      end
      local count = 0
      while pcall(function() request.log["f" .. count] = "" end) do count = count + 1 end
      for i = 0, count - 1 do request.log["f" .. i] = nil end
      request.log.room = count
      request.log.failures = table.concat(failures, "; ")
      return next()
    end }
]], function(g)
      assert.equal(200, g:ask("/").status)
      local line = g:log_wait(access)
      assert.equal('al"ice\239\191\189', line.consumer)
      assert.equal('al"ice\239\191\189', line.consumer_again)
      assert.equal(1.5, line.n)
      assert.equal(cjson.null, line.big)
      assert.is_true(line.ok)
      assert.is_nil(line.gone)
      assert.equal("1.5truenil", line.read)
      assert.equal("", line.failures)
      assert.equal(32 - 6, line.room)
    end)
  end)

  it("is sampled", function()
    with("gateway.access_log { sample = 0.2 }\n", function(g)
      peers.run(function()
        local client = g:client()
        for _ = 1, 400 do client:ask "/" end
      end)
      g:admin "/healthz"
      local count = 0
      peers.within(function()
        peers.eventually(function()
          local before = count
          count = g:log_count(access)
          return count > 0 and count == before -- the writer gathers for some milliseconds
        end, "lines")
      end)
      assert.is_true(count > 20 and count < 160, "of 400 requests were logged: " .. count)
    end)
  end)

  it("moves on a reload, without losing a line", function()
    with('gateway.access_log { to = "${dir}/one.log" }\n', function(g)
      g:ask "/1"
      wait_lines(g.dir .. "/one.log", 1)
      g:replace("main.lua", "${prelude}\n" .. 'gateway.access_log { to = "${dir}/two.log" }\n' .. ROUTES)
      g:reload()
      g:ask "/2"
      assert.equal("/2", wait_lines(g.dir .. "/two.log", 1)[1].path)
      g:replace("main.lua", "${prelude}\n" .. ROUTES)
      g:reload()
      g:ask "/3"
      g:log_wait(function(line) return access(line) and line.path == "/3" end)
      assert.equal(1, #lines_of(g.dir .. "/one.log"))
      assert.equal(1, #lines_of(g.dir .. "/two.log"))
    end)
  end)

  for _, case in ipairs {
    { 'access_log { to = "stdrr" }', 'gateway.access_log: to: expected "stdout", "stderr", a file .*, found "stdrr"' },
    { 'access_log { to = "udp:example.com:514" }', 'to: expected "udp:ADDRESS:PORT" with a numeric address, found "udp:example.com:514"' },
    { 'access_log { to = "udp:unix:/x" }', 'to: expected "udp:ADDRESS:PORT"' },
    { 'access_log { to = "syslog:nowhere" }', 'to: expected "syslog", "syslog:unix:/path" or "syslog:ADDRESS:PORT"' },
    { 'event_log { level = "warning" }', 'level: expected one of "debug", "info", "warn", "error", found "warning"' },
    { 'access_log { headers = { "Authorization" } }', 'headers%[1%]: "Authorization" carries secrets' },
    { 'access_log { response_headers = { "set-cookie" } }', 'response_headers%[1%]: "set%-cookie" carries secrets' },
    { 'access_log { headers = { "a b" } }', "headers%[1%]: expected a header field's name, found \"a b\"" },
    { 'access_log { fields = { "stat" } }', 'fields%[1%]: expected one of .*, found "stat"' },
    { "access_log { to = 1 }", "to: expected a string, found 1" },
  } do
    it("refuses " .. case[1], function()
      local ended = gateway.command { args = { "check", "${dir}/main.lua" }, script = "${prelude}\ngateway." .. case[1] .. "\n" .. ROUTES }
      assert.equal(1, ended.code)
      assert.matches("main.lua:2: ", ended.stderr)
      assert.matches(case[2], ended.stderr)
    end)
  end

  it("that cannot be opened refuses the reload", function()
    with("", function(g)
      g:replace("main.lua", "${prelude}\n" .. 'gateway.access_log { to = "${dir}/no/where.log" }\n' .. ROUTES)
      local response = g:admin("/reload", "POST")
      assert.equal(422, response.status)
      assert.matches("main.lua:2: gateway.access_log: cannot write to .*no/where.log.*: No such file", response.body)
      assert.equal(200, g:ask("/").status)
      assert.equal(1, g:generation())
    end)
  end)

  it("never holds up traffic: a full disk", function()
    with('gateway.access_log { to = "/dev/full" }\n', function(g)
      for _ = 1, 50 do assert.equal(200, g:ask("/").status) end
      peers.within(function()
        peers.eventually(function() return g:status().log_lines_dropped >= 50 end, "lines that were lost, counted")
      end)
    end)
  end)

  it("never holds up traffic: a pipe whose reader sleeps, then goes", function()
    os.execute("mkfifo /tmp/gateway-spec-pipe-$PPID 2>/dev/null")
    local path = io.popen("echo /tmp/gateway-spec-pipe-$PPID"):read "*l"
    local reader = assert(io.popen("exec sleep 60 <> " .. path .. " & echo $!", "r"))
    local pid = tonumber(reader:read "*l")
    with(('gateway.access_log { to = %q }\n'):format(path), function(g)
      peers.run(function()
        local client = g:client()
        for _ = 1, 3000 do assert.equal(200, client:ask("/").status) end -- far more than a pipe holds
      end)
      require("spec.support.sys").kill(pid, 9)
      for _ = 1, 20 do assert.equal(200, g:ask("/").status) end
    end)
    os.remove(path)
  end)
end)

describe("datagrams:", function()
  it("UDP, a JSON object each", function()
    local receiver = private(socket.udp4(), 10)
    assert(receiver:setsockname("127.0.0.1", 0))
    local _, port = receiver:getsockname()
    with(('gateway.access_log { to = "udp:127.0.0.1:%d" }\n'):format(port), function(g)
      g:ask "/one"
      g:ask "/two"
      assert.equal("/one", cjson.decode((assert(receiver:receive()))).path)
      assert.equal("/two", cjson.decode((assert(receiver:receive()))).path)
      receiver:close() -- nobody there: traffic goes on, lines are lost
      for _ = 1, 20 do assert.equal(200, g:ask("/").status) end
      receiver = private(socket.udp4(), 0.2)
      assert(receiver:setsockname("127.0.0.1", port))
      local line
      for _ = 1, 50 do
        g:ask "/again"
        line = receiver:receive()
        if line then break end
      end
      assert.equal("access", cjson.decode(line).type)
      receiver:close()
    end)
  end)

  it("syslog over UDP: RFC 5424", function()
    local receiver = private(socket.udp4(), 10)
    assert(receiver:setsockname("127.0.0.1", 0))
    local _, port = receiver:getsockname()
    with(('gateway.access_log { to = "syslog:127.0.0.1:%d" }\n'):format(port), function(g)
      g:ask "/one"
      local line = assert(receiver:receive())
      assert.matches("^<134>1 %d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d+Z %S+ gateway " .. g.pid .. " %- %- {", line)
      assert.equal("/one", cjson.decode(line:match("{.*$")).path)
    end)
    receiver:close()
  end)

  it("local syslog: RFC 3164 on a unix socket, found again when it comes back", function()
    local path = os.tmpname()
    os.remove(path)
    local function listen()
      os.remove(path)
      local receiver = private(unix.dgram(), 10)
      assert(receiver:bind(path))
        return receiver
    end
    local receiver = listen()
    with(('gateway.event_log { to = "syslog:unix:%s", level = "info" }\n'):format(path), function(g)
      local line = assert(receiver:receive())
      assert.matches("^<134>%a%a%a [ %d]%d %d%d:%d%d:%d%d gateway%[" .. g.pid .. "%]: {", line)
      assert.equal("gateway starting", cjson.decode(line:match("{.*$")).message)
      receiver:close()
      receiver = listen()
      receiver:settimeout(0.2)
      local told
      for _ = 1, 50 do
        g:signal(SIGUSR1)
        local more = receiver:receive()
        told = more and cjson.decode(more:match("{.*$")).message == "log files opened anew"
        if told then break end
      end
      assert.is_true(told)
    end)
    receiver:close()
    os.remove(path)
  end)
end)

describe("the event log", function()
  it("leaves out what is below its level, and goes where it is sent", function()
    with([[gateway.event_log { to = "${dir}/events.log", level = "warn" }
gateway.use { function(request, next)
  gateway.log.info "too low"
  gateway.log.warn "high enough"
  return next()
end }
]], function(g)
      g:ask "/"
      local lines
      peers.within(function()
        peers.eventually(function()
          lines = lines_of(g.dir .. "/events.log")
          for _, line in ipairs(lines) do
            if line.message == "high enough" then return true end
          end
        end, "the line that a script wrote")
      end)
      for _, line in ipairs(lines) do assert.not_equal("too low", line.message) end
      g:log_wait(access) -- still on stdout
    end)
  end)
end)
