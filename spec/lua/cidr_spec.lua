-- gateway.cidr: sets of addresses.

local gateway = require "gateway"
local cidr = require "gateway.cidr"

describe("a set of CIDR blocks", function()
  local set = gateway.cidr { "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "unix" }
  for _, case in ipairs {
    { "10.0.0.0", true }, { "10.255.255.255", true }, { "11.0.0.0", false }, { "9.255.255.255", false }, { "192.0.2.7", true },
    { "192.0.2.8", false }, { "2001:db8::", true }, { "2001:db8:ffff::1", true }, { "2001:db9::", false }, { "::1", true },
    { "::2", false },
    { "::ffff:10.1.2.3", true }, { "::ffff:11.1.2.3", false }, { "unix", true },
  } do
    it(("%s %s"):format(case[2] and "has" or "has not", case[1]), function() assert.equal(case[2], (set:contains(case[1]))) end)
  end

  for _, bad in ipairs { "", "localhost", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.0/8", "::g" } do
    it(("says that %q is no address"):format(bad), function()
      local has, problem = set:contains(bad)
      assert.is_false(has)
      assert.truthy(problem:find("expected an IP address, found", 1, true))
    end)
  end

  it("takes everything of a family, and not the other", function()
    assert.is_true((gateway.cidr("0.0.0.0/0"):contains("1.2.3.4")))
    assert.is_false((gateway.cidr("0.0.0.0/0"):contains("::1")))
    assert.is_true((gateway.cidr("::/0"):contains("2001::1")))
    assert.is_false((gateway.cidr("::/0"):contains("1.2.3.4")))
    assert.is_false((gateway.cidr({}):contains("1.2.3.4")))
  end)

  it("is looked at as fast with many blocks as with few", function()
    local blocks = {}
    for i = 0, 19999 do blocks[#blocks + 1] = ("10.%d.%d.0/25"):format(math.floor(i / 250), i % 250) end
    local many = gateway.cidr(blocks)
    assert.is_true((many:contains("10.79.249.127")))
    assert.is_false((many:contains("10.79.249.128")))
    local before = os.clock()
    for i = 1, 20000 do many:contains("10.79.249." .. i % 256) end
    assert.is_true(os.clock() - before < 1)
  end)

  it("tells every block that is wrong", function()
    local made, problems = cidr.compile { "10.0.0.1/8", "10.0.0.0/8", "nowhere", 5, "10.0.0.0/33" }
    assert.is_nil(made)
    assert.same({ '"10.0.0.0/33": the prefix length must be a number from 0 to 32', '"10.0.0.1/8": bits are set behind the prefix length',
      '"nowhere": an IP address or a CIDR block like 10.0.0.0/8 or 2001:db8::/32 is expected', "expected a CIDR block, found 5" }, problems)
    assert.same({ "expected a list of CIDR blocks, found 5" }, select(2, cidr.compile(5)))
    local _, raised = pcall(function()
      local x = gateway.cidr { "10.0.0.1/8" }
      return x
    end)
    assert.equal('spec/lua/cidr_spec.lua:LINE: gateway.cidr: "10.0.0.1/8": bits are set behind the prefix length',
      (raised:gsub(":%d+:", ":LINE:", 1)))
  end)

  it("wants a string", function() assert.has_error(function() set:contains(5) end) end)
end)
