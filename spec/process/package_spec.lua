-- The Debian package, made from the release build: what is in it, and that it runs from where it was unpacked.

local gateway = require "spec.support.gateway"
local lfs = require "lfs"
local sys = require "spec.support.sys"

-- A command's output and whether it went well.
local function run(format, ...)
  local pipe = io.popen("{ env LD_PRELOAD= " .. format:format(...) .. "; } 2>&1; echo \"exit $?\"")
  local text = pipe:read("*a")
  pipe:close()
  local said, code = text:match("^(.*)exit (%d+)\n$")
  return said, code == "0"
end

local function good(...)
  local said, fine = run(...)
  assert.is_true(fine, said)
  return said
end

local function there(program)
  return (select(2, run("sh -c 'command -v %s'", program)))
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

describe("the package:", function()
  local dir, deb, root

  lazy_setup(function()
    if not lfs.attributes("build/release/gateway") then
      error("there is no build/release/gateway: cmake --preset release && cmake --build --preset release", 0)
    end
    dir = sys.temp_dir()
    root = dir .. "/root"
    good("cpack --config build/release/CPackConfig.cmake -B %s/made", dir)
    deb = good("ls %s/made/*.deb", dir):match("^(%S+)\n$")
    good("dpkg-deb -R %s %s", deb, root)
  end)
  lazy_teardown(function() if dir then good("rm -rf %s", dir) end end)

  it("says what it is and what it needs", function()
    local version = good("%s --version", gateway.binary()):match("gateway (%S+)")
    assert.equal("gateway\n", good("dpkg-deb -f %s Package", deb))
    assert.equal(version .. "\n", good("dpkg-deb -f %s Version", deb))
    local depends = good("dpkg-deb -f %s Depends", deb)
    for _, library in ipairs { "libc6", "libluajit", "libev4", "libhttp%-parser2", "libyaml", "libc%-ares2", "libssl3", "libpcre2" } do
      assert.is_truthy(depends:find(library), depends)
    end
    assert.is_truthy(good("dpkg-deb -f %s Recommends", deb):find("lua-busted", 1, true))
    assert.is_truthy(good("dpkg-deb -f %s Description", deb):find("\n Routes, balances"), "a long description")
  end)

  it("has these files, all root's, and none besides", function()
    local triplet = good("dpkg-architecture -qDEB_HOST_MULTIARCH"):match("%S+")
    local found = {}
    for line in good("dpkg-deb -c %s", deb):gmatch("[^\n]+") do
      local mode, owner, path = line:match("^(%S+) (%S+) +%d+ %S+ %S+ %.(/.*)$")
      if mode and mode:sub(1, 1) ~= "d" then
        found[path] = mode
        assert.equal("root/root", owner)
      end
    end
    local plain, program = "-rw-r--r--", "-rwxr-xr-x"
    assert.same({
      ["/usr/bin/gateway"] = program,
      ["/usr/lib/" .. triplet .. "/gateway/libgateway.so"] = plain,
      ["/usr/lib/systemd/system/gateway.service"] = plain,
      ["/usr/share/bash-completion/completions/gateway"] = plain,
      ["/usr/share/zsh/vendor-completions/_gateway"] = plain,
      ["/usr/share/fish/vendor_completions.d/gateway.fish"] = plain,
      ["/usr/share/man/man1/gateway.1.gz"] = plain, ["/usr/share/man/man5/gateway.lua.5.gz"] = plain,
      ["/usr/share/doc/gateway/README.md"] = plain,
      ["/etc/gateway/gateway.lua"] = plain, ["/etc/default/gateway"] = plain, ["/etc/logrotate.d/gateway"] = plain,
    }, found)
    for path in read(root .. "/DEBIAN/conffiles"):gmatch("[^\n]+") do assert.is_truthy(found[path], path) end
    for path in pairs(found) do
      if path:find("^/etc") then assert.is_truthy(read(root .. "/DEBIAN/conffiles"):find(path, 1, true), path) end
    end
    good("sh -c 'cd %s && md5sum --quiet -c DEBIAN/md5sums'", root)
  end)

  it("its scripts are well-formed, and can be run again", function()
    for _, name in ipairs { "postinst", "prerm", "postrm" } do
      local text = read(root .. "/DEBIAN/" .. name)
      assert.is_truthy(text:find("^#!/bin/sh\nset %-e\n"), name)
      good("sh -n %s/DEBIAN/%s", root, name)
      assert.equal("rwxr-xr-x", lfs.attributes(root .. "/DEBIAN/" .. name, "permissions"))
    end
    for _, call in ipairs { "prerm upgrade 2", "postrm upgrade 2", "prerm failed-upgrade 1", "postinst abort-upgrade 1" } do
      if not lfs.attributes("/run/systemd/system") then good("%s/DEBIAN/%s", root, call) end
    end
  end)

  it("runs from where it was unpacked, with the script that it has", function()
    local binary = root .. "/usr/bin/gateway"
    good("%s check %s/etc/gateway/gateway.lua", binary, root)
    local script = read(root .. "/etc/gateway/gateway.lua")
    local changed, n = script:gsub('":8080"', '"127.0.0.1:${port}"')
    changed = changed:gsub("127%.0%.0%.1:9901", "127.0.0.1:${admin}"):gsub("/var/log/gateway/", "${dir}/")
    assert.equal(1, n)
    local g = gateway.start { binary = binary, script = changed }
    local response = g:ask("/")
    assert.equal(200, response.status)
    assert.is_truthy(response.body:find("It works"))
    local said = good("%s status --admin 127.0.0.1:%d", binary, g.vars.admin)
    assert.is_truthy(said:find("serving for", 1, true), said)
    assert.is_truthy(good("%s plugins", binary):find("key%-auth"), "plugins are in the program")
    g:stop()
  end)

  it("the library serves plain busted", function()
    local triplet = good("dpkg-architecture -qDEB_HOST_MULTIARCH"):match("%S+")
    local said = good([[env LUA_CPATH="%s/usr/lib/%s/gateway/lib?.so;;" luajit -e 'io.write(type(require("gateway.testing").app))']],
      root, triplet)
    assert.equal("function", said)
  end)

  it("the unit is in order, and lets little in", function()
    local unit = read(root .. "/usr/lib/systemd/system/gateway.service")
    for _, line in ipairs { "Type=notify", "WatchdogSec=", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes",
      "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n", "Restart=on%-failure", "LimitNOFILE=", "ReadWritePaths=", "SystemCallFilter=" } do
      assert.is_truthy(unit:find("\n" .. line), line)
    end
    assert.is_nil(unit:find("\nMemoryDenyWriteExecute", 1, true))
    if not there "systemd-analyze" then return end
    local path = dir .. "/gateway.service"
    local file = assert(io.open(path, "w"))
    file:write((unit:gsub("=/usr/bin/gateway", "=" .. root .. "/usr/bin/gateway")))
    file:close()
    assert.equal("", good("systemd-analyze verify --man=no %s", path))
    good("systemd-analyze security --offline=true --threshold=25 %s", path)
  end)

  it("completions are those that the program prints", function()
    for shell, path in pairs { bash = "bash-completion/completions/gateway", zsh = "zsh/vendor-completions/_gateway",
      fish = "fish/vendor_completions.d/gateway.fish" } do
      assert.equal(good("%s/usr/bin/gateway completion %s", root, shell), read(root .. "/usr/share/" .. path))
    end
  end)

  it("the manual has every command, option and variable, without warnings", function()
    local text = good("gzip -dc %s/usr/share/man/man1/gateway.1.gz", root):gsub("\\%-", "-")
    local commands = 0
    for word in good("%s --help", gateway.binary()):match("^(.-)\nexample:"):gmatch("\n  gateway (%l+)") do
      commands = commands + 1
      assert.is_truthy(text:find("\n%.B[IR]? \"?" .. word .. "[ \"\n]"), word)
    end
    assert.is_true(commands >= 10)
    for _, word in ipairs { "--admin", "--token-file", "--upstream", "--endpoint", "--undo", "--json", "GATEWAY_ADMIN", "GATEWAY_TOKEN",
      "GATEWAY_TOKEN_FILE", "GATEWAY_PLUGINS", "SIGUSR2" } do
      assert.is_truthy(text:find(word, 1, true), word)
    end
    for page, section in pairs { ["gateway"] = 1, ["gateway.lua"] = 5 } do
      local path = ("%s/usr/share/man/man%d/%s.%d.gz"):format(root, section, page, section)
      if there "groff" then assert.equal("", good("sh -c 'gzip -dc %s | groff -man -Tutf8 -ww -z'", path)) end
    end
  end)

  it("the log files' rotation is understood", function()
    if not there "logrotate" then return end
    local said = good("logrotate -d %s/etc/logrotate.d/gateway", root)
    assert.is_nil(said:find("error:", 1, true), said)
  end)
end)
