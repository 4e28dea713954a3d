-- gateway.regex: what matches, what is replaced, what is wrong with a pattern, and that no pattern and no text can hold anybody up.

local gateway = require "gateway"
local regex = require "gateway.regex"

describe("a regex", function()
  for _, case in ipairs { -- pattern, flags, text, captures or false
    { "b+", nil, "abbc", { [0] = "bb" } }, { "^b", nil, "ab", false }, { "", nil, "", { [0] = "" } },
    { "(a)(x)?(c)", nil, "ac", { [0] = "ac", "a", [3] = "c" } }, { "(?<year>\\d{4})-(?<month>\\d\\d)", nil, "on 2026-01-31",
      { [0] = "2026-01", "2026", "01", year = "2026", month = "01" } },
    { "ABC", "i", "xabcx", { [0] = "abc" } }, { "^b$", "m", "a\nb\nc", { [0] = "b" } }, { "^b$", nil, "a\nb\nc", false },
    { "a.b", "s", "a\nb", { [0] = "a\nb" } }, { "a.b", nil, "a\nb", false }, { "a b # and\nc", "x", "abc", { [0] = "abc" } },
    { "^.$", "u", "é", { [0] = "é" } }, { "^.$", nil, "é", false }, { "b", "a", "ab", false }, { "\\w", "u", "é", { [0] = "é" } },
    { "a|b", nil, "xb", { [0] = "b" } }, { "x\0y", nil, "ax\0yb", { [0] = "x\0y" } }, { ".", "u", "\255", false },
    { "(?i)A|B # no end", "x", "xb", { [0] = "b" } }, { "(?x) b # no end", nil, "ab", { [0] = "b" } },
    { "\\Qa.b", nil, "a.b", { [0] = "a.b" } },
    { "(a)\\1", nil, "xaa", { [0] = "aa", "a" } }, { "(?<=a)b", nil, "ab", { [0] = "b" } }, { "\\bfoo\\b", nil, "a foo.", { [0] = "foo" } },
  } do
    it(("%s, %s, on %q"):format(case[1], case[2] or "no flags", case[3]), function()
      local r = gateway.regex(case[1], case[2])
      local captures, problem = r:match(case[3])
      assert.is_nil(problem)
      assert.same(case[4] or nil, captures)
      assert.equal(case[4] and true or false, r:test(case[3]))
      if case[4] then
        local first, last = r:find(case[3])
        assert.equal(case[4][0], case[3]:sub(first, last))
      else
        assert.is_nil((r:find(case[3])))
      end
    end)
  end

  it("searches from a place on, with what is before in sight", function()
    local r = gateway.regex "(?<=a)b"
    assert.same({ 2, 2 }, { r:find("abab") })
    assert.same({ 4, 4 }, { r:find("abab", 3) })
    assert.same({ 4, 4 }, { r:find("abab", -2) })
    assert.is_nil((r:find("abab", 5)))
    assert.is_nil((r:find("abab", 100)))
    assert.same({ [0] = "b" }, r:match("abab", 4))
  end)

  it("finds all", function()
    local found = {}
    for captures in gateway.regex("(\\w)=(\\d*)"):gmatch("a=1, b=, c=22") do found[#found + 1] = captures[1] .. ":" .. captures[2] end
    assert.same({ "a:1", "b:", "c:22" }, found)
    local count = 0
    for _ in gateway.regex("x*"):gmatch("ab") do count = count + 1 end
    assert.equal(3, count)
  end)

  it("is one object for one pattern, as long as it is held", function()
    assert.equal(gateway.regex("same", "i"), gateway.regex("same", "i"))
    assert.not_equal(gateway.regex("same", "i"), gateway.regex("same"))
  end)

  it("goes with the collector", function()
    for i = 1, 2000 do gateway.regex("pattern" .. i) end
    collectgarbage()
    collectgarbage()
    assert.is_true(collectgarbage("count") < 50000)
  end)

  for _, case in ipairs { -- pattern, flags, text, replacement, result, count, n
    { "\\d", nil, "a1b22", "#", "a#b##", 3 }, { "(\\w+)@(\\w+)", nil, "me@here you@there", "$2 at ${1}", "here at me there at you", 2 },
    { "x", nil, "abc", "y", "abc", 0 }, { "x*", nil, "abc", "-", "-a-b-c-", 4 }, { "a", nil, "aaa", "b", "bba", 2, 2 },
    { "(?<user>\\w+)", nil, "joe", "<${user}:$0>", "<joe:joe>", 1 }, { "(a)|(b)", nil, "ab", "[$1$2]", "[a][b]", 2 },
    { "a", nil, "a", "$$1", "$1", 1 },
    { "x*", "u", "é€", "-", "-é-€-", 3 }, { "^/old/(.*)$", nil, "/old/a/b", "/new/$1", "/new/a/b", 1 },
    { "\\w", nil, "abc", function(c) return c[0] == "b" and "B" or nil end, "aBc", 3 },
    { "b", nil, "abc", function() return "" end, "ac", 1 },
  } do
    it(("%s replaces in %q"):format(case[1], case[3]), function()
      assert.same({ case[5], case[6] }, { gateway.regex(case[1], case[2]):gsub(case[3], case[4], case[7]) })
    end)
  end

  for _, case in ipairs { -- pattern, flags, problem
    { "a(b", nil, "missing closing parenthesis, at its end", 4 }, { "a)b", nil, 'unmatched closing parenthesis, at byte 2, ")b"', 2 },
    { "[a", nil, "missing terminating ] for character class, at its end", 3 },
    { "a)(?:b", nil, 'unmatched closing parenthesis, at byte 2, ")(?:b"', 2 },
    { "*a", nil, 'quantifier does not follow a repeatable item, at byte 1, "*a"', 1 }, { "\\C", nil, nil, 3 }, { "(*UTF)a", nil, nil, 7 },
    { "a", "q", 'flags: expected letters out of "imsxua", found "q"' }, { "a", 5, 'flags: expected letters out of "imsxua", found 5' },
    { 5, nil, "expected a pattern, found 5" }, { ("a"):rep(16385), nil, "it is longer than 16384 bytes" },
    { "((?:a{1,100}b{1,100}){1,100}){100}", nil, nil, 35 }, { ("(a)"):rep(256), nil, "it has more than 255 groups" },
  } do
    it(("is refused: %s"):format(tostring(case[1]):sub(1, 30)), function()
      local r, problem, at = regex.compile(case[1], case[2])
      assert.is_nil(r)
      if case[3] then assert.equal(case[3], problem) end
      assert.equal(case[4], at)
      local good, raised = pcall(function()
        local made = gateway.regex(case[1], case[2])
        return made
      end)
      assert.is_false(good)
      assert.truthy(raised:find("^spec/lua/regex_spec.lua:%d+: gateway.regex%("), raised)
    end)
  end

  for _, case in ipairs {
    { "$2", 'the pattern has no group "2"' }, { "${name}", 'the pattern has no group "name"' }, { "a$", "expected a group behind" },
    { "${a", "expected a group behind" }, { "$10", 'the pattern has no group "10"' },
  } do
    it("refuses the replacement " .. case[1], function()
      local r = gateway.regex "(a)"
      local _, problem = r:replacement(case[1])
      assert.truthy(problem:find(case[2], 1, true), problem)
      assert.has_error(function() r:gsub("a", case[1]) end)
    end)
  end

  it("raises for what is no string", function()
    local r = gateway.regex "a"
    for _, call in ipairs { "test", "find", "match", "gmatch", "gsub" } do
      local _, problem = pcall(function()
        local x = r[call](r, 5, "x")
        return x
      end)
      assert.truthy(tostring(problem):find("regex_spec.lua:%d+: regex:" .. call .. ": expected a string, found 5"), problem)
    end
  end)
end)

describe("a match", function()
  -- Nothing of this ends in its own time.
  for _, case in ipairs {
    { "(a+)+$", ("a"):rep(5000) .. "b" }, { "^(([a-z])+.)+[A-Z]([a-z])+$", ("a"):rep(3000) }, { "(x+x+)+y", ("x"):rep(4000) .. "zy" },
    { "\\s+$", (" "):rep(300000) .. "x" }, { ".*.*.*.*=.*x", ("a="):rep(20000) .. "\nx" }, { "^(a|a)*$", ("a"):rep(10000) .. "b" },
    { "^(?:a?){40}a{60}cb", ("a"):rep(80) .. "cb" }, { "(.*?,){11}P", ("1,"):rep(3000) .. "\nP" },
    { "(\\w+\\d+)+:", ("a1"):rep(50000) .. "-:" },
    { "^(?=(a+)+b)", ("a"):rep(5000) .. "cb" }, { "(?<!a)(a*a*a*)*b", ("a"):rep(100000) .. "cb" },
    { "(?x) (a+)+$ # unclosed", ("a"):rep(5000) .. "b" },
  } do
    for _, flags in ipairs { "", "u" } do
      it(("of %s with flags %q ends in time"):format(case[1], flags), function()
        local r = gateway.regex(case[1], flags)
        local before = os.clock()
        local found, problem = r:test(case[2])
        assert.is_true(os.clock() - before < 1)
        assert.is_false(found)
        assert.equal("the match was given up: it would take too long", problem)
        assert.same({ nil, problem }, { r:match(case[2]) })
        assert.same({ nil, problem }, { r:gsub(case[2], "y") })
        assert.is_false((r:test("-")))
      end)
    end
  end

  -- Over the bound that long texts have, but nothing out of the ordinary.
  for _, case in ipairs {
    { "^(?:\\d+,?)*$", ("12,"):rep(100000), true }, { "^(?:a|b)*$", ("ab"):rep(50000), true }, { "(?:a|b)*c", ("ab"):rep(50) .. "c", true },
    { "needle", ("hay"):rep(300000) .. "needle", true }, { "^(?:a|b)*$", ("ab"):rep(50000) .. "c", false },
  } do
    it(("of %s on %d bytes is made"):format(case[1], #case[2]), function()
      local found, problem = gateway.regex(case[1]):test(case[2])
      assert.is_nil(problem)
      assert.equal(case[3], found)
    end)
  end

  it("is not tried on more than 4 MB", function()
    assert.same({ false, "the text is too long: expected at most 4 MB" }, { gateway.regex("a"):test(("a"):rep(2 ^ 22 + 1)) })
    assert.is_true((gateway.regex("b"):test(("a"):rep(2 ^ 22 - 1) .. "b")))
  end)
end)
