gateway.listen(80)
gateway.listen "a:1"
gateway.listen "a:1"
gateway.admin {}
gateway.admin "a:2"
gateway.workers(0)
gateway.workers "all"
gateway.limits(5)
gateway.limits { header_byte = 1, headers = 201, request_line = "9 miles", [5] = 1 }
gateway.timeouts { header = true, idle = -1, body = "5 parsecs" }
gateway.forwarding { via = "two words", x_forwarded = "no" }
gateway.access_log(5)
gateway.access_log { sample = 2, to = 5 }
gateway.trusted_proxies { 5 }
gateway.trusted_proxies(5)
gateway.request_id "yes"
try(function() gateway.lisen "x:1" end)
try(function() return gateway.brekers end)
try(function() return gateway.histogramm end)
try(function() return gateway.zzzzzzzz end)
try(function() gateway.listen = 5 end)
try(function() gateway.log.info("x", 5) end)
try(function() gateway.log.info("x", { f = print }) end)
gateway.watch "no"
gateway.record { keep = 0, al = true }
