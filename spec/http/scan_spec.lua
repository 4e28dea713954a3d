local cdef = require "spec.support.cdef"
local heads = require "spec.support.heads"
local C = cdef.load("http/message.h")

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
local OK = "HTTP/1.1 200 OK\r\nServer: a\r\n\r\n"
local small = { request_line = 20, header_bytes = 64, headers = 2 }

-- bytes, and either the length of the head, "more", or the status and the reason.
local cases = {
  { "ends at the empty line", GET, length = #GET },
  { "what follows the head is not looked at", GET .. "\n\n\0", length = #GET },
  { "a head without fields", "GET / HTTP/1.0\r\n\r\n", length = 18 },
  { "empty lines before a request count into its length", "\r\n\r\n\r\n\r\n" .. GET, length = #GET + 8 },
  { "five empty lines before a request", "\r\n\r\n\r\n\r\n\r\n" .. GET, status = 400, reason = "too many empty lines before a request" },
  { "nothing yet", "", more = true },
  { "half a line", "GET / HT", more = true },
  { "a head without its end", "GET / HTTP/1.1\r\nHost: a\r\n", more = true },
  { "the CR of the end only", "GET / HTTP/1.1\r\nHost: a\r\n\r", more = true },
  { "only empty lines", "\r\n\r\n", more = true },

  { "bare LF ends the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", status = 400, reason = "bare LF in the head" },
  { "bare LF ends a field line", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", status = 400, reason = "bare LF in the head" },
  { "bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", status = 400, reason = "bare LF in the head" },
  { "bare LF at the very start", "\n" .. GET, status = 400, reason = "bare LF in the head" },
  { "bare LF is refused before the head ends", "GET /\n", status = 400, reason = "bare LF in the head" },
  { "CR without LF at the start of a line", "GET / HTTP/1.1\r\n\rX", status = 400, reason = "CR without LF in the head" },
  { "two CR before the LF of the empty line", "GET / HTTP/1.1\r\n\r\r\n", status = 400, reason = "CR without LF in the head" },
  { "CR without LF at the very start", "\rGET / HTTP/1.1\r\n\r\n", status = 400, reason = "CR without LF in the head" },
  { "a TLS greeting", "\22\3\1\2\0\1\0\1", status = 400, reason = "not an HTTP request" },
  { "a space before the method", " GET / HTTP/1.1\r\n\r\n", status = 400, reason = "not an HTTP request" },

  { "request line as long as allowed", "GET /67890 HTTP/1.1\r\n\r\n", limits = { request_line = 19 }, length = 23 },
  { "request line one byte too long", "GET /67890 HTTP/1.1\r\n\r\n", limits = { request_line = 18 }, status = 414,
    reason = "request line too long" },
  { "request line too long is refused before it ends", ("GET /%s"):format(("a"):rep(16)), limits = small, status = 414,
    reason = "request line too long" },
  { "a CR that would end the request line may still come", "GET /5 HTTP/1.1.....\r", limits = small, more = true },
  { "a CR behind the limit that ends nothing", "GET /5 HTTP/1.1.....\rx", limits = small, status = 414,
    reason = "request line too long" },
  { "as many fields as allowed", "GET / HTTP/1.1\r\na:1\r\nb:2\r\n\r\n", limits = small, length = 28 },
  { "one field too many", "GET / HTTP/1.1\r\na:1\r\nb:2\r\nc:3\r\n", limits = small, status = 431, reason = "too many header fields" },
  { "more fields than can ever be", "GET / HTTP/1.1\r\n" .. ("a:\r\n"):rep(201) .. "\r\n", limits = { headers = 4000000000 },
    status = 431, reason = "too many header fields" },
  { "head as long as allowed", GET, limits = { header_bytes = #GET }, length = #GET },
  { "head one byte too long", GET, limits = { header_bytes = #GET - 1 }, status = 431, reason = "head too long" },
  { "head too long is refused before it ends", "GET / HTTP/1.1\r\na: " .. ("b"):rep(64), limits = small, status = 431,
    reason = "head too long" },
  { "no room at all", "G", limits = { header_bytes = 0 }, status = 431, reason = "head too long" },

  { "response: ends at the empty line", OK .. "body", length = #OK, response = true },
  { "response: an empty line before it", "\r\n" .. OK, response = true, status = 502, reason = "empty line before a response" },
  { "response: bare LF", "HTTP/1.1 200 OK\n\n", response = true, status = 502, reason = "bare LF in the head" },
  { "response: no limit of its own on the status line", "HTTP/1.1 200 a long reason\r\n\r\n", response = true, limits = small,
    length = 30 },
  { "response: one field too many", "HTTP/1.1 200 OK\r\na:1\r\nb:2\r\nc:3\r\n", response = true, limits = small, status = 502,
    reason = "too many header fields" },
  { "response: head too long", "HTTP/1.1 200 OK\r\na: " .. ("b"):rep(64), response = true, limits = small, status = 502,
    reason = "head too long" },
  { "response: what is none", "\0\0\0", response = true, status = 502, reason = "not an HTTP response" },
}

describe("gw_head_scan", function()
  for _, case in ipairs(cases) do
    it(case[1], function()
      local found = heads.scan(case[2], { limits = case.limits, response = case.response })
      assert.same({ result = case.length or (case.more and C.GW_AGAIN) or C.GW_INVALID, status = case.status, reason = case.reason },
        found)
    end)
  end
end)
