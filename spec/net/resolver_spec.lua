-- The resolver against a name server of this process, and a hosts file of its own.

local ffi = require "ffi"
local socket = require "socket"
local net = require "spec.support.net"
local sys = require "spec.support.sys"

local C = net.C

local A, AAAA, CNAME = 1, 28, 5

local function u16(n)
  return string.char(math.floor(n / 256), n % 256)
end

local function wire_name(name)
  return (name:gsub("([^.]+)%.?", function(label) return string.char(#label) .. label end)) .. "\0"
end

-- A name server on UDP. zone: name -> { a = {"1.2.3.4"}, aaaa = {"2001:..."}, cname = "other", code = 2, silent = true }.
local function name_server(zone)
  local udp = assert(socket.udp())
  assert(udp:setsockname("127.0.0.1", 0))
  udp:settimeout(0)
  local server = { queries = {}, held = {} }
  local _, port = udp:getsockname()
  server.at = "127.0.0.1:" .. port

  local function records(name, type, answers, aliased)
    local entry = zone[name] or {}
    if entry.cname then
      answers[#answers + 1] = wire_name(name) .. u16(CNAME) .. u16(1) .. "\0\0\0\60" .. u16(#wire_name(entry.cname)) ..
        wire_name(entry.cname)
      return records(entry.cname, type, answers, true)
    end
    for _, text in ipairs((type == A and entry.a or type == AAAA and entry.aaaa) or {}) do
      local room = ffi.new "unsigned char[16]"
      assert(ffi.C.gwt_inet_pton(type == A and 2 or 10, text, room) == 1)
      local bytes = ffi.string(room, type == A and 4 or 16)
      answers[#answers + 1] = (aliased and wire_name(name) or "\192\12") .. u16(type) .. u16(1) .. "\0\0\0\60" ..
        u16(#bytes) .. bytes
    end
    return answers
  end

  local function answer(query)
    local labels, at = {}, 13
    while query:byte(at) ~= 0 do
      labels[#labels + 1] = query:sub(at + 1, at + query:byte(at))
      at = at + query:byte(at) + 1
    end
    local name, type = table.concat(labels, "."):lower(), query:byte(at + 1) * 256 + query:byte(at + 2)
    server.queries[#server.queries + 1] = name
    local entry = zone[name]
    if entry and entry.silent then return nil end
    local code = entry and (entry.code or 0) or 3
    local answers = records(name, type, {})
    return query:sub(1, 2) .. u16(0x8180 + code) .. u16(1) .. u16(#answers) .. u16(0) .. u16(0) .. query:sub(13, at + 4) ..
      table.concat(answers)
  end

  --- Answers what has come.
  function server.serve()
    while true do
      local query, from, from_port = udp:receivefrom()
      if not query then return end
      local reply = answer(query)
      if reply then udp:sendto(reply, from, from_port) end
    end
  end

  function server.close() udp:close() end
  return server
end

local function setenv(name, value)
  if value then ffi.C.gwt_setenv(name, value, 1) else ffi.C.gwt_unsetenv(name) end
end

describe("resolver", function()
  local loop, resolver, server, resolved
  local answers -- in order of coming
  local hosts

  local many = {}
  for i = 100, 1, -1 do many[#many + 1] = "10.9.0." .. i end

  setup(function()
    hosts = os.tmpname()
    local file = assert(io.open(hosts, "w"))
    file:write("192.0.2.80 in-hosts.test other-name\n2001:db8::80 in-hosts.test\n")
    file:close()
  end)
  teardown(function() os.remove(hosts) end)

  before_each(function()
    server = name_server {
      ["one.test"] = { a = { "10.0.0.1" } },
      ["both.test"] = { a = { "10.0.0.9", "10.0.0.2" }, aaaa = { "2001:db8::2", "2001:db8::1" } },
      ["doubles.test"] = { a = { "10.0.0.2", "10.0.0.1", "10.0.0.2", "10.0.0.1" } },
      ["six.test"] = { aaaa = { "2001:db8::6" } },
      ["alias.test"] = { cname = "one.test" },
      ["empty.test"] = {},
      ["broken.test"] = { code = 2 },
      ["silent.test"] = { silent = true },
      ["many.test"] = { a = { unpack(many, 1, 20) } },
    }
    setenv("GATEWAY_RESOLVER", server.at)
    setenv("CARES_HOSTS", hosts)
    loop = net.loop()
    resolver = C.gw_resolver_new(loop.c)
    assert.is_true(resolver ~= nil)
    answers = {}
    resolved = ffi.cast("gw_resolved *", function(data, status, message, addresses, count)
      local one = { id = tonumber(ffi.cast("intptr_t", data)), status = status, message = message ~= nil and ffi.string(message) }
      for i = 0, tonumber(count) - 1 do one[#one + 1] = net.text(addresses[i]) end
      answers[#answers + 1] = one
      if one.id == 666 then
        C.gw_resolver_free(resolver)
        resolver = nil
      end
    end)
  end)
  after_each(function()
    net.call(C.gw_resolver_free, resolver)
    loop:free()
    server.close()
    setenv("GATEWAY_RESOLVER", nil)
    setenv("CARES_HOSTS", nil)
    resolved:free()
  end)

  local function ask(name, port, id)
    net.call(C.gw_resolve, resolver, name, port or 80, resolved, ffi.cast("void *", id or 0))
  end

  local function wait(count)
    loop:run_until(function()
      server.serve()
      return #answers >= count
    end)
  end

  local good = {
    { "one.test", { "10.0.0.1:80" } },
    { "ONE.test", { "10.0.0.1:80" } },
    { "one.test.", { "10.0.0.1:80" } },
    { "both.test", { "10.0.0.2:80", "10.0.0.9:80", "[2001:db8::1]:80", "[2001:db8::2]:80" } },
    { "doubles.test", { "10.0.0.1:80", "10.0.0.2:80" } },
    { "six.test", { "[2001:db8::6]:80" } },
    { "alias.test", { "10.0.0.1:80" } },
    { "in-hosts.test", { "192.0.2.80:80", "[2001:db8::80]:80" }, "hosts" },
    { "other-name", { "192.0.2.80:80" }, "hosts" },
    { "localhost", { "127.0.0.1:80", "[::1]:80" }, "hosts" },
    { "LocalHost.", { "127.0.0.1:80", "[::1]:80" }, "hosts" },
    { "192.0.2.1", { "192.0.2.1:80" }, "hosts" },
    { "2001:db8::5", { "[2001:db8::5]:80" }, "hosts" },
  }
  for _, case in ipairs(good) do
    it("finds " .. case[1], function()
      ask(case[1])
      wait(1)
      assert.equal(0, answers[1].status)
      local got = { unpack(answers[1]) }
      assert.same(case[2], got)
      if case[3] and not case[1]:lower():find("localhost") then assert.equal(0, #server.queries) end
    end)
  end

  it("puts the port in, and the least addresses of a long answer", function()
    ask("many.test", 65535)
    wait(1)
    assert.equal(20, #answers[1])
    assert.equal("10.9.0.81:65535", answers[1][1])
    assert.equal("10.9.0.100:65535", answers[1][20])
  end)

  local bad = {
    { "no-such.test", "GW_NOTFOUND" },
    { "empty.test", "GW_NOTFOUND" },
    { "broken.test", "GW_REFUSED" },
    { ("a"):rep(70) .. ".test", "GW_INVALID" },
    { "a..b", "GW_INVALID" },
  }
  for _, case in ipairs(bad) do
    it(("says %s for %s"):format(case[2], case[1]:sub(1, 20)), function()
      ask(case[1])
      wait(1)
      assert.equal(C[case[2]], answers[1].status)
      assert.is_true(#answers[1].message > 0)
      assert.equal(0, #answers[1])
    end)
  end

  it("answers many at once, each to who asked", function()
    local names = { "one.test", "both.test", "no-such.test", "six.test", "localhost" }
    for id, name in ipairs(names) do ask(name, 1000 + id, id) end
    wait(#names)
    loop:turns(5)
    assert.equal(#names, #answers)
    table.sort(answers, function(a, b) return a.id < b.id end)
    assert.equal("10.0.0.1:1001", answers[1][1])
    assert.equal("10.0.0.2:1002", answers[2][1])
    assert.equal(C.GW_NOTFOUND, answers[3].status)
    assert.equal("[2001:db8::6]:1004", answers[4][1])
    assert.equal("127.0.0.1:1005", answers[5][1])
  end)

  it("freed while it asks calls back with EOF, once", function()
    ask("silent.test", 1, 1)
    ask("silent.test", 2, 2)
    loop:turns(3)
    assert.equal(0, #answers)
    net.call(C.gw_resolver_free, resolver)
    resolver = nil
    assert.equal(2, #answers)
    assert.same({ C.GW_EOF, C.GW_EOF }, { answers[1].status, answers[2].status })
    loop:turns(3)
    assert.equal(2, #answers)
  end)

  it("may be freed in its callback, from the answer and from inside of the question", function()
    ask("silent.test", 1, 1)
    ask("one.test", 1, 666)
    wait(2)
    assert.is_nil(resolver)
    assert.same({ 666, 1 }, { answers[1].id, answers[2].id })
    assert.equal(C.GW_EOF, answers[2].status)
    loop:turns(3)

    resolver = C.gw_resolver_new(loop.c)
    ask("192.0.2.1", 1, 666)
    assert.is_nil(resolver)
    assert.equal(3, #answers)
  end)

  it("leaves no descriptor behind", function()
    ask "one.test"
    wait(1)
    net.call(C.gw_resolver_free, resolver)
    local before = sys.open_files("self")
    for i = 1, 5 do
      resolver = C.gw_resolver_new(loop.c)
      ask "both.test"
      wait(1 + i)
      net.call(C.gw_resolver_free, resolver)
    end
    resolver = nil
    assert.equal(before, sys.open_files("self"))
  end)

  describe("that is waited for", function()
    local function now(name, seconds)
      local addresses, count, message = ffi.new "gw_address[64]", ffi.new "size_t[1]", ffi.new "char[200]"
      local status = net.call(C.gw_resolve_now, name, 80, seconds or 5, addresses, count, message, 200)
      local list = {}
      for i = 0, tonumber(count[0]) - 1 do list[i + 1] = net.text(addresses[i]) end
      return status, list, ffi.string(message)
    end

    it("answers from the hosts file and for addresses", function()
      assert.same({ 0, { "192.0.2.80:80", "[2001:db8::80]:80" }, "" }, { now "in-hosts.test" })
      assert.same({ 0, { "192.0.2.1:80" }, "" }, { now "192.0.2.1" })
    end)

    it("says what is wrong", function()
      local status, list, message = now "a..b"
      assert.equal(C.GW_INVALID, status)
      assert.equal(0, #list)
      assert.is_true(#message > 0)
    end)

    it("gives up in time", function()
      local before = sys.open_files("self")
      local status, _, message = now("silent.test", 0.05)
      assert.equal(C.GW_TIMEOUT, status)
      assert.equal("no answer in time", message)
      assert.equal(before, sys.open_files("self"))
    end)
  end)

  it("cannot be made with servers that are none", function()
    setenv("GATEWAY_RESOLVER", "not an address")
    assert.is_true(C.gw_resolver_new(loop.c) == nil)
  end)
end)
