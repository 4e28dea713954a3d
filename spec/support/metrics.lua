--- A scrape, read strictly: Prometheus text 0.0.4 or OpenMetrics 1.0.
--
--     local scrape = metrics.scrape(g)                          -- GET /metrics of a gateway under test; metrics.parse(text) for any text
--     assert.equal(3, scrape:value("gateway_requests_total", { route = "/", method = "GET", status = "200" }))
--     assert.equal(7, scrape:sum("gateway_requests_total", { route = "/" }))         -- over all series that have these labels
--
-- What is not well-formed raises: a series told twice, samples apart from their family, a family without HELP and TYPE, a histogram
-- whose buckets shrink or whose count is not that of its last bucket, a label that is not escaped, no "# EOF" in OpenMetrics.

local metrics = {}

local mt = { __index = {} }
local Scrape = mt.__index

local function fail(line, text) error(("metrics, line %d: %s"):format(line, text), 0) end

local unescape = { ["\\"] = "\\", ["n"] = "\n", ['"'] = '"' }

-- name="value",...} from position `at` on: labels and the position behind the brace.
local function read_labels(line, at, number)
  local labels = {}
  if line:sub(at, at) == "}" then return labels, at + 1 end
  while true do
    local name, behind = line:match('^([%a_][%w_]*)="()', at)
    if not name then fail(number, "expected a label at " .. line:sub(at)) end
    if labels[name] then fail(number, "label " .. name .. " twice") end
    local value = {}
    at = behind
    while true do
      local c = line:sub(at, at)
      if c == '"' then break end
      if c == "" then fail(number, "a label's value has no end") end
      if c == "\\" then
        local real = unescape[line:sub(at + 1, at + 1)]
        if not real then fail(number, "unknown escape in " .. line) end
        value[#value + 1] = real
        at = at + 2
      else
        value[#value + 1] = c
        at = at + 1
      end
    end
    labels[name] = table.concat(value)
    local c = line:sub(at + 1, at + 1)
    at = at + 2
    if c == "}" then return labels, at end
    if c ~= "," then fail(number, "expected , or } behind a label") end
  end
end

local function key_of(name, labels)
  local list = {}
  for label, value in pairs(labels) do list[#list + 1] = ("%s=%q"):format(label, value) end
  table.sort(list)
  return name .. "{" .. table.concat(list, ",") .. "}"
end

local function number_of(text, number)
  if text == "+Inf" then return math.huge elseif text == "-Inf" then return -math.huge elseif text == "NaN" then return 0 / 0 end
  return tonumber(text) or fail(number, "no number: " .. text)
end

local suffixes = { counter = { "_total" }, gauge = { "" }, histogram = { "_bucket", "_sum", "_count" } }

local function check_histograms(self)
  local groups = {}
  for _, sample in ipairs(self.samples) do
    if self.families[sample.family].type == "histogram" then
      local labels = {}
      for name, value in pairs(sample.labels) do if name ~= "le" then labels[name] = value end end
      local key = key_of(sample.family, labels)
      local group = groups[key] or { buckets = {} }
      groups[key] = group
      local suffix = sample.name:sub(#sample.family + 1)
      if suffix == "_bucket" then
        local bound = number_of(sample.labels.le, 0)
        local last = group.buckets[#group.buckets]
        assert(not last or (bound > last.bound and sample.value >= last.value), key .. ": buckets out of order")
        group.buckets[#group.buckets + 1] = { bound = bound, value = sample.value }
      else
        group[suffix] = sample.value
      end
    end
  end
  for key, group in pairs(groups) do
    local last = group.buckets[#group.buckets]
    assert(last and last.bound == math.huge, key .. ": no +Inf bucket")
    assert(last.value == group._count, key .. ": count is not that of the last bucket")
    assert(group._sum, key .. ": no sum")
  end
end

--- Reads and checks a page.
function metrics.parse(text, openmetrics)
  local self = setmetatable({ text = text, samples = {}, by_key = {}, families = {} }, mt)
  local family, ended
  local number = 0
  assert(text:sub(-1) == "\n", "the last line has no end")
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    if ended then fail(number, "something behind # EOF") end
    local word, name, rest = line:match("^# (%u+) ([%a_:][%w_:]*) (.*)$")
    if line == "# EOF" and openmetrics then
      ended = true
    elseif word == "HELP" then
      if self.families[name] then fail(number, name .. " is told in two places") end
      family = { name = name, help = rest }
      self.families[name] = family
    elseif word == "TYPE" then
      if not family or family.name ~= name then fail(number, "TYPE without HELP before it") end
      if not suffixes[rest] then fail(number, "unknown type " .. rest) end
      family.type = rest
    elseif line:sub(1, 1) == "#" or line == "" then
      fail(number, "what is " .. line)
    else
      local sample, at = line:match("^([%a_:][%w_:]*)()")
      if not sample or not family or not family.type then fail(number, "a sample without a family: " .. line) end
      local stem = family.name
      local fits = false
      for _, suffix in ipairs(suffixes[family.type]) do
        fits = fits or sample == (family.type == "counter" and not openmetrics and stem or stem .. suffix)
      end
      if not fits then fail(number, ("%s is no sample of %s %s"):format(sample, family.type, stem)) end
      local labels = {}
      if line:sub(at, at) == "{" then labels, at = read_labels(line, at + 1, number) end
      local value, tail = line:match("^ (%S+)(.*)$", at)
      if not value then fail(number, "no value: " .. line) end
      local exemplar
      if tail ~= "" then
        local id, seconds, when = tail:match('^ # {trace_id="([^"]*)"} (%S+) (%S+)$')
        if not id or not openmetrics then fail(number, "what is " .. tail) end
        exemplar = { id = id, value = number_of(seconds, number), at = number_of(when, number) }
      end
      local key = key_of(sample, labels)
      if self.by_key[key] then fail(number, key .. " twice") end
      local one = { name = sample, labels = labels, value = number_of(value, number), exemplar = exemplar, family = stem }
      self.by_key[key] = one
      self.samples[#self.samples + 1] = one
    end
  end
  if openmetrics and not ended then error("no # EOF", 0) end
  check_histograms(self)
  return self
end

--- GET /metrics of a gateway under test.
function metrics.scrape(g, openmetrics)
  local peers = require "spec.support.peers"
  local response = peers.within(function()
    return peers.ask(g.vars.admin, { path = "/metrics", host = "127.0.0.1",
      headers = { Connection = "close", Accept = openmetrics and "application/openmetrics-text" or nil } }, { wait = 20 })
  end)
  assert(response.status == 200, response.head)
  local scrape = metrics.parse(response.body, openmetrics)
  scrape.response = response
  return scrape
end

--- Scrapes until done(scrape) gives something true, and returns that scrape. Counts are there when their request has ended, which can be a
-- moment after its client has the answer.
function metrics.eventually(g, done, what)
  local peers = require "spec.support.peers"
  local last
  peers.within(function()
    peers.eventually(function()
      last = metrics.scrape(g)
      return done(last)
    end, what or "a scrape")
  end)
  return last
end

--- The value of exactly this series; nil when there is none.
function Scrape:value(name, labels)
  local sample = self.by_key[key_of(name, labels or {})]
  return sample and sample.value
end

--- The samples of that name which have at least these labels.
function Scrape:all(name, labels)
  local out = {}
  for _, sample in ipairs(self.samples) do
    local fits = sample.name == name
    for label, value in pairs(labels or {}) do fits = fits and sample.labels[label] == value end
    if fits then out[#out + 1] = sample end
  end
  return out
end

--- Their sum; 0 when there are none.
function Scrape:sum(name, labels)
  local sum = 0
  for _, sample in ipairs(self:all(name, labels)) do sum = sum + sample.value end
  return sum
end

return metrics
