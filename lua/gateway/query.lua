-- Query strings as lists of pairs: what plugins need to look at one parameter and leave the others as they came.

local query = {}

local function unescape(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
---@param text string
---@return string
function query.escape(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The pairs of a query string, in their order; `raw` is each as it stood.
---@param text string
---@return { name: string, value: string?, raw: string }[]
function query.parse(text)
  local out = {}
  for raw in text:gmatch("[^&]+") do
    local name, value = raw:match("^([^=]*)=(.*)$")
    out[#out + 1] = { name = unescape(name or raw), value = value and unescape(value), raw = raw }
  end
  return out
end

--- A query string of pairs; those that have `raw` are written as they came.
---@param pairs_ { name: string, value: string?, raw: string? }[]
---@return string
function query.build(pairs_)
  local out = {}
  for i, pair in ipairs(pairs_) do
    out[i] = pair.raw or (query.escape(pair.name) .. (pair.value and "=" .. query.escape(pair.value) or ""))
  end
  return table.concat(out, "&")
end

--- The first value of a parameter; "" when it has none, nil when it is not there.
---@param text string
---@param name string
---@return string?
function query.get(text, name)
  for _, pair in ipairs(query.parse(text)) do
    if pair.name == name then return pair.value or "" end
  end
  return nil
end

return query
