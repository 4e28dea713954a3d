-- `gateway test` and `gateway new plugin`, as commands; and the same tests by plain busted.

local gateway = require "spec.support.gateway"
local sys = require "spec.support.sys"

local here = io.popen("pwd"):read("*l")
local bin = gateway.binary()
if bin:sub(1, 1) ~= "/" then bin = here .. "/" .. bin end
local build = bin:match("^(.*)/")
-- A sanitized library wants its sanitizer's own to be there first.
local preload = io.popen(("ldd '%s/libgateway.so'"):format(build)):read("*a"):match("=> (%S+/lib[at]san%S+)") or ""

-- Runs a shell command in the folder: exit code, what it said.
local function run(folder, command, env)
  local line = ("cd '%s' && env -u LD_PRELOAD ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 %s %s 2>&1; echo \"=$?\"")
    :format(folder, env or "", command)
  local pipe = assert(io.popen(line))
  local text = pipe:read("*a")
  pipe:close()
  local said, code = text:match("^(.*)=(%d+)\n$")
  return tonumber(code), said
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

describe("a new plugin", function()
  local folder

  before_each(function() folder = sys.temp_dir() end)
  after_each(function() os.execute(("rm -rf '%s'"):format(folder)) end)

  it("passes its test, under gateway test and plain busted, and is clean", function()
    local code, said = run(folder, bin .. " new plugin my-limit")
    assert.equal(0, code, said)
    local spec = "spec/plugins/my-limit_spec.lua"
    assert.equal(("wrote plugins/my-limit.lua\nwrote %s\ntry: gateway test %s\n"):format(spec, spec), said)
    for _, paths in ipairs { "", "spec", "spec/plugins/my-limit_spec.lua" } do
      code, said = run(folder, bin .. " test -o TAP " .. paths)
      assert.equal(0, code, said)
      assert.truthy(said:find("ok 4 - my-limit", 1, true), said)
      assert.falsy(said:find("not ok", 1, true), said)
    end
    local env = ("LD_PRELOAD='%s' ASAN_OPTIONS=detect_leaks=0 LUA_CPATH='%s/lib?.so;;'"):format(preload, build)
    code, said = run(folder, "luajit /usr/bin/busted -o TAP", env)
    assert.equal(0, code, said)
    assert.truthy(said:find("ok 4 - my-limit", 1, true), said)
    code, said = run(folder, "luacheck --std luajit+busted --max-line-length 140 plugins spec")
    assert.equal(0, code, said)
  end)

  it("overwrites nothing", function()
    run(folder, bin .. " new plugin one")
    write(folder .. "/plugins/one.lua", "mine")
    local code, said = run(folder, bin .. " new plugin one")
    assert.equal(1, code)
    assert.equal("gateway new: plugins/one.lua is there already: nothing was written\n", said)
    assert.equal("mine", io.open(folder .. "/plugins/one.lua"):read("*a"))
    os.remove(folder .. "/plugins/one.lua")
    code, said = run(folder, bin .. " new plugin one")
    assert.equal(1, code)
    assert.equal("gateway new: spec/plugins/one_spec.lua is there already: nothing was written\n", said)
    assert.is_nil(io.open(folder .. "/plugins/one.lua"))
  end)

  it("says when it takes the place of a shipped one", function()
    for _, name in ipairs { "cors", "jwt" } do
      local code, said = run(folder, bin .. " new plugin " .. name)
      assert.equal(0, code, said)
      assert.truthy(said:find("note: it takes the place of the shipped plugin of that name\n", 1, true), said)
    end
  end)

  it("goes into another folder", function()
    local code, said = run("/", ("%s new plugin one --dir '%s/a/b'"):format(bin, folder))
    assert.equal(0, code, said)
    code, said = run("/", ("%s test '%s/a/b'"):format(bin, folder))
    assert.equal(0, code, said)
    assert.truthy(said:find("4 successes / 0 failures", 1, true), said)
  end)

  for _, case in ipairs {
    { "nothing", "new", "expected: gateway new plugin NAME, found nothing behind new" },
    { "another thing", "new route x", 'expected: gateway new plugin NAME, found "route"' },
    { "no name", "new plugin", "a NAME is expected behind plugin" },
    { "two names", "new plugin a b", 'a second one, "b"' },
    { "a name that is a path", "new plugin ../x", "a plugin's name has letters" },
    { "an unknown option", "new plugin x --force", 'unknown option "--force"' },
    { "a folder that is not named", "new plugin x --dir", "a FOLDER is expected behind --dir" },
  } do
    it("is refused with " .. case[1], function()
      local code, said = run(folder, bin .. " " .. case[2])
      assert.equal(2, code)
      assert.truthy(said:find(case[3], 1, true), said)
      assert.truthy(said:find("try: gateway new --help\n", 1, true), said)
    end)
  end

  it("is refused where it cannot be written", function()
    write(folder .. "/plugins", "a file")
    local code, said = run(folder, bin .. " new plugin x")
    assert.equal(1, code)
    assert.truthy(said:find("plugins", 1, true), said)
  end)
end)

