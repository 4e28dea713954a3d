-- Changes the request on its way to the backend: header fields and query parameters.

local query = require "gateway.query"
local template = require "gateway.template"
local transform = require "gateway.transform"

local value = { type = "string", check = template.check }

return {
  name = "request-transform",
  version = "1.0.0",
  description = "Removes, renames, sets and adds header fields and query parameters of the request, with values taken from it.",
  example = { headers = { remove = { "Cookie" }, set = { ["X-Real-IP"] = "${client_ip}" } } },
  schema = {
    headers = { type = "record", fields = transform.header_fields("the request"), description = "header fields",
      example = { set = { ["X-Tenant"] = "${param.tenant}" }, remove = { "Cookie" } } },
    query = { type = "record", fields = {
      remove = { type = "list", of = "string", default = {}, description = "parameters that are taken out" },
      rename = { type = "map", of = "string", default = {}, description = "old name to new name" },
      set = { type = "map", of = value, default = {}, description = "put in, whether it is there or not" },
      add = { type = "map", of = value, default = {}, description = "put in where it is not there" },
      only = { type = "list", of = "string", description = "nothing but these goes on" },
    }, description = "query parameters", example = { add = { version = "2" } } },
  },
  check = function(config)
    if not config.headers and not config.query then return "expected headers or query: nothing would be changed" end
  end,
  new = function(config)
    local headers = config.headers and transform.headers(config.headers)
    local q = config.query
    local function names(list)
      local out = {}
      for _, name in ipairs(list) do out[name] = true end
      return out
    end
    local function fills(map)
      local out, sorted = {}, {}
      for name in pairs(map) do sorted[#sorted + 1] = name end
      table.sort(sorted)
      for i, name in ipairs(sorted) do out[i] = { name = name, fill = template.compile(map[name]) } end
      return out
    end
    local remove, only = q and names(q.remove), q and q.only and names(q.only)
    local set, add = q and fills(q.set), q and fills(q.add)

    local function change(request)
      local out, there = {}, {}
      for _, pair in ipairs(query.parse(request.query)) do
        local name = pair.name
        local to = q.rename[name]
        if to and not remove[name] then
          pair.name, pair.raw, name = to, nil, to
        end
        if not remove[name] and not q.set[name] and (not only or only[name]) then
          out[#out + 1] = pair
          there[name] = true
        end
      end
      for _, s in ipairs(set) do out[#out + 1] = { name = s.name, value = s.fill(request) } end
      for _, a in ipairs(add) do
        if not there[a.name] then out[#out + 1] = { name = a.name, value = a.fill(request) } end
      end
      request.query = query.build(out)
    end

    return function(request, next)
      if headers then headers(request.headers, request) end
      if q then change(request) end
      return next()
    end
  end,
}
