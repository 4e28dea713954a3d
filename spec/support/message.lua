--- HTTP/1.1 messages as the tests see them: strict reading of what the gateway writes, and short ways to write.
--
-- Reading works on a conn of peers.lua; what is not right in the framing is an error, so that every
-- response that any spec reads is checked on the way.

local message = {}

-- ---- header lists: arrays of { name, value } with methods ----

local headers_mt = { __index = {} }

--- First value of that name, or nil.
function headers_mt.__index:get(name)
  name = name:lower()
  for _, field in ipairs(self) do
    if field[1]:lower() == name then return field[2] end
  end
  return nil
end

--- All values of that name, in order.
function headers_mt.__index:all(name)
  local values = {}
  name = name:lower()
  for _, field in ipairs(self) do
    if field[1]:lower() == name then values[#values + 1] = field[2] end
  end
  return values
end

function headers_mt.__index:has(name)
  return self:get(name) ~= nil
end

--- Whether a comma-separated list field holds the token (case-insensitive).
function headers_mt.__index:lists(name, token)
  for _, value in ipairs(self:all(name)) do
    for item in value:gmatch("[^,]+") do
      if item:match("^%s*(.-)%s*$"):lower() == token:lower() then return true end
    end
  end
  return false
end

local function parse_fields(lines, from)
  local headers = setmetatable({}, headers_mt)
  for i = from, #lines do
    local name, value = lines[i]:match("^([!#$%%&'*+%-.^_`|~%w]+):[ \t]*(.-)[ \t]*$")
    if not name then error("malformed field line: " .. ("%q"):format(lines[i]), 0) end
    if value:find("[%z\1-\8\10-\31\127]") then error("control character in a field: " .. ("%q"):format(lines[i]), 0) end
    headers[#headers + 1] = { name, value }
  end
  return headers
end

local function split_lines(head)
  local lines = {}
  for line in head:gmatch("(.-)\r\n") do
    if line == "" then break end
    if line:find("[\r\n]") then error("bare CR or LF in a head: " .. ("%q"):format(line), 0) end
    lines[#lines + 1] = line
  end
  return lines
end

--- Parses a whole head (with its empty line) into { method, target, version, headers, head } or { status, reason, ... }.
function message.parse_head(head)
  local lines = split_lines(head)
  local m = { head = head, headers = parse_fields(lines, 2) }
  local version, status, reason = lines[1]:match("^HTTP/(%d%.%d) (%d%d%d) ?(.*)$")
  if version then
    m.version, m.status, m.reason = version, tonumber(status), reason
  else
    m.method, m.target, m.version = lines[1]:match("^(%S+) (%S+) HTTP/(%d%.%d)$")
    if not m.method then error("malformed start line: " .. ("%q"):format(lines[1]), 0) end
  end
  return m
end

local function framing_of(m, is_request, method)
  local h = m.headers
  local lengths, codings = h:all("content-length"), h:all("transfer-encoding")
  if #lengths > 1 then error("more than one Content-Length", 0) end
  if #lengths > 0 and not lengths[1]:match("^%d+$") then error("malformed Content-Length: " .. lengths[1], 0) end
  if #codings > 0 and (#codings > 1 or codings[1]:lower() ~= "chunked") then
    error("Transfer-Encoding is not exactly chunked: " .. table.concat(codings, "; "), 0)
  end
  if #lengths > 0 and #codings > 0 then error("Content-Length with Transfer-Encoding", 0) end
  if not is_request then
    local status = m.status
    if status < 200 or status == 204 then
      if #codings > 0 or (#lengths > 0 and status ~= 101) then error("framing fields in a " .. status, 0) end
      return "none"
    end
    if method == "HEAD" or status == 304 then return "none" end
  end
  if #codings > 0 then
    if m.version == "1.0" then error("Transfer-Encoding in HTTP/1.0", 0) end
    return "chunked"
  end
  if #lengths > 0 then return "length", tonumber(lengths[1]) end
  return is_request and "none" or "close"
end

local function read_chunked(conn, m, discard)
  local parts, bytes = {}, 0
  while true do
    local line = conn:read_line()
    local size = line:match("^(%x+)$")
    if not size then error("malformed chunk size: " .. ("%q"):format(line), 0) end
    size = tonumber(size, 16)
    if size == 0 then break end
    local data = conn:read_exact(size, discard)
    bytes = bytes + size
    if not discard then parts[#parts + 1] = data end
    m.chunks = (m.chunks or 0) + 1
    local ending = conn:read_exact(2)
    if ending ~= "\r\n" then error("chunk data is not followed by CRLF", 0) end
  end
  local lines = {}
  while true do
    local line = conn:read_line()
    if line == "" then break end
    lines[#lines + 1] = line
  end
  m.trailers = parse_fields(lines, 1)
  return table.concat(parts), bytes
end

--- Reads the body of a head that was read: fills m.framing, m.body (or m.bytes only, with discard), m.trailers.
function message.read_body(conn, m, is_request, method, discard)
  local framing, length = framing_of(m, is_request, method)
  m.framing = framing
  if framing == "none" then
    m.body, m.bytes = "", 0
  elseif framing == "length" then
    m.body, m.bytes = conn:read_exact(length, discard), length
  elseif framing == "chunked" then
    m.body, m.bytes = read_chunked(conn, m, discard)
  else
    m.body, m.bytes = conn:read_to_end(discard)
  end
  return m
end

--- "GET /x HTTP/1.1\r\n..." from { method, path, headers = { {name, value}, ... } or { name = value }, body, version, host }.
function message.request(r)
  local lines = { ("%s %s HTTP/%s"):format(r.method or "GET", r.path or "/", r.version or "1.1") }
  local has = {}
  local function add(name, value)
    has[name:lower()] = true
    lines[#lines + 1] = name .. ": " .. value
  end
  if r.host ~= false then add("Host", r.host or "test.example") end
  for name, value in pairs(r.headers or {}) do
    if type(name) == "number" then add(value[1], value[2]) else add(name, value) end
  end
  if r.body and not has["content-length"] and not has["transfer-encoding"] then add("Content-Length", #r.body) end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (r.body or "")
end

--- A response likewise: { status, headers, body, version, reason }. Without a framing field, Content-Length is added.
function message.response(r)
  local status = r.status or 200
  local lines = { ("HTTP/%s %d %s"):format(r.version or "1.1", status, r.reason or "Some Reason") }
  local has = {}
  local function add(name, value)
    has[name:lower()] = true
    lines[#lines + 1] = name .. ": " .. value
  end
  for name, value in pairs(r.headers or {}) do
    if type(name) == "number" then add(value[1], value[2]) else add(name, value) end
  end
  if status >= 200 and status ~= 204 and status ~= 304 and not r.close and not has["content-length"] and not has["transfer-encoding"] then
    add("Content-Length", #(r.body or ""))
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (r.head_only and "" or r.body or "")
end

--- Bytes in chunked framing: each argument is a chunk. message.chunked({trailers = "X: y\r\n"}, "a", "b") ends with trailers.
function message.chunked(...)
  local parts, trailers = {}, ""
  for _, chunk in ipairs { ... } do
    if type(chunk) == "table" then
      trailers = chunk.trailers
    else
      parts[#parts + 1] = ("%x\r\n%s\r\n"):format(#chunk, chunk)
    end
  end
  return table.concat(parts) .. "0\r\n" .. trailers .. "\r\n"
end

return message
