-- What people write on their first day, while requests run.
try(function() gateway.log "hello" end)
try(function() gateway.log.warning "hello" end)
try(function() gateway.log.info { user = "ada" } end)

local function failing(name, options)
  local broken = testing.app(function(g)
    options.to = options.to or g.respond(200)
    g.upstream "u" { testing.upstream { status = 200 } }
    g.route "/" (options)
  end)
  broken:get "/"
  for _, line in ipairs(broken.log) do
    if line.level ~= "info" then say(("%s: %s: %s"):format(name, line.message, line.error or "")) end
  end
end
failing("a dot for a colon", { use = { function(request, next)
  local body = request.body()
  return body and next()
end } })
failing("a dot at a response", { use = { function(_, next)
  local response = next()
  local body = response.body()
  return body and response
end } })
failing("a dot at headers", { use = { function(request, next)
  local all = request.headers.all("x")
  return all and next()
end } })
failing("to gives a name", { to = function() return "u" end })
failing("a response left by a tail call", { use = { function() return gateway.respond "hello" end } })
