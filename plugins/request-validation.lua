-- Requests that are not what the backend expects, refused before it sees them: JSON bodies, queries and header fields by JSON Schema.

local gateway = require "gateway"

local json, json_schema = gateway.json, gateway.json_schema

-- A schema as a table, or as JSON text.
local function compiled(given)
  if type(given) == "string" then
    local decoded, problem = json.decode(given)
    if decoded == nil then return nil, "it is no JSON: " .. tostring(problem) end
    given = decoded
  end
  if type(given) ~= "table" and type(given) ~= "boolean" then return nil, "expected a JSON Schema, as a table or as JSON text" end
  local schema, problem = json_schema.compile(given)
  return schema, problem, given
end

local function schema_field(description, example)
  return {
    type = "any", description = description, example = example,
    check = function(given)
      local schema, problem = compiled(given)
      if not schema then return problem end
    end,
  }
end

-- What a field's text is as a value of the type that the schema wants: texts are all that queries and header fields know.
local function value_of(text, wanted)
  local kind = type(wanted) == "table" and wanted.type
  if kind == "integer" or kind == "number" then
    return text:find("^%-?%d+%.?%d*[eE]?[+-]?%d*$") and tonumber(text) or text
  elseif kind == "boolean" then
    if text == "true" then return true end
    if text == "false" then return false end
  end
  return text
end

-- A list of { name, text } as an object for the schema. A name that is repeated where no list is wanted could be read in two ways: nil and
-- the name.
local function object_of(fields, properties)
  local out, seen = {}, {}
  for _, field in ipairs(fields) do
    local name, text = field[1], field[2]
    local wanted = properties[name]
    if type(wanted) == "table" and wanted.type == "array" then
      local list = out[name] or json.array {}
      list[#list + 1] = value_of(text, wanted.items)
      out[name] = list
    elseif seen[name] then
      return nil, name
    else
      out[name] = value_of(text, wanted)
    end
    seen[name] = true
  end
  return out
end

local function unescaped(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function query_fields(query)
  local out = {}
  for field in query:gmatch("[^&]+") do
    local name, text = field:match("^([^=]*)=?(.*)$")
    out[#out + 1] = { unescaped(name), unescaped(text) }
  end
  return out
end

local function media_type(field)
  return field and field:match("^%s*([^;%s]+)"):lower() or nil
end

return {
  name = "request-validation",
  version = "1.0.0",
  description = "Holds JSON bodies, queries and header fields to a JSON Schema, and refuses what does not fit, with what is wrong.",
  example = { body = { type = "object", required = { "id" }, properties = { id = { type = "integer" } } } },
  schema = {
    body = schema_field("JSON Schema of the body, as a table or as JSON text",
      { type = "object", required = { "id" }, properties = { id = { type = "integer" } } }),
    query = schema_field("JSON Schema of the query as an object; texts become the numbers, booleans and lists that it wants",
      { properties = { page = { type = "integer", minimum = 1 } }, additionalProperties = false }),
    headers = schema_field("JSON Schema of the header fields as an object, names in lower case",
      { required = { "x-tenant" } }),
    methods = { type = "list", of = "string", default = { "POST", "PUT", "PATCH" }, description = "methods whose bodies are looked at" },
    required = { type = "boolean", default = true, description = "an empty body is refused, too" },
    content_types = { type = "list", of = "string", default = { "application/json" }, min_items = 1,
      description = "the content types that bodies may have (415); application/json stands for +json, too" },
    max_body = { type = "size", default = "1MB", description = "longer bodies are refused (413)" },
    depth = { type = "integer", min = 1, max = 256, default = 64, description = "how deep a body may be nested" },
    status = { type = "integer", min = 400, max = 499, default = 400, description = "status of the answer to those who are refused" },
    verbose = { type = "boolean", default = true, description = "tell the client what is wrong; never the value itself" },
  },
  one_required = { "body", "query", "headers" },
  new = function(config)
    local status, verbose, max_body, depth, required = config.status, config.verbose, config.max_body, config.depth, config.required
    local methods, types, json_too = {}, {}, false
    for _, method in ipairs(config.methods) do methods[method:upper()] = true end
    for _, name in ipairs(config.content_types) do
      types[name:lower()] = true
      if name:lower() == "application/json" then json_too = true end
    end
    local options = { depth = depth, unique = true }

    local function prepared(given)
      if given == nil then return nil end
      local schema, _, table_ = compiled(given)
      return schema, type(table_) == "table" and table_.properties or {}
    end
    local body_schema = prepared(config.body)
    local query_schema, query_properties = prepared(config.query)
    local headers_schema, header_properties = prepared(config.headers)

    local function refuse(where, errors)
      if not verbose then return gateway.respond(status, { error = "the request is not valid" }) end
      local list = {}
      for i, one in ipairs(errors) do
        list[i] = type(one) == "table" and { pointer = one.pointer, keyword = one.keyword, message = one.message } or { message = one }
      end
      return gateway.respond(status, { error = ("the %s is not valid"):format(where), errors = json.array(list) })
    end

    -- nil, or the refusal.
    local function held_to(schema, properties, fields, where)
      local object, twice = object_of(fields, properties)
      if not object then return refuse(where, { ("%q stands there more than once"):format(twice) }) end
      local good, errors = schema:validate(object)
      if not good then return refuse(where, errors) end
      return nil
    end

    local function body_problem(request)
      local kind = media_type(request.headers["content-type"])
      local body, problem = request:body(max_body)
      if not body then return gateway.respond(problem == "too large" and 413 or 400, { error = "the body: " .. problem }) end
      if body == "" then
        if required then return refuse("body", { "it is empty" }) end
        return nil
      end
      if not kind or not (types[kind] or json_too and kind:find("%+json$")) then
        return gateway.respond(415, { error = "expected a body of " .. table.concat(config.content_types, " or ") })
      end
      local value, wrong = json.decode(body, options)
      if value == nil then return refuse("body", { "it is no JSON: " .. tostring(wrong) }) end
      local good, errors = body_schema:validate(value)
      if not good then return refuse("body", errors) end
      return nil
    end

    return function(request, next)
      if query_schema then
        local refusal = held_to(query_schema, query_properties, query_fields(request.query), "query")
        if refusal then return refusal end
      end
      if headers_schema then
        local fields = {}
        for name, text in request.headers:each() do fields[#fields + 1] = { name:lower(), text } end
        local refusal = held_to(headers_schema, header_properties, fields, "head")
        if refusal then return refusal end
      end
      if body_schema and methods[request.method] then
        local refusal = body_problem(request)
        if refusal then return refusal end
      end
      return next()
    end
  end,
}
