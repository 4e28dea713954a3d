-- Programs in C against the sources of the runtime: what several threads do to one object, and what is left when memory is out.

local SOURCES = {
  "policy/balancer.c", "policy/round_robin.c", "policy/weighted.c", "policy/least_conn.c", "policy/hash.c", "policy/maglev.c",
  "policy/ewma.c", "policy/random.c", "policy/two_choices.c", "policy/passive.c", "policy/retry_budget.c", "base/hash.c", "base/clock.c",
}

-- Runs a command; its output, and whether it ended well.
local function run(command)
  local pipe = assert(io.popen("unset LD_PRELOAD; { " .. command .. "; } 2>&1; echo \"=$?\""))
  local text = pipe:read("*a")
  pipe:close()
  local output, code = text:match("^(.*)=(%d+)%s*$")
  return output, code == "0"
end

local function compile(program, flags)
  local path = os.tmpname()
  local output, fine = run(("cc -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Iruntime %s -o %s spec/policy/%s %s -lpthread"):format(flags,
    path, program, "runtime/" .. table.concat(SOURCES, " runtime/")))
  assert.message(output).is_true(fine)
  return path
end

describe("balancers, passive health and retry budgets", function()
  local program
  setup(function() program = compile("balancers_threads.c", "-fsanitize=thread") end)
  teardown(function() os.remove(program) end)

  for _, threads in ipairs { 1, 2, 8 } do
    it(("are exact with %d threads, and clean under ThreadSanitizer"):format(threads), function()
      local output, fine = run(program .. " " .. threads)
      assert.message(output).is_true(fine)
    end)
  end
end)

describe("tables", function()
  it("are refused whole, and nothing is lost, whichever allocation fails", function()
    local program = compile("balancers_memory.c", "-fsanitize=address,undefined -Wl,--wrap=malloc -Wl,--wrap=calloc")
    local output, fine = run("ASAN_OPTIONS=detect_leaks=1 " .. program)
    os.remove(program)
    assert.message(output).is_true(fine)
  end)
end)
