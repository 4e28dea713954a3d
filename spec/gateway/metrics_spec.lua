-- What scrapes are made of, without sockets: blocks that are found again by name, and how many of those that nothing names are kept;
-- labels; numbers; series of scripts; which form an Accept asks for.

local cdef = require "spec.support.cdef"
local ffi = require "ffi"
local metrics = require "spec.support.metrics"
local C = cdef.load("gateway/metrics.h")
cdef.load("gateway/metrics_page.h")
cdef.load("gateway/metrics_script.h")
cdef.load("process/metrics.h")

local function route(name) return C.gw_metrics_route(cdef.slice(name)) end

describe("blocks", function()
  before_each(function() C.gw_metrics_forget() end)
  after_each(function() C.gw_metrics_forget() end)

  it("are found by name while somebody has them", function()
    local a, b, other = route "/spec/a", route "/spec/a", route "/spec/b"
    assert.equal(a, b)
    assert.not_equal(a, other)
    assert.not_equal(ffi.cast("void *", a), ffi.cast("void *", C.gw_metrics_upstream(cdef.slice "/spec/a")))
    for _, m in ipairs { a, b, other } do C.gw_metrics_release(m.block) end
    C.gw_metrics_release(C.gw_metrics_upstream(cdef.slice "/spec/a").block)
  end)

  it("stay when nobody has them any more, if they counted something", function()
    local a = route "/spec/kept"
    C.gw_histogram_observe(a.cells[0].duration, 0.2)
    C.gw_metrics_release(a.block)
    local again = route "/spec/kept"
    assert.equal(a, again)
    assert.equal(1, tonumber(again.cells[0].duration.bucket[5]))
    assert.equal(200000000, tonumber(again.cells[0].duration.sum_ns))
    C.gw_metrics_release(again.block)
    C.gw_metrics_forget()
    assert.equal(0, tonumber(route("/spec/kept").cells[0].duration.bucket[5]))
    C.gw_metrics_release(route("/spec/kept").block)
  end)

  it("are forgotten, the longest unused first, past the number that is kept", function()
    local most = 1000 -- GW_METRICS_KEPT
    for i = 1, most + 10 do
      local m = route("/spec/many/" .. i)
      C.gw_histogram_observe(m.cells[0].duration, 0)
      C.gw_metrics_release(m.block)
      if i == most - 1 then -- the first is used again, and so is not the longest unused
        C.gw_metrics_release(route("/spec/many/1").block)
      end
    end
    local function counted(i)
      local m = route("/spec/many/" .. i)
      local n = tonumber(m.cells[0].duration.bucket[0])
      C.gw_metrics_release(m.block)
      return n
    end
    assert.equal(1, counted(1))
    for i = 2, 11 do assert.equal(0, counted(i)) end
    for i = 12, most + 10 do assert.equal(1, counted(i)) end
  end)
end)

describe("durations", function()
  for _, case in ipairs { { 0, 0 }, { -1, 0 }, { 0.005, 0 }, { 0.0051, 1 }, { 0.01, 1 }, { 0.999, 7 }, { 1, 7 }, { 1.001, 8 }, { 10, 10 },
    { 10.1, 11 }, { 1e6, 11 } } do
    it(("of %g s are in bucket %d"):format(case[1], case[2]), function()
      local h = ffi.new "gw_histogram"
      assert.equal(case[2], C.gw_histogram_observe(h, case[1]))
      assert.equal(1, tonumber(h.bucket[case[2]]))
      assert.equal(math.floor(math.max(0, case[1]) * 1e9 + 0.5), tonumber(h.sum_ns))
    end)
  end
end)

describe("label values", function()
  for _, case in ipairs {
    { "plain", "plain" }, { 'a"b', 'a\\"b' }, { "a\\b", "a\\\\b" }, { "a\nb", "a\\nb" }, { "ü€😀", "ü€😀" }, { "", "" },
    { "a\255b", "a\239\191\189b" }, { "\195", "\239\191\189" }, { "\0\1", "\0\1" },
    { "\237\160\128", "\239\191\189\239\191\189\239\191\189" },
  } do
    it(("%q"):format(case[1]), function()
      local room = ffi.new("char[100]")
      local t = ffi.new("gw_text", { at = room, ["end"] = room + 100, begin = room })
      C.gw_metrics_label(t, "n", cdef.slice(case[1]))
      assert.equal('n="' .. case[2] .. '"', ffi.string(room, t.at - room))
    end)
  end
end)

