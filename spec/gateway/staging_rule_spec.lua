-- When a staged reload goes back: conditions read, and held against what was counted.

local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load "gateway/staging.h"

local function parse(text)
  local rule, reason, slice = ffi.new("gw_staged_rule"), ffi.new("const char *[1]"), cdef.slice(text)
  if C.gw_staged_rule_parse(slice, rule, reason) ~= 0 then return nil, ffi.string(reason[0]) end
  return rule
end

local function broken(text, stable, candidate)
  local rule = assert(parse(text))
  local why = ffi.new("char[256]")
  local result = C.gw_staged_rule_broken(rule, ffi.new("gw_staged_sum", stable), ffi.new("gw_staged_sum", candidate), why, 256)
  return result and ffi.string(why) or nil
end

describe("a condition of a staged reload", function()
  for _, case in ipairs {
    { "errors>1%", {}, { requests = 100, errors = 1 }, nil },
    { "errors>1%", {}, { requests = 100, errors = 2 }, "errors>1%: the candidate's is 2%" },
    { " errors > 1.5 % ", {}, { requests = 1000, errors = 16 }, "errors > 1.5 %: the candidate's is 1.6%" },
    { "errors>0%", {}, { requests = 100000, errors = 1 }, "errors>0%: the candidate's is 0.001%" },
    { "errors>0%", {}, { requests = 0, errors = 0 }, nil },
    { "errors>3", {}, { requests = 100, errors = 3 }, nil },
    { "errors>3", {}, { requests = 100, errors = 4 }, "errors>3: the candidate's is 4" },
    { "p99>250ms", {}, { p99 = 0.25 }, nil },
    { "p99>250ms", {}, { p99 = 0.3 }, "p99>250ms: the candidate's is 300 ms" },
    { "p50>1s", {}, { p50 = 1.5, p99 = 1 }, "p50>1s: the candidate's is 1.5 s" },
    { "p90>2", {}, { p90 = 3 }, "p90>2: the candidate's is 3 s" },
    { "mean>500us", {}, { mean = 0.001 }, "mean>500us: the candidate's is 1 ms" },
    { "errors>stable", { requests = 100, errors = 2 }, { requests = 50, errors = 1 }, nil },
    { "errors>stable", { requests = 100, errors = 2 }, { requests = 50, errors = 2 },
      "errors>stable: the candidate's is 4%, the stable one's 2%, 2% allowed" },
    { "errors>stable+1%", { requests = 100, errors = 2 }, { requests = 100, errors = 3 }, nil },
    { "errors>stable+1%", { requests = 100, errors = 2 }, { requests = 100, errors = 4 },
      "errors>stable+1%: the candidate's is 4%, the stable one's 2%, 3% allowed" },
    { "p99>stable*1.5", { p99 = 0.1 }, { p99 = 0.14 }, nil },
    { "p99>stable*1.5", { p99 = 0.1 }, { p99 = 0.2 },
      "p99>stable*1.5: the candidate's is 200 ms, the stable one's 100 ms, 150 ms allowed" },
    { "mean>stable*2+10ms", { mean = 0.1 }, { mean = 0.22 },
      "mean>stable*2+10ms: the candidate's is 220 ms, the stable one's 100 ms, 210 ms allowed" },
  } do
    it(("%s: %s"):format(case[1], case[4] and "met" or "not met"), function() assert.equal(case[4], broken(case[1], case[2], case[3])) end)
  end

  for _, text in ipairs {
    "", "errors", "errors>", "errors>x", "errors<1%", "errors>1%%", "errors>1% ", "error>1%", "p99>", "p99>1%", "p99>1 hour", "p98>1s",
    "p99>-1s", "errors>stable+1", "errors>stable+", "errors>stable*", "errors>stable*0", "errors>stable*2*2", "errors>101%",
    "p99>stable-1ms",
    "errors>1e3%", "errors>99999999999999", "p99>\1", ("p99>%s"):format(("1"):rep(70)),
  } do
    local fine = text == "errors>1% "
    it(("%q is %s"):format(text:sub(1, 30), fine and "one" or "none"), function()
      local rule, reason = parse(text)
      if fine then
        assert.is_truthy(rule)
      else
        assert.is_nil(rule)
        assert.matches("expected", reason)
      end
    end)
  end
end)
