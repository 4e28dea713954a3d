-- gateway.fetch, used wrongly.
try(function() gateway.fetch "http://a/" end)
local app = testing.app(function(g)
  try(function() g.fetch "http://a/" end)
  local up = g.upstream "up" { "127.0.0.1:1" }
  g.route "/" { to = function()
    try(function() g.fetch() end)
    try(function() g.fetch(5) end)
    try(function() g.fetch({}) end)
    try(function() g.fetch("http://a/", "GET") end)
    try(function() g.fetch("http://a/", { tiemout = 1 }) end)
    try(function() g.fetch("http://a/", { method = 5 }) end)
    try(function() g.fetch("http://a/", { method = "CONNECT" }) end)
    try(function() g.fetch("http://a/", { method = "G ET" }) end)
    try(function() g.fetch("http://a/", { headers = "X-A: 1" }) end)
    try(function() g.fetch("http://a/", { headers = { ["X A"] = "1" } }) end)
    try(function() g.fetch("http://a/", { headers = { ["X-A"] = "a\r\nX-B: 1" } }) end)
    try(function() g.fetch("http://a/", { headers = { ["X-A"] = { "a", print } } }) end)
    try(function() g.fetch("http://a/", { headers = { ["Content-Length"] = 1 } }) end)
    try(function() g.fetch("http://a/", { headers = { Expect = "100-continue" } }) end)
    try(function() g.fetch("http://a/", { headers = { Host = "a b" } }) end)
    local many = {}
    for i = 1, 300 do many["X-" .. i] = "1" end
    try(function() g.fetch("http://a/", { headers = many }) end)
    try(function() g.fetch("http://a/", { body = print }) end)
    try(function() g.fetch("http://a/", { body = { print } }) end)
    try(function() g.fetch("http://a/", { timeout = "soon" }) end)
    try(function() g.fetch("http://a/", { timeout = 0 }) end)
    try(function() g.fetch("http://a/", { max_body = "much" }) end)
    try(function() g.fetch("http://a/", { path = "/" }) end)
    try(function() g.fetch(up, { path = 5 }) end)
    try(function() g.fetch(up, { key = 5 }) end)
    for _, url in ipairs { "", "a", "https://a/", "ftp://a/", "http://me@a/", "http://a b/", "http://a:0/", "http://:80/", "unix:x:/" } do
      say("gives: " .. select(2, g.fetch(url)))
    end
    say("gives: " .. select(2, g.fetch(up, { path = "a" })))
    say("gives: " .. select(2, g.fetch(up, { path = "/a b" })))
    local response = g.fetch "http://there.example/"
    try(function() return response.stauts end)
    say(tostring(response.status) .. response.body .. select(2, response:json()))
    local made
    response, made = g.fetch "http://refuses.example/"
    say("gives: " .. made)
    return g.respond(200)
  end }
end, { hosts = { ["there.example"] = testing.upstream { body = "hi" }, ["refuses.example"] = testing.upstream { refuse = true } } })
say("status: " .. app:get("/").status)
