-- What `gateway plan` found out, in words.

local json = require "gateway.json"

local function plain(value)
  return (tostring(value):gsub("%c", "?"))
end

local function given(value)
  return value ~= json.null and value or nil
end

local function change_text(change)
  local old, new, note = given(change.old), given(change.new), given(change.note)
  if note then return ("%s: %s"):format(plain(change.what), plain(note)) end
  if old == nil then return ("%s: %s (new)"):format(plain(change.what), plain(new)) end
  if new == nil then return ("%s: no longer %s"):format(plain(change.what), plain(old)) end
  return ("%s: %s -> %s"):format(plain(change.what), plain(old), plain(new))
end

local function route_text(route)
  return ("%s%s%s"):format(given(route.host) and plain(route.host) .. " " or "", plain(route.pattern),
    route.methods ~= "any" and (" [%s]"):format(plain(route.methods)) or "")
end

-- Lines of two heads that differ.
local function head_lines(out, old, new)
  local before, after = {}, {}
  for line in old:gmatch("[^\n]+") do before[line] = true end
  for line in new:gmatch("[^\n]+") do after[line] = true end
  for line in old:gmatch("[^\n]+") do if not after[line] then out[#out + 1] = "        - " .. plain(line) end end
  for line in new:gmatch("[^\n]+") do if not before[line] then out[#out + 1] = "        + " .. plain(line) end end
end

local function section(out, title, rows)
  if #rows == 0 then return end
  out[#out + 1] = title
  for _, row in ipairs(rows) do out[#out + 1] = row end
end

local function routes_rows(routes)
  local out = {}
  for _, route in ipairs(routes.removed) do out[#out + 1] = "  - " .. route_text(route) end
  for _, route in ipairs(routes.added) do
    out[#out + 1] = ("  + %s: use %s, to %s (%s)"):format(route_text(route), plain(route.use), plain(route.to), plain(route.source))
  end
  for _, route in ipairs(routes.changed) do
    out[#out + 1] = ("  ~ %s (%s)"):format(route_text(route), plain(route.source))
    for _, change in ipairs(route.changes) do out[#out + 1] = "      " .. change_text(change) end
  end
  return out
end

local function upstream_rows(upstreams)
  local out = {}
  for _, upstream in ipairs(upstreams.removed) do out[#out + 1] = ("  - %s: %s"):format(plain(upstream.name), plain(upstream.endpoints)) end
  for _, upstream in ipairs(upstreams.added) do out[#out + 1] = ("  + %s: %s"):format(plain(upstream.name), plain(upstream.endpoints)) end
  for _, upstream in ipairs(upstreams.changed) do
    out[#out + 1] = "  ~ " .. plain(upstream.name)
    for _, change in ipairs(upstream.changes) do out[#out + 1] = "      " .. change_text(change) end
  end
  return out
end

local function request_rows(requests)
  local out = {}
  for _, group in ipairs(requests.changed) do
    local host = given(group.host)
    out[#out + 1] = ("  %dx such as %s %s%s"):format(group.count, plain(group.method), host and plain(host) or "", plain(group.target))
    for _, change in ipairs(group.changes) do
      if change.what == "sent" or change.what == "response" then
        out[#out + 1] = change.what == "sent" and "      sent to the backend:" or "      response:"
        head_lines(out, change.old, change.new)
      else
        out[#out + 1] = "      " .. change_text(change)
      end
    end
  end
  if given(requests.more) then out[#out + 1] = ("  and %d more"):format(requests.more) end
  return out
end

---@param plan table
---@return string
return function(plan)
  local out = {}
  for _, warning in ipairs(plan.warnings or {}) do out[#out + 1] = "warning: " .. plain(warning) end
  if plan.script_errors then
    out[#out + 1] = ("%s can be loaded, but %s, which serves, no longer can: nothing to compare with"):format(plain(plan.candidate),
      plain(plan.script))
    for _, message in ipairs(plan.script_errors) do out[#out + 1] = "  " .. plain(message) end
    return table.concat(out, "\n") .. "\n"
  end
  if plan.script_changed then
    out[#out + 1] = ("warning: %s is not any more what serves: compared with the file as it is now"):format(plain(plan.script))
  end
  local from = #out
  section(out, "routes", routes_rows(plan.routes))
  section(out, "upstreams", upstream_rows(plan.upstreams))
  local rows = {}
  for _, at in ipairs(plan.listeners.removed) do rows[#rows + 1] = "  - " .. plain(at) end
  for _, at in ipairs(plan.listeners.added) do rows[#rows + 1] = "  + " .. plain(at) end
  if plan.admin then rows[#rows + 1] = ("  ~ admin: %s -> %s"):format(plain(given(plan.admin.old)), plain(given(plan.admin.new))) end
  section(out, "listeners", rows)
  rows = {}
  for _, change in ipairs(plan.settings) do rows[#rows + 1] = "  ~ " .. change_text(change) end
  section(out, "settings", rows)
  if #out == from then out[#out + 1] = "the same routes, upstreams, listeners and settings" end
  local requests = plan.requests
  if requests.count == 0 then
    out[#out + 1] = "requests: none recorded (gateway.record, or record = true on a route)"
  else
    out[#out + 1] = ("requests: %d recorded, %d as before, %d otherwise"):format(requests.count, requests.same,
      requests.count - requests.same)
    for _, row in ipairs(request_rows(requests)) do out[#out + 1] = row end
  end
  return table.concat(out, "\n") .. "\n"
end
