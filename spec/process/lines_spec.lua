local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("process/lines.h")

-- gw_lines_json into `room` bytes: the text, and whether it was cut.
local function json(lines, room, abridge)
  local bytes = ffi.new("char[?]", room)
  local text = ffi.new("gw_text", { at = bytes, ["end"] = bytes + room, begin = bytes, cut = false })
  C.gw_lines_json(text, lines, abridge)
  return ffi.string(bytes, text.at - text.begin), text.cut
end

describe("gw_lines_json", function()
  for _, case in ipairs {
    { "no lines", nil, "" },
    { "an empty text", "", "" },
    { "one line", "a.lua:1: bad", '"a.lua:1: bad"' },
    { "a line with its end", "a\n", '"a"' },
    { "several, and empty ones between", "a\n\nb\n\n", '"a","b"' },
    { "what JSON escapes", 'say "x"\t\\\n', '"say \\"x\\"\\t\\\\"' },
  } do
    it("makes members of " .. case[1], function()
      for _, abridge in ipairs { true, false } do
        local got, cut = json(case[2], 200, abridge)
        assert.same({ case[3], false }, { got, cut })
      end
    end)
  end

  it("sums up what does not fit, whatever the room", function()
    local lines = {}
    for i = 1, 100 do lines[i] = ("line %d %s"):format(i, ("x"):rep(i % 7)) end
    local all = table.concat(lines, "\n")
    for room = 48, 2500 do
      local got, cut = json(all, room, true)
      assert.is_false(cut, tostring(room))
      local members = 0
      for _ in got:gmatch('"line %d+ x*"') do members = members + 1 end
      local more = tonumber(got:match('"%.%.%. and (%d+) more"$') or 0)
      assert.equal(100, members + more, got)
    end
  end)

  it("says that it was cut when it may not sum up", function()
    local _, cut = json(("line\n"):rep(100), 100, false)
    assert.is_true(cut)
  end)
end)
