-- testing.serve: the same words as testing.app has, against the real binary on real sockets.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

describe("testing.serve", function()
  it("runs a function, with what it uses of the test", function()
    local greeting, numbers = "hello\n\"you\"", { 1, 2, { deep = true } }
    local backend = testing.upstream(function(request) return { body = request.method .. " " .. request.body, status = 201 } end)
    local app = testing.serve(function(gateway)
      gateway.route "/backend" { to = backend }
      gateway.route "/group" { to = gateway.upstream "group" { backend, backend } }
      gateway.route "/local" { to = gateway.respond(200, { greeting = greeting, numbers = numbers }) }
    end)
    local response = app:post("/backend/x?y=z", { body = "data" })
    assert.response(response).has.status(201)
    assert.equal("POST data", response.body)
    assert.equal("/backend/x", backend.requests[1].path)
    assert.equal("y=z", backend.requests[1].query)
    assert.response(app:get("/group")).has.body("GET")
    assert.response(app:get("/local")).has.json { greeting = greeting, numbers = numbers }
    assert.response(app:get("/none")).has.status(404)
    app:eventually(function() return #app.access == 4 end)
    assert.equal(0, app:close())
  end)

  it("runs a script that is text", function()
    local app = testing.serve [[
      gateway.route "/" { use = { function(request, next) return gateway.respond(200, request.client_ip) end }, to = gateway.respond(500) }
    ]]
    assert.equal("127.0.0.1", app:get("/").body)
    local client = app:connect()
    assert.equal(200, client:request({ path = "/" }).status)
    assert.equal(200, client:request({ path = "/" }).status)
    assert.is_false(client:is_closed())
    app:reload()
    assert.equal(200, client:request({ path = "/" }).status)
    assert.truthy(app.admin)
    assert.response(app:connect({ address = app.admin }):request { path = "/readyz", host = app.admin }).has.status(200)
  end)

  it("runs a script in a file", function()
    local path = os.tmpname() .. ".lua"
    local file = assert(io.open(path, "w"))
    file:write('local gateway = require "gateway"\ngateway.listen "127.0.0.1:0"\n'
      .. 'gateway.route "/" { to = gateway.respond(204) }\n')
    file:close()
    local app = testing.serve(path)
    os.remove(path)
    assert.equal(204, app:get("/").status)
    assert.same({ app.address }, app.listeners)
    assert.is_nil(app.admin)
  end)

  it("carries large bodies, and waits of backends, in real time", function()
    local big = ("0123456789abcdef"):rep(65536)
    local backend = testing.upstream(function(request)
      return { body = { request.body, 0.05, "end" }, chunked = true }
    end)
    local app = testing.serve(function(gateway) gateway.route "/" { to = backend } end)
    local response = app:post("/", { body = big })
    assert.equal(#big + 3, #response.body)
    assert.is_true(response.duration >= 0.05)
  end)

  it("plays backends that break", function()
    local broken = testing.upstream { reset = true }
    local app = testing.serve(function(gateway) gateway.route "/" { to = broken } end)
    assert.equal(502, app:get("/").status)
  end)

  it("tells what is wrong with the script, with its line", function()
    local good, message = pcall(testing.serve, "\n\ngateway.route '/' { too = 1 }\n")
    assert.is_false(good)
    assert.truthy(message:find('main.lua:3: route "/": unknown option "too" (did you mean "to"?)', 1, true), message)
  end)

  it("refuses a function that uses what cannot go along", function()
    local function helper() end
    local good, message = pcall(testing.serve, function() helper() end)
    assert.is_false(good)
    assert.truthy(message:find("helper is a function", 1, true), message)
    assert.is_false((pcall(testing.serve, 7)))
    assert.is_false((pcall(testing.serve, "/nowhere/x.lua")))
  end)
end)
