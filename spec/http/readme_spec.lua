-- runtime/http/README.md names a test for each strict rule; the tests have to be there.

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

describe("runtime/http/README.md", function()
  local spec, rules = nil, 0
  for line in read("runtime/http/README.md"):gmatch("[^\n]+") do
    spec = line:match("^## .*`(spec/http/[%w_]+%.lua)`") or spec
    local rule, tests = line:match("^| ([^|]+) |.*| ([^|]+) |$")
    local path = spec
    if path and tests and tests:find('"') then
      rules = rules + 1
      it("names tests that are there: " .. rule, function()
        local text = read(path)
        for name in tests:gmatch('"([^"]+)"') do
          assert.is_truthy(text:find('"' .. name .. '"', 1, true), ("no test %q in %s"):format(name, path))
        end
      end)
    end
  end
  it("lists the rules", function() assert.is_true(rules > 40, tostring(rules)) end)
end)
