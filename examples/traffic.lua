-- Upstreams that look after themselves: who gets which request, who is left out, what is tried again. Every option is one line; an
-- upstream has only what it names.
local gateway = require "gateway"

gateway.listen "127.0.0.1:8080"
gateway.admin "127.0.0.1:9901"       -- /status shows each endpoint's health, breaker and requests in flight

local users = gateway.upstream "users" {
  { "127.0.0.1:9001", weight = 3 },
  "127.0.0.1:9002",
  { "127.0.0.1:9003", backup = true },                  -- asked when no other can be had
  balance = "least_conn",                               -- round_robin | weighted | least_conn | hash | maglev | ewma | random
  slow_start = "10s",                                   -- who comes back gets its share bit by bit
  health = {
    active = { path = "/healthz", interval = 2, timeout = 1, rise = 2, fall = 3, expect = { "200-299" } },
    passive = { window = 30, error_rate = 0.5, min_requests = 10, eject_for = 10 },
    when_none_healthy = "try_all",                      -- or "refuse": 503
    max_ejected = 50,                                   -- percent that passive health may leave out
  },
  breaker = { failures = 5, open_for = 10, growth = 2, open_most = 60 }, -- one for each endpoint; 503 with Retry-After when all are open
  retry = {
    attempts = 3, on = { "connect", "reset", "timeout", "502-504" },
    per_try = 2, backoff = { base = "25ms", most = "250ms" },
    budget = { share = 0.2, minimum = 10 },             -- at most a fifth of the live requests are repeats
    body = "64KB",                                      -- bodies up to this length are kept, so that they can be sent again
    hedge = "800ms",                                    -- no answer by then: a second try beside the first, the first answer wins
  },
  concurrency = 500,                                    -- requests in flight over all endpoints; or "adaptive"
}

-- One user, one endpoint: whoever comes or goes moves only its own share of the users.
local carts = gateway.upstream "carts" {
  "127.0.0.1:9001", "127.0.0.1:9002",
  balance = "hash", hash_on = "cookie:user", load_factor = 1.25, -- ip | path | header:NAME | cookie:NAME | query:NAME | function(request)
}

gateway.route "/users" { to = users }
gateway.route "/carts" { to = carts }
