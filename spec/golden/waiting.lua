-- What waits, used wrongly.
try(function() gateway.sleep "5 miles" end)
local app = testing.app(function(g)
  try(function() g.sleep(1) end)
  try(function() g.all {} end)
  try(function() g.spawn(print) end)
  g.route "/" { to = g.respond(200), use = { function(request, next)
    try(function() g.sleep(1) end)
    try(function() g.sleep {} end)
    try(function() g.all(5) end)
    try(function() g.all { print, 5 } end)
    try(function() g.all { print, name = print } end)
    local many = {}
    for i = 1, 101 do many[i] = print end
    try(function() g.all(many) end)
    try(function() g.all { function() error "no luck" end } end)
    try(function() g.all { function() coroutine.yield() end } end)
    local sleeping = coroutine.wrap(function() g.sleep(1) end)
    local waits = coroutine.wrap(function() g.sleep(1) end)
    try(function() g.all { function() waits() end, function() waits() end } end)
    try(function() sleeping() sleeping() end)
    try(function() coroutine.wrap(function() error "inside" end)() end)
    try(function() request:finally(5) end)
    try(function() g.spawn "f" end)
    try(function() g.single_flight(5, print) end)
    try(function() g.single_flight("k", 5) end)
    try(function() g.single_flight("k", print, { timeout = "x" }) end)
    try(function() g.single_flight("k", function() error "no luck in the air" end) end)
    try(function() g.spawn(print, { timeout = 0 }) end)
    request:finally(function()
      try(function() request:finally(print) end)
      try(function() g.sleep(1) end)
    end)
    request:finally(function() error "no luck at the end" end)
    for i = 3, 100 do request:finally(function() end) end
    try(function() request:finally(print) end)
    return next()
  end } }
end)
local response = app:get "/"
say("status: " .. response.status)
for _, line in ipairs(app.log) do
  if line.level ~= "info" then say(("%s: %s"):format(line.message, line.error or "")) end
end
