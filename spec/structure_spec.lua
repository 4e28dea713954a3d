-- The house's own rules, read off the tree: includes point downward, sockets and libev stay in net, every folder says what it is, and
-- every file can be read in one sitting.

local lfs = require "lfs"

local FLOOR = { base = 0, http = 1, policy = 1, secure = 1, net = 2, gateway = 3, script = 4, process = 5 }
local LINES_MOST = 700

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

-- All files below a folder; and the folders.
local function walk(folder, files, folders)
  files, folders = files or {}, folders or {}
  if lfs.attributes(folder, "mode") ~= "directory" then return files, folders end
  folders[#folders + 1] = folder
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if not name:match("^%.") then
      if lfs.attributes(path, "mode") == "directory" then
        walk(path, files, folders)
      else
        files[#files + 1] = path
      end
    end
  end
  table.sort(files)
  return files, folders
end

local function is_source(path)
  return path:find("%.[chS]$") ~= nil
end

-- What is wrong with the includes of a file, as a list of "path:line: what".
local function include_faults(path, text)
  local faults = {}
  local floor = path:match("^runtime/([^/]+)/")
  local number = 0
  local function fault(...)
    faults[#faults + 1] = ("%s:%d: %s"):format(path, number, string.format(...))
  end
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    local quoted, angled = line:match('^%s*#%s*include%s+"([^"]+)"'), line:match("^%s*#%s*include%s+<([^>]+)>")
    if quoted then
      local other = quoted:match("^([^/]+)/")
      if not FLOOR[other] then
        fault('"%s" does not begin with a floor', quoted)
      elseif FLOOR[other] > FLOOR[floor] or (FLOOR[other] == FLOOR[floor] and other ~= floor) then
        fault('"%s" does not point downward from %s', quoted, floor)
      elseif not io.open("runtime/" .. quoted) then
        fault('"%s" is not there', quoted)
      end
    elseif angled then
      local socket = angled == "sys/socket.h" or angled == "sys/un.h" or angled == "netdb.h" or angled == "sys/epoll.h"
        or angled:find("^netinet/") or angled:find("^arpa/") or angled:find("^ares")
      if angled:find("^ev%.h$") and floor ~= "net" then fault("<%s> belongs to net", angled) end
      if socket and floor ~= "net" and floor ~= "process" then fault("<%s> belongs to net", angled) end
      if angled:find("^lua") or angled:find("^lauxlib") then
        if FLOOR[floor] < FLOOR.script then fault("<%s> belongs to script", angled) end
      end
      if angled:find("^pcre2") or angled == "crypt.h" then
        if floor ~= "secure" then fault("<%s> belongs to secure", angled) end
      end
      if angled:find("^openssl/") and floor ~= "secure" and floor ~= "net" then fault("<%s> belongs to secure, and net's TLS", angled) end
      if angled == "http_parser.h" and floor ~= "http" then fault("<%s> belongs to http", angled) end
    end
  end
  return faults
end

local function none(faults)
  assert.message(table.concat(faults, "\n")).equal(0, #faults)
end

describe("the tree", function()
  local sources, floors = walk("runtime")

  it("has the floors", function()
    for floor in pairs(FLOOR) do assert.equal("directory", lfs.attributes("runtime/" .. floor, "mode"), floor) end
  end)

  it("has nothing in runtime that is no floor", function()
    local faults = {}
    for _, folder in ipairs(floors) do
      local dashboard = folder == "runtime/process/dashboard" -- a page, no C
      if folder ~= "runtime" and not FLOOR[folder:match("^runtime/(.+)$")] and not dashboard then faults[#faults + 1] = folder end
    end
    none(faults)
  end)

  it("includes only downward, and sockets and libev only in net", function()
    local faults = {}
    for _, path in ipairs(sources) do
      if is_source(path) then
        for _, fault in ipairs(include_faults(path, read(path))) do faults[#faults + 1] = fault end
      end
    end
    none(faults)
  end)

  it("has a README.md in every folder", function()
    local faults = {}
    for _, top in ipairs { "runtime", "lua", "plugins", "examples", "spec", "cmake" } do
      local _, folders = walk(top)
      for _, folder in ipairs(folders) do
        -- The corpus is data, a folder for each fuzz entry, and so are the golden scripts' plugins.
        if not folder:find("^spec/corpus/") and not folder:find("^spec/golden/") and not io.open(folder .. "/README.md") then
          faults[#faults + 1] = folder .. " has no README.md"
        end
      end
    end
    none(faults)
  end)

  it("has no file of more than " .. LINES_MOST .. " lines", function()
    local faults = {}
    for _, top in ipairs { "runtime", "lua", "plugins", "spec", "examples", "cmake" } do
      for _, path in ipairs((walk(top))) do
        if is_source(path) or path:find("%.lua$") or path:find("%.cmake$") or path:find("%.js$") or path:find("%.css$") then
          local _, lines = read(path):gsub("\n", "")
          if lines > LINES_MOST then faults[#faults + 1] = ("%s has %d lines"):format(path, lines) end
        end
      end
    end
    none(faults)
  end)
end)

describe("the check of includes", function()
  for _, case in ipairs {
    { "lets pass an include of its own floor", "http", '#include "http/url.h"', 0 },
    { "lets pass an include of a floor below", "gateway", '#include "base/base.h"', 0 },
    { "finds an include that points up", "base", '#include "http/url.h"', 1 },
    { "finds an include of the other folder on the same floor", "http", '#include "policy/breaker.h"', 1 },
    { "finds an include without its floor", "http", '#include "url.h"', 1 },
    { "finds an include of nothing", "http", '#include "base/nothing.h"', 1 },
    { "finds one in odd spacing", "base", '  #  include   "net/loop.h"', 1 },
    { "finds libev outside of net", "gateway", "#include <ev.h>", 1 },
    { "lets pass libev in net", "net", "#include <ev.h>", 0 },
    { "finds sockets outside of net", "gateway", "#include <sys/socket.h>", 1 },
    { "finds addresses outside of net", "http", "#include <netinet/in.h>", 1 },
    { "lets pass sockets in process", "process", "#include <sys/socket.h>", 0 },
    { "finds Lua below script", "gateway", "#include <lua.h>", 1 },
    { "lets pass Lua in script", "script", "#include <lua.h>", 0 },
    { "finds PCRE2 outside of secure", "script", "#include <pcre2.h>", 1 },
    { "lets pass PCRE2 in secure", "secure", "#include <pcre2.h>", 0 },
    { "finds OpenSSL outside of secure and net", "gateway", "#include <openssl/evp.h>", 1 },
    { "lets pass OpenSSL in secure", "secure", "#include <openssl/evp.h>", 0 },
    { "finds http-parser outside of http", "net", "#include <http_parser.h>", 1 },
  } do
    it(case[1], function()
      assert.equal(case[4], #include_faults("runtime/" .. case[2] .. "/x.c", "\n" .. case[3] .. "\n"))
    end)
  end
end)