describe("numbers are told so that they read back as they were:", function()
  for _, value in ipairs { 0, -1, 0.1, 1 / 3, 1e15, 123456789012345, 1e300, 5e-324, -0.25, 1e21, math.huge, -math.huge } do
    it(tostring(value), function()
      local p = ffi.new "gw_page"
      C.gw_page_init(p, false)
      C.gw_page_family(p, cdef.slice "x", C.GW_PAGE_GAUGE, "help")
      C.gw_page_double(p, cdef.slice "", value)
      C.gw_page_end(p)
      assert.equal(value, metrics.parse(ffi.string(p.bytes, p.len)):value "x")
      C.gw_page_clear(p)
    end)
  end
end)

describe("a script's series", function()
  local function shape(t)
    local s = ffi.new "gw_script_shape"
    s.kind, s.name, s.labels, s.most = t.kind or 0, cdef.slice(t.name or "x"), cdef.slice(t.labels or "l"), t.most or 10
    if t.bounds then
      s.bound_count = #t.bounds
      s.bounds = ffi.new("double[?]", #t.bounds, t.bounds)
    end
    return s, t
  end
  local status = ffi.new "int[1]"

  it("are one for all who declare the same shape, and others for another", function()
    local a = C.gw_script_metric_open(shape { name = "spec_a" }, true, status)
    local b = C.gw_script_metric_open(shape { name = "spec_a" }, true, status)
    local c = C.gw_script_metric_open(shape { name = "spec_a", labels = "m" }, true, status)
    local d = C.gw_script_metric_open(shape { name = "spec_a", most = 11 }, true, status)
    local own = C.gw_script_metric_open(shape { name = "spec_a" }, false, status)
    assert.equal(a, b)
    for _, other in ipairs { c, d, own } do assert.not_equal(a, other) end
    for _, m in ipairs { a, b, c, d, own } do C.gw_script_metric_release(m) end
  end)

  it("of shapes that make no sense are refused", function()
    for _, bad in ipairs { { kind = 3 }, { kind = -1 }, { name = "" }, { most = 0 }, { most = 100001 }, { kind = 2 }, { bounds = { 1 } },
      { kind = 2, bounds = { 2, 1 } }, { kind = 2, bounds = { 1, 1 } }, { kind = 2, bounds = { math.huge } },
      { kind = 2, bounds = { 0 / 0 } } } do
      assert.is_true(C.gw_script_metric_open(shape(bad), false, status) == nil)
      assert.equal(C.GW_INVALID, status[0])
    end
  end)

  it("are found again, whatever their hashes, up to the bound", function()
    local m = C.gw_script_metric_open(shape { name = "spec_full", most = 3000 }, false, status)
    local cells = {}
    for i = 1, 3000 do
      local key = ("5:%05d"):format(i)
      cells[i] = C.gw_script_metric_cell(m, 0, key, #key)
      assert.is_true(cells[i] ~= nil)
      cells[i][0] = i
    end
    for i = 1, 3000 do
      local key = ("5:%05d"):format(i)
      assert.equal(cells[i], C.gw_script_metric_cell(m, 0, key, #key))
      assert.equal(i, cells[i][0])
    end
    assert.is_true(C.gw_script_metric_cell(m, 0, "1:x", 3) == nil)
    assert.equal(1, tonumber(m.dropped))
    C.gw_script_metric_release(m)
  end)
end)

describe("an Accept of", function()
  for _, case in ipairs {
    { "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,"
      .. "*/*;q=0.1", true },
    { "text/plain", false }, { "*/*", false }, { "", false }, { "application/openmetrics-text", true },
    { "Application/OpenMetrics-Text", true },
    { "application/openmetrics-text;q=0", false }, { "text/plain, application/openmetrics-text;q=0.9", false },
    { "application/openmetrics-text;q=0.9, text/plain;q=0.91", false },
    { "application/openmetrics-text ; q=0.9 , text/plain ; q=0.5", true },
    { "application/openmetrics-text;q=0.001,text/*;q=0", true }, { "application/json, text/html", false }, { ",;,;q=,,", false },
    { "application/openmetrics-text;q=x", true },
  } do
    it(("%q is %s"):format(case[1], case[2] and "OpenMetrics" or "text"), function()
      assert.equal(case[2], C.gw_metrics_accept(cdef.slice(case[1])))
    end)
  end
end)
