-- Who says that it is a robot, by its User-Agent. This keeps out the honest ones, and the lazy.

local gateway = require "gateway"

-- Tools and crawlers that say who they are, matched in any case. Search engines are not among them.
local known = {
  [[\b(?:python-requests|python-urllib|aiohttp|scrapy|curl|wget|libwww-perl|go-http-client|java/|okhttp|httpclient|node-fetch|axios)\b]],
  [[\b(?:headlesschrome|phantomjs|puppeteer|playwright|selenium|slimerjs|splash)\b]],
  [[\b(?:ahrefsbot|semrushbot|mj12bot|dotbot|blexbot|petalbot|bytespider|gptbot|ccbot|claudebot|dataforseobot|serpstatbot)\b]],
  [[\b(?:nikto|sqlmap|nmap|masscan|zgrab|nuclei|wpscan|dirbuster|gobuster|acunetix|nessus|openvas)\b]],
}

-- One expression of many: a text is looked at once.
local function join(patterns)
  if #patterns == 0 then return nil end
  local parts = {}
  for i, pattern in ipairs(patterns) do parts[i] = "(?:" .. pattern .. ")" end
  return gateway.regex(table.concat(parts, "|"), "i")
end

return {
  name = "bot-detection",
  version = "1.0.0",
  description = "Refuses, or marks, requests whose User-Agent is that of a robot.",
  example = { action = "mark" },
  schema = {
    allow = { type = "list", of = "regex", default = {}, description = "agents that are let in whatever else they match; any case",
      example = { "^MonitoringBot/" } },
    deny = { type = "list", of = "regex", default = {}, description = "agents that are refused, beside the known ones; any case" },
    known = { type = "boolean", default = true, description = "refuse the tools, crawlers and scanners that this plugin knows" },
    empty = { type = "enum", one_of = { "allow", "deny" }, default = "allow", description = "requests without a User-Agent" },
    action = { type = "enum", one_of = { "refuse", "mark" }, default = "refuse",
      description = "refuse them, or send them on with the field `header`" },
    header = { type = "string", default = "X-Bot", description = "field that marks them for the backend: the word that was found" },
    status = { type = "integer", min = 400, max = 499, default = 403, description = "status of the answer to those who are refused" },
    log = { type = "boolean", default = false, description = "a line in the log for each" },
  },
  new = function(config)
    local allow = join(config.allow)
    local list = {}
    for _, pattern in ipairs(config.deny) do list[#list + 1] = pattern end
    if config.known then
      for _, pattern in ipairs(known) do list[#list + 1] = pattern end
    end
    local deny = join(list)
    local mark, header, status, deny_empty = config.action == "mark", config.header, config.status, config.empty == "deny"

    -- What of the agent says that it is a robot; nil: nothing does. One on which matching takes too long is taken for one.
    local function found(agent)
      if not agent or agent == "" then return deny_empty and "none" or nil end
      if allow and allow:test(agent) then return nil end
      if not deny then return nil end
      local captures, problem = deny:match(agent)
      if captures then return captures[0] ~= "" and captures[0] or "match" end
      return problem and "unmatchable" or nil
    end

    return function(request, next)
      if mark then request.headers[header] = nil end -- ours alone to say
      local word = found(request.headers["user-agent"])
      if not word then return next() end
      if config.log then gateway.log.info("robot", { agent = request.headers["user-agent"], matched = word }) end
      if not mark then return gateway.respond(status, { error = "not for robots" }) end
      request.headers[header] = word:sub(1, 64)
      return next()
    end
  end,
}
