-- gateway.plugin: where it is looked for, what its file must be, and configs against schemas.

local declaring = require "spec.lua.declaring"

local folder

local function write(name, text)
  local file = assert(io.open(("%s/plugins/%s.lua"):format(folder, name), "wb"))
  file:write(text)
  file:close()
end

local function run(text)
  local spec, problems, chains = declaring.run(text, { folder = folder })
  for i, problem in ipairs(problems) do problems[i] = problem:gsub(folder:gsub("%p", "%%%0"), "DIR") end
  return spec, problems, chains
end

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -p " .. folder .. "/plugins"))
  write("good", [[
    return {
      name = "good", version = "1",
      schema = {
        keys = { type = "map", of = "string", required = true, secret = true }, header = { type = "string", default = "x-api-key" },
        mode = { type = "enum", values = { "strict", "loose" }, default = "loose" }, wait = "duration",
      },
      new = function(config) return function(request, next) return config end end,
    }]])
  write("shared", [[
    local function f(request, next) return next() end
    return { name = "shared", new = function() return f end }]])
  write("syntax", "return {")
  write("raises", "error 'no luck'")
  write("nothing", "return 5")
  write("misnamed", "return { name = 'other', new = print }")
  write("idle", "return { name = 'idle' }")
  write("badschema", "return { name = 'badschema', new = print, schema = 5 }")
  write("failing", "return { name = 'failing', new = function() error('bad config', 0) end }")
  write("empty", "return { name = 'empty', new = function() end }")
end)

teardown(function() os.execute("rm -r " .. folder) end)

describe("a plugin", function()
  it("becomes middleware with its defaults", function()
    local spec, problems, chains = run [[
      gateway.route "/" { use = { gateway.plugin("good", { keys = { a = "b" }, wait = "5s" }) }, to = gateway.respond(200) }]]
    assert.same({}, problems)
    assert.same({ keys = { a = "b" }, header = "x-api-key", mode = "loose", wait = 5 }, chains[1].use[1]())
    assert.same({ "good" }, spec.routes[1].chain_texts)
    assert.same({ keys = "(secret)", header = "x-api-key", mode = "loose", wait = 5 }, spec.routes[1].chain_configs[1])
    assert.same({ folder .. "/plugins/good.lua" }, spec.files)
  end)

  it("may give out one function for all its uses", function()
    local spec, problems = run [[gateway.use { gateway.plugin "shared", gateway.plugin "shared" }
      gateway.route "/" { to = gateway.respond(200) }]]
    assert.same({}, problems)
    assert.same({ "shared", "shared" }, spec.routes[1].chain_texts)
  end)

  local wrong = {
    { 'gateway.plugin("good", { keys = 5 })', 'plugin "good": keys: expected a map, found 5' },
    { 'gateway.plugin "good"', 'plugin "good": field "keys" is required: expected a map, found nothing' },
    { 'gateway.plugin("good", { keys = {}, haeder = "x" })', 'plugin "good": unknown field "haeder" (did you mean "header"?)' },
    { 'gateway.plugin("good", { keys = {}, mode = "strcit" })',
      'plugin "good": mode: expected one of "strict", "loose", found "strcit" (did you mean "strict"?)' },
    { 'gateway.plugin("good", 5)', 'plugin "good": expected a table as config, found 5' },
    { 'gateway.plugin "raises"', nil },
    { 'gateway.plugin "syntax"', 'plugin "syntax": DIR/plugins/syntax.lua:1: unexpected symbol near \'<eof>\'' },
    { 'gateway.plugin "nothing"',
      'plugin "nothing": DIR/plugins/nothing.lua: expected the file to return a table { name, schema, new }, found 5' },
    { 'gateway.plugin "misnamed"',
      'plugin "misnamed": DIR/plugins/misnamed.lua: expected name = "misnamed" as the file is called, found "other"' },
    { 'gateway.plugin "idle"', 'plugin "idle": DIR/plugins/idle.lua: expected new = function(config) ... end, found nothing' },
    { 'gateway.plugin "badschema"', 'plugin "badschema": DIR/plugins/badschema.lua: expected schema to be a table of fields, found 5' },
    { 'gateway.plugin "empty"',
      'plugin "empty": DIR/plugins/empty.lua: expected new(config) to return a function(request, next), found nothing' },
  }
  for i, case in ipairs(wrong) do
    it(("is refused %d: %s"):format(i, case[1]), function()
      local _, problems = run(("gateway.route '/' { use = { %s }, to = gateway.respond(200) }"):format(case[1]))
      assert.equal(1, #problems, table.concat(problems, "\n"))
      if case[2] then
        local short = problems[1]:gsub("%.%.%.[^:]*/", "DIR/plugins/") -- LuaJIT cuts long paths
        assert.equal("script.lua:1: " .. case[2], short)
      end
    end)
  end

  it("that fails tells why", function()
    local _, problems = run "gateway.use { gateway.plugin 'failing' }"
    assert.truthy(problems[1]:find('^script.lua:1: plugin "failing": new%(config%) failed: bad config'), problems[1])
    _, problems = run "gateway.use { gateway.plugin 'raises' }"
    assert.truthy(problems[1]:find("no luck", 1, true), problems[1])
  end)

  it("that is nowhere tells where it was looked for", function()
    local _, problems = run "gateway.use { gateway.plugin 'nowhere' }"
    assert.same({ 'script.lua:1: plugin "nowhere": not found; looked for DIR/plugins/nowhere.lua' }, problems)
  end)
end)
