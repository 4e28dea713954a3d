local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("http/headers.h")

local names = {
  HOST = "Host", CONTENT_LENGTH = "Content-Length", TRANSFER_ENCODING = "Transfer-Encoding", CONNECTION = "Connection",
  KEEP_ALIVE = "Keep-Alive", PROXY_CONNECTION = "Proxy-Connection", TE = "TE", TRAILER = "Trailer", UPGRADE = "Upgrade",
  EXPECT = "Expect", PROXY_AUTHENTICATE = "Proxy-Authenticate", PROXY_AUTHORIZATION = "Proxy-Authorization",
  X_FORWARDED_FOR = "X-Forwarded-For", X_FORWARDED_PROTO = "X-Forwarded-Proto", X_FORWARDED_HOST = "X-Forwarded-Host",
  X_FORWARDED_PORT = "X-Forwarded-Port", X_REAL_IP = "X-Real-IP", FORWARDED = "Forwarded", VIA = "Via", X_REQUEST_ID = "X-Request-ID",
  TRACEPARENT = "traceparent", TRACESTATE = "tracestate", COOKIE = "Cookie", AUTHORIZATION = "Authorization", DATE = "Date",
  SERVER = "Server", SEC_WEBSOCKET_KEY = "Sec-WebSocket-Key", CONTENT_TYPE = "Content-Type", LOCATION = "Location",
  SET_COOKIE = "Set-Cookie", HTTP2_SETTINGS = "HTTP2-Settings",
}

local function id_of(name) return tonumber(C.gw_header_id_of(cdef.slice(name))) end

describe("gw_header_id_of", function()
  it("is tested for every id", function()
    local count = 0
    for _ in pairs(names) do count = count + 1 end
    assert.equal(C.GW_H_COUNT - 1, count)
  end)
  for constant, name in pairs(names) do
    it("knows " .. name .. " in any case, and nothing that is nearly it", function()
      local id = C["GW_H_" .. constant]
      assert.equal(id, id_of(name))
      assert.equal(id, id_of(name:upper()))
      assert.equal(id, id_of(name:lower()))
      assert.equal(C.GW_H_OTHER, id_of(name .. "x"))
      assert.equal(C.GW_H_OTHER, id_of(name:sub(1, -2)))
      for i = 1, #name do
        -- The bit that tells capitals from small letters must not make other characters equal.
        local b = name:byte(i)
        local twin = string.char(bit.bxor(b, 0x20))
        if not twin:find("%a") then assert.equal(C.GW_H_OTHER, id_of(name:sub(1, i - 1) .. twin .. name:sub(i + 1))) end
        assert.equal(C.GW_H_OTHER, id_of(name:sub(1, i - 1) .. string.char(bit.bxor(b, 0x80)) .. name:sub(i + 1)))
        assert.equal(C.GW_H_OTHER, id_of(name:sub(1, i - 1) .. "*" .. name:sub(i + 1)))
      end
    end)
  end
  it("knows nothing else", function()
    for length = 0, 40 do assert.equal(C.GW_H_OTHER, id_of(("h"):rep(length))) end
  end)
end)

