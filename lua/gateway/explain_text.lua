-- What `gateway explain` found out, as text.

local NEAR_MOST = 12 -- routes that nearly matched, one a line

local function quoted(text)
  return ('"%s"'):format((text:gsub("[%c]", "?")))
end

local function seconds(n)
  if n <= 0 then return "none" end
  return n < 1 and ("%.3g ms"):format(n * 1000) or ("%.6g s"):format(n)
end

local function where_differs(other)
  if other.found == nil then return ("path ends before segment %d, %s"):format(other.segment, quoted(other.expected or "")) end
  if other.expected == nil then return ("path goes on at segment %d, %s"):format(other.segment, quoted(other.found)) end
  return ("path differs at segment %d: %s is expected, found %s"):format(other.segment, quoted(other.expected), quoted(other.found))
end

local function why_not(other)
  if other.miss == "host" then return ("host differs: %s is expected"):format(other.host) end
  if other.miss == "path" then return where_differs(other) end
  if other.miss == "header" then
    local wanted = other.expected and ("%s: %s"):format(other.header, other.expected) or other.header
    return ("header %s is expected, %s"):format(wanted, other.found and "found " .. quoted(other.found) or "it is not there")
  end
  if other.miss == "method" then return ("method: %s is expected"):format(table.concat(other.methods or {}, ", ")) end
  return other.before and "matches" or "matches, but stands behind"
end

local function is_near(other)
  return not (other.miss == "host" or (other.miss == "path" and (other.segment or 1) <= 1))
end

local function route_text(route)
  local text = quoted(route.pattern)
  if route.host then text = route.host .. " " .. text end
  return ("%s (%s)"):format(text, route.source)
end

local function change_text(change)
  if change.what == "remove" then return ("took away %s"):format(change.name) end
  if change.what == "add" or change.what == "set" then
    return ("%s %s: %s"):format(change.what == "add" and "added" or "set", change.name, change.value)
  end
  if change.what == "body" then return change.value and ("body of %d bytes"):format(change.value) or "no body" end
  return ("%s = %s"):format(change.what, tostring(change.value))
end

local function changes_text(changes)
  local out = {}
  for i, change in ipairs(changes or {}) do out[i] = change_text(change) end
  return table.concat(out, ", ")
end

