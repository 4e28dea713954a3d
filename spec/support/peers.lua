--- Programmable clients and backends for the wire tests, all in this process (see loop.lua).
--
--     peers.run(function()
--       backend:answer { status = 200, body = "hi" }             -- or backend:serve(function(conn) ... end)
--       local client = peers.connect(gateway.port)
--       client:send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
--       assert.equal(200, client:read_response().status)
--     end)
--
-- A conn reads and writes bytes with deadlines; a peer that ends too early raises loop.gone.

local loop = require "spec.support.loop"
local message = require "spec.support.message"
local sys = require "spec.support.sys"

local peers = {
  run = loop.run, within = loop.within, spawn = loop.spawn, sleep = loop.sleep, eventually = loop.eventually, all = loop.all,
  each = loop.each, now = sys.now,
}

-- ---- conn ----

local conn_mt = { __index = {} }
local Conn = conn_mt.__index

local function new_conn(fd)
  local conn = setmetatable({ fd = fd, buffer = "", wait = loop.WAIT }, conn_mt)
  loop.at_end(function() conn:close() end)
  return conn
end

function Conn:close()
  if self.fd then
    sys.close(self.fd)
    self.fd = nil
  end
end

--- Ends with a reset instead of an orderly end.
function Conn:reset()
  if self.fd then
    sys.reset(self.fd)
    self.fd = nil
  end
end

--- Ends the write side.
function Conn:shutdown()
  sys.shutdown(self.fd, "write")
end

-- One piece of what comes: bytes, or nil and "eof", "reset" or "timeout".
function Conn:receive(most, discard, deadline)
  deadline = deadline or sys.now() + self.wait
  while true do
    if not self.fd then return nil, "closed" end
    local got, err = sys.recv(self.fd, most, discard)
    if got == "" or got == 0 then return nil, "eof" end
    if got then return got end
    if err == "EAGAIN" then
      if not loop.wait_fd(self.fd, sys.POLLIN, deadline) then return nil, "timeout" end
    elseif err ~= "EINTR" then
      return nil, "reset"
    end
  end
end

local function fill(conn, what)
  local bytes, err = conn:receive()
  if not bytes then
    if err == "timeout" then
      error(("timed out after %g s waiting for %s; have %q"):format(conn.wait, what, conn.buffer:sub(1, 300)), 0)
    end
    error(loop.gone(("%s while waiting for %s; had %q"):format(err, what, conn.buffer:sub(1, 300))), 0)
  end
  conn.buffer = conn.buffer .. bytes
end

--- Everything up to and with the text `mark`.
function Conn:read_until(mark)
  while true do
    local _, last = self.buffer:find(mark, 1, true)
    if last then
      local got = self.buffer:sub(1, last)
      self.buffer = self.buffer:sub(last + 1)
      return got
    end
    fill(self, ("%q"):format(mark))
  end
end

--- One line without its CRLF.
function Conn:read_line()
  return self:read_until("\r\n"):sub(1, -3)
end

