-- The strict rules on the wire: each hostile request is sent whole, byte by byte, and split at every boundary; the status must be
-- the same each time, the connection must end, and the backend must not see a request.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local raw = require "spec.support.raw"

local function get(fields, line)
  return (line or "GET /x HTTP/1.1") .. "\r\n" .. fields .. "\r\n"
end

local function post(fields, body)
  return "POST /x HTTP/1.1\r\nHost: a.example\r\n" .. fields .. "\r\n" .. (body or "")
end

local H = "Host: a.example\r\n"

-- name, raw text, status; all are refused before anything goes upstream
local refused = {
  -- line ends and controls
  { "bare LF after the request line", "GET /x HTTP/1.1\nHost: a\r\n\r\n", 400 },
  { "bare LF after a field", "GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400 },
  { "bare LF as the empty line", "GET /x HTTP/1.1\r\nHost: a\r\n\n", 400 },
  { "CR without LF in a value", get(H .. "X: a\rb\r\n"), 400 },
  { "CR CR LF", get(H .. "X: a\r\r\n"), 400 },
  { "CR without LF in the request line", "GET /x\rHTTP/1.1\r\n" .. H .. "\r\n", 400 },
  { "NUL in a value", get(H .. "X: a\0b\r\n"), 400 },
  { "a control character in a value", get(H .. "X: a\1b\r\n"), 400 },
  { "DEL in a value", get(H .. "X: a\127b\r\n"), 400 },
  { "NUL in a name", get(H .. "X\0Y: a\r\n"), 400 },
  { "a control character in a name", get(H .. "X\1Y: a\r\n"), 400 },
  -- names
  { "a space before the colon", get(H .. "X-Thing : y\r\n"), 400 },
  { "a tab before the colon", get(H .. "X-Thing\t: y\r\n"), 400 },
  { "a space inside a name", get(H .. "X Thing: y\r\n"), 400 },
  { "a field line without a colon", get(H .. "just text\r\n"), 400 },
  { "an empty name", get(H .. ": y\r\n"), 400 },
  { "a byte past 0x7f in a name", get(H .. "X\195\164: y\r\n"), 400 },
  { "a delimiter in a name", get(H .. "X(y): z\r\n"), 400 },
  { "a space before Content-Length's colon", post("Content-Length : 5\r\n", "hello"), 400 },
  -- folding
  { "obs-fold with a space", get(H .. "X: a\r\n b\r\n"), 400 },
  { "obs-fold with a tab", get(H .. "X: a\r\n\tb\r\n"), 400 },
  { "a space before the first field", get(" Host: a\r\n" .. H), 400 },
  -- request line
  { "a byte past 0x7f in the path", get(H, "GET /caf\195\169 HTTP/1.1"), 400 },
  { "a byte past 0x7f in the query", get(H, "GET /x?a=\255 HTTP/1.1"), 400 },
  { "a control character in the target", get(H, "GET /x\1y HTTP/1.1"), 400 },
  { "a tab in the target", get(H, "GET /x\ty HTTP/1.1"), 400 },
  { "DEL in the target", get(H, "GET /x\127 HTTP/1.1"), 400 },
  { "a space in the target", get(H, "GET /x y HTTP/1.1"), 400 },
  { "two spaces before the target", get(H, "GET  /x HTTP/1.1"), 400 },
  { "two spaces before the version", get(H, "GET /x  HTTP/1.1"), 400 },
  { "a space behind the version", get(H, "GET /x HTTP/1.1 "), 400 },
  { "a tab for a space", get(H, "GET\t/x HTTP/1.1"), 400 },
  { "a space before the method", get(H, " GET /x HTTP/1.1"), 400 },
  { "no version (HTTP/0.9)", "GET /x\r\n" .. H .. "\r\n", 400 },
  { "a lower-case version", get(H, "GET /x http/1.1"), 400 },
  { "HTTP/1.9", get(H, "GET /x HTTP/1.9"), 400 },
  { "HTTP/1.2", get(H, "GET /x HTTP/1.2"), 400 },
  { "HTTP/1.10", get(H, "GET /x HTTP/1.10"), 400 },
  { "HTTP/01.1", get(H, "GET /x HTTP/01.1"), 400 },
  { "HTTP/1.", get(H, "GET /x HTTP/1."), 400 },
  { "HTTP/1,1", get(H, "GET /x HTTP/1,1"), 400 },
  { "HTTP/2.0", get(H, "GET /x HTTP/2.0"), 505 },
  { "HTTP/3.0", get(H, "GET /x HTTP/3.0"), 505 },
  { "the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
  { "a relative target", get(H, "GET x HTTP/1.1"), 400 },
  { "an empty target", get(H, "GET  HTTP/1.1"), 400 },
  { "asterisk with GET", get(H, "GET * HTTP/1.1"), 400 },
  { "an unknown method", get(H, "FROBNICATE /x HTTP/1.1"), 501 },
  { "a lower-case method", get(H, "get /x HTTP/1.1"), 501 },
  { "a TLS hello", "\22\3\1\2\0\1\0\1\252\3\3 some random bytes\r\n\r\n", 400 },
  -- CONNECT, TRACE
  { "CONNECT", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 405 },
  { "TRACE", get(H, "TRACE /x HTTP/1.1"), 405 },
  -- Host
  { "no Host", get(""), 400 },
  { "two Hosts", get(H .. H), 400 },
  { "two differing Hosts", get(H .. "Host: b.example\r\n"), 400 },
  { "an empty Host", get("Host:\r\n"), 400 },
  { "a Host with a space", get("Host: a b\r\n"), 400 },
  { "a Host with a path", get("Host: a/b\r\n"), 400 },
  { "a Host with user info", get("Host: u@a.example\r\n"), 400 },
  { "a Host list", get("Host: a.example, b.example\r\n"), 400 },
  { "a Host with a port that is no number", get("Host: a.example:8x\r\n"), 400 },
  { "a Host with a port past 65535", get("Host: a.example:70000\r\n"), 400 },
  { "a Host in half a bracket", get("Host: [::1\r\n"), 400 },
  { "two Hosts in HTTP/1.0", get(H .. H, "GET /x HTTP/1.0"), 400 },
  { "absolute-form that differs from Host", get(H, "GET http://b.example/x HTTP/1.1"), 400 },
  { "absolute-form with another port than Host", get(H, "GET http://a.example:81/x HTTP/1.1"), 400 },
  { "absolute-form with user info", get(H, "GET http://u@a.example/x HTTP/1.1"), 400 },
  { "absolute-form without Host", get("", "GET http://a.example/x HTTP/1.1"), 400 },
  { "absolute-form with an empty host", get(H, "GET http:///x HTTP/1.1"), 400 },
  -- Content-Length
  { "two equal Content-Lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400 },
  { "two differing Content-Lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), 400 },
  { "a list of equal Content-Lengths", post("Content-Length: 5, 5\r\n", "hello"), 400 },
  { "a list of differing Content-Lengths", post("Content-Length: 5, 6\r\n", "hello!"), 400 },
  { "an empty Content-Length", post("Content-Length:\r\n", ""), 400 },
  { "an empty Content-Length beside a good one", post("Content-Length:\r\nContent-Length: 5\r\n", "hello"), 400 },
  { "a Content-Length with a plus", post("Content-Length: +5\r\n", "hello"), 400 },
  { "a negative Content-Length", post("Content-Length: -5\r\n", "hello"), 400 },
  { "a Content-Length with a unit", post("Content-Length: 5b\r\n", "hello"), 400 },
  { "a hexadecimal Content-Length", post("Content-Length: 0x5\r\n", "hello"), 400 },
  { "a Content-Length with a space inside", post("Content-Length: 1 0\r\n", "helloworld"), 400 },
  { "a Content-Length with a decimal point", post("Content-Length: 5.0\r\n", "hello"), 400 },
  { "a Content-Length past 64 bits", post("Content-Length: 99999999999999999999999\r\n", "hello"), 400 },
  { "a Content-Length of 2^64 and 5", post("Content-Length: 18446744073709551621\r\n", "hello"), 400 },
  -- Transfer-Encoding
  { "Content-Length with Transfer-Encoding", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400 },
  { "Transfer-Encoding with Content-Length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400 },
  { "two Transfer-Encodings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400 },
  { "chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400 },
  { "gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400 },
  { "chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400 },
  { "identity", post("Transfer-Encoding: identity\r\n", ""), 400 },
  { "gzip", post("Transfer-Encoding: gzip\r\n", ""), 400 },
  { "an empty Transfer-Encoding", post("Transfer-Encoding:\r\n", ""), 400 },
  { "xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400 },
  { "chunkedx", post("Transfer-Encoding: chunkedx\r\n", "0\r\n\r\n"), 400 },
  { "chunked with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 400 },
  { "quoted chunked", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 400 },
  { "chunked behind a comma", post("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"), 400 },
  { "chunked behind a vertical tab", post("Transfer-Encoding: \11chunked\r\n", "0\r\n\r\n"), 400 },
  { "Transfer-Encoding in HTTP/1.0", "POST /x HTTP/1.0\r\n" .. H .. "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
  { "Transfer-Encoding without a body, GET", get(H .. "Transfer-Encoding: gzip\r\n"), 400 },
  -- expectations
  { "an unknown expectation", post("Expect: magic\r\nContent-Length: 5\r\n", ""), 417 },
  { "100-continue with more", post("Expect: 100-continue, magic\r\nContent-Length: 5\r\n", ""), 417 },
  -- path
  { "an encoded NUL", get(H, "GET /a%00b HTTP/1.1"), 400 },
  { "an encoded slash", get(H, "GET /a%2Fb HTTP/1.1"), 400 },
  { "an encoded slash, lower case", get(H, "GET /a%2fb HTTP/1.1"), 400 },
  { "an encoded backslash", get(H, "GET /a%5Cb HTTP/1.1"), 400 },
  { "a backslash", get(H, "GET /a\\b HTTP/1.1"), 400 },
  { "an escape that is none", get(H, "GET /a%zz HTTP/1.1"), 400 },
  { "half an escape", get(H, "GET /a%4 HTTP/1.1"), 400 },
  { "an encoded control character", get(H, "GET /a%0ab HTTP/1.1"), 400 },
  { "dots above the root", get(H, "GET /../x HTTP/1.1"), 400 },
  { "encoded dots above the root", get(H, "GET /%2e%2E/x HTTP/1.1"), 400 },
}

-- the head is in order, the body is not: what goes upstream must never become a whole request
local bad_bodies = {
  { "junk in a chunk extension", "3;a b\r\nabc\r\n0\r\n\r\n" },
  { "a control character in a chunk extension", "3;a=\1\r\nabc\r\n0\r\n\r\n" },
  { "a bare LF behind a chunk size", "3\nabc\r\n0\r\n\r\n" },
  { "a bare LF in a chunk extension", "3;a\nabc\r\n0\r\n\r\n" },
  { "a bare LF behind chunk data", "3\r\nabc\n0\r\n\r\n" },
  { "chunk data longer than its size", "3\r\nabcd\r\n0\r\n\r\n" },
  { "no chunk size", "\r\nabc\r\n0\r\n\r\n" },
  { "a chunk size with 0x", "0x3\r\nabc\r\n0\r\n\r\n" },
  { "a negative chunk size", "-3\r\nabc\r\n0\r\n\r\n" },
  { "a chunk size with a plus", "+3\r\nabc\r\n0\r\n\r\n" },
  { "a space before a chunk size", " 3\r\nabc\r\n0\r\n\r\n" },
  { "a chunk size that is no number", "g\r\nabc\r\n0\r\n\r\n" },
  { "a chunk size of 16 digits", "fffffffffffffff3\r\nabc\r\n0\r\n\r\n" },
  { "a chunk size of 17 digits", "10000000000000003\r\nabc\r\n0\r\n\r\n" },
  { "a space in a trailer's name", "3\r\nabc\r\n0\r\nX Y: z\r\n\r\n" },
  { "a trailer without a colon", "3\r\nabc\r\n0\r\nnonsense\r\n\r\n" },
  { "a folded trailer", "3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n" },
  { "a bare LF behind a trailer", "3\r\nabc\r\n0\r\nX: a\n\r\n" },
  { "a bare LF as the last empty line", "3\r\nabc\r\n0\r\n\n" },
  { "a CR in the last chunk's line", "3\r\nabc\r\n0\rX\r\n\r\n" },
}

-- looks odd, is right
local accepted = {
  { "a field without a space behind the colon", get("Host:a.example\r\nX:y\r\n") },
  { "a field with tabs around its value", get(H .. "X: \t y \t\r\n") },
  { "an empty value", get(H .. "X:\r\n") },
  { "a byte past 0x7f in a value (obs-text)", get(H .. "X: caf\195\169\r\n") },
  { "a tab inside a value", get(H .. "X: a\tb\r\n") },
  { "every token character in a name", get(H .. "!#$%&'*+-.^_`|~aZ09: y\r\n") },
  { "a Host with a port", get("Host: a.example:8080\r\n") },
  { "an IPv6 Host", get("Host: [::1]:8080\r\n") },
  { "HTTP/1.0 without Host", get("", "GET /x HTTP/1.0"), "1.0" },
  { "absolute-form that agrees with Host", get(H, "GET http://a.example/x HTTP/1.1") },
  { "absolute-form in another case", get(H, "GET HTTP://A.EXAMPLE/x HTTP/1.1") },
  { "absolute-form without a path", get(H, "GET http://a.example HTTP/1.1") },
  { "Content-Length of 0", post("Content-Length: 0\r\n") },
  { "Content-Length with leading zeros", post("Content-Length: 005\r\n", "hello") },
  { "Content-Length on a GET", get(H .. "Content-Length: 5\r\n") .. "hello" },
  { "chunked", post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n") },
  { "chunked with space behind it", post("Transfer-Encoding: chunked \t\r\n", "5\r\nhello\r\n0\r\n\r\n") },
  { "chunk sizes with leading zeros and in capitals", post("Transfer-Encoding: chunked\r\n", "00A\r\nhellohello\r\n000\r\n\r\n") },
  { "well-formed chunk extensions", post("Transfer-Encoding: chunked\r\n", "5;a;b=c;d=\"e \\\"f\"\r\nhello\r\n0;last\r\n\r\n") },
  { "trailers", post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n") },
  { "Expect: 100-continue in any case", post("Expect: 100-Continue\r\nContent-Length: 5\r\n", "hello") },
  { "an escape in the path", get(H, "GET /caf%C3%A9 HTTP/1.1") },
  { "odd but legal characters in path and query", get(H, "GET /a;b=c,d@e!$&'()*+/:~?x={}|^\"<>`[] HTTP/1.1"), "query" },
}

describe("strict rules:", function()
  local g, backend

  lazy_setup(function()
    g = gateway.start {
      backends = 1,
      script = [[${prelude}
        gateway.access_log(false)
        gateway.route "/" { to = gateway.upstream "b" { "${backend1}" } }
      ]],
    }
    backend = g.backends[1]
  end)
  lazy_teardown(function() if g then g:stop() end end)

  for _, case in ipairs(refused) do
    it(case[1] .. " is " .. case[3], function()
      peers.run(function()
        backend:answer()
        raw.check(g, case[2], { status = case[3], closed = true, untouched = backend })
      end, { seconds = 60 })
    end)
  end

  for _, case in ipairs(bad_bodies) do
    it("chunked body with " .. case[1] .. " is 400, and no whole request arrives", function()
      peers.run(function()
        backend:serve(function(conn)
          local request = conn:read_request()
          if request then backend.requests[#backend.requests + 1] = request end
          if request then conn:write "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" end
        end)
        raw.check(g, post("Transfer-Encoding: chunked\r\n", case[2]), { status = 400, closed = true, untouched = backend })
      end, { seconds = 60 })
    end)
  end

  for _, case in ipairs(accepted) do
    if case[3] ~= "query" then
      it(case[1] .. " is taken", function()
        peers.run(function()
          backend:answer()
          raw.check(g, case[2], { status = 200, closed = case[3] ~= "1.0" and false or nil })
        end, { seconds = 60 })
      end)
    else
      it(case[1] .. ": taken or refused, the same in every way of sending", function()
        peers.run(function()
          backend:answer()
          local first = g:client()
          first:send(case[2])
          local status = first:read_response().status
          assert.is_true(status == 200 or status == 400)
          raw.check(g, case[2], { status = status })
        end, { seconds = 60 })
      end)
    end
  end

  it("OPTIONS * is answered by the gateway itself", function()
    peers.run(function()
      backend:answer()
      raw.check(g, get(H, "OPTIONS * HTTP/1.1"), { status = 204, closed = false, untouched = nil })
      local response = g:ask { method = "OPTIONS", path = "*" }
      assert.equal(204, response.status)
      assert.is_truthy(response.headers:get("allow"))
      for _, request in ipairs(backend.requests) do assert.not_equal("OPTIONS", request.method) end
    end)
  end)

  it("405 for CONNECT and TRACE names what is allowed", function()
    peers.run(function()
      for _, text in ipairs { "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n" } do
        local client = g:client()
        client:send(text)
        local response = client:read_response()
        assert.equal(405, response.status)
        assert.is_truthy(response.headers:get("allow"))
      end
    end)
  end)

  it("errors are small JSON with the request id", function()
    local cjson = require "cjson"
    peers.run(function()
      local client = g:client()
      client:send "GET / HTTP/1.1\r\n\r\n"
      local response = client:read_response()
      assert.equal("application/json", response.headers:get("content-type"):match("^[^;]+"))
      local body = cjson.decode(response.body)
      assert.equal(400, body.status)
      assert.equal("string", type(body.error))
      assert.equal("string", type(body.request_id))
      assert.is_true(#response.body < 500)
    end)
  end)

  -- what a backend sends is held to the same rules: 502, and not a byte of it passes
  local bad_responses = {
    { "garbage", "this is not HTTP\r\n\r\n" },
    { "a bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nhi" },
    { "HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi" },
    { "a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi" },
    { "a status that is no number", "HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nhi" },
    { "a space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi" },
    { "obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi" },
    { "NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi" },
    { "two Content-Lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!" },
    { "a malformed Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nhi" },
    { "Content-Length with Transfer-Encoding",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" },
    { "gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" },
    { "Transfer-Encoding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" },
    { "an endless head", "HTTP/1.1 200 OK\r\n" .. ("X: " .. ("y"):rep(1000) .. "\r\n"):rep(300) .. "\r\n" },
    { "an HTTP/0.9 answer", "<html>hello</html>" },
  }
  for _, case in ipairs(bad_responses) do
    it("a backend that sends " .. case[1] .. " gives 502", function()
      peers.run(function()
        for _, slowly in ipairs { false, true } do
          if not (slowly and #case[2] > 2000) then
            backend:serve(function(conn)
              conn:read_request()
              if slowly then conn:write_slowly(case[2]) else conn:try_write(case[2]) end
              conn:shutdown()
              conn:wait_end()
            end)
            local client = g:client()
            local response = client:ask "/x"
            assert.equal(502, response.status)
            client:close()
          end
        end
      end)
    end)
  end
end)
