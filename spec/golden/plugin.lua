gateway.listen "a:1"
gateway.plugin(5)
gateway.plugin "a b"
gateway.plugin "nowhere"
gateway.plugin "syntax"
gateway.plugin "raises"
gateway.plugin "number"
gateway.plugin "many"
gateway.plugin "schemas"
gateway.plugin "twice"
gateway.plugin("types", 5)
gateway.plugin "types"
gateway.plugin("types", {
  required = "x", string = 5, integer = 0.5, range = 0, duration = "5 miles", enum = "strcit", list = { "x", 5, "x" }, unique = { "x", "x" },
  few = {}, map = { 1 }, keys = { A = 1, [5] = 1 }, rules = { { stauts = 1 }, 5, { status = 99 } }, union = "x", union2 = { "x" }, cidr = "300.0.0.1",
  url = "ftp://x", regex = "(", upstream = {}, secret = "abc", secrets = { abc = 5 }, checked = "no", broken = "x", odd = "x", quiet = "x",
  old = 1, new = 2, unknwon = 1, [1] = "x",
})
gateway.plugin("types", { required = "x", old = 1, gone = 2, union3 = { a = 1 } })
gateway.plugin("rules", { a = 1, b = 2, c = 3 })
gateway.plugin("rules", { a = 1, bad = "a" })
gateway.plugin("rules", { a = 1, bad = "text" })
gateway.plugin("rules", { a = 1, bad = "false" })
gateway.plugin("rules", { a = 1, bad = "nil" })
gateway.plugin "made"
gateway.plugin("failing", { token = "very-secret" })
gateway.plugin "empty"
gateway.plugin "sibling"
gateway.plugin("nearly", { heder = "x" })
gateway.plugin("nearly", {}, 5)
gateway.plugin("nearly", {}, { on_failure = "opne", failures = 0, within = "x", of_for = 5 })
gateway.plugin("nearly", {}, { failures = 3 })
gateway.route "/switched" { to = gateway.respond(200), use = {
  gateway.plugin("nearly", {}, { on_failure = "open" }),
  gateway.plugin("nearly", {}, { on_failure = "closed" }),
} }
