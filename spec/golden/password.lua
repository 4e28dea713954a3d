-- crypto.password.
gateway.listen "127.0.0.1:1"
local crypto = gateway.crypto
local HASH = "$2b$05$ojGfEq7gPedWulmjtFqK3eLv/kmAg0p2.kVO/yFcCaZGXXDZPGBZe"
try(function() local good = crypto.password(5, "x") return good end)
try(function() local good = crypto.password(HASH, nil) return good end)
try(function() local good = crypto.password(HASH, "x") return good end)
for _, hash in ipairs {
  "", ("x"):rep(300), "plain", "$2b$05$short", HASH:gsub("05", "31"), "$6$rounds=1$a$" .. ("x"):rep(86), "$6$a$short", "$y$short",
  "$argon2id$x", "$apr1$x$y", "$1$x$y", "$2x$x", "{SHA}x",
} do
  local _, problem = crypto.password(hash, "x")
  say(problem)
end
local app = testing.app(function(g)
  g.route "/" { to = g.respond(200), use = { function()
    say(tostring(crypto.password(HASH, "x")))
    return g.respond(200)
  end } }
end)
app:get "/"
