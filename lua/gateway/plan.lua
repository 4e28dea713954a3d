-- `gateway plan`: how what two scripts declare, and do with recorded requests, differs (plan_run.lua gives each half). JSON out, which
-- plan_text.lua tells in words.

local json = require "gateway.json"

local GROUPS_MOST = 100 -- kinds of requests that are told apart

local function by_key(list, key)
  local out = {}
  for _, one in ipairs(list) do out[one[key]] = one end
  return out
end

-- ---- routes ----

local function methods_of(route)
  return route.properties[1].same
end

local function label(route)
  return { pattern = route.pattern, host = route.host, source = route.source, methods = methods_of(route), key = route.key,
    use = route.properties[2].text, to = route.properties[3].text }
end

-- Pairs routes that are asked for the same: by host, path, header conditions and methods, then by all but the methods.
local function paired(old, new)
  local pairs_ = {}
  local function pair(name_of, from, to)
    local there = {}
    for _, route in ipairs(to) do
      local name = name_of(route)
      there[name] = there[name] or {}
      table.insert(there[name], route)
    end
    local rest, used = {}, {}
    for _, route in ipairs(from) do
      local list = there[name_of(route)]
      local found = list and table.remove(list, 1)
      if found then
        pairs_[#pairs_ + 1] = { route, found }
        used[found] = true
      else
        rest[#rest + 1] = route
      end
    end
    local unused = {}
    for _, route in ipairs(to) do if not used[route] then unused[#unused + 1] = route end end
    return rest, unused
  end
  local gone, left = pair(function(route) return route.key .. "\n" .. methods_of(route) end, old, new)
  gone, left = pair(function(route) return route.key end, gone, left)
  return pairs_, gone, left
end

-- Names of the two scripts' lines differ anyway: "/a/old.lua:12" is compared as nothing.
local function without_lines(text)
  return (text:gsub("[^%s,]+%.lua:%d+", "function"))
end

-- Where the same middleware stand in the same order: which of them is not what it was.
local function note_of(before, now)
  if not before.steps or #before.steps ~= #now.steps then return nil end
  local out = {}
  for i, step in ipairs(now.steps) do
    local was = before.steps[i]
    if without_lines(was.text) ~= without_lines(step.text) then return nil end
    if was.same ~= step.same then
      out[#out + 1] = ("%s has other %s"):format(step.text, step.same:find("^function") and "code" or "options")
    end
  end
  return table.concat(out, ", ")
end

local function compare_routes(old, new)
  local out = { added = json.array {}, removed = json.array {}, changed = json.array {} }
  local both, gone, left = paired(old, new)
  for _, pair in ipairs(both) do
    local changes, after = json.array {}, by_key(pair[2].properties, "name")
    for _, before in ipairs(pair[1].properties) do
      local now = after[before.name]
      if now.same ~= before.same then
        changes[#changes + 1] = { what = before.name, old = before.text, new = now.text, note = note_of(before, now) }
      end
    end
    if #changes > 0 then
      local changed = label(pair[2])
      changed.changes = changes
      out.changed[#out.changed + 1] = changed
    end
  end
  for i, route in ipairs(gone) do out.removed[i] = label(route) end
  for i, route in ipairs(left) do out.added[i] = label(route) end
  return out
end

-- ---- lines of names and values ----

local function compare_lines(old, new)
  local changes, before, after = json.array {}, by_key(old, "name"), by_key(new, "name")
  for _, line in ipairs(old) do
    local now = after[line.name]
    if not now then
      changes[#changes + 1] = { what = line.name, old = line.value }
    elseif now.value ~= line.value then
      changes[#changes + 1] = { what = line.name, old = line.value, new = now.value }
    end
  end
  for _, line in ipairs(new) do
    if not before[line.name] then changes[#changes + 1] = { what = line.name, new = line.value } end
  end
  return changes
end

local function endpoints_text(upstream)
  local out = {}
  for i, endpoint in ipairs(upstream.endpoints) do out[i] = endpoint.address end
  return table.concat(out, ", ")
end

local function compare_upstreams(old, new)
  local out = { added = json.array {}, removed = json.array {}, changed = json.array {} }
  local before, after = by_key(old, "name"), by_key(new, "name")
  for _, upstream in ipairs(old) do
    local now = after[upstream.name]
    if not now then
      out.removed[#out.removed + 1] = { name = upstream.name, endpoints = endpoints_text(upstream) }
    else
      local changes = json.array {}
      local there, here = by_key(upstream.endpoints, "address"), by_key(now.endpoints, "address")
      for _, endpoint in ipairs(upstream.endpoints) do
        local same = here[endpoint.address]
        if not same then
          changes[#changes + 1] = { what = "endpoint " .. endpoint.address, old = endpoint.settings }
        elseif same.settings ~= endpoint.settings then
          changes[#changes + 1] = { what = "endpoint " .. endpoint.address, old = endpoint.settings, new = same.settings }
        end
      end
      for _, endpoint in ipairs(now.endpoints) do
        if not there[endpoint.address] then
          changes[#changes + 1] = { what = "endpoint " .. endpoint.address, new = endpoint.settings }
        end
      end
      for _, change in ipairs(compare_lines(upstream.settings, now.settings)) do changes[#changes + 1] = change end
      if #changes > 0 then out.changed[#out.changed + 1] = { name = upstream.name, changes = changes } end
    end
  end
  for _, upstream in ipairs(new) do
    if not before[upstream.name] then out.added[#out.added + 1] = { name = upstream.name, endpoints = endpoints_text(upstream) } end
  end
  return out
end

local function compare_sets(old, new)
  local out, before, after = { added = json.array {}, removed = json.array {} }, {}, {}
  for _, one in ipairs(old) do before[one] = true end
  for _, one in ipairs(new) do
    after[one] = true
    if not before[one] then out.added[#out.added + 1] = one end
  end
  for _, one in ipairs(old) do
    if not after[one] then out.removed[#out.removed + 1] = one end
  end
  return out
end

-- ---- requests ----

local function compare_requests(heads, old, new)
  local out = { count = #heads, same = 0, changed = json.array {} }
  local groups, more = {}, 0
  for i, head in ipairs(heads) do
    local a, b = old[i], new[i]
    local changes, name = json.array {}, {}
    local function look(what, x, y, compared_x, compared_y)
      if (compared_x or x) == (compared_y or y) then return end
      changes[#changes + 1] = { what = what, old = x or "none", new = y or "none" }
      name[#name + 1] = ("%s %s %s"):format(what, tostring(x), tostring(y))
    end
    look("status", a.status, b.status)
    look("route", a.route, b.route)
    look("middleware", a.chain, b.chain, without_lines(a.chain), without_lines(b.chain))
    look("upstream", a.upstream, b.upstream)
    look("error", a.error, b.error)
    if a.sent ~= b.sent and a.sent ~= "" and b.sent ~= "" and a.upstream == b.upstream then
      changes[#changes + 1] = { what = "sent", old = a.sent, new = b.sent }
      name[#name + 1] = "sent" .. (a.route or "")
    end
    if a.response ~= b.response and a.status == b.status then
      changes[#changes + 1] = { what = "response", old = a.response, new = b.response }
      name[#name + 1] = "response" .. (a.route or "")
    end
    if #changes == 0 then
      out.same = out.same + 1
    else
      name = table.concat(name, "\n")
      local group = groups[name]
      if group then
        group.count = group.count + 1
      elseif #out.changed < GROUPS_MOST then
        group = { count = 1, method = head.method, target = head.target, changes = changes }
        for _, field in ipairs(head.headers) do if field[1]:lower() == "host" then group.host = field[2] end end
        groups[name] = group
        out.changed[#out.changed + 1] = group
      else
        more = more + 1
      end
    end
  end
  if more > 0 then out.more = more end
  local place = {}
  for i, group in ipairs(out.changed) do place[group] = i end
  table.sort(out.changed, function(a, b)
    if a.count ~= b.count then return a.count > b.count end
    return place[a] < place[b]
  end)
  return out
end

local function list_of(text)
  local out = json.array {}
  for line in text:gmatch("[^\n]+") do out[#out + 1] = line end
  return out
end

---@param words string[] both halves as JSON, "changed" when the first script is not what serves, the scripts, the first one's errors,
---       warnings, the heads
---@return string
return function(words)
  local old, new = json.decode(words[1]), json.decode(words[2])
  local heads = json.decode(words[8]) or {}
  local out = { ok = true, script = words[4], candidate = words[5], warnings = list_of(words[7]) }
  if words[3] == "changed" then out.script_changed = true end
  if type(old) ~= "table" or old == json.null then
    out.script_errors = list_of(words[6])
    return json.encode(out) .. "\n"
  end
  out.routes = compare_routes(old.routes, new.routes)
  out.upstreams = compare_upstreams(old.upstreams, new.upstreams)
  out.listeners = compare_sets(old.listeners, new.listeners)
  if old.admin ~= new.admin then out.admin = { old = old.admin, new = new.admin } end
  out.settings = compare_lines(old.settings, new.settings)
  out.requests = compare_requests(heads, old.requests, new.requests)
  return json.encode(out) .. "\n"
end
