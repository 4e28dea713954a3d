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
  write("twice", "")
  assert(os.execute("mkdir -p " .. folder .. "/plugins/twice"))
  write("twice/init", "")
  write("eager", "return { name = 'eager', new = print, priority = 5, _own = 5 }")
  write("shcema", "return { name = 'shcema', new = print, shcema = {} }")
  write("badtype", "return { name = 'badtype', new = print, schema = { a = { fields = { b = 'strng' } } } }")
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
    local shown = spec.routes[1].chain_configs[1]
    assert.same({ "x-api-key", "loose", 5 }, { shown.header, shown.mode, shown.wait })
    local digest = require "gateway.digest"
    assert.truthy(digest.lines(shown):find("keys = %(secret %x%x%x%x%)"), digest.lines(shown))
    assert.is_nil(digest.text(shown):find("abc", 1, true))
    assert.same({ folder .. "/plugins/good.lua" }, spec.files)
  end)

  it("whose secrets differ differs in the digest", function()
    local digest = require "gateway.digest"
    local texts = {}
    for i, key in ipairs { "first", "second", "first" } do
      local spec = run(([[gateway.route "/" { use = { gateway.plugin("good", { keys = { %s = "b" } }) }, to = gateway.respond(200) }]])
        :format(key))
      texts[i] = digest.text(spec.routes)
    end
    assert.equal(texts[1], texts[3])
    assert.not_equal(texts[1], texts[2])
  end)

  it("may be a folder, with modules of its own", function()
    assert(os.execute("mkdir -p " .. folder .. "/plugins/big/deep"))
    write("big/init", 'local parts = require "big.parts"; return { name = "big", new = function() return parts.f end }')
    write("big/parts", 'return { f = function() return require("big.deep") end }')
    write("big/deep/init", 'return "deep"')
    local spec, problems, chains = run "gateway.use { gateway.plugin 'big' } gateway.route '/' { to = gateway.respond(200) }"
    assert.same({}, problems)
    assert.same({ folder .. "/plugins/big.lua", folder .. "/plugins/big/init.lua", folder .. "/plugins/big/parts.lua" }, spec.files)
    assert.equal("deep", chains[1].use[1]())
  end)

  it("may be a limit", function()
    write("limited", [[local gateway = require "gateway"
      return { name = "limited", new = function() return gateway.rate_limit { rate = 1 } end }]])
    local spec, problems = run "gateway.route '/' { use = { gateway.plugin 'limited' }, to = gateway.respond(200) }"
    assert.same({}, problems)
    assert.equal(1, #spec.routes[1].limits)
  end)

  it("gets an upstream that is declared further down", function()
    write("mirror", [[return { name = "mirror", schema = { to = { type = "upstream", required = true } },
      new = function(config) return function() return config.to end end }]])
    local _, problems, chains = run [[gateway.route "/" { use = { gateway.plugin("mirror", { to = "late" }) }, to = "late" }
      late = gateway.upstream "late" { "127.0.0.1:1" }]]
    assert.same({}, problems)
    assert.equal(late, chains[1].use[1]()) -- luacheck: ignore 113
    _, problems = run 'gateway.upstream "users" { "a:1" } gateway.use { gateway.plugin("mirror", { to = "usres" }) }'
    assert.same({ 'script.lua:1: unknown upstream "usres" (did you mean "users"?)' }, problems)
  end)

  it("may give out one function for all its uses", function()
    local spec, problems = run [[gateway.use { gateway.plugin "shared", gateway.plugin "shared" }
      gateway.route "/" { to = gateway.respond(200) }]]
    assert.same({}, problems)
    assert.same({ "shared", "shared" }, spec.routes[1].chain_texts)
  end)

  local wrong = {
    { 'gateway.plugin("good", { keys = 5 })', 'plugin "good": keys: expected a map, found a number (secret)' },
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
    { 'gateway.plugin "twice"', 'plugin "twice": expected one file, found two: DIR/plugins/twice.lua and DIR/plugins/twice/init.lua' },
    { 'gateway.plugin "eager"', 'plugin "eager": DIR/plugins/eager.lua: a plugin has no priority: it runs where it stands in a `use`' },
    { 'gateway.plugin "shcema"', 'plugin "shcema": DIR/plugins/shcema.lua: unknown field "shcema" (did you mean "schema"?)' },
    { 'gateway.plugin "badtype"',
      'plugin "badtype": DIR/plugins/badtype.lua: schema.a.fields.b: unknown type "strng" (did you mean "string"?)' },
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
    assert.same({ 'script.lua:1: plugin "nowhere": not found; looked for DIR/plugins/nowhere.lua, DIR/plugins/nowhere/init.lua, '
      .. "and among the shipped ones" }, problems)
  end)
end)
