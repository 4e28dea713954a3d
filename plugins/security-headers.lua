-- Fields that tell browsers to be careful with what they get. What the backend says itself goes first, unless `override`.

local check = require "gateway.check"

local function value(description, default, example)
  return {
    type = "string", default = default, description = description, example = example,
    check = function(text)
      if not check.header_value(text) then return "expected what may stand in a header field" end
    end,
  }
end

return {
  name = "security-headers",
  version = "1.0.0",
  description = "Adds HSTS, a content security policy and the like to answers, and removes what tells too much.",
  example = { content_security_policy = "default-src 'self'" },
  schema = {
    hsts = { type = "duration", default = "365d", description = "how long browsers use https only (on answers over https); 0: not said" },
    hsts_subdomains = { type = "boolean", default = true, description = "for all subdomains, too" },
    hsts_preload = { type = "boolean", default = false, description = "may be put on browsers' lists, which is hard to undo" },
    content_security_policy = value("where scripts, styles, frames and the like may come from; empty: not said", "",
      "default-src 'self'; img-src 'self' data:"),
    content_security_policy_report_only = value("likewise, but only reported; empty: not said", ""),
    content_type_options = value("nosniff: a type is what the answer says it is; empty: not said", "nosniff"),
    frame_options = value("who may show it in a frame: DENY, SAMEORIGIN; empty: not said", "SAMEORIGIN"),
    referrer_policy = value("what following links tells of where they stood; empty: not said", "strict-origin-when-cross-origin"),
    permissions_policy = value("what of the device may be used; empty: not said", "", "camera=(), geolocation=()"),
    cross_origin_opener_policy = value("whether windows share a process; empty: not said", "", "same-origin"),
    cross_origin_embedder_policy = value("what may be embedded; empty: not said", "", "require-corp"),
    cross_origin_resource_policy = value("who may load it; empty: not said", "", "same-site"),
    remove = { type = "list", of = "string", default = { "X-Powered-By" }, description = "fields of the backend that are taken out" },
    override = { type = "boolean", default = false, description = "replace what the backend says itself" },
  },
  check = function(config)
    if config.hsts_preload and (config.hsts < 365 * 86400 or not config.hsts_subdomains) then
      return "hsts_preload", "expected hsts of a year at least and hsts_subdomains beside it, as the lists demand"
    end
    for _, name in ipairs(config.remove) do
      if not check.header_name(name) then return "remove", ("expected names of header fields, found %q"):format(name) end
    end
  end,
  new = function(config)
    local names, values = {}, {}
    local function say(name, text)
      if text ~= "" then names[#names + 1], values[#values + 1] = name, text end
    end
    say("Content-Security-Policy", config.content_security_policy)
    say("Content-Security-Policy-Report-Only", config.content_security_policy_report_only)
    say("X-Content-Type-Options", config.content_type_options)
    say("X-Frame-Options", config.frame_options)
    say("Referrer-Policy", config.referrer_policy)
    say("Permissions-Policy", config.permissions_policy)
    say("Cross-Origin-Opener-Policy", config.cross_origin_opener_policy)
    say("Cross-Origin-Embedder-Policy", config.cross_origin_embedder_policy)
    say("Cross-Origin-Resource-Policy", config.cross_origin_resource_policy)
    local hsts = config.hsts > 0 and ("max-age=%d%s%s"):format(config.hsts, config.hsts_subdomains and "; includeSubDomains" or "",
      config.hsts_preload and "; preload" or "")
    local override, remove = config.override, config.remove
    return function(request, next)
      local response = next()
      local headers = response.headers
      for i = 1, #remove do headers[remove[i]] = nil end
      for i = 1, #names do
        if override or not headers[names[i]] then headers[names[i]] = values[i] end
      end
      -- Over http it means nothing, and must not be said (RFC 6797 section 7.2).
      if hsts and request.scheme == "https" and (override or not headers["Strict-Transport-Security"]) then
        headers["Strict-Transport-Security"] = hsts
      end
      return response
    end
  end,
}
