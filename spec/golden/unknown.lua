-- No upstream is declared at all.
gateway.listen "a:1"
gateway.route "/" { to = "users" }
gateway.use { gateway.plugin("mirror", { to = "shadow" }) }
