-- Scripts loaded whole, from file to generation: what the C of the builder says about them, what it makes, and that equal runs are
-- demanded.

local cdef = require "spec.support.cdef"
local ffi = require "ffi"

local C = cdef.load "script/script.h"
ffi.cdef [[ void gwt_free_text(void *ptr) asm("free"); ]]

local folder, count = nil, 0

local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(text)
  file:close()
  return folder .. "/" .. name
end

local function lines(texts)
  local out = {}
  if texts[0] == nil then return out end
  for line in (ffi.string(texts[0]) .. "\n"):gmatch("([^\n]*)\n") do out[#out + 1] = line:gsub(folder:gsub("%p", "%%%0") .. "/", "") end
  ffi.C.gwt_free_text(texts[0])
  return out
end

-- A generation (freed with the test) or nil, errors, warnings.
local function load(text, options)
  count = count + 1
  local path = write(options and options.name or "script.lua", text)
  local errors, warnings = ffi.new "char *[1]", ffi.new "char *[1]"
  local how = ffi.new("gw_load_options", { workers = options and options.workers or 1, resolve_seconds = 2 })
  local g = C.gw_script_load(path, how, errors, warnings)
  local e, w = lines(errors), lines(warnings)
  if g == nil then return nil, e, w end
  return ffi.gc(g, function() C.gw_generation_free(g, nil, nil) end), e, w
end

local PRELUDE = 'local gateway = require "gateway"; gateway.listen "127.0.0.1:1"; '

setup(function()
  C.gw_registry_init(2)
  folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -p " .. folder .. "/lua " .. folder .. "/plugins"))
end)

teardown(function()
  collectgarbage()
  collectgarbage()
  os.execute("rm -r " .. folder)
end)

-- script -> what is said
local wrong = {
  { "x = = 1", "script.lua:1: unexpected symbol near '='" },
  { "error 'no luck'", "script.lua:1: no luck" },
  { "error('no luck', 0)", "no luck" },
  { "error {}", "script.lua:1: the script raised a table instead of a message" },
  { "os.exit(1)", "script.lua:1: os.exit is not available in a gateway script" },
  { "io.read()", "script.lua:1: io.read is not available in a gateway script: nobody answers there" },
  { "local s = ('x'):rep(1e8) for i = 1, 5 do s = s .. s end",
    "script.lua: not enough memory: the script takes more than gateway.script { memory } allows" },
  { "local function f() return 1 + f() end f()", "script.lua", prefix = true, further = true },
  { "gateway.listen '0.0.0.0'", "script.lua:1: gateway.listen: expected an address such as", prefix = true },
  { "gateway.listen 'localhost:80'", 'script.lua:1: gateway.listen: expected an address such as "0.0.0.0:8080", ":8080" or "unix:/path", '
    .. 'found "localhost:80" (that is a name)' },
  { "gateway.listen '127.0.0.1:01'", "script.lua:1: gateway.listen: ", prefix = true },
  { "gateway.admin 'x'", "script.lua:1: gateway.admin: expected an address such as", prefix = true },
  { "gateway.trusted_proxies { '10.0.0.0/33' }",
    'script.lua:1: gateway.trusted_proxies: expected an address or a CIDR block such as "10.0.0.0/8", found "10.0.0.0/33" (',
      prefix = true },
  { "gateway.upstream 'u' { '10.0.0.1' }",
    'script.lua:1: upstream "u": endpoint 1: expected "HOST:PORT" or "unix:/path", found "10.0.0.1" (', prefix = true },
  { "gateway.upstream 'u' { 'nowhere.invalid:80' }",
    'script.lua:1: upstream "u": the name in "nowhere.invalid:80" could not be looked up: ', prefix = true },
  { "gateway.route '/a//b' { to = gateway.respond(200) }", 'script.lua:1: route "/a//b": ', prefix = true },
  { "gateway.route '/a' { to = gateway.respond(200), methods = 'TRACE' }",
    'script.lua:1: route "/a": methods[1]: "TRACE" cannot be routed: the gateway refuses it' },
  { "gateway.route '/a' { to = gateway.respond(200), host = 'a b' }", 'script.lua:1: route "/a": ', prefix = true },
  { "gateway.route '/a' { to = gateway.respond(200) } gateway.route '/a' { to = gateway.respond(200) }",
    'script.lua:1: route "/a" ties with "/a" (script.lua:1): ', prefix = true },
  { "local n = (N or 0) + 1; gateway.route('/' .. tostring({}):gsub('%W', '')) { to = gateway.respond(200) }",
    "script.lua: the script does not say the same each time it runs (every worker runs it): expected \"routes[1].name = ", prefix = true,
    workers = 2 },
}

describe("a script that is wrong", function()
  for i, case in ipairs(wrong) do
    it(("%d: %s"):format(i, case[1]), function()
      local g, errors = load(PRELUDE .. case[1], { workers = case.workers })
      assert.is_nil(g)
      assert.truthy(case.further or #errors == 1, table.concat(errors, "\n"))
      if case.prefix then
        assert.equal(case[2], errors[1]:sub(1, #case[2]))
      else
        assert.equal(case[2], errors[1])
      end
    end)
  end

  it("may declare in a loop over names, which has one order for all workers, and may remove what it has seen", function()
    local g, errors = load(PRELUDE .. [[
local services = { [3] = "third", [1] = "first", [true] = "yes" }
for i = 1, 40 do services["service" .. i] = "10.0.0." .. i .. ":80" end
local seen = {}
for key, value in pairs(services) do
  services[key] = nil
  seen[#seen + 1] = tostring(key)
  gateway.route("/" .. tostring(key)) { use = { function(_, next) return next() end }, to = gateway.respond(200, value) }
end
assert(next(services) == nil and #seen == 43 and table.concat(seen, " ", 1, 4) == "1 3 service1 service10" and seen[43] == "true")
assert(not pcall(pairs, nil))
]], { workers = 4 })
    assert.truthy(g, table.concat(errors or {}, "\n"))
  end)

  it("is told everything that C finds too", function()
    local g, errors = load(PRELUDE .. "\ngateway.route 'a' { to = gateway.respond(200) }\ngateway.route 'b' { to = gateway.respond(200) }\n"
      .. "gateway.listen 'x:1'")
    assert.is_nil(g)
    assert.same({ "script.lua:2", "script.lua:3", "script.lua:4" },
      { errors[1]:match "^[^:]+:%d+", errors[2]:match "^[^:]+:%d+", errors[3]:match "^[^:]+:%d+" })
  end)

  it("is told what C finds beside what the library found, but not what follows from that", function()
    local _, errors = load(PRELUDE .. "\ngateway.listen 'x:1'\ngateway.upstream 'u' { 'a:b:c', wieght = 1 }\n"
      .. "gateway.route '/a' { to = 'nobody' }\ngateway.route 'b' { to = gateway.respond(200) }\ngateway.route '/a' { to = 'u' }")
    local at = {}
    for i, problem in ipairs(errors) do at[i] = problem:match "^[^:]+:%d+" end
    assert.same({ "script.lua:2", "script.lua:3", "script.lua:4", "script.lua:5" }, at)
  end)

  it("shows the way to an error in a function", function()
    local _, errors = load(PRELUDE .. "\nlocal function f()\n  error 'deep'\nend\nf()")
    assert.equal("script.lua:3: deep", errors[1])
    assert.equal("\tstack traceback:", errors[2])
    assert.truthy(errors[3]:find "script.lua:3: in function 'f'", errors[3])
    assert.truthy(errors[4]:find "script.lua:5: in main chunk", errors[4])
    assert.equal(4, #errors)
  end)

  it("is told with its whole path, however long", function()
    local long = ("x"):rep(100) .. ".lua"
    local _, errors = load("\nlocal x = nil + 1", { name = long })
    assert.equal(long .. ":2: attempt to perform arithmetic on a nil value", errors[1])
  end)

  it("that cannot be read is told", function()
    local errors = ffi.new "char *[1]"
    assert.is_true(C.gw_script_load(folder .. "/none.lua", ffi.new("gw_load_options", { workers = 1 }), errors, nil) == nil)
    assert.same({ "cannot open none.lua: No such file or directory" }, lines(errors))
  end)
end)

describe("a generation", function()
  it("has what the script said", function()
    local g = assert(load(PRELUDE .. [[
      gateway.admin "127.0.0.1:2"
      gateway.workers(3)
      gateway.limits { header_bytes = "8KB", headers = 50, request_line = 1000, body_bytes = "1MB", keep_encoded_slash = true }
      gateway.timeouts { header = 1, idle = 2, body = 3, drain = 4 }
      gateway.forwarding { x_forwarded = false, forwarded = true, via = "me" }
      gateway.trusted_proxies { "10.0.0.0/8" }
      gateway.request_id(false)
      gateway.access_log { sample = 0.5 }
      local u = gateway.upstream "u" {
        "10.0.0.1:80", "[::1]:81", "10.0.0.1:80", { "localhost:82", resolve = "5s" }, host = "h.example", timeouts = { connect = 1,
          total = 2 },
        pool = { idle = 3, idle_for = 4, requests = 5 },
      }
      gateway.route "/u/:id" { to = u, methods = { "GET", "PURGE" }, host = "a.example", headers = { A = "1", B = "*" }, name = "first",
        limits = { body_bytes = 7 }, access_log = false }
      gateway.route "/s" { to = gateway.split { { u, weight = 3 }, gateway.respond(201, "x", { ["X-A"] = "b" }) } }
      gateway.route "/f" { to = function() end, use = { function() end } }
    ]]))
    assert.equal(1, g.listen_count)
    assert.equal("127.0.0.1:2", cdef.text(g.admin.text))
    assert.same({ 3, 8192, 50, 1000, 1048576 }, { g.workers, g.head_limits.header_bytes, g.head_limits.headers, g.head_limits.request_line,
      tonumber(g.body_bytes) })
    assert.same({ 1, 2, 3, 4 }, { g.timeouts.header, g.timeouts.idle, g.timeouts.body, g.timeouts.drain })
    assert.same({ true, false, true, false, true, 0.5 },
      { g.keep_encoded_slash, g.x_forwarded, g.forwarded, g.request_id, g.access_log, g.access_sample })
    assert.equal("me", cdef.text(g.via))
    assert.is_true(g.trusted ~= nil)
    local u = g.upstreams[0]
    assert.same({ "u", "h.example", 1, 30, 2 }, { cdef.text(u.name), cdef.text(u.host), u.timeouts.connect, u.timeouts.first_byte,
      u.timeouts.total })
    assert.same({ 3, 4, 5 }, { u.pool.idle, u.pool.idle_for, u.pool.requests })
    assert.same({ 3, 1, 5 }, { u.fixed_count, u.name_count, u.names[0].every })
    assert.is_true(u.names[0].found_count >= 1)
    local r = g.routes[0]
    assert.same({ "first", 7, false, -1 }, { cdef.text(r.name), tonumber(r.body_bytes), r.access_log, r.chain })
    assert.equal(2, r.match.header_count)
    assert.is_true(r.match.headers[1].value.ptr == nil)
    assert.equal("PURGE", cdef.text(r.match.other_methods[0]))
    assert.equal(tonumber(C.GW_TARGET_UPSTREAM), tonumber(r.target.kind))
    local s = g.routes[1]
    assert.equal("split u 75%, answer 201 25%", cdef.text(s.target_text))
    assert.equal(4, tonumber(s.target.split.total))
    assert.equal(3, tonumber(s.target.split.share[0]["until"]))
    local answer = s.target.split.share[1].target.answer
    assert.same({ 201, "x", 2 }, { answer.status, cdef.text(answer.body), answer.header_count })
    local f = g.routes[2]
    assert.equal(0, f.chain)
    assert.is_true(f.chain_ops ~= nil)
    assert.truthy(cdef.text(f.target_text):find "^function .*script.lua:%d+$")
    assert.is_true(g.worker[0].script ~= nil)
  end)

  it("keeps no Lua state when the script is all data", function()
    local g = assert(load(PRELUDE .. 'gateway.route "/" { to = gateway.respond(200) }', { workers = 2 }))
    assert.is_true(g.worker[0].script == nil and g.worker[1].script == nil)
  end)

  it("has a state for each worker otherwise", function()
    local g = assert(load(PRELUDE .. 'gateway.route "/" { to = function() end }', { workers = 2 }))
    assert.is_true(g.worker[0].script ~= nil and g.worker[1].script ~= nil and g.worker[0].script ~= g.worker[1].script)
  end)

  it("has the digest of what was said, not of how", function()
    local text = PRELUDE .. 'gateway.route "/%s" { to = gateway.respond(200) }'
    local a, b, c = assert(load(text:format "a")), assert(load(text:format "a" .. " -- a comment")), assert(load(text:format "b"))
    assert.is_true(a.digest == b.digest)
    assert.is_true(a.digest ~= c.digest)
  end)

  it("starts empty with a warning when a name that is looked up again is not there yet", function()
    local g, errors, warnings = load(PRELUDE .. "gateway.upstream 'u' { { 'nowhere.invalid:80', resolve = 1 } }")
    assert.same({}, errors)
    assert.is_true(g ~= nil)
    assert.equal(1, #warnings)
    assert.truthy(warnings[1]:find '^script.lua:1: upstream "u": the name in "nowhere.invalid:80" could not be looked up: ', warnings[1])
    assert.truthy(warnings[1]:find "%(tried again%)$", warnings[1])
    assert.equal(1, g.upstreams[0].name_count)
  end)

  it("knows every file that was read, also when it is refused", function()
    write("mine.lua", "return require 'other'")
    write("lua/other.lua", "return 5")
    write("plugins/p.lua", "return { name = 'p', new = function() return function(_, next) return next() end end }")
    write("r.yaml", "routes: []")
    local text = PRELUDE .. "require 'mine' gateway.load 'r.yaml' gateway.use { gateway.plugin 'p' }"
    local function names(files)
      local out, i = {}, 0
      while files[i] ~= nil do
        out[#out + 1] = ffi.string(files[i]):sub(#folder + 2)
        i = i + 1
      end
      table.sort(out)
      return out
    end
    local expected = { "lua/other.lua", "mine.lua", "plugins/p.lua", "r.yaml", "script.lua" }
    local g = assert(load(text))
    local list = {}
    for i = 0, g.file_count - 1 do list[i] = g.files[i] end
    assert.same(expected, names(list))
    assert.is_nil((load(text .. " error 'x'")))
    assert.same(expected, names(C.gw_script_last_files()))
  end)
end)

describe("10,000 routes", function()
  it("load within a second on an idle machine (here: within ten)", function()
    local start = os.clock()
    assert(load(PRELUDE .. [[
      local u = gateway.upstream "u" { "127.0.0.1:1" }
      for i = 1, 10000 do gateway.route("/service" .. i .. "/:id/*rest") { to = u, methods = { "GET" } } end]]))
    assert.is_true(os.clock() - start < 10)
  end)
end)
