-- gateway top: against a real gateway, once for scripts, and live in a terminal (a pseudo-terminal of script(1)).

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

describe("gateway top", function()
  local g
  lazy_setup(function()
    g = gateway.start {
      backends = { "127.0.0.1:0", "refused" },
      script = [[${prelude}
        local users = gateway.upstream "users" { "${backend1}", "${backend2}",
          health = { active = { path = "/healthz", interval = 0.1, timeout = 1, rise = 1, fall = 1 } } }
        gateway.route "/users" { name = "users", to = users }
        gateway.route "/fixed" { name = "fixed \27[2J", to = gateway.respond(200, "x") }
        gateway.route "/bad" { to = gateway.respond(500, "x") }]],
    }
  end)
  lazy_teardown(function() if g then g:stop() end end)

  local function command(args, env)
    args[#args + 1] = "--admin"
    args[#args + 1] = "127.0.0.1:" .. g.vars.admin
    return gateway.command { args = args, env = env }
  end

  it("--once prints what happened, without colours", function()
    peers.run(function()
      g.backends[1]:answer { body = "hi" }
      for _ = 1, 12 do assert.equal(200, g:ask("/users").status) end
      for _ = 1, 3 do g:ask("/fixed") end
      for _ = 1, 2 do g:ask("/bad") end
      local result = command { "top", "--once" }
      assert.equal("", result.stderr)
      assert.equal(0, result.code)
      assert.is_nil(result.stdout:find("\27", 1, true))
      assert.truthy(result.stdout:find("^gateway [%d.]+  serving  "), result.stdout)
      assert.truthy(result.stdout:find("total 17", 1, true), result.stdout)
      assert.truthy(result.stdout:find("\nusers +0 +0 %% +%- +%- +%- +12 +0 +0\n"), result.stdout)
      assert.truthy(result.stdout:find("\n/bad +0 +0 %% +%- +%- +%- +2 +0 +2\n"), result.stdout)
      assert.truthy(result.stdout:find("\nfixed %?%[2J "), result.stdout)
      assert.truthy(result.stdout:find(" ! users " .. g.backends[2].at .. ": down (active)", 1, true), result.stdout)
      -- where there is no terminal it is the same, as narrow as it is told
      result = command({ "top" }, { COLUMNS = "50" })
      assert.equal(0, result.code)
      for line in result.stdout:gmatch("[^\n]+") do assert.is_true(#line <= 50, line) end
    end)
  end)

  it("says why when it cannot ask", function()
    local result = gateway.command { args = { "top", "--once", "--admin", "127.0.0.1:" .. sys.free_port() } }
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("no answer from the admin address", 1, true), result.stderr)
    assert.equal(2, gateway.command({ args = { "top", "--twice" } }).code)
    assert.truthy(gateway.command({ args = { "top", "--help" } }).stdout:find("--once", 1, true))
  end)

  it("says that a token is asked for", function()
    local other = gateway.start {
      script = [[local gateway = require "gateway"; gateway.listen "127.0.0.1:${port}"; gateway.workers(1)
        gateway.admin { "127.0.0.1:${admin}", token = "correct-horse-battery" }]],
    }
    local at = "127.0.0.1:" .. other.vars.admin
    local result = gateway.command { args = { "top", "--once", "--admin", at } }
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("Authorization: Bearer TOKEN", 1, true), result.stderr)
    result = gateway.command { args = { "top", "--once", "--admin", at }, env = { GATEWAY_TOKEN = "correct-horse-battery" } }
    assert.equal(0, result.code)
    other:stop()
  end)

  -- Runs it in a terminal of that size; `keys` is a shell command whose output is typed. What the terminal got, and the exit code.
  local function in_terminal(columns, rows, keys)
    local out = g.dir .. "/terminal"
    os.remove(out)
    local inner = ("stty cols %d rows %d; exec %s top --admin 127.0.0.1:%d"):format(columns, rows, gateway.binary(), g.vars.admin)
    local env = sys.environment()
    env.LD_PRELOAD = nil
    local pid = assert(sys.spawn { argv = { "/bin/sh", "-c", keys .. ' | exec script -qec "$0" "$1"; exit $?', inner, out }, env = env,
      stdout = "/dev/null", stderr = "/dev/null" })
    local code
    peers.within(function()
      peers.eventually(function()
        code = sys.ended(pid)
        return code
      end, "its end", 15)
    end)
    return read(out), code
  end

  it("fills a terminal each second, until q; and leaves it as it was", function()
    local text, code = in_terminal(60, 20, "{ sleep 1.6; printf q; sleep 1; }")
    assert.equal(0, code)
    local first, last = text:find("\27[?1049h", 1, true), text:find("\27[?1049l", 1, true)
    assert.is_true(first and last and first < last, text)
    assert.truthy(text:find("\27[?25h", last - 10, true))
    local _, frames = text:gsub("\27%[H", "")
    assert.is_true(frames >= 2, frames)
    local frame = text:match("\27%[H(.-)\27%[J")
    local _, lines = frame:gsub("\r+\n", "")
    assert.is_true(lines <= 19, lines)
    for line in frame:gmatch("([^\r\n]+)\27%[K") do
      assert.is_true(#(line:gsub("\27%[[%d;]*m", "")) <= 60, line)
    end
    assert.truthy(frame:find("users", 1, true))
    assert.truthy(text:find("q quits", 1, true))
    assert.is_nil(text:find("fixed \27[2J", 1, true))
  end)

  it("leaves it as it was at an interrupt, too", function()
    local text, code = in_terminal(80, 24, "{ sleep 1; printf '\\003'; sleep 1; }")
    assert.equal(0, code)
    assert.truthy(text:find("\27[?1049l", 1, true))
  end)
end)
