-- `gateway top`: one screen of what a running gateway is at, from two snapshots (GET /snapshot) some seconds apart.

local json = require "gateway.json"
local words = require "gateway.words"

local top = {}

local count, bytes, duration, plain, given = words.count, words.bytes, words.duration, words.plain, words.given

local STYLE = { bold = "\27[1m", dim = "\27[2m", good = "\27[32m", warn = "\27[33m", bad = "\27[31m", head = "\27[7m" }

-- ---- numbers ----

local function rate(n)
  if n <= 0 then return "0" end
  if n < 0.05 then return "<0.1" end
  return n < 100 and ("%.1f"):format(n) or count(math.floor(n + 0.5))
end

local function percent(part, all)
  if all <= 0 or part <= 0 then return "0 %" end
  local share = part / all * 100
  if share < 0.01 then return "<0.01 %" end
  return (share < 1 and "%.2f %%" or share < 10 and "%.1f %%" or "%.0f %%"):format(share)
end

local function time_of(seconds)
  if seconds < 0.01 then return ("%.1f ms"):format(seconds * 1000) end
  return seconds >= 1 and seconds < 10 and ("%.2f s"):format(seconds) or duration(seconds)
end

-- The differences of two lists of counters; a counter that went back counts as nothing.
local function less(now, before)
  local out, sum = {}, 0
  for i, n in ipairs(now) do
    out[i] = math.max(0, n - (before and before[i] or 0))
    sum = sum + out[i]
  end
  return out, sum
end

-- A quantile of a histogram, in words: within a bucket by straight line.
local function quantile(buckets, bounds, q)
  local all = 0
  for _, n in ipairs(buckets) do all = all + n end
  if all == 0 then return "-" end
  local rank, below = q * all, 0
  for i, n in ipairs(buckets) do
    if n > 0 and below + n >= rank then
      if i == 1 then return "<" .. duration(bounds[1]) end
      if i > #bounds then return ">" .. duration(bounds[#bounds]) end
      return time_of(bounds[i - 1] + (rank - below) / n * (bounds[i] - bounds[i - 1]))
    end
    below = below + n
  end
  return "-"
end

local function by_name(list, member)
  local out = {}
  for _, one in ipairs(list) do out[one[member or "name"]] = one end
  return out
end

-- ---- lines: lists of pieces, each a text or { style, text } ----

-- The first `most` characters of UTF-8 text, and how many there are.
local function cut(text, most)
  local n, at = 0, 1
  while at <= #text and n < most do
    local byte = text:byte(at)
    at = at + (byte < 0x80 and 1 or byte < 0xE0 and 2 or byte < 0xF0 and 3 or 4)
    n = n + 1
  end
  return text:sub(1, at - 1), n
end

local function length(text)
  return select(2, text:gsub("[^\128-\191]", ""))
end