--- n bytes; with discard they are counted and dropped.
function Conn:read_exact(n, discard)
  if discard then
    local left = n - #self.buffer
    if left < 0 then
      self.buffer = self.buffer:sub(n + 1)
      return ""
    end
    self.buffer = ""
    while left > 0 do
      local got, err = self:receive(left, true)
      if not got then error(err == "timeout" and "timed out in a body" or loop.gone(err .. " in a body"), 0) end
      left = left - got
    end
    return ""
  end
  if #self.buffer < n then
    local parts, have = { self.buffer }, #self.buffer
    self.buffer = ""
    while have < n do
      local got, err = self:receive()
      if not got then
        self.buffer = table.concat(parts)
        if err == "timeout" then error(("timed out with %d of %d bytes of a body"):format(have, n), 0) end
        error(loop.gone(("%s with %d of %d bytes of a body"):format(err, have, n)), 0)
      end
      parts[#parts + 1] = got
      have = have + #got
    end
    self.buffer = table.concat(parts)
  end
  local got = self.buffer:sub(1, n)
  self.buffer = self.buffer:sub(n + 1)
  return got
end

--- Some bytes, whatever is there (at least one).
function Conn:read_some()
  if self.buffer == "" then fill(self, "some bytes") end
  local got = self.buffer
  self.buffer = ""
  return got
end

--- All until the other side ends: bytes, count. A reset raises. With discard only the count.
function Conn:read_to_end(discard)
  local parts, bytes = { self.buffer }, #self.buffer
  self.buffer = ""
  while true do
    local got, err = self:receive(nil, discard)
    if not got then
      if err == "eof" then return table.concat(parts), bytes end
      if err == "timeout" then error("timed out waiting for the other side to end", 0) end
      error(loop.gone(err .. " instead of an orderly end"), 0)
    end
    if discard then
      bytes = bytes + got
    else
      parts[#parts + 1], bytes = got, bytes + #got
    end
  end
end

--- Waits until the other side ends, in order or by a reset: "eof" or "reset", and what still came.
function Conn:wait_end()
  local parts = { self.buffer }
  self.buffer = ""
  while true do
    local got, err = self:receive()
    if got then
      parts[#parts + 1] = got
    elseif err == "timeout" then
      error(("the other side did not end within %g s; got %q"):format(self.wait, table.concat(parts):sub(1, 300)), 2)
    else
      return err, table.concat(parts)
    end
  end
end

--- The other side must end (in order, or by a reset) without another byte; then this side ends, too.
function Conn:expect_close()
  local how, bytes = self:wait_end()
  self:close()
  if bytes ~= "" then error(("expected the end, got %q"):format(bytes:sub(1, 300)), 2) end
  return how
end

--- Nothing must come for `seconds`, and the connection must stay open.
function Conn:expect_silence(seconds)
  if self.buffer ~= "" then error(("expected silence, had %q"):format(self.buffer:sub(1, 300)), 2) end
  local got, err = self:receive(nil, false, sys.now() + seconds)
  if got then error(("expected silence, got %q"):format(got:sub(1, 300)), 2) end
  if err ~= "timeout" then error("expected silence, got " .. err, 2) end
end

--- Writes all. A peer that has gone raises loop.gone. With `patience` seconds: returns how many bytes were taken before nothing
-- was taken for so long.
function Conn:write(bytes, patience)
  local at = 0
  while at < #bytes do
    if not self.fd then error(loop.gone("closed here"), 0) end
    local n, err = sys.send(self.fd, bytes, at)
    if n then
      at = at + n
      self.written = (self.written or 0) + n
    elseif err == "EAGAIN" then
      if not loop.wait_fd(self.fd, sys.POLLOUT, sys.now() + (patience or self.wait)) then
        if patience then return at end
        error(("timed out writing: %d of %d bytes taken"):format(at, #bytes), 0)
      end
    elseif err ~= "EINTR" then
      error(loop.gone(err .. " while writing"), 0)
    end
  end
  return at
end
Conn.send = Conn.write

--- Writes; false when the other side has gone already (a server may answer and end before it read all).
function Conn:try_write(bytes)
  local ok, err = pcall(self.write, self, bytes)
  if not ok and not loop.is_gone(err) then error(err, 0) end
  return ok
end

--- Writes `each` bytes at a time (1), with a pause between in which the other side can run.
function Conn:write_slowly(bytes, each, pause)
  each = each or 1
  for at = 1, #bytes, each do
    if not self:try_write(bytes:sub(at, at + each - 1)) then return false end
    loop.sleep(pause or 0.0005)
  end
  return true
end

--- Keeps the connection open and does nothing until the run ends.
function Conn:hang()
  while true do loop.sleep(60) end
end

-- ---- HTTP on a conn ----

--- A head as text; nil when the other side ended in order before its first byte.
function Conn:read_head()
  if self.buffer == "" then
    local bytes, err = self:receive()
    if not bytes then
      if err == "timeout" then error(("timed out after %g s waiting for a head"):format(self.wait), 0) end
      return nil, err
    end
    self.buffer = bytes
  end
  return self:read_until("\r\n\r\n")
end

--- A request with its body, or nil at the end of the connection. options: body = false (leave it unread), discard.
function Conn:read_request(options)
  local head, err = self:read_head()
  if not head then return nil, err end
  local request = message.parse_head(head)
  if not (options and options.body == false) then
    message.read_body(self, request, true, nil, options and options.discard)
  end
  return request
end

--- A response head (1xx too).
function Conn:read_response_head()
  local head, err = self:read_head()
  if not head then error(loop.gone(err .. " instead of a response"), 0) end
  return message.parse_head(head)
end

--- A whole response. 1xx before it are gathered in response.informational. options: method ("HEAD" has no body), discard,
-- truncated = true (a body that ends too early is no error: response.truncated says how it ended).
function Conn:read_response(options)
  options = options or {}
  local informational = {}
  while true do
    local response = self:read_response_head()
    if response.status < 200 and response.status ~= 101 then
      message.read_body(self, response, false)
      informational[#informational + 1] = response
    else
      response.informational = informational
      local ok, err = pcall(message.read_body, self, response, false, options.method, options.discard)
      if not ok then
        if not (options.truncated and loop.is_gone(err)) then error(err, 0) end
        response.truncated = err.what
      end
      return response
    end
  end
end

--- Sends a request (see message.request) and reads its response.
function Conn:ask(request, options)
  if type(request) == "string" then request = { path = request } end
  self:write(message.request(request))
  options = options or {}
  options.method = options.method or request.method
  return self:read_response(options)
end

-- ---- clients ----

--- Connects; waits until the connection stands. options as sys.connect; wait (seconds for each read).
function peers.connect(to, options)
  local fd, err = sys.connect(to, options)
  if not fd then error("cannot connect to " .. tostring(to) .. ": " .. err, 2) end
  local conn = new_conn(fd)
  if options and options.wait then conn.wait = options.wait end
  if not loop.wait_fd(fd, sys.POLLOUT) then error("timed out connecting to " .. tostring(to), 2) end
  err = sys.socket_error(fd)
  if err then
    conn:close()
    error("cannot connect to " .. tostring(to) .. ": " .. err, 2)
  end
  return conn
end

--- Whether something accepts connections there.
function peers.reachable(to)
  local fd = sys.connect(to)
  if not fd then return false end
  local ok = loop.wait_fd(fd, sys.POLLOUT) and not sys.socket_error(fd)
  sys.close(fd)
  return ok
end

--- One request on a connection of its own.
function peers.ask(to, request, options)
  local conn = peers.connect(to, options)
  local response = conn:ask(request, options)
  conn:close()
  return response
end

--- Whether this machine has an IPv6 loopback.
function peers.has_ipv6()
  local fd = sys.listen("[::1]:0")
  if fd then sys.close(fd) end
  return fd ~= nil
end

-- ---- backends ----

local listener_mt = { __index = {} }
local Listener = listener_mt.__index

--- A listening socket; lives until listener:close(). at: nil (a free port on 127.0.0.1), "[::1]:0", "unix:/path".
-- listener.at is what goes into scripts.
function peers.listen(at, options)
  local fd, port = sys.listen(at or "127.0.0.1:0", options)
  if not fd then error("cannot listen at " .. tostring(at) .. ": " .. port, 2) end
  local host = at and at:match("^(%[.-%]):%d+$") or "127.0.0.1"
  return setmetatable({
    fd = fd, port = port, at = port and (host .. ":" .. port) or at, requests = {}, connections = 0, open = {},
    accept_options = options,
  }, listener_mt)
end

function Listener:close()
  if self.fd then
    sys.close(self.fd)
    self.fd = nil
  end
end

--- Accepts connections for the rest of the run; handler(conn, number) runs for each, as a task of its own. Connections close when
-- their handler ends. Calling it again replaces the handler for new connections.
function Listener:serve(handler)
  local first = not self.handler
  self.handler = handler
  if not first then return self end
  self.requests, self.connections, self.open = {}, 0, {}
  loop.spawn(function()
    while self.fd do
      if loop.wait_fd(self.fd, sys.POLLIN, sys.now() + 3600) and self.fd then
        local fd = sys.accept(self.fd, self.accept_options)
        if fd then
          self.connections = self.connections + 1
          local number, conn = self.connections, new_conn(fd)
          self.open[conn] = true
          loop.spawn(function()
            local ok, err = xpcall(self.handler, function(e)
              return type(e) == "string" and debug.traceback(e, 2) or e
            end, conn, number)
            self.open[conn] = nil
            conn:close()
            if not ok then error(err, 0) end
          end, { server = true })
        end
      end
    end
  end)
  loop.at_end(function()
    self.handler = nil
    while self.fd do -- nothing of this run may wait for the next one
      local fd = sys.accept(self.fd)
      if not fd then break end
      sys.close(fd)
    end
  end)
  return self
end

--- Answers every request with the same response (see message.response), or with what a function(request, conn, number) gives:
-- a response table, a raw string, or nil (it answered itself). Keeps connections alive; listener.requests gathers what came.
function Listener:answer(what)
  return self:serve(function(conn, number)
    while true do
      local request = conn:read_request()
      if not request then return end
      request.connection = number
      self.requests[#self.requests + 1] = request
      local response = what or { body = "ok" }
      if type(response) == "function" then response = response(request, conn, number) end
      if type(response) == "table" then
        response.head_only = request.method == "HEAD"
        local close = response.close
        conn:write(message.response(response))
        if close then return end
      elseif response then
        conn:write(response)
      end
    end
  end)
end

--- The last request that came.
function Listener:last()
  return self.requests[#self.requests]
end

--- How many connections are open at this moment.
function Listener:open_count()
  local n = 0
  for _ in pairs(self.open) do n = n + 1 end
  return n
end

return peers