local function others_lines(out, others)
  local near, far, hosts, paths = 0, 0, 0, 0
  for _, other in ipairs(others) do
    if is_near(other) and near < NEAR_MOST then
      near = near + 1
      out("", ("%d. %s: %s"):format(other.rank, route_text(other), why_not(other)))
    else
      far = far + 1
      if other.miss == "host" then hosts = hosts + 1 elseif other.miss == "path" then paths = paths + 1 end
    end
  end
  if far == 0 then return end
  local kinds = {}
  if hosts > 0 then kinds[#kinds + 1] = ("host differs: %d"):format(hosts) end
  if paths > 0 then kinds[#kinds + 1] = ("path differs: %d"):format(paths) end
  if far - hosts - paths > 0 then kinds[#kinds + 1] = ("others: %d"):format(far - hosts - paths) end
  out("", ("%s%d %s (%s)"):format(near > 0 and "and " or "", far, far == 1 and "other" or "others", table.concat(kinds, ", ")))
end

local function asked_lines(out, indent, list)
  for _, asked in ipairs(list or {}) do out("", ("%swould ask %s %s (played: 200)"):format(indent, asked.method, asked.url)) end
end

local function step_lines(out, label, i, step)
  local text = step.outcome
  if step.status then text = ("%s %d"):format(text, step.status) end
  local changed = changes_text(step.request)
  if changed ~= "" then text = ("%s; request: %s"):format(text, changed) end
  if step.waited then text = ("%s; waited %s"):format(text, seconds(step.waited)) end
  out(label, ("%d. %s: %s"):format(i, step.name, text))
  asked_lines(out, "   ", step.asked)
end

local function retry_text(retry)
  if retry.attempts <= 1 then return "none (one that could not connect goes to another endpoint)" end
  local on = {}
  for _, name in ipairs { "connect", "reset", "timeout" } do
    if retry[name] then on[#on + 1] = name end
  end
  for _, status in ipairs(retry.statuses) do on[#on + 1] = tostring(status) end
  if #on > 12 then
    for i = #on, 13, -1 do on[i] = nil end
    on[#on + 1] = "..."
  end
  return ("%d attempts on %s%s%s"):format(retry.attempts, table.concat(on, ", "), retry.non_idempotent and ", any method" or "",
    retry.hedge > 0 and (", a second one after %s"):format(seconds(retry.hedge)) or "")
end

local function upstream_lines(out, label, upstream)
  local key = upstream.hash_on and (" by %s%s"):format(upstream.hash_on, upstream.hash_name and ":" .. upstream.hash_name or "") or ""
  out(label, ("upstream %s (%s), %s%s"):format(quoted(upstream.name), upstream.source or "", upstream.balance, key))
  if upstream.picked then
    out("", ("endpoint %s"):format(upstream.picked))
  else
    local list = {}
    for i, endpoint in ipairs(upstream.endpoints) do
      list[i] = endpoint.address .. (endpoint.weight ~= 1 and (" weight %d"):format(endpoint.weight) or "")
        .. (endpoint.backup and " backup" or "")
    end
    out("", ("one of %s"):format(table.concat(list, ", ")))
  end
  local t = upstream.timeouts
  out("", ("timeouts connect %s, first byte %s, idle %s, total %s"):format(seconds(t.connect), seconds(t.first_byte), seconds(t.idle),
    seconds(t.total)))
  out("", "retries " .. retry_text(upstream.retry))
  local more = {}
  for _, name in ipairs { "breaker", "active", "passive" } do
    if upstream[name] then more[#more + 1] = name == "breaker" and name or name .. " health" end
  end
  if upstream.concurrency > 0 then more[#more + 1] = ("at most %d at a time"):format(upstream.concurrency) end
  if more[1] then out("", table.concat(more, ", ")) end
end

local function target_lines(out, told)
  local target = told.target
  if target.kind == "answer" and not target.upstream then
    out("target", ("answer %d"):format(target.status))
  elseif target.kind == "split" then
    local arms = {}
    for i, share in ipairs(target.shares) do arms[i] = ("%s %.3g%%"):format(share.to, share.percent) end
    out("target", "split by chance: " .. table.concat(arms, ", "))
  elseif target.kind == "script" then
    local what = target.failed and ": failed" or target.answered and (": answered %d"):format(target.answered) or ""
    out("target", target.text .. what .. (target.waited and ("; waited %s"):format(seconds(target.waited)) or ""))
    asked_lines(out, "", target.asked)
  end
  if target.upstream then
    upstream_lines(out, (target.kind == "split" or target.kind == "script") and "" or "target", target.upstream)
  end
end

---@param told table
---@return string
return function(told)
  local lines = {}
  local function out(label, text)
    lines[#lines + 1] = (("%-11s%s"):format(label, text):gsub("%s+$", ""))
  end
  local request = told.request
  out("request", ("%s %s"):format(request.method, request.target))
  out("", ("host %s, client %s"):format(request.host ~= "" and request.host or "-", request.client_ip))
  if request.path then
    out("", ("path %s%s%s"):format(request.path, request.raw_path and (" (normalised from %s)"):format(request.raw_path) or "",
      request.query and request.query ~= "" and ", query " .. request.query or ""))
  end
  if told.asterisk then out("answer", "OPTIONS * is about the gateway itself, and no route's") end
  if told.route then
    out("route", route_text(told.route) .. (told.route.name and ", named " .. quoted(told.route.name) or ""))
    local params = {}
    for i, param in ipairs(told.route.params or {}) do params[i] = ("%s = %s"):format(param.name, quoted(param.value)) end
    if params[1] then out("", "parameters " .. table.concat(params, ", ")) end
  end
  if told.refused then
    local allow = told.refused.allow and "; Allow: " .. told.refused.allow or ""
    out("refused", ("%d %s%s"):format(told.refused.status, told.refused.reason, allow))
  end
  if told.others and told.others[1] then
    local from = #lines + 1
    others_lines(out, told.others)
    if lines[from] then lines[from] = ("%-11s%s"):format("not taken", lines[from]:sub(12)) end
  end
  for i, limit in ipairs(told.limits or {}) do
    out(i == 1 and "limits" or "", ("%s: %sadmits, while its quota lasts"):format(limit.text,
      limit.key and ("key %s, "):format(limit.key) or ""))
  end
  for i, step in ipairs(told.chain or {}) do step_lines(out, i == 1 and "chain" or "", i, step) end
  if told.target and (told.upstream_request or told.target.kind ~= "upstream") then target_lines(out, told) end
  for i, line in ipairs(told.upstream_request or {}) do out(i == 1 and "sent" or "", line) end
  if told.upstream_request then
    out("played", ("%d from the backend%s"):format(told.played, told.tries > 1 and (", tried %d times"):format(told.tries) or ""))
  end
  local back = {}
  for i = #(told.chain or {}), 1, -1 do
    local step = told.chain[i]
    local changed = changes_text(step.response)
    if changed ~= "" then back[#back + 1] = ("%d. %s: %s"):format(i, step.name, changed) end
  end
  for i, line in ipairs(back) do out(i == 1 and "way back" or "", line) end
  out("status", told.status > 0 and ("%d%s"):format(told.status, told.error and ": " .. told.error or "") or (told.error or "no answer"))
  for i, line in ipairs(told.response or {}) do out(i == 1 and "response" or "", line) end
  for i, problem in ipairs(told.problems or {}) do out(i == 1 and "said" or "", (problem:gsub("\n", "\n           "))) end
  return table.concat(lines, "\n") .. "\n"
end
