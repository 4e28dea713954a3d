local cdef = require "spec.support.cdef"
local heads = require "spec.support.heads"
local C = cdef.load("http/message.h")

local lines = heads.lines
local GET, HOST = "GET / HTTP/1.1", "Host: a"

-- The strict rules: head, status, reason.
local refused = {
  -- line ends and characters
  { "CR without LF in the request line", "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line without an HTTP version" },
  { "CR without LF behind the version", "GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "malformed HTTP version" },
  { "CR without LF in a value", lines(GET, HOST, "X: a\rb"), 400, "CR without LF in the head" },
  { "CR without LF at the end of a value", lines(GET, HOST, "X: a\r"), 400, "CR without LF in the head" },
  { "CR without LF in an empty value", lines(GET, HOST, "X: \rY: b"), 400 },
  { "bare LF in a value", lines(GET, HOST, "X: a\nY: b"), 400, "bare LF in the head" },
  { "NUL in a value", lines(GET, HOST, "X: a\0b"), 400, "control character in a field value" },
  { "NUL in a short value", lines(GET, HOST, "X: \0"), 400, "control character in a field value" },
  { "NUL in a long value", lines(GET, HOST, "X: " .. ("a"):rep(37) .. "\0" .. ("b"):rep(20)), 400,
    "control character in a field value" },
  { "vertical tab in a value", lines(GET, HOST, "X: a\vb"), 400, "control character in a field value" },
  { "DEL in a value", lines(GET, HOST, "X: abcdefgh\127"), 400, "control character in a field value" },
  { "escape in a value", lines(GET, HOST, "X: abcd\27"), 400, "control character in a field value" },
  { "NUL in a name", lines(GET, HOST, "X\0: a"), 400, "invalid character in a field name" },
  { "space in a name", lines(GET, HOST, "X Y: a"), 400, "whitespace in or after a field name" },
  { "space behind a name", lines(GET, HOST, "X : a"), 400, "whitespace in or after a field name" },
  { "tab behind a name", lines(GET, HOST, "X\t: a"), 400, "whitespace in or after a field name" },
  { "space before the first name", lines(GET, " Host: a"), 400, "whitespace before the first field" },
  { "obs-fold with a space", lines(GET, HOST, "X: a", " b"), 400, "obs-fold" },
  { "obs-fold with a tab", lines(GET, HOST, "X: a", "\tb"), 400, "obs-fold" },
  { "obs-fold behind an empty value", lines(GET, HOST, "X:", " b"), 400, "obs-fold" },
  { "obs-fold of whitespace only", lines(GET, HOST, "X: a", " "), 400, "obs-fold" },
  { "obs-fold hides a Content-Length", lines(GET, HOST, "Content-Length:", " 5"), 400, "obs-fold" },
  { "byte >= 0x80 in a name", lines(GET, HOST, "X\xe9: a"), 400, "invalid character in a field name" },
  { "a delimiter in a name", lines(GET, HOST, "X(Y): a"), 400, "invalid character in a field name" },
  { "an empty name", lines(GET, HOST, ": a"), 400, "empty field name" },
  { "a line without a colon", lines(GET, HOST, "X"), 400, "field line without a colon" },

  -- request line
  { "byte >= 0x80 in the target", lines("GET /\xc3\xa9 HTTP/1.1", HOST), 400, "byte >= 0x80 in the target" },
  { "byte >= 0x80 in the query", lines("GET /?\xc3\xa9 HTTP/1.1", HOST), 400, "byte >= 0x80 in the target" },
  { "control character in the target", lines("GET /\1 HTTP/1.1", HOST), 400, "control character in the target" },
  { "NUL in the target", lines("GET /\0 HTTP/1.1", HOST), 400, "control character in the target" },
  { "tab in the target", lines("GET /a\tb HTTP/1.1", HOST), 400, "control character in the target" },
  { "DEL in the target", lines("GET /\127 HTTP/1.1", HOST), 400, "control character in the target" },
  { "fragment in the target", lines("GET /a#b HTTP/1.1", HOST), 400, "fragment in the target" },
  { "fragment behind a query", lines("GET /a?b#c HTTP/1.1", HOST), 400, "fragment in the target" },
  { "space in the target", lines("GET /a b HTTP/1.1", HOST), 400, "malformed HTTP version" },
  { "two spaces before the target", lines("GET  / HTTP/1.1", HOST), 400, "more than one space in the request line" },
  { "two spaces before the version", lines("GET /  HTTP/1.1", HOST), 400, "malformed HTTP version" },
  { "a tab for a space", lines("GET\t/ HTTP/1.1", HOST), 400, "malformed method" },
  { "space behind the version", lines("GET / HTTP/1.1 ", HOST), 400, "malformed HTTP version" },
  { "a query without a path", lines("GET ?a HTTP/1.1", HOST), 400, "target of no known form" },
  { "no target", lines("GET HTTP/1.1", HOST), 400 },
  { "HTTP/0.9", "GET /\r\n\r\n", 400, "request line without an HTTP version" },
  { "HTTP/0.9 in words", lines("GET / HTTP/0.9"), 505, "HTTP major version other than 1" },
  { "HTTP/1.9", lines("GET / HTTP/1.9", HOST), 400, "HTTP version other than 1.0 and 1.1" },
  { "HTTP/1.2", lines("GET / HTTP/1.2", HOST), 400, "HTTP version other than 1.0 and 1.1" },
  { "HTTP/1.10", lines("GET / HTTP/1.10", HOST), 400, "malformed HTTP version" },
  { "HTTP/01.1", lines("GET / HTTP/01.1", HOST), 400, "malformed HTTP version" },
  { "HTTP/1", lines("GET / HTTP/1", HOST), 400, "malformed HTTP version" },
  { "HTTP/1,1", lines("GET / HTTP/1,1", HOST), 400, "malformed HTTP version" },
  { "http in small letters", lines("GET / http/1.1", HOST), 400, "malformed HTTP version" },
  { "another protocol", lines("GET / ICY/1.1", HOST), 400, "malformed HTTP version" },
  { "HTTP/2.0", lines("GET / HTTP/2.0", HOST), 505, "HTTP major version other than 1" },
  { "the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP major version other than 1" },
  { "CONNECT", lines("CONNECT a:443 HTTP/1.1", "Host: a:443"), 405, "CONNECT is not served" },
  { "TRACE", lines("TRACE / HTTP/1.1", HOST), 405, "TRACE is not served" },
  { "an unknown method", lines("BREW / HTTP/1.1", HOST), 501, "unknown method" },
  { "a method with something behind it", lines("GETX / HTTP/1.1", HOST), 501, "unknown method" },
  { "a method in small letters", lines("get / HTTP/1.1", HOST), 501, "unknown method" },
  { "a method that is no token", lines("G(T / HTTP/1.1", HOST), 400, "malformed method" },

  -- forms of the target, Host
  { "authority-form", lines("GET a:80 HTTP/1.1", HOST), 400, "target of no known form" },
  { "another scheme", lines("GET ftp://a/ HTTP/1.1", HOST), 400, "target of no known form" },
  { "a relative path", lines("GET a/b HTTP/1.1", HOST), 400, "target of no known form" },
  { "asterisk with GET", lines("GET * HTTP/1.1", HOST), 400, "asterisk-form with another method than OPTIONS" },
  { "asterisk with more behind it", lines("OPTIONS *a HTTP/1.1", HOST), 400, "target of no known form" },
  { "asterisk with a query", lines("OPTIONS *?a HTTP/1.1", HOST), 400, "target of no known form" },
  { "absolute-form with another host", lines("GET http://b/ HTTP/1.1", HOST), 400, "Host differs from the authority in the target" },
  { "absolute-form with another port", lines("GET http://a:81/ HTTP/1.1", HOST), 400,
    "Host differs from the authority in the target" },
  { "absolute-form with the other scheme's port", lines("GET https://a:80/ HTTP/1.1", HOST), 400,
    "Host differs from the authority in the target" },
  { "absolute-form with userinfo", lines("GET http://u:p@a/ HTTP/1.1", HOST), 400, "userinfo in the authority" },
  { "absolute-form without an authority", lines("GET http:///x HTTP/1.1", HOST), 400, "malformed authority in the target" },
  { "absolute-form with a bad authority", lines("GET http://a:b/ HTTP/1.1", HOST), 400 },
  { "absolute-form without Host", lines("GET http://a/ HTTP/1.1"), 400, "missing Host" },
  { "no Host", lines(GET, "X: a"), 400, "missing Host" },
  { "two Hosts", lines(GET, HOST, "Host: b"), 400, "repeated Host" },
  { "two equal Hosts", lines(GET, HOST, "X: a", "hOST: a"), 400, "repeated Host" },
  { "two Hosts in HTTP/1.0", lines("GET / HTTP/1.0", HOST, HOST), 400, "repeated Host" },
  { "an empty Host", lines(GET, "Host:"), 400, "malformed Host" },
  { "a list of Hosts", lines(GET, "Host: a, b"), 400, "malformed Host" },
  { "Host with a path", lines(GET, "Host: a/b"), 400, "malformed Host" },
  { "Host with userinfo", lines(GET, "Host: u@a"), 400, "malformed Host" },
  { "Host with a space", lines(GET, "Host: a b"), 400, "malformed Host" },
  { "Host with a byte >= 0x80", lines(GET, "Host: a\xe9"), 400, "malformed Host" },
  { "Host with an escape", lines(GET, "Host: %61"), 400, "malformed Host" },
  { "Host with port 65536", lines(GET, "Host: a:65536"), 400, "malformed Host" },
  { "Host with an empty port", lines(GET, "Host: a:"), 400, "malformed Host" },
  { "a malformed Host in HTTP/1.0", lines("GET / HTTP/1.0", "Host: a/b"), 400, "malformed Host" },

  -- framing
  { "empty Content-Length", lines(GET, HOST, "Content-Length:"), 400, "empty Content-Length" },
  { "Content-Length of whitespace", lines(GET, HOST, "Content-Length: \t "), 400, "empty Content-Length" },
  { "Content-Length +5", lines(GET, HOST, "Content-Length: +5"), 400, "malformed Content-Length" },
  { "Content-Length -5", lines(GET, HOST, "Content-Length: -5"), 400, "malformed Content-Length" },
  { "Content-Length 0x10", lines(GET, HOST, "Content-Length: 0x10"), 400, "malformed Content-Length" },
  { "Content-Length 5, 5", lines(GET, HOST, "Content-Length: 5, 5"), 400, "malformed Content-Length" },
  { "Content-Length 5 5", lines(GET, HOST, "Content-Length: 5 5"), 400, "malformed Content-Length" },
  { "a tab behind Content-Length", lines(GET, HOST, "Content-Length: 5\t"), 400, "malformed Content-Length" },
  { "Content-Length 5.0", lines(GET, HOST, "Content-Length: 5.0"), 400, "malformed Content-Length" },
  { "Content-Length 5,", lines(GET, HOST, "Content-Length: 5,"), 400, "malformed Content-Length" },
  { "Content-Length in quotes", lines(GET, HOST, 'Content-Length: "5"'), 400, "malformed Content-Length" },
  { "Content-Length behind a vertical tab", lines(GET, HOST, "Content-Length: \v5"), 400 },
  { "Content-Length over 63 bits", lines(GET, HOST, "Content-Length: 9223372036854775808"), 400, "Content-Length too large" },
  { "Content-Length over 64 bits", lines(GET, HOST, "Content-Length: 18446744073709551621"), 400 },
  { "Content-Length of many digits", lines(GET, HOST, "Content-Length: " .. ("9"):rep(300)), 400 },
  { "two Content-Lengths", lines(GET, HOST, "Content-Length: 5", "Content-Length: 6"), 400 },
  { "two equal Content-Lengths", lines(GET, HOST, "Content-Length: 5", "content-length: 5"), 400 },
  { "Content-Length before Transfer-Encoding", lines(GET, HOST, "Content-Length: 5", "Transfer-Encoding: chunked"), 400,
    "Content-Length with Transfer-Encoding" },
  { "Content-Length behind Transfer-Encoding", lines(GET, HOST, "Transfer-Encoding: chunked", "Content-Length: 5"), 400 },
  { "Content-Length 0 with Transfer-Encoding", lines(GET, HOST, "Transfer-Encoding: chunked", "Content-Length: 0"), 400 },
  { "Transfer-Encoding identity", lines(GET, HOST, "Transfer-Encoding: identity"), 400, "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding gzip, chunked", lines(GET, HOST, "Transfer-Encoding: gzip, chunked"), 400,
    "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding chunked, identity", lines(GET, HOST, "Transfer-Encoding: chunked, identity"), 400,
    "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding chunked, chunked", lines(GET, HOST, "Transfer-Encoding: chunked, chunked"), 400,
    "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding chunked,", lines(GET, HOST, "Transfer-Encoding: chunked,"), 400, "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding xchunked", lines(GET, HOST, "Transfer-Encoding: xchunked"), 400, "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding chunkedx", lines(GET, HOST, "Transfer-Encoding: chunkedx"), 400, "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding with a parameter", lines(GET, HOST, "Transfer-Encoding: chunked;a=b"), 400,
    "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding in quotes", lines(GET, HOST, 'Transfer-Encoding: "chunked"'), 400, "Transfer-Encoding other than chunked" },
  { "Transfer-Encoding behind a vertical tab", lines(GET, HOST, "Transfer-Encoding: \vchunked"), 400,
    "control character in a field value" },
  { "Transfer-Encoding before a form feed", lines(GET, HOST, "Transfer-Encoding: chunked\f"), 400,
    "control character in a field value" },
  { "an empty Transfer-Encoding", lines(GET, HOST, "Transfer-Encoding:"), 400, "Transfer-Encoding other than chunked" },
  { "two Transfer-Encodings", lines(GET, HOST, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400,
    "repeated Transfer-Encoding" },
  { "two Transfer-Encodings, one of them other", lines(GET, HOST, "Transfer-Encoding: chunked", "Transfer-Encoding: identity"), 400,
    "repeated Transfer-Encoding" },
  { "Transfer-Encoding in HTTP/1.0", lines("POST / HTTP/1.0", HOST, "Transfer-Encoding: chunked"), 400,
    "Transfer-Encoding in HTTP/1.0" },
  { "a space behind Transfer-Encoding", lines(GET, HOST, "Transfer-Encoding : chunked"), 400,
    "whitespace in or after a field name" },

  -- the rest
  { "an unknown expectation", lines(GET, HOST, "Expect: 200-ok"), 417, "unknown expectation" },
  { "an empty expectation", lines(GET, HOST, "Expect:"), 417, "unknown expectation" },
  { "two expectations in one", lines(GET, HOST, "Expect: 100-continue, x"), 417, "unknown expectation" },
  { "two expectations", lines(GET, HOST, "Expect: 100-continue", "Expect: x"), 417, "unknown expectation" },
  { "an unknown expectation in HTTP/1.0", lines("GET / HTTP/1.0", HOST, "Expect: x"), 417, "unknown expectation" },
  { "too many connection options", lines(GET, HOST, "Connection: close" .. (", a"):rep(33)), 400, "too many connection options" },
}

-- head, and what is expected of the request (what is not named is not looked at).
local accepted = {
  { "a plain request", lines("GET /a/b?c=d&e HTTP/1.1", "Host: example.com:8080", "Accept: */*"),
    { method = C.GW_METHOD_GET, method_name = "GET", minor = 1, target = "/a/b?c=d&e", path = "/a/b", query = "c=d&e",
      authority = "example.com:8080", host = "example.com", framing = "none", content_length = 0, keep_alive = true, upgrade = false,
      expect_continue = false, asterisk = false,
      fields = { { name = "Host", value = "example.com:8080", id = C.GW_H_HOST, nominated = false },
        { name = "Accept", value = "*/*", id = C.GW_H_OTHER, nominated = false } } } },
  { "an empty query", lines("GET /? HTTP/1.1", HOST), { path = "/", query = "" } },
  { "a query with question marks", lines("GET /a?b?c HTTP/1.1", HOST), { path = "/a", query = "b?c" } },
  { "characters that browsers send raw", lines("GET /a|b{c}?d[]=\"e\"^`<> HTTP/1.1", HOST), { path = "/a|b{c}", query = 'd[]="e"^`<>' } },
  { "empty lines before it", "\r\n\r\n" .. lines(GET, HOST), { method = C.GW_METHOD_GET } },
  { "whitespace around a value is none of it", lines(GET, "Host:\t a \t", "X:a", "Y: \t "),
    { host = "a", fields = { { name = "Host", value = "a", id = C.GW_H_HOST, nominated = false },
      { name = "X", value = "a", id = 0, nominated = false }, { name = "Y", value = "", id = 0, nominated = false } } } },
  { "obs-text and tabs in a value", lines(GET, HOST, "X: a\tb\xe9\xff c"),
    { fields = { { name = "Host", value = "a", id = C.GW_H_HOST, nominated = false },
      { name = "X", value = "a\tb\xe9\xff c", id = 0, nominated = false } } } },
  { "a tab in a long value", lines(GET, HOST, "X: " .. ("a"):rep(20) .. "\t" .. ("b"):rep(20)), { host = "a" } },
  { "an empty value at the end", lines(GET, HOST, "X:"), { host = "a" } },
  { "HTTP/1.0 without Host", lines("GET / HTTP/1.0"), { minor = 0, authority = "", host = "", keep_alive = false } },
  { "an IPv6 Host", lines(GET, "Host: [::1]:80"), { authority = "[::1]:80", host = "[::1]" } },
  { "absolute-form", lines("GET http://a:80/b?c HTTP/1.1", "Host: A"),
    { target = "http://a:80/b?c", authority = "a:80", host = "a", path = "/b", query = "c" } },
  { "absolute-form, scheme in capitals, port in Host", lines("GET HTTP://A/ HTTP/1.1", "Host: a:80"), { host = "A", path = "/" } },
  { "absolute-form, https", lines("GET https://a/ HTTP/1.1", "Host: a:443"), { host = "a", path = "/" } },
  { "absolute-form without a path", lines("GET http://a HTTP/1.1", HOST), { path = "/", asterisk = false } },
  { "absolute-form with only a query", lines("GET http://a?b HTTP/1.1", HOST), { path = "/", query = "b" } },
  { "absolute-form in HTTP/1.0 without Host", lines("GET http://a/b HTTP/1.0"), { authority = "a", host = "a", path = "/b" } },
  { "asterisk", lines("OPTIONS * HTTP/1.1", HOST), { asterisk = true, path = "*", method = C.GW_METHOD_OPTIONS } },
  { "asterisk in absolute-form", lines("OPTIONS http://a HTTP/1.1", HOST), { asterisk = true, path = "*" } },
  { "OPTIONS of a path", lines("OPTIONS /a HTTP/1.1", HOST), { asterisk = false, path = "/a" } },
  { "a method of WebDAV", lines("PROPFIND / HTTP/1.1", HOST), { method = C.GW_METHOD_OTHER, method_name = "PROPFIND" } },
  { "a method with a hyphen", lines("M-SEARCH / HTTP/1.1", HOST), { method = C.GW_METHOD_OTHER, method_name = "M-SEARCH" } },

  { "Content-Length", lines("POST / HTTP/1.1", HOST, "Content-Length: 5"), { framing = "length", content_length = 5 } },
  { "Content-Length 0", lines("POST / HTTP/1.1", HOST, "Content-Length: 0"), { framing = "length", content_length = 0 } },
  { "the largest Content-Length", lines("POST / HTTP/1.1", HOST, "Content-Length: 9007199254740992"),
    { framing = "length", content_length = 9007199254740992 } },
  { "Content-Length in HTTP/1.0", lines("POST / HTTP/1.0", "Content-Length: 5"), { framing = "length", content_length = 5 } },
  { "chunked", lines("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked"), { framing = "chunked", content_length = 0 } },
  { "chunked in other case", lines("POST / HTTP/1.1", HOST, "transfer-encoding: \tChunKed "), { framing = "chunked" } },

  { "100-continue with a body", lines("POST / HTTP/1.1", HOST, "Expect: 100-Continue", "Content-Length: 1"),
    { expect_continue = true } },
  { "100-continue with a chunked body", lines("POST / HTTP/1.1", HOST, "Expect: 100-continue", "Transfer-Encoding: chunked"),
    { expect_continue = true } },
  { "100-continue without a body", lines("POST / HTTP/1.1", HOST, "Expect: 100-continue", "Content-Length: 0"),
    { expect_continue = false } },
  { "100-continue in HTTP/1.0", lines("POST / HTTP/1.0", HOST, "Expect: 100-continue", "Content-Length: 1"),
    { expect_continue = false } },

  { "close", lines(GET, HOST, "Connection: close"), { keep_alive = false } },
  { "close among other options", lines(GET, HOST, "Connection: a, , CLOSE", "a: 1"), { keep_alive = false, nominated = "a" } },
  { "close in a second field", lines(GET, HOST, "Connection: keep-alive", "Connection: close"), { keep_alive = false } },
  { "keep-alive in HTTP/1.0", lines("GET / HTTP/1.0", "Connection: Keep-Alive"), { keep_alive = true } },
  { "close wins over keep-alive in HTTP/1.0", lines("GET / HTTP/1.0", "Connection: keep-alive, close"), { keep_alive = false } },
  { "Proxy-Connection says nothing", lines("GET / HTTP/1.0", "Proxy-Connection: keep-alive"), { keep_alive = false } },

  { "fields named by Connection are marked", lines(GET, "X-A: 1", HOST, "Connection: x-a, X-B, nowhere", "x-b: 2", "X-A: 3", "X-C: 4"),
    { nominated = "X-A x-b X-A" } },
  { "fields that may not be named are not marked", lines("POST / HTTP/1.1", HOST, "Content-Length: 1", "Authorization: a", "Cookie: b",
      "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Prefix: /a", "Forwarded: for=a", "Via: 1.1 a", "X-Request-ID: a", "traceparent: a",
      "X-Real-IP: a", "Content-Type: a",
      "Connection: Host, content-length, Authorization, cookie, x-forwarded-for, X-Forwarded-Prefix",
      "Connection: forwarded, via, x-request-id, traceparent, x-real-ip, content-type, transfer-encoding, connection"),
    { nominated = "Connection Connection", content_length = 1 } },
  { "options that are no tokens name nothing", lines(GET, HOST, 'Connection: "X-A", X-A;q=1', "X-A: 1"), { nominated = "" } },
  { "as many connection options as allowed", lines(GET, HOST, "Connection: close" .. (", a"):rep(32)), { keep_alive = false } },

  { "an upgrade", lines(GET, HOST, "Connection: keep-alive, Upgrade", "Upgrade: websocket"), { upgrade = true, nominated = "" } },
  { "Upgrade without the option", lines(GET, HOST, "Upgrade: websocket"), { upgrade = false } },
  { "the option without Upgrade", lines(GET, HOST, "Connection: upgrade"), { upgrade = false } },
  { "an empty Upgrade", lines(GET, HOST, "Connection: upgrade", "Upgrade: ,"), { upgrade = false } },
  { "an upgrade in HTTP/1.0", lines("GET / HTTP/1.0", HOST, "Connection: upgrade", "Upgrade: websocket"), { upgrade = false } },
  { "h2c is no upgrade", lines(GET, HOST, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"),
    { upgrade = false, nominated = "Upgrade HTTP2-Settings" } },
  { "h2c without its settings", lines(GET, HOST, "Connection: Upgrade", "Upgrade: H2C"), { upgrade = false, nominated = "Upgrade" } },
  { "h2c behind websocket", lines(GET, HOST, "Connection: Upgrade", "Upgrade: websocket, h2c"),
    { upgrade = false, nominated = "Upgrade" } },
  { "h2c in a second Upgrade", lines(GET, HOST, "Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"),
    { upgrade = false, nominated = "Upgrade Upgrade" } },
  { "HTTP/2.0 as a protocol", lines(GET, HOST, "Connection: Upgrade", "Upgrade: HTTP/2.0"), { upgrade = false, nominated = "Upgrade" } },
  { "HTTP2-Settings alone are taken out", lines(GET, HOST, "HTTP2-Settings: AAMA"), { upgrade = false, nominated = "HTTP2-Settings" } },
  { "HTTP2-Settings beside websocket", lines(GET, HOST, "Connection: Upgrade", "Upgrade: websocket", "HTTP2-Settings: AAMA"),
    { upgrade = false, nominated = "Upgrade HTTP2-Settings" } },
}

describe("gw_request_parse refuses:", function()
  for _, case in ipairs(refused) do
    it(case[1], function()
      local found = heads.request(case[2])
      assert.is_true(found.refused, "was accepted")
      assert.equal(case[3], found.status)
      if case[4] then assert.equal(case[4], found.reason) else assert.is_true(#found.reason > 0) end
    end)
  end

  it("a field over the limit", function()
    local head = lines("GET / HTTP/1.1", HOST, "a: 1", "b: 2")
    assert.is_nil(heads.request(head, { limits = { headers = 3 } }).refused)
    assert.equal(431, heads.request(head, { limits = { headers = 2 } }).status)
  end)
end)

describe("gw_request_parse accepts:", function()
  for _, case in ipairs(accepted) do
    it(case[1], function()
      local found = heads.request(case[2])
      assert.is_nil(found.refused, found.reason)
      found.nominated = heads.nominated(found)
      local seen = {}
      for key in pairs(case[3]) do seen[key] = found[key] end
      assert.same(case[3], seen)
    end)
  end

  it("200 fields and a head of 200 KB", function()
    local head = { GET, HOST }
    for i = 2, 200 do head[#head + 1] = ("Field-%d: %s"):format(i, ("x"):rep(1000)) end
    local bytes = table.concat(head, "\r\n") .. "\r\n\r\n"
    local ffi = require "ffi"
    local limits = ffi.new("gw_head_limits", { request_line = 100, header_bytes = 1000000, headers = 1000 })
    local state, bad, r = ffi.new "gw_head_scan_state", ffi.new "gw_bad_head", ffi.new "gw_request"
    local slice = cdef.slice(bytes)
    assert.equal(#bytes, C.gw_head_scan(slice.ptr, slice.len, limits, false, state, bad))
    assert.equal(0, C.gw_request_parse(r, slice.ptr, slice.len, limits, bad))
    assert.equal(200, r.headers.count)
    assert.equal("Field-200", cdef.text(r.headers.item[199].name))
  end)
end)

describe("gw_method_of", function()
  local methods = { GET = C.GW_METHOD_GET, HEAD = C.GW_METHOD_HEAD, POST = C.GW_METHOD_POST, PUT = C.GW_METHOD_PUT,
    DELETE = C.GW_METHOD_DELETE, PATCH = C.GW_METHOD_PATCH, OPTIONS = C.GW_METHOD_OPTIONS, CONNECT = C.GW_METHOD_CONNECT,
    TRACE = C.GW_METHOD_TRACE, get = C.GW_METHOD_OTHER, PURGE = C.GW_METHOD_OTHER, ABC = C.GW_METHOD_OTHER,
    ["A B"] = C.GW_METHOD_NONE, [""] = C.GW_METHOD_NONE, ["GET\0"] = C.GW_METHOD_NONE }
  for name, id in pairs(methods) do
    it(("knows %q"):format(name), function() assert.equal(id, tonumber(C.gw_method_of(cdef.slice(name)))) end)
  end

  it("tells the idempotent ones", function()
    local found = {}
    for id = 0, C.GW_METHOD_COUNT - 1 do
      if C.gw_method_is_idempotent(id) then found[#found + 1] = id end
    end
    local expected = { C.GW_METHOD_GET, C.GW_METHOD_HEAD, C.GW_METHOD_PUT, C.GW_METHOD_DELETE, C.GW_METHOD_OPTIONS, C.GW_METHOD_TRACE }
    table.sort(expected)
    assert.same(expected, found)
  end)
end)
