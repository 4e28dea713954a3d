gateway.admin(5)
gateway.admin {}
gateway.admin "a:2"
try(function() gateway.user {} end)
gateway.user { "a", groop = "b" }