describe("gateway test", function()
  local folder

  before_each(function() folder = sys.temp_dir() end)
  after_each(function() os.execute(("rm -rf '%s'"):format(folder)) end)

  it("finds tests beside, where there is no spec/", function()
    write(folder .. "/one_spec.lua", 'it("is there", function() assert(require "gateway.testing") end)')
    local code, said = run(folder, bin .. " test --output=TAP")
    assert.equal(0, code, said)
    assert.truthy(said:find("ok 1 - is there", 1, true), said)
  end)

  it("fails with a test that fails, raises or cannot be read", function()
    for name, text in pairs {
      fails = 'it("x", function() assert.equal(1, 2) end)', raises = 'it("x", function() error("no") end)', broken = "it(",
    } do
      write(folder .. "/" .. name .. "_spec.lua", text)
      local code, said = run(folder, ("%s test %s_spec.lua"):format(bin, name))
      assert.equal(1, code, said)
    end
  end)

  it("hands busted's options on", function()
    write(folder .. "/a_spec.lua", 'it("one", function() end) it("two #slow", function() error("no") end)')
    local code, said = run(folder, bin .. " test --exclude-tags=slow --output=TAP a_spec.lua")
    assert.equal(0, code, said)
    assert.equal("ok 1 - one\n1..1\n", said)
    code, said = run(folder, bin .. " test --list a_spec.lua")
    assert.equal(0, code, said)
    assert.truthy(said:find("one\ntwo #slow", 1, true), said)
  end)

  it("says what to install when there is no busted", function()
    local code, said = run(folder, bin .. " test", "LUA_PATH='./?.lua'")
    assert.equal(1, code)
    assert.equal("gateway test needs busted, which is not installed: apt-get install lua-busted\n", said)
  end)

  it("runs a spec of twenty cases in under 0.2 s", function()
    local cases = {}
    for i = 1, 20 do
      cases[i] = ([[it("case %d", function()
        local app = testing.app(function(g)
          g.route "/" { use = { g.plugin("my-limit", { most = 2 }) }, to = testing.upstream { body = "hi" } }
        end)
        assert.equal(200, app:get("/").status)
        assert.equal(200, app:get("/").status)
        assert.equal(429, app:get("/").status)
        app.clock:advance(60)
        assert.equal(200, app:get("/").status)
      end)]]):format(i)
    end
    run(folder, bin .. " new plugin my-limit")
    write(folder .. "/twenty_spec.lua", 'local testing = require "gateway.testing"\n' .. table.concat(cases, "\n"))
    local best = math.huge
    for _ = 1, 3 do
      local code, said = run(folder, bin .. " test --output=plainTerminal twenty_spec.lua")
      assert.equal(0, code, said)
      assert.truthy(said:find("20 successes", 1, true), said)
      best = math.min(best, tonumber(said:match(": ([%d.]+) seconds")))
    end
    print(("    20 cases: %.3f s"):format(best))
    -- A sanitized build is several times as slow, and other tests may keep the machine busy.
    assert.is_true(best < (build:find("release") and 0.2 or 2), best)
  end)
end)
