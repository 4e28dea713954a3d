local ffi = require "ffi"
local cdef = require "spec.support.cdef"

local C = cdef.load "net/address.h"

local function parse(text, default_port)
  local out, name, port, reason = ffi.new "gw_address", ffi.new "gw_slice[1]", ffi.new "uint16_t[1]", ffi.new "const char *[1]"
  local slice = cdef.slice(text)
  local kind = C.gw_address_parse(slice, default_port or -1, out, name, port, reason)
  if kind < 0 then return nil, ffi.string(reason[0]) end
  if kind == C.GW_ADDRESS_NAME then return "name", cdef.text(name[0]), port[0] end
  local room = ffi.new "char[120]"
  return "numeric", ffi.string(room, C.gw_address_text(out, room)), port[0], out
end

describe("gw_address_parse", function()
  local numeric = {
    -- text, as written back, default port
    { "1.2.3.4:80", "1.2.3.4:80" },
    { "0.0.0.0:0", "0.0.0.0:0" },
    { "255.255.255.255:65535", "255.255.255.255:65535" },
    { "1.2.3.4", "1.2.3.4:80", 80 },
    { "1.2.3.4:81", "1.2.3.4:81", 80 },
    { "[::1]:80", "[::1]:80" },
    { "[::]:80", "[::]:80" },
    { "[2001:DB8:0:0::1]:443", "[2001:db8::1]:443" },
    { "[::1]", "[::1]:8080", 8080 },
    { "[::ffff:1.2.3.4]:80", "1.2.3.4:80" },
    { ":8080", "*:8080" },
    { "*:8080", "*:8080" },
    { "*", "*:80", 80 },
    { "unix:/run/x.sock", "unix:/run/x.sock" },
    { "unix:x", "unix:x" },
    { "unix:" .. ("p"):rep(107), "unix:" .. ("p"):rep(107) },
  }
  for _, case in ipairs(numeric) do
    it("takes " .. case[1], function()
      local kind, text = parse(case[1], case[3])
      assert.equal("numeric", kind)
      assert.equal(case[2], text)
    end)
  end

  local names = {
    { "localhost:80", "localhost", 80 },
    { "users.internal:8080", "users.internal", 8080 },
    { "users.internal.:8080", "users.internal.", 8080 },
    { "a_b-c.d1:1", "a_b-c.d1", 1 },
    { "1and1.com:1", "1and1.com", 1 },
    { "name", "name", 7, 7 },
    { ("a"):rep(63) .. ".b:1", ("a"):rep(63) .. ".b", 1 },
  }
  for _, case in ipairs(names) do
    it("sees the name in " .. case[1], function()
      local kind, name, port = parse(case[1], case[4])
      assert.same({ "name", case[2], case[3] }, { kind, name, port })
    end)
  end

  local refused = {
    { "", "HOST:PORT" }, { "1.2.3.4", "HOST:PORT" }, { "name", "HOST:PORT" }, { "[::1]", "HOST:PORT" },
    { "1.2.3.4:", "port" }, { ":", "port" }, { "1.2.3.4:65536", "port" }, { "1.2.3.4:-1", "port" }, { "1.2.3.4: 80", "port" },
    { "1.2.3.4:80x", "port" }, { "1.2.3.4:000080", "port" }, { "name:http", "port" },
    { "::1:80", "brackets" }, { "2001:db8::1", "brackets" },
    { "[::1:80", "without" }, { "[::1]80", ":PORT" }, { "[::1]:", "port" }, { "[]:80", "IPv6" }, { "[1.2.3.4]:80", "IPv6" },
    { "[::1%lo]:80", "IPv6" }, { "[::1::2]:80", "IPv6" },
    { "256.1.1.1:80", "host name" }, { "1.2.3:80", "host name" }, { "01.2.3.4:80", "host name" }, { "1.2.3.4.:80", "host name" },
    { "a..b:80", "host name" }, { ".a:80", "host name" }, { "a b:80", "host name" }, { "a/b:80", "host name" },
    { "a\0b:80", "host name" }, { "1.2.3.4\0:80", "host name" }, { ("a"):rep(64) .. ":80", "host name" },
    { ("abc."):rep(64) .. "d:80", "host name" }, { "http://a:80", "without" },
    { "unix:", "path" }, { "unix:a\0b", "path" }, { "unix:" .. ("p"):rep(108), "107" },
  }
  for _, case in ipairs(refused) do
    it(("refuses %q"):format(case[1]), function()
      local kind, reason = parse(case[1])
      assert.is_nil(kind)
      assert.truthy(reason:find(case[2], 1, true), reason)
    end)
  end

  it("refuses no text at all", function()
    local out, name, port, reason = ffi.new "gw_address", ffi.new "gw_slice[1]", ffi.new "uint16_t[1]", ffi.new "const char *[1]"
    assert.equal(C.GW_INVALID, C.gw_address_parse(ffi.new "gw_slice", 80, out, name, port, reason))
  end)
end)

