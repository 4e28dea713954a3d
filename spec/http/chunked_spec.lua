local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("http/chunked.h")

-- Decodes the body in pieces that end at these lengths, each a copy of its own.
local function decode_pieces(body, ends, gather, most)
  local arena, c = ffi.new "gw_arena", ffi.new "gw_chunked"
  C.gw_arena_init(arena, 4096, most or 0)
  c.arena = gather and arena or nil -- what gw_chunked_init does, on zeroed memory
  local data, taken, status, reason = {}, 0, nil, nil
  for _, stop in ipairs(ends) do
    local piece = cdef.slice(body:sub(taken + 1, stop))
    local count, why = ffi.new "size_t[1]", ffi.new "const char *[1]"
    local consumed = tonumber(C.gw_chunked_decode(c, ffi.cast("char *", piece.ptr), piece.len, count, why))
    data[#data + 1] = ffi.string(piece.ptr, count[0])
    if consumed < 0 then
      status, reason = consumed, ffi.string(why[0])
      break
    end
    taken = taken + consumed
    if c.done then break end
    assert.equal(stop, taken)
  end
  local trailers = c.trailers ~= nil and ffi.string(c.trailers, c.trailers_len) or nil
  local done = c.done
  C.gw_arena_clear(arena)
  return { data = table.concat(data), done = done, rest = done and body:sub(taken + 1) or nil, trailers = trailers, status = status,
    reason = reason }
end

-- Whole, byte by byte, and split at every boundary: always the same.
local function decode(body, gather)
  local whole, each = decode_pieces(body, { #body }, gather), {}
  for i = 1, #body do each[i] = i end
  assert.same(whole, decode_pieces(body, each, gather), "byte by byte")
  for i = 1, #body - 1 do assert.same(whole, decode_pieces(body, { i, #body }, gather), "split at " .. i) end
  return whole
end

local accepted = { -- name, body, data, rest, trailers
  { "one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello", "" },
  { "several chunks, and what follows the body", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", "hello world", "GET /" },
  { "no data", "0\r\n\r\n", "", "" },
  { "capitals, small letters and leading zeros", "00A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789", "" },
  { "data that looks like framing", "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n", "" },
  { "data with any byte", "3\r\n\0\255\n\r\n0\r\n\r\n", "\0\255\n", "" },
  { "fifteen digits", "000000000000001\r\nx\r\n0\r\n\r\n", "x", "" },
  { "an extension", "1;a\r\nx\r\n0\r\n\r\n", "x", "" },
  { "extensions with values", "1;a=b;c=\"d;\\\"e\"\r\nx\r\n0\r\n\r\n", "x", "" },
  { "an extension with a quoted value", "1;a=\"b;=\\\"\\\\ \tc\";d\r\nx\r\n0;last\r\n\r\n", "x", "" },
  { "bad whitespace around extensions", "1 ; a = b\t;\tc = \"d\" ;e\r\nx\r\n0\r\n\r\n", "x", "" },
  { "trailers", "1\r\nx\r\n0\r\nX-Sum: abc\r\nX-B:  d e\t\r\nEmpty:\r\nBlank: \t\r\n\r\nrest", "x", "rest",
    "X-Sum: abc\r\nX-B: d e\r\nEmpty: \r\nBlank: \r\n" },
  { "trailers that may not be", "0\r\nContent-Length: 5\r\nX-A: b\r\nTransfer-Encoding: chunked\r\nhost: a\r\n"
    .. "Trailer: a\r\nAuthorization: a\r\n"
    .. "Set-Cookie: a\r\nX-Forwarded-For: a\r\nX-Forwarded-Prefix: a\r\nConnection: a\r\nContent-Encoding: a\r\nCache-Control: a\r\n"
    .. "TE: a\r\nContent-Type: a\r\nX-C: d\r\n\r\n", "", "", "X-A: b\r\nX-C: d\r\n" },
  { "obs-text in a trailer", "0\r\nX: \xe9\t\r\n\r\n", "", "", "X: \xe9\r\n" },
}

local invalid = { -- name, body, reason
  { "no size", "\r\n", "chunk size is no hexadecimal number" },
  { "a size with a sign", "+5\r\nhello\r\n", "chunk size is no hexadecimal number" },
  { "a negative size", "-5\r\n", "chunk size is no hexadecimal number" },
  { "a size with 0x", "0x5\r\nhello\r\n", "chunk size is no hexadecimal number" },
  { "a size behind a space", " 5\r\nhello\r\n", "chunk size is no hexadecimal number" },
  { "a size with an underscore", "1_0\r\n", "chunk size is no hexadecimal number" },
  { "sixteen digits", "0000000000000001\r\nx\r\n", "chunk size too large" },
  { "an overflowing size", "fffffffffffffffff\r\n", "chunk size too large" },
  { "bare LF behind the size", "5\nhello\r\n", "bare LF behind a chunk size" },
  { "CR without LF behind the size", "5\rhello", "CR without LF behind a chunk size" },
  { "a space behind the size", "5 \r\nhello\r\n", "whitespace behind a chunk size" },
  { "two sizes", "5 5\r\nhello\r\n", "whitespace behind a chunk size" },
  { "an empty extension", "5;\r\nhello\r\n", "malformed chunk extension" },
  { "an extension with an empty value", "5;a=\r\nhello\r\n", "malformed chunk extension" },
  { "an extension with junk", "5;a@\r\nhello\r\n", "malformed chunk extension" },
  { "an extension with a control character", "5;a=\"\1\"\r\nhello\r\n", "malformed chunk extension" },
  { "bare LF in an extension", "5;a\nhello\r\n", "malformed chunk extension" },
  { "CR in a quoted value", "5;a=\"\r\"\r\nhello\r\n", "malformed chunk extension" },
  { "bare LF in a quoted value", "5;a=\"\n\"\r\nhello\r\n", "malformed chunk extension" },
  { "an escaped CR in a quoted value", "5;a=\"\\\r\n", "malformed chunk extension" },
  { "something behind a quoted value", "5;a=\"b\"c\r\nhello\r\n", "malformed chunk extension" },
  { "whitespace at the end of an extension", "5;a \r\nhello\r\n", "malformed chunk extension" },
  { "CR without LF behind an extension", "5;a\rx", "CR without LF behind a chunk size" },
  { "data longer than its size", "5\r\nhello!\r\n", "chunk data does not end in CRLF" },
  { "data that ends in bare LF", "5\r\nhello\n", "chunk data does not end in CRLF" },
  { "data that ends in CR", "5\r\nhello\rx", "chunk data does not end in CRLF" },
  { "a trailer line that is no field", "0\r\nX\r\n\r\n", "invalid character in the name of a trailer field" },
  { "a space behind a trailer's name", "0\r\nX : a\r\n\r\n", "invalid character in the name of a trailer field" },
  { "a trailer without a name", "0\r\n: a\r\n\r\n", "malformed trailer field" },
  { "a folded trailer", "0\r\nX: a\r\n b\r\n\r\n", "obs-fold in a trailer field" },
  { "bare LF in a trailer", "0\r\nX: a\n\r\n", "bare LF in the trailer section" },
  { "NUL in a trailer", "0\r\nX: a\0\r\n\r\n", "control character in a trailer field" },
  { "CR without LF in a trailer", "0\r\nX: a\rb\r\n\r\n", "CR without LF in the trailer section" },
  { "bare LF for the end", "0\r\n\n", "malformed trailer field" },
  { "CR without LF for the end", "0\r\n\rX", "CR without LF in the trailer section" },
}

describe("gw_chunked_decode", function()
  for _, case in ipairs(accepted) do
    it("takes " .. case[1], function()
      assert.same({ data = case[3], done = true, rest = case[4], trailers = case[5] }, decode(case[2], true))
      assert.same({ data = case[3], done = true, rest = case[4] }, decode(case[2], false), "trailers dropped")
    end)
  end
  for _, case in ipairs(invalid) do
    it("refuses " .. case[1], function()
      local found = decode(case[2], true)
      assert.equal(C.GW_INVALID, found.status)
      assert.equal(case[3], found.reason)
    end)
  end

  it("gives the data that came before what it refuses", function() assert.equal("ab", decode("2\r\nab\r\nz").data) end)
  it("waits for more wherever it is cut", function()
    local body = "5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n"
    for i = 0, #body - 1 do
      local found = decode_pieces(body:sub(1, i), { i }, true)
      assert.is_nil(found.status)
      assert.is_false(found.done)
    end
  end)
  it("bounds the size line", function()
    local function line(length) return "1;" .. ("a"):rep(length - 4) .. "\r\nx\r\n0\r\n\r\n" end
    assert.equal("x", decode_pieces(line(4096), { 5000 }).data)
    local found = decode_pieces(line(4097), { 5000 })
    assert.same({ C.GW_LIMIT, "chunk size line too long" }, { found.status, found.reason })
  end)
  it("bounds the trailer section, and stores the worst one", function()
    local fields = ("a:\r\n"):rep(2047)
    local found = decode_pieces("0\r\n" .. fields .. "\r\n", { 10000 }, true)
    assert.is_true(found.done)
    assert.equal(("a: \r\n"):rep(2047), found.trailers)
    found = decode_pieces("0\r\n" .. fields .. "a:\r\n\r\n", { 10000 }, true)
    assert.same({ C.GW_LIMIT, "trailer section too long" }, { found.status, found.reason })
  end)
  it("says so when there is no memory for trailers", function()
    local found = decode_pieces("0\r\nX: a\r\n\r\n", { 12 }, true, 1)
    assert.same({ C.GW_NOMEM, "out of memory for trailer fields" }, { found.status, found.reason })
  end)
end)

describe("gw_chunked_size_line", function()
  for _, case in ipairs { { 0, "0" }, { 1, "1" }, { 15, "f" }, { 16, "10" }, { 500, "1f4" }, { 0xffffffff, "ffffffff" },
    { 0xffffffffffffffffULL, "ffffffffffffffff" } } do
    it("of 0x" .. case[2], function()
      local out = ffi.new "char[18]"
      assert.equal(case[2] .. "\r\n", ffi.string(out, C.gw_chunked_size_line(case[1], out)))
    end)
  end
end)
