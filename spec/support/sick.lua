--- Backends whose health a spec turns on and off, and gateways in front of them, all within one run.
--
--     sick.run({ script = [[gateway.route "/" { to = gateway.upstream "u" { "${a}", "${b}", health = ... } }]], backends = "ab" },
--       function(g, b)
--         b.a.healthy = false            -- /healthz answers 500 from here on
--         g:down(b.a)                    -- waits for the log line and gives it
--         ...
--       end)
--
-- A backend counts what it saw: probes (requests for /healthz), served (all others). They answer before the gateway starts, so that no
-- probe meets a backend that is not there yet.

local gateway = require "spec.support.gateway"
local peers = require "spec.support.peers"
local sys = require "spec.support.sys"

local sick = {}

--- A backend. `answer`, a function(request, conn) when it is set, answers probes; `respond` all other requests.
function sick.backend(name, at)
  local b = peers.listen(at)
  b.name, b.healthy, b.probes, b.served, b.well = name, true, 0, 0, 0
  b:answer(function(request, conn)
    if request.target == "/healthz" then
      b.probes = b.probes + 1
      if b.answer_probe then return b.answer_probe(request, conn) end
      if b.healthy then b.well = b.well + 1 end
      return { status = b.healthy and 200 or 500, body = b.healthy and "fine" or "sick" }
    end
    b.served = b.served + 1
    if b.respond then return b.respond(request, conn) end
    return { body = name }
  end)
  return b
end

local G = {}

local function is_change(message, address, cause)
  return function(line)
    return line.message == message and line.endpoint == address and (not cause or line.cause == cause)
  end
end

local function address_of(endpoint)
  return type(endpoint) == "table" and endpoint.at or endpoint
end

--- Waits for the n-th (1) log line that says that it is down, or up.
function G:down(endpoint, cause) return self:change("endpoint down", endpoint, cause) end
function G:up(endpoint, cause) return self:change("endpoint up", endpoint, cause) end
function G:change(message, endpoint, cause)
  local line, number = self:log_wait(is_change(message, address_of(endpoint), cause), message .. " " .. address_of(endpoint), self.from)
  self.from = number + 1 -- the next one is looked for behind it
  return line
end

--- How often the log says so.
function G:count(message, endpoint)
  return self:log_count(is_change(message, address_of(endpoint)))
end

--- What /status says of an endpoint (of an upstream; the first one that has it).
function G:endpoint(endpoint, upstream)
  for _, u in ipairs(self:status().upstreams) do
    for _, e in ipairs(u.endpoints) do
      if e.address == address_of(endpoint) and (not upstream or u.name == upstream) then return e, u end
    end
  end
end

--- Bodies of n answers, sorted and joined; each has to be a 200.
function G:bodies(n, path)
  local list, client = {}, self:client()
  for i = 1, n do
    local response = client:ask(path or "/")
    assert(response.status == 200, "status " .. response.status)
    list[i] = response.body
  end
  client:close()
  table.sort(list)
  return table.concat(list)
end

--- options: script (behind the prelude), backends ("ab": names, a character each), vars, workers, setup(backends), env.
function sick.run(options, f)
  peers.run(function()
    local backends, vars = {}, {}
    for name in (options.backends or ""):gmatch "." do
      backends[name] = sick.backend(name)
      vars[name], vars[name .. "_port"] = backends[name].at, backends[name].port
    end
    for name, value in pairs(options.vars or {}) do vars[name] = value end
    if options.setup then options.setup(backends, vars) end
    local g = gateway.start {
      vars = vars, workers = options.workers, env = options.env, open_files = options.open_files,
      script = "${prelude}\n" .. options.script,
    }
    local index = getmetatable(g).__index
    setmetatable(g, { __index = function(_, key) return G[key] or index[key] end })
    local ok, err = xpcall(f, function(e) return type(e) == "string" and debug.traceback(e, 2) or e end, g, backends)
    if not ok and g:running() then sys.kill(g.pid, sys.SIGKILL) end
    if ok then g:stop() end
    for _, backend in pairs(backends) do backend:close() end
    if not ok then error(err, 0) end
  end, { seconds = options.seconds })
end

return sick
