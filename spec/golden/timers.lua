gateway.listen "a:1"
gateway.every(0, print)
gateway.every("1m", 5)
gateway.every("1m", print, 5)
gateway.every("1m", print, { eech_worker = true, jitter = 5 })
