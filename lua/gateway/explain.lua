-- `gateway explain`: what a script would do with one request, told without asking anybody.

local check = require "gateway.check"
local dry_run = require "gateway.dry_run"
local explain_text = require "gateway.explain_text"
local json = require "gateway.json"

local USAGE = 2

-- ---- the words ----

local function wrong(message)
  io.stderr:write("gateway explain: ", message, "\ntry: gateway explain --help\n")
  return USAGE
end

local takes = { ["-H"] = "header", ["--header"] = "header", ["-d"] = "body", ["--data"] = "body", ["--from"] = "from",
  ["--response"] = "response" }

-- { script =, method =, url =, headers =, body =, from =, response =, json = }; or nil and what is wrong.
local function parse(words)
  local out, plain, i = { headers = {}, from = "127.0.0.1" }, {}, 1
  while words[i] do
    local word = words[i]
    local name, value = word:match("^(%-%-[%w-]+)=(.*)$")
    local option = takes[name or word]
    if word == "--json" then
      out.json = true
    elseif option then
      if not name then
        i = i + 1
        value = words[i]
        if not value then return nil, ("%s: a value is expected behind it"):format(word) end
      end
      if option == "header" then
        local field, text = value:match("^([^:%s]+):[ \t]*(.-)[ \t]*$")
        if not field or not check.header_name(field) or not check.header_value(text) then
          return nil, ("-H: expected \"Name: value\", found %q"):format(value)
        end
        table.insert(out.headers, { field, text })
      elseif option == "response" then
        local status = tonumber(value)
        if not status or status % 1 ~= 0 or status < 200 or status > 599 then
          return nil, ("--response: expected a status from 200 to 599, found %q"):format(value)
        end
        out.response = status
      else
        out[option] = value
      end
    elseif word:find("^%-.") then
      return nil, ("unknown option %q"):format(word)
    else
      plain[#plain + 1] = word
    end
    i = i + 1
  end
  out.script = table.remove(plain, 1)
  if not out.script then return nil, "a SCRIPT and a URL are expected" end
  if #plain == 2 then out.method = table.remove(plain, 1) end
  if #plain ~= 1 then return nil, "expected SCRIPT [METHOD] http://HOST/PATH" end
  out.url = plain[1]
  out.method = out.method or (out.body and "POST" or "GET")
  return out
end

local function target_of(url)
  local scheme, host, rest = url:match("^(%a+)://([^/?#]+)([^#]*)")
  if not scheme or (scheme:lower() ~= "http" and scheme:lower() ~= "https") then
    return nil, ("expected a URL such as http://example.com/path, found %q"):format(url)
  end
  if rest == "" or rest:sub(1, 1) == "?" then rest = "/" .. rest end
  return host, rest
end

-- ---- what there is to say ----

local function route_of(run, index)
  local declared = run.data.routes[index]
  return { index = index, pattern = declared.pattern, name = declared.name ~= declared.pattern and declared.name or nil,
    host = declared.host, source = declared.source, methods = declared.methods }
end

local function others_of(run, judged)
  local out, taken = {}, false
  for rank, candidate in ipairs(judged.candidates) do
    if candidate.index == judged.route then
      taken = true
    else
      local other = route_of(run, candidate.index)
      other.rank, other.before = rank, not taken and judged.route ~= nil
      other.miss = candidate.miss or "behind"
      for _, name in ipairs { "segment", "expected", "found", "header" } do other[name] = candidate[name] end
      if candidate.parameter then other.expected = ":" .. other.expected end
      if other.header then other.found = other.found and dry_run.shown(other.header, other.found) end
      out[#out + 1] = other
    end
  end
  return out
end

local function cookie_of(headers, name)
  for _, field in ipairs(headers) do
    if field[1]:lower() == "cookie" then
      local value = (";" .. field[2]):match("[; ]" .. name:gsub("%p", "%%%0") .. "=([^;]*)")
      if value then return value end
    end
  end
  return nil
end

local function header_of(headers, name)
  local out
  for _, field in ipairs(headers) do
    if field[1]:lower() == name:lower() then out = out and out .. ", " .. field[2] or field[2] end
  end
  return out
end

-- What a limit in C goes by, for this request: text, and whether it was left out (then it is the address).
local function key_of(limit, asked, judged, client_ip, route)
  local by, name = limit.by, limit.by_name
  if by == "none" then return nil end
  if by == "path" then return judged.path end
  if by == "route" then return route.name end
  local key
  if by == "header" then key = header_of(asked.headers, name) end
  if by == "cookie" then key = cookie_of(asked.headers, name) end
  if by == "query" then key = ("&" .. (judged.query or "")):match("&" .. name:gsub("%p", "%%%0") .. "=([^&]*)") end
  if key and key ~= "" then return dry_run.shown(name, key) end
  local ip = client_ip:find(":", 1, true) and client_ip .. " (its /64)" or client_ip
  return by == "ip" and ip or ("%s (there is no %s %s)"):format(ip, by, name)
end

local function limits_of(run, outcome, asked, client_ip)
  local out = {}
  for i, place in ipairs(outcome.route.limits or {}) do
    local limit = run.data.limits_used[place + 1]
    out[i] = { text = outcome.route.chain_texts[i], key = key_of(limit, asked, outcome.judged, client_ip, outcome.route), admits = true }
  end
  return out
end

local function chain_of(run, outcome)
  local out = {}
  local route = outcome.route
  local skip = #(route.limits or {})
  local stopped = false
  for i, text in ipairs(route.chain_texts or {}) do
    local step = outcome.steps[i - skip]
    if i > skip then
      local said = { name = text }
      if not step then
        said.outcome = stopped and "not reached" or "not run"
      else
        said.request, said.response, said.waited = step.request, step.response, step.waited
        said.asked = step.asked[1] and step.asked or nil
        if not step.ended then
          said.outcome, stopped = "failed", true
        elseif step.answered and not step.nexts then
          said.outcome, said.status, stopped = "answered", step.answered, true
        elseif step.answered then
          said.outcome, said.status = "answered in place of the response", step.answered
        else
          said.outcome = "passed on"
        end
      end
      out[#out + 1] = said
    end
  end
  local decided = route.target.kind == "script" and outcome.steps[#out + 1]
  return out, decided or nil, run
end

local function upstream_index(run, name)
  for i, upstream in ipairs(run.data.upstreams) do
    if upstream.name == name then return i end
  end
  return nil
end

-- Whether a pick by key has one: without the field that it is made of, it goes by chance.
local function has_key(facts, sent)
  local by, name = facts.hash_on, facts.hash_name
  if by == "header" then return sent.headers[name] ~= nil end
  if by == "cookie" then return (";" .. (sent.headers.cookie or "")):find("[; ]" .. name:gsub("%p", "%%%0") .. "=") ~= nil end
  if by == "query" then return ("&" .. sent.query):find("&" .. name:gsub("%p", "%%%0") .. "[=&]") ~= nil end
  return by ~= nil
end

local function upstream_of(run, name, picked, sent)
  local index = upstream_index(run, name)
  if not index then return nil end
  local facts = run.app._core:upstream_facts(index)
  facts.endpoints, facts.picked = {}, nil
  local numeric = true
  for k, endpoint in ipairs(run.data.upstreams[index].endpoints) do
    local address = run.named[index][k]
    facts.endpoints[k] = { address = address, weight = endpoint.weight, backup = endpoint.backup }
    numeric = numeric and address == endpoint.address
  end
  if #facts.endpoints == 1 then
    facts.picked = facts.endpoints[1].address
  elseif picked and sent and numeric and has_key(facts, sent) then
    facts.picked = picked
  end
  return facts
end

local function target_data(run, outcome, decided)
  local target = outcome.route.target
  local out = { kind = target.kind }
  if target.kind == "split" then
    local total = 0
    for _, share in ipairs(target.shares) do total = total + share.weight end
    out.shares = {}
    for i, share in ipairs(target.shares) do
      out.shares[i] = { to = share.name or ("answer %d"):format(share.answer.status), percent = share.weight / total * 100 }
    end
  elseif target.kind == "script" then
    out.text = target.text
    if decided then
      out.answered, out.waited = decided.answered, decided.waited
      out.asked = decided.asked[1] and decided.asked or nil
      if not decided.ended then out.failed = true end
    end
  elseif target.kind == "answer" then
    out.status = target.answer.status
  end
  local name = outcome.access.upstream
  if name then
    out.upstream = upstream_of(run, name, outcome.access.endpoint, outcome.asked[1])
  end
  return out
end

--- Everything that can be said of one request.
---@param run table
---@param asked { method: string, host: string, target: string, headers: string[][], body: string?, from: string }
---@return table
local function told(run, asked)
  local head, body = dry_run.bytes(asked)
  local outcome = run:ask(head, body, asked.method, asked.from)
  local judged = outcome.judged
  local client_ip = outcome.access.client_ip or asked.from
  local out = {
    request = { method = asked.method, target = dry_run.shown_target(asked.target), host = judged.host or asked.host, path = judged.path,
      query = judged.query and dry_run.shown_target("?" .. judged.query):sub(2), client_ip = client_ip },
    status = outcome.status, error = outcome.error, problems = outcome.problems[1] and outcome.problems or nil,
  }
  if judged.raw_path ~= judged.path then out.request.raw_path = judged.raw_path end
  if judged.status then
    out.refused = { status = judged.status, reason = judged.reason }
  elseif judged.asterisk then
    out.asterisk = true
  elseif not judged.route then
    out.refused = judged.allow and { status = 405, reason = "method not allowed", allow = judged.allow }
      or { status = 404, reason = "no route matches" }
  end
  if judged.candidates then out.others = others_of(run, judged) end
  if not judged.route then return out end
  out.route = route_of(run, judged.route)
  out.route.params = judged.params
  local response = outcome.response
  if response and response.status == 413 and not outcome.asked[1] and not outcome.steps[1] then
    out.refused = { status = 413, reason = outcome.error or "request body too large" }
    return out
  end
  out.limits = limits_of(run, outcome, asked, client_ip)
  local decided
  out.chain, decided = chain_of(run, outcome)
  out.target = target_data(run, outcome, decided)
  if outcome.asked[1] then
    out.upstream_request = dry_run.head_of(outcome.asked[1])
    out.tries = #outcome.asked
    out.played = run.options.status or 200
  end
  if response and response.status then
    local fields = {}
    for name, value in response.headers:each() do fields[#fields + 1] = ("%s: %s"):format(name, dry_run.shown(name, value)) end
    out.response = fields
  end
  return out
end

--- What json.encode makes of it: empty lists are lists.
local function plain(out)
  for _, name in ipairs { "others", "limits", "chain" } do
    if out[name] then out[name] = json.array(out[name]) end
  end
  for _, step in ipairs(out.chain or {}) do
    for _, name in ipairs { "request", "response", "asked" } do
      if step[name] then step[name] = json.array(step[name]) end
    end
  end
  if out.target and out.target.asked then out.target.asked = json.array(out.target.asked) end
  if out.route and out.route.params then out.route.params = json.array(out.route.params) end
  return out
end

---@param words string[]
---@return integer status
local function main(words)
  local options, problem = parse(words)
  if not options then return wrong(problem) end
  local host, target = target_of(options.url)
  if not host then return wrong(target) end
  if not options.method:find("^[%w!#$%%&'*+.^_`|~-]+$") then return wrong(("expected a method, found %q"):format(options.method)) end
  local run, problems = dry_run.load(options.script, { status = options.response })
  if not run then
    io.stderr:write((problems:gsub("\n*$", "\n")))
    return 1
  end
  local good, out = pcall(told, run, { method = options.method, host = host, target = target, headers = options.headers,
    body = options.body, from = options.from })
  if not good then
    run:close()
    return wrong((tostring(out):gsub("^[^\n]-:%d+: ", "")))
  end
  local text = options.json and json.encode(plain(out)) .. "\n" or explain_text(out)
  run:close()
  io.stdout:write(text)
  return 0
end

return main
