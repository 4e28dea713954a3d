-- Saving is enough: what counts as a save, what does not, and what is seen of files that are reached by other names.

local ffi = require "ffi"
local gateway = require "spec.support.gateway"
local lfs = require "lfs"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

ffi.cdef [[
int gwt_symlink(const char *target, const char *path) asm("symlink");
int gwt_rename(const char *from, const char *to) asm("rename");
]]

local function script(word)
  return ('${prelude} gateway.route "/" { to = gateway.respond(200, %q) }\n'):format(word)
end

local function says(g, word)
  peers.within(function()
    peers.eventually(function() return g:ask({ path = "/" }).body == word end, word)
  end)
end

local function is_reload(line)
  return line.message == "generation serving" or line.message == "reload refused: the old generation goes on"
end

describe("a save", function()
  local g
  before_each(function() g = gateway.start { script = script "one" } end)
  after_each(function() g:stop() end)

  it("in place reloads", function()
    g:write("main.lua", script "two")
    says(g, "two")
    assert.equal("files", g:status().reloads.last.cause)
  end)

  it("reloads nothing where the script says so, until somebody asks for it", function()
    g:write("main.lua", script "two" .. "gateway.watch(false)")
    says(g, "two")
    g:write("main.lua", script "three")
    peers.within(function() peers.sleep(0.6) end)
    assert.equal("two", g:ask({ path = "/" }).body)
    assert.equal(200, g:reload().status)
    assert.equal("three", g:ask({ path = "/" }).body)
    g:write("main.lua", script "four")
    says(g, "four")
  end)

  it("by renaming another file over it reloads, again and again", function()
    for i = 1, 3 do
      g:replace("main.lua", script("word " .. i))
      says(g, "word " .. i)
    end
  end)

  it("that takes the file away and brings it back reloads", function()
    assert(os.remove(g.dir .. "/main.lua"))
    g:log_wait(function(line) return line.message:find("^reload refused") end, "a refusal")
    says(g, "one")
    g:write("main.lua", script "back")
    says(g, "back")
  end)

  it("with a mistake is refused, and the next good one is taken", function()
    g:write("main.lua", "oops")
    local line = g:log_wait(function(l) return l.message:find("^reload refused") end, "a refusal")
    assert.equal("error", line.level)
    assert.truthy(line.errors[1]:find("main%.lua:1: "), line.errors[1])
    says(g, "one")
    g:write("main.lua", script "good")
    says(g, "good")
  end)

  it("of the same content does not reload", function()
    g:write("main.lua", script "one")
    g:replace("main.lua", script "one")
    g:write("main.lua", script "two") -- and this one does: nothing before it was taken for it
    says(g, "two")
    assert.equal(2, g:generation())
  end)

  it("in a burst is one reload", function()
    for i = 1, 50 do g:replace("main.lua", script("word " .. i)) end
    says(g, "word 50")
    assert.is_true(g:generation() <= 4, "generation " .. g:generation())
  end)
end)

