-- The last request heads at the admin address: only of routes that ask for it, without secrets, bounded.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local SCRIPT = [[${prelude}
gateway.record { keep = 5 }
gateway.route "/kept" { record = true, use = { function(request, next) request.headers["X-Late"] = "1"; return next() end },
  to = gateway.respond(200, "kept") }
gateway.route "/other" { to = gateway.respond(200, "other") }
]]

local function heads(g)
  local response = g:admin("/recent")
  assert.equal(200, response.status, response.body)
  return response.json.heads
end

local function field(head, name)
  for _, pair in ipairs(head.headers) do if pair[1]:lower() == name then return pair[2] end end
  return nil
end

describe("GET /recent", function()
  it("has the heads of routes with record = true, as they came, secrets masked", function()
    local g = gateway.start { script = SCRIPT, workers = 2 }
    assert.same({}, heads(g))
    g:ask { path = "/other" }
    g:ask { path = "/kept/x?a=1&access_token=s3cr3t&key=s3cr3t&b", method = "POST", body = "s3cr3t body", headers = {
      Authorization = "Bearer s3cr3t", Cookie = "id=s3cr3t", ["X-Api-Key"] = "s3cr3t", ["X-Session-Id"] = "s3cr3t",
      ["Proxy-Authorization"] = "s3cr3t", ["X-Plain"] = "to be seen" } }
    local list = heads(g)
    assert.equal(1, #list)
    local head = list[1]
    assert.equal("POST", head.method)
    assert.equal("/kept/x?a=1&access_token=***&key=***&b", head.target)
    assert.equal("127.0.0.1", head.client_ip)
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT", head.at)
    assert.equal("to be seen", field(head, "x-plain"))
    assert.is_nil(field(head, "x-late"))
    for _, name in ipairs { "authorization", "cookie", "x-api-key", "x-session-id", "proxy-authorization" } do
      assert.equal("***", field(head, name), name)
    end
    assert.falsy(g:admin("/recent").body:find("s3cr3t", 1, true))
    g:stop()
  end)

  it("keeps the newest, over reloads and other sizes", function()
    local g = gateway.start { script = SCRIPT }
    for i = 1, 8 do g:ask { path = "/kept/" .. i } end
    local function targets()
      local out = {}
      for i, head in ipairs(heads(g)) do out[i] = head.target end
      return table.concat(out, " ")
    end
    assert.equal("/kept/4 /kept/5 /kept/6 /kept/7 /kept/8", targets())
    g:write("main.lua", (SCRIPT:gsub("keep = 5", "keep = 3, all = true")))
    assert.equal(200, g:reload().status)
    g:ask { path = "/nobody" } -- no route takes it
    assert.equal("/kept/7 /kept/8 /nobody", targets())
    g:write("main.lua", (SCRIPT:gsub("keep = 5", "keep = 10")))
    assert.equal(200, g:reload().status)
    g:ask { path = "/other" }
    g:ask { path = "/kept/9" }
    assert.equal("/kept/7 /kept/8 /nobody /kept/9", targets())
    g:stop()
  end)

  it("leaves out fields that do not fit, and targets that do not", function()
    local g = gateway.start { script = SCRIPT }
    g:ask { path = "/kept/" .. ("x"):rep(3000) }
    g:ask { path = "/kept/1", headers = { ["X-Long"] = ("y"):rep(3000), ["X-Short"] = "z" } }
    local list = heads(g)
    assert.equal(1, #list)
    assert.is_true(list[1].cut)
    assert.equal("z", field(list[1], "x-short"))
    g:stop()
  end)

  it("answers many who ask at once, and some who go away", function()
    local g = gateway.start { script = SCRIPT, workers = 2 }
    g:ask { path = "/kept" }
    peers.within(function()
      local conns = {}
      for i = 1, 10 do
        conns[i] = peers.connect(g.vars.admin)
        conns[i]:write("GET /recent HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        if i % 3 == 0 then conns[i]:reset() end
      end
      for i, conn in ipairs(conns) do
        if i % 3 ~= 0 then assert.equal(200, conn:read_response().status) end
        conn:close()
      end
    end)
    g:stop()
  end)
end)
