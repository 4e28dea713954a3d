return { name = "made", new = print, schema = { a = { type = "string", default = function() error("no luck", 0) end } } }