describe("beside the script,", function()
  local g
  after_each(function() g:stop() end)

  local function with_yaml()
    return gateway.start { script = '${prelude} gateway.load "routes.yaml"\n',
      files = { ["routes.yaml"] = "routes:\n  - path: /\n    to: { respond: { status: 200, body: one } }\n" } }
  end

  it("a YAML file that is loaded counts", function()
    g = with_yaml()
    says(g, "one")
    g:write("routes.yaml", "routes:\n  - path: /\n    to: { respond: { status: 200, body: two } }\n")
    says(g, "two")
  end)

  it("a YAML file with a mistake is refused by its own line, and saving it well is seen", function()
    g = with_yaml()
    g:write("routes.yaml", "routes:\n  - path: /\n    too: x\n")
    local line = g:log_wait(function(l) return l.message:find("^reload refused") end, "a refusal")
    assert.truthy(line.errors[1]:find("routes%.yaml:%d+"), line.errors[1])
    g:write("routes.yaml", "routes:\n  - path: /\n    to: { respond: { status: 200, body: two } }\n")
    says(g, "two")
  end)

  it("a file that the script wants and that is not there yet is waited for", function()
    g = gateway.start { script = script "one" }
    g:write("main.lua", '${prelude} gateway.load "sub/later.yaml"\n')
    g:log_wait(function(l) return l.message:find("^reload refused") end, "a refusal")
    g:write("sub/later.yaml", "routes:\n  - path: /\n    to: { respond: { status: 200, body: later } }\n")
    says(g, "later")
  end)

  it("other files do not count", function()
    g = gateway.start { script = script "one" }
    for i = 1, 5 do g:write("notes.txt", "x" .. i) end
    g:write("main.lua", script "two")
    says(g, "two")
    assert.equal(2, g:generation())
    local _, at = g:log_wait(is_reload, "the first generation")
    g:log_wait(is_reload, "the second generation", at + 1)
    assert.equal(2, g:log_count(is_reload))
  end)

  local PLUGIN = [[return { name = "word", schema = {}, new = function() return function(request, next)
    local response = next() response.headers["X-Word"] = "%s" return response end end }]]

  it("a plugin counts: changed, and dropped in when it was missing", function()
    g = gateway.start { script = script "one" }
    g:write("main.lua", '${prelude} gateway.route "/" { use = { gateway.plugin "word" }, to = gateway.respond(200, "plugged") }\n')
    g:log_wait(function(l) return l.message:find("^reload refused") end, "a refusal")
    g:write("plugins/word.lua", PLUGIN:format("first"))
    says(g, "plugged")
    assert.equal("first", g:ask({ path = "/" }).headers:get("x-word"))
    g:replace("plugins/word.lua", PLUGIN:format("second"))
    peers.within(function()
      peers.eventually(function() return g:ask({ path = "/" }).headers:get("x-word") == "second" end, "the second plugin")
    end)
  end)

  it("a plugin of several files counts: dropped in, and each of its files", function()
    g = gateway.start { script = script "one" }
    g:write("main.lua", '${prelude} gateway.route "/" { use = { gateway.plugin "word" }, to = gateway.respond(200, "plugged") }\n')
    g:log_wait(function(l) return l.message:find("^reload refused") end, "a refusal")
    g:write("plugins/word/part.lua", 'return "first"')
    g:write("plugins/word/init.lua", (PLUGIN:gsub('"%%s"', 'require "word.part"')))
    says(g, "plugged")
    assert.equal("first", g:ask({ path = "/" }).headers:get("x-word"))
    g:write("plugins/word/part.lua", 'return "second"')
    peers.within(function()
      peers.eventually(function() return g:ask({ path = "/" }).headers:get("x-word") == "second" end, "the second part")
    end)
  end)

  it("a link that is pointed elsewhere counts (a mounted ConfigMap)", function()
    g = gateway.start { script = '${prelude} gateway.load "config/routes.yaml"\n', files = {
      ["config/..v1/routes.yaml"] = "routes:\n  - path: /\n    to: { respond: { status: 200, body: v1 } }\n",
      ["config/..v2/routes.yaml"] = "routes:\n  - path: /\n    to: { respond: { status: 200, body: v2 } }\n",
      ["config/routes.yaml"] = "routes:\n  - path: /\n    to: { respond: { status: 200, body: plain } }\n",
    } }
    says(g, "plain")
    local config = g.dir .. "/config"
    assert(os.remove(config .. "/routes.yaml"))
    assert.equal(0, ffi.C.gwt_symlink("..v1", config .. "/..data"))
    assert.equal(0, ffi.C.gwt_symlink("..data/routes.yaml", config .. "/routes.yaml"))
    says(g, "v1")
    assert.equal(0, ffi.C.gwt_symlink("..v2", config .. "/..data_tmp"))
    assert.equal(0, ffi.C.gwt_rename(config .. "/..data_tmp", config .. "/..data"))
    says(g, "v2")
  end)
end)

describe("what is watched", function()
  local g
  after_each(function() g:stop() end)

  it("does not grow with reloads", function()
    g = gateway.start { script = script "one" }
    local function descriptors()
      local n = 0
      for _ in lfs.dir("/proc/" .. g.pid .. "/fd") do n = n + 1 end
      return n
    end
    local function watches()
      local n = 0
      for name in lfs.dir("/proc/" .. g.pid .. "/fdinfo") do
        local file = name:find("^%d+$") and io.open("/proc/" .. g.pid .. "/fdinfo/" .. name)
        for line in file and file:lines() or function() end do
          if line:find("^inotify wd:") then n = n + 1 end
        end
        if file then file:close() end
      end
      return n
    end
    for _ = 1, 3 do g:reload() end
    local before, watched = descriptors(), watches()
    assert.is_true(watched >= 1)
    for i = 1, 20 do
      g:write("main.lua", script("word " .. i))
      assert.equal(200, g:reload().status)
    end
    peers.within(function()
      peers.eventually(function() return descriptors() <= before end, "as few descriptors as before")
      peers.eventually(function() return watches() <= watched end, "as few watches as before")
    end)
  end)

  it("is also reloaded by SIGHUP, whatever the files hold", function()
    g = gateway.start { script = script "one" }
    g:signal(sys.SIGHUP)
    g:wait_generation(2)
    assert.equal("SIGHUP", g:status().reloads.last.cause)
  end)
end)
