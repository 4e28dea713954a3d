gateway.listen "a:1"
-- What middleware does wrong with a request and its response.
local kept, kept_response
local app = testing.app(function(g)
  g.route "/request" { to = g.respond(200), use = { function(request, next)
    kept = request
    try(function() return request.methd end)
    try(function() request.method = "GET" end)
    try(function() request.foo = 5 end)
    try(function() request.path = 5 end)
    try(function() request.path = "a?b" end)
    try(function() request.query = 5 end)
    try(function() request.query = "a b" end)
    try(function() request.headers = {} end)
    try(function() request.headers[5] = "x" end)
    try(function() request.headers["a b"] = "x" end)
    try(function() request.headers["X-A"] = "a\nb" end)
    try(function() request.headers["X-A"] = { "a\nb" } end)
    try(function() request.headers["X-A"] = print end)
    try(function() request.headers["Content-Length"] = "5" end)
    try(function() request.headers:add("X-A", "a\nb") end)
    try(function() request.headers:add("Connection", "close") end)
    try(function() request.cookies.a = "b" end)
    try(function() request.params.a = "b" end)
    try(function() request:body "5 miles" end)
    try(function() request:limit_body "5 miles" end)
    try(function() request.upstream = "nobody" end)
    try(function() request.upstream = 5 end)
    try(function() request.log["a b"] = 5 end)
    try(function() request.log.a = {} end)
    try(function() request.log.status = 5 end)
    try(function() for i = 1, 100 do request.log["field" .. i] = i end end)
    return next()
  end } }
  g.route "/response" { to = g.upstream "backend" { testing.upstream { status = 200, body = "hi" } }, use = { function(request, next)
    local response = next()
    kept_response = response
    try(function() return response.stauts end)
    try(function() response.status = 99 end)
    try(function() response.body = print end)
    try(function() response.headers = {} end)
    try(function() response.foo = 5 end)
    try(function() response.headers["X-A"] = "a\nb" end)
    try(function() response:body "5 miles" end)
    try(function() request.upstream = "backend" end)
    return response
  end } }
end)
app:get "/request"
app:get "/response"
try(function() return kept.path end)
try(function() return kept.headers end)
try(function() return kept_response.status end)

-- What ends a request with 500: the log says why.
local function failing(name, options)
  local broken = testing.app(function(g)
    options.to = options.to or g.respond(200)
    g.upstream "u" { testing.upstream { status = 200 } }
    g.route "/" (options)
  end)
  local response = broken:get "/"
  say(("%s: %d, %s"):format(name, response.status, response.body:match('"error":"[^"]*"') or response.body))
  for _, line in ipairs(broken.log) do
    if line.level ~= "info" then say(("  %s: %s"):format(line.message, line.error or "")) end
  end
end
failing("returned a number", { use = { function() return 5 end } })
failing("returned nothing", { use = { function() end } })
failing("returned a string behind next", { use = { function(_, next) next() return "x" end } })
failing("raised", { use = { function() error "no luck" end } })
failing("raised a table", { use = { function() error {} end } })
failing("to gives a number", { to = function() return 5 end })
failing("a wrong status", { use = { function() local response = gateway.respond(200) response.status = 99 return response end } })
failing("a wrong status later", { use = { function() return gateway.respond(1000) end } })
failing("declared while serving", { use = { function() gateway.route "/x" { to = "y" } end } })
failing("a plugin while serving", { use = { function() gateway.plugin "types" end } })
failing("a response's table", { use = { function() local response = gateway.respond(200, { f = print }) return response end } })
failing("a dictionary that is not there", { use = { function() gateway.shared "late" end } })
failing("what Lua says", { use = { function(request) return request.headers.x.y end } })

local function declared(name, f)
  local broken = testing.app(f)
  broken:get "/"
  for _, line in ipairs(broken.log) do
    if line.level ~= "info" then say(("%s: %s: %s"):format(name, line.message, line.error or "")) end
  end
end
declared("a limit's function", function(g)
  g.route "/" { to = g.respond(200), use = { function(_, next) return next() end, g.rate_limit { rate = 1, by = function() return {} end } } }
end)
declared("hash_on", function(g)
  local u = g.upstream "u" { testing.upstream { status = 200 }, balance = "hash", hash_on = function() return {} end }
  g.route "/" { to = u }
end)
declared("hash_on that is good", function(g)
  local u = g.upstream "u" { testing.upstream { status = 200 }, balance = "hash", hash_on = function() return "x" end }
  g.route "/" { to = u }
end)
testing.app(function(g)
  local early = g.counter("early", "x")
  try(function() early:inc() end)
  g.route "/" { to = g.respond(200) }
end)
