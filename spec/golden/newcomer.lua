-- What people write on their first day.
gateway.listen "http://0.0.0.0:8080"
gateway:listen ":8080"
gateway.upstream "users" { "10.0.0.1:80" }
gateway.route "/address" { to = "http://10.0.0.1:80" }
gateway.route "/a b" { to = "10.0.0.1:80" }
gateway.route "/methods" { to = "users", methods = { "get" } }
gateway.route "/use" { to = "users", use = { gateway.plugin } }
gateway.route "/plugin" { to = "users", use = { gateway.plugin "global" } }
