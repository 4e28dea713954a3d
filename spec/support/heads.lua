--- Heads for the specs of runtime/http: scanned whole, byte by byte and split at every boundary (the answer has to be the same), then
-- parsed. Messages come back as Lua tables.

local assert = require "luassert"
local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("http/message.h")

local heads = {}

local request, response = ffi.new "gw_request", ffi.new "gw_response"

local function limits_of(t)
  t = t or {}
  return ffi.new("gw_head_limits",
    { request_line = t.request_line or 8192, header_bytes = t.header_bytes or 16384, headers = t.headers or 100 })
end

-- Scans the prefixes of these lengths, one after the other, as a reader would. Each is a copy of its own.
local function scan_prefixes(bytes, lengths, limits, is_response)
  local state, bad = ffi.new "gw_head_scan_state", ffi.new "gw_bad_head"
  local result = C.GW_AGAIN
  for _, length in ipairs(lengths) do
    local piece = cdef.slice(bytes:sub(1, length))
    result = C.gw_head_scan(piece.ptr, length, limits, is_response, state, bad)
    if result ~= C.GW_AGAIN then break end
  end
  local reason = bad.reason ~= nil and ffi.string(bad.reason) or nil
  return { result = result, status = result == C.GW_INVALID and bad.status or nil, reason = reason }
end

--- Result of gw_head_scan: { result =, status =, reason = }, after checking that it does not depend on how the bytes arrive.
function heads.scan(bytes, options)
  options = options or {}
  local limits, is_response = limits_of(options.limits), options.response or false
  local whole = scan_prefixes(bytes, { #bytes }, limits, is_response)
  local each = {}
  for i = 1, #bytes do each[i] = i end
  assert.same(whole, scan_prefixes(bytes, each, limits, is_response), "byte by byte")
  for i = 1, #bytes - 1 do
    assert.same(whole, scan_prefixes(bytes, { i, #bytes }, limits, is_response), "split at " .. i)
  end
  return whole
end

local function fields_of(h)
  local fields = {}
  for i = 0, h.count - 1 do
    local f = h.item[i]
    fields[#fields + 1] = { name = cdef.text(f.name), value = cdef.text(f.value), id = tonumber(f.id), nominated = f.nominated }
  end
  return fields
end

local function refused(bad)
  return { refused = true, status = bad.status, reason = ffi.string(bad.reason) }
end

-- The head in the bytes, or what the scan says of it.
local function head_of(bytes, options)
  local scanned = heads.scan(bytes, options)
  if scanned.result == C.GW_INVALID then return nil, { refused = true, status = scanned.status, reason = scanned.reason } end
  assert(scanned.result > 0, "the head does not end")
  return cdef.slice(bytes:sub(1, scanned.result))
end

local FRAMINGS = { [0] = "none", "length", "chunked", "close" }

--- A request as a table, or { refused = true, status =, reason = }.
function heads.request(bytes, options)
  local head, bad_scan = head_of(bytes, options)
  if not head then return bad_scan end
  local bad = ffi.new "gw_bad_head"
  ffi.fill(request, ffi.sizeof(request), 0xa5) -- what is not set shows
  if C.gw_request_parse(request, head.ptr, head.len, limits_of(options and options.limits), bad) ~= 0 then return refused(bad) end
  local r = request
  return {
    method = tonumber(r.method), minor = r.minor, keep_alive = r.keep_alive, expect_continue = r.expect_continue, upgrade = r.upgrade,
    asterisk = r.asterisk, framing = FRAMINGS[tonumber(r.framing)], content_length = tonumber(r.content_length),
    method_name = cdef.text(r.method_name), target = cdef.text(r.target), path = cdef.text(r.raw_path), query = cdef.text(r.query),
    authority = cdef.text(r.authority), host = cdef.text(r.host), fields = fields_of(r.headers), present = r.headers.present,
  }
end

--- A response as a table, or { refused = true, status = 502, reason = }. options.method: of the request, an enum gw_method.
function heads.response(bytes, options)
  options = options or {}
  local head, bad_scan = head_of(bytes, { response = true, limits = options.limits })
  if not head then return bad_scan end
  local bad = ffi.new "gw_bad_head"
  ffi.fill(response, ffi.sizeof(response), 0xa5)
  local method = options.method or C.GW_METHOD_GET
  if C.gw_response_parse(response, head.ptr, head.len, method, limits_of(options.limits), bad) ~= 0 then return refused(bad) end
  local r = response
  return {
    code = r.status, minor = r.minor, keep_alive = r.keep_alive, framing = FRAMINGS[tonumber(r.framing)],
    content_length = tonumber(r.content_length), reason = cdef.text(r.reason), fields = fields_of(r.headers),
  }
end

--- Names of the fields that are marked as nominated by Connection, in order.
function heads.nominated(message)
  local names = {}
  for _, field in ipairs(message.fields) do
    if field.nominated then names[#names + 1] = field.name end
  end
  return table.concat(names, " ")
end

--- A head from its lines: CRLF behind each, and the empty line.
function heads.lines(...)
  return table.concat({ ... }, "\r\n") .. "\r\n\r\n"
end

return heads
