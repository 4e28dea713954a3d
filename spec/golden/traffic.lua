gateway.listen "a:1"
local function upstream(name, options)
  options[1] = "a:1"
  gateway.upstream(name, options)
end
upstream("active", { health = { active = { tcp = true, path = "x", method = "get", host = "a b" } } })
upstream("probe", { health = { active = { path = "x y", method = "get", host = "a,b", headers = { ["a b"] = "c", Host = "d", TE = "x\n" }, expect = {} } } })
upstream("statuses", { health = { active = { expect = { 99, "600", "5xx", "599-500" } } } })
upstream("sections", { health = { passive = 5, active = "yes" }, breaker = "yes", retry = 5 })
upstream("retry", { retry = { on = { "conect", 700 }, budget = 5, backoff = "x", attempts = 1, hedge = 1 } })
upstream("retry2", { retry = { on = 5, budget = { share = 2, shar = 1 }, backoff = { base = "x", bse = 1 } } })
upstream("breaker", { breaker = { error_rate = 0, open_for = 10, open_most = 5, statuses = { "x" } } })
upstream("concurrency", { concurrency = 0.5 })
upstream("concurrency2", { concurrency = "adaptiv" })
upstream("concurrency3", { concurrency = { least = 10, most = 5, initial = 20, smaples = 1 } })
upstream("hash", { balance = "hash", hash_on = "heder:x" })
upstream("hash2", { balance = "maglev", hash_on = "header:a b", virtual_nodes = 5 })
upstream("other", { balance = "random", hash_on = "ip", load_factor = 2, virtual_nodes = 5, two_choices = true })
upstream("concurrency4", { concurrency = { initial = 20, most = 10 } })
gateway.upstream "weights" { { "a:1", weight = 2 }, balance = "round_robin" }
