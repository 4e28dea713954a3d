-- gateway.user: who the process is once it listens. Becoming somebody needs root: elsewhere only the refusals are tested.

local gateway = require "spec.support.gateway"
local lfs = require "lfs"
local peers = require "spec.support.peers"

local function id(word)
  local pipe = io.popen("env LD_PRELOAD= id " .. word)
  local text = pipe:read("*l")
  pipe:close()
  return text
end

local root = id "-u" == "0"
local as_root = root and it or pending

local function status_of(pid)
  local file = assert(io.open("/proc/" .. pid .. "/status"))
  local text = file:read("*a")
  file:close()
  return text
end

local function refused(script, text)
  local result = gateway.command { args = { "${dir}/main.lua" }, script = script }
  assert.equal(1, result.code)
  assert.is_truthy(result.stderr:find(text, 1, true), result.stderr)
end

describe("gateway.user:", function()
  it("an unknown user, an unknown group", function()
    refused('local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"\ngateway.user "nobody-here"',
      'main.lua:2: gateway.user "nobody-here": there is no such user')
    refused('local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.user { "nobody", group = "nothing-here" }',
      'main.lua:1: gateway.user "nobody": there is no such group: nothing-here')
  end)

  if not root then
    it("only root can become another", function()
      refused('local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.user "root"',
        "only root can become another user")
    end)
  end

  it("whoever it is already is fine", function()
    local g = gateway.start { script = '${prelude} gateway.user "' .. id "-un" .. '"' }
    assert.equal(200, g:admin("/readyz").status)
    g:stop()
  end)

  as_root("it is that user, without supplementary groups or capabilities, in every thread; files and sockets are the user's", function()
    local script = [[${prelude} gateway.user { "nobody", group = "nogroup" }; gateway.listen "unix:${dir}/public"
      gateway.access_log { to = "${dir}/access" }
      gateway.route "/" { to = gateway.respond(200, "x") }]]
    local options = { script = script, workers = 2, binary = "/bin/sh",
      args = { "-c", 'chmod 777 "${dir}" && exec "' .. gateway.binary() .. '" "${dir}/main.lua"', "${dir}" } }
    local g = gateway.start(options)
    local uid, gid = id "-u nobody", assert(io.popen("getent group nogroup | cut -d: -f3")):read("*l")
    for task in lfs.dir("/proc/" .. g.pid .. "/task") do
      if task:find("^%d+$") then
        local text = status_of(g.pid .. "/task/" .. task)
        assert.is_truthy(text:find(("Uid:\t%s\t%s\t%s\t%s\n"):format(uid, uid, uid, uid), 1, true), text)
        assert.is_truthy(text:find(("Gid:\t%s\t%s\t%s\t%s\n"):format(gid, gid, gid, gid), 1, true), text)
        assert.is_truthy(text:find("Groups:\t%s*\n"), text)
        assert.is_truthy(text:find("CapEff:\t0000000000000000\n", 1, true), text)
      end
    end
    assert.equal(tonumber(uid), lfs.attributes(g.dir .. "/access", "uid"))
    assert.equal(tonumber(uid), lfs.attributes(g.dir .. "/public", "uid"))
    assert.equal(200, g:ask("/").status)
    assert.is_truthy(g:admin("/metrics").body:find("\nprocess_open_fds %d"))
    -- log files open anew, and reloads work
    os.rename(g.dir .. "/access", g.dir .. "/access.1")
    g:signal(10)
    peers.within(function() peers.eventually(function() return lfs.attributes(g.dir .. "/access") end, "the log opened anew") end)
    assert.equal(200, g:reload().status)
    -- a low port cannot be had any more, and that is said; another user needs a restart
    g:replace("main.lua", script .. ' gateway.listen "127.0.0.1:81"')
    local result = g:reload()
    if result.status == 422 then
      assert.is_truthy(result.json.errors[1]:find("ports below 1024 need root or CAP_NET_BIND_SERVICE", 1, true), result.json.errors[1])
    end
    g:replace("main.lua", (script:gsub("nobody", "daemon")))
    assert.equal(200, g:reload().status)
    g:log_wait(function(line) return line.message == "another gateway.user needs a restart" end)
    g:stop()
  end)

  as_root("a script that the user cannot read is refused at start, not at the first reload", function()
    refused('local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.user "nobody"',
      "cannot read what a reload would: ")
  end)
end)

describe("limits:", function()
  it("are told at start", function()
    local g = gateway.start { script = "${prelude}", open_files = 777 }
    local line = g:log_wait(function(l) return l.message == "gateway starting" end)
    assert.equal(777, line.files)
    assert.equal("number", type(line.core))
    g:stop()
  end)
end)
