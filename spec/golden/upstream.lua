gateway.listen "a:1"
gateway.upstream(5)
gateway.upstream "bad name" { "a:1" }
gateway.upstream "forgotten"
gateway.upstream("five", 5)
gateway.upstream "none" {}
gateway.upstream "twice" { "a:1" }
gateway.upstream "twice" { "a:1" }
gateway.upstream "endpoints" { 5, { 5 }, "https://a:1", "http://a:1/path", { "a:1", wieght = 3, weight = -1 }, "http://a" }
gateway.upstream "options" { "a:1", ballance = "hash", balance = "hsah", host = "a b", timeouts = { conect = 1, total = "x" }, pool = 5 }
local u = gateway.upstream "good" { "a:1" }
try(function() u.balance = "hash" end)
