-- The commands that speak to a running gateway: what they print, how they end; and what completes them in shells.

local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"

local TOKEN = "correct-horse-battery-staple"

describe("commands to a running gateway:", function()
  local g

  local function run(args, env)
    env = env or { GATEWAY_ADMIN = "127.0.0.1:" .. g.vars.admin, GATEWAY_TOKEN = TOKEN }
    for _, name in ipairs { "GATEWAY_ADMIN", "GATEWAY_TOKEN", "GATEWAY_TOKEN_FILE" } do env[name] = env[name] or "" end
    return gateway.command { args = args, env = env, vars = { a = g.vars.admin, folder = g.dir } }
  end

  local script = [[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.workers(2)
    gateway.admin { "127.0.0.1:${admin}", token = "]] .. TOKEN .. [[" }
    local users = gateway.upstream "users" {
      "${backend1}", { "${backend2}", weight = 3 }, balance = "weighted", breaker = { failures = 5 } }
    gateway.route "/" { to = users }
    gateway.route "= /status" { to = gateway.respond(200, "hello") }
  ]]

  lazy_setup(function()
    g = gateway.start { backends = 2, files = { token = TOKEN .. "\n" }, script = script }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  it("status is a table for people, or JSON", function()
    peers.run(function()
      g.backends[1]:answer { body = "ok" }
      g.backends[2]:answer { body = "ok" }
      for _ = 1, 4 do assert.equal(200, g:ask("/").status) end
    end)
    local result = run { "status" }
    assert.equal(0, result.code)
    assert.equal("", result.stderr)
    for _, text in ipairs { "serving for", "main.lua, generation 1 since ", "listens at   127.0.0.1:" .. g.port, "2 routes, 1 upstream",
      "requests     4, ", "upstream users (weighted), 2 of 2 endpoints in rotation",
      g.backends[1].at .. "  up      closed           0  1\n",
      "0 lines dropped", "LUA MEMORY" } do
      assert.is_truthy(result.stdout:find(text, 1, true), text .. "\nin\n" .. result.stdout)
    end
    result = run { "status", "--json" }
    assert.equal(0, result.code)
    assert.equal(1, cjson.decode(result.stdout).generation.number)
  end)

  it("the address and the token are found in options, variables and files", function()
    for _, case in ipairs {
      { { "status", "--admin", "127.0.0.1:${a}", "--token", TOKEN }, {} },
      { { "status", "--admin=localhost:${a}", "--token=" .. TOKEN }, {} },
      { { "status", "--token-file", "${folder}/token" }, { GATEWAY_ADMIN = "127.0.0.1:" .. g.vars.admin } },
      { { "status" }, { GATEWAY_ADMIN = "127.0.0.1:" .. g.vars.admin, GATEWAY_TOKEN_FILE = g.dir .. "/token" } },
      { { "status", "--token", TOKEN }, { GATEWAY_ADMIN = "127.0.0.1:" .. g.vars.admin, GATEWAY_TOKEN = "wrong-wrong-wrong" } },
    } do
      local result = run(case[1], case[2])
      assert.equal(0, result.code, table.concat(case[1], " ") .. "\n" .. result.stderr)
    end
  end)

  it("what cannot be asked is said, and ends with 1", function()
    local refused = peers.listen("127.0.0.1:0", { listening = false })
    for _, case in ipairs {
      { { "status" }, { GATEWAY_ADMIN = refused.at }, "no answer from the admin address " .. refused.at .. ": nobody listens there" },
      { { "status" }, { GATEWAY_ADMIN = "nonsense" }, 'expected "127.0.0.1:9901" or "unix:/path", found "nonsense"' },
      { { "status" }, { GATEWAY_ADMIN = "127.0.0.1:" .. g.vars.admin }, "Authorization: Bearer TOKEN (--token-file" },
      { { "reload", "--token-file", "/nothing" }, {}, "cannot read the token in /nothing: No such file or directory" },
      { { "reload", "--token", "a\r\nb: c" }, {}, "the token: expected visible ASCII" },
      { { "status", "--admin", "unix:${folder}/nothing" }, {}, "nobody listens there" },
      { { "status", "--admin", "127.0.0.1:" .. g.port }, {}, "an answer that is none of a gateway's" },
    } do
      local result = run(case[1], case[2])
      assert.equal(1, result.code)
      assert.equal("", result.stdout)
      assert.is_truthy(result.stderr:find(case[3], 1, true), result.stderr)
    end
    refused:close()
  end)

  it("reload says what changed", function()
    local result = run { "reload" }
    assert.equal(0, result.code)
    assert.is_truthy(result.stdout:find("^generation %d+ serves, after %d+"), result.stdout)
    assert.is_truthy(result.stdout:find("\n  the same routes, upstreams and listeners as before\n$"), result.stdout)
    -- a save reloads, too: by whom a change was taken up first is not known
    local changed = script:gsub('"${backend1}", ', "") .. 'gateway.listen "unix:${dir}/public"; gateway.route "/new" { to = users }'
    for _, case in ipairs {
      { changed, { "+ listener unix:" .. g.dir .. "/public", "+ route /new", "- endpoint " .. g.backends[1].at .. " of upstream users" } },
      { script, { "- listener unix:" .. g.dir .. "/public", "- route /new", "+ endpoint " .. g.backends[1].at .. " of upstream users" } },
    } do
      local before = cjson.decode(run({ "status", "--json" }).stdout).generation.number
      g:replace("main.lua", case[1])
      local said = ""
      peers.within(function()
        peers.eventually(function()
          local status = cjson.decode(run({ "status", "--json" }).stdout)
          if status.generation.number == before then return false end
          said = table.concat(status.reloads.last.changes, "\n")
          return true
        end, "another generation")
      end)
      assert.equal(table.concat(case[2], "\n"), said)
    end
  end)

  it("a refused one prints each error with its file and line, and ends with 1", function()
    g:write("main.lua", script .. "gateway.rout()")
    local result = run { "reload" }
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    assert.is_truthy(result.stderr:find('main.lua:7: gateway: unknown name "rout" (did you mean "route"?)', 1, true), result.stderr)
    assert.is_truthy(result.stderr:find("reload refused: generation %d+ goes on\n$"), result.stderr)
    result = run { "status" }
    assert.is_truthy(result.stdout:find("refused:\n  [^\n]*main.lua:7: "), result.stdout)
    g:write("main.lua", script)
    assert.equal(0, run({ "reload" }).code)
  end)

  it("drain takes an endpoint out, and lets it in again", function()
    local at = g.backends[2].at
    local result = run { "drain", "--upstream", "users", "--endpoint", at }
    assert.equal(0, result.code)
    assert.equal(at .. " of upstream users: drained, 0 requests in flight\n", result.stdout)
    assert.is_truthy(run({ "status" }).stdout:find(at .. "  drained", 1, true))
    result = run { "drain", "--upstream", "users", "--endpoint", at, "--undo" }
    assert.equal(at .. " of upstream users: takes requests again, 0 requests in flight\n", result.stdout)
    result = run { "drain", "--upstream", "us&ers", "--endpoint", at }
    assert.equal(1, result.code)
    assert.equal("gateway: no such upstream\n", result.stderr)
  end)

  it("drain without an endpoint ends the gateway in order", function()
    peers.run(function()
      local go
      for _, backend in ipairs(g.backends) do
        backend:answer(function()
          peers.eventually(function() return go end)
          return { body = "late" }
        end)
      end
      local client = g:client()
      client:send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      peers.eventually(function() return g.backends[1].connections + g.backends[2].connections >= 1 end)
      local result = run { "drain" }
      assert.equal(0, result.code)
      assert.equal("draining: 1 connection, at most 30.0 s\n", result.stdout)
      go = true
      assert.equal("late", client:read_response().body)
      assert.equal(0, g:wait_exit())
    end)
  end)
end)

describe("usage:", function()
  for _, case in ipairs {
    { { "drain", "--upstream", "a" }, "--upstream and --endpoint are expected together" },
    { { "drain", "--undo" }, "--upstream and --endpoint are expected together" },
    { { "status", "more" }, 'no word is expected behind the command, found "more"' },
    { { "status", "--json=1" }, 'an option that takes no value: "--json=1"' },
    { { "reload", "--admin" }, 'a value is expected behind "--admin"' },
    { { "reload", "--json" }, 'unknown option "--json"' },
    { { "reload", "--token", "a", "--token-file", "b" }, "one of them is expected" },
    { { "completion", "csh" }, 'expected bash, zsh or fish, found "csh"' },
  } do
    it("gateway " .. table.concat(case[1], " "), function()
      local result = gateway.command { args = case[1] }
      assert.equal(2, result.code)
      assert.is_truthy(result.stderr:find(case[2], 1, true), result.stderr)
      assert.is_truthy(result.stderr:find("try: gateway .*%-%-help\n$"), result.stderr)
    end)
  end
end)

describe("completion:", function()
  local commands, options = {}, {} -- by the help texts

  lazy_setup(function()
    for word in gateway.command({ args = { "--help" } }).stdout:match("^(.-)\nexample:"):gmatch("\n  gateway (%l+)") do
      commands[word] = true
    end
    commands.run = true
    for word in pairs(commands) do
      options[word] = {}
      local help = gateway.command({ args = { word, "--help" } }).stdout
      for line in help:gmatch("\n  (%-%-[%l-]+)") do options[word][line] = true end
      assert.is_truthy(help:find("\nexample:\n  ", 1, true), word .. " has no example")
    end
  end)

  local function script_of(shell)
    local result = gateway.command { args = { "completion", shell } }
    assert.equal(0, result.code)
    assert.equal("", result.stderr)
    return result.stdout
  end

  for _, shell in ipairs { "bash", "zsh", "fish" } do
    it(shell .. " knows every command and option that the help texts tell of", function()
      local text = script_of(shell)
      local seen = 0
      for word, list in pairs(options) do
        seen = seen + 1
        assert.is_truthy(text:find("%f[%w]" .. word .. "%f[%W]"), word)
        for option in pairs(list) do
          local name = shell == "fish" and "_from " .. word .. "' -l " .. option:sub(3) or option
          assert.is_truthy(text:find(name, 1, true), word .. " " .. option)
        end
      end
      assert.is_true(seen >= 11)
    end)

    it(shell .. " reads it", function()
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write(script_of(shell))
      file:close()
      local there = os.execute("command -v " .. shell .. " >/dev/null")
      if there == 0 or there == true then
        local code = os.execute(("%s -n %s"):format(shell, path))
        assert.is_true(code == 0 or code == true)
      end
      os.remove(path)
    end)
  end

  -- words before the cursor -> what is offered
  for _, case in ipairs {
    { "gateway st", "status" },
    { "gateway drain --u", "--undo --upstream" },
    { "gateway status --", "--admin --help --json --token --token-file" },
    { "gateway completion ", "bash fish zsh" },
    { "gateway new ", "plugin" },
    { "gateway check spec/struct", "spec/structure_spec.lua" },
    { "gateway status --admin ", "" },
  } do
    it("bash offers for '" .. case[1] .. "': " .. case[2], function()
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write(script_of "bash", "COMP_WORDS=(", case[1], case[1]:sub(-1) == " " and '""' or "", ")\n",
        "COMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_gateway\nprintf '%s\\n' \"${COMPREPLY[@]}\" | sort | tr '\\n' ' '\n")
      file:close()
      local pipe = io.popen("env LC_ALL=C LD_PRELOAD= bash " .. path)
      local said = pipe:read("*a")
      pipe:close()
      os.remove(path)
      assert.equal(case[2], (said:gsub("%s+$", "")))
    end)
  end
end)
