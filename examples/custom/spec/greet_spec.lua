local testing = require "gateway.testing"

describe("greet", function()
  local function app(config)
    return testing.app(function(gateway)
      gateway.route "/" { use = { gateway.plugin("greet", config) }, to = testing.upstream { status = 200, body = "hi" } }
    end)
  end

  it("greets from the second visit on", function()
    local a = app()
    assert.is_nil(a:get("/").headers["x-greeting"])
    assert.equal("Welcome back", a:get("/").headers["x-greeting"])
  end)

  it("says what it is told, when it is told", function()
    local a = app { greeting = "Hi", after = 3 }
    for _ = 1, 2 do assert.is_nil(a:get("/").headers["x-greeting"]) end
    assert.equal("Hi", a:get("/").headers["x-greeting"])
  end)

  it("forgets after a while", function()
    local a = app { memory = "1m" }
    a:get("/")
    a.clock:advance(61)
    assert.is_nil(a:get("/").headers["x-greeting"])
  end)

  it("says what is wrong with its options", function()
    assert.has_error(function() app { after = 0 } end)
  end)
end)
