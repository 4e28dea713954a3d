local ffi = require "ffi"
local cdef = require "spec.support.cdef"

local C = cdef.load "net/address.h"

local function ip(text)
  local out = ffi.new "gw_ip[1]"
  if text == "unix" then return out end
  local slice = cdef.slice(text)
  assert(C.gw_ip_parse(slice, out) == 0, text)
  return out
end

local function add(set, text)
  local reason, slice = ffi.new "const char *[1]", cdef.slice(text)
  local status = C.gw_cidr_set_add(set, slice, reason)
  return status, status == C.GW_INVALID and ffi.string(reason[0]) or nil
end

local function set_of(blocks)
  local set = ffi.gc(C.gw_cidr_set_new(), C.gw_cidr_set_free)
  for _, block in ipairs(blocks) do assert.equal(0, (add(set, block)), block) end
  return set
end

describe("gw_cidr_set", function()
  local cases = {
    { "an empty set", {}, {}, { "0.0.0.0", "::1", "unix", "255.255.255.255" } },
    { "one block", { "10.0.0.0/8" }, { "10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3" },
      { "9.255.255.255", "11.0.0.0", "::10.0.0.1", "a00::" } },
    { "one host", { "192.0.2.7" }, { "192.0.2.7" }, { "192.0.2.6", "192.0.2.8", "::" .. "c000:207" } },
    { "a /32", { "192.0.2.7/32" }, { "192.0.2.7" }, { "192.0.2.6" } },
    { "a /31", { "192.0.2.6/31" }, { "192.0.2.6", "192.0.2.7" }, { "192.0.2.5", "192.0.2.8" } },
    { "all of IPv4", { "0.0.0.0/0" }, { "0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4" }, { "::1", "2001:db8::1" } },
    { "all of IPv6", { "::/0" }, { "::1", "ffff::" }, { "0.0.0.0", "127.0.0.1" } },
    { "an IPv6 block", { "2001:db8::/32" }, { "2001:db8::", "2001:db8:ffff::1" }, { "2001:db7:ffff::", "2001:db9::" } },
    { "an odd length", { "2001:db8:8000::/33" }, { "2001:db8:8000::1", "2001:db8:ffff::" }, { "2001:db8:7fff::1" } },
    { "an IPv6 host", { "::1" }, { "::1" }, { "::2", "::", "0.0.0.1" } },
    { "IPv4 written as IPv6", { "::ffff:10.0.0.0/104" }, { "10.1.2.3" }, { "11.0.0.0", "::1" } },
    { "a block in a wider one", { "10.0.0.0/8", "10.1.0.0/16" }, { "10.1.2.3", "10.2.0.0" }, { "11.0.0.0" } },
    { "a block around a narrower one", { "10.1.0.0/16", "10.0.0.0/8" }, { "10.1.2.3", "10.2.0.0" }, { "11.0.0.0" } },
    { "the same twice", { "10.1.0.0/16", "10.1.0.0/16" }, { "10.1.2.3" }, { "10.2.0.0" } },
    { "neighbours", { "10.0.0.0/9", "10.128.0.0/9", "::1", "fe80::/10" }, { "10.0.0.1", "10.200.0.1", "::1", "febf::1" },
      { "11.0.0.0", "fec0::" } },
    { "peers of unix sockets", { "unix" }, { "unix" }, { "0.0.0.0", "::1" } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local set = set_of(case[2])
      for _, text in ipairs(case[3]) do assert.is_true(C.gw_cidr_set_has(set, ip(text)), text .. " should be in") end
      for _, text in ipairs(case[4]) do assert.is_false(C.gw_cidr_set_has(set, ip(text)), text .. " should be out") end
    end)
  end

  local refused = {
    { "", "expected" }, { "10.0.0.0/", "0 to 32" }, { "10.0.0.0/33", "0 to 32" }, { "10.0.0.0/08", "0 to 32" },
    { "10.0.0.0/-1", "0 to 32" }, { "10.0.0.0/8 ", "0 to 32" }, { "10.0.0.0/8/8", "0 to 32" }, { "::/129", "0 to 128" },
    { "::/x", "0 to 128" }, { "10.0.0.1/8", "behind" }, { "10.0.0.0/0", "behind" }, { "2001:db8::1/32", "behind" },
    { "::ffff:0:0/90", "behind" }, { "10.0.0/8", "expected" }, { "/8", "expected" }, { "10.0.0.0:80", "expected" },
    { "[::1]", "expected" }, { "[::1]/128", "expected" }, { "localhost", "expected" }, { "unix/0", "expected" },
  }
  for _, case in ipairs(refused) do
    it(("refuses %q"):format(case[1]), function()
      local status, reason = add(set_of {}, case[1])
      assert.equal(C.GW_INVALID, status)
      assert.truthy(reason:find(case[2], 1, true), reason)
    end)
  end

  it("agrees with arithmetic over many blocks", function()
    math.randomseed(7)
    local set, blocks = set_of {}, {}
    for _ = 1, 300 do
      local length = math.random(12, 32)
      local size = 2 ^ (32 - length)
      local base = math.floor(math.random(0, 2 ^ 32 - 1) / size) * size
      local function text(n)
        return ("%d.%d.%d.%d"):format(math.floor(n / 2 ^ 24), math.floor(n / 2 ^ 16) % 256, math.floor(n / 256) % 256, n % 256)
      end
      blocks[#blocks + 1] = { base, base + size - 1, text = text }
      assert.equal(0, (add(set, text(base) .. "/" .. length)))
    end
    local text = blocks[1].text
    local function expected(n)
      for _, b in ipairs(blocks) do
        if n >= b[1] and n <= b[2] then return true end
      end
      return false
    end
    local inside = 0
    for _, b in ipairs(blocks) do
      for _, n in ipairs { b[1] - 1, b[1], b[2], b[2] + 1, math.random(0, 2 ^ 32 - 1) } do
        if n >= 0 and n < 2 ^ 32 then
          local want = expected(n)
          inside = inside + (want and 1 or 0)
          assert.equal(want, C.gw_cidr_set_has(set, ip(text(n))), text(n))
        end
      end
    end
    assert.is_true(inside >= 600)
  end)
end)
