gateway.listen "a:1"
gateway.upstream "users" { "a:1" }
gateway.route(5) { to = "users" }
gateway.route "/forgotten"
gateway.route("/five", 5)
gateway.route "/to" {}
gateway.route "/typo" { to = "usres" }
gateway.route "/number" { to = 5 }
gateway.route "/option" { to = "users", metods = "GET" }
gateway.route "/methods" { to = "users", methods = {} }
gateway.route "/methods2" { to = "users", methods = { "get", 5 } }
gateway.route "/methods3" { to = "users", methods = 5 }
gateway.route "/headers" { to = "users", headers = { ["a b"] = "x", A = "1", a = "2" } }
gateway.route "/headers2" { to = "users", headers = { x = 5 } }
gateway.route "/use" { to = "users", use = 5 }
gateway.route "/use2" { to = "users", use = { "cors", { print }, {}, name = print } }
gateway.use "cors"
gateway.respond(99)
gateway.respond(200, print)
gateway.respond(200, { f = print })
gateway.respond(200, "x", 5)
gateway.respond(200, "x", { ["a b"] = "c" })
gateway.respond(200, "x", { ["Content-Length"] = 5, ["X-A"] = "a\nb", ["X-B"] = { "a\nb" } })
gateway.respond(200).headers:add("a b", "c")
gateway.respond(200).body = print
gateway.respond(200).headers = {}
gateway.respond(200).stauts = 5
gateway.redirect("", 302)
gateway.redirect("/", 200)
gateway.split {}
gateway.split(5)
gateway.split { { "users", weigth = 5 } }
gateway.split { { "users", weight = 0 } }
gateway.route "/split" { to = gateway.split { 5, { "usres" }, { gateway.split { "users" } } } }
local loop = {}
loop.loop = loop
gateway.respond(200, loop)
gateway.respond(200, { [true] = 5 })