local function render(line, width, styled)
  local out, left = {}, width
  for _, piece in ipairs(line) do
    local style, text = nil, piece
    if type(piece) == "table" then style, text = piece[1], piece[2] end
    local shown, n = cut(text, left)
    left = left - n
    out[#out + 1] = style and styled and n > 0 and STYLE[style] .. shown .. "\27[0m" or shown
  end
  local text = table.concat(out)
  return styled and text or (text:gsub("%s+$", ""))
end

-- Rows of cells (text or { style, text }) under heads, as lines of at most `width`. columns: { title, right, least (width below which it is
-- left out), flexible (takes what room there is) }.
local function grid(columns, rows, width)
  local shown, sizes, total, flexible = {}, {}, 0, nil
  for i, column in ipairs(columns) do
    if not column.least or width >= column.least then shown[#shown + 1] = i end
  end
  for _, i in ipairs(shown) do
    sizes[i] = length(columns[i][1])
    for _, row in ipairs(rows) do
      local cell = type(row[i]) == "table" and row[i][2] or row[i]
      sizes[i] = math.max(sizes[i], length(cell))
    end
    if columns[i].flexible then flexible = i end
    total = total + sizes[i] + 2
  end
  if flexible and total > width then sizes[flexible] = math.max(8, sizes[flexible] - (total - width)) end
  local function line(cells, style)
    local out = {}
    for _, i in ipairs(shown) do
      local cell = cells[i]
      local kind, text = style, cell
      if type(cell) == "table" then kind, text = cell[1], cell[2] end
      text = cut(text, sizes[i])
      local space = (" "):rep(sizes[i] - length(text))
      text = columns[i].right and space .. text or text .. space
      out[#out + 1] = kind and { kind, text } or text
      out[#out + 1] = "  "
    end
    return out
  end
  local titles = {}
  for i, column in ipairs(columns) do titles[i] = column[1] end
  local lines = { line(titles, "dim") }
  for _, row in ipairs(rows) do lines[#lines + 1] = line(row) end
  return lines
end

-- ---- the parts of the screen ----

local function mark(style, text)
  return style and { style, text } or text
end

local function state_of(endpoint)
  if endpoint.drained then return { "warn", endpoint.healthy and "drained" or "drained, down" } end
  if not endpoint.healthy then return { "bad", "down (" .. table.concat(endpoint.down, ", ") .. ")" } end
  local breaker = given(endpoint.breaker)
  if breaker == "open" then return { "bad", "breaker open" } end
  if breaker == "half_open" then return { "warn", "breaker probing" } end
  return { "good", endpoint.backup and "up, backup" or "up" }
end

local function problems(now)
  local out = {}
  for _, upstream in ipairs(now.upstreams) do
    for _, endpoint in ipairs(upstream.endpoints) do
      local state = state_of(endpoint)
      if state[1] == "bad" then
        out[#out + 1] = { { "bad", (" ! %s %s: %s"):format(plain(upstream.name), plain(endpoint.address), state[2]) } }
      end
    end
  end
  for _, plugin in ipairs(now.plugins) do
    if plugin.off then out[#out + 1] = { { "bad", " ! plugin " .. plain(plugin.name) .. " is switched off: it kept failing" } } end
  end
  local last = now.reloads.history[1]
  if last and not last.ok then
    out[#out + 1] = { { "warn", (" ! the last reload was refused (%s)"):format(plain(last.cause)) } }
    for _, message in ipairs(last.errors) do out[#out + 1] = { { "warn", "   " .. plain(message) } } end
  end
  return out
end

-- A staged reload: how its candidate does.
local function staged(now)
  local one = given(now.staged) and given(now.staged.now)
  if not one then return {} end
  local out = { { { "warn", (" staged: generation %d, %s of the clients, %s left"):format(one.generation, percent(one.share, 1),
    duration(one.remaining)) } } }
  for _, side in ipairs { "candidate", "stable" } do
    local s = one[side]
    out[#out + 1] = { ("   %s: %s, errors %s, p50 %s, p99 %s"):format(side, words.plural(s.requests, "request"),
      percent(s.errors, s.requests), time_of(s.p50), time_of(s.p99)) }
  end
  return out
end

local function summary(now, before, span, width)
  local classes, requests = less(now.total.classes, before.total.classes)
  local buckets = less(now.total.durations, before.total.durations)
  local errors, lua = classes[6] + classes[1], 0
  for _, worker in ipairs(now.workers) do lua = lua + worker.lua_bytes end
  local share = requests > 0 and errors / requests or 0
  local generation = given(now.generation)
  local out = {}
  -- Items, each a list of pieces, in lines of at most `width`.
  local function add(items)
    local line, at
    for _, item in ipairs(items) do
      local size = 0
      for _, piece in ipairs(item) do size = size + length(type(piece) == "table" and piece[2] or piece) end
      if not line or at + 2 + size > width then
        line, at = { #out > 0 and " " or "" }, size + 1
        out[#out + 1] = line
      else
        line[#line + 1], at = "  ", at + 2 + size
      end
      for _, piece in ipairs(item) do line[#line + 1] = piece end
    end
  end
  add { { { "bold", "gateway" }, " " .. now.version }, { { now.state == "serving" and "good" or "warn", now.state } },
    { plain(now.script) }, { ("generation %s"):format(generation and generation.number or "-") }, { "up " .. duration(now.uptime) },
    { words.plural(#now.workers, "worker") } }
  add { { "requests ", { "bold", rate(requests / span) .. "/s" } },
    { "errors ", { share >= 0.05 and "bad" or share >= 0.01 and "warn" or "bold", percent(errors, requests) } },
    { "4xx " .. percent(classes[5], requests) }, { "p50 " .. quantile(buckets, now.bounds, 0.5) },
    { "p90 " .. quantile(buckets, now.bounds, 0.9) }, { "p99 ", { "bold", quantile(buckets, now.bounds, 0.99) } },
    { "in flight " .. count(now.requests_in_flight) }, { "connections " .. count(now.connections.active) },
    { "total " .. count(now.total.requests) }, { "limited " .. count(now.limited) } }
  add { { ("cpu %.0f %%"):format(math.max(0, now.cpu_seconds - before.cpu_seconds) / span * 100) },
    { "memory " .. bytes(now.resident_bytes) }, { "lua " .. bytes(lua) }, { "log lines dropped " .. count(now.log_lines_dropped) },
    { "spans dropped " .. count(now.spans.dropped) } }
  return out
end

local function routes(now, before, span, width)
  local old, rows = by_name(before.routes), {}
  for i, route in ipairs(now.routes) do
    local was = old[route.name] or route
    local classes, requests = less(route.classes, was.classes)
    local buckets = less(route.durations, was.durations)
    local errors = classes[6] + classes[1]
    rows[i] = { plain(route.name), rate(requests / span), mark(errors > 0 and "bad", percent(errors, requests)),
      quantile(buckets, now.bounds, 0.5), quantile(buckets, now.bounds, 0.9), quantile(buckets, now.bounds, 0.99),
      count(route.requests), count(route.classes[5]), mark(route.classes[6] > 0 and "warn", count(route.classes[6])),
      by = requests }
  end
  local places = {}
  for i, row in ipairs(rows) do places[row] = i end
  table.sort(rows, function(a, b)
    if a.by ~= b.by then return a.by > b.by end
    return places[a] < places[b]
  end)
  return grid({ { "ROUTE", flexible = true }, { "REQ/S", right = true }, { "ERRORS", right = true },
    { "P50", right = true, least = 90 }, { "P90", right = true, least = 90 }, { "P99", right = true },
    { "TOTAL", right = true }, { "4XX", right = true, least = 70 }, { "5XX", right = true, least = 60 } }, rows, width)
end

local function endpoints(now, before, span, width)
  local old, rows = {}, {}
  for _, upstream in ipairs(before.upstreams) do
    for _, endpoint in ipairs(upstream.endpoints) do old[upstream.name .. "\0" .. endpoint.address] = endpoint end
  end
  for _, upstream in ipairs(now.upstreams) do
    for _, endpoint in ipairs(upstream.endpoints) do
      local was = old[upstream.name .. "\0" .. endpoint.address] or endpoint
      local failed = math.max(0, endpoint.failed - was.failed) / span
      rows[#rows + 1] = { plain(upstream.name), plain(endpoint.address), state_of(endpoint),
        rate(math.max(0, endpoint.tries - was.tries) / span), mark(failed > 0 and "bad", rate(failed)),
        count(endpoint.in_flight), ("%d/%d"):format(endpoint.idle, endpoint.busy) }
    end
  end
  return grid({ { "UPSTREAM", flexible = true }, { "ENDPOINT" }, { "STATE" }, { "REQ/S", right = true },
    { "FAILED/S", right = true, least = 70 }, { "IN FLIGHT", right = true, least = 60 }, { "IDLE/BUSY", right = true, least = 90 } },
    rows, width)
end

local function slow(now, width)
  local rows = {}
  for i, one in ipairs(now.slow) do
    rows[i] = { time_of(one.seconds), one.status == 0 and "cut" or tostring(one.status), plain(one.method .. " " .. one.path),
      plain(one.route), one.endpoint == "" and "-" or plain(one.endpoint), plain(one.id) }
  end
  return grid({ { "SLOWEST", right = true }, { "STATUS", right = true }, { "REQUEST", flexible = true }, { "ROUTE", least = 80 },
    { "ENDPOINT", least = 110 }, { "TRACE", least = 140 } }, rows, width)
end

local function plugins(now, before, span, width)
  local old, rows = by_name(before.plugins), {}
  for i, plugin in ipairs(now.plugins) do
    local was = old[plugin.name] or plugin
    rows[i] = { plain(plugin.name), ("%.1f ms/s"):format(math.max(0, plugin.cpu_seconds - was.cpu_seconds) / span * 1000),
      rate(math.max(0, plugin.calls - was.calls) / span), mark(plugin.errors > 0 and "warn", count(plugin.errors)),
      mark(plugin.runaways > 0 and "warn", count(plugin.runaways)), plugin.off and { "bad", "off" } or { "good", "on" } }
  end
  return grid({ { "PLUGIN", flexible = true }, { "CPU", right = true }, { "CALLS/S", right = true },
    { "ERRORS", right = true, least = 60 }, { "RUNAWAYS", right = true, least = 70 }, { "STATE" } }, rows, width)
end

-- ---- the screen ----

-- How many lines each block gets of `room`: what is asked for, if all fit; else by turns, so that a short one leaves its room to others.
local function share_out(asked, room)
  local given_lines, left = {}, room
  for i in ipairs(asked) do given_lines[i] = 0 end
  local moved = true
  while left > 0 and moved do
    moved = false
    for i, n in ipairs(asked) do
      if left > 0 and given_lines[i] < n then
        given_lines[i], left, moved = given_lines[i] + 1, left - 1, true
      end
    end
  end
  return given_lines
end

---@param now table a snapshot
---@param before table an earlier one of the same process
---@param width integer columns of the screen
---@param height integer lines; 0: as many as it takes
---@param styled boolean with colours
---@return string[] lines, none longer than `width`
function top.screen(now, before, width, height, styled)
  if before.pid ~= now.pid or before.uptime > now.uptime then before = now end
  local span = math.max(now.uptime - before.uptime, 0.001)
  local lines = summary(now, before, span, width)
  for _, line in ipairs(staged(now)) do lines[#lines + 1] = line end
  local wrong = problems(now)
  local most = height == 0 and #wrong or math.min(#wrong, math.max(1, math.floor(height / 5)))
  for i = 1, most do lines[#lines + 1] = wrong[i] end
  if most < #wrong then lines[#lines] = { { "bad", (" ! and %d more lines of what is wrong"):format(#wrong - most + 1) } } end
  local blocks = {}
  local function add(block, left_out)
    if #block > 1 then
      if left_out > 0 then block[#block + 1] = { { "dim", ("and %s more"):format(count(left_out)) } } end
      blocks[#blocks + 1] = block
    end
  end
  add(routes(now, before, span, width), now.routes_left_out)
  add(endpoints(now, before, span, width), now.upstreams_left_out)
  add(slow(now, width), 0)
  add(plugins(now, before, span, width), now.plugins_left_out)
  local asked = {}
  for i, block in ipairs(blocks) do asked[i] = #block + 1 end -- and an empty line before it
  local room = height == 0 and math.huge or math.max(0, height - #lines)
  local got = share_out(asked, room)
  for i, block in ipairs(blocks) do
    if got[i] > 2 then
      lines[#lines + 1] = {}
      for k = 1, got[i] - 1 do lines[#lines + 1] = block[k] end
      if got[i] < asked[i] then lines[#lines] = { { "dim", ("and %d more"):format(asked[i] - got[i] + 1) } } end
    end
  end
  local out = {}
  for i, line in ipairs(lines) do
    if height > 0 and i > height then break end
    out[i] = render(line, width, styled)
  end
  return out
end

--- The command: `word` is "WIDTH HEIGHT STYLED", then a line with the snapshot before, then one with that of now.
---@return string? text
---@return string? why
function top.run(options)
  local width, height, styled, before, now = options.word:match("^(%d+) (%d+) ([01])\n([^\n]*)\n([^\n]*)$")
  local first, last = json.decode(before), json.decode(now)
  if type(first) ~= "table" or type(last) ~= "table" or not last.total then
    return nil, "gateway: the admin address gave an answer that is none of a gateway's"
  end
  return table.concat(top.screen(last, first, tonumber(width), tonumber(height), styled == "1"), "\n") .. "\n"
end

return top
