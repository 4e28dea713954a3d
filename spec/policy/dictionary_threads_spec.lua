--- The dictionary under threads: nothing is counted twice or lost, and nobody reads half of a value. Plainly, and under ThreadSanitizer.

local SOURCES = "spec/policy/dictionary_threads.c runtime/policy/dictionary.c runtime/policy/pages.c runtime/base/hash.c "
  .. "runtime/base/clock.c"

local function output(command)
  local pipe = assert(io.popen("unset LD_PRELOAD ASAN_OPTIONS; { " .. command .. "; } 2>&1; echo \"exit=$?\""))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

for _, build in ipairs {
  { name = "plain", flags = "-O2", rounds = 200000 },
  { name = "ThreadSanitizer", flags = "-O1 -g -fsanitize=thread", rounds = 8000 },
} do
  describe("under threads (" .. build.name .. ")", function()
    local binary

    setup(function()
      binary = os.tmpname()
      local said = output(("cc -std=gnu11 -D_GNU_SOURCE %s -Wall -Wextra -Werror -Iruntime -o %s %s -lpthread -lm")
        :format(build.flags, binary, SOURCES))
      assert.message(said).truthy(said:find("exit=0", 1, true))
    end)

    teardown(function() os.remove(binary) end)

    local function hammer(what, threads, rounds)
      local said = output(("TSAN_OPTIONS=halt_on_error=1 timeout 120 %s %s %d %d"):format(binary, what, threads, rounds))
      assert.message(what .. ": " .. said).truthy(said:find("exit=0", 1, true))
      local counts = {}
      for name, number in said:gmatch("(%w+)=(%-?%d+)") do counts[name] = tonumber(number) end
      return counts
    end

    for _, threads in ipairs { 1, 2, 8 } do
      local rounds = math.floor(build.rounds / threads)

      it(threads .. ": every increment counts", function()
        assert.equal(rounds * threads, hammer("incr", threads, rounds).sum)
      end)

      it(threads .. ": one of all who ask at once adds", function()
        local many = math.floor(rounds / 20)
        assert.equal(many, hammer("add", threads, many).won)
      end)

      it(threads .. ": compare and set loses nothing", function()
        local counts = hammer("compare", threads, rounds)
        assert.equal(counts.won, counts.count)
        assert.is_true(counts.won >= rounds)
      end)

      it(threads .. ": nobody reads a mixture", function()
        local counts = hammer("mix", threads, math.floor(rounds / 4))
        assert.equal(0, counts.torn)
        assert.is_true(counts.won > rounds / 40)
      end)
    end
  end)
end
