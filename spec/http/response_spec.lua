local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local heads = require "spec.support.heads"
local C = cdef.load("http/message.h")

local lines = heads.lines
local OK = "HTTP/1.1 200 OK"

-- head and reason; the status is 502 always.
local refused = {
  { "bare LF", "HTTP/1.1 200 OK\nA: b\r\n\r\n", "bare LF in the head" },
  { "CR without LF in a value", lines(OK, "A: b\rc"), "CR without LF in the head" },
  { "CR without LF in the reason phrase", lines("HTTP/1.1 200 O\rK"), "malformed status line" },
  { "a response split by NUL", lines(OK, "A: b\0c"), "control character in a field value" },
  { "control character in the reason phrase", lines("HTTP/1.1 200 O\1K"), "control character in the reason phrase" },
  { "obs-fold", lines(OK, "A: b", " c"), "obs-fold" },
  { "space behind a name", lines(OK, "A : b"), "whitespace in or after a field name" },
  { "an invalid name", lines(OK, "A{}: b"), "invalid character in a field name" },
  { "HTTP/1.2", lines("HTTP/1.2 200 OK"), "HTTP version other than 1.0 and 1.1" },
  { "HTTP/2", lines("HTTP/2.0 200 OK"), "HTTP major version other than 1" },
  { "http in small letters", lines("http/1.1 200 OK"), "malformed HTTP version" },
  { "another protocol", lines("ICY 200 OK and so on"), "malformed HTTP version" },
  { "no status", lines("HTTP/1.1  OK, it is"), "malformed status" },
  { "two digits of status", lines("HTTP/1.1 20 OK"), "malformed status" },
  { "four digits of status", lines("HTTP/1.1 2000 OK"), "malformed status" },
  { "a status below 100", lines("HTTP/1.1 099 OK"), "malformed status" },
  { "a status that is no number", lines("HTTP/1.1 2x0 OK"), "malformed status" },
  { "a short status line", lines("HTTP/1.1"), "malformed status line" },
  { "two spaces before the status", lines("HTTP/1.1  200 OK"), "malformed status" },
  { "two Content-Lengths", lines(OK, "Content-Length: 5", "Content-Length: 6") },
  { "two equal Content-Lengths", lines(OK, "Content-Length: 5", "Content-Length: 5") },
  { "a list of Content-Lengths", lines(OK, "Content-Length: 5, 5"), "malformed Content-Length" },
  { "a tab behind Content-Length", lines(OK, "Content-Length: 5\t"), "malformed Content-Length" },
  { "empty Content-Length", lines(OK, "Content-Length:"), "empty Content-Length" },
  { "signed Content-Length", lines(OK, "Content-Length: +5"), "malformed Content-Length" },
  { "huge Content-Length", lines(OK, "Content-Length: 99999999999999999999") },
  { "Content-Length with Transfer-Encoding", lines(OK, "Content-Length: 5", "Transfer-Encoding: chunked"),
    "Content-Length with Transfer-Encoding" },
  { "another Transfer-Encoding", lines(OK, "Transfer-Encoding: gzip, chunked"), "Transfer-Encoding other than chunked" },
  { "two Transfer-Encodings", lines(OK, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "repeated Transfer-Encoding" },
  { "Transfer-Encoding in HTTP/1.0", lines("HTTP/1.0 200 OK", "Transfer-Encoding: chunked"), "Transfer-Encoding in HTTP/1.0" },
  { "two Content-Lengths on a 204", lines("HTTP/1.1 204 No Content", "Content-Length: 0", "Content-Length: 0") },
}

local HEAD = { method = C.GW_METHOD_HEAD }

-- head, what is expected, and the request's method when it is not GET.
local accepted = {
  { "a plain response", lines("HTTP/1.1 404 Not Found", "Server: a", "Content-Length: 5"),
    { code = 404, minor = 1, reason = "Not Found", framing = "length", content_length = 5, keep_alive = true,
      fields = { { name = "Server", value = "a", id = C.GW_H_SERVER, nominated = false },
        { name = "Content-Length", value = "5", id = C.GW_H_CONTENT_LENGTH, nominated = false } } } },
  { "no reason phrase", lines("HTTP/1.1 200 ", "Content-Length: 0"), { code = 200, reason = "", framing = "length" } },
  { "no reason phrase, nor its space", lines("HTTP/1.1 200", "Content-Length: 0"), { code = 200, reason = "", framing = "length" } },
  { "a reason phrase with obs-text", lines("HTTP/1.1 200 d\xe9j\xe0\tvu"), { reason = "d\xe9j\xe0\tvu" } },
  { "no fields", lines(OK), { fields = {}, framing = "close" } },
  { "status 999", lines("HTTP/1.1 999 What", "Content-Length: 0"), { code = 999, framing = "length" } },
  { "status 100", lines("HTTP/1.1 100 Continue"), { code = 100, framing = "none", keep_alive = true } },
  { "chunked", lines(OK, "Transfer-Encoding: chunked"), { framing = "chunked", keep_alive = true } },
  { "framed by close", lines(OK, "Connection: keep-alive"), { framing = "close", keep_alive = false } },
  { "HTTP/1.0 framed by close", lines("HTTP/1.0 200 OK"), { minor = 0, framing = "close", keep_alive = false } },
  { "HTTP/1.0 with Content-Length", lines("HTTP/1.0 200 OK", "Content-Length: 1"), { framing = "length", keep_alive = false } },
  { "HTTP/1.0 with keep-alive", lines("HTTP/1.0 200 OK", "Content-Length: 1", "Connection: keep-alive"),
    { framing = "length", keep_alive = true } },
  { "close", lines(OK, "Content-Length: 1", "Connection: close"), { framing = "length", keep_alive = false } },
  { "HEAD with Content-Length", lines(OK, "Content-Length: 5"), { framing = "none", content_length = 0, keep_alive = true }, HEAD },
  { "HEAD with Transfer-Encoding", lines(OK, "Transfer-Encoding: chunked"), { framing = "none", keep_alive = true }, HEAD },
  { "HEAD without either", lines(OK), { framing = "none", keep_alive = true }, HEAD },
  { "304 with Content-Length", lines("HTTP/1.1 304 Not Modified", "Content-Length: 5"), { framing = "none", keep_alive = true } },
  { "204", lines("HTTP/1.1 204 No Content"), { framing = "none", keep_alive = true } },
  { "204 with Content-Length 0", lines("HTTP/1.1 204 No Content", "Content-Length: 0"), { framing = "none", keep_alive = true } },
  { "204 with Content-Length ends the connection", lines("HTTP/1.1 204 No Content", "Content-Length: 5"),
    { framing = "none", content_length = 0, keep_alive = false } },
  { "204 with Transfer-Encoding ends the connection", lines("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked"),
    { framing = "none", keep_alive = false } },
  { "103 with Content-Length ends the connection", lines("HTTP/1.1 103 Early Hints", "Content-Length: 5"),
    { framing = "none", keep_alive = false } },
  { "101", lines("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"), { code = 101, framing = "none" } },
  { "200 to CONNECT", lines(OK), { framing = "none" }, { method = C.GW_METHOD_CONNECT } },
  { "403 to CONNECT", lines("HTTP/1.1 403 Forbidden", "Content-Length: 2"), { framing = "length" }, { method = C.GW_METHOD_CONNECT } },
  { "fields named by Connection are marked", lines(OK, "X-A: b", "Connection: x-a, set-cookie", "Set-Cookie: a=b"),
    { nominated = "X-A" } },
}

describe("gw_response_parse refuses:", function()
  for _, case in ipairs(refused) do
    it(case[1], function()
      local found = heads.response(case[2])
      assert.is_true(found.refused, "was accepted")
      assert.equal(502, found.status)
      if case[3] then assert.equal(case[3], found.reason) else assert.is_true(#found.reason > 0) end
    end)
  end
end)

describe("gw_response_parse accepts:", function()
  for _, case in ipairs(accepted) do
    it(case[1], function()
      local found = heads.response(case[2], case[4])
      assert.is_nil(found.refused, found.reason)
      found.nominated = heads.nominated(found)
      local seen = {}
      for key in pairs(case[3]) do seen[key] = found[key] end
      assert.same(case[3], seen)
    end)
  end
end)

describe("gw_reason_phrase", function()
  for status, phrase in pairs {
    [100] = "Continue", [200] = "OK", [404] = "Not Found", [413] = "Content Too Large", [431] = "Request Header Fields Too Large",
    [511] = "Network Authentication Required", [299] = "", [306] = "", [0] = "", [-1] = "", [512] = "", [999] = "", [2147483647] = "",
  } do
    it(("of %d is %q"):format(status, phrase), function() assert.equal(phrase, ffi.string(C.gw_reason_phrase(status))) end)
  end
end)
