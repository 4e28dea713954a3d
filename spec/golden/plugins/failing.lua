return { name = "failing", schema = { token = { type = "string", secret = true } }, new = function(config) error("bad token " .. config.token, 0) end }
