-- canary: who goes where, and who stays there.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local testing = require "gateway.testing"

local app

local function start(config)
  app = testing.app(function(gateway)
    local stable = gateway.upstream "stable" { testing.upstream { body = "stable" } }
    config.to = gateway.upstream "beta" { testing.upstream { body = "canary" } }
    gateway.route "/" { use = { gateway.plugin("canary", config) }, to = stable }
  end)
end

local function get(headers, more)
  local options = { path = "/", headers = headers }
  for key, value in pairs(more or {}) do options[key] = value end
  local response = app:request(options)
  return response.body, response
end

-- Percent of n clients that get the new one.
local function share(n, f)
  local count = 0
  for i = 1, n do
    if f(i) == "canary" then count = count + 1 end
  end
  return count / n * 100
end

describe("canary", function()
  for _, weight in ipairs { 0, 20, 100 } do
    it(("takes its share: %d %%"):format(weight), function()
      start { weight = weight }
      local got = share(1000, function() return (get()) end)
      if weight % 100 == 0 then assert.equal(weight, got) else assert.near(weight, got, 6) end
    end)
  end

  for _, case in ipairs {
    { "header: always", { header = "X-Canary" }, { ["X-Canary"] = "always" }, "canary" },
    { "header: never", { header = "X-Canary", weight = 100 }, { ["X-Canary"] = "never" }, "stable" },
    { "header: something else", { header = "X-Canary", weight = 100 }, { ["X-Canary"] = "maybe" }, "canary" },
    { "header: not there", { header = "X-Canary" }, {}, "stable" },
    { "header with a value", { header = "X-Team", header_value = "red" }, { ["X-Team"] = "red" }, "canary" },
    { "header with another value", { header = "X-Team", header_value = "red" }, { ["X-Team"] = "always" }, "stable" },
    { "cookie: always", { cookie = "canary" }, { Cookie = "a=b; canary=always" }, "canary" },
    { "cookie: never", { cookie = "canary", weight = 100 }, { Cookie = "canary=never" }, "stable" },
    { "header before cookie", { header = "X-Canary", cookie = "canary" }, { ["X-Canary"] = "never", Cookie = "canary=always" },
      "stable" },
  } do
    it(case[1], function()
      start(case[2])
      assert.equal(case[4], (get(case[3])))
    end)
  end

  for _, case in ipairs {
    { "ip", function(i) return get({}, { client_ip = ("10.0.%d.%d"):format(i / 250, i % 250) }) end },
    { "header:X-User", function(i) return get { ["X-User"] = "user-" .. i } end },
    { "cookie:session", function(i) return get { Cookie = "session=s" .. i } end },
  } do
    local sticky, ask = case[1], case[2]
    it("a client stays where it is, and nobody goes back as the share grows: " .. sticky, function()
      local first = {}
      for _, weight in ipairs { 10, 40 } do
        start { weight = weight, sticky = sticky }
        local got = share(300, function(i)
          local there = ask(i)
          assert.equal(there, (ask(i)))
          if first[i] == "canary" then assert.equal("canary", there) end
          first[i] = there
          return there
        end)
        assert.near(weight, got, 9)
      end
    end)
  end

  it("differs by its name in whom it takes", function()
    local of = {}
    for _, name in ipairs { "one", "two" } do
      start { weight = 50, sticky = "header:X-User", name = name }
      of[name] = {}
      for i = 1, 50 do of[name][i] = get { ["X-User"] = "u" .. i } end
    end
    assert.are_not.same(of.one, of.two)
  end)

  it("gives a client a place in a cookie, which it keeps", function()
    start { weight = 50, sticky = "cookie", sticky_for = "1h" }
    local there, response = get()
    local cookie = response.headers["set-cookie"]
    assert.truthy(cookie:find("^canary=%d+%.%d%d; Path=/; Max%-Age=3600; HttpOnly; SameSite=Lax$"), cookie)
    for _ = 1, 20 do
      local again, next_response = get { Cookie = cookie:match("^[^;]+") }
      assert.equal(there, again)
      assert.is_nil(next_response.headers["set-cookie"])
    end
    assert.equal("canary", (get { Cookie = "canary=49.99" }))
    assert.equal("stable", (get { Cookie = "canary=50.00" }))
    for _, forged in ipairs { "canary=-1", "canary=1e9", "canary=x", "canary=" } do
      assert.is_string(select(2, get { Cookie = forged }).headers["set-cookie"])
    end
  end)

  it("goes up by steps, from its first request on", function()
    local steps = { { after = 0, weight = 0 }, { after = "10m", weight = 50 }, { after = "1h", weight = 100 } }
    start { steps = steps, sticky = "header:X-User" }
    local function now() return share(200, function(i) return (get { ["X-User"] = "u" .. i }) end) end
    app.clock:advance(5000)
    assert.equal(0, now())
    app.clock:advance(599)
    assert.equal(0, now())
    app.clock:advance(1)
    assert.near(50, now(), 10)
    app.clock:advance(3000)
    assert.equal(100, now())
  end)

  it("says which it was", function()
    start { weight = 100, mark = "X-Version" }
    assert.equal("canary", select(2, get()).headers["x-version"])
  end)

  for _, case in ipairs {
    { {}, "expected weight, steps, header or cookie: nothing would ever go to the new one" },
    { { weight = 101 }, "weight: expected a number from 0 to 100, found 101" },
    { { weight = 1, sticky = "cokie" }, 'sticky: expected "none", "cookie", "ip", "header:NAME" or "cookie:NAME"' },
    { { weight = 1, header_value = "x" }, "header_value: goes with header" },
    { { steps = { { after = 5, weight = 1 }, { after = 5, weight = 2 } } }, "steps: expected them in the order of their times" },
    { { weight = 1, steps = { { after = 5, weight = 1 } } }, "weight" },
  } do
    it("refuses: " .. case[2], function()
      local good, message = pcall(start, case[1])
      assert.is_false(good)
      assert.truthy(tostring(message):find(case[2], 1, true), message)
    end)
  end
end)