-- A list of fields with its strings, and what can be done with it.
local function list()
  local h, held = ffi.new "gw_headers", {}
  h.count, h.present = 0, 0
  local function s(text)
    local slice = cdef.slice(text)
    held[#held + 1] = slice
    return slice
  end
  local self = { h = h, s = s }
  function self.add(name, value) return C.gw_headers_add(h, s(name), s(value)) end
  function self.set(name, value) return C.gw_headers_set(h, s(name), s(value)) end
  function self.remove(name) return C.gw_headers_remove(h, s(name)) end
  function self.find(name, from) return C.gw_headers_find(h, s(name), from or 0) end
  function self.text()
    local t = {}
    for i = 0, h.count - 1 do t[#t + 1] = cdef.text(h.item[i].name) .. "=" .. cdef.text(h.item[i].value) end
    return table.concat(t, " ")
  end
  function self.has(id) return bit.band(h.present, bit.lshift(1ULL, id)) ~= 0 end
  function self.joined(name)
    local arena = ffi.new "gw_arena"
    C.gw_arena_init(arena, 256, 0)
    local text = cdef.text(C.gw_headers_joined(h, s(name), arena))
    C.gw_arena_clear(arena)
    return text
  end
  return self
end

local function filled()
  local l = list()
  for _, f in ipairs { { "Host", "a" }, { "X", "1" }, { "Cookie", "b=1" }, { "x", "2" }, { "Accept", "*" },
    { "COOKIE", "c=2" }, { "X", "3" } } do
    l.add(f[1], f[2])
  end
  return l
end

describe("gw_headers", function()
  it("keeps the order of what is added", function()
    assert.equal("Host=a X=1 Cookie=b=1 x=2 Accept=* COOKIE=c=2 X=3", filled().text())
  end)
  it("finds by name without regard to case, from an index on", function()
    local l = filled()
    assert.same({ 1, 3, 6, -1 }, { l.find("x"), l.find("X", 2), l.find("x", 4), l.find("X", 7) })
    assert.same({ 2, 5, -1 }, { l.find("cookie"), l.find("Cookie", 3), l.find("cookie", 6) })
    assert.same({ -1, -1 }, { l.find("Y"), l.find("Date") })
  end)
  it("finds by id", function()
    local l = filled()
    assert.equal("b=1", cdef.text(C.gw_headers_by_id(l.h, C.GW_H_COOKIE).value))
    assert.is_true(C.gw_headers_by_id(l.h, C.GW_H_DATE) == nil)
    assert.is_true(C.gw_headers_by_id(l.h, C.GW_H_OTHER) == nil)
  end)
  it("replaces the first and removes the others", function()
    local l = filled()
    assert.equal(0, l.set("x", "new"))
    assert.equal("Host=a x=new Cookie=b=1 Accept=* COOKIE=c=2", l.text())
    assert.equal(0, l.set("cookie", "z"))
    assert.equal("Host=a x=new cookie=z Accept=*", l.text())
    assert.is_true(l.has(C.GW_H_COOKIE))
  end)
  it("adds what is set and absent", function()
    local l = filled()
    assert.equal(0, l.set("Server", "s"))
    assert.equal("Host=a X=1 Cookie=b=1 x=2 Accept=* COOKIE=c=2 X=3 Server=s", l.text())
    assert.is_true(l.has(C.GW_H_SERVER))
  end)
  it("sets what was nominated free of it", function()
    local l = filled()
    l.h.item[1].nominated = true
    l.set("X", "mine")
    assert.is_false(l.h.item[1].nominated)
  end)
  it("removes all of a name", function()
    local l = filled()
    assert.same({ 3, 2, 0, 0 }, { l.remove("X"), l.remove("cookie"), l.remove("Cookie"), l.remove("Y") })
    assert.equal("Host=a Accept=*", l.text())
    assert.is_false(l.has(C.GW_H_COOKIE))
    assert.is_true(l.has(C.GW_H_HOST))
  end)
  it("joins on read: a comma, a semicolon for Cookie", function()
    local l = filled()
    assert.same({ "1, 2, 3", "b=1; c=2", "a" }, { l.joined("x"), l.joined("cookie"), l.joined("host") })
    assert.is_nil(l.joined("Y"))
    l.add("Z", "")
    assert.equal("", l.joined("z"))
    l.add("z", "")
    assert.equal(", ", l.joined("z"))
  end)
  it("says absent when there is no memory to join in", function()
    local l, arena = filled(), ffi.new "gw_arena"
    C.gw_arena_init(arena, 256, 1)
    assert.is_nil(cdef.text(C.gw_headers_joined(l.h, l.s "x", arena)))
    C.gw_arena_clear(arena)
  end)
  it("is full at GW_HEADERS_MAX", function()
    local l = list()
    for i = 1, 256 do assert.equal(0, l.add("F" .. i, "v")) end
    assert.same({ C.GW_LIMIT, C.GW_LIMIT, 0 }, { l.add("Host", "a"), l.set("Host", "a"), l.set("F7", "w") })
    assert.is_false(l.has(C.GW_H_HOST))
    assert.equal(256, l.h.count)
    assert.equal(1, l.remove("F256"))
    assert.equal(0, l.add("Host", "a"))
  end)
end)

describe("gw_header_is_hop_by_hop", function()
  local hop_by_hop = { CONNECTION = true, KEEP_ALIVE = true, PROXY_CONNECTION = true, TE = true, TRAILER = true,
    TRANSFER_ENCODING = true, UPGRADE = true, PROXY_AUTHENTICATE = true, PROXY_AUTHORIZATION = true }
  for constant, name in pairs(names) do
    it("of " .. name, function()
      local f = ffi.new("gw_header", { id = C["GW_H_" .. constant] })
      assert.equal(hop_by_hop[constant] or false, C.gw_header_is_hop_by_hop(f))
      f.nominated = true
      assert.is_true(C.gw_header_is_hop_by_hop(f))
    end)
  end
  it("of another", function() assert.is_false(C.gw_header_is_hop_by_hop(ffi.new "gw_header")) end)
end)

describe("gw_list_has_token", function()
  for _, case in ipairs { -- list, token, found
    { "a", "a", true }, { "a, b", "b", true }, { "A,B", "b", true }, { " ,\t, b ,", "b", true }, { "ab", "a", false },
    { "a b", "a", false },
    { "", "a", false }, { ",", "", false }, { "a;q=1", "a", false }, { "a,bc,d", "c", false }, { "a,b,c", "c", true },
  } do
    it(("%q in %q"):format(case[2], case[1]), function()
      assert.equal(case[3], C.gw_list_has_token(cdef.slice(case[1]), cdef.slice(case[2])))
    end)
  end
  it("in nothing", function() assert.is_false(C.gw_list_has_token(cdef.slice(nil), cdef.slice "a")) end)
end)
