-- The command line, against the real binary: exit codes, and what is said where.

local gateway = require "spec.support.gateway"

local GOOD = [[
local gateway = require "gateway"
gateway.listen "127.0.0.1:${port}"
gateway.route "/one" { to = gateway.upstream "u" { "127.0.0.1:9" } }
gateway.route "/two" { to = gateway.respond(200, "two") }
]]

local LISTENING = 'local gateway = require "gateway"; gateway.listen "127.0.0.1:1"'

local function run(args, options)
  options = options or {}
  options.args = args
  return gateway.command(options)
end

describe("wrong usage ends with 2, says why and where help is:", function()
  for _, case in ipairs {
    { "nothing", {}, "a SCRIPT or a command is expected" },
    { "check without a script", { "check" }, "a SCRIPT is expected behind the command" },
    { "run without a script", { "run" }, "a SCRIPT is expected behind the command" },
    { "routes without a script", { "routes" }, "a SCRIPT is expected behind the command" },
    { "an unknown command", { "frobnicate", "main.lua" }, 'unknown command "frobnicate"' },
    { "a command that is nearly one", { "statsu" }, 'unknown command "statsu" (did you mean "status"?)' },
    { "an unknown option", { "--verbose" }, 'unknown option "--verbose"' },
    { "an unknown option behind a command", { "check", "-x", "main.lua" }, 'unknown option "-x"' },
    { "an option of the whole behind a command", { "check", "--version" }, 'unknown option "--version"' },
    { "two scripts", { "check", "a.lua", "b.lua" }, 'one SCRIPT is expected, found a second one, "b.lua"' },
    { "two scripts and no command", { "a.lua", "b.lua" }, 'one SCRIPT is expected, found a second one, "b.lua"' },
    { "an empty word", { "check", "" }, "SCRIPT is an empty word" },
    { "two plugins", { "plugins", "a", "b" }, 'one NAME is expected, found a second one, "b"' },
    { "types without a folder", { "types" }, "a FOLDER is expected behind the command" },
  } do
    it(case[1], function()
      local got = run(case[2])
      assert.equal(2, got.code)
      assert.equal("", got.stdout)
      assert.truthy(got.stderr:find(case[3], 1, true), got.stderr)
      assert.truthy(got.stderr:find("try: gateway .*%-%-help\n$"), got.stderr)
    end)
  end
end)

