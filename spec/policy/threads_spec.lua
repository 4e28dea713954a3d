--- Exactness under threads: what 2 and 8 of them get out of one object is what one would get. threads.c does the hammering; it is compiled
-- here with the sources of runtime/policy: plainly, with threads that stumble over atomic operations, and under ThreadSanitizer.

local SOURCES = "spec/policy/threads.c runtime/policy/token_bucket.c runtime/policy/keyed_table.c runtime/policy/client_limiter.c "
  .. "runtime/policy/sliding_window.c runtime/policy/concurrency.c runtime/policy/adaptive.c runtime/policy/breaker.c "
  .. "runtime/policy/breaker_table.c runtime/base/hash.c runtime/base/clock.c"

local function output(command)
  local pipe = assert(io.popen("unset LD_PRELOAD ASAN_OPTIONS; { " .. command .. "; } 2>&1; echo \"exit=$?\""))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

local builds = {
  { name = "plain", flags = "-O2", rounds = 100000 },
  { name = "stumbling", flags = "-O2 -include spec/policy/stumble.h", rounds = 40000 },
  { name = "ThreadSanitizer", flags = "-O1 -g -fsanitize=thread", rounds = 5000 },
}

describe("under threads", function()
  for _, build in ipairs(builds) do
    describe("(" .. build.name .. ")", function()
      local binary

      setup(function()
        binary = os.tmpname()
        local said = output(("cc -std=gnu11 -D_GNU_SOURCE %s -Wall -Wextra -Werror -Iruntime -o %s %s -lpthread -lm")
          :format(build.flags, binary, SOURCES))
        assert.message(said).truthy(said:find("exit=0", 1, true))
      end)

      teardown(function() os.remove(binary) end)

      -- The counts that a run prints.
      local function hammer(what, threads, rounds)
        local said = output(("TSAN_OPTIONS=halt_on_error=1 timeout 120 %s %s %d %d"):format(binary, what, threads, rounds))
        assert.message(what .. ": " .. said).truthy(said:find("exit=0", 1, true))
        local counts = {}
        for name, number in said:gmatch("(%w+)=(%-?%d+)") do counts[name] = tonumber(number) end
        return counts
      end

      for _, threads in ipairs { 1, 2, 8 } do
        local rounds = math.floor(build.rounds / threads)

        -- Time moves 1 µs an attempt, tokens come every 10 µs (12.8 for clients, whose periods are multiples of 64 ns), and
        -- all attempts that could be admitted are made.
        for what, period in pairs { bucket = 10000, client = 12800 } do
          it(("%d: one %s gives its burst and its rate, exactly"):format(threads, what), function()
            local counts = hammer(what, threads, rounds)
            assert.equal(rounds * threads * 1000, counts.spent)
            -- and the 100 of the burst; none is lost, as it is emptied faster than it fills
            assert.near(100 + counts.spent / period, counts.admitted, 1)
          end)
        end

        -- 1000 in 10 ms, while 10,000 attempts are made in 10 ms: how many that gives is known only by counting one thread's.
        for _, what in ipairs { "window", "keyed_window" } do
          it(("%d: one %s admits what one thread would"):format(threads, what), function()
            local counts, alone = hammer(what, threads, rounds), hammer(what, 1, rounds * threads)
            assert.equal(alone.spent, counts.spent)
            -- an attempt that was overtaken in the nick of time comes a microsecond or so too late
            assert.near(alone.admitted, counts.admitted, threads == 1 and 0 or math.max(3, alone.admitted * 0.001))
          end)
        end

        it(threads .. ": new clients have one bucket each", function()
          local many = math.floor(rounds / 10)
          local counts = hammer("new_clients", threads, many)
          assert.equal(many * math.min(3 * threads, 5), counts.admitted)
          assert.equal(many, counts.held)
        end)

        it(threads .. ": a flood evicts nobody who is seen, and fills no more than there is", function()
          local counts = hammer("flood", threads, rounds)
          assert.equal(10, counts.admitted)
          assert.equal(0, counts.extra)
          assert.equal(200, counts.held)
        end)

        it(threads .. ": concurrency lets no more in than may be", function()
          local counts = hammer("concurrency", threads, rounds)
          assert.equal(0, counts.extra)
          assert.is_true(counts.admitted > rounds / 10)
        end)

        it(threads .. ": a new key lets in as many as may be, and no more", function()
          local many = math.floor(rounds / 10)
          local counts = hammer("keyed_concurrency", threads, many)
          assert.equal(0, counts.extra)
          assert.equal(many * math.min(threads, 2), counts.admitted)
        end)

        it(threads .. ": a key that comes and goes never has more in flight than may be, and loses none", function()
          local counts = hammer("keyed_model", threads, rounds * 2)
          assert.equal(0, counts.extra)
          assert.is_true(counts.admitted > rounds / 10)
        end)

        it(threads .. ": nobody is refused a place of a key that is free", function()
          assert.equal(0, hammer("keyed_room", threads, rounds).extra)
        end)

        it(threads .. ": an adaptive limit stays within its bounds", function()
          local counts = hammer("adaptive", threads, rounds)
          assert.equal(0, counts.extra)
          assert.is_true(counts.admitted > rounds / 10)
        end)

        it(threads .. ": a half-open breaker lets exactly its probes through", function()
          local many = math.floor(rounds / 20)
          local counts = hammer("probes", threads, many)
          assert.equal(3 * many, counts.admitted)
          assert.equal(0, counts.extra)
          assert.equal(0, counts.twice)
        end)

        it(threads .. ": a breaker opens once", function()
          local many = math.floor(rounds / 20)
          local counts = hammer("trips", threads, many)
          assert.equal(many, counts.admitted)
          assert.equal(0, counts.extra)
        end)

        it(threads .. ": breakers by key", function() assert.equal(0, hammer("breakers", threads, rounds).extra) end)
      end
    end)
  end
end)
