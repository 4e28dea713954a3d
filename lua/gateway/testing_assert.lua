-- Words for luassert, which say what was found and what the gateway had to say about it:
--
--     assert.response(response).has.status(200)          .has.header("X-Name", "value")   .has.header("X-Name")
--     assert.response(response).has.json { a = 1 }       .has.body("text")                .has.no.header("X-Name")
--     assert.response(response).is.complete()
--     assert.logged(app, "script error")                 assert.metric(app, "gateway_requests_total", { status = 200 }, 3)
--
-- Texts of log lines and bodies are looked for as they are, then as a pattern; a header is to be equal, or to fit the pattern.

local check = require "gateway.check"
local json = require "gateway.json"
local testing_json = require "gateway.testing_json"

local good, luassert = pcall(require, "luassert")
if not good then return {} end -- no busted: the words are not needed
local say = require "say"

local POSITIVE, NEGATIVE = "assertion.gateway.positive", "assertion.gateway.negative"
say:set(POSITIVE, "%s")
say:set(NEGATIVE, "%s")

-- What luassert is to say when the assertion fails.
local function tell(arguments, text)
  for i = 2, arguments.n or #arguments do arguments[i] = nil end
  arguments[1], arguments.n, arguments.nofmt = text, 1, { true }
end

local function context(response)
  local app = rawget(response, "app")
  local out = ""
  local body = rawget(response, "body")
  if body and body ~= "" then out = "\nthe body is " .. (#body > 500 and body:sub(1, 500) .. "..." or body) end
  if rawget(response, "error") then out = out .. "\nthe connection: " .. rawget(response, "error") end
  if app and app._explain then out = out .. app:_explain() end
  return out
end

local function is_response(value)
  return type(value) == "table" and rawget(value, "headers") ~= nil and rawget(value, "body") ~= nil
end

luassert:register("modifier", "response", function(state, arguments, level)
  if arguments then -- as assert.response(r); in a chain of words it comes again without
    if not is_response(arguments[1]) then
      error("assert.response: expected a response, found " .. check.describe(arguments[1]), (level or 1) + 1)
    end
    rawset(state, "response", arguments[1])
  end
  return state
end)

local function register(name, judge)
  luassert:register("assertion", name, function(state, arguments, level)
    local response = rawget(state, "response")
    if not response then error(("%s: of what? Write assert.response(response).has.%s(...)"):format(name, name), (level or 1) + 1) end
    local fits, text = judge(response, arguments, (level or 1) + 1)
    tell(arguments, (state.mod and "expected " or "expected not ") .. text .. context(response))
    return fits
  end, POSITIVE, NEGATIVE)
end

local function matches(text, pattern)
  local fine, at = pcall(string.find, text, pattern)
  return fine and at ~= nil
end

local function found_text(text, wanted)
  return text:find(wanted, 1, true) ~= nil or matches(text, wanted)
end

register("status", function(response, arguments)
  local status = rawget(response, "status")
  return status == arguments[1], ("status %s, found %s"):format(tostring(arguments[1]), tostring(status or "none"))
end)

register("header", function(response, arguments)
  local name, wanted = arguments[1], arguments[2]
  local value = rawget(response, "headers")[name]
  if wanted == nil then
    return value ~= nil, ("the header %s, found %s"):format(name, value and check.describe(value) or "no such field")
  end
  return value ~= nil and (value == tostring(wanted) or matches(value, tostring(wanted))),
    ("the header %s: %s, found %s"):format(name, check.describe(tostring(wanted)), value and check.describe(value) or "no such field")
end)

register("body", function(response, arguments)
  local body = rawget(response, "body")
  return found_text(body, tostring(arguments[1])), "the body " .. check.describe(tostring(arguments[1]))
end)

-- Whether `found` has everything that `wanted` has; with `all`, and nothing else.
local function same(wanted, found, path)
  if type(wanted) ~= "table" or type(found) ~= "table" or wanted == json.null or found == json.null then
    if wanted == found then return true end
    local function text(value) return type(value) == "table" and json.encode(value) or check.describe(value) end
    return false, ("%s: %s, found %s"):format(path == "" and "the value" or path, text(wanted), text(found))
  end
  for key, value in pairs(wanted) do
    local at = path == "" and tostring(key) or path .. "." .. tostring(key)
    local fits, why = same(value, found[key], at)
    if not fits then return false, why end
  end
  for key in pairs(found) do
    if wanted[key] == nil then return false, ("nothing at %s%s"):format(path == "" and "" or path .. ".", tostring(key)) end
  end
  return true
end

register("json", function(response, arguments)
  local value, problem = testing_json.decode(rawget(response, "body"))
  if problem then return false, "JSON, found " .. problem end
  if arguments.n == 0 or arguments[1] == nil then return true, "JSON" end
  local fits, why = same(arguments[1], value, "")
  return fits, "JSON with " .. (why or json.encode(arguments[1]))
end)

register("complete", function(response)
  return rawget(response, "error") == nil, "a complete response"
end)

local function describe_labels(labels)
  local out = {}
  for name, value in pairs(labels or {}) do out[#out + 1] = ("%s=%s"):format(name, tostring(value)) end
  table.sort(out)
  return #out > 0 and "{" .. table.concat(out, ",") .. "}" or ""
end

luassert:register("assertion", "logged", function(state, arguments, level)
  local app, wanted, lowest = arguments[1], arguments[2], arguments[3]
  if type(app) ~= "table" or not app.clock or type(wanted) ~= "string" then
    error("assert.logged: expected (app, text)", (level or 1) + 1)
  end
  local lines, fits = {}, false
  for _, record in ipairs(app.log) do
    local text = json.encode(record)
    lines[#lines + 1] = "  " .. text
    if not lowest or record.level == lowest then
      fits = fits or found_text(tostring(record.message), wanted) or found_text(text, wanted)
    end
  end
  tell(arguments, ("expected %sa log line with %s; the log is:\n%s"):format(state.mod and "" or "not ", check.describe(wanted),
    #lines > 0 and table.concat(lines, "\n") or "  (empty)"))
  return fits
end, POSITIVE, NEGATIVE)

luassert:register("assertion", "metric", function(state, arguments, level)
  local app, name, labels, wanted = arguments[1], arguments[2], arguments[3], arguments[4]
  if type(app) ~= "table" or not app.metrics or type(name) ~= "string" then
    error("assert.metric: expected (app, name, labels, value)", (level or 1) + 1)
  end
  if type(labels) == "number" then labels, wanted = nil, labels end
  local value = app.metrics:value(name, labels)
  local fits = value ~= nil and (wanted == nil or value == wanted)
  local there = {}
  for _, sample in ipairs(fits and {} or app.metrics:samples()) do
    if sample.name == name then there[#there + 1] = ("  %s%s %s"):format(name, describe_labels(sample.labels), tostring(sample.value)) end
  end
  tell(arguments, ("expected %s%s%s to be %s, found %s%s"):format(state.mod and "" or "not ", name, describe_labels(labels),
    wanted and tostring(wanted) or "there", value and tostring(value) or "none",
    #there > 0 and "\n" .. table.concat(there, "\n") or ""))
  return fits
end, POSITIVE, NEGATIVE)

return {}