describe("gw_address_equal", function()
  local same = { { "1.2.3.4:80", "1.2.3.4:80" }, { "[::1]:80", "[0:0::1]:80" }, { ":80", "*:80" }, { "unix:/a", "unix:/a" } }
  for _, case in ipairs(same) do
    it(case[1] .. " and " .. case[2], function()
      assert.is_true(C.gw_address_equal((select(4, parse(case[1]))), (select(4, parse(case[2])))))
    end)
  end
  local different = {
    { "1.2.3.4:80", "1.2.3.4:81" }, { "1.2.3.4:80", "1.2.3.5:80" }, { "[::]:80", ":80" }, { "0.0.0.0:80", ":80" },
    { "[::1]:80", "[::2]:80" }, { "[::1]:80", "[::1]:81" }, { "unix:/a", "unix:/ab" }, { "unix:/a", "1.2.3.4:80" },
  }
  for _, case in ipairs(different) do
    it(case[1] .. " is not " .. case[2], function()
      assert.is_false(C.gw_address_equal((select(4, parse(case[1]))), (select(4, parse(case[2])))))
    end)
  end
end)

describe("IPs", function()
  local function ip(text)
    local out = ffi.new "gw_ip[1]"
    local slice = cdef.slice(text)
    local status = C.gw_ip_parse(slice, out)
    if status < 0 then return nil, status end
    local room = ffi.new "char[48]"
    return ffi.string(room, C.gw_ip_text(out, room))
  end

  local good = {
    { "1.2.3.4", "1.2.3.4" }, { "0.0.0.0", "0.0.0.0" }, { "255.255.255.255", "255.255.255.255" },
    { "1.2.3.4:5678", "1.2.3.4" }, { "1.2.3.4:0", "1.2.3.4" },
    { "2001:db8::1", "2001:db8::1" }, { "2001:DB8:0:0:0:0:0:1", "2001:db8::1" }, { "[2001:db8::1]", "2001:db8::1" },
    { "[2001:db8::1]:443", "2001:db8::1" }, { "::1", "::1" }, { "::ffff:1.2.3.4", "1.2.3.4" },
    { "[::ffff:1.2.3.4]:1", "1.2.3.4" },
    { "64:ff9b::1.2.3.4", "64:ff9b::102:304" },
  }
  for _, case in ipairs(good) do
    it("reads " .. case[1], function() assert.equal(case[2], ip(case[1])) end)
  end

  local bad = {
    "", " ", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.04", "0x1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4:",
    "1.2.3.4:x", "1.2.3.4:65536", "1.2.3.4:1:2", "-1.2.3.4", "1..2.3", "unknown", "_hidden", "::1%eth0",
    "[::1", "::1]", "[::1]x", "[::1]:", "[1.2.3.4]",
    ":::", "1::2::3", "12345::", "2001:db8::1/32", "g::1", "1.2.3.4\0", "::1\0", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", ":1", "[]",
    ("1"):rep(60), ("1:"):rep(40), "::1.2.3", "::01.2.3.4",
  }
  for _, text in ipairs(bad) do
    it(("refuses %q"):format(text), function() assert.same({ nil, C.GW_INVALID }, { ip(text) }) end)
  end

  it("of an address leaves the port out and maps IPv4", function()
    local function of(text)
      local room, address = ffi.new "char[48]", select(4, parse(text))
      local value = C.gw_ip_of(address)
      return ffi.string(room, C.gw_ip_text(ffi.new("gw_ip[1]", value), room))
    end
    assert.equal("1.2.3.4", of "1.2.3.4:80")
    assert.equal("1.2.3.4", of "[::ffff:1.2.3.4]:80")
    assert.equal("2001:db8::1", of "[2001:db8::1]:80")
    assert.equal("unix", of "unix:/x")
  end)
end)
