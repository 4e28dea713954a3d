-- A script's own metrics: gateway.counter, gateway.gauge, gateway.histogram, told at the admin's /metrics beside the gateway's. They are
-- declared while the script loads (in a plugin's `new` too), known by name and shape, the same for all workers and over reloads. A C object
-- keeps the numbers (runtime/gateway/metrics_script.h); compiled Lua adds to its worker's own cells without a call. What is kept here is
-- which cells belong to which label values, so that counting makes no garbage once they are known.

local C = require "gateway.ffi"
local check = require "gateway.check"
local ffi = require "ffi"
local shared = require "gateway.shared"
local spec = require "gateway.spec"

local metrics = {}

local COUNTER, GAUGE, HISTOGRAM = 0, 1, 2 -- enum gw_script_metric_kind
local words = { [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram" }
local SERIES, SERIES_MOST, LABELS_MOST, BOUNDS_MOST, NAME_MOST = 1000, 100000, 10, 60, 100
local INFINITY = math.huge
local default_buckets = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }

local bounds_type, handle_type = ffi.typeof "double[?]", ffi.typeof "gw_lua_metric"

---@class gateway.MetricOptions
---@field series? integer most combinations of label values (1000); counts of further ones are lost, and told as such

-- ---- label values ----

---@class gateway.Metric
---@field _name string without "_total"
---@field _names string[] of labels
---@field _count integer of labels
---@field _cells table value of the first label → value of the second → ... → cells
---@field _cell any cells of a metric without labels
---@field _handle any nil: its declaration was wrong, it counts nothing

local function text_of(self, i, value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" or kind == "boolean" then return tostring(value) end
  error(("%s: label %q: expected a string, found %s"):format(self._name, self._names[i], check.describe(value)), 6)
end

-- The values in the order of the labels.
local function listed(self, values)
  local names, count, out = self._names, self._count, {}
  if type(values) ~= "table" then values = { values } end
  for i = 1, count do
    local value = values[i]
    if value == nil then value = values[names[i]] end
    if value == nil then
      error(("%s: expected a value for label %q, found nothing"):format(self._name, names[i]), 5)
    end
    out[i] = value
  end
  for key in pairs(values) do
    local known = type(key) == "number" and key >= 1 and key <= count
    for i = 1, count do known = known or names[i] == key end
    if not known then
      if type(key) == "string" then
        local all = {}
        for i = 1, count do all[names[i]] = true end
        error(("%s: %s"):format(self._name, check.unknown("label", key, all)), 5)
      end
      error(("%s: expected %d label value%s, found more"):format(self._name, count, count == 1 and "" or "s"), 5)
    end
  end
  return out
end

local function key_of(self, list)
  local parts = {}
  for i = 1, self._count do
    local text = text_of(self, i, list[i])
    parts[i] = #text .. ":" .. text
  end
  return table.concat(parts)
end

-- Label values that are not known yet: asks C, and keeps what it says. nil: one series too many. The script is three calls up.
local function unknown_cell(self, values)
  if not self._handle then return nil end
  if shared.holder and spec.state.loading then
    error(("%s: counting while the script loads would count once for each worker: do it in a request or a timer"):format(self._name), 4)
  end
  local list = listed(self, values)
  local key = key_of(self, list)
  local cell = C.gw_lua_metric_cell(self._handle, key, #key)
  if cell == nil then return nil end
  if self._count == 0 then
    self._cell = cell
    return cell
  end
  local node = self._cells
  for i = 1, self._count do
    local value = list[i]
    if value ~= value then return cell end
    if i == self._count then
      node[value] = cell
    else
      node[value] = node[value] or {}
      node = node[value]
    end
  end
  return cell
end

local function cell_of(self, values)
  local count = self._count
  if count == 1 then
    local value = values
    if type(value) == "table" then
      value = values[1]
      if value == nil then value = values[self._names[1]] end
    end
    local cell = self._cells[value]
    if cell then return cell end
  elseif count > 1 and type(values) == "table" then
    local node, names = self._cells, self._names
    for i = 1, count do
      local value = values[i]
      if value == nil then value = values[names[i]] end
      node = node[value]
      if not node then break end
    end
    if node then return node end
  end
  local cell = unknown_cell(self, values)
  return cell
end

local function wrong(call, what, expected, found)
  error(("%s: %s: expected %s, found %s"):format(call, what, expected, check.describe(found)), 3)
end

local function class(word)
  local Class = {}
  Class.__index = function(self, name)
    local method = Class[name]
    if method ~= nil or (type(name) == "string" and name:sub(1, 1) == "_") then return method end
    local known = {}
    for key in pairs(Class) do
      if not key:find "^_" then known[key] = true end
    end
    error(("%s %s: %s"):format(word, rawget(self, "_name"), check.unknown("method", name, known)), 2)
  end
  Class.__tostring = function(self) return ("%s %s"):format(word, self._name) end
  return Class
end

-- ---- counters ----

---@class gateway.Counter: gateway.Metric
local Counter = class "counter"

--- Counts n (1) more. `values`: the label values in order, or by name; a string alone for one label.
---@param n? number at least 0
---@param values? string|table
function Counter.inc(self, n, values)
  if getmetatable(self) ~= Counter then error("expected counter:inc() with a colon, found another object in front", 2) end
  if values == nil and (type(n) == "table" or type(n) == "string") then n, values = 1, n end
  if n == nil then
    n = 1
  elseif type(n) ~= "number" or not (n >= 0 and n < INFINITY) then
    wrong("counter:inc", "n", "a number of at least 0", n)
  end
  local cell = values == nil and self._cell or cell_of(self, values)
  if cell then cell[0] = cell[0] + n end
end

-- ---- gauges ----

---@class gateway.Gauge: gateway.Metric
local Gauge = class "gauge"

--- The gauge is `value` now, for all workers.
---@param value number
---@param values? string|table
function Gauge.set(self, value, values)
  if getmetatable(self) ~= Gauge then error("expected gauge:set() with a colon, found another object in front", 2) end
  if type(value) ~= "number" then wrong("gauge:set", "value", "a number", value) end
  local cell = values == nil and self._cell or cell_of(self, values)
  if cell then cell[0] = value end
end

--- Adds n, which may be below 0; exact whichever workers add at the same time.
---@param n number
---@param values? string|table
function Gauge.add(self, n, values)
  if getmetatable(self) ~= Gauge then error("expected gauge:add() with a colon, found another object in front", 2) end
  if type(n) ~= "number" or n ~= n then wrong("gauge:add", "n", "a number", n) end
  local cell = values == nil and self._cell or cell_of(self, values)
  if cell then C.gw_lua_metric_add(cell, n) end
end

--- Adds n.
---@param n? number 1
---@param values? string|table
function Gauge.inc(self, n, values)
  if getmetatable(self) ~= Gauge then error("expected gauge:inc() with a colon, found another object in front", 2) end
  if values == nil and (type(n) == "table" or type(n) == "string") then n, values = 1, n end
  if n == nil then n = 1 elseif type(n) ~= "number" or n ~= n then wrong("gauge:inc", "n", "a number", n) end
  local cell = values == nil and self._cell or cell_of(self, values)
  if cell then C.gw_lua_metric_add(cell, n) end
end

--- Takes n off.
---@param n? number 1
---@param values? string|table
function Gauge.dec(self, n, values)
  if getmetatable(self) ~= Gauge then error("expected gauge:dec() with a colon, found another object in front", 2) end
  if values == nil and (type(n) == "table" or type(n) == "string") then n, values = 1, n end
  if n == nil then n = 1 elseif type(n) ~= "number" or n ~= n then wrong("gauge:dec", "n", "a number", n) end
  local cell = values == nil and self._cell or cell_of(self, values)
  if cell then C.gw_lua_metric_add(cell, -n) end
end

-- ---- histograms ----

---@class gateway.Histogram: gateway.Metric
---@field _bounds number[]
local Histogram = class "histogram"

--- One more observation, in base units (seconds, bytes).
---@param value number
---@param values? string|table
function Histogram.observe(self, value, values)
  if getmetatable(self) ~= Histogram then error("expected histogram:observe() with a colon, found another object in front", 2) end
  if type(value) ~= "number" or value ~= value then wrong("histogram:observe", "value", "a number", value) end
  local cell = values == nil and self._cell or cell_of(self, values)
  if not cell then return end
  local bounds, i, count = self._bounds, 0, self._bound_count
  while i < count and value > bounds[i] do i = i + 1 end
  cell[i] = cell[i] + 1
  cell[count + 1] = cell[count + 1] + value
end

-- ---- declaring ----

local function labels_good(labels, kind, report)
  if labels == nil then return {} end
  if not check.is_list(labels) then
    report('labels: expected a list of names such as { "plan" }, found ' .. check.describe(labels))
    return nil
  end
  local seen, good = {}, true
  for i, name in ipairs(labels) do
    local why
    if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" or name:find "^__" or #name > NAME_MOST then
      why = "expected letters, digits and '_', not beginning with a digit or '__'"
    elseif kind == HISTOGRAM and name == "le" then
      why = "a histogram's buckets have that label: expected another name"
    elseif seen[name] then
      why = "it stands there before: expected each name once"
    end
    if why then
      report(("labels[%d]: %s, found %s"):format(i, why, check.describe(name)))
      good = false
    end
    if type(name) == "string" then seen[name] = true end
  end
  if #labels > LABELS_MOST then
    report(("labels: expected at most %d, found %d"):format(LABELS_MOST, #labels))
    good = false
  end
  return good and { unpack(labels) } or nil
end

local function buckets_good(buckets, report)
  if buckets == nil then return default_buckets end
  if not check.is_list(buckets) or #buckets == 0 or #buckets > BOUNDS_MOST then
    report(("buckets: expected a list of 1 to %d upper bounds, found %s"):format(BOUNDS_MOST, check.describe(buckets)))
    return nil
  end
  for i, bound in ipairs(buckets) do
    if type(bound) ~= "number" or bound ~= bound or math.abs(bound) == INFINITY then
      report(("buckets[%d]: expected a number (+Inf is always there), found %s"):format(i, check.describe(bound)))
      return nil
    elseif i > 1 and bound <= buckets[i - 1] then
      report(("buckets[%d]: expected more than %s before it, found %s"):format(i, buckets[i - 1], bound))
      return nil
    end
  end
  return { unpack(buckets) }
end

local suffixes = { [COUNTER] = { "", "_total" }, [GAUGE] = { "" }, [HISTOGRAM] = { "", "_bucket", "_sum", "_count" } }

local function difference(a, b)
  if a.kind ~= b.kind then return ("it was a %s there and is a %s here"):format(words[a.kind], words[b.kind]) end
  if a.labels ~= b.labels then return ("its labels were %q there and are %q here"):format(a.labels, b.labels) end
  if a.series ~= b.series then return ("series was %d there and is %d here"):format(a.series, b.series) end
  if table.concat(a.buckets or {}, " ") ~= table.concat(b.buckets or {}, " ") then return "its buckets were others there" end
  return nil
end

-- The entry of that name if it was declared before, after a report when the two do not agree; true when the name is free.
local function place_of(state, entry, report)
  for _, suffix in ipairs(suffixes[entry.kind]) do
    local other = state.metric_samples[entry.name .. suffix]
    if other and other.name ~= entry.name then
      report(("its %q is a name of %s %q, declared at %s: expected another name"):format(entry.name .. suffix, words[other.kind],
        other.name, other.source))
      return nil
    end
  end
  local before = state.metric_by_name[entry.name]
  if not before then return true end
  local why = difference(before, entry)
  if not why then return before end
  report(("it was declared before, at %s, as another: %s"):format(before.source, why))
  return nil
end

local classes = { [COUNTER] = Counter, [GAUGE] = Gauge, [HISTOGRAM] = Histogram }

-- The object that scripts hold, its C side opened.
local function make(entry, names)
  local bounds = entry.buckets and #entry.buckets or 0
  local c_bounds = bounds > 0 and bounds_type(bounds, entry.buckets) or nil
  local handle = handle_type()
  local status = C.gw_lua_metric_open(shared.holder, handle, entry.kind, entry.name, #entry.name, entry.labels, #entry.labels, c_bounds,
    bounds, entry.series)
  if status < 0 then
    error(("%s: gateway.%s %q: %s"):format(entry.source, words[entry.kind], entry.name,
      status == -4 and "not enough memory" or "a shape that makes no sense"), 0)
  end
  if not shared.holder then ffi.gc(handle, C.gw_lua_metric_close) end
  return setmetatable({
    _name = entry.name, _names = names, _count = #names, _cells = {}, _cell = false, _handle = handle, _bounds = c_bounds,
    _bound_count = bounds,
  }, classes[entry.kind])
end

-- Stands in for one whose declaration was wrong, which has been reported: it counts nothing.
local function failed(kind)
  return setmetatable({ _name = "?", _names = {}, _count = 0, _cells = {}, _cell = false, _handle = false }, classes[kind])
end

local option_fields = { series = { type = "integer", min = 1, max = SERIES_MOST } }

local function declare(kind, name, help, labels, buckets, options)
  local word = words[kind]
  spec.declaring("gateway." .. word)
  local source, good = spec.where(), true
  local prefix = type(name) == "string" and ("gateway.%s %s: "):format(word, check.describe(name)) or ("gateway.%s: "):format(word)
  local function report(message)
    good = false
    spec.problem(prefix .. message, source)
  end
  if type(name) ~= "string" or not name:find "^[%a_:][%w_:]*$" or #name > NAME_MOST then
    report("name: expected letters, digits, '_' and ':', not beginning with a digit, at most 100, found " .. check.describe(name))
  elseif name:find "^gateway_" or name:find "^process_" then
    report(("name: names that begin with %s_ are the gateway's own: expected another, found %s"):format(name:match "^%a+",
      check.describe(name)))
  end
  if type(help) ~= "string" or help == "" or help:find "%z" then
    report("help: expected a text that says what it counts, found " .. check.describe(help))
  end
  local names = labels_good(labels, kind, report)
  if kind == HISTOGRAM then buckets = buckets_good(buckets, report) end
  local settings = {}
  if options ~= nil and (type(options) ~= "table" or getmetatable(options)) then
    report("expected a table of options such as { series = 1000 }, found " .. check.describe(options))
  elseif options ~= nil then
    settings = check.fields(options, option_fields, "", report)
  end
  if not good then return failed(kind) end

  if kind == COUNTER and #name > 6 then name = name:gsub("_total$", "") end
  local entry = {
    kind = kind, name = name, help = help, labels = table.concat(names, ","), buckets = buckets, series = settings.series or SERIES,
    source = source,
  }
  local state = spec.state
  if not state.metrics then state.metrics, state.metric_by_name, state.metric_samples, state.metric_objects = {}, {}, {}, {} end
  local place = place_of(state, entry, report)
  if not place then return failed(kind) end
  if place == true then
    local object = make(entry, names)
    table.insert(state.metrics, entry)
    state.metric_by_name[name], state.metric_objects[name] = entry, object
    for _, suffix in ipairs(suffixes[kind]) do state.metric_samples[name .. suffix] = entry end
  end
  return state.metric_objects[name]
end

--- A number that only grows: counter:inc(n, { label values }). Told with "_total" at the end of its name.
---@param name string letters, digits, '_' and ':'
---@param help string what it counts
---@param labels? string[]
---@param options? gateway.MetricOptions
---@return gateway.Counter
function metrics.counter(name, help, labels, options)
  local made = declare(COUNTER, name, help, labels, nil, options)
  return made
end

--- A number that goes up and down, one for all workers: gauge:set(value, { label values }), gauge:add(n, ...).
---@param name string
---@param help string
---@param labels? string[]
---@param options? gateway.MetricOptions
---@return gateway.Gauge
function metrics.gauge(name, help, labels, options)
  local made = declare(GAUGE, name, help, labels, nil, options)
  return made
end

--- How often which values came: histogram:observe(value, { label values }).
---@param name string with its base unit at the end: "_seconds", "_bytes"
---@param help string
---@param labels? string[]
---@param buckets? number[] upper bounds in order (5 ms to 10 s, for seconds)
---@param options? gateway.MetricOptions
---@return gateway.Histogram
function metrics.histogram(name, help, labels, buckets, options)
  local made = declare(HISTOGRAM, name, help, labels, buckets, options)
  return made
end

-- ---- for tests ----

local function read_own(object, labels)
  local list = {}
  if object._count > 0 then
    if labels == nil then error(("%s: expected its label values, found nothing"):format(object._name), 3) end
    list = listed(object, labels)
  end
  local key = key_of(object, list)
  local out = bounds_type(object._handle.stride)
  if C.gw_lua_metric_read(object._handle, key, #key, out) == 0 then return nil end
  if getmetatable(object) ~= Histogram then return out[0] end
  local buckets, count = {}, 0
  for i = 0, object._bound_count do
    count = count + out[i]
    buckets[i < object._bound_count and object._bounds[i] or INFINITY] = count
  end
  return { count = count, sum = out[object._bound_count + 1], buckets = buckets }
end

--- What /metrics would say of routes and upstreams now.
---@return string
function metrics.text()
  local len = ffi.new "size_t[1]"
  local text = C.gw_lua_metrics_text(len)
  if text == nil then error("not enough memory", 0) end
  local out = ffi.string(text, len[0])
  C.gw_lua_metrics_free(text)
  return out
end

local function unescaped(value)
  return (value:gsub("\\(.)", function(c) return c == "n" and "\n" or c end))
end

local function read_page(name, labels)
  local sum
  for line in metrics.text():gmatch "[^\n]+" do
    local sample, inside, value = line:match "^([%w_:]+)(.-) (%S+)$"
    if sample == name then
      local fits = true
      for label, wanted in pairs(labels or {}) do
        local found = inside:match('[{,]' .. label .. '="(.-)"[,}]')
        fits = fits and found ~= nil and unescaped(found) == tostring(wanted)
      end
      if fits then sum = (sum or 0) + tonumber(value) end
    end
  end
  return sum
end

--- A metric's value now, all workers together; nil when there is no such series. Of the script's own ones: the series with these label
-- values (a histogram gives { count, sum, buckets = { [bound] = cumulated } }); of the gateway's: the sum of the series that
-- have these labels.
---@param name string as /metrics has it
---@param labels? string|table
---@return number|table|nil
function metrics.read(name, labels)
  local objects = spec.state.metric_objects or {}
  local object = objects[name] or objects[(name:gsub("_total$", ""))]
  if object then return (read_own(object, labels)) end
  return (read_page(name, labels))
end

--- Counts of routes and upstreams that nothing uses any more are forgotten, so that a test begins with none.
function metrics.forget()
  C.gw_lua_metrics_forget()
end

return metrics