describe("help goes to stdout, with an example, and ends with 0:", function()
  for _, case in ipairs {
    { "of the whole", { "--help" }, "usage:" },
    { "in short", { "-h" }, "usage:" },
    { "of run", { "run", "--help" }, "usage: gateway [run] SCRIPT" },
    { "of check", { "check", "--help" }, "usage: gateway check SCRIPT" },
    { "of routes", { "routes", "-h" }, "usage: gateway routes SCRIPT" },
    { "of plugins", { "plugins", "--help" }, "usage: gateway plugins [NAME]" },
    { "of types", { "types", "--help" }, "usage: gateway types FOLDER" },
    { "even behind a script", { "check", "main.lua", "--help" }, "usage: gateway check SCRIPT" },
  } do
    it(case[1], function()
      local got = run(case[2])
      assert.equal(0, got.code)
      assert.equal("", got.stderr)
      assert.truthy(got.stdout:find(case[3], 1, true), got.stdout)
      assert.truthy(got.stdout:find("\nexample:\n", 1, true), got.stdout)
    end)
  end

  it("no line is too long for a terminal", function()
    for _, args in ipairs { { "--help" }, { "run", "--help" }, { "check", "--help" }, { "routes", "--help" },
      { "plugins", "--help" }, { "types", "--help" } } do
      for line in run(args).stdout:gmatch("[^\n]+") do assert.is_true(#line <= 88, line) end
    end
  end)
end)

describe("the version", function()
  for _, option in ipairs { "--version", "-V" } do
    it(option, function()
      local got = run { option }
      assert.equal(0, got.code)
      assert.truthy(got.stdout:find("^gateway %d+%.%d+%.%d+\n$"), got.stdout)
    end)
  end
end)

describe("check", function()
  it("counts what it found", function()
    local got = run({ "check", "${dir}/main.lua" }, { script = GOOD })
    assert.same({ 0, "ok: 2 routes, 1 upstream, 1 listener\n", "" }, { got.code, got.stdout, got.stderr })
  end)

  it("takes a script whose name looks like an option behind --", function()
    local got = run({ "check", "--", "-main.lua" }, { script = GOOD })
    assert.equal(1, got.code) -- no such file in this folder; but no wrong usage
    assert.truthy(got.stderr:find("-main.lua", 1, true), got.stderr)
  end)

  it("says every error with its file and line, and ends with 1", function()
    local got = run({ "check", "${dir}/main.lua" }, { script = [[
local gateway = require "gateway"
gateway.workers "many"
gateway.listen(8080) gateway.listen "127.0.0.1:1"
gateway.route "/x" { to = "nobody", nonsense = true }
]] })
    assert.equal(1, got.code)
    assert.equal("", got.stdout)
    local said = {}
    local errors, last = got.stderr:match("^(.*\n)([^\n]*)\n$")
    assert.equal("4 errors", last)
    for line in errors:gmatch("[^\n]+") do
      local number = line:match("/main%.lua:(%d+): ")
      assert.truthy(number, line)
      said[tonumber(number)] = (said[tonumber(number)] or 0) + 1
    end
    assert.same({ [2] = 1, [3] = 1, [4] = 2 }, said)
  end)

  it("tells 200 errors, and counts all", function()
    local got = run({ "check", "${dir}/main.lua" }, {
      script = LISTENING .. "\nfor i = 1, 150 do gateway.route('/' .. i) { too = 1 } end\n",
    })
    assert.equal(1, got.code)
    assert.truthy(got.stderr:find("\n... and 100 more\n300 errors\n$"), got.stderr:sub(-200))
  end)

  it("says errors in the order of the lines, whoever finds them, and warnings apart", function()
    local got = run({ "check", "${dir}/main.lua" }, { script = [[
local gateway = require "gateway"
gateway.load "routes.yaml"
gateway.admin "0.0.0.0:9901"
gateway.upstream "u" { "10.0.0.1:x" }
gateway.workers "many"
gateway.use { gateway.plugin("old", { number = 5 }) }
local function f() error("no luck") end
f()
gateway.workers "more"
]], files = {
      ["routes.yaml"] = "routes:\n  - path: /\n    to: { respond: 200 }\n    use:\n      - plugin: old\n        config:\n"
        .. "          count: x\n  - path: x\n",
      ["plugins/old.lua"] = [[return { name = "old", schema = { count = { type = "integer", renamed_from = "number" } },
        new = function() return function(_, next) return next() end end }]],
    } })
    assert.equal(1, got.code)
    local lines = {}
    for line in got.stderr:gmatch("[^\n]+") do lines[#lines + 1] = line:gsub("^(%a*:? ?)/[^:]*/", "%1") end
    for i, start in ipairs { "main.lua:3: ", "main.lua:4: ", "main.lua:5: ", "main.lua:7: no luck", "\tstack traceback:", "\t", "\t",
      "routes.yaml:7: ", "routes.yaml:8: ", "warning: main.lua:6: ", "6 errors, 1 warning" } do
      assert.equal(start, (lines[i] or ""):sub(1, #start), got.stderr)
    end
    assert.equal(11, #lines)
  end)

  for _, case in ipairs {
    { "a syntax error", "local x = = 1\n", "/main%.lua:1: " },
    { "an error while it runs", 'local gateway = require "gateway"\n\nerror("no luck")\n', "/main%.lua:3: .*no luck" },
    { "an admin address that others can reach", LISTENING .. '\ngateway.admin "0.0.0.0:9901"\n',
      "/main%.lua:2: .*0%.0%.0%.0:9901.*loopback" },
    { "an admin address on all interfaces", LISTENING .. '\ngateway.admin ":9901"\n', "/main%.lua:2: .*loopback" },
  } do
    it("refuses " .. case[1], function()
      local got = run({ "check", "${dir}/main.lua" }, { script = case[2] })
      assert.equal(1, got.code)
      assert.truthy(got.stderr:find(case[3]), got.stderr)
    end)
  end

  for _, at in ipairs { "127.0.0.1:9901", "127.9.8.7:9901", "[::1]:9901", "unix:/tmp/never-made.sock" } do
    it("takes the admin address " .. at, function()
      local script = ('local gateway = require "gateway"\ngateway.admin %q\ngateway.listen "127.0.0.1:1"\n'):format(at)
      local got = run({ "check", "${dir}/main.lua" }, { script = script .. 'gateway.route "/" { to = gateway.respond(200) }\n' })
      assert.same({ 0, "" }, { got.code, got.stderr })
    end)
  end

  it("refuses a script that is not there", function()
    local got = run { "check", "${dir}/missing.lua" }
    assert.equal(1, got.code)
    assert.truthy(got.stderr:find("missing.lua", 1, true), got.stderr)
  end)

  it("touches no socket", function()
    local g = gateway.start { script = '${prelude} gateway.route "/" { to = gateway.respond(200, "hi") }' }
    local got = run({ "check", g.dir .. "/main.lua" })
    assert.same({ 0, "" }, { got.code, got.stderr })
    g:stop()
  end)
end)

describe("plugins", function()
  local files = {
    ["plugins/good.lua"] = [[return { name = "good", version = "1.2.3", description = "Does good.", schema = {
      keys = { type = "map", of = "string", required = true, secret = true, description = "who may", example = { abc = "alice" } },
      rules = { type = "list", of = { fields = { wait = { type = "duration", default = "5s" } } } } }, new = print }]],
    ["plugins/bad.lua"] = "return {",
    ["more/good/init.lua"] = "",
  }
  local function plugins(name)
    return run({ "plugins", name }, { files = files, inside = true, env = { GATEWAY_PLUGINS = "more" } })
  end

  it("are listed with where they are", function()
    local got = plugins()
    assert.same({ 0, "" }, { got.code, got.stderr })
    local text = got.stdout
    assert.truthy(text:find("\ngood +1%.2%.3 +plugins/good%.lua +Does good%.\ngood +more/good/init%.lua +%(hidden"), text)
    assert.truthy(text:find("\nbad +%- +plugins/bad%.lua +cannot be loaded: see gateway plugins bad"), text)
  end)

  it("say what they take", function()
    local got = plugins "good"
    assert.same({ 0, "" }, { got.code, got.stderr })
    assert.equal([[
good 1.2.3  plugins/good.lua
Does good.

options:
  keys: a map from names to strings -- required, secret
      who may
      for example keys = { abc = "alice" }
  rules: a list of tables
  rules[].wait: a duration -- default "5s"

example:
  use = { gateway.plugin("good", { keys = { abc = "alice" } }) }
]], got.stdout)
  end)

  it("that are not there, or wrong, end with 1", function()
    local got = plugins "goood"
    assert.same({ 1, "", 'gateway: plugin "goood": not found (did you mean "good"?); looked in plugins, more, the shipped ones\n' },
      { got.code, got.stdout, got.stderr })
    got = plugins "bad"
    assert.same({ 1, "", "gateway: plugin \"bad\": plugins/bad.lua:1: unexpected symbol near '<eof>'\n" },
      { got.code, got.stdout, got.stderr })
  end)
end)

describe("types", function()
  it("are written where they are wanted", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
    finally(function() os.execute("rm -r " .. folder) end)
    local got = run { "types", folder .. "/" }
    assert.same({ 0, "" }, { got.code, got.stderr })
    assert.truthy(got.stdout:find('"workspace.library": ["' .. folder .. '"]', 1, true), got.stdout)
    local definitions = assert(loadfile(folder .. "/gateway.lua"))()
    assert.equal("function", type(definitions.route))
    got = run { "types", folder .. "/missing" }
    assert.equal(1, got.code)
    assert.truthy(got.stderr:find("cannot write .*/missing/gateway.lua: No such file"), got.stderr)
  end)
end)

describe("routes", function()
  it("stand in the order in which they are tried", function()
    local got = run({ "routes", "${dir}/main.lua" }, { script = [[
local gateway = require "gateway"
gateway.listen "127.0.0.1:${port}"
local answer = gateway.respond(200, "")
gateway.route "/" { to = answer }
gateway.route "/a/:x" { to = answer }
gateway.route "= /a/b" { to = answer }
gateway.route "/" { to = answer, host = "example.com" }
]] })
    assert.same({ 0, "" }, { got.code, got.stderr })
    local order = {}
    for number in got.stdout:gmatch("main%.lua:(%d+)\n") do order[#order + 1] = tonumber(number) end
    assert.same({ 7, 6, 5, 4 }, order)
  end)

  it("of a script with errors are errors", function()
    local got = run({ "routes", "${dir}/main.lua" }, { script = "oops" })
    assert.same({ 1, "" }, { got.code, got.stdout })
    assert.truthy(got.stderr:find("/main%.lua:1: "), got.stderr)
  end)
end)

describe("run", function()
  for _, case in ipairs {
    { "a broken script", "oops", "/main%.lua:1: " },
    { "a listener that cannot bind", 'local gateway = require "gateway"\ngateway.listen "127.0.0.1:${backend1_port}"\n',
      "/main%.lua:2: cannot listen on 127%.0%.0%.1:%d+: cannot bind: Address already in use" },
    { "an admin address that cannot bind",
      'local gateway = require "gateway"\ngateway.listen "127.0.0.1:${port}"\ngateway.admin "127.0.0.1:${backend1_port}"\n',
      "/main%.lua:3: cannot listen on the admin address 127%.0%.0%.1:%d+: cannot bind: Address already in use" },
    { "a unix path in a folder that is not there", 'local gateway = require "gateway"\ngateway.listen "unix:${dir}/no/such.sock"\n',
      "/main%.lua:2: cannot listen on unix:.*/no/such%.sock: cannot bind: No such file or directory" },
  } do
    for _, args in ipairs { { "${dir}/main.lua" }, { "run", "${dir}/main.lua" } } do
      it(("ends with 1 for %s (%d words)"):format(case[1], #args), function()
        local got = run(args, { script = case[2] .. 'gateway.route "/" { to = gateway.respond(200) }\n', backends = 1 })
        assert.equal(1, got.code)
        assert.truthy(got.stderr:find(case[3]), got.stderr)
      end)
    end
  end

  it("says all listeners that cannot bind", function()
    local got = run({ "${dir}/main.lua" }, { backends = 2, script = [[
local gateway = require "gateway"
gateway.listen "127.0.0.1:${backend1_port}"
gateway.listen "127.0.0.1:${backend2_port}"
gateway.route "/" { to = gateway.respond(200) }
]] })
    assert.equal(1, got.code)
    assert.truthy(got.stderr:find("main%.lua:2: ") and got.stderr:find("main%.lua:3: "), got.stderr)
  end)
end)

describe("the examples", function()
  for _, name in ipairs { "hello.lua", "quickstart.lua", "traffic.lua", "yaml.lua" } do
    it("pass the check: " .. name, function()
      local got = run { "check", "examples/" .. name }
      assert.same({ 0, "" }, { got.code, got.stderr })
    end)
  end
end)

it("every shipped plugin is documented: a description, and one of each option", function()
  local list = run({ "plugins" }, { inside = true })
  assert.same({ 0, "" }, { list.code, list.stderr })
  local count = 0
  for name, rest in list.stdout:gmatch("([%w_-]+) +[^\n]-%(shipped%) +([^\n]*)") do
    count = count + 1
    assert.not_equal("-", rest, name)
    local got = run({ "plugins", name }, { inside = true })
    assert.same({ 0, "" }, { got.code, got.stderr })
    local bare = got.stdout:match("\n  ([%w_]+): [^\n]*\n  [%w_]+: ")
    assert.is_nil(bare, name .. " does not say what this option is")
    -- The example is one that runs.
    local use = got.stdout:match("\nexample:\n(  use = .*)\n$")
    local checked = run({ "check", "try.lua" }, { inside = true, files = { ["try.lua"] = ([[local gateway = require "gateway"
      gateway.listen "127.0.0.1:1"
      gateway.upstream "beta" { "127.0.0.1:2" }
      gateway.upstream "shadow" { "127.0.0.1:3" }
      gateway.route "/" { to = "beta", %s }]]):format(assert(use, name):gsub("%${", "$\\123")) } }) -- no variable of the harness
    assert.same({ 0, "" }, { checked.code, checked.stderr })
  end
  assert.is_true(count >= 5)
end)
