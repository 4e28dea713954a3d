-- Changes the answer on its way to the client: header fields, the status, and JSON bodies.

local gateway = require "gateway"
local template = require "gateway.template"
local transform = require "gateway.transform"

return {
  name = "response-transform",
  version = "1.0.0",
  description = "Removes, renames, sets and adds header fields of the answer, maps its status, and changes members of JSON bodies.",
  example = { headers = { remove = { "Server" }, set = { ["X-Route"] = "${route}" } } },
  schema = {
    headers = { type = "record", fields = transform.header_fields("the answer"), description = "header fields",
      example = { remove = { "Server" }, set = { ["X-Route"] = "${route}" } } },
    status = { type = "map", of = { type = "integer", min = 200, max = 599 }, default = {}, check = function(map)
      for from in pairs(map) do
        if not from:find("^[2-5]%d%d$") then return ("expected statuses such as [\"404\"] = 410, found %q"):format(from) end
      end
    end, description = "which status becomes which", example = { ["404"] = 410 } },
    json = { type = "record", fields = {
      remove = { type = "list", of = "string", default = {}, description = "members by path: \"user.password\", \"items.1\"" },
      set = { type = "map", of = "any", default = {}, description = "values by path; strings may have ${...} in them" },
      most = { type = "size", default = "1MB", max = 64 * 1024 * 1024,
        description = "longest body that is looked at; a longer one passes as it is" },
    }, description = "bodies of type application/json (and +json), held whole for it", example = { remove = { "user.password" } } },
    only = { type = "list", of = { type = "integer", min = 200, max = 599 }, description = "only answers with these statuses" },
  },
  check = function(config)
    if not config.headers and not config.json and not next(config.status) then
      return "expected headers, status or json: nothing would be changed"
    end
    for path, given in pairs(config.json and config.json.set or {}) do
      local problem = type(given) == "string" and template.check(given)
      if problem then return "json", ("set[%q]: %s"):format(path, problem) end
    end
  end,
  new = function(config)
    local headers = config.headers and transform.headers(config.headers)
    local change = config.json and transform.json(config.json.remove, config.json.set)
    local most = config.json and config.json.most
    local only
    for _, status in ipairs(config.only or {}) do
      only = only or {}
      only[status] = true
    end
    local statuses, maps = {}, false
    for from, to in pairs(config.status) do statuses[tonumber(from)], maps = to, true end

    local function json_body(request, response)
      local kind = response.headers["Content-Type"]
      if not kind or not (kind:lower():find("^application/json") or kind:lower():find("^application/[%w.+-]*%+json"))
        or response.headers["Content-Encoding"] then
        return
      end
      local length = tonumber(response.headers["Content-Length"])
      if request.method == "HEAD" or (length and length > most) then return end
      local body, problem = response:body(most)
      if not body then
        gateway.log.warn("response-transform: a body could not be read", { error = problem })
        return
      end
      local tree, why = gateway.json.decode(body)
      if type(tree) ~= "table" or tree == gateway.json.null then
        if why then gateway.log.warn("response-transform: a body is no JSON", { error = why }) end
        return
      end
      response.body = gateway.json.encode(change(tree, request))
      response.headers["ETag"] = nil -- it was of another body
      response.headers["Content-MD5"], response.headers["Digest"] = nil, nil
    end

    return function(request, next)
      local response = next()
      if only and not only[response.status] then return response end
      if change then json_body(request, response) end
      if headers then headers(response.headers, request) end
      if maps then response.status = statuses[response.status] or response.status end
      return response
    end
  end,
}
