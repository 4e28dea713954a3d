-- The scripts in examples/, run as they are but for their ports: what their first lines promise.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local socket = require "socket"


local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- The first of `count` ports in a row that nobody has.
local function free_ports(count)
  for _ = 1, 100 do
    local first, good, held = math.random(20000, 29000), true, {}
    for i = 0, count - 1 do
      local s = socket.tcp()
      good = good and s:bind("127.0.0.1", first + i) == 1
      held[#held + 1] = s
    end
    for _, s in ipairs(held) do s:close() end
    if good then return first end
  end
  error "no free ports"
end

local function with(name, f, options)
  options = options or {}
  local text = read("examples/" .. name .. ".lua")
  local count
  text, count = text:gsub('gateway%.listen "[%d.]*:8080"', 'gateway.listen "127.0.0.1:${port}"; gateway.admin "127.0.0.1:${admin}"', 1)
  assert.equal(1, count, name .. " listens elsewhere")
  local files = { ["demo.lua"] = read "examples/demo.lua" }
  for path, content in pairs(options.files or {}) do files[path] = content end
  local env = { DEMO_PORT = tostring(free_ports(4)) }
  for key, value in pairs(options.env or {}) do env[key] = value end
  local g = gateway.start { script = text, files = files, env = env }
  local good, problem = pcall(f, g)
  g:stop()
  if not good then error(problem, 0) end
end

-- A JSON Web Token (RFC 7519), made without the gateway.
local function jwt(secret, claims)
  local crypto = require "gateway.crypto"
  local function url(text) return (require("mime").b64(text):gsub("+", "-"):gsub("/", "_"):gsub("=", "")) end
  local signed = url '{"alg":"HS256","typ":"JWT"}' .. "." .. url(cjson.encode(claims))
  return signed .. "." .. url(crypto.hmac("sha256", secret, signed))
end

local function json(response) return cjson.decode(response.body) end

describe("examples:", function()
  it("hello", function()
    with("hello", function(g)
      assert.equal("world", json(g:ask "/hello/world").hello)
      assert.matches("Try", g:ask("/").body)
    end)
  end)

  it("routes in YAML", function()
    with("yaml", function(g)
      assert.equal(404, g:ask("/no/such/path/at/all").status)
    end, { files = { ["routes.yaml"] = read "examples/routes.yaml" } })
  end)

  it("canary: clients stay where they are, and may ask", function()
    with("canary", function(g)
      assert.equal("next", json(g:ask { path = "/", headers = { ["X-Canary"] = "always" } }).version)
      assert.equal("stable", json(g:ask { path = "/", headers = { ["X-Canary"] = "never" } }).version)
      local new = 0
      for _ = 1, 100 do
        local response = g:ask "/"
        if json(response).version == "next" then new = new + 1 end
        local cookie = response.headers:get("set-cookie"):match "^[^;]+"
        assert.equal(json(response).version, json(g:ask { path = "/", headers = { Cookie = cookie } }).version)
      end
      assert.is_true(new < 40, "of 100 went to the new one: " .. new)
    end)
  end)

  it("API keys: a limit for each consumer, over all of its keys and routes", function()
    with("api_keys", function(g)
      assert.equal(401, g:ask("/orders").status)
      local function ask(key, path) return g:ask { path = path or "/orders", headers = { ["X-API-Key"] = key } } end
      assert.equal("alice", json(ask "alice-1").consumer)
      local refused
      for i = 1, 12 do
        local response = ask(i % 2 == 0 and "alice-1" or "alice-2", i % 3 == 0 and "/orders/7" or "/orders")
        if response.status == 429 then refused = response end
      end
      assert.is_not_nil(refused)
      assert.matches("^%d+$", refused.headers:get "retry-after")
      assert.equal("bob", json(ask "bob-1").consumer) -- has its own
      g:log_wait(function(line) return line.type == "access" and line.consumer == "alice" and line.status == 429 end)
    end)
  end)

  it("JWT: roles decide", function()
    with("jwt_roles", function(g)
      local secret = "an-example-secret-of-32-bytes!!!"
      local function ask(method, roles)
        local token = roles and jwt(secret, { sub = "u1", roles = roles, exp = os.time() + 600 })
        return g:ask { method = method, path = "/articles/7", headers = { Authorization = token and "Bearer " .. token or nil } }
      end
      assert.equal(401, ask("GET").status)
      assert.equal("u1", json(ask("GET", { "reader" })).user)
      assert.equal(403, ask("DELETE", { "editor" }).status)
      assert.equal(200, ask("POST", { "editor" }).status)
      assert.equal(200, ask("DELETE", { "admin" }).status)
    end)
  end)

  it("blue and green: by header, and changed over by saving", function()
    with("blue_green", function(g)
      local function ask(stage) return json(g:ask { path = "/", headers = { ["X-Stage"] = stage } }).deployment end
      assert.same({ "blue", "green" }, { ask(), ask "next" })
      local text = read(g.dir .. "/main.lua")
      g:replace("main.lua", (text:gsub('local live = "blue"', 'local live = "green"')))
      g:wait_generation(2)
      assert.same({ "green", "blue" }, { ask(), ask "next" })
    end)
  end)

  it("forward auth: the service decides", function()
    with("forward_auth", function(g)
      local response = g:ask { path = "/", headers = { ["X-User"] = "mallory" } }
      assert.equal(401, response.status)
      assert.equal("Bearer", response.headers:get "www-authenticate")
      response = g:ask { path = "/", headers = { Authorization = "Bearer good", ["X-User"] = "mallory" } }
      assert.equal("alice", json(response).user)
    end)
  end)

  it("aggregate: three at once, and a hole where one is down", function()
    with("aggregate", function(g)
      local whole = json(g:ask "/dashboard/7")
      assert.equal("7", whole.user.id)
      assert.equal(2, #whole.orders)
      assert.equal(2, #whole.recommendations)
      local part = json(g:ask "/dashboard/13")
      assert.equal("13", part.user.id)
      assert.is_nil(part.recommendations)
      g:log_wait(function(line) return line.message == "a part of the dashboard is missing" and line.error == 503 end)
    end)
  end)

  it("websocket: from our pages, both ways, over a reload", function()
    local backend = peers.listen()
    with("websocket", function(g)
      peers.run(function()
        backend:serve(function(conn)
          local request = conn:read_request()
          conn:write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nwelcome to " .. request.target)
          while true do
            local bytes = conn:read_some()
            if not bytes then return end
            conn:write("echo " .. bytes)
          end
        end)
        local function open(origin)
          local client = g:client()
          client:write("GET /chat/lobby HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: " .. origin
            .. "\r\n\r\n")
          return client, client:read_response_head()
        end
        local client, head = open "http://localhost"
        assert.equal(101, head.status)
        assert.equal("welcome to /chat/lobby", client:read_exact(#"welcome to /chat/lobby"))
        assert.equal(200, g:reload().status)
        client:write "hello"
        assert.equal("echo hello", client:read_exact(10))
        client:close()
        local other, refused = open "https://evil.example"
        assert.equal(403, refused.status)
        other:close()
      end)
    end, { env = { CHAT_BACKEND = backend.at } })
    backend:close()
  end)

  it("load shedding: what can wait is refused, what must work goes on", function()
    with("load_shedding", function(g)
      local seen, pay = {}, {}
      peers.run(function()
        local left = 40
        for _ = 1, 40 do
          require("spec.support.loop").spawn(function()
            local response = peers.ask(g.port, "/reports")
            seen[response.status] = (seen[response.status] or 0) + 1
            left = left - 1
          end)
        end
        for _ = 1, 5 do
          local response = peers.ask(g.port, "/pay")
          pay[response.status] = (pay[response.status] or 0) + 1
        end
        peers.eventually(function() return left == 0 end, "all answers")
      end)
      assert.same({ [200] = 5 }, pay)
      assert.is_true((seen[200] or 0) >= 10, cjson.encode { seen[200] or 0, seen[503] or 0, seen[429] or 0 })
      assert.is_true((seen[503] or 0) + (seen[429] or 0) > 0)
    end)
  end)

  it("a plugin of one's own, and its test", function()
    with("custom/gateway", function(g)
      for i = 1, 4 do
        assert.equal(i >= 3 and "Good morning" or nil, g:ask("/").headers:get "x-greeting")
      end
    end, { files = { ["plugins/greet.lua"] = read "examples/custom/plugins/greet.lua" } })
    local ended = gateway.command { args = { "test", "examples/custom/spec" } }
    assert.equal(0, ended.code, ended.stdout .. ended.stderr)
    assert.matches("4 successes / 0 failures", ended.stdout)
  end)
end)
