gateway.listen "a:1"
gateway.rate_limit(5)
gateway.rate_limit {}
gateway.rate_limit { rate = 0 }
gateway.rate_limit { rate = 1, burst = 1e12, name = "a b" }
gateway.rate_limit { rate = 1, limit = 5, window = 5 }
gateway.rate_limit { limit = 5 }
gateway.rate_limit { limit = 5, window = 5, burst = 5, idle = 5 }
gateway.rate_limit { limit = 5, window = 1e10 }
gateway.rate_limit { limit = 2 ^ 21, window = 5 }
gateway.rate_limit { rate = 1, by = "i" }
gateway.rate_limit { rate = 1, by = "hedaer:x" }
gateway.rate_limit { rate = 1, by = "header:a b" }
gateway.rate_limit { rate = 1, by = 5 }
gateway.rate_limit { rate = 1, by = "none", max_clients = 5, idle = 5 }
gateway.rate_limit { raet = 1, rate = 1 }
gateway.concurrency_limit { max = 70000, by = "ip" }
gateway.concurrency_limit {}
gateway.rate_limit { rate = 1, name = "same" }
gateway.rate_limit { rate = 2, name = "same" }
