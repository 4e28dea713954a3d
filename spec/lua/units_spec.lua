-- Durations and sizes as scripts write them.

local units = require "gateway.units"

describe("a duration", function()
  local cases = {
    { 0, 0 }, { 5, 5 }, { 0.25, 0.25 }, { "250ms", 0.25 }, { "30s", 30 }, { "30", 30 }, { "5m", 300 }, { "1h", 3600 }, { "2d", 172800 },
    { "1.5s", 1.5 }, { " 10 s ", 10 }, { "0s", 0 },
    { -1 }, { 1 / 0 }, { 0 / 0 }, { "" }, { "s" }, { "5 minutes" }, { "5x" }, { "-5s" }, { "1h30m" }, { "1e3s" }, { true }, { {} }, { nil },
  }
  for i, case in ipairs(cases) do
    it(("%d: %s is %s"):format(i, tostring(case[1]), tostring(case[2])), function() assert.equal(case[2], units.duration(case[1])) end)
  end
end)

describe("a size", function()
  local cases = {
    { 0, 0 }, { 16384, 16384 }, { "512", 512 }, { "512B", 512 }, { "64KB", 65536 }, { "64kb", 65536 }, { "64KiB", 65536 },
    { "10MB", 10485760 }, { "1GB", 1073741824 }, { "1.5KB", 1536 }, { " 2 MB ", 2097152 },
    { -1 }, { 0.5 }, { "0.1B" }, { "10XB" }, { "MB" }, { "" }, { "1e3" }, { 2 ^ 60 }, { false }, { {} }, { nil },
  }
  for i, case in ipairs(cases) do
    it(("%d: %s is %s"):format(i, tostring(case[1]), tostring(case[2])), function() assert.equal(case[2], units.size(case[1])) end)
  end
end)
